//! The ApplicationInstance loop in whole stories: suspension by a restore, deletion that leaves things, adoption, the gate.

use fakes::flux::Settings;
use operator::api::names;
use serde_json::{Value, json};

use crate::stage::{CHARTS, INSTANCES, RELEASES, SOURCES, Stage, files};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/org-a/leases";

fn lock(type_: &str) -> Value {
    let holder =
        json!({"uid": "op-1", "name": "night", "type": type_, "exclusive": true, "since": "2026-01-01T00:00:00Z"});
    let lock = json!({"v": 1, "target": {"name": "files", "uid": "x"}, "holders": [holder]}).to_string();
    json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": names::target_lease("files"), "labels": {"app.vworkspace.io/application-instance": "files"},
            "annotations": {"ops.vworkspace.io/lock": lock}},
        "spec": {"holderIdentity": "op-1"}})
}

#[tokio::test(start_paused = true)]
async fn a_restore_suspends_the_release_and_its_end_brings_it_back() {
    let stage = Stage::start(Settings::default()).await;
    stage.installed().await;
    stage.cluster.create(LEASES, &lock("Restore")).await;
    stage.says("files", &["Suspended=T/RestoreInProgress", "Ready=U/Reconciling"], 10).await;
    assert_eq!(stage.release().await["spec"]["suspend"], true);
    stage.pass(600).await;
    let deeds = stage.world.with(|state| state.deeds.len());
    stage.admin.delete(&format!("{LEASES}/{}", names::target_lease("files")), None).await;
    stage.says("files", &["Suspended=F/Active", "Ready=T/HelmReleaseUpgraded"], 60).await;
    let release = stage.release().await;
    assert_eq!(release["spec"].get("suspend"), None, "the field is let go, not set to false");
    assert_eq!(release["status"]["lastHandledForceAt"], names::token("resume", &["op-1"]));
    assert!(stage.world.with(|state| state.deeds.len()) > deeds, "what the restore did not bring back is repaired");
    stage.writes();
    stage.pass(1200).await;
    assert_eq!(stage.writes(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_human_who_suspends_is_left_alone_and_a_deletion_waits_for_him() {
    let stage = Stage::start(Settings::default()).await;
    stage.installed().await;
    let path = format!("{RELEASES}/files");
    stage.admin.merge_patch(&format!("{path}?fieldManager=flux"), &json!({"spec": {"suspend": true}})).await;
    stage.says("files", &["Suspended=T/ManuallySuspended", "Ready=T/HelmReleaseReady"], 10).await;
    stage.admin.delete(&format!("{INSTANCES}/files"), None).await;
    stage.says("files", &["Deleting=T/Uninstalling"], 10).await;
    stage.pass(600).await;
    assert!(stage.message("files", "Deleting").await.contains("resume it"));
    assert_eq!(stage.release().await["metadata"].get("deletionTimestamp"), None, "Flux would leave everything behind");
    stage.admin.merge_patch(&format!("{path}?fieldManager=flux"), &json!({"spec": {"suspend": null}})).await;
    stage.pass(90).await;
    assert_eq!(stage.instance("files").await, Value::Null);
    assert!(stage.world.deployed("org-a", "files").is_none(), "uninstalled, not orphaned");
}

#[tokio::test(start_paused = true)]
async fn a_deletion_with_orphan_leaves_the_application_running() {
    let stage = Stage::start(Settings::default()).await;
    stage.installed().await;
    stage.patch(json!({"metadata": {"annotations": {"apps.vworkspace.io/deletion-policy": "orphan"}}})).await;
    stage.pass(10).await;
    assert_eq!(stage.release().await["metadata"].get("ownerReferences"), None, "detached as soon as it is seen");
    // Foreground deletion would take owned children before any finalizer of ours.
    let foreground = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"});
    stage.admin.delete(&format!("{INSTANCES}/files"), Some(&foreground)).await;
    stage.pass(60).await;
    assert_eq!(stage.instance("files").await, Value::Null);
    assert_eq!(stage.release().await["spec"]["releaseName"], "files");
    assert!(stage.world.deployed("org-a", "files").is_some());
    // The next instance of that release name takes it over.
    stage.apply(&files("6.6.0")).await;
    stage.says("files", &["Ready=T/HelmReleaseReady"], 60).await;
    let release = stage.release().await;
    assert_eq!(release["metadata"]["ownerReferences"][0]["uid"], stage.instance("files").await["metadata"]["uid"]);
}

#[tokio::test(start_paused = true)]
async fn children_of_the_existing_agent_are_adopted_and_copied_values_go() {
    let mut stage = Stage::without_operator(Settings::default()).await;
    stage.apply(&files("6.6.0")).await;
    let uid = stage.instance("files").await["metadata"]["uid"].clone();
    let owner = json!([{"apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance", "name": "files", "uid": uid, "controller": true}]);
    let source = json!({"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "OCIRepository",
        "metadata": {"name": "files-source", "namespace": "org-a", "ownerReferences": owner},
        "spec": {"interval": "10m", "url": format!("{CHARTS}/nextcloud"), "ref": {"tag": "6.6.0"},
            "layerSelector": {"mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "operation": "copy"}}});
    stage.cluster.create(&format!("{SOURCES}?fieldManager=manager"), &source).await;
    let release = json!({"apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease",
        "metadata": {"name": "files", "namespace": "org-a", "ownerReferences": owner},
        "spec": {"interval": "10m", "releaseName": "files", "targetNamespace": "org-a", "storageNamespace": "org-a",
            "chartRef": {"kind": "OCIRepository", "name": "files-source"}, "values": {"replicas": 2, "copied": {"from": "a-secret"}}}});
    stage.cluster.create(&format!("{RELEASES}?fieldManager=manager"), &release).await;
    stage.pass(60).await;
    assert!(stage.world.deployed("org-a", "files").is_some(), "it ran before us");
    stage.run();
    stage.says("files", &["Ready=T/HelmReleaseUpgraded"], 120).await;
    let release = stage.release().await;
    assert_eq!(release["spec"]["values"], json!({"replicas": 2}), "what was copied is gone");
    assert_eq!(release["metadata"]["labels"]["apps.vworkspace.io/instance-uid"], uid);
    stage.pass(10).await;
    let sources = stage.get(SOURCES).await;
    let names: Vec<&str> = sources["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|item| item["metadata"]["name"].as_str())
        .collect();
    assert_eq!(
        names,
        [names::oci_repository("files", CHARTS, "nextcloud", "6.6.0")],
        "the unusable old source is deleted"
    );
}

#[tokio::test(start_paused = true)]
async fn without_the_gate_nothing_is_written_and_it_goes_on_from_there() {
    let stage = Stage::start(Settings::default()).await;
    stage.installed().await;
    let gate = |value: Value| json!({"metadata": {"labels": {"app.vworkspace.io/managed-by": value}}});
    stage.admin.merge_patch("/api/v1/namespaces/org-a", &gate(Value::Null)).await;
    stage.pass(10).await;
    stage.writes();
    stage.patch(json!({"spec": {"chart": {"version": "7.0.0"}}})).await;
    stage.pass(600).await;
    // The Cluster is not of this namespace: its list of gated ones loses it.
    let there: Vec<String> = stage.writes().into_iter().filter(|write| !write.contains("/clusters/")).collect();
    assert_eq!(there, Vec::<String>::new());
    stage.admin.merge_patch("/api/v1/namespaces/org-a", &gate(json!("vworkspace"))).await;
    stage.says("files", &["Ready=T/HelmReleaseUpgraded"], 120).await;
}

#[tokio::test(start_paused = true)]
async fn a_release_that_git_writes_is_only_observed() {
    let stage = Stage::start(Settings::default()).await;
    let mut wish = files("6.6.0");
    wish["metadata"]["annotations"] = json!({"apps.vworkspace.io/helmrelease-authority": "external"});
    stage.apply(&wish).await;
    stage.says("files", &["Ready=U/Reconciling"], 10).await;
    let source = json!({"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "OCIRepository", "metadata": {"name": "git", "namespace": "org-a"},
        "spec": {"interval": "10m", "url": format!("{CHARTS}/nextcloud"), "ref": {"tag": "6.6.0"},
            "layerSelector": {"mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "operation": "copy"}}});
    stage.cluster.create(SOURCES, &source).await;
    let release = json!({"apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease", "metadata": {"name": "files", "namespace": "org-a"},
        "spec": {"interval": "10m", "releaseName": "files", "chartRef": {"kind": "OCIRepository", "name": "git"}}});
    stage.cluster.create(RELEASES, &release).await;
    stage.says("files", &["Ready=T/HelmReleaseReady"], 120).await;
    assert_eq!(stage.release().await["metadata"].get("labels"), None);
    stage.admin.delete(&format!("{INSTANCES}/files"), None).await;
    stage.pass(10).await;
    assert_eq!(stage.instance("files").await, Value::Null);
    assert!(stage.release().await.is_object());
}
