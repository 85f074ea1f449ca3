//! One object told as a whole (contract §20.5).

use serde_json::Value;

use super::journal::{endpoints, journal, resource};
use crate::cluster_api::Object;
use crate::protocol::event::Event;
use crate::protocol::event_key;

/// All conditions of an object as one event; `None` where it has none. Its time is that of its last transition, so that a
/// repetition says the same.
pub fn event(object: &Object) -> Option<Event> {
    let conditions = object.0.pointer("/status/conditions").and_then(Value::as_array)?.clone();
    let latest = conditions.iter().filter_map(|condition| condition["lastTransitionTime"].as_str()).max()?.to_string();
    let transitions = journal(object);
    let last = transitions.last();
    let of = resource(object, object.generation());
    let text = serde_json::to_string(&conditions).expect("JSON has text keys");
    Some(Event {
        event_key: Some(event_key::snapshot(&of, last.map_or(0, |last| last.seq), &text)),
        kind: "ConditionTransition".into(),
        resource_ref: of,
        conditions,
        endpoints: endpoints(object),
        timestamp: last.map_or(latest, |last| last.time.clone()),
    })
}
