//! From drafts of conditions to one status write of an object of ours, and the Kubernetes Events that tell of it.
//!
//! The status applied is the stored one, read as raw JSON, with our changes laid over it: what a newer version wrote goes
//! back as it was read (contract §16). Nothing is written when nothing but time has passed.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use crate::api::condition::{self, Draft, Reason, Status, merge};
use crate::api::{OPERATOR, names};
use crate::cluster_api::Object;

/// Status, reason and message of a condition.
pub(crate) type Says = (Status, Reason, String);

/// Other fields of a status: set, or removed.
pub(crate) type Fields = BTreeMap<&'static str, Option<Value>>;

/// Seconds in UTC, as Kubernetes writes times.
pub(crate) fn stamp(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Stored conditions, whatever they hold.
pub(crate) fn conditions(object: &Object) -> &[Value] {
    object.0.pointer("/status/conditions").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Stored conditions without those that speak of a generation that never was: nobody here wrote them.
pub(crate) fn believed(object: &Object) -> Vec<Value> {
    let generation = object.generation();
    let future = |entry: &&Value| entry["observedGeneration"].as_i64().is_some_and(|seen| seen > generation);
    conditions(object).iter().filter(|entry| !future(entry)).cloned().collect()
}

/// A status that differs from the stored one.
pub(crate) struct Change {
    /// The whole of it.
    pub(crate) status: Map<String, Value>,
    /// The conditions that flipped or took another reason.
    pub(crate) transitions: Vec<Value>,
    /// Number of the first of them.
    pub(crate) first: i64,
}

/// Lays drafts and fields over the stored status. `None` where nothing but time would be written.
pub(crate) fn change(
    object: &Object,
    drafts: &[Draft],
    order: &[&str],
    fields: Fields,
    now: Timestamp,
) -> Option<Change> {
    let stamp = stamp(now);
    let old = object.0.get("status").and_then(Value::as_object).cloned().unwrap_or_default();
    let before = believed(object);
    let after = merge(&before, drafts, order, &stamp);
    let transitions: Vec<Value> = condition::transitions(&before, &after).into_iter().cloned().collect();
    let mut status = old.clone();
    status.insert("conditions".into(), Value::Array(after));
    // The write insists on the version that was read, so no newer generation was ever observed: a greater number is a lie.
    status.insert("observedGeneration".into(), json!(object.generation()));
    for (field, value) in fields {
        match value {
            Some(value) => status.insert(field.into(), value),
            None => status.remove(field),
        };
    }
    prune(&mut status);
    if comparable(&status) == comparable(&old) {
        return None;
    }
    condition::record(&mut status, &transitions, object.generation(), &stamp);
    let last = status.get("transitionSeq").and_then(Value::as_i64).unwrap_or_default();
    let count = i64::try_from(transitions.len()).unwrap_or(i64::MAX);
    Some(Change { status, transitions, first: last.saturating_sub(count).saturating_add(1) })
}

/// A status apply with an empty map would be stored as null by newer servers and then refused (contract §3.3).
fn prune(map: &mut Map<String, Value>) {
    for value in map.values_mut() {
        if let Value::Object(below) = value {
            prune(below);
        }
    }
    map.retain(|_, value| !matches!(value, Value::Object(below) if below.is_empty()) && !value.is_null());
    map.retain(|name, value| name == "conditions" || !matches!(value, Value::Array(list) if list.is_empty()));
}

/// What counts as a difference: everything but the time of the last write, the order in which the server keeps conditions,
/// and empty things: one that somebody else wrote stays there, whatever we apply.
fn comparable(status: &Map<String, Value>) -> Value {
    let mut status = status.clone();
    status.remove("lastReconcileTime");
    prune(&mut status);
    if let Some(Value::Array(list)) = status.get_mut("conditions") {
        list.sort_by(|a, b| a["type"].as_str().cmp(&b["type"].as_str()));
    }
    Value::Object(status)
}

/// At most one Event per reason in this time (contract §23.3).
const EVENT_PAUSE: SignedDuration = SignedDuration::from_mins(5);

/// Reasons of Events told lately. The journal of transitions is the memory of the limit: it is stored, so a restart does not
/// repeat itself.
pub(crate) fn told(
    object: &Object,
    reason: impl Fn(&Value) -> Option<(&'static str, &'static str)>,
    now: Timestamp,
) -> BTreeSet<&'static str> {
    let journal = object.0.pointer("/status/transitions").and_then(Value::as_array);
    journal
        .into_iter()
        .flatten()
        .filter(|entry| {
            let time = entry["time"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
            time.is_some_and(|time| now.duration_since(time) < EVENT_PAUSE)
        })
        .filter_map(reason)
        .map(|(reason, _)| reason)
        .collect()
}

/// A Kubernetes Event about one of our objects. `number` makes its name: the same fact always gives the same one.
pub(crate) fn event(
    object: &Object,
    reporter: &str,
    (reason, type_): (&str, &str),
    message: &str,
    number: i64,
    now: Timestamp,
) -> Object {
    let uid = object.uid().map(|uid| uid.0).unwrap_or_default();
    let time = stamp(now);
    let mut about =
        json!({ "apiVersion": object.0["apiVersion"], "kind": object.kind(), "name": object.name(), "uid": uid });
    if let Some(namespace) = object.namespace() {
        about["namespace"] = json!(namespace);
    }
    Object(json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": names::event(object.name(), &uid, number, reason),
            // Where the API wants those of cluster-scoped objects.
            "namespace": object.namespace().unwrap_or("default"),
        },
        "involvedObject": about,
        "reason": reason,
        "message": message,
        "type": type_,
        "source": { "component": OPERATOR },
        "reportingComponent": OPERATOR,
        "reportingInstance": reporter,
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }))
}
