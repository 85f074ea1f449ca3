//! The rules of contract §15.2, with a server that knows which tokens it accepts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::cluster_api::{MockClusterApi, Object};
use crate::protocol::event::{Event, EventBatch, HEARTBEAT, ResourceRef};
use crate::protocol::register::RotateRequest;
use crate::transport::{MockTransport, TransportError};

/// A server's answer to one token.
#[derive(Clone, Copy)]
enum Says {
    Yes,
    Status(u16),
    Html(u16),
    Quotes,
    Nothing,
}

#[derive(Default)]
struct Outside {
    secret: BTreeMap<&'static str, String>,
    says: BTreeMap<&'static str, Says>,
    otherwise: Option<Says>,
    seen: Vec<String>,
}

struct World {
    link: Link<MockClusterApi, MockTransport>,
    outside: Arc<Mutex<Outside>>,
}

fn answer(says: Says) -> Result<http::Response<Bytes>, TransportError> {
    let whole = |status: u16, media: &str, body: &str| {
        let answer = http::Response::builder().status(status).header("content-type", media);
        let answer = answer.header("date", "Thu, 01 Jan 1970 00:02:00 GMT");
        Ok(answer.body(Bytes::from(body.to_string())).expect("an answer"))
    };
    match says {
        Says::Yes => whole(200, "application/json", r#"{"jobs":[],"token":"t9"}"#),
        Says::Status(status) => whole(status, "application/json", r#"{"error":"x","message":"y"}"#),
        Says::Html(status) => whole(status, "text/html", "<html>"),
        Says::Quotes => whole(422, "application/json", r#"{"error":"x","message":"bearer t1-canary is odd"}"#),
        Says::Nothing => Err(TransportError::Unknown("reset".into())),
    }
}

impl World {
    fn new(secret: &[(&'static str, &str)], says: &[(&'static str, Says)]) -> Self {
        let outside = Arc::new(Mutex::new(Outside {
            secret: secret.iter().map(|(key, value)| (*key, (*value).to_string())).collect(),
            says: says.iter().copied().collect(),
            ..Outside::default()
        }));
        let mut api = MockClusterApi::new();
        api.expect_list().returning(|_, _| {
            let cluster = json!({"metadata": {"name": "c"}, "spec": {"clusterId": "c1", "controlPlaneEndpoint": "https://cp.example.org/"}});
            Box::pin(async move { Ok(vec![Object(cluster)]) })
        });
        let stored = Arc::clone(&outside);
        api.expect_get().returning(move |_| {
            let data: serde_json::Map<String, Value> = stored
                .lock()
                .expect("lock")
                .secret
                .iter()
                .map(|(key, value)| ((*key).to_string(), json!(STANDARD.encode(value))))
                .collect();
            Box::pin(async move { Ok(Some(Object(json!({"metadata": {"uid": "s"}, "data": data})))) })
        });
        let mut transport = MockTransport::new();
        let server = Arc::clone(&outside);
        transport.expect_send().returning(move |request, _, _| {
            let mut server = server.lock().expect("lock");
            let token =
                request.headers()["authorization"].to_str().expect("text").trim_start_matches("Bearer ").to_string();
            server.seen.push(token.clone());
            let says = server.otherwise.or(server.says.get(token.as_str()).copied()).unwrap_or(Says::Status(401));
            Box::pin(async move { answer(says) })
        });
        let place = SecretPlace { namespace: "system".into(), name: "credentials".into() };
        let link = Link::new(Arc::new(api), transport, place, || Timestamp::UNIX_EPOCH);
        Self { link, outside }
    }

    async fn call(&self, call: Call) -> Option<Trouble> {
        self.link.call(&call).await.err()
    }

    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.outside.lock().expect("lock").seen)
    }

    fn store(&self, key: &'static str, value: &str) {
        self.outside.lock().expect("lock").secret.insert(key, value.into());
    }

    fn otherwise(&self, says: Option<Says>) {
        self.outside.lock().expect("lock").otherwise = says;
    }
}

fn poll() -> Call {
    Call::Poll { cluster: "c1".into(), wait: Duration::from_secs(30) }
}

fn heartbeat() -> Call {
    let event = Event {
        event_key: None,
        kind: HEARTBEAT.into(),
        resource_ref: ResourceRef::default(),
        conditions: Vec::new(),
        endpoints: Vec::new(),
        timestamp: "1970-01-01T00:00:00Z".into(),
    };
    Call::Events(EventBatch { cluster_id: None, events: vec![event] })
}

fn rotate() -> Call {
    Call::Rotate(RotateRequest { rotation_id: "r".into(), public_key: None })
}

const SECRET: [(&str, &str); 2] = [("token", "t1"), ("cluster-id", "c1")];

#[tokio::test(start_paused = true)]
async fn a_401_is_not_believed_before_the_secret_was_read_again() {
    let world = World::new(&SECRET, &[("t2", Says::Yes)]);
    world.link.connection().await.expect("read");
    world.store("token", "t2");
    assert_eq!(world.call(poll()).await, None);
    assert_eq!(world.seen(), ["t1", "t2"]);
    assert_eq!(world.link.contact().standing, Standing::Accepted);
}

#[tokio::test(start_paused = true)]
async fn the_previous_token_is_tried_and_then_one_rotation_decides() {
    let world = World::new(&[("token", "t2"), ("previous-token", "t1")], &[("t1", Says::Yes)]);
    assert_eq!(world.call(poll()).await, None);
    assert_eq!(world.seen(), ["t2", "t1"]);
    assert_eq!(world.link.contact().standing, Standing::PreviousAccepted);

    world.otherwise(Some(Says::Status(401)));
    assert_eq!(world.call(poll()).await, Some(Trouble::Unauthorized));
    assert_eq!(world.link.contact().standing, Standing::Questioned);
    assert!(!world.link.contact().rejected());
    world.otherwise(Some(Says::Nothing));
    assert!(matches!(world.call(rotate()).await, Some(Trouble::Unreachable { .. })));
    assert_eq!(world.link.contact().standing, Standing::Questioned, "a lost answer decides nothing");
    world.otherwise(Some(Says::Status(401)));
    assert_eq!(world.call(rotate()).await, Some(Trouble::Unauthorized));
    assert!(world.link.contact().rejected());
}

#[tokio::test(start_paused = true)]
async fn a_rejected_credential_sends_heartbeats_only_until_one_succeeds_or_the_secret_changes() {
    let world = World::new(&SECRET, &[("t1", Says::Status(403)), ("t2", Says::Yes)]);
    assert_eq!(world.call(poll()).await, Some(Trouble::Forbidden { ours: true }));
    assert!(world.link.contact().rejected(), "our 403 counts at once");
    world.seen();
    assert_eq!(world.call(poll()).await, Some(Trouble::Closed(Closed::Rejected)));
    assert_eq!(world.call(rotate()).await, Some(Trouble::Closed(Closed::Rejected)));
    assert!(world.seen().is_empty());
    world.otherwise(Some(Says::Nothing));
    assert!(world.call(heartbeat()).await.is_some());
    assert!(world.link.contact().rejected());
    world.otherwise(Some(Says::Yes));
    assert_eq!(world.call(heartbeat()).await, None);
    assert_eq!(world.call(poll()).await, None);

    world.otherwise(Some(Says::Status(403)));
    world.call(poll()).await;
    assert!(world.link.contact().rejected());
    world.otherwise(None);
    world.store("token", "t2");
    tokio::time::advance(FRESH).await;
    assert_eq!(world.call(poll()).await, None, "a changed Secret clears it at once");
}

#[tokio::test(start_paused = true)]
async fn w03_a_403_that_is_not_ours_counts_when_a_heartbeat_repeats_it() {
    let world = World::new(&SECRET, &[("t1", Says::Html(403))]);
    for says in [Says::Html(302), Says::Html(303), Says::Html(404), Says::Status(500), Says::Status(429), Says::Nothing]
    {
        world.otherwise(Some(says));
        assert!(world.call(poll()).await.is_some());
        assert_eq!(world.link.contact().standing, Standing::Untried);
    }
    world.otherwise(None);
    world.call(poll()).await;
    world.call(poll()).await;
    assert_eq!(world.link.contact().standing, Standing::Suspected, "polls do not repeat it");
    world.call(heartbeat()).await;
    assert!(world.link.contact().rejected());

    let world = World::new(&SECRET, &[("t1", Says::Html(403))]);
    world.call(heartbeat()).await;
    assert_eq!(world.link.contact().standing, Standing::Suspected, "the first one is no repetition");
    world.otherwise(Some(Says::Yes));
    world.call(heartbeat()).await;
    assert_eq!(world.link.contact().standing, Standing::Accepted);
}

#[tokio::test(start_paused = true)]
async fn a_credential_of_another_cluster_is_not_used() {
    let world = World::new(&[("token", "t1"), ("cluster-id", "c2")], &[("t1", Says::Yes)]);
    assert_eq!(world.call(poll()).await, Some(Trouble::Closed(Closed::NoCredential)));
    assert!(world.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn contact_is_a_run_of_round_trips_and_the_clock_of_the_other_side() {
    let world = World::new(&SECRET, &[("t1", Says::Yes)]);
    world.call(poll()).await;
    let first = world.link.contact();
    assert_eq!(first.ahead.as_secs(), 120);
    tokio::time::advance(Duration::from_secs(60)).await;
    world.call(poll()).await;
    assert_eq!(world.link.contact().since, first.answered);
    tokio::time::advance(RUN).await;
    world.otherwise(Some(Says::Status(503)));
    world.call(poll()).await;
    let broken = world.link.contact();
    assert!(broken.trouble.is_some() && broken.since == first.answered);
    assert!(world.link.wait(Group::Poll) >= Duration::from_secs(1));
    assert_eq!(world.link.wait(Group::Post), Duration::ZERO);
    world.otherwise(None);
    world.call(poll()).await;
    let again = world.link.contact();
    assert_eq!((again.since, again.trouble), (again.answered, None));
    assert_eq!(world.link.wait(Group::Poll), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_quotes_the_token_does_not_bring_it_into_a_message() {
    let world = World::new(&[("token", "t1-canary"), ("cluster-id", "c1")], &[("t1-canary", Says::Quotes)]);
    let refused = world.call(Call::Acknowledge { job: "j".into() }).await.expect("refused").to_string();
    assert!(refused.contains("is odd") && !refused.contains("canary"), "{refused}");
}
