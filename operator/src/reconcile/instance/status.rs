//! From findings to one status write and the Events that belong to it.
//!
//! The status applied is the stored one, read as raw JSON, with our changes laid over it: what a newer version wrote goes
//! back as it was read (contract §16). Nothing is written when nothing but time has passed.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::Snapshot;
use crate::api::condition::{self, ConditionType, Draft, Outlook, Reason, Status, find, merge, summarize};
use crate::api::{APPS_API_VERSION, OPERATOR, names};
use crate::cluster_api::Object;
use crate::policy::gate::{Gate, gate};
use crate::reconcile::Effect;

/// Status, reason and message of a condition other than Ready.
pub(super) type Says = (Status, Reason, String);

/// What a decision found out. `None` leaves what was said before.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Findings {
    pub(super) outlook: Outlook,
    pub(super) message: String,
    /// The generation that the running release renders.
    pub(super) generation: i64,
    pub(super) reconciling: Option<Says>,
    pub(super) degraded: Option<Says>,
    pub(super) suspended: Option<Says>,
    pub(super) blocked: Option<Says>,
    pub(super) deleting: Option<Says>,
    /// Other status fields: set, or removed.
    pub(super) fields: BTreeMap<&'static str, Option<Value>>,
}

impl Findings {
    /// Nothing new.
    pub(super) fn nothing(generation: i64) -> Self {
        Self {
            outlook: Outlook::Unchanged,
            message: String::new(),
            generation,
            reconciling: None,
            degraded: None,
            suspended: None,
            blocked: None,
            deleting: None,
            fields: BTreeMap::new(),
        }
    }
}

/// Seconds in UTC, as Kubernetes writes times.
pub(super) fn stamp(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn stored(instance: &Object) -> Map<String, Value> {
    instance.0.get("status").and_then(Value::as_object).cloned().unwrap_or_default()
}

/// Stored conditions, whatever they hold.
pub(super) fn conditions(instance: &Object) -> &[Value] {
    instance.0.pointer("/status/conditions").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Stored conditions without those that speak of a generation that never was: nobody here wrote them.
fn believed(instance: &Object) -> Vec<Value> {
    let generation = instance.generation();
    let future = |entry: &&Value| entry["observedGeneration"].as_i64().is_some_and(|seen| seen > generation);
    conditions(instance).iter().filter(|entry| !future(entry)).cloned().collect()
}

/// The status write and its Events, or nothing.
pub(super) fn effects(snapshot: &Snapshot, findings: Findings, now: Timestamp) -> Vec<Effect> {
    let Some(instance) = &snapshot.instance else { return Vec::new() };
    let Some(uid) = instance.uid() else { return Vec::new() };
    let stamp = stamp(now);
    let old = stored(instance);
    let believed = believed(instance);
    let before = believed.as_slice();
    let drafts = drafts(before, &findings, instance.generation());
    let after = merge(before, &drafts, condition::APPLICATION_INSTANCE, &stamp);
    let changes: Vec<Value> = condition::transitions(before, &after).into_iter().cloned().collect();
    let mut status = old.clone();
    status.insert("conditions".into(), Value::Array(after.clone()));
    // The write insists on the version that was read, so no newer generation was ever observed: a greater number is a lie.
    status.insert("observedGeneration".into(), json!(instance.generation()));
    for (field, value) in findings.fields {
        match value {
            Some(value) => status.insert(field.into(), value),
            None => status.remove(field),
        };
    }
    prune(&mut status);
    if comparable(&status) == comparable(&old) {
        return Vec::new();
    }
    condition::record(&mut status, &changes, instance.generation(), &stamp);
    status.insert("lastReconcileTime".into(), json!(stamp));
    let last = status.get("transitionSeq").and_then(Value::as_i64).unwrap_or_default();
    let first = last.saturating_sub(count(&changes)).saturating_add(1);
    let mut effects = vec![Effect::PatchStatus {
        key: snapshot.key.clone(),
        uid,
        version: instance.version(),
        status: Value::Object(status),
    }];
    effects.extend(events(snapshot, instance, &changes, first, now).into_iter().map(Effect::Emit));
    effects
}

fn count(changes: &[Value]) -> i64 {
    i64::try_from(changes.len()).unwrap_or(i64::MAX)
}

fn drafts(before: &[Value], findings: &Findings, generation: i64) -> Vec<Draft> {
    let unknown = find(before, condition::READY).is_none() && findings.outlook == Outlook::Unchanged;
    let (outlook, message) = match unknown {
        true => (Outlook::Unknown, "nothing is known about the release yet"),
        false => (findings.outlook, findings.message.as_str()),
    };
    let others = [
        (ConditionType::Reconciling, &findings.reconciling, findings.generation),
        (ConditionType::Degraded, &findings.degraded, findings.generation),
        (ConditionType::Suspended, &findings.suspended, generation),
        (ConditionType::Blocked, &findings.blocked, generation),
        (ConditionType::Deleting, &findings.deleting, generation),
    ];
    let mut drafts: Vec<Draft> = summarize(outlook, message, findings.generation).into_iter().collect();
    for (type_, says, generation) in others {
        if let Some((status, reason, message)) = says {
            drafts.push(Draft::new(type_, *status, *reason, message.clone(), generation));
        }
    }
    drafts
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

/// Reason and type of the Event that a change of a condition makes.
fn event_reason(change: &Value) -> Option<(&'static str, &'static str)> {
    let word = |field: &str| change[field].as_str().unwrap_or_default();
    match (word("type"), word("status"), word("reason")) {
        ("Ready", "True", "HelmReleaseUpgraded") => Some(("HelmReleaseUpgraded", "Normal")),
        ("Ready", "True", "RolledBack") | ("Blocked", "True", _) => Some(("ReconcileFailed", "Warning")),
        ("Ready", "True", _) => Some(("ReleaseReady", "Normal")),
        ("Ready", "False", "HelmReleaseFailed" | "ChartUnreachable") => Some(("ReconcileFailed", "Warning")),
        ("Reconciling", "True", _) => Some(("ReconcileStarted", "Normal")),
        ("Reconciling", "False", _) => Some(("ReconcileSucceeded", "Normal")),
        _ => None,
    }
}

fn events(snapshot: &Snapshot, instance: &Object, changes: &[Value], first: i64, now: Timestamp) -> Vec<Object> {
    if gate(snapshot.namespace.as_ref()) != Gate::Open {
        return Vec::new();
    }
    let failed = changes.iter().any(|change| event_reason(change).is_some_and(|(_, type_)| type_ == "Warning"));
    // The journal of what was told before is the memory of the limit: it is stored, so a restart does not repeat itself.
    let journal = instance.0.pointer("/status/transitions").and_then(Value::as_array);
    let mut told: BTreeSet<&str> = journal
        .into_iter()
        .flatten()
        .filter(|entry| {
            let time = entry["time"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
            time.is_some_and(|time| now.duration_since(time) < EVENT_PAUSE)
        })
        .filter_map(event_reason)
        .map(|(reason, _)| reason)
        .collect();
    let mut events = Vec::new();
    for (seq, change) in (first..).zip(changes) {
        let Some((reason, type_)) = event_reason(change) else { continue };
        // Standing still after a failure is no success, and the very first status starts nothing.
        if reason == "ReconcileSucceeded" && (failed || find(conditions(instance), "Reconciling").is_none()) {
            continue;
        }
        if told.insert(reason) {
            events.push(event(snapshot, instance, change, (reason, type_), seq, now));
        }
    }
    events
}

fn event(
    snapshot: &Snapshot,
    instance: &Object,
    change: &Value,
    (reason, type_): (&str, &str),
    seq: i64,
    now: Timestamp,
) -> Object {
    let uid = instance.uid().map(|uid| uid.0).unwrap_or_default();
    let time = stamp(now);
    Object(json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": names::event(instance.name(), &uid, seq, reason),
            "namespace": instance.namespace(),
        },
        "involvedObject": {
            "apiVersion": APPS_API_VERSION,
            "kind": "ApplicationInstance",
            "namespace": instance.namespace(),
            "name": instance.name(),
            "uid": uid,
        },
        "reason": reason,
        "message": change["message"],
        "type": type_,
        "source": { "component": OPERATOR },
        "reportingComponent": OPERATOR,
        "reportingInstance": snapshot.settings.reporter,
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }))
}
