//! Answers: the body type, headers that every answer carries, and the rendering of payloads.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body::{Frame, SizeHint};
use serde_json::{Map, Value, json};

use super::errors::Status;
use super::json;
use super::resource::Resource;
use super::store::Stored;
use super::watch::Watch;

/// The body of an answer: whole, or the stream of a watch.
pub struct Body(Inner);

enum Inner {
    Whole(Option<Bytes>),
    Watch(Box<Watch>),
}

impl Body {
    /// A whole body.
    pub fn whole(bytes: impl Into<Bytes>) -> Body {
        Body(Inner::Whole(Some(bytes.into())))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.0 {
            Inner::Whole(bytes) => {
                Poll::Ready(bytes.take().filter(|bytes| !bytes.is_empty()).map(|bytes| Ok(Frame::data(bytes))))
            }
            Inner::Watch(watch) => watch.poll(context).map(|chunk| chunk.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Inner::Whole(bytes) if bytes.as_ref().is_none_or(Bytes::is_empty))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Inner::Watch(_) => SizeHint::new(),
        }
    }
}

/// What a handler answers, before it is rendered for the client's `Accept`.
pub enum Payload {
    /// One object of a resource.
    Object(Arc<Resource>, Arc<Stored>),
    /// A list of a resource.
    List(Arc<Resource>, ListMeta, Vec<Arc<Stored>>),
    /// Any other JSON.
    Json(Value),
    /// Text such as `ok`.
    Text(&'static str),
    /// Bytes of any media type.
    Document(&'static str, Bytes),
    /// No body and no media type: 304 and redirects.
    NotModified,
    /// The stream of a watch.
    Watch(Box<Watch>),
}

impl Payload {
    /// Media type and bytes of an answer that does not stream; a watch has none.
    pub fn render(self) -> (&'static str, Bytes) {
        match self {
            Payload::Object(_, stored) => ("application/json", stored.bytes()),
            Payload::List(resource, meta, items) => ("application/json", list(&resource, &meta, &items).into()),
            Payload::Json(value) => ("application/json", json::to_vec(&value).into()),
            Payload::Text(text) => ("text/plain; charset=utf-8", text.into()),
            Payload::Document(media_type, bytes) => (media_type, bytes),
            Payload::NotModified | Payload::Watch(_) => ("", Bytes::new()),
        }
    }
}

/// `metadata` of a list.
#[derive(Default)]
pub struct ListMeta {
    /// Revision of the list.
    pub revision: u64,
    /// Token of the next page.
    pub continue_token: Option<String>,
    /// Objects after this page.
    pub remaining: Option<usize>,
}

impl ListMeta {
    /// The object on the wire. Lists of custom resources always have `continue`.
    pub fn to_value(&self, custom: bool) -> Value {
        let mut fields = Map::new();
        fields.insert("resourceVersion".into(), json!(self.revision.to_string()));
        match &self.continue_token {
            Some(token) => drop(fields.insert("continue".into(), json!(token))),
            None if custom => drop(fields.insert("continue".into(), json!(""))),
            None => {}
        }
        if let Some(remaining) = self.remaining {
            fields.insert("remainingItemCount".into(), json!(remaining));
        }
        Value::Object(fields)
    }
}

/// An answer with its code, headers and warnings.
pub struct Reply {
    /// HTTP status.
    pub code: u16,
    /// What to show.
    pub payload: Payload,
    /// Texts of `Warning: 299` headers.
    pub warnings: Vec<String>,
    /// Further headers.
    pub headers: Vec<(header::HeaderName, String)>,
}

impl Reply {
    /// An answer without warnings.
    pub fn new(code: u16, payload: Payload) -> Reply {
        Reply { code, payload, warnings: Vec::new(), headers: Vec::new() }
    }

    /// The HTTP answer.
    pub fn render(self) -> Response<Body> {
        let (media_type, body) = match self.payload {
            Payload::Watch(watch) => ("application/json", Body(Inner::Watch(watch))),
            whole => {
                let (media_type, bytes) = whole.render();
                (media_type, Body::whole(bytes))
            }
        };
        finish(self.code, media_type, body, &self.warnings, &self.headers)
    }
}

fn list(resource: &Resource, meta: &ListMeta, items: &[Arc<Stored>]) -> Vec<u8> {
    let size: usize = items.len() * 512;
    let mut out = Vec::with_capacity(size + 256);
    let head = json!({ "kind": resource.list_kind, "apiVersion": resource.api_version, "metadata": meta.to_value(resource.custom.is_some()) });
    json::write(&mut out, &head);
    out.pop();
    out.extend_from_slice(b",\"items\":[");
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        if resource.custom.is_some() { item.write(&mut out) } else { item.write_bare(&mut out) }
    }
    out.extend_from_slice(b"]}");
    out
}

/// The HTTP answer of a refusal.
pub fn refusal(status: &Status, warnings: &[String]) -> Response<Body> {
    let mut headers = Vec::new();
    if let Some(seconds) = status.retry_after {
        headers.push((header::RETRY_AFTER, seconds.to_string()));
    }
    if status.plain {
        headers.push((header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()));
        return finish(
            status.code,
            "text/plain; charset=utf-8",
            Body::whole(status.message.clone()),
            warnings,
            &headers,
        );
    }
    finish(status.code, "application/json", Body::whole(json::to_vec(&status.to_value())), warnings, &headers)
}

fn finish(
    code: u16,
    media_type: &'static str,
    body: Body,
    warnings: &[String],
    headers: &[(header::HeaderName, String)],
) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let map = response.headers_mut();
    if !media_type.is_empty() {
        map.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    }
    map.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    for warning in warnings {
        let text = format!("299 - \"{}\"", warning.replace('\\', "\\\\").replace('"', "\\\""));
        if let Ok(value) = HeaderValue::from_str(&text) {
            map.append(header::WARNING, value);
        }
    }
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            map.insert(name, value);
        }
    }
    response
}
