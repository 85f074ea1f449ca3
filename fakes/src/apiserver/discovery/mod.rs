//! Discovery (M1): which groups, versions and resources are served, plain and aggregated, and which version the server claims to be.

mod aggregated;
mod plain;
mod subresources;

use bytes::Bytes;
use http::{Method, header};
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

use super::errors::{Outcome, Status};
use super::json;
use super::reply::{Payload, Reply};
use super::request::Request;
use super::resource::{Resource, Resources};
use super::server::Pass;

/// Built-in groups in the order of a real server; groups of custom resources follow by name.
const ORDER: [&str; 20] = [
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "resource.k8s.io",
];

/// Answers a discovery, version or OpenAPI path; `None` for every other path.
pub(crate) fn answer(pass: &Pass<'_>) -> Option<Outcome<Reply>> {
    let path = pass.request.path.as_str();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let resources = &pass.state.resources;
    let reply = match parts.as_slice() {
        ["version"] => Ok(Reply::new(200, Payload::Json(version()))),
        ["api"] | ["apis"] => aggregated::answer(pass, parts[0])
            .unwrap_or_else(|| Ok(Reply::new(200, Payload::Json(plain::groups(pass, parts[0]))))),
        ["apis", group] => plain::group(resources, group)
            .map(|group| Reply::new(200, Payload::Json(group)))
            .ok_or_else(Status::page_not_found),
        ["api", version] => plain::resources(resources, "", version).map(json_reply).ok_or_else(Status::page_not_found),
        ["apis", group, version] => {
            plain::resources(resources, group, version).map(json_reply).ok_or_else(Status::page_not_found)
        }
        ["openapi", ..] => super::openapi::answer(pass, &parts[1..]),
        _ => return None,
    };
    if pass.request.method != Method::GET {
        return Some(Err(Status::method_not_allowed()));
    }
    Some(reply)
}

fn json_reply(value: Value) -> Reply {
    Reply::new(200, Payload::Json(value))
}

/// The version that the recorded answers come from.
fn version() -> Value {
    json!({
        "major": "1", "minor": "36", "emulationMajor": "1", "emulationMinor": "36", "minCompatibilityMajor": "1", "minCompatibilityMinor": "35",
        "gitVersion": "v1.36.2", "gitCommit": "98b35193b2ac7a23a673325f5e9b830ecd5ba406", "gitTreeState": "clean", "buildDate": "2026-06-10T00:00:00Z",
        "goVersion": "go1.26.6", "compiler": "gc", "platform": "linux/amd64",
    })
}

/// Groups in discovery order with their versions, the preferred one first. The core group is not among them.
fn groups(resources: &Resources) -> Vec<(&str, Vec<&str>)> {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for resource in resources.iter().filter(|resource| !resource.group.is_empty()) {
        match groups.iter_mut().find(|(group, _)| *group == resource.group) {
            Some((_, versions)) if versions.contains(&resource.version.as_str()) => {}
            Some((_, versions)) => versions.push(&resource.version),
            None => groups.push((&resource.group, vec![&resource.version])),
        }
    }
    groups.iter_mut().for_each(|(_, versions)| versions.sort_by_key(|version| std::cmp::Reverse(priority(version))));
    groups.sort_by_key(|(group, _)| (ORDER.iter().position(|known| known == group).unwrap_or(ORDER.len()), *group));
    groups
}

/// Kubernetes order of versions: v2 above v1, releases above betas above alphas, everything else below by name reversed.
fn priority(version: &str) -> (u8, u64, u64, std::cmp::Reverse<String>) {
    let parsed = version.strip_prefix('v').and_then(|rest| {
        let (major, stage, minor) = match rest.find(|c: char| !c.is_ascii_digit()) {
            None => (rest, 3, "0"),
            Some(at) => {
                let (major, tail) = rest.split_at(at);
                let minor = tail
                    .strip_prefix("beta")
                    .map(|minor| (2, minor))
                    .or_else(|| tail.strip_prefix("alpha").map(|minor| (1, minor)))?;
                (major, minor.0, minor.1)
            }
        };
        Some((stage, major.parse().ok()?, minor.parse().ok()?))
    });
    match parsed {
        Some((stage, major, minor)) => (stage, major, minor, std::cmp::Reverse(String::new())),
        None => (0, 0, 0, std::cmp::Reverse(version.to_owned())),
    }
}

/// Resources of one group and version in the order of discovery.
fn served<'a>(resources: &'a Resources, group: &'a str, version: &'a str) -> impl Iterator<Item = &'a Resource> {
    resources.iter().map(AsRef::as_ref).filter(move |resource| resource.group == group && resource.version == version)
}

/// Verbs of a resource in the order that clients see.
fn verbs(resource: &Resource) -> Vec<&'static str> {
    if resource.custom.is_some() {
        return vec!["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
    }
    resource.verbs.to_vec()
}

/// A document with an entity tag; 304 when the client has it.
pub(crate) fn tagged(request: &Request, media_type: &'static str, bytes: Vec<u8>) -> Reply {
    let tag = format!("\"{:X}\"", Sha512::digest(&bytes));
    let known = request.header("if-none-match").split(',').any(|known| known.trim() == tag);
    let payload = if known { Payload::NotModified } else { Payload::Document(media_type, Bytes::from(bytes)) };
    let mut reply = Reply::new(if known { 304 } else { 200 }, payload);
    reply.headers = vec![(header::ETAG, tag), (header::VARY, "Accept".to_owned())];
    reply
}

fn tagged_json(request: &Request, media_type: &'static str, value: &Value) -> Reply {
    tagged(request, media_type, json::to_vec(value))
}
