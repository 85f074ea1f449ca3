//! What Flux says, row by row (contract §6.5).

use serde_json::json;

use super::super::fixtures::{Case, SUCCESS, seconds, stands, told};
use super::INSTALLED;
use crate::reconcile::Effect;

#[test]
fn every_row_of_the_mapping_table() {
    let old = || Case::new().settled().sourced().said(&INSTALLED).history(&[(1, "deployed", "6.6.0")]);
    let first = || Case::new().settled().sourced();
    let rows: Vec<(&str, Case, &[&str])> = vec![
        ("no status yet", Case::new().settled(), &["Ready=U/Reconciling", "Reconciling=T/HelmReleaseInstalling"]),
        (
            "fetching, nothing installed",
            Case::new().settled().flux(&["Reconciling=T/Progressing", "Ready=F/SourceNotReady"]),
            &["Ready=F/Installing", "Reconciling=T/ChartSourceSyncing"],
        ),
        (
            "source failing, nothing installed, new",
            Case::new().settled().failing("2026-01-01T11:58:00Z").flux(&["Ready=F/SourceNotReady"]),
            &["Ready=F/ChartUnreachable", "Reconciling=T/ChartSourceSyncing"],
        ),
        (
            "source failing, nothing installed, for long",
            Case::new().settled().failing("2026-01-01T11:54:59Z").flux(&["Ready=F/SourceNotReady"]),
            &["Ready=F/ChartUnreachable", "Reconciling=T/ChartSourceSyncing", "Degraded=T/ChartUnreachable"],
        ),
        (
            "source failing, release deployed, new version wanted",
            old().failing("2026-01-01T11:50:00Z").flux(&["Ready=F/SourceNotReady"]),
            &["Ready=T/HelmReleaseReady", "Reconciling=T/ChartSourceSyncing", "Degraded=T/ChartUnreachable"],
        ),
        (
            "source failing, release fine",
            old().failing("2026-01-01T11:50:00Z").flux(&SUCCESS),
            &["Ready=T/HelmReleaseReady", "Reconciling=F/Stable", "Degraded=T/ChartUnreachable"],
        ),
        (
            "install running",
            first().flux(&["Reconciling=T/Progressing", "Ready=U/Progressing"]),
            &["Ready=F/Installing", "Reconciling=T/HelmReleaseInstalling"],
        ),
        (
            "upgrade running",
            old().flux(&["Reconciling=T/Progressing", "Ready=U/Progressing"]),
            &["Ready=F/Upgrading", "Reconciling=T/HelmReleaseUpgrading", "Degraded=F/Recovered"],
        ),
        (
            "success, first release",
            first().flux(&SUCCESS).history(&[(1, "deployed", "6.6.0+00")]),
            &["Ready=T/HelmReleaseReady", "Reconciling=F/Stable", "Degraded=F/Recovered"],
        ),
        (
            "success after a failed first try",
            first().flux(&SUCCESS).history(&[(2, "deployed", "6.6.0+00"), (1, "failed", "6.6.0+00")]),
            &["Ready=T/HelmReleaseReady"],
        ),
        (
            "success after a change",
            first().flux(&SUCCESS).history(&[(2, "deployed", "6.6.0"), (1, "superseded", "6.5.0")]),
            &["Ready=T/HelmReleaseUpgraded", "Reconciling=F/Stable", "Degraded=F/Recovered"],
        ),
        (
            "success with a warning",
            first().flux(&[SUCCESS[0], SUCCESS[1], "TestSuccess=F/TestFailed"]).history(&[(1, "deployed", "6.6.0")]),
            &["Ready=T/HelmReleaseReadyWithWarnings", "Reconciling=F/Stable", "Degraded=F/Recovered"],
        ),
        (
            "failed install, retried",
            first().flux(&["Reconciling=T/ProgressingWithRetry", "Ready=F/InstallFailed"]),
            &["Ready=F/HelmReleaseFailed", "Reconciling=T/HelmReleaseInstalling"],
        ),
        (
            "failed upgrade, retried, had been ready",
            old().flux(&["Reconciling=T/ProgressingWithRetry", "Ready=F/UpgradeFailed"]),
            &["Ready=F/HelmReleaseFailed", "Reconciling=T/HelmReleaseUpgrading", "Degraded=T/HelmReleaseDegraded"],
        ),
        (
            "the same attempt once more",
            old()
                .said(&[
                    "Ready=F/HelmReleaseFailed",
                    "Reconciling=T/HelmReleaseUpgrading",
                    "Degraded=T/HelmReleaseDegraded",
                ])
                .flux(&["Reconciling=T/Progressing", "Ready=U/Progressing"]),
            &["Ready=F/HelmReleaseFailed", "Reconciling=T/HelmReleaseUpgrading", "Degraded=T/HelmReleaseDegraded"],
        ),
        (
            "failed before a release was stored, history lost, had been ready (W43)",
            first().said(&INSTALLED).flux(&["Ready=F/UpgradeFailed"]),
            &["Ready=F/HelmReleaseFailed", "Degraded=T/HelmReleaseDegraded"],
        ),
        (
            "terminal, rolled back (W65)",
            old().history(&[(3, "deployed", "6.5.0"), (2, "failed", "6.6.0"), (1, "superseded", "6.5.0")]).flux(&[
                "Stalled=T/RetriesExceeded",
                "Ready=F/RollbackSucceeded",
                "Released=F/UpgradeFailed",
                "Remediated=T/RollbackSucceeded",
            ]),
            &["Ready=T/RolledBack", "Reconciling=F/Stable", "Degraded=T/HelmReleaseUpgradeFailed"],
        ),
        (
            "terminal upgrade failure",
            old().flux(&["Stalled=T/MissingRollbackTarget", "Ready=F/UpgradeFailed", "Released=F/UpgradeFailed"]),
            &["Ready=F/HelmReleaseFailed", "Reconciling=F/Stable", "Degraded=T/HelmReleaseUpgradeFailed"],
        ),
        (
            "terminal install failure",
            first().history(&[(1, "failed", "6.6.0")]).flux(&["Stalled=T/RetriesExceeded", "Ready=F/InstallFailed"]),
            &["Ready=F/HelmReleaseFailed", "Reconciling=F/Stable", "Degraded=T/HelmReleaseDegraded"],
        ),
        (
            "access denied is terminal (W69)",
            first().flux(&["Stalled=T/AccessDenied", "Ready=F/AccessDenied"]),
            &["Ready=F/HelmReleaseFailed", "Reconciling=F/Stable", "Degraded=T/HelmReleaseDegraded"],
        ),
        (
            "drift",
            old().flux(&[SUCCESS[0], SUCCESS[1], "Drifted=T/DriftDetected"]),
            &["Ready=T/HelmReleaseReady", "Reconciling=F/Stable", "Degraded=T/Drifted"],
        ),
        (
            "the interval blip",
            old().flux(&["Reconciling=T/Progressing", SUCCESS[0], SUCCESS[1]]),
            &["Ready=T/HelmReleaseReady", "Reconciling=F/Stable", "Degraded=F/Recovered"],
        ),
        (
            "an unknown reason counts as in progress",
            old().flux(&["Ready=U/NovelReason"]),
            &["Ready=F/Upgrading", "Reconciling=T/HelmReleaseUpgrading"],
        ),
        (
            "suspended by a human",
            old().flux(&SUCCESS).release(|release| {
                release["spec"]["suspend"] = json!(true);
            }),
            &["Ready=T/HelmReleaseReady", "Reconciling=F/Stable", "Suspended=T/ManuallySuspended"],
        ),
    ];
    for (name, case, expect) in rows {
        let plan = case.plan();
        let writes =
            plan.effects.iter().filter(|effect| !matches!(effect, Effect::PatchStatus { .. } | Effect::Emit(_)));
        assert_eq!(writes.count(), 0, "{name}: {:?}", told(&plan));
        let after = case.clone().then();
        let said = stands(&after);
        for condition in expect {
            assert!(said.iter().any(|text| text == condition), "{name}: {condition} is not among {said:?}");
        }
        assert!(after.plan().effects.is_empty(), "{name}: a second look writes again: {:?}", after.plan());
    }
}

#[test]
fn a_failing_source_is_looked_at_again_when_it_becomes_a_degradation() {
    let case = Case::new().settled().failing("2026-01-01T11:58:00Z").flux(&["Ready=F/SourceNotReady"]);
    assert_eq!(case.plan().wake, seconds(180));
    let case = case.failing("2026-01-01T11:50:00Z");
    assert_eq!(case.plan().wake, None);
}

#[test]
fn the_revision_of_git_is_recorded_once_the_instance_stands_and_then_annotated() {
    use crate::api::cluster::ConnectivityMode;
    use crate::api::common::GitSource;
    let revision = "main@sha1:abc";
    let mut case = Case::new().deployed().then().then().instance(|object| {
        object["metadata"]["labels"]["kustomize.toolkit.fluxcd.io/name"] = json!("apps");
        object["metadata"]["labels"]["kustomize.toolkit.fluxcd.io/namespace"] = json!("flux-system");
    });
    assert!(case.plan().effects.is_empty(), "settled: {:?}", case.plan());
    case.snapshot.applied = Some(GitSource { revision: Some(revision.into()), ..GitSource::default() });
    assert!(case.plan().effects.is_empty(), "in pull mode Git is nobody's concern");
    case.snapshot.settings.cluster.connectivity_mode = ConnectivityMode::Gitops.into();
    let plan = case.plan();
    let [Effect::PatchStatus { status, .. }] = plan.effects.as_slice() else { panic!("{plan:?}") };
    assert_eq!(status["source"]["revision"], revision);
    let case = case.then();
    let plan = case.plan();
    let [Effect::Apply { object, .. }] = plan.effects.as_slice() else { panic!("{plan:?}") };
    assert_eq!(object.annotation("app.vworkspace.io/applied-revision"), Some(revision));
    assert!(object.has_finalizer("apps.vworkspace.io/finalizer"), "an apply drops what it does not list");
    let mut upgrading = case.clone().instance(|object| object["metadata"]["generation"] = json!(9));
    upgrading.snapshot.applied = Some(GitSource { revision: Some("main@sha1:def".into()), ..GitSource::default() });
    let recorded = |effect: &Effect| matches!(effect, Effect::PatchStatus { status, .. } if status["source"]["revision"] == "main@sha1:def");
    assert!(!upgrading.plan().effects.iter().any(recorded), "not before it stands at its generation");
}
