//! Stories in which somebody else changes what the operator made: other instances, people with kubectl, other controllers.

use fakes::flux::Settings;
use operator::api::names;
use serde_json::{Value, json};

use crate::stage::{INSTANCES, RELEASES, SOURCES, Stage, files};

const CONFIG_MAPS: &str = "/api/v1/namespaces/org-a/configmaps";

/// An instance whose values are partly in a generated ConfigMap, installed. Path of the ConfigMap.
async fn with_generated_values(stage: &Stage) -> String {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "v", "namespace": "org-a"}, "stringData": {"k": "a: 1"}});
    stage.cluster.create("/api/v1/namespaces/org-a/secrets", &secret).await;
    let mut wish = files("6.6.0");
    wish["spec"]["values"] =
        json!({"source": "merge", "inline": {"replicas": 2}, "secretRef": {"name": "v", "key": "k"}});
    stage.apply(&wish).await;
    stage.says("files", &["Ready=T/HelmReleaseReady"], 60).await;
    let name =
        stage.release().await["spec"]["valuesFrom"][0]["name"].as_str().expect("a generated ConfigMap").to_string();
    format!("{CONFIG_MAPS}/{name}")
}

#[tokio::test(start_paused = true)]
async fn generated_values_that_somebody_deletes_come_back() {
    let stage = Stage::start(Settings::default()).await;
    let path = with_generated_values(&stage).await;
    stage.admin.delete(&path, None).await;
    stage.pass(900).await;
    assert_ne!(stage.get(&path).await, Value::Null);
    stage.says("files", &["Ready=T/HelmReleaseReady"], 900).await;
}

#[tokio::test(start_paused = true)]
async fn a_deletion_ends_although_nobody_watches_what_goes_last() {
    let stage = Stage::start(Settings::default()).await;
    let path = with_generated_values(&stage).await;
    stage.admin.merge_patch(&path, &json!({"metadata": {"finalizers": ["example.org/slow"]}})).await;
    stage.admin.delete(&format!("{INSTANCES}/files"), None).await;
    stage.pass(180).await;
    assert_eq!(stage.get(SOURCES).await["items"], json!([]), "everything else is gone");
    assert_ne!(stage.instance("files").await, Value::Null);
    stage.admin.merge_patch(&path, &json!({"metadata": {"finalizers": null}})).await;
    stage.pass(60).await;
    assert_eq!(stage.instance("files").await, Value::Null);
}

#[tokio::test(start_paused = true)]
async fn the_uncontrolled_release_of_one_instance_is_not_reported_by_another() {
    let stage = Stage::start(Settings::default()).await;
    stage.installed().await;
    stage.patch(json!({"metadata": {"annotations": {"apps.vworkspace.io/deletion-policy": "orphan"}}})).await;
    stage.pass(10).await;
    assert_eq!(stage.release().await["metadata"].get("ownerReferences"), None);
    let mut second = files("6.6.0");
    second["metadata"]["name"] = json!("second");
    second["metadata"]["annotations"] = json!({"apps.vworkspace.io/reconcile": "disabled"});
    stage.apply(&second).await;
    stage.says("second", &["Suspended=T/ReconcilePaused"], 10).await;
    stage.pass(60).await;
    let said = stage.conditions("second").await;
    assert!(said.contains(&"Ready=U/Reconciling".into()), "{said:?}");
    assert_eq!(stage.instance("second").await.pointer("/status/helmReleaseRef"), None);
}

#[tokio::test(start_paused = true)]
async fn a_restore_during_which_a_human_suspends_is_repaired_when_he_resumes() {
    let stage = Stage::start(Settings::default()).await;
    stage.installed().await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/org-a/leases";
    let holder =
        json!({"uid": "op-1", "name": "night", "type": "Restore", "exclusive": true, "since": "2026-01-01T00:00:00Z"});
    let lock = json!({"v": 1, "target": {"name": "files", "uid": "x"}, "holders": [holder]}).to_string();
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": names::target_lease("files"), "labels": {"app.vworkspace.io/application-instance": "files"},
            "annotations": {"ops.vworkspace.io/lock": lock}}, "spec": {}});
    stage.cluster.create(leases, &lease).await;
    stage.says("files", &["Suspended=T/RestoreInProgress"], 10).await;
    let release = format!("{RELEASES}/files?fieldManager=flux");
    // `flux suspend` sends the value that is there already; to hold it, it must have been another one first.
    stage
        .admin
        .apply(
            &format!("{RELEASES}/files?fieldManager=flux"),
            &json!({"apiVersion": "helm.toolkit.fluxcd.io/v2",
        "kind": "HelmRelease", "metadata": {"name": "files", "namespace": "org-a"}, "spec": {"suspend": true}}),
        )
        .await;
    let deeds = stage.world.with(|state| state.deeds.len());
    stage.admin.delete(&format!("{leases}/{}", names::target_lease("files")), None).await;
    stage.says("files", &["Suspended=T/ManuallySuspended", "Ready=U/Reconciling"], 20).await;
    stage.pass(600).await;
    assert_eq!(stage.release().await["spec"]["suspend"], true, "his suspension stays");
    let resume =
        json!({"spec": {"suspend": null}, "metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": "his"}}});
    stage.admin.merge_patch(&release, &resume).await;
    stage.says("files", &["Suspended=F/Active", "Ready=T/HelmReleaseUpgraded"], 60).await;
    assert!(stage.world.with(|state| state.deeds.len()) > deeds, "what the restore did not bring back is repaired");
    stage.pass(60).await;
    assert_eq!(stage.release().await.pointer("/metadata/annotations/vworkspace.io~1suspended-for"), None);
    stage.writes();
    stage.pass(1200).await;
    assert_eq!(stage.writes(), Vec::<String>::new());
}
