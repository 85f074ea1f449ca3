//! The protocol as a healthy server speaks it. Dials are tested one by one in [`dials`].

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use jiff::{SignedDuration, Timestamp};
use operator::protocol::MEDIA_TYPE;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::*;
use crate::front::Broken;

mod dials;

/// A control plane on the paused clock of tokio, and one cluster that has registered.
struct Scene {
    odoo: Odoo,
    cluster: String,
    bearer: String,
}

impl Scene {
    async fn start() -> Self {
        let odoo = server();
        let token = odoo.issue_token(None);
        let body = json!({"registrationToken": token, "registrationId": "r1", "displayName": "edge", "operatorVersion": "1.0.0", "connectivityMode": "pull"});
        let (status, answer) = send(&odoo, &token, "POST", "register", body.to_string()).await;
        assert_eq!(status, 200, "{answer}");
        let text = |field: &str| answer[field].as_str().expect("text").to_string();
        Self { cluster: text("clusterId"), bearer: text("token"), odoo }
    }

    async fn post(&self, path: &str, body: impl ToString) -> (u16, Value) {
        send(&self.odoo, &self.bearer, "POST", path, body.to_string()).await
    }

    async fn poll(&self, wait: u64) -> Vec<Value> {
        let path = format!("jobs?cluster={}&wait={wait}", self.cluster);
        let (status, answer) = send(&self.odoo, &self.bearer, "GET", &path, String::new()).await;
        assert_eq!(status, 200, "{answer}");
        answer["jobs"].as_array().expect("jobs").clone()
    }

    async fn ids(&self, wait: u64) -> Vec<String> {
        let id = |job: &Value| job["id"].as_str().unwrap_or("?").to_string();
        self.poll(wait).await.iter().map(id).collect()
    }

    fn job(&self) -> String {
        self.odoo.apply(&self.cluster, manifest("files"))
    }
}

fn server() -> Odoo {
    let (started, epoch) = (Instant::now(), Timestamp::from_second(1_780_000_000).expect("a date"));
    Odoo::new(1, move || {
        epoch.checked_add(SignedDuration::try_from(started.elapsed()).expect("short")).expect("a date")
    })
}

fn manifest(name: &str) -> Value {
    json!({"apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance", "metadata": {"name": name, "namespace": "org-a"}, "spec": {}})
}

fn request(bearer: &str, method: &str, path: &str, body: String) -> Request<Full<Bytes>> {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("http://odoo.example.org/api/agent/{path}"))
        .header(header::AUTHORIZATION, format!("Bearer {bearer}"))
        .header(header::ACCEPT, MEDIA_TYPE);
    if method == "POST" {
        request = request.header(header::CONTENT_TYPE, MEDIA_TYPE);
    }
    request.body(Full::from(body)).expect("a request")
}

async fn raw(odoo: &Odoo, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, Broken> {
    let (parts, body) = odoo.handle("operator-0.1", request).await?.into_parts();
    Ok(Response::from_parts(parts, body.collect().await.expect("whole").to_bytes()))
}

/// Status 0: the connection broke.
async fn send(odoo: &Odoo, bearer: &str, method: &str, path: &str, body: String) -> (u16, Value) {
    match raw(odoo, request(bearer, method, path, body)).await {
        Ok(answer) => (answer.status().as_u16(), serde_json::from_slice(answer.body()).unwrap_or(Value::Null)),
        Err(Broken(why)) => (0, why.into()),
    }
}

fn result(outcome: &str) -> Value {
    let mut body = json!({"outcome": outcome, "timestamp": "2026-05-28T10:00:15Z"});
    if outcome == "failed" {
        body["error"] = "HelmReleaseFailed: no".into();
    }
    body
}

fn event(key: &str, name: &str, type_: &str, status: &str, reason: &str) -> Value {
    json!({"eventKey": key, "kind": "ConditionTransition", "timestamp": "2026-06-04T10:01:30Z",
        "resourceRef": {"apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance", "namespace": "org-a", "name": name, "uid": "u1", "generation": 1},
        "conditions": [{"type": type_, "status": status, "reason": reason, "message": "m", "lastTransitionTime": "2026-06-04T10:01:30Z"}]})
}

fn batch(events: &[Value]) -> Value {
    json!({ "events": events })
}

#[tokio::test(start_paused = true)]
async fn a_registration_token_is_good_once_and_for_a_day() {
    let odoo = server();
    let token = odoo.issue_token(Some("c1"));
    assert!(token.starts_with("vwksp-reg-") && token[10..].bytes().all(|byte| byte.is_ascii_hexdigit()), "{token}");
    let register = |token: &str, id: &str, cluster: Value| {
        let (odoo, token) = (odoo.clone(), token.to_string());
        let body = json!({"registrationToken": token, "registrationId": id, "clusterId": cluster}).to_string();
        async move { send(&odoo, &token, "POST", "register", body).await }
    };
    assert_eq!(register("vwksp-reg-00", "r1", Value::Null).await.0, 401);
    assert_eq!(register(&token, "r1", "c2".into()).await.0, 409, "a token belongs to one cluster");
    let (status, first) = register(&token, "r1", Value::Null).await;
    assert_eq!((status, &first["clusterId"]), (200, &json!("c1")));
    assert!(first["expiresAt"].as_str().is_some_and(|at| at.parse::<Timestamp>().is_ok()), "{first}");
    assert_eq!(register(&token, "r1", "c1".into()).await, (200, first), "the same id, the same answer");
    assert_eq!(register(&token, "r2", "c1".into()).await.0, 409);
    let late = odoo.issue_token(Some("c1"));
    sleep(Duration::from_secs(24 * 3600)).await;
    assert_eq!(register(&late, "r3", Value::Null).await.0, 401);
    assert_eq!(odoo.look(|state| state.clusters["c1"].registrations), 1);
}

#[tokio::test(start_paused = true)]
async fn the_bearer_of_a_registration_is_its_token() {
    let odoo = server();
    let token = odoo.issue_token(None);
    let body = json!({ "registrationToken": token }).to_string();
    assert_eq!(send(&odoo, "something else", "POST", "register", body).await.0, 401);
    assert_eq!(send(&odoo, &token, "POST", "register", "{}".into()).await.0, 400);
}

#[tokio::test(start_paused = true)]
async fn a_poll_waits_for_a_job_and_no_longer() {
    let scene = Scene::start().await;
    let began = Instant::now();
    assert!(scene.poll(20).await.is_empty());
    assert_eq!(began.elapsed(), Duration::from_secs(20));
    let (jobs, id) = tokio::join!(scene.ids(20), async {
        sleep(Duration::from_secs(3)).await;
        scene.job()
    });
    assert_eq!((jobs, began.elapsed()), (vec![id], Duration::from_secs(23)));
    for wait in [0, 301] {
        let path = format!("jobs?cluster={}&wait={wait}", scene.cluster);
        assert_eq!(send(&scene.odoo, &scene.bearer, "GET", &path, String::new()).await.0, 400);
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_goes_from_the_queue_to_its_one_result() {
    let scene = Scene::start().await;
    let id = scene.job();
    let state = || scene.odoo.look(|state| state.jobs[&id].state());
    assert_eq!(state(), JobState::Queued);
    let jobs = scene.poll(1).await;
    assert_eq!(jobs[0]["idempotencyKey"], "applicationinstance/org-a/files@1");
    assert!(jobs[0]["createdAt"].is_string(), "{jobs:?}");
    assert_eq!(state(), JobState::Delivered);
    for _ in 0..2 {
        assert_eq!(scene.post(&format!("jobs/{id}/ack"), "").await.0, 204, "an open job may be acknowledged again");
    }
    assert_eq!(state(), JobState::Acknowledged);
    assert!(scene.poll(60).await.is_empty(), "an acknowledged job is not sent again");
    let status =
        |sequence: i64| json!({"phase": "Reconciling", "timestamp": "2026-05-28T10:00:05Z", "sequence": sequence});
    assert_eq!(scene.post(&format!("jobs/{id}/status"), status(1)).await.0, 204);
    assert_eq!(scene.post(&format!("jobs/{id}/status"), status(1)).await.0, 409);
    assert_eq!(scene.post(&format!("jobs/{id}/status"), status(2)).await.0, 204);
    assert_eq!(scene.post(&format!("jobs/{id}/result"), result("succeeded")).await.0, 204);
    assert_eq!(state(), JobState::Closed);
    for path in ["ack", "status", "result"] {
        let body = if path == "status" { status(3).to_string() } else { result("succeeded").to_string() };
        assert_eq!(scene.post(&format!("jobs/{id}/{path}"), body).await.0, 409, "{path}");
    }
    assert_eq!(scene.post(&format!("jobs/{id}/result"), result("failed")).await.0, 409);
    scene.odoo.look(|state| {
        let job = &state.jobs[&id];
        assert_eq!((job.acks.len(), job.statuses.len(), job.repeats, job.clashes), (2, 2, 1, 1));
        assert_eq!(state.posts.iter().filter(|post| post.endpoint == Endpoint::Result).count(), 3);
        assert_eq!((state.count(Endpoint::Result, 204), state.count(Endpoint::Result, 409)), (1, 2));
    });
}

#[tokio::test(start_paused = true)]
async fn what_is_no_result_is_refused_and_not_kept() {
    let scene = Scene::start().await;
    let id = scene.job();
    let bad = [
        json!({"outcome": "fine", "timestamp": "2026-05-28T10:00:15Z"}),
        json!({"outcome": "failed", "timestamp": "2026-05-28T10:00:15Z"}),
        json!({"outcome": "conflict", "error": "", "timestamp": "2026-05-28T10:00:15Z"}),
        json!({"outcome": "succeeded", "error": "no", "timestamp": "2026-05-28T10:00:15Z"}),
        json!({"outcome": "succeeded", "timestamp": "today"}),
        json!({"outcome": "failed", "error": "x".repeat(1025), "timestamp": "2026-05-28T10:00:15Z"}),
    ];
    for body in bad {
        assert_eq!(scene.post(&format!("jobs/{id}/result"), &body).await.0, 422, "{body}");
    }
    assert_eq!(scene.odoo.look(|state| state.jobs[&id].state()), JobState::Queued);
}

#[tokio::test(start_paused = true)]
async fn clusters_see_nothing_of_each_other() {
    let scene = Scene::start().await;
    let other = scene.odoo.issue_token(Some("other"));
    let body = json!({ "registrationToken": other }).to_string();
    assert_eq!(send(&scene.odoo, &other, "POST", "register", body).await.0, 200);
    let foreign = scene.odoo.apply("other", manifest("files"));
    let mine = scene.job();
    assert_eq!(scene.ids(1).await, [mine]);
    let (status, answer) = send(&scene.odoo, &scene.bearer, "GET", "jobs?cluster=other&wait=1", String::new()).await;
    assert_eq!((status, answer["error"].as_str()), (403, Some("OtherCluster")));
    for path in ["ack", "result", "status"] {
        let body = result("succeeded");
        assert_eq!(scene.post(&format!("jobs/{foreign}/{path}"), body).await.0, 403, "{path}");
    }
    let events = json!({"clusterId": "other", "events": []});
    assert_eq!(scene.post("events", events).await.0, 403);
    assert_eq!(scene.odoo.look(|state| state.jobs[&foreign].state()), JobState::Queued);
}

#[tokio::test(start_paused = true)]
async fn what_it_does_not_know_it_says_so_in_our_words() {
    let scene = Scene::start().await;
    let (status, answer) = scene.post("jobs/j-9999/ack", "").await;
    assert_eq!((status, answer["error"].as_str()), (404, Some("UnknownJob")));
    assert!(answer["requestId"].as_str().is_some_and(|id| id.starts_with("req-")), "{answer}");
    assert_eq!(scene.post("nothing/here", "{}").await.1["error"], "UnknownEndpoint");
    assert_eq!(send(&scene.odoo, &scene.bearer, "GET", "events", String::new()).await.0, 405);
    assert_eq!(send(&scene.odoo, "nobody", "POST", "events", batch(&[]).to_string()).await.0, 401);
    let mut plain = request(&scene.bearer, "POST", "events", batch(&[]).to_string());
    plain.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain"));
    assert_eq!(raw(&scene.odoo, plain).await.expect("an answer").status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test(start_paused = true)]
async fn an_answer_has_a_date_and_our_type() {
    let scene = Scene::start().await;
    let path = format!("jobs?cluster={}&wait=1", scene.cluster);
    let answer = raw(&scene.odoo, request(&scene.bearer, "GET", &path, String::new())).await.expect("an answer");
    assert_eq!(answer.headers()[header::CONTENT_TYPE], MEDIA_TYPE);
    assert_eq!(answer.headers()[header::DATE], "Thu, 28 May 2026 20:26:41 GMT");
}

#[tokio::test(start_paused = true)]
async fn an_event_counts_once_and_its_object_is_seen() {
    let scene = Scene::start().await;
    let ready = event("condition/1", "files", "Ready", "True", "HelmReleaseReady");
    let heartbeat = json!({"kind": "ClusterHeartbeat", "timestamp": "2026-06-04T10:01:30Z", "resourceRef": {"apiVersion": "ops.vworkspace.io/v1alpha1", "kind": "Cluster", "name": "cluster"}, "conditions": [{"type": "Connected", "status": "True", "reason": "RoundTripOK"}]});
    for _ in 0..2 {
        assert_eq!(scene.post("events", batch(&[ready.clone(), heartbeat.clone()])).await.0, 204);
    }
    let stable = event("condition/2", "files", "Reconciling", "False", "Stable");
    assert_eq!(scene.post("events", batch(&[stable])).await.0, 204);
    let other = event("condition/1", "files", "Ready", "False", "Installing");
    assert_eq!(scene.post("events", batch(&[other])).await.0, 204);
    scene.odoo.look(|state| {
        let cluster = &state.clusters[&scene.cluster];
        let row = &cluster.events["condition/1"];
        assert_eq!((cluster.events.len(), row.repeats, row.clashes, cluster.heartbeats), (2, 2, 1, 2));
        let key = ObjectKey { kind: "ApplicationInstance".into(), namespace: "org-a".into(), name: "files".into() };
        assert_eq!(cluster.view[&key].says(), ["Ready=T/HelmReleaseReady", "Reconciling=F/Stable"]);
        assert_eq!(cluster.conditions[0]["type"], "Connected");
    });
    let snapshot = event("snapshot/1", "files", "Ready", "False", "Upgrading");
    assert_eq!(scene.post("events", batch(&[snapshot])).await.0, 204);
    let says = |state: &State| state.clusters[&scene.cluster].view.values().next().map(ObjectView::says);
    assert_eq!(scene.odoo.look(says), Some(vec!["Ready=F/Upgrading".to_string()]), "a snapshot is the whole truth");
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_none_is_refused_whole() {
    let scene = Scene::start().await;
    let good = event("condition/1", "files", "Ready", "True", "HelmReleaseReady");
    let mut nameless = good.clone();
    nameless.as_object_mut().expect("an object").remove("eventKey");
    assert_eq!(scene.post("events", batch(&[good.clone(), nameless])).await.0, 422);
    assert_eq!(scene.post("events", batch(&vec![good; 101])).await.0, 413);
    assert!(scene.odoo.look(|state| state.clusters[&scene.cluster].events.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_rotation_leaves_the_old_credential_its_grace() {
    let mut scene = Scene::start().await;
    let old = scene.bearer.clone();
    let (status, first) = scene.post("credentials/rotate", json!({"rotationId": "x1"})).await;
    assert_eq!(status, 200);
    assert_eq!(scene.post("credentials/rotate", json!({"rotationId": "x1"})).await, (200, first.clone()));
    scene.bearer = first["token"].as_str().expect("a token").into();
    assert!(scene.poll(1).await.is_empty());
    sleep(Duration::from_secs(24 * 3600)).await;
    assert_eq!(send(&scene.odoo, &old, "POST", "events", batch(&[]).to_string()).await.0, 401, "the grace is over");
    assert_eq!(scene.post("events", batch(&[])).await.0, 204);
    sleep(Duration::from_secs(30 * 24 * 3600)).await;
    assert_eq!(scene.post("events", batch(&[])).await.0, 401, "a credential ends");
    scene.odoo.look(|state| assert_eq!(state.clusters[&scene.cluster].rotations, 1));
}

#[tokio::test(start_paused = true)]
async fn a_decommissioned_cluster_is_a_stranger() {
    let scene = Scene::start().await;
    assert_eq!(scene.post("cluster/decommission", "{}").await.0, 204);
    assert_eq!(scene.post("cluster/decommission", "{}").await.0, 401);
    assert!(scene.odoo.look(|state| state.clusters[&scene.cluster].decommissioned.is_some()));
}

#[tokio::test(start_paused = true)]
async fn the_timeline_tells_what_people_want_to_know() {
    let scene = Scene::start().await;
    let id = scene.job();
    assert_eq!(scene.post(&format!("jobs/{id}/result"), result("failed")).await.0, 204);
    let events = [
        event("condition/1", "files", "Ready", "True", "HelmReleaseReady"),
        event("condition/2", "files", "Reconciling", "True", "HelmReleaseUpgrading"),
        event("condition/3", "files", "Degraded", "True", "HelmReleaseUpgradeFailed"),
        event("condition/4", "files", "Blocked", "True", "PolicyDenied"),
        event("condition/5", "files", "Blocked", "False", "Unblocked"),
        event("snapshot/6", "files", "Blocked", "True", "PolicyDenied"),
    ];
    for _ in 0..2 {
        assert_eq!(scene.post("events", batch(&events)).await.0, 204);
    }
    let told = scene.odoo.look(|state| {
        let line = |line: &Line| (line.text.clone(), line.mood, line.durable, line.chat);
        state.audit.iter().map(line).collect::<Vec<_>>()
    });
    let line = |text: &str, mood: &'static str, durable: bool, chat: bool| (text.to_string(), mood, durable, chat);
    assert_eq!(
        told,
        [
            line("Registration token issued", "plain", true, false),
            line("Cluster registered", "plain", true, false),
            line("Job j-0001 issued: apply ApplicationInstance org-a/files", "plain", true, false),
            line("Job j-0001 failed: apply ApplicationInstance org-a/files", "bad", true, false),
            line("ApplicationInstance org-a/files: is ready", "good", false, true),
            line("ApplicationInstance org-a/files: upgrade failed", "bad", false, true),
            line("ApplicationInstance org-a/files: Blocked (PolicyDenied)", "plain", true, false),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_draws_the_same() {
    let draw = || async {
        let scene = Scene::start().await;
        (scene.cluster.clone(), scene.bearer.clone(), scene.job())
    };
    assert_eq!(draw().await, draw().await);
}
