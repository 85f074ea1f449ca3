//! notification-controller, as far as it takes events: `POST /`, a limit on repeated events, and what would become a commit
//! status.
//!
//! Facts (fluxcd/notification-controller, event server): an event that equals an earlier one within five minutes is answered
//! 429; equal means the same name, namespace, kind and message of the involved object, and the same `revision` and `token`
//! of the metadata, whose keys carry the API group of the object as a prefix. Everything else is 202, whoever listens.
//!
//! Not modelled: Alerts, Providers and Receivers (every event counts as one that somebody asked for), and the cut of the
//! metadata to known keys.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// How long an equal event is refused.
const INTERVAL: SignedDuration = SignedDuration::from_mins(5);

/// Handle; cheap to clone.
#[derive(Clone)]
pub struct Notifications(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
}

#[derive(Default)]
struct State {
    accepted: Vec<Value>,
    limits: BTreeMap<Vec<String>, Timestamp>,
    repeated: u32,
    down: bool,
}

impl Notifications {
    /// One that has seen nothing. `now` is its clock.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared { state: Mutex::default(), now: Box::new(now) }))
    }

    /// Events that were answered 202, oldest first.
    pub fn accepted(&self) -> Vec<Value> {
        self.lock().accepted.clone()
    }

    /// How many were answered 429.
    pub fn repeated(&self) -> u32 {
        self.lock().repeated
    }

    /// From now on it answers 503, or no longer does.
    pub fn set_down(&self, down: bool) {
        self.lock().down = down;
    }

    /// Answers one request.
    pub fn handle(&self, request: &Request<Full<Bytes>>, body: &Bytes) -> Response<Full<Bytes>> {
        let mut answer = Response::new(Full::default());
        *answer.status_mut() = http::StatusCode::from_u16(self.judge(request, body)).unwrap_or_default();
        answer
    }

    fn judge(&self, request: &Request<Full<Bytes>>, body: &Bytes) -> u16 {
        let now = (self.0.now)();
        let mut state = self.lock();
        if state.down {
            return 503;
        }
        if request.method() != http::Method::POST || request.uri().path() != "/" {
            return 501;
        }
        let Some(event) =
            serde_json::from_slice::<Value>(body).ok().filter(|event| event["involvedObject"].is_object())
        else {
            return 400;
        };
        let limit = key(&event);
        let seen = state.limits.get(&limit).is_some_and(|at| now.duration_since(*at) < INTERVAL);
        if seen {
            state.repeated += 1;
            return 429;
        }
        state.limits.insert(limit, now);
        state.accepted.push(event);
        202
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By which two events are equal.
fn key(event: &Value) -> Vec<String> {
    let object = &event["involvedObject"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let group =
        object["apiVersion"].as_str().and_then(|version| version.split_once('/')).map_or("", |(group, _)| group);
    let mut parts =
        vec![text(&object["name"]), text(&object["namespace"]), text(&object["kind"]), text(&event["message"])];
    for name in ["revision", "token"] {
        parts.push(text(&event["metadata"][format!("{group}/{name}")]));
    }
    parts
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use serde_json::json;

    use super::*;

    #[test]
    fn an_equal_event_is_refused_for_five_minutes() {
        let seconds = Arc::new(AtomicI64::new(0));
        let clock = Arc::clone(&seconds);
        let controller =
            Notifications::new(move || Timestamp::from_second(clock.load(Ordering::SeqCst)).expect("small"));
        let post = |controller: &Notifications, revision: &str, token: &str| {
            let event = json!({"involvedObject": {"apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "X", "namespace": "n", "name": "a"},
                "message": "m", "reason": token, "metadata": {"apps.vworkspace.io/revision": revision, "apps.vworkspace.io/token": token}});
            let request = Request::post("http://n/").body(Full::default()).expect("a request");
            controller.handle(&request, &Bytes::from(event.to_string())).status().as_u16()
        };
        assert_eq!([post(&controller, "r", "t"), post(&controller, "r", "t")], [202, 429]);
        assert_eq!([post(&controller, "r2", "t"), post(&controller, "r", "t2")], [202, 202]);
        seconds.store(299, Ordering::SeqCst);
        assert_eq!(post(&controller, "r", "t"), 429);
        seconds.store(300, Ordering::SeqCst);
        assert_eq!(post(&controller, "r", "t"), 202);
        assert_eq!((controller.accepted().len(), controller.repeated()), (4, 2));
        let odd = Request::get("http://n/").body(Full::default()).expect("a request");
        assert_eq!(controller.handle(&odd, &Bytes::new()).status(), 501);
    }
}
