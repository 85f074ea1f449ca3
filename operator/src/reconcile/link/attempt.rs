//! How the last registration, rotation and decommission went: when to try again, and what to say of it.

use std::time::Duration;

use tokio::time::Instant;

use super::pace::share;
use crate::protocol::Trouble;

/// Which exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exchange {
    /// `POST register`.
    Registration,
    /// `POST credentials/rotate`.
    Rotation,
    /// `POST cluster/decommission`.
    Decommission,
}

/// The attempts of one exchange by this process, in a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// Fingerprint of the token it was made with.
    pub of: String,
    /// When the last one ended.
    pub at: Instant,
    /// How many failed in a row.
    pub failures: u32,
    /// How the last one ended.
    pub ended: Result<(), Trouble>,
    /// One of them may have been carried out although it was not answered.
    pub unanswered: bool,
}

impl Attempt {
    /// The attempt that follows `before`.
    pub(super) fn after(before: Option<Attempt>, of: &str, ended: Result<(), Trouble>, at: Instant) -> Self {
        let before = before.filter(|before| before.of == of && before.ended.is_err());
        let failures = before.as_ref().map_or(0, |before| before.failures);
        let unanswered = before.is_some_and(|before| before.unanswered)
            || matches!(ended, Err(Trouble::Unreachable { .. } | Trouble::Misconfigured { .. }));
        let failures = if ended.is_ok() { 0 } else { failures.saturating_add(1) };
        Self { of: of.into(), at, failures, ended, unanswered }
    }

    /// How long until the next one, with delays from `first` doubling to `cap`, each shortened by up to a fifth.
    pub fn wait(&self, first: Duration, cap: Duration, now: Instant) -> Duration {
        let step = first.saturating_mul(1 << self.failures.saturating_sub(1).min(16)).min(cap);
        let asked = match &self.ended {
            Err(Trouble::Throttled { after: Some(after) }) => *after,
            _ => Duration::ZERO,
        };
        let delay = step.mul_f64(1.0 - 0.2 * share(&[&self.of, &self.failures.to_string()])).max(asked);
        delay.saturating_sub(now.saturating_duration_since(self.at))
    }
}
