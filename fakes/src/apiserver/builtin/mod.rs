//! The built-in kinds as data: one table per area, with rules for what a schema cannot say.
//!
//! Shapes come from [`definitions`]; [`defaults`] and [`merge`] add what those leave out. Not modelled: kinds that are not in the tables
//! (404 as on a server without them), admission plug-ins other than those named in the files, allocation of node ports.

mod access;
mod cluster;
mod core;
mod defaults;
pub(crate) mod definitions;
pub(crate) mod event;
mod merge;
mod namespace;
mod pod;
mod rules;
mod service;
mod workloads;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::resource::Resource;
use super::schema::Schema;

/// Every built-in resource that is served.
pub fn resources() -> Vec<Resource> {
    [core::resources(), workloads::resources(), access::resources(), cluster::resources()].concat()
}

/// The schema of a built-in kind, shared by all servers of the process.
pub fn schema(resource: &Resource) -> Arc<Schema> {
    static CACHE: Mutex<BTreeMap<String, Arc<Schema>>> = Mutex::new(BTreeMap::new());
    let name = definitions::name_of(&resource.group, &resource.version, &resource.kind);
    let mut cache = CACHE.lock().expect("no panic while a schema is read");
    cache.entry(name).or_insert_with_key(|name| Arc::new(Schema::trusted(&definitions::structural(name)))).clone()
}

/// An object as it is stored: the two kinds of events are one (K7).
pub fn stored_form(resource: &Resource, object: Value) -> Value {
    if resource.group == "events.k8s.io" { event::convert(&object, true) } else { object }
}

/// A stored object as this resource shows it, if that differs.
pub fn shown_form(resource: &Resource, stored: &Value) -> Option<Value> {
    (resource.group == "events.k8s.io").then(|| event::convert(stored, false))
}

/// What a decoder says of a time that needs microseconds and has none (K6, K7).
pub fn time_problem(resource: &Resource, object: &Value) -> Option<String> {
    let fields: &[&str] = match resource.kind.as_str() {
        "Lease" if resource.group == "coordination.k8s.io" => &["/spec/acquireTime", "/spec/renewTime"],
        "Event" if &*resource.id == "events" => &["/eventTime", "/series/lastObservedTime"],
        _ => return None,
    };
    let times = fields.iter().filter_map(|field| object.pointer(field)?.as_str());
    times.into_iter().find_map(|time| {
        let layout = "2006-01-02T15:04:05.000000Z07:00";
        let Some((head, tail)) = time.split_at_checked("2006-01-02T15:04:05".len()) else {
            return Some(format!("parsing time {time:?} as {layout:?}: cannot parse {time:?} as \"2006\""));
        };
        let digits = tail.strip_prefix('.').map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count());
        if digits < 6 {
            return Some(format!("parsing time {time:?} as {layout:?}: cannot parse {tail:?} as \".000000\""));
        }
        time.parse::<jiff::Timestamp>()
            .is_err()
            .then(|| format!("parsing time {time:?} as {layout:?}: cannot parse {head:?} as \"2006\""))
    })
}

/// Seconds that an object is given to end, for kinds that end gracefully: pods (C16). A pod that runs nowhere gets none.
pub fn grace_seconds(resource: &Resource, object: &Value, wanted: Option<i64>) -> Option<i64> {
    if &*resource.id != "pods" {
        return None;
    }
    let over = matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if over || object["spec"]["nodeName"].as_str().is_none_or(str::is_empty) {
        return Some(0);
    }
    Some(wanted.or_else(|| object["spec"]["terminationGracePeriodSeconds"].as_i64()).unwrap_or(30).max(0))
}

/// The objects that a fresh server has: the four namespaces.
pub fn install(server: &super::server::Server) {
    let now = server.config().clock.now();
    let mut state = server.state();
    for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
        let uid = state.entropy.uid();
        let namespace = serde_json::json!({
            "kind": "Namespace", "apiVersion": "v1",
            "metadata": {
                "name": name, "uid": uid, "creationTimestamp": super::rest::second(now), "labels": { "kubernetes.io/metadata.name": name },
            },
            "spec": { "finalizers": ["kubernetes"] }, "status": { "phase": "Active" },
        });
        state.commit(
            "kube-apiserver",
            "create",
            &"namespaces".into(),
            (String::new(), name.to_owned()),
            Some((namespace, 0)),
            now,
        );
    }
}
