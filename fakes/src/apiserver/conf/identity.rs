//! Checklist A: identity, versions, conflicts.

use serde_json::{Value, json};

use super::{APPLY, CONFIG_MAPS, MERGE, WIDGETS, World, at, config_map, revision, widget};

#[tokio::test(start_paused = true)]
async fn conf_a1() {
    let world = World::new().await;
    let first = world.post(CONFIG_MAPS, config_map("a")).await.revision();
    let second = world.post("/api/v1/namespaces/ns/secrets", json!({ "metadata": { "name": "a" } })).await.revision();
    assert_eq!(second, first + 1, "one counter for everything");
    let read = world.get(&at(CONFIG_MAPS, "a")).await;
    assert_eq!(read.revision(), first, "an object keeps the revision of its last write");
    assert!(read.body["metadata"]["resourceVersion"].is_string());
}

#[tokio::test(start_paused = true)]
async fn conf_a2() {
    let world = World::new().await;
    for (path, message, details) in [
        (CONFIG_MAPS, "configmaps \"a\" not found", json!({ "name": "a", "kind": "configmaps" })),
        (WIDGETS, "widgets.ex.io \"a\" not found", json!({ "name": "a", "group": "ex.io", "kind": "widgets" })),
    ] {
        let reply = world.get(&at(path, "a")).await;
        reply.refused(404, "NotFound");
        assert_eq!((reply.message(), &reply.body["details"]), (message, &details));
    }
}

#[tokio::test(start_paused = true)]
async fn conf_a3() {
    let world = World::new().await;
    let reply = world.post(WIDGETS, widget("a")).await;
    assert_eq!(reply.code, 201);
    let object = reply.object();
    assert_eq!(object["spec"], json!({ "mode": "A", "size": 1 }), "defaults are applied");
    let metadata = &object["metadata"];
    assert_eq!(metadata["creationTimestamp"], "1970-01-01T00:00:02Z");
    assert_eq!(metadata["uid"].as_str().map(str::len), Some(36));
    assert_eq!(metadata["managedFields"][0]["manager"], "conf");
    assert_eq!(world.get(&at(WIDGETS, "a")).await.body, object, "the answer is what is stored");
}

#[tokio::test(start_paused = true)]
async fn conf_a4() {
    let world = World::new().await;
    let mut finalized = config_map("a");
    finalized["metadata"]["finalizers"] = json!(["t.io/f"]);
    world.post(CONFIG_MAPS, finalized).await.object();
    let reply = world.post(CONFIG_MAPS, config_map("a")).await;
    reply.refused(409, "AlreadyExists");
    assert_eq!(
        (reply.message(), &reply.body["details"]["kind"]),
        ("configmaps \"a\" already exists", &json!("configmaps"))
    );
    world.delete(&at(CONFIG_MAPS, "a"), Value::Null).await.object();
    let reply = world.post(CONFIG_MAPS, config_map("a")).await;
    assert_eq!(reply.message(), "object is being deleted: configmaps \"a\" already exists");
}

#[tokio::test(start_paused = true)]
async fn conf_a5() {
    let world = World::new().await;
    let mut stale = world.post(CONFIG_MAPS, config_map("a")).await.object();
    world.patch(MERGE, &at(CONFIG_MAPS, "a"), json!({ "data": { "k": "2" } })).await.object();
    stale["data"]["k"] = json!("3");
    let reply = world.put(&at(CONFIG_MAPS, "a"), stale).await;
    reply.refused(409, "Conflict");
    assert_eq!(
        reply.message(),
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again"
    );
}

#[tokio::test(start_paused = true)]
async fn conf_a6() {
    let world = World::new().await;
    world.post(CONFIG_MAPS, config_map("a")).await.object();
    world.put(&at(CONFIG_MAPS, "a"), config_map("a")).await.object();
    let mut zero = config_map("a");
    zero["metadata"]["resourceVersion"] = json!("0");
    world.put(&at(CONFIG_MAPS, "a"), zero).await.object();
    let leases = "/apis/coordination.k8s.io/v1/namespaces/ns/leases";
    world.post(leases, json!({ "metadata": { "name": "a" } })).await.object();
    world.post(WIDGETS, widget("a")).await.object();
    for (path, body) in [(WIDGETS, widget("a")), (leases, json!({ "metadata": { "name": "a" } }))] {
        let reply = world.put(&at(path, "a"), body).await;
        reply.refused(422, "Invalid");
        let cause = &reply.body["details"]["causes"][0];
        assert_eq!(
            (&cause["field"], &cause["message"]),
            (&json!("metadata.resourceVersion"), &json!("Invalid value: 0: must be specified for an update"))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn conf_a7() {
    let world = World::new().await;
    let stored = world.post(CONFIG_MAPS, config_map("a")).await.object();
    let mut watch = world.watch(&format!("{CONFIG_MAPS}?resourceVersion={}", revision(&stored))).await;
    let path = at(CONFIG_MAPS, "a");
    for reply in [
        world.put(&path, stored.clone()).await,
        world.patch(MERGE, &path, json!({ "data": { "k": "1" } })).await,
        world.patch(super::JSON_PATCH, &path, json!([{ "op": "replace", "path": "/data/k", "value": "1" }])).await,
    ] {
        assert_eq!((reply.code, reply.revision()), (200, revision(&stored)));
    }
    assert!(watch.ready().await.is_empty(), "and no event");
}

#[tokio::test(start_paused = true)]
async fn conf_a8() {
    let world = World::new().await;
    let named = json!({ "metadata": { "name": "a" } });
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/ns/roles";
    for (path, body, code) in [
        (CONFIG_MAPS, config_map("a"), 404),
        (WIDGETS, widget("a"), 404),
        ("/apis/coordination.k8s.io/v1/namespaces/ns/leases", named.clone(), 201),
        (
            "/api/v1/namespaces/ns/events",
            json!({ "metadata": { "name": "a" }, "involvedObject": { "namespace": "ns" } }),
            201,
        ),
        (roles, json!({ "metadata": { "name": "a" }, "rules": [] }), 201),
    ] {
        assert_eq!(world.put(&at(path, "a"), body).await.code, code, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn conf_a9() {
    let world = World::new().await;
    world.post(CONFIG_MAPS, config_map("a")).await.object();
    let mut other = config_map("a");
    other["metadata"]["uid"] = json!("00000000-0000-0000-0000-000000000000");
    let reply = world.put(&at(CONFIG_MAPS, "a"), other.clone()).await;
    reply.refused(409, "Conflict");
    assert!(reply.message().contains("Precondition failed: UID in precondition: 00000000-0000-0000-0000-000000000000"));
    let reply = world.patch(MERGE, &at(CONFIG_MAPS, "a"), other).await;
    reply.refused(422, "Invalid");
    assert!(reply.message().ends_with("field is immutable"));
}

#[tokio::test(start_paused = true)]
async fn conf_a10() {
    let world = World::new().await;
    let mut first = widget("a");
    first["metadata"]["labels"] = json!({ "old": "1" });
    let first = world.post(WIDGETS, first).await.object();
    world.patch(MERGE, &at(WIDGETS, "a"), json!({ "spec": { "size": 2 } })).await.object();
    world.delete(&at(WIDGETS, "a"), Value::Null).await.object();
    let second = world.post(WIDGETS, widget("a")).await.object();
    assert_ne!(first["metadata"]["uid"], second["metadata"]["uid"]);
    assert_eq!((&second["metadata"]["generation"], &second["metadata"]["labels"]), (&json!(1), &Value::Null));
}

#[tokio::test(start_paused = true)]
async fn conf_a11() {
    let world = World::new().await;
    world.post(CONFIG_MAPS, config_map("a")).await.object();
    let path = at(CONFIG_MAPS, "a");
    let named = |name: &str, namespace: &str| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "namespace": namespace } });
    for (reply, part) in [
        (world.put(&path, named("b", "ns")).await, "does not match the name on the URL (a)"),
        (world.put(&path, named("a", "other")).await, "namespace of the provided object does not match"),
        (world.put(&path, json!({ "metadata": {} })).await, "name must be provided"),
        (world.patch(MERGE, &path, named("b", "ns")).await, "does not match the name on the URL (a)"),
        (world.patch(MERGE, &path, named("a", "other")).await, "namespace of the provided object does not match"),
        (
            world.patch(APPLY, &format!("{path}?fieldManager=m"), named("b", "ns")).await,
            "does not match the name on the URL (a)",
        ),
        (world.post(CONFIG_MAPS, named("c", "other")).await, "namespace of the provided object does not match"),
    ] {
        reply.refused(400, "BadRequest");
        assert!(reply.message().contains(part), "{}", reply.message());
    }
    let unnamed = json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": { "z": "1" } });
    assert_eq!(world.patch(APPLY, &format!("{path}?fieldManager=m"), unnamed).await.code, 200);
}

#[tokio::test(start_paused = true)]
async fn conf_a12() {
    let world = World::new().await;
    let mut body = config_map("a");
    body["metadata"]["resourceVersion"] = json!("1");
    let reply = world.post(CONFIG_MAPS, body).await;
    reply.refused(500, "");
    assert_eq!(reply.message(), "resourceVersion should not be set on objects to be created");
    let mut forged = config_map("b");
    for (field, value) in [
        ("uid", "u"),
        ("creationTimestamp", "2031-01-01T00:00:00Z"),
        ("deletionTimestamp", "2031-01-01T00:00:00Z"),
        ("selfLink", "x"),
    ] {
        forged["metadata"][field] = json!(value);
    }
    let metadata = world.post(CONFIG_MAPS, forged).await.object()["metadata"].take();
    assert_ne!(metadata["uid"], "u");
    assert!(metadata["creationTimestamp"].as_str().is_some_and(|time| time.starts_with("1970")));
    assert_eq!((&metadata["deletionTimestamp"], &metadata["selfLink"]), (&Value::Null, &Value::Null));
}

#[tokio::test(start_paused = true)]
async fn conf_a13() {
    let world = World::new().await;
    for (path, mut body, generation) in [(WIDGETS, widget("a"), json!(1)), (CONFIG_MAPS, config_map("a"), json!(7))] {
        body["metadata"]["generation"] = json!(7);
        assert_eq!(world.post(path, body).await.object()["metadata"]["generation"], generation, "{path}");
    }
    assert_eq!(world.post(CONFIG_MAPS, config_map("b")).await.object()["metadata"]["generation"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn conf_a14() {
    let world = World::new().await;
    let missing = "/api/v1/namespaces/nope/configmaps";
    let reply = world.post(missing, config_map("a")).await;
    reply.refused(404, "NotFound");
    assert_eq!(reply.message(), "namespaces \"nope\" not found");
    let list = world.get(missing).await;
    assert_eq!((list.code, &list.body["items"]), (200, &json!([])));
    assert!(world.watch(missing).await.ready().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn conf_a15() {
    let world = World::new().await;
    let reply = world.post("/apis/ex.io/v1/widgets", widget("a")).await;
    assert_eq!((reply.code, reply.body), (404, json!("404 page not found\n")));
    assert_eq!(reply.headers["content-type"], "text/plain; charset=utf-8");
}
