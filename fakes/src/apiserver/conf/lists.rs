//! Checklist I: lists and gets. I10 is also beside the selectors.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{CONFIG_MAPS, MERGE, Reply, WIDGETS, World, at, config_map, widget};

async fn five() -> World {
    let world = World::new().await;
    for name in ["c", "a", "e", "b", "d"] {
        world.post(CONFIG_MAPS, config_map(name)).await.object();
    }
    world
}

fn names(list: &Value) -> String {
    let items = list["items"].as_array().into_iter().flatten();
    items.map(|item| item["metadata"]["name"].as_str().unwrap_or_default()).collect::<Vec<_>>().join(" ")
}

fn token(reply: &Reply) -> String {
    reply.body["metadata"]["continue"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(start_paused = true)]
async fn conf_i1() {
    let world = five().await;
    world.post("/api/v1/namespaces", json!({ "metadata": { "name": "another" } })).await.object();
    world.post("/api/v1/namespaces/another/configmaps", config_map("z")).await.object();
    let later = world.post("/api/v1/namespaces/ns/secrets", json!({ "metadata": { "name": "s" } })).await.revision();
    let list = world.get("/api/v1/configmaps").await;
    assert_eq!(names(&list.body), "z a b c d e", "by namespace, then name");
    assert_eq!(list.revision(), later, "larger than the revision of any item");
}

#[tokio::test(start_paused = true)]
async fn conf_i2() {
    let world = five().await;
    world.post(WIDGETS, widget("a")).await.object();
    let built_in = world.get(CONFIG_MAPS).await.body;
    assert_eq!(
        (&built_in["kind"], &built_in["items"][0]["kind"], &built_in["items"][0]["apiVersion"]),
        (&json!("ConfigMapList"), &Value::Null, &Value::Null)
    );
    let custom = world.get(WIDGETS).await.body;
    assert_eq!(
        (&custom["items"][0]["kind"], &custom["items"][0]["apiVersion"]),
        (&json!("Widget"), &json!("ex.io/v1"))
    );
}

#[tokio::test(start_paused = true)]
async fn conf_i3() {
    let world = five().await;
    let first = world.get(&format!("{CONFIG_MAPS}?limit=2")).await;
    assert_eq!((names(&first.body).as_str(), &first.body["metadata"]["remainingItemCount"]), ("a b", &json!(3)));
    world.delete(&at(CONFIG_MAPS, "c"), Value::Null).await.object();
    world.post(CONFIG_MAPS, config_map("bb")).await.object();
    let second = world.get(&format!("{CONFIG_MAPS}?limit=2&continue={}", token(&first))).await;
    assert_eq!(
        (names(&second.body).as_str(), second.revision()),
        ("c d", first.revision()),
        "at the first page's revision"
    );
    let last = world.get(&format!("{CONFIG_MAPS}?limit=2&continue={}", token(&second))).await;
    assert_eq!((names(&last.body).as_str(), token(&last).as_str()), ("e", ""));
    let selected = world.get(&format!("{CONFIG_MAPS}?limit=1&fieldSelector=metadata.namespace%3Dns")).await;
    assert_eq!(selected.body["metadata"]["remainingItemCount"], Value::Null, "unknown with a selector");
}

#[tokio::test(start_paused = true)]
async fn conf_i4() {
    let world = five().await;
    assert_eq!(names(&world.get(&format!("{CONFIG_MAPS}?limit=2&resourceVersion=0")).await.body), "a b c d e");
    assert_eq!(world.get(&format!("{CONFIG_MAPS}?limit=-1")).await.code, 200);
}

#[tokio::test(start_paused = true)]
async fn conf_i5() {
    let world = five().await;
    let first = world.get(&format!("{CONFIG_MAPS}?limit=2")).await;
    let both = format!("{CONFIG_MAPS}?continue={}&resourceVersion={}", token(&first), first.revision());
    let reply = world.get(&both).await;
    reply.refused(400, "BadRequest");
    assert_eq!(reply.message(), "specifying resource version is not allowed when using continue");
    let reply = world.get(&format!("{CONFIG_MAPS}?continue=garbage")).await;
    reply.refused(400, "BadRequest");
    assert!(reply.message().starts_with("invalid continue token: continue key is not valid"));
}

#[tokio::test(start_paused = true)]
async fn conf_i6() {
    let world = five().await;
    let first = world.get(&format!("{CONFIG_MAPS}?limit=2")).await;
    let current = world.post(CONFIG_MAPS, config_map("bb")).await.revision();
    world.server.compact();
    let expired = world.get(&format!("{CONFIG_MAPS}?limit=2&continue={}", token(&first))).await;
    expired.refused(410, "Expired");
    let rest = world.get(&format!("{CONFIG_MAPS}?limit=9&continue={}", token(&expired))).await;
    assert_eq!((names(&rest.body).as_str(), rest.revision()), ("bb c d e", current), "goes on at the present");
}

#[tokio::test(start_paused = true)]
async fn conf_i7() {
    let world = five().await;
    let old = world.get(CONFIG_MAPS).await.revision();
    world.delete(&at(CONFIG_MAPS, "a"), Value::Null).await.object();
    world.patch(MERGE, &at(CONFIG_MAPS, "b"), json!({ "data": { "k": "2" } })).await.object();
    for (query, shown) in [
        (String::new(), "b c d e"),
        ("?resourceVersion=0".to_owned(), "b c d e"),
        (format!("?resourceVersion={old}"), "b c d e"),
        (format!("?resourceVersion={old}&resourceVersionMatch=NotOlderThan"), "b c d e"),
        (format!("?resourceVersion={old}&resourceVersionMatch=Exact"), "a b c d e"),
        (format!("?resourceVersion={old}&limit=3"), "a b c"),
    ] {
        assert_eq!(names(&world.get(&format!("{CONFIG_MAPS}{query}")).await.body), shown, "{query}");
    }
    let exact = world.get(&format!("{CONFIG_MAPS}?resourceVersion={old}&resourceVersionMatch=Exact")).await;
    assert_eq!((exact.revision(), &exact.body["items"][1]["data"]["k"]), (old, &json!("1")));
    for (query, code) in [
        ("resourceVersion=0&resourceVersionMatch=Exact", 422),
        ("resourceVersionMatch=Exact", 422),
        ("resourceVersion=1&resourceVersionMatch=Foo", 422),
        ("resourceVersion=abc", 400),
    ] {
        assert_eq!(world.get(&format!("{CONFIG_MAPS}?{query}")).await.code, code, "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn conf_i8() {
    let world = five().await;
    let current = world.get(CONFIG_MAPS).await.revision();
    for path in [
        format!("{CONFIG_MAPS}?resourceVersion=999999"),
        format!("{CONFIG_MAPS}?resourceVersion=999999&resourceVersionMatch=Exact"),
        format!("{}?resourceVersion=999999", at(CONFIG_MAPS, "a")),
    ] {
        let start = Instant::now();
        let reply = world.get(&path).await;
        reply.refused(504, "Timeout");
        assert_eq!(start.elapsed(), Duration::from_secs(3));
        assert_eq!(reply.message(), format!("Timeout: Too large resource version: 999999, current: {current}"));
        assert_eq!(
            (&reply.body["details"]["causes"][0]["reason"], &reply.headers["retry-after"]),
            (&json!("ResourceVersionTooLarge"), &"1".parse().expect("a header"))
        );
    }
    let path = format!("{CONFIG_MAPS}?resourceVersion={}", current + 1);
    let (list, _) = futures::join!(world.get(&path), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.post(CONFIG_MAPS, config_map("f")).await
    });
    assert_eq!((list.code, names(&list.body).as_str()), (200, "a b c d e f"), "it may come in time");
}

#[tokio::test(start_paused = true)]
async fn conf_i9() {
    let world = five().await;
    let old = world.get(CONFIG_MAPS).await.revision();
    world.post(CONFIG_MAPS, config_map("f")).await.object();
    world.server.compact();
    let reply = world.get(&format!("{CONFIG_MAPS}?resourceVersion={old}&resourceVersionMatch=Exact")).await;
    reply.refused(410, "Expired");
    assert_eq!(reply.message(), "The resourceVersion for the provided list is too old.");
}

#[tokio::test(start_paused = true)]
async fn conf_i10() {
    let world = five().await;
    world.patch(MERGE, &at(CONFIG_MAPS, "b"), json!({ "metadata": { "labels": { "l": "1" } } })).await.object();
    for (query, shown) in [
        ("labelSelector=l%3D1", "b"),
        ("labelSelector=l!%3D1", "a c d e"),
        ("labelSelector=l+in+(1,2)", "b"),
        ("labelSelector=!l", "a c d e"),
        ("fieldSelector=metadata.name%3Dc", "c"),
        ("fieldSelector=metadata.name!%3Dc,metadata.namespace%3Dns", "a b d e"),
    ] {
        assert_eq!(names(&world.get(&format!("{CONFIG_MAPS}?{query}")).await.body), shown, "{query}");
    }
    let reply = world.get(&format!("{CONFIG_MAPS}?fieldSelector=data.k%3D1")).await;
    reply.refused(400, "BadRequest");
    assert_eq!(
        reply.message(),
        "\"data.k\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
    );
    let reply = world.get(&format!("{WIDGETS}?fieldSelector=spec.size%3D1")).await;
    assert_eq!((reply.code, reply.message()), (400, "field label not supported: spec.size"));
    let reply = world.get(&format!("{CONFIG_MAPS}?labelSelector=a%3D%3D%3D1")).await;
    assert_eq!((reply.code, reply.message()), (400, "unable to parse requirement: found '=', expected: identifier"));
}

#[tokio::test(start_paused = true)]
async fn conf_i11() {
    let world = World::new().await;
    for path in [CONFIG_MAPS, WIDGETS] {
        assert_eq!(world.get(path).await.body["items"], json!([]));
    }
}
