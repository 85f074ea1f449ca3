//! Ids and tokens, drawn from the seed.

use sha2::{Digest, Sha256};

/// One stream per purpose, so that one draw more does not change the others.
#[derive(Clone, Debug, Default)]
pub(super) struct Entropy {
    seed: u64,
    draws: std::collections::BTreeMap<&'static str, u64>,
}

impl Entropy {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, draws: Default::default() }
    }

    /// 64 hex digits.
    pub(super) fn hex(&mut self, purpose: &'static str) -> String {
        let draw = self.draws.entry(purpose).or_default();
        *draw += 1;
        let digest = Sha256::digest(format!("{}/{purpose}/{draw}", self.seed));
        super::proof::hex(&digest)
    }

    /// A UUID, version 4 in form.
    pub(super) fn uuid(&mut self, purpose: &'static str) -> String {
        let hex = self.hex(purpose);
        format!("{}-{}-4{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
    }

    /// 1, 2, 3, …
    pub(super) fn next(&mut self, purpose: &'static str) -> u64 {
        let draw = self.draws.entry(purpose).or_default();
        *draw += 1;
        *draw
    }

    /// Never draws again what the other has drawn.
    pub(super) fn beyond(&mut self, other: &Self) {
        for (purpose, draw) in &other.draws {
            let own = self.draws.entry(purpose).or_default();
            *own = (*own).max(*draw);
        }
    }
}
