//! Discovery and OpenAPI answers, cut to what the recorded corpora show of them.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value, json};

const GROUPS: [&str; 7] =
    ["", "apps", "rbac.authorization.k8s.io", "apiextensions.k8s.io", "authorization.k8s.io", "events.k8s.io", "df.io"];
const RESOURCES: [&str; 13] = [
    "configmaps",
    "secrets",
    "serviceaccounts",
    "namespaces",
    "events",
    "pods",
    "customresourcedefinitions",
    "roles",
    "rolebindings",
    "diffs",
    "selfsubjectaccessreviews",
    "selfsubjectrulesreviews",
    "deployments",
];
const OPENAPI_PATHS: [&str; 5] = ["api", "apis", "api/v1", "apis/df.io", "apis/df.io/v1"];

static HASH: LazyLock<Regex> = LazyLock::new(|| Regex::new("hash=[0-9A-F]+").expect("a constant pattern"));

/// Cuts one answer.
pub(super) fn slim(path: &str, media_type: &str, body: Value) -> Value {
    let path = path.split('?').next().unwrap_or_default();
    let kind = body["kind"].as_str().unwrap_or_default().to_owned();
    match path {
        _ if media_type.contains("protobuf") => json!({ "$omitted": "protobuf" }),
        "/openapi/v2" => json!({ "$omitted": "openapi" }),
        "/openapi/v3" => openapi_index(&body),
        _ if path.starts_with("/openapi/v3/") => openapi_document(path, &body),
        "/api" | "/apis" if kind == "APIGroupDiscoveryList" => filtered(body, "items", |item| {
            if !known_group(&item["metadata"]["name"]) {
                return None;
            }
            let versions = item["versions"].as_array().cloned().unwrap_or_default();
            let versions = versions.into_iter().map(|mut version| {
                keep(&mut version, "resources", |resource| known(&RESOURCES, resource["resource"].as_str()));
                version
            });
            let mut item = item.clone();
            item["versions"] = versions.collect();
            Some(item)
        }),
        "/apis" if kind == "APIGroupList" => {
            filtered(body, "groups", |group| known_group(&group["name"]).then(|| group.clone()))
        }
        _ if kind == "CustomResourceDefinitionList" => {
            let mut body = body;
            keep(&mut body, "items", |item| known_group(&item["spec"]["group"]));
            body["$filtered"] = Value::Bool(true);
            body
        }
        _ if kind == "APIResourceList" => filtered(body, "resources", |resource| {
            let name = resource["name"].as_str().and_then(|name| name.split('/').next());
            known(&RESOURCES, name).then(|| resource.clone())
        }),
        _ => body,
    }
}

fn known(all: &[&str], name: Option<&str>) -> bool {
    name.is_some_and(|name| all.contains(&name))
}

fn known_group(name: &Value) -> bool {
    GROUPS.contains(&name.as_str().unwrap_or_default())
}

fn keep(body: &mut Value, field: &str, wanted: impl Fn(&Value) -> bool) {
    let items = body[field].as_array().cloned().unwrap_or_default();
    body[field] = items.into_iter().filter(|item| wanted(item)).collect();
}

fn filtered(mut body: Value, field: &str, map: impl Fn(&Value) -> Option<Value>) -> Value {
    let items = body[field].as_array().cloned().unwrap_or_default();
    body[field] = items.iter().filter_map(map).collect();
    body["$filtered"] = json!(true);
    body
}

fn openapi_index(body: &Value) -> Value {
    let mut paths = Map::new();
    for (name, entry) in
        body["paths"].as_object().into_iter().flatten().filter(|(name, _)| known(&OPENAPI_PATHS, Some(name)))
    {
        let url = entry["serverRelativeURL"].as_str().unwrap_or_default();
        paths.insert(name.clone(), json!(HASH.replace(url, "hash=<H>")));
    }
    json!({ "paths": paths, "$filtered": true })
}

fn openapi_document(path: &str, body: &Value) -> Value {
    if !body.is_object() || !path.contains("/df.io/") {
        return json!({ "$omitted": "openapi" });
    }
    let mut paths: Vec<&String> = body["paths"].as_object().into_iter().flatten().map(|(path, _)| path).collect();
    paths.sort();
    let schemas: Map<String, Value> = body["components"]["schemas"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| name.starts_with("io.df"))
        .map(|(name, schema)| (name.clone(), schema.clone()))
        .collect();
    json!({ "$openapi": paths, "schemas": schemas })
}
