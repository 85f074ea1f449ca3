//! Deletion in order.

use serde_json::{Value, json};

use super::super::farewell::Stores;
use super::super::fixtures::{Case, NOW, caps, seconds, told};
use super::super::{Look, State};
use crate::api::annotation;
use crate::cluster_api::Key;
use crate::foreign::flux;
use crate::reconcile::Effect;
use crate::reconcile::report::journal::Mark;

#[test]
fn deletion_goes_in_order() {
    let kind = flux::oci_repository(&caps()).unwrap();
    let mut case = Case::new().deployed().then().deleting();
    let source = case.snapshot.source.found().unwrap().clone();
    let name = source.name().to_string();
    case.snapshot.rest = Some(vec![(Key::namespaced(&kind, "org-a", &name), source)]);
    case.check(State::Deleting, &["delete HelmRelease files", "status"], &["Deleting=T/Uninstalling"]);
    let mut case = case.then().release(|release| release["metadata"]["deletionTimestamp"] = json!(NOW)).then();
    case.check(State::Deleting, &[], &["Deleting=T/Uninstalling"]);
    case.snapshot.release = Look::Absent;
    let mut case = case.then();
    assert_eq!(told(&case.plan()), [format!("delete OCIRepository {name}")]);
    case.snapshot.rest = Some(Vec::new());
    case.check(State::Deleting, &["finalizer off"], &[]);
    let done = case.instance(|object| object["metadata"]["finalizers"] = json!(["foreign/finalizer"]));
    done.check(State::Released, &[], &[]);
}

#[test]
fn a_finalizer_that_the_existing_agent_wrote_goes_by_a_guarded_patch() {
    let mut case = Case::new().finalized().deleting().instance(|object| {
        object["metadata"]["managedFields"] = json!([]);
        object["metadata"]["finalizers"] = json!(["apps.vworkspace.io/finalizer", "other/one"]);
    });
    case.snapshot.rest = Some(Vec::new());
    let plan = case.plan();
    let Effect::Patch { merge, .. } = &plan.effects[0] else { panic!("no patch") };
    assert_eq!(merge["metadata"], json!({"finalizers": ["other/one"], "resourceVersion": "10"}));
}

#[test]
fn deletion_waits_for_a_restore_until_its_deadline_and_for_a_human_who_suspended() {
    let ready = Case::new().deployed().then().deleting();
    let waiting = ready.clone().lock("Restore", "2026-01-01T11:59:00Z");
    waiting.check(State::Deleting, &["status"], &["Deleting=T/WaitingForChildResources"]);
    assert_eq!(waiting.plan().wake, seconds(30));
    let overdue = ready.clone().lock("Restore", "2026-01-01T05:59:00Z");
    assert_eq!(told(&overdue.plan())[0], "delete HelmRelease files");
    let human = ready.release(|release| release["spec"]["suspend"] = json!(true));
    human.check(State::Deleting, &["status"], &["Deleting=T/Uninstalling"]);
    let orphaned = human.annotate(annotation::DELETION_POLICY, "orphan");
    assert_eq!(told(&orphaned.plan()), ["patch HelmRelease"]);
    let detached = orphaned.release(|release| release["metadata"]["ownerReferences"] = json!([]));
    assert_eq!(told(&detached.plan()), ["finalizer off"]);
}

#[test]
fn our_suspension_is_withdrawn_before_the_release_is_deleted() {
    let mine = |release: &mut Value| {
        release["spec"]["suspend"] = json!(true);
        release["metadata"]["managedFields"] = json!([{"manager": "vworkspace-operator", "operation": "Apply", "fieldsV1": {"f:spec": {"f:suspend": {}}}}]);
    };
    let case = Case::new().deployed().then().release(mine).deleting();
    assert_eq!(told(&case.plan())[..2], ["patch HelmRelease".to_string(), "delete HelmRelease files".to_string()]);
    let forced = case.clone().instance(|object| object["metadata"]["finalizers"] = json!(["foreign/x"]));
    forced.check(State::Released, &["patch HelmRelease"], &[]);
    let mut ungated = Case::new().deployed().then().release(mine);
    ungated.snapshot.namespace.as_mut().unwrap().0["metadata"]["labels"] = json!({});
    ungated.check(State::Closed, &["patch HelmRelease"], &[]);
    let mut gone = case;
    let release = gone.snapshot.release.found().unwrap().clone();
    gone.snapshot.instance = None;
    gone.snapshot.rest =
        Some(vec![(Key::namespaced(&flux::helm_release(&caps()).unwrap(), "org-a", "files"), release)]);
    assert_eq!(told(&gone.plan()), ["patch HelmRelease"]);
}

#[test]
fn what_was_not_told_moves_to_the_outbox_before_the_finalizer_goes() {
    let transition = |seq: i64| json!({"seq": seq, "type": "Ready", "status": "True", "reason": "R", "message": "", "time": NOW, "generation": 1});
    let mut case = Case::new().deployed().then().deleting().instance(|object| {
        object["status"]["transitions"] = json!([transition(1), transition(2)]);
    });
    case.snapshot.release = Look::Absent;
    case.snapshot.rest = Some(Vec::new());
    assert_eq!(told(&case.plan()), ["finalizer off"], "nobody will ever hear it");
    case.snapshot.stores = Some(Stores::default());
    let plan = case.plan();
    let Effect::Create(outbox) = &plan.effects[0] else { panic!("no outbox: {plan:?}") };
    let held = crate::reconcile::report::outbox::read(outbox).expect("ours").entries;
    assert_eq!(held.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [Some(1), Some(2)]);
    assert_eq!(plan.effects.len(), 2, "then the finalizer");
    // A crash between the two: the next pass finds them there.
    case.snapshot.stores = Some(Stores { told: None, outbox: Some(outbox.clone()) });
    assert_eq!(told(&case.plan()), ["finalizer off"]);
    let all = Mark { seq: 2, digest: String::new() };
    case.snapshot.stores = Some(Stores { told: Some(all), outbox: None });
    assert_eq!(told(&case.plan()), ["finalizer off"], "everything was acknowledged");
    case.snapshot.stores = Some(Stores::default());
    case.snapshot.refused = Some("quota".into());
    assert_eq!(told(&case.plan()), ["finalizer off"], "an object that cannot go is worse");
}
