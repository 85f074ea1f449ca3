//! OpenAPI v3: the index and one document per group and version.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};

use super::{names, paths};
use crate::apiserver::json as wire;
use crate::apiserver::resource::Resource;
use crate::apiserver::server::Pass;

/// `/openapi/v3`: paths with the hash of their document.
pub(super) fn index(pass: &Pass<'_>) -> Value {
    let mut all: Vec<String> = vec!["api".into(), "apis".into(), "version".into()];
    for resource in pass.state.resources.iter() {
        let path = path_of(resource);
        if !all.contains(&path) {
            all.push(path);
        }
        if !resource.group.is_empty() && resource.custom.is_none() && !all.contains(&format!("apis/{}", resource.group))
        {
            all.push(format!("apis/{}", resource.group));
        }
    }
    all.sort();
    let mut urls = Map::new();
    for path in all {
        let hash = document(pass, &path).map(|document| hash(&wire::to_vec(&document))).unwrap_or_default();
        urls.insert(path.clone(), json!({ "serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}") }));
    }
    json!({ "paths": urls })
}

fn path_of(resource: &Resource) -> String {
    if resource.group.is_empty() {
        format!("api/{}", resource.version)
    } else {
        format!("apis/{}/{}", resource.group, resource.version)
    }
}

/// Hash of a document in the form of the index.
pub(super) fn hash(bytes: &[u8]) -> String {
    format!("{:X}", Sha512::digest(bytes))
}

/// The document of a path such as `apis/apps/v1`, if it is served.
pub(super) fn document(pass: &Pass<'_>, path: &str) -> Option<Value> {
    let info = json!({ "title": "Kubernetes", "version": "v1.36.2" });
    if matches!(path, "api" | "apis" | "version") || path.starts_with("apis/") && path.matches('/').count() == 1 {
        return Some(json!({ "openapi": "3.0.0", "info": info, "paths": {} }));
    }
    let mut schemas = Map::new();
    let mut operations = Map::new();
    for resource in pass.state.resources.iter().filter(|resource| path_of(resource) == path) {
        let name = names::add(pass, resource, &mut schemas);
        paths::add(resource, &name, &mut operations);
    }
    if schemas.is_empty() {
        return None;
    }
    names::close(&mut schemas);
    operations.sort_keys();
    Some(json!({ "openapi": "3.0.0", "info": info, "paths": operations, "components": { "schemas": schemas } }))
}
