//! When the next request of a group may start (contract §17.1): 1 s doubling to 60 s with full jitter, never below 1 s,
//! reset by a success; a 429 waits as long as it says.

use std::time::Duration;

use tokio::time::Instant;

use crate::api::names;
use crate::protocol::{Call, Trouble};

/// Endpoints that back off together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// `GET jobs`.
    Poll,
    /// Acknowledgements, status, results and events. A registration, a rotation and a decommission have delays of their own.
    Post,
}

impl Group {
    /// The group of a call, if it has one.
    pub fn of(call: &Call) -> Option<Self> {
        match call {
            Call::Poll { .. } => Some(Group::Poll),
            Call::Acknowledge { .. } | Call::Status { .. } | Call::Result { .. } | Call::Events(_) => Some(Group::Post),
            Call::Register(_) | Call::Rotate(_) | Call::Decommission => None,
        }
    }
}

/// Shortest delay after a failure.
const FIRST: Duration = Duration::from_secs(1);
/// Longest delay that we choose ourselves; also bounds the first retry after an outage (contract §29.64).
const CAP: Duration = Duration::from_secs(60);
/// Longest delay that a server may choose.
const THROTTLE_MAX: Duration = Duration::from_secs(600);

/// The delay after failure number `failures` (from 1) in a row. `key` spreads clusters that lost the same server.
pub fn delay(failures: u32, key: &str) -> Duration {
    let whole = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(CAP);
    whole.mul_f64(share(&[key, &failures.to_string()])).max(FIRST)
}

/// A number in `0.0..1.0` that depends on the parts only.
pub(crate) fn share(parts: &[&str]) -> f64 {
    let digits = &names::digest(parts)[..8];
    f64::from(u32::from_str_radix(digits, 16).unwrap_or_default()) / (f64::from(u32::MAX) + 1.0)
}

/// The state of one group.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Pace {
    failures: u32,
    until: Option<Instant>,
    /// When the last counted failure became known.
    failed: Option<Instant>,
}

impl Pace {
    /// How long until the next request may start.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        self.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    /// Takes note of the answer to a request of `group` that began at `began`.
    pub(super) fn note(&mut self, group: Group, answer: Result<(), &Trouble>, began: Instant, now: Instant, key: &str) {
        match answer {
            Ok(()) => *self = Self::default(),
            // The endpoint works; what it says concerns one request.
            Err(Trouble::NotFound | Trouble::Conflict | Trouble::Refused { .. }) if group == Group::Post => {
                *self = Self::default();
            }
            Err(Trouble::Closed(_)) => {}
            Err(trouble) => {
                // Requests that failed together are one failure.
                if self.failed.is_none_or(|failed| began >= failed) {
                    self.failures = self.failures.saturating_add(1);
                    self.failed = Some(now);
                }
                let own = delay(self.failures, key);
                let wait = match trouble {
                    Trouble::Throttled { after: Some(after) } => (*after).clamp(FIRST, THROTTLE_MAX),
                    _ => own,
                };
                self.until = self.until.max(Some(now + wait));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn down() -> Trouble {
        Trouble::Unreachable { why: "x".into(), late: false }
    }

    proptest! {
        #[test]
        fn a_delay_is_between_a_second_and_its_step(failures in 1u32..99, key in "[a-z]{1,8}") {
            let delay = delay(failures, &key);
            prop_assert!(delay >= FIRST && delay <= CAP);
            prop_assert!(delay <= FIRST * 2u32.saturating_pow((failures - 1).min(6)));
        }
    }

    #[test]
    fn clusters_that_lost_the_same_server_spread() {
        let delays: std::collections::BTreeSet<_> = (0..50).map(|id| delay(7, &format!("c{id}"))).collect();
        assert!(delays.len() > 40, "{delays:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_add_up_until_a_success_and_a_server_may_ask_for_more() {
        let mut pace = Pace::default();
        let step = |pace: &mut Pace, group, answer: Result<(), &Trouble>| {
            let now = Instant::now();
            pace.note(group, answer, now, now, "c1");
            pace.wait(now)
        };
        assert_eq!(step(&mut pace, Group::Poll, Err(&down())), Duration::from_secs(1));
        for _ in 0..20 {
            let wait = step(&mut pace, Group::Poll, Err(&down()));
            assert!(wait >= FIRST && wait <= CAP, "{wait:?}");
            tokio::time::advance(wait).await;
        }
        assert_eq!(pace.failures, 21);
        assert_eq!(step(&mut pace, Group::Poll, Ok(())), Duration::ZERO);
        let throttled = |seconds| Trouble::Throttled { after: Some(Duration::from_secs(seconds)) };
        assert_eq!(step(&mut pace, Group::Post, Err(&throttled(90))), Duration::from_secs(90));
        assert_eq!(step(&mut pace, Group::Post, Err(&down())), Duration::from_secs(90), "a later failure is no excuse");
        assert_eq!(step(&mut pace, Group::Post, Err(&Trouble::Conflict)), Duration::ZERO, "the endpoint works");
        assert_eq!(step(&mut pace, Group::Poll, Err(&throttled(9999))), THROTTLE_MAX);
        let mut pace = Pace::default();
        assert!(step(&mut pace, Group::Poll, Err(&Trouble::Conflict)) >= FIRST, "a poll has no such answer");
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_fail_together_are_one_failure() {
        let mut pace = Pace::default();
        let began = Instant::now();
        tokio::time::advance(Duration::from_secs(5)).await;
        for _ in 0..9 {
            pace.note(Group::Post, Err(&down()), began, Instant::now(), "c1");
        }
        assert_eq!(pace.failures, 1);
    }
}
