//! What the operator reports when Flux misbehaves: one test per switch of the fault catalogue (downstream §15.3), judged
//! by the mapping of contract §6.5 and by every oracle of the simulator.
//!
//! That the fake writes what the real Flux writes is shown in `fakes/src/flux/tests`; here only the operator's conditions
//! count.
#![expect(clippy::panic, reason = "a helper that is disappointed fails its test")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fakes::history::{Event, Phase, Record};
use fakes::kinds::{Dials, FluxRelease};
use fakes::script::{Order, Switch, Target};
use serde_json::{Value, json};
use sim::case::{Case, Step, Wish};
use sim::simulation::{on_fresh_thread, runtime};
use sim::truth::{INSTANCES, condition};
use sim::world::{Plan, World, instance_path};

const INSTANCE: &str = "org-a/files";

/// A cluster with Flux and the operator in it, and what the operator has said about the one instance.
struct Scene {
    world: World,
    said: Arc<Mutex<Vec<Arc<Value>>>>,
}

/// Plays a story; a panic inside, or a broken promise, fails the test.
fn play(release: FluxRelease, story: impl AsyncFnOnce(&mut Scene) + Send + 'static) {
    let outcome = on_fresh_thread(1, move || {
        runtime().block_on(async move {
            let said = Arc::new(Mutex::new(Vec::new()));
            let listening = said.clone();
            let reader = move |record: &Record| {
                if let Event::Commit(commit) = &record.event
                    && commit.resource == INSTANCES
                    && let Some(after) = &commit.after
                {
                    listening.lock().expect("no test panics inside").push(after.clone());
                }
            };
            let mut case = Case::new("a switch", Vec::new());
            case.dials = Dials { flux: Some(release), ..Dials::default() };
            let definitions = crate::schemas::flux_definitions(release);
            let plan = Plan { definitions, reader: Some(Box::new(reader)), ..Plan::of(&case) };
            let world = World::build(plan).await.expect("the cluster can be built");
            world.enter(Phase::Faults);
            let mut scene = Scene { world, said };
            scene.world.start_operator();
            scene.step(Step::Namespace { name: "org-a".into(), gated: true }).await;
            story(&mut scene).await;
            if let Some(violation) = scene.world.violation() {
                panic!("{} is broken: {}", violation.oracle, violation.what);
            }
            scene.world.end().await;
        });
    });
    if let Err(panic) = outcome {
        panic!("{panic}");
    }
}

fn newest(story: impl AsyncFnOnce(&mut Scene) + Send + 'static) {
    play(FluxRelease::newest(), story);
}

fn release() -> Target {
    Target::new("HelmRelease", "org-a", "files")
}

impl Scene {
    async fn step(&mut self, step: Step) {
        self.world.carry_out(&step).await.unwrap_or_else(|why| panic!("{step:?}: {why}"));
    }

    async fn pass(&mut self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    /// The instance is created and `seconds` pass.
    async fn install(&mut self, seconds: u64) {
        let wish =
            Wish { instance: INSTANCE.into(), version: "6.6.0".into(), source: "oci".into(), values: json!({"a": 1}) };
        self.step(Step::Instance(wish)).await;
        self.pass(seconds).await;
    }

    /// A running 6.6.0; what was said until then is forgotten.
    async fn installed(&mut self) {
        self.install(120).await;
        assert_eq!(self.is("Ready"), "True/HelmReleaseReady", "{:#}", self.instance());
        self.forget();
    }

    async fn upgrade(&mut self, seconds: u64) {
        self.step(Step::Upgrade { instance: INSTANCE.into(), version: "7.0.0".into() }).await;
        self.pass(seconds).await;
    }

    fn arm(&self, order: Order) {
        self.world.order(order);
    }

    fn forget(&self) {
        self.said.lock().expect("no test panics inside").clear();
    }

    fn instance(&self) -> Arc<Value> {
        self.world.look(|truth| truth.get(INSTANCES, "org-a", "files").cloned()).expect("the instance is there")
    }

    /// `status/reason` of a condition; `-` if it is not there.
    fn is(&self, kind: &str) -> String {
        shown(&self.instance(), kind)
    }

    fn message(&self, kind: &str) -> String {
        let instance = self.instance();
        condition(&instance, kind).and_then(|found| found["message"].as_str()).unwrap_or_default().to_owned()
    }

    /// Every value that the condition took, repetitions left out.
    fn course(&self, kind: &str) -> Vec<String> {
        let said = self.said.lock().expect("no test panics inside");
        let mut course: Vec<String> = said.iter().map(|instance| shown(instance, kind)).collect();
        course.dedup();
        course
    }

    /// How often the instance was written since the last `forget`.
    fn writes(&self) -> usize {
        self.said.lock().expect("no test panics inside").len()
    }

    /// The source that the release takes its chart from.
    async fn source(&self) -> Target {
        let path = "/apis/helm.toolkit.fluxcd.io/v2/namespaces/org-a/helmreleases/files";
        let (_, release) = self.world.client("user").get(path).await;
        let name = release["spec"]["chartRef"]["name"].as_str().expect("an OCI chart has a chartRef").to_owned();
        Target::new("OCIRepository", "org-a", &name)
    }

    fn running(&self) -> String {
        self.world.flux.deployed("org-a", "files").map(|revision| revision.chart_version).unwrap_or_default()
    }
}

fn shown(instance: &Value, kind: &str) -> String {
    condition(instance, kind).map_or("-".to_owned(), |found| {
        let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
        format!("{}/{}", text("status"), text("reason"))
    })
}

#[test]
fn h1_a_release_whose_history_was_lost_becomes_ready_after_another_upgrade() {
    newest(async |scene| {
        scene.arm(Order::new(Switch::H1).on(release()).times(1));
        scene.install(30).await;
        assert_ne!(scene.is("Ready").split('/').next(), Some("True"), "Ready=True without history is no evidence");
        scene.pass(120).await;
        assert_eq!(scene.is("Ready").split('/').next(), Some("True"), "{:#}", scene.instance());
        assert_eq!(scene.is("Reconciling"), "False/Stable");
    });
}

#[test]
fn h2_a_release_that_was_cut_off_is_unlocked_and_becomes_ready() {
    newest(async |scene| {
        scene.arm(Order::new(Switch::H2).on(release()).times(1));
        scene.install(180).await;
        assert_eq!(scene.is("Ready").split('/').next(), Some("True"), "{:#}", scene.instance());
        assert_eq!(scene.is("Reconciling"), "False/Stable");
    });
}

#[test]
fn h3_w67_a_failure_before_storage_is_reported_and_never_final() {
    newest(async |scene| {
        let text = "Deployment.apps \"files\" is invalid: metadata.labels: Invalid value: \"6.6.0+5f2c9d0a1b2c\"";
        scene.arm(Order::new(Switch::H3).on(release()).text(text));
        scene.install(1800).await;
        assert_eq!(scene.is("Ready"), "False/HelmReleaseFailed");
        assert_eq!(scene.is("Reconciling"), "True/HelmReleaseInstalling");
        assert!(scene.message("Ready").starts_with("InstallFailed: "), "{}", scene.message("Ready"));
        assert!(scene.message("Ready").contains("is invalid: metadata.labels"), "{}", scene.message("Ready"));
        scene.forget();
        scene.pass(3600).await;
        // An attempt every quarter of an hour shows as running and as failed again; nothing else is news.
        assert!(scene.writes() <= 10, "{:?}", scene.course("Ready"));
        let course: std::collections::BTreeSet<String> = scene.course("Ready").into_iter().collect();
        assert!(
            course.iter().all(|ready| ready == "False/HelmReleaseFailed" || ready == "False/Installing"),
            "{course:?}"
        );
        scene.world.heal();
        scene.pass(16 * 60).await;
        assert_eq!(scene.is("Ready"), "True/HelmReleaseReady");
    });
}

#[test]
fn h3_w43_a_release_without_history_fails_on_and_on() {
    newest(async |scene| {
        scene.installed().await;
        scene.arm(Order::new(Switch::H3).on(release()).text("\"files\" has no deployed releases"));
        scene.upgrade(600).await;
        assert_eq!(scene.is("Ready"), "False/HelmReleaseFailed");
        assert_eq!(scene.is("Reconciling"), "True/HelmReleaseUpgrading");
        assert_eq!(scene.is("Degraded"), "True/HelmReleaseDegraded");
        assert!(scene.message("Ready").contains("has no deployed releases"));
    });
}

#[test]
fn h4_a_failed_install_is_final_and_degraded() {
    newest(async |scene| {
        scene.arm(Order::new(Switch::H4).on(release()).times(1).text("timed out waiting for the condition"));
        scene.install(600).await;
        assert_eq!(scene.is("Ready"), "False/HelmReleaseFailed");
        assert_eq!(scene.is("Reconciling"), "False/Stable");
        assert_eq!(scene.is("Degraded"), "True/HelmReleaseDegraded");
        assert!(scene.message("Ready").starts_with("InstallFailed: "), "{}", scene.message("Ready"));
    });
}

#[test]
fn h4_w17_asking_again_is_a_real_new_attempt() {
    newest(async |scene| {
        scene.arm(Order::new(Switch::H4).on(release()).times(1));
        scene.install(600).await;
        assert_eq!(scene.is("Ready"), "False/HelmReleaseFailed");
        let again = json!({"metadata": {"annotations": {"apps.vworkspace.io/retry": "1"}}});
        scene.step(Step::Patch { path: instance_path(INSTANCE), merge: again }).await;
        scene.pass(120).await;
        assert_eq!(scene.is("Ready").split('/').next(), Some("True"), "{:#}", scene.instance());
        let attempts = scene.world.flux.with(|state| state.deeds.len());
        scene.pass(1200).await;
        assert_eq!(scene.world.flux.with(|state| state.deeds.len()), attempts, "asked once, tried once");
    });
}

#[test]
fn h5_w65_a_rollback_is_reported_once_and_left_alone() {
    newest(async |scene| {
        scene.installed().await;
        scene.arm(Order::new(Switch::H5).on(release()).text("hook failed"));
        scene.upgrade(600).await;
        assert_eq!(scene.is("Ready"), "True/RolledBack");
        assert_eq!(scene.is("Reconciling"), "False/Stable");
        assert_eq!(scene.is("Degraded"), "True/HelmReleaseUpgradeFailed");
        assert!(scene.running().starts_with("6.6.0"));
        let attempts = scene.world.flux.with(|state| state.deeds.len());
        scene.forget();
        scene.pass(6 * 3600).await;
        assert_eq!(scene.writes(), 0);
        assert_eq!(scene.world.flux.with(|state| state.deeds.len()), attempts, "no second attempt");
    });
}

#[test]
fn h6_an_upgrade_that_cannot_be_rolled_back_has_failed() {
    newest(async |scene| {
        scene.installed().await;
        scene.arm(Order::new(Switch::H6).on(release()).times(1));
        scene.upgrade(600).await;
        assert_eq!(scene.is("Ready"), "False/HelmReleaseFailed");
        assert_eq!(scene.is("Reconciling"), "False/Stable");
        assert_eq!(scene.is("Degraded"), "True/HelmReleaseUpgradeFailed");
    });
}

#[test]
fn h7_an_upgrade_by_hand_is_upgraded_over_and_shows_as_upgrading() {
    newest(async |scene| {
        scene.installed().await;
        scene.arm(Order::new(Switch::H7).on(release()).times(1));
        scene.pass(400).await;
        assert_eq!(scene.is("Ready").split('/').next(), Some("True"), "{:#}", scene.instance());
        assert!(scene.course("Ready").contains(&"False/Upgrading".to_owned()), "{:?}", scene.course("Ready"));
    });
}

#[test]
fn h8_a_stuck_release_is_nudged_once_and_gets_ready() {
    newest(async |scene| {
        scene.arm(Order::new(Switch::H8).on(release()).times(1));
        scene.install(300).await;
        assert_ne!(scene.is("Ready").split('/').next(), Some("True"));
        scene.pass(15 * 60 + 300).await;
        assert_eq!(scene.is("Ready").split('/').next(), Some("True"), "{:#}", scene.instance());
    });
}

#[test]
fn h9_an_inflated_generation_is_not_believed() {
    newest(async |scene| {
        scene.installed().await;
        scene.arm(Order::new(Switch::H9).on(release()).times(1));
        scene.world.flux.then(release(), "upgrade", fakes::script::Then::Succeed { after: 240_000 });
        // The last conditions of the pass at 7.0.0 wait for the next generation, which asks for 8.0.0.
        scene.upgrade(260).await;
        scene.step(Step::Upgrade { instance: INSTANCE.into(), version: "8.0.0".into() }).await;
        scene.world.flux.then(release(), "upgrade", fakes::script::Then::Succeed { after: 240_000 });
        scene.pass(120).await;
        assert_eq!(scene.is("Ready"), "False/Upgrading", "{:?}", scene.course("Ready"));
        scene.pass(300).await;
        assert_eq!(scene.is("Ready"), "True/HelmReleaseUpgraded");
        assert!(scene.running().starts_with("8.0.0"));
    });
}

#[test]
fn h10_a_release_suspended_by_somebody_is_shown_and_left_suspended() {
    newest(async |scene| {
        scene.installed().await;
        scene.arm(Order::new(Switch::H10).on(release()));
        scene.pass(60).await;
        assert_eq!(scene.is("Suspended"), "True/ManuallySuspended");
        assert_eq!(scene.is("Ready").split('/').next(), Some("True"));
        scene.upgrade(600).await;
        assert_eq!(scene.is("Suspended"), "True/ManuallySuspended", "nobody clears what a human set");
        assert_ne!(scene.is("Ready"), "True/HelmReleaseUpgraded", "the advanced generation proves nothing");
        assert!(scene.running().starts_with("6.6.0"));
    });
}

#[test]
fn h11_a_skipped_uninstall_ends_the_deletion_all_the_same() {
    newest(async |scene| {
        scene.installed().await;
        scene.arm(Order::new(Switch::H11).on(release()).times(1));
        scene.step(Step::Delete { path: instance_path(INSTANCE) }).await;
        scene.pass(120).await;
        assert!(scene.world.look(|truth| truth.get(INSTANCES, "org-a", "files").is_none()));
        assert!(scene.running().starts_with("6.6.0"), "the release stays behind");
    });
}

#[test]
fn h12_a_failing_uninstall_is_shown_and_waited_for() {
    newest(async |scene| {
        scene.installed().await;
        scene.arm(Order::new(Switch::H12).on(release()).text("pre-delete hook failed"));
        scene.step(Step::Delete { path: instance_path(INSTANCE) }).await;
        scene.pass(300).await;
        assert_eq!(scene.is("Deleting"), "True/Uninstalling");
        assert!(scene.message("Deleting").contains("pre-delete hook failed"), "{}", scene.message("Deleting"));
        scene.world.heal();
        scene.pass(16 * 60).await;
        assert!(scene.world.look(|truth| truth.get(INSTANCES, "org-a", "files").is_none()));
    });
}

#[test]
fn h13_a_release_name_edited_by_hand_is_reported_and_never_overwritten() {
    newest(async |scene| {
        scene.installed().await;
        scene.arm(Order::new(Switch::H13).on(release()).text("elsewhere"));
        scene.pass(600).await;
        // Contract §3.3: a conflict on a field of a child names manager and field; nobody writes over it.
        assert_eq!(scene.is("Blocked"), "True/PolicyDenied", "{:#}", scene.instance());
        let message = scene.message("Blocked");
        assert!(message.contains("spec.releaseName") && message.contains("kubectl-edit"), "{message}");
        let path = "/apis/helm.toolkit.fluxcd.io/v2/namespaces/org-a/helmreleases/files";
        let editor = scene.world.client("kubectl-edit");
        assert_eq!(editor.get(path).await.1["spec"]["releaseName"], "elsewhere");
        // Whoever writes our value again has let go of it.
        let (code, answer) = editor.merge_patch(path, &json!({"spec": {"releaseName": "files"}})).await;
        assert_eq!(code, 200, "{answer}");
        scene.pass(600).await;
        assert_eq!(scene.is("Blocked"), "False/Unblocked");
        assert_eq!(scene.is("Ready").split('/').next(), Some("True"), "{:#}", scene.instance());
        assert!(scene.running().starts_with("6.6.0"));
    });
}

#[test]
fn h14_the_interval_changes_no_condition() {
    newest(async |scene| {
        scene.installed().await;
        scene.arm(Order::new(Switch::H14).on(release()));
        scene.pass(900).await;
        assert_eq!(scene.writes(), 0, "{:?}", scene.course("Reconciling"));
    });
}

#[test]
fn h15_the_gate_that_retries_is_pinned_away() {
    newest(async |scene| {
        scene.installed().await;
        scene.arm(Order::new(Switch::H15).on(release()));
        scene.arm(Order::new(Switch::H4).on(release()).times(1));
        scene.upgrade(600).await;
        assert_eq!(scene.is("Ready"), "True/RolledBack");
    });
}

#[test]
fn h16_drift_is_shown_and_goes_with_its_correction() {
    newest(async |scene| {
        scene.installed().await;
        scene.arm(Order::new(Switch::H16).on(release()));
        scene.pass(120).await;
        let course = scene.course("Degraded");
        assert!(course.contains(&"True/Drifted".to_owned()), "{course:?}");
        assert_eq!(scene.is("Degraded").split('/').next(), Some("False"), "{course:?}");
        assert_eq!(scene.course("Ready"), ["True/HelmReleaseReady"]);
    });
}

#[test]
fn h17_without_helm_controller_nothing_is_claimed() {
    newest(async |scene| {
        scene.arm(Order::new(Switch::H17).on(release()));
        scene.install(900).await;
        assert_eq!(scene.is("Ready"), "Unknown/Reconciling");
        assert_eq!(scene.is("Reconciling"), "True/HelmReleaseInstalling");
        scene.world.heal();
        scene.pass(120).await;
        assert_eq!(scene.is("Ready"), "True/HelmReleaseReady");
    });
}

#[test]
fn h18_w45_foreign_owners_are_quoted_below_2_5_and_adopted_later() {
    play(FluxRelease::V2_3, async |scene| {
        scene.arm(Order::new(Switch::H18).on(release()));
        scene.install(600).await;
        assert_eq!(scene.is("Ready"), "False/HelmReleaseFailed");
        assert!(scene.message("Ready").contains("invalid ownership metadata"), "{}", scene.message("Ready"));
    });
    newest(async |scene| {
        scene.arm(Order::new(Switch::H18).on(release()));
        scene.installed().await;
    });
}

#[test]
fn s1_lost_artifacts_disturb_nothing_that_runs() {
    newest(async |scene| {
        scene.installed().await;
        let source = scene.source().await;
        scene.arm(Order::new(Switch::S1).on(source));
        scene.pass(300).await;
        assert_eq!(
            scene.course("Ready").last().map_or("True/HelmReleaseReady", String::as_str),
            "True/HelmReleaseReady"
        );
        assert_eq!(scene.is("Ready"), "True/HelmReleaseReady");
    });
}

#[test]
fn s2_a_moved_tag_is_an_upgrade_that_nobody_asked_for() {
    newest(async |scene| {
        scene.installed().await;
        let source = scene.source().await;
        let before = scene.running();
        scene.arm(Order::new(Switch::S2).on(source));
        scene.pass(900).await;
        assert_ne!(scene.running(), before);
        assert_eq!(scene.is("Ready").split('/').next(), Some("True"), "{:#}", scene.instance());
        assert!(scene.course("Ready").contains(&"False/Upgrading".to_owned()), "{:?}", scene.course("Ready"));
    });
}

#[test]
fn s3_w35_a_source_that_fails_is_unreachable_before_and_degraded_after_five_minutes() {
    newest(async |scene| {
        scene.arm(Order::new(Switch::S3).reason("AuthenticationFailed").text("401 Unauthorized"));
        scene.install(240).await;
        assert_eq!(scene.is("Ready"), "False/ChartUnreachable", "{:#}", scene.instance());
        assert_eq!(scene.is("Reconciling"), "True/ChartSourceSyncing");
        assert_ne!(scene.is("Degraded"), "True/ChartUnreachable", "not before five minutes");
        scene.pass(180).await;
        assert_eq!(scene.is("Degraded"), "True/ChartUnreachable");
        scene.world.heal();
        scene.pass(16 * 60).await;
        assert_eq!(scene.is("Ready"), "True/HelmReleaseReady");
        assert_eq!(scene.is("Degraded"), "False/Recovered");
    });
}

#[test]
fn s3_a_failing_fetch_leaves_a_running_release_ready() {
    newest(async |scene| {
        scene.installed().await;
        scene.arm(Order::new(Switch::S3));
        scene.pass(1200).await;
        assert_eq!(scene.is("Ready"), "True/HelmReleaseReady");
        assert_eq!(scene.is("Degraded"), "True/ChartUnreachable");
    });
}

#[test]
fn s4_a_stalled_source_is_unreachable() {
    newest(async |scene| {
        scene.arm(Order::new(Switch::S4).times(1));
        scene.install(600).await;
        assert_eq!(scene.is("Ready"), "False/ChartUnreachable", "{:#}", scene.instance());
        assert_eq!(scene.is("Degraded"), "True/ChartUnreachable");
    });
}

#[test]
fn s5_no_static_repository_is_made_or_waited_for() {
    for source in ["oci", "helm"] {
        newest(async move |scene| {
            let wish =
                Wish { instance: INSTANCE.into(), version: "6.6.0".into(), source: source.into(), values: json!({}) };
            scene.step(Step::Instance(wish)).await;
            scene.pass(120).await;
            assert_eq!(scene.is("Ready"), "True/HelmReleaseReady", "{source}: {:#}", scene.instance());
            let path = "/apis/source.toolkit.fluxcd.io/v1/namespaces/org-a/helmrepositories";
            let (_, list) = scene.world.client("user").get(path).await;
            let items = list["items"].as_array().cloned().unwrap_or_default();
            assert!(items.iter().all(|item| item["spec"]["type"] != "oci"), "{list:#}");
        });
    }
}

#[test]
fn s6_a_suspended_source_leaves_a_running_release_ready() {
    newest(async |scene| {
        scene.installed().await;
        let source = scene.source().await;
        scene.arm(Order::new(Switch::S6).on(source));
        scene.pass(900).await;
        assert_eq!(scene.is("Ready"), "True/HelmReleaseReady");
    });
}

#[test]
fn w69_an_account_without_rights_is_quoted() {
    newest(async |scene| {
        scene.world.flux.with(|state| {
            state.settings.default_service_account = Some("default".into());
            state.powerless.insert("org-a/default".into());
        });
        scene.install(600).await;
        assert_eq!(scene.is("Ready"), "False/HelmReleaseFailed");
        assert!(scene.message("Ready").contains("system:serviceaccount:org-a:default"), "{}", scene.message("Ready"));
    });
}

#[test]
fn w35_credentials_that_come_late_are_waited_for_and_used_at_once() {
    newest(async |scene| {
        let wish = Wish { instance: INSTANCE.into(), version: "6.6.0".into(), source: "oci".into(), values: json!({}) };
        let mut manifest = sim::world::workload::instance(&wish);
        manifest["spec"]["chart"]["secretRef"] = json!({"name": "registry"});
        scene.world.flux.with(|state| state.catalogue.make_private("oci://charts.example.org"));
        scene.step(Step::Apply { manifest }).await;
        scene.pass(600).await;
        assert_eq!(scene.is("Blocked"), "True/MissingSecret", "{:#}", scene.instance());
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "registry", "namespace": "org-a"},
            "type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "e30="}});
        scene.step(Step::Apply { manifest: secret }).await;
        scene.pass(120).await;
        assert_eq!(scene.is("Ready"), "True/HelmReleaseReady", "{:#}", scene.instance());
    });
}
