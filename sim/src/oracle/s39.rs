//! S39: when everything has come true and nobody changes anything, the operator writes nothing and reads little.
//!
//! Counted are attempts, committed or not, in the quiet phase. Leader election renews its Lease and is excepted. Reading
//! has a budget: twelve passes of ten requests per instance and minute would be a storm; what is declared is a look at
//! every interval of a release (5 min) and every recheck of a reference (5 min), and discovery every 10 min.

use std::time::Duration;

use fakes::history::{Event, Phase, Record};

use super::Oracle;
use crate::truth::{INSTANCES, Truth, is_operator};

/// S39.
#[derive(Default)]
pub(super) struct Quiet {
    since: Option<Duration>,
    reads: u64,
}

/// Reads allowed per instance and started five minutes.
const PER_INSTANCE: u64 = 60;
/// Reads allowed besides, per started five minutes: watches renewed, discovery.
const BESIDES: u64 = 120;

impl Oracle for Quiet {
    fn id(&self) -> &'static str {
        "S39"
    }

    fn promise(&self) -> &'static str {
        "in a steady state the operator attempts no write and stays within its budget of reads"
    }

    fn step(&mut self, record: &Record, truth: &Truth) -> Result<(), String> {
        match &record.event {
            Event::Phase(phase) => {
                self.since = (*phase == Phase::Quiet).then_some(record.at);
                self.reads = 0;
                Ok(())
            }
            Event::Request { call, .. } if is_operator(&record.actor) => {
                let Some(since) = self.since else { return Ok(()) };
                if call.resource == "leases.coordination.k8s.io" {
                    return Ok(());
                }
                if call.writes() {
                    let after = record.at.saturating_sub(since).as_secs();
                    return Err(format!("{call} was attempted {after} s into the quiet"));
                }
                self.reads += 1;
                let spans = record.at.saturating_sub(since).as_secs() / 300 + 1;
                let budget = spans * (BESIDES + PER_INSTANCE * truth.all(INSTANCES).count() as u64);
                if self.reads > budget {
                    return Err(format!("{} reads in the quiet, {budget} are the budget", self.reads));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::story::{OPERATOR, Story, instance, release};
    use super::*;

    #[test]
    fn a_write_in_the_quiet_is_seen() {
        Story::<Quiet>::new().phase(Phase::Quiet).later(7).attempt(OPERATOR, &release()).breaks("7 s into");
    }

    #[test]
    fn a_storm_of_reads_is_seen() {
        let story = Story::<Quiet>::new().commit("user", &instance()).phase(Phase::Quiet);
        (0..=BESIDES + PER_INSTANCE).fold(story, |story, _| story.attempt_read(OPERATOR, &instance())).breaks("budget");
    }

    #[test]
    fn the_lease_others_and_what_came_before_do_not_count() {
        let lease = json!({ "kind": "Lease", "metadata": { "namespace": "vworkspace-system", "name": "l" } });
        Story::<Quiet>::new()
            .attempt(OPERATOR, &release())
            .phase(Phase::Quiet)
            .attempt(OPERATOR, &lease)
            .attempt("flux", &release())
            .holds();
    }
}
