//! A whole small world for tests of the operator: a cluster, Flux in it, the control plane, and the operator's process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fakes::apiserver::Client;
use fakes::faults::Faults;
use fakes::flux::{Notifications, Settings, World, run_helm_controller, run_source_controller};
use fakes::front::{Front, Gate};
use fakes::history::History;
use fakes::odoo::Odoo;
use http_body_util::BodyExt;
use operator::config::Config;
use operator::runtime::entropy::Entropy;
use operator::runtime::{self, Parts};
use operator::transport::{HttpService, RequestBody};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tower::BoxError;
use tower::util::BoxCloneSyncService;

use crate::cluster::{self, Cluster};

/// Where the charts are.
pub(crate) const CHARTS: &str = "oci://charts.example.org/apps";
/// The instances of `org-a`.
pub(crate) const INSTANCES: &str = "/apis/apps.vworkspace.io/v1alpha1/namespaces/org-a/applicationinstances";
/// The releases of `org-a`.
pub(crate) const RELEASES: &str = "/apis/helm.toolkit.fluxcd.io/v2/namespaces/org-a/helmreleases";
/// The OCI sources of `org-a`.
pub(crate) const SOURCES: &str = "/apis/source.toolkit.fluxcd.io/v1/namespaces/org-a/ocirepositories";

type Deny = Arc<Mutex<Box<dyn Fn(&str, &str) -> bool + Send>>>;

/// See the module.
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    pub(crate) world: World,
    pub(crate) admin: Client,
    /// The control plane.
    pub(crate) odoo: Odoo,
    /// Flux's notification-controller.
    pub(crate) notifications: Notifications,
    /// The way to the control plane.
    pub(crate) way: Front,
    deny: Deny,
    ids: Entropy,
    _flux: JoinSet<()>,
    operator: JoinSet<()>,
}

impl Stage {
    /// Namespace `org-a` is gated, the cluster id is `c1`, nextcloud 6.6.0 and 7.0.0 are published, the operator leads.
    pub(crate) async fn start(settings: Settings) -> Self {
        let mut stage = Self::without_operator(settings).await;
        stage.run();
        stage.pass(5).await;
        stage
    }

    /// The same without the operator.
    pub(crate) async fn without_operator(settings: Settings) -> Self {
        let cluster = Cluster::start().await;
        let clock = cluster.clock();
        let world = World::new(settings, 1, move || clock.now());
        for version in ["6.6.0", "7.0.0", "7.0.1"] {
            world.publish(CHARTS, "nextcloud", version);
        }
        let mut flux = JoinSet::new();
        flux.spawn(run_source_controller(cluster.server.client("source-controller"), world.clone()));
        flux.spawn(run_helm_controller(cluster.server.client("helm-controller"), world.clone()));
        cluster.gated("org-a").await;
        let own = json!({"apiVersion": "ops.vworkspace.io/v1alpha1", "kind": "Cluster", "metadata": {"name": "cluster"}, "spec": {"clusterId": "c1"}});
        cluster.create("/apis/ops.vworkspace.io/v1alpha1/clusters", &own).await;
        let admin = cluster.admin.clone();
        let clock = cluster.clock();
        let notifications = Notifications::new(move || clock.now());
        let clock = cluster.clock();
        let odoo = Odoo::new(1, move || clock.now());
        let way = Front::to(odoo.clone(), History::new(|| Duration::ZERO), Faults::default());
        let deny: Deny = Arc::new(Mutex::new(Box::new(|_, _| false)));
        let ids = counted();
        let operator = JoinSet::new();
        Self { cluster, world, admin, odoo, notifications, way, deny, ids, _flux: flux, operator }
    }

    /// Starts the operator.
    pub(crate) fn run(&mut self) {
        self.run_over(|service| service);
    }

    /// Starts the operator with something between it and the server.
    pub(crate) fn run_over(&mut self, between: impl FnOnce(HttpService) -> HttpService) {
        let parts = Parts {
            cluster: between(self.service()),
            control_plane: self.outside(),
            kube: cluster::config(),
            clock: self.cluster.clock(),
            entropy: self.ids.clone(),
            config: Config { identity: "one".into(), ..Config::default() },
            probes: None,
        };
        self.operator.spawn(async move {
            let ended = runtime::run(parts, std::future::pending()).await;
            panic!("the operator ended: {ended:?}");
        });
    }

    /// The control plane knows the cluster `c1` and issues a token for it; the Cluster names the token and the endpoint. The
    /// operator then registers by itself.
    pub(crate) async fn connect(&self) {
        let token = self.odoo.issue_token(Some("c1"));
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "registration"}, "stringData": {"registrationToken": token}});
        let path = "/api/v1/namespaces/vworkspace-system/secrets/registration?fieldManager=admin&force=true";
        let (code, answer) = self.admin.apply(path, &secret).await;
        assert!(code < 300, "{answer}");
        let spec = json!({"spec": {
            "controlPlaneEndpoint": "https://odoo.example.org",
            "registrationTokenSecretRef": {"name": "registration", "key": "registrationToken"}}});
        let (code, answer) = self.admin.merge_patch("/apis/ops.vworkspace.io/v1alpha1/clusters/cluster", &spec).await;
        assert_eq!(code, 200, "{answer}");
    }

    /// Power loss.
    pub(crate) async fn crash(&mut self) {
        self.operator.shutdown().await;
    }

    /// Whether the operator's process is still there.
    pub(crate) fn runs(&mut self) -> bool {
        self.operator.try_join_next().is_none()
    }

    /// From now on these requests of the operator (method, path with query) are forbidden.
    pub(crate) fn deny(&self, rule: impl Fn(&str, &str) -> bool + Send + 'static) {
        *self.deny.lock().expect("lock") = Box::new(rule);
    }

    /// What the operator reaches besides the API server, by host.
    fn outside(&self) -> HttpService {
        let control_plane = sim::wire::direct::service(&self.way, &"one".into(), &Gate::default());
        let notifications = self.notifications.clone();
        BoxCloneSyncService::new(tower::service_fn(move |request: http::Request<RequestBody>| {
            let (mut control_plane, notifications) = (control_plane.clone(), notifications.clone());
            async move {
                if !request.uri().host().is_some_and(|host| host.starts_with("notification-controller.")) {
                    return tower::Service::call(&mut control_plane, request).await;
                }
                let (parts, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                let request = http::Request::from_parts(parts, http_body_util::Full::default());
                let answer = notifications.handle(&request, &body);
                Ok(answer.map(|body| body.map_err(|never| match never {}).boxed_unsync()))
            }
        }))
    }

    fn service(&self) -> HttpService {
        let (inner, deny) = (self.cluster.service("one"), Arc::clone(&self.deny));
        BoxCloneSyncService::new(tower::service_fn(move |request: http::Request<RequestBody>| {
            let path = request.uri().path_and_query().map_or(String::new(), ToString::to_string);
            let denied = (deny.lock().expect("lock"))(request.method().as_str(), &path);
            let mut inner = inner.clone();
            async move {
                if denied {
                    let why = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403, "message": "forbidden"});
                    let body =
                        http_body_util::Full::from(why.to_string()).map_err(|never| match never {}).boxed_unsync();
                    let answer =
                        http::Response::builder().status(403).header("content-type", "application/json").body(body);
                    return Ok::<_, BoxError>(answer.expect("a plain response"));
                }
                tower::Service::call(&mut inner, request).await
            }
        }))
    }

    /// Time passes.
    pub(crate) async fn pass(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    /// The control plane applies an instance.
    pub(crate) async fn apply(&self, manifest: &Value) -> (u16, Value) {
        let name = manifest["metadata"]["name"].as_str().expect("a name");
        self.admin.apply(&format!("{INSTANCES}/{name}?fieldManager=vworkspace-odoo&force=true"), manifest).await
    }

    /// Applies `files` at 6.6.0 and waits until it is ready.
    pub(crate) async fn installed(&self) {
        let (code, answer) = self.apply(&files("6.6.0")).await;
        assert_eq!(code, 201, "{answer}");
        self.says("files", &["Ready=T/HelmReleaseReady"], 60).await;
    }

    /// A merge patch of `files` by a user.
    pub(crate) async fn patch(&self, merge: Value) {
        let (code, answer) = self.admin.merge_patch(&format!("{INSTANCES}/files"), &merge).await;
        assert_eq!(code, 200, "{answer}");
    }

    /// Waits until all these conditions stand.
    #[track_caller]
    pub(crate) fn says<'a>(
        &'a self,
        name: &'a str,
        conditions: &'a [&'a str],
        within: u64,
    ) -> impl Future<Output = ()> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let mut said = Vec::new();
            for _ in 0..=within {
                said = self.conditions(name).await;
                if conditions.iter().all(|condition| said.iter().any(|text| text == condition)) {
                    return;
                }
                self.pass(1).await;
            }
            let instance = self.instance(name).await;
            panic!(
                "{caller}: {conditions:?} never stood within {within} s; {said:?}: {}",
                instance["status"]["conditions"]
            );
        }
    }

    /// The conditions of an instance, as `Ready=T/HelmReleaseReady`.
    pub(crate) async fn conditions(&self, name: &str) -> Vec<String> {
        let instance = self.instance(name).await;
        let list = instance["status"]["conditions"].as_array().cloned().unwrap_or_default();
        list.iter()
            .map(|entry| {
                let text = |field: &str| entry[field].as_str().unwrap_or("?").to_string();
                format!("{}={}/{}", text("type"), &text("status")[..1], text("reason"))
            })
            .collect()
    }

    /// The message of one condition.
    pub(crate) async fn message(&self, name: &str, type_: &str) -> String {
        let instance = self.instance(name).await;
        let list = instance["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let entry = list.iter().find(|entry| entry["type"] == type_).cloned().unwrap_or_default();
        entry["message"].as_str().unwrap_or_default().into()
    }

    /// An instance, `Null` if it is gone.
    pub(crate) async fn instance(&self, name: &str) -> Value {
        self.get(&format!("{INSTANCES}/{name}")).await
    }

    /// The release of `files`, `Null` if it is gone.
    pub(crate) async fn release(&self) -> Value {
        self.get(&format!("{RELEASES}/files")).await
    }

    /// Any object, `Null` if it is gone.
    pub(crate) async fn get(&self, path: &str) -> Value {
        match self.admin.get(path).await {
            (200, object) => object,
            _ => Value::Null,
        }
    }

    /// Writes of the operator since the last call, Lease renewals and Events excepted.
    pub(crate) fn writes(&self) -> Vec<String> {
        let mut requests = self.cluster.take_requests();
        requests.retain(|request| {
            !request.starts_with("one GET ")
                && !request.contains("/leases/dad03b25")
                && !request.contains("selfsubjectaccessreviews")
                && !request.contains("/events")
        });
        requests
    }
}

/// Ids that never repeat, also after a crash.
fn counted() -> Entropy {
    let count = AtomicU64::new(1);
    Entropy::new(move |bytes| bytes[..8].copy_from_slice(&count.fetch_add(1, Ordering::Relaxed).to_be_bytes()))
}

/// The common target of the contract (§28).
pub(crate) fn files(version: &str) -> Value {
    json!({
        "apiVersion": "apps.vworkspace.io/v1alpha1",
        "kind": "ApplicationInstance",
        "metadata": {"name": "files", "namespace": "org-a", "labels": {
            "app.vworkspace.io/managed-by": "control-plane", "app.vworkspace.io/cluster-id": "c1"}},
        "spec": {
            "appRef": {"catalogId": "nextcloud"},
            "chart": {"sourceType": "oci", "url": CHARTS, "name": "nextcloud", "version": version},
            "release": {"name": "files", "namespace": "org-a"},
            "values": {"source": "inline", "inline": {"replicas": 2}},
        },
    })
}
