//! The operator with the rights of the contract (§24) and no others, on a server where roles decide.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fakes::apiserver::Authorization;
use operator::config::Config;
use operator::runtime::entropy::Entropy;
use operator::runtime::{self, Parts, health};
use operator::transport::{HttpService, RequestBody};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tower::Service;
use tower::util::BoxCloneSyncService;

use crate::cluster::{self, Cluster};
use crate::stage::{INSTANCES, RELEASES, SOURCES, files};

const HOME: &str = "vworkspace-system";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// What the loops of ApplicationInstances need in the whole cluster: groups, resources, verbs.
const CLUSTER: &[(&str, &str, &[&str])] = &[
    ("apps.vworkspace.io", "applicationinstances", &["get", "list", "watch", "patch"]),
    ("apps.vworkspace.io", "applicationinstances/status", &["patch"]),
    ("ops.vworkspace.io", "clusters", &["get", "list", "watch", "patch"]),
    ("ops.vworkspace.io", "clusters/status", &["patch"]),
    ("ops.vworkspace.io", "operations", &["get", "list", "watch"]),
    ("", "namespaces", &["get", "list", "watch"]),
    ("apiextensions.k8s.io", "customresourcedefinitions", &["get", "list", "watch"]),
];

/// What they need in each gated namespace.
const NAMESPACE: &[(&str, &str, &[&str])] = &[
    ("helm.toolkit.fluxcd.io", "helmreleases", &["get", "list", "watch", "create", "patch", "delete"]),
    ("source.toolkit.fluxcd.io", "helmrepositories", &["get", "list", "watch", "create", "patch", "delete"]),
    ("source.toolkit.fluxcd.io", "ocirepositories", &["get", "list", "watch", "create", "patch", "delete"]),
    ("source.toolkit.fluxcd.io", "helmcharts", &["get"]),
    ("coordination.k8s.io", "leases", &["get", "list", "watch"]),
    ("", "configmaps", &["get", "list", "create", "patch", "delete"]),
    ("", "secrets", &["get"]),
    ("", "events", &["create", "patch"]),
];

/// What they need in the operator's own namespace.
const OWN: &[(&str, &str, &[&str])] = &[
    ("coordination.k8s.io", "leases", &["get", "create", "update"]),
    ("", "configmaps", &["get", "list", "create", "update", "delete"]),
    ("", "secrets", &["get", "create", "patch", "delete"]),
];

type Right<'a> = (&'a str, &'a str, &'a str);

/// The rules of a table, without one right.
fn rules(table: &[(&str, &str, &[&str])], without: Option<Right<'_>>) -> Value {
    let rule = |(group, resource, verbs): &(&str, &str, &[&str])| {
        let verbs: Vec<&str> =
            verbs.iter().copied().filter(|verb| without != Some((*group, *resource, *verb))).collect();
        (!verbs.is_empty()).then(|| json!({ "apiGroups": [group], "resources": [resource], "verbs": verbs }))
    };
    table.iter().filter_map(rule).collect()
}

/// The ServiceAccount with its rights, and the operator that runs as it.
struct Tenant {
    cluster: Cluster,
    refused: Arc<Mutex<Vec<String>>>,
    probes: std::net::SocketAddr,
    _operator: JoinSet<()>,
}

impl Tenant {
    async fn start(without: Option<Right<'_>>) -> Self {
        let mut cluster = Cluster::with(Authorization::Rbac).await;
        let _flux = cluster.flux();
        cluster
            .create(&format!("/api/v1/namespaces/{HOME}/serviceaccounts"), &json!({"metadata": {"name": "operator"}}))
            .await;
        for (name, table) in [("operator", CLUSTER), ("operator-namespace", NAMESPACE), ("operator-home", OWN)] {
            let role = json!({"metadata": {"name": name}, "rules": rules(table, without)});
            cluster.create(&format!("{RBAC}/clusterroles"), &role).await;
        }
        cluster.create(&format!("{RBAC}/clusterrolebindings"), &binding("operator")).await;
        cluster.create(&format!("{RBAC}/namespaces/{HOME}/rolebindings"), &binding("operator-home")).await;
        cluster.gated("org-a").await;
        cluster.create(&format!("{RBAC}/namespaces/org-a/rolebindings"), &binding("operator-namespace")).await;
        let own = json!({"apiVersion": "ops.vworkspace.io/v1alpha1", "kind": "Cluster", "metadata": {"name": "cluster"}, "spec": {"clusterId": "c1"}});
        cluster.create("/apis/ops.vworkspace.io/v1alpha1/clusters", &own).await;

        let refused: Arc<Mutex<Vec<String>>> = Arc::default();
        let listener = health::listen("127.0.0.1:0".parse().expect("an address")).await.expect("a free port");
        let probes = listener.local_addr().expect("bound");
        let parts = Parts {
            cluster: noting(cluster.service("one"), Arc::clone(&refused)),
            control_plane: sim::wire::direct::nowhere(),
            kube: credentials(&cluster).await,
            clock: cluster.clock(),
            entropy: Entropy::new(|bytes| bytes.fill(7)),
            config: Config { identity: "one".into(), ..Config::default() },
            probes: Some(listener),
        };
        let mut operator = JoinSet::new();
        operator.spawn(async move {
            let ended = runtime::run(parts, std::future::pending()).await;
            panic!("the operator ended: {ended:?}");
        });
        sleep(10).await;
        Self { cluster, refused, probes, _operator: operator }
    }

    /// `/readyz`: the code and the checks.
    async fn ready(&self) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.probes).await.expect("the probes listen");
        let question = "GET /readyz HTTP/1.1\r\nhost: probe\r\nconnection: close\r\n\r\n";
        stream.write_all(question.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a code");
        (code, serde_json::from_str::<Value>(body).expect("JSON")["checks"].clone())
    }

    async fn instance(&self) -> Value {
        self.cluster.admin.get(&format!("{INSTANCES}/files")).await.1
    }

    async fn apply(&self, version: &str) {
        let path = format!("{INSTANCES}/files?fieldManager=vworkspace-odoo&force=true");
        let (code, answer) = self.cluster.admin.apply(&path, &files(version)).await;
        assert!(code < 300, "{answer}");
    }

    /// Waits until Ready=True tells of the current generation.
    async fn converged(&self) {
        for _ in 0..180 {
            sleep(1).await;
            let instance = self.instance().await;
            let conditions = instance["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let ready = |condition: &Value| {
                condition["type"] == "Ready"
                    && condition["status"] == "True"
                    && condition["observedGeneration"] == instance["metadata"]["generation"]
            };
            if conditions.iter().any(ready) {
                return;
            }
        }
        panic!("not ready: {}; refused: {:?}", self.instance().await["status"], self.refused());
    }

    fn refused(&self) -> Vec<String> {
        self.refused.lock().expect("lock").clone()
    }
}

fn binding(role: &str) -> Value {
    json!({
        "metadata": {"name": role},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": "operator", "namespace": HOME}],
    })
}

/// A token as the kubelet gets it for a pod of this ServiceAccount.
async fn credentials(cluster: &Cluster) -> kube::Config {
    let path = format!("/api/v1/namespaces/{HOME}/serviceaccounts/operator/token");
    let review = cluster.create(&path, &json!({"spec": {"expirationSeconds": 86_400}})).await;
    let mut config = cluster::config();
    config.auth_info = serde_json::from_value(json!({"token": review["status"]["token"]})).expect("credentials");
    config
}

/// Notes what was refused for want of rights.
fn noting(inner: HttpService, refused: Arc<Mutex<Vec<String>>>) -> HttpService {
    BoxCloneSyncService::new(tower::service_fn(move |request: http::Request<RequestBody>| {
        let (mut inner, refused) = (inner.clone(), Arc::clone(&refused));
        let what = format!("{} {}", request.method(), request.uri());
        async move {
            let response = inner.call(request).await?;
            if matches!(response.status().as_u16(), 401 | 403) {
                refused.lock().expect("lock").push(format!("{} {what}", response.status().as_u16()));
            }
            Ok(response)
        }
    }))
}

async fn sleep(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn install_upgrade_and_deletion_need_no_right_beyond_the_contract() {
    let tenant = Tenant::start(None).await;
    let (code, checks) = tenant.ready().await;
    assert_eq!((code, &checks["rbac"], &checks["caches"]), (200, &json!("ok"), &json!("ok")), "{checks}");
    tenant.apply("6.6.0").await;
    tenant.converged().await;
    tenant.apply("7.0.0").await;
    tenant.converged().await;
    let events = tenant.cluster.admin.get("/api/v1/namespaces/org-a/events").await.1;
    assert!(events["items"].as_array().is_some_and(|events| !events.is_empty()), "Events are told");
    tenant.cluster.admin.delete(&format!("{INSTANCES}/files"), None).await;
    sleep(120).await;
    for path in [INSTANCES, RELEASES, SOURCES] {
        assert_eq!(tenant.cluster.admin.get(path).await.1["items"], json!([]), "{path}");
    }
    assert_eq!(tenant.refused(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn without_one_of_the_cluster_wide_rights_readiness_names_it() {
    let everywhere = CLUSTER.iter().map(|rule| (rule, ""));
    let at_home = OWN.iter().map(|rule| (rule, " in vworkspace-system"));
    for ((group, resource, verbs), place) in everywhere.chain(at_home) {
        for verb in *verbs {
            let tenant = Tenant::start(Some((group, resource, verb))).await;
            let (code, checks) = tenant.ready().await;
            let of = if group.is_empty() { String::new() } else { format!(" of {group}") };
            let expect = format!("failed: not allowed: {verb} {resource}{of}{place}");
            assert_eq!((code, checks["rbac"].as_str()), (503, Some(expect.as_str())), "{checks}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_right_in_a_gated_namespace_readiness_names_the_watch_until_it_is_granted() {
    let tenant = Tenant::start(Some(("helm.toolkit.fluxcd.io", "helmreleases", "watch"))).await;
    let (code, checks) = tenant.ready().await;
    assert_eq!((code, &checks["caches"]), (503, &json!("failed: helmreleases in org-a: forbidden")), "{checks}");
    let role = json!({"rules": rules(NAMESPACE, None)});
    tenant.cluster.admin.merge_patch(&format!("{RBAC}/clusterroles/operator-namespace"), &role).await;
    sleep(30).await;
    assert_eq!(tenant.ready().await.0, 200, "without a restart");
}
