//! Shapes and descriptions of the built-in kinds, taken from the crate `k8s-openapi` at run time: one source for pruning,
//! field ownership, OpenAPI documents, `kubectl explain` and the descriptions of Table columns.
//!
//! The crate leaves out the merge directives and the defaults; [`super::merge`] and [`super::defaults`] add them.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use k8s_openapi::api::{
    admissionregistration, apps, authentication, authorization, autoscaling, batch, coordination, core, discovery,
    events, networking, policy, rbac, scheduling, storage,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions;
use k8s_openapi::apimachinery::pkg::apis::meta;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration;
use serde_json::{Map, Value, json};

/// Where references of an OpenAPI v3 document point.
pub(crate) const REFERENCE: &str = "#/components/schemas/";

/// Definition of `metadata`.
pub(crate) const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

macro_rules! collect {
    ($generator:ident: $($kind:ty),+ $(,)?) => {
        $(let _ = $generator.subschema_for::<$kind>();)+
    };
}

/// All definitions by name, such as `io.k8s.api.core.v1.Pod`, with merge directives. References start with [`REFERENCE`].
pub(crate) fn all() -> &'static BTreeMap<String, Value> {
    static ALL: OnceLock<BTreeMap<String, Value>> = OnceLock::new();
    ALL.get_or_init(|| {
        let settings = schemars::generate::SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.transforms.clear();
        });
        let mut generator = settings.into_generator();
        collect!(generator:
            core::v1::ConfigMap, core::v1::Endpoints, core::v1::Event, core::v1::LimitRange, core::v1::Namespace, core::v1::Node,
            core::v1::PersistentVolume, core::v1::PersistentVolumeClaim, core::v1::Pod, core::v1::PodTemplate, core::v1::ReplicationController,
            core::v1::ResourceQuota, core::v1::Secret, core::v1::Service, core::v1::ServiceAccount, core::v1::Binding,
            apps::v1::ControllerRevision, apps::v1::DaemonSet, apps::v1::Deployment, apps::v1::ReplicaSet, apps::v1::StatefulSet,
            batch::v1::CronJob, batch::v1::Job, coordination::v1::Lease, discovery::v1::EndpointSlice, events::v1::Event,
            rbac::v1::ClusterRole, rbac::v1::ClusterRoleBinding, rbac::v1::Role, rbac::v1::RoleBinding,
            networking::v1::Ingress, networking::v1::IngressClass, networking::v1::NetworkPolicy,
            policy::v1::PodDisruptionBudget, policy::v1::Eviction, scheduling::v1::PriorityClass, storage::v1::StorageClass,
            autoscaling::v1::Scale, autoscaling::v2::HorizontalPodAutoscaler,
            admissionregistration::v1::MutatingWebhookConfiguration, admissionregistration::v1::ValidatingWebhookConfiguration,
            admissionregistration::v1::ValidatingAdmissionPolicy, admissionregistration::v1::ValidatingAdmissionPolicyBinding,
            authentication::v1::TokenRequest, authentication::v1::TokenReview, authentication::v1::SelfSubjectReview,
            authorization::v1::SubjectAccessReview, authorization::v1::SelfSubjectAccessReview,
            authorization::v1::LocalSubjectAccessReview, authorization::v1::SelfSubjectRulesReview,
            apiextensions::v1::CustomResourceDefinition, apiregistration::v1::APIService,
            meta::v1::DeleteOptions, meta::v1::ListMeta, meta::v1::Status,
        );
        let mut definitions: BTreeMap<String, Value> = generator.take_definitions(true).into_iter().collect();
        for (name, definition) in &mut definitions {
            wrap_references(definition);
            super::merge::annotate(name, definition);
        }
        definitions
    })
}

/// A reference beside other keys becomes `allOf`, as OpenAPI 3.0 wants it and the real documents have it.
fn wrap_references(value: &mut Value) {
    match value {
        Value::Object(object) => {
            if object.len() > 1
                && let Some(reference) = object.remove("$ref")
            {
                object.insert("allOf".to_owned(), json!([{ "$ref": reference }]));
            }
            object.values_mut().for_each(wrap_references);
        }
        Value::Array(items) => items.iter_mut().filter(|item| item.get("$ref").is_none()).for_each(wrap_references),
        _ => {}
    }
}

/// Description of a field, by its path below a definition: for Table columns and generated documents.
pub(crate) fn description(definition: &str, path: &[&str]) -> String {
    let mut node = all().get(definition);
    let mut text = "";
    for field in path {
        let Some(property) = node.and_then(|node| node.get("properties")?.get(field)) else { return String::new() };
        text = property.get("description").and_then(Value::as_str).unwrap_or_default();
        node = target(property).map_or(Some(property), |name| all().get(name));
    }
    text.to_owned()
}

/// The definition that a property refers to.
pub(crate) fn target(property: &Value) -> Option<&str> {
    let reference = property.get("$ref").or_else(|| property.get("allOf")?.get(0)?.get("$ref"))?;
    reference.as_str()?.strip_prefix(REFERENCE)
}

/// Name of the definition of a built-in kind.
pub(crate) fn name_of(group: &str, version: &str, kind: &str) -> String {
    match group {
        "apiextensions.k8s.io" => format!("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.{version}.{kind}"),
        "apiregistration.k8s.io" => format!("io.k8s.kube-aggregator.pkg.apis.apiregistration.{version}.{kind}"),
        "" => format!("io.k8s.api.core.{version}.{kind}"),
        group => {
            let short =
                group.strip_suffix(".k8s.io").or_else(|| group.strip_suffix(".authorization.k8s.io")).unwrap_or(group);
            format!("io.k8s.api.{}.{version}.{kind}", short.strip_suffix(".authorization").unwrap_or(short))
        }
    }
}

/// The kind as one structural schema without references, for the schema engine: no descriptions, no `required` (Go decodes without
/// looking at it; validation of a kind says what it needs), recursion cut by `x-kubernetes-preserve-unknown-fields`, `metadata` opaque.
pub(crate) fn structural(name: &str) -> Arc<Value> {
    static CACHE: OnceLock<std::sync::Mutex<BTreeMap<String, Arc<Value>>>> = OnceLock::new();
    let mut cache = CACHE.get_or_init(Default::default).lock().expect("no panic while inlining a definition");
    if let Some(schema) = cache.get(name) {
        return schema.clone();
    }
    let schema = Arc::new(inline(name, &mut Vec::new()));
    cache.insert(name.to_owned(), schema.clone());
    schema
}

fn inline(name: &str, open: &mut Vec<String>) -> Value {
    if name == OBJECT_META && open.len() == 1 {
        return json!({ "type": "object" });
    }
    let any = json!({ "x-kubernetes-preserve-unknown-fields": true });
    // Schemas inside CustomResourceDefinitions recurse; raw JSON is typed `object` in the source but may be anything.
    let opaque = ["v1.JSONSchemaProps", "v1.JSON", "meta.v1.FieldsV1", "runtime.RawExtension"];
    if open.iter().any(|parent| parent == name) || opaque.iter().any(|suffix| name.ends_with(suffix)) {
        return any;
    }
    let Some(definition) = all().get(name) else { return any };
    open.push(name.to_owned());
    let mut schema = strip(definition, open);
    open.pop();
    super::defaults::annotate(name, &mut schema);
    schema
}

fn strip(node: &Value, open: &mut Vec<String>) -> Value {
    if let Some(name) = target(node) {
        let mut schema = inline(name, open);
        // Directives beside the reference belong to this use of the definition.
        for (key, value) in node.as_object().into_iter().flatten().filter(|(key, _)| key.starts_with("x-kubernetes-")) {
            schema[key] = value.clone();
        }
        return schema;
    }
    let Value::Object(object) = node else { return node.clone() };
    let mut out = Map::new();
    for (key, value) in object {
        match key.as_str() {
            "description" | "required" | "format" | "title" => {}
            "properties" => {
                let properties = value.as_object().into_iter().flatten();
                let properties = properties.map(|(name, property)| (name.clone(), strip(property, open)));
                out.insert(key.clone(), Value::Object(properties.collect()));
            }
            "items" | "additionalProperties" => {
                out.insert(key.clone(), strip(value, open));
            }
            _ => {
                out.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_has_its_references_and_pods_inline() {
        for (name, definition) in all() {
            let mut stack = vec![definition];
            while let Some(node) = stack.pop() {
                if let Some(reference) = node.get("$ref").and_then(Value::as_str) {
                    let target = reference.strip_prefix(REFERENCE).expect("a local reference");
                    assert!(all().contains_key(target), "{name} refers to {target}");
                }
                match node {
                    Value::Object(object) => stack.extend(object.values()),
                    Value::Array(items) => stack.extend(items),
                    _ => {}
                }
            }
        }
        let pod = structural("io.k8s.api.core.v1.Pod");
        assert_eq!(pod["properties"]["metadata"], json!({"type": "object"}));
        let containers = &pod["properties"]["spec"]["properties"]["containers"];
        assert_eq!(containers["x-kubernetes-list-type"], "map");
        assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
        assert_eq!(
            containers["items"]["properties"]["ports"]["x-kubernetes-list-map-keys"],
            json!(["containerPort", "protocol"])
        );
        assert_eq!(containers["items"]["properties"]["ports"]["items"]["properties"]["protocol"]["default"], "TCP");
        assert!(!pod.to_string().contains("$ref"));
        assert!(description(OBJECT_META, &["name"]).starts_with("Name must be unique"));
    }

    #[test]
    fn names_follow_the_groups() {
        for (group, version, kind) in [
            ("", "v1", "Pod"),
            ("apps", "v1", "Deployment"),
            ("rbac.authorization.k8s.io", "v1", "Role"),
            ("authorization.k8s.io", "v1", "SelfSubjectAccessReview"),
            ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
            ("networking.k8s.io", "v1", "Ingress"),
            ("autoscaling", "v2", "HorizontalPodAutoscaler"),
            ("policy", "v1", "PodDisruptionBudget"),
        ] {
            assert!(all().contains_key(&name_of(group, version, kind)), "{}", name_of(group, version, kind));
        }
    }
}
