//! Taking an application back, in order (contract §6.7): the release, then its sources and generated values, then our
//! finalizer. Nothing goes before what depends on it is observed gone.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::decide::give_back;
use super::farewell::let_go;
use super::status::{Findings, effects};
use super::{Ownership, Snapshot, external, intent, orphaning, ownership, paused};
use crate::api::condition::{Reason, Status};
use crate::cluster_api::{Key, Object, Preconditions, Propagation};
use crate::engine::{Withdrawal, flux};
use crate::foreign::core::{self, Holder};
use crate::reconcile::{Effect, Plan};

/// How often a deletion that waits is looked at again. Generated values are not watched, and a source may have lost the label
/// by which it is: without this, the last of them to go would wake nobody.
const WAIT: Duration = Duration::from_secs(30);

pub(super) fn plan(snapshot: &Snapshot, instance: &Object, now: Timestamp) -> Plan {
    let mut findings = Findings::nothing(instance.generation());
    let release = release(snapshot, instance);
    if orphaning(instance) || paused(instance) || external(instance) {
        return leave(snapshot, instance, release.as_ref());
    }
    if let Some(until) = waits_until(snapshot, now) {
        let message = "an operation works on the data of this application; it is removed afterwards";
        findings.deleting = Some((Status::True, Reason::WaitingForChildResources, message.into()));
        let left = until.duration_since(now).max(SignedDuration::ZERO).unsigned_abs();
        let wake = Some(left.clamp(Duration::from_secs(1), WAIT));
        return Plan { effects: effects(snapshot, findings, now), wake, why: message.into() };
    }
    let rest = snapshot.rest.as_deref().unwrap_or_default();
    let engine: &dyn crate::engine::Engine = &flux::Flux;
    let (mut planned, message) = match engine.withdraw(release.as_ref().map(|(key, object)| (key, *object)), rest) {
        Withdrawal::Gone => {
            return Plan { effects: let_go(snapshot, instance), ..Plan::idle("everything is gone") };
        }
        Withdrawal::Wait(why) => (give_back_if_deleting(snapshot, release.as_ref()), why),
        Withdrawal::Delete(keys) => {
            let mut planned = give_back_if_deleting(snapshot, release.as_ref());
            planned.extend(keys.iter().filter_map(|key| delete(key, release.as_ref(), rest)));
            let what =
                if release.is_some() { "the release is being uninstalled" } else { "chart sources are being removed" };
            (planned, what.to_string())
        }
    };
    findings.deleting = Some((Status::True, Reason::Uninstalling, message.clone()));
    planned.extend(effects(snapshot, findings, now));
    Plan { effects: planned, wake: Some(WAIT), why: message }
}

/// Our suspension is withdrawn before and during the deletion of the release: Flux skips the uninstall of a suspended one.
fn give_back_if_deleting(snapshot: &Snapshot, release: Option<&(Key, &Object)>) -> Vec<Effect> {
    if release.is_some() { give_back(snapshot) } else { Vec::new() }
}

/// The release, if it is ours. An absent kind, an absent object and somebody else's object all count as gone.
fn release<'a>(snapshot: &'a Snapshot, instance: &Object) -> Option<(Key, &'a Object)> {
    let release = snapshot.release.found()?;
    let kind = crate::foreign::flux::helm_release(&snapshot.settings.caps)?;
    let ours = ownership(release, instance, &[]) == Ownership::Ours;
    ours.then(|| (Key::namespaced(&kind, release.namespace().unwrap_or_default(), release.name()), release))
}

fn delete(key: &Key, release: Option<&(Key, &Object)>, rest: &[(Key, Object)]) -> Option<Effect> {
    let object = match release {
        Some((of, object)) if of == key => Some(*object),
        _ => rest.iter().find(|(of, _)| of == key).map(|(_, object)| object),
    }?;
    Some(Effect::Delete {
        key: key.clone(),
        only_if: Preconditions { uid: Some(object.uid()?), version: None },
        how: Propagation::Background,
    })
}

/// Deletion that leaves everything in place: children lose our owner reference first, or the garbage collector takes them.
fn leave(snapshot: &Snapshot, instance: &Object, release: Option<&(Key, &Object)>) -> Plan {
    let mut planned = detach(snapshot, instance);
    if planned.is_empty() {
        if release.is_some() {
            planned.extend(give_back(snapshot));
        }
        planned.extend(let_go(snapshot, instance));
        return Plan { effects: planned, ..Plan::idle("the application is left running") };
    }
    // The next pass must see them free before the finalizer goes.
    Plan { effects: planned, wake: Some(Duration::from_secs(1)), why: "children are being detached".into() }
}

/// Patches that take our owner reference off every child that was read, each guarded by the version that was read.
pub(super) fn detach(snapshot: &Snapshot, instance: &Object) -> Vec<Effect> {
    let uid = instance.uid().map(|uid| uid.0).unwrap_or_default();
    let caps = &snapshot.settings.caps;
    let mut children: Vec<(Key, &Object)> = Vec::new();
    if let (Some(release), Some(kind)) = (snapshot.release.found(), crate::foreign::flux::helm_release(caps)) {
        children.push((Key::namespaced(&kind, release.namespace().unwrap_or_default(), release.name()), release));
    }
    children.extend(snapshot.rest.iter().flatten().map(|(key, object)| (key.clone(), object)));
    children
        .into_iter()
        .filter_map(|(key, child)| {
            let references = child.0.pointer("/metadata/ownerReferences").and_then(Value::as_array)?;
            let kept: Vec<&Value> =
                references.iter().filter(|reference| reference["uid"].as_str() != Some(uid.as_str())).collect();
            if kept.len() == references.len() || uid.is_empty() {
                return None;
            }
            let mut metadata = json!({ "ownerReferences": kept });
            if let Some(version) = child.version() {
                metadata["resourceVersion"] = json!(version.0);
            }
            Some(Effect::Patch { key, uid: child.uid()?, merge: json!({ "metadata": metadata }) })
        })
        .collect()
}

/// The Restore or Migration that holds the target, if one does.
pub(super) fn holder(snapshot: &Snapshot) -> Option<Holder> {
    let lease = snapshot.lease.as_ref()?;
    core::holders(lease).into_iter().find(|holder| matches!(holder.type_.as_str(), "Restore" | "Migration"))
}

/// Longest any Restore or Migration template takes (contract §9.1); used when the operation itself says nothing.
const LONGEST_RESTORE: i64 = 6 * 3600;
const LONGEST_MIGRATION: i64 = 4 * 3600;

/// Until when a deletion waits for the holder: its deadline. A holder without any readable time is not waited for, because
/// that wait would have no end.
fn waits_until(snapshot: &Snapshot, now: Timestamp) -> Option<Timestamp> {
    let instance = snapshot.instance.as_ref()?;
    let holder = holder(snapshot)?;
    let (recorded, own) = snapshot.holder.as_ref().map(core::operation_deadline).unwrap_or_default();
    let start: Timestamp = recorded.as_deref().unwrap_or(&holder.since).parse().ok()?;
    let longest = if holder.type_ == "Restore" { LONGEST_RESTORE } else { LONGEST_MIGRATION };
    let seconds = own.filter(|own| (1..=604_800).contains(own)).unwrap_or(longest);
    let deleted =
        instance.0.pointer("/metadata/deletionTimestamp").and_then(Value::as_str)?.parse::<Timestamp>().ok()?;
    // What holds the target began before the deletion; a later time is a mistake, and would be a wait without end.
    let until = start.min(deleted).checked_add(SignedDuration::from_secs(seconds)).ok()?;
    // A release that is not there has nothing to wait for.
    (until > now && snapshot.release.found().is_some() && intent::writes(instance)).then_some(until)
}
