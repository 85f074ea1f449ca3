//! Everything the fake Flux writes is valid under the projects' own CRDs: the fake plays its traces on a server that has
//! those CRDs, with fields the schema does not know refused instead of pruned.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fakes::apiserver::{Client, Clock, Config, Server};
use fakes::flux::{Settings, World, run_helm_controller, run_source_controller, run_surroundings};
use fakes::kinds::FluxRelease;
use fakes::script::{Order, Switch, Target};
use futures::future::{Either, select};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{known_sets, upstream, upstream_directory};

const REGISTRY: &str = "oci://registry.example/charts";
const REPOSITORY: &str = "https://charts.example";

struct Cluster {
    user: Client,
    world: World,
    release: FluxRelease,
}

impl Cluster {
    async fn create(&self, group: &str, version: &str, plural: &str, kind: &str, name: &str, spec: Value) {
        let object = json!({
            "apiVersion": format!("{group}/{version}"),
            "kind": kind,
            "metadata": {"name": name, "namespace": "team"},
            "spec": spec,
        });
        let path = format!("/apis/{group}/{version}/namespaces/team/{plural}?fieldValidation=Strict");
        let (code, answer) = self.user.post(&path, &object).await;
        assert_eq!(code, 201, "{:?}: {answer}", self.release);
    }

    async fn oci(&self, name: &str, tag: &str) {
        let spec = json!({
            "interval": "10m",
            "url": format!("{REGISTRY}/shop"),
            "ref": {"tag": tag},
            "layerSelector": {"mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "operation": "copy"},
        });
        let version = self.release.oci_repository_version();
        self.create("source.toolkit.fluxcd.io", version, "ocirepositories", "OCIRepository", name, spec).await;
    }

    async fn release(&self, name: &str, chart: Value) {
        let mut spec = json!({
            "interval": "5m",
            "timeout": "15m",
            "releaseName": name,
            "upgrade": {"remediation": {"remediateLastFailure": true}},
            "driftDetection": {"mode": "enabled"},
        });
        if let (Some(spec), Some(chart)) = (spec.as_object_mut(), chart.as_object()) {
            spec.extend(chart.clone());
        }
        self.create("helm.toolkit.fluxcd.io", "v2", "helmreleases", "HelmRelease", name, spec).await;
    }

    async fn get(&self, name: &str) -> Value {
        let path = format!("/apis/helm.toolkit.fluxcd.io/v2/namespaces/team/helmreleases/{name}");
        self.user.get(&path).await.1
    }

    async fn ready(&self, name: &str) -> String {
        let release = self.get(name).await;
        let list = release["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = list.iter().find(|condition| condition["type"] == "Ready").cloned().unwrap_or_default();
        format!("{}/{}", ready["status"].as_str().unwrap_or("-"), ready["reason"].as_str().unwrap_or("-"))
    }

    async fn change(&self, name: &str, body: Value) {
        let path = format!("/apis/helm.toolkit.fluxcd.io/v2/namespaces/team/helmreleases/{name}");
        let (code, answer) = self.user.merge_patch(&path, &body).await;
        assert_eq!(code, 200, "{answer}");
    }

    async fn wait(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
}

/// Every end a release can come to, reached by writes that the schema accepts; an invalid write would be refused for ever
/// and the end not be reached.
async fn story(cluster: &Cluster) {
    let target = |name: &str| Target::new("HelmRelease", "team", name);
    let reference = |name: &str| json!({"chartRef": {"kind": "OCIRepository", "name": name}});
    for (tag, name) in [("1.4.2", "one"), ("1.5.0", "two")] {
        cluster.world.publish(REGISTRY, "shop", tag);
        cluster.oci(name, tag).await;
    }
    cluster.world.publish(REPOSITORY, "shop", "1.4.2");
    let repository = json!({"interval": "10m", "url": REPOSITORY});
    let sources = "source.toolkit.fluxcd.io";
    cluster.create(sources, "v1", "helmrepositories", "HelmRepository", "http", repository).await;
    cluster.wait(15).await;
    cluster.world.arm(Order::new(Switch::H4).on(target("stalled")).times(1));
    for name in ["plain", "back", "stalled"] {
        cluster.release(name, reference("one")).await;
    }
    let template =
        json!({"chart": "shop", "version": "1.4.2", "sourceRef": {"kind": "HelmRepository", "name": "http"}});
    cluster.release("template", json!({"chart": {"spec": template}})).await;
    cluster.release("waiting", reference("absent")).await;
    cluster.wait(120).await;
    for (name, end) in [
        ("plain", "True/InstallSucceeded"),
        ("back", "True/InstallSucceeded"),
        ("stalled", "False/InstallFailed"),
        ("template", "True/InstallSucceeded"),
        ("waiting", "False/ArtifactFailed"),
    ] {
        assert_eq!(cluster.ready(name).await, end, "{name} at {:?}", cluster.release);
    }
    cluster.world.arm(Order::new(Switch::H5).on(target("back")));
    cluster.world.arm(Order::new(Switch::S2).on(Target::new("OCIRepository", "team", "one")));
    cluster.change("back", json!({"spec": reference("two")})).await;
    cluster.wait(90).await;
    // The crash takes every running action with it, so it comes when the others are done.
    cluster.world.arm(Order::new(Switch::H2).on(target("template")).times(1));
    cluster.change("template", json!({"spec": {"values": {"a": 1}}})).await;
    cluster.wait(120).await;
    cluster.world.arm(Order::new(Switch::H16).on(target("plain")));
    cluster.world.arm(Order::new(Switch::S1).on(Target::new("OCIRepository", "team", "one")));
    cluster.wait(1200).await;
    for (name, end) in
        [("plain", "True/UpgradeSucceeded"), ("back", "False/RollbackSucceeded"), ("template", "True/UpgradeSucceeded")]
    {
        assert_eq!(cluster.ready(name).await, end, "{name} at {:?}", cluster.release);
    }
    let path = "/apis/helm.toolkit.fluxcd.io/v2/namespaces/team/helmreleases/plain";
    assert_eq!(cluster.user.delete(path, None).await.0, 200);
    cluster.wait(60).await;
    assert_eq!(cluster.user.get(path).await.0, 404);
}

/// Plays the story on a server with these CRDs; returns how many writes the two controllers made.
async fn play(release: FluxRelease, crds: impl Iterator<Item = Value>) -> usize {
    let start = Instant::now();
    let now = move || {
        let passed = SignedDuration::try_from(start.elapsed()).expect("tests are short");
        Timestamp::from_second(1_700_000_000).expect("a valid time") + passed
    };
    let server = Server::new(Config::new(Clock::new(now), 1));
    let world = World::new(Settings { release, strict: true, ..Settings::default() }, 1, now);
    let writes = Arc::new(Mutex::new(0));
    let count = writes.clone();
    server.on_commit(move |commit| {
        if commit.actor.ends_with("-controller") && commit.resource.contains("fluxcd.io") {
            *count.lock().expect("no test panics inside") += 1;
        }
    });
    let user = server.client("user");
    for manifest in crds {
        let (code, answer) = user.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &manifest).await;
        assert_eq!(code, 201, "{answer}");
    }
    assert_eq!(user.post("/api/v1/namespaces", &json!({"metadata": {"name": "team"}})).await.0, 201);
    let cluster = Cluster { user, world: world.clone(), release };
    let told = async {
        cluster.wait(10).await;
        story(&cluster).await;
    };
    let machinery = async {
        tokio::join!(
            server.run_controllers(),
            run_source_controller(server.client("source-controller"), world.clone()),
            run_helm_controller(server.client("helm-controller"), world.clone()),
            run_surroundings(server.clone(), world.clone()),
        )
    };
    match select(Box::pin(told), Box::pin(machinery)).await {
        Either::Left(_) => {}
        Either::Right(_) => panic!("the machinery never ends"),
    }
    *writes.lock().expect("no test panics inside")
}

#[tokio::test(start_paused = true)]
async fn what_the_fake_flux_writes_is_valid_under_upstream_schemas() {
    let Some(root) = upstream_directory("what_the_fake_flux_writes_is_valid_under_upstream_schemas") else { return };
    for (set, release) in known_sets() {
        // Below the floor there is nothing to play: the fake controllers do not run there.
        if release < FluxRelease::V2_3 || !root.join(set).is_dir() {
            continue;
        }
        let crds = upstream(&root.join(set));
        let flux = crds.into_values().filter(|manifest| fakes::kinds::name_of(manifest).ends_with("fluxcd.io"));
        let writes = play(release, flux).await;
        println!("schemas: {writes} writes of the fake Flux accepted under {set}");
        assert!(writes > 50);
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_fake_flux_writes_is_valid_under_the_compact_schemas_of_each_release() {
    for release in FluxRelease::ALL.into_iter().filter(|release| *release >= FluxRelease::V2_3) {
        let dials = fakes::kinds::Dials { flux: Some(release), ..fakes::kinds::Dials::default() };
        play(release, fakes::kinds::crds(&dials).into_iter()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_field_of_a_later_release_is_refused_when_we_ask_for_it() {
    let server = Server::new(Config::new(Clock::new(|| Timestamp::UNIX_EPOCH), 1));
    let user = server.client("user");
    let dials = fakes::kinds::Dials { flux: Some(FluxRelease::V2_6), ..fakes::kinds::Dials::default() };
    for manifest in fakes::kinds::crds(&dials) {
        assert_eq!(user.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &manifest).await.0, 201);
    }
    assert_eq!(user.post("/api/v1/namespaces", &json!({"metadata": {"name": "team"}})).await.0, 201);
    let world = World::new(Settings::default(), 1, || Timestamp::UNIX_EPOCH);
    let cluster = Cluster { user, world, release: FluxRelease::V2_6 };
    let told = async {
        cluster.wait(10).await;
        cluster.release("shop", json!({"chartRef": {"kind": "OCIRepository", "name": "shop"}})).await;
        let path = "/apis/helm.toolkit.fluxcd.io/v2/namespaces/team/helmreleases/shop/status?fieldValidation=Strict";
        let (code, answer) = cluster.user.merge_patch(path, &json!({"status": {"inventory": {"entries": []}}})).await;
        assert_eq!(code, 422, "{answer}");
        let (code, answer) = cluster.user.merge_patch(path, &json!({"status": {"failures": 1}})).await;
        assert_eq!(code, 200, "{answer}");
    };
    match select(Box::pin(told), Box::pin(server.run_controllers())).await {
        Either::Left(_) => {}
        Either::Right(_) => panic!("the controllers never end"),
    }
}
