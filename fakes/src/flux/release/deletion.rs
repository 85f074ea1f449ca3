//! Uninstalling: because the object is deleted, or because it names another release now.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::helm::ReleaseName;
use super::super::subject::{Stop, Subject};
use super::atomic::summarize;
use super::prerequisites::forbidden;
use super::remedies::{NOT_FOUND, uninstall};
use super::snapshot::{chart, full_name, history, set_history};
use super::{End, account, clear_failures, duration, template};
use crate::script::Switch;

/// The pass over a deleted object. Suspended ones lose their finalizer and nothing else.
pub(super) async fn delete(subject: &mut Subject<'_>) -> Result<End, Stop> {
    if !subject.has_finalizer() {
        return Ok(End::Terminal);
    }
    if !subject.is_suspended() {
        if !is_skipped(subject).await {
            if !take_away(subject).await? {
                return Ok(End::Failed);
            }
            set_history(subject, Vec::new());
            subject.set_status("storageNamespace", Value::Null);
        }
        if let Err(end) = template::delete(subject).await {
            return Ok(end);
        }
    }
    subject.remove_finalizer();
    Ok(End::Terminal)
}

/// Nothing was ever attempted, or the account that should act is gone: the release, if any, stays behind.
async fn is_skipped(subject: &Subject<'_>) -> bool {
    if subject.status_text("storageNamespace").is_empty() {
        return true;
    }
    if subject.hub.world.take(Switch::H11, &subject.target).is_some() {
        return true;
    }
    let Some(account) = account(subject) else { return false };
    let path = format!("/api/v1/namespaces/{}/serviceaccounts/{account}", subject.namespace());
    subject.hub.client.get(&path).await.0 == 404
}

/// The release that exists is not the one asked for any more: away with it, and start anew.
pub(super) async fn move_away(subject: &mut Subject<'_>) -> Result<End, Stop> {
    if !take_away(subject).await? {
        return Ok(End::Failed);
    }
    set_history(subject, Vec::new());
    clear_failures(subject);
    subject.set_status("storageNamespace", Value::Null);
    Ok(End::Requeue)
}

/// Uninstalls what the history names. `true`: it is gone, or there was nothing that the history knew of.
async fn take_away(subject: &mut Subject<'_>) -> Result<bool, Stop> {
    let Some(current) = history(subject).first().cloned() else { return Ok(true) };
    let storage = subject.status_text("storageNamespace").to_owned();
    let name = ReleaseName::new(&storage, current["name"].as_str().unwrap_or_default());
    let timeout = subject.spec_text("/uninstall/timeout").or_else(|| subject.spec_text("/timeout"));
    let timeout = timeout.and_then(duration).unwrap_or(Duration::from_secs(300));
    let last = subject.hub.world.peek(|state| state.storage.last(&name).map(|last| last.version));
    let error = match forbidden(subject, &storage).await {
        Some(why) => Some(why),
        None => uninstall(subject, &name, timeout).await?,
    };
    let error = match error {
        Some(error) if error == NOT_FOUND => {
            let message = format!("Release {} was not found, assuming it is uninstalled", full_name(&current));
            subject.set("Released", "False", "UninstallSucceeded", &message);
            summarize(subject);
            return Ok(true);
        }
        None if last != current["version"].as_i64() => Some(format!(
            "release mismatch: uninstalled release {}/{}.v{} != current release {}",
            current["namespace"].as_str().unwrap_or_default(),
            name.name,
            last.unwrap_or_default(),
            full_name(&current)
        )),
        other => other,
    };
    if let Some(error) = error {
        let message = format!(
            "Helm uninstall failed for release {} with chart {}: {}",
            full_name(&current),
            chart(&current),
            error.trim()
        );
        let failures = subject.status_number("failures") + 1;
        subject.set_status("failures", json!(failures));
        subject.set("Released", "False", "UninstallFailed", &message);
        summarize(subject);
        subject.event("Warning", "UninstallFailed", &message).await;
        return Ok(false);
    }
    let message =
        format!("Helm uninstall succeeded for release {} with chart {}", full_name(&current), chart(&current));
    subject.set("Released", "False", "UninstallSucceeded", &message);
    summarize(subject);
    subject.event("Normal", "UninstallSucceeded", &message).await;
    Ok(true)
}
