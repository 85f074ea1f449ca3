//! The decision: one step of whatever is under way, the status, and what is due.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::registration::{self, Step};
use super::status::{Findings, effects, remark};
use super::{Snapshot, TICK, connectivity, decommission, rotation, versions};
use crate::api::condition::{ConditionType, Draft, Reason, Status, find};
use crate::api::{condition, finalizer};
use crate::cluster_api::{Key, Object};
use crate::reconcile::connection::cluster_kind;
use crate::reconcile::status::Fields;
use crate::reconcile::{Effect, Plan};

/// Address of a Cluster.
pub(super) fn key(cluster: &Object) -> Key {
    Key::cluster(&cluster_kind(), cluster.name())
}

/// What to do, from the snapshot and the time alone.
pub fn decide(snapshot: &Snapshot, now: Timestamp) -> Plan {
    let mut effects = others(snapshot, now);
    let plan = match &snapshot.connection.cluster {
        None => Plan { wake: Some(TICK), ..Plan::idle("there is no Cluster") },
        Some(cluster) if cluster.deleting() => decommission::plan(snapshot, cluster, now),
        Some(cluster) => active(snapshot, cluster, now),
    };
    effects.extend(plan.effects);
    Plan { effects, wake: Some(plan.wake.unwrap_or(TICK).min(TICK)), why: plan.why }
}

/// Clusters besides the active one: they say so and cause nothing.
fn others(snapshot: &Snapshot, now: Timestamp) -> Vec<Effect> {
    let mut effects = Vec::new();
    for other in &snapshot.connection.others {
        if other.deleting() {
            if other.has_finalizer(finalizer::CLUSTER) {
                effects.push(decommission::remove_finalizer(other));
            }
            continue;
        }
        let message = "another Cluster is older: only that one counts; delete this one";
        let draft =
            Draft::new(ConditionType::Connected, Status::False, Reason::NotSingleton, message, other.generation());
        let fields = Fields::from([("phase", Some(json!("Error")))]);
        let change = crate::reconcile::status::change(other, &[draft], condition::CLUSTER, fields, now);
        if let (Some(change), Some(uid)) = (change, other.uid()) {
            let status = serde_json::Value::Object(change.status);
            effects.push(Effect::PatchStatus { key: key(other), uid, version: other.version(), status });
        }
    }
    effects
}

fn active(snapshot: &Snapshot, cluster: &Object, now: Timestamp) -> Plan {
    let step = registration::step(snapshot, cluster);
    let at_once = |effects, why: &str| Plan { effects, wake: Some(Duration::ZERO), why: why.into() };
    // A server that refuses one of these writes must not keep the status and the heartbeat from being written.
    if !snapshot.refused {
        let repairs = repairs(snapshot, cluster);
        if !repairs.is_empty() {
            return at_once(repairs, "putting the Cluster and its Secret in order");
        }
        if let Some(write) = settle(snapshot, cluster, &step, now) {
            return at_once(write, "the Cluster takes what an exchange brought");
        }
    }
    let findings = findings(snapshot, cluster, &step, now);
    let mut all: Vec<Effect> = versions::announce(snapshot, cluster, now).into_iter().collect();
    all.extend(effects(snapshot, cluster, findings, now));
    all.extend(remarks(snapshot, cluster, now));
    let before = all.len();
    let wanted = rotation::cause(snapshot, cluster, now);
    let why = match (&step, wanted) {
        (Step::Due { token, of, .. }, _) => {
            all.extend(registration::exchange(snapshot, cluster, token, of));
            "registering"
        }
        (_, Some(cause)) => {
            all.extend(rotation::exchange(snapshot));
            cause
        }
        _ => {
            all.extend(rotation::retire(snapshot, cluster));
            "standing by"
        }
    };
    let beat = connectivity::beat_in(snapshot);
    if beat.is_some_and(|due| due.is_zero()) {
        all.push(Effect::Call(connectivity::beat(snapshot, cluster, now)));
    }
    let wake = if all.len() > before { Duration::ZERO } else { beat.unwrap_or(TICK).max(Duration::from_secs(1)) };
    Plan { effects: all, wake: Some(wake), why: why.into() }
}

/// What an older agent left, and our finalizer.
fn repairs(snapshot: &Snapshot, cluster: &Object) -> Vec<Effect> {
    let mut effects = Vec::new();
    if let Some(credentials) = snapshot.connection.credentials.as_ref().filter(|credentials| credentials.owned) {
        // Foreground deletion of the Cluster would take the Secret before the decommission call (contract §3.4).
        let key = Key::namespaced(&crate::foreign::core::secret(), &snapshot.place.namespace, &snapshot.place.name);
        effects.push(credentials.patch(key, json!({ "metadata": { "ownerReferences": null } })));
    }
    if !cluster.has_finalizer(finalizer::CLUSTER) {
        effects.push(decommission::add_finalizer(cluster));
    }
    effects
}

/// The write of the Cluster's spec that follows an exchange and comes before its status (contract §15.1, §15.3).
fn settle(snapshot: &Snapshot, cluster: &Object, step: &Step<'_>, now: Timestamp) -> Option<Vec<Effect>> {
    let credentials = snapshot.connection.credentials.as_ref()?;
    snapshot.connection.token()?;
    let mut merge = match step {
        Step::Done | Step::Record { .. } => registration::settled(cluster, credentials.cluster_id.as_deref()),
        _ => None,
    }
    .unwrap_or_else(|| json!({}));
    let inline = merge.pointer("/spec/registrationToken").is_some();
    let rotated = credentials.previous.is_some() && rotation::unrecorded(cluster, credentials);
    if rotated && snapshot.spec.rotate_credentials == Some(true) {
        merge["spec"]["rotateCredentials"] = serde_json::Value::Null;
    }
    if merge.as_object().is_none_or(serde_json::Map::is_empty) {
        return None;
    }
    let mut effects = Vec::new();
    if inline {
        let message =
            "spec.registrationToken is deprecated and was cleared: name a Secret in spec.registrationTokenSecretRef";
        effects.push(remark(snapshot, cluster, "DeprecatedField", message, now));
    }
    effects.push(Effect::Patch { key: key(cluster), uid: cluster.uid()?, merge });
    Some(effects)
}

/// Events about the spec, once per generation.
fn remarks(snapshot: &Snapshot, cluster: &Object, now: Timestamp) -> Vec<Effect> {
    let observed = cluster.0.pointer("/status/observedGeneration").and_then(serde_json::Value::as_i64);
    if observed == Some(cluster.generation()) {
        return Vec::new();
    }
    let filled = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    let mut effects = Vec::new();
    if snapshot.connection.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://")) {
        let message = "spec.controlPlaneEndpoint has no TLS: tokens and jobs travel in the clear";
        effects.push(remark(snapshot, cluster, "PlainHttpEndpoint", message, now));
    }
    if filled(&snapshot.spec.control_plane_base_url) && !filled(&snapshot.spec.control_plane_endpoint) {
        let message = "spec.controlPlaneBaseUrl is deprecated: use spec.controlPlaneEndpoint";
        effects.push(remark(snapshot, cluster, "DeprecatedField", message, now));
    }
    effects
}

fn findings(snapshot: &Snapshot, cluster: &Object, step: &Step<'_>, now: Timestamp) -> Findings {
    let mut findings = Findings::default();
    let mut connected = connectivity::connected(snapshot, cluster, now);
    let mut authenticated = connectivity::authenticated(snapshot, now);
    let silent = snapshot.connection.mode != crate::api::cluster::ConnectivityMode::Pull
        && snapshot.connection.endpoint.is_none();
    if !silent {
        let (registered, registration) = registration::conditions(snapshot, step);
        connected = registered.or(if snapshot.connection.token().is_some() { connected } else { None });
        authenticated = registration.or(authenticated);
    }
    let newly =
        snapshot.connection.credentials.as_ref().filter(|credentials| rotation::unrecorded(cluster, credentials));
    if let Some(credentials) = newly.filter(|_| snapshot.connection.token().is_some()) {
        authenticated = Some(if credentials.previous.is_some() {
            (Status::True, Reason::CredentialRotated, "the credential was rotated".into())
        } else {
            (Status::True, Reason::RegistrationComplete, "the cluster is registered".into())
        });
    } else if let Some(failed) = rotation::condition(snapshot, cluster, now) {
        authenticated = Some(failed);
    }
    findings.say(ConditionType::Connected, connected);
    findings.say(ConditionType::Authenticated, authenticated);
    findings.say(ConditionType::Disconnected, connectivity::disconnected(snapshot, cluster, now));
    if let Step::Record { of } = step {
        findings.set("observedToken", json!(of));
    }
    if let Some(heard) = connectivity::heard(snapshot, cluster, now) {
        findings.set("lastHeartbeat", json!(heard));
    }
    super::status::identity(snapshot, cluster, &mut findings);
    if let Some(survey) = &snapshot.survey {
        super::health::findings(snapshot, cluster, survey, now, &mut findings);
    }
    versions::fields(snapshot, &mut findings);
    let stands = findings.stands(cluster);
    let phase = connectivity::phase(find(&stands, "Connected"), find(&stands, "Authenticated"));
    findings.set("phase", serde_json::to_value(phase).unwrap_or_default());
    findings
}
