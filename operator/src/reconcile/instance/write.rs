//! What an instance's children lack: which are applied, what is corrected before, and what goes because nothing names it.

use serde_json::{Value, json};

use super::intent::suspended_for;
use super::{Look, Ownership, Snapshot, ownership};
use crate::api::annotation;
use crate::cluster_api::{Kind, Manager, Object, Preconditions, Propagation};
use crate::engine::flux::{suspended_by_others, suspended_by_us};
use crate::engine::{Child, Progress, Reading, Role};
use crate::foreign::{fields, flux};
use crate::reconcile::Effect;

pub(super) fn look(snapshot: &Snapshot, role: Role) -> &Look {
    match role {
        Role::Source => &snapshot.source,
        Role::Values => &snapshot.generated,
        Role::Release => &snapshot.release,
    }
}

/// Whether a child must be applied. One that is being deleted is left alone until it is gone.
pub(super) fn wants_apply(snapshot: &Snapshot, child: &Child) -> bool {
    match look(snapshot, child.role) {
        Look::Absent => true,
        Look::Found(live) => {
            // Letting go of a suspension that somebody else holds too, and of the note about one that is over: what is left
            // out stays or is extra, so nothing else tells the difference.
            let let_go = child.role == Role::Release
                && ((suspended_by_us(live)
                    && suspended_by_others(live)
                    && child.object.0.pointer("/spec/suspend").is_none())
                    || (suspended_for(live).is_some() && suspended_for(&child.object).is_none()));
            !live.deleting() && (let_go || !fields::settled(live, &child.object))
        }
        Look::NotRead | Look::Unserved => false,
    }
}

/// Whether applying a release changes what it runs, and not only notes on it.
pub(super) fn rewrites(snapshot: &Snapshot, child: &Child) -> bool {
    let Some(live) = snapshot.release.found() else { return true };
    let digest = |object: &Object| object.annotation(annotation::APPLIED_INTENT_HASH).map(String::from);
    let mut spec = child.object.0.get("spec").cloned().unwrap_or(Value::Null);
    if let Some(spec) = spec.as_object_mut() {
        spec.remove("suspend");
    }
    digest(live) != digest(&child.object) || !fields::covers(live.0.get("spec").unwrap_or(&Value::Null), &spec)
}

/// A version that no object has: an apply which carries it creates, or is answered 409 (contract §8.3, appendix B).
const ABSENT: &str = "1";

pub(super) fn apply(snapshot: &Snapshot, child: &Child) -> Effect {
    let mut object = child.object.clone();
    let live = look(snapshot, child.role).found();
    // With its uid an apply can neither bring back an object that is gone nor take over one that took its name.
    if let Some(uid) = live.and_then(Object::uid) {
        object.0["metadata"]["uid"] = json!(uid.0);
    }
    // With the version it cannot undo what a newer leader wrote since: arriving late, it would lower the generation. Of a
    // child that was absent it insists on that.
    let version = live.and_then(Object::version).map_or_else(|| ABSENT.to_string(), |version| version.0);
    object.0["metadata"]["resourceVersion"] = json!(version);
    Effect::Apply { object, manager: Manager::Operator, force: false }
}

/// Corrections of `managedFields` without which an apply could not take back what an older agent wrote, or would fail.
pub(super) fn repairs(snapshot: &Snapshot, instance: &Object) -> Vec<Effect> {
    let caps = &snapshot.settings.caps;
    let kinds: [(Option<Kind>, &Look); 2] =
        [(flux::helm_release(caps), &snapshot.release), (source_kind(snapshot), &snapshot.source)];
    kinds
        .into_iter()
        .filter_map(|(kind, look)| {
            let (kind, live) = (kind?, look.found()?);
            let served: Vec<String> = caps
                .versions
                .get(&format!("{}/{}", kind.group, kind.plural))?
                .iter()
                .map(|version| format!("{}/{version}", kind.group))
                .collect();
            let adopt = ownership(live, instance, &snapshot.rivals) == Ownership::Ours;
            let fields = fields::repaired(live, adopt, &served, &kind.api_version())?;
            let key = crate::cluster_api::Key::namespaced(&kind, live.namespace().unwrap_or_default(), live.name());
            let mut metadata = json!({ "managedFields": fields });
            if let Some(version) = live.version() {
                metadata["resourceVersion"] = json!(version.0);
            }
            Some(Effect::Patch { key, uid: live.uid()?, merge: json!({ "metadata": metadata }) })
        })
        .collect()
}

pub(super) fn source_kind(snapshot: &Snapshot) -> Option<Kind> {
    match snapshot.source.found()?.kind() {
        "HelmRepository" => flux::helm_repository(&snapshot.settings.caps),
        _ => flux::oci_repository(&snapshot.settings.caps),
    }
}

/// Sources and generated ConfigMaps that the release no longer names, once it is there without them (contract §6.1).
pub(super) fn superseded(snapshot: &Snapshot, children: &[Child], reading: &Reading) -> Vec<Effect> {
    if !matches!(reading.progress, Progress::Succeeded { .. }) {
        return Vec::new();
    }
    let wanted = |key: &crate::cluster_api::Key| {
        children.iter().any(|child| child.key.kind.kind == key.kind.kind && child.key.name == key.name)
    };
    let rest = snapshot.rest.iter().flatten();
    rest.filter(|(key, object)| !wanted(key) && !object.deleting())
        .filter_map(|(key, object)| {
            let only_if = Preconditions { uid: Some(object.uid()?), version: None };
            Some(Effect::Delete { key: key.clone(), only_if, how: Propagation::Background })
        })
        .collect()
}
