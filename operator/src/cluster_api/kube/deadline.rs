//! The one deadline of every request to the API server, as a tower layer.
//!
//! A layer and not one `timeout()` per caller, because kube's watcher lists internally and would escape it. Requests that
//! are not watches get one deadline over head *and* body: a server that sends a head and then stalls would otherwise hold
//! a reconcile slot for ever. Watches get it on the head only; their body is bounded by the watch timeout.
//!
//! The layer also keeps what kube drops: without kube's own retry layer the `Retry-After` header is lost before an error
//! is built, and API priority-and-fairness answers 429 in plain text. Both are turned into a `Status` whose
//! `details.retryAfterSeconds` says how long to wait. What of an answer no decoder would read is cut out ([`depth`](super::depth)).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::{Instant, Sleep, timeout_at};
use tower::{BoxError, Layer, Service};

use super::depth::Shallow;
use crate::transport::ResponseBody;

/// Deadline of everything except pages of a list (design §7).
pub const REQUEST: Duration = Duration::from_secs(10);
/// Deadline of one page of a list (design §7).
pub const LIST_PAGE: Duration = Duration::from_secs(30);
/// A watch that ends earlier than this after its head is held open until then, so that a server which accepts and closes
/// watches at once cannot make the watcher spin: kube reconnects after a clean end without any delay.
pub const WATCH_MINIMUM: Duration = Duration::from_secs(1);

/// The answer did not arrive in time. What the request asked for may have happened.
#[derive(Debug, thiserror::Error)]
#[error("no complete answer within {} s", .0.as_secs())]
pub struct DeadlineExceeded(pub Duration);

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct DeadlineLayer;

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline { inner }
    }
}

/// The service of [`DeadlineLayer`].
#[derive(Clone, Debug)]
pub struct Deadline<S> {
    inner: S,
}

impl<S, B> Service<Request<Body>> for Deadline<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError> + 'static,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let kind = RequestKind::of(&request);
        if kind == RequestKind::Watch {
            // A newer server compresses a watch as one gzip member per event; decoders that stop after the first member
            // would go blind (world case W53).
            request.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        let limit = kind.limit();
        let path = request.uri().path().to_owned();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let until = Instant::now() + limit;
            let response = timeout_at(until, answer).await.map_err(|_| DeadlineExceeded(limit))?.map_err(Into::into)?;
            let (mut head, body) =
                response.map(|body| Shallow::new(body, &path, kind == RequestKind::Watch)).into_parts();
            if kind == RequestKind::Watch && head.status.is_success() {
                return Ok(Response::from_parts(head, WatchBody::new(body).boxed_unsync()));
            }
            let bytes = timeout_at(until, body.collect())
                .await
                .map_err(|_| DeadlineExceeded(limit))?
                .map_err(Into::into)?
                .to_bytes();
            let bytes = keep_retry_after(head.status, &mut head.headers, bytes);
            Ok(Response::from_parts(head, Full::new(bytes).map_err(|never| match never {}).boxed_unsync()))
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestKind {
    Watch,
    ListPage,
    Other,
}

impl RequestKind {
    fn of<B>(request: &Request<B>) -> Self {
        let pairs =
            request.uri().query().unwrap_or_default().split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let mut page = false;
        for (name, value) in pairs {
            match name {
                "watch" if value != "false" && value != "0" => return Self::Watch,
                "limit" => page = true,
                _ => {}
            }
        }
        if page { Self::ListPage } else { Self::Other }
    }

    fn limit(self) -> Duration {
        match self {
            Self::ListPage => LIST_PAGE,
            Self::Watch | Self::Other => REQUEST,
        }
    }
}

/// Copies `Retry-After` into the `Status` of an error answer; a plain-text 429 or 503 becomes a `Status`.
fn keep_retry_after(status: StatusCode, headers: &mut HeaderMap, body: Bytes) -> Bytes {
    if !status.is_client_error() && !status.is_server_error() {
        return body;
    }
    let Some(seconds) = headers
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.trim().parse().ok())
    else {
        return body;
    };
    let seconds: u32 = seconds;
    let mut answer = match serde_json::from_slice::<Value>(&body) {
        Ok(value) if value.get("kind").and_then(Value::as_str) == Some("Status") => value,
        _ => json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": String::from_utf8_lossy(&body).trim(), "code": status.as_u16(),
        }),
    };
    if !answer["details"].is_object() {
        answer["details"] = json!({});
    }
    if answer["details"].get("retryAfterSeconds").is_none() {
        answer["details"]["retryAfterSeconds"] = json!(seconds);
    }
    let bytes = Bytes::from(answer.to_string());
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    bytes
}

/// The body of a watch, whose end is delayed to at least [`WATCH_MINIMUM`] after the head.
struct WatchBody<B> {
    body: Pin<Box<B>>,
    earliest: Instant,
    ending: Option<Pin<Box<Sleep>>>,
}

impl<B> WatchBody<B> {
    fn new(body: B) -> Self {
        Self { body: Box::pin(body), earliest: Instant::now() + WATCH_MINIMUM, ending: None }
    }
}

impl<B> HttpBody for WatchBody<B>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.ending.is_none() {
            match self.body.as_mut().poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(frame)) => return Poll::Ready(Some(frame.map_err(Into::into))),
                Poll::Ready(None) => self.ending = Some(Box::pin(tokio::time::sleep_until(self.earliest))),
            }
        }
        match &mut self.ending {
            Some(sleep) => sleep.as_mut().poll(cx).map(|()| None),
            None => Poll::Ready(None),
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::{StreamExt, stream};
    use http_body_util::StreamBody;
    use tower::{ServiceBuilder, ServiceExt, service_fn};

    use super::*;

    fn get(uri: &str) -> Request<Body> {
        Request::get(uri).body(Body::empty()).expect("a valid request")
    }

    fn status(body: &[u8]) -> Value {
        serde_json::from_slice(body).expect("JSON")
    }

    async fn answer(code: u16, retry_after: Option<&'static str>, body: &'static str) -> (u16, Bytes) {
        let service =
            ServiceBuilder::new().layer(DeadlineLayer).service(service_fn(move |_: Request<Body>| async move {
                let mut response = Response::builder().status(code);
                if let Some(seconds) = retry_after {
                    response = response.header("Retry-After", seconds);
                }
                Ok::<_, Infallible>(response.body(Full::new(Bytes::from(body))).expect("a valid response"))
            }));
        let response = service.oneshot(get("http://api/api/v1/pods")).await.expect("an answer");
        let code = response.status().as_u16();
        (code, response.into_body().collect().await.expect("a body").to_bytes())
    }

    #[tokio::test]
    async fn plain_text_429_becomes_a_status_with_its_delay() {
        let (code, body) = answer(429, Some("7"), "Too many requests, please try again later.\n").await;
        assert_eq!(code, 429);
        assert_eq!(status(&body)["details"]["retryAfterSeconds"], 7);
        assert_eq!(status(&body)["message"], "Too many requests, please try again later.");
    }

    #[tokio::test]
    async fn a_status_keeps_its_text_and_its_own_delay() {
        let own = r#"{"kind":"Status","code":429,"message":"m","details":{"retryAfterSeconds":3}}"#;
        assert_eq!(status(&answer(429, Some("7"), own).await.1)["details"]["retryAfterSeconds"], 3);
        let none = r#"{"kind":"Status","code":503,"message":"m","details":null}"#;
        assert_eq!(status(&answer(503, Some("5"), none).await.1)["details"]["retryAfterSeconds"], 5);
    }

    #[tokio::test]
    async fn success_and_errors_without_the_header_pass_unchanged() {
        assert_eq!(answer(200, Some("7"), "x").await.1, "x");
        assert_eq!(answer(500, None, "boom").await.1, "boom");
        assert_eq!(answer(503, Some("Wed, 21 Oct 2015 07:28:00 GMT"), "boom").await.1, "boom");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_head_and_a_slow_body_both_end_at_the_deadline() {
        let slow_head = ServiceBuilder::new().layer(DeadlineLayer).service(service_fn(|_: Request<Body>| async {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
        }));
        let start = Instant::now();
        assert!(slow_head.oneshot(get("http://api/x")).await.expect_err("a deadline").is::<DeadlineExceeded>());
        assert_eq!(start.elapsed(), REQUEST);

        let slow_body = ServiceBuilder::new().layer(DeadlineLayer).service(service_fn(|_: Request<Body>| async {
            let chunks = stream::unfold(0, |n| async move {
                tokio::time::sleep(Duration::from_secs(9)).await;
                Some((Ok::<_, Infallible>(Frame::data(Bytes::from_static(b" "))), n + 1))
            })
            .boxed();
            Ok::<_, Infallible>(Response::new(StreamBody::new(chunks)))
        }));
        let start = Instant::now();
        assert!(slow_body.clone().oneshot(get("http://api/x?limit=500")).await.is_err());
        assert_eq!(start.elapsed(), LIST_PAGE);

        let start = Instant::now();
        let mut watch = slow_body.oneshot(get("http://api/x?limit=500&watch=true")).await.expect("a head").into_body();
        for _ in 0..5 {
            watch.frame().await.expect("a frame").expect("a chunk");
        }
        assert_eq!(start.elapsed(), Duration::from_secs(45), "a watch body has no deadline here");
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_closes_at_once_is_held_for_a_second() {
        let service =
            ServiceBuilder::new().layer(DeadlineLayer).service(service_fn(|request: Request<Body>| async move {
                assert_eq!(request.headers()["accept-encoding"], "identity");
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"{}\n"))))
            }));
        let start = Instant::now();
        let body = service.oneshot(get("http://api/x?watch=1")).await.expect("a head").into_body();
        assert_eq!(body.collect().await.expect("a body").to_bytes(), "{}\n");
        assert_eq!(start.elapsed(), WATCH_MINIMUM);
    }
}
