//! From findings to one status write and the Events that belong to it.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Snapshot;
use crate::api::condition::{self, ConditionType, Draft, Outlook, find, summarize};
use crate::cluster_api::Object;
use crate::policy::gate::{Gate, gate};
use crate::reconcile::Effect;
use crate::reconcile::status::{self, Fields};

pub(super) use crate::reconcile::status::{Says, conditions, stamp};

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
    pub(super) fields: Fields,
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
            fields: Fields::new(),
        }
    }
}

/// The status write and its Events, or nothing.
pub(super) fn effects(snapshot: &Snapshot, findings: Findings, now: Timestamp) -> Vec<Effect> {
    let Some(instance) = &snapshot.instance else { return Vec::new() };
    let Some(uid) = instance.uid() else { return Vec::new() };
    let drafts = drafts(&status::believed(instance), &findings, instance.generation());
    let order = condition::APPLICATION_INSTANCE;
    let Some(mut change) = status::change(instance, &drafts, order, findings.fields, now) else { return Vec::new() };
    change.status.insert("lastReconcileTime".into(), json!(stamp(now)));
    let mut effects = vec![Effect::PatchStatus {
        key: snapshot.key.clone(),
        uid,
        version: instance.version(),
        status: Value::Object(change.status),
    }];
    effects.extend(events(snapshot, instance, &change.transitions, change.first, now).into_iter().map(Effect::Emit));
    effects
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
    let mut told = status::told(instance, event_reason, now);
    let mut events = Vec::new();
    for (seq, change) in (first..).zip(changes) {
        let Some((reason, type_)) = event_reason(change) else { continue };
        // Standing still after a failure is no success, and the very first status starts nothing.
        if reason == "ReconcileSucceeded" && (failed || find(conditions(instance), "Reconciling").is_none()) {
            continue;
        }
        if told.insert(reason) {
            let message = change["message"].as_str().unwrap_or_default();
            events.push(status::event(instance, &snapshot.settings.reporter, (reason, type_), message, seq, now));
        }
    }
    events
}
