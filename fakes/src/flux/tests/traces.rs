//! The ordinary traces of downstream §2.4 and §3.2, line by line.

use super::*;
use crate::script::{Order, Switch};

#[tokio::test(start_paused = true)]
async fn a_source_is_written_line_by_line() {
    play(Settings::default(), async |stage| {
        stage.install(json!({}), 1).await;
        assert_eq!(
            stage.writes_of("ocirepositories.source.toolkit.fluxcd.io", "shop-1-4-2"),
            [
                "user created",
                "finalizers 1",
                RUNNING,
                RUNNING,
                "Ready=T/Succeeded ArtifactInStorage=T/Succeeded -Reconciling",
                "artifact og=1 observedLayerSelector url",
            ]
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_install_is_written_line_by_line() {
    play(Settings::default(), async |stage| {
        stage.install(json!({}), 60).await;
        assert_eq!(
            stage.release_writes(),
            [
                "user created",
                "finalizers 1",
                PROGRESSING,
                RUNNING,
                "lastAttemptedConfigDigest lastAttemptedGeneration lastAttemptedRevision lastAttemptedRevisionDigest \
                 storageNamespace",
                "Ready=T/InstallSucceeded Released=T/InstallSucceeded",
                "history[v1 deployed] inventory lastAttemptedReleaseAction lastAttemptedReleaseActionDuration",
                "-Reconciling",
                "og=1",
            ]
        );
        let release = stage.release().await;
        let version = release["status"]["history"][0]["chartVersion"].as_str().unwrap_or_default().to_owned();
        assert!(version.starts_with("1.4.2+") && version.len() == 18, "{version}");
        assert_eq!(
            stage.message("Ready").await,
            format!("Helm install succeeded for release team/shop.v1 with chart shop@{version}")
        );
        assert_eq!(stage.world.deployed("team", "shop").map(|revision| revision.version), Some(1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_shows_the_old_ready_until_the_action_starts() {
    play(Settings::default(), async |stage| {
        stage.installed(json!({})).await;
        stage.upgrade().await;
        stage.wait(60).await;
        assert_eq!(
            stage.release_writes(),
            [
                "spec",
                PROGRESSING,
                "Reconciling=T/Progressing Ready=U/Progressing",
                "lastAttemptedGeneration lastAttemptedRevision lastAttemptedRevisionDigest",
                "Ready=T/UpgradeSucceeded Released=T/UpgradeSucceeded",
                "history[v2 deployed, v1 superseded] lastAttemptedReleaseAction",
                "-Reconciling",
                "og=2",
            ]
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn deletion_uninstalls_and_takes_the_finalizer_last() {
    play(Settings::default(), async |stage| {
        stage.installed(json!({})).await;
        let (code, _) = stage.user.delete(RELEASE, None).await;
        assert_eq!(code, 200);
        stage.wait(60).await;
        assert_eq!(
            stage.release_writes(),
            ["deletion", "Ready=F/UninstallSucceeded Released=F/UninstallSucceeded", "helm-controller deleted"]
        );
        assert_eq!(stage.user.get(RELEASE).await.0, 404);
        assert!(stage.world.deployed("team", "shop").is_none());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_install_with_a_stored_release_is_stalled() {
    play(Settings::default(), async |stage| {
        stage.world.arm(Order::new(Switch::H4).on(release()).times(1).text("boom"));
        stage.install(json!({}), 7200).await;
        let writes = stage.release_writes();
        assert_eq!(
            writes[writes.len() - 4..],
            [
                "Ready=F/InstallFailed Released=F/InstallFailed",
                "failures=1 history[v1 failed] installFailures=1 lastAttemptedReleaseAction \
                 lastAttemptedReleaseActionDuration",
                "Stalled=T/RetriesExceeded -Reconciling",
                "og=1",
            ],
            "{writes:#?}"
        );
        assert_eq!(stage.message("Stalled").await, "Failed to install after 1 attempt(s)");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_upgrade_is_rolled_back_once_and_stalled_without_retries() {
    play(Settings::default(), async |stage| {
        let upgrade = json!({"upgrade": {"remediation": {"retries": 0, "remediateLastFailure": true}}});
        stage.installed(upgrade).await;
        stage.world.arm(Order::new(Switch::H5).on(release()).text("boom"));
        stage.upgrade().await;
        stage.wait(3 * 3600).await;
        assert_eq!(
            stage.release_writes(),
            [
                "spec",
                PROGRESSING,
                RUNNING,
                "lastAttemptedGeneration lastAttemptedRevision lastAttemptedRevisionDigest",
                "Ready=F/UpgradeFailed Released=F/UpgradeFailed",
                "failures=1 history[v2 failed, v1 deployed] lastAttemptedReleaseAction upgradeFailures=1",
                PROGRESSING,
                "Stalled=T/RetriesExceeded Ready=F/RollbackSucceeded Remediated=T/RollbackSucceeded -Reconciling",
                "history[v3 deployed, v2 failed, v1 superseded] og=2",
            ]
        );
        assert_eq!(stage.message("Stalled").await, "Failed to upgrade after 1 attempt(s)");
        let running = stage.world.deployed("team", "shop").expect("the rollback runs");
        assert!(running.content.starts_with("shop 1.4.2"), "{}", running.content);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn with_a_retry_the_second_failure_is_the_last() {
    play(Settings::default(), async |stage| {
        stage.installed(json!({"upgrade": {"remediation": {"retries": 1}}})).await;
        stage.world.arm(Order::new(Switch::H5).on(release()));
        stage.upgrade().await;
        stage.wait(3600).await;
        let writes = stage.release_writes();
        let first = "Reconciling=T/ProgressingWithRetry Ready=F/RollbackSucceeded Remediated=T/RollbackSucceeded";
        let index = writes.iter().position(|write| write == first).unwrap_or_else(|| panic!("{writes:#?}"));
        assert_eq!(writes[index + 1], "history[v3 deployed, v2 failed, v1 superseded]", "og does not advance");
        assert_eq!(stage.message("Stalled").await, "Failed to upgrade after 2 attempt(s)");
        assert_eq!(writes.last().map(String::as_str), Some("history[v5 deployed, v4 failed, v3 superseded] og=2"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn going_back_to_what_a_rollback_restored_needs_no_action() {
    play(Settings::default(), async |stage| {
        stage.installed(json!({"upgrade": {"remediation": {"remediateLastFailure": true}}})).await;
        stage.world.arm(Order::new(Switch::H5).on(release()).times(1));
        stage.upgrade().await;
        stage.wait(600).await;
        assert_eq!(stage.ready().await, "False/RollbackSucceeded");
        let deeds = stage.world.with(|state| state.deeds.len());
        stage.forget();
        stage.patch_release(json!({"spec": {"chartRef": {"name": source_name("1.4.2")}}})).await;
        stage.wait(60).await;
        assert_eq!(stage.ready().await, "True/UpgradeSucceeded");
        assert_eq!(stage.world.with(|state| state.deeds.len()), deeds, "no Helm action");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_interval_blip_touches_reconciling_only() {
    play(Settings::default(), async |stage| {
        stage.installed(json!({})).await;
        stage.wait(310).await;
        assert_eq!(stage.release_writes(), [PROGRESSING, "-Reconciling"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_is_handled_and_noted() {
    play(Settings::default(), async |stage| {
        stage.installed(json!({})).await;
        stage.patch_release(json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": "now"}}})).await;
        stage.wait(20).await;
        assert_eq!(stage.release_writes(), ["annotations", PROGRESSING, "-Reconciling", "lastHandledReconcileAt"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_forced_request_upgrades_what_is_in_sync() {
    play(Settings::default(), async |stage| {
        stage.installed(json!({})).await;
        let annotations = json!({"reconcile.fluxcd.io/requestedAt": "t", "reconcile.fluxcd.io/forceAt": "t"});
        stage.patch_release(json!({"metadata": {"annotations": annotations}})).await;
        stage.wait(60).await;
        assert_eq!(stage.world.deployed("team", "shop").map(|revision| revision.version), Some(2));
        assert_eq!(stage.release().await["status"]["lastHandledForceAt"], "t");
        stage.wait(1200).await;
        assert_eq!(stage.world.deployed("team", "shop").map(|revision| revision.version), Some(2), "only once");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_reset_gives_a_stalled_release_another_attempt() {
    play(Settings::default(), async |stage| {
        stage.world.arm(Order::new(Switch::H4).on(release()).times(1));
        stage.install(json!({}), 120).await;
        assert_eq!(stage.ready().await, "False/InstallFailed");
        let annotations = json!({"reconcile.fluxcd.io/requestedAt": "t", "reconcile.fluxcd.io/resetAt": "t"});
        stage.patch_release(json!({"metadata": {"annotations": annotations}})).await;
        stage.wait(60).await;
        assert_eq!(stage.ready().await, "True/UpgradeSucceeded");
        assert_eq!(stage.release().await["status"]["lastHandledResetAt"], "t");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_without_reset_leaves_a_stalled_release_alone() {
    play(Settings::default(), async |stage| {
        stage.world.arm(Order::new(Switch::H4).on(release()).times(1));
        stage.install(json!({}), 120).await;
        let deeds = stage.world.with(|state| state.deeds.len());
        stage.patch_release(json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": "t"}}})).await;
        stage.wait(600).await;
        assert_eq!(stage.ready().await, "False/InstallFailed");
        assert_eq!(stage.world.with(|state| state.deeds.len()), deeds);
        assert_eq!(stage.message("Stalled").await, "Failed to install after 1 attempt(s)");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn retry_on_failure_advances_the_generation_and_never_stalls() {
    play(Settings::default(), async |stage| {
        let strategy = json!({"name": "RetryOnFailure"});
        stage.installed(json!({"install": {"strategy": strategy}, "upgrade": {"strategy": strategy}})).await;
        stage.world.arm(Order::new(Switch::H4).on(release()).times(3));
        stage.upgrade().await;
        stage.wait(60).await;
        let writes = stage.release_writes();
        assert_eq!(writes[writes.len() - 2..], ["Reconciling=T/ProgressingWithRetry", "og=2"], "{writes:#?}");
        assert_eq!(stage.message("Reconciling").await, "retrying after 5m0s");
        assert_eq!(stage.ready().await, "False/UpgradeFailed");
        stage.wait(3 * 340).await;
        assert_eq!(stage.ready().await, "True/UpgradeSucceeded");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_missing_source_is_an_error_and_an_unready_one_a_wait() {
    play(Settings::default(), async |stage| {
        stage.create("helmreleases", helm_release(json!({}))).await;
        stage.wait(5).await;
        assert_eq!(stage.ready().await, "False/ArtifactFailed");
        assert_eq!(
            stage.message("Ready").await,
            "could not get Source object: OCIRepository.source.toolkit.fluxcd.io \"shop-1-4-2\" not found"
        );
        stage.world.with(|state| state.catalogue.take_down("oci://registry.example", "dial tcp: connection refused"));
        stage.create("ocirepositories", oci_repository("1.4.2")).await;
        stage.wait(60).await;
        assert_eq!(stage.ready().await, "False/SourceNotReady");
        assert_eq!(stage.release().await["status"]["observedGeneration"], -1);
        stage.world.with(|state| state.catalogue.bring_all_up());
        stage.wait(200).await;
        assert_eq!(stage.ready().await, "True/InstallSucceeded");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_missing_values_reference_is_retried_and_its_content_is_merged() {
    play(Settings::default(), async |stage| {
        let reference = json!([{"kind": "Secret", "name": "shop-values"}]);
        stage.install(json!({"valuesFrom": reference, "values": {"b": 3}}), 30).await;
        assert_eq!(stage.ready().await, "False/ValuesError");
        assert_eq!(stage.release().await["status"]["observedGeneration"], -1);
        let secret = json!({"metadata": {"name": "shop-values"}, "stringData": {"values.yaml": "a: 1\nb: 2\n"}});
        assert_eq!(stage.user.post("/api/v1/namespaces/team/secrets", &secret).await.0, 201);
        stage.wait(120).await;
        assert_eq!(stage.ready().await, "True/InstallSucceeded");
        let digest = stage.release().await["status"]["history"][0]["configDigest"].clone();
        assert_eq!(digest, super::super::catalogue::digest(&["{\"a\":1,\"b\":3}"]).as_str());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_dependency_is_awaited_by_polling() {
    play(Settings::default(), async |stage| {
        stage.install(json!({"dependsOn": [{"name": "database"}]}), 30).await;
        assert_eq!(stage.ready().await, "False/DependencyNotReady");
        let mut database = helm_release(json!({"releaseName": "database"}));
        database["metadata"]["name"] = json!("database");
        stage.create("helmreleases", database).await;
        stage.wait(120).await;
        assert_eq!(stage.ready().await, "True/InstallSucceeded");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_chart_template_makes_a_helm_chart_and_takes_it_back() {
    play(Settings::default(), async |stage| {
        let repository = json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "HelmRepository",
            "metadata": {"name": "shop", "namespace": "team"},
            "spec": {"interval": "10m", "url": REPOSITORY},
        });
        stage.create("helmrepositories", repository).await;
        let mut release = helm_release(json!({}));
        release["spec"]["chartRef"] = Value::Null;
        release["spec"]["chart"] =
            json!({"spec": {"chart": "shop", "version": "1.4.2", "sourceRef": {"kind": "HelmRepository", "name": "shop"}}});
        stage.create("helmreleases", release).await;
        stage.wait(90).await;
        assert_eq!(stage.ready().await, "True/InstallSucceeded");
        let chart = "/apis/source.toolkit.fluxcd.io/v1/namespaces/team/helmcharts/team-shop";
        let (code, generated) = stage.user.get(chart).await;
        assert_eq!(code, 200);
        assert_eq!(generated["metadata"]["labels"]["helm.toolkit.fluxcd.io/name"], "shop");
        assert_eq!(generated["status"]["artifact"]["revision"], "1.4.2");
        let release = stage.release().await;
        assert_eq!(release["status"]["helmChart"], "team/team-shop");
        assert_eq!(release["status"]["history"][0]["chartVersion"], "1.4.2", "no digest without a registry");
        assert_eq!(stage.user.delete(RELEASE, None).await.0, 200);
        stage.wait(60).await;
        assert_eq!(stage.user.get(chart).await.0, 404);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_chart_stalls_with_an_index_until_the_index_changes() {
    play(Settings::default(), async |stage| {
        let repository = json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "HelmRepository",
            "metadata": {"name": "shop", "namespace": "team"},
            "spec": {"interval": "10m", "url": REPOSITORY},
        });
        stage.create("helmrepositories", repository).await;
        let chart = json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "HelmChart",
            "metadata": {"name": "shop", "namespace": "team"},
            "spec": {"interval": "10m", "chart": "shop", "version": "9.9.9", "sourceRef": {"kind": "HelmRepository", "name": "shop"}},
        });
        stage.wait(10).await;
        stage.create("helmcharts", chart).await;
        stage.wait(60).await;
        let path = "/apis/source.toolkit.fluxcd.io/v1/namespaces/team/helmcharts/shop";
        let stalled = |chart: &Value| chart["status"]["conditions"][0]["type"] == "Stalled";
        let (_, chart) = stage.user.get(path).await;
        assert!(stalled(&chart), "{chart}");
        assert_eq!(chart["status"]["observedGeneration"], 1);
        stage.world.publish(REPOSITORY, "shop", "9.9.9");
        stage.wait(620).await;
        let (_, chart) = stage.user.get(path).await;
        assert_eq!(chart["status"]["artifact"]["revision"], "9.9.9");
        assert!(!stalled(&chart));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_default_account_without_rights_is_quoted() {
    let settings = Settings { default_service_account: Some("default".into()), ..Settings::default() };
    play(settings, async |stage| {
        stage.world.with(|state| state.powerless.insert("team/default".into()));
        stage.install(json!({}), 60).await;
        assert_eq!(stage.ready().await, "False/StateError");
        assert!(stage.message("Ready").await.contains("User \"system:serviceaccount:team:default\" cannot list"));
        assert_eq!(stage.release().await["status"]["observedGeneration"], -1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_blocked_reference_across_namespaces_is_terminal() {
    let settings = Settings { no_cross_namespace: true, ..Settings::default() };
    play(settings, async |stage| {
        stage.install(json!({"chartRef": {"kind": "OCIRepository", "name": "x", "namespace": "other"}}), 60).await;
        assert_eq!(stage.ready().await, "False/AccessDenied");
        assert_eq!(stage.release().await["status"]["observedGeneration"], 1);
        assert!(stage.message("Stalled").await.contains("cross-namespace references have been blocked"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_storage_goes_with_its_namespace() {
    play(Settings::default(), async |stage| {
        stage.installed(json!({})).await;
        assert_eq!(stage.user.delete("/api/v1/namespaces/team", None).await.0, 200);
        stage.wait(120).await;
        assert_eq!(stage.user.get("/api/v1/namespaces/team").await.0, 404);
        assert_eq!(stage.world.with(|state| state.storage.all().count()), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_never_ends_fails_at_the_timeout() {
    play(Settings::default(), async |stage| {
        stage.world.then(release(), "install", crate::script::Then::Hang);
        stage.install(json!({"timeout": "2m"}), 100).await;
        assert_eq!(stage.ready().await, "Unknown/Progressing");
        stage.wait(60).await;
        assert_eq!(stage.ready().await, "False/InstallFailed");
        assert!(stage.message("Ready").await.ends_with("context deadline exceeded"));
    })
    .await;
}
