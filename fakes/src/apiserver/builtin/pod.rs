//! Pods and pod templates: defaults that depend on other fields, quality of service, and what an update may change.

use serde_json::{Value, json};

use super::rules::{at, fill, items};
use crate::apiserver::errors::Cause;

/// Defaults of a pod on its own.
pub(super) fn prepare(new: &mut Value, _old: Option<&Value>) {
    at(new, "/spec", |pod| {
        spec(pod);
        fill(pod, "enableServiceLinks", json!(true));
    });
}

/// What its strategy and the default admission plug-ins fill in. The projected token volume that the real
/// ServiceAccount plug-in mounts is not modelled: nothing here runs containers.
pub(super) fn complete(new: &mut Value, old: Option<&Value>) {
    if old.is_some() || !new["spec"].is_object() {
        return;
    }
    at(new, "/spec", admit);
    let class = quality(&new["spec"]);
    new["status"] = json!({ "phase": "Pending", "qosClass": class });
}

fn admit(pod: &mut Value) {
    let account = pod["serviceAccountName"].as_str().or(pod["serviceAccount"].as_str()).filter(|name| !name.is_empty());
    let account = account.unwrap_or("default").to_owned();
    pod["serviceAccountName"] = json!(account);
    pod["serviceAccount"] = json!(account);
    fill(pod, "priority", json!(0));
    fill(pod, "preemptionPolicy", json!("PreemptLowerPriority"));
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let mut tolerations = pod["tolerations"].as_array().into_iter().flatten();
        let tolerated = tolerations.any(|toleration| {
            let named = toleration["key"] == key || toleration["key"].as_str().is_none_or(str::is_empty);
            named && matches!(toleration["effect"].as_str(), None | Some("" | "NoExecute"))
        });
        if !tolerated {
            fill(pod, "tolerations", json!([]));
            let toleration =
                json!({ "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 });
            at(pod, "/tolerations", |list| {
                list.as_array_mut().into_iter().for_each(|list| list.push(toleration.clone()))
            });
        }
    }
}

/// The template of a workload, at a JSON pointer.
pub(super) fn template(workload: &mut Value, pointer: &str) {
    at(workload, &format!("{pointer}/spec"), spec);
}

fn spec(spec: &mut Value) {
    for list in ["/containers", "/initContainers", "/ephemeralContainers"] {
        items(spec, list).for_each(container);
    }
}

fn container(container: &mut Value) {
    let image = container["image"].as_str().unwrap_or_default();
    let name = image.rsplit('/').next().unwrap_or_default();
    let latest = !image.contains('@') && (!name.contains(':') || name.ends_with(":latest"));
    let policy = if latest { "Always" } else { "IfNotPresent" };
    fill(container, "imagePullPolicy", json!(policy));
    let limits = container["resources"]["limits"].as_object().cloned().unwrap_or_default();
    at(container, "/resources", |resources| {
        if !limits.is_empty() {
            fill(resources, "requests", json!({}));
        }
        at(resources, "/requests", |requests| {
            limits.into_iter().for_each(|(name, limit)| fill(requests, &name, limit))
        });
    });
}

/// `status.qosClass` from cpu and memory of all containers.
fn quality(spec: &Value) -> &'static str {
    let containers =
        ["containers", "initContainers"].into_iter().flat_map(|list| spec[list].as_array().into_iter().flatten());
    let (mut any, mut guaranteed) = (false, true);
    for container in containers {
        for resource in ["cpu", "memory"] {
            let (request, limit) =
                (&container["resources"]["requests"][resource], &container["resources"]["limits"][resource]);
            any |= !request.is_null() || !limit.is_null();
            guaranteed &= !limit.is_null() && request == limit;
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

pub(super) fn validate(new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = spec_causes(&new["spec"], "spec");
    let Some(old) = old else { return causes };
    let fixed = |pod: &Value| {
        let mut spec = pod["spec"].clone();
        for list in ["/containers", "/initContainers"] {
            items(&mut spec, list).for_each(|container| container["image"] = Value::Null);
        }
        for field in [
            "activeDeadlineSeconds",
            "tolerations",
            "terminationGracePeriodSeconds",
            "schedulingGates",
            "nodeName",
            "ephemeralContainers",
        ] {
            spec.as_object_mut().map(|spec| spec.shift_remove(field));
        }
        spec
    };
    if causes.is_empty() && fixed(new) != fixed(old) {
        let detail = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
        causes.push(Cause::forbidden("spec", detail));
    }
    causes
}

/// Refusals of a pod spec at this path.
pub(super) fn spec_causes(spec: &Value, path: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let containers = spec["containers"].as_array().map_or(&[][..], Vec::as_slice);
    if containers.is_empty() {
        causes.push(Cause::required(format!("{path}.containers"), ""));
    }
    let mut names = Vec::new();
    for (index, container) in containers.iter().enumerate() {
        let text = |field: &str| container[field].as_str().unwrap_or_default();
        if text("name").is_empty() {
            causes.push(Cause::required(format!("{path}.containers[{index}].name"), ""));
        } else if names.contains(&text("name")) {
            causes.push(Cause::duplicate(format!("{path}.containers[{index}].name"), &container["name"]));
        }
        names.push(text("name"));
        if text("image").is_empty() {
            causes.push(Cause::required(format!("{path}.containers[{index}].image"), ""));
        }
    }
    causes
}
