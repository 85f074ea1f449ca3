//! The `job` engine: one container with the restricted security context, as a `batch/v1` Job (contract §10.7).

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use self::references::Reference;
use self::run::Words;
use super::operation::{
    Cause, Facts, Hold, OperationEngine, Order, Question, Reading, Stage, Start, State, Withdrawal,
};
use super::operation::{labels, owner};
use super::parameters::{self, Environment, JobParameters, VolumeMount};
use crate::api::condition::Reason;
use crate::api::names;
use crate::api::operation::OperationType;
use crate::cluster_api::{Caps, Key, Kind, Object};
use crate::foreign::job::job;
use crate::policy::secrets;

pub(super) mod references;
pub(super) mod run;

/// See [`OperationEngine`].
pub struct Job;

/// Account of everything that runs for an Operation (contract §3.2).
pub(super) const RUNNER: &str = "vworkspace-operation-runner";
/// How long a finished Job or Workflow is kept, in seconds (contract §10.6 to §10.8).
pub(super) const KEPT_SECONDS: i64 = 86_400;
/// Default of `activeDeadlineSeconds` (contract §10.7).
const DEADLINE_SECONDS: i64 = 3600;
/// Where documented commands write; the root file system is read-only.
const TEMPORARY: &str = "/tmp";
/// Name of the volume behind it.
const TEMPORARY_VOLUME: &str = "vws-tmp";
/// User of the container (contract §10.7).
const USER: i64 = 65_532;

const WORDS: Words = Words {
    active: Reason::JobPodActive,
    succeeded: Reason::JobSucceeded,
    failed: Reason::JobFailedBackoffExceeded,
    late: Reason::JobActiveDeadlineExceeded,
};

impl OperationEngine for Job {
    fn kinds(&self, _: &Order, caps: &Caps) -> Result<Vec<Kind>, String> {
        Ok(vec![job(caps).ok_or("the Kubernetes Job API batch/v1 is not served")?])
    }

    fn child(&self, order: &Order, caps: &Caps) -> Option<Key> {
        Some(Key::namespaced(&job(caps)?, &order.namespace, &names::operation_child(&order.name, &order.uid)))
    }

    fn questions(&self, stage: Stage, order: &Order, _: &Caps, facts: &Facts) -> Vec<Question> {
        if stage == Stage::Watch {
            return run::questions(order, facts);
        }
        let Ok(parameters) = parameters::read::<JobParameters>(&order.parameters) else { return Vec::new() };
        let named = needed(&parameters);
        let claims = claims(&parameters).map(|name| Question::Object(claim(order, name)));
        named.iter().map(|reference| reference.question(&order.namespace)).chain(claims).collect()
    }

    fn render(&self, order: &Order, caps: &Caps, facts: &Facts, _: Timestamp) -> Result<Start, Hold> {
        let unserved = || Hold::wait(Reason::EngineNotInstalled, "the Kubernetes Job API batch/v1 is not served");
        let key = self.child(order, caps).ok_or_else(unserved)?;
        let parameters = parameters::read::<JobParameters>(&order.parameters)?;
        check(&parameters)?;
        if let Some(missing) = references::missing(&needed(&parameters), &order.namespace, facts) {
            return Err(Hold::wait(Reason::MissingSecret, format!("{missing}; create it in this namespace")));
        }
        if let Some(name) = claims(&parameters).find(|name| facts.object(&claim(order, name)).is_none()) {
            let message = format!("PersistentVolumeClaim {name} does not exist; create it, or name another");
            return Err(Hold::wait(Reason::DependencyMissing, message));
        }
        let object = child(&key, order, caps, &parameters);
        Ok(Start { key, before: Vec::new(), object, take: None, outputs: Map::new(), degraded: None })
    }

    fn interpret(&self, order: &Order, _: &Caps, child: &Object, facts: &Facts, now: Timestamp) -> Reading {
        let mut reading = run::interpret(order, child, facts, now, &WORDS);
        if matches!(reading.state, State::Succeeded(..)) {
            reading.outputs.insert("succeeded".into(), "1".into());
        }
        reading
    }

    fn withdraw(
        &self,
        order: &Order,
        cause: Cause,
        child: Option<(&Key, &Object)>,
        facts: &Facts,
        _: Timestamp,
        _: Timestamp,
    ) -> Withdrawal {
        run::withdraw(order, cause, child, facts)
    }
}

fn claim(order: &Order, name: &str) -> Key {
    let kind = Kind::namespaced("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims");
    Key::namespaced(&kind, &order.namespace, name)
}

fn claims(parameters: &JobParameters) -> impl Iterator<Item = &str> {
    parameters.volumes.iter().filter_map(|volume| volume.pvc_name.as_deref())
}

/// What the schema cannot say. Parameters can still be edited, so all of it may heal.
fn check(parameters: &JobParameters) -> Result<(), Hold> {
    let invalid = |message: String| Err(Hold::wait(Reason::ValidationFailed, message));
    let scanned = json!({ "env": environment(parameters), "command": parameters.command, "args": parameters.args });
    if let Some(finding) = secrets::scan("parameters", &scanned) {
        return invalid(finding.text());
    }
    let mut names = BTreeSet::new();
    if let Environment::List(list) = &parameters.env {
        for (index, variable) in list.iter().enumerate() {
            let path = format!("parameters.env[{index}]");
            if let Some(from) = &variable.value_from {
                let sources =
                    [from.secret_key_ref.is_some(), from.config_map_key_ref.is_some(), from.field_ref.is_some()];
                if variable.value.is_some() || sources.iter().filter(|source| **source).count() != 1 {
                    return invalid(format!("{path} needs either value or exactly one source in valueFrom"));
                }
            }
            // An apply takes the name as the key of the list, and refuses one that is there twice.
            if !names.insert(&variable.name) {
                return invalid(format!("{path}.name is there twice; remove one of them"));
            }
        }
    }
    let (mut names, mut paths) = (BTreeSet::from([TEMPORARY_VOLUME]), BTreeSet::new());
    for (index, volume) in parameters.volumes.iter().enumerate() {
        let path = format!("parameters.volumes[{index}]");
        let sources = [&volume.secret_name, &volume.config_map_name, &volume.pvc_name];
        if sources.iter().filter(|source| source.is_some()).count() != 1 {
            return invalid(format!("{path} needs exactly one of secretName, configMapName and pvcName"));
        }
        if !volume.mount_path.starts_with('/') || volume.mount_path.contains(':') {
            return invalid(format!("{path}.mountPath must be an absolute path without a colon"));
        }
        if !names.insert(&volume.name) || !paths.insert(volume.mount_path.trim_end_matches('/')) {
            return invalid(format!("{path} has the name or the mountPath of another volume; choose another"));
        }
    }
    if claims(parameters).count() > 1 {
        return invalid("parameters.volumes may name at most one PersistentVolumeClaim".into());
    }
    Ok(())
}

fn needed(parameters: &JobParameters) -> BTreeSet<Reference> {
    let pull = parameters.image_pull_secrets.iter().map(|name| Reference::secret(name, None));
    let mounted = parameters.volumes.iter().flat_map(|volume| {
        let secret = volume.secret_name.as_deref().map(|name| Reference::secret(name, None));
        secret.into_iter().chain(volume.config_map_name.as_deref().map(|name| Reference::config_map(name, None)))
    });
    let variables: &[_] = match &parameters.env {
        Environment::List(list) => list,
        Environment::Map(_) => &[],
    };
    let sources = variables.iter().filter_map(|variable| variable.value_from.as_ref()).flat_map(|from| {
        let secret = from.secret_key_ref.as_ref().filter(|found| found.optional != Some(true));
        let config_map = from.config_map_key_ref.as_ref().filter(|found| found.optional != Some(true));
        let secret = secret.map(|found| Reference::secret(&found.name, Some(&found.key)));
        secret.into_iter().chain(config_map.map(|found| Reference::config_map(&found.name, Some(&found.key))))
    });
    pull.chain(mounted).chain(sources).collect()
}

/// Environment as the container takes it: the order of a list is kept, a map is sorted.
fn environment(parameters: &JobParameters) -> Value {
    match &parameters.env {
        Environment::List(list) => json!(list),
        Environment::Map(map) => map.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect(),
    }
}

fn child(key: &Key, order: &Order, caps: &Caps, parameters: &JobParameters) -> Object {
    let deadline = parameters.active_deadline_seconds.unwrap_or(DEADLINE_SECONDS);
    let migration = order.type_ == OperationType::Migration;
    let labels = labels(order, false);
    let mut spec = json!({
        "backoffLimit": parameters.backoff_limit.unwrap_or(if migration { 0 } else { 2 }),
        "activeDeadlineSeconds": order.timeout_seconds.map_or(deadline, |limit| deadline.min(limit)),
        "ttlSecondsAfterFinished": parameters.ttl_seconds_after_finished.unwrap_or(KEPT_SECONDS),
        "template": { "metadata": { "labels": labels }, "spec": pod(parameters) },
    });
    if migration {
        run::at_most_once(&mut spec, &key.kind, caps);
    }
    Object(json!({
        "apiVersion": key.kind.api_version(),
        "kind": key.kind.kind,
        "metadata": {
            "name": key.name, "namespace": order.namespace, "labels": labels, "ownerReferences": [owner(order)],
        },
        "spec": spec,
    }))
}

fn pod(parameters: &JobParameters) -> Value {
    let mut container = json!({
        "name": "runner",
        "image": parameters.image,
        "resources": parameters.resources.as_ref().map_or_else(
            || json!({ "requests": { "cpu": "50m", "memory": "64Mi" }, "limits": { "cpu": "500m", "memory": "512Mi" } }),
            |resources| json!(resources),
        ),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "runAsUser": USER,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
    });
    for (field, value) in
        [("command", json!(parameters.command)), ("args", json!(parameters.args)), ("env", environment(parameters))]
    {
        if value.as_array().is_some_and(|list| !list.is_empty()) {
            container[field] = value;
        }
    }
    let mut volumes: Vec<Value> = parameters.volumes.iter().map(volume).collect();
    let mut mounts: Vec<Value> = parameters
        .volumes
        .iter()
        .map(|volume| json!({ "name": volume.name, "mountPath": volume.mount_path, "readOnly": volume.read_only }))
        .collect();
    let replaced = parameters.volumes.iter().any(|volume| volume.mount_path.trim_end_matches('/') == TEMPORARY);
    if !replaced {
        volumes.push(json!({ "name": TEMPORARY_VOLUME, "emptyDir": { "sizeLimit": "1Gi" } }));
        mounts.push(json!({ "name": TEMPORARY_VOLUME, "mountPath": TEMPORARY }));
    }
    container["volumeMounts"] = json!(mounts);
    let mut spec = json!({
        "restartPolicy": "Never",
        "serviceAccountName": RUNNER,
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": USER, "seccompProfile": { "type": "RuntimeDefault" },
        },
        "containers": [container],
        "volumes": volumes,
    });
    if !parameters.image_pull_secrets.is_empty() {
        spec["imagePullSecrets"] = parameters.image_pull_secrets.iter().map(|name| json!({ "name": name })).collect();
    }
    spec
}

fn volume(volume: &VolumeMount) -> Value {
    let VolumeMount { name, secret_name, config_map_name, pvc_name, read_only, .. } = volume;
    match (secret_name, config_map_name, pvc_name) {
        (Some(secret), _, _) => json!({ "name": name, "secret": { "secretName": secret } }),
        (_, Some(config_map), _) => json!({ "name": name, "configMap": { "name": config_map } }),
        (_, _, claim) => {
            json!({ "name": name, "persistentVolumeClaim": { "claimName": claim, "readOnly": read_only } })
        }
    }
}

#[cfg(test)]
mod tests;
