//! What was said between the operator and the control plane, from the history alone: jobs as they were delivered, and when
//! they were acknowledged and closed.
//!
//! Beside Odoo's own tables, which a restore may take back.

use std::collections::BTreeMap;
use std::time::Duration;

use fakes::apiserver::Commit;
use fakes::history::{Event, Record};
use serde_json::Value;

use super::{INSTANCES, OPERATIONS, deleting, is_operator, text, uid};

/// See the module.
#[derive(Default)]
pub struct Books {
    /// By id.
    pub jobs: BTreeMap<String, Job>,
    /// Requests on their way, by id: when they were sent.
    sent: BTreeMap<u64, Duration>,
}

/// A job the operator may have seen.
pub struct Job {
    /// As it was delivered first.
    pub wire: Value,
    /// When it was delivered last.
    pub delivered: Duration,
    /// When its acknowledgement was first answered with success.
    pub acked: Option<Duration>,
    /// When its result was accepted.
    pub closed: Option<Duration>,
}

impl Books {
    /// Follows one record.
    pub(super) fn step(&mut self, record: &Record) {
        match &record.event {
            Event::Request { id, call, .. } if call.is_control_plane() => {
                self.sent.insert(*id, record.at);
            }
            Event::Handled { call, status: 200, reply, .. } if call.verb == "poll" => {
                let answer: Value = serde_json::from_slice(reply).unwrap_or_default();
                for wire in answer["jobs"].as_array().into_iter().flatten() {
                    let Some(id) = wire["id"].as_str() else { continue };
                    let new = || Job { wire: wire.clone(), delivered: record.at, acked: None, closed: None };
                    self.jobs.entry(id.to_owned()).or_insert_with(new).delivered = record.at;
                }
            }
            Event::Handled { call, status: 200..=299, .. } => {
                let Some(job) = self.jobs.get_mut(&call.name) else { return };
                match call.verb {
                    "ack" => drop(job.acked.get_or_insert(record.at)),
                    "result" => drop(job.closed.get_or_insert(record.at)),
                    _ => {}
                }
            }
            Event::Reply { id, .. } | Event::Lost { id, .. } => drop(self.sent.remove(id)),
            _ => {}
        }
    }

    /// When a request that is on its way was sent.
    pub fn sent(&self, request: u64) -> Option<Duration> {
        self.sent.get(&request).copied()
    }
}

/// What a job or a commit does to one object of ours.
#[derive(Clone, Debug, PartialEq)]
pub struct Deed {
    /// [`INSTANCES`] or [`OPERATIONS`].
    pub resource: &'static str,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// The spec it is given; `None`: it is deleted.
    pub spec: Option<Value>,
}

fn resource(kind: &str) -> Option<&'static str> {
    match kind {
        "ApplicationInstance" => Some(INSTANCES),
        "Operation" => Some(OPERATIONS),
        _ => None,
    }
}

impl Job {
    /// By which a repetition is known.
    pub fn key(&self) -> Option<&str> {
        self.wire["idempotencyKey"].as_str().filter(|key| !key.is_empty())
    }

    /// What it asks for, if that is an effect on an object of ours.
    pub fn wants(&self) -> Option<Deed> {
        let payload = &self.wire["payload"];
        let apply = |resource: &'static str, manifest: &Value| {
            let field = |name: &str| text(manifest, name).to_owned();
            let (namespace, name) = (field("/metadata/namespace"), field("/metadata/name"));
            Some(Deed { resource, namespace, name, spec: Some(manifest["spec"].clone()) })
        };
        let delete = |resource: &'static str| {
            let field = |name: &str| text(payload, name).to_owned();
            Some(Deed { resource, namespace: field("/namespace"), name: field("/name"), spec: None })
        };
        match (self.wire["kind"].as_str()?, payload["intent"].as_str()) {
            ("apply", _) => apply(resource(text(payload, "/kind"))?, payload),
            ("delete", _) => delete(resource(text(payload, "/kind"))?),
            ("intent", Some("ensure-application-instance")) => apply(INSTANCES, &payload["applicationInstance"]),
            ("intent", Some("request-operation")) => apply(OPERATIONS, &payload["operation"]),
            ("intent", Some("delete-application-instance")) => delete(INSTANCES),
            _ => None,
        }
    }
}

/// What a commit of the operator did to an object that only a job may make, change or delete (contract §29.48).
pub fn deed(commit: &Commit) -> Option<Deed> {
    if !is_operator(&commit.actor) {
        return None;
    }
    let resource = [INSTANCES, OPERATIONS].into_iter().find(|resource| *resource == commit.resource)?;
    let namespace = commit.namespace.clone().unwrap_or_default();
    let spec = match (commit.before.as_deref(), commit.after.as_deref()) {
        (None, Some(after)) => Some(after["spec"].clone()),
        (Some(before), Some(after)) if before["spec"] != after["spec"] => Some(after["spec"].clone()),
        (Some(before), Some(after)) if !deleting(before) && deleting(after) => None,
        (Some(before), None) if !deleting(before) => None,
        _ => return None,
    };
    Some(Deed { resource, namespace, name: commit.name.clone(), spec })
}

impl Deed {
    /// Whether this, as it was done, is what a job wanted: the server adds defaults, nothing else.
    pub fn fulfils(&self, wanted: &Deed) -> bool {
        let same = self.resource == wanted.resource && self.namespace == wanted.namespace && self.name == wanted.name;
        same && match (&self.spec, &wanted.spec) {
            (Some(is), Some(wanted)) => contains(is, wanted),
            (None, None) => true,
            _ => false,
        }
    }
}

/// Whether every member of `wanted` is in `is`.
fn contains(is: &Value, wanted: &Value) -> bool {
    match (is, wanted) {
        (Value::Object(is), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| is.get(key).is_some_and(|is| contains(is, wanted)))
        }
        (is, wanted) => is == wanted,
    }
}

/// The uid of an object that exists under this address.
pub(crate) fn standing<'a>(truth: &'a super::Truth, deed: &Deed) -> Option<&'a str> {
    truth.get(deed.resource, &deed.namespace, &deed.name).map(|object| uid(object))
}
