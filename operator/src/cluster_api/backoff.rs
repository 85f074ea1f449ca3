//! The one backoff formula.

use std::fmt::Write as _;
use std::time::Duration;

use sha2::{Digest, Sha256};

/// First delay (contract §27.3).
const FIRST: Duration = Duration::from_secs(1);

/// The delay before attempt number `attempt + 1` (0 = the first failure): 1 s doubling up to `cap`, shortened by up to a
/// fifth. The share is hashed from `key` alone, so that many keys do not retry in step, while the delays of one key never
/// shrink before a success.
pub fn backoff(attempt: u32, key: &impl std::fmt::Display, cap: Duration) -> Duration {
    let whole = FIRST.saturating_mul(1 << attempt.min(20)).min(cap);
    whole.mul_f64(1.0 - 0.2 * share(key))
}

/// A number in `0.0..1.0` that depends on `key` only.
fn share(key: &impl std::fmt::Display) -> f64 {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write!(text, "{key}");
    let digest = Sha256::digest(text.as_bytes());
    f64::from(u16::from_be_bytes([digest[0], digest[1]])) / 65_536.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CAP: Duration = Duration::from_secs(60);

    proptest! {
        #[test]
        fn delays_never_shrink_and_stay_in_bounds(key in ".{0,20}") {
            let delays: Vec<_> = (0..40).map(|attempt| backoff(attempt, &key, CAP)).collect();
            prop_assert!(delays.windows(2).all(|pair| pair[0] <= pair[1]));
            prop_assert!(delays[0] >= Duration::from_millis(800) && delays[0] <= FIRST);
            prop_assert!(delays[39] >= CAP.mul_f64(0.8) && delays[39] <= CAP);
            prop_assert_eq!(backoff(u32::MAX, &key, CAP), delays[39]);
        }
    }

    #[test]
    fn keys_spread() {
        let distinct: std::collections::BTreeSet<_> = (0..100).map(|n| backoff(5, &n, CAP)).collect();
        assert!(distinct.len() > 90);
    }
}
