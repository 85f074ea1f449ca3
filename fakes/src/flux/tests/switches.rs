//! One test per switch of the fault catalogue: what is written, in which order.

use super::super::world::Controller;
use super::*;
use crate::kinds::FluxRelease;
use crate::script::{Order, Switch, Then};

/// The words of all writes of helm-controller, joined: for "never" and "before".
fn position(writes: &[String], wanted: &str) -> usize {
    writes.iter().position(|write| write == wanted).unwrap_or_else(|| panic!("no {wanted:?} in {writes:#?}"))
}

#[tokio::test(start_paused = true)]
async fn h1_a_crash_between_conditions_and_history_ends_in_an_upgrade() {
    play(Settings::default(), async |stage| {
        stage.world.arm(Order::new(Switch::H1).on(release()).times(1));
        stage.install(json!({}), 35).await;
        let writes = stage.release_writes();
        assert_eq!(writes.last().map(String::as_str), Some("Ready=T/InstallSucceeded Released=T/InstallSucceeded"));
        assert_eq!(stage.release().await["status"]["history"], Value::Null);
        stage.wait(90).await;
        assert_eq!(stage.ready().await, "True/UpgradeSucceeded");
        assert_eq!(stage.world.deployed("team", "shop").map(|revision| revision.version), Some(2));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn h2_a_crash_in_the_middle_of_helm_is_unlocked_and_upgraded() {
    play(Settings::default(), async |stage| {
        stage.world.arm(Order::new(Switch::H2).on(release()).times(1));
        stage.install(json!({}), 120).await;
        let writes = stage.release_writes();
        let unlocked = position(&writes, "Ready=F/PendingRelease Released=F/PendingRelease");
        let upgraded = position(&writes, "Ready=T/UpgradeSucceeded Released=T/UpgradeSucceeded");
        assert!(unlocked < upgraded);
        assert_eq!(stage.world.deployed("team", "shop").map(|revision| revision.version), Some(2));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn h3_a_failure_before_storage_backs_off_and_never_stalls() {
    play(Settings::default(), async |stage| {
        stage.world.arm(Order::new(Switch::H3).on(release()).text("template: boom"));
        stage.install(json!({}), 2 * 3600).await;
        assert_eq!(stage.ready().await, "False/InstallFailed");
        let status = stage.release().await["status"].clone();
        assert_eq!(status["observedGeneration"], -1);
        assert_eq!((&status["history"], &status["installFailures"]), (&Value::Null, &Value::Null));
        assert!(!stage.release_writes().iter().any(|write| write.contains("Stalled")));
        let attempts = stage.release_writes().iter().filter(|write| write.contains("Ready=F/InstallFailed")).count();
        assert!((10..30).contains(&attempts), "{attempts} attempts in two hours of backoff");
        stage.world.with(|state| state.script.clear());
        stage.wait(16 * 60).await;
        assert_eq!(stage.ready().await, "True/InstallSucceeded");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn h4_a_failure_in_storage_stalls_an_upgrade() {
    play(Settings::default(), async |stage| {
        stage.installed(json!({})).await;
        stage.world.arm(Order::new(Switch::H4).on(release()).times(1));
        stage.upgrade().await;
        stage.wait(3600).await;
        let writes = stage.release_writes();
        assert_eq!(
            writes[writes.len() - 4..],
            [
                "Ready=F/UpgradeFailed Released=F/UpgradeFailed",
                "failures=1 history[v2 failed, v1 deployed] lastAttemptedReleaseAction upgradeFailures=1",
                "Stalled=T/RetriesExceeded -Reconciling",
                "og=2",
            ]
        );
        let running = stage.world.deployed("team", "shop").map(|revision| revision.version);
        assert_eq!(running, Some(1), "Helm calls the old one deployed");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn h5_every_retry_is_rolled_back_before_it_stalls() {
    play(Settings::default(), async |stage| {
        stage.installed(json!({"upgrade": {"remediation": {"retries": 2}}})).await;
        stage.world.arm(Order::new(Switch::H5).on(release()));
        stage.upgrade().await;
        stage.wait(24 * 3600).await;
        let rollbacks = stage.world.with(|state| {
            let done = |deed: &&super::super::helm::Deed| {
                deed.action == super::super::helm::Action::Rollback && deed.succeeded == Some(true)
            };
            state.deeds.iter().filter(done).count()
        });
        assert_eq!(rollbacks, 3);
        assert_eq!(stage.message("Stalled").await, "Failed to upgrade after 3 attempt(s)");
        assert_eq!(stage.ready().await, "False/RollbackSucceeded");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn h6_without_a_target_there_is_no_rollback() {
    play(Settings::default(), async |stage| {
        stage.installed(json!({"upgrade": {"remediation": {"remediateLastFailure": true}}})).await;
        stage.world.arm(Order::new(Switch::H6).on(release()).times(1));
        stage.upgrade().await;
        stage.wait(3600).await;
        let writes = stage.release_writes();
        assert_eq!(writes[writes.len() - 2..], ["Stalled=T/MissingRollbackTarget -Reconciling", "og=2"]);
        assert_eq!(stage.ready().await, "False/UpgradeFailed");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn h7_an_upgrade_by_hand_clears_the_history_and_is_upgraded_over() {
    play(Settings::default(), async |stage| {
        stage.installed(json!({})).await;
        stage.world.arm(Order::new(Switch::H7).on(release()).times(1));
        stage.wait(400).await;
        let writes = stage.release_writes();
        assert_eq!(
            writes,
            [
                PROGRESSING,
                RUNNING,
                "-history",
                "Ready=T/UpgradeSucceeded Released=T/UpgradeSucceeded",
                "history[v3 deployed] lastAttemptedReleaseAction",
                "-Reconciling",
            ]
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn h8_ready_stays_unknown_until_somebody_asks() {
    play(Settings::default(), async |stage| {
        stage.world.arm(Order::new(Switch::H8).on(release()).times(1));
        stage.install(json!({}), 2 * 3600).await;
        assert_eq!(stage.ready().await, "Unknown/Progressing");
        let status = stage.release().await["status"].clone();
        assert_eq!(status["history"][0]["status"], "deployed");
        assert_eq!((&status["observedGeneration"], &status["lastAttemptedGeneration"]), (&json!(-1), &json!(1)));
        stage.patch_release(json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": "nudge"}}})).await;
        stage.wait(30).await;
        assert_eq!(stage.ready().await, "True/InstallSucceeded");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn h9_ready_names_a_generation_that_was_not_acted_on() {
    play(Settings::default(), async |stage| {
        stage.installed(json!({})).await;
        stage.world.arm(Order::new(Switch::H9).on(release()).times(1));
        stage.upgrade().await;
        stage.wait(60).await;
        stage.world.then(release(), "upgrade", Then::Succeed { after: 600_000 });
        stage.patch_release(json!({"spec": {"values": {"a": 1}}})).await;
        stage.wait(2).await;
        let writes = stage.release_writes();
        let inflated = position(&writes, "-Reconciling");
        assert_eq!(writes[inflated + 1], "og=2", "{writes:#?}");
        let generation = stage.release().await["metadata"]["generation"].clone();
        assert_eq!(generation, 3);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn h10_a_suspended_release_advances_the_generation_and_does_nothing() {
    play(Settings::default(), async |stage| {
        stage.installed(json!({})).await;
        stage.world.arm(Order::new(Switch::H10).on(release()));
        stage.wait(5).await;
        stage.upgrade().await;
        stage.wait(600).await;
        assert_eq!(stage.release_writes(), ["spec", "og=2", "spec", "og=3"]);
        assert_eq!(stage.ready().await, "True/InstallSucceeded");
        assert_eq!(stage.world.deployed("team", "shop").map(|revision| revision.version), Some(1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn h11_a_skipped_uninstall_leaves_the_release_behind() {
    play(Settings::default(), async |stage| {
        stage.installed(json!({})).await;
        stage.world.arm(Order::new(Switch::H11).on(release()).times(1));
        assert_eq!(stage.user.delete(RELEASE, None).await.0, 200);
        stage.wait(30).await;
        assert_eq!(stage.release_writes(), ["deletion", "helm-controller deleted"]);
        assert!(stage.world.deployed("team", "shop").is_some());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn h12_a_failing_uninstall_keeps_the_finalizer_and_is_retried() {
    play(Settings::default(), async |stage| {
        stage.installed(json!({})).await;
        stage.world.arm(Order::new(Switch::H12).on(release()).times(2).text("hook failed"));
        assert_eq!(stage.user.delete(RELEASE, None).await.0, 200);
        stage.wait(120).await;
        assert_eq!(
            stage.release_writes(),
            [
                "deletion",
                "Ready=F/UninstallFailed Released=F/UninstallFailed",
                "failures=1",
                "failures=2",
                "Ready=F/UninstallSucceeded Released=F/UninstallSucceeded",
                "helm-controller deleted",
            ]
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn h13_another_name_is_an_uninstall_and_an_install() {
    play(Settings::default(), async |stage| {
        stage.installed(json!({})).await;
        stage.world.arm(Order::new(Switch::H13).on(release()).text("store"));
        stage.wait(90).await;
        let writes = stage.release_writes();
        let gone = position(&writes, "Ready=F/UninstallSucceeded Released=F/UninstallSucceeded");
        let there = position(&writes, "Ready=T/InstallSucceeded Released=T/InstallSucceeded");
        assert!(gone < there);
        assert!(stage.world.deployed("team", "shop").is_none());
        assert!(stage.world.deployed("team", "store").is_some());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn h14_a_pass_out_of_turn_blips() {
    play(Settings::default(), async |stage| {
        stage.installed(json!({})).await;
        stage.world.arm(Order::new(Switch::H14).on(release()));
        stage.wait(5).await;
        assert_eq!(stage.release_writes(), [PROGRESSING, "-Reconciling"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn h15_the_gate_retries_what_pins_no_strategy() {
    play(Settings::default(), async |stage| {
        stage.installed(json!({})).await;
        stage.world.arm(Order::new(Switch::H15).on(release()));
        stage.world.arm(Order::new(Switch::H4).on(release()).times(1));
        stage.upgrade().await;
        stage.wait(60).await;
        assert_eq!(stage.message("Reconciling").await, "retrying after 5m0s");
        stage.wait(340).await;
        assert_eq!(stage.ready().await, "True/UpgradeSucceeded");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn h15_a_pinned_strategy_is_not_moved_by_the_gate() {
    play(Settings::default(), async |stage| {
        let strategy = json!({"name": "RemediateOnFailure"});
        stage.installed(json!({"install": {"strategy": strategy}, "upgrade": {"strategy": strategy}})).await;
        stage.world.arm(Order::new(Switch::H15).on(release()));
        stage.world.arm(Order::new(Switch::H4).on(release()).times(1));
        stage.upgrade().await;
        stage.wait(400).await;
        assert_eq!(stage.message("Stalled").await, "Failed to upgrade after 1 attempt(s)");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn h16_drift_is_reported_and_corrected_where_asked() {
    play(Settings::default(), async |stage| {
        stage.installed(json!({"driftDetection": {"mode": "enabled"}})).await;
        stage.world.arm(Order::new(Switch::H16).on(release()));
        stage.wait(10).await;
        assert_eq!(
            stage.release_writes(),
            [
                PROGRESSING,
                "Reconciling=T/Progressing Drifted=T/DriftDetected",
                "Drifted=F/NoDriftDetected -Reconciling"
            ]
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn h16_a_warning_stays_and_an_older_release_has_no_condition() {
    play(Settings::default(), async |stage| {
        stage.installed(json!({"driftDetection": {"mode": "warn"}})).await;
        stage.world.arm(Order::new(Switch::H16).on(release()));
        stage.wait(700).await;
        assert_eq!(stage.ready().await, "True/InstallSucceeded");
        assert!(stage.message("Drifted").await.contains("has drifted"));
    })
    .await;
    let settings = Settings { release: FluxRelease::V2_8, ..Settings::default() };
    play(settings, async |stage| {
        stage.installed(json!({"driftDetection": {"mode": "warn"}})).await;
        stage.world.arm(Order::new(Switch::H16).on(release()));
        stage.wait(700).await;
        assert_eq!(stage.message("Drifted").await, "");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn h17_an_absent_controller_writes_nothing() {
    play(Settings::default(), async |stage| {
        stage.world.arm(Order::new(Switch::H17).on(release()));
        stage.install(json!({}), 3600).await;
        assert_eq!(stage.release_writes(), ["user created"]);
        stage.world.with(|state| state.script.clear());
        stage.wait(60).await;
        assert_eq!(stage.ready().await, "True/InstallSucceeded");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn h17_a_process_that_is_away_writes_nothing_until_it_is_back() {
    play(Settings::default(), async |stage| {
        stage.world.take_away(Controller::Helm);
        stage.install(json!({}), 3600).await;
        assert_eq!(stage.release_writes(), ["user created"]);
        stage.world.bring_back(Controller::Helm);
        stage.wait(90).await;
        assert_eq!(stage.ready().await, "True/InstallSucceeded");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn h18_foreign_owners_are_refused_below_2_5_and_adopted_later() {
    let settings = Settings { release: FluxRelease::V2_3, ..Settings::default() };
    play(settings, async |stage| {
        stage.world.arm(Order::new(Switch::H18).on(release()));
        stage.install_at("v1beta2", json!({}), 120).await;
        assert_eq!(stage.ready().await, "False/InstallFailed");
        assert!(stage.message("Ready").await.contains("invalid ownership metadata"));
        assert_eq!(stage.release().await["status"]["history"], Value::Null);
    })
    .await;
    play(Settings::default(), async |stage| {
        stage.world.arm(Order::new(Switch::H18).on(release()));
        stage.install(json!({}), 120).await;
        assert_eq!(stage.ready().await, "True/InstallSucceeded");
    })
    .await;
}

fn source() -> Target {
    Target::new("OCIRepository", "team", "shop-1-4-2")
}

const SOURCE: &str = "/apis/source.toolkit.fluxcd.io/v1/namespaces/team/ocirepositories/shop-1-4-2";

impl Stage {
    fn source_writes(&self) -> Vec<String> {
        self.writes_of("ocirepositories.source.toolkit.fluxcd.io", "shop-1-4-2")
    }
}

#[tokio::test(start_paused = true)]
async fn s1_a_lost_artifact_is_dropped_and_fetched_again() {
    play(Settings::default(), async |stage| {
        stage.installed(json!({})).await;
        stage.world.arm(Order::new(Switch::S1).on(source()));
        stage.wait(60).await;
        assert_eq!(
            stage.source_writes(),
            [
                "Reconciling=T/Progressing Ready=U/Progressing -ArtifactInStorage",
                "-artifact -url",
                RUNNING,
                "Ready=T/Succeeded ArtifactInStorage=T/Succeeded -Reconciling",
                "artifact url",
            ]
        );
        assert_eq!(stage.ready().await, "True/InstallSucceeded", "the release does not notice");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn s1_with_the_registry_down_a_release_meets_a_source_without_artifact() {
    play(Settings::default(), async |stage| {
        stage.installed(json!({})).await;
        stage.world.with(|state| state.catalogue.take_down("oci://registry.example", "connection refused"));
        stage.world.arm(Order::new(Switch::S1).on(source()));
        stage.wait(600).await;
        assert_eq!(stage.ready().await, "False/SourceNotReady");
        assert!(stage.message("Ready").await.ends_with("does not have an artifact"));
        assert!(stage.world.deployed("team", "shop").is_some());
        stage.world.heal();
        stage.wait(960).await;
        assert_eq!(stage.ready().await, "True/InstallSucceeded");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn s2_a_moved_tag_upgrades_under_the_same_generation() {
    play(Settings::default(), async |stage| {
        stage.installed(json!({})).await;
        stage.world.arm(Order::new(Switch::S2).on(source()));
        stage.wait(700).await;
        let writes = stage.source_writes();
        assert_eq!(writes[0], "Reconciling=T/Progressing Ready=U/Progressing ArtifactOutdated=T/NewRevision");
        assert_eq!(stage.ready().await, "True/UpgradeSucceeded");
        assert_eq!(stage.release().await["metadata"]["generation"], 1);
        let running = stage.world.deployed("team", "shop").expect("it runs");
        assert!(running.content.contains("pushed again"), "{}", running.content);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn s3_a_failed_fetch_keeps_the_artifact_and_the_release_stays_green() {
    play(Settings::default(), async |stage| {
        stage.installed(json!({})).await;
        stage.world.arm(Order::new(Switch::S3).on(source()).reason("AuthenticationFailed").text("401"));
        stage.wait(700).await;
        let (_, source) = stage.user.get(SOURCE).await;
        assert_eq!(source["status"]["observedGeneration"], 1);
        assert!(!source["status"]["artifact"].is_null());
        assert_eq!(
            stage.source_writes(),
            ["Reconciling=T/ProgressingWithRetry Ready=F/AuthenticationFailed FetchFailed=T/AuthenticationFailed"]
        );
        assert_eq!(stage.ready().await, "True/InstallSucceeded");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn s4_a_stalled_source_is_not_tried_again() {
    play(Settings::default(), async |stage| {
        stage.world.arm(Order::new(Switch::S4).on(source()).times(1));
        stage.install(json!({}), 7200).await;
        let writes = stage.source_writes();
        assert_eq!(
            writes[writes.len() - 2..],
            ["Stalled=T/URLInvalid Ready=F/URLInvalid FetchFailed=T/URLInvalid -Reconciling", "og=1"]
        );
        assert_eq!(stage.ready().await, "False/SourceNotReady");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn s5_a_static_repository_never_has_a_status() {
    play(Settings::default(), async |stage| {
        let repository = json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "HelmRepository",
            "metadata": {"name": "shop", "namespace": "team"},
            "spec": {"type": "oci", "url": OCI},
        });
        stage.create("helmrepositories", repository).await;
        stage.wait(3600).await;
        assert_eq!(stage.writes_of("helmrepositories.source.toolkit.fluxcd.io", "shop"), ["user created"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn s6_a_suspended_source_advances_the_generation_and_keeps_serving() {
    play(Settings::default(), async |stage| {
        stage.installed(json!({})).await;
        stage.world.arm(Order::new(Switch::S6).on(source()));
        stage.wait(1200).await;
        assert_eq!(stage.source_writes(), ["spec", "og=2"]);
        assert_eq!(stage.ready().await, "True/InstallSucceeded");
    })
    .await;
}
