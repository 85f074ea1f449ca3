//! What one object has to tell: its journal of transitions (contract §20.3), read whatever it holds, against what was
//! told before.

use serde::Serialize;
use serde_json::Value;

use crate::api::Transition;
use crate::cluster_api::Object;
use crate::protocol::event::{Event, ResourceRef};
use crate::protocol::event_key;

/// The last transition of an object that was told or is about to be. Without a digest only the number is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// Its number.
    pub seq: i64,
    /// Its digest ([`event_key::digest`]), or nothing.
    pub digest: String,
}

impl Mark {
    /// As stored: `4-9f2c01ab`, or `4`.
    pub fn text(&self) -> String {
        if self.digest.is_empty() { self.seq.to_string() } else { format!("{}-{}", self.seq, self.digest) }
    }

    /// Reads [`Mark::text`].
    pub fn read(text: &str) -> Option<Self> {
        let (seq, digest) = text.split_once('-').unwrap_or((text, ""));
        Some(Self { seq: seq.parse().ok().filter(|seq| *seq >= 0)?, digest: digest.into() })
    }
}

/// One transition as it is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Number and digest.
    pub mark: Mark,
    /// What is sent: the transition, and for some an event of their own kind.
    pub events: Vec<Event>,
}

/// The journal of an object as stored, oldest first. An entry that cannot be read, or repeats a number, is left out.
pub fn journal(object: &Object) -> Vec<Transition> {
    let list = object.0.pointer("/status/transitions").and_then(Value::as_array);
    let mut entries: Vec<Transition> =
        list.into_iter().flatten().filter_map(|entry| serde_json::from_value(entry.clone()).ok()).collect();
    entries.retain(|entry: &Transition| entry.seq > 0);
    entries.sort_by_key(|entry| entry.seq);
    entries.dedup_by_key(|entry| entry.seq);
    entries
}

/// What of a journal was not told, if `last` was told last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Untold {
    /// To be told, oldest first.
    pub entries: Vec<Transition>,
    /// Numbers between `last` and the first entry: they left the journal before anybody told them.
    pub lost: i64,
    /// The journal does not go on from `last`: the object was set back to an earlier state (an etcd restore), or its
    /// status was written anew. Then all of it is told again (what was told before is known by its key), and what the
    /// other side believes of the object is no longer what holds.
    pub rewound: bool,
}

/// Compares a journal with what was told last.
pub fn untold(journal: &[Transition], last: Option<&Mark>) -> Untold {
    let Some(last) = last else {
        let lost = journal.first().map_or(0, |first| first.seq.saturating_sub(1));
        return Untold { entries: journal.to_vec(), lost, rewound: false };
    };
    let same = |entry: &Transition| last.digest.is_empty() || event_key::digest(entry) == last.digest;
    let known = journal.iter().find(|entry| entry.seq == last.seq);
    let rewound = match (known, journal.last()) {
        (Some(entry), _) => !same(entry),
        // It ends before the mark, or is empty although something was told.
        (None, newest) => newest.map_or(0, |newest| newest.seq) < last.seq,
    };
    if rewound {
        return Untold { entries: journal.to_vec(), lost: 0, rewound };
    }
    let entries: Vec<Transition> = journal.iter().filter(|entry| entry.seq > last.seq).cloned().collect();
    let lost = entries.first().map_or(0, |first| first.seq.saturating_sub(last.seq).saturating_sub(1));
    Untold { entries, lost, rewound }
}

/// What an event says about an object.
pub fn resource(object: &Object, generation: i64) -> ResourceRef {
    ResourceRef {
        api_version: object.0.get("apiVersion").and_then(Value::as_str).unwrap_or_default().into(),
        kind: object.kind().into(),
        namespace: object.namespace().map(String::from),
        name: object.name().into(),
        uid: object.uid().map(|uid| uid.0),
        generation: Some(generation),
    }
}

/// Where an ApplicationInstance is reached; nothing for other kinds (contract §20.2).
pub fn endpoints(object: &Object) -> Vec<Value> {
    let list = object.0.pointer("/status/endpoints").and_then(Value::as_array);
    list.filter(|_| object.kind() == "ApplicationInstance").cloned().unwrap_or_default()
}

/// A transition as events. Everything in them but the endpoints follows from the transition, so each re-send says the same.
pub fn tell(object: &Object, transition: &Transition) -> Told {
    let of = resource(object, transition.generation);
    let Transition { type_, status, reason, message, time, .. } = transition;
    let condition = serde_json::json!({
        "type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": time,
    });
    let event = |kind: &str, key: String| Event {
        event_key: Some(key),
        kind: kind.into(),
        resource_ref: of.clone(),
        conditions: vec![condition.clone()],
        endpoints: endpoints(object),
        timestamp: time.clone(),
    };
    let mut events = vec![event("ConditionTransition", event_key::condition(&of, transition))];
    // Each rotation is audited under its own kind (contract §20.1).
    if (type_.as_str(), status.as_str(), reason.as_str()) == ("Authenticated", "True", "CredentialRotated") {
        events.push(event("CredentialRotated", event_key::direct("CredentialRotated", &of, transition)));
    }
    Told { mark: Mark { seq: transition.seq, digest: event_key::digest(transition) }, events }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn transition(seq: i64, message: &str) -> Transition {
        Transition {
            seq,
            type_: "Ready".into(),
            status: "True".into(),
            message: message.into(),
            ..Transition::default()
        }
    }

    fn mark(of: &Transition) -> Mark {
        Mark { seq: of.seq, digest: event_key::digest(of) }
    }

    #[test]
    fn what_is_told_depends_on_what_was_told_last() {
        let ring: Vec<Transition> = (5..=8).map(|seq| transition(seq, "a")).collect();
        let bare = |seq| Mark { seq, digest: String::new() };
        let other = |seq| mark(&transition(seq, "another history"));
        for (last, expect, lost, rewound) in [
            (None, vec![5, 6, 7, 8], 4, false),
            (Some(mark(&ring[1])), vec![7, 8], 0, false),
            (Some(mark(&ring[3])), vec![], 0, false),
            (Some(bare(6)), vec![7, 8], 0, false),
            (Some(mark(&transition(4, "a"))), vec![5, 6, 7, 8], 0, false),
            (Some(mark(&transition(1, "a"))), vec![5, 6, 7, 8], 3, false),
            // The number is there, the fact is another one.
            (Some(other(6)), vec![5, 6, 7, 8], 0, true),
            (Some(other(8)), vec![5, 6, 7, 8], 0, true),
            // The numbers went back.
            (Some(mark(&transition(9, "a"))), vec![5, 6, 7, 8], 0, true),
            (Some(bare(12)), vec![5, 6, 7, 8], 0, true),
        ] {
            let found = untold(&ring, last.as_ref());
            let seqs: Vec<i64> = found.entries.iter().map(|entry| entry.seq).collect();
            assert_eq!((seqs, found.lost, found.rewound), (expect, lost, rewound), "{last:?}");
        }
        assert_eq!(untold(&[], None), Untold::default());
        assert!(untold(&[], Some(&bare(3))).rewound, "the status was emptied");
    }

    #[test]
    fn a_journal_is_read_whatever_it_holds() {
        let good = json!({"seq": 2, "type": "Ready", "status": "True", "reason": "R", "message": "", "time": "t", "generation": 1});
        let mut earlier = good.clone();
        earlier["seq"] = json!(1);
        let object = |list: Value| Object(json!({"status": {"transitions": list}}));
        let seqs = |list: Value| journal(&object(list)).iter().map(|entry| entry.seq).collect::<Vec<_>>();
        assert_eq!(seqs(json!([good, earlier, good, 7, {"seq": 3}, {"seq": "x"}, null])), [1, 2]);
        for odd in [json!(null), json!({}), json!("x"), json!([])] {
            assert!(seqs(odd).is_empty());
        }
        let huge = journal(&object(
            json!([{"seq": i64::MAX, "type": "", "status": "", "reason": "", "message": "", "time": "", "generation": i64::MIN}]),
        ));
        assert_eq!(untold(&huge, None).lost, i64::MAX - 1);
    }

    #[test]
    fn marks_survive_their_text() {
        for mark in [mark(&transition(7, "x")), Mark { seq: 7, digest: String::new() }] {
            assert_eq!(Mark::read(&mark.text()), Some(mark));
        }
        for odd in ["", "x", "-1", "-1-ab", "7x"] {
            assert_eq!(Mark::read(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_rotation_has_an_event_of_its_own() {
        let object = Object(json!({"apiVersion": "ops.vworkspace.io/v1alpha1", "kind": "Cluster",
            "metadata": {"name": "cluster", "uid": "u"}, "status": {"endpoints": [{"name": "x"}]}}));
        let rotated = Transition {
            type_: "Authenticated".into(),
            reason: "CredentialRotated".into(),
            ..transition(3, "rotated")
        };
        let told = tell(&object, &rotated);
        let kinds: Vec<&str> = told.events.iter().map(|event| event.kind.as_str()).collect();
        assert_eq!(kinds, ["ConditionTransition", "CredentialRotated"]);
        assert!(told.events.iter().all(|event| event.endpoints.is_empty()), "endpoints are an instance's");
        assert_eq!(tell(&object, &transition(3, "")).events.len(), 1);
    }
}
