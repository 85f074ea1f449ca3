//! What the fake writes, in which order, seen through the server's commits.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{Either, select};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::world::{Settings, World};
use super::{run_helm_controller, run_source_controller, run_surroundings};
use crate::apiserver::{Client, Clock, Commit, Config, Server};
use crate::kinds::{Dials, crds};
use crate::script::Target;

mod seeds;
mod switches;
mod traces;

const OCI: &str = "oci://registry.example/charts";
const REPOSITORY: &str = "https://charts.example";

/// A cluster with Flux in it and nothing else, on the paused clock.
struct Stage {
    server: Server,
    world: World,
    user: Client,
    commits: Arc<Mutex<Vec<Commit>>>,
}

/// Tells a story while both controllers, the server's own and the surroundings run.
async fn play(settings: Settings, story: impl AsyncFnOnce(&Stage)) {
    play_seeded(settings, 1, story).await;
}

async fn play_seeded(settings: Settings, seed: u64, story: impl AsyncFnOnce(&Stage)) {
    let stage = Stage::new(settings, seed).await;
    let machinery = async {
        tokio::join!(
            stage.server.run_controllers(),
            run_source_controller(stage.server.client("source-controller"), stage.world.clone()),
            run_helm_controller(stage.server.client("helm-controller"), stage.world.clone()),
            run_surroundings(stage.server.clone(), stage.world.clone()),
        )
    };
    let told = async {
        stage.wait(10).await;
        story(&stage).await;
    };
    match select(Box::pin(told), Box::pin(machinery)).await {
        Either::Left(_) => {}
        Either::Right(_) => panic!("the machinery never ends"),
    }
}

impl Stage {
    async fn new(settings: Settings, seed: u64) -> Self {
        let start = Instant::now();
        let now = move || {
            let passed = SignedDuration::try_from(start.elapsed()).expect("tests are short");
            Timestamp::from_second(1_700_000_000).expect("a valid time") + passed
        };
        let settings = Settings { strict: true, ..settings };
        let release = settings.release;
        let server = Server::new(Config::new(Clock::new(now), 1));
        let world = World::new(settings, seed, now);
        let user = server.client("user");
        for manifest in crds(&Dials { flux: Some(release), ..Dials::default() }) {
            let (code, answer) = user.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &manifest).await;
            assert_eq!(code, 201, "{answer}");
        }
        let commits = Arc::new(Mutex::new(Vec::new()));
        let sink = commits.clone();
        server.on_commit(move |commit| sink.lock().expect("no test panics inside").push(commit.clone()));
        let stage = Self { server, world, user, commits };
        let (code, answer) = stage.user.post("/api/v1/namespaces", &json!({"metadata": {"name": "team"}})).await;
        assert_eq!(code, 201, "{answer}");
        stage.world.publish(OCI, "shop", "1.4.2");
        stage.world.publish(OCI, "shop", "1.5.0");
        stage.world.publish(REPOSITORY, "shop", "1.4.2");
        stage
    }

    async fn wait(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    async fn create(&self, plural: &str, object: Value) {
        let api_version = object["apiVersion"].as_str().expect("an apiVersion").to_owned();
        let path = format!("/apis/{api_version}/namespaces/team/{plural}");
        let (code, answer) = self.user.post(&path, &object).await;
        assert_eq!(code, 201, "{answer}");
    }

    async fn release(&self) -> Value {
        self.user.get(RELEASE).await.1
    }

    async fn patch_release(&self, body: Value) {
        let (code, answer) = self.user.merge_patch(RELEASE, &body).await;
        assert_eq!(code, 200, "{answer}");
    }

    fn forget(&self) {
        self.commits.lock().expect("no test panics inside").clear();
    }

    /// One line per write to the release: what a watcher sees of it.
    fn writes_of(&self, resource: &str, name: &str) -> Vec<String> {
        let commits = self.commits.lock().expect("no test panics inside");
        commits.iter().filter(|commit| commit.resource == resource && commit.name == name).map(line).collect()
    }

    fn release_writes(&self) -> Vec<String> {
        self.writes_of("helmreleases.helm.toolkit.fluxcd.io", "shop")
    }
}

const RELEASE: &str = "/apis/helm.toolkit.fluxcd.io/v2/namespaces/team/helmreleases/shop";

fn release() -> Target {
    Target::new("HelmRelease", "team", "shop")
}

/// What differs between before and after, in a few words.
fn line(commit: &Commit) -> String {
    let Some(after) = &commit.after else { return format!("{} deleted", commit.actor) };
    let Some(before) = &commit.before else { return format!("{} created", commit.actor) };
    let mut words = Vec::new();
    if before["spec"] != after["spec"] {
        words.push("spec".to_owned());
    }
    if before["metadata"]["finalizers"] != after["metadata"]["finalizers"] {
        words.push(format!("finalizers {}", after["metadata"]["finalizers"].as_array().map_or(0, Vec::len)));
    }
    if before["metadata"]["deletionTimestamp"] != after["metadata"]["deletionTimestamp"] {
        words.push("deletion".to_owned());
    }
    if before["metadata"]["annotations"] != after["metadata"]["annotations"] {
        words.push("annotations".to_owned());
    }
    let list = |object: &Value| object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    for new in list(after) {
        let kind = new["type"].as_str().unwrap_or_default();
        let old = list(before).into_iter().find(|old| old["type"] == kind);
        let text = |field: &str| new[field].as_str().unwrap_or_default().to_owned();
        if old.as_ref().is_none_or(|old| ["status", "reason", "message"].iter().any(|field| old[*field] != new[*field]))
        {
            words.push(format!("{kind}={}/{}", &text("status")[..1], text("reason")));
        } else if old.is_some_and(|old| old["observedGeneration"] != new["observedGeneration"]) {
            words.push(format!("{kind}@{}", new["observedGeneration"]));
        }
    }
    for old in list(before) {
        if !list(after).iter().any(|new| new["type"] == old["type"]) {
            words.push(format!("-{}", old["type"].as_str().unwrap_or_default()));
        }
    }
    let empty = serde_json::Map::new();
    let (old, new) = (before["status"].as_object().unwrap_or(&empty), after["status"].as_object().unwrap_or(&empty));
    for name in old.keys().chain(new.keys()).collect::<std::collections::BTreeSet<_>>() {
        if name == "conditions" || old.get(name) == new.get(name) {
            continue;
        }
        match (name.as_str(), new.get(name)) {
            (_, None) => words.push(format!("-{name}")),
            ("observedGeneration", Some(value)) => words.push(format!("og={value}")),
            ("history", Some(value)) => {
                let entries: Vec<String> = value
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|entry| format!("v{} {}", entry["version"], entry["status"].as_str().unwrap_or_default()))
                    .collect();
                words.push(format!("history[{}]", entries.join(", ")));
            }
            ("failures" | "installFailures" | "upgradeFailures", Some(value)) => words.push(format!("{name}={value}")),
            _ => words.push(name.clone()),
        }
    }
    if words.is_empty() { format!("{} nothing", commit.actor) } else { words.join(" ") }
}

fn oci_repository(tag: &str) -> Value {
    json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "OCIRepository",
        "metadata": {"name": source_name(tag), "namespace": "team"},
        "spec": {
            "interval": "10m",
            "url": format!("{OCI}/shop"),
            "ref": {"tag": tag},
            "layerSelector": {"mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "operation": "copy"},
        },
    })
}

/// One source object per version, as the operator has it: a chart change is a generation change.
fn source_name(tag: &str) -> String {
    format!("shop-{}", tag.replace('.', "-"))
}

fn helm_release(more: Value) -> Value {
    let mut object = json!({
        "apiVersion": "helm.toolkit.fluxcd.io/v2",
        "kind": "HelmRelease",
        "metadata": {"name": "shop", "namespace": "team"},
        "spec": {
            "interval": "5m",
            "timeout": "15m",
            "releaseName": "shop",
            "chartRef": {"kind": "OCIRepository", "name": source_name("1.4.2")},
        },
    });
    if let (Some(spec), Some(more)) = (object["spec"].as_object_mut(), more.as_object()) {
        spec.extend(more.clone());
    }
    object
}

impl Stage {
    /// Sources are there, the release is created, and `seconds` pass.
    async fn install(&self, more: Value, seconds: u64) {
        self.install_at("v1", more, seconds).await;
    }

    /// With OCIRepository at this version.
    async fn install_at(&self, version: &str, more: Value, seconds: u64) {
        for tag in ["1.4.2", "1.5.0"] {
            let mut source = oci_repository(tag);
            source["apiVersion"] = json!(format!("source.toolkit.fluxcd.io/{version}"));
            self.create("ocirepositories", source).await;
        }
        self.wait(10).await;
        self.create("helmreleases", helm_release(more)).await;
        self.wait(seconds).await;
    }

    /// A running release of 1.4.2, and a clean sheet.
    async fn installed(&self, more: Value) {
        self.install(more, 60).await;
        assert_eq!(self.ready().await, "True/InstallSucceeded");
        self.forget();
    }

    async fn upgrade(&self) {
        self.patch_release(json!({"spec": {"chartRef": {"name": source_name("1.5.0")}}})).await;
    }

    async fn ready(&self) -> String {
        let release = self.release().await;
        let list = release["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = list.iter().find(|condition| condition["type"] == "Ready").cloned().unwrap_or_default();
        format!("{}/{}", ready["status"].as_str().unwrap_or("-"), ready["reason"].as_str().unwrap_or("-"))
    }

    async fn message(&self, kind: &str) -> String {
        let release = self.release().await;
        let list = release["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = list.iter().find(|condition| condition["type"] == kind).cloned().unwrap_or_default();
        found["message"].as_str().unwrap_or_default().to_owned()
    }
}

const PROGRESSING: &str = "Reconciling=T/Progressing";
const RUNNING: &str = "Reconciling=T/Progressing Ready=U/Progressing";
