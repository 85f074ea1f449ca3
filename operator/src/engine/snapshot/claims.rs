//! Restore: a new claim that is filled from a VolumeSnapshot.

use serde_json::{Map, json};

use super::child;
use crate::api::condition::Reason;
use crate::api::label;
use crate::cluster_api::{Caps, Key, Object};
use crate::engine::operation::{Cause, Facts, Hold, Order, Question, Reading, Stage, Start, State, Withdrawal, labels};
use crate::engine::parameters::{self, SnapshotRestore};
use crate::foreign::claim::{self, Claim, claim};
use crate::foreign::quantity::{larger, thousandths};
use crate::foreign::snapshot::{VolumeSnapshot, volume_snapshot};

fn snapshot_key(order: &Order, caps: &Caps, parameters: &SnapshotRestore) -> Option<Key> {
    Some(Key::namespaced(&volume_snapshot(caps)?, &order.namespace, &parameters.snapshot_name))
}

/// The claim the snapshot was made of, if it says so.
fn source_key(order: &Order, snapshot: &Object) -> Option<Key> {
    Some(Key::namespaced(&claim(), &order.namespace, &VolumeSnapshot::read(snapshot).source?))
}

fn class_key(claim: &Object) -> Option<Key> {
    Some(Key::cluster(&claim::storage_class(), &Claim::read(claim).storage_class?))
}

pub(super) fn questions(stage: Stage, key: &Key, order: &Order, caps: &Caps, facts: &Facts) -> Vec<Question> {
    if stage == Stage::Watch {
        let class = facts.object(key).and_then(class_key);
        return std::iter::once(key.clone()).chain(class).map(Question::Object).collect();
    }
    let Ok(parameters) = parameters::read::<SnapshotRestore>(&order.parameters) else { return Vec::new() };
    let snapshot = snapshot_key(order, caps, &parameters);
    let source = snapshot.as_ref().and_then(|key| facts.object(key)).and_then(|object| source_key(order, object));
    std::iter::once(key.clone()).chain(snapshot).chain(source).map(Question::Object).collect()
}

/// Whether the snapshot is of this very target.
fn own(order: &Order, snapshot: &Object) -> bool {
    [
        (label::CLUSTER_ID, &order.cluster_id),
        (label::TARGET, &order.target.name),
        (label::TARGET_NAMESPACE, &order.namespace),
        (label::TARGET_UID, &order.target.uid),
    ]
    .iter()
    .all(|(key, value)| snapshot.label(key) == Some(value.as_str()))
}

pub(super) fn render(key: Key, order: &Order, caps: &Caps, facts: &Facts) -> Result<Start, Hold> {
    let parameters = parameters::read::<SnapshotRestore>(&order.parameters)?;
    let wait = |reason: Reason, message: String| Hold::wait(reason, message);
    let name = &parameters.snapshot_name;
    // An unknown and a foreign name get the same answer.
    let object = snapshot_key(order, caps, &parameters)
        .and_then(|key| facts.object(&key))
        .filter(|object| own(order, object))
        .ok_or_else(|| {
            wait(
                Reason::PolicyDenied,
                "no VolumeSnapshot of this name belongs to this target; name one of its own".into(),
            )
        })?;
    let read = VolumeSnapshot::read(object);
    if read.deleting || !read.ready {
        let state = if read.deleting { "is being deleted" } else { "is not ready" };
        return Err(wait(Reason::DependencyMissing, format!("VolumeSnapshot {name} {state}")));
    }
    let ours = |object: &&Object| object.label(label::OPERATION) == Some(order.uid.as_str());
    if facts.object(&key).is_some_and(|object| !ours(&object)) {
        let message = format!("PersistentVolumeClaim {} exists; name a new one in pvc", key.name);
        return Err(wait(Reason::ExistingVolumes, message));
    }
    let source = source_key(order, object).and_then(|key| facts.object(&key)).map(Claim::read);
    let size = size(&parameters, read.restore_size.as_deref(), source.as_ref())?;
    let mut modes = parameters.access_modes.clone();
    if modes.is_empty() {
        modes = source.as_ref().map(|source| source.access_modes.clone()).unwrap_or_default();
    }
    if modes.is_empty() {
        modes.push("ReadWriteOnce".into());
    }
    let mut spec = json!({
        "accessModes": modes,
        "resources": { "requests": { "storage": size } },
        "dataSource": { "apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": name },
    });
    let class = parameters.storage_class_name.or_else(|| source.as_ref()?.storage_class.clone());
    if let Some(class) = class {
        spec["storageClassName"] = json!(class);
    }
    // A snapshot of a raw device must not become a file system.
    if source.is_some_and(|source| source.volume_mode.as_deref() == Some("Block")) {
        spec["volumeMode"] = json!("Block");
    }
    let mut outputs = Map::new();
    outputs.insert("pvcName".into(), key.name.clone().into());
    // Nothing keeps this claim out of backups: it holds live data from now on (contract §4.1).
    let object = child(&key, &labels(order, true), spec);
    Ok(Start { key, before: Vec::new(), object, take: None, outputs, degraded: None })
}

/// The size of the new claim, which is never smaller than what it has to hold.
fn size(parameters: &SnapshotRestore, restore: Option<&str>, source: Option<&Claim>) -> Result<String, Hold> {
    let invalid = |message: String| Err(Hold::wait(Reason::ValidationFailed, message));
    let least = larger(restore, source.and_then(|source| source.capacity.as_deref()));
    let Some(wanted) = &parameters.size else {
        return match least.filter(|text| thousandths(text).is_some_and(|size| size > 0)) {
            Some(least) => Ok(least.into()),
            None => invalid("the snapshot does not say how large it is; give parameters.size".into()),
        };
    };
    match (thousandths(wanted), least.and_then(thousandths)) {
        (None | Some(0), _) => invalid("parameters.size must be a quantity, for example 10Gi".into()),
        (Some(size), Some(floor)) if size < floor => {
            invalid(format!("parameters.size is smaller than the {} that are needed", least.unwrap_or_default()))
        }
        _ => Ok(wanted.clone()),
    }
}

pub(super) fn interpret(child: &Object, facts: &Facts) -> Reading {
    let read = Claim::read(child);
    let consumer = class_key(child).and_then(|key| facts.object(&key)).is_some_and(claim::waits_for_consumer);
    let done = |message: &str| Reading::of(State::Succeeded(Reason::EngineCompleted, Reason::EngineCompleted), message);
    let mut reading = match read.phase.as_str() {
        "Bound" => done("the claim has its volume"),
        "Pending" if consumer && !read.node_chosen && !read.deleting => {
            done("the claim gets its volume when a pod uses it for the first time")
        }
        "" => Reading::of(State::Waiting, "nobody has seen the claim"),
        "Pending" => Reading::of(State::Running(Reason::EngineStarted), "the volume is being made from the snapshot"),
        "Lost" => Reading::of(State::Running(Reason::EngineStarted), "the claim has lost its volume"),
        _ => Reading::of(
            State::Running(Reason::EngineStarted),
            "the claim is in a phase that is not known to this version",
        ),
    };
    reading.outputs.insert("pvcName".into(), child.name().into());
    reading
}

/// A claim that is deleted while it is being filled can leave a finalizer on the snapshot: it stays, whatever happens.
pub(super) fn withdraw(cause: Cause, child: Option<(&Key, &Object)>) -> Withdrawal {
    let note = match (cause, child) {
        (Cause::Cancelled | Cause::Timeout, Some((key, _))) => format!("PersistentVolumeClaim {} stays", key.name),
        _ => String::new(),
    };
    Withdrawal { steps: Vec::new(), done: true, note }
}
