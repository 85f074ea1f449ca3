//! From state to state, one action of each sort per pass, each with a patch before and after.

use std::time::Duration;

use super::super::subject::{Stop, Subject};
use super::actions;
use super::prerequisites::forbidden;
use super::state::{Next, Remediation, State, determine, next, retries_on_failure};
use super::{Desired, End, duration, go};
use crate::kinds::FluxRelease;
use crate::script::Switch;

/// Sorts of action; each is run at most once in a pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Release,
    Remediate,
    Unlock,
    Drift,
}

fn sort(next: Next) -> Sort {
    match next {
        Next::Rollback | Next::UninstallRemediation => Sort::Remediate,
        Next::Unlock => Sort::Unlock,
        Next::CorrectDrift => Sort::Drift,
        _ => Sort::Release,
    }
}

/// Name and timeout of an action, as they appear in the message.
fn plan(subject: &Subject<'_>, next: Next) -> (&'static str, Duration) {
    let (name, own) = match next {
        Next::Install => ("install", "/install/timeout"),
        Next::Rollback => ("rollback", "/rollback/timeout"),
        Next::UninstallRemediation => ("uninstall", "/uninstall/timeout"),
        Next::Unlock => ("unlock", "/timeout"),
        Next::CorrectDrift => ("correct cluster drift", "/timeout"),
        _ => ("upgrade", "/upgrade/timeout"),
    };
    let timeout = subject.spec_text(own).or_else(|| subject.spec_text("/timeout"));
    (name, timeout.and_then(duration).unwrap_or(Duration::from_secs(300)))
}

pub(super) async fn run(subject: &mut Subject<'_>, desired: &Desired) -> Result<End, Stop> {
    let mut done: Vec<Sort> = Vec::new();
    loop {
        if let Some(why) = forbidden(subject, &desired.release.namespace).await {
            let message =
                format!("Could not determine release state: failed to retrieve last release from storage: {why}");
            subject.ready("False", "StateError", &message);
            return Ok(End::Failed);
        }
        let state = determine(subject, desired);
        if state == State::Drifted {
            report_drift(subject).await;
        }
        let next = next(subject, desired, state);
        match next {
            Next::Nothing => {
                subject.remove("Reconciling");
                note_no_drift(subject, state);
                summarize(subject);
                return Ok(End::InSync);
            }
            Next::Exceeded => return Ok(exceeded(subject)),
            Next::NoTarget => {
                let message = "Failed to perform remediation: missing target release for rollback: cannot remediate failed release";
                subject.stalled("MissingRollbackTarget", message);
                return Ok(End::Terminal);
            }
            _ => {}
        }
        if done.contains(&sort(next)) {
            return Ok(pause(subject));
        }
        let (name, timeout) = plan(subject, next);
        let message = format!("Running '{name}' action with timeout of {}", go(timeout));
        subject.reconciling("Progressing", &message);
        if sort(next) == Sort::Release {
            subject.ready("Unknown", "Progressing", &message);
        }
        subject.patch().await?;
        let ended = actions::run(subject, desired, next, timeout).await?;
        summarize(subject);
        if !ended {
            return Ok(End::Failed);
        }
        if sort(next) == Sort::Remediate {
            return Ok(after_remediation(subject));
        }
        done.push(sort(next));
        if sort(next) == Sort::Release && obey_after_action(subject).await? {
            return Ok(End::Abandoned);
        }
        subject.patch().await?;
    }
}

/// H1 and H8 strike at the patch that reports a finished action.
async fn obey_after_action(subject: &mut Subject<'_>) -> Result<bool, Stop> {
    if !subject.is("Released", "True") {
        return Ok(false);
    }
    if subject.hub.world.take(Switch::H1, &subject.target).is_some() {
        subject.fault = Some(Switch::H1);
        return Ok(false);
    }
    if subject.hub.world.take(Switch::H8, &subject.target).is_some() {
        let message = subject.message("Reconciling");
        subject.ready("Unknown", "Progressing", &message);
        subject.patch().await?;
        return Ok(true);
    }
    Ok(false)
}

fn exceeded(subject: &mut Subject<'_>) -> End {
    let action = subject.status_text("lastAttemptedReleaseAction").to_owned();
    let failures = Remediation::active(subject).map_or(0, |remediation| remediation.failures);
    subject.stalled("RetriesExceeded", &format!("Failed to {action} after {failures} attempt(s)"));
    End::Terminal
}

/// The same sort of action would follow again: not in this pass.
fn pause(subject: &mut Subject<'_>) -> End {
    if retries_on_failure(subject) {
        let action = subject.status_text("lastAttemptedReleaseAction").to_owned();
        let wait = subject.spec_text(&format!("/{action}/strategy/retryInterval")).and_then(duration);
        let wait = wait.unwrap_or(Duration::from_secs(300));
        subject.reconciling("ProgressingWithRetry", &format!("retrying after {}", go(wait)));
        return End::RetryAfter(wait);
    }
    if Remediation::active(subject).is_none_or(|remediation| !remediation.is_exhausted()) {
        let message = subject.message("Ready");
        subject.reconciling("ProgressingWithRetry", &message);
        return End::Requeue;
    }
    subject.remove("Reconciling");
    End::InSync
}

fn after_remediation(subject: &mut Subject<'_>) -> End {
    if Remediation::active(subject).is_some_and(|remediation| remediation.is_exhausted()) {
        return exceeded(subject);
    }
    let message = subject.message("Ready");
    subject.reconciling("ProgressingWithRetry", &message);
    End::Requeue
}

/// Ready is what Remediated and Released say: the one of the newer generation, Remediated first among equals and always a
/// failure.
pub(super) fn summarize(subject: &mut Subject<'_>) {
    let found = ["Remediated", "Released"].iter().filter_map(|kind| subject.condition(kind)).cloned();
    let generation = |condition: &serde_json::Value| condition["observedGeneration"].as_i64().unwrap_or_default();
    let Some(chosen) = found.reduce(|best, other| if generation(&other) > generation(&best) { other } else { best })
    else {
        return;
    };
    let text = |field: &str| chosen[field].as_str().unwrap_or_default();
    let status = if chosen["type"] == "Remediated" { "False" } else { text("status") };
    if status == "True" {
        subject.remove("Stalled");
    }
    subject.ready(status, text("reason"), text("message"));
}

async fn report_drift(subject: &mut Subject<'_>) {
    let release = super::snapshot::history(subject).first().map(super::snapshot::full_name).unwrap_or_default();
    let message = format!("Cluster state of release {release} has drifted from the desired state");
    if subject.hub.world.settings().release >= FluxRelease::V2_9 {
        subject.set("Drifted", "True", "DriftDetected", &message);
    }
    subject.event("Warning", "DriftDetected", &message).await;
}

fn note_no_drift(subject: &mut Subject<'_>, state: State) {
    let detects = subject.spec_text("/driftDetection/mode").is_some_and(|mode| mode != "disabled");
    if subject.hub.world.settings().release < FluxRelease::V2_9 {
        return;
    }
    if !detects {
        subject.remove("Drifted");
    } else if state == State::InSync {
        subject.set("Drifted", "False", "NoDriftDetected", "Cluster state matches the release");
    }
}
