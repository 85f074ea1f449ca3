//! Aggregated discovery: everything in two documents, with entity tags.

use serde_json::{Map, Value, json};

use super::{groups, served, subresources, tagged_json, verbs};
use crate::apiserver::errors::Outcome;
use crate::apiserver::reply::Reply;
use crate::apiserver::resource::{Resource, Resources};
use crate::apiserver::server::Pass;

const MEDIA_TYPE: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The aggregated form of `/api` or `/apis`, if the client prefers it to the plain one.
pub(super) fn answer(pass: &Pass<'_>, root: &str) -> Option<Outcome<Reply>> {
    let accept = pass.request.header("accept");
    let wanted = accept
        .split(',')
        .map(str::trim)
        .find(|range| is_aggregated(range) || matches!(*range, "application/json" | "*/*"))?;
    is_aggregated(wanted).then(|| Ok(tagged_json(pass.request, MEDIA_TYPE, &document(&pass.state.resources, root))))
}

fn is_aggregated(range: &str) -> bool {
    let parts: Vec<&str> = range.split(';').map(str::trim).collect();
    parts[0] == "application/json"
        && ["g=apidiscovery.k8s.io", "v=v2", "as=APIGroupDiscoveryList"].iter().all(|part| parts.contains(part))
}

fn document(resources: &Resources, root: &str) -> Value {
    let items: Vec<Value> = if root == "api" {
        vec![json!({ "metadata": {}, "versions": [version(resources, "", "v1")] })]
    } else {
        let group = |(group, versions): (&str, Vec<&str>)| {
            let versions: Vec<Value> = versions.into_iter().map(|name| version(resources, group, name)).collect();
            json!({ "metadata": { "name": group }, "versions": versions })
        };
        groups(resources).into_iter().map(group).collect()
    };
    json!({ "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items })
}

fn version(resources: &Resources, group: &str, version: &str) -> Value {
    let list: Vec<Value> = served(resources, group, version).map(row).collect();
    json!({ "version": version, "resources": list, "freshness": "Current" })
}

fn row(resource: &Resource) -> Value {
    let mut row = Map::new();
    row.insert("resource".into(), json!(resource.plural));
    row.insert("responseKind".into(), response_kind(resource, "", "", &resource.kind));
    row.insert("scope".into(), json!(if resource.namespaced { "Namespaced" } else { "Cluster" }));
    row.insert("singularResource".into(), json!(resource.singular));
    row.insert("verbs".into(), json!(verbs(resource)));
    if !resource.short_names.is_empty() {
        row.insert("shortNames".into(), json!(resource.short_names));
    }
    if !resource.categories.is_empty() {
        row.insert("categories".into(), json!(resource.categories));
    }
    let subresources: Vec<Value> = subresources::of(resource)
        .into_iter()
        .map(|sub| {
            let kind = response_kind(resource, sub.group, sub.version, sub.kind);
            json!({ "subresource": sub.name, "responseKind": kind, "verbs": sub.verbs })
        })
        .collect();
    if !subresources.is_empty() {
        row.insert("subresources".into(), subresources.into());
    }
    row.into()
}

/// Built-in kinds of the same group leave group and version empty; custom resources name them.
fn response_kind(resource: &Resource, group: &str, version: &str, kind: &str) -> Value {
    let (group, version) = match (group, &resource.custom) {
        ("", Some(_)) => (resource.group.as_str(), resource.version.as_str()),
        _ => (group, version),
    };
    json!({ "group": group, "version": version, "kind": kind })
}
