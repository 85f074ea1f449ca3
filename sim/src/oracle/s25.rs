//! S25: when the control plane learns that a job is acknowledged, the cluster holds what is needed to finish it without
//! the control plane: its journal entry, or the ledger entry of its result.

use fakes::history::{Event, Record};

use super::Oracle;
use crate::truth::identity::SYSTEM;
use crate::truth::{Truth, text};

/// S25.
#[derive(Default)]
pub(super) struct JournalBeforeAck;

impl Oracle for JournalBeforeAck {
    fn id(&self) -> &'static str {
        "S25"
    }

    fn promise(&self) -> &'static str {
        "a job that is acknowledged is durably in the cluster"
    }

    fn step(&mut self, record: &Record, truth: &Truth) -> Result<(), String> {
        match &record.event {
            // A broken connection may hide a commit; a refusal is none.
            Event::Handled { call, status: 0 | 200..=299 | 500..=599, .. } if call.verb == "ack" => {
                let acked = truth.odoo(|state| state.jobs.get(&call.name).is_some_and(|row| !row.acks.is_empty()));
                if acked != Some(false) && !holds(truth, &call.name) {
                    return Err(format!("job {} is acknowledged and nothing in the cluster holds it", call.name));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Whether journal or ledger hold a job.
fn holds(truth: &Truth, job: &str) -> bool {
    let named = |value: &serde_json::Value| value.as_str() == Some(job);
    truth.all("configmaps").filter(|(address, _)| address.namespace == SYSTEM).any(|(address, map)| {
        let parsed = |pointer: &str| serde_json::from_str::<serde_json::Value>(text(map, pointer)).unwrap_or_default();
        if address.name.starts_with("vworkspace-job-") {
            return named(&parsed("/data/entry.json")["job"]["id"]);
        }
        address.name == "vworkspace-applied-jobs"
            && ledger(&parsed("/data/ledger.json")).any(|entry| named(&entry["j"]))
    })
}

/// The entries of a ledger, whether it is a list or has one.
fn ledger(stored: &serde_json::Value) -> impl Iterator<Item = &serde_json::Value> {
    let list = stored.as_array().or_else(|| stored.as_object()?.values().find_map(serde_json::Value::as_array));
    list.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::story::{CLUSTER, OPERATOR, Story, job, store};
    use super::*;

    fn told() -> Story<JournalBeforeAck> {
        let acked = |odoo: &fakes::odoo::Odoo| {
            odoo.enqueue_raw(CLUSTER, job("j1", "k@1"));
            let now = odoo.now();
            odoo.with(|state| state.jobs.get_mut("j1").expect("issued").acks.push(now));
        };
        Story::new().polled(&json!([job("j1", "k@1")])).odoo(acked)
    }

    fn ack(story: Story<JournalBeforeAck>) -> Story<JournalBeforeAck> {
        story.call(OPERATOR, "ack j1", &Value::Null, 204, &Value::Null)
    }

    #[test]
    fn an_acknowledgement_of_what_is_nowhere_is_seen() {
        ack(told()).breaks("nothing in the cluster holds it");
        let other = store("vworkspace-job-1", "entry.json", &json!({ "job": { "id": "j2" } }));
        ack(told().commit(OPERATOR, &other)).breaks("nothing in the cluster holds it");
    }

    #[test]
    fn journal_and_ledger_hold() {
        let entry = store("vworkspace-job-1", "entry.json", &json!({ "v": 1, "job": { "id": "j1" } }));
        ack(told().commit(OPERATOR, &entry)).holds();
        let ledger = store("vworkspace-applied-jobs", "ledger.json", &json!([{ "k": "k@1", "j": "j1" }]));
        ack(told().commit(OPERATOR, &ledger)).holds();
    }
}
