//! Jobs from the poll to the result, against the fake control plane, the fake cluster and fake Flux.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use fakes::flux::Settings;
use fakes::odoo::{JobRow, ResultRow};
use fakes::script::{Order, Switch, Target};
use operator::protocol::job::Outcome;
use operator::transport::{HttpService, RequestBody};
use serde_json::{Value, json};
use tower::util::BoxCloneSyncService;

use crate::stage::{Stage, files};

const STORES: &str = "/api/v1/namespaces/vworkspace-system/configmaps";

/// The stage of a registered cluster.
pub(crate) async fn connected() -> Stage {
    let stage = Stage::start(Settings::default()).await;
    stage.connect().await;
    for _ in 0..60 {
        if stage.odoo.look(|state| state.clusters.contains_key("c1")) {
            return stage;
        }
        stage.pass(1).await;
    }
    panic!("the operator did not register");
}

impl Stage {
    pub(crate) fn job(&self, id: &str) -> JobRow {
        self.odoo.look(|state| state.jobs[id].clone())
    }

    /// The result of a job, waited for.
    #[track_caller]
    pub(crate) fn result<'a>(&'a self, id: &'a str, within: u64) -> impl Future<Output = ResultRow> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            for _ in 0..=within {
                if let Some(result) = self.job(id).result {
                    return result;
                }
                self.pass(1).await;
            }
            panic!("{caller}: no result of {id} within {within} s: {:?}", self.job(id));
        }
    }

    /// Outcome and error of a job, waited for.
    pub(crate) async fn ended(&self, id: &str, within: u64) -> (Outcome, String) {
        let body = self.result(id, within).await.body;
        (body.outcome, body.error.unwrap_or_default())
    }

    async fn ledger(&self) -> Value {
        let stored = self.get(&format!("{STORES}/vworkspace-applied-jobs")).await;
        let text = stored["data"]["ledger.json"].as_str().unwrap_or("null");
        serde_json::from_str(text).expect("JSON")
    }

    async fn journal(&self) -> usize {
        let (_, list) = self.admin.get(&format!("{STORES}?labelSelector=vworkspace.io/store%3Djob")).await;
        list["items"].as_array().map_or(0, Vec::len)
    }
}

#[tokio::test(start_paused = true)]
async fn f10_an_apply_job_ends_in_one_result_after_readiness_and_its_replay_in_noop() {
    let stage = connected().await;
    let id = stage.odoo.apply("c1", files("6.6.0"));
    let result = stage.result(&id, 120).await;
    assert_eq!((result.body.outcome, &result.body.error), (Outcome::Succeeded, &None));
    let applied = result.body.applied_ref.expect("the object");
    assert_eq!(
        (applied.kind.as_str(), applied.name.as_str(), applied.generation),
        ("ApplicationInstance", "files", Some(1))
    );
    let instance = stage.instance("files").await;
    assert_eq!(instance["metadata"]["labels"]["app.vworkspace.io/cluster-id"], "c1");
    assert_eq!(applied.uid.as_deref(), instance["metadata"]["uid"].as_str());
    let managers: Vec<_> = instance["metadata"]["managedFields"]
        .as_array()
        .expect("fields")
        .iter()
        .map(|entry| entry["manager"].clone())
        .collect();
    assert!(managers.contains(&json!("vworkspace-agent")), "{managers:?}");
    stage.pass(5).await;
    assert_eq!(stage.journal().await, 0);
    assert_eq!(stage.ledger().await["entries"][0]["j"], id.as_str());
    let row = stage.job(&id);
    assert_eq!((row.acks.len(), row.repeats, row.clashes), (1, 0, 0));
    assert!(
        !row.statuses.is_empty() && row.statuses.windows(2).all(|pair| pair[0].body.sequence < pair[1].body.sequence)
    );
    // The same key in a new job: nothing happens.
    let mut again = row.wire;
    again["id"] = json!("again");
    stage.odoo.enqueue_raw("c1", again);
    let replay = stage.result("again", 60).await;
    assert_eq!((replay.body.outcome, replay.body.error), (Outcome::Noop, None));
    assert_eq!(replay.body.applied_ref.and_then(|applied| applied.uid), applied.uid);
}

#[tokio::test(start_paused = true)]
async fn a_field_of_another_manager_is_a_conflict_named_by_manager_and_field() {
    let stage = connected().await;
    stage.installed().await;
    let id = stage.odoo.apply("c1", files("7.0.0"));
    let result = stage.result(&id, 60).await.body;
    assert_eq!(result.outcome, Outcome::Conflict);
    let conflict = &result.conflicts[0];
    assert_eq!((conflict.manager.as_str(), conflict.field_path.as_str()), ("vworkspace-odoo", ".spec.chart.version"));
    assert_eq!(stage.instance("files").await["spec"]["chart"]["version"], "6.6.0");
}

#[tokio::test(start_paused = true)]
async fn w61_a_delete_ends_when_the_object_is_gone_and_the_old_apply_brings_nothing_back() {
    let stage = connected().await;
    let apply = stage.odoo.apply("c1", files("6.6.0"));
    stage.ended(&apply, 120).await;
    let address = json!({"apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance", "namespace": "org-a", "name": "files"});
    let delete = stage.odoo.delete("c1", address.clone());
    stage.admin.delete(&format!("{}/files", crate::stage::INSTANCES), None).await;
    assert_eq!(stage.ended(&delete, 120).await, (Outcome::Succeeded, String::new()));
    assert_eq!(stage.instance("files").await, Value::Null);
    let again = stage.odoo.delete("c1", address);
    assert_eq!(stage.ended(&again, 60).await, (Outcome::Succeeded, String::new()), "absent at the start");
    // The old job under its id, and its key under another id.
    let mut old = stage.job(&apply).wire;
    stage.odoo.redeliver(&apply);
    old["id"] = json!("old");
    stage.odoo.enqueue_raw("c1", old);
    let (outcome, error) = stage.ended("old", 60).await;
    assert_eq!((outcome, error.starts_with("AppliedObjectGone")), (Outcome::Noop, true), "{error}");
    stage.pass(60).await;
    assert_eq!(stage.instance("files").await, Value::Null);
    assert_eq!(stage.job(&apply).clashes, 0);
}

#[tokio::test(start_paused = true)]
async fn w59_a_control_plane_that_forgot_everything_deletes_nothing() {
    let stage = connected().await;
    let apply = stage.odoo.apply("c1", files("6.6.0"));
    stage.ended(&apply, 120).await;
    let before = stage.instance("files").await["metadata"]["uid"].clone();
    stage.odoo.forget();
    stage.pass(600).await;
    assert_eq!(stage.instance("files").await["metadata"]["uid"], before);
    assert!(stage.release().await.is_object());
}

#[tokio::test(start_paused = true)]
async fn jobs_of_one_object_keep_their_order_and_an_older_one_changes_nothing() {
    let stage = connected().await;
    let first = stage.odoo.apply("c1", files("6.6.0"));
    let second = stage.odoo.apply("c1", files("7.0.0"));
    assert_eq!(stage.ended(&second, 180).await, (Outcome::Succeeded, String::new()));
    assert_eq!(stage.ended(&first, 5).await, (Outcome::Noop, "superseded".into()));
    let mut late = stage.job(&first).wire;
    late["id"] = json!("late");
    late["idempotencyKey"] = json!("applicationinstance/org-a/files@0");
    late["createdAt"] = json!("2025-12-31T00:00:00Z");
    stage.odoo.enqueue_raw("c1", late);
    assert_eq!(stage.ended("late", 60).await, (Outcome::Noop, "superseded".into()));
    assert_eq!(stage.instance("files").await["spec"]["chart"]["version"], "7.0.0");
}

fn release() -> Target {
    Target::new("HelmRelease", "org-a", "files")
}

#[tokio::test(start_paused = true)]
async fn w17_a_failed_job_sent_again_is_a_new_attempt_with_a_fresh_result() {
    for failures in [1, 2] {
        let stage = connected().await;
        stage.world.arm(Order::new(Switch::H4).on(release()).times(failures).text("registry was down"));
        let first = stage.odoo.apply("c1", files("6.6.0"));
        let (outcome, error) = stage.ended(&first, 300).await;
        assert_eq!((outcome, error.split(':').next()), (Outcome::Failed, Some("HelmReleaseFailed")), "{error}");
        stage.pass(600).await;
        let deeds = stage.world.with(|state| state.deeds.len());
        let mut again = stage.job(&first).wire;
        again["id"] = json!("again");
        stage.odoo.enqueue_raw("c1", again.clone());
        let (outcome, error) = stage.ended("again", 300).await;
        assert!(stage.world.with(|state| state.deeds.len()) > deeds, "a real attempt");
        if failures == 1 {
            assert_eq!((outcome, error.as_str()), (Outcome::Succeeded, ""));
        } else {
            assert_eq!(outcome, Outcome::Failed);
            again["id"] = json!("third");
            stage.odoo.enqueue_raw("c1", again);
            assert_eq!(stage.ended("third", 300).await, (Outcome::Succeeded, String::new()));
        }
        assert_eq!(stage.instance("files").await["metadata"]["generation"], 1);
    }
}

/// A way to the API server that goes dark before a write of a store or of an instance, counted from one.
fn dark_at(service: HttpService, number: usize, dark: Arc<AtomicBool>) -> HttpService {
    let seen = Arc::new(AtomicUsize::new(0));
    BoxCloneSyncService::new(tower::service_fn(move |request: http::Request<RequestBody>| {
        let path = request.uri().path().to_string();
        let ours = path.contains("/configmaps") || path.contains("/applicationinstances");
        if request.method() != http::Method::GET && ours && seen.fetch_add(1, Ordering::SeqCst) + 1 == number {
            dark.store(true, Ordering::SeqCst);
        }
        let (mut inner, dark) = (service.clone(), dark.load(Ordering::SeqCst));
        async move {
            if dark {
                std::future::pending::<()>().await;
            }
            tower::Service::call(&mut inner, request).await
        }
    }))
}

#[tokio::test(start_paused = true)]
async fn a_crash_before_any_write_of_a_job_leaves_one_result() {
    let mut struck = 0;
    for number in 1..=24 {
        let mut stage = connected().await;
        stage.crash().await;
        let dark = Arc::new(AtomicBool::new(false));
        stage.run_over(|service| dark_at(service, number, Arc::clone(&dark)));
        let id = stage.odoo.apply("c1", files("6.6.0"));
        for _ in 0..120 {
            if dark.load(Ordering::SeqCst) || stage.job(&id).result.is_some() && stage.journal().await == 0 {
                break;
            }
            stage.pass(1).await;
        }
        struck += usize::from(dark.load(Ordering::SeqCst));
        stage.crash().await;
        stage.run();
        assert_eq!(stage.ended(&id, 180).await, (Outcome::Succeeded, String::new()), "crash at write {number}");
        stage.pass(60).await;
        let row = stage.job(&id);
        assert_eq!((row.clashes, stage.journal().await), (0, 0), "crash at write {number}");
        let ledger = stage.ledger().await;
        let lines = ledger["entries"]
            .as_array()
            .map_or(0, |lines| lines.iter().filter(|line| line["j"] == id.as_str()).count());
        assert_eq!(lines, 1, "crash at write {number}");
    }
    assert!(struck >= 8, "{struck}");
}

#[tokio::test(start_paused = true)]
async fn where_signatures_are_required_every_job_is_refused_and_told_once_as_an_event() {
    let stage = connected().await;
    let spec = json!({"spec": {"security": {"signedPayloads": "require"}}});
    stage.admin.merge_patch("/apis/ops.vworkspace.io/v1alpha1/clusters/cluster", &spec).await;
    stage.pass(15).await;
    let id = stage.odoo.apply("c1", files("6.6.0"));
    let (outcome, error) = stage.ended(&id, 60).await;
    assert_eq!((outcome, error.split(':').next()), (Outcome::Failed, Some("JobPayloadSignatureInvalid")), "{error}");
    stage.pass(30).await;
    let told = stage.odoo.look(|state| {
        state.clusters["c1"].events.values().filter(|row| row.event.kind == "JobPayloadSignatureInvalid").count()
    });
    assert_eq!(told, 1);
    assert_eq!(stage.instance("files").await, Value::Null);
}

#[tokio::test(start_paused = true)]
async fn intents_end_when_what_they_ask_for_is_done() {
    let stage = connected().await;
    stage.pass(60).await;
    let resync = stage.odoo.intent("c1", json!({"intent": "resync-status"}));
    assert_eq!(stage.ended(&resync, 120).await, (Outcome::Succeeded, String::new()));
    let ensure = json!({"intent": "ensure-application-instance", "applicationInstance": files("6.6.0")});
    let ensure = stage.odoo.intent("c1", ensure);
    assert_eq!(stage.ended(&ensure, 120).await, (Outcome::Succeeded, String::new()));
    let rotations = || stage.odoo.look(|state| state.clusters["c1"].rotations);
    let before = rotations();
    let rotate = stage.odoo.intent("c1", json!({"intent": "rotate-operator-credentials"}));
    assert_eq!(stage.ended(&rotate, 300).await, (Outcome::Succeeded, String::new()));
    assert_eq!(rotations(), before + 1);
    let delete = json!({"intent": "delete-application-instance", "namespace": "org-a", "name": "files"});
    let delete = stage.odoo.intent("c1", delete);
    assert_eq!(stage.ended(&delete, 120).await, (Outcome::Succeeded, String::new()));
    assert_eq!(stage.instance("files").await, Value::Null);
}
