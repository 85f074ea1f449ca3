//! The Cluster's loop against the control plane: registration, contact, rotation, revocation, decommission, and a crash
//! after every request of the first three.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use fakes::apiserver::Client;
use fakes::flux::Settings;
use fakes::odoo::Face;
use operator::api::secret::SecretText;
use operator::cluster_api::kube::KubeCluster;
use operator::reconcile::cluster::enroll::{Enrollment, enroll};
use operator::transport::{HttpService, RequestBody};
use serde_json::{Value, json};
use tower::Service;
use tower::util::BoxCloneSyncService;

use crate::cluster;
use crate::stage::{INSTANCES, Stage};

const CLUSTER: &str = "/apis/ops.vworkspace.io/v1alpha1/clusters/cluster";
const SECRETS: &str = "/api/v1/namespaces/vworkspace-system/secrets";

/// Conditions of the Cluster, as `Connected=T/RoundTripOK`, and its phase.
async fn says(admin: &Client) -> Vec<String> {
    let (_, cluster) = admin.get(CLUSTER).await;
    let list = cluster["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let mut said: Vec<String> = list
        .iter()
        .map(|entry| {
            let text = |field: &str| entry[field].as_str().unwrap_or("?").to_string();
            format!("{}={}/{}", text("type"), &text("status")[..1], text("reason"))
        })
        .collect();
    said.push(cluster["status"]["phase"].as_str().unwrap_or("none").into());
    said
}

/// Waits until all of it stands.
#[track_caller]
fn until<'a>(stage: &'a Stage, wanted: &'a [&'a str], within: u64) -> impl Future<Output = ()> + 'a {
    let caller = std::panic::Location::caller();
    async move {
        let mut said = Vec::new();
        for _ in 0..=within {
            said = says(&stage.admin).await;
            if wanted.iter().all(|wanted| said.iter().any(|said| said == wanted)) {
                return;
            }
            stage.pass(1).await;
        }
        let (_, cluster) = stage.admin.get(CLUSTER).await;
        panic!("{caller}: {wanted:?} never stood within {within} s; {said:?}: {}", cluster["status"]);
    }
}

const CONNECTED: [&str; 3] = ["Connected=T/RoundTripOK", "Authenticated=T/CredentialAccepted", "Connected"];

async fn connected() -> Stage {
    let stage = Stage::start(Settings::default()).await;
    stage.connect().await;
    until(&stage, &CONNECTED, 120).await;
    stage
}

async fn secret(stage: &Stage) -> Value {
    stage.get(&format!("{SECRETS}/vworkspace-agent-credentials")).await["data"].clone()
}

async fn spec(stage: &Stage, spec: Value) {
    let (code, answer) = stage.admin.merge_patch(CLUSTER, &json!({ "spec": spec })).await;
    assert_eq!(code, 200, "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_cluster_registers_once_and_then_only_its_heartbeat_is_stamped() {
    let stage = connected().await;
    let row = stage.odoo.look(|state| state.clusters["c1"].clone());
    assert_eq!(row.registrations, 1);
    let credential = row.credential.expect("a credential").token;
    let (_, cluster) = stage.admin.get(CLUSTER).await;
    let status = &cluster["status"];
    assert_eq!(status["observedToken"].as_str().map(str::len), Some(16));
    assert_eq!(status["credentialsSecretRef"]["name"], "vworkspace-agent-credentials");
    assert!(!cluster.to_string().contains(&credential), "the credential is in the Secret and nowhere else");
    for gone in ["pending-registration-id", "previous-token", "pending-rotation-id"] {
        assert!(secret(&stage).await[gone].is_null(), "{gone}");
    }
    stage.pass(120).await;
    stage.writes();
    let beats = stage.odoo.look(|state| state.clusters["c1"].heartbeats);
    stage.pass(600).await;
    let writes = stage.writes();
    let others: Vec<_> = writes.iter().filter(|write| !write.contains("/clusters/cluster/status")).collect();
    assert!(others.is_empty(), "{others:?}");
    assert!((5..=10).contains(&writes.len()), "{} stamps in ten minutes", writes.len());
    let beats = stage.odoo.look(|state| state.clusters["c1"].heartbeats) - beats;
    assert!((18..=21).contains(&beats), "{beats} heartbeats in ten minutes");
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_told_in_steps_and_so_is_its_end() {
    let stage = connected().await;
    stage.odoo.dial(|dials| dials.face = Face::Down);
    until(&stage, &["Connected=F/ControlPlaneUnreachable", "Disconnected=F/Connected", "Disconnected"], 150).await;
    until(&stage, &["Disconnected=T/NoRecentRoundTrip", "Authenticated=T/CredentialAccepted"], 250).await;
    stage.pass(3_600).await;
    stage.odoo.dial(|dials| dials.face = Face::Healthy);
    until(&stage, &["Connected=T/RoundTripOK", "Disconnected=T/NoRecentRoundTrip", "Connected"], 75).await;
    until(&stage, &["Disconnected=F/Connected"], 90).await;
    assert_eq!(stage.odoo.look(|state| state.clusters["c1"].registrations), 1);
}

#[tokio::test(start_paused = true)]
async fn w03_redirects_and_strange_refusals_cost_no_identity() {
    let stage = connected().await;
    stage.odoo.dial(|dials| dials.face = Face::LoginRedirect);
    stage.pass(300).await;
    until(&stage, &["Authenticated=T/CredentialAccepted"], 0).await;
    stage.odoo.dial(|dials| dials.face = Face::ForbiddenPage);
    until(&stage, &["Authenticated=F/CredentialRejected", "Error"], 150).await;
    stage.odoo.dial(|dials| dials.face = Face::Healthy);
    until(&stage, &CONNECTED, 640).await;
    let row = stage.odoo.look(|state| state.clusters["c1"].clone());
    assert_eq!((row.registrations, row.rotations), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn w63_a_lost_credential_and_a_used_token_make_one_clear_condition() {
    let stage = connected().await;
    stage.admin.delete(&format!("{SECRETS}/vworkspace-agent-credentials"), None).await;
    until(&stage, &["Connected=F/RegistrationTokenInvalid", "Authenticated=F/RegistrationFailed", "Error"], 60).await;
    stage.writes();
    let count = |stage: &Stage| -> u64 {
        stage.odoo.look(|state| {
            let of = state.counters.iter().filter(|((endpoint, _), _)| endpoint.name() == "register");
            of.map(|(_, count)| *count).sum()
        })
    };
    let before = count(&stage);
    stage.pass(1_830).await;
    assert!((2..=3).contains(&(count(&stage) - before)), "{} attempts in half an hour", count(&stage) - before);
    let told = stage.writes();
    assert!(told.len() <= 2, "{told:?}");
    stage.connect().await;
    until(&stage, &CONNECTED, 120).await;
}

#[tokio::test(start_paused = true)]
async fn a_rotation_replaces_the_credential_everywhere() {
    let stage = connected().await;
    let before = secret(&stage).await["token"].clone();
    spec(&stage, json!({ "rotateCredentials": true })).await;
    stage.pass(30).await;
    until(&stage, &CONNECTED, 30).await;
    let after = secret(&stage).await;
    assert!(after["token"] != before && after["previous-token"].is_null() && after["pending-rotation-id"].is_null());
    let (_, cluster) = stage.admin.get(CLUSTER).await;
    assert!(
        cluster["spec"]["rotateCredentials"].is_null()
            && cluster["status"]["credentialStatus"]["rotatedAt"].is_string()
    );
    let transitions = cluster["status"]["transitions"].as_array().cloned().unwrap_or_default();
    assert!(transitions.iter().any(|entry| entry["reason"] == "CredentialRotated"));
    // A value that Git brings back is ignored for a day.
    spec(&stage, json!({ "rotateCredentials": true })).await;
    stage.pass(300).await;
    assert_eq!(stage.odoo.look(|state| state.clusters["c1"].rotations), 1);
}

#[tokio::test(start_paused = true)]
async fn a_revoked_credential_is_probed_and_a_new_token_helps() {
    let stage = connected().await;
    stage.odoo.revoke("c1");
    until(&stage, &["Authenticated=F/CredentialRejected", "Error"], 120).await;
    stage.pass(1_800).await;
    let refused: u64 = stage.odoo.look(|state| {
        let of = state.counters.iter().filter(|((_, status), _)| *status == 401);
        of.map(|(_, count)| *count).sum()
    });
    assert!(refused < 12, "{refused} requests with a rejected credential");
    stage.connect().await;
    until(&stage, &CONNECTED, 120).await;
}

#[tokio::test(start_paused = true)]
async fn the_end_is_told_and_takes_the_identity_and_nothing_else() {
    let stage = connected().await;
    stage.installed().await;
    stage.admin.delete(CLUSTER, None).await;
    for _ in 0..60 {
        if stage.get(CLUSTER).await.is_null() {
            break;
        }
        stage.pass(1).await;
    }
    assert_eq!(stage.get(CLUSTER).await, Value::Null);
    assert!(stage.odoo.look(|state| state.clusters["c1"].decommissioned.is_some()));
    assert_eq!(secret(&stage).await, Value::Null);
    assert!(stage.get(&format!("{INSTANCES}/files")).await.is_object());
}

#[tokio::test(start_paused = true)]
async fn the_break_glass_command_registers_and_says_what_is_wrong() {
    let stage = Stage::start(Settings::default()).await;
    let api = KubeCluster::new(stage.cluster.service("human"), &cluster::config()).expect("a client");
    let asked = |name: &str, token: &str| Enrollment {
        token: SecretText::new(token),
        endpoint: "https://odoo.example.org".into(),
        name: name.into(),
        cluster_id: None,
        namespace: "vworkspace-system".into(),
    };
    let other = enroll(&api, &asked("other", "x"), |_| {}).await.expect_err("one Cluster is enough");
    assert!(other.contains("--cluster-name cluster"), "{other}");
    let unknown = enroll(&api, &asked("cluster", "vwksp-reg-unknown"), |_| {}).await.expect_err("no such token");
    assert!(unknown.contains("issue a new token"), "{unknown}");
    let token = stage.odoo.issue_token(Some("c1"));
    let mut told = Vec::new();
    let id = enroll(&api, &asked("cluster", &token), |line| told.push(line.to_string())).await;
    assert_eq!(id, Ok("c1".into()), "{told:?}");
    assert!(!told.join(" ").contains(&token));
}

/// Dies at the request with this number, counted over writes to the cluster: the request is carried out, its answer is lost.
fn dying(inner: HttpService, left: Arc<AtomicUsize>, dead: Arc<tokio::sync::Notify>) -> HttpService {
    BoxCloneSyncService::new(tower::service_fn(move |request: http::Request<RequestBody>| {
        let (mut inner, left, dead) = (inner.clone(), Arc::clone(&left), Arc::clone(&dead));
        let path = request.uri().path();
        let aside = ["/leases", "selfsubjectaccessreviews", "/events"].iter().any(|part| path.contains(part));
        let counts = request.method() != http::Method::GET && !aside;
        async move {
            let answer = inner.call(request).await?;
            if counts && left.fetch_sub(1, Ordering::SeqCst) == 1 {
                dead.notify_one();
                std::future::pending::<()>().await;
            }
            Ok(answer)
        }
    }))
}

/// Registration and one rotation, with a crash after the write of this number. Whether that many were made.
async fn crashed_after(write: usize, honours: bool, lost: &Mutex<usize>) -> bool {
    let mut stage = Stage::without_operator(Settings::default()).await;
    stage.odoo.dial(|dials| (dials.honours_registration_id, dials.honours_rotation_id) = (honours, honours));
    let (left, dead) = (Arc::new(AtomicUsize::new(write)), Arc::new(tokio::sync::Notify::new()));
    let (counter, bell) = (Arc::clone(&left), Arc::clone(&dead));
    stage.run_over(|inner| dying(inner, counter, bell));
    stage.pass(5).await;
    stage.connect().await;
    let rotates = async {
        until(&stage, &CONNECTED, 150).await;
        spec(&stage, json!({ "rotateCredentials": true })).await;
        stage.pass(60).await;
    };
    let died = tokio::select! {
        biased;
        () = dead.notified() => true,
        () = rotates => false,
    };
    if died {
        stage.crash().await;
        stage.run();
        for _ in 0..300 {
            let said = says(&stage.admin).await;
            if !honours && said.iter().any(|said| said == "Connected=F/RegistrationTokenInvalid") {
                // Exactly what the contract allows: the condition says that an answer may have been lost.
                let (_, cluster) = stage.admin.get(CLUSTER).await;
                assert!(cluster["status"].to_string().contains("an earlier attempt may have used it"), "{cluster}");
                *lost.lock().expect("lock") += 1;
                return true;
            }
            if CONNECTED.iter().all(|wanted| said.iter().any(|said| said == wanted)) {
                break;
            }
            stage.pass(1).await;
        }
        until(&stage, &CONNECTED, 0).await;
    }
    let stored = secret(&stage).await["token"].clone();
    let accepted = stage.odoo.look(|state| state.clusters["c1"].credential.clone()).expect("a credential").token;
    use base64::Engine as _;
    assert_eq!(stored, base64::engine::general_purpose::STANDARD.encode(&accepted), "after write {write}");
    died
}

#[tokio::test(start_paused = true)]
async fn a_crash_after_every_write_of_registration_and_rotation_ends_with_one_working_credential() {
    for honours in [true, false] {
        let lost = Mutex::new(0);
        let mut write = 1;
        while crashed_after(write, honours, &lost).await {
            write += 1;
            assert!(write < 60, "it never comes to rest");
        }
        assert!(write > 8, "only {write} writes");
        assert_eq!(*lost.lock().expect("lock"), 0, "a write to the cluster that was carried out loses no answer");
    }
}
