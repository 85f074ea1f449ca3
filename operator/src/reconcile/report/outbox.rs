//! The outbox: events that no object of the cluster would tell any more after a crash (contract §3.4, §20.4). Last
//! transitions of objects that disappear, and events that are no transition. At most [`MAX`]; the oldest go first, and are
//! counted.
//!
//! Whoever adds to it reads it, and writes with the version it read: [`append`] returns the effect, and a conflict is the
//! next pass's business. Only the report loop takes away, after acknowledgement.

use serde::{Deserialize, Serialize};

use super::journal::{Mark, journal, tell, untold};
use crate::cluster_api::{Key, Object};
use crate::foreign::core;
use crate::protocol::event::Event;
use crate::reconcile::Effect;

/// Name of the store.
pub const NAME: &str = "vworkspace-event-outbox";
/// Most entries (contract §22).
pub const MAX: usize = 256;
/// Key of the outbox in its ConfigMap.
const OUTBOX: &str = "outbox.json";

/// The outbox as stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Outbox {
    v: u32,
    /// What was ever dropped because it was full and shows nowhere else: it only grows, and the cursor says how much of it
    /// was counted. A dropped entry with a later one of its object is no part of it: that one shows the gap.
    pub dropped: i64,
    /// Oldest first.
    pub entries: Vec<Entry>,
}

/// One event that waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Number of the transition it tells; absent where it is told whatever was told before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<i64>,
    /// Number that the object had in the cursor when this was added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<i64>,
    /// Ready to be sent.
    pub event: Event,
}

/// The ConfigMap.
pub fn key(namespace: &str) -> Key {
    Key::namespaced(&core::config_map(), namespace, NAME)
}

/// What is stored; `None` if it cannot be read, which is not the same as an absent one.
pub fn read(stored: &Object) -> Option<Outbox> {
    let text = stored.0.get("data").and_then(|data| data.get(OUTBOX)).and_then(|text| text.as_str());
    match text {
        None => Some(Outbox::default()),
        Some(text) => super::parse(text),
    }
}

/// The write of the outbox.
pub fn write(outbox: &Outbox, stored: Option<&Object>, namespace: &str) -> Effect {
    let outbox = Outbox { v: 1, ..outbox.clone() };
    let text = serde_json::to_string(&outbox).expect("wire types have text keys and finite numbers");
    super::store_key(&key(namespace), stored, OUTBOX, text)
}

/// Adds events; those whose key is there already are not added again. `None`: nothing to write. An outbox that cannot be
/// read is left to the report loop, which puts it aside.
pub fn append(stored: Option<&Object>, entries: Vec<Entry>, namespace: &str) -> Option<Effect> {
    let mut outbox = match stored {
        Some(stored) => read(stored)?,
        None => Outbox::default(),
    };
    outbox.add(entries).then(|| write(&outbox, stored, namespace))
}

/// What an object has not told yet, as entries. `told`: its mark in the cursor.
pub fn last_words(object: &Object, told: Option<&Mark>) -> Vec<Entry> {
    let rest = untold(&journal(object), told);
    let after = told.map_or(0, |told| told.seq);
    let entry = |transition| {
        let told = tell(object, transition);
        let seq = (!rest.rewound).then_some(told.mark.seq);
        told.events.into_iter().map(move |event| Entry { seq, after: seq.map(|_| after), event }).collect::<Vec<_>>()
    };
    rest.entries.iter().flat_map(entry).collect()
}

impl Outbox {
    /// Adds what is new; whether anything was.
    pub fn add(&mut self, entries: Vec<Entry>) -> bool {
        let before = self.entries.len();
        for entry in entries {
            if !self.holds(&entry.event) {
                self.entries.push(entry);
            }
        }
        let changed = self.entries.len() > before;
        let surplus = self.entries.len().saturating_sub(MAX);
        let gone: Vec<Entry> = self.entries.drain(..surplus).collect();
        for (index, entry) in gone.iter().enumerate() {
            let lost = match (entry.seq, entry.after) {
                (Some(_), _) if gone[index + 1..].iter().chain(&self.entries).any(|later| later.follows(entry)) => 0,
                (Some(seq), Some(after)) => seq.saturating_sub(after).max(1),
                _ => 1,
            };
            self.dropped = self.dropped.saturating_add(lost);
        }
        changed
    }

    /// Whether an event of this key waits.
    pub fn holds(&self, event: &Event) -> bool {
        self.entries.iter().any(|entry| entry.event.event_key == event.event_key)
    }
}

impl Entry {
    /// Whether it tells a transition of the same object, as `earlier` does.
    fn follows(&self, earlier: &Self) -> bool {
        self.seq.is_some() && self.event.resource_ref.uid == earlier.event.resource_ref.uid
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(seqs: std::ops::RangeInclusive<i64>) -> Object {
        let transitions: Vec<_> = seqs
            .map(|seq| json!({"seq": seq, "type": "Ready", "status": "True", "reason": "R", "message": "", "time": "t", "generation": 1}))
            .collect();
        Object(json!({"apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance",
            "metadata": {"name": "files", "namespace": "org-a", "uid": "u1"}, "status": {"transitions": transitions}}))
    }

    #[test]
    fn only_what_was_not_acknowledged_is_kept_and_only_once() {
        let mark = Mark { seq: 3, digest: String::new() };
        let words = last_words(&object(1..=5), Some(&mark));
        assert_eq!(words.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [Some(4), Some(5)]);
        let Some(Effect::Create(stored)) = append(None, words.clone(), "system") else { panic!("a new store") };
        assert_eq!(append(Some(&stored), words, "system"), None, "it is all there");
        assert_eq!(append(None, Vec::new(), "system"), None);
    }

    #[test]
    fn of_an_object_that_was_set_back_everything_is_kept_whatever_its_number() {
        let words = last_words(&object(1..=2), Some(&Mark { seq: 7, digest: "00000000".into() }));
        assert_eq!(words.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [None, None]);
    }

    #[test]
    fn a_full_outbox_drops_the_oldest_and_counts() {
        let mut outbox = Outbox::default();
        let other = |uid: &str, seqs| {
            let mut object = object(seqs);
            object.0["metadata"]["uid"] = json!(uid);
            object
        };
        outbox.add(last_words(&other("a", 4..=5), Some(&Mark { seq: 2, digest: String::new() })));
        outbox.add(last_words(&other("b", 1..=200), None));
        outbox.add(last_words(&other("c", 1..=60), None));
        // All of a are gone, and one that had left the journal before; what b lost shows in its first number.
        assert_eq!((outbox.entries.len(), outbox.dropped, outbox.entries[0].seq), (MAX, 3, Some(5)));
    }

    #[test]
    fn one_that_cannot_be_read_is_left_alone() {
        let stored = Object(json!({"data": {OUTBOX: "{"}}));
        assert_eq!(append(Some(&stored), last_words(&object(1..=1), None), "system"), None);
    }
}
