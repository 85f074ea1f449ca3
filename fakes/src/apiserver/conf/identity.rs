//! Checklist A: identity, versions, conflicts.

use futures::StreamExt;
use serde_json::json;

use super::{CONFIG_MAPS, config_map, server};

#[tokio::test(start_paused = true)]
async fn conf_a1_one_counter_for_everything() {
    let server = server().await;
    let client = server.client("test");
    let (_, first) = client.post(CONFIG_MAPS, &config_map("a")).await;
    let (_, second) = client.post("/api/v1/namespaces/ns/secrets", &json!({ "metadata": { "name": "a" } })).await;
    let revision = |object: &serde_json::Value| {
        object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse::<u64>().ok())
    };
    assert_eq!(revision(&first).map(|n| n + 1), revision(&second));
}

#[tokio::test(start_paused = true)]
async fn config_maps_live() {
    let server = server().await;
    let client = server.client("test");
    let mut watch = Box::pin(client.watch(CONFIG_MAPS));
    let (code, created) = client.post(CONFIG_MAPS, &config_map("a")).await;
    assert_eq!((code, &created["kind"]), (201, &json!("ConfigMap")));
    assert_eq!(watch.next().await, Some(("ADDED".into(), created.clone())));
    let (code, _) = client.put(&format!("{CONFIG_MAPS}/a"), &config_map("a")).await;
    assert_eq!(code, 200);
    let (code, changed) = client.merge_patch(&format!("{CONFIG_MAPS}/a"), &json!({ "data": { "k": "2" } })).await;
    assert_eq!((code, &changed["data"]["k"]), (200, &json!("2")));
    assert_eq!(watch.next().await, Some(("MODIFIED".into(), changed)));
    let (code, list) = client.get(CONFIG_MAPS).await;
    assert_eq!((code, list["items"].as_array().map(Vec::len)), (200, Some(1)));
    let (code, _) = client.delete(&format!("{CONFIG_MAPS}/a"), None).await;
    assert_eq!(code, 200);
    assert_eq!(watch.next().await.map(|(kind, _)| kind), Some("DELETED".into()));
    let (code, missing) = client.get(&format!("{CONFIG_MAPS}/a")).await;
    assert_eq!((code, &missing["message"]), (404, &json!("configmaps \"a\" not found")));
}
