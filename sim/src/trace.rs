//! The run as text: one JSON object per record and a running hash over all of them.
//!
//! Two runs of one case must agree byte for byte, so a line holds nothing that differs without meaning: no wall time, no
//! pointer, no task id, no rendered third-party error. Bodies enter as the first 16 hex digits of their blake3 hash; with
//! [`Detail::Full`] they are written out as well, the data of Secrets excepted. The hash covers the lines and so the
//! bodies.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use fakes::history::{Event, History, Record};
use serde_json::{Value, json};

/// How much of a body a line shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// Keep only the hash and the last lines: for runs nobody will read.
    Hash,
    /// Keep every line, with digests of bodies.
    #[default]
    Lines,
    /// Keep every line, with bodies.
    Full,
}

/// Lines kept by [`Detail::Hash`], enough to show where a run ended.
const TAIL: usize = 40;

struct Inner {
    detail: Detail,
    hash: [u8; 32],
    count: u64,
    lines: VecDeque<String>,
}

/// The trace of one run; a cheap handle.
#[derive(Clone)]
pub struct Trace(Arc<Mutex<Inner>>);

impl Trace {
    /// Reads the history from now on.
    pub fn of(history: &History, detail: Detail) -> Self {
        let inner = Inner { detail, hash: [0; 32], count: 0, lines: VecDeque::new() };
        let trace = Self(Arc::new(Mutex::new(inner)));
        let into = trace.clone();
        history.read(move |record| into.add(record));
        trace
    }

    fn add(&self, record: &Record) {
        if matches!(record.event, Event::Log { .. }) {
            return;
        }
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let line = render(record, inner.detail == Detail::Full).to_string();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&inner.hash);
        hasher.update(line.as_bytes());
        inner.hash = *hasher.finalize().as_bytes();
        inner.count += 1;
        inner.lines.push_back(line);
        if inner.detail == Detail::Hash && inner.lines.len() > TAIL {
            inner.lines.pop_front();
        }
    }

    /// The hash so far, 16 hex digits.
    pub fn hash(&self) -> String {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hex(&inner.hash)
    }

    /// How many records there were.
    pub fn count(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).count
    }

    /// Takes the kept lines out.
    pub fn take_lines(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).lines).into()
    }
}

fn hex(hash: &[u8; 32]) -> String {
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// First 16 hex digits of the blake3 hash.
pub fn digest(bytes: &[u8]) -> String {
    hex(blake3::hash(bytes).as_bytes())
}

fn render(record: &Record, full: bool) -> Value {
    let mut line = json!({
        "n": record.ordinal,
        "us": u64::try_from(record.at.as_micros()).unwrap_or(u64::MAX),
        "actor": *record.actor,
    });
    let fields = match &record.event {
        Event::Request { id, call, body } => {
            json!({ "record": "request", "id": id, "call": call.to_string(), "path": call.path, "body": digest(body),
                    "full": full.then(|| shown(body)) })
        }
        Event::Reply { id, call, status, body, delivered } => {
            json!({ "record": "reply", "id": id, "call": call.to_string(), "status": status, "body": digest(body),
                    "delivered": delivered, "full": full.then(|| shown(body)) })
        }
        Event::Lost { id, call, why } => json!({ "record": "lost", "id": id, "call": call.to_string(), "why": why }),
        Event::Delivery { id, call, line } => {
            json!({ "record": "delivery", "id": id, "call": call.to_string(), "body": digest(line),
                    "full": full.then(|| shown(line)) })
        }
        Event::Commit(commit) => {
            let after = commit.after.as_ref().map(|object| object.to_string());
            json!({ "record": "commit", "revision": commit.revision, "verb": commit.verb, "resource": commit.resource,
                    "namespace": commit.namespace, "name": commit.name,
                    "body": after.as_ref().map(|text| digest(text.as_bytes())),
                    "full": after.filter(|_| full).map(|text| shown(text.as_bytes())) })
        }
        Event::Handled { id, call, bearer, request, status, reply } => {
            json!({ "record": "handled", "id": id, "call": call.to_string(), "bearer": bearer, "status": status,
                    "body": digest(request), "answer": digest(reply), "full": full.then(|| shown(reply)) })
        }
        Event::Fault { rule, what } => json!({ "record": "fault", "rule": **rule, "what": what }),
        Event::Log { line } => json!({ "record": "log", "what": line }),
        Event::Step { what } => json!({ "record": "step", "what": what }),
        Event::Phase(phase) => json!({ "record": "phase", "what": format!("{phase:?}") }),
    };
    if let (Value::Object(line), Value::Object(fields)) = (&mut line, fields) {
        line.extend(fields.into_iter().filter(|(_, value)| !value.is_null()));
    }
    line
}

/// Members that hold a credential wherever they stand.
const CREDENTIALS: [&str; 3] = ["token", "registrationToken", "previous-token"];

/// A body for people: JSON as JSON, the data of Secrets and every credential left out.
fn shown(body: &[u8]) -> Value {
    let Ok(mut value) = serde_json::from_slice::<Value>(body) else {
        return if body.is_empty() { Value::Null } else { json!(format!("{} bytes", body.len())) };
    };
    redact(&mut value);
    value
}

fn redact(value: &mut Value) {
    match value {
        Value::Object(map) => {
            let secret = map.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.starts_with("Secret"));
            for (key, inner) in map.iter_mut() {
                if secret && (key == "data" || key == "stringData") || CREDENTIALS.contains(&&**key) {
                    *inner = json!("[REDACTED]");
                } else if secret && key == "items" {
                    // The items of a typed list carry no kind of their own.
                    *inner = json!("[REDACTED]");
                } else {
                    redact(inner);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        _ => {}
    }
}

/// Where two traces part.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    /// Index of the first line that differs.
    pub at: usize,
    /// Up to ten lines before it, common to both.
    pub before: Vec<String>,
    /// The line in the first trace; `None` if that trace ended.
    pub left: Option<String>,
    /// The line in the second trace.
    pub right: Option<String>,
}

/// The first difference of two traces, or `None` if they are the same.
pub fn difference(left: &[String], right: &[String]) -> Option<Difference> {
    let same = left.iter().zip(right).take_while(|(left, right)| left == right).count();
    if same == left.len() && same == right.len() {
        return None;
    }
    let before = left[same.saturating_sub(10)..same].to_vec();
    Some(Difference { at: same, before, left: left.get(same).cloned(), right: right.get(same).cloned() })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use fakes::history::Call;

    use super::*;

    fn run(detail: Detail, bodies: &[&'static str]) -> (String, Vec<String>) {
        let history = History::new(|| Duration::from_micros(5));
        let trace = Trace::of(&history, detail);
        let call = Arc::new(Call::read(&http::Method::POST, "/api/v1/namespaces/a/secrets", None));
        for body in bodies {
            let event = Event::Request {
                id: history.request_id(),
                call: call.clone(),
                body: Bytes::from_static(body.as_bytes()),
            };
            history.push(&"operator-0.1".into(), event);
        }
        (trace.hash(), trace.take_lines())
    }

    #[test]
    fn the_hash_covers_bodies_that_the_lines_do_not_show() {
        let (first, lines) = run(Detail::Lines, &[r#"{"a":1}"#]);
        assert_eq!(first, run(Detail::Lines, &[r#"{"a":1}"#]).0);
        assert_ne!(first, run(Detail::Lines, &[r#"{"a":2}"#]).0);
        assert_eq!(first, run(Detail::Hash, &[r#"{"a":1}"#]).0, "keeping lines changes nothing");
        assert!(!lines[0].contains(r#""a":1"#));
    }

    #[test]
    fn full_lines_do_not_show_secrets() {
        let (_, lines) = run(Detail::Full, &[r#"{"kind":"Secret","data":{"k":"Y2FuYXJ5"},"metadata":{"name":"s"}}"#]);
        assert!(lines[0].contains("REDACTED") && !lines[0].contains("Y2FuYXJ5"), "{}", lines[0]);
    }

    #[test]
    fn the_first_difference_is_found_with_what_came_before() {
        let lines = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(difference(&lines(&["a", "b"]), &lines(&["a", "b"])), None);
        let parted = difference(&lines(&["a", "b"]), &lines(&["a", "c", "d"])).expect("they differ");
        assert_eq!((parted.at, parted.before), (1, lines(&["a"])));
        assert_eq!((parted.left.as_deref(), parted.right.as_deref()), (Some("b"), Some("c")));
        assert_eq!(difference(&lines(&["a"]), &lines(&["a", "b"])).expect("one is longer").left, None);
    }
}
