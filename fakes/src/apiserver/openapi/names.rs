//! Names of definitions, and the definitions of custom resources.

use serde_json::{Map, Value, json};

use crate::apiserver::builtin::definitions;
use crate::apiserver::resource::Resource;
use crate::apiserver::server::Pass;

/// Name of the definition of a resource's kind.
fn of(resource: &Resource) -> String {
    if resource.custom.is_none() {
        return definitions::name_of(&resource.group, &resource.version, &resource.kind);
    }
    let reversed: Vec<&str> = resource.group.rsplit('.').collect();
    format!("{}.{}.{}", reversed.join("."), resource.version, resource.kind)
}

/// Adds the definitions of a resource's kind and of its list; returns the name of the first.
pub(super) fn add(pass: &Pass<'_>, resource: &Resource, schemas: &mut Map<String, Value>) -> String {
    let name = of(resource);
    let mut definition = match &resource.custom {
        Some(_) => custom(pass, resource),
        None => definitions::all().get(&name).cloned().unwrap_or_else(|| json!({ "type": "object" })),
    };
    definition["x-kubernetes-group-version-kind"] = json!([kind(resource, &resource.kind)]);
    schemas.insert(name.clone(), definition);
    if resource.verbs.contains(&"list") {
        schemas.insert(format!("{name}List"), list(resource, &name));
    }
    name
}

/// The kind of a resource as the `x-kubernetes-group-version-kind` extension of an operation.
pub(super) fn kind(resource: &Resource, kind: &str) -> Value {
    json!({ "group": resource.group, "version": resource.version, "kind": kind })
}

fn meta_text(field: &str) -> String {
    definitions::description("io.k8s.api.core.v1.ConfigMap", &[field])
}

/// Definition of a custom kind: its schema with apiVersion, kind and metadata described.
fn custom(pass: &Pass<'_>, resource: &Resource) -> Value {
    let name = format!("{}.{}", resource.plural, resource.group);
    let stored = pass.state.store.get("customresourcedefinitions.apiextensions.k8s.io", "", &name);
    let versions = stored.and_then(|stored| stored.value["spec"]["versions"].as_array());
    let version = versions.into_iter().flatten().find(|version| version["name"] == resource.version.as_str());
    let mut schema =
        version.map_or_else(|| json!({ "type": "object" }), |version| version["schema"]["openAPIV3Schema"].clone());
    if schema["x-kubernetes-preserve-unknown-fields"] != true || schema.get("properties").is_some() {
        let mut properties = schema["properties"].as_object().cloned().unwrap_or_default();
        properties.insert("apiVersion".into(), json!({ "description": meta_text("apiVersion"), "type": "string" }));
        properties.insert("kind".into(), json!({ "description": meta_text("kind"), "type": "string" }));
        properties.insert("metadata".into(), reference(definitions::OBJECT_META, &meta_text("metadata")));
        schema["properties"] = Value::Object(properties);
    }
    schema
}

/// Definition of the list of a kind, by the name of the kind's definition.
fn list(resource: &Resource, name: &str) -> Value {
    let conventions = "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md";
    json!({
        "description": format!("{} is a list of {}", resource.list_kind, resource.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": { "description": meta_text("apiVersion"), "type": "string" },
            "kind": { "description": meta_text("kind"), "type": "string" },
            "items": {
                "description": format!("List of {}. More info: {conventions}", resource.plural),
                "type": "array",
                "items": { "$ref": format!("{}{name}", definitions::REFERENCE) },
            },
            "metadata": reference("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta", &format!("Standard list metadata. More info: {conventions}#types-kinds")),
        },
        "x-kubernetes-group-version-kind": [kind(resource, &resource.list_kind)],
    })
}

/// A described reference.
fn reference(name: &str, description: &str) -> Value {
    json!({ "allOf": [{ "$ref": format!("{}{name}", definitions::REFERENCE) }], "description": description })
}

/// All definitions reachable from `schemas`, added to it.
pub(super) fn close(schemas: &mut Map<String, Value>) {
    let mut open: Vec<String> = schemas.values().flat_map(references).collect();
    while let Some(name) = open.pop() {
        if schemas.contains_key(&name) {
            continue;
        }
        if let Some(definition) = definitions::all().get(&name) {
            open.extend(references(definition));
            schemas.insert(name, definition.clone());
        }
    }
    schemas.sort_keys();
}

fn references(value: &Value) -> Vec<String> {
    match value {
        Value::Object(object) => {
            let own = object
                .get("$ref")
                .and_then(Value::as_str)
                .and_then(|reference| reference.strip_prefix(definitions::REFERENCE));
            own.map(str::to_owned).into_iter().chain(object.values().flat_map(references)).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}
