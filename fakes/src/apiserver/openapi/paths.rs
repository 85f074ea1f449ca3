//! Operations of one resource: which kind, which action, which query parameters.

use serde_json::{Map, Value, json};

use super::names;
use crate::apiserver::builtin::definitions::REFERENCE;
use crate::apiserver::resource::Resource;

/// Paths of a resource and its subresources, added to `paths`.
pub(super) fn add(resource: &Resource, definition: &str, paths: &mut Map<String, Value>) {
    let root = if resource.group.is_empty() {
        format!("/api/{}", resource.version)
    } else {
        format!("/apis/{}/{}", resource.group, resource.version)
    };
    let plural = &resource.plural;
    let collection = if resource.namespaced {
        format!("{root}/namespaces/{{namespace}}/{plural}")
    } else {
        format!("{root}/{plural}")
    };
    let operation = |verb: &str, parameters: &[&str], list: bool| {
        let kind = if list { &resource.list_kind } else { &resource.kind };
        let response = if list { format!("{definition}List") } else { definition.to_owned() };
        let parameters: Vec<Value> = parameters
            .iter()
            .map(|name| json!({ "name": name, "in": "query", "schema": { "type": "string", "uniqueItems": true } }))
            .collect();
        json!({
            "operationId": format!("{verb}{}{kind}", resource.version),
            "parameters": parameters,
            "responses": { "200": { "description": "OK", "content": { "application/json": { "schema": { "$ref": format!("{REFERENCE}{response}") } } } } },
            "x-kubernetes-action": verb,
            "x-kubernetes-group-version-kind": names::kind(resource, &resource.kind),
        })
    };
    let write = ["dryRun", "fieldManager", "fieldValidation", "pretty"];
    let read = [
        "allowWatchBookmarks",
        "continue",
        "fieldSelector",
        "labelSelector",
        "limit",
        "resourceVersion",
        "resourceVersionMatch",
        "sendInitialEvents",
        "timeoutSeconds",
        "watch",
    ];
    let has = |verb: &str| resource.verbs.contains(&verb);
    let mut many = Map::new();
    let mut one = Map::new();
    if has("list") {
        many.insert("get".into(), operation("list", &read, true));
    }
    if has("create") {
        many.insert("post".into(), operation("post", &write, false));
    }
    if has("deletecollection") {
        many.insert(
            "delete".into(),
            operation("deletecollection", &["dryRun", "gracePeriodSeconds", "propagationPolicy"], false),
        );
    }
    if has("get") {
        one.insert("get".into(), operation("get", &["pretty"], false));
    }
    if has("update") {
        one.insert("put".into(), operation("put", &write, false));
    }
    if has("patch") {
        one.insert(
            "patch".into(),
            operation("patch", &["dryRun", "fieldManager", "fieldValidation", "force", "pretty"], false),
        );
    }
    if has("delete") {
        one.insert(
            "delete".into(),
            operation("delete", &["dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy"], false),
        );
    }
    if resource.status {
        let mut status = one.clone();
        status.shift_remove("delete");
        paths.insert(format!("{collection}/{{name}}/status"), status.into());
    }
    if resource.namespaced && has("list") {
        paths.insert(format!("{root}/{plural}"), json!({ "get": operation("list", &read, true) }));
    }
    paths.insert(collection.clone(), many.into());
    if !one.is_empty() {
        paths.insert(format!("{collection}/{{name}}"), one.into());
    }
}
