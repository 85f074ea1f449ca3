//! How long things take: medians and tails of downstream §15.2.
//!
//! A draw is a function of (seed, step, object, how many of this step the object has had): one more draw somewhere does
//! not move any other.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Whether steps take their median time or a drawn one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Profile {
    /// Always the median: the healed phase of a simulation, the demo.
    Prompt,
    /// Drawn between near zero and beyond the 99th percentile.
    Varied,
}

/// A step whose duration the table knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// One write to the API server and back.
    Write,
    /// From an event to the start of the pass.
    Queue,
    /// From a new artifact to the wake-up of its users.
    Notify,
    /// Fetching from a registry or repository.
    Fetch,
    /// One Helm action.
    Helm,
    /// Until another replica has taken over, or the process is back.
    Failover,
}

impl Step {
    /// Median and 99th percentile in milliseconds.
    fn table(self) -> (f64, f64) {
        match self {
            Self::Write => (3.0, 40.0),
            Self::Queue => (50.0, 5_000.0),
            Self::Notify => (100.0, 30_000.0),
            Self::Fetch => (1_000.0, 60_000.0),
            Self::Helm => (20_000.0, 900_000.0),
            Self::Failover => (20_000.0, 35_000.0),
        }
    }
}

/// A number in [0, 1) made from its inputs.
pub(crate) fn fraction(seed: u64, what: &str, key: &str, count: u64) -> f64 {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(what.as_bytes());
    hash.update([0]);
    hash.update(key.as_bytes());
    hash.update(count.to_le_bytes());
    let bytes = hash.finalize();
    let whole = bytes.iter().take(6).fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    // 48 bits fit a double exactly.
    #[expect(clippy::cast_precision_loss, reason = "48 bits fit the mantissa")]
    let value = whole as f64 / (1u64 << 48) as f64;
    value
}

/// The duration of one step. Only multiplication and addition, so that every machine gets the same.
pub(crate) fn span(profile: Profile, seed: u64, step: Step, key: &str, count: u64) -> Duration {
    let (median, tail) = step.table();
    let milliseconds = match profile {
        Profile::Prompt => median,
        Profile::Varied => {
            let draw = fraction(seed, &format!("{step:?}"), key, count);
            if draw < 0.5 {
                median * (0.2 + 1.6 * draw)
            } else {
                // The sixth power leaves most of the upper half near the median and reaches the tail at the end.
                let over = (draw - 0.5) * 2.0;
                median + (tail - median) * over * over * over * over * over * over
            }
        }
    };
    Duration::from_micros((milliseconds * 1_000.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prompt_profile_is_the_median_and_the_varied_one_has_it_in_the_middle() {
        assert_eq!(span(Profile::Prompt, 1, Step::Helm, "a", 0), Duration::from_secs(20));
        let draws: Vec<Duration> = (0..1000).map(|count| span(Profile::Varied, 1, Step::Helm, "a", count)).collect();
        let below = draws.iter().filter(|draw| **draw <= Duration::from_secs(20)).count();
        assert!((400..600).contains(&below), "{below} of 1000 at or below the median");
        assert!(draws.iter().any(|draw| *draw > Duration::from_secs(120)));
        assert!(draws.iter().all(|draw| *draw <= Duration::from_secs(900)));
    }

    #[test]
    fn a_draw_depends_on_its_own_inputs_only() {
        let first = span(Profile::Varied, 7, Step::Fetch, "a", 3);
        assert_eq!(first, span(Profile::Varied, 7, Step::Fetch, "a", 3));
        assert_ne!(first, span(Profile::Varied, 8, Step::Fetch, "a", 3));
        assert_ne!(first, span(Profile::Varied, 7, Step::Fetch, "b", 3));
    }
}
