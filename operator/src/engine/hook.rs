//! The `helmHookJob` engine: a hook of the deployed release, run again as a `batch/v1` Job (contract §10.8).
//!
//! The hook's pod is taken as the chart made it, with its own account and volumes. Only the Job around it is ours.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::helm::release_key;
use super::job::run::{self, Words};
use super::job::{KEPT_SECONDS, references};
use super::operation::{
    Answer, Cause, Facts, Hold, OperationEngine, Order, Question, Reading, Stage, Start, State, Withdrawal,
};
use super::operation::{labels, owner};
use super::parameters::{self, HookParameters};
use crate::api::condition::Reason;
use crate::api::{label, names};
use crate::cluster_api::{Caps, Key, Kind, Object};
use crate::foreign::flux::{self, HelmRelease, ReleaseStatus};
use crate::foreign::helm_storage;
use crate::foreign::job::{Job, job};
use crate::policy::secrets;

/// See [`OperationEngine`].
pub struct Hook;

/// Default of `activeDeadlineSeconds` (contract §10.8).
const DEADLINE_SECONDS: i64 = 1800;

const WORDS: Words = Words {
    active: Reason::HelmHookJobActive,
    succeeded: Reason::HelmHookJobSucceeded,
    failed: Reason::HelmHookJobFailed,
    late: Reason::HelmHookJobFailed,
};

impl OperationEngine for Hook {
    fn kinds(&self, _: &Order, caps: &Caps) -> Result<Vec<Kind>, String> {
        let job = job(caps).ok_or("the Kubernetes Job API batch/v1 is not served")?;
        let release = flux::helm_release(caps)
            .ok_or("the Flux HelmRelease API helm.toolkit.fluxcd.io/v2 is not installed in this cluster")?;
        Ok(vec![job, release])
    }

    fn child(&self, order: &Order, caps: &Caps) -> Option<Key> {
        Some(Key::namespaced(&job(caps)?, &order.namespace, &names::operation_child(&order.name, &order.uid)))
    }

    fn questions(&self, stage: Stage, order: &Order, caps: &Caps, facts: &Facts) -> Vec<Question> {
        if stage == Stage::Watch {
            return run::questions(order, facts);
        }
        let Some(release) = release_key(order, caps) else { return Vec::new() };
        let mut questions = vec![Question::Object(release.clone())];
        // Each answer says what has to be asked next.
        if let Some(hook) = facts.object(&release).and_then(|release| hook_question(order, release)) {
            if let Some(Answer::Hook(manifest)) = facts.0.get(&hook)
                && let Some(pod) = pod(manifest)
            {
                let named = references::of_pod(&pod["spec"]);
                questions.extend(named.iter().map(|reference| reference.question(&order.namespace)));
            }
            questions.push(hook);
        }
        questions
    }

    fn render(&self, order: &Order, caps: &Caps, facts: &Facts, _: Timestamp) -> Result<Start, Hold> {
        let unserved = || Hold::wait(Reason::EngineNotInstalled, "the Kubernetes Job API batch/v1 is not served");
        let key = self.child(order, caps).ok_or_else(unserved)?;
        let parameters = parameters::read::<HookParameters>(&order.parameters)?;
        let name = &parameters.hook_name;
        let hook = release_key(order, caps)
            .and_then(|key| facts.object(&key))
            .and_then(|release| hook_question(order, release))
            .ok_or_else(|| {
                let message = "no release of the target is deployed in its namespace, so it has no hooks";
                Hold::last(Reason::HookRequiresRelease, message)
            })?;
        let pod = match facts.0.get(&hook) {
            Some(Answer::Hook(manifest)) => pod(manifest),
            _ => None,
        };
        let pod = pod.ok_or_else(|| {
            let message = format!("the deployed release has no hook {name} of kind Job or Pod");
            Hold::last(Reason::HookNotFound, message)
        })?;
        inline_secret(&pod["spec"])?;
        if let Some(missing) = references::missing(&references::of_pod(&pod["spec"]), &order.namespace, facts) {
            let message = format!("{missing}, and the pod of hook {name} names it; create it in this namespace");
            return Err(Hold::wait(Reason::MissingSecret, message));
        }
        let object = child(&key, order, caps, &parameters, &pod);
        Ok(Start { key, before: Vec::new(), object, take: None, outputs: Map::new(), degraded: None })
    }

    fn interpret(&self, order: &Order, _: &Caps, child: &Object, facts: &Facts, now: Timestamp) -> Reading {
        let mut reading = run::interpret(order, child, facts, now, &WORDS);
        if matches!(reading.state, State::Succeeded(..))
            && let Some(time) = Job::read(child).completed
        {
            reading.outputs.insert("completionTime".into(), time.into());
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

/// Where the asked hook is, if a revision is deployed and recorded in the target's namespace. Secrets elsewhere are not ours
/// to read.
fn hook_question(order: &Order, release: &Object) -> Option<Question> {
    let parameters = parameters::read::<HookParameters>(&order.parameters).ok()?;
    let raw = release.0.pointer("/status/history")?.as_array()?;
    let history = HelmRelease::read(release).history;
    // Odd entries are skipped by the reader, so the raw entry is found by its revision.
    let deployed = history.iter().find(|entry| entry.status.is(ReleaseStatus::Deployed))?;
    let entry = raw.iter().find(|entry| entry["version"].as_i64() == Some(deployed.version))?;
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(String::from);
    let storage = release.0.pointer("/spec/storageNamespace").and_then(text);
    if storage.is_some_and(|namespace| namespace != order.namespace) {
        return None;
    }
    let name = text(&entry["name"]).unwrap_or_else(|| release.name().into());
    let secret = helm_storage::key(&order.namespace, &name, deployed.version);
    Some(Question::Hook { secret, hook: parameters.hook_name })
}

/// The pod template of a hook: labels, annotations and spec.
fn pod(manifest: &Value) -> Option<Value> {
    let (metadata, spec, wrapped) = match manifest.get("kind").and_then(Value::as_str)? {
        "Job" => {
            let template = manifest.pointer("/spec/template")?;
            (template.get("metadata"), template.get("spec")?, false)
        }
        "Pod" => (manifest.get("metadata"), manifest.get("spec")?, true),
        _ => return None,
    };
    let mut spec = without_nulls(spec);
    spec.as_object()?;
    for field in ["initContainers", "containers"] {
        for container in spec.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten() {
            once(container);
        }
    }
    // A Job takes no pod that is restarted for ever, which is a pod's default.
    if wrapped && spec["restartPolicy"] != "OnFailure" {
        spec["restartPolicy"] = json!("Never");
    }
    let texts = |field: &str, keep: fn(&str) -> bool| -> Map<String, Value> {
        let all = metadata.and_then(|metadata| metadata.get(field)).and_then(Value::as_object);
        let kept = all.into_iter().flatten().filter(|(key, value)| value.is_string() && keep(key));
        kept.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let labels = texts("labels", |key| !within(key, "vworkspace.io"));
    let annotations = texts("annotations", |key| !within(key, "helm.sh"));
    Some(json!({ "labels": labels, "annotations": annotations, "spec": spec }))
}

/// Whether the key's prefix is the domain, or below it.
fn within(key: &str, domain: &str) -> bool {
    let Some((prefix, _)) = key.split_once('/') else { return false };
    prefix.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// A template engine leaves `key:` behind where it had nothing to say; an apply would take that for a wish.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), without_nulls(value)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(list) => list.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

/// The last variable of each name: the one that counts. Helm's create lets doubles pass, an apply refuses them.
fn once(container: &mut Value) {
    let Some(env) = container.get_mut("env").and_then(Value::as_array_mut) else { return };
    let mut seen = BTreeSet::new();
    let mut kept: Vec<Value> = env.drain(..).rev().filter(|one| seen.insert(one["name"].to_string())).collect();
    kept.reverse();
    *env = kept;
}

/// Literal environment of the hook's containers (contract §13.3).
fn inline_secret(spec: &Value) -> Result<(), Hold> {
    for container in references::containers(spec) {
        let name = container.get("name").and_then(Value::as_str).unwrap_or("container");
        if let Some(finding) = secrets::scan("env", container.get("env").unwrap_or(&Value::Null)) {
            let message = format!("hook container {}: {}", crate::foreign::text::cut(name, 63), finding.text());
            return Err(Hold::last(Reason::HookContainsInlineSecret, message));
        }
    }
    Ok(())
}

fn child(key: &Key, order: &Order, caps: &Caps, parameters: &HookParameters, pod: &Value) -> Object {
    let mut labels = labels(order, false);
    labels.insert(label::SOURCE_HOOK.into(), label_value(&parameters.hook_name).into());
    let mut of_pod = pod["labels"].as_object().cloned().unwrap_or_default();
    of_pod.extend(labels.clone());
    let mut metadata = json!({ "labels": of_pod });
    if pod["annotations"].as_object().is_some_and(|annotations| !annotations.is_empty()) {
        metadata["annotations"] = pod["annotations"].clone();
    }
    let deadline = parameters.active_deadline_seconds.unwrap_or(DEADLINE_SECONDS);
    let mut spec = json!({
        "backoffLimit": parameters.backoff_limit.unwrap_or_default(),
        "activeDeadlineSeconds": order.timeout_seconds.map_or(deadline, |limit| deadline.min(limit)),
        "ttlSecondsAfterFinished": KEPT_SECONDS,
        "template": { "metadata": metadata, "spec": pod["spec"] },
    });
    run::at_most_once(&mut spec, &key.kind, caps);
    Object(json!({
        "apiVersion": key.kind.api_version(),
        "kind": key.kind.kind,
        "metadata": {
            "name": key.name, "namespace": order.namespace, "labels": labels, "ownerReferences": [owner(order)],
        },
        "spec": spec,
    }))
}

/// An object name as a label value: at most 63 characters.
fn label_value(name: &str) -> &str {
    let end = name.char_indices().nth(63).map_or(name.len(), |(end, _)| end);
    name[..end].trim_end_matches(['-', '.'])
}

#[cfg(test)]
mod tests;
