//! What follows a failure or an accident: rollback, uninstall, unlocking, correcting drift.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::helm::{Action, ReleaseName, Revision, Status};
use super::super::subject::{Stop, Subject};
use super::Desired;
use super::actions::{fate, note, record, work};
use super::snapshot::{chart, full_name, history, previous, refresh, set_history};

pub(super) async fn rollback(subject: &mut Subject<'_>, desired: &Desired, timeout: Duration) -> Result<bool, Stop> {
    let world = subject.hub.world.clone();
    let name = &desired.release;
    let all = history(subject);
    let Some(target) = previous(&all).cloned() else { return Ok(false) };
    let old = target["version"].as_i64().unwrap_or_default();
    let (stored, last) = world.peek(|state| (state.storage.get(name, old).cloned(), state.storage.last(name).cloned()));
    let (Some(stored), Some(last)) = (stored, last) else { return Ok(false) };
    let version = last.version + 1;
    let keep = subject.spec("/maxHistory").and_then(Value::as_u64).unwrap_or(5) as usize;
    let then = fate(subject, Action::Rollback);
    let result = work(subject, then, timeout, |subject| {
        let now = subject.hub.world.now();
        let again = Revision { version, status: Status::PendingRollback, last_deployed: now, ..stored.clone() };
        note(subject, name, Action::Rollback, version, None, &again.content);
        subject.hub.world.peek(|state| state.storage.store(name, again, keep));
    })
    .await?;
    if result.stored {
        world.peek(|state| state.storage.finish(name, version, result.error.is_none()));
        let content = record(subject, desired, version, Action::Rollback);
        note(subject, name, Action::Rollback, version, Some(result.error.is_none()), &content);
    }
    let what = format!("Helm rollback to previous release {} with chart {}", full_name(&target), chart(&target));
    if let Some(error) = result.error {
        let message = format!("{what} failed: {}", error.trim());
        let failures = subject.status_number("failures") + 1;
        subject.set_status("failures", json!(failures));
        subject.set("Remediated", "False", "RollbackFailed", &message);
        subject.event("Warning", "RollbackFailed", &message).await;
        return Ok(result.stored);
    }
    let message = format!("{what} succeeded");
    subject.set("Remediated", "True", "RollbackSucceeded", &message);
    subject.event("Normal", "RollbackSucceeded", &message).await;
    Ok(true)
}

pub(super) async fn uninstall_remediation(
    subject: &mut Subject<'_>,
    desired: &Desired,
    timeout: Duration,
) -> Result<bool, Stop> {
    let current = history(subject).first().cloned().unwrap_or_default();
    let what = format!("release {} with chart {}", full_name(&current), chart(&current));
    match uninstall(subject, &desired.release, timeout).await? {
        None => {
            // The record is gone from storage; history tells that it was uninstalled.
            let mut all = history(subject);
            if let Some(first) = all.first_mut() {
                first["status"] = json!(Status::Uninstalled.word());
            }
            set_history(subject, all);
            let message = format!("Helm uninstall remediation for {what} succeeded");
            subject.set("Remediated", "True", "UninstallSucceeded", &message);
            subject.event("Normal", "UninstallSucceeded", &message).await;
            Ok(true)
        }
        Some(error) => {
            let message = format!("Helm uninstall remediation for {what} failed: {error}");
            let failures = subject.status_number("failures") + 1;
            subject.set_status("failures", json!(failures));
            subject.set("Remediated", "False", "UninstallFailed", &message);
            subject.event("Warning", "UninstallFailed", &message).await;
            Ok(false)
        }
    }
}

/// Helm's uninstall; `Some`: why it failed.
pub(super) async fn uninstall(
    subject: &Subject<'_>,
    name: &ReleaseName,
    timeout: Duration,
) -> Result<Option<String>, Stop> {
    let world = subject.hub.world.clone();
    let last = world.peek(|state| state.storage.last(name).cloned());
    let Some(last) = last else { return Ok(Some(NOT_FOUND.into())) };
    let keep = subject.spec("/uninstall/keepHistory") == Some(&json!(true));
    let then = fate(subject, Action::Uninstall);
    note(subject, name, Action::Uninstall, last.version, None, &last.content);
    let result = work(subject, then, timeout, |_| {}).await?;
    if result.error.is_none() || (result.stored && result.error.as_deref() != Some("context deadline exceeded")) {
        // A hook that fails after deletion leaves no record behind: the second try finds nothing and is content.
        world.peek(|state| state.storage.uninstall(name, keep));
    }
    note(subject, name, Action::Uninstall, last.version, Some(result.error.is_none()), &last.content);
    Ok(result.error)
}

/// Patching what has drifted back, without waiting for it to settle.
const CORRECTION: Duration = Duration::from_secs(2);

/// What Helm says when there is no such release.
pub(super) const NOT_FOUND: &str = "release: not found";

pub(super) async fn unlock(subject: &mut Subject<'_>, desired: &Desired) -> Result<bool, Stop> {
    let name = &desired.release;
    let last = subject.hub.world.peek(|state| {
        let version = state.storage.last(name)?.version;
        state.storage.finish(name, version, false);
        state.storage.last(name).cloned()
    });
    let Some(last) = last else { return Ok(false) };
    let mut all = history(subject);
    if refresh(&mut all, &last) {
        set_history(subject, all);
    }
    let message = format!(
        "Unlocked Helm release {}/{}.v{} with chart {}@{}",
        last.target, name.name, last.version, last.chart, last.chart_version
    );
    subject.set("Released", "False", "PendingRelease", &message);
    subject.event("Normal", "PendingRelease", &message).await;
    Ok(true)
}

pub(super) async fn correct(subject: &mut Subject<'_>, desired: &Desired) -> Result<bool, Stop> {
    tokio::time::sleep(CORRECTION).await;
    subject.hub.world.peek(|state| state.storage.correct(&desired.release));
    let message =
        format!("Cluster state of release {}/{} has been corrected", desired.target_namespace, desired.release.name);
    subject.event("Normal", "DriftCorrected", &message).await;
    Ok(true)
}
