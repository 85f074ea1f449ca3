//! The lists of groups and resources that older clients ask for.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{groups as served_groups, served, subresources, verbs};
use crate::apiserver::resource::{Resource, Resources};
use crate::apiserver::server::Pass;

/// `/api` or `/apis`.
pub(super) fn groups(pass: &Pass<'_>, root: &str) -> Value {
    if root == "api" {
        let address = pass.request.header("host");
        return json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{ "clientCIDR": "0.0.0.0/0", "serverAddress": address }],
        });
    }
    let groups: Vec<Value> =
        served_groups(&pass.state.resources).into_iter().map(|(group, versions)| entry(group, &versions)).collect();
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
}

/// `/apis/<group>`, if the group is served.
pub(super) fn group(resources: &Resources, group: &str) -> Option<Value> {
    let (_, versions) = served_groups(resources).into_iter().find(|(known, _)| *known == group)?;
    let mut object = json!({ "kind": "APIGroup", "apiVersion": "v1" });
    if let (Some(object), Value::Object(fields)) = (object.as_object_mut(), entry(group, &versions)) {
        object.extend(fields);
    }
    Some(object)
}

fn entry(group: &str, versions: &[&str]) -> Value {
    let version = |version: &&str| json!({ "groupVersion": format!("{group}/{version}"), "version": version });
    let versions: Vec<Value> = versions.iter().map(version).collect();
    json!({ "name": group, "versions": versions, "preferredVersion": versions.first() })
}

/// `/api/v1` or `/apis/<group>/<version>`, if it is served.
pub(super) fn resources(resources: &Resources, group: &str, version: &str) -> Option<Value> {
    let list: Vec<Value> = served(resources, group, version).flat_map(rows).collect();
    if list.is_empty() {
        return None;
    }
    let mut object = Map::new();
    object.insert("kind".into(), json!("APIResourceList"));
    // The oldest list of all goes without.
    if !group.is_empty() {
        object.insert("apiVersion".into(), json!("v1"));
    }
    object.insert(
        "groupVersion".into(),
        if group.is_empty() { json!(version) } else { json!(format!("{group}/{version}")) },
    );
    object.insert("resources".into(), list.into());
    Some(object.into())
}

/// A resource and its subresources.
fn rows(resource: &Resource) -> Vec<Value> {
    let mut main = json!({
        "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced, "kind": resource.kind, "verbs": verbs(resource),
    });
    if !resource.short_names.is_empty() {
        main["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        main["categories"] = json!(resource.categories);
    }
    if resource.verbs != ["create"] {
        main["storageVersionHash"] = json!(storage_hash(resource));
    }
    let subresources = subresources::of(resource).into_iter().map(|sub| {
        let mut row = json!({
            "name": format!("{}/{}", resource.plural, sub.name), "singularName": "", "namespaced": resource.namespaced,
            "kind": sub.kind, "verbs": sub.verbs,
        });
        if !sub.group.is_empty() {
            row["group"] = json!(sub.group);
            row["version"] = json!(sub.version);
        }
        row
    });
    std::iter::once(main).chain(subresources).collect()
}

/// A short hash of what is stored, as upstream makes it: the first eight bytes of SHA-256 in base64.
fn storage_hash(resource: &Resource) -> String {
    use base64::Engine as _;
    let version = resource.custom.as_ref().map_or(&resource.version, |custom| &custom.storage_version);
    let digest = Sha256::digest(format!("{}/{version}/{}", resource.group, resource.kind));
    base64::engine::general_purpose::STANDARD.encode(&digest[..8])
}
