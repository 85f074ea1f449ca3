//! Requests of a step: path, headers and body as they were recorded, and the answer in the form of the record.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fakes::apiserver::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::play::Run;
use super::slim::slim;

pub(super) struct Answer {
    pub(super) code: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

impl Run {
    pub(super) async fn request(
        &mut self,
        method: &str,
        step: &Value,
    ) -> Result<(Value, Value, Option<String>), String> {
        let mut path = self.symbols.path(step["p"].as_str().unwrap_or_default());
        if path.contains("$H") {
            path = self.openapi_path(&path).await;
        }
        let body = step.get("b").filter(|body| !body.is_null()).map(|body| self.body(body)).transpose()?;
        let mut content_type = step["ct"].as_str().map(str::to_owned);
        if let Some((_, true)) = &body {
            content_type.get_or_insert_with(|| "application/json".to_owned());
        }
        let headers = self.headers(step, content_type.as_deref());
        let bytes = body.map_or_else(Bytes::new, |(bytes, _)| bytes);
        let answer = receive(self.respond(method, &path, headers, bytes).await).await;
        let media_type = header(&answer.headers, "content-type");
        let mut shown = answer.body;
        if self.clients || path == "/apis" {
            shown = slim(&path, media_type.as_deref().unwrap_or_default(), shown);
        }
        if self.clients && method == "DELETE" {
            sleep(Duration::from_millis(300)).await;
        }
        let mut warnings: Vec<&str> =
            answer.headers.get_all("warning").iter().filter_map(|value| value.to_str().ok()).collect();
        if self.symbols.profile {
            warnings.sort_unstable();
        }
        let mut result = json!({ "code": answer.code, "warn": warnings, "body": shown });
        for name in ["Retry-After", "Location"].into_iter().filter(|_| self.symbols.profile) {
            if let Some(value) = header(&answer.headers, name) {
                result["hdr"][name] = json!(value);
            }
        }
        if self.clients {
            result["type"] = json!(media_type);
        }
        Ok((result, shown, header(&answer.headers, "etag")))
    }

    /// The bytes of a body, and whether it is JSON.
    fn body(&self, body: &Value) -> Result<(Bytes, bool), String> {
        if let Some(text) = body.get("$base64").and_then(Value::as_str) {
            let mut bytes = STANDARD.decode(text).map_err(|error| error.to_string())?;
            let recorded = body["$id"].as_str().unwrap_or_default().as_bytes();
            let own = self.symbols.id.as_bytes();
            if !recorded.is_empty() && recorded.len() == own.len() {
                let mut at = 0;
                while let Some(found) = bytes[at..].windows(recorded.len()).position(|window| window == recorded) {
                    bytes[at + found..at + found + own.len()].copy_from_slice(own);
                    at += found + own.len();
                }
            }
            return Ok((bytes.into(), false));
        }
        let body = self.symbols.value(body);
        let text = body.get("$text").and_then(Value::as_str).or_else(|| body.as_str()).filter(|_| self.symbols.profile);
        match text {
            Some(text) => Ok((Bytes::from(text.to_owned()), false)),
            None => Ok((Bytes::from(body.to_string()), true)),
        }
    }

    pub(super) fn headers(&self, step: &Value, content_type: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let defaults =
            [("accept", "application/json"), ("user-agent", "difft/1"), ("authorization", "Bearer admintoken")];
        let mut set = |name: &str, values: &[&str]| {
            let Ok(name) = name.to_lowercase().parse::<HeaderName>() else { return };
            headers.remove(&name);
            for value in values {
                if let Ok(value) = HeaderValue::from_str(value) {
                    headers.append(name.clone(), value);
                }
            }
        };
        defaults.iter().for_each(|(name, value)| set(name, &[value]));
        if let Some(content_type) = content_type {
            set("content-type", &[content_type]);
        }
        for (name, value) in step["h"].as_object().into_iter().flatten() {
            let value = self.symbols.value(value);
            match &value {
                Value::Array(values) => set(name, &values.iter().filter_map(Value::as_str).collect::<Vec<_>>()),
                // Answers were recorded in JSON wherever the client would take it.
                Value::String(text)
                    if name == "Accept" && text.contains("protobuf") && text.contains("application/json") =>
                {
                    set(name, &["application/json"]);
                }
                Value::String(text) => set(name, &[text]),
                _ => set(name, &[]),
            }
        }
        headers
    }

    async fn openapi_path(&mut self, path: &str) -> String {
        let group = path.split('?').next().unwrap_or_default().trim_start_matches("/openapi/v3/");
        let index = self.send("GET", "/openapi/v3", None, None).await;
        index.body["paths"][group]["serverRelativeURL"].as_str().unwrap_or_default().to_owned()
    }

    pub(super) async fn send(
        &mut self,
        method: &str,
        path: &str,
        content_type: Option<&str>,
        body: Option<&Value>,
    ) -> Answer {
        let content_type = content_type.or(body.map(|_| "application/json"));
        let headers = self.headers(&Value::Null, content_type);
        receive(self.respond(method, path, headers, body.map_or_else(Bytes::new, |body| body.to_string().into())).await)
            .await
    }

    pub(super) async fn respond(
        &self,
        method: &str,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> http::Response<Body> {
        // Recorded paths may carry characters that a URI must not.
        let path = path.replace('"', "%22").replace(' ', "%20").replace('{', "%7B").replace('}', "%7D");
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method.parse().unwrap_or_default();
        *request.uri_mut() = path.parse().unwrap_or_default();
        *request.headers_mut() = headers;
        self.server.handle("corpus", request).await
    }
}

pub(super) async fn receive(response: http::Response<Body>) -> Answer {
    let (parts, body) = response.into_parts();
    Answer { code: parts.status.as_u16(), headers: parts.headers, body: parse(&collect(body).await) }
}

pub(super) async fn collect(body: Body) -> Bytes {
    match body.collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(never) => match never {},
    }
}

pub(super) fn parse(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
}

pub(super) fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}
