//! Simulated time: one monotonic clock, tokio's, and a wall clock that starts at a fixed date.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// The date every run begins at: 2026-01-01T00:00:00Z.
const EPOCH: i64 = 1_767_225_600;

/// The time of one run. On a paused runtime it moves only when everybody waits.
#[derive(Clone, Copy, Debug)]
pub struct SimulatedTime {
    started: Instant,
    epoch: Timestamp,
    speed: u32,
}

impl SimulatedTime {
    /// Starts now, at the fixed date.
    pub fn start() -> Self {
        let epoch = Timestamp::from_second(EPOCH).expect("a date of this century");
        Self { started: Instant::now(), epoch, speed: 1 }
    }

    /// Starts now, at the date the machine shows: for a cluster that real clients use.
    #[expect(clippy::disallowed_methods, reason = "real clients compare with their own clocks")]
    pub fn real() -> Self {
        Self { started: Instant::now(), epoch: Timestamp::now(), speed: 1 }
    }

    /// Since the start.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed() * self.speed
    }

    /// The wall clock.
    pub fn now(&self) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.elapsed()).unwrap_or(SignedDuration::MAX);
        self.epoch.checked_add(elapsed).unwrap_or(Timestamp::MAX)
    }
}
