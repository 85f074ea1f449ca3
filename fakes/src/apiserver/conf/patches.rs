//! Checklist G: patches.

use serde_json::json;

use super::{APPLY, CONFIG_MAPS, JSON, JSON_PATCH, MERGE, STRATEGIC, WIDGETS, World, at, config_map, revision, widget};

#[tokio::test(start_paused = true)]
async fn conf_g1() {
    let world = World::new().await;
    world.post(CONFIG_MAPS, config_map("a")).await.object();
    world.post(WIDGETS, widget("a")).await.object();
    let reply = world.patch(JSON, &at(CONFIG_MAPS, "a"), json!({})).await;
    reply.refused(415, "UnsupportedMediaType");
    assert_eq!(world.send("PATCH", &at(CONFIG_MAPS, "a"), &[], "{}").await.code, 415, "no type is no default here");
    let reply = world.patch(STRATEGIC, &at(WIDGETS, "a"), json!({})).await;
    reply.refused(415, "UnsupportedMediaType");
    assert!(
        reply
            .message()
            .ends_with("application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml")
    );
}

#[tokio::test(start_paused = true)]
async fn conf_g2() {
    let world = World::new().await;
    world.post(CONFIG_MAPS, config_map("a")).await.object();
    let path = at(CONFIG_MAPS, "a");
    for operation in [
        json!({ "op": "test", "path": "/data/k", "value": "no" }),
        json!({ "op": "remove", "path": "/data/missing" }),
        json!({ "op": "add", "path": "/missing/x", "value": 1 }),
        json!({ "op": "become", "path": "/data" }),
    ] {
        let reply = world.patch(JSON_PATCH, &path, json!([operation])).await;
        reply.refused(422, "Invalid");
        assert_eq!(
            (reply.message(), &reply.body["details"]),
            ("the server rejected our request due to an error in our request", &json!({}))
        );
    }
    world.patch(JSON_PATCH, &path, json!({})).await.refused(400, "BadRequest");
    let replaced =
        world.patch(JSON_PATCH, &path, json!([{ "op": "replace", "path": "/data/new", "value": "1" }])).await.object();
    assert_eq!(replaced["data"]["new"], "1", "replace of a missing key adds it");
}

#[tokio::test(start_paused = true)]
async fn conf_g3() {
    let world = World::new().await;
    let stored = world.post(WIDGETS, widget("a")).await.object();
    let path = at(WIDGETS, "a");
    let patched = world
        .patch(MERGE, &path, json!({ "spec": { "size": null }, "metadata": { "finalizers": ["t.io/a"] } }))
        .await
        .object();
    assert_eq!(patched["spec"], json!({ "mode": "A" }));
    let patched = world.patch(MERGE, &path, json!({ "metadata": { "finalizers": ["t.io/b"] } })).await.object();
    assert_eq!(patched["metadata"]["finalizers"], json!(["t.io/b"]), "lists are replaced");
    let old = stored["metadata"]["resourceVersion"].clone();
    world.patch(MERGE, &path, json!({ "metadata": { "resourceVersion": old } })).await.refused(409, "Conflict");
    world.patch(MERGE, &path, json!({ "metadata": { "name": "b" } })).await.refused(400, "BadRequest");
    world.patch(MERGE, &path, json!({ "metadata": { "uid": "x" } })).await.refused(422, "Invalid");
    world.patch(MERGE, &at(WIDGETS, "none"), json!({})).await.refused(404, "NotFound");
}

#[tokio::test(start_paused = true)]
async fn conf_g4() {
    let world = World::new().await;
    let pods = "/api/v1/namespaces/ns/pods";
    let pod = json!({ "metadata": { "name": "a" }, "spec": { "containers": [{ "name": "c", "image": "i:1" }] } });
    world.post(pods, pod).await.object();
    let change = json!({ "spec": { "containers": [{ "name": "c", "image": "i:2" }] } });
    let patched = world.patch(STRATEGIC, &at(pods, "a"), change).await.object();
    let containers = patched["spec"]["containers"].as_array().map_or(0, Vec::len);
    assert_eq!((containers, &patched["spec"]["containers"][0]["image"]), (1, &json!("i:2")), "merged by name");
    let more = world.patch(STRATEGIC, &at(pods, "a"), json!({ "metadata": { "labels": { "x": "1" } } })).await.object();
    assert_eq!(more["spec"], patched["spec"], "what is missing stays");
}

#[tokio::test(start_paused = true)]
async fn conf_g5() {
    let world = World::new().await;
    let stored = world.post(CONFIG_MAPS, config_map("a")).await.object();
    for value in ["2", "3", "4"] {
        let reply = world.patch(MERGE, &at(CONFIG_MAPS, "a"), json!({ "data": { "k": value } })).await;
        assert_eq!(reply.code, 200, "a patch without resourceVersion never conflicts");
    }
    assert_eq!(revision(&world.get(&at(CONFIG_MAPS, "a")).await.body), revision(&stored) + 3);
}

#[tokio::test(start_paused = true)]
async fn conf_g6_an_apply_of_a_missing_object_is_a_create() {
    let world = World::new().await;
    let path = format!("{}?fieldManager=m", at(WIDGETS, "a"));
    world.patch(APPLY, &at(WIDGETS, "a"), widget("a")).await.refused(422, "Invalid");
    let wrong =
        json!({ "apiVersion": "ex.io/v1", "kind": "Widget", "metadata": { "name": "a" }, "spec": { "size": 99 } });
    world.patch(APPLY, &path, wrong).await.refused(422, "Invalid");
    assert_eq!(world.patch(APPLY, &path, widget("a")).await.code, 201);
    let yaml = "apiVersion: ex.io/v1\nkind: Widget\nmetadata: {name: a}\nspec: {size: 2.0}\n";
    let reply = world.send("PATCH", &path, &[("content-type", APPLY)], yaml).await;
    assert_eq!((reply.code, &reply.body["spec"]["size"]), (200, &json!(2)));
    assert_eq!(world.send("PATCH", &path, &[("content-type", APPLY)], "a: [").await.code, 400);
}
