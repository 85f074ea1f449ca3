//! Checklist N: the life of definitions.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::apiserver::{Client, Server};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
pub(super) const GEARS: &str = "/apis/ex.io/v1/namespaces/ns/gears";

fn crd(spec: Value) -> Value {
    let schema = json!({"type": "object", "properties": {"spec": spec, "status": {"type": "object", "properties": {"n": {"type": "integer"}}}}});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "gears.ex.io"},
        "spec": {"group": "ex.io", "scope": "Namespaced", "names": {"plural": "gears", "kind": "Gear"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.teeth", "statusReplicasPath": ".status.n"}}}]}})
}

pub(super) fn gear(name: &str, spec: Value) -> Value {
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

/// Runs `story` with a served definition whose spec has this schema; `spec.mode`, if there is one, is selectable.
pub(super) async fn served<F: Future<Output = ()>>(spec: Value, story: impl FnOnce(Server, Client) -> F) {
    with_controllers(|server, client| async move {
        let mut crd = crd(spec);
        if crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/mode").is_some() {
            crd["spec"]["versions"][0]["selectableFields"] = json!([{"jsonPath": ".spec.mode"}]);
        }
        let (code, answer) = client.post(CRDS, &crd).await;
        assert_eq!(code, 201, "{answer}");
        sleep(Duration::from_millis(100)).await;
        story(server, client).await;
    })
    .await;
}

/// Sets one thing in the first version of the definition and waits until it acts.
pub(super) async fn change(_server: &Server, client: &Client, path: &str, value: Value) {
    let patch = json!([{"op": "add", "path": format!("/spec/versions/0{path}"), "value": value}]);
    let (code, answer) = client
        .request("PATCH", &format!("{CRDS}/gears.ex.io"), Some("application/json-patch+json"), Some(&patch))
        .await;
    assert_eq!(code, 200, "{answer}");
    sleep(Duration::from_millis(100)).await;
}

#[tokio::test(start_paused = true)]
async fn conf_n1_served_some_milliseconds_after_it_is_established() {
    with_controllers(|_, client| async move {
        let (code, created) = client.post(CRDS, &crd(teeth())).await;
        assert_eq!((code, &created["status"]["conditions"]), (201, &Value::Null));
        let one = format!("{CRDS}/gears.ex.io");
        let mut seen = Vec::new();
        for _ in 0..10 {
            let (_, crd) = client.get(&one).await;
            let established = crd["status"]["conditions"][1]["status"] == "True";
            seen.push((established, client.get(GEARS).await.0));
            sleep(Duration::from_millis(6)).await;
        }
        seen.dedup();
        assert_eq!(seen, [(false, 404), (true, 404), (true, 200)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn conf_n2_bad_definitions_are_refused() {
    with_controllers(|_, client| async move {
        for (pointer, value, expected) in [
            (
                "/metadata/name",
                json!("x.ex.io"),
                "metadata.name: Invalid value: \"x.ex.io\": must be spec.names.plural+\".\"+spec.group",
            ),
            ("/spec/scope", json!(""), "spec.scope: Required value"),
            ("/spec/versions/0/name", json!("v1.2"), "spec.version: Invalid value: \"v1.2\": a DNS-1035 label"),
            ("/spec/versions/0/storage", json!(false), "must have exactly one version marked as storage version"),
            ("/spec/versions/0/schema", json!({}), "spec.versions[0].schema.openAPIV3Schema: Required value"),
            (
                "/spec/versions/0/subresources/scale/specReplicasPath",
                json!("spec.x"),
                "must be a simple json path starting with .",
            ),
            ("/spec/names/plural", json!("Bad"), "spec.names.plural: Invalid value: \"Bad\": a DNS-1035 label"),
        ] {
            let mut bad = crd(teeth());
            *bad.pointer_mut(pointer).expect("a field of the definition") = value;
            let (code, answer) = client.post(CRDS, &bad).await;
            let message = answer["message"].as_str().unwrap_or_default();
            assert!(code == 422 && message.contains(expected), "{pointer}: {code} {message}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn conf_n3_versions_change_only_the_version() {
    served(teeth(), |server, client| async move {
        assert_eq!(client.post(GEARS, &gear("a", json!({"teeth": 1}))).await.0, 201);
        let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
        let patch = json!([{"op": "replace", "path": "/spec/versions/0/storage", "value": false},
            {"op": "add", "path": "/spec/versions/-", "value": {"name": "v2", "served": true, "storage": true, "schema": schema}}]);
        let one = format!("{CRDS}/gears.ex.io");
        let (code, crd) = client.request("PATCH", &one, Some("application/json-patch+json"), Some(&patch)).await;
        assert_eq!((code, &crd["status"]["storedVersions"], &crd["metadata"]["generation"]), (200, &json!(["v1", "v2"]), &json!(2)));
        sleep(Duration::from_millis(100)).await;
        let (code, gear) = client.get("/apis/ex.io/v2/namespaces/ns/gears/a").await;
        assert_eq!((code, &gear["apiVersion"], &gear["spec"]), (200, &json!("ex.io/v2"), &json!({"teeth": 1})));
        let remove = json!([{"op": "remove", "path": "/spec/versions/0"}]);
        assert_eq!(client.request("PATCH", &one, Some("application/json-patch+json"), Some(&remove)).await.0, 422);
        drop(server);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn conf_n5_b14_a_changed_schema_ends_watches_a_second_later() {
    served(teeth(), |server, client| async move {
        let mut watch = Box::pin(client.watch(GEARS));
        let labels = json!({"metadata": {"labels": {"l": "1"}}});
        assert_eq!(client.merge_patch(&format!("{CRDS}/gears.ex.io"), &labels).await.0, 200);
        let ended =
            |watch: &mut std::pin::Pin<Box<_>>| futures::FutureExt::now_or_never(futures::StreamExt::next(watch));
        sleep(Duration::from_secs(3)).await;
        assert_eq!(ended(&mut watch), None, "labels end nothing");
        change(
            &server,
            &client,
            "/schema/openAPIV3Schema/properties/spec/properties/extra",
            json!({"type": "string", "default": "e"}),
        )
        .await;
        assert_eq!(ended(&mut watch), None, "it takes a second");
        sleep(Duration::from_secs(2)).await;
        assert_eq!(ended(&mut watch), Some(None));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn conf_c6_later_defaults_are_read_before_they_are_stored() {
    served(teeth(), |server, client| async move {
        let (_, created) = client.post(GEARS, &gear("a", json!({"teeth": 1}))).await;
        change(
            &server,
            &client,
            "/schema/openAPIV3Schema/properties/spec/properties/extra",
            json!({"type": "string", "default": "e"}),
        )
        .await;
        let one = format!("{GEARS}/a");
        let (_, read) = client.get(&one).await;
        assert_eq!(read["spec"]["extra"], "e");
        assert_eq!(read["metadata"]["resourceVersion"], created["metadata"]["resourceVersion"]);
        let (_, labelled) = client.merge_patch(&one, &json!({"metadata": {"labels": {"x": "1"}}})).await;
        assert_eq!(labelled["metadata"]["generation"], 1);
    })
    .await;
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
