//! Modes beside pull: intent from Git, and what Git is told.

use fakes::flux::Settings;
use serde_json::{Value, json};

use crate::stage::{INSTANCES, Stage, files};

const CLUSTER: &str = "/apis/ops.vworkspace.io/v1alpha1/clusters/cluster";
const KUSTOMIZATIONS: &str = "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations";

async fn mode(stage: &Stage, mode: &str) {
    let (code, answer) = stage.admin.merge_patch(CLUSTER, &json!({"spec": {"connectivityMode": mode}})).await;
    assert_eq!(code, 200, "{answer}");
}

/// kustomize-controller has applied this commit; whether the manifest in it changed is another question.
async fn commit(stage: &Stage, revision: &str, manifest: &Value) {
    let status = json!({"status": {"lastAppliedRevision": revision, "observedGeneration": 1}});
    let mut manifest = manifest.clone();
    manifest["metadata"]["labels"]["kustomize.toolkit.fluxcd.io/name"] = json!("apps");
    manifest["metadata"]["labels"]["kustomize.toolkit.fluxcd.io/namespace"] = json!("flux-system");
    let path = format!("{INSTANCES}/files?fieldManager=kustomize-controller&force=true");
    let (code, answer) = stage.admin.apply(&path, &manifest).await;
    assert!(code < 300, "{answer}");
    let (code, answer) = stage.admin.merge_patch(&format!("{KUSTOMIZATIONS}/apps/status"), &status).await;
    assert_eq!(code, 200, "{answer}");
}

fn revisions(stage: &Stage) -> Vec<String> {
    let revision = |event: &Value| event["metadata"]["apps.vworkspace.io/revision"].as_str().unwrap_or("?").to_string();
    stage.notifications.accepted().iter().map(revision).collect()
}

#[tokio::test(start_paused = true)]
async fn a_commit_is_recorded_and_annotated_once_across_restarts_and_outages() {
    let mut stage = Stage::without_operator(Settings::default()).await;
    mode(&stage, "gitops").await;
    stage.cluster.create("/api/v1/namespaces", &json!({"metadata": {"name": "flux-system"}})).await;
    let apps = json!({"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "metadata": {"name": "apps"},
        "spec": {"interval": "1m", "prune": true, "sourceRef": {"kind": "GitRepository", "name": "apps"}}});
    stage.cluster.create(KUSTOMIZATIONS, &apps).await;
    stage.notifications.set_down(true);
    commit(&stage, "main@sha1:1", &files("6.6.0")).await;
    stage.run();
    stage.says("files", &["Ready=T/HelmReleaseReady"], 120).await;
    stage.pass(90).await;
    let instance = stage.instance("files").await;
    let source =
        json!({"kind": "Kustomization", "namespace": "flux-system", "name": "apps", "revision": "main@sha1:1"});
    assert_eq!(instance["status"]["source"], source);
    assert_eq!(instance["metadata"]["annotations"]["app.vworkspace.io/applied-revision"], "main@sha1:1");
    assert_eq!(revisions(&stage), Vec::<String>::new());
    stage.notifications.set_down(false);
    stage.pass(70).await;
    assert_eq!(revisions(&stage), ["main@sha1:1"]);
    let event = stage.notifications.accepted().remove(0);
    assert_eq!((&event["severity"], &event["reason"]), (&json!("info"), &json!("HelmReleaseReady")));
    let seq = event["metadata"]["apps.vworkspace.io/token"]
        .as_str()
        .and_then(|token| token.rsplit_once(':'))
        .map(|(_, seq)| seq);
    assert!(seq.is_some_and(|seq| seq != "0"), "{event}");
    // A restart says nothing again: not to notification-controller, and not to the object.
    stage.crash().await;
    stage.run();
    stage.pass(30).await;
    stage.writes();
    stage.pass(600).await;
    assert_eq!((revisions(&stage).len(), stage.notifications.repeated()), (1, 0));
    assert_eq!(stage.writes(), Vec::<String>::new());
    // A commit that changes nothing here is a commit all the same.
    commit(&stage, "main@sha1:2", &files("6.6.0")).await;
    stage.pass(90).await;
    assert_eq!(revisions(&stage), ["main@sha1:1", "main@sha1:2"]);
    commit(&stage, "main@sha1:3", &files("7.0.0")).await;
    stage.says("files", &["Ready=T/HelmReleaseUpgraded"], 120).await;
    stage.pass(90).await;
    assert_eq!(revisions(&stage).last().map(String::as_str), Some("main@sha1:3"));
    // Switched at run time: Git is nobody's concern any more, and the application is not touched.
    let release = stage.release().await["metadata"]["generation"].clone();
    mode(&stage, "push").await;
    let told = revisions(&stage).len();
    commit(&stage, "main@sha1:4", &files("7.0.0")).await;
    stage.pass(200).await;
    assert_eq!(revisions(&stage).len(), told);
    assert_eq!(stage.release().await["metadata"]["generation"], release);
}
