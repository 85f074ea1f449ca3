//! Checklist C: status, generation, finalizers, deletion. C5, C7, C8, C9, C13 and C21 have further tests beside this file and the kinds.

use serde_json::{Value, json};

use super::{APPLY, CONFIG_MAPS, JSON_PATCH, MERGE, WIDGETS, World, at, config_map, revision, widget};

#[tokio::test(start_paused = true)]
async fn conf_c1() {
    let world = World::new().await;
    let mut body = widget("a");
    body["status"] = json!({ "phase": "X" });
    let stored = world.post(WIDGETS, body.clone()).await.object();
    assert_eq!(stored["status"], Value::Null);
    body["metadata"]["resourceVersion"] = stored["metadata"]["resourceVersion"].clone();
    for reply in [
        world.put(&at(WIDGETS, "a"), body).await,
        world.patch(MERGE, &at(WIDGETS, "a"), json!({ "status": { "phase": "X" } })).await,
    ] {
        assert_eq!((reply.revision(), &reply.body["status"]), (revision(&stored), &Value::Null), "a no-op");
    }
}

#[tokio::test(start_paused = true)]
async fn conf_c2() {
    let world = World::new().await;
    let stored = world.post(WIDGETS, widget("a")).await.object();
    let path = at(WIDGETS, "a/status");
    let change = json!({ "metadata": { "labels": { "l": "1" }, "finalizers": ["t.io/f"] }, "spec": { "size": 9 }, "status": { "phase": "P" } });
    let changed = world.patch(MERGE, &path, change).await.object();
    assert_eq!((&changed["status"], &changed["spec"]), (&json!({ "phase": "P" }), &stored["spec"]));
    assert_eq!((&changed["metadata"]["labels"], &changed["metadata"]["finalizers"]), (&Value::Null, &Value::Null));
    assert_eq!(world.get(&path).await.body, changed);
    let reply = world.post(&path, widget("a")).await;
    reply.refused(405, "MethodNotAllowed");
    assert_eq!(reply.message(), "create is not supported on resources of kind \"widgets.ex.io\"");
    assert_eq!(world.delete(&path, Value::Null).await.code, 405);
    world.put(&at(WIDGETS, "none/status"), widget("none")).await.refused(404, "NotFound");
    world.put(&path, widget("a")).await.refused(422, "Invalid");
    world.put(&path, stored).await.refused(409, "Conflict");
}

#[tokio::test(start_paused = true)]
async fn conf_c3() {
    let world = World::new().await;
    world.post(WIDGETS, widget("a")).await.object();
    let path = at(WIDGETS, "a");
    for (patch, generation) in [
        (json!({ "metadata": { "labels": { "l": "1" } } }), 1),
        (json!({ "metadata": { "annotations": { "l": "1" }, "finalizers": ["t.io/f"] } }), 1),
        (json!({ "spec": { "size": 2 } }), 2),
        (json!({ "spec": { "size": 2 } }), 2),
        (json!({ "metadata": { "generation": 9 } }), 2),
    ] {
        let object = world.patch(MERGE, &path, patch.clone()).await.object();
        assert_eq!(object["metadata"]["generation"], generation, "{patch}");
    }
    let object = world.patch(MERGE, &at(WIDGETS, "a/status"), json!({ "status": { "phase": "P" } })).await.object();
    assert_eq!(object["metadata"]["generation"], 2);
}

#[tokio::test(start_paused = true)]
async fn conf_c4() {
    let world = World::new().await;
    let deployments = "/apis/apps/v1/namespaces/ns/deployments";
    let template =
        json!({ "metadata": { "labels": { "a": "b" } }, "spec": { "containers": [{ "name": "c", "image": "i:1" }] } });
    let body = json!({ "metadata": { "name": "d" }, "spec": { "selector": { "matchLabels": { "a": "b" } }, "template": template } });
    world.post(deployments, body).await.object();
    for (patch, generation) in [
        (json!({ "metadata": { "labels": { "l": "1" } } }), 1),
        (json!({ "metadata": { "annotations": { "l": "1" } } }), 2),
        (json!({ "spec": { "replicas": 3 } }), 3),
    ] {
        let object = world.patch(MERGE, &at(deployments, "d"), patch.clone()).await.object();
        assert_eq!(object["metadata"]["generation"], generation, "{patch}");
    }
    let change =
        json!({ "metadata": { "labels": { "s": "1" }, "annotations": { "s": "1" } }, "status": { "replicas": 2 } });
    let object = world.patch(MERGE, &at(deployments, "d/status"), change).await.object();
    assert_eq!(
        (&object["metadata"]["labels"], &object["metadata"]["annotations"]["s"]),
        (&json!({ "l": "1" }), &json!("1"))
    );
    let pod = json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "c", "image": "i:1" }] } });
    assert_eq!(world.post("/api/v1/namespaces/ns/pods", pod).await.object()["metadata"]["generation"], 1);
}

#[tokio::test(start_paused = true)]
async fn conf_c10() {
    let world = World::new().await;
    for (kind, patch) in [
        (MERGE, json!({ "metadata": { "finalizers": null, "labels": { "l": "1" } } })),
        (
            JSON_PATCH,
            json!([{ "op": "remove", "path": "/metadata/finalizers" }, { "op": "add", "path": "/metadata/labels", "value": { "l": "1" } }]),
        ),
    ] {
        let mut body = widget("a");
        body["metadata"]["finalizers"] = json!(["t.io/f"]);
        world.post(WIDGETS, body).await.object();
        let marked = world.delete(&at(WIDGETS, "a"), Value::Null).await.object();
        let mut watch = world.watch(&format!("{WIDGETS}?resourceVersion={}", revision(&marked))).await;
        let dry = world.patch(kind, &format!("{}?dryRun=All", at(WIDGETS, "a")), patch.clone()).await;
        assert_eq!((dry.code, world.get(&at(WIDGETS, "a")).await.code), (200, 200), "a dry run leaves it");
        let last = world.patch(kind, &at(WIDGETS, "a"), patch).await;
        assert_eq!(
            (last.revision(), &last.body["metadata"]["labels"]),
            (revision(&marked), &json!({ "l": "1" })),
            "new content, old revision"
        );
        assert_eq!(world.get(&at(WIDGETS, "a")).await.code, 404);
        let (kind, gone) = watch.next().await.expect("an event");
        assert_eq!((kind.as_str(), &gone["metadata"]["finalizers"]), ("DELETED", &json!(["t.io/f"])));
    }
}

#[tokio::test(start_paused = true)]
async fn conf_c11() {
    let world = World::new().await;
    let stored = world.post(CONFIG_MAPS, config_map("a")).await.object();
    let (uid, version) = (&stored["metadata"]["uid"], &stored["metadata"]["resourceVersion"]);
    for (preconditions, part) in [
        (
            json!({ "uid": "other" }),
            format!(
                "the UID in the precondition (other) does not match the UID in record ({})",
                uid.as_str().unwrap_or_default()
            ),
        ),
        (
            json!({ "resourceVersion": "1" }),
            format!(
                "the ResourceVersion in the precondition (1) does not match the ResourceVersion in record ({})",
                version.as_str().unwrap_or_default()
            ),
        ),
    ] {
        let reply = world.delete(&at(CONFIG_MAPS, "a"), json!({ "preconditions": preconditions })).await;
        reply.refused(409, "Conflict");
        assert!(reply.message().contains(&part), "{}", reply.message());
        assert_eq!(reply.body["details"]["kind"], "ConfigMap", "the kind, not the plural");
    }
    let both = json!({ "preconditions": { "uid": uid, "resourceVersion": version } });
    assert_eq!(world.delete(&at(CONFIG_MAPS, "a"), both).await.code, 200);
}

#[tokio::test(start_paused = true)]
async fn conf_c12() {
    let world = World::new().await;
    world.post(CONFIG_MAPS, config_map("a")).await.object();
    let path = at(CONFIG_MAPS, "a");
    world.delete(&path, json!({ "propagationPolicy": "Sometimes" })).await.refused(422, "Invalid");
    world
        .delete(&path, json!({ "propagationPolicy": "Orphan", "orphanDependents": true }))
        .await
        .refused(422, "Invalid");
    world.delete(&path, json!({ "kind": "ConfigMap", "apiVersion": "v1" })).await.refused(400, "BadRequest");
    let dry = world.delete(&format!("{path}?dryRun=All"), Value::Null).await;
    assert_eq!((dry.code, &dry.body["status"]), (200, &json!("Success")));
    assert_eq!(world.get(&path).await.code, 200, "it is still there");
    let marked = world.delete(&format!("{path}?propagationPolicy=Foreground&gracePeriodSeconds=5"), Value::Null).await;
    assert_eq!(marked.body["metadata"]["finalizers"], json!(["foregroundDeletion"]));
}

#[tokio::test(start_paused = true)]
async fn conf_c14() {
    let world = World::new().await;
    let mut object = world.post(CONFIG_MAPS, config_map("a")).await.object();
    object["metadata"]["deletionTimestamp"] = json!("2031-01-01T00:00:00Z");
    let reply = world.put(&at(CONFIG_MAPS, "a"), object).await;
    reply.refused(422, "Invalid");
    let causes = reply.body["details"]["causes"].as_array().expect("causes");
    assert_eq!(
        (causes.len(), &causes[0]["field"], &causes[0]),
        (2, &json!("metadata.deletionTimestamp"), &causes[1]),
        "the cause comes twice"
    );
    assert_eq!(reply.message().matches("field is immutable").count(), 1, "the message once");
}

#[tokio::test(start_paused = true)]
async fn conf_c15() {
    let world = World::new().await;
    let with = |finalizers: Value| {
        let mut object = config_map("a");
        object["metadata"]["finalizers"] = finalizers;
        object
    };
    let reply = world.post(CONFIG_MAPS, with(json!(["foo"]))).await;
    reply.refused(422, "Invalid");
    assert_eq!(reply.body["details"]["causes"][0]["field"], "metadata.finalizers[0]");
    let twice = json!(["t.io/f", "t.io/f"]);
    assert_eq!(world.post(CONFIG_MAPS, with(twice.clone())).await.object()["metadata"]["finalizers"], twice);
    let mut unqualified = widget("a");
    unqualified["metadata"]["finalizers"] = json!(["finalizers.fluxcd.io"]);
    let reply = world.post(WIDGETS, unqualified).await;
    assert_eq!(reply.code, 201, "custom resources are only warned about");
    assert!(reply.warnings()[0].contains("prefer a domain-qualified finalizer name"));
}

#[tokio::test(start_paused = true)]
async fn conf_c16() {
    let world = World::new().await;
    let pods = "/api/v1/namespaces/ns/pods";
    let pod = |name: &str, node: Value| json!({ "metadata": { "name": name }, "spec": { "nodeName": node, "containers": [{ "name": "c", "image": "i:1" }] } });
    world.post(pods, pod("u", Value::Null)).await.object();
    assert_eq!(world.delete(&at(pods, "u"), Value::Null).await.body["kind"], "Pod", "the answer is the pod");
    assert_eq!(world.get(&at(pods, "u")).await.code, 404, "unscheduled: gone at once");
    world.post(pods, pod("s", json!("n1"))).await.object();
    for (options, grace, generation) in
        [(Value::Null, 30, 2), (json!({ "gracePeriodSeconds": 5 }), 5, 2), (json!({ "gracePeriodSeconds": 60 }), 5, 2)]
    {
        let object = world.delete(&at(pods, "s"), options).await.object();
        let metadata = &object["metadata"];
        assert_eq!(
            (&metadata["deletionGracePeriodSeconds"], &metadata["generation"]),
            (&json!(grace), &json!(generation))
        );
    }
    world.delete(&at(pods, "s"), json!({ "gracePeriodSeconds": 0 })).await.object();
    assert_eq!(world.get(&at(pods, "s")).await.code, 404);
    let mut held = widget("a");
    held["metadata"]["finalizers"] = json!(["t.io/f"]);
    world.post(WIDGETS, held).await.object();
    let marked = world.delete(&at(WIDGETS, "a"), json!({ "gracePeriodSeconds": 9 })).await.object();
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 0, "ignored for custom resources");
}

#[tokio::test(start_paused = true)]
async fn conf_c17() {
    let world = World::new().await;
    for (name, label, finalizers) in [("a", "1", json!([])), ("b", "1", json!(["t.io/f"])), ("c", "2", json!([]))] {
        let mut object = config_map(name);
        object["metadata"]["labels"] = json!({ "l": label });
        object["metadata"]["finalizers"] = finalizers;
        world.post(CONFIG_MAPS, object).await.object();
    }
    let list = world.delete(&format!("{CONFIG_MAPS}?labelSelector=l%3D1"), Value::Null).await.object();
    let names: Vec<&Value> =
        list["items"].as_array().into_iter().flatten().map(|item| &item["metadata"]["name"]).collect();
    assert_eq!((&list["kind"], names), (&json!("ConfigMapList"), vec![&json!("a"), &json!("b")]));
    assert_eq!(list["items"][1]["metadata"]["deletionTimestamp"], Value::Null, "as they were");
    for (name, code) in [("a", 404), ("b", 200), ("c", 200)] {
        assert_eq!(world.get(&at(CONFIG_MAPS, name)).await.code, code, "{name}");
    }
    let none = world.delete(&format!("{CONFIG_MAPS}?labelSelector=l%3D9"), Value::Null).await;
    assert_eq!(none.body["items"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn conf_c18() {
    let world = World::new().await;
    world.post(WIDGETS, widget("a")).await.object();
    let path = at(WIDGETS, "a");
    let first = json!([{ "op": "test", "path": "/metadata/finalizers", "value": null }, { "op": "add", "path": "/metadata/finalizers", "value": ["t.io/a"] }]);
    world.patch(JSON_PATCH, &path, first.clone()).await.object();
    let reply = world.patch(JSON_PATCH, &path, first).await;
    reply.refused(422, "Invalid");
    assert_eq!(reply.body["details"], json!({}), "not a conflict");
    let more = world
        .patch(JSON_PATCH, &path, json!([{ "op": "add", "path": "/metadata/finalizers/-", "value": "t.io/b" }]))
        .await;
    assert_eq!(more.body["metadata"]["finalizers"], json!(["t.io/a", "t.io/b"]));
}

#[tokio::test(start_paused = true)]
async fn conf_c19() {
    let world = World::new().await;
    let owner =
        |kind: &str, name: &str, uid: &str| json!({ "apiVersion": "v1", "kind": kind, "name": name, "uid": uid });
    let with = |name: &str, owners: Value| {
        let mut object = config_map(name);
        object["metadata"]["ownerReferences"] = owners;
        object
    };
    let controls = |mut owner: Value| {
        owner["controller"] = json!(true);
        owner
    };
    for owners in [
        json!([owner("ConfigMap", "a", "")]),
        json!([controls(owner("ConfigMap", "a", "1")), controls(owner("ConfigMap", "b", "2"))]),
        json!([owner("Event", "a", "1")]),
    ] {
        world.post(CONFIG_MAPS, with("x", owners)).await.refused(422, "Invalid");
    }
    let reply =
        world.post(CONFIG_MAPS, with("x", json!([owner("ConfigMap", "a", "1"), owner("ConfigMap", "a", "1")]))).await;
    assert!(reply.warnings()[0].contains("duplicate UID(s) observed: 1"));
    assert_eq!(reply.object()["metadata"]["ownerReferences"].as_array().map(Vec::len), Some(1));
}

#[tokio::test(start_paused = true)]
async fn conf_c20() {
    let world = World::new().await;
    let mut watch = world.watch(CONFIG_MAPS).await;
    let dry = world.post(&format!("{CONFIG_MAPS}?dryRun=All"), config_map("a")).await;
    assert_eq!(
        (dry.code, dry.body["metadata"]["uid"].is_string(), &dry.body["metadata"]["resourceVersion"]),
        (201, true, &Value::Null)
    );
    assert_eq!(world.get(&at(CONFIG_MAPS, "a")).await.code, 404);
    let stored = world.post(CONFIG_MAPS, config_map("a")).await.object();
    for reply in [
        world.patch(MERGE, &format!("{}?dryRun=All", at(CONFIG_MAPS, "a")), json!({ "data": { "k": "9" } })).await,
        world
            .put(
                &format!("{}?dryRun=All", at(CONFIG_MAPS, "a")),
                json!({ "metadata": { "name": "a" }, "data": { "k": "9" } }),
            )
            .await,
        world
            .patch(
                APPLY,
                &format!("{}?dryRun=All&fieldManager=m&force=true", at(CONFIG_MAPS, "a")),
                json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": { "k": "9" } }),
            )
            .await,
    ] {
        assert_eq!((reply.code, &reply.body["data"]["k"], reply.revision()), (200, &json!("9"), revision(&stored)));
    }
    assert_eq!(world.get(&at(CONFIG_MAPS, "a")).await.body, stored);
    world.post(&format!("{CONFIG_MAPS}?dryRun=foo"), config_map("b")).await.refused(422, "Invalid");
    assert_eq!(watch.ready().await, ["ADDED a"], "and no event of a dry run");
}

#[tokio::test(start_paused = true)]
async fn conf_f14() {
    let world = World::new().await;
    world.post(WIDGETS, widget("a")).await.object();
    let path = at(WIDGETS, "a/scale");
    let scale = world.get(&path).await.object();
    assert_eq!((&scale["kind"], &scale["apiVersion"]), (&json!("Scale"), &json!("autoscaling/v1")));
    assert_eq!((&scale["spec"], &scale["status"]), (&json!({ "replicas": 1 }), &json!({ "replicas": 0 })));
    let changed = world.patch(MERGE, &path, json!({ "spec": { "replicas": 4 } })).await.object();
    assert_eq!(changed["spec"]["replicas"], 4);
    let object = world.get(&at(WIDGETS, "a")).await.body;
    assert_eq!((&object["spec"]["size"], &object["metadata"]["generation"]), (&json!(4), &json!(2)));
    world.put(&path, scale).await.refused(409, "Conflict");
    world.patch(MERGE, &path, json!({ "spec": { "replicas": -1 } })).await.refused(422, "Invalid");
    assert_eq!(world.get(&at(CONFIG_MAPS, "a/scale")).await.code, 404, "not declared");
}
