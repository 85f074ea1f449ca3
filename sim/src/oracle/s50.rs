//! S50: every store of ours stays within its bound (contract §22).

use std::collections::BTreeMap;

use fakes::apiserver::Commit;
use fakes::history::{Event, Record};
use serde_json::Value;

use super::Oracle;
use crate::truth::identity::SYSTEM;
use crate::truth::{CLUSTERS, INSTANCES, OPERATIONS, Truth, is_operator, text};

/// S50.
#[derive(Default)]
pub(super) struct BoundedStores {
    /// Open entries of the journal.
    open: BTreeMap<String, ()>,
}

/// Open entries of the journal, and the payload of one (the entry around it is small).
const JOURNAL: usize = 500;
const PAYLOAD: usize = (512 + 16) << 10;
/// Entries and bytes of the ledger.
const LEDGER: (usize, usize) = (2_000, 768 << 10);
/// Entries of the outbox.
const OUTBOX: usize = 256;
/// Transitions of one object.
const RING: usize = 20;
/// A message in a status.
const MESSAGE: usize = 1 << 10;

impl Oracle for BoundedStores {
    fn id(&self) -> &'static str {
        "S50"
    }

    fn promise(&self) -> &'static str {
        "every store of the operator stays within its bound"
    }

    fn step(&mut self, record: &Record, _: &Truth) -> Result<(), String> {
        match &record.event {
            Event::Commit(commit) if is_operator(&record.actor) => match &*commit.resource {
                "configmaps" if commit.namespace.as_deref() == Some(SYSTEM) => self.store(commit),
                INSTANCES | OPERATIONS | CLUSTERS => status(commit),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

fn bound(what: &str, is: usize, most: usize) -> Result<(), String> {
    if is <= most { Ok(()) } else { Err(format!("{what}: {is}, the bound is {most}")) }
}

/// The number of entries of a stored list, wherever it is in the document.
fn entries(document: &str) -> usize {
    let stored: Value = serde_json::from_str(document).unwrap_or_default();
    let list = stored.as_array().or_else(|| stored.as_object()?.values().find_map(Value::as_array));
    list.map_or(0, Vec::len)
}

impl BoundedStores {
    fn store(&mut self, commit: &Commit) -> Result<(), String> {
        let Some(after) = &commit.after else {
            self.open.remove(&commit.name);
            return Ok(());
        };
        match &*commit.name {
            name if name.starts_with("vworkspace-job-") => {
                self.open.insert(commit.name.clone(), ());
                bound("open entries of the journal", self.open.len(), JOURNAL)?;
                bound("bytes of a journal entry", text(after, "/data/entry.json").len(), PAYLOAD)
            }
            "vworkspace-applied-jobs" => {
                let ledger = text(after, "/data/ledger.json");
                bound("entries of the ledger", entries(ledger), LEDGER.0)?;
                bound("bytes of the ledger", ledger.len(), LEDGER.1)
            }
            "vworkspace-event-outbox" => {
                bound("entries of the outbox", entries(text(after, "/data/outbox.json")), OUTBOX)
            }
            _ => Ok(()),
        }
    }
}

fn status(commit: &Commit) -> Result<(), String> {
    let Some(after) = &commit.after else { return Ok(()) };
    let list = |pointer: &str| after.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    bound(&format!("transitions of {}", commit.name), list("/status/transitions").count(), RING)?;
    let longest = list("/status/conditions").map(|condition| text(condition, "/message").len()).max().unwrap_or(0);
    bound(&format!("a message of {}", commit.name), longest, MESSAGE)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::story::{OPERATOR, Story, instance, store, with};
    use super::*;

    fn ring(count: usize) -> Value {
        with(&instance(), &json!({ "status": { "transitions": vec![json!({ "seq": 1 }); count] } }))
    }

    #[test]
    fn a_store_beyond_its_bound_is_seen() {
        let ledger =
            store("vworkspace-applied-jobs", "ledger.json", &json!({ "entries": vec![json!({ "k": "a" }); 2_001] }));
        Story::<BoundedStores>::new().commit(OPERATOR, &ledger).breaks("entries of the ledger: 2001");
        let outbox = store("vworkspace-event-outbox", "outbox.json", &json!(vec![json!({}); 257]));
        Story::<BoundedStores>::new().commit(OPERATOR, &outbox).breaks("entries of the outbox: 257");
        Story::<BoundedStores>::new().commit(OPERATOR, &ring(21)).breaks("transitions of files: 21");
    }

    #[test]
    fn a_journal_without_end_is_seen_and_one_that_is_emptied_holds() {
        let entry = |n: usize| store(&format!("vworkspace-job-{n}"), "entry.json", &json!({ "n": n }));
        let fill =
            |upto: usize| (0..upto).fold(Story::<BoundedStores>::new(), |story, n| story.commit(OPERATOR, &entry(n)));
        fill(501).breaks("open entries of the journal: 501");
        fill(500).remove(OPERATOR, &entry(0)).commit(OPERATOR, &entry(500)).holds();
    }

    #[test]
    fn full_stores_hold() {
        let ledger = store("vworkspace-applied-jobs", "ledger.json", &json!(vec![json!({ "k": "a" }); 2_000]));
        Story::<BoundedStores>::new().commit(OPERATOR, &ledger).commit(OPERATOR, &ring(20)).holds();
    }
}
