//! `status.history`: what helm-controller remembers of Helm's storage.

use serde_json::{Value, json};

use super::super::helm::{Action, Revision, Status};
use super::super::subject::Subject;
use super::super::world::stamp;
use super::Desired;
use crate::kinds::FluxRelease;

/// History keeps at most this many entries when none before the newest ever ran.
const LONGEST: usize = 5;

pub(super) fn history(subject: &Subject<'_>) -> Vec<Value> {
    subject.object["status"]["history"].as_array().cloned().unwrap_or_default()
}

pub(super) fn set_history(subject: &mut Subject<'_>, history: Vec<Value>) {
    let value = if history.is_empty() { Value::Null } else { Value::Array(history) };
    subject.set_status("history", value);
}

/// How the controller writes down a stored revision.
pub(super) fn of(revision: &Revision, name: &str, oci_digest: &str, action: Action, release: FluxRelease) -> Value {
    let mut snapshot = json!({
        "apiVersion": "v2",
        "digest": revision.digest(),
        "name": name,
        "namespace": revision.target,
        "version": revision.version,
        "status": revision.status.word(),
        "chartName": revision.chart,
        "chartVersion": revision.chart_version,
        "appVersion": revision.app_version,
        "configDigest": revision.config_digest,
        "firstDeployed": stamp(revision.first_deployed),
        "lastDeployed": stamp(revision.last_deployed),
    });
    if !oci_digest.is_empty() {
        snapshot["ociDigest"] = json!(oci_digest);
    }
    if release >= FluxRelease::V2_8 {
        snapshot["action"] = json!(action.word());
    }
    snapshot
}

/// Brings the entry of this revision up to date, if there is one.
pub(super) fn refresh(history: &mut [Value], revision: &Revision) -> bool {
    for snapshot in history {
        if snapshot["version"] == revision.version {
            snapshot["digest"] = json!(revision.digest());
            snapshot["status"] = json!(revision.status.word());
            return true;
        }
    }
    false
}

/// Whether the newest entry is this stored revision, unchanged.
pub(super) fn describes(snapshot: &Value, revision: &Revision) -> bool {
    snapshot["version"] == revision.version && snapshot["digest"] == revision.digest().as_str()
}

/// `ns/name.v3`.
pub(super) fn full_name(snapshot: &Value) -> String {
    let text = |field: &str| snapshot[field].as_str().unwrap_or_default();
    format!("{}/{}.v{}", text("namespace"), text("name"), snapshot["version"])
}

/// `chart@version`.
pub(super) fn chart(snapshot: &Value) -> String {
    let text = |field: &str| snapshot[field].as_str().unwrap_or_default();
    format!("{}@{}", text("chartName"), text("chartVersion"))
}

fn has_run(snapshot: &Value) -> bool {
    let status = snapshot["status"].as_str().unwrap_or_default();
    status == Status::Deployed.word() || status == Status::Superseded.word()
}

/// The newest entry before the current one that ever ran: the target of a rollback.
pub(super) fn previous(history: &[Value]) -> Option<&Value> {
    history.iter().skip(1).find(|snapshot| has_run(snapshot))
}

/// Drops everything older than the previous one that ran.
pub(super) fn truncate(history: &mut Vec<Value>) {
    match history.iter().skip(1).position(has_run) {
        Some(index) => history.truncate(index + 2),
        None => history.truncate(LONGEST),
    }
}

/// Whether the release that exists is another one than the release that is asked for.
pub(super) fn target_changed(subject: &Subject<'_>, desired: &Desired) -> bool {
    let storage = subject.status_text("storageNamespace");
    if storage.is_empty() {
        return false;
    }
    if storage != desired.release.namespace {
        return true;
    }
    let history = history(subject);
    let Some(current) = history.first() else { return false };
    current["namespace"] != desired.target_namespace.as_str()
        || current["name"] != desired.release.name.as_str()
        || current["chartName"] != desired.chart.name.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(states: &[&str]) -> Vec<Value> {
        states.iter().map(|status| json!({"status": status})).collect()
    }

    #[test]
    fn history_ends_with_the_previous_revision_that_ran() {
        let mut history = entries(&["deployed", "failed", "superseded", "superseded"]);
        truncate(&mut history);
        assert_eq!(history, entries(&["deployed", "failed", "superseded"]));
        let mut history = entries(&["failed"; 8]);
        truncate(&mut history);
        assert_eq!(history.len(), LONGEST);
        assert!(previous(&history).is_none());
    }
}
