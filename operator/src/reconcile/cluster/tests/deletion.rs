//! Decommission (contract §15.4).

use std::time::Duration;

use serde_json::json;

use super::super::fixtures::{Case, MINUTE, NOW, down};
use super::super::{Offered, Tried};
use crate::api::cluster::ConnectivityMode;
use crate::api::{annotation, finalizer};
use crate::cluster_api::{Key, Uid};
use crate::foreign::core;
use crate::protocol::Trouble;

fn deleting() -> Case {
    let mut case = Case::connected()
        .offered(Offered::Nothing)
        .cluster(|cluster| cluster["metadata"]["deletionTimestamp"] = json!(NOW));
    let store = Key::namespaced(&core::config_map(), "system", "vworkspace-applied-jobs");
    case.snapshot.stores = vec![(store, Some(Uid("m-1".into())))];
    case
}

fn ended(case: Case, ended: Result<(), Trouble>, wait: Duration) -> Case {
    let mut case = case.then();
    case.snapshot.attempts.decommission = Some(Tried { of: String::new(), ended, unanswered: false, wait });
    case
}

const REST: [&str; 3] = ["delete vworkspace-applied-jobs", "delete credentials", "finalizer off"];

#[test]
fn the_control_plane_is_told_first_and_the_finalizer_goes_last() {
    deleting().check(&["status"], &["Terminating"]);
    let told = deleting().then();
    told.check(&["decommission"], &[]);
    told.clone().seen(|seen| seen.told = false).check(&[], &[]);
    let mut late = told.seen(|seen| seen.told = false);
    late.snapshot.given.deleting = Duration::from_secs(30);
    late.check(&["decommission"], &[]);
    for answer in [
        Ok(()),
        Err(Trouble::Unauthorized),
        Err(Trouble::Forbidden { ours: true }),
        Err(Trouble::NotFound),
        Err(Trouble::Conflict),
    ] {
        ended(deleting(), answer, Duration::ZERO).check(&REST, &[]);
    }
}

#[test]
fn other_answers_are_tried_again_for_ten_minutes_or_not_at_all() {
    let failed = |wait| ended(deleting(), Err(down()), wait);
    failed(MINUTE).check(&[], &[]);
    failed(Duration::ZERO).check(&["decommission"], &[]);
    let given_up: Vec<&str> = ["event DecommissionUnconfirmed"].into_iter().chain(REST).collect();
    let mut late = failed(MINUTE);
    late.snapshot.given.deleting = 10 * MINUTE;
    late.check(&given_up, &[]);
    let forced = deleting().annotate(annotation::FORCE_DECOMMISSION, "true").seen(|seen| seen.told = false);
    forced.clone().then().check(&["decommission"], &[]);
    ended(forced, Err(down()), MINUTE).check(&given_up, &[]);
}

#[test]
fn nobody_is_told_where_there_is_nobody_and_foreign_finalizers_stay() {
    deleting().then().mode(ConnectivityMode::Gitops, false).check(&REST, &[]);
    let mut crashed = deleting().then();
    crashed.snapshot.connection.credentials = None;
    crashed.snapshot.stores.clear();
    crashed.check(&["finalizer off"], &[]);
    let done = deleting().cluster(|cluster| cluster["metadata"]["finalizers"] = json!(["other.example.org/x"]));
    done.check(&[], &[]);
    let shared = crashed.cluster(|cluster| {
        cluster["metadata"]["finalizers"] = json!([finalizer::CLUSTER, "other.example.org/x"]);
        cluster["metadata"]["managedFields"] = json!([]);
    });
    let plan = shared.plan();
    let crate::reconcile::Effect::Patch { merge, .. } = &plan.effects[0] else { panic!("{plan:?}") };
    assert_eq!(merge["metadata"]["finalizers"], json!(["other.example.org/x"]));
}

#[test]
fn a_new_cluster_gets_our_finalizer_first() {
    let bare = Case::new().cluster(|cluster| {
        cluster["metadata"].as_object_mut().unwrap().remove("finalizers");
    });
    bare.check(&["finalizer"], &[]);
}
