//! Backup (contract §10.2).

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Words, check_resources, child, counted, coverage, excluded, fresh, judge, location_key, usable_location};
use crate::api::annotation;
use crate::api::condition::Reason;
use crate::cluster_api::{Caps, Key, Kind, Object, Preconditions, Propagation, Scope};
use crate::engine::operation::{
    Answer, Cause, Facts, Hold, Order, Question, Reading, Stage, Start, State, Step, Withdrawal,
};
use crate::engine::parameters::{self, VeleroBackup};
use crate::foreign::claim::{Claim, claim};
use crate::foreign::velero::{self, Moved, Phase, Work};
use crate::foreign::{snapshot, text};

const WORDS: Words = Words {
    running: Reason::VeleroBackupInProgress,
    ended: Reason::VeleroBackupSucceeded,
    succeeded: Reason::VeleroBackupCompleted,
    failed: Reason::VeleroBackupFailed,
    invalid: Reason::VeleroBackupValidationFailed,
};

/// Restored Operations would run again.
const NEVER: [&str; 1] = ["operations.ops.vworkspace.io"];
const HOUR: i64 = 3600;

fn location(parameters: &VeleroBackup) -> &str {
    parameters.storage_location.as_deref().unwrap_or("default")
}

fn claims(order: &Order) -> (Kind, Scope) {
    (claim(), Scope::namespace(&order.namespace))
}

fn class_key(caps: &Caps, name: &str) -> Option<Key> {
    Some(Key::cluster(&snapshot::class(caps)?, name))
}

/// Lists of what Velero moved or copied for the backup.
fn moved_lists(order: &Order, caps: &Caps) -> Vec<(Kind, Scope)> {
    let name = velero::label_value(&crate::api::names::by_uid(&order.uid));
    let scope = Scope::namespace(&order.velero_namespace).labelled(&format!("{}={name}", velero::BACKUP_NAME));
    [velero::data_upload(caps), velero::pod_volume_backup(caps)]
        .into_iter()
        .flatten()
        .map(|kind| (kind, scope.clone()))
        .collect()
}

pub(super) fn questions(stage: Stage, order: &Order, caps: &Caps) -> Vec<Question> {
    let Ok(parameters) = parameters::read::<VeleroBackup>(&order.parameters) else { return Vec::new() };
    if stage == Stage::Watch {
        return moved_lists(order, caps).into_iter().map(|(kind, scope)| Question::List(kind, scope)).collect();
    }
    let class = parameters.csi_snapshot_class_name.as_deref().and_then(|name| class_key(caps, name));
    let objects = location_key(order, caps, location(&parameters)).into_iter().chain(class).map(Question::Object);
    let covered = (parameters.snapshot_volumes != Some(false)).then(|| claims(order));
    objects.chain(covered.map(|(kind, scope)| Question::List(kind, scope))).collect()
}

pub(super) fn render(key: Key, order: &Order, caps: &Caps, facts: &Facts, now: Timestamp) -> Result<Start, Hold> {
    let parameters = parameters::read::<VeleroBackup>(&order.parameters)?;
    let ttl = ttl(parameters.ttl.as_deref().unwrap_or("720h"))?;
    if parameters.include_namespaces.iter().any(|name| *name != order.namespace) {
        let message = format!("parameters.includeNamespaces may only name {}", order.namespace);
        return Err(Hold::wait(Reason::ValidationFailed, message));
    }
    check_resources(&parameters.included_resources, &parameters.excluded_resources, &NEVER)?;
    let name = location(&parameters);
    let place = usable_location(location_key(order, caps, name), name, facts)?;
    let wait = |message: String| Err(Hold::wait(Reason::DependencyMissing, message));
    if place.read_only {
        return wait(format!("BackupStorageLocation {name} is read-only; name another"));
    }
    if !fresh(&place, now) {
        return wait(format!("BackupStorageLocation {name} was not validated lately; is Velero running?"));
    }
    let mut annotations = Map::new();
    if let Some(class) = &parameters.csi_snapshot_class_name {
        annotations.insert(class_annotation(class, caps, facts)?, class.clone().into());
    }
    let mut outputs = Map::new();
    outputs.insert("backupName".into(), key.name.clone().into());
    outputs.insert("storageLocation".into(), name.into());
    outputs.insert("storageLocationDigest".into(), place.digest.into());
    let volumes = bound(&parameters, order, facts)?.join(",");
    if !volumes.is_empty() {
        annotations.insert(annotation::VOLUMES.into(), volumes.clone().into());
        outputs.insert("volumes".into(), volumes.into());
    }
    let object = child(&key, order, &annotations, json!({ "spec": spec(&parameters, order, caps, &key.kind, &ttl) }));
    let degraded = unmoved(&parameters, caps, &key.kind);
    Ok(Start { key, before: Vec::new(), object, take: None, outputs, degraded })
}

/// A wish this Velero does not know.
fn unmoved(parameters: &VeleroBackup, caps: &Caps, kind: &Kind) -> Option<(Reason, String)> {
    let wished = parameters.snapshot_move_data == Some(true) && !caps.declares(kind, MOVE);
    wished.then(|| {
        (Reason::PartialFailure, "this Velero cannot move snapshot data: snapshots stay where they are".into())
    })
}

const MOVE: &str = "spec.snapshotMoveData";

/// Names of the claims with a volume, sorted; what is not to be saved is not looked at.
fn bound(parameters: &VeleroBackup, order: &Order, facts: &Facts) -> Result<Vec<String>, Hold> {
    if parameters.snapshot_volumes == Some(false) {
        return Ok(Vec::new());
    }
    let (kind, scope) = claims(order);
    let Some(Answer::List(list)) = facts.0.get(&Question::List(kind, scope)) else {
        return Err(Hold::wait(Reason::DependencyMissing, "the volumes of the namespace cannot be read"));
    };
    let mut names: Vec<String> = list
        .iter()
        .map(Claim::read)
        .filter(Claim::bound)
        .map(|claim| claim.name)
        .filter(|name| !name.is_empty())
        .collect();
    names.sort();
    Ok(names)
}

/// Velero has no field for the class: an annotation per driver names it.
fn class_annotation(class: &str, caps: &Caps, facts: &Facts) -> Result<String, Hold> {
    let missing = |message: String| Hold::wait(Reason::MissingVolumeSnapshotClass, message);
    let object = class_key(caps, class)
        .and_then(|key| facts.object(&key))
        .ok_or_else(|| missing(format!("VolumeSnapshotClass {class} does not exist; create it, or name another")))?;
    let driver =
        snapshot::driver(object).ok_or_else(|| missing(format!("VolumeSnapshotClass {class} names no driver")))?;
    let name = format!("csi-volumesnapshot-class_{driver}");
    if name.len() > 63 {
        let message =
            format!("the driver of VolumeSnapshotClass {class} has too long a name for Velero; leave the class out");
        return Err(Hold::wait(Reason::ValidationFailed, message));
    }
    Ok(format!("velero.io/{name}"))
}

/// A duration as Velero reads it; days and weeks are ours.
fn ttl(text: &str) -> Result<String, Hold> {
    let invalid = |message: &str| Hold::wait(Reason::ValidationFailed, format!("parameters.ttl {message}"));
    let mut seconds: i64 = 0;
    let mut number = String::new();
    for character in text.chars() {
        let unit = match character {
            '0'..='9' => {
                number.push(character);
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => HOUR,
            'd' => 24 * HOUR,
            'w' => 7 * 24 * HOUR,
            _ => return Err(invalid("must look like 720h, 30d or 4w")),
        };
        let part = number.parse::<i64>().ok().and_then(|number| number.checked_mul(unit));
        seconds = part
            .and_then(|part| seconds.checked_add(part))
            // A century; Velero counts in nanoseconds.
            .filter(|seconds| *seconds <= 876_000 * HOUR)
            .ok_or_else(|| invalid("is too long, or must look like 720h, 30d or 4w"))?;
        number.clear();
    }
    if !number.is_empty() {
        return Err(invalid("must look like 720h, 30d or 4w"));
    }
    if seconds < HOUR {
        return Err(invalid("must be at least 1h"));
    }
    Ok(format!("{}h{}m{}s", seconds / HOUR, seconds / 60 % 60, seconds % 60))
}

fn spec(parameters: &VeleroBackup, order: &Order, caps: &Caps, kind: &Kind, ttl: &str) -> Value {
    let mut spec = json!({
        "includedNamespaces": [order.namespace],
        "storageLocation": location(parameters),
        "ttl": ttl,
        "excludedResources": excluded(&parameters.excluded_resources, &NEVER),
    });
    if !parameters.included_resources.is_empty() {
        spec["includedResources"] = json!(parameters.included_resources);
    }
    if let Some(snapshot) = parameters.snapshot_volumes {
        spec["snapshotVolumes"] = json!(snapshot);
    }
    if parameters.default_volumes_to_fs_backup {
        spec["defaultVolumesToFsBackup"] = json!(true);
    }
    if let Some(moves) = parameters.snapshot_move_data.filter(|_| caps.declares(kind, MOVE)) {
        spec["snapshotMoveData"] = json!(moves);
    }
    spec
}

pub(super) fn interpret(order: &Order, caps: &Caps, child: &Object, facts: &Facts) -> Reading {
    let work = Work::read(child);
    let mut reading = judge(&work, &WORDS, whole(&work));
    let parameters = parameters::read::<VeleroBackup>(&order.parameters).unwrap_or_default();
    let put = |reading: &mut Reading, name: &str, value: String| {
        reading.outputs.insert(name.into(), Value::String(value));
    };
    put(&mut reading, "backupName", child.name().into());
    put(&mut reading, "storageLocation", location(&parameters).into());
    if let Some(uid) = child.uid() {
        put(&mut reading, "backupUid", uid.0);
    }
    if reading.degraded.is_none()
        && let Some(kind) = velero::backup(caps)
    {
        reading.degraded = unmoved(&parameters, caps, &kind);
    }
    if !matches!(work.phase.known(), Some(Phase::Completed | Phase::PartiallyFailed)) {
        return reading;
    }
    counted(&work, "backupItemCount", &mut reading.outputs);
    if let Some(expiration) = &work.expiration {
        put(&mut reading, "expiration", text::cut(expiration, 64));
    }
    let Some((uploads, files)) = moved(order, caps, child, facts) else {
        // Without these lists a volume that was saved looks like one that was not.
        reading.state = State::Running(WORDS.running);
        reading.degraded = None;
        reading.message = "Velero ended; what it saved is being counted".into();
        return reading;
    };
    if let Some(bytes) = coverage::bytes(&uploads, &files) {
        put(&mut reading, "backupSizeBytes", bytes.to_string());
    }
    if parameters.snapshot_volumes != Some(false) {
        cover(&mut reading, order, &work, &uploads, &files, parameters.allow_uncovered);
    }
    reading
}

/// Whether `Completed` is what it says.
fn whole(work: &Work) -> Result<(), String> {
    if work.errors != Some(0) {
        return Err(work
            .errors
            .map_or("its error counter cannot be read".into(), |count| format!("it counted {count} errors")));
    }
    if work.csi.0.is_none() || work.csi.0 != work.csi.1 {
        return Err("not every CSI snapshot that was attempted is complete".into());
    }
    if work.hooks_failed != Some(0) {
        return Err("a hook failed".into());
    }
    match work.items {
        Some(items) if items > 0 => Ok(()),
        _ => Err("it holds no item".into()),
    }
}

/// What Velero moved and copied; `None` if it was not read.
fn moved(order: &Order, caps: &Caps, child: &Object, facts: &Facts) -> Option<(Vec<Moved>, Vec<Moved>)> {
    let (mut uploads, mut files) = (Vec::new(), Vec::new());
    for (kind, scope) in moved_lists(order, caps) {
        let upload = kind.kind == "DataUpload";
        let list = match facts.0.get(&Question::List(kind, scope))? {
            Answer::List(list) => list.as_slice(),
            _ => &[],
        };
        // A backup of this name from before carries another uid.
        let uid = child.uid().map(|uid| uid.0);
        let ours =
            |object: &&Object| object.label("velero.io/backup-uid").is_none_or(|found| Some(found) == uid.as_deref());
        let found = list.iter().filter(ours).filter_map(|object| {
            // Items of a list may come without their kind.
            let mut object = object.clone();
            object.0["kind"] = json!(if upload { "DataUpload" } else { "PodVolumeBackup" });
            Moved::read(&object, &order.namespace)
        });
        if upload { uploads.extend(found) } else { files.extend(found) }
    }
    Some((uploads, files))
}

fn cover(reading: &mut Reading, order: &Order, work: &Work, uploads: &[Moved], files: &[Moved], allowed: bool) {
    let recorded = order.outputs.get("volumes").and_then(Value::as_str).unwrap_or_default();
    let volumes: Vec<&str> = recorded.split(',').filter(|name| !name.is_empty()).collect();
    let Some(found) = coverage::uncovered(&volumes, work, uploads, files) else { return };
    let named = if found.names.is_empty() { String::new() } else { format!(": {}", found.names.join(",")) };
    reading.outputs.insert("uncoveredVolumes".into(), format!("{}{named}", found.count).into());
    let message =
        text::cut(&format!("{} of {} volumes are not in the backup{named}", found.count, volumes.len()), 1024);
    if reading.degraded.is_none() || matches!(reading.state, State::Succeeded(..)) {
        reading.degraded = Some((Reason::PartialFailure, message.clone()));
    }
    if !allowed && matches!(reading.state, State::Succeeded(..)) {
        reading.state = State::Failed(WORDS.failed);
        reading.message = format!("PartiallyFailed: {message}; the backup is kept. Set allowUncovered to accept this");
    }
}

/// A backup that has not begun is deleted; one that has cannot be interrupted, and one that ended stays.
pub(super) fn withdraw(cause: Cause, child: Option<(&Key, &Object)>) -> Withdrawal {
    let over = |note: &str| Withdrawal { steps: Vec::new(), done: true, note: note.into() };
    if matches!(cause, Cause::Finished | Cause::Deleted) {
        return over("");
    }
    let Some((key, object)) = child else { return over("") };
    let work = Work::read(object);
    if work.ended() {
        return over("");
    }
    if !work.phase.is(Phase::Waiting) {
        return over("Velero cannot be interrupted: the backup goes on");
    }
    let waiting =
        |steps| Withdrawal { steps, done: false, note: "the backup is being deleted before it begins".into() };
    match (object.deleting(), object.uid(), object.version()) {
        (false, Some(uid), Some(version)) => waiting(vec![Step::Delete {
            key: key.clone(),
            // Velero may begin at any moment: its first write makes this delete fail.
            only_if: Preconditions { uid: Some(uid), version: Some(version) },
            how: Propagation::Background,
        }]),
        _ => waiting(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_told_in_hours() {
        for (text, expect) in [
            ("720h", Some("720h0m0s")),
            ("30d", Some("720h0m0s")),
            ("4w", Some("672h0m0s")),
            ("1h", Some("1h0m0s")),
            ("60m", Some("1h0m0s")),
            ("1h90m30s", Some("2h30m30s")),
            ("59m59s", None),
            ("0h", None),
            ("", None),
            ("30", None),
            ("h", None),
            ("1y", None),
            ("99999999999999999999w", None),
            ("9999999w", None),
        ] {
            assert_eq!(ttl(text).ok().as_deref(), expect, "{text}");
        }
    }
}
