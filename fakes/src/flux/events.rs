//! Kubernetes Events, as the controllers' recorder posts them: lossy, rate limited, never part of any decision.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::subject::Hub;

/// Posts one Event about `object`. What the server answers does not matter, as in the real recorder.
pub(crate) async fn record(hub: &Hub, object: &Value, kind: &str, reason: &str, message: &str) {
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let now = hub.world.stamp();
    let mut hash = Sha256::new();
    for part in [&object["metadata"]["uid"].to_string(), reason, message, &hub.world.now().as_nanosecond().to_string()]
    {
        hash.update(part.as_bytes());
    }
    let suffix: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let message: String = message.chars().take(1024).collect();
    let event = json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": format!("{name}.{suffix}"), "namespace": namespace},
        "involvedObject": {
            "apiVersion": object["apiVersion"],
            "kind": object["kind"],
            "namespace": namespace,
            "name": name,
            "uid": object["metadata"]["uid"],
            "resourceVersion": object["metadata"]["resourceVersion"],
        },
        "reason": reason,
        "message": message,
        "type": kind,
        "source": {"component": hub.controller.name()},
        "reportingComponent": hub.controller.name(),
        "reportingInstance": "",
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    });
    let path = format!("/api/v1/namespaces/{namespace}/events");
    let _lost_without_harm = hub.client.request("POST", &path, Some("application/json"), Some(&event)).await;
}
