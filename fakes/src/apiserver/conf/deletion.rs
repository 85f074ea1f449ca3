//! Checklist C5, C7-C9, C13: what DELETE does to one object, without a collector.

use serde_json::{Value, json};

use super::{CONFIG_MAPS, server};
use crate::apiserver::Client;

const POLICIES: &str = "/apis/networking.k8s.io/v1/namespaces/ns/networkpolicies";

async fn make(client: &Client, name: &str, finalizers: Value) -> Value {
    let object = json!({"metadata": {"name": name, "finalizers": finalizers}});
    client.post(CONFIG_MAPS, &object).await.1
}

fn path(name: &str) -> String {
    format!("{CONFIG_MAPS}/{name}")
}

#[tokio::test(start_paused = true)]
async fn conf_c5_marking_raises_the_generation_once() {
    let server = server().await;
    let client = server.client("test");
    let policy = json!({"metadata": {"name": "p", "finalizers": ["t.io/a"]}, "spec": {"podSelector": {}}});
    let (code, made) = client.post(POLICIES, &policy).await;
    assert_eq!((code, &made["metadata"]["generation"]), (201, &json!(1)));
    for _ in 0..2 {
        let (_, marked) = client.delete(&format!("{POLICIES}/p"), None).await;
        assert_eq!(marked["metadata"]["generation"], json!(2));
    }
}

#[tokio::test(start_paused = true)]
async fn conf_c7_without_finalizers_an_object_is_gone_at_once() {
    let server = server().await;
    let client = server.client("test");
    let made = make(&client, "a", json!([])).await;
    let (code, answer) = client.delete(&path("a"), None).await;
    assert_eq!((code, &answer["status"]), (200, &json!("Success")));
    assert_eq!(answer["details"], json!({"name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"]}));
    assert_eq!(client.get(&path("a")).await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn conf_c8_with_finalizers_it_is_marked_once() {
    let server = server().await;
    let client = server.client("test");
    make(&client, "a", json!(["t.io/a"])).await;
    let (code, marked) = client.delete(&path("a"), None).await;
    assert_eq!((code, &marked["metadata"]["deletionGracePeriodSeconds"]), (200, &json!(0)));
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(client.delete(&path("a"), None).await, (200, marked));
    make(&client, "b", json!(["t.io/a"])).await;
    assert_eq!(client.delete(&path("b"), Some(&json!({"orphanDependents": false}))).await.0, 202);
}

#[tokio::test(start_paused = true)]
async fn conf_c9_a_terminating_object_takes_writes_but_no_new_finalizer() {
    let server = server().await;
    let client = server.client("test");
    make(&client, "a", json!(["t.io/a", "t.io/b"])).await;
    client.delete(&path("a"), None).await;
    assert_eq!(client.merge_patch(&path("a"), &json!({"data": {"k": "2"}})).await.0, 200);
    let more = json!({"metadata": {"finalizers": ["t.io/a", "t.io/b", "t.io/c"]}});
    let (code, answer) = client.merge_patch(&path("a"), &more).await;
    assert_eq!(code, 422);
    assert!(answer["message"].as_str().is_some_and(|text| text.contains("no new finalizers can be added")), "{answer}");
    let fewer = json!({"metadata": {"finalizers": ["t.io/b"]}});
    assert_eq!(client.merge_patch(&path("a"), &fewer).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn conf_c13_policies_become_finalizers() {
    let server = server().await;
    let client = server.client("test");
    let delete = async |policy: &str| client.delete(&path("a"), Some(&json!({"propagationPolicy": policy}))).await;
    make(&client, "a", json!(["t.io/a"])).await;
    let shown = |answer: (u16, Value)| answer.1["metadata"]["finalizers"].clone();
    assert_eq!(shown(delete("Foreground").await), json!(["t.io/a", "foregroundDeletion"]));
    assert_eq!(shown(delete("Orphan").await), json!(["t.io/a", "orphan"]));
    assert_eq!(shown(delete("Background").await), json!(["t.io/a"]));
    client.merge_patch(&path("a"), &json!({"metadata": {"finalizers": null}})).await;
    make(&client, "a", json!([])).await;
    assert_eq!(shown(delete("Foreground").await), json!(["foregroundDeletion"]));
    assert_eq!(delete("Background").await.1["status"], json!("Success"));
    assert_eq!(client.get(&path("a")).await.0, 404);
}
