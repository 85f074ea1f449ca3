//! The status of the active Cluster, and the Events that tell of it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Snapshot;
use crate::api::condition::{self, ConditionType, Draft};
use crate::cluster_api::Object;
use crate::reconcile::Effect;
use crate::reconcile::status::{self, Fields, Says};

/// What a decision found out. A type that is not in it keeps what was said.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Findings {
    pub(super) says: BTreeMap<ConditionType, Says>,
    pub(super) fields: Fields,
}

impl Findings {
    pub(super) fn say(&mut self, type_: ConditionType, says: Option<Says>) {
        if let Some(says) = says {
            self.says.insert(type_, says);
        }
    }

    pub(super) fn set(&mut self, field: &'static str, value: Value) {
        self.fields.insert(field, Some(value));
    }

    /// The conditions that will then stand.
    pub(super) fn stands(&self, cluster: &Object) -> Vec<Value> {
        condition::merge(&status::believed(cluster), &self.drafts(cluster), condition::CLUSTER, "")
    }

    fn drafts(&self, cluster: &Object) -> Vec<Draft> {
        let generation = cluster.generation();
        let draft = |(type_, (status, reason, message)): (&ConditionType, &Says)| {
            Draft::new(*type_, *status, *reason, message.clone(), generation)
        };
        self.says.iter().map(draft).collect()
    }
}

/// The status write of a Cluster and its Events, or nothing.
pub(super) fn effects(snapshot: &Snapshot, cluster: &Object, findings: Findings, now: Timestamp) -> Vec<Effect> {
    let drafts = findings.drafts(cluster);
    let Some(uid) = cluster.uid() else { return Vec::new() };
    let Some(change) = status::change(cluster, &drafts, condition::CLUSTER, findings.fields, now) else {
        return Vec::new();
    };
    let mut effects = vec![Effect::PatchStatus {
        key: super::decide::key(cluster),
        uid,
        version: cluster.version(),
        status: Value::Object(change.status),
    }];
    let mut told = status::told(cluster, event_reason, now);
    for (number, change) in (change.first..).zip(&change.transitions) {
        let Some((reason, type_)) = event_reason(change) else { continue };
        if told.insert(reason) {
            let message = change["message"].as_str().unwrap_or_default();
            let reporter = &snapshot.settings.reporter;
            effects.push(Effect::Emit(status::event(cluster, reporter, (reason, type_), message, number, now)));
        }
    }
    effects
}

/// Reason and type of the Event that a change of a condition makes (contract §23.3).
fn event_reason(change: &Value) -> Option<(&'static str, &'static str)> {
    let word = |field: &str| change[field].as_str().unwrap_or_default();
    match (word("type"), word("status"), word("reason")) {
        ("Connected", "True", _) => Some(("ConnectivityConnected", "Normal")),
        ("Connected", "False", "ControlPlaneUnreachable") => Some(("ConnectivityLost", "Warning")),
        ("Authenticated", "True", "CredentialRotated") => Some(("CredentialRotated", "Normal")),
        _ => None,
    }
}

/// An Event that no condition makes: told once per generation.
pub(super) fn remark(snapshot: &Snapshot, cluster: &Object, reason: &str, message: &str, now: Timestamp) -> Effect {
    let reporter = &snapshot.settings.reporter;
    let event = status::event(cluster, reporter, (reason, "Warning"), message, -cluster.generation(), now);
    Effect::Emit(event)
}

/// Fields that say how this cluster's identity stands.
pub(super) fn identity(snapshot: &Snapshot, cluster: &Object, findings: &mut Findings) {
    let Some(credentials) = snapshot.connection.credentials.as_ref().filter(|_| snapshot.connection.token().is_some())
    else {
        return;
    };
    let place = &snapshot.place;
    findings.set("credentialsSecretRef", json!({ "name": place.name, "namespace": place.namespace }));
    let mut status = cluster.0.pointer("/status/credentialStatus").filter(|old| old.is_object()).cloned();
    let status = status.get_or_insert_with(|| json!({}));
    status["secretName"] = json!(place.name);
    status["secretNamespace"] = json!(place.namespace);
    match &credentials.expires_at {
        Some(expires) if super::time(Some(expires)).is_some() => status["expiresAt"] = json!(expires),
        _ => status["expiresAt"] = Value::Null,
    }
    if super::rotation::unrecorded(cluster, credentials) {
        let which = if credentials.previous.is_some() { "rotatedAt" } else { "registeredAt" };
        status[which] = json!(credentials.issued_at);
    }
    if credentials.registered_with.is_some() {
        status["registrationTokenConsumed"] = json!(true);
    }
    findings.set("credentialStatus", status.clone());
    if let Some(organization) = &credentials.organization {
        findings.set("organizationId", json!(organization));
    }
}
