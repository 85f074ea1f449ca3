//! Restore (contract §10.3).

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::origin::{self, Origin};
use super::{Words, check_resources, child, counted, excluded, judge, location_key, usable_location};
use crate::api::condition::Reason;
use crate::api::{annotation, label};
use crate::cluster_api::{Caps, Key, Kind, Object, Preconditions, Propagation, Scope};
use crate::engine::operation::{
    Answer, Cause, Facts, Hold, Order, Question, Reading, Stage, Start, State, Step, Withdrawal,
};
use crate::engine::parameters::{self, ExistingResources, VeleroRestore};
use crate::engine::values;
use crate::foreign::claim::{Claim, claim};
use crate::foreign::core::config_map;
use crate::foreign::text;
use crate::foreign::velero::{self, Phase, Work};

const WORDS: Words = Words {
    running: Reason::VeleroRestoreInProgress,
    ended: Reason::VeleroRestoreSucceeded,
    succeeded: Reason::VeleroRestoreCompleted,
    failed: Reason::VeleroRestoreFailed,
    invalid: Reason::ValidationFailed,
};

/// Old requests and old releases must not come back under a live instance.
const NEVER: [&str; 7] = [
    "applicationinstances.apps.vworkspace.io",
    "operations.ops.vworkspace.io",
    "helmreleases.helm.toolkit.fluxcd.io",
    "helmrepositories.source.toolkit.fluxcd.io",
    "ocirepositories.source.toolkit.fluxcd.io",
    "helmcharts.source.toolkit.fluxcd.io",
    "leases.coordination.k8s.io",
];

const MODIFIER: &str = "spec.resourceModifier";

fn claims(order: &Order) -> (Kind, Scope) {
    (claim(), Scope::namespace(&order.namespace))
}

fn copied(order: &Order, caps: &Caps, backup: &Object) -> Option<(Kind, Scope)> {
    let selector = format!("{}={}", velero::BACKUP_NAME, velero::label_value(backup.name()));
    Some((velero::pod_volume_backup(caps)?, Scope::namespace(&order.velero_namespace).labelled(&selector)))
}

fn location_name(backup: &Object) -> &str {
    backup
        .0
        .pointer("/spec/storageLocation")
        .and_then(Value::as_str)
        .filter(|name| !name.is_empty())
        .unwrap_or("default")
}

fn modifier_key(order: &Order) -> Key {
    Key::namespaced(&config_map(), &order.velero_namespace, &crate::api::names::by_uid(&order.uid))
}

pub(super) fn questions(stage: Stage, order: &Order, caps: &Caps, facts: &Facts) -> Vec<Question> {
    let Ok(parameters) = parameters::read::<VeleroRestore>(&order.parameters) else { return Vec::new() };
    let (kind, scope) = claims(order);
    let volumes = (parameters.restore_pvs == Some(true)).then_some(Question::List(kind, scope));
    if stage == Stage::Watch {
        let mapped = !parameters.storage_class_mapping.is_empty();
        return volumes.into_iter().chain(mapped.then(|| Question::Object(modifier_key(order)))).collect();
    }
    let mut asked = origin::questions(order, caps, &parameters, facts);
    asked.extend(volumes);
    if let Ok(found) = origin::resolve(order, caps, &parameters, facts) {
        asked.extend(location_key(order, caps, location_name(found.backup)).map(Question::Object));
        asked.extend(copied(order, caps, found.backup).map(|(kind, scope)| Question::List(kind, scope)));
    }
    asked
}

pub(super) fn render(key: Key, order: &Order, caps: &Caps, facts: &Facts) -> Result<Start, Hold> {
    let parameters = parameters::read::<VeleroRestore>(&order.parameters)?;
    check_resources(&parameters.included_resources, &parameters.excluded_resources, &NEVER)?;
    let before = modifier(order, caps, &key.kind, &parameters)?;
    let found = origin::resolve(order, caps, &parameters, facts)?;
    usable(&found, &parameters)?;
    let from = destinations(order, found.backup, &parameters)?;
    let name = location_name(found.backup);
    let location = usable_location(location_key(order, caps, name), name, facts)?;
    if found.output("storageLocationDigest").is_some_and(|recorded| recorded != location.digest) {
        let message =
            format!("BackupStorageLocation {name} points to another bucket or prefix than when the backup was made");
        return Err(Hold::wait(Reason::PolicyDenied, message));
    }
    pods_come_along(order, caps, facts, found.backup, &parameters)?;
    let mut outputs = Map::new();
    outputs.insert("restoreName".into(), key.name.clone().into());
    outputs.insert("backupName".into(), found.backup.name().into());
    if parameters.restore_pvs == Some(true) {
        volumes(order, facts, &found, &parameters, &mut outputs)?;
    }
    let object = child(&key, order, &Map::new(), json!({ "spec": spec(order, &parameters, found.backup, &from) }));
    Ok(Start { key, before, object, take: None, outputs, degraded: None })
}

/// Only a complete backup is restored, or a partial one on demand. Velero itself does not look.
fn usable(found: &Origin<'_>, parameters: &VeleroRestore) -> Result<(), Hold> {
    let (work, name) = (Work::read(found.backup), found.backup.name());
    match work.phase.known() {
        _ if found.backup.deleting() => {
            Err(Hold::wait(Reason::DependencyMissing, format!("backup {name} is being deleted")))
        }
        Some(Phase::Completed) => Ok(()),
        Some(Phase::PartiallyFailed) if parameters.allow_partial => Ok(()),
        Some(Phase::PartiallyFailed) => {
            let message = format!("backup {name} is only partly complete; set allowPartial to accept that");
            Err(Hold::wait(Reason::ValidationFailed, message))
        }
        Some(Phase::Failed | Phase::FailedValidation) => {
            Err(Hold::wait(Reason::DependencyMissing, format!("backup {name} failed; name another")))
        }
        _ => Err(Hold::wait(Reason::DependencyMissing, format!("backup {name} is not complete"))),
    }
}

/// The namespaces of the backup that are read. They are always named: without, Velero restores all of them into place.
fn destinations(order: &Order, backup: &Object, parameters: &VeleroRestore) -> Result<Vec<String>, Hold> {
    let included = origin::namespaces(backup);
    if let Some((_, other)) = parameters.namespace_mapping.iter().find(|(_, to)| **to != order.namespace) {
        let message = format!("parameters.namespaceMapping may only lead to {}, not to {other}", order.namespace);
        return Err(Hold::wait(Reason::PolicyDenied, message));
    }
    let foreign = parameters.namespace_mapping.keys().find(|from| !included.contains(&from.as_str()) || *from == "*");
    if let Some(from) = foreign {
        let message = format!("parameters.namespaceMapping names {from}, which the backup does not list");
        return Err(Hold::wait(Reason::ValidationFailed, message));
    }
    if !parameters.namespace_mapping.is_empty() {
        return Ok(parameters.namespace_mapping.keys().cloned().collect());
    }
    if included != [order.namespace.as_str()] {
        let message =
            format!("the backup is of another namespace; map it to {} in parameters.namespaceMapping", order.namespace);
        return Err(Hold::wait(Reason::ValidationFailed, message));
    }
    Ok(vec![order.namespace.clone()])
}

/// File-system data travel with the pod.
fn pods_come_along(
    order: &Order,
    caps: &Caps,
    facts: &Facts,
    backup: &Object,
    parameters: &VeleroRestore,
) -> Result<(), Hold> {
    let is_pods = |name: &String| matches!(name.as_str(), "pods" | "pod" | "po");
    let included = &parameters.included_resources;
    let left_out = !included.is_empty() && !included.iter().any(|name| name == "*" || is_pods(name));
    if !left_out && !parameters.excluded_resources.iter().any(is_pods) {
        return Ok(());
    }
    let Some((kind, scope)) = copied(order, caps, backup) else { return Ok(()) };
    match facts.0.get(&Question::List(kind, scope)) {
        Some(Answer::List(list)) if list.is_empty() => Ok(()),
        Some(Answer::Unserved) => Ok(()),
        Some(Answer::List(_)) => {
            let message =
                "the backup holds volumes that are restored through their pods: include pods, or name no resources";
            Err(Hold::wait(Reason::ValidationFailed, message))
        }
        _ => Err(Hold::wait(Reason::DependencyMissing, "what the backup holds cannot be read")),
    }
}

/// What is there already, and what has to be there afterwards.
fn volumes(
    order: &Order,
    facts: &Facts,
    found: &Origin<'_>,
    parameters: &VeleroRestore,
    outputs: &mut Map<String, Value>,
) -> Result<(), Hold> {
    let Some(present) = claims_of(order, facts) else {
        return Err(Hold::wait(Reason::DependencyMissing, "the volumes of the namespace cannot be read"));
    };
    let names: Vec<String> = present.iter().map(|object| Claim::read(object).name).collect();
    if !names.is_empty() && !parameters.accept_existing_volumes {
        let message = format!(
            "Velero does not overwrite volumes that exist: {}; remove them, or set acceptExistingVolumes to keep their data",
            text::cut(&names.join(", "), 800)
        );
        return Err(Hold::wait(Reason::ExistingVolumes, message));
    }
    if !names.is_empty() {
        outputs.insert("skippedVolumes".into(), names.join(",").into());
    }
    let expected = found.output("volumes").or_else(|| found.backup.annotation(annotation::VOLUMES));
    if let Some(expected) = expected.filter(|list| !list.is_empty()) {
        outputs.insert("volumes".into(), expected.into());
    }
    Ok(())
}

fn claims_of<'a>(order: &Order, facts: &'a Facts) -> Option<&'a [Object]> {
    let (kind, scope) = claims(order);
    match facts.0.get(&Question::List(kind, scope))? {
        Answer::List(list) => Some(list),
        _ => None,
    }
}

fn spec(order: &Order, parameters: &VeleroRestore, backup: &Object, from: &[String]) -> Value {
    let moved: Map<String, Value> = from
        .iter()
        .filter(|name| **name != order.namespace)
        .map(|name| (name.clone(), Value::String(order.namespace.clone())))
        .collect();
    let mut spec = json!({
        "backupName": backup.name(),
        "includedNamespaces": from,
        "excludedResources": excluded(&parameters.excluded_resources, &NEVER),
        "existingResourcePolicy": match parameters.existing_resource_policy {
            ExistingResources::None => "none",
            ExistingResources::Update => "update",
        },
        "labelSelector": { "matchExpressions": [{ "key": "owner", "operator": "NotIn", "values": ["helm"] }] },
    });
    if !moved.is_empty() {
        spec["namespaceMapping"] = Value::Object(moved);
    }
    if !parameters.included_resources.is_empty() {
        spec["includedResources"] = json!(parameters.included_resources);
    }
    if let Some(volumes) = parameters.restore_pvs {
        spec["restorePVs"] = json!(volumes);
    }
    if !parameters.storage_class_mapping.is_empty() {
        spec["resourceModifier"] = json!({ "kind": "ConfigMap", "name": modifier_key(order).name });
    }
    spec
}

/// Other storage classes, as rules for Velero. A rule that does not meet its class changes nothing.
fn modifier(order: &Order, caps: &Caps, kind: &Kind, parameters: &VeleroRestore) -> Result<Vec<Object>, Hold> {
    let mapping = &parameters.storage_class_mapping;
    if mapping.is_empty() {
        return Ok(Vec::new());
    }
    let invalid = |message: &str| Err(Hold::wait(Reason::ValidationFailed, message));
    if !caps.declares(kind, MODIFIER) {
        return invalid("parameters.storageClassMapping needs Velero 1.12 or later; leave it out");
    }
    // Rules run one after another on one object, so a class that was just set would be replaced again.
    if mapping.iter().any(|(from, to)| from != to && mapping.contains_key(to)) {
        return invalid("parameters.storageClassMapping must not lead to a class that it replaces itself");
    }
    let rules: Vec<Value> = mapping
        .iter()
        .flat_map(|(from, to)| {
            ["persistentvolumeclaims", "persistentvolumes"].map(|resource| {
                json!({
                    "conditions": { "groupResource": resource },
                    "patches": [
                        { "operation": "test", "path": "/spec/storageClassName", "value": from },
                        { "operation": "replace", "path": "/spec/storageClassName", "value": to },
                    ],
                })
            })
        })
        .collect();
    // JSON is YAML, and its text is the same every time.
    let rules = values::canonical(&json!({ "version": "v1", "resourceModifierRules": rules })).to_string();
    let key = modifier_key(order);
    Ok(vec![child(&key, order, &Map::new(), json!({ "data": { "modifiers.yaml": rules } }))])
}

pub(super) fn interpret(order: &Order, child: &Object, facts: &Facts) -> Reading {
    let work = Work::read(child);
    let mut reading = judge(&work, &WORDS, whole(&work));
    reading.outputs.insert("restoreName".into(), child.name().into());
    if let Some(backup) = child.0.pointer("/spec/backupName").and_then(Value::as_str) {
        reading.outputs.insert("backupName".into(), backup.into());
    }
    if !matches!(work.phase.known(), Some(Phase::Completed | Phase::PartiallyFailed)) {
        return reading;
    }
    counted(&work, "restoredItemCount", &mut reading.outputs);
    let parameters = parameters::read::<VeleroRestore>(&order.parameters).unwrap_or_default();
    if parameters.restore_pvs == Some(true) {
        check_volumes(&mut reading, order, child, facts, parameters.accept_existing_volumes);
    }
    reading
}

fn whole(work: &Work) -> Result<(), String> {
    match (work.errors, work.hooks_failed) {
        (Some(0), Some(0)) => Ok(()),
        (Some(0), _) => Err("a hook failed".into()),
        (Some(errors), _) => Err(format!("it counted {errors} errors")),
        (None, _) => Err("its error counter cannot be read".into()),
    }
}

/// Every volume of the backup must be there, made by this very restore. A StatefulSet can re-create an empty claim between
/// the check and Velero's turn.
fn check_volumes(reading: &mut Reading, order: &Order, child: &Object, facts: &Facts, accepted: bool) {
    let Some(present) = claims_of(order, facts) else {
        reading.state = State::Running(WORDS.running);
        reading.degraded = None;
        reading.message = "Velero ended; the restored volumes are being counted".into();
        return;
    };
    let recorded = |name: &str| order.outputs.get(name).and_then(Value::as_str).unwrap_or_default().to_string();
    let list = |text: &str| text.split(',').filter(|name| !name.is_empty()).map(String::from).collect::<BTreeSet<_>>();
    let label = velero::label_value(child.name());
    let restored: BTreeSet<String> = present
        .iter()
        .filter(|object| object.label(velero::RESTORE_NAME) == Some(label.as_str()))
        .map(|object| object.name().to_string())
        .collect();
    let mut skipped: BTreeSet<String> = list(&recorded("volumes")).difference(&restored).cloned().collect();
    // With policy `update` Velero labels what it left alone, too: what was there at the start keeps its data.
    skipped.extend(list(&recorded("skippedVolumes")));
    if skipped.is_empty() {
        return;
    }
    let names = skipped.into_iter().collect::<Vec<_>>().join(",");
    let message = format!("volumes were not restored and hold other data, or none: {}", text::cut(&names, 800));
    reading.outputs.insert("skippedVolumes".into(), names.into());
    if matches!(reading.state, State::Succeeded(..)) && !accepted {
        reading.state = State::Failed(WORDS.failed);
        reading.message.clone_from(&message);
    }
    reading.degraded = Some((Reason::VolumesNotRestored, message));
}

/// A restore cannot be interrupted. Once it ended it goes with its Operation, and its modifiers with it.
pub(super) fn withdraw(order: &Order, cause: Cause, child: Option<(&Key, &Object)>, facts: &Facts) -> Withdrawal {
    let over = |note: &str| Withdrawal { steps: Vec::new(), done: true, note: note.into() };
    let ended = child.is_none_or(|(_, object)| Work::read(object).ended());
    match (cause, ended) {
        (Cause::Cancelled | Cause::Timeout, false) => return over("Velero cannot be interrupted: the restore goes on"),
        (Cause::Cancelled | Cause::Timeout | Cause::Finished, _) | (Cause::Deleted, false) => return over(""),
        (Cause::Deleted, true) => {}
    }
    let key = modifier_key(order);
    let ours = |object: &&Object| object.label(label::OPERATION) == Some(order.uid.as_str());
    let modifier = facts.object(&key).filter(ours).map(|object| (&key, object));
    let steps: Vec<Step> = child
        .into_iter()
        .chain(modifier)
        // One that waits for its finalizer is Velero's business: its bucket may be gone for ever.
        .filter(|(_, object)| !object.deleting())
        .filter_map(|(key, object)| {
            let only_if = Preconditions { uid: Some(object.uid()?), version: None };
            Some(Step::Delete { key: key.clone(), only_if, how: Propagation::Background })
        })
        .collect();
    Withdrawal { done: steps.is_empty(), steps, note: String::new() }
}
