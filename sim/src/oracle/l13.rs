//! L13: what changed is told: each transition is at the control plane within a minute of its status write.
//!
//! Asked for while the control plane accepts the cluster, counted from when the faults stopped and the retries after an outage are over, if that is
//! later. After an overflow, which a condition shows, a snapshot stands for what was dropped. Objects that are gone are
//! asked for as well: their last transitions are in the outbox.

use std::collections::BTreeMap;
use std::time::Duration;

use fakes::history::{Event, Phase, Record};
use serde_json::Value;

use super::l5::RECOVERY;
use super::s42::transition_of;
use super::{Oracle, Pending};
use crate::truth::identity::connected;
use crate::truth::{CLUSTERS, INSTANCES, OPERATIONS, Truth, condition_status, number, uid};
use crate::world::workload::CLUSTER;

const BOUND: Duration = Duration::from_secs(60);

/// L13.
#[derive(Default)]
pub(super) struct ChangesAreTold {
    faulty: bool,
    calm: Duration,
    /// By uid: name, the newest number that was seen, and when it was written.
    written: BTreeMap<String, (String, i64, Duration)>,
    /// By uid: the numbers that arrived, up to which all are there.
    heard: BTreeMap<String, i64>,
    /// The control plane lost what it had heard.
    overflowed: bool,
}

impl Oracle for ChangesAreTold {
    fn id(&self) -> &'static str {
        "L13"
    }

    fn promise(&self) -> &'static str {
        "each transition is at the control plane within a minute"
    }

    fn step(&mut self, record: &Record, _: &Truth) -> Result<(), String> {
        match &record.event {
            Event::Phase(Phase::Faults) => self.faulty = true,
            Event::Phase(Phase::Healed) if self.faulty => {
                (self.faulty, self.calm) = (false, record.at + RECOVERY);
            }
            Event::Handled { call, status: 200, .. } if call.verb == "register" => self.calm = self.calm.max(record.at),
            Event::Handled { call, request, status: 200..=299, .. } if call.verb == "events" => {
                let batch: Value = serde_json::from_slice(request).unwrap_or_default();
                let keys =
                    batch["events"].as_array().into_iter().flatten().filter_map(|event| event["eventKey"].as_str());
                for (of, seq) in keys.filter_map(transition_of) {
                    let heard = self.heard.entry(of.to_owned()).or_default();
                    *heard = (*heard).max(seq);
                }
            }
            Event::Commit(commit) if matches!(&*commit.resource, INSTANCES | OPERATIONS | CLUSTERS) => {
                let Some(after) = commit.after.as_deref() else { return Ok(()) };
                self.overflowed |= condition_status(after, "BufferOverflow") == "True";
                let seq = number(after, "/status/transitionSeq");
                let known = self.written.entry(uid(after).to_owned()).or_insert((commit.name.clone(), 0, record.at));
                if seq > known.1 {
                    (known.1, known.2) = (seq, record.at);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn pending(&self, truth: &Truth, now: Duration) -> Option<Pending> {
        if self.overflowed || !connected(truth, CLUSTER) {
            return None;
        }
        self.written.iter().find_map(|(of, (name, seq, at))| {
            let heard = self.heard.get(of).copied().unwrap_or(0);
            (heard < *seq).then(|| Pending {
                why: format!("{name}: transition {seq} was not told, only {heard}"),
                overdue: now.saturating_sub((*at).max(self.calm)) > BOUND,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::story::{OPERATOR, Story, cluster, instance, registered, secret, with};
    use super::*;
    use crate::truth::identity::CREDENTIALS;

    fn told() -> Story<ChangesAreTold> {
        let mut token = String::new();
        let story = Story::new().phase(Phase::Healed).odoo(|odoo| token = registered(odoo)).commit("user", &cluster());
        let changed = with(&instance(), &json!({ "status": { "transitionSeq": 2 } }));
        story.commit(OPERATOR, &secret(CREDENTIALS, &[("token", &token)])).commit(OPERATOR, &changed)
    }

    fn post(story: Story<ChangesAreTold>, seq: i64, status: u16) -> Story<ChangesAreTold> {
        let key = format!("condition/a.io/v1/ApplicationInstance/org-a/files/u-1/Ready/True@1#{seq}-00000000");
        story.call(OPERATOR, "events", &json!({ "events": [{ "eventKey": key }] }), status, &Value::Null)
    }

    #[test]
    fn a_transition_that_is_not_told_is_owed_then_overdue() {
        told().later(60).owes("transition 2 was not told", false);
        post(told(), 1, 204).later(61).owes("only 1", true);
        post(told(), 2, 503).later(61).owes("only 0", true);
    }

    #[test]
    fn the_last_one_told_holds_and_so_does_an_object_that_is_gone() {
        post(told().remove(OPERATOR, &instance()), 2, 204).later(600).holds();
    }
}
