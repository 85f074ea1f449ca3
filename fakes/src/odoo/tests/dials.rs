//! One test per dial.

use super::*;

fn rule(endpoint: Endpoint, does: Does) -> Rule {
    Rule { endpoint, skip: 0, times: Some(1), does }
}

impl Scene {
    fn rule(&self, endpoint: Endpoint, does: Does) {
        self.odoo.dial(|dials| dials.rules.push(rule(endpoint, does)));
    }

    async fn shown(&self, face: Face) -> Result<Response<Bytes>, Broken> {
        self.odoo.dial(|dials| dials.face = face);
        let path = format!("jobs?cluster={}&wait=1", self.cluster);
        raw(&self.odoo, request(&self.bearer, "GET", &path, String::new())).await
    }
}

#[tokio::test(start_paused = true)]
async fn each_face_shows_itself_and_commits_nothing() {
    let scene = Scene::start().await;
    let id = scene.job();
    let html = "text/html; charset=utf-8";
    let faces = [
        (Face::NotFoundPage, 404, html),
        (Face::LoginRedirect, 303, html),
        (Face::ForbiddenPage, 403, html),
        (Face::Portal, 200, html),
        (Face::RpcEnvelope, 200, "application/json"),
        (Face::Status(503), 503, MEDIA_TYPE),
        (Face::Throttled { retry_after: Some(7) }, 429, MEDIA_TYPE),
        (Face::Oversized { bytes: 1 << 20 }, 200, MEDIA_TYPE),
        (Face::OtherMajor, 200, "application/vnd.vworkspace.agent.v2+json"),
        (Face::Moved { to: "https://new.example.org".into() }, 301, html),
    ];
    for (face, status, media) in faces {
        let answer = scene.shown(face.clone()).await.expect("an answer");
        let shown = answer.headers()[header::CONTENT_TYPE].to_str().expect("text");
        assert_eq!((answer.status().as_u16(), shown), (status, media), "{face:?}");
        let location = answer.headers().get(header::LOCATION).and_then(|to| to.to_str().ok());
        match face {
            Face::LoginRedirect => assert_eq!(location, Some("/web/login")),
            Face::Moved { .. } => assert_eq!(location, Some("https://new.example.org")),
            Face::Throttled { .. } => assert_eq!(answer.headers()[header::RETRY_AFTER], "7"),
            Face::Oversized { bytes } => assert_eq!(answer.body().len(), bytes),
            Face::RpcEnvelope => {
                let body: Value = serde_json::from_slice(answer.body()).expect("JSON");
                assert!(body["jsonrpc"].is_string() && body["error"].is_object(), "{body}");
            }
            _ => assert_eq!(location, None),
        }
    }
    assert_eq!(scene.shown(Face::Down).await.expect_err("refused"), Broken("connection refused"));
    assert_eq!(scene.odoo.look(|state| state.jobs[&id].state()), JobState::Queued);
    assert!(scene.shown(Face::Healthy).await.expect("an answer").body().starts_with(b"{\"jobs\":[{"));
}

#[tokio::test(start_paused = true)]
async fn who_moved_is_found_at_the_new_address() {
    let scene = Scene::start().await;
    scene.odoo.dial(|dials| dials.face = Face::Moved { to: "http://odoo.example.org".into() });
    assert!(scene.poll(1).await.is_empty(), "the host of these requests is the new one");
    scene.odoo.dial(Dials::heal);
    assert!(matches!(scene.odoo.look(|state| state.dials.face.clone()), Face::Moved { .. }), "it does not come back");
}

#[tokio::test(start_paused = true)]
async fn going_down_breaks_a_waiting_poll() {
    let scene = Scene::start().await;
    let path = format!("jobs?cluster={}&wait=30", scene.cluster);
    let (answer, ()) = tokio::join!(send(&scene.odoo, &scene.bearer, "GET", &path, String::new()), async {
        sleep(Duration::from_secs(5)).await;
        scene.odoo.dial(|dials| dials.face = Face::Down);
    });
    assert_eq!(answer, (0, json!("connection reset")));
}

#[tokio::test(start_paused = true)]
async fn an_unacknowledged_job_comes_again_or_never() {
    let scene = Scene::start().await;
    let id = scene.job();
    let began = Instant::now();
    assert_eq!((scene.ids(1).await, scene.ids(60).await), (vec![id.clone()], vec![id.clone()]));
    assert_eq!(began.elapsed(), Duration::from_secs(30));
    scene.odoo.dial(|dials| dials.redeliver_after = None);
    assert!(scene.ids(300).await.is_empty());
    assert_eq!(scene.odoo.look(|state| state.jobs[&id].deliveries.len()), 2);
}

#[tokio::test(start_paused = true)]
async fn a_job_comes_twice() {
    let scene = Scene::start().await;
    scene.odoo.dial(|dials| dials.deliver_twice = true);
    let id = scene.job();
    assert_eq!(scene.ids(1).await, [id.as_str()]);
    assert_eq!(scene.post(&format!("jobs/{id}/ack"), "").await.0, 204);
    assert_eq!(scene.ids(1).await, [id.as_str()]);
    assert!(scene.ids(60).await.is_empty());
    scene.odoo.dial(|dials| (dials.deliver_twice, dials.double_in_answer) = (false, true));
    let id = scene.job();
    assert_eq!(scene.ids(1).await, [id.as_str(), id.as_str()]);
}

#[tokio::test(start_paused = true)]
async fn a_closed_job_can_be_sent_once_more() {
    let scene = Scene::start().await;
    let id = scene.job();
    assert_eq!(scene.post(&format!("jobs/{id}/result"), result("succeeded")).await.0, 204);
    assert!(scene.ids(1).await.is_empty());
    scene.odoo.redeliver(&id);
    assert_eq!(scene.ids(1).await, [id]);
    assert!(scene.ids(60).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn jobs_come_out_of_order_in_portions_and_late() {
    let scene = Scene::start().await;
    scene.odoo.dial(|dials| (dials.newest_first, dials.jobs_per_answer) = (true, 2));
    let ids = [scene.job(), scene.job(), scene.job()];
    assert_eq!(scene.ids(1).await, [ids[2].as_str(), ids[1].as_str()]);
    assert_eq!(scene.ids(1).await, [ids[0].as_str()]);
    scene.odoo.dial(|dials| dials.hold_back = 600);
    let expires = scene.odoo.now().checked_add(SignedDuration::from_secs(60)).expect("a date");
    let late = Job { id: "late".into(), expires_at: Some(expires.to_string()), ..Job::default() };
    scene.odoo.dial(|dials| dials.redeliver_after = None);
    scene.odoo.enqueue(&scene.cluster, late);
    let began = Instant::now();
    assert!(scene.ids(300).await.is_empty());
    assert_eq!(scene.ids(300).await, ["late"]);
    assert_eq!(began.elapsed(), Duration::from_secs(600), "long after it expired");
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_was_given_up_swallows_a_job() {
    for ghosts in [true, false] {
        let scene = Scene::start().await;
        scene.odoo.dial(|dials| dials.ghost_polls = ghosts);
        let given_up = tokio::time::timeout(Duration::from_secs(1), scene.ids(30)).await;
        assert!(given_up.is_err());
        let id = scene.job();
        let began = Instant::now();
        assert_eq!(scene.ids(60).await, [id.as_str()]);
        assert_eq!(began.elapsed(), Duration::from_secs(if ghosts { 30 } else { 0 }));
        assert_eq!(scene.odoo.look(|state| state.jobs[&id].deliveries[0].ghost), ghosts);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_may_not_wait_at_all() {
    let scene = Scene::start().await;
    scene.odoo.dial(|dials| dials.answers_at_once = true);
    let began = Instant::now();
    assert!(scene.poll(300).await.is_empty());
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_worker_at_its_limit_is_killed_with_its_poll() {
    for (status, seen) in [(None, 0), (Some(502), 502), (Some(504), 504)] {
        let scene = Scene::start().await;
        scene.odoo.dial(|dials| dials.kill = Some(Kill { after: 60, status }));
        let path = |wait: u64| format!("jobs?cluster={}&wait={wait}", scene.cluster);
        let began = Instant::now();
        assert_eq!(send(&scene.odoo, &scene.bearer, "GET", &path(300), String::new()).await.0, seen);
        assert_eq!(began.elapsed(), Duration::from_secs(60));
        assert_eq!(send(&scene.odoo, &scene.bearer, "GET", &path(59), String::new()).await.0, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_is_refused_or_committed_and_not_answered() {
    let scene = Scene::start().await;
    let id = scene.job();
    let ack = format!("jobs/{id}/ack");
    let acks = || scene.odoo.look(|state| state.jobs[&id].acks.len());
    scene.rule(Endpoint::Ack, Does::Refuse(503));
    assert_eq!((scene.post(&ack, "").await.0, acks()), (503, 0));
    scene.rule(Endpoint::Ack, Does::Commit(500));
    assert_eq!((scene.post(&ack, "").await.0, acks()), (500, 1));
    scene.rule(Endpoint::Ack, Does::CommitAndBreak);
    assert_eq!((scene.post(&ack, "").await.0, acks()), (0, 2));
    assert_eq!((scene.post(&ack, "").await.0, acks()), (204, 3), "each strikes once");
    let log = scene.odoo.look(|state| {
        let acks = state.posts.iter().filter(|post| post.endpoint == Endpoint::Ack);
        acks.map(|post| (post.committed, post.status)).collect::<Vec<_>>()
    });
    assert_eq!(log, [(false, 503), (true, 500), (true, 0), (true, 204)]);
}

#[tokio::test(start_paused = true)]
async fn a_rule_lets_the_first_ones_through() {
    let scene = Scene::start().await;
    let does = Does::Refuse(503);
    scene.odoo.dial(|dials| dials.rules.push(Rule { skip: 1, times: Some(2), ..rule(Endpoint::Events, does) }));
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(scene.post("events", batch(&[])).await.0);
    }
    assert_eq!(statuses, [204, 503, 503, 204]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_endpoint_takes_its_time_before_or_after() {
    let scene = Scene::start().await;
    let event = |key: &str| event(key, "files", "Ready", "True", "HelmReleaseReady");
    let known = || scene.odoo.look(|state| state.clusters[&scene.cluster].events.len());
    for (does, key, at_half_time) in [(Does::Slow(20), "a", 0), (Does::SlowAnswer(20), "b", 2)] {
        scene.rule(Endpoint::Events, does);
        let began = Instant::now();
        let (answer, seen) = tokio::join!(scene.post("events", batch(&[event(key)])), async {
            sleep(Duration::from_secs(10)).await;
            known()
        });
        assert_eq!((answer.0, began.elapsed(), seen), (204, Duration::from_secs(20), at_half_time), "{does:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_event_is_refused_for_ever() {
    let scene = Scene::start().await;
    let events = ["a", "b"].map(|key| event(key, "files", "Ready", "True", "HelmReleaseReady"));
    for status in [400, 413, 415, 422] {
        scene.odoo.dial(|dials| {
            dials.poison.insert("b".into());
            dials.poison_status = status;
        });
        assert_eq!(scene.post("events", batch(&events)).await.0, status);
        assert_eq!(scene.post("events", batch(&events[1..])).await.0, status);
    }
    assert_eq!(scene.post("events", batch(&events[..1])).await.0, 204);
    scene.odoo.look(|state| assert_eq!(state.clusters[&scene.cluster].events.len(), 1));
}

#[tokio::test(start_paused = true)]
async fn a_part_of_a_batch_is_committed() {
    let scene = Scene::start().await;
    let events = ["a", "b", "c"].map(|key| event(key, "files", "Ready", "True", "HelmReleaseReady"));
    scene.rule(Endpoint::Events, Does::CommitPart(2));
    assert_eq!(scene.post("events", batch(&events)).await.0, 500);
    assert_eq!(scene.post("events", batch(&events)).await.0, 204);
    scene.odoo.look(|state| {
        let repeats = state.clusters[&scene.cluster].events.values().map(|row| row.repeats);
        assert_eq!(repeats.collect::<Vec<_>>(), [1, 1, 0]);
    });
}

#[tokio::test(start_paused = true)]
async fn a_repeated_result_may_be_welcome_if_it_is_the_same() {
    let scene = Scene::start().await;
    scene.odoo.dial(|dials| dials.accepts_repeated_result = true);
    let id = scene.job();
    for (outcome, status) in [("succeeded", 204), ("succeeded", 204), ("noop", 409)] {
        assert_eq!(scene.post(&format!("jobs/{id}/result"), result(outcome)).await.0, status);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_may_not_know_our_ids() {
    let odoo = server();
    odoo.dial(|dials| {
        (dials.honours_registration_id, dials.honours_rotation_id, dials.credential_validity) = (false, false, None);
    });
    let token = odoo.issue_token(None);
    let body = json!({"registrationToken": token, "registrationId": "r1"}).to_string();
    let (_, first) = send(&odoo, &token, "POST", "register", body.clone()).await;
    assert_eq!(first["expiresAt"], Value::Null);
    assert_eq!(send(&odoo, &token, "POST", "register", body).await.0, 409);
    let bearer = first["token"].as_str().expect("a token");
    let rotate = || send(&odoo, bearer, "POST", "credentials/rotate", json!({"rotationId": "x1"}).to_string());
    assert_ne!(rotate().await.1["token"], rotate().await.1["token"], "the old one is in its grace, and rotates anew");
}

#[tokio::test(start_paused = true)]
async fn a_registration_or_rotation_is_committed_and_its_answer_lost() {
    let odoo = server();
    let token = odoo.issue_token(None);
    odoo.dial(|dials| {
        for endpoint in [Endpoint::Register, Endpoint::Rotate] {
            dials.rules.push(rule(endpoint, Does::CommitAndBreak));
        }
    });
    let body = json!({"registrationToken": token, "registrationId": "r1"}).to_string();
    assert_eq!(send(&odoo, &token, "POST", "register", body.clone()).await.0, 0);
    let (status, answer) = send(&odoo, &token, "POST", "register", body).await;
    assert_eq!(status, 200);
    let bearer = answer["token"].as_str().expect("a token");
    let rotation = json!({"rotationId": "x1"}).to_string();
    assert_eq!(send(&odoo, bearer, "POST", "credentials/rotate", rotation.clone()).await.0, 0);
    assert_eq!(send(&odoo, bearer, "POST", "credentials/rotate", rotation).await.0, 200, "within the grace");
    odoo.look(|state| assert!(state.posts.iter().all(|post| post.body.is_empty()), "the log keeps no secrets"));
}

#[tokio::test(start_paused = true)]
async fn without_grace_the_old_credential_ends_at_once() {
    let scene = Scene::start().await;
    scene.odoo.dial(|dials| dials.grace = 0);
    assert_eq!(scene.post("credentials/rotate", "{}").await.0, 200);
    assert_eq!(scene.post("events", batch(&[])).await.0, 401);
}

#[tokio::test(start_paused = true)]
async fn a_revoked_credential_is_rejected_also_while_it_polls() {
    for rejection in [401, 403] {
        let scene = Scene::start().await;
        scene.odoo.dial(|dials| dials.rejection = rejection);
        let path = format!("jobs?cluster={}&wait=30", scene.cluster);
        let (answer, ()) = tokio::join!(send(&scene.odoo, &scene.bearer, "GET", &path, String::new()), async {
            sleep(Duration::from_secs(5)).await;
            scene.odoo.revoke(&scene.cluster);
            scene.job();
        });
        assert_eq!((answer.0, &answer.1["error"]), (rejection, &json!("CredentialRejected")));
    }
}

#[tokio::test(start_paused = true)]
async fn the_body_proof_is_checked_as_far_as_asked() {
    let scene = Scene::start().await;
    let body = batch(&[]).to_string();
    let now = scene.odoo.now().as_second();
    let proven = |path: &str, seconds: i64, body: &str| {
        let token = operator::api::secret::SecretText::new(scene.bearer.clone());
        let path = format!("/api/agent/{path}");
        operator::protocol::proof::sign(&token, "POST", &path, seconds, body.as_bytes())
    };
    let send = |stamp: Option<i64>, proof: Option<String>| {
        let mut request = request(&scene.bearer, "POST", "events", body.clone());
        if let Some(stamp) = stamp {
            request.headers_mut().insert("x-vws-timestamp", stamp.into());
        }
        if let Some(proof) = proof {
            request.headers_mut().insert("x-vws-signature", proof.parse().expect("a header"));
        }
        let odoo = scene.odoo.clone();
        async move { raw(&odoo, request).await.expect("an answer").status().as_u16() }
    };
    assert_eq!(send(Some(now), Some(proven("events", now, &body))).await, 204);
    assert_eq!(send(None, None).await, 204);
    assert_eq!(send(Some(now), Some(proven("events", now, "{}"))).await, 401);
    assert_eq!(send(Some(now + 1), Some(proven("events", now, &body))).await, 401);
    assert_eq!(send(Some(now), None).await, 401);
    assert_eq!(send(Some(now - 900), Some(proven("events", now - 900, &body))).await, 204);
    scene.odoo.dial(|dials| (dials.proof, dials.proof_window) = (Proof::Required, Some(300)));
    assert_eq!(send(Some(now - 900), Some(proven("events", now - 900, &body))).await, 401);
    assert_eq!(send(None, None).await, 401);
    scene.odoo.dial(|dials| dials.proof = Proof::Ignored);
    assert_eq!(send(Some(now), Some("v1=00".into())).await, 204);
}

#[tokio::test(start_paused = true)]
async fn a_restore_takes_everything_back_but_what_was_seen() {
    let scene = Scene::start().await;
    let first = scene.job();
    let earlier = scene.odoo.snapshot();
    assert_eq!(scene.post(&format!("jobs/{first}/ack"), "").await.0, 204);
    let known = event("a", "files", "Ready", "True", "HelmReleaseReady");
    assert_eq!(scene.post("events", batch(&[known])).await.0, 204);
    let second = scene.job();
    scene.odoo.restore(earlier);
    scene.odoo.look(|state| {
        assert_eq!(state.jobs.keys().collect::<Vec<_>>(), [&first]);
        assert_eq!(state.jobs[&first].state(), JobState::Queued);
        assert!(state.clusters[&scene.cluster].events.is_empty());
        assert_eq!(state.posts.len(), 3);
    });
    assert_ne!(scene.job(), second, "no id is drawn twice");
    assert_eq!(scene.post("events", batch(&[])).await.0, 204, "the credential was there before");
}

#[tokio::test(start_paused = true)]
async fn an_empty_memory_still_knows_its_clusters() {
    let scene = Scene::start().await;
    let id = scene.job();
    let known = event("a", "files", "Ready", "True", "HelmReleaseReady");
    assert_eq!(scene.post("events", batch(std::slice::from_ref(&known))).await.0, 204);
    scene.odoo.forget();
    assert_eq!(scene.post(&format!("jobs/{id}/ack"), "").await.0, 404);
    assert_eq!(scene.post("events", batch(&[known])).await.0, 204);
    scene.odoo.look(|state| assert_eq!(state.clusters[&scene.cluster].events["a"].repeats, 0));
}

#[tokio::test(start_paused = true)]
async fn its_clock_may_be_wrong() {
    let scene = Scene::start().await;
    scene.odoo.dial(|dials| dials.clock_ahead = -3600);
    let answer = scene.shown(Face::Healthy).await.expect("an answer");
    assert_eq!(answer.headers()[header::DATE], "Thu, 28 May 2026 19:26:41 GMT");
}

#[tokio::test(start_paused = true)]
async fn a_hostile_job_goes_out_as_it_is() {
    let scene = Scene::start().await;
    let odd = json!({"kind": 7, "payload": [[[[]]]], "surprise": true});
    let row = scene.odoo.enqueue_raw(&scene.cluster, odd.clone());
    assert_eq!((scene.poll(1).await, row.as_str()), (vec![odd], "unnamed-1"));
    let policy = scene.odoo.publish_policy(&scene.cluster, "vworkspace-system", &json!({"version": 1}));
    let wire = scene.odoo.look(|state| state.jobs[&policy].wire.clone());
    assert_eq!(wire["payload"]["data"]["policy.json"], r#"{"version":1}"#);
}

#[test]
fn dials_are_data() {
    let text = serde_json::to_string(&Dials::default()).expect("data");
    assert_eq!(serde_json::from_str::<Dials>(&text).expect("the same data"), Dials::default());
    let some: Dials = serde_json::from_value(json!({"face": {"moved": {"to": "https://b"}}, "grace": 0, "rules": [{"endpoint": "ack", "does": {"commit": 503}}]})).expect("a case file");
    assert_eq!((some.face, some.grace), (Face::Moved { to: "https://b".into() }, 0));
}
