//! Status and events beyond the mapping.

use serde_json::json;

use super::super::fixtures::{Case, NOW, SUCCESS, told};
use super::super::{Look, State};
use crate::cluster_api::Object;
use crate::reconcile::Effect;

#[test]
fn a_ready_instance_is_quiet() {
    Case::new().deployed().check(
        State::Live,
        &["status", "event ReleaseReady"],
        &["Ready=T/HelmReleaseReady", "Reconciling=F/Stable", "Suspended=F/Active", "Blocked=F/Unblocked"],
    );
    let quiet = Case::new().deployed().then();
    assert!(quiet.plan().effects.is_empty() && quiet.plan().wake.is_none());
}

#[test]
fn the_status_of_an_installed_instance_names_what_runs() {
    let case = Case::new()
        .spec("/integrations", json!({"ingress": {"enabled": true, "host": "files.example.org"}}))
        .deployed()
        .then();
    let status = case.snapshot.instance.unwrap().0["status"].clone();
    assert_eq!(status["observedGeneration"], 1);
    assert_eq!(status["helmReleaseRef"], json!({"name": "files", "namespace": "org-a"}));
    assert_eq!(status["engineRef"]["uid"], "uid-Release");
    assert_eq!(status["lastAppliedChart"]["version"], "6.6.0");
    assert_eq!(
        status["endpoints"],
        json!([{"name": "ingress", "url": "https://files.example.org", "type": "ingress"}])
    );
    assert_eq!(status["lastReconcileTime"], NOW);
    let journal = status["transitions"].as_array().unwrap();
    assert_eq!(json!(journal.len()), status["transitionSeq"]);
    assert_eq!((&journal[0]["type"], &journal[0]["seq"]), (&json!("Ready"), &json!(1)));
}

#[test]
fn what_a_newer_version_wrote_into_the_status_goes_back_as_it_was() {
    let case = Case::new().deployed().instance(|object| {
        object["status"]["novel"] = json!({"deep": [1, {"x": null}]});
        object["status"]["conditions"] = json!([{"type": "Novel", "status": "True", "reason": "New", "message": "", "lastTransitionTime": NOW, "extra": 1}]);
    });
    let after = case.then().snapshot.instance.unwrap().0;
    assert_eq!(after["status"]["novel"]["deep"][0], 1);
    let novel = after["status"]["conditions"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&novel["type"], &novel["extra"]), (&json!("Novel"), &json!(1)));
}

#[test]
fn a_placeholder_is_ready_and_has_no_children() {
    let placeholder = Case::new().instance(|object| {
        object["spec"] = json!({"mode": "placeholder", "appRef": {"catalogId": "ops"}});
        object["status"]["helmReleaseRef"] = json!({"name": "a", "namespace": "b"});
    });
    placeholder.check(
        State::Placeholder,
        &["status", "event ReleaseReady"],
        &["Ready=T/Placeholder", "Reconciling=F/Stable", "Degraded=F/Recovered", "Blocked=F/Unblocked"],
    );
    assert_eq!(placeholder.then().snapshot.instance.unwrap().0["status"].get("helmReleaseRef"), None);
}

#[test]
fn events_are_told_at_most_once_in_five_minutes() {
    let failed = Case::new().deployed().then().flux(&["Ready=F/UpgradeFailed"]);
    assert!(told(&failed.plan()).contains(&"event ReconcileFailed".into()));
    let fine = failed.then().flux(&SUCCESS);
    assert!(!told(&fine.plan()).contains(&"event ReleaseReady".into()), "told a moment ago");
    let mut later = fine.clone();
    later.now = "2026-01-01T12:05:01Z".parse().unwrap();
    assert!(told(&later.plan()).contains(&"event ReleaseReady".into()));
    let name = |case: &Case| {
        let event = case.plan().effects.into_iter().find_map(|effect| match effect {
            Effect::Emit(object) => Some(object),
            _ => None,
        });
        event.unwrap().name().to_string()
    };
    assert_eq!(name(&later), name(&later.clone()));
}

#[test]
fn odd_children_and_odd_status_break_nothing() {
    for odd in [
        json!(null),
        json!({}),
        json!({"metadata": 7, "spec": [], "status": "x"}),
        json!({"metadata": {"labels": [], "managedFields": {}, "ownerReferences": 3}}),
    ] {
        let mut case = Case::new().finalized();
        case.snapshot.release = Look::Found(Box::new(Object(odd.clone())));
        case.snapshot.source = Look::Found(Box::new(Object(odd.clone())));
        let _ = case.plan();
        let _ = case.clone().deleting().plan();
        let strange = Case::new().instance(|object| object["status"] = odd.clone());
        let _ = strange.plan();
    }
}
