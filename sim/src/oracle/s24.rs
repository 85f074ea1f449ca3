//! S24: an idempotency key has at most one effect, one without a key has none, and the same key with another body has
//! none. What is called done already is really in the history.
//!
//! A job that failed may be processed again under its key (contract §18.5). Effects that no known job wants are not judged
//! here.

use std::collections::{BTreeMap, BTreeSet};

use fakes::history::{Event, Record};
use serde_json::Value;

use super::Oracle;
use crate::truth::books::{Deed, Job, deed};
use crate::truth::{Truth, is_operator, text, uid};

/// S24.
#[derive(Default)]
pub(super) struct OneEffect {
    /// The job that had the effect, by key.
    used: BTreeMap<String, String>,
    failed: BTreeSet<String>,
    uids: BTreeSet<String>,
}

impl Oracle for OneEffect {
    fn id(&self) -> &'static str {
        "S24"
    }

    fn promise(&self) -> &'static str {
        "each idempotency key has at most one effect, and the same key with another body none"
    }

    fn step(&mut self, record: &Record, truth: &Truth) -> Result<(), String> {
        match &record.event {
            Event::Commit(commit) => {
                if let Some(after) = commit.after.as_deref().filter(|after| !uid(after).is_empty()) {
                    self.uids.insert(uid(after).to_owned());
                }
                match deed(commit) {
                    Some(done) => self.judge(&done, truth),
                    None => Ok(()),
                }
            }
            Event::Request { call, body, .. } if call.verb == "result" && is_operator(&record.actor) => {
                let result: Value = serde_json::from_slice(body).unwrap_or_default();
                self.answered(&call.name, &result, truth)
            }
            _ => Ok(()),
        }
    }
}

impl OneEffect {
    fn judge(&mut self, done: &Deed, truth: &Truth) -> Result<(), String> {
        let wanted = |job: &Job| job.wants().is_some_and(|wanted| done.fulfils(&wanted));
        let candidates: Vec<(&String, &Job)> = truth.books.jobs.iter().filter(|(_, job)| wanted(job)).collect();
        let keyed = || candidates.iter().filter_map(|(id, job)| Some((*id, job.key()?, job.acked.is_some())));
        let fresh = keyed().filter(|(_, key, _)| !self.used.contains_key(*key)).max_by_key(|(.., acked)| *acked);
        if let Some((id, key, _)) = fresh {
            self.used.insert(key.to_owned(), id.clone());
            return Ok(());
        }
        if keyed().any(|(id, ..)| self.failed.contains(id)) {
            return Ok(());
        }
        match (keyed().next(), candidates.first()) {
            (Some((id, key, _)), _) => {
                Err(format!("job {id} had an effect on {}, but its key {key} had one before", done.name))
            }
            (None, Some((id, _))) => Err(format!("job {id} has no key and had an effect on {}", done.name)),
            (None, None) => Ok(()),
        }
    }

    fn answered(&mut self, id: &str, result: &Value, truth: &Truth) -> Result<(), String> {
        let outcome = text(result, "/outcome");
        if outcome == "failed" {
            self.failed.insert(id.to_owned());
        }
        let Some(job) = truth.books.jobs.get(id) else { return Ok(()) };
        let of_key = job.key().and_then(|key| self.used.get(key));
        let other = of_key.filter(|first| *first != id).and_then(|first| truth.books.jobs.get(first));
        let another_body =
            |first: &Job| first.wire["payload"] != job.wire["payload"] || first.wire["kind"] != job.wire["kind"];
        if outcome == "succeeded" && other.is_some_and(another_body) {
            return Err(format!("job {id} succeeded under a key that was used for another body"));
        }
        let found = text(result, "/appliedRef/uid");
        if outcome == "noop" && !found.is_empty() && !self.uids.contains(found) {
            return Err(format!("job {id} is called done already, but its object {found} never existed"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::story::{OPERATOR, Story, instance, job, result, with};
    use super::*;

    fn told() -> Story<OneEffect> {
        Story::new()
            .polled(&json!([job("j1", "k@1")]))
            .call(OPERATOR, "ack j1", &Value::Null, 204, &Value::Null)
            .commit(OPERATOR, &instance())
    }

    fn changed() -> Value {
        with(&instance(), &json!({ "spec": { "chart": { "version": "7.0.0" } }, "metadata": { "generation": 2 } }))
    }

    #[test]
    fn a_key_that_takes_effect_twice_is_seen() {
        told().commit("user", &changed()).commit(OPERATOR, &instance()).breaks("had one before");
    }

    #[test]
    fn another_body_under_the_key_is_seen() {
        let other = with(&job("j2", "k@1"), &json!({ "payload": { "spec": { "chart": { "version": "7.0.0" } } } }));
        told().polled(&json!([other])).commit(OPERATOR, &changed()).breaks("had one before");
    }

    #[test]
    fn a_job_without_a_key_has_no_effect() {
        let keyless = with(&job("j1", ""), &json!({ "idempotencyKey": null }));
        Story::<OneEffect>::new().polled(&json!([keyless])).commit(OPERATOR, &instance()).breaks("has no key");
    }

    #[test]
    fn a_replay_of_what_never_was_is_seen() {
        told().sent(OPERATOR, "result j1", &result("noop", "u-7", 1)).breaks("never existed");
    }

    #[test]
    fn two_keys_two_effects_and_an_honest_replay_hold() {
        let next = with(&job("j2", "k@2"), &json!({ "payload": { "spec": { "chart": { "version": "7.0.0" } } } }));
        told()
            .polled(&json!([next]))
            .commit(OPERATOR, &changed())
            .sent(OPERATOR, "result j1", &result("noop", "u-1", 1))
            .holds();
    }
}
