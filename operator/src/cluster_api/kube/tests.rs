//! The adapter on canned answers: what no fake server would send.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use http_body_util::{BodyExt, Full};
use tower::service_fn;

use super::*;

/// A cluster that answers lists, watches and reads from these texts.
fn canned(list: String, watch: String, object: String) -> KubeCluster {
    let texts = Arc::new((list, watch, object));
    let service = service_fn(move |request: http::Request<kube::client::Body>| {
        let (list, watch, object) = &*texts;
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        let text = match () {
            () if query.contains("watch=true") => watch,
            () if path.ends_with("configmaps") => list,
            () => object,
        };
        let body = Full::new(Bytes::from(text.clone())).map_err(|never: Infallible| match never {}).boxed_unsync();
        async move { Ok(http::Response::new(body)) }
    });
    KubeCluster::new(HttpService::new(service), &kube::Config::new("http://api".parse().expect("a URI")))
        .expect("no authentication")
}

/// An object with this many levels below its `data`, and as many in the record of who owns them.
fn nested(name: &str, levels: usize) -> String {
    let below = |open: &str| format!("{}{{}}{}", open.repeat(levels), "}".repeat(levels));
    format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}","namespace":"a","uid":"u-{name}","resourceVersion":"7",
        "managedFields":[{{"manager":"m","operation":"Apply","fieldsV1":{}}}],"labels":{{"l":"x"}}}},"data":{},"z":1}}"#,
        below(r#"{"f:a":"#),
        below(r#"{"a":"#)
    )
    .replace('\n', "")
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_too_deep_costs_only_itself() {
    let kind = Kind::namespaced("", "v1", "ConfigMap", "configmaps");
    for levels in [60, 110, 127, 200, 10_000] {
        let objects = [nested("above", 1), nested("deep", levels), nested("under", 2)];
        let list = format!(r#"{{"metadata":{{"resourceVersion":"7"}},"items":[{}]}}"#, objects.join(","));
        let watch =
            objects.each_ref().map(|object| format!("{{\"type\":\"MODIFIED\",\"object\":{object}}}\n")).concat();
        let api = canned(list, watch, objects[1].clone());
        let parsed = |text: &str| Object(serde_json::from_str(text).expect("shallow"));
        let check = |found: &[Object], how: &str| {
            assert_eq!(found.len(), 3, "{how}, {levels} levels");
            assert_eq!((found[0].uid(), found[2].uid()), (parsed(&objects[0]).uid(), parsed(&objects[2]).uid()));
            let deep = &found[1];
            assert_eq!((deep.name(), deep.namespace(), deep.label("l")), ("deep", Some("a"), Some("x")), "{how}");
            assert_eq!((deep.uid(), deep.version()), (Some(Uid("u-deep".into())), Some(Version("7".into()))), "{how}");
        };

        let listed = api.list(&kind, &Scope::all()).await.expect("a list");
        check(&listed, "list");
        assert_eq!((&listed[0], &listed[2]), (&parsed(&objects[0]), &parsed(&objects[2])));
        check(&api.list(&kind, &Scope::all().lean()).await.expect("a lean list"), "lean list");

        let read = api.get(&Key::namespaced(&kind, "a", "deep")).await.expect("read").expect("there");
        assert_eq!(read.0["z"], 1);
        assert_eq!(read.0["data"].to_string().contains(crate::cluster_api::TOO_DEEP), levels > 120, "{levels} levels");

        for detail in [Detail::Full, Detail::Metadata] {
            let changes: Vec<Change> = api.watch(&kind, &Scope::all(), detail).take(8).collect().await;
            let listed: Vec<Object> = changes
                .iter()
                .filter_map(|change| if let Change::Listed(object) = change { Some(object.clone()) } else { None })
                .collect();
            check(&listed, "the list of a watch");
            let applied: Vec<Object> = changes
                .iter()
                .filter_map(|change| if let Change::Applied(object) = change { Some(object.clone()) } else { None })
                .collect();
            check(&applied, "a watch");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_lists_anew_when_a_list_is_behind_what_it_told() {
    let version = Arc::new(std::sync::atomic::AtomicU64::new(7));
    let answered = version.clone();
    let service = service_fn(move |request: http::Request<kube::client::Body>| {
        let watching = request.uri().query().unwrap_or_default().contains("watch=true");
        let version = answered.load(std::sync::atomic::Ordering::Relaxed);
        let list = format!(r#"{{"metadata":{{"resourceVersion":"{version}"}},"items":[]}}"#);
        let told = nested("a", 1).replace(r#""resourceVersion":"7""#, r#""resourceVersion":"8""#);
        let event = format!("{{\"type\":\"MODIFIED\",\"object\":{told}}}\n");
        let frame = |text: String| Ok::<_, Infallible>(http_body::Frame::data(Bytes::from(text)));
        let body = if watching {
            // Silent after its one event.
            http_body_util::StreamBody::new(
                futures::stream::iter([frame(event)]).chain(futures::stream::pending()).boxed(),
            )
        } else {
            http_body_util::StreamBody::new(futures::stream::iter([frame(list)]).boxed())
        };
        let body = body.map_err(|never: Infallible| match never {}).boxed_unsync();
        async move { Ok(http::Response::new(body)) }
    });
    let api = KubeCluster::new(HttpService::new(service), &kube::Config::new("http://api".parse().expect("a URI")))
        .expect("no authentication");
    let kind = Kind::namespaced("", "v1", "ConfigMap", "configmaps");
    let mut watch = api.watch(&kind, &Scope::all(), Detail::Metadata);
    let mut first = Vec::new();
    while !matches!(first.last(), Some(Change::Applied(_))) {
        first.push(watch.next().await.expect("a watch has no end"));
    }
    let silent = std::time::Duration::from_secs(1);
    for ahead in [8, 9] {
        version.store(ahead, std::sync::atomic::Ordering::Relaxed);
        api.list(&kind, &Scope::all()).await.expect("a list");
        assert!(tokio::time::timeout(silent, watch.next()).await.is_err(), "{ahead} is not behind 8");
    }
    version.store(3, std::sync::atomic::Ordering::Relaxed);
    api.list(&kind, &Scope::all()).await.expect("a list");
    let again: Vec<Change> = watch.by_ref().take(3).collect().await;
    assert!(matches!(&again[..], [Change::Interrupted(_), Change::Reset, Change::Synced]), "{again:?}");
}
