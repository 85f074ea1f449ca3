//! S23: a job has one result: whatever is posted for it is the same text, and what it says was true of the cluster.
//!
//! A success of an apply rests on a moment at which the object was ready at that generation (or paused at it); a success
//! of a delete on the absence of every object that was there before the acknowledgement. The moment lies before the first
//! post: between the decision and its post somebody else may change the object again.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use fakes::history::{Event, Record};
use serde_json::Value;

use super::Oracle;
use crate::truth::books::standing;
use crate::truth::{INSTANCES, Truth, condition_reason, condition_status, generation, is_operator, number, text, uid};

/// S23.
#[derive(Default)]
pub(super) struct OneResult {
    posted: BTreeMap<String, Bytes>,
    /// Uid and generation of every instance that was ready, or paused, at it.
    reached: BTreeSet<(String, i64)>,
    /// Uids that existed when the job was acknowledged, by job.
    before: BTreeMap<String, String>,
}

impl Oracle for OneResult {
    fn id(&self) -> &'static str {
        "S23"
    }

    fn promise(&self) -> &'static str {
        "all posts of a job's result are the same text, and it was true when it was first posted"
    }

    fn step(&mut self, record: &Record, truth: &Truth) -> Result<(), String> {
        match &record.event {
            Event::Commit(commit) if commit.resource == INSTANCES => {
                if let Some(after) = &commit.after {
                    self.note(after);
                }
                Ok(())
            }
            Event::Handled { call, status: 200..=299, .. } if call.verb == "ack" => {
                let wanted = truth.books.jobs.get(&call.name).and_then(|job| job.wants());
                if let Some(there) = wanted.as_ref().and_then(|wanted| standing(truth, wanted)) {
                    self.before.insert(call.name.clone(), there.to_owned());
                }
                Ok(())
            }
            Event::Request { call, body, .. } if call.verb == "result" && is_operator(&record.actor) => {
                match self.posted.get(&call.name) {
                    Some(first) if first == body => Ok(()),
                    Some(_) => Err(format!("job {} got a second, different result", call.name)),
                    None => {
                        self.posted.insert(call.name.clone(), body.clone());
                        self.is_true(&call.name, body, truth)
                    }
                }
            }
            _ => Ok(()),
        }
    }
}

impl OneResult {
    fn note(&mut self, instance: &Value) {
        let observed = number(instance, "/status/observedGeneration");
        let ready =
            condition_status(instance, "Ready") == "True" && condition_reason(instance, "Ready") != "RolledBack";
        let paused = condition_status(instance, "Suspended") == "True";
        if (ready || paused) && observed == generation(instance) {
            self.reached.insert((uid(instance).to_owned(), observed));
        }
    }

    fn is_true(&self, id: &str, body: &Bytes, truth: &Truth) -> Result<(), String> {
        let result: Value = serde_json::from_slice(body).map_err(|error| format!("the result of {id}: {error}"))?;
        if result["outcome"] != "succeeded" {
            return Ok(());
        }
        let Some(wanted) = truth.books.jobs.get(id).and_then(|job| job.wants()) else { return Ok(()) };
        if wanted.spec.is_none() {
            let left = standing(truth, &wanted).filter(|left| self.before.get(id).is_some_and(|before| before == left));
            return left.map_or(Ok(()), |_| Err(format!("job {id} succeeded, but {} is still there", wanted.name)));
        }
        if wanted.resource != INSTANCES {
            return Ok(());
        }
        let of = (text(&result, "/appliedRef/uid").to_owned(), number(&result, "/appliedRef/generation"));
        if self.reached.contains(&of) {
            return Ok(());
        }
        Err(format!("job {id} succeeded, but {} was never ready at generation {}", wanted.name, of.1))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::story::{OPERATOR, Story, instance, job, ready, result};
    use super::*;

    fn told() -> Story<OneResult> {
        let jobs = json!([job("j1", "k@1")]);
        Story::new().polled(&jobs).call(OPERATOR, "ack j1", &Value::Null, 204, &Value::Null)
    }

    #[test]
    fn a_success_before_it_was_ready_is_seen() {
        told()
            .commit(OPERATOR, &instance())
            .sent(OPERATOR, "result j1", &result("succeeded", "u-1", 1))
            .breaks("never ready");
    }

    #[test]
    fn two_texts_for_one_job_are_seen() {
        let (first, second) = (result("succeeded", "u-1", 1), json!({ "outcome": "noop" }));
        told()
            .commit(OPERATOR, &ready())
            .sent(OPERATOR, "result j1", &first)
            .sent("operator-0.2", "result j1", &second)
            .breaks("second, different");
    }

    #[test]
    fn a_deletion_that_is_not_one_is_seen() {
        let delete = json!({ "id": "j2", "kind": "delete", "payload": {
            "kind": "ApplicationInstance", "namespace": "org-a", "name": "files" } });
        Story::<OneResult>::new()
            .commit("user", &instance())
            .polled(&json!([delete]))
            .call(OPERATOR, "ack j2", &Value::Null, 204, &Value::Null)
            .sent(OPERATOR, "result j2", &json!({ "outcome": "succeeded" }))
            .breaks("still there");
    }

    #[test]
    fn the_same_text_twice_of_what_was_ready_holds() {
        let posted = result("succeeded", "u-1", 1);
        told()
            .commit(OPERATOR, &ready())
            .sent(OPERATOR, "result j1", &posted)
            .sent("operator-0.2", "result j1", &posted)
            .holds();
    }
}
