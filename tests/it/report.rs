//! What the control plane is told: every transition, under a key of its own, in order, whatever happens on the way.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use fakes::flux::Settings;
use fakes::odoo::{Does, Endpoint, Face, ObjectKey, Rule};
use http_body_util::BodyExt;
use operator::api::secret::SecretText;
use operator::protocol::Call;
use operator::protocol::register::RegisterRequest;
use serde_json::{Value, json};

use crate::stage::{INSTANCES, Stage, files};

const HOME: &str = "/api/v1/namespaces/vworkspace-system";
const ENDPOINT: &str = "https://odoo.example.org";

/// The cluster `c1` is registered, and its credential is stored as the operator would have stored it.
pub(crate) async fn registered(stage: &Stage) {
    let token = SecretText::new(stage.odoo.issue_token(Some("c1")));
    let call = Call::Register(RegisterRequest {
        registration_token: token.clone(),
        cluster_id: Some("c1".into()),
        display_name: None,
        registration_id: "first".into(),
        public_key: None,
        operator_version: "0".into(),
        connectivity_mode: "pull".into(),
    });
    let request = call.request(ENDPOINT, &token, stage.cluster.clock().now()).expect("a request");
    let request = request.map(http_body_util::Full::<Bytes>::from);
    let answer = stage.odoo.handle("by hand", request).await.expect("it answers");
    assert_eq!(answer.status(), 200);
    let body: Value =
        serde_json::from_slice(&answer.into_body().collect().await.expect("whole").to_bytes()).expect("JSON");
    let secret = json!({"metadata": {"name": "vworkspace-agent-credentials"}, "stringData": {
        "control-plane-base-url": ENDPOINT, "cluster-id": "c1", "token": body["token"]}});
    stage.cluster.create(&format!("{HOME}/secrets"), &secret).await;
    let spec = json!({"spec": {"controlPlaneEndpoint": ENDPOINT}});
    let (code, answer) = stage.admin.merge_patch("/apis/ops.vworkspace.io/v1alpha1/clusters/cluster", &spec).await;
    assert_eq!(code, 200, "{answer}");
}

async fn start() -> Stage {
    let mut stage = Stage::without_operator(Settings::default()).await;
    registered(&stage).await;
    stage.run();
    stage.pass(5).await;
    stage
}

/// `type` → status and reason, as the cluster has it.
async fn truth(stage: &Stage, name: &str) -> BTreeMap<String, String> {
    let instance = stage.instance(name).await;
    said(instance["status"]["conditions"].as_array().into_iter().flatten())
}

fn said<'a>(conditions: impl Iterator<Item = &'a Value>) -> BTreeMap<String, String> {
    let text = |condition: &Value, field: &str| condition[field].as_str().unwrap_or("?").to_string();
    conditions
        .map(|condition| {
            (text(condition, "type"), format!("{}/{}", text(condition, "status"), text(condition, "reason")))
        })
        .collect()
}

/// The same, as the control plane believes it.
fn believed(stage: &Stage, name: &str) -> BTreeMap<String, String> {
    let key = ObjectKey { kind: "ApplicationInstance".into(), namespace: "org-a".into(), name: name.into() };
    stage.odoo.look(|state| {
        let view = state.clusters.get("c1").and_then(|row| row.view.get(&key));
        view.map(|view| said(view.conditions.values())).unwrap_or_default()
    })
}

/// Numbers of the transitions of an instance, in the order in which they arrived first.
fn told(stage: &Stage, name: &str) -> Vec<i64> {
    let part = format!("/ApplicationInstance/org-a/{name}/");
    stage.odoo.look(|state| {
        let mut rows: Vec<_> = state.clusters["c1"].events.values().collect();
        rows.sort_by_key(|row| row.order);
        let keys = rows.iter().filter_map(|row| row.event.event_key.as_deref());
        keys.filter(|key| key.starts_with("condition/") && key.contains(&part))
            .filter_map(|key| key.rsplit_once('#')?.1.split_once('-')?.0.parse().ok())
            .collect()
    })
}

fn clashes(stage: &Stage) -> u32 {
    stage.odoo.look(|state| state.clusters["c1"].events.values().map(|row| row.clashes).sum())
}

async fn seq(stage: &Stage, name: &str) -> i64 {
    stage.instance(name).await["status"]["transitionSeq"].as_i64().unwrap_or_default()
}

async fn cursor(stage: &Stage) -> Value {
    let stored = stage.get(&format!("{HOME}/configmaps/vworkspace-event-cursor")).await;
    serde_json::from_str(stored["data"]["cursor.json"].as_str().unwrap_or("{}")).expect("the operator wrote it")
}

fn rule(does: Does, times: u32) -> Rule {
    Rule { endpoint: Endpoint::Events, skip: 0, times: Some(times), does }
}

/// Everything is told, once, in order, and the control plane believes what is true.
async fn whole(stage: &Stage, name: &str) {
    let last = seq(stage, name).await;
    assert!(last > 0);
    assert_eq!(told(stage, name), (1..=last).collect::<Vec<_>>(), "{name}");
    assert_eq!(believed(stage, name), truth(stage, name).await, "{name}");
    assert_eq!(clashes(stage), 0, "the same key, another content");
}

#[tokio::test(start_paused = true)]
async fn what_changes_is_told_and_remembered() {
    let stage = start().await;
    stage.installed().await;
    stage.pass(5).await;
    whole(&stage, "files").await;
    stage.patch(files("7.0.0")).await;
    stage.says("files", &["Ready=T/HelmReleaseUpgraded"], 60).await;
    stage.pass(5).await;
    whole(&stage, "files").await;
    let uid = stage.instance("files").await["metadata"]["uid"].as_str().expect("a uid").to_string();
    let mark = cursor(&stage).await["acknowledged"][&uid].as_str().unwrap_or_default().to_string();
    assert!(mark.starts_with(&format!("{}-", seq(&stage, "files").await)), "{mark}");
    // Once the Cluster has settled, too, there is nothing more to tell: no events and no writes.
    stage.pass(180).await;
    let count = |stage: &Stage| stage.odoo.look(|state| state.clusters["c1"].events.len());
    let before = count(&stage);
    stage.cluster.take_requests();
    stage.pass(300).await;
    assert_eq!(count(&stage), before);
    let stores = stage.writes().into_iter().filter(|write| write.contains("/vworkspace-event-"));
    assert_eq!(stores.collect::<Vec<_>>(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn lost_answers_partial_commits_and_crashes_repeat_the_same_events() {
    let mut stage = start().await;
    stage.odoo.dial(|dials| {
        dials.rules = vec![
            rule(Does::CommitAndBreak, 1),
            rule(Does::CommitPart(2), 2),
            rule(Does::Commit(503), 1),
            rule(Does::Refuse(502), 2),
        ];
    });
    stage.apply(&files("6.6.0")).await;
    for _ in 0..6 {
        stage.pass(4).await;
        stage.crash().await;
        stage.run();
    }
    stage.says("files", &["Ready=T/HelmReleaseReady"], 120).await;
    stage.pass(60).await;
    whole(&stage, "files").await;
    let repeats: u32 = stage.odoo.look(|state| state.clusters["c1"].events.values().map(|row| row.repeats).sum());
    assert!(repeats > 0, "nothing was lost: the test is empty");
}

#[tokio::test(start_paused = true)]
async fn one_poisoned_event_holds_up_nobody_and_its_object_is_told_as_a_whole() {
    let stage = start().await;
    for status in [400, 413, 415, 422] {
        let name = format!("files-{status}");
        stage.odoo.dial(|dials| {
            dials.poison = BTreeSet::from([format!("/{name}/")]);
            dials.poison_status = status;
        });
        let mut manifest = files("6.6.0");
        manifest["metadata"]["name"] = json!(name);
        manifest["spec"]["release"]["name"] = json!(name);
        assert_eq!(stage.apply(&manifest).await.0, 201);
        let mut neighbour = manifest.clone();
        neighbour["metadata"]["name"] = json!(format!("other-{status}"));
        neighbour["spec"]["release"]["name"] = json!(format!("other-{status}"));
        stage.apply(&neighbour).await;
        stage.says(&format!("other-{status}"), &["Ready=T/HelmReleaseReady"], 120).await;
        stage.pass(60).await;
        whole(&stage, &format!("other-{status}")).await;
        assert_eq!(told(&stage, &name), Vec::<i64>::new());
        let page = cursor(&stage).await;
        assert!(page["total"].as_i64().unwrap_or_default() > 0, "counted: {page}");
        assert!(page["dropped"].is_null(), "a refusal is no overflow: {page}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_everything_arrives_also_what_a_deleted_instance_said_last() {
    let mut stage = start().await;
    stage.installed().await;
    stage.pass(5).await;
    stage.odoo.dial(|dials| dials.face = Face::Down);
    let mut doomed = files("6.6.0");
    doomed["metadata"]["name"] = json!("doomed");
    doomed["spec"]["release"]["name"] = json!("doomed");
    stage.apply(&doomed).await;
    stage.says("doomed", &["Ready=T/HelmReleaseReady"], 120).await;
    stage.patch(files("7.0.0")).await;
    stage.says("files", &["Ready=T/HelmReleaseUpgraded"], 120).await;
    stage.admin.delete(&format!("{INSTANCES}/doomed"), None).await;
    stage.pass(60).await;
    assert!(stage.instance("doomed").await.is_null());
    let outbox = stage.get(&format!("{HOME}/configmaps/vworkspace-event-outbox")).await;
    assert!(outbox["data"]["outbox.json"].as_str().is_some_and(|text| text.contains("doomed")), "{outbox}");
    stage.crash().await;
    stage.pass(7 * 24 * 3600).await;
    stage.run();
    stage.pass(120).await;
    stage.odoo.dial(|dials| dials.face = Face::Healthy);
    stage.pass(60).await;
    whole(&stage, "files").await;
    let numbers = told(&stage, "doomed");
    assert_eq!(numbers, (1..=i64::try_from(numbers.len()).expect("few")).collect::<Vec<_>>());
    assert!(believed(&stage, "doomed").contains_key("Deleting"));
    stage.pass(15).await;
    let outbox = stage.get(&format!("{HOME}/configmaps/vworkspace-event-outbox")).await;
    assert!(outbox["data"]["outbox.json"].as_str().is_some_and(|text| !text.contains("doomed")), "{outbox}");
    let uids = cursor(&stage).await["acknowledged"].as_object().map(|marks| marks.len());
    let live = 1 + usize::from(
        !stage.get("/apis/ops.vworkspace.io/v1alpha1/clusters/cluster").await["status"]["transitions"].is_null(),
    );
    assert_eq!(uids, Some(live), "one number per live object");
}

/// W31 (k8s#107457): etcd is restored under the running controllers; numbers are used again for other facts.
#[tokio::test(start_paused = true)]
async fn w31_event_keys_differ_after_a_restore() {
    let mut stage = start().await;
    stage.installed().await;
    stage.pass(5).await;
    let earlier = stage.instance("files").await["status"].clone();
    stage.patch(files("7.0.0")).await;
    stage.says("files", &["Ready=T/HelmReleaseUpgraded"], 120).await;
    stage.pass(5).await;
    whole(&stage, "files").await;
    let (first, last) = (earlier["transitionSeq"].as_i64().expect("a number"), seq(&stage, "files").await);
    stage.crash().await;
    let mut restored = stage.instance("files").await;
    restored["status"] = earlier;
    let (code, answer) = stage.admin.put(&format!("{INSTANCES}/files/status"), &restored).await;
    assert_eq!(code, 200, "{answer}");
    stage.pass(60).await;
    stage.run();
    stage.says("files", &["Ready=T/HelmReleaseUpgraded"], 120).await;
    stage.pass(15).await;
    let numbers = told(&stage, "files");
    let again: Vec<i64> = numbers.iter().copied().filter(|number| *number > first).collect();
    let distinct: BTreeSet<i64> = again.iter().copied().collect();
    assert!(again.len() > distinct.len(), "numbers after {first} came twice: {numbers:?}, at first up to {last}");
    assert_eq!(believed(&stage, "files"), truth(&stage, "files").await);
    assert_eq!(clashes(&stage), 0);
}

/// W59 (agent#813): the control plane restarts with an empty memory. It asks, and is told how everything stands; nothing is
/// deleted for what it does not know.
#[tokio::test(start_paused = true)]
async fn w59_an_empty_control_plane_asks_and_is_told() {
    let stage = start().await;
    stage.installed().await;
    stage.pass(5).await;
    let before = stage.instance("files").await;
    stage.odoo.forget();
    let ask = json!({"data": {"resync": "job-1"}});
    let (code, _) = stage.admin.merge_patch(&format!("{HOME}/configmaps/vworkspace-event-cursor"), &ask).await;
    assert_eq!(code, 200);
    stage.pass(30).await;
    assert_eq!(believed(&stage, "files"), truth(&stage, "files").await);
    assert_eq!(cursor(&stage).await["resynced"], "job-1");
    assert_eq!(stage.instance("files").await["spec"], before["spec"]);
    assert!(!stage.release().await.is_null());
}
