//! World cases of the area of ApplicationInstances: what happened to people who run this kind of thing, replayed.

use std::io::Write as _;
use std::sync::{Arc, Mutex};

use fakes::flux::{Controller, Settings};
use fakes::script::{Order, Switch, Target};
use http_body_util::BodyExt;
use operator::transport::{HttpService, RequestBody};
use serde_json::{Value, json};
use tower::BoxError;
use tower::util::BoxCloneSyncService;

use crate::stage::{INSTANCES, RELEASES, SOURCES, Stage, files};

fn release() -> Target {
    Target::new("HelmRelease", "org-a", "files")
}

#[tokio::test(start_paused = true)]
async fn w17_a_retry_request_starts_one_new_attempt_of_a_failed_release() {
    let stage = Stage::start(Settings::default()).await;
    stage.world.arm(Order::new(Switch::H4).on(release()).times(1).text("registry was down"));
    stage.apply(&files("6.6.0")).await;
    stage
        .says("files", &["Ready=F/HelmReleaseFailed", "Degraded=T/HelmReleaseDegraded", "Reconciling=F/Stable"], 120)
        .await;
    stage.pass(1800).await;
    stage.says("files", &["Ready=F/HelmReleaseFailed"], 0).await;
    stage.patch(json!({"metadata": {"annotations": {"apps.vworkspace.io/retry": "1"}}})).await;
    stage.says("files", &["Ready=T/HelmReleaseReady", "Degraded=F/Recovered"], 120).await;
    let attempts = stage.world.with(|state| state.deeds.len());
    stage.pass(1800).await;
    assert_eq!(stage.world.with(|state| state.deeds.len()), attempts, "one attempt per value");
}

#[tokio::test(start_paused = true)]
async fn w25_a_repeated_finalizer_removal_brings_nothing_back() {
    let stage = Stage::start(Settings::default()).await;
    stage.installed().await;
    let uid = stage.instance("files").await["metadata"]["uid"].clone();
    stage.admin.delete(&format!("{INSTANCES}/files"), None).await;
    stage.pass(60).await;
    assert_eq!(stage.instance("files").await, Value::Null);
    let again = json!({"apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance",
        "metadata": {"name": "files", "namespace": "org-a", "uid": uid}});
    let path = format!("{INSTANCES}/files?fieldManager=vworkspace-operator");
    let (code, answer) = stage.admin.apply(&path, &again).await;
    assert_eq!(code, 409, "{answer}");
    assert_eq!(stage.instance("files").await, Value::Null);
    for path in [RELEASES, SOURCES] {
        assert_eq!(stage.get(path).await["items"], json!([]), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn w35_credentials_that_come_late_or_change_reach_the_source() {
    let stage = Stage::start(Settings::default()).await;
    let mut wish = files("6.6.0");
    wish["spec"]["chart"]["secretRef"] = json!({"name": "registry"});
    stage.apply(&wish).await;
    stage.says("files", &["Blocked=T/MissingSecret", "Ready=F/WaitingForSecret"], 30).await;
    stage.pass(600).await;
    assert_eq!(stage.release().await, Value::Null, "nothing is written before the Secret is there");
    let secrets = "/api/v1/namespaces/org-a/secrets";
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "registry"}, "data": {"password": "aHVudGVyMg=="}});
    stage.cluster.create(secrets, &secret).await;
    stage.says("files", &["Ready=T/HelmReleaseReady", "Blocked=F/Unblocked"], 120).await;
    let source = |list: Value| list["items"][0]["metadata"]["annotations"]["reconcile.fluxcd.io/requestedAt"].clone();
    assert_eq!(source(stage.get(SOURCES).await), Value::Null);
    stage.admin.merge_patch(&format!("{secrets}/registry"), &json!({"data": {"password": "bmV3"}})).await;
    stage.pass(310).await;
    let token = source(stage.get(SOURCES).await);
    assert!(token.is_string(), "a changed Secret nudges the source");
    stage.writes();
    stage.pass(1200).await;
    assert_eq!(stage.writes(), Vec::<String>::new(), "once");
    let everything = format!("{}{}", stage.instance("files").await, stage.get(SOURCES).await);
    assert!(!everything.contains("aHVudGVyMg") && !everything.contains("bmV3"));
}

#[tokio::test(start_paused = true)]
async fn w39_objects_with_copied_labels_are_left_alone() {
    let stage = Stage::start(Settings::default()).await;
    stage.installed().await;
    let mut labels = stage.release().await["metadata"]["labels"].clone();
    labels["copied"] = json!("true");
    let copy = |kind: &str, name: &str, body: Value| {
        let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "org-a", "labels": labels}});
        object.as_object_mut().unwrap().extend(body.as_object().cloned().unwrap());
        object
    };
    stage
        .cluster
        .create(
            "/api/v1/namespaces/org-a/configmaps",
            &copy("ConfigMap", "somebody-elses", json!({"data": {"a": "b"}})),
        )
        .await;
    let mut source = copy("OCIRepository", "somebody-elses", json!({"spec": {"interval": "1m", "url": "oci://x/y"}}));
    source["apiVersion"] = json!("source.toolkit.fluxcd.io/v1");
    stage.cluster.create(SOURCES, &source).await;
    stage.patch(json!({"spec": {"chart": {"version": "7.0.0"}}})).await;
    stage.says("files", &["Ready=T/HelmReleaseUpgraded"], 120).await;
    stage.admin.delete(&format!("{INSTANCES}/files"), None).await;
    stage.pass(60).await;
    assert_eq!(stage.instance("files").await, Value::Null);
    assert!(stage.get("/api/v1/namespaces/org-a/configmaps/somebody-elses").await.is_object());
    let sources = stage.get(SOURCES).await;
    assert_eq!(sources["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(sources["items"][0]["metadata"]["name"], "somebody-elses");
}

#[tokio::test(start_paused = true)]
async fn w43_a_release_that_cannot_be_upgraded_any_more_is_reported_and_left_alone() {
    let stage = Stage::start(Settings::default()).await;
    stage.installed().await;
    stage.world.arm(Order::new(Switch::H3).on(release()).text("\"files\" has no deployed releases"));
    stage.patch(json!({"spec": {"chart": {"version": "7.0.0"}}})).await;
    stage.says("files", &["Ready=F/HelmReleaseFailed", "Degraded=T/HelmReleaseDegraded"], 120).await;
    assert!(stage.message("files", "Ready").await.contains("has no deployed releases"));
    stage.writes();
    stage.pass(3600).await;
    assert_eq!(stage.writes(), Vec::<String>::new(), "the same failure again is no news");
    stage.world.heal();
    stage.says("files", &["Ready=T/HelmReleaseUpgraded"], 1200).await;
}

#[tokio::test(start_paused = true)]
async fn w45_an_install_over_objects_of_another_namespace_says_what_the_engine_says() {
    let stage = Stage::start(Settings::default()).await;
    let mut wish = files("6.6.0");
    wish["metadata"]["annotations"] = json!({"apps.vworkspace.io/reconcile": "disabled"});
    stage.apply(&wish).await;
    stage.says("files", &["Suspended=T/ReconcilePaused"], 30).await;
    stage.pass(60).await;
    assert_eq!(stage.release().await, Value::Null, "restore first, enable afterwards");
    stage.world.arm(
        Order::new(Switch::H4).on(release()).text("invalid ownership metadata: release-namespace must equal org-a"),
    );
    stage.patch(json!({"metadata": {"annotations": {"apps.vworkspace.io/reconcile": null}}})).await;
    stage.says("files", &["Ready=F/HelmReleaseFailed", "Suspended=F/Active"], 120).await;
    assert!(stage.message("files", "Ready").await.contains("invalid ownership metadata"));
}

/// Compresses a watch as newer servers do, one gzip member per event, unless the client asks for no compression.
fn compressing(inner: HttpService, served: Arc<Mutex<[usize; 2]>>) -> HttpService {
    BoxCloneSyncService::new(tower::service_fn(move |request: http::Request<RequestBody>| {
        let (mut inner, served) = (inner.clone(), served.clone());
        async move {
            let watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
            let plain = request.headers().get("accept-encoding").is_some_and(|accepted| accepted == "identity");
            let response = tower::Service::call(&mut inner, request).await?;
            if !watch || !response.status().is_success() {
                return Ok::<_, BoxError>(response);
            }
            served.lock().expect("lock")[usize::from(plain)] += 1;
            if plain {
                return Ok(response);
            }
            let (mut head, body) = response.into_parts();
            head.headers.insert("content-encoding", http::HeaderValue::from_static("gzip"));
            let body = body.map_frame(|frame| {
                frame.map_data(|data| {
                    let mut member = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                    member.write_all(&data).expect("memory takes everything");
                    member.finish().expect("memory takes everything").into()
                })
            });
            Ok(http::Response::from_parts(head, body.boxed_unsync()))
        }
    }))
}

#[tokio::test(start_paused = true)]
async fn w53_a_server_that_compresses_watches_is_asked_not_to() {
    let mut stage = Stage::without_operator(Settings::default()).await;
    let served = Arc::new(Mutex::new([0, 0]));
    stage.run_over(|inner| compressing(inner, served.clone()));
    stage.pass(5).await;
    stage.installed().await;
    stage.patch(json!({"spec": {"chart": {"version": "7.0.0"}}})).await;
    stage.says("files", &["Ready=T/HelmReleaseUpgraded"], 120).await;
    let [compressed, plain] = *served.lock().expect("lock");
    assert!(compressed == 0 && plain > 0, "{compressed} watches were compressed, {plain} were not");
}

#[tokio::test(start_paused = true)]
async fn w55_a_namespace_that_goes_with_its_rights_does_not_keep_our_finalizer() {
    let stage = Stage::start(Settings::default()).await;
    stage.installed().await;
    stage.world.take_away(Controller::Helm);
    stage.deny(|_, path| path.contains("/namespaces/org-a/") && !path.contains("/apis/apps.vworkspace.io/"));
    stage.admin.delete("/api/v1/namespaces/org-a", None).await;
    stage.pass(60).await;
    assert_eq!(stage.instance("files").await, Value::Null, "our finalizer goes by cluster-wide rights");
    let release = stage.release().await;
    assert_eq!(release["metadata"]["finalizers"], json!(["finalizers.fluxcd.io"]), "Flux's own is not ours to remove");
}

#[tokio::test(start_paused = true)]
async fn w57_nothing_is_created_for_an_instance_that_was_deleted_unseen() {
    let mut stage = Stage::start(Settings::default()).await;
    stage.installed().await;
    stage.crash().await;
    stage.patch(json!({"metadata": {"finalizers": null}})).await;
    stage.admin.delete(&format!("{INSTANCES}/files"), None).await;
    stage.pass(60).await;
    assert_eq!(stage.release().await, Value::Null, "the garbage collector took it");
    stage.writes();
    stage.run();
    stage.pass(300).await;
    assert_eq!(stage.writes(), Vec::<String>::new());
    assert_eq!(stage.release().await, Value::Null);
}

#[tokio::test(start_paused = true)]
async fn w65_a_rolled_back_release_is_not_upgraded_again_by_us() {
    let stage = Stage::start(Settings::default()).await;
    stage.installed().await;
    stage.world.arm(Order::new(Switch::H5).on(release()).text("hook failed"));
    stage.patch(json!({"spec": {"chart": {"version": "7.0.0"}}})).await;
    stage
        .says("files", &["Ready=T/RolledBack", "Degraded=T/HelmReleaseUpgradeFailed", "Reconciling=F/Stable"], 300)
        .await;
    stage.writes();
    let attempts = stage.world.with(|state| state.deeds.len());
    stage.pass(4 * 3600).await;
    assert_eq!(stage.writes(), Vec::<String>::new());
    assert_eq!(stage.world.with(|state| state.deeds.len()), attempts);
    assert_eq!(stage.instance("files").await["spec"]["chart"]["version"], "7.0.0", "the wish stays the user's");
}

#[tokio::test(start_paused = true)]
async fn w67_a_chart_that_no_server_accepts_fails_with_the_engines_words_and_never_stalls() {
    let stage = Stage::start(Settings::default()).await;
    stage
        .world
        .arm(Order::new(Switch::H3).on(release()).text("metadata.labels: Invalid value: \"6.6.0+07840058511f\""));
    stage.apply(&files("6.6.0")).await;
    stage.says("files", &["Ready=F/HelmReleaseFailed", "Reconciling=T/HelmReleaseInstalling"], 120).await;
    assert!(stage.message("files", "Ready").await.contains("metadata.labels: Invalid value"));
    stage.writes();
    stage.pass(3600).await;
    stage.says("files", &["Ready=F/HelmReleaseFailed"], 0).await;
    assert_eq!(stage.writes(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn w69_a_locked_down_flux_is_quoted_with_the_account_it_used() {
    let settings = Settings { default_service_account: Some("default".into()), ..Settings::default() };
    let stage = Stage::start(settings).await;
    stage.world.with(|state| state.powerless.insert("org-a/default".into()));
    stage.apply(&files("6.6.0")).await;
    stage.says("files", &["Ready=F/HelmReleaseFailed"], 120).await;
    let message = stage.message("files", "Ready").await;
    assert!(message.contains("default"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_whole_life_stays_within_forty_requests_and_six_writes() {
    let stage = Stage::start(Settings::default()).await;
    stage.pass(30).await;
    stage.cluster.take_requests();
    stage.apply(&files("6.6.0")).await;
    stage.says("files", &["Ready=T/HelmReleaseReady"], 60).await;
    stage.pass(5).await;
    let requests: Vec<String> = stage
        .cluster
        .take_requests()
        .into_iter()
        .filter(|request| {
            !request.contains("/leases/dad03b25") && !request.contains("watch=true") && !request.contains("selfsubject")
        })
        .filter(|request| request.contains("org-a"))
        .collect();
    assert!(requests.len() <= 40, "{} requests: {requests:#?}", requests.len());
    let writes =
        requests.iter().filter(|request| !request.starts_with("one GET") && !request.contains("/events")).count();
    assert!(writes <= 6, "{writes} writes: {requests:#?}");
}
