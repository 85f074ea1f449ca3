//! A fake cluster for tests that need the operator's adapter or its runtime, without the simulator's oracles.

use std::sync::{Arc, Mutex};

use fakes::apiserver::{Authorization, Client, Clock, Config, Server};
use fakes::kinds;
use http_body_util::BodyExt;
use jiff::{SignedDuration, Timestamp};
use operator::cluster_api::kube::{KubeCluster, connect};
use operator::transport::{HttpService, RequestBody};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower::BoxError;
use tower::util::BoxCloneSyncService;

/// A server on the paused clock, with our definitions and Flux's, and who asked it for what.
pub struct Cluster {
    pub server: Server,
    pub admin: Client,
    pub requests: Arc<Mutex<Vec<String>>>,
    started: Instant,
    controllers: JoinSet<()>,
}

impl Cluster {
    pub async fn start() -> Self {
        Self::with(Authorization::AlwaysAllow).await
    }

    /// The same where roles decide. `admin` and fake Flux are administrators.
    pub async fn with(authorization: Authorization) -> Self {
        // What is drawn once per process must be the simulator's, whichever test comes first.
        sim::entropy::prime().expect("every test that draws begins here or in the simulator");
        let started = Instant::now();
        let config = Config { authorization, ..Config::new(Clock::new(move || now(started)), 1) };
        let server = Server::new(config);
        let mut controllers = JoinSet::new();
        let running = server.clone();
        controllers.spawn(async move { running.run_controllers().await });
        let admin = server.client("admin");
        let cluster = Self { server, admin, requests: Arc::default(), started, controllers };
        let ours = operator::api::crd::all().into_iter().map(|(_, crd)| crd);
        let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        for crd in kinds::crds(&kinds::Dials::default()).into_iter().chain(ours) {
            cluster.create(definitions, &crd).await;
        }
        cluster.create("/api/v1/namespaces", &json!({"metadata": {"name": "vworkspace-system"}})).await;
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        cluster
    }

    pub async fn create(&self, path: &str, object: &Value) -> Value {
        let (status, answer) = self.admin.post(path, object).await;
        assert_eq!(status, 201, "{path}: {answer}");
        answer
    }

    pub async fn gated(&self, name: &str) {
        let namespace = json!({"metadata": {"name": name, "labels": {"app.vworkspace.io/managed-by": "vworkspace"}}});
        self.create("/api/v1/namespaces", &namespace).await;
    }

    /// Fake Flux, with every chart that is asked for.
    pub fn flux(&mut self) -> fakes::flux::World {
        let started = self.started;
        let world = fakes::flux::World::new(fakes::flux::Settings::default(), 1, move || now(started));
        world.with(|state| state.catalogue.everything_exists = true);
        let source = self.server.client(fakes::flux::Controller::Source.name());
        let helm = self.server.client(fakes::flux::Controller::Helm.name());
        let (of_source, of_helm, surroundings) = (world.clone(), world.clone(), world.clone());
        let server = self.server.clone();
        self.controllers.spawn(async move { fakes::flux::run_source_controller(source, of_source).await });
        self.controllers.spawn(async move { fakes::flux::run_helm_controller(helm, of_helm).await });
        self.controllers.spawn(async move { fakes::flux::run_surroundings(server, surroundings).await });
        world
    }

    pub fn clock(&self) -> operator::runtime::clock::Clock {
        let started = self.started;
        operator::runtime::clock::Clock::new(move || now(started))
    }

    /// A way to the server under the name `peer`, recorded as `peer METHOD path?query`.
    pub fn service(&self, peer: &'static str) -> HttpService {
        let (server, requests) = (self.server.clone(), Arc::clone(&self.requests));
        BoxCloneSyncService::new(tower::service_fn(move |request: http::Request<RequestBody>| {
            let path = request.uri().path_and_query().map_or("", |path| path.as_str());
            requests.lock().expect("lock").push(format!("{peer} {} {path}", request.method()));
            let server = server.clone();
            async move {
                let response = server.handle(peer, request).await;
                Ok::<_, BoxError>(response.map(|body| body.map_err(BoxError::from).boxed_unsync()))
            }
        }))
    }

    pub fn api(&self, peer: &'static str) -> KubeCluster {
        KubeCluster::new(self.service(peer), &config()).expect("a plain connection")
    }

    /// Requests since the last call, as text.
    pub fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.requests.lock().expect("lock"))
    }
}

pub fn config() -> kube::Config {
    connect::plain("http://cluster".parse().expect("an address"))
}

fn now(started: Instant) -> Timestamp {
    let epoch: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
    epoch + SignedDuration::try_from(started.elapsed()).expect("short")
}
