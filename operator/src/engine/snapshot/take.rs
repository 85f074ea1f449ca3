//! Backup: a VolumeSnapshot of one claim.

use serde_json::{Map, Value, json};

use super::child;
use crate::api::condition::Reason;
use crate::api::{annotation, label};
use crate::cluster_api::{Caps, Key, Object, Preconditions, Propagation, Scope};
use crate::engine::operation::{
    Cause, Facts, Hold, Order, Question, Reading, Stage, Start, State, Step, Withdrawal, labels,
};
use crate::engine::parameters::{self, SnapshotBackup};
use crate::foreign::claim::{self, Claim, claim};
use crate::foreign::snapshot::{self, VolumeSnapshot};
use crate::foreign::text;

fn source(order: &Order, parameters: &SnapshotBackup) -> Key {
    Key::namespaced(&claim(), &order.namespace, &parameters.pvc)
}

/// Where the driver of a claim is named, if the claim does not name it itself.
fn storage_class(claim: &Object) -> Option<Key> {
    let claim = Claim::read(claim);
    (claim.driver.is_none()).then(|| Some(Key::cluster(&claim::storage_class(), &claim.storage_class?)))?
}

pub(super) fn questions(stage: Stage, key: &Key, order: &Order, caps: &Caps, facts: &Facts) -> Vec<Question> {
    if stage == Stage::Watch {
        // Which content it is bound to stands in the child alone.
        let bound = facts.object(key).map(VolumeSnapshot::read).and_then(|read| read.content);
        let content = bound.and_then(|name| Some(Key::cluster(&snapshot::content(caps)?, &name)));
        return std::iter::once(key.clone()).chain(content).map(Question::Object).collect();
    }
    let Ok(parameters) = parameters::read::<SnapshotBackup>(&order.parameters) else { return Vec::new() };
    let source = source(order, &parameters);
    let class = facts.object(&source).and_then(storage_class);
    let mut asked: Vec<Question> = std::iter::once(source).chain(class).map(Question::Object).collect();
    if let Some(kind) = snapshot::class(caps) {
        asked.push(match &parameters.volume_snapshot_class_name {
            Some(name) => Question::Object(Key::cluster(&kind, name)),
            None => Question::List(kind, Scope::all()),
        });
    }
    asked
}

pub(super) fn render(key: Key, order: &Order, caps: &Caps, facts: &Facts) -> Result<Start, Hold> {
    let parameters = parameters::read::<SnapshotBackup>(&order.parameters)?;
    let degraded = quiesce(order, &parameters)?;
    let pvc = &parameters.pvc;
    let object = facts.object(&source(order, &parameters)).ok_or_else(|| {
        Hold::last(Reason::SourcePvcNotFound, format!("PersistentVolumeClaim {pvc} does not exist in this namespace"))
    })?;
    let claim = Claim::read(object);
    if !claim.bound() {
        let message = format!("PersistentVolumeClaim {pvc} has no volume yet");
        return Err(Hold::wait(Reason::DependencyMissing, message));
    }
    if claim.deleting {
        return Err(Hold::wait(Reason::DependencyMissing, format!("PersistentVolumeClaim {pvc} is being deleted")));
    }
    let driver = claim.driver.or_else(|| claim::provisioner(facts.object(&storage_class(object)?)?));
    let class = class(&parameters, driver.as_deref(), caps, facts)?;
    let mut outputs = Map::new();
    outputs.insert("volumeSnapshotName".into(), key.name.clone().into());
    if degraded.is_some() {
        outputs.insert("consistency".into(), "crash".into());
    }
    let mut labels = labels(order, true);
    // It lives in the target's namespace, where a backup would take it along.
    labels.insert(label::EXCLUDE_FROM_BACKUP.into(), "true".into());
    let spec = json!({ "volumeSnapshotClassName": class, "source": { "persistentVolumeClaimName": pvc } });
    let object = child(&key, &labels, spec);
    Ok(Start { key, before: Vec::new(), object, take: None, outputs, degraded })
}

/// The operator may not run anything in a pod, so a wish to bring the application to rest stays one.
fn quiesce(order: &Order, parameters: &SnapshotBackup) -> Result<Option<(Reason, String)>, Hold> {
    if !parameters.quiesce.as_ref().is_some_and(|quiesce| quiesce.enabled) {
        return Ok(None);
    }
    let declared = order.target.object.as_ref().and_then(|target| target.annotation(annotation::QUIESCE));
    if !declared.is_some_and(|value| value.split(',').any(|word| word.trim() == "exec")) {
        let message =
            format!("the target does not declare {}: exec; declare it, or do not ask for quiesce", annotation::QUIESCE);
        return Err(Hold::wait(Reason::CapabilityMissing, message));
    }
    Ok(Some(skipped()))
}

fn skipped() -> (Reason, String) {
    let message = "the snapshot is crash-consistent: the application was not brought to rest. Use a workflow for that";
    (Reason::QuiesceSkipped, message.into())
}

/// The class, always explicit: a missing one would be filled in by somebody else.
fn class(parameters: &SnapshotBackup, driver: Option<&str>, caps: &Caps, facts: &Facts) -> Result<String, Hold> {
    let missing = |message: String| Err(Hold::wait(Reason::MissingVolumeSnapshotClass, message));
    let Some(kind) = snapshot::class(caps) else { return missing("the VolumeSnapshotClass API is not served".into()) };
    if let Some(name) = &parameters.volume_snapshot_class_name {
        let Some(found) = facts.object(&Key::cluster(&kind, name)) else {
            return missing(format!("VolumeSnapshotClass {name} does not exist; create it, or name another"));
        };
        // A volume that was made by hand names no driver: then only the driver itself can tell.
        return match (driver, snapshot::driver(found)) {
            (_, None) => missing(format!("VolumeSnapshotClass {name} names no driver")),
            (Some(wanted), Some(other)) if wanted != other => missing(format!(
                "VolumeSnapshotClass {name} is for driver {other}, but the volume is of {wanted}; name another"
            )),
            _ => Ok(name.clone()),
        };
    }
    let Some(driver) = driver else {
        return missing("the driver of the volume is not known; name a class in volumeSnapshotClassName".into());
    };
    let mut defaults: Vec<&str> = facts
        .list(&kind, &Scope::all())
        .iter()
        .filter(|class| snapshot::is_default(class) && snapshot::driver(class) == Some(driver))
        .map(Object::name)
        .collect();
    defaults.sort_unstable();
    match defaults.as_slice() {
        [one] => Ok((*one).to_string()),
        [] => {
            missing(format!("driver {driver} has no default VolumeSnapshotClass; name one in volumeSnapshotClassName"))
        }
        several => missing(format!(
            "driver {driver} has several default VolumeSnapshotClasses ({}); name one in volumeSnapshotClassName",
            several.join(", ")
        )),
    }
}

/// The mapping table of contract §10.4.
pub(super) fn interpret(order: &Order, caps: &Caps, child: &Object, facts: &Facts) -> Reading {
    let read = VolumeSnapshot::read(child);
    let content = read.content.as_ref().and_then(|name| facts.object(&Key::cluster(&snapshot::content(caps)?, name)));
    let error = read.error.clone().or_else(|| content.and_then(snapshot::error));
    let running = |message: String| Reading::of(State::Running(Reason::VolumeSnapshotInProgress), message);
    let mut reading = if !read.noticed {
        Reading::of(State::Waiting, "the snapshot controller has not seen it")
    } else if read.ready && content.is_some_and(|content| snapshot::refers_to(content, child)) {
        Reading::of(
            State::Succeeded(Reason::EngineCompleted, Reason::VolumeSnapshotReadyToUse),
            "the snapshot can be used",
        )
    } else if let Some(error) = &error {
        running(text::cut(&format!("the driver tries again: {error}"), 1024))
    } else if read.ready {
        running("it says that it is ready, but no content is bound to it".into())
    } else if read.creation_time.is_some() {
        running("the point in time is taken; the driver makes it usable".into())
    } else {
        running("the driver takes the snapshot".into())
    };
    let succeeded = matches!(reading.state, State::Succeeded(..));
    reading.working = !(succeeded || read.ready || read.deleting);
    reading.at_deadline = error.filter(|_| !succeeded).map(|_| Reason::VolumeSnapshotFailed);
    let parameters = parameters::read::<SnapshotBackup>(&order.parameters).unwrap_or_default();
    let mut put = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            reading.outputs.insert(name.into(), Value::String(text::cut(&value, 253)));
        }
    };
    put("volumeSnapshotName", Some(child.name().into()));
    put("volumeSnapshotContentName", read.content);
    put("restoreSize", read.restore_size);
    put("creationTime", read.creation_time);
    if parameters.quiesce.is_some_and(|quiesce| quiesce.enabled) {
        put("consistency", Some("crash".into()));
        reading.degraded = Some(skipped());
    }
    reading
}

/// A snapshot that is not ready would keep its claim from being deleted; one that is ready stays.
pub(super) fn withdraw(cause: Cause, child: Option<(&Key, &Object)>) -> Withdrawal {
    let over = |note: &str| Withdrawal { steps: Vec::new(), done: true, note: note.into() };
    if matches!(cause, Cause::Finished | Cause::Deleted) {
        return over("");
    }
    let Some((key, object)) = child else { return over("") };
    let read = VolumeSnapshot::read(object);
    if read.ready {
        return over("the snapshot is ready and stays");
    }
    // Its end may never come: some drivers forget a snapshot that is deleted early.
    if read.deleting {
        return over("");
    }
    let note = "the snapshot is being deleted".to_string();
    let steps = match (object.uid(), object.version()) {
        (Some(uid), Some(version)) => vec![Step::Delete {
            key: key.clone(),
            // It may become ready at any moment, and then it must not go.
            only_if: Preconditions { uid: Some(uid), version: Some(version) },
            how: Propagation::Background,
        }],
        _ => Vec::new(),
    };
    Withdrawal { steps, done: false, note }
}
