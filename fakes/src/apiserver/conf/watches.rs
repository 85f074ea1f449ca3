//! Checklist B: watches.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{CONFIG_MAPS, MERGE, WIDGETS, World, at, config_map, definition, revision, widget};

#[tokio::test(start_paused = true)]
async fn conf_b1() {
    let world = World::new().await;
    let reply = world.send("GET", &format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=1"), &[], "").await;
    assert_eq!((reply.code, &reply.headers["content-type"]), (200, &"application/json".parse().expect("a header")));
    world.post(CONFIG_MAPS, config_map("a")).await.object();
    let (kind, object) = world.watch(CONFIG_MAPS).await.next().await.expect("one line per event");
    assert_eq!((kind.as_str(), &object["kind"], &object["apiVersion"]), ("ADDED", &json!("ConfigMap"), &json!("v1")));
}

#[tokio::test(start_paused = true)]
async fn conf_b2() {
    let world = World::new().await;
    for name in ["b", "a"] {
        world.post(CONFIG_MAPS, config_map(name)).await.object();
    }
    for query in ["", "?resourceVersion=0", "?resourceVersion="] {
        let mut watch = world.watch(&format!("{CONFIG_MAPS}{query}")).await;
        assert_eq!(watch.ready().await, ["ADDED a", "ADDED b"], "{query}: by key, and no marker");
    }
    let mut watch = world.watch(CONFIG_MAPS).await;
    world.post(CONFIG_MAPS, config_map("c")).await.object();
    assert_eq!(watch.ready().await, ["ADDED a", "ADDED b", "ADDED c"]);
}

#[tokio::test(start_paused = true)]
async fn conf_b3() {
    let world = World::new().await;
    let first = world.post(CONFIG_MAPS, config_map("a")).await.revision();
    world.post(CONFIG_MAPS, config_map("b")).await.object();
    let mut watch = world.watch(&format!("{CONFIG_MAPS}?resourceVersion={first}")).await;
    world.post(CONFIG_MAPS, config_map("c")).await.object();
    assert_eq!(watch.ready().await, ["ADDED b", "ADDED c"], "history, then live, without the revision itself");
}

#[tokio::test(start_paused = true)]
async fn conf_b4_b17() {
    let world = World::new().await;
    let (mut first, mut second) = (world.watch(CONFIG_MAPS).await, world.watch(CONFIG_MAPS).await);
    for round in 0..3 {
        for name in ["a", "b"] {
            let change = json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": { "k": round.to_string() } });
            world
                .patch(super::APPLY, &format!("{}?fieldManager=m&force=true", at(CONFIG_MAPS, name)), change)
                .await
                .object();
        }
    }
    let (mut last, mut seen) = (0, Vec::new());
    for _ in 0..6 {
        let event = first.next().await.expect("an event");
        assert!(revision(&event.1) > last, "strictly increasing");
        last = revision(&event.1);
        assert_eq!(Some(&event), second.next().await.as_ref(), "the same order for every watch");
        seen.push(event.0);
    }
    assert_eq!(seen, ["ADDED", "ADDED", "MODIFIED", "MODIFIED", "MODIFIED", "MODIFIED"]);
}

#[tokio::test(start_paused = true)]
async fn conf_b5() {
    let world = World::new().await;
    let stored = world.post(CONFIG_MAPS, config_map("a")).await.object();
    let mut watch = world.watch(&format!("{CONFIG_MAPS}?resourceVersion={}", revision(&stored))).await;
    world.delete(&at(CONFIG_MAPS, "a"), Value::Null).await.object();
    let (kind, mut gone) = watch.next().await.expect("an event");
    assert_eq!((kind.as_str(), revision(&gone)), ("DELETED", revision(&stored) + 1));
    gone["metadata"]["resourceVersion"] = stored["metadata"]["resourceVersion"].clone();
    assert_eq!(gone, stored, "the last state, without a deletionTimestamp");
}

#[tokio::test(start_paused = true)]
async fn conf_b6() {
    let world = World::new().await;
    let mut watch = world.watch(&format!("{CONFIG_MAPS}?labelSelector=l%3D1")).await;
    let label = |value: &str| json!({ "metadata": { "labels": { "l": value } } });
    world.post(CONFIG_MAPS, config_map("a")).await.object();
    let path = at(CONFIG_MAPS, "a");
    world.patch(MERGE, &path, label("1")).await.object();
    world.patch(MERGE, &path, json!({ "data": { "k": "2" } })).await.object();
    let left = world.patch(MERGE, &path, label("2")).await.revision();
    world.patch(MERGE, &path, json!({ "data": { "k": "3" } })).await.object();
    assert_eq!(watch.next().await.map(|event| event.0), Some("ADDED".to_owned()));
    assert_eq!(watch.next().await.map(|event| event.0), Some("MODIFIED".to_owned()));
    let (kind, gone) = watch.next().await.expect("an event");
    assert_eq!(
        (kind.as_str(), &gone["metadata"]["labels"], revision(&gone)),
        ("DELETED", &json!({ "l": "1" }), left),
        "old labels, new revision"
    );
    assert!(watch.ready().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn conf_b7() {
    let world = World::new().await;
    let first = world.post(CONFIG_MAPS, config_map("a")).await.revision();
    world.post(CONFIG_MAPS, config_map("b")).await.object();
    world.server.compact();
    let mut watch = world.watch(&format!("{CONFIG_MAPS}?resourceVersion={first}")).await;
    let (kind, status) = watch.next().await.expect("an event");
    assert_eq!((kind.as_str(), &status["code"], &status["reason"]), ("ERROR", &json!(410), &json!("Expired")));
    assert!(
        status["message"]
            .as_str()
            .is_some_and(|text| text.starts_with(&format!("too old resource version: {first} (")))
    );
    assert!(watch.ended().await);
}

#[tokio::test(start_paused = true)]
async fn conf_b8() {
    let world = World::new().await;
    let change = |value: usize| json!({ "data": { "k": value.to_string() } });
    let path = at(CONFIG_MAPS, "a");
    let first = world.post(CONFIG_MAPS, config_map("a")).await.revision();
    let too_old = async |revision: u64| {
        let mut watch = world.watch(&format!("{CONFIG_MAPS}?resourceVersion={revision}")).await;
        watch.ready().await.first().is_some_and(|event| event.starts_with("ERROR"))
    };
    for value in 0..150 {
        world.patch(MERGE, &path, change(value)).await.object();
    }
    assert!(!too_old(first).await, "young events stay, however many");
    tokio::time::sleep(Duration::from_secs(80)).await;
    for value in 1000..1200 {
        world.patch(MERGE, &path, change(value)).await.object();
    }
    assert!(too_old(first).await, "events older than 75 s make room");
    world.server.restart(SignedDuration::ZERO);
    let last = world.get(&path).await.revision();
    assert!(too_old(last - 1).await, "a restart forgets all of them");
    assert!(!too_old(last).await);
}

#[tokio::test(start_paused = true)]
async fn conf_b9() {
    let world = World::new().await;
    let current = world.post(CONFIG_MAPS, config_map("a")).await.revision();
    let mut watch = world.watch(&format!("{CONFIG_MAPS}?resourceVersion={}", current + 2)).await;
    for name in ["b", "c", "d"] {
        assert!(watch.ready().await.is_empty(), "silent until the revision is passed");
        world.post(CONFIG_MAPS, config_map(name)).await.object();
    }
    assert_eq!(watch.ready().await, ["ADDED d"]);
    let reply = world.get(&format!("{CONFIG_MAPS}?watch=1&resourceVersion=abc")).await;
    reply.refused(500, "");
}

#[tokio::test(start_paused = true)]
async fn conf_b10() {
    let world = World::new().await;
    let start = Instant::now();
    let mut watch = world.watch(&format!("{CONFIG_MAPS}?timeoutSeconds=7")).await;
    assert_eq!(watch.next().await, None, "a clean end");
    assert_eq!(start.elapsed().as_secs(), 7);
    let start = Instant::now();
    assert_eq!(world.watch(CONFIG_MAPS).await.next().await, None);
    assert!((1800..=3600).contains(&start.elapsed().as_secs()));
}

#[tokio::test(start_paused = true)]
async fn conf_b11() {
    let world = World::new().await;
    let start = Instant::now();
    let stored = world.post(CONFIG_MAPS, config_map("a")).await.revision();
    let mut watch = world
        .watch(&format!("{CONFIG_MAPS}?resourceVersion={stored}&allowWatchBookmarks=true&timeoutSeconds=100"))
        .await;
    let mut times = Vec::new();
    while let Some((kind, object)) = watch.next().await {
        assert_eq!(
            (kind.as_str(), object),
            (
                "BOOKMARK",
                json!({ "kind": "ConfigMap", "apiVersion": "v1", "metadata": { "resourceVersion": stored.to_string() } })
            )
        );
        times.push(start.elapsed().as_secs());
    }
    assert_eq!(times, [60, 98], "once a minute, and shortly before the end");
    assert_eq!(
        world.watch(&format!("{CONFIG_MAPS}?resourceVersion={stored}&timeoutSeconds=100")).await.next().await,
        None,
        "only if allowed"
    );
}

#[tokio::test(start_paused = true)]
async fn conf_b12() {
    let world = World::new().await;
    world.post(CONFIG_MAPS, config_map("a")).await.object();
    let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    let mut watch = world.watch(&format!("{CONFIG_MAPS}?{query}&allowWatchBookmarks=true")).await;
    assert_eq!(watch.next().await.map(|event| event.0), Some("ADDED".to_owned()));
    let (kind, end) = watch.next().await.expect("the end of the initial events");
    assert_eq!(
        (kind.as_str(), &end["metadata"]["annotations"]),
        ("BOOKMARK", &json!({ "k8s.io/initial-events-end": "true" }))
    );
    assert_eq!(
        world.watch(&format!("{CONFIG_MAPS}?{query}")).await.ready().await,
        ["ADDED a"],
        "no marker without bookmarks"
    );
    let from_now = "sendInitialEvents=false&resourceVersionMatch=NotOlderThan";
    assert!(world.watch(&format!("{CONFIG_MAPS}?{from_now}")).await.ready().await.is_empty());
    for query in ["sendInitialEvents=true", "resourceVersionMatch=NotOlderThan"] {
        world.get(&format!("{CONFIG_MAPS}?watch=1&{query}")).await.refused(422, "Invalid");
    }
}

#[tokio::test(start_paused = true)]
async fn conf_b13() {
    let world = World::new().await;
    for name in ["a", "b"] {
        world.post(CONFIG_MAPS, config_map(name)).await.object();
    }
    assert_eq!(world.watch(&format!("{CONFIG_MAPS}?limit=1")).await.ready().await.len(), 2);
    assert_eq!(world.watch(&format!("{CONFIG_MAPS}?fieldSelector=metadata.name%3Db")).await.ready().await, ["ADDED b"]);
    assert_eq!(
        world.get(&format!("{}?watch=1", at(CONFIG_MAPS, "a"))).await.body["kind"],
        "ConfigMap",
        "the object, not a watch"
    );
    let mut legacy = world.watch("/api/v1/watch/namespaces/ns/configmaps").await;
    assert_eq!(legacy.ready().await, ["ADDED a", "ADDED b"]);
}

#[tokio::test(start_paused = true)]
async fn conf_b14() {
    let world = World::new().await;
    let stored = world.post(WIDGETS, widget("a")).await.object();
    let crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.ex.io";
    let from = format!("{WIDGETS}?resourceVersion={}", revision(&stored));
    let work = async {
        let mut watch = world.watch(&from).await;
        let five = Duration::from_secs(5);
        tokio::time::sleep(five).await;
        world.patch(MERGE, crd, json!({ "metadata": { "labels": { "l": "1" } } })).await.object();
        tokio::time::sleep(five).await;
        assert!(!watch.ended().await, "labels of the definition end nothing");
        world.patch(MERGE, crd, json!({ "spec": definition(20)["spec"] })).await.object();
        tokio::time::sleep(five).await;
        assert!(watch.ended().await, "a changed schema does");
    };
    world.beside_controllers(work).await;
    let mut again = world.watch(&from).await;
    world.patch(MERGE, &at(WIDGETS, "a"), json!({ "spec": { "size": 15 } })).await.object();
    assert_eq!(again.ready().await, ["MODIFIED a"], "and the next watch works from the old revision");
}

#[tokio::test(start_paused = true)]
async fn conf_b15() {
    let world = World::new().await;
    let stored = world.post(CONFIG_MAPS, config_map("a")).await.revision();
    let mut watch = world.watch(CONFIG_MAPS).await;
    world.post(CONFIG_MAPS, config_map("b")).await.object();
    world.server.restart(SignedDuration::from_secs(2));
    watch.ready().await;
    assert!(watch.ended().await);
    assert_eq!(world.get(&format!("{CONFIG_MAPS}?watch=1")).await.code, 429);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(
        world.watch(&format!("{CONFIG_MAPS}?resourceVersion={stored}")).await.ready().await.len(),
        1,
        "an ERROR: the window is empty"
    );
}

#[tokio::test(start_paused = true)]
async fn conf_b18() {
    let world = World::new().await;
    world.post(CONFIG_MAPS, config_map("a")).await.object();
    let mut slow = world.watch(CONFIG_MAPS).await;
    world.patch(MERGE, &at(CONFIG_MAPS, "a"), json!({ "data": { "k": "2" } })).await.object();
    world.server.compact();
    slow.ready().await;
    assert!(slow.ended().await, "a consumer that falls behind the history is cut off");
}
