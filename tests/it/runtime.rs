//! The runtime against the fake API server: leadership, watches, quiet time, clean end and crash.

use std::time::Duration;

use operator::config::Config;
use operator::runtime::entropy::Entropy;
use operator::runtime::{self, Parts};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::cluster::{self, Cluster};

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/vworkspace-system/leases/dad03b25.vworkspace.io";

/// One operator process.
struct Process {
    task: JoinSet<Result<(), runtime::RunError>>,
    shutdown: Option<oneshot::Sender<()>>,
}

impl Process {
    fn start(cluster: &Cluster, name: &'static str) -> Self {
        let parts = Parts {
            cluster: cluster.service(name),
            control_plane: sim::wire::direct::nowhere(),
            kube: cluster::config(),
            clock: cluster.clock(),
            entropy: Entropy::new(|bytes| bytes.fill(7)),
            config: Config { identity: name.into(), ..Config::default() },
            probes: None,
        };
        let (shutdown, stop) = oneshot::channel();
        let mut task = JoinSet::new();
        task.spawn(async move {
            runtime::run(parts, async {
                let _ = stop.await;
            })
            .await
        });
        Self { task, shutdown: Some(shutdown) }
    }

    async fn stop(mut self) {
        self.shutdown.take().expect("running").send(()).expect("running");
        self.task.join_next().await.expect("one task").expect("no panic").expect("a clean end");
    }

    async fn crash(mut self) {
        self.task.shutdown().await;
    }
}

async fn sleep(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

async fn lease(cluster: &Cluster) -> Value {
    cluster.admin.get(LEASE).await.1["spec"].clone()
}

#[tokio::test(start_paused = true)]
async fn the_first_leads_the_second_waits_and_takes_over_at_once_after_a_clean_end() {
    let cluster = Cluster::start().await;
    let first = Process::start(&cluster, "one");
    sleep(5).await;
    let held = lease(&cluster).await;
    assert_eq!((&held["holderIdentity"], &held["leaseDurationSeconds"]), (&json!("one"), &json!(15)));
    let renewed = held["renewTime"].as_str().expect("a time").to_string();
    assert_eq!(renewed.len(), "2026-01-01T00:00:00.000000Z".len(), "{renewed}");
    let second = Process::start(&cluster, "two");
    sleep(120).await;
    assert_eq!(lease(&cluster).await["holderIdentity"], "one");
    assert_ne!(lease(&cluster).await["renewTime"], renewed.as_str());
    first.stop().await;
    assert_eq!(lease(&cluster).await["holderIdentity"], "");
    sleep(3).await;
    let held = lease(&cluster).await;
    assert_eq!((&held["holderIdentity"], &held["leaseTransitions"]), (&json!("two"), &json!(1)));
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_the_next_leads_within_lease_and_retry() {
    let cluster = Cluster::start().await;
    let first = Process::start(&cluster, "one");
    let second = Process::start(&cluster, "two");
    sleep(30).await;
    first.crash().await;
    sleep(13).await;
    assert_eq!(lease(&cluster).await["holderIdentity"], "one", "not before the Lease is over");
    sleep(6).await;
    assert_eq!(lease(&cluster).await["holderIdentity"], "two");
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_without_an_object_writes_its_lease_and_nothing_else() {
    let cluster = Cluster::start().await;
    cluster.gated("shop").await;
    let process = Process::start(&cluster, "one");
    sleep(30).await;
    cluster.take_requests();
    sleep(1_200).await;
    let requests = cluster.take_requests();
    let renewals = requests.iter().filter(|request| request.contains("/leases/dad03b25")).count();
    assert!((595..=600).contains(&renewals), "{renewals}");
    for request in requests {
        let read = request.starts_with("one GET ");
        assert!(
            read || request.starts_with("one PUT /apis/coordination.k8s.io/v1/namespaces/vworkspace-system/leases/"),
            "{request}"
        );
        let list = read && request.contains("limit=") && !request.contains("watch=true");
        let meant = ["customresourcedefinitions", "/clusters?"].iter().any(|part| request.contains(part));
        assert!(!list || meant, "a list in quiet time: {request}");
    }
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn children_are_watched_in_gated_namespaces_and_nowhere_else() {
    let cluster = Cluster::start().await;
    cluster.create("/api/v1/namespaces", &json!({"metadata": {"name": "elsewhere"}})).await;
    let process = Process::start(&cluster, "one");
    sleep(5).await;
    let watched = |cluster: &Cluster, namespace: &str| {
        let part = format!("/namespaces/{namespace}/");
        cluster
            .take_requests()
            .iter()
            .filter(|request| request.contains("watch=true") && request.contains(&part))
            .count()
    };
    assert_eq!(watched(&cluster, "elsewhere"), 0);
    cluster.gated("shop").await;
    sleep(5).await;
    assert_eq!(watched(&cluster, "shop"), 4);
    let ungate = json!({"metadata": {"labels": {"app.vworkspace.io/managed-by": null}}});
    cluster.admin.merge_patch("/api/v1/namespaces/shop", &ungate).await;
    sleep(1).await;
    cluster.take_requests();
    sleep(120).await;
    assert_eq!(watched(&cluster, "shop"), 0, "the watches end with the gate");
    process.stop().await;
}

const INSTANCES: &str = "/apis/apps.vworkspace.io/v1alpha1/namespaces/shop/applicationinstances";

fn instance(name: &str) -> Value {
    json!({
        "apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance",
        "metadata": {"name": name, "namespace": "shop", "labels": {"app.vworkspace.io/managed-by": "control-plane"}},
        "spec": {
            "appRef": {"catalogId": "crm"},
            "chart": {"sourceType": "oci", "url": "oci://charts.example.org/apps", "name": "crm", "version": "6.6.0"},
            "release": {"name": name, "namespace": "shop"},
            "values": {"source": "inline", "inline": {"replicas": 1}},
        },
    })
}

async fn ready(cluster: &Cluster, name: &str) -> bool {
    let (_, instance) = cluster.admin.get(&format!("{INSTANCES}/{name}")).await;
    let conditions = instance["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().any(|condition| {
        condition["type"] == "Ready"
            && condition["status"] == "True"
            && condition["observedGeneration"] == instance["metadata"]["generation"]
    })
}

/// Requests that concern no object of an instance: leadership and stores, watches and their lists, discovery.
fn housekeeping(request: &str) -> bool {
    request.contains("/namespaces/vworkspace-system/")
        || request.contains("watch=true")
        || request.contains("limit=250")
        || request.contains("/openapi/")
        || request.contains("/customresourcedefinitions")
        || request.contains("selfsubjectaccessreviews")
        || request.ends_with("GET /apis")
}

#[tokio::test(start_paused = true)]
async fn an_instance_converges_within_its_budget_and_then_nothing_is_written() {
    let mut cluster = Cluster::start().await;
    let _flux = cluster.flux();
    cluster.gated("shop").await;
    let process = Process::start(&cluster, "one");
    sleep(10).await;
    cluster.take_requests();
    cluster.create(INSTANCES, &instance("crm")).await;
    let mut seconds = 0;
    while !ready(&cluster, "crm").await {
        sleep(1).await;
        seconds += 1;
        assert!(seconds < 300, "{:?}", cluster.admin.get(&format!("{INSTANCES}/crm")).await.1["status"]);
    }
    sleep(30).await;
    let requests: Vec<_> = cluster.take_requests().into_iter().filter(|request| !housekeeping(request)).collect();
    let writes =
        requests.iter().filter(|request| !request.starts_with("one GET") && !request.contains("/events?")).count();
    assert!(
        requests.len() <= 40 && writes <= 6,
        "{} requests, {writes} writes:\n{}",
        requests.len(),
        requests.join("\n")
    );

    sleep(1_200).await;
    let late: Vec<_> = cluster.take_requests().into_iter().filter(|request| !housekeeping(request)).collect();
    assert!(late.iter().all(|request| request.starts_with("one GET")), "{}", late.join("\n"));
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn many_instances_converge_and_a_failover_repeats_nothing() {
    let mut cluster = Cluster::start().await;
    let _flux = cluster.flux();
    cluster.gated("shop").await;
    let process = Process::start(&cluster, "one");
    sleep(10).await;
    cluster.take_requests();
    for number in 0..20 {
        cluster.create(INSTANCES, &instance(&format!("crm-{number}"))).await;
    }
    // Flux installs four at once, so most of this is its time.
    sleep(240).await;
    for number in 0..20 {
        assert!(ready(&cluster, &format!("crm-{number}")).await, "crm-{number}");
    }
    let requests = cluster.take_requests().into_iter().filter(|request| !housekeeping(request)).count();
    assert!(requests <= 20 * 40, "{requests}");
    process.crash().await;
    let process = Process::start(&cluster, "two");
    sleep(120).await;
    let writes: Vec<_> = cluster
        .take_requests()
        .into_iter()
        .filter(|request| !housekeeping(request) && !request.starts_with("two GET"))
        .collect();
    assert_eq!(writes, Vec::<String>::new());
    process.stop().await;
}
