//! conf_e1, e2, e4-e6, e9: what the collector does to real objects, on a paused clock.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::apiserver::{Client, Clock, Config, Controllers, Server};

/// Time enough for any chain of reactions in these tests.
const SETTLED: Duration = Duration::from_secs(2);

/// Runs a test beside the controllers.
async fn with<T>(controllers: Controllers, test: impl AsyncFnOnce(Client) -> T) -> T {
    let start = Instant::now();
    let clock = Clock::new(move || {
        Timestamp::UNIX_EPOCH + SignedDuration::try_from(start.elapsed()).unwrap_or(SignedDuration::MAX)
    });
    let server = Server::new(Config { controllers, ..Config::new(clock, 7) });
    let client = server.client("test");
    for namespace in ["ns", "other"] {
        client.post("/api/v1/namespaces", &json!({"metadata": {"name": namespace}})).await;
    }
    tokio::select! {
        biased;
        () = server.run_controllers() => panic!("the controllers ended"),
        result = test(client) => result,
    }
}

async fn collected<T>(test: impl AsyncFnOnce(Client) -> T) -> T {
    with(Controllers { garbage_collector: true, namespaces: false, namespace_contents: false }, test).await
}

fn path(name: &str) -> String {
    format!("/api/v1/namespaces/ns/configmaps/{name}")
}

/// Creates a ConfigMap owned by others (a name, or a whole reference) and returns a reference to it.
async fn make(client: &Client, name: &str, owners: &[&Value], metadata: Value) -> Value {
    let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
    object["metadata"]["name"] = json!(name);
    object["metadata"]["ownerReferences"] = json!(owners);
    let (code, made) = client.post("/api/v1/namespaces/ns/configmaps", &object).await;
    assert_eq!(code, 201, "{made}");
    json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": made["metadata"]["uid"]})
}

fn blocking(reference: &Value) -> Value {
    let mut reference = reference.clone();
    reference["blockOwnerDeletion"] = json!(true);
    reference
}

async fn delete(client: &Client, name: &str, policy: &str) {
    let (code, answer) = client.delete(&path(name), Some(&json!({"propagationPolicy": policy}))).await;
    assert_eq!(code, 200, "{answer}");
}

async fn exists(client: &Client, name: &str) -> bool {
    client.get(&path(name)).await.0 == 200
}

async fn metadata(client: &Client, name: &str) -> Value {
    client.get(&path(name)).await.1["metadata"].clone()
}

fn owner_names(metadata: &Value) -> Vec<&str> {
    metadata["ownerReferences"].as_array().into_iter().flatten().filter_map(|owner| owner["name"].as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn conf_e1_the_owner_goes_first_and_dependents_follow() {
    collected(async |client| {
        let owner = make(&client, "owner", &[], json!({})).await;
        let child = make(&client, "child", &[&owner], json!({})).await;
        make(&client, "grandchild", &[&child], json!({})).await;
        sleep(SETTLED).await;
        delete(&client, "owner", "Background").await;
        assert!(!exists(&client, "owner").await && exists(&client, "child").await);
        sleep(Duration::from_millis(5)).await;
        assert!(exists(&client, "child").await, "collection is never instant");
        sleep(SETTLED).await;
        assert!(!exists(&client, "child").await && !exists(&client, "grandchild").await);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn conf_e2_a_dependent_goes_only_without_any_owner() {
    collected(async |client| {
        let first = make(&client, "first", &[], json!({})).await;
        let second = make(&client, "second", &[], json!({})).await;
        make(&client, "both", &[&first, &second], json!({})).await;
        sleep(SETTLED).await;
        delete(&client, "first", "Background").await;
        sleep(SETTLED).await;
        assert_eq!(owner_names(&metadata(&client, "both").await), ["second"], "the dangling reference is taken out");
        delete(&client, "second", "Background").await;
        sleep(SETTLED).await;
        assert!(!exists(&client, "both").await);
        // The right name with another uid is absent, as is what never was.
        let real = make(&client, "real", &[], json!({})).await;
        let mut stale = real.clone();
        stale["uid"] = json!("22222222-2222-2222-2222-222222222222");
        make(&client, "stale", &[&stale], json!({})).await;
        make(&client, "kept", &[&stale.clone(), &real], json!({})).await;
        sleep(SETTLED).await;
        assert!(!exists(&client, "stale").await);
        let kept = metadata(&client, "kept").await;
        assert_eq!((owner_names(&kept).len(), &kept["ownerReferences"][0]["uid"]), (1, &real["uid"]));
        assert_eq!(kept["managedFields"][0]["manager"], "test", "a removal takes no ownership");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn conf_e2_an_owner_in_another_namespace_is_absent_and_told() {
    collected(async |client| {
        let body = json!({"metadata": {"name": "far"}});
        let (_, far) = client.post("/api/v1/namespaces/other/configmaps", &body).await;
        let uid = &far["metadata"]["uid"];
        sleep(SETTLED).await;
        make(
            &client,
            "child",
            &[&json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "far", "uid": uid})],
            json!({}),
        )
        .await;
        sleep(SETTLED).await;
        assert!(!exists(&client, "child").await);
        let (_, events) = client.get("/api/v1/namespaces/ns/events").await;
        let event = &events["items"][0];
        assert_eq!((&event["reason"], &event["type"]), (&json!("OwnerRefInvalidNamespace"), &json!("Warning")));
        let uid = uid.as_str().unwrap();
        assert_eq!(
            event["message"],
            format!("ownerRef [v1/ConfigMap, namespace: ns, name: far, uid: {uid}] does not exist in namespace \"ns\"")
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn conf_e2_an_owner_of_an_unknown_kind_is_not_absent() {
    collected(async |client| {
        let nobody = json!({"apiVersion": "ex.io/v1", "kind": "Widget", "name": "w", "uid": "33333333-3333-3333-3333-333333333333"});
        let gone = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "g", "uid": "44444444-4444-4444-4444-444444444444"});
        make(&client, "child", &[&nobody, &gone], json!({})).await;
        sleep(Duration::from_secs(3600)).await;
        assert_eq!(owner_names(&metadata(&client, "child").await), ["w", "g"]);
        // Once the kind is served, the truth can be told.
        let schema = json!({"openAPIV3Schema": {"type": "object"}});
        let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "widgets.ex.io"}, "spec": {"group": "ex.io", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]}});
        let (code, answer) = client.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &crd).await;
        assert_eq!(code, 201, "{answer}");
        sleep(SETTLED).await;
        assert!(!exists(&client, "child").await);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn conf_e2_an_owner_seen_going_is_absent_even_if_its_kind_goes_too() {
    collected(async |client| {
        let schema = json!({"openAPIV3Schema": {"type": "object"}});
        let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "widgets.ex.io"}, "spec": {"group": "ex.io", "scope": "Cluster",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]}});
        let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        client.post(crds, &crd).await;
        sleep(SETTLED).await;
        let widget = json!({"apiVersion": "ex.io/v1", "kind": "Widget", "metadata": {"name": "w"}});
        let (code, made) = client.post("/apis/ex.io/v1/widgets", &widget).await;
        assert_eq!(code, 201, "{made}");
        let uid = &made["metadata"]["uid"];
        let owner = json!({"apiVersion": "ex.io/v1", "kind": "Widget", "name": "w", "uid": uid});
        make(&client, "child", &[&owner], json!({})).await;
        sleep(SETTLED).await;
        client.delete("/apis/ex.io/v1/widgets/w", None).await;
        client.delete(&format!("{crds}/widgets.ex.io"), None).await;
        sleep(SETTLED).await;
        assert!(!exists(&client, "child").await);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn conf_e4_foreground_waits_for_blocking_dependents_only() {
    collected(async |client| {
        let owner = make(&client, "owner", &[], json!({})).await;
        make(&client, "blocking", &[&blocking(&owner)], json!({"finalizers": ["t.io/a"]})).await;
        make(&client, "other", &[&owner], json!({"finalizers": ["t.io/a"]})).await;
        make(&client, "free", &[&blocking(&owner)], json!({})).await;
        sleep(SETTLED).await;
        delete(&client, "owner", "Foreground").await;
        sleep(SETTLED).await;
        let kept = metadata(&client, "owner").await;
        assert_eq!(kept["finalizers"], json!(["foregroundDeletion"]));
        assert!(!exists(&client, "free").await);
        assert!(!metadata(&client, "blocking").await["deletionTimestamp"].is_null());
        client.merge_patch(&path("blocking"), &json!({"metadata": {"finalizers": null}})).await;
        sleep(SETTLED).await;
        assert!(!exists(&client, "owner").await && exists(&client, "other").await);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn conf_e4_circles_are_resolved() {
    for policy in ["Foreground", "Background"] {
        collected(async |client| {
            let a = make(&client, "a", &[], json!({})).await;
            let b = make(&client, "b", &[&blocking(&a)], json!({})).await;
            client.merge_patch(&path("a"), &json!({"metadata": {"ownerReferences": [blocking(&b)]}})).await;
            sleep(SETTLED).await;
            delete(&client, "a", policy).await;
            sleep(SETTLED).await;
            assert!(!exists(&client, "a").await && !exists(&client, "b").await, "{policy}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn conf_e5_orphans_lose_the_reference_before_the_owner_goes() {
    collected(async |client| {
        let owner = make(&client, "owner", &[], json!({})).await;
        make(&client, "child", &[&owner], json!({})).await;
        sleep(SETTLED).await;
        delete(&client, "owner", "Orphan").await;
        assert_eq!(metadata(&client, "owner").await["finalizers"], json!(["orphan"]));
        sleep(SETTLED).await;
        assert!(!exists(&client, "owner").await);
        let child = metadata(&client, "child").await;
        assert!(child["ownerReferences"].is_null() && child["deletionTimestamp"].is_null());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn conf_e6_dependents_with_finalizers_are_only_marked() {
    collected(async |client| {
        let owner = make(&client, "owner", &[], json!({})).await;
        make(&client, "child", &[&blocking(&owner)], json!({"finalizers": ["t.io/a"]})).await;
        sleep(SETTLED).await;
        delete(&client, "owner", "Background").await;
        assert!(!exists(&client, "owner").await, "background deletion waits for nobody");
        sleep(Duration::from_secs(600)).await;
        let child = metadata(&client, "child").await;
        assert!(!child["deletionTimestamp"].is_null());
        assert_eq!((&child["finalizers"], owner_names(&child)), (&json!(["t.io/a"]), vec!["owner"]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn conf_e9_frozen_controllers_do_nothing() {
    let frozen = Controllers { garbage_collector: false, namespaces: false, namespace_contents: false };
    with(frozen, async |client| {
        let owner = make(&client, "owner", &[], json!({})).await;
        make(&client, "child", &[&owner], json!({})).await;
        delete(&client, "owner", "Background").await;
        client.delete("/api/v1/namespaces/other", None).await;
        sleep(Duration::from_secs(3600)).await;
        assert!(exists(&client, "child").await);
        assert_eq!(client.get("/api/v1/namespaces/other").await.0, 200);
        assert_eq!(client.get("/api/v1/namespaces/ns/serviceaccounts/default").await.0, 404);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_dependent_that_others_keep_writing_is_collected() {
    collected(async |client| {
        let owner = make(&client, "owner", &[], json!({})).await;
        make(&client, "child", &[&owner], json!({})).await;
        sleep(SETTLED).await;
        delete(&client, "owner", "Background").await;
        for round in 0..40 {
            client.merge_patch(&path("child"), &json!({"data": {"round": round.to_string()}})).await;
            sleep(Duration::from_millis(2)).await;
        }
        sleep(SETTLED).await;
        assert!(!exists(&client, "child").await);
    })
    .await;
}
