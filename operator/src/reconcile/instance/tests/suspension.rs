//! Pauses, restores, and releases that others write.

use serde_json::json;

use super::super::State;
use super::super::fixtures::{Case, NOW, SUCCESS, caps, stands, told};
use crate::api::{annotation, names};
use crate::cluster_api::Key;
use crate::foreign::flux;
use crate::reconcile::Effect;

#[test]
fn a_paused_instance_writes_nothing_and_lets_go_of_its_children() {
    let owned = Case::new().deployed().then();
    let mut paused =
        owned.annotate(annotation::RECONCILE, "disabled").spec("/chart/version", json!("7.0.0")).generation(2);
    let source = paused.snapshot.source.found().unwrap().clone();
    let kind = flux::oci_repository(&caps()).unwrap();
    paused.snapshot.rest = Some(vec![(Key::namespaced(&kind, "org-a", source.name()), source)]);
    paused.check(
        State::Live,
        &["patch HelmRelease", "patch OCIRepository", "status"],
        &["Suspended=T/ReconcilePaused", "Ready=T/HelmReleaseReady"],
    );
    let Some(Effect::Patch { merge, .. }) = paused.plan().effects.into_iter().next() else { panic!("no patch") };
    assert_eq!(merge["metadata"]["ownerReferences"], json!([]));
    assert_eq!(merge["metadata"]["resourceVersion"], "20");
}

#[test]
fn a_misspelt_annotation_blocks_and_its_deletion_leaves_the_application() {
    for (name, word) in [
        (annotation::DELETION_POLICY, "Orphan"),
        (annotation::HELMRELEASE_AUTHORITY, "External"),
        (annotation::RECONCILE, "Disabled"),
    ] {
        let running = Case::new().deployed().then().spec("/chart/version", json!("7.0.0")).generation(2);
        let misspelt = running.annotate(name, word);
        misspelt.check(
            State::Live,
            &["patch HelmRelease", "status", "event ReconcileFailed"],
            &["Blocked=T/ValidationFailed", "Ready=T/HelmReleaseReady"],
        );
        let detached = misspelt.then().release(|release| release["metadata"]["ownerReferences"] = json!([]));
        assert_eq!(told(&detached.clone().plan()), Vec::<String>::new(), "{name}");
        assert_eq!(told(&detached.deleting().plan()), ["finalizer off"], "{name}");
    }
}

#[test]
fn an_external_release_is_only_observed() {
    let case = Case::new().deployed().annotate(annotation::HELMRELEASE_AUTHORITY, "external").release(|release| {
        release["metadata"]["labels"] = json!({});
        release["metadata"]["ownerReferences"] = json!([]);
    });
    case.check(State::Live, &["status", "event ReleaseReady"], &["Ready=T/HelmReleaseReady", "Blocked=F/Unblocked"]);
    case.deleting().check(State::Deleting, &["finalizer off"], &[]);
}

#[test]
fn a_restore_suspends_and_its_end_asks_for_a_release_in_one_request() {
    let ready = Case::new().deployed().then();
    let restoring = ready.clone().lock("Restore", "2026-01-01T11:59:00Z");
    restoring.check(State::Live, &["apply HelmRelease", "status"], &["Suspended=T/RestoreInProgress"]);
    let suspended = restoring.then().release(|release| {
        assert_eq!(release["spec"]["suspend"], true);
        release["metadata"]["managedFields"] = json!([{"manager": "vworkspace-operator", "operation": "Apply", "fieldsV1": {"f:spec": {"f:suspend": {}}}}]);
    });
    assert!(stands(&suspended).contains(&"Ready=U/Reconciling".into()));
    assert!(suspended.plan().effects.is_empty());
    let mut over = suspended;
    over.snapshot.lease = None;
    let plan = over.plan();
    assert_eq!(told(&plan)[0], "patch HelmRelease");
    let Effect::Patch { merge, .. } = &plan.effects[0] else { panic!("no patch") };
    let token = names::token("resume", &["op-1"]);
    assert_eq!(merge["spec"], json!({"suspend": null}));
    assert_eq!(merge["metadata"]["annotations"], json!({flux::REQUESTED_AT: token, flux::FORCE_AT: token}));
    let resumed = over.release(|release| {
        release["spec"].as_object_mut().unwrap().remove("suspend");
        release["metadata"]["annotations"][flux::REQUESTED_AT] = json!(token);
        release["metadata"]["annotations"][flux::FORCE_AT] = json!(token);
    });
    let resumed = resumed.then();
    assert!(stands(&resumed).contains(&"Ready=U/Reconciling".into()), "not ready before Flux has handled the token");
    let handled =
        resumed.flux(&SUCCESS).release(|release| release["status"]["lastHandledForceAt"] = json!(token)).then();
    assert!(stands(&handled).contains(&"Ready=T/HelmReleaseReady".into()));
    assert!(handled.plan().effects.is_empty());
}

#[test]
fn a_backup_or_a_foreign_suspension_is_not_our_suspension() {
    let backup = Case::new().deployed().then().lock("Backup", NOW);
    assert!(backup.plan().effects.is_empty());
    let human = Case::new().deployed().then().release(|release| {
        release["spec"]["suspend"] = json!(true);
        release["metadata"]["managedFields"] =
            json!([{"manager": "flux", "operation": "Update", "fieldsV1": {"f:spec": {"f:suspend": {}}}}]);
    });
    human.check(State::Live, &["status"], &["Suspended=T/ManuallySuspended"]);
}
