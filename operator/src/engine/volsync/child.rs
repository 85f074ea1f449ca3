//! What is created: a ReplicationSource or a ReplicationDestination with exactly one mover and always a trigger, because
//! without one VolSync copies in an endless loop.

use std::sync::LazyLock;

use jiff::Timestamp;
use regex::Regex;
use serde_json::{Map, Value, json};

use super::kind;
use crate::api::condition::Reason;
use crate::api::label;
use crate::cluster_api::{Caps, Key, Kind, Object};
use crate::engine::operation::{Facts, Hold, Order, Question, Start, labels, owner};
use crate::engine::parameters::{self, Repository, Retain, VolsyncBackup, VolsyncRestore};
use crate::foreign::claim::claim;
use crate::foreign::core::secret;
use crate::foreign::quantity::thousandths;

/// Movers that every CRD of VolSync has; others are vendors' additions.
const STANDARD: [&str; 3] = ["restic", "rclone", "rsyncTLS"];
/// Section of the rclone configuration that is used; parameters do not name one.
const RCLONE_SECTION: &str = "vworkspace";
/// User of the mover (contract §10.7).
const USER: i64 = 65_532;

/// What the CRD accepts as a schedule. It matches anywhere, as the server does, with the same pattern.
static SCHEDULE: LazyLock<Regex> = LazyLock::new(|| {
    let text = r"^(@(annually|yearly|monthly|weekly|daily|hourly))|((((\d+,)*\d+|(\d+(\/|-)\d+)|\*(\/\d+)?)\s?){5})$";
    Regex::new(text).expect("a constant pattern compiles")
});

fn claim_key(order: &Order, name: &str) -> Key {
    Key::namespaced(&claim(), &order.namespace, name)
}

fn secret_key(order: &Order, name: &str) -> Key {
    Key::namespaced(&secret(), &order.namespace, name)
}

/// The claim and the repository's Secret.
pub(super) fn questions(order: &Order) -> Vec<Question> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(String::from);
    let pvc = text(order.parameters.get("pvc")).map(|name| Question::Object(claim_key(order, &name)));
    let named = order.parameters.get("repository").and_then(|repository| repository.get("secretName"));
    let secret = text(named).map(|name| Question::Keys(secret_key(order, &name)));
    pvc.into_iter().chain(secret).collect()
}

fn invalid<T>(message: impl Into<String>) -> Result<T, Hold> {
    Err(Hold::wait(Reason::ValidationFailed, message))
}

fn quantity(value: Option<&String>, path: &str) -> Result<(), Hold> {
    match value.map(|text| thousandths(text).unwrap_or_default()) {
        Some(0) => invalid(format!("parameters.{path} must be a quantity, for example 2Gi")),
        _ => Ok(()),
    }
}

/// The Secret with the keys its mover reads (contract §9.2 row 12).
fn check_secret(order: &Order, repository: &Repository, facts: &Facts) -> Result<(), Hold> {
    let wanted: &[&str] = match repository.type_.as_str() {
        "restic" => &["RESTIC_REPOSITORY", "RESTIC_PASSWORD"],
        "rclone" => &["rclone.conf"],
        "rsyncTLS" => &["psk.txt"],
        "kopia" => &["KOPIA_REPOSITORY", "KOPIA_PASSWORD"],
        _ => &[],
    };
    let name = &repository.secret_name;
    let missing = |message: String| Err(Hold::wait(Reason::MissingSecret, message));
    let Some(keys) = facts.keys(&secret_key(order, name)) else {
        return missing(format!("Secret {name} does not exist; create it in this namespace"));
    };
    match wanted.iter().find(|key| !keys.contains(**key)) {
        Some(key) => missing(format!("Secret {name} has no key {key}; add it")),
        None => Ok(()),
    }
}

/// The mover section with what all movers and both directions have.
fn mover(
    order: &Order,
    caps: &Caps,
    kind: &Kind,
    repository: &Repository,
    pvc: &str,
) -> Result<Map<String, Value>, Hold> {
    let type_ = repository.type_.as_str();
    let readable = caps.fields.contains_key(&format!("{}/{}", kind.api_version(), kind.plural));
    let there = caps.declares(kind, &format!("spec.{type_}")) || (!readable && STANDARD.contains(&type_));
    if !there {
        let message = format!("this VolSync has no mover {type_}; choose another type of repository");
        return Err(Hold::wait(Reason::EngineNotInstalled, message));
    }
    let mut mover = Map::new();
    let secret = json!(repository.secret_name);
    match type_ {
        "rclone" => {
            mover.insert("rcloneConfig".into(), secret);
            mover.insert("rcloneConfigSection".into(), json!(RCLONE_SECTION));
            mover.insert("rcloneDestPath".into(), json!(format!("{}/{pvc}", order.namespace)));
        }
        "rsyncTLS" => {
            mover.insert("keySecret".into(), secret);
        }
        _ => {
            mover.insert("repository".into(), secret);
        }
    }
    // A namespace that enforces `restricted` refuses the mover otherwise, for ever.
    if caps.declares(kind, &format!("spec.{type_}.moverSecurityContext")) {
        let context =
            json!({ "runAsNonRoot": true, "runAsUser": USER, "seccompProfile": { "type": "RuntimeDefault" } });
        mover.insert("moverSecurityContext".into(), context);
    }
    Ok(mover)
}

fn is_snapshotting(repository: &Repository) -> bool {
    matches!(repository.type_.as_str(), "restic" | "kopia")
}

fn object(key: &Key, order: &Order, spec: Value) -> Object {
    Object(json!({
        "apiVersion": key.kind.api_version(),
        "kind": key.kind.kind,
        "metadata": {
            "name": key.name, "namespace": key.namespace,
            "labels": labels(order, false), "ownerReferences": [owner(order)],
        },
        "spec": spec,
    }))
}

fn outputs(key: &Key) -> Map<String, Value> {
    Map::from_iter([("replicationName".to_string(), json!(key.name))])
}

pub(super) fn source(key: Key, order: &Order, caps: &Caps, facts: &Facts) -> Result<Start, Hold> {
    let parameters = parameters::read::<VolsyncBackup>(&order.parameters)?;
    let (repository, pvc) = (&parameters.repository, &parameters.pvc);
    if parameters.schedule.as_ref().is_some_and(|schedule| !SCHEDULE.is_match(schedule)) {
        return invalid("parameters.schedule must be a cron expression of five fields, or for example @daily");
    }
    quantity(parameters.cache_capacity.as_ref(), "cacheCapacity")?;
    if !is_snapshotting(repository) && (parameters.retain.is_some() || parameters.cache_capacity.is_some()) {
        return invalid(format!(
            "parameters.retain and cacheCapacity mean nothing to {}; leave them out",
            repository.type_
        ));
    }
    let mut mover = mover(order, caps, &key.kind, repository, pvc)?;
    check_secret(order, repository, facts)?;
    if facts.object(&claim_key(order, pvc)).is_none_or(Object::deleting) {
        let message = format!("PersistentVolumeClaim {pvc} does not exist in this namespace, or is being deleted");
        return Err(Hold::wait(Reason::DependencyMissing, message));
    }
    mover.insert("copyMethod".into(), json!(parameters.copy_method.as_deref().unwrap_or("Snapshot")));
    if let Some(class) = &parameters.volume_snapshot_class_name {
        mover.insert("volumeSnapshotClassName".into(), json!(class));
    }
    if let Some(capacity) = &parameters.cache_capacity {
        mover.insert("cacheCapacity".into(), json!(capacity));
    }
    if let Some(retain) = parameters.retain.as_ref().filter(|retain| **retain != Retain::default()) {
        mover.insert("retain".into(), json!(retain));
    }
    let trigger = match &parameters.schedule {
        Some(schedule) => json!({ "schedule": schedule }),
        None => json!({ "manual": order.uid }),
    };
    let spec = json!({ "sourcePVC": pvc, "trigger": trigger, repository.type_.as_str(): mover });
    let object = object(&key, order, spec);
    let outputs = outputs(&key);
    Ok(Start { key, before: Vec::new(), object, take: None, outputs, degraded: None })
}

pub(super) fn destination(key: Key, order: &Order, caps: &Caps, facts: &Facts) -> Result<Start, Hold> {
    let parameters = parameters::read::<VolsyncRestore>(&order.parameters)?;
    let repository = &parameters.repository;
    if parameters.restore_as_of.as_ref().is_some_and(|time| time.parse::<Timestamp>().is_err()) {
        return invalid("parameters.restoreAsOf must be a time like 2026-01-01T00:00:00Z");
    }
    if parameters.previous.is_some_and(|previous| i32::try_from(previous).is_err()) {
        return invalid("parameters.previous is too large");
    }
    quantity(parameters.cache_capacity.as_ref(), "cacheCapacity")?;
    quantity(parameters.capacity.as_ref(), "capacity")?;
    let only_some =
        [parameters.restore_as_of.is_some(), parameters.previous.is_some(), parameters.cache_capacity.is_some()];
    if !is_snapshotting(repository) && only_some.contains(&true) {
        let message = format!(
            "parameters.restoreAsOf, previous and cacheCapacity mean nothing to {}; leave them out",
            repository.type_
        );
        return invalid(message);
    }
    let mut mover = mover(order, caps, &key.kind, repository, &parameters.pvc)?;
    check_secret(order, repository, facts)?;
    let before = volume(order, &parameters, facts)?;
    mover.insert("copyMethod".into(), json!("Direct"));
    mover.insert("destinationPVC".into(), json!(parameters.pvc));
    let optional = [
        ("cacheCapacity", parameters.cache_capacity.as_ref().map(|value| json!(value))),
        ("restoreAsOf", parameters.restore_as_of.as_ref().map(|value| json!(value))),
        ("previous", parameters.previous.map(|value| json!(value))),
    ];
    for (field, value) in optional {
        if let Some(value) = value {
            mover.insert(field.into(), value);
        }
    }
    if parameters.accept_existing_volumes && deletes_files(caps, &key.kind, repository) {
        mover.insert("enableFileDeletion".into(), json!(true));
    }
    let degraded = mixture(order, caps);
    let spec = json!({ "trigger": { "manual": order.uid }, repository.type_.as_str(): mover });
    let object = object(&key, order, spec);
    let outputs = outputs(&key);
    Ok(Start { key, before, object, take: None, outputs, degraded })
}

fn deletes_files(caps: &Caps, kind: &Kind, repository: &Repository) -> bool {
    caps.declares(kind, &format!("spec.{}.enableFileDeletion", repository.type_))
}

/// That old files remain beside restored ones, where that cannot be helped.
pub(super) fn mixture(order: &Order, caps: &Caps) -> Option<(Reason, String)> {
    let parameters = parameters::read::<VolsyncRestore>(&order.parameters).ok()?;
    let kind = kind(order, caps)?;
    let mixed = parameters.accept_existing_volumes && !deletes_files(caps, &kind, &parameters.repository);
    mixed.then(|| {
        let message =
            "this VolSync does not delete files: files that the backup does not have remain beside restored ones";
        (Reason::PartialFailure, message.into())
    })
}

/// The claim to be made first, if there is none. It has no owner: the data must outlive the Operation.
fn volume(order: &Order, parameters: &VolsyncRestore, facts: &Facts) -> Result<Vec<Object>, Hold> {
    let key = claim_key(order, &parameters.pvc);
    let ours = |object: &Object| object.label(label::OPERATION) == Some(order.uid.as_str());
    match facts.object(&key) {
        // A crash between the claim and the child: it is the claim made here.
        Some(object) if ours(object) => return Ok(Vec::new()),
        Some(object) if object.deleting() => {
            let message = format!("PersistentVolumeClaim {} is being deleted", key.name);
            return Err(Hold::wait(Reason::ExistingVolumes, message));
        }
        Some(_) if parameters.accept_existing_volumes => return Ok(Vec::new()),
        Some(_) => {
            let message = format!(
                "PersistentVolumeClaim {} exists; set acceptExistingVolumes to fill it, or name a new one",
                key.name
            );
            return Err(Hold::wait(Reason::ExistingVolumes, message));
        }
        None => {}
    }
    let Some(capacity) = &parameters.capacity else {
        return invalid(format!(
            "PersistentVolumeClaim {} does not exist; give parameters.capacity to make it",
            key.name
        ));
    };
    let modes =
        if parameters.access_modes.is_empty() { vec!["ReadWriteOnce".into()] } else { parameters.access_modes.clone() };
    let mut labels = labels(order, false);
    // It holds live data from now on, which later backups must not leave out (contract §4.1).
    labels.remove(label::EXCLUDE_FROM_BACKUP);
    let mut spec = json!({ "accessModes": modes, "resources": { "requests": { "storage": capacity } } });
    if let Some(class) = &parameters.storage_class_name {
        spec["storageClassName"] = json!(class);
    }
    Ok(vec![Object(json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": { "name": key.name, "namespace": key.namespace, "labels": labels },
        "spec": spec,
    }))])
}
