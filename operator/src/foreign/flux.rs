//! Flux: HelmRelease and its chart sources (downstream §1-3).
//!
//! A HelmRelease says more than is true at most moments: its status arrives in several writes, `Ready` is a summary that may
//! be computed from an older spec, `observedGeneration` moves for a suspended object too. [`classify`] believes success only
//! with all the evidence of contract §6.4.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Condition, Truth, conditions, find, integer, string, text};
use crate::api::Open;
use crate::api::application_instance::SourceType;
use crate::cluster_api::{Caps, Kind, Object};

mod apply;
mod source;

pub use apply::{HelmReleaseApply, SourceApply, ValuesFrom};
pub use source::{SourceState, source_state};

/// Group of HelmRelease.
pub const HELM_GROUP: &str = "helm.toolkit.fluxcd.io";
/// Group of the sources.
pub const SOURCE_GROUP: &str = "source.toolkit.fluxcd.io";
/// CRD of HelmRelease.
pub const HELM_RELEASES: &str = "helmreleases.helm.toolkit.fluxcd.io";

/// Asks Flux for a pass.
pub const REQUESTED_AT: &str = "reconcile.fluxcd.io/requestedAt";
/// With the same token: make a release even if nothing changed.
pub const FORCE_AT: &str = "reconcile.fluxcd.io/forceAt";
/// With the same token: forget past failures.
pub const RESET_AT: &str = "reconcile.fluxcd.io/resetAt";

/// HelmRelease, if a version we can write is served (Flux 2.3 and later).
pub fn helm_release(caps: &Caps) -> Option<Kind> {
    let version = caps.served(HELM_GROUP, "helmreleases", &["v2"])?;
    Some(Kind::namespaced(HELM_GROUP, version, "HelmRelease", "helmreleases"))
}

/// Kustomization.
pub fn kustomization(caps: &Caps) -> Option<Kind> {
    let group = "kustomize.toolkit.fluxcd.io";
    let version = caps.served(group, "kustomizations", &["v1", "v1beta2"])?;
    Some(Kind::namespaced(group, version, "Kustomization", "kustomizations"))
}

/// HelmRepository.
pub fn helm_repository(caps: &Caps) -> Option<Kind> {
    let version = caps.served(SOURCE_GROUP, "helmrepositories", &["v1"])?;
    Some(Kind::namespaced(SOURCE_GROUP, version, "HelmRepository", "helmrepositories"))
}

/// OCIRepository.
pub fn oci_repository(caps: &Caps) -> Option<Kind> {
    let version = caps.served(SOURCE_GROUP, "ocirepositories", &["v1", "v1beta2"])?;
    Some(Kind::namespaced(SOURCE_GROUP, version, "OCIRepository", "ocirepositories"))
}

/// HelmChart, which Flux makes itself and we only read.
pub fn helm_chart(caps: &Caps) -> Option<Kind> {
    let version = caps.served(SOURCE_GROUP, "helmcharts", &["v1"])?;
    Some(Kind::namespaced(SOURCE_GROUP, version, "HelmChart", "helmcharts"))
}

/// Status of one release in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReleaseStatus {
    /// It is the one that runs.
    Deployed,
    /// A later one took its place.
    Superseded,
    /// It failed.
    Failed,
    /// It was uninstalled.
    Uninstalled,
    /// Being uninstalled.
    Uninstalling,
    /// Being installed.
    PendingInstall,
    /// Being upgraded.
    PendingUpgrade,
    /// Being rolled back.
    PendingRollback,
}

/// One release of the history, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Helm's revision number.
    pub version: i64,
    /// Its status.
    pub status: Open<ReleaseStatus>,
    /// Chart name.
    pub chart_name: String,
    /// Chart version as Flux prints it.
    pub chart_version: String,
}

/// What we read of a HelmRelease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelmRelease {
    /// `metadata.generation`.
    pub generation: i64,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// `spec.suspend`.
    pub suspended: bool,
    /// `status.observedGeneration`; -1 before Flux saw it.
    pub observed_generation: Option<i64>,
    /// `status.lastAttemptedGeneration`.
    pub last_attempted_generation: Option<i64>,
    /// `status.lastAttemptedReleaseAction`.
    pub last_action: Option<String>,
    /// `status.lastHandledReconcileAt`.
    pub handled_reconcile: Option<String>,
    /// `status.lastHandledForceAt`.
    pub handled_force: Option<String>,
    /// `status.history`.
    pub history: Vec<Release>,
    /// `status.conditions`.
    pub conditions: Vec<Condition>,
}

/// `status.lastHandledResetAt`: the last request to forget failures that Flux has seen.
pub fn handled_reset(release: &Object) -> Option<String> {
    string(release, "/status/lastHandledResetAt")
}

/// Whether Flux has spoken about this generation and is not at work.
pub fn at_rest(release: &Object) -> bool {
    let read = HelmRelease::read(release);
    let busy = read.condition("Reconciling").is_some_and(|condition| condition.is(Truth::True));
    let unknown = read.condition("Ready").is_none_or(|condition| condition.is(Truth::Unknown));
    read.observed_generation == Some(read.generation) && !busy && !unknown
}

impl HelmRelease {
    /// Reads whatever there is.
    pub fn read(object: &Object) -> Self {
        let history = object.0.pointer("/status/history").and_then(Value::as_array);
        Self {
            generation: object.generation(),
            deleting: object.deleting(),
            suspended: object.0.pointer("/spec/suspend") == Some(&Value::Bool(true)),
            observed_generation: integer(object, "/status/observedGeneration"),
            last_attempted_generation: integer(object, "/status/lastAttemptedGeneration"),
            last_action: string(object, "/status/lastAttemptedReleaseAction"),
            handled_reconcile: string(object, "/status/lastHandledReconcileAt"),
            handled_force: string(object, "/status/lastHandledForceAt"),
            history: history.into_iter().flatten().filter_map(release).collect(),
            conditions: conditions(object),
        }
    }

    fn condition(&self, type_: &str) -> Option<&Condition> {
        find(&self.conditions, type_)
    }

    fn is(&self, type_: &str, truth: Truth) -> bool {
        self.condition(type_).is_some_and(|condition| condition.is(truth))
    }

    /// Whether some release of it is or was deployed, as far as Flux still knows.
    pub fn deployed(&self) -> bool {
        self.history
            .iter()
            .any(|release| release.status.is(ReleaseStatus::Deployed) || release.status.is(ReleaseStatus::Superseded))
    }

    /// Whether the newest release replaced an earlier deployed one.
    pub fn replaced(&self) -> bool {
        let older = self.history.iter().skip(1).any(|release| release.status.is(ReleaseStatus::Superseded));
        let forgotten = self
            .history
            .first()
            .is_some_and(|newest| usize::try_from(newest.version).is_ok_and(|revision| revision > self.history.len()));
        older || forgotten
    }

    /// `Drifted=True`, quoted. Only newer Flux has the condition.
    pub fn drift(&self) -> Option<String> {
        let drifted = self.condition("Drifted").filter(|condition| condition.is(Truth::True))?;
        Some(text::quote(&drifted.reason, &drifted.message))
    }

    /// Whether tests of the release failed although it counts as ready.
    pub fn warning(&self) -> Option<String> {
        let tests = self.condition("TestSuccess").filter(|condition| condition.is(Truth::False))?;
        Some(text::quote(&tests.reason, &tests.message))
    }
}

fn release(value: &Value) -> Option<Release> {
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_string();
    let status = value.get("status").cloned().unwrap_or(Value::Null);
    value.is_object().then(|| Release {
        version: value.get("version").and_then(Value::as_i64).unwrap_or_default(),
        status: serde_json::from_value(status).unwrap_or_else(|_| Open::Other(String::new())),
        chart_name: text("chartName"),
        chart_version: text("chartVersion"),
    })
}

/// What a HelmRelease says about the generation it has now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Flux has not touched it.
    NotObserved,
    /// Held back; its status proves nothing.
    Suspended,
    /// It waits for its chart, or for another release.
    Waiting {
        /// Whether a chart is there and cannot be loaded; Flux tries again for ever.
        broken: bool,
        /// Quoted.
        message: String,
    },
    /// An action runs, or Flux has not come to this generation yet.
    Running {
        /// Whether Flux works on this generation, not on an older one.
        attempted: bool,
        /// Quoted.
        message: String,
    },
    /// A periodic look that changes nothing.
    Blip,
    /// It failed and will be tried again.
    Retrying {
        /// Quoted.
        message: String,
    },
    /// All evidence is there.
    Succeeded,
    /// It failed and nothing more happens by itself.
    Failed {
        /// Whether the previous release was brought back.
        rolled_back: bool,
        /// Quoted.
        message: String,
    },
    /// It is being deleted.
    Deleting {
        /// Why the uninstall fails, quoted.
        failing: Option<String>,
    },
}

/// Contract §6.4 and downstream §2.5. `version` is the chart version that was asked for.
pub fn classify(release: &HelmRelease, source: SourceType, version: &str) -> Verdict {
    let generation = release.generation;
    let current = |condition: &&Condition| condition.observed_generation == Some(generation);
    let quoted = |condition: &Condition| text::quote(&condition.reason, &condition.message);
    let ready = release.condition("Ready");
    let reconciling = release.condition("Reconciling").filter(|condition| condition.is(Truth::True));
    if release.deleting {
        let failing = ready.filter(|ready| ready.is(Truth::False) && ready.reason == "UninstallFailed");
        return Verdict::Deleting { failing: failing.map(quoted) };
    }
    if release.suspended {
        return Verdict::Suspended;
    }
    if let Some(stalled) = release.condition("Stalled").filter(|stalled| stalled.is(Truth::True)).filter(current) {
        let rolled_back = release
            .condition("Remediated")
            .filter(current)
            .is_some_and(|remediated| remediated.is(Truth::True) && remediated.reason == "RollbackSucceeded");
        // What failed says more than that it stalled: Released keeps the failure even after a rollback.
        let cause = [release.condition("Released"), ready]
            .into_iter()
            .flatten()
            .find(|condition| condition.is(Truth::False) && current(condition))
            .unwrap_or(stalled);
        return Verdict::Failed { rolled_back, message: quoted(cause) };
    }
    if release.conditions.is_empty() {
        return Verdict::NotObserved;
    }
    if let Some(reconciling) = reconciling.filter(|reconciling| reconciling.reason == "ProgressingWithRetry") {
        return Verdict::Retrying { message: quoted(ready.unwrap_or(reconciling)) };
    }
    if let Some(ready) = ready.filter(|ready| ready.is(Truth::False)).filter(current) {
        let waits = matches!(ready.reason.as_str(), "DependencyNotReady" | "SourceNotReady" | "ArtifactFailed");
        let message = quoted(ready);
        let broken = ready.reason == "ArtifactFailed";
        return if waits { Verdict::Waiting { broken, message } } else { Verdict::Retrying { message } };
    }
    let attempted = release.last_attempted_generation == Some(generation);
    let ready_now = ready.filter(|ready| ready.is(Truth::True)).filter(current);
    match (ready_now, reconciling) {
        // Also the moment between the last two writes of a pass: everything is there but observedGeneration.
        (Some(_), _) if attempted && (reconciling.is_some() || release.observed_generation != Some(generation)) => {
            return Verdict::Blip;
        }
        (Some(_), None) if attempted && deployed(release, source, version) => return Verdict::Succeeded,
        _ => {}
    }
    let message = reconciling.or(ready.filter(|ready| ready.is(Truth::Unknown))).map(quoted);
    Verdict::Running {
        attempted: ready.filter(|ready| ready.is(Truth::Unknown)).filter(current).is_some() || attempted,
        message: message.unwrap_or_default(),
    }
}

fn deployed(release: &HelmRelease, source: SourceType, version: &str) -> bool {
    release.is("Released", Truth::True)
        && release.history.first().is_some_and(|newest| {
            newest.status.is(ReleaseStatus::Deployed) && same_version(source, &newest.chart_version, version)
        })
}

/// Exactly for a Helm repository; for OCI as semver without build metadata and without a leading `v`, because Flux replaces
/// build metadata by the digest and prints canonical semver.
pub fn same_version(source: SourceType, reported: &str, wanted: &str) -> bool {
    match source {
        SourceType::Helm => reported == wanted,
        SourceType::Oci => {
            let parse = |version: &str| {
                let version = version.strip_prefix('v').unwrap_or(version);
                semver::Version::parse(version)
                    .ok()
                    .map(|version| (version.major, version.minor, version.patch, version.pre))
            };
            match (parse(reported), parse(wanted)) {
                (Some(reported), Some(wanted)) => reported == wanted,
                _ => reported == wanted,
            }
        }
    }
}

/// Whether `Ready` has been Unknown since `last_transition` although the wanted release is deployed: the one state Flux is
/// known to get stuck in (downstream §2.7). The time as written.
pub fn stuck_since<'a>(release: &'a HelmRelease, source: SourceType, version: &str) -> Option<&'a str> {
    let ready = release.condition("Ready").filter(|ready| ready.is(Truth::Unknown))?;
    let newest = release.history.first()?;
    let there = newest.status.is(ReleaseStatus::Deployed)
        && same_version(source, &newest.chart_version, version)
        && release.last_attempted_generation == Some(release.generation);
    there.then_some(ready.last_transition.as_deref()).flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cond(type_: &str, status: &str, reason: &str, generation: i64) -> Value {
        json!({"type": type_, "status": status, "reason": reason, "message": "m", "observedGeneration": generation, "lastTransitionTime": "2026-01-01T00:00:00Z"})
    }

    fn release(conditions: Vec<Value>) -> Value {
        json!({
            "metadata": {"name": "files", "generation": 2},
            "spec": {},
            "status": {
                "observedGeneration": 2,
                "lastAttemptedGeneration": 2,
                "history": [
                    {"version": 2, "status": "deployed", "chartName": "nextcloud", "chartVersion": "7.0.0+5f2c9d0a1b2c"},
                    {"version": 1, "status": "superseded", "chartName": "nextcloud", "chartVersion": "6.6.0"},
                ],
                "conditions": conditions,
            },
        })
    }

    fn verdict(value: &Value) -> Verdict {
        classify(&HelmRelease::read(&Object(value.clone())), SourceType::Oci, "7.0.0")
    }

    fn success() -> Value {
        release(vec![cond("Ready", "True", "UpgradeSucceeded", 2), cond("Released", "True", "UpgradeSucceeded", 2)])
    }

    #[test]
    fn success_needs_every_piece_of_evidence() {
        assert_eq!(verdict(&success()), Verdict::Succeeded);
        let spoil: [(&str, Value); 8] = [
            ("/status/observedGeneration", json!(1)),
            ("/status/lastAttemptedGeneration", json!(1)),
            ("/status/history/0/status", json!("failed")),
            ("/status/history/0/chartVersion", json!("6.6.0")),
            ("/status/conditions/0/observedGeneration", json!(1)),
            ("/status/conditions/0/status", json!("Sure")),
            ("/status/conditions/1/status", json!("Unknown")),
            ("/status/history", json!([])),
        ];
        for (pointer, value) in spoil {
            let mut spoiled = success();
            *spoiled.pointer_mut(pointer).unwrap() = value;
            let verdict = verdict(&spoiled);
            assert!(matches!(verdict, Verdict::Running { .. } | Verdict::Blip), "{pointer}: {verdict:?}");
        }
        let mut suspended = success();
        suspended["spec"]["suspend"] = json!(true);
        assert_eq!(verdict(&suspended), Verdict::Suspended);
    }

    #[test]
    fn states_by_their_markers() {
        assert_eq!(verdict(&release(vec![])), Verdict::NotObserved);
        let blip = release(vec![
            cond("Reconciling", "True", "Progressing", 2),
            cond("Ready", "True", "UpgradeSucceeded", 2),
            cond("Released", "True", "UpgradeSucceeded", 2),
        ]);
        assert_eq!(verdict(&blip), Verdict::Blip);
        let waiting = release(vec![cond("Ready", "False", "SourceNotReady", 2)]);
        assert!(matches!(verdict(&waiting), Verdict::Waiting { .. }));
        let retrying = release(vec![cond("Ready", "False", "InstallFailed", 2)]);
        assert!(matches!(verdict(&retrying), Verdict::Retrying { .. }));
        let backoff = release(vec![
            cond("Reconciling", "True", "ProgressingWithRetry", 2),
            cond("Ready", "False", "UpgradeFailed", 2),
        ]);
        assert_eq!(verdict(&backoff), Verdict::Retrying { message: "UpgradeFailed: m".into() });
        let old_failure = release(vec![cond("Ready", "False", "UpgradeFailed", 1)]);
        assert!(matches!(verdict(&old_failure), Verdict::Running { .. }));
        let stalled = release(vec![
            cond("Stalled", "True", "RetriesExceeded", 2),
            cond("Ready", "False", "RollbackSucceeded", 2),
            cond("Released", "False", "UpgradeFailed", 2),
            cond("Remediated", "True", "RollbackSucceeded", 2),
        ]);
        assert_eq!(verdict(&stalled), Verdict::Failed { rolled_back: true, message: "UpgradeFailed: m".into() });
        let old_stall = release(vec![cond("Stalled", "True", "RetriesExceeded", 1)]);
        assert!(matches!(verdict(&old_stall), Verdict::Running { .. }));
    }

    #[test]
    fn an_odd_release_is_read_without_failing() {
        for odd in [
            json!({}),
            json!({"status": 7, "spec": [], "metadata": "x"}),
            json!({"status": {"history": [7, {}], "conditions": [{}, 3, {"type": 1}]}}),
            json!(null),
        ] {
            let read = HelmRelease::read(&Object(odd));
            let _ = classify(&read, SourceType::Helm, "1.0.0");
        }
    }

    #[test]
    fn versions_compare_as_the_contract_says() {
        for (source, reported, wanted, same) in [
            (SourceType::Oci, "6.6.0+5f2c9d0a1b2c", "6.6.0", true),
            (SourceType::Oci, "6.6.0+5f2c9d0a1b2c", "v6.6.0+build.1", true),
            (SourceType::Oci, "6.6.0-rc.1", "6.6.0", false),
            (SourceType::Oci, "6.6.1", "6.6.0", false),
            (SourceType::Helm, "6.6.0", "6.6.0", true),
            (SourceType::Helm, "6.6.0+1", "6.6.0", false),
            (SourceType::Helm, "6.6.0", "v6.6.0", false),
        ] {
            assert_eq!(same_version(source, reported, wanted), same, "{reported} {wanted}");
        }
    }

    #[test]
    fn sources_by_their_markers() {
        let source = |conditions: Vec<Value>, artifact: bool| {
            let mut value = json!({"metadata": {"generation": 1}, "spec": {}, "status": {"conditions": conditions}});
            if artifact {
                value["status"]["artifact"] = json!({"revision": "6.6.0@sha256:00"});
            }
            source_state(Some(&Object(value)))
        };
        assert_eq!(source_state(None), SourceState::Absent);
        assert!(matches!(source(vec![], false), SourceState::Fetching { .. }));
        assert_eq!(source(vec![cond("Ready", "True", "Succeeded", 1)], true), SourceState::Ready);
        assert!(matches!(source(vec![cond("Ready", "True", "Succeeded", 1)], false), SourceState::Fetching { .. }));
        let failing = vec![
            cond("FetchFailed", "True", "OCIArtifactPullFailed", 1),
            cond("Ready", "False", "OCIArtifactPullFailed", 1),
        ];
        assert_eq!(
            source(failing, true),
            SourceState::Failing {
                since: Some("2026-01-01T00:00:00Z".into()),
                message: "OCIArtifactPullFailed: m".into()
            }
        );
        let old = vec![cond("Stalled", "True", "URLInvalid", 0)];
        assert!(matches!(source(old, false), SourceState::Fetching { .. }));
        let fixed = Object(json!({"spec": {"type": "oci"}}));
        assert_eq!(source_state(Some(&fixed)), SourceState::Ready);
    }
}
