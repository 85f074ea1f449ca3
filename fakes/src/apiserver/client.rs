//! An in-process client: the same request path as HTTP, without sockets.

use bytes::{Bytes, BytesMut};
use futures::Stream;
use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::Value;

use super::reply::Body;
use super::server::Server;
use super::{depth, json};

/// Sends requests to a [`Server`] as one actor.
#[derive(Clone)]
pub struct Client {
    server: Server,
    actor: String,
}

impl Client {
    pub(super) fn new(server: Server, actor: &str) -> Client {
        Client { server, actor: actor.to_owned() }
    }

    /// Any request. Text answers come back as JSON strings.
    pub async fn request(
        &self,
        method: &str,
        path_and_query: &str,
        content_type: Option<&str>,
        body: Option<&Value>,
    ) -> (u16, Value) {
        let response = self.send(method, path_and_query, content_type, body).await;
        let code = response.status().as_u16();
        let bytes = match response.into_body().collect().await {
            Ok(body) => body.to_bytes(),
            Err(never) => match never {},
        };
        let value = read(&bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        (code, value)
    }

    async fn send(
        &self,
        method: &str,
        path_and_query: &str,
        content_type: Option<&str>,
        body: Option<&Value>,
    ) -> http::Response<Body> {
        let body = body.map(|body| depth::with_room(depth::is_deep(body), || json::to_vec(body))).unwrap_or_default();
        let mut request = Request::builder()
            .method(method)
            .uri(path_and_query)
            .header("user-agent", &self.actor)
            .header("authorization", format!("Bearer {}", super::rbac::ADMIN_TOKEN));
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .expect("callers inside the process pass valid methods, paths and headers");
        self.server.handle(&self.actor, request).await
    }

    /// GET.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.request("GET", path, None, None).await
    }

    /// POST of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.request("POST", path, Some("application/json"), Some(body)).await
    }

    /// PUT of JSON.
    pub async fn put(&self, path: &str, body: &Value) -> (u16, Value) {
        self.request("PUT", path, Some("application/json"), Some(body)).await
    }

    /// DELETE, with DeleteOptions if given.
    pub async fn delete(&self, path: &str, options: Option<&Value>) -> (u16, Value) {
        self.request("DELETE", path, options.map(|_| "application/json"), options).await
    }

    /// PATCH by merge patch.
    pub async fn merge_patch(&self, path: &str, body: &Value) -> (u16, Value) {
        self.request("PATCH", path, Some("application/merge-patch+json"), Some(body)).await
    }

    /// PATCH by server-side apply; `path` carries `fieldManager` and, where wanted, `force`.
    pub async fn apply(&self, path: &str, body: &Value) -> (u16, Value) {
        self.request("PATCH", path, Some("application/apply-patch+yaml"), Some(body)).await
    }

    /// A watch of a collection path (`watch=1` is added). Ends when the server ends it; a refusal ends it at once.
    pub fn watch(&self, path: &str) -> impl Stream<Item = (String, Value)> + Send + 'static + use<> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{separator}watch=1");
        let client = self.clone();
        futures::stream::unfold(WatchState::Start(client, path), |mut state| async move {
            loop {
                state = match state {
                    WatchState::Start(client, path) => {
                        let response = client.send("GET", &path, None, None).await;
                        if response.status() != http::StatusCode::OK {
                            return None;
                        }
                        WatchState::Open(response.into_body(), BytesMut::new())
                    }
                    WatchState::Open(mut body, mut buffer) => {
                        if let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                            let line = buffer.split_to(end + 1);
                            let mut event = read(&line).ok()?;
                            let object = event["object"].take();
                            let kind = event["type"].as_str().unwrap_or_default().to_owned();
                            return Some(((kind, object), WatchState::Open(body, buffer)));
                        }
                        let frame = body.frame().await?;
                        if let Ok(Ok(data)) = frame.map(http_body::Frame::into_data) {
                            buffer.extend_from_slice(&data);
                        }
                        WatchState::Open(body, buffer)
                    }
                };
            }
        })
    }
}

/// Reads an answer, which is as deep as the object in it and what is around that.
fn read(text: &[u8]) -> serde_json::Result<Value> {
    depth::with_room(depth::is_deep_text(text), || {
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        deserializer.disable_recursion_limit();
        let value = serde::Deserialize::deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(value)
    })
}

enum WatchState {
    Start(Client, String),
    Open(Body, BytesMut),
}
