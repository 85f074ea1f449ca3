//! What others do to an instance, its release and its cluster: people with kubectl, other instances, older CRDs.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::fixtures::{Case, NOW, SUCCESS, UID, seconds, stands, told};
use super::{Look, Rival, State};
use crate::api::{annotation, label, names};
use crate::foreign::flux;
use crate::reconcile::Effect;

/// Managed fields of a release whose suspension we hold, and perhaps somebody else too.
fn suspended(release: &mut Value, by: &[(&str, &str)]) {
    release["spec"]["suspend"] = json!(true);
    let entries = by.iter().map(|(manager, operation)| {
        json!({"manager": manager, "operation": operation, "fieldsV1": {"f:spec": {"f:suspend": {}}}})
    });
    release["metadata"]["managedFields"] = entries.collect();
    release["metadata"]["annotations"]["vworkspace.io/suspended-for"] = json!("op-1");
}

const US: (&str, &str) = ("vworkspace-operator", "Apply");
const HUMAN: (&str, &str) = ("flux", "Update");

fn observed(case: &Case, type_: &str) -> i64 {
    let conditions = super::status::conditions(case.snapshot.instance.as_ref().unwrap());
    crate::api::condition::find(conditions, type_).unwrap()["observedGeneration"].as_i64().unwrap()
}

#[test]
fn a_paused_instance_whose_release_is_gone_is_not_ready() {
    let mut paused = Case::new().deployed().then().annotate(annotation::RECONCILE, "disabled");
    paused.snapshot.release = Look::Absent;
    paused.check(State::Live, &["status"], &["Ready=U/Reconciling", "Suspended=T/ReconcilePaused"]);
    let mut unserved = Case::new().deployed().then().annotate(annotation::RECONCILE, "disabled");
    unserved.snapshot.release = Look::Unserved;
    unserved.check(State::Live, &["status"], &["Ready=T/HelmReleaseReady"]);
}

#[test]
fn the_release_that_another_instance_left_uncontrolled_is_not_ours_to_report() {
    let theirs = |case: Case| {
        let mut case = case.deployed().release(|release| {
            release["metadata"]["labels"][label::INSTANCE_UID] = json!("uid-of-another");
            release["metadata"]["ownerReferences"] = json!([]);
        });
        case.snapshot.rivals = vec![Rival {
            name: "older".into(),
            uid: "uid-of-another".into(),
            created: "2025-01-01T00:00:00Z".into(),
            same_release: true,
        }];
        case
    };
    let paused = theirs(Case::new()).annotate(annotation::RECONCILE, "disabled");
    paused.check(State::Live, &["status"], &["Ready=U/Reconciling"]);
    let refused = theirs(Case::new()).spec("/chart/version", json!("latest"));
    refused.check(State::Live, &["status", "event ReconcileFailed"], &["Ready=F/HelmReleaseFailed"]);
    for case in [paused, refused] {
        assert_eq!(case.then().snapshot.instance.unwrap().0.pointer("/status/helmReleaseRef"), None);
    }
}

#[test]
fn a_suspension_of_ours_ends_with_the_restore_whatever_else_stands_in_the_way() {
    let held = || Case::new().deployed().then().release(|release| suspended(release, &[US]));
    let broken = held().spec("/chart/version", json!("latest")).generation(2);
    assert!(
        told(&broken.clone().lock("Restore", "2026-01-01T11:59:00Z").plan()).iter().all(|it| !it.starts_with("patch"))
    );
    assert_eq!(told(&broken.plan())[0], "patch HelmRelease");
    let external = held().annotate(annotation::HELMRELEASE_AUTHORITY, "external");
    let suspend = |case: &Case| {
        let patch = case.plan().effects.into_iter().find_map(|effect| match effect {
            Effect::Patch { merge, .. } if merge["spec"].is_object() => Some(merge),
            _ => None,
        });
        patch.expect("a patch")["spec"]["suspend"].clone()
    };
    assert_eq!(suspend(&external), Value::Null);
    let ignored = held().instance(|object| object["metadata"]["labels"] = json!({}));
    ignored.check(State::Ignored, &["patch HelmRelease"], &[]);
    ignored.lock("Restore", "2026-01-01T11:59:00Z").check(State::Ignored, &[], &[]);
    let paused = held().annotate(annotation::RECONCILE, "disabled");
    assert!(
        !paused.plan().effects.iter().any(|it| matches!(it, Effect::Patch { merge, .. } if merge["spec"].is_object()))
    );
}

#[test]
fn a_release_that_a_human_suspends_during_a_restore_is_repaired_after_he_resumes_it() {
    let token = names::token("resume", &["op-1"]);
    // The restore is over, ours is let go, his suspension stays.
    let his = Case::new().deployed().then().release(|release| suspended(release, &[HUMAN]));
    assert!(!told(&his.plan()).contains(&"patch HelmRelease".into()), "Flux would note the request and do nothing");
    let his = his.then();
    assert!(stands(&his).contains(&"Ready=U/Reconciling".into()), "{:?}", stands(&his));
    // He resumes with a request of his own; an older Flux had noted ours while suspended.
    let resumed = his.flux(&SUCCESS).release(|release| {
        release["spec"]["suspend"] = Value::Null;
        release["metadata"]["annotations"][flux::REQUESTED_AT] = json!("his");
        release["metadata"]["annotations"][flux::FORCE_AT] = json!(token);
        release["status"]["lastHandledReconcileAt"] = json!("his");
    });
    let Effect::Patch { merge, .. } = &resumed.plan().effects[0] else { panic!("no request") };
    assert_eq!(merge["metadata"]["annotations"], json!({flux::REQUESTED_AT: token, flux::FORCE_AT: token}));
    let asked = resumed.release(|release| release["metadata"]["annotations"][flux::REQUESTED_AT] = json!(token));
    assert!(!told(&asked.plan()).contains(&"patch HelmRelease".into()), "once");
    let handled = asked.release(|release| release["status"]["lastHandledForceAt"] = json!(token));
    assert!(told(&handled.plan()).contains(&"apply HelmRelease".into()), "the note goes");
    let done = handled.then();
    assert!(stands(&done).contains(&"Ready=T/HelmReleaseReady".into()), "{:?}", stands(&done));
    let forced_again = done.release(|release| release["status"]["lastHandledForceAt"] = json!("another"));
    assert!(forced_again.plan().effects.is_empty(), "what is over stays over");
}

#[test]
fn a_spec_that_got_past_the_rules_of_the_crd_does_not_make_us_forget_what_runs() {
    let running = Case::new().deployed().then();
    let emptied = running.generation(2).instance(|object| {
        object["spec"] = json!({"mode": "placeholder", "appRef": {"catalogId": "nextcloud"}});
    });
    emptied.check(
        State::Live,
        &["status", "event ReconcileFailed"],
        &["Blocked=T/ValidationFailed", "Ready=T/HelmReleaseReady"],
    );
    let after = emptied.then();
    assert_eq!(observed(&after, "Ready"), 1);
    assert_eq!(after.snapshot.instance.unwrap().0["status"]["helmReleaseRef"]["name"], "files");
}

#[test]
fn an_upgrade_that_the_server_refuses_leaves_the_running_release_described() {
    let mut upgrade = Case::new().deployed().then().spec("/chart/version", json!("7.0.0")).generation(2);
    upgrade.snapshot.refused = Some("admission webhook says no".into());
    let said = stands(&upgrade.clone().then());
    assert!(said.contains(&"Blocked=T/PolicyDenied".into()), "{said:?}");
    let mut told = upgrade.clone();
    for effect in upgrade.plan().effects {
        if let Effect::PatchStatus { status, .. } = effect {
            told.snapshot.instance.as_mut().unwrap().0["status"] = status;
        }
    }
    assert!(stands(&told).contains(&"Ready=T/HelmReleaseReady".into()), "{:?}", stands(&told));
    assert_eq!((observed(&told, "Ready"), observed(&told, "Blocked")), (1, 2));
    assert!(!told.plan().effects.iter().any(|effect| matches!(effect, Effect::PatchStatus { .. })), "told once");
}

#[test]
fn empty_things_that_others_wrote_into_the_status_are_no_difference() {
    let ready = Case::new().deployed().then();
    let odd = ready.instance(|object| {
        object["status"]["inventory"] = json!({});
        object["status"]["source"] = json!({"kind": "", "more": {}});
    });
    let odd = odd.clone().then();
    assert!(odd.plan().effects.is_empty(), "{:?}", odd.plan().effects);
}

#[test]
fn rules_that_cannot_be_read_are_not_taken_as_absent() {
    let mut new = Case::new();
    new.snapshot.settings.unreadable = true;
    new.check(State::Live, &["status", "event ReconcileFailed"], &["Blocked=T/MissingDependencies"]);
    let mut running = Case::new().deployed().then().spec("/chart/version", json!("7.0.0")).generation(2);
    running.snapshot.settings.unreadable = true;
    running.check(
        State::Live,
        &["status", "event ReconcileFailed"],
        &["Blocked=T/MissingDependencies", "Ready=T/HelmReleaseReady"],
    );
}

#[test]
fn a_deletion_is_looked_at_again_and_waits_for_no_holder_from_the_future() {
    let deleting = Case::new().deployed().then().deleting();
    assert_eq!(deleting.plan().wake, seconds(30), "values and unlabelled sources wake nobody when they go");
    let mut odd = deleting.lock("Restore", "2199-01-01T00:00:00Z");
    odd.check(State::Deleting, &["status"], &["Deleting=T/WaitingForChildResources"]);
    odd.now = NOW.parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_secs(6 * 3600);
    assert_eq!(told(&odd.plan())[0], "delete HelmRelease files");
}

#[test]
fn a_release_that_is_handed_over_loses_our_reference() {
    let handed = Case::new().deployed().then().annotate(annotation::HELMRELEASE_AUTHORITY, "external");
    let Effect::Patch { merge, .. } = &handed.plan().effects[0] else { panic!("no patch") };
    assert_eq!(merge["metadata"]["ownerReferences"], json!([]), "or a foreground deletion of {UID} would take it");
}
