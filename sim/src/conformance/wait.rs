//! Steps that watch, look and wait, on the paused clock.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use super::play::{Run, seconds};
use super::send::{collect, parse};
use super::stream::Stream;

impl Run {
    pub(super) async fn until(&mut self, path: &str, code: u16) -> Result<(), String> {
        for _ in 0..100 {
            if self.send("GET", path, None, None).await.code == code {
                return Ok(());
            }
            sleep(Duration::from_millis(100)).await;
        }
        Err(format!("{path} never answers {code}"))
    }

    pub(super) async fn watch(&mut self, index: usize, step: &Value) -> Value {
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
    pub(super) async fn look(&mut self, step: &Value, patience: Duration, count: Option<u64>) -> Value {
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

    pub(super) async fn quiesce(&mut self, step: &Value) -> Value {
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

    pub(super) async fn wait(&mut self, step: &Value) -> (Value, Value) {
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
}

fn truthy(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false)) && value.as_f64() != Some(0.0)
}

fn event_summary(event: &Value) -> Value {
    let object = &event["involvedObject"];
    json!([event["reason"], event["type"], object["kind"], object["name"], event["message"]])
}
