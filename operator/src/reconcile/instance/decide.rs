//! The decision: name the state, then act by it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::farewell::let_go;
use super::intent::{Intent, intent, restore, resume_token};
use super::status::{Findings, effects};
use super::{Ownership, Snapshot, deletion, gitops, held, live, ownership, paused};
use crate::api::condition::{Outlook, Reason, Status};
use crate::api::finalizer;
use crate::cluster_api::{Key, Manager, Object};
use crate::engine::flux::{suspended_by_others, suspended_by_us};
use crate::foreign::{fields, flux};
use crate::policy::gate::{Gate, Intake, gate, intake};
use crate::reconcile::{Effect, Plan};

/// In which state an instance is, before anything is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum State {
    /// It is gone; something of it is left.
    Gone,
    /// It is not labelled as ours.
    Ignored,
    /// The server has not told us yet what it serves.
    Undiscovered,
    /// It is being deleted and our part is done.
    Released,
    /// Its namespace is not gated.
    Closed,
    /// It is being deleted and our finalizer is on it.
    Deleting,
    /// Its namespace is going away, and it is not yet.
    Doomed,
    /// It wants nothing.
    Placeholder,
    /// It wants a release, or cannot have the one it wants.
    Live,
}

/// Names the state.
pub fn state(snapshot: &Snapshot) -> State {
    let Some(instance) = &snapshot.instance else { return State::Gone };
    let finished = instance.deleting() && !held(instance);
    if finished {
        return State::Released;
    }
    if intake(instance) == Intake::Ignored && !instance.deleting() {
        return State::Ignored;
    }
    // Our own kind is served, or there would be no instance: an answer without it is no answer.
    if !snapshot.settings.caps.versions.contains_key("apps.vworkspace.io/applicationinstances") {
        return State::Undiscovered;
    }
    match gate(snapshot.namespace.as_ref()) {
        Gate::Closed => State::Closed,
        _ if instance.deleting() => State::Deleting,
        Gate::Terminating => State::Doomed,
        Gate::Open => match intent(instance, &snapshot.settings) {
            Intent::Placeholder if runs(snapshot, instance) => State::Live,
            Intent::Placeholder => State::Placeholder,
            Intent::Managed(_) | Intent::Refused(_) => State::Live,
        },
    }
}

/// Whether a release of this instance is there. A placeholder has none; one that was managed before must not say so.
fn runs(snapshot: &Snapshot, instance: &Object) -> bool {
    snapshot.release.found().is_some_and(|release| ownership(release, instance, &snapshot.rivals) == Ownership::Ours)
}

/// What to do, from the snapshot and the time alone.
pub fn decide(snapshot: &Snapshot, now: Timestamp) -> Plan {
    let plan = match (state(snapshot), &snapshot.instance) {
        (State::Gone, _) | (_, None) => gone(snapshot),
        (State::Ignored, _) => {
            // A label that was taken off must not leave the release suspended.
            let effects = if restore(snapshot).is_none() { give_back(snapshot) } else { Vec::new() };
            Plan { effects, ..Plan::idle("not labelled as managed by the control plane") }
        }
        (State::Undiscovered, _) => {
            Plan { wake: Some(std::time::Duration::from_secs(5)), ..Plan::idle("waiting for discovery") }
        }
        (State::Released, _) => Plan { effects: give_back(snapshot), ..Plan::idle("our part of the deletion is done") },
        (State::Closed, Some(instance)) => closed(snapshot, instance),
        (State::Deleting, Some(instance)) => deletion::plan(snapshot, instance, now),
        (State::Doomed, _) => Plan::idle("the namespace is going away"),
        (State::Placeholder, Some(instance)) => {
            gitops::recorded(placeholder(snapshot, instance, now), snapshot, instance, now)
        }
        (State::Live, Some(instance)) => gitops::recorded(live::plan(snapshot, instance, now), snapshot, instance, now),
    };
    debug_assert!(plan.effects.iter().all(addressed), "an effect without an address: {plan:?}");
    plan
}

fn addressed(effect: &Effect) -> bool {
    match effect {
        Effect::Create(object) | Effect::Emit(object) | Effect::Update(object) | Effect::Apply { object, .. } => {
            !object.name().is_empty()
        }
        Effect::Call(_) | Effect::Register(_) | Effect::Rotate(_) | Effect::Decommission => true,
        Effect::Patch { key, .. } | Effect::PatchStatus { key, .. } | Effect::Delete { key, .. } => {
            !key.name.is_empty()
        }
    }
}

fn gone(snapshot: &Snapshot) -> Plan {
    let left = snapshot.rest.iter().flatten();
    let effects = left.filter_map(|(key, release)| resume(key, release)).collect();
    Plan { effects, ..Plan::idle("the instance is gone; a release it left must not stay suspended") }
}

fn closed(snapshot: &Snapshot, instance: &Object) -> Plan {
    let mut effects = give_back(snapshot);
    if instance.deleting() && held(instance) {
        effects.extend(let_go(snapshot, instance));
    }
    Plan { effects, ..Plan::idle("the namespace is not gated") }
}

fn placeholder(snapshot: &Snapshot, instance: &Object, now: Timestamp) -> Plan {
    let stable = |reason, message: &str| Some((Status::False, reason, message.to_string()));
    let cleared = ["helmReleaseRef", "engineRef", "lastAppliedChart", "endpoints", "valuesRevision"];
    let findings = Findings {
        outlook: Outlook::Placeholder,
        message: "nothing is deployed; this instance is a target for operations".into(),
        generation: instance.generation(),
        reconciling: stable(Reason::Stable, "nothing to do"),
        degraded: stable(Reason::Recovered, "nothing is wrong"),
        suspended: Some(suspension(snapshot, instance)),
        blocked: stable(Reason::Unblocked, "nothing blocks"),
        deleting: None,
        fields: cleared.into_iter().map(|field| (field, None)).collect::<BTreeMap<_, _>>(),
    };
    Plan { effects: effects(snapshot, findings, now), ..Plan::idle("placeholder") }
}

/// `Suspended`, from what holds the release back (contract §6.6).
pub(super) fn suspension(snapshot: &Snapshot, instance: &Object) -> super::status::Says {
    if paused(instance) {
        let message = "the annotation apps.vworkspace.io/reconcile says disabled; remove it to go on";
        return (Status::True, Reason::ReconcilePaused, message.into());
    }
    let release = snapshot.release.found();
    if restore(snapshot).is_some() && release.is_some() {
        let message = "a restore works on the data of this application";
        return (Status::True, Reason::RestoreInProgress, message.into());
    }
    if release.is_some_and(suspended_by_others) {
        let message = "the HelmRelease is suspended by someone else; resume it to go on";
        return (Status::True, Reason::ManuallySuspended, message.into());
    }
    (Status::False, Reason::Active, "not suspended".into())
}

/// Withdraws our suspension of the release of this instance, if there is one: Flux would skip its uninstall.
pub(super) fn give_back(snapshot: &Snapshot) -> Vec<Effect> {
    let (Some(release), Some(kind)) = (snapshot.release.found(), flux::helm_release(&snapshot.settings.caps)) else {
        return Vec::new();
    };
    let key = Key::namespaced(&kind, release.namespace().unwrap_or_default(), release.name());
    resume(&key, release).into_iter().collect()
}

/// One merge patch that takes back our suspension and asks for a new release: two requests could be cut apart, and a token
/// that Flux reads while suspended counts as handled.
fn resume(key: &Key, release: &Object) -> Option<Effect> {
    if !suspended_by_us(release) || suspended_by_others(release) {
        return None;
    }
    let token = resume_token(release).unwrap_or_else(|| crate::api::names::token("resume", &[""]));
    let merge = json!({
        "spec": { "suspend": null },
        "metadata": { "annotations": { flux::REQUESTED_AT: token, flux::FORCE_AT: token } },
    });
    Some(Effect::Patch { key: key.clone(), uid: release.uid()?, merge })
}

/// Our finalizer, by an apply that lists everything we own in the instance's metadata.
pub(super) fn add_finalizer(instance: &Object) -> Effect {
    Effect::Apply { object: metadata(instance, true), manager: Manager::Operator, force: false }
}

/// The Git revision that was applied, as an annotation.
pub(super) fn revised(instance: &Object, with_finalizer: bool, revision: &str) -> Effect {
    let mut object = metadata(instance, with_finalizer);
    object.0["metadata"]["annotations"] = json!({ crate::api::annotation::APPLIED_REVISION: revision });
    Effect::Apply { object, manager: Manager::Operator, force: false }
}

/// Without our finalizer. An apply takes back only what came by our apply; a finalizer that an older agent wrote too goes by
/// a patch of the whole list, guarded by the version that was read.
pub(super) fn remove_finalizer(snapshot: &Snapshot, instance: &Object) -> Effect {
    if fields::finalizer_is_ours_alone(instance, finalizer::APPLICATION_INSTANCE) {
        return Effect::Apply { object: metadata(instance, false), manager: Manager::Operator, force: false };
    }
    let all = instance.0.pointer("/metadata/finalizers").and_then(serde_json::Value::as_array);
    let others: Vec<&serde_json::Value> =
        all.into_iter().flatten().filter(|name| name.as_str() != Some(finalizer::APPLICATION_INSTANCE)).collect();
    let mut merge = json!({ "metadata": { "finalizers": others } });
    if let Some(version) = instance.version() {
        merge["metadata"]["resourceVersion"] = json!(version.0);
    }
    let uid = instance.uid().unwrap_or_else(|| crate::cluster_api::Uid(String::new()));
    Effect::Patch { key: snapshot.key.clone(), uid, merge }
}

fn metadata(instance: &Object, with_finalizer: bool) -> Object {
    let mut metadata = json!({ "name": instance.name(), "namespace": instance.namespace() });
    if let Some(uid) = instance.uid() {
        metadata["uid"] = json!(uid.0);
    }
    if with_finalizer {
        metadata["finalizers"] = json!([finalizer::APPLICATION_INSTANCE]);
    }
    // An apply drops what it does not list.
    let revision = crate::api::annotation::APPLIED_REVISION;
    if let Some(value) = instance.annotation(revision)
        && fields::ours(instance, &["metadata", "annotations", revision])
    {
        metadata["annotations"] = json!({ revision: value });
    }
    Object(json!({
        "apiVersion": crate::api::APPS_API_VERSION,
        "kind": "ApplicationInstance",
        "metadata": metadata,
    }))
}
