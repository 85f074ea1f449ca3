//! S27: no effect of a job begins after its start deadline, by the control plane's clock.
//!
//! Tolerance: five seconds, for the second that a `Date` header hides and for the way of the request itself.

use fakes::history::{Event, Record};
use jiff::{SignedDuration, Timestamp};

use super::Oracle;
use crate::truth::Truth;
use crate::truth::books::{Job, deed};

/// S27.
#[derive(Default)]
pub(super) struct NothingAfterExpiry;

const TOLERANCE: SignedDuration = SignedDuration::from_secs(5);

impl Oracle for NothingAfterExpiry {
    fn id(&self) -> &'static str {
        "S27"
    }

    fn promise(&self) -> &'static str {
        "an expired job has no effect, by the control plane's clock"
    }

    fn step(&mut self, record: &Record, truth: &Truth) -> Result<(), String> {
        let Event::Commit(commit) = &record.event else { return Ok(()) };
        let Some(done) = deed(commit) else { return Ok(()) };
        let Some(now) = truth.odoo_now() else { return Ok(()) };
        let expired = |job: &Job| {
            let at = job.wire["expiresAt"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
            at.is_some_and(|at| now.duration_since(at) > TOLERANCE)
        };
        let wanted = truth.books.jobs.iter().filter(|(_, job)| job.wants().is_some_and(|wanted| done.fulfils(&wanted)));
        // Of several jobs that want the same, one that is still in time may be the cause.
        let (late, in_time): (Vec<_>, Vec<_>) = wanted.partition(|(_, job)| expired(job));
        match late.first() {
            Some((id, _)) if in_time.is_empty() => Err(format!("job {id} had an effect after its expiry")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::story::{OPERATOR, Story, instance, job, with};
    use super::*;

    fn told(expires: &str) -> Story<NothingAfterExpiry> {
        let job: Value = with(&job("j1", "k@1"), &json!({ "expiresAt": expires }));
        Story::new().polled(&json!([job])).later(60)
    }

    #[test]
    fn an_effect_after_the_deadline_is_seen() {
        told("2026-01-01T00:00:54Z").commit(OPERATOR, &instance()).breaks("after its expiry");
    }

    #[test]
    fn an_effect_within_the_tolerance_holds() {
        told("2026-01-01T00:00:56Z").commit(OPERATOR, &instance()).holds();
    }

    #[test]
    fn what_a_person_does_is_no_effect_of_a_job() {
        told("2026-01-01T00:00:00Z").commit("user", &instance()).holds();
    }
}
