//! One test per item of the checklist of API server behaviours: `conf_a1` and so on. Tests of schema, apply, collector, namespaces and
//! discovery items are beside those modules.
//!
//! Not modelled, so without a test: B16 (several servers with lag between them), L2 (priority and fairness); L4 and L5 are faults that the
//! front door injects.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Clock, Config, Server};

mod access;
mod crd;
mod deletion;
mod discovery;
mod identity;
mod limits;
mod lists;
mod ownership;
mod patches;
mod schema;
mod watches;
mod writes;

/// A server at a fixed time, with namespace `ns`.
async fn server() -> Server {
    let server = Server::new(Config::new(Clock::new(|| Timestamp::UNIX_EPOCH), 7));
    let (code, _) = server.client("test").post("/api/v1/namespaces", &json!({ "metadata": { "name": "ns" } })).await;
    assert_eq!(code, 201);
    server
}

const CONFIG_MAPS: &str = "/api/v1/namespaces/ns/configmaps";
const WIDGETS: &str = "/apis/ex.io/v1/namespaces/ns/widgets";
const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// A server on a simulated clock, with namespace `ns` and the definition of Widget: `spec.size` up to 10, status and scale subresources.
struct World {
    server: Server,
}

/// One answer.
#[derive(Debug)]
struct Reply {
    code: u16,
    headers: HeaderMap,
    body: Value,
}

impl Reply {
    fn reason(&self) -> &str {
        self.body["reason"].as_str().unwrap_or_default()
    }

    fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }

    fn revision(&self) -> u64 {
        revision(&self.body)
    }

    fn warnings(&self) -> Vec<&str> {
        self.headers.get_all("warning").iter().filter_map(|value| value.to_str().ok()).collect()
    }

    /// The object of an answer that must be a success.
    fn object(self) -> Value {
        assert!(self.code < 300, "{} {}", self.code, self.body);
        self.body
    }

    #[track_caller]
    fn refused(&self, code: u16, reason: &str) {
        assert_eq!((self.code, self.reason()), (code, reason), "{}", self.body);
    }
}

impl World {
    async fn new() -> World {
        let start = Instant::now();
        let clock = Clock::new(move || {
            Timestamp::UNIX_EPOCH + SignedDuration::try_from(start.elapsed()).expect("a test lasts less than an age")
        });
        World::configured(Config::new(clock, 7)).await
    }

    async fn configured(mut config: Config) -> World {
        config.controllers.garbage_collector = false;
        config.controllers.namespaces = false;
        config.controllers.namespace_contents = false;
        let world = World { server: Server::new(config) };
        world.post("/api/v1/namespaces", json!({ "metadata": { "name": "ns" } })).await.object();
        world.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition(10)).await.object();
        world.run(Duration::from_secs(2)).await;
        world
    }

    /// Lets the controllers work for a while.
    async fn run(&self, length: Duration) {
        // The controllers never end, so the time always runs out.
        let _ = tokio::time::timeout(length, self.server.run_controllers()).await;
    }

    /// Runs `work` while the controllers work beside it.
    async fn beside_controllers<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            () = self.server.run_controllers() => panic!("controllers never end"),
            result = work => result,
        }
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<bytes::Bytes>) -> Reply {
        let mut request = Request::builder().method(method).uri(path).header("user-agent", "conf/1");
        request = request.header("authorization", "Bearer admintoken");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).expect("a valid request");
        let response = self.server.handle("conf", request).await;
        let (code, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.into_body().collect().await.expect("bodies do not fail").to_bytes();
        let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
        Reply { code, headers, body: serde_json::from_slice(&bytes).unwrap_or_else(|_| text()) }
    }

    async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], "").await
    }

    async fn post(&self, path: &str, body: Value) -> Reply {
        self.send("POST", path, &[("content-type", JSON)], body.to_string()).await
    }

    async fn put(&self, path: &str, body: Value) -> Reply {
        self.send("PUT", path, &[("content-type", JSON)], body.to_string()).await
    }

    async fn patch(&self, kind: &str, path: &str, body: Value) -> Reply {
        self.send("PATCH", path, &[("content-type", kind)], body.to_string()).await
    }

    async fn delete(&self, path: &str, options: Value) -> Reply {
        let body = if options.is_null() { String::new() } else { options.to_string() };
        self.send("DELETE", path, &[], body).await
    }

    /// Opens a watch; it begins at once, not when it is first read.
    async fn watch(&self, path: &str) -> Watch {
        let separator = if path.contains('?') { '&' } else { '?' };
        let request =
            Request::builder().uri(format!("{path}{separator}watch=1")).header("authorization", "Bearer admintoken");
        let response =
            self.server.handle("conf", request.body(Full::new(bytes::Bytes::new())).expect("a valid request")).await;
        assert_eq!(response.status(), 200);
        let frames = http_body_util::BodyStream::new(response.into_body());
        let lines = frames.map(|frame| {
            let data = frame.expect("bodies do not fail").into_data().expect("watches send data only");
            assert!(data.ends_with(b"\n"), "one event per line");
            let event: Value = serde_json::from_slice(&data).expect("a line is JSON");
            (event["type"].as_str().unwrap_or_default().to_owned(), event["object"].clone())
        });
        Watch(lines.boxed())
    }
}

/// An open watch.
struct Watch(BoxStream<'static, (String, Value)>);

impl Watch {
    /// The next event as `TYPE name`.
    async fn next(&mut self) -> Option<(String, Value)> {
        self.0.next().await
    }

    /// The events that are there, as `TYPE name`; nothing is waited for.
    async fn ready(&mut self) -> Vec<String> {
        let mut events = Vec::new();
        while let Ok(Some((kind, object))) = tokio::time::timeout(Duration::ZERO, self.0.next()).await {
            events.push(format!("{kind} {}", object["metadata"]["name"].as_str().unwrap_or_default()));
        }
        events
    }

    /// Whether the server has ended it.
    async fn ended(&mut self) -> bool {
        matches!(tokio::time::timeout(Duration::ZERO, self.0.next()).await, Ok(None))
    }
}

fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn config_map(name: &str) -> Value {
    json!({ "metadata": { "name": name }, "data": { "k": "1" } })
}

fn widget(name: &str) -> Value {
    json!({ "apiVersion": "ex.io/v1", "kind": "Widget", "metadata": { "name": name }, "spec": { "size": 1 } })
}

fn definition(maximum: i64) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": { "name": "widgets.ex.io" },
        "spec": {
            "group": "ex.io", "scope": "Namespaced",
            "names": { "plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList" },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": { "status": {}, "scale": { "specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size" } },
                "schema": { "openAPIV3Schema": { "type": "object", "properties": {
                    "spec": { "type": "object", "properties": {
                        "size": { "type": "integer", "maximum": maximum },
                        "mode": { "type": "string", "default": "A" },
                    } },
                    "status": { "type": "object", "properties": { "size": { "type": "integer" }, "phase": { "type": "string" } } },
                } } },
            }],
        },
    })
}

/// `path/name`.
fn at(path: &str, name: &str) -> String {
    format!("{path}/{name}")
}
