//! Checklist N: the life of definitions.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::apiserver::{Client, Server};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const GEARS: &str = "/apis/ex.io/v1/namespaces/ns/gears";

fn crd(spec: Value) -> Value {
    let schema = json!({"type": "object", "properties": {"spec": spec, "status": {"type": "object", "properties": {"n": {"type": "integer"}}}}});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "gears.ex.io"},
        "spec": {"group": "ex.io", "scope": "Namespaced", "names": {"plural": "gears", "kind": "Gear"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}})
}

fn gear(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "ex.io/v1", "kind": "Gear", "metadata": {"name": name}, "spec": spec})
}

fn teeth() -> Value {
    json!({"type": "object", "properties": {"teeth": {"type": "integer"}}})
}

/// Runs `story` beside the controllers.
async fn with_controllers<F: Future<Output = ()>>(story: impl FnOnce(Server, Client) -> F) {
    let server = super::server().await;
    let client = server.client("test");
    let story = story(server.clone(), client);
    tokio::select! {
        biased;
        () = server.run_controllers() => unreachable!("controllers never end"),
        () = story => {}
    }
}

#[tokio::test(start_paused = true)]
async fn conf_n4_a_definition_goes_when_its_objects_are_gone() {
    with_controllers(|_, client| async move {
        assert_eq!(client.post(CRDS, &crd(teeth())).await.0, 201);
        sleep(Duration::from_millis(100)).await;
        let mut held = gear("a", json!({}));
        held["metadata"]["finalizers"] = json!(["t.io/a"]);
        assert_eq!(client.post(GEARS, &held).await.0, 201);
        assert_eq!(client.post(GEARS, &gear("b", json!({}))).await.0, 201);
        let (code, marked) = client.delete(&format!("{CRDS}/gears.ex.io"), None).await;
        assert_eq!(
            (code, &marked["metadata"]["finalizers"]),
            (200, &json!(["customresourcecleanup.apiextensions.k8s.io"]))
        );
        sleep(Duration::from_millis(500)).await;
        let (code, refused) = client.post(GEARS, &gear("c", json!({}))).await;
        assert_eq!(
            (code, refused["message"].as_str()),
            (
                403,
                Some(
                    "gears.ex.io \"c\" is forbidden: create not allowed while custom resource definition is terminating"
                )
            )
        );
        let (_, list) = client.get(GEARS).await;
        assert_eq!(list["items"].as_array().map(Vec::len), Some(1), "{list}");
        let (_, crd) = client.get(&format!("{CRDS}/gears.ex.io")).await;
        assert_eq!(crd["status"]["conditions"][2]["reason"], "InstanceDeletionInProgress");
        assert_eq!(client.merge_patch(&format!("{GEARS}/a"), &json!({"metadata": {"finalizers": null}})).await.0, 200);
        sleep(Duration::from_secs(6)).await;
        assert_eq!(client.get(&format!("{CRDS}/gears.ex.io")).await.0, 404);
        assert_eq!(client.get(GEARS).await, (404, json!("404 page not found\n")));
    })
    .await;
}
