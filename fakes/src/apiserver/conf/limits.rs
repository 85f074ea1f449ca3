//! Checklist J and L: validation on creation, limits, overload and outage.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{APPLY, CONFIG_MAPS, JSON, JSON_PATCH, MERGE, Reply, WIDGETS, World, at, config_map, widget};
use crate::apiserver::{Clock, Config};

#[tokio::test(start_paused = true)]
async fn conf_j1() {
    let world = World::new().await;
    let reply = world.post(CONFIG_MAPS, json!({ "metadata": {} })).await;
    reply.refused(422, "Invalid");
    assert_eq!(reply.body["details"]["causes"][0]["field"], "metadata.name");
    let generated = world.post(CONFIG_MAPS, json!({ "metadata": { "generateName": "gen-" } })).await.object();
    let name = generated["metadata"]["name"].as_str().unwrap_or_default();
    let suffix = name.strip_prefix("gen-").unwrap_or_default();
    assert!(suffix.len() == 5 && suffix.chars().all(|letter| "bcdfghjklmnpqrstvwxz2456789".contains(letter)), "{name}");
    let long = world.post(CONFIG_MAPS, json!({ "metadata": { "generateName": "g".repeat(100) } })).await.object();
    assert_eq!(long["metadata"]["name"].as_str().map(str::len), Some(63), "the base is cut to 58");
}

#[tokio::test(start_paused = true)]
async fn conf_j2() {
    let world = World::new().await;
    for (path, name, code) in [
        (CONFIG_MAPS, "a.b-c.d", 201),
        (CONFIG_MAPS, "Bad_Name", 422),
        (CONFIG_MAPS, "-a", 422),
        (CONFIG_MAPS, &"a".repeat(254), 422),
        ("/api/v1/namespaces", "a.b", 422),
        ("/api/v1/namespaces", &"a".repeat(64), 422),
    ] {
        assert_eq!(world.post(path, json!({ "metadata": { "name": name } })).await.code, code, "{path} {name}");
    }
}

#[tokio::test(start_paused = true)]
async fn conf_j3() {
    let world = World::new().await;
    let with = |field: &str, value: Value| {
        let mut object = config_map("a");
        object["metadata"][field] = value;
        object
    };
    let big = json!({ "metadata": { "name": "a" }, "data": { "k": "x".repeat(1_048_577) } });
    for (body, field) in [
        (with("labels", json!({ "a": "x".repeat(64) })), "metadata.labels"),
        (with("labels", json!({ "a b": "x" })), "metadata.labels"),
        (with("annotations", json!({ "a": "x".repeat(262_145) })), "metadata.annotations"),
        (big, "[]"),
    ] {
        let reply = world.post(CONFIG_MAPS, body).await;
        reply.refused(422, "Invalid");
        assert_eq!(reply.body["details"]["causes"][0]["field"], field);
    }
}

#[tokio::test(start_paused = true)]
async fn conf_j4() {
    let world = World::new().await;
    let crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.ex.io";
    let free = json!({ "spec": { "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": {
        "type": "object", "x-kubernetes-preserve-unknown-fields": true } } }] } });
    world.patch(MERGE, crd, free).await.object();
    world.run(Duration::from_secs(2)).await;
    let sized = |bytes: usize| {
        let mut object = widget("a");
        object["blob"] = json!("x".repeat(bytes));
        object
    };
    for (bytes, code, message) in [
        (3_200_000, 413, "Request entity too large: limit is 3145728"),
        (2_900_000, 500, "rpc error: code = ResourceExhausted"),
        (1_600_000, 500, "etcdserver: request is too large"),
        (1_560_000, 201, ""),
    ] {
        let reply = world.post(WIDGETS, sized(bytes)).await;
        assert_eq!(reply.code, code, "{bytes} {}", reply.message());
        assert!(reply.message().starts_with(message), "{}", reply.message());
    }
    let reply = world.patch(MERGE, &at(WIDGETS, "a"), json!({ "more": "x".repeat(50_000) })).await;
    assert_eq!((reply.code, reply.message()), (500, "etcdserver: request is too large"), "also in small steps");
}

#[tokio::test(start_paused = true)]
async fn conf_j5() {
    let world = World::new().await;
    let text = |name: &str| config_map(name).to_string();
    for (headers, path, body, code) in [
        (&[("content-type", JSON)][..], CONFIG_MAPS, text("a"), 201),
        (&[("content-type", "application/json; charset=utf-8")], CONFIG_MAPS, text("b"), 201),
        (&[], CONFIG_MAPS, text("c"), 201),
        (&[("content-type", "application/yaml")], CONFIG_MAPS, "metadata: {name: d}".to_owned(), 201),
        (&[("content-type", "text/plain")], CONFIG_MAPS, text("e"), 415),
        (&[("accept", "text/plain")], CONFIG_MAPS, text("e"), 406),
        (
            &[("content-type", JSON)],
            CONFIG_MAPS,
            json!({ "apiVersion": "v2", "kind": "ConfigMap", "metadata": { "name": "e" } }).to_string(),
            400,
        ),
        (
            &[("content-type", JSON)],
            CONFIG_MAPS,
            json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "e" } }).to_string(),
            400,
        ),
        (&[("content-type", JSON)], CONFIG_MAPS, "{bad".to_owned(), 400),
        (&[("content-type", JSON)], CONFIG_MAPS, String::new(), 400),
        (&[("content-type", JSON)], CONFIG_MAPS, "[]".to_owned(), 400),
        (
            &[("content-type", JSON)],
            CONFIG_MAPS,
            json!({ "metadata": { "name": "e" }, "data": { "k": 1 } }).to_string(),
            400,
        ),
        (&[("content-type", JSON)], WIDGETS, json!({ "metadata": { "name": "e" } }).to_string(), 400),
    ] {
        let reply = world.send("POST", path, headers, body.clone()).await;
        assert_eq!(reply.code, code, "{headers:?} {body} {}", reply.message());
    }
}

#[tokio::test(start_paused = true)]
async fn conf_j6() {
    let world = World::new().await;
    let mut object = world.post(CONFIG_MAPS, config_map("a")).await.object();
    let created = object["metadata"]["creationTimestamp"].clone();
    object["metadata"]["creationTimestamp"] = json!("2031-01-01T00:00:00Z");
    let changed = world.put(&at(CONFIG_MAPS, "a"), object).await.object();
    assert_eq!(changed["metadata"]["creationTimestamp"], created);
}

#[tokio::test(start_paused = true)]
async fn conf_l1() {
    let mut config = Config::new(Clock::new(|| jiff::Timestamp::UNIX_EPOCH), 7);
    config.max_in_flight = Some(1);
    let world = World::configured(config).await;
    // Waits for a revision of the future, and so keeps its seat.
    let path = format!("{CONFIG_MAPS}?resourceVersion=999999");
    let waiting = world.get(&path);
    let refused = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.get(CONFIG_MAPS).await
    };
    let (waiting, refused) = futures::join!(waiting, refused);
    assert_eq!(waiting.code, 504);
    assert_eq!(
        (refused.code, &refused.body),
        (429, &json!("Too many requests, please try again later.\n")),
        "text, not a Status"
    );
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(world.get(CONFIG_MAPS).await.code, 200, "the seat is free again");
}

#[tokio::test(start_paused = true)]
async fn conf_l3() {
    let world = World::new().await;
    world.post(WIDGETS, widget("a")).await.object();
    world.server.restart(SignedDuration::from_secs(4));
    let reply = world.get(&at(WIDGETS, "a")).await;
    reply.refused(503, "ServiceUnavailable");
    assert_eq!(reply.headers["retry-after"], "5");
    let reply = world.get(CONFIG_MAPS).await;
    reply.refused(429, "TooManyRequests");
    assert_eq!(
        (reply.message(), &reply.headers["retry-after"]),
        ("storage is (re)initializing", &"1".parse().expect("a header"))
    );
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(world.get(&at(WIDGETS, "a")).await.code, 200);
    assert_eq!(world.get(CONFIG_MAPS).await.code, 200);
}

/// As deep as Go's decoder reads, on the smallest stack that a thread gets: nothing overflows, and no other object is affected.
#[test]
fn deep_objects_are_served_like_others() {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(deep_objects());
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(run).expect("a thread").join().expect("no panic");
}

async fn deep_objects() {
    let world = World::new().await;
    let crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.ex.io";
    let free = json!({ "spec": { "versions": [{ "name": "v1", "served": true, "storage": true, "subresources": { "status": {} },
        "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } } }] } });
    world.patch(MERGE, crd, free).await.object();
    world.run(Duration::from_secs(2)).await;
    // Both kinds of brackets; the object itself is a level too.
    let text = |name: &str, levels: usize, inner: &str| {
        let pairs = (levels - 1) / 2;
        let (open, close) = (r#"[{"a":"#.repeat(pairs), "}]".repeat(pairs));
        format!(
            r#"{{"apiVersion":"ex.io/v1","kind":"Widget","metadata":{{"name":"{name}"}},"deep":{open}{inner}{close}}}"#
        )
    };
    let maps = |name: &str, levels: usize, inner: &str| {
        let (open, close) = (r#"{"a":"#.repeat(levels), "}".repeat(levels));
        format!(
            r#"{{"apiVersion":"ex.io/v1","kind":"Widget","metadata":{{"name":"{name}"}},"deep":{open}{inner}{close}}}"#
        )
    };
    let a = at(WIDGETS, "a");
    let apply = |name: &str, manager: &str| format!("{}?fieldManager={manager}&force=true", at(WIDGETS, name));
    let json = [("content-type", JSON)];
    let shown = |reply: Reply, code: u16| {
        assert_eq!(reply.code, code, "{}", &reply.body.to_string()[..200]);
        reply.body.as_str().map(str::to_owned).expect("deep answers stay text here")
    };
    let created = shown(world.send("POST", WIDGETS, &json, text("a", 9_999, "1")).await, 201);
    let changed = created.replace(r#"{"a":1}"#, r#"{"a":2}"#);
    assert!(shown(world.send("PUT", &a, &json, changed).await, 200).contains(r#"[{"a":2}]"#));
    shown(world.send("PATCH", &a, &[("content-type", MERGE)], r#"{"metadata":{"labels":{"x":"y"}}}"#).await, 200);
    shown(world.send("PATCH", &a, &[("content-type", MERGE)], text("a", 9_999, "3")).await, 200);
    shown(world.send("PATCH", &at(&a, "status"), &[("content-type", MERGE)], r#"{"status":{"x":1}}"#).await, 200);
    let label = r#"[{"op":"add","path":"/metadata/labels/z","value":"z"}]"#;
    shown(world.send("PATCH", &a, &[("content-type", JSON_PATCH)], label).await, 200);
    // Comparing nested maps takes time with the square of the depth.
    let steps = [("m", "one", 9_990, 1), ("n", "one", 2_000, 1), ("n", "two", 2_000, 2), ("n", "one", 2_000, 3)];
    for (step, (name, manager, levels, inner)) in steps.into_iter().enumerate() {
        let body = maps(name, levels, &inner.to_string());
        let answer = world.send("PATCH", &apply(name, manager), &[("content-type", APPLY)], body).await;
        assert!(shown(answer, if step < 2 { 201 } else { 200 }).contains(&format!(r#"{{"a":{inner}}}"#)), "{step}");
    }
    assert!(shown(world.get(WIDGETS).await, 200).contains(r#"{"a":{"a":3}}"#));
    let watched = shown(world.get(&format!("{WIDGETS}?watch=1&timeoutSeconds=1")).await, 200);
    assert_eq!(watched.matches(r#""type":"ADDED""#).count(), 3);
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    assert_eq!(shown(world.send("GET", WIDGETS, &table, "").await, 200).matches(r#""cells""#).count(), 3);
    // One more level, in every form of body.
    let deeper = world.send("POST", WIDGETS, &json, text("b", 10_001, "1")).await;
    deeper.refused(400, "BadRequest");
    assert!(deeper.message().contains("json parse error: invalid character '{' exceeded max depth"), "{deeper:?}");
    let deeper = world.send("PATCH", &apply("b", "m"), &[("content-type", APPLY)], text("b", 10_001, "1")).await;
    assert_eq!(deeper.message(), "error decoding YAML: yaml: exceeded max depth of 10000");
    let copy = r#"[{"op":"copy","from":"/deep","path":"/deep/0/a/0/b"}]"#;
    let deeper = world.send("PATCH", &a, &[("content-type", JSON_PATCH)], copy).await;
    deeper.refused(422, "Invalid");
    world.post(WIDGETS, widget("flat")).await.object();
    world.delete(&a, Value::Null).await.object();
    // A definition with a deep schema.
    let (open, close) = (r#"{"type":"object","properties":{"a":"#.repeat(500), "}}".repeat(500));
    let mut definition = super::definition(10);
    definition["metadata"]["name"] = json!("gadgets.ex.io");
    definition["spec"]["names"] = json!({ "plural": "gadgets", "kind": "Gadget" });
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = json!("THE SCHEMA");
    let definition = definition.to_string().replace(r#""THE SCHEMA""#, &format!(r#"{open}{{"type":"string"}}{close}"#));
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    world.send("POST", definitions, &json, definition).await;
    world.run(Duration::from_secs(2)).await;
    let gadget = r#"{"apiVersion":"ex.io/v1","kind":"Gadget","metadata":{"name":"g"}}"#;
    world.send("POST", &WIDGETS.replace("widgets", "gadgets"), &json, gadget).await.object();
    for path in ["/openapi/v3/apis/ex.io/v1", "/openapi/v2"] {
        assert!(world.get(path).await.body.to_string().contains("Gadget"), "{path}");
    }
}
