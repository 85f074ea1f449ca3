//! L5: a job is acknowledged within two polls and five seconds of its issue, and its result arrives within a minute of
//! the moment at which it is settled.
//!
//! Asked for while the operator pulls and is accepted by the control plane, counted from when the faults stopped and the
//! retries after an outage are over, if that is later. Settled: the instance of an apply is ready at its generation, the object of a delete
//! is gone, or the job has no object that can be waited for.

use std::collections::BTreeMap;
use std::time::Duration;

use fakes::history::{Event, Phase, Record};

use super::{Oracle, Pending};
use crate::truth::books::{Job, standing};
use crate::truth::identity::{connected, pulls};
use crate::truth::{Address, INSTANCES, Truth, condition_status, generation, number};
use crate::world::workload::CLUSTER;

/// Two polls of 30 s and 5 s.
const TO_ACK: Duration = Duration::from_secs(65);
/// From settled to the accepted result.
const TO_RESULT: Duration = Duration::from_secs(60);
/// After an outage: the longest backoff, and what goes before polling (contract §21).
pub(super) const RECOVERY: Duration = Duration::from_secs(60 + 120);

/// L5.
#[derive(Default)]
pub(super) struct JobsAreAnswered {
    faulty: bool,
    /// From when on the bounds count.
    calm: Duration,
    /// When a job was first seen in the control plane's tables.
    issued: BTreeMap<String, Duration>,
    /// When an instance became ready at its newest generation, or an object went.
    settled: BTreeMap<Address, Duration>,
}

impl Oracle for JobsAreAnswered {
    fn id(&self) -> &'static str {
        "L5"
    }

    fn promise(&self) -> &'static str {
        "a job is acknowledged within two polls and 5 s, and its result arrives a minute after it is settled"
    }

    fn step(&mut self, record: &Record, truth: &Truth) -> Result<(), String> {
        match &record.event {
            Event::Phase(Phase::Faults) => self.faulty = true,
            Event::Phase(Phase::Healed) if self.faulty => {
                (self.faulty, self.calm) = (false, record.at + RECOVERY);
            }
            Event::Step { .. } => {
                let known: Vec<String> = truth.odoo(|state| state.jobs.keys().cloned().collect()).unwrap_or_default();
                for id in known {
                    self.issued.entry(id).or_insert(record.at);
                }
            }
            // A registration comes before every job.
            Event::Handled { call, status: 200, .. } if call.verb == "register" => self.calm = self.calm.max(record.at),
            Event::Commit(commit) if commit.resource == INSTANCES => {
                let namespace = commit.namespace.as_deref().unwrap_or_default();
                let address = Address::new(INSTANCES, namespace, &commit.name);
                let ready = commit.after.as_deref().is_none_or(|after| {
                    condition_status(after, "Ready") == "True"
                        && number(after, "/status/observedGeneration") == generation(after)
                });
                if ready {
                    self.settled.entry(address).or_insert(record.at);
                } else {
                    self.settled.remove(&address);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn pending(&self, truth: &Truth, now: Duration) -> Option<Pending> {
        if !connected(truth, CLUSTER) || !pulls(truth) {
            return None;
        }
        let open: Vec<(String, bool)> = truth.odoo(|state| {
            let mine = state.jobs.values().filter(|row| row.cluster == CLUSTER && row.result.is_none());
            mine.map(|row| (row.id.clone(), !row.acks.is_empty())).collect()
        })?;
        let late = |since: Duration, bound: Duration| now.saturating_sub(since.max(self.calm)) > bound;
        let owed = open.into_iter().map(|(id, acked)| {
            let issued = self.issued.get(&id).copied().unwrap_or(self.calm);
            if !acked {
                return Pending { why: format!("job {id} is not acknowledged"), overdue: late(issued, TO_ACK) };
            }
            let job = truth.books.jobs.get(&id);
            let overdue =
                job.and_then(|job| self.since(job, issued, truth)).is_some_and(|since| late(since, TO_RESULT));
            Pending { why: format!("job {id} has no result"), overdue }
        });
        // One that is late counts, whichever job is the first.
        owed.max_by_key(|owed| owed.overdue)
    }
}

impl JobsAreAnswered {
    /// Since when a job could be answered.
    fn since(&self, job: &Job, issued: Duration, truth: &Truth) -> Option<Duration> {
        let acked = job.acked.unwrap_or(issued);
        let Some(wanted) = job.wants() else {
            // An intent without an object may take as long as what it asks for.
            return (job.wire["kind"] != "intent").then_some(acked);
        };
        let address = Address::new(wanted.resource, &wanted.namespace, &wanted.name);
        let there = standing(truth, &wanted).is_some();
        match (&wanted.spec, there) {
            (None, true) => None,
            (None, false) => Some(self.settled.get(&address).copied().unwrap_or(acked).max(acked)),
            (Some(_), _) => Some((*self.settled.get(&address)?).max(acked)),
        }
    }
}

#[cfg(test)]
mod tests {
    use fakes::odoo::Odoo;
    use serde_json::{Value, json};

    use super::super::story::{OPERATOR, Story, cluster, instance, job, ready, registered, secret, with};
    use super::*;
    use crate::truth::identity::CREDENTIALS;

    fn told() -> Story<JobsAreAnswered> {
        let mut token = String::new();
        let story = Story::new().phase(Phase::Healed).odoo(|odoo| token = registered(odoo)).later(30);
        story
            .commit("user", &cluster())
            .commit(OPERATOR, &secret(CREDENTIALS, &[("token", &token)]))
            .odoo(|odoo| drop(odoo.enqueue_raw(CLUSTER, job("j1", "k@1"))))
            .told("odoo", "issues job j1")
    }

    fn acked(odoo: &Odoo) {
        let now = odoo.now();
        odoo.with(|state| state.jobs.get_mut("j1").expect("issued").acks.push(now));
    }

    fn with_ack() -> Story<JobsAreAnswered> {
        told().polled(&json!([job("j1", "k@1")])).odoo(acked).call(OPERATOR, "ack j1", &Value::Null, 204, &Value::Null)
    }

    #[test]
    fn a_job_nobody_fetches_is_owed_then_overdue() {
        told().later(65).owes("not acknowledged", false);
        told().later(66).owes("not acknowledged", true);
    }

    #[test]
    fn a_result_that_does_not_come_is_overdue_a_minute_after_it_is_settled() {
        let installing =
            with(&instance(), &json!({ "status": { "conditions": [{ "type": "Ready", "status": "False" }] } }));
        with_ack().commit(OPERATOR, &installing).later(600).owes("has no result", false);
        with_ack().commit(OPERATOR, &ready()).later(60).owes("has no result", false);
        with_ack().commit(OPERATOR, &ready()).later(61).owes("has no result", true);
    }

    #[test]
    fn nothing_is_owed_by_a_cluster_that_was_locked_out() {
        told().odoo(|odoo| odoo.revoke(CLUSTER)).later(600).holds();
    }
}
