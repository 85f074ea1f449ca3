//! conf_e3, e7, e8: the life of namespaces, on a paused clock.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::apiserver::{Client, Clock, Config, Server};

const NAMESPACE: &str = "/api/v1/namespaces/ns";

/// Runs a test beside all controllers, in a namespace that has settled.
async fn with<T>(test: impl AsyncFnOnce(Client) -> T) -> T {
    let start = Instant::now();
    let clock = Clock::new(move || {
        Timestamp::UNIX_EPOCH + SignedDuration::try_from(start.elapsed()).unwrap_or(SignedDuration::MAX)
    });
    let server = Server::new(Config::new(clock, 7));
    let client = server.client("test");
    tokio::select! {
        biased;
        () = server.run_controllers() => panic!("the controllers ended"),
        result = async {
            client.post("/api/v1/namespaces", &json!({"metadata": {"name": "ns"}})).await;
            sleep(Duration::from_secs(1)).await;
            test(client).await
        } => result,
    }
}

async fn make(client: &Client, name: &str, metadata: Value) -> (u16, Value) {
    let mut object = json!({"metadata": metadata});
    object["metadata"]["name"] = json!(name);
    client.post(&format!("{NAMESPACE}/configmaps"), &object).await
}

async fn condition(client: &Client, kind: &str) -> (String, String) {
    let (_, namespace) = client.get(NAMESPACE).await;
    let conditions = namespace["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.into_iter().find(|condition| condition["type"] == kind).unwrap_or_default();
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    (text("status"), text("message"))
}

async fn release(client: &Client, name: &str) {
    let body = json!({"metadata": {"finalizers": null}});
    assert_eq!(client.merge_patch(&format!("{NAMESPACE}/configmaps/{name}"), &body).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn conf_e3_nothing_new_in_a_terminating_namespace() {
    with(async |client| {
        make(&client, "held", json!({"finalizers": ["t.io/a"]})).await;
        client.delete(NAMESPACE, None).await;
        let (code, answer) = make(&client, "new", json!({})).await;
        assert_eq!(
            (code, &answer["message"]),
            (403, &json!("configmaps \"new\" is forbidden: unable to create new content in namespace ns because it is being terminated"))
        );
        assert_eq!(
            answer["details"]["causes"],
            json!([{"reason": "NamespaceTerminating", "message": "namespace ns is being terminated", "field": "metadata.namespace"}])
        );
        let apply = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "new"}});
        assert_eq!(client.apply(&format!("{NAMESPACE}/configmaps/new?fieldManager=m"), &apply).await.0, 403);
        let lease = json!({"metadata": {"name": "new"}, "spec": {}});
        assert_eq!(client.post("/apis/coordination.k8s.io/v1/namespaces/ns/leases", &lease).await.0, 403);
        let event = json!({"metadata": {"name": "new"}, "involvedObject": {"namespace": "ns"}});
        assert_eq!(client.post(&format!("{NAMESPACE}/events"), &event).await.0, 403);
        let labels = json!({"metadata": {"labels": {"a": "1"}}});
        assert_eq!(client.merge_patch(&format!("{NAMESPACE}/configmaps/held"), &labels).await.0, 200);
        assert_eq!(client.delete(&format!("{NAMESPACE}/configmaps/held"), None).await.0, 200);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn conf_e7_content_goes_after_five_seconds_and_what_is_held_is_named() {
    with(async |client| {
        make(&client, "free", json!({})).await;
        make(&client, "held", json!({"finalizers": ["t.io/a"]})).await;
        let (code, namespace) = client.delete(NAMESPACE, None).await;
        assert_eq!((code, &namespace["status"]["phase"]), (200, &json!("Terminating")));
        assert_eq!(namespace["spec"]["finalizers"], json!(["kubernetes"]));
        assert!(namespace["metadata"]["deletionGracePeriodSeconds"].is_null());
        sleep(Duration::from_millis(4900)).await;
        assert_eq!(client.get(&format!("{NAMESPACE}/configmaps/free")).await.0, 200, "untouched for five seconds");
        sleep(Duration::from_millis(500)).await;
        assert_eq!(client.get(&format!("{NAMESPACE}/configmaps/free")).await.0, 404);
        let (status, message) = condition(&client, "NamespaceContentRemaining").await;
        assert_eq!(
            (status.as_str(), message.as_str()),
            ("True", "Some resources are remaining: configmaps. has 1 resource instances")
        );
        let (_, message) = condition(&client, "NamespaceFinalizersRemaining").await;
        assert_eq!(message, "Some content in the namespace has finalizers remaining: t.io/a in 1 resource instances");
        assert_eq!(client.delete(NAMESPACE, None).await.0, 200);
        let (code, answer) = client.post("/api/v1/namespaces", &json!({"metadata": {"name": "ns"}})).await;
        assert_eq!(
            (code, &answer["message"]),
            (409, &json!("object is being deleted: namespaces \"ns\" already exists"))
        );
        sleep(Duration::from_secs(60)).await;
        release(&client, "held").await;
        assert_eq!(client.get(NAMESPACE).await.0, 200);
        sleep(Duration::from_secs(9)).await;
        assert_eq!(client.get(NAMESPACE).await.0, 404, "looked at again within about eight seconds");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn conf_e7_other_finalizers_of_the_spec_hold() {
    with(async |client| {
        let (_, mut namespace) = client.get(NAMESPACE).await;
        namespace["spec"]["finalizers"] = json!(["kubernetes", "t.io/ns"]);
        assert_eq!(client.put(&format!("{NAMESPACE}/finalize"), &namespace).await.0, 200);
        client.delete(NAMESPACE, None).await;
        sleep(Duration::from_secs(60)).await;
        let (_, mut namespace) = client.get(NAMESPACE).await;
        assert_eq!(namespace["spec"]["finalizers"], json!(["t.io/ns"]), "the controller takes out its own");
        assert_eq!(condition(&client, "NamespaceContentRemaining").await.1, "All content successfully removed");
        namespace["spec"]["finalizers"] = json!([]);
        assert_eq!(client.put(&format!("{NAMESPACE}/finalize"), &namespace).await.0, 200);
        assert_eq!(client.get(NAMESPACE).await.0, 404, "gone at once");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn conf_e7_finalize_leaves_orphans_that_reappear() {
    with(async |client| {
        make(&client, "held", json!({"finalizers": ["t.io/a"]})).await;
        client.delete(NAMESPACE, None).await;
        let (_, mut namespace) = client.get(NAMESPACE).await;
        namespace["spec"]["finalizers"] = json!([]);
        client.put(&format!("{NAMESPACE}/finalize"), &namespace).await;
        assert_eq!(client.get(NAMESPACE).await.0, 404);
        assert_eq!(client.get(&format!("{NAMESPACE}/configmaps/held")).await.0, 200);
        let labels = json!({"metadata": {"labels": {"a": "1"}}});
        let (code, answer) = client.merge_patch(&format!("{NAMESPACE}/configmaps/held"), &labels).await;
        assert_eq!((code, &answer["message"]), (404, &json!("namespaces \"ns\" not found")));
        client.post("/api/v1/namespaces", &json!({"metadata": {"name": "ns"}})).await;
        sleep(Duration::from_secs(60)).await;
        release(&client, "held").await;
        assert_eq!(client.get(NAMESPACE).await.0, 200);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn conf_e7_some_namespaces_stay() {
    with(async |client| {
        for name in ["default", "kube-system", "kube-public"] {
            let (code, answer) = client.delete(&format!("/api/v1/namespaces/{name}"), None).await;
            let message = format!("namespaces \"{name}\" is forbidden: this namespace may not be deleted");
            assert_eq!((code, &answer["message"]), (403, &json!(message)));
        }
        assert_eq!(client.delete("/api/v1/namespaces", None).await.0, 405);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn conf_e8_every_namespace_has_its_label_account_and_certificates() {
    with(async |client| {
        let (_, namespace) = client.get(NAMESPACE).await;
        assert_eq!(namespace["metadata"]["labels"], json!({"kubernetes.io/metadata.name": "ns"}));
        let account = format!("{NAMESPACE}/serviceaccounts/default");
        let certificates = format!("{NAMESPACE}/configmaps/kube-root-ca.crt");
        let (_, first) = client.get(&certificates).await;
        assert!(first["data"]["ca.crt"].is_string());
        client.delete(&account, None).await;
        client.merge_patch(&certificates, &json!({"data": {"ca.crt": null, "x": "1"}})).await;
        assert_eq!(client.get(&account).await.0, 404, "made again later, not at once");
        sleep(Duration::from_secs(1)).await;
        assert_eq!(client.get(&account).await.0, 200);
        assert_eq!(client.get(&certificates).await.1["data"], first["data"]);
        client.post("/api/v1/namespaces", &json!({"metadata": {"name": "late"}})).await;
        assert_eq!(client.get("/api/v1/namespaces/late/serviceaccounts/default").await.0, 404);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(client.get("/api/v1/namespaces/late/serviceaccounts/default").await.0, 200);
    })
    .await;
}
