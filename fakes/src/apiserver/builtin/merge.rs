//! Merge directives of the built-in kinds: which lists are maps or sets, which objects are atomic, and what a strategic merge patch
//! merges by. Lists that are not named here are atomic, as upstream marks them; so are the objects in [`ATOMIC`].

use serde_json::{Value, json};

/// (definition, field, list type, keys, patch strategy, patch merge key).
type Directive = (&'static str, &'static str, &'static str, &'static [&'static str], &'static str, &'static str);

const CORE: &str = "io.k8s.api.core.v1.";

/// Lists with an identity, and fields with a strategy of their own.
#[rustfmt::skip] // a table
const DIRECTIVES: &[Directive] = &[
    ("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "finalizers", "set", &[], "merge", ""),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "ownerReferences", "map", &["uid"], "merge", "uid"),
    ("io.k8s.api.core.v1.PodSpec", "containers", "map", &["name"], "merge", "name"),
    ("io.k8s.api.core.v1.PodSpec", "initContainers", "map", &["name"], "merge", "name"),
    ("io.k8s.api.core.v1.PodSpec", "ephemeralContainers", "map", &["name"], "merge", "name"),
    ("io.k8s.api.core.v1.PodSpec", "volumes", "map", &["name"], "merge,retainKeys", "name"),
    ("io.k8s.api.core.v1.PodSpec", "imagePullSecrets", "map", &["name"], "merge", "name"),
    ("io.k8s.api.core.v1.PodSpec", "hostAliases", "map", &["ip"], "merge", "ip"),
    ("io.k8s.api.core.v1.PodSpec", "schedulingGates", "map", &["name"], "merge", "name"),
    ("io.k8s.api.core.v1.PodSpec", "resourceClaims", "map", &["name"], "merge,retainKeys", "name"),
    ("io.k8s.api.core.v1.PodSpec", "topologySpreadConstraints", "map", &["topologyKey", "whenUnsatisfiable"], "merge", "topologyKey"),
    ("io.k8s.api.core.v1.PodStatus", "conditions", "map", &["type"], "merge", "type"),
    ("io.k8s.api.core.v1.PodStatus", "podIPs", "map", &["ip"], "merge", "ip"),
    ("io.k8s.api.core.v1.PodStatus", "hostIPs", "atomic", &[], "merge", "ip"),
    ("io.k8s.api.core.v1.PodStatus", "resourceClaimStatuses", "map", &["name"], "merge,retainKeys", "name"),
    ("io.k8s.api.core.v1.Container", "ports", "map", &["containerPort", "protocol"], "merge", "containerPort"),
    ("io.k8s.api.core.v1.Container", "env", "map", &["name"], "merge", "name"),
    ("io.k8s.api.core.v1.Container", "volumeMounts", "map", &["mountPath"], "merge", "mountPath"),
    ("io.k8s.api.core.v1.Container", "volumeDevices", "map", &["devicePath"], "merge", "devicePath"),
    ("io.k8s.api.core.v1.EphemeralContainer", "ports", "map", &["containerPort", "protocol"], "merge", "containerPort"),
    ("io.k8s.api.core.v1.EphemeralContainer", "env", "map", &["name"], "merge", "name"),
    ("io.k8s.api.core.v1.EphemeralContainer", "volumeMounts", "map", &["mountPath"], "merge", "mountPath"),
    ("io.k8s.api.core.v1.EphemeralContainer", "volumeDevices", "map", &["devicePath"], "merge", "devicePath"),
    ("io.k8s.api.core.v1.ResourceRequirements", "claims", "map", &["name"], "", ""),
    ("io.k8s.api.core.v1.ContainerStatus", "volumeMounts", "map", &["mountPath"], "merge", "mountPath"),
    ("io.k8s.api.core.v1.ServiceSpec", "ports", "map", &["port", "protocol"], "merge", "port"),
    ("io.k8s.api.core.v1.ServiceStatus", "conditions", "map", &["type"], "merge", "type"),
    ("io.k8s.api.core.v1.ServiceAccount", "secrets", "map", &["name"], "merge", "name"),
    ("io.k8s.api.core.v1.NamespaceStatus", "conditions", "map", &["type"], "merge", "type"),
    ("io.k8s.api.core.v1.NodeSpec", "podCIDRs", "set", &[], "merge", ""),
    ("io.k8s.api.core.v1.NodeStatus", "conditions", "map", &["type"], "merge", "type"),
    ("io.k8s.api.core.v1.NodeStatus", "addresses", "map", &["type"], "merge", "type"),
    ("io.k8s.api.core.v1.PersistentVolumeClaimStatus", "conditions", "map", &["type"], "merge", "type"),
    ("io.k8s.api.core.v1.ReplicationControllerStatus", "conditions", "map", &["type"], "merge", "type"),
    ("io.k8s.api.apps.v1.DeploymentSpec", "strategy", "", &[], "retainKeys", ""),
    ("io.k8s.api.apps.v1.DeploymentStatus", "conditions", "map", &["type"], "merge", "type"),
    ("io.k8s.api.apps.v1.ReplicaSetStatus", "conditions", "map", &["type"], "merge", "type"),
    ("io.k8s.api.apps.v1.DaemonSetStatus", "conditions", "map", &["type"], "merge", "type"),
    ("io.k8s.api.apps.v1.StatefulSetStatus", "conditions", "map", &["type"], "merge", "type"),
    ("io.k8s.api.batch.v1.JobStatus", "conditions", "atomic", &[], "merge", "type"),
    ("io.k8s.api.policy.v1.PodDisruptionBudgetSpec", "selector", "", &[], "replace", ""),
    ("io.k8s.api.policy.v1.PodDisruptionBudgetStatus", "conditions", "map", &["type"], "merge", "type"),
    ("io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerStatus", "conditions", "map", &["type"], "merge", "type"),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinitionStatus", "conditions", "map", &["type"], "", ""),
    ("io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIServiceStatus", "conditions", "map", &["type"], "merge", "type"),
    ("io.k8s.api.admissionregistration.v1.MutatingWebhookConfiguration", "webhooks", "map", &["name"], "merge", "name"),
    ("io.k8s.api.admissionregistration.v1.MutatingWebhook", "matchConditions", "map", &["name"], "merge", "name"),
    ("io.k8s.api.admissionregistration.v1.ValidatingWebhookConfiguration", "webhooks", "map", &["name"], "merge", "name"),
    ("io.k8s.api.admissionregistration.v1.ValidatingWebhook", "matchConditions", "map", &["name"], "merge", "name"),
    ("io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicySpec", "matchConditions", "map", &["name"], "merge", "name"),
    ("io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicySpec", "variables", "map", &["name"], "merge", "name"),
    ("io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyStatus", "conditions", "map", &["type"], "", ""),
];

/// Objects replaced as a whole wherever they are used.
const ATOMIC: &[&str] = &[
    "io.k8s.api.core.v1.ConfigMapKeySelector",
    "io.k8s.api.core.v1.FileKeySelector",
    "io.k8s.api.core.v1.LocalObjectReference",
    "io.k8s.api.core.v1.NodeSelector",
    "io.k8s.api.core.v1.NodeSelectorTerm",
    "io.k8s.api.core.v1.ObjectFieldSelector",
    "io.k8s.api.core.v1.ObjectReference",
    "io.k8s.api.core.v1.ResourceFieldSelector",
    "io.k8s.api.core.v1.ScopeSelector",
    "io.k8s.api.core.v1.SecretKeySelector",
    "io.k8s.api.core.v1.SecretReference",
    "io.k8s.api.core.v1.TopologySelectorTerm",
    "io.k8s.api.core.v1.TypedLocalObjectReference",
    "io.k8s.api.discovery.v1.Endpoint",
    "io.k8s.api.rbac.v1.RoleRef",
    "io.k8s.api.rbac.v1.Subject",
    "io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector",
    "io.k8s.apimachinery.pkg.apis.meta.v1.OwnerReference",
    "io.k8s.api.admissionregistration.v1.MatchResources",
    "io.k8s.api.admissionregistration.v1.NamedRuleWithOperations",
    "io.k8s.api.admissionregistration.v1.ParamKind",
    "io.k8s.api.admissionregistration.v1.ParamRef",
];

/// Maps replaced as a whole.
const ATOMIC_MAPS: &[(&str, &str)] =
    &[("PodSpec", "nodeSelector"), ("ServiceSpec", "selector"), ("ReplicationControllerSpec", "selector")];

/// Adds the directives of one definition to it.
pub(super) fn annotate(name: &str, definition: &mut Value) {
    if ATOMIC.contains(&name) {
        definition["x-kubernetes-map-type"] = json!("atomic");
    }
    for &(_, field) in ATOMIC_MAPS.iter().filter(|(short, _)| name.strip_prefix(CORE) == Some(short)) {
        definition["properties"][field]["x-kubernetes-map-type"] = json!("atomic");
    }
    for &(_, field, list_type, keys, strategy, key) in DIRECTIVES.iter().filter(|directive| directive.0 == name) {
        let Some(property) = definition.get_mut("properties").and_then(|properties| properties.get_mut(field)) else {
            continue;
        };
        if !list_type.is_empty() {
            property["x-kubernetes-list-type"] = json!(list_type);
        }
        if !keys.is_empty() {
            property["x-kubernetes-list-map-keys"] = json!(keys);
        }
        if !strategy.is_empty() {
            property["x-kubernetes-patch-strategy"] = json!(strategy);
        }
        if !key.is_empty() {
            property["x-kubernetes-patch-merge-key"] = json!(key);
        }
    }
    let properties = definition.get_mut("properties").and_then(Value::as_object_mut);
    for property in properties.into_iter().flat_map(|properties| properties.values_mut()) {
        if property["type"] == "array" && property.get("x-kubernetes-list-type").is_none() {
            property["x-kubernetes-list-type"] = json!("atomic");
        }
    }
}

#[cfg(test)]
mod tests {
    /// A misspelt or renamed field would silently become an atomic list.
    #[test]
    fn every_directive_meets_a_field() {
        let all = crate::apiserver::builtin::definitions::all();
        for (name, field, ..) in super::DIRECTIVES {
            let definition = all.get(*name).unwrap_or_else(|| panic!("no definition {name}"));
            assert!(definition["properties"].get(field).is_some(), "{name}.{field}");
        }
        for name in super::ATOMIC.iter().filter(|name| !name.ends_with("FileKeySelector")) {
            assert!(all.contains_key(*name), "{name}");
        }
        for (name, field) in super::ATOMIC_MAPS {
            assert!(all[&format!("{}{name}", super::CORE)]["properties"].get(field).is_some(), "{name}.{field}");
        }
    }
}
