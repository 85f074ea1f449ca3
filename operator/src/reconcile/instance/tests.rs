//! The decision as tables.

use serde_json::{Value, json};

use super::fixtures::{Case, NOW, SUCCESS, UID, foreign, seconds, stands, told};
use super::{Look, Rival, State};
use crate::api::{annotation, label, names};
use crate::cluster_api::{Key, Object};
use crate::engine::Role;
use crate::foreign::{core, flux};
use crate::reconcile::Effect;

const INSTALLED: [&str; 5] = [
    "Ready=T/HelmReleaseReady@1",
    "Reconciling=F/Stable@1",
    "Degraded=F/Recovered@1",
    "Suspended=F/Active@1",
    "Blocked=F/Unblocked@1",
];

#[test]
fn a_new_instance_gets_its_finalizer_before_its_children() {
    Case::new().check(State::Live, &["finalizer", "apply OCIRepository", "apply HelmRelease"], &[]);
}

#[test]
fn children_render_the_contract() {
    let case = Case::new();
    let source = case.child(Role::Source).0;
    assert_eq!(source["apiVersion"], "source.toolkit.fluxcd.io/v1");
    assert_eq!(
        source["spec"],
        json!({
            "interval": "10m0s",
            "url": "oci://charts.example.org/apps/nextcloud",
            "ref": {"tag": "6.6.0"},
            "layerSelector": {"mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "operation": "copy"},
        })
    );
    let release = case.child(Role::Release).0;
    assert_eq!(release["metadata"]["name"], "files");
    assert_eq!(
        release["metadata"]["labels"],
        json!({
            "app.vworkspace.io/managed-by": "vworkspace-operator",
            "app.vworkspace.io/cluster-id": "c1",
            "app.vworkspace.io/application-instance": "files",
            "apps.vworkspace.io/instance-uid": UID,
            "velero.io/exclude-from-backup": "true",
        })
    );
    assert_eq!(release["metadata"]["ownerReferences"][0]["uid"], UID);
    assert_eq!(release["metadata"]["annotations"][annotation::LAST_APPLIED_GENERATION], "1");
    let name = names::oci_repository("files", "oci://charts.example.org/apps", "nextcloud", "6.6.0");
    assert_eq!(
        release["spec"],
        json!({
            "interval": "5m0s", "timeout": "15m0s", "releaseName": "files", "targetNamespace": "org-a", "storageNamespace": "org-a",
            "maxHistory": 10,
            "chartRef": {"kind": "OCIRepository", "name": name},
            "install": {"remediation": {"retries": 0}},
            "upgrade": {"remediation": {"retries": 0, "remediateLastFailure": true}, "cleanupOnFail": true},
            "rollback": {"timeout": "5m0s", "cleanupOnFail": true},
            "uninstall": {"deletionPropagation": "background", "keepHistory": false},
            "driftDetection": {"mode": "enabled", "ignore": [
                {"paths": ["/spec/replicas"], "target": {"kind": "Deployment"}},
                {"paths": ["/spec/replicas"], "target": {"kind": "StatefulSet"}},
            ]},
            "values": {"replicas": 2},
        })
    );
    let text = |case: &Case| serde_json::to_string(&case.child(Role::Release)).unwrap();
    assert_eq!(text(&case), text(&case.clone()), "two renders are byte-equal");
}

#[test]
fn a_helm_repository_a_merge_and_optional_fields_render_the_contract() {
    let mut case = Case::new()
        .spec("/chart", json!({"sourceType": "helm", "url": "https://charts.example.org", "name": "nextcloud", "version": "6.6.0", "secretRef": {"name": "repo"}}))
        .spec("/values", json!({"source": "merge", "inline": {"a": 1}, "secretRef": {"name": "v", "key": "k"}}))
        .spec("/integrations", json!({"ingress": {"enabled": true, "host": "files.example.org"}}));
    let fields = case.snapshot.settings.caps.fields.get_mut("helm.toolkit.fluxcd.io/v2/helmreleases").unwrap();
    fields.extend(
        ["spec.install.strategy", "spec.upgrade.strategy", "spec.upgrade.chartNameChangeStrategy"].map(String::from),
    );
    let source = case.child(Role::Source).0;
    assert_eq!(source["metadata"]["name"], "files-source");
    assert_eq!(
        source["spec"],
        json!({"interval": "10m0s", "url": "https://charts.example.org", "secretRef": {"name": "repo"}})
    );
    let generated = case.child(Role::Values).0;
    assert_eq!(generated["immutable"], true);
    assert_eq!(generated["data"]["values.yaml"], r#"{"a":1,"ingress":{"enabled":true,"host":"files.example.org"}}"#);
    let spec = &case.child(Role::Release).0["spec"];
    assert_eq!(spec.get("values"), None);
    assert_eq!(
        spec["valuesFrom"],
        json!([
            {"kind": "ConfigMap", "name": generated["metadata"]["name"], "valuesKey": "values.yaml"},
            {"kind": "Secret", "name": "v", "valuesKey": "k"},
        ])
    );
    assert_eq!(
        spec["chart"]["spec"],
        json!({"chart": "nextcloud", "version": "6.6.0", "sourceRef": {"kind": "HelmRepository", "name": "files-source"}})
    );
    assert_eq!(spec.get("chartRef"), None);
    assert_eq!(spec["install"]["strategy"], json!({"name": "RemediateOnFailure"}));
    assert_eq!(spec["upgrade"]["chartNameChangeStrategy"], "InPlaceUpdate");
}

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
fn an_upgrade_writes_a_new_source_and_the_release_and_says_so_at_once() {
    let case = Case::new().deployed().said(&INSTALLED).spec("/chart/version", json!("7.0.0")).generation(2);
    let mut upgraded = case.clone();
    upgraded.snapshot.source = Look::Absent;
    upgraded.check(
        State::Live,
        &["apply OCIRepository", "apply HelmRelease", "status", "event ReconcileStarted"],
        &["Ready=F/Upgrading", "Reconciling=T/HelmReleaseUpgrading"],
    );
}

#[test]
fn what_is_superseded_goes_once_the_new_release_is_there() {
    let old = names::oci_repository("files", "oci://charts.example.org/apps", "nextcloud", "6.5.0");
    let kind = flux::oci_repository(&super::fixtures::caps()).unwrap();
    let object =
        |name: &str| Object(json!({"kind": "OCIRepository", "metadata": {"name": name, "uid": format!("uid-{name}")}}));
    let current = Case::new().child(Role::Source).name().to_string();
    let mut case = Case::new().deployed();
    let rest: Vec<(Key, Object)> = [old.as_str(), current.as_str()]
        .iter()
        .map(|name| (Key::namespaced(&kind, "org-a", name), object(name)))
        .collect();
    case.snapshot.rest = Some(rest);
    case.check(
        State::Live,
        &[&format!("delete OCIRepository {old}"), "status", "event ReleaseReady"],
        &["Ready=T/HelmReleaseReady"],
    );
    let busy = case.flux(&["Reconciling=T/Progressing", "Ready=U/Progressing"]);
    assert!(!told(&busy.plan()).iter().any(|effect| effect.starts_with("delete")));
}

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
fn a_paused_instance_writes_nothing_and_lets_go_of_its_children() {
    let owned = Case::new().deployed().then();
    let mut paused =
        owned.annotate(annotation::RECONCILE, "disabled").spec("/chart/version", json!("7.0.0")).generation(2);
    let source = paused.snapshot.source.found().unwrap().clone();
    let kind = flux::oci_repository(&super::fixtures::caps()).unwrap();
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
    assert_eq!(told(&plan), ["patch HelmRelease", "apply HelmRelease"]);
    let token = names::token("retry", &[UID, "2"]);
    let Effect::Patch { merge, .. } = &plan.effects[0] else { panic!("no patch first") };
    assert_eq!(merge["metadata"]["annotations"], json!({flux::REQUESTED_AT: token, flux::RESET_AT: token}));
    let handled = asked.then();
    assert!(!told(&handled.plan()).iter().any(|effect| effect.starts_with("patch")), "once");
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
    assert_eq!(told(&rotated.plan())[..2], ["patch OCIRepository".to_string(), "apply OCIRepository".to_string()]);
    assert!(rotated.then().plan().effects.is_empty(), "once");
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

#[test]
fn deletion_goes_in_order() {
    let kind = flux::oci_repository(&super::fixtures::caps()).unwrap();
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
    gone.snapshot.rest = Some(vec![(
        Key::namespaced(&flux::helm_release(&super::fixtures::caps()).unwrap(), "org-a", "files"),
        release,
    )]);
    assert_eq!(told(&gone.plan()), ["patch HelmRelease"]);
}

#[test]
fn a_release_of_the_existing_agent_is_adopted() {
    let case = Case::new().deployed().release(|release| {
        release["metadata"]["labels"] = json!({});
        release["metadata"]["annotations"] = json!({});
        release["spec"]["values"] = json!({"copied": "secret"});
        release["metadata"]["managedFields"] = json!([{"manager": "manager", "operation": "Update", "apiVersion": "helm.toolkit.fluxcd.io/v2", "fieldsV1": {"f:spec": {"f:values": {"f:copied": {}}}}}]);
    });
    let plan = case.plan();
    assert_eq!(told(&plan)[..2], ["patch HelmRelease".to_string(), "apply HelmRelease".to_string()]);
    let Effect::Patch { merge, .. } = &plan.effects[0] else { panic!("no patch") };
    assert_eq!(merge["metadata"]["managedFields"][0]["manager"], "vworkspace-operator");
    assert_eq!(merge["metadata"]["managedFields"][0]["operation"], "Apply");
}

#[test]
fn an_apply_of_a_known_child_carries_its_uid() {
    let case = Case::new().deployed().spec("/values/inline", json!({"replicas": 3})).generation(2);
    let plan = case.plan();
    let Effect::Apply { object, .. } = &plan.effects[0] else { panic!("no apply") };
    assert_eq!((object.kind(), &object.0["metadata"]["uid"]), ("HelmRelease", &json!("uid-Release")));
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
