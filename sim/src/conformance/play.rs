//! Sends one sequence to a fresh server, on a clock that moves only while everything waits.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use fakes::apiserver::{Body, Clock, Config, Server};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body::Body as _;
use http_body_util::{BodyExt, Full};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use super::corpus::Sequence;
use super::slim::slim;
use super::symbols::Symbols;

/// A fixed date for simulated time to start at: 2026-01-01T00:00:00Z.
const START: i64 = 1_767_225_600;

/// What the server answered.
#[derive(Debug, Default)]
pub(super) struct Played {
    /// The name of the run, to be hidden.
    pub(super) id: String,
    /// Per step what `expect` of the record shows, raw.
    pub(super) answers: Vec<Value>,
    /// Per open stream: its step, its events, whether the server ended it.
    pub(super) streams: Vec<(usize, Vec<Value>, bool)>,
}

/// Plays one sequence on a runtime of its own.
///
/// # Errors
/// A step of the corpus that cannot be understood.
pub(super) fn play(sequence: &Sequence, crds: &[Value]) -> Result<Played, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let start = Instant::now();
        let clock = Clock::new(move || {
            let elapsed = SignedDuration::try_from(start.elapsed()).unwrap_or(SignedDuration::MAX);
            Timestamp::from_second(START).unwrap_or(Timestamp::UNIX_EPOCH) + elapsed
        });
        let mut config = Config::new(clock, sequence.seed);
        let controllers = sequence.is_profile();
        config.controllers.garbage_collector = controllers;
        config.controllers.namespaces = controllers;
        config.controllers.namespace_contents = controllers;
        if sequence.is_profile() {
            config.authorization = fakes::apiserver::Authorization::Rbac;
        }
        let server = Server::new(config);
        let run = Run::new(sequence, server.clone());
        tokio::select! {
            biased;
            () = server.run_controllers() => Err("the controllers ended".to_owned()),
            played = run.go(sequence, crds) => played,
        }
    })
}

struct Run {
    server: Server,
    symbols: Symbols,
    clients: bool,
    streams: BTreeMap<usize, Stream>,
}

struct Answer {
    code: u16,
    headers: HeaderMap,
    body: Value,
}

struct Stream {
    body: Body,
    buffer: BytesMut,
    events: Vec<Value>,
    ended: bool,
    closed: bool,
}

impl Stream {
    /// Takes what is there; never waits.
    fn drain(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        while !self.ended && !self.closed {
            match Pin::new(&mut self.body).poll_frame(&mut context) {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Poll::Ready(None) => self.ended = true,
                Poll::Pending => break,
            }
        }
        while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
            let line = self.buffer.split_to(end + 1);
            self.events.push(serde_json::from_slice(&line).unwrap_or(Value::Null));
        }
    }
}

impl Run {
    fn new(sequence: &Sequence, server: Server) -> Run {
        let profile = sequence.is_profile();
        // Recorded ids have 13 characters, and protobuf bodies carry the length.
        let id =
            if profile { format!("zaaaaaaa{:04}q", sequence.seed % 10_000) } else { format!("gr{}", sequence.seed) };
        Run {
            server,
            symbols: Symbols { id, profile, ..Symbols::default() },
            clients: sequence.profile == "clients",
            streams: BTreeMap::new(),
        }
    }

    async fn go(mut self, sequence: &Sequence, crds: &[Value]) -> Result<Played, String> {
        self.prepare(crds).await?;
        let mut answers = Vec::new();
        for (index, step) in sequence.steps().iter().enumerate() {
            let answer = self.step(index, step).await?;
            answers.push(answer);
            self.streams.values_mut().for_each(Stream::drain);
        }
        sleep(Duration::from_millis(300)).await;
        self.streams.values_mut().for_each(Stream::drain);
        let streams = std::mem::take(&mut self.streams);
        let streams = streams.into_iter().map(|(index, stream)| (index, stream.events, stream.ended)).collect();
        Ok(Played { id: self.symbols.id, answers, streams })
    }

    async fn prepare(&mut self, crds: &[Value]) -> Result<(), String> {
        for crd in crds {
            // The recorded server got its definition from `kubectl create`, and some sequences read who owns it.
            let created = self
                .send(
                    "POST",
                    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions?fieldManager=kubectl-create",
                    None,
                    Some(crd),
                )
                .await;
            if created.code != 201 {
                return Err(format!("the definition is refused: {}", created.body));
            }
            let spec = &crd["spec"];
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let path = format!(
                "/apis/{}/{}/{}",
                text(&spec["group"]),
                text(&spec["versions"][0]["name"]),
                text(&spec["names"]["plural"])
            );
            self.until(&path, 200).await?;
        }
        if !self.symbols.profile || self.clients {
            let name = if self.clients { format!("{}-a", self.symbols.id) } else { self.symbols.id.clone() };
            self.send("POST", "/api/v1/namespaces", None, Some(&json!({ "metadata": { "name": name } }))).await;
            if self.clients {
                self.until(&format!("/api/v1/namespaces/{name}/configmaps/kube-root-ca.crt"), 200).await?;
                self.until(&format!("/api/v1/namespaces/{name}/serviceaccounts/default"), 200).await?;
            }
        }
        Ok(())
    }

    async fn until(&mut self, path: &str, code: u16) -> Result<(), String> {
        for _ in 0..100 {
            if self.send("GET", path, None, None).await.code == code {
                return Ok(());
            }
            sleep(Duration::from_millis(100)).await;
        }
        Err(format!("{path} never answers {code}"))
    }

    async fn step(&mut self, index: usize, step: &Value) -> Result<Value, String> {
        let method = step["m"].as_str().unwrap_or_default();
        let mut raw = Value::Null;
        let mut etag = None;
        let answer = match method {
            "WATCH" => self.watch(index, step).await,
            "QUIESCE"
                if step.get("lists").is_some_and(|lists| lists.as_array().is_some_and(|lists| !lists.is_empty())) =>
            {
                json!({ "state": self.quiesce(step).await })
            }
            "QUIESCE" => {
                sleep(seconds(&step["secs"], 0.5)).await;
                json!({})
            }
            "STREAM" => self.look(step, seconds(&step["secs"], 3.0), None).await,
            "CLOSE" => self.look(step, Duration::from_secs(3), step["n"].as_u64()).await,
            "WAIT" => {
                let (answer, body) = self.wait(step).await;
                raw = body;
                answer
            }
            _ => {
                let (answer, body, found) = self.request(method, step).await?;
                raw = body;
                etag = found;
                answer
            }
        };
        self.symbols.answers.push(raw);
        self.symbols.etags.push(etag);
        Ok(answer)
    }

    async fn watch(&mut self, index: usize, step: &Value) -> Value {
        let path = self.symbols.path(step["p"].as_str().unwrap_or_default());
        let headers = self.headers(step, None);
        let response = self.respond("GET", &path, headers, Bytes::new()).await;
        let code = response.status().as_u16();
        let mut answer = json!({ "code": code });
        if code == 200 {
            let stream = Stream {
                body: response.into_body(),
                buffer: BytesMut::new(),
                events: Vec::new(),
                ended: false,
                closed: false,
            };
            self.streams.insert(index, stream);
            sleep(Duration::from_millis(if self.symbols.profile { 50 } else { 30 })).await;
        } else {
            answer["body"] = parse(&collect(response.into_body()).await);
        }
        if !self.symbols.profile {
            answer["warn"] = json!([]);
            answer["body"] = json!({});
        }
        answer
    }

    /// Looks at a stream until it ends, has `count` events, or the time is over.
    async fn look(&mut self, step: &Value, patience: Duration, count: Option<u64>) -> Value {
        let at = step["at"].as_u64().and_then(|at| usize::try_from(at).ok()).unwrap_or(usize::MAX);
        let end = Instant::now() + patience;
        // The recorder says of a stream that was refused that it is not closed.
        let Some(stream) = self.streams.get_mut(&at) else {
            return if count.is_some() { json!({}) } else { json!({ "closed": false }) };
        };
        loop {
            stream.drain();
            let enough = count.is_some_and(|count| stream.events.len() as u64 >= count);
            if stream.ended || enough || Instant::now() >= end {
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
        match count {
            Some(count) => {
                stream.events.truncate(usize::try_from(count).unwrap_or(usize::MAX));
                stream.closed = true;
                stream.ended = false;
                json!({})
            }
            None => json!({ "closed": stream.ended }),
        }
    }

    async fn quiesce(&mut self, step: &Value) -> Value {
        let (quiet, end) = (seconds(&step["quiet"], 2.0), Instant::now() + seconds(&step["max"], 30.0));
        let (mut last, mut since) = (Value::Null, Instant::now());
        loop {
            let now = self.lists(step).await;
            if now != last {
                last = now;
                since = Instant::now();
            } else if since.elapsed() >= quiet {
                return last;
            }
            if Instant::now() > end {
                return last;
            }
            self.streams.values_mut().for_each(Stream::drain);
            sleep(Duration::from_millis(250)).await;
        }
    }

    async fn lists(&mut self, step: &Value) -> Value {
        let mut state = Map::new();
        for path in step["lists"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let answer = self.send("GET", &self.symbols.path(path), None, None).await;
            let shown = match answer.body.get("items").and_then(Value::as_array) {
                _ if answer.code != 200 => json!({ "code": answer.code }),
                Some(items) if path.split('?').next().is_some_and(|path| path.ends_with("/events")) => {
                    let mut items: Vec<Value> = items.iter().map(event_summary).collect();
                    items.sort_by_key(Value::to_string);
                    json!({ "code": 200, "items": items })
                }
                Some(items) => {
                    let hidden = |item: &&Value| {
                        item["metadata"]["name"] == json!("kube-root-ca.crt") && !path.contains("&keep")
                    };
                    json!({ "code": 200, "items": items.iter().filter(|item| !hidden(item)).collect::<Vec<_>>() })
                }
                None => json!({ "code": 200, "object": answer.body }),
            };
            state.insert(path.to_owned(), shown);
        }
        Value::Object(state)
    }

    async fn wait(&mut self, step: &Value) -> (Value, Value) {
        let end = Instant::now() + seconds(&step["max"], 60.0);
        let until = &step["until"];
        let path = self.symbols.path(step["p"].as_str().unwrap_or_default());
        let (answer, ok) = loop {
            let answer = self.send("GET", &path, None, None).await;
            let code = until["code"].as_u64().is_none_or(|code| code == u64::from(answer.code));
            let condition = until["cond"].as_str().is_none_or(|wanted| {
                let conditions = answer.body["status"]["conditions"].as_array();
                conditions
                    .into_iter()
                    .flatten()
                    .any(|found| found["type"] == json!(wanted) && found["status"] == json!("True"))
            });
            let ok = code && condition;
            if ok || Instant::now() > end {
                break (answer, ok);
            }
            self.streams.values_mut().for_each(Stream::drain);
            sleep(Duration::from_millis(50)).await;
        };
        let mut shown = json!({ "ok": ok });
        if truthy(&step["show"]) {
            shown["code"] = json!(answer.code);
            shown["body"] = answer.body.clone();
        }
        if truthy(&step["then"]) {
            sleep(seconds(&step["then"], 0.0)).await;
        }
        (shown, answer.body)
    }

    async fn request(&mut self, method: &str, step: &Value) -> Result<(Value, Value, Option<String>), String> {
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

    fn headers(&self, step: &Value, content_type: Option<&str>) -> HeaderMap {
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

    async fn send(&mut self, method: &str, path: &str, content_type: Option<&str>, body: Option<&Value>) -> Answer {
        let content_type = content_type.or(body.map(|_| "application/json"));
        let headers = self.headers(&Value::Null, content_type);
        receive(self.respond(method, path, headers, body.map_or_else(Bytes::new, |body| body.to_string().into())).await)
            .await
    }

    async fn respond(&self, method: &str, path: &str, headers: HeaderMap, body: Bytes) -> http::Response<Body> {
        // Recorded paths may carry characters that a URI must not.
        let path = path.replace('"', "%22").replace(' ', "%20").replace('{', "%7B").replace('}', "%7D");
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method.parse().unwrap_or_default();
        *request.uri_mut() = path.parse().unwrap_or_default();
        *request.headers_mut() = headers;
        self.server.handle("corpus", request).await
    }
}

async fn receive(response: http::Response<Body>) -> Answer {
    let (parts, body) = response.into_parts();
    Answer { code: parts.status.as_u16(), headers: parts.headers, body: parse(&collect(body).await) }
}

async fn collect(body: Body) -> Bytes {
    match body.collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(never) => match never {},
    }
}

fn parse(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn seconds(value: &Value, missing: f64) -> Duration {
    Duration::from_secs_f64(value.as_f64().unwrap_or(missing).max(0.0))
}

fn truthy(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false)) && value.as_f64() != Some(0.0)
}

fn event_summary(event: &Value) -> Value {
    let object = &event["involvedObject"];
    json!([event["reason"], event["type"], object["kind"], object["name"], event["message"]])
}
