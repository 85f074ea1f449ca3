//! What is refused, ignored, or held by somebody else.

use serde_json::{Value, json};

use super::super::fixtures::{Case, stands, told};
use super::super::{Look, Rival, State};
use crate::api::label;
use crate::foreign::core;

#[test]
fn refusals_are_conditions_and_leave_children_alone() {
    let foreign_release = |release: &mut Value| {
        release["metadata"]["labels"] = json!({});
        release["metadata"]["ownerReferences"] = json!([{"uid": "other", "controller": true}]);
    };
    let mut unserved = Case::new();
    unserved.snapshot.settings.caps.versions.remove("helm.toolkit.fluxcd.io/helmreleases");
    unserved.snapshot.release = Look::NotRead;
    let mut vanished = Case::new();
    vanished.snapshot.definition_ready = Some(false);
    let mut require = Case::new();
    require.snapshot.settings.cluster.security =
        Some(serde_json::from_value(json!({"podSecurity": "require"})).unwrap());
    let mut argocd = Case::new();
    argocd.snapshot.settings.recorded_engine = Some("argocd".into());
    let mut rival = Case::new();
    rival.snapshot.rivals = vec![Rival {
        name: "elder".into(),
        uid: "e".into(),
        created: "2025-01-01T00:00:00Z".into(),
        same_release: true,
    }];
    let by_secret = json!({"source": "secretRef", "secretRef": {"name": "v", "key": "k"}});
    let mut no_secret = Case::new().spec("/values", by_secret.clone());
    no_secret.snapshot.values = Some(None);
    let mut no_key = Case::new().spec("/values", by_secret);
    no_key.snapshot.values = Some(Some(core::Revision { resource_version: "1".into(), has_key: false }));
    let mut no_credentials = Case::new().spec("/chart/secretRef", json!({"name": "repo"}));
    no_credentials.snapshot.chart_secret = Some(None);
    let rows: Vec<(&str, Case, &str, &str, &str)> = vec![
        (
            "inline secret",
            Case::new().spec("/values/inline", json!({"password": "hunter2"})),
            "PolicyDenied",
            "HelmReleaseFailed",
            "inline secret material rejected",
        ),
        (
            "wrong cluster",
            Case::new().instance(|o| o["metadata"]["labels"][label::CLUSTER_ID] = json!("c2")),
            "PolicyDenied",
            "HelmReleaseFailed",
            "ClusterIdMismatch",
        ),
        (
            "wrong namespace",
            Case::new().spec("/release/namespace", json!("org-b")),
            "ValidationFailed",
            "HelmReleaseFailed",
            "namespace of this object",
        ),
        (
            "no chart",
            Case::new().spec("/chart", Value::Null),
            "ValidationFailed",
            "HelmReleaseFailed",
            "spec.chart is required",
        ),
        (
            "unreadable",
            Case::new().spec("/values", json!(7)),
            "ValidationFailed",
            "HelmReleaseFailed",
            "cannot be read",
        ),
        ("no Flux", unserved, "MissingDependencies", "HelmReleaseFailed", "not installed"),
        ("API being replaced", vanished, "MissingDependencies", "HelmReleaseFailed", "being replaced"),
        (
            "no cert-manager",
            Case::new().spec("/integrations", json!({"certManager": {"enabled": true}})),
            "MissingDependencies",
            "HelmReleaseFailed",
            "cert-manager",
        ),
        ("pod security", require, "PolicyDenied", "HelmReleaseFailed", "pod-security"),
        ("other engine", argocd, "MissingDependencies", "HelmReleaseFailed", "engine"),
        ("release name taken", rival, "ValidationFailed", "HelmReleaseFailed", "ReleaseNameTaken"),
        (
            "build metadata",
            Case::new().spec("/chart/version", json!("6.6.0+b1")),
            "ValidationFailed",
            "HelmReleaseFailed",
            "build metadata",
        ),
        (
            "foreign release",
            Case::new().settled().release(foreign_release),
            "PolicyDenied",
            "HelmReleaseFailed",
            "belongs to someone else",
        ),
        ("missing secret", no_secret, "MissingSecret", "WaitingForSecret", "does not exist"),
        ("missing key", no_key, "MissingSecret", "WaitingForSecret", "has no key k"),
        ("missing credentials", no_credentials, "MissingSecret", "WaitingForSecret", "chart credentials"),
    ];
    for (name, case, blocked, ready, words) in rows {
        let plan = case.plan();
        assert_eq!(told(&plan), ["status", "event ReconcileFailed"], "{name}");
        let after = case.then();
        let said = stands(&after);
        assert!(
            said.contains(&format!("Blocked=T/{blocked}")) && said.contains(&format!("Ready=F/{ready}")),
            "{name}: {said:?}"
        );
        let status = after.snapshot.instance.as_ref().unwrap().0["status"].to_string();
        assert!(status.contains(words) && !status.contains("hunter2"), "{name}: {status}");
        assert!(after.plan().effects.is_empty(), "{name}: a second look writes again");
    }
}

#[test]
fn a_refused_change_leaves_the_running_release_described() {
    let case = Case::new().deployed().then().spec("/values/inline", json!({"password": "x"})).generation(2);
    let after = case.clone().then();
    assert_eq!(told(&case.plan()), ["status", "event ReconcileFailed"]);
    let said = stands(&after);
    assert!(
        said.contains(&"Ready=T/HelmReleaseReady".into()) && said.contains(&"Blocked=T/PolicyDenied".into()),
        "{said:?}"
    );
    let status = &after.snapshot.instance.as_ref().unwrap().0["status"];
    assert_eq!(status["observedGeneration"], 2);
    assert_eq!(status["conditions"][0]["observedGeneration"], 1, "Ready speaks of the generation that runs");
}

#[test]
fn a_field_that_somebody_else_holds_is_named_and_not_overwritten() {
    let case = Case::new().deployed().then().release(|release| {
        release["spec"]["interval"] = json!("1m");
        release["metadata"]["managedFields"] =
            json!([{"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:spec": {"f:interval": {}}}}]);
    });
    let after = case.clone().then();
    assert_eq!(told(&case.plan()), ["status", "event ReconcileFailed"]);
    let status = after.snapshot.instance.unwrap().0["status"].to_string();
    assert!(status.contains("spec.interval is held by manager kubectl-edit"), "{status}");
    let ours = Case::new().deployed().then().release(|release| release["spec"]["interval"] = json!("1m"));
    assert_eq!(
        told(&ours.plan()).first().map(String::as_str),
        Some("apply HelmRelease"),
        "a change nobody holds is undone"
    );
}

#[test]
fn what_the_server_refuses_is_told_before_it_is_tried_again() {
    let mut case = Case::new().finalized();
    case.snapshot.refused = Some("admission webhook says no".into());
    let plan = case.plan();
    assert_eq!(told(&plan), ["status", "event ReconcileFailed", "apply OCIRepository", "apply HelmRelease"]);
    assert!(plan.why.contains("webhook"));
    let said = stands(&case.clone().then());
    assert!(
        said.contains(&"Blocked=T/PolicyDenied".into()) && said.contains(&"Ready=F/HelmReleaseFailed".into()),
        "{said:?}"
    );
    let mut accepted = case.then();
    accepted.snapshot.refused = None;
    assert!(stands(&accepted.then()).contains(&"Blocked=F/Unblocked".into()));
}

#[test]
fn ignored_closed_and_doomed_objects_are_not_touched() {
    let ignored = Case::new().instance(|object| object["metadata"]["labels"] = json!({}));
    ignored.check(State::Ignored, &[], &[]);
    let mut closed = Case::new().deployed();
    closed.snapshot.namespace.as_mut().unwrap().0["metadata"]["labels"] = json!({});
    closed.check(State::Closed, &[], &[]);
    closed.clone().deleting().check(State::Closed, &["finalizer off"], &[]);
    let mut doomed = Case::new();
    doomed.snapshot.namespace.as_mut().unwrap().0["status"]["phase"] = json!("Terminating");
    doomed.check(State::Doomed, &[], &[]);
    let mut undiscovered = Case::new();
    undiscovered.snapshot.settings.caps = Default::default();
    undiscovered.check(State::Undiscovered, &[], &[]);
}
