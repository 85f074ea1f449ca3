//! Which state a release is in, judged from storage and history, and which action follows.

use serde_json::Value;

use super::super::helm::{Action, Revision, Status};
use super::super::subject::Subject;
use super::snapshot::{describes, history, previous, set_history, truncate};
use super::{Desired, handles};
use crate::kinds::FluxRelease;
use crate::script::Switch;

/// What storage and history say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Storage holds nothing, or only a record of what was uninstalled.
    Absent,
    /// Storage holds something that the history does not describe.
    Unmanaged,
    /// An action was cut off.
    Locked,
    /// The last action failed.
    Failed,
    /// Runs, with another chart or other values than asked for.
    OutOfSync,
    /// Runs as asked for; the cluster differs.
    Drifted,
    /// Runs as asked for.
    InSync,
}

/// The next thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Nothing,
    Install,
    Upgrade,
    Rollback,
    UninstallRemediation,
    Unlock,
    CorrectDrift,
    /// No attempt is left.
    Exceeded,
    /// Nothing to roll back to.
    NoTarget,
}

pub(super) fn determine(subject: &Subject<'_>, desired: &Desired) -> State {
    let last = subject.hub.world.peek(|state| state.storage.last(&desired.release).cloned());
    let drifted = subject.hub.world.peek(|state| state.storage.has_drifted(&desired.release));
    let detects = subject.spec_text("/driftDetection/mode").is_some_and(|mode| mode != "disabled");
    judge(last.as_ref(), history(subject).first(), desired, drifted && detects)
}

fn judge(last: Option<&Revision>, current: Option<&Value>, desired: &Desired, drifted: bool) -> State {
    let Some(last) = last else { return State::Absent };
    if last.status.is_pending() {
        return State::Locked;
    }
    let Some(current) = current else {
        return if last.status == Status::Uninstalled { State::Absent } else { State::Unmanaged };
    };
    if !describes(current, last) {
        return State::Unmanaged;
    }
    match last.status {
        Status::Failed => State::Failed,
        Status::Uninstalled => State::Absent,
        _ if last.chart != desired.chart.name
            || last.chart_version != desired.chart.version
            || last.config_digest != desired.config_digest =>
        {
            State::OutOfSync
        }
        _ if drifted => State::Drifted,
        _ => State::InSync,
    }
}

/// What the spec says about failures of the last attempted action.
pub(super) struct Remediation {
    pub(super) retries: i64,
    pub(super) failures: i64,
    remediates_last: bool,
    uninstalls: bool,
}

impl Remediation {
    /// `None` before the first attempt.
    pub(super) fn active(subject: &Subject<'_>) -> Option<Self> {
        match subject.status_text("lastAttemptedReleaseAction") {
            "install" => Some(Self::of(subject, Action::Install)),
            "upgrade" => Some(Self::of(subject, Action::Upgrade)),
            _ => None,
        }
    }

    pub(super) fn of(subject: &Subject<'_>, action: Action) -> Self {
        let word = action.word();
        let field = |name: &str| subject.spec(&format!("/{word}/remediation/{name}"));
        let retries = field("retries").and_then(Value::as_i64).unwrap_or_default();
        let last = field("remediateLastFailure").and_then(Value::as_bool);
        let strategy = field("strategy").and_then(Value::as_str).unwrap_or("rollback");
        Self {
            retries,
            failures: subject.status_number(&format!("{word}Failures")),
            // An upgrade with retries is cleaned up after its last failure too, an install is not.
            remediates_last: last.unwrap_or(action == Action::Upgrade && retries > 0),
            uninstalls: action == Action::Install || strategy == "uninstall",
        }
    }

    pub(super) fn is_exhausted(&self) -> bool {
        self.retries >= 0 && self.failures > self.retries
    }
}

/// Whether failures of the last attempted action are retried instead of remediated.
pub(super) fn retries_on_failure(subject: &Subject<'_>) -> bool {
    let release = subject.hub.world.settings().release;
    let action = subject.status_text("lastAttemptedReleaseAction");
    let strategy = subject.spec_text(&format!("/{action}/strategy/name"));
    match strategy {
        Some(name) => name == "RetryOnFailure",
        None => release >= FluxRelease::V2_8 && subject.hub.world.armed(Switch::H15, &subject.target),
    }
}

pub(super) fn next(subject: &mut Subject<'_>, desired: &Desired, state: State) -> Next {
    let forced = handles(subject, "reconcile.fluxcd.io/forceAt", "lastHandledForceAt");
    match state {
        State::InSync => {
            let mut history = history(subject);
            truncate(&mut history);
            set_history(subject, history);
            if forced {
                return Next::Upgrade;
            }
            settle_remediated(subject);
            Next::Nothing
        }
        State::Locked => Next::Unlock,
        State::Absent if Remediation::of(subject, Action::Install).is_exhausted() && !forced => Next::Exceeded,
        State::Absent => Next::Install,
        State::Unmanaged => {
            set_history(subject, Vec::new());
            Next::Upgrade
        }
        State::OutOfSync if Remediation::of(subject, Action::Upgrade).is_exhausted() && !forced => Next::Exceeded,
        State::OutOfSync => Next::Upgrade,
        State::Drifted if subject.spec_text("/driftDetection/mode") == Some("enabled") => Next::CorrectDrift,
        State::Drifted => Next::Nothing,
        State::Failed => after_failure(subject, desired, forced),
    }
}

fn after_failure(subject: &mut Subject<'_>, desired: &Desired, forced: bool) -> Next {
    let Some(remediation) = Remediation::active(subject) else { return Next::Upgrade };
    // No counted failure: what made it fail has changed since. A strategy of retrying never remediates.
    if remediation.failures <= 0 || forced || retries_on_failure(subject) {
        return Next::Upgrade;
    }
    if remediation.is_exhausted() && !remediation.remediates_last {
        return Next::Exceeded;
    }
    let mut history = history(subject);
    truncate(&mut history);
    set_history(subject, history.clone());
    if remediation.uninstalls {
        return Next::UninstallRemediation;
    }
    let Some(target) = previous(&history) else { return Next::NoTarget };
    let version = target["version"].as_i64().unwrap_or_default();
    let stored = subject.hub.world.peek(|state| state.storage.get(&desired.release, version).cloned());
    match stored {
        None => Next::NoTarget,
        // Somebody changed the record: upgrading again is the better remedy.
        Some(revision) if !describes(target, &revision) => Next::Upgrade,
        Some(_) => Next::Rollback,
    }
}

/// A rolled-back release that is what the spec asks for by now has never failed to upgrade.
fn settle_remediated(subject: &mut Subject<'_>) {
    if !subject.is("Remediated", "True") {
        return;
    }
    let history = history(subject);
    let Some(current) = history.first() else { return };
    let message = format!(
        "Helm upgrade succeeded for release {} with chart {}",
        super::snapshot::full_name(current),
        super::snapshot::chart(current)
    );
    subject.remove("Released");
    subject.remove("Remediated");
    subject.set("Released", "True", "UpgradeSucceeded", &message);
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::super::super::catalogue::Chart;
    use super::super::super::helm::{ReleaseName, revision};
    use super::*;

    fn desired(version: &str) -> Desired {
        Desired {
            chart: Chart::new("shop", version, "shop"),
            config_digest: "sha256:00".into(),
            oci_digest: String::new(),
            release: ReleaseName::new("team", "shop"),
            target_namespace: "team".into(),
        }
    }

    #[test]
    fn storage_and_history_give_the_state() {
        let stored =
            |status| revision(status, 1, "team", &desired("1.0.0").chart, "sha256:00", None, Timestamp::UNIX_EPOCH);
        let known = |revision: &Revision| json!({"version": 1, "digest": revision.digest()});
        let other = json!({"version": 1, "digest": "sha256:ff"});
        let deployed = stored(Status::Deployed);
        for (last, current, version, drifted, expected) in [
            (None, None, "1.0.0", false, State::Absent),
            (Some(stored(Status::PendingInstall)), None, "1.0.0", false, State::Locked),
            (Some(deployed.clone()), None, "1.0.0", false, State::Unmanaged),
            (Some(deployed.clone()), Some(other), "1.0.0", false, State::Unmanaged),
            (Some(deployed.clone()), Some(known(&deployed)), "1.0.0", false, State::InSync),
            (Some(deployed.clone()), Some(known(&deployed)), "1.0.0", true, State::Drifted),
            (Some(deployed.clone()), Some(known(&deployed)), "2.0.0", true, State::OutOfSync),
            (Some(stored(Status::Failed)), Some(known(&stored(Status::Failed))), "1.0.0", false, State::Failed),
            (Some(stored(Status::Uninstalled)), None, "1.0.0", false, State::Absent),
        ] {
            assert_eq!(judge(last.as_ref(), current.as_ref(), &desired(version), drifted), expected, "{last:?}");
        }
    }
}
