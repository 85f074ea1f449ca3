//! A server as its clients reach it: every request and reply recorded, and the armed faults striking. Both ways of the
//! operator lead through here, the one to the API server and the one to the control plane.
//!
//! One `handle` serves the in-process transport and the TCP listener. A [`Gate`] belongs to one incarnation of a client
//! process: once closed, nothing of that process is accepted and nothing is delivered to it, although its tasks may
//! live until the runtime polls them once more. The [`Line`] belongs to the way: while it is cut, nobody gets through.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::sync::watch;

use crate::apiserver::{Body, Server};
use crate::faults::{At, Faults, Pattern, Rule, Strike};
use crate::history::{Call, Event, History};
use crate::odoo::Odoo;

/// The connection broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub &'static str);

/// A reply's body on its way.
pub type FrontBody = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Broken>>>;

/// Whether one incarnation of a process lives.
#[derive(Clone)]
pub struct Gate(watch::Sender<bool>);

impl Default for Gate {
    fn default() -> Self {
        Self(watch::Sender::new(true))
    }
}

impl Gate {
    /// Ends the incarnation as far as the world can see.
    pub fn close(&self) {
        self.0.send_replace(false);
    }

    /// Whether it lives.
    pub fn is_open(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns once it is closed.
    pub async fn closed(&self) {
        let mut state = self.0.subscribe();
        // The sender lives in self, so waiting cannot fail.
        let _ = state.wait_for(|open| !open).await;
    }
}

/// What a way leads to.
pub trait Upstream: Send + Sync {
    /// Handles one request of `actor`. Dropping the future is a client that went away.
    ///
    /// # Errors
    /// The server breaks the connection instead of an answer.
    fn handle<'a>(
        &'a self,
        actor: &'a str,
        request: Request<Full<Bytes>>,
    ) -> BoxFuture<'a, Result<Response<Body>, Broken>>;
}

impl Upstream for Server {
    fn handle<'a>(
        &'a self,
        actor: &'a str,
        request: Request<Full<Bytes>>,
    ) -> BoxFuture<'a, Result<Response<Body>, Broken>> {
        Box::pin(async move { Ok(Self::handle(self, actor, request).await) })
    }
}

impl Upstream for Odoo {
    fn handle<'a>(
        &'a self,
        actor: &'a str,
        request: Request<Full<Bytes>>,
    ) -> BoxFuture<'a, Result<Response<Body>, Broken>> {
        Box::pin(async move {
            let (parts, body) = Self::handle(self, actor, request).await?.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            Ok(Response::from_parts(parts, Body::whole(body)))
        })
    }
}

/// Whether a way is passable for anybody.
#[derive(Clone)]
pub struct Line(watch::Sender<bool>);

impl Default for Line {
    fn default() -> Self {
        Self(watch::Sender::new(true))
    }
}

impl Line {
    /// From now on connections are refused, and those that wait for an answer break.
    pub fn cut(&self) {
        self.0.send_replace(false);
    }

    /// The way is open again.
    pub fn mend(&self) {
        self.0.send_replace(true);
    }

    fn is_up(&self) -> bool {
        *self.0.borrow()
    }

    async fn broken(&self) {
        let mut state = self.0.subscribe();
        // The sender lives in self, so waiting cannot fail.
        let _ = state.wait_for(|up| !up).await;
    }
}

/// How long the way to the server and back takes. Half before the request is handled, half after.
pub type Latency = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Server, history and faults in one; a cheap handle.
#[derive(Clone)]
pub struct Front {
    server: Arc<dyn Upstream>,
    history: History,
    faults: Faults,
    latency: Option<Latency>,
    line: Line,
}

impl Front {
    /// The way to the API server. Records every commit of it from now on.
    pub fn new(server: Server, history: History, faults: Faults) -> Self {
        let into = history.clone();
        server.on_commit(move |commit| {
            into.push(&commit.actor.as_str().into(), Event::Commit(Arc::new(commit.clone())));
        });
        Self::to(server, history, faults)
    }

    /// The way to anything else. A server without a commit hook is told about as [`Event::Handled`].
    pub fn to(server: impl Upstream + 'static, history: History, faults: Faults) -> Self {
        Self { server: Arc::new(server), history, faults, latency: None, line: Line::default() }
    }

    /// What can be cut.
    pub fn line(&self) -> &Line {
        &self.line
    }

    /// The same, with a way that takes time.
    #[must_use]
    pub fn with_latency(mut self, latency: Latency) -> Self {
        self.latency = Some(latency);
        self
    }

    async fn travel(&self) {
        if let Some(latency) = &self.latency {
            let half = latency() / 2;
            if !half.is_zero() {
                tokio::time::sleep(half).await;
            }
        }
    }

    /// Carries one request to the server and the reply back.
    ///
    /// # Errors
    /// The connection broke: what became of the request is unknown to the sender.
    pub async fn handle<B>(
        &self,
        actor: &Arc<str>,
        gate: &Gate,
        request: Request<B>,
    ) -> Result<Response<FrontBody>, Broken>
    where
        B: http_body::Body + Send,
        B::Data: Send,
        B::Error: Display,
    {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Broken("the request body broke off"))?.to_bytes();
        alive(gate).await;
        let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let call = Arc::new(Call::read(&parts.method, path, content_type));
        let way = Way { front: self, actor, gate, id: self.history.request_id(), call };
        self.history.push(actor, Event::Request { id: way.id, call: way.call.clone(), body: body.clone() });

        let struck = way.strike(At::Before);
        self.travel().await;
        if !self.line.is_up() {
            return way.lost("connection refused");
        }
        match struck {
            None => {}
            Some(Strike::Crash) => return way.die(None).await,
            Some(Strike::Lose) => return way.lost("connection refused"),
            Some(Strike::Silence) => return way.silence("no answer").await,
            Some(Strike::Twice) => {
                if let Err(Broken(why)) = way.carry(&parts, &body).await {
                    return way.lost(why);
                }
            }
            Some(Strike::Late { ms }) => tokio::time::sleep(Duration::from_millis(ms)).await,
            Some(strike) => {
                if let Some(answer) = answer(&strike, &way.call) {
                    return Ok(way.deliver(answer).await);
                }
            }
        }
        alive(gate).await;
        let reply = match way.carry(&parts, &body).await {
            Ok(reply) => reply,
            Err(Broken(why)) => return way.lost(why),
        };

        let struck = way.strike(At::After);
        let replaced = match struck {
            Some(Strike::Crash) => return way.die(Some(reply.status())).await,
            Some(Strike::Lose) => return way.lost("connection reset"),
            Some(Strike::Silence) => return way.silence("no answer").await,
            Some(strike) => answer(&strike, &way.call),
            None => None,
        };
        self.travel().await;
        if let Some(answer) = replaced {
            return Ok(way.deliver(answer).await);
        }
        alive(gate).await;
        match way.strike(At::Reply) {
            Some(Strike::Crash) => {
                let arrived = way.pass(reply, None).await;
                gate.close();
                Ok(arrived)
            }
            Some(Strike::Lose) => way.lost("connection reset"),
            Some(Strike::Silence) => way.silence("no answer").await,
            Some(Strike::SlowHead { ms }) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Ok(way.pass(reply, None).await)
            }
            strike => Ok(way.pass(reply, strike).await),
        }
    }
}

/// Waits for ever once the process is dead: it takes no further step.
async fn alive(gate: &Gate) {
    if !gate.is_open() {
        std::future::pending::<()>().await;
    }
}

/// One request on its way.
struct Way<'a> {
    front: &'a Front,
    actor: &'a Arc<str>,
    gate: &'a Gate,
    id: u64,
    call: Arc<Call>,
}

impl Way<'_> {
    /// To the server and back to its door.
    async fn carry(&self, parts: &http::request::Parts, body: &Bytes) -> Result<Response<Body>, Broken> {
        let request = Request::from_parts(parts.clone(), Full::new(body.clone()));
        let reply = tokio::select! {
            biased;
            reply = self.front.server.handle(self.actor, request) => reply,
            () = self.front.line.broken() => return Err(Broken("connection reset")),
        };
        if !self.call.is_control_plane() {
            return reply;
        }
        let handled = |status: u16, reply: Bytes| {
            let (id, call, request, bearer) = (self.id, self.call.clone(), body.clone(), bearer(&parts.headers));
            let event = Event::Handled { id, call, bearer, request, status, reply };
            self.front.history.push(self.actor, event);
        };
        match reply {
            Ok(reply) => {
                let (head, whole) = reply.into_parts();
                let whole = whole.collect().await.map(|whole| whole.to_bytes()).unwrap_or_default();
                handled(head.status.as_u16(), whole.clone());
                Ok(Response::from_parts(head, Body::whole(whole)))
            }
            Err(broken) => {
                handled(0, Bytes::new());
                Err(broken)
            }
        }
    }

    fn strike(&self, at: At) -> Option<Strike> {
        let (rule, strike) = self.front.faults.strike(self.actor, &self.call, at)?;
        let what = format!("{strike:?} at {at:?} of {}", self.call);
        self.front.history.push(self.actor, Event::Fault { rule, what });
        Some(strike)
    }

    fn record_lost(&self, why: &'static str) {
        self.front.history.push(self.actor, Event::Lost { id: self.id, call: self.call.clone(), why });
    }

    fn lost<T>(&self, why: &'static str) -> Result<T, Broken> {
        self.record_lost(why);
        Err(Broken(why))
    }

    async fn silence<T>(&self, why: &'static str) -> T {
        self.record_lost(why);
        std::future::pending().await
    }

    async fn die<T>(&self, handled: Option<StatusCode>) -> T {
        if let Some(status) = handled {
            let (id, call) = (self.id, self.call.clone());
            let event = Event::Reply { id, call, status: status.as_u16(), body: Bytes::new(), delivered: false };
            self.front.history.push(self.actor, event);
        }
        self.gate.close();
        std::future::pending().await
    }

    /// A reply that did not come from the server.
    async fn deliver(&self, reply: Response<Bytes>) -> Response<FrontBody> {
        let (parts, body) = reply.into_parts();
        self.record_reply(parts.status, &body);
        Response::from_parts(parts, whole(body))
    }

    fn record_reply(&self, status: StatusCode, body: &Bytes) {
        let (id, call, body) = (self.id, self.call.clone(), body.clone());
        let event = Event::Reply { id, call, status: status.as_u16(), body, delivered: true };
        self.front.history.push(self.actor, event);
    }

    /// The server's reply, its body perhaps damaged.
    async fn pass(&self, reply: Response<Body>, strike: Option<Strike>) -> Response<FrontBody> {
        let (parts, body) = reply.into_parts();
        if self.call.verb == "watch" && parts.status.is_success() {
            self.record_reply(parts.status, &Bytes::new());
            return Response::from_parts(parts, self.stream(body, strike));
        }
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        self.record_reply(parts.status, &body);
        let half = body.slice(..body.len() / 2);
        let rest = body.slice(body.len() / 2..);
        let damaged = match strike {
            Some(Strike::HalfBody) => futures::stream::iter([Ok(Frame::data(half)), Err(Broken("body cut"))]).boxed(),
            Some(Strike::SlowBody { ms }) => futures::stream::iter([Ok(Frame::data(half))])
                .chain(futures::stream::once(async move {
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                    Ok(Frame::data(rest))
                }))
                .boxed(),
            _ => return Response::from_parts(parts, whole(body)),
        };
        Response::from_parts(parts, StreamBody::new(damaged))
    }

    /// A watch, event by event.
    fn stream(&self, body: Body, strike: Option<Strike>) -> FrontBody {
        let reader = Reader {
            lines: Lines { body, buffer: Vec::new() },
            front: self.front.clone(),
            actor: self.actor.clone(),
            gate: self.gate.clone(),
            id: self.id,
            call: self.call.clone(),
            strike,
            delivered: 0,
            over: false,
        };
        let stream = futures::stream::unfold(reader, |mut reader| async move {
            let frame = reader.next().await?;
            Some((frame, reader))
        });
        StreamBody::new(stream.boxed())
    }
}

/// Splits a streaming body into whole lines.
struct Lines {
    body: Body,
    buffer: Vec<u8>,
}

impl Lines {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(end + 1);
                return Some(std::mem::replace(&mut self.buffer, rest).into());
            }
            let frame = self.body.frame().await?.ok()?;
            match frame.into_data() {
                // The usual case: one event, one frame, no copy.
                Ok(data) if self.buffer.is_empty() && data.iter().position(|b| *b == b'\n') == Some(data.len() - 1) => {
                    return Some(data);
                }
                Ok(data) => self.buffer.extend_from_slice(&data),
                Err(_) => {}
            }
        }
    }
}

struct Reader {
    lines: Lines,
    front: Front,
    actor: Arc<str>,
    gate: Gate,
    id: u64,
    call: Arc<Call>,
    strike: Option<Strike>,
    delivered: u64,
    over: bool,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<Frame<Bytes>, Broken>> {
        if self.over {
            return None;
        }
        match self.strike {
            Some(Strike::EndStream { after }) if self.delivered >= after => return None,
            Some(Strike::Expire { after }) if self.delivered >= after => {
                self.over = true;
                return Some(Ok(Frame::data(EXPIRED.into())));
            }
            Some(Strike::HalfOpen { after }) if self.delivered >= after => std::future::pending().await,
            _ => {}
        }
        let line = self.lines.next().await?;
        match self.strike {
            Some(Strike::SlowBody { ms }) => tokio::time::sleep(Duration::from_millis(ms)).await,
            Some(Strike::Miss { after }) if self.delivered >= after => {
                self.front.faults.follow(self.expired_on_return());
                return None;
            }
            _ => {}
        }
        alive(&self.gate).await;
        self.delivered += 1;
        let event = Event::Delivery { id: self.id, call: self.call.clone(), line: line.clone() };
        self.front.history.push(&self.actor, event);
        Some(Ok(Frame::data(line)))
    }

    /// The second half of a missed event: the window has passed when the reader comes back.
    fn expired_on_return(&self) -> Rule {
        let pattern = Pattern { verb: "watch".into(), kind: self.call.resource.clone(), name: String::new() };
        Rule {
            id: "F23".into(),
            actor: self.actor.to_string(),
            pattern,
            nth: 1,
            at: At::Reply,
            strike: Strike::Expire { after: 0 },
        }
    }
}

/// What a watch says when its resourceVersion is older than the window.
const EXPIRED: &str = concat!(
    r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","#,
    r#""message":"too old resource version","reason":"Expired","code":410}}"#,
    "\n"
);

fn whole(body: Bytes) -> FrontBody {
    StreamBody::new(futures::stream::iter([Ok(Frame::data(body))]).boxed())
}

/// The credential of a request as the history shows it: the first 16 hex digits of its SHA-256, as in `observedToken`.
fn bearer(headers: &http::HeaderMap) -> String {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.strip_prefix("Bearer ").map(fingerprint).unwrap_or_default()
}

/// The first 16 hex digits of the SHA-256 of a token.
pub fn fingerprint(token: &str) -> String {
    let digest = <sha2::Sha256 as sha2::Digest>::digest(token.as_bytes());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The canned reply of an [`Strike::Answer`], in the form of whoever is asked.
fn answer(strike: &Strike, call: &Call) -> Option<Response<Bytes>> {
    let Strike::Answer { status, retry_after, plain } = strike else { return None };
    let reason = match status {
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        422 => "Invalid",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    };
    let (content, body) = if call.is_control_plane() {
        if *plain {
            ("text/html; charset=utf-8", format!("<html><body><h1>{status}</h1></body></html>"))
        } else {
            let body = serde_json::json!({ "error": "injected", "message": format!("injected {reason}") });
            (operator::protocol::MEDIA_TYPE, body.to_string())
        }
    } else if *plain {
        ("text/plain; charset=utf-8", "Too many requests, please try again later.\n".to_owned())
    } else {
        let mut body = serde_json::json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": format!("injected {reason}"), "reason": reason, "code": status,
        });
        if let Some(seconds) = retry_after {
            body["details"] = serde_json::json!({ "retryAfterSeconds": seconds });
        }
        ("application/json", body.to_string())
    };
    let mut reply = Response::new(Bytes::from(body));
    *reply.status_mut() = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content));
    if let Some(seconds) = retry_after {
        reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
    }
    Some(reply)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::apiserver::{Clock, Config};

    struct Rig {
        front: Front,
        gate: Gate,
        faults: Faults,
        seen: Arc<Mutex<Vec<String>>>,
    }

    impl Rig {
        fn new(rule: Option<&str>) -> Self {
            let server = Server::new(Config::new(Clock::new(|| jiff::Timestamp::UNIX_EPOCH), 1));
            let history = History::new(|| Duration::ZERO);
            let seen = Arc::new(Mutex::new(Vec::new()));
            let into = seen.clone();
            history.read(move |record| {
                let what = match &record.event {
                    Event::Request { .. } => "request",
                    Event::Reply { delivered: true, .. } => "reply",
                    Event::Reply { .. } => "undelivered",
                    Event::Lost { .. } => "lost",
                    Event::Delivery { .. } => "delivery",
                    Event::Commit(_) => "commit",
                    Event::Handled { .. } => "handled",
                    Event::Fault { .. } => "fault",
                    Event::Step { .. } | Event::Phase(_) | Event::Log { .. } => "other",
                };
                into.lock().expect("no panic").push(what.to_owned());
            });
            let faults = Faults::default();
            let rules: Vec<Rule> = rule.iter().map(|rule| serde_json::from_str(rule).expect("a rule")).collect();
            faults.load(&rules).expect("legal");
            Self { front: Front::new(server, history, faults.clone()), gate: Gate::default(), faults, seen }
        }

        async fn send(&self, method: &str, path: &str, body: &str) -> Result<Response<FrontBody>, Broken> {
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header(header::CONTENT_TYPE, "application/json")
                .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
                .expect("a request");
            self.front.handle(&"operator-0.1".into(), &self.gate, request).await
        }

        /// Creates a ConfigMap and says what was recorded.
        async fn create(&self) -> (Option<Result<u16, Broken>>, Vec<String>) {
            let body = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"}}"#;
            let sent = self.send("POST", "/api/v1/namespaces/default/configmaps", body);
            let outcome = tokio::time::timeout(Duration::from_secs(60), sent).await.ok();
            let outcome = outcome.map(|outcome| outcome.map(|reply| reply.status().as_u16()));
            (outcome, std::mem::take(&mut *self.seen.lock().expect("no panic")))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_strikes_when_decides_what_is_committed_and_what_is_known() {
        let create = r#""match":{"verb":"create"}"#;
        let lost = Some(Err(Broken("connection refused")));
        let reset = Some(Err(Broken("connection reset")));
        for (rule, outcome, seen) in [
            (r#""strike":{"do":"lose"}"#, lost, "request fault lost"),
            (r#""at":"after","strike":{"do":"lose"}"#, reset, "request commit fault lost"),
            (r#""at":"after","strike":{"do":"silence"}"#, None, "request commit fault lost"),
            (r#""strike":{"do":"crash"}"#, None, "request fault"),
            (r#""at":"after","strike":{"do":"crash"}"#, None, "request commit fault undelivered"),
            (r#""at":"reply","strike":{"do":"crash"}"#, Some(Ok(201)), "request commit fault reply"),
            (r#""strike":{"do":"answer","status":429,"retryAfter":3}"#, Some(Ok(429)), "request fault reply"),
            (r#""at":"after","strike":{"do":"answer","status":504}"#, Some(Ok(504)), "request commit fault reply"),
            (r#""strike":{"do":"twice"}"#, Some(Ok(409)), "request fault commit reply"),
        ] {
            let rig = Rig::new(Some(&format!(r#"{{"id":"x",{create},{rule}}}"#)));
            let seen: Vec<String> = seen.split(' ').map(str::to_owned).collect();
            assert_eq!(rig.create().await, (outcome, seen), "{rule}");
        }
    }

    /// A control plane that answers after ten seconds.
    struct Slow;

    impl Upstream for Slow {
        fn handle<'a>(&'a self, _: &'a str, _: Request<Full<Bytes>>) -> BoxFuture<'a, Result<Response<Body>, Broken>> {
            Box::pin(async {
                tokio::time::sleep(Duration::from_secs(10)).await;
                Ok(Response::new(Body::whole(r#"{"jobs":[]}"#)))
            })
        }
    }

    async fn poll(rig: &Rig) -> (Option<Result<u16, Broken>>, Vec<String>) {
        let sent = tokio::time::timeout(Duration::from_secs(60), rig.send("GET", "/api/agent/jobs?wait=30", "")).await;
        let outcome = sent.ok().map(|outcome| outcome.map(|reply| reply.status().as_u16()));
        (outcome, std::mem::take(&mut *rig.seen.lock().expect("no panic")))
    }

    #[tokio::test(start_paused = true)]
    async fn the_way_to_the_control_plane_is_struck_by_the_same_rules() {
        let polls = r#""match":{"verb":"poll","kind":"control-plane"}"#;
        for (rule, outcome, seen) in [
            (r#""nth":7,"strike":{"do":"lose"}"#, Some(Ok(200)), "request handled reply"),
            (
                r#""at":"after","strike":{"do":"lose"}"#,
                Some(Err(Broken("connection reset"))),
                "request handled fault lost",
            ),
            (r#""at":"after","strike":{"do":"crash"}"#, None, "request handled fault undelivered"),
            (
                r#""at":"after","strike":{"do":"answer","status":502,"plain":true}"#,
                Some(Ok(502)),
                "request handled fault reply",
            ),
            (r#""strike":{"do":"twice"}"#, Some(Ok(200)), "request fault handled handled reply"),
            (r#""strike":{"do":"late","ms":5000}"#, Some(Ok(200)), "request fault handled reply"),
        ] {
            let mut rig = Rig::new(Some(&format!(r#"{{"id":"x",{polls},{rule}}}"#)));
            rig.front = Front::to(Slow, rig.front.history.clone(), rig.faults.clone());
            let seen: Vec<String> = seen.split(' ').map(str::to_owned).collect();
            assert_eq!(poll(&rig).await, (outcome, seen), "{rule}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_line_breaks_what_waits_and_refuses_what_comes() {
        let mut rig = Rig::new(None);
        rig.front = Front::to(Slow, rig.front.history.clone(), rig.faults.clone());
        let cut = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            rig.front.line().cut();
        };
        let ((waiting, seen), ()) = futures::join!(poll(&rig), cut);
        assert_eq!((waiting, seen.join(" ")), (Some(Err(Broken("connection reset"))), "request lost".into()));
        assert_eq!(poll(&rig).await.0, Some(Err(Broken("connection refused"))));
        rig.front.line().mend();
        assert_eq!(poll(&rig).await.0, Some(Ok(200)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_process_sends_nothing() {
        let rig = Rig::new(None);
        rig.gate.close();
        assert_eq!(rig.create().await, (None, Vec::new()));
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_body_ends_in_an_error() {
        let rig = Rig::new(Some(r#"{"id":"x","at":"reply","strike":{"do":"halfBody"}}"#));
        let reply = rig.send("GET", "/api/v1/namespaces/default", "").await.expect("the head arrives");
        let error = BodyExt::collect(reply.into_body()).await.expect_err("the body is cut");
        assert_eq!(error, Broken("body cut"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_missed_event_ends_the_stream_and_expires_the_window() {
        let rig = Rig::new(Some(
            r#"{"id":"F23","match":{"verb":"watch","kind":"ConfigMap"},"at":"reply","strike":{"do":"miss","after":0}}"#,
        ));
        let path = "/api/v1/namespaces/default/configmaps?watch=true&resourceVersion=1";
        let reply = rig.send("GET", path, "").await.expect("the head arrives");
        rig.create().await;
        let missed = BodyExt::collect(reply.into_body()).await.expect("a clean end").to_bytes();
        assert!(missed.is_empty(), "the stream ends before the event");
        let reply = rig.send("GET", path, "").await.expect("the head arrives");
        let second = BodyExt::collect(reply.into_body()).await.expect("a clean end").to_bytes();
        assert!(second.starts_with(br#"{"type":"ERROR""#), "the window has passed");
        assert_eq!(rig.faults.fired().get("F23"), Some(&2));
    }
}
