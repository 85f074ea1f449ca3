//! Install and upgrade: what Helm does, for how long, and what of it is written on the object. The other actions are in
//! `remedies`.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::helm::{Action, Deed, ReleaseName, Status, revision};
use super::super::subject::{Stop, Subject};
use super::super::timing::Step;
use super::remedies::{correct, rollback, uninstall_remediation, unlock};
use super::snapshot::{chart, full_name, history, of, refresh, set_history};
use super::state::{Next, retries_on_failure};
use super::{Desired, clear_failures, go};
use crate::kinds::FluxRelease;
use crate::script::{Switch, Then, milliseconds};

/// Rendering, validation and the first reads fail quickly.
const EARLY_FAILURE: Duration = Duration::from_millis(500);

/// How Helm's work went.
pub(super) struct Worked {
    /// `None`: it succeeded.
    pub(super) error: Option<String>,
    /// Whether storage was touched.
    pub(super) stored: bool,
}

/// Runs an action. `false`: it failed and left nothing that could be remedied, so the error goes to the caller.
pub(super) async fn run(
    subject: &mut Subject<'_>,
    desired: &Desired,
    next: Next,
    timeout: Duration,
) -> Result<bool, Stop> {
    match next {
        Next::Install => release(subject, desired, Action::Install, timeout).await,
        Next::Upgrade => release(subject, desired, Action::Upgrade, timeout).await,
        Next::Rollback => rollback(subject, desired, timeout).await,
        Next::UninstallRemediation => uninstall_remediation(subject, desired, timeout).await,
        Next::Unlock => unlock(subject, desired).await,
        Next::CorrectDrift => correct(subject, desired).await,
        Next::Nothing | Next::Exceeded | Next::NoTarget => Ok(true),
    }
}

pub(super) fn note(
    subject: &Subject<'_>,
    release: &ReleaseName,
    action: Action,
    version: i64,
    succeeded: Option<bool>,
    content: &str,
) {
    let at = subject.hub.world.now();
    let deed = Deed { at, release: release.clone(), action, version, succeeded, content: content.to_owned() };
    subject.hub.world.peek(|state| state.deeds.push(deed));
}

/// What shall happen to this action, and why if it fails.
pub(super) fn fate(subject: &Subject<'_>, action: Action) -> Then {
    let target = &subject.target;
    let usual = Then::Succeed { after: subject.hub.world.span(Step::Helm, &target.to_string()).as_millis() as u64 };
    subject.hub.world.peek(|state| {
        let script = &mut state.script;
        if let Some(then) = script.next(target, action.word()) {
            return then;
        }
        let (broken, failing) = match action {
            Action::Install => (vec![Switch::H3], vec![Switch::H4]),
            Action::Upgrade => (vec![Switch::H3], vec![Switch::H4, Switch::H5, Switch::H6]),
            Action::Rollback => (Vec::new(), Vec::new()),
            Action::Uninstall => (vec![Switch::H12], Vec::new()),
        };
        if action != Action::Uninstall && script.take(Switch::H2, target).is_some() {
            return Then::Restart;
        }
        for (switches, stored) in [(broken, false), (failing, true)] {
            for switch in switches {
                if let Some(order) = script.take(switch, target) {
                    let text = order.text.unwrap_or_else(|| usual_text(switch).to_owned());
                    return Then::Fail { text, stored };
                }
            }
        }
        usual
    })
}

fn usual_text(switch: Switch) -> &'static str {
    match switch {
        Switch::H3 => "execution error at (shop/templates/deployment.yaml:12:4): image is required",
        Switch::H12 => "uninstallation completed with 1 error(s): timed out waiting for the condition",
        _ => "timed out waiting for the condition",
    }
}

/// What the namespace itself refuses, before anything is stored.
async fn refused_by_namespace(subject: &Subject<'_>, namespace: &str, secret: &str) -> Option<String> {
    let (code, object) = subject.hub.client.get(&format!("/api/v1/namespaces/{namespace}")).await;
    if code == 404 {
        return Some(format!("create: failed to create: namespaces \"{namespace}\" not found"));
    }
    (object["status"]["phase"] == "Terminating").then(|| {
        format!(
            "create: failed to create: secrets \"{secret}\" is forbidden: unable to create new content in namespace \
             {namespace} because it is being terminated"
        )
    })
}

/// Objects that belong to a release elsewhere are adopted or refused (H18).
fn refused_by_owner(subject: &Subject<'_>, desired: &Desired, action: Action) -> Option<String> {
    let settings = subject.hub.world.settings();
    let disabled = subject.spec("/install/disableTakeOwnership") == Some(&json!(true));
    let refuses = settings.release < FluxRelease::V2_5 || disabled;
    if action != Action::Install || !refuses {
        return None;
    }
    // Armed until disarmed: the objects stay where they are.
    subject.hub.world.peek(|state| {
        state.script.armed(Switch::H18, &subject.target).map(|order| {
            order.text.clone().unwrap_or_else(|| {
                format!(
                    "unable to continue with install: Service \"{}\" in namespace \"{}\" exists and cannot be imported into \
                     the current release: invalid ownership metadata; annotation validation error: key \
                     \"meta.helm.sh/release-namespace\" must equal \"{}\"",
                    desired.release.name, desired.target_namespace, desired.target_namespace
                )
            })
        })
    })
}

/// Waits as long as Helm would, and says how it went; the storage is touched by the caller through `begin`.
pub(super) async fn work(
    subject: &Subject<'_>,
    then: Then,
    timeout: Duration,
    begin: impl FnOnce(&Subject<'_>),
) -> Result<Worked, Stop> {
    let usual = subject.hub.world.span(Step::Helm, &subject.target.to_string());
    match then {
        Then::Fail { text, stored: false } => {
            tokio::time::sleep(EARLY_FAILURE).await;
            Ok(Worked { error: Some(text), stored: false })
        }
        Then::Fail { text, stored: true } => {
            begin(subject);
            tokio::time::sleep(usual.min(timeout)).await;
            Ok(Worked { error: Some(text), stored: true })
        }
        Then::Restart => {
            begin(subject);
            tokio::time::sleep(usual.min(timeout) / 2).await;
            Err(Stop::Crash)
        }
        Then::Succeed { after } if milliseconds(after) <= timeout => {
            begin(subject);
            tokio::time::sleep(milliseconds(after)).await;
            Ok(Worked { error: None, stored: true })
        }
        Then::Succeed { .. } | Then::Hang => {
            begin(subject);
            tokio::time::sleep(timeout).await;
            Ok(Worked { error: Some("context deadline exceeded".into()), stored: true })
        }
    }
}

/// Install and upgrade.
async fn release(
    subject: &mut Subject<'_>,
    desired: &Desired,
    action: Action,
    timeout: Duration,
) -> Result<bool, Stop> {
    let world = subject.hub.world.clone();
    let settings = world.settings();
    subject.set_status("lastAttemptedReleaseAction", json!(action.word()));
    if action == Action::Install {
        set_history(subject, Vec::new());
    }
    subject.remove("TestSuccess");
    subject.remove("Remediated");
    let name = &desired.release;
    let last = world.peek(|state| state.storage.last(name).cloned());
    let version = last.as_ref().map_or(1, |last| last.version + 1);
    let secret = format!("sh.helm.release.v1.{}.v{version}", name.name);
    let pending = if action == Action::Install { Status::PendingInstall } else { Status::PendingUpgrade };
    let keep = subject.spec("/maxHistory").and_then(Value::as_u64).unwrap_or(5) as usize;
    let early = match refused_by_namespace(subject, &name.namespace, &secret).await {
        Some(refusal) => Some(refusal),
        None if action == Action::Install && last.is_some() => Some("cannot re-use a name that is still in use".into()),
        None if action == Action::Upgrade && last.as_ref().is_none_or(|last| last.status == Status::Uninstalled) => {
            Some(format!("\"{}\" has no deployed releases", name.name))
        }
        None => refused_by_owner(subject, desired, action),
    };
    let loses_target = action == Action::Upgrade && early.is_none() && world.armed(Switch::H6, &subject.target);
    let then = early.map_or_else(|| fate(subject, action), |text| Then::Fail { text, stored: false });
    let loses_target = loses_target && matches!(&then, Then::Fail { stored: true, .. });
    let started = tokio::time::Instant::now();
    let result = work(subject, then, timeout, |subject| {
        let first = last.as_ref().map(|last| last.first_deployed);
        let now = subject.hub.world.now();
        let stored =
            revision(pending, version, &desired.target_namespace, &desired.chart, &desired.config_digest, first, now);
        note(subject, name, action, version, None, &stored.content);
        subject.hub.world.peek(|state| state.storage.store(name, stored, keep));
    })
    .await?;
    if settings.release >= FluxRelease::V2_7 {
        subject.set_status("lastAttemptedReleaseActionDuration", json!(go(started.elapsed())));
    }
    if result.stored {
        world.peek(|state| state.storage.finish(name, version, result.error.is_none()));
        let content = record(subject, desired, version, action);
        note(subject, name, action, version, Some(result.error.is_none()), &content);
    }
    if loses_target {
        world.peek(|state| {
            let before: Vec<i64> = state.storage.revisions(name).iter().map(|revision| revision.version).collect();
            before.into_iter().filter(|older| *older != version).for_each(|older| state.storage.lose(name, older));
        });
    }
    let word = action.word();
    let (succeeded, failed) = match action {
        Action::Install => ("InstallSucceeded", "InstallFailed"),
        _ => ("UpgradeSucceeded", "UpgradeFailed"),
    };
    if let Some(error) = result.error {
        let message = format!(
            "Helm {word} failed for release {}/{} with chart {}@{}: {}",
            desired.target_namespace,
            name.name,
            desired.chart.name,
            desired.chart.version,
            error.trim()
        );
        let failures = subject.status_number("failures") + 1;
        subject.set_status("failures", json!(failures));
        subject.set("Released", "False", failed, &message);
        subject.event("Warning", failed, &message).await;
        if result.stored {
            let counter = if action == Action::Install { "installFailures" } else { "upgradeFailures" };
            let count = subject.status_number(counter) + 1;
            subject.set_status(counter, json!(count));
        }
        return Ok(result.stored);
    }
    let current = history(subject).first().cloned().unwrap_or_default();
    let message = format!("Helm {word} succeeded for release {} with chart {}", full_name(&current), chart(&current));
    subject.set("Released", "True", succeeded, &message);
    if retries_on_failure(subject) {
        clear_failures(subject);
    }
    if settings.release >= FluxRelease::V2_8 {
        let id = format!("{}_{}_apps_Deployment", desired.target_namespace, name.name);
        subject.set_status("inventory", json!({"entries": [{"id": id, "v": "v1"}]}));
    }
    subject.event("Normal", succeeded, &message).await;
    Ok(true)
}

/// Writes the new revision in front of the history and refreshes what it superseded. Returns its content.
pub(super) fn record(subject: &mut Subject<'_>, desired: &Desired, version: i64, action: Action) -> String {
    let revisions = subject.hub.world.peek(|state| state.storage.revisions(&desired.release).to_vec());
    let mut all = history(subject);
    for revision in &revisions {
        refresh(&mut all, revision);
    }
    let Some(newest) = revisions.iter().find(|revision| revision.version == version) else { return String::new() };
    let release = subject.hub.world.settings().release;
    let oci = if action == Action::Rollback { "" } else { desired.oci_digest.as_str() };
    all.retain(|snapshot| snapshot["version"] != version);
    all.insert(0, of(newest, &desired.release.name, oci, action, release));
    set_history(subject, all);
    newest.content.clone()
}
