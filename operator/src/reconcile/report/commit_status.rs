//! What became of a Git commit, for Flux's notification-controller (contract §21.1). It answers 202, or 429 for what it has
//! seen within five minutes; both are success.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::cursor::Place;
use super::journal::journal;
use crate::api::annotation::APPLIED_REVISION;
use crate::api::condition::{MESSAGE_BYTES_MAX, find};
use crate::api::{OPERATOR, names};
use crate::cluster_api::Object;
use crate::foreign::text::stable;
use crate::reconcile::Effect;

/// Most events that wait (contract §21.1).
pub const WAITING_MAX: usize = 256;
/// Key of what was acknowledged, in the cursor's ConfigMap.
const ACKNOWLEDGED: &str = "commit-status.json";

/// How an object stands at its generation: for good, until somebody changes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The condition that says so.
    pub condition: Value,
    /// Whether it is a failure.
    pub failed: bool,
}

/// The outcome of an object at its current generation; `None` while it is on its way.
pub fn outcome_at(object: &Object) -> Option<Outcome> {
    let list = object.0.pointer("/status/conditions").and_then(Value::as_array)?;
    let generation = object.generation();
    let stands = |type_: &str, status: &str, reasons: &[&str]| {
        let condition = find(list, type_)?;
        let reason = condition["reason"].as_str().unwrap_or_default();
        let here = condition["observedGeneration"].as_i64().is_none_or(|seen| seen == generation);
        let fits = condition["status"] == status && here && (reasons.is_empty() || reasons.contains(&reason));
        fits.then(|| condition.clone())
    };
    let table: &[(&str, &str, &[&str], bool)] = match object.kind() {
        "Operation" => {
            &[("Failed", "True", &[], true), ("Cancelled", "True", &[], false), ("Succeeded", "True", &[], false)]
        }
        _ => &[
            ("Blocked", "True", &["PolicyDenied", "ValidationFailed"], true),
            ("Ready", "False", &["HelmReleaseFailed"], true),
            ("Ready", "True", &["RolledBack"], true),
            ("Ready", "True", &[], false),
        ],
    };
    table.iter().find_map(|(type_, status, reasons, failed)| {
        Some(Outcome { condition: stands(type_, status, reasons)?, failed: *failed })
    })
}

/// One event that waits to be posted.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Of which object.
    pub uid: String,
    /// Number of the transition, and a digest of revision and outcome: what is acknowledged.
    pub mark: String,
    /// The body.
    pub body: Value,
}

/// What is to be said of an object that carries a revision; `None` for others, and while it is on its way. `reporter` is
/// the pod.
pub fn status(object: &Object, reporter: &str) -> Option<Status> {
    let revision = object.annotation(APPLIED_REVISION).filter(|revision| !revision.is_empty())?;
    let uid = object.uid()?.0;
    let Outcome { condition, failed } = outcome_at(object)?;
    let text = |field: &str| condition[field].as_str().unwrap_or_default();
    let made = |entry: &&crate::api::Transition| entry.type_ == text("type") && entry.reason == text("reason");
    let transitions = journal(object);
    // One that has left the journal is older than all that is in it.
    let made = transitions.iter().rev().find(made);
    let (seq, time) = made.map_or((0, text("lastTransitionTime")), |made| (made.seq, made.time.as_str()));
    let api_version = object.0.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    let group = api_version.split('/').next().unwrap_or_default();
    let mut message = stable(text("message"));
    while message.len() > MESSAGE_BYTES_MAX {
        message.pop();
    }
    let mut digest = names::digest(&[revision, text("reason"), &message]);
    digest.truncate(8);
    let body = json!({
        "involvedObject": {
            "apiVersion": api_version, "kind": object.kind(), "namespace": object.namespace(),
            "name": object.name(), "uid": uid,
        },
        "severity": if failed { "error" } else { "info" },
        "timestamp": time,
        "reason": text("reason"),
        "message": message,
        "metadata": {
            format!("{group}/revision"): revision,
            format!("{group}/commit_status"): "update",
            format!("{group}/token"): format!("{uid}:{seq}"),
        },
        "reportingController": OPERATOR,
        "reportingInstance": reporter,
    });
    Some(Status { uid, mark: format!("{seq}-{digest}"), body })
}

/// What was acknowledged by uid, as stored in the first page of the cursor. An unreadable one is empty: everything is said
/// once more.
pub fn acknowledged(stored: Option<&Object>) -> BTreeMap<String, String> {
    let text = stored.and_then(|stored| stored.0.get("data")?.get(ACKNOWLEDGED)?.as_str());
    text.and_then(super::parse).unwrap_or_default()
}

/// Stores what was acknowledged.
pub fn write(acknowledged: &BTreeMap<String, String>, stored: Option<&Object>, namespace: &str) -> Effect {
    let text = serde_json::to_string(acknowledged).expect("texts");
    super::store_key(&Place::First.key(namespace), stored, ACKNOWLEDGED, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(type_: &str, status: &str, reason: &str, seen: i64) -> Object {
        Object(json!({
            "apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance",
            "metadata": {"name": "files", "namespace": "org-a", "uid": "u1", "generation": 2, "annotations": {APPLIED_REVISION: "main@sha1:abc"}},
            "status": {
                "conditions": [{"type": type_, "status": status, "reason": reason, "message": "password=hunter2", "observedGeneration": seen, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
                "transitions": [{"seq": 7, "type": type_, "status": status, "reason": reason, "message": "", "time": "2026-01-01T00:00:01Z", "generation": 2}],
            },
        }))
    }

    #[test]
    fn an_outcome_is_told_and_nothing_on_the_way() {
        for (type_, state, reason, seen, severity) in [
            ("Ready", "True", "HelmReleaseReady", 2, Some("info")),
            ("Ready", "True", "RolledBack", 2, Some("error")),
            ("Ready", "False", "HelmReleaseFailed", 2, Some("error")),
            ("Blocked", "True", "PolicyDenied", 2, Some("error")),
            ("Blocked", "True", "MissingSecret", 2, None),
            ("Ready", "False", "Upgrading", 2, None),
            ("Ready", "Unknown", "Reconciling", 2, None),
            ("Ready", "True", "HelmReleaseReady", 1, None),
        ] {
            let told = status(&instance(type_, state, reason, seen), "pod-0");
            assert_eq!(told.as_ref().map(|told| told.body["severity"].as_str().expect("a word")), severity, "{reason}");
        }
        let mut plain = instance("Ready", "True", "HelmReleaseReady", 2);
        plain.0["metadata"]["annotations"] = json!({});
        assert_eq!(status(&plain, "pod-0"), None, "it carries no revision");
    }

    #[test]
    fn the_body_is_that_of_the_contract_and_holds_no_secret() {
        let told = status(&instance("Ready", "True", "HelmReleaseReady", 2), "pod-0").expect("ready");
        let expect = json!({
            "involvedObject": {"apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance", "namespace": "org-a", "name": "files", "uid": "u1"},
            "severity": "info", "timestamp": "2026-01-01T00:00:01Z", "reason": "HelmReleaseReady", "message": "password=[REDACTED]",
            "metadata": {"apps.vworkspace.io/revision": "main@sha1:abc", "apps.vworkspace.io/commit_status": "update", "apps.vworkspace.io/token": "u1:7"},
            "reportingController": "vworkspace-app-operator", "reportingInstance": "pod-0",
        });
        assert_eq!(told.body, expect);
        // Another commit is another thing to say, although nothing changed here.
        let mut later = instance("Ready", "True", "HelmReleaseReady", 2);
        later.0["metadata"]["annotations"][APPLIED_REVISION] = json!("main@sha1:def");
        assert_ne!(status(&later, "pod-0").expect("ready").mark, told.mark);
    }

    #[test]
    fn what_was_acknowledged_survives_its_store() {
        let marks = BTreeMap::from([("u1".to_string(), "7-00000000".to_string())]);
        let Effect::Create(stored) = write(&marks, None, "system") else { panic!("a new store") };
        assert_eq!(acknowledged(Some(&stored)), marks);
        assert_eq!(super::super::cursor::read(&stored), Some(Default::default()), "the cursor is none of its business");
    }
}
