//! New attempts that Flux is asked for.

use serde_json::json;

use super::super::State;
use super::super::fixtures::{Case, UID, foreign, seconds, told};
use super::INSTALLED;
use crate::api::{annotation, names};
use crate::foreign::{core, flux};
use crate::reconcile::Effect;

#[test]
fn a_retry_request_resets_a_failed_release_once() {
    let failed = Case::new()
        .settled()
        .sourced()
        .history(&[(1, "failed", "6.6.0")])
        .flux(&["Stalled=T/RetriesExceeded", "Ready=F/InstallFailed"])
        .then();
    let asked = failed.annotate(annotation::RETRY, "2");
    let plan = asked.plan();
    assert_eq!(told(&plan), ["patch HelmRelease"], "it is noted by the next pass");
    let token = names::token("retry", &[UID, "2"]);
    let Effect::Patch { merge, .. } = &plan.effects[0] else { panic!("no patch first") };
    assert_eq!(merge["metadata"]["annotations"], json!({flux::REQUESTED_AT: token, flux::RESET_AT: token}));
    let asked = asked.then();
    assert_eq!(told(&asked.plan()), ["apply HelmRelease"], "once, and noted");
    assert!(asked.then().plan().effects.is_empty());
    let healthy = Case::new().deployed().then().annotate(annotation::RETRY, "2");
    assert_eq!(told(&healthy.plan()).iter().filter(|effect| effect.starts_with("patch")).count(), 0, "nothing failed");
}

#[test]
fn changed_values_and_credentials_nudge_once_per_revision() {
    let reference = json!({"source": "secretRef", "secretRef": {"name": "v", "key": "k"}});
    let ready = Case::new().spec("/values", reference).values("1").deployed().then();
    assert_eq!(ready.plan().wake, seconds(300));
    assert!(ready.plan().effects.is_empty());
    let changed = ready.values("2");
    changed.check(State::Live, &["patch HelmRelease", "status"], &["Ready=T/HelmReleaseReady"]);
    let told_once = changed.then();
    assert!(told_once.plan().effects.is_empty());
    let mut gone = told_once;
    gone.snapshot.values = Some(None);
    gone.check(
        State::Live,
        &["status", "event ReconcileFailed"],
        &["Blocked=T/MissingSecret", "Ready=T/HelmReleaseReady"],
    );
    assert_eq!(gone.plan().wake, seconds(30));

    let mut rotated = Case::new().spec("/chart/secretRef", json!({"name": "repo"}));
    let revision = |version: &str| Some(Some(core::Revision { resource_version: version.into(), has_key: true }));
    rotated.snapshot.chart_secret = revision("1");
    let mut rotated = rotated.deployed().then();
    assert!(rotated.plan().effects.is_empty());
    rotated.snapshot.chart_secret = revision("2");
    assert_eq!(told(&rotated.plan())[0], "patch OCIRepository");
    let rotated = rotated.then();
    assert_eq!(told(&rotated.plan()), ["apply OCIRepository"], "once, and noted");
    assert!(rotated.then().plan().effects.is_empty());
}

#[test]
fn a_release_that_stands_still_although_it_is_there_is_nudged_once() {
    let stuck = |since: &str| {
        Case::new().deployed().said(&INSTALLED).release(|release| {
            release["status"]["conditions"] = foreign(&["Ready=U/Progressing"], &json!(1));
            release["status"]["conditions"][0]["lastTransitionTime"] = json!(since);
        })
    };
    assert_eq!(stuck("2026-01-01T11:50:00Z").plan().wake, seconds(7 * 60));
    let due = stuck("2026-01-01T11:43:00Z");
    assert!(told(&due.plan()).contains(&"patch HelmRelease".into()), "{:?}", told(&due.plan()));
    let Some(Effect::Patch { merge, .. }) =
        due.plan().effects.into_iter().find(|effect| matches!(effect, Effect::Patch { .. }))
    else {
        panic!("no nudge")
    };
    let nudged = due.release(|release| {
        release["metadata"]["annotations"][flux::REQUESTED_AT] =
            merge["metadata"]["annotations"][flux::REQUESTED_AT].clone();
    });
    assert!(!told(&nudged.plan()).contains(&"patch HelmRelease".into()), "once");
}
