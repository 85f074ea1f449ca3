//! The server: state, and the way of a request through it.

use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use jiff::Timestamp;
use serde_json::Value;

use super::builtin;
use super::client::Client;
use super::entropy::Entropy;
use super::errors::{Outcome, Status};
use super::limits::{InFlight, Starting};
use super::rbac::{self, User};
use super::reply::{Body, Payload, Reply, refusal};
use super::request::{Query, Request};
use super::resource::{Resource, Resources};
use super::store::{Content, Event, Key, Store};
use super::table::Form;
use super::{depth, list, meta, patch, routes};

pub use super::config::{Authorization, Clock, Config, Controllers};

/// Largest request body (J4).
const BODY_BYTES: usize = 3 * 1024 * 1024;
/// How long a read waits for a resourceVersion of the future (I8).
const FUTURE_WAIT: Duration = Duration::from_secs(3);

/// One committed change, as told to [`Server::on_commit`].
#[derive(Clone, Debug)]
pub struct Commit {
    /// Revision of the change.
    pub revision: u64,
    /// Time of the change.
    pub at: Timestamp,
    /// The peer that asked for it.
    pub actor: String,
    /// `create`, `update`, `patch`, `apply` or `delete`.
    pub verb: &'static str,
    /// `plural.group`, or the plural for the core group.
    pub resource: String,
    /// Namespace, if the resource has namespaces.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// The object before.
    pub before: Option<Arc<Value>>,
    /// The object after; `None` when it was deleted.
    pub after: Option<Arc<Value>>,
}

type Hook = Box<dyn Fn(&Commit) + Send + Sync>;

/// Everything that changes.
pub struct State {
    /// Objects.
    pub store: Store,
    /// Served resources.
    pub resources: Resources,
    /// Uids and suffixes.
    pub entropy: Entropy,
    /// Set by a restart.
    pub starting: Starting,
    /// Whether an object was ever too deep for the stack that a request comes on; see [`depth`].
    pub(super) deep: bool,
    hooks: Vec<Hook>,
    revisions: tokio::sync::watch::Sender<u64>,
}

pub(super) struct Shared {
    pub(super) config: Config,
    in_flight: InFlight,
    state: Mutex<State>,
}

/// A handle to a fake API server. Clones share the server.
#[derive(Clone)]
pub struct Server(pub(super) Arc<Shared>);

impl Server {
    /// An empty server with the built-in resources and the namespaces that a real one starts with.
    pub fn new(config: Config) -> Server {
        let mut resources = Resources::default();
        builtin::resources().into_iter().for_each(|resource| resources.insert(resource));
        let state = State {
            store: Store::default(),
            resources,
            entropy: Entropy::new(config.seed),
            starting: Starting::default(),
            deep: false,
            hooks: Vec::new(),
            revisions: tokio::sync::watch::Sender::new(0),
        };
        let server = Server(Arc::new(Shared { config, in_flight: InFlight::default(), state: Mutex::new(state) }));
        builtin::install(&server);
        rbac::install(&server);
        server
    }

    /// Answers any HTTP request; `peer` names the actor in the history. The body of a watch streams until it ends or is dropped.
    pub async fn handle<B>(&self, peer: &str, request: http::Request<B>) -> http::Response<Body>
    where
        B: http_body::Body + Send,
        B::Data: Send,
        B::Error: Display,
    {
        let (parts, body) = request.into_parts();
        let _seat = match self.0.in_flight.enter(self.0.config.max_in_flight) {
            Ok(seat) => seat,
            Err(status) => return refusal(&status, &[]),
        };
        let body = match read(body).await {
            Ok(body) => body,
            Err(status) => return refusal(&status, &[]),
        };
        let request = Request {
            method: parts.method,
            path: parts.uri.path().to_owned(),
            query: Query::parse(parts.uri.query().unwrap_or_default()),
            headers: parts.headers,
            body,
            peer: peer.to_owned(),
        };
        if let Some(revision) = list::awaited_revision(&request) {
            let mut revisions = self.state().revisions.subscribe();
            let reached = revisions.wait_for(|current| *current >= revision);
            // Whether it came or not is looked at again under the lock.
            let _ = tokio::time::timeout(FUTURE_WAIT, reached).await;
        }
        self.answer(&request)
    }

    fn answer(&self, request: &Request) -> http::Response<Body> {
        let mut response = self.respond(request);
        if let Ok(id) = http::HeaderValue::from_str(&self.state().entropy.audit_id()) {
            response.headers_mut().insert("audit-id", id);
        }
        response
    }

    fn respond(&self, request: &Request) -> http::Response<Body> {
        let state = self.state();
        // The steps of a JSON patch may build depth out of nothing.
        let deep = state.deep || depth::is_deep_text(&request.body) || patch::is_json_patch(request);
        depth::with_room(deep, || self.respond_to(request, state))
    }

    fn respond_to(&self, request: &Request, mut state: MutexGuard<'_, State>) -> http::Response<Body> {
        let now = self.0.config.clock.now();
        let user = match rbac::authenticate(&self.0.config, &state, request) {
            Ok(user) => user,
            Err(status) => return refusal(&status, &[]),
        };
        let mut pass = Pass { server: self, state: &mut state, request, user, now, warnings: Vec::new() };
        let outcome = routes::answer(&mut pass);
        let warnings = std::mem::take(&mut pass.warnings);
        drop(state);
        match outcome {
            Ok(reply) => {
                // Discovery and text negotiate on their own.
                let form = match &reply.payload {
                    Payload::Object(..) | Payload::List(..) => Form::negotiate(request),
                    _ => Ok(Form::Json),
                };
                match form {
                    Ok(form) => Reply { warnings, payload: form.represent(reply.payload, now), ..reply }.render(),
                    Err(status) => refusal(&status, &warnings),
                }
            }
            Err(status) => refusal(&status, &warnings),
        }
    }

    /// Runs the garbage collector, the namespace life cycle, the establishing of definitions and so on, as configured. Never returns.
    pub async fn run_controllers(&self) {
        super::controllers::run(self).await;
    }

    /// Calls `hook` synchronously after each commit, in order, while the server is locked: it must not call the server.
    pub fn on_commit(&self, hook: impl Fn(&Commit) + Send + Sync + 'static) {
        self.state().hooks.push(Box::new(hook));
    }

    /// An in-process client with the given actor name. Its requests take the same path as HTTP ones.
    pub fn client(&self, actor: &str) -> Client {
        Client::new(self.clone(), actor)
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// The state, locked. Not held across an await.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no code panics while it holds the state")
    }

    /// Waits until something was committed after `revision` and returns the current revision: what controllers sleep on.
    pub async fn changed_since(&self, revision: u64) -> u64 {
        let mut revisions = self.state().revisions.subscribe();
        match revisions.wait_for(|current| *current > revision).await {
            Ok(current) => *current,
            // The sender lives in the state that this handle keeps alive.
            Err(_) => revision,
        }
    }
}

async fn read<B>(body: B) -> Outcome<Bytes>
where
    B: http_body::Body + Send,
    B::Error: Display,
{
    let mut body = std::pin::pin!(body);
    let mut whole = BytesMut::new();
    let mut chunks = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Status::bad_request(format!("error reading the body: {error}")))?;
        if let Ok(mut data) = frame.into_data() {
            chunks += 1;
            let length = bytes::Buf::remaining(&data);
            if whole.len() + length > BODY_BYTES {
                return Err(Status::new(
                    413,
                    "RequestEntityTooLarge",
                    format!("Request entity too large: limit is {BODY_BYTES}"),
                ));
            }
            let taken = bytes::Buf::copy_to_bytes(&mut data, length);
            if chunks == 1 && http_body::Body::is_end_stream(&*body) {
                return Ok(taken);
            }
            whole.extend_from_slice(&taken);
        }
    }
    Ok(whole.freeze())
}

/// One request on its way, with the state locked.
pub struct Pass<'a> {
    /// The server, for watches.
    pub server: &'a Server,
    /// The locked state.
    pub state: &'a mut State,
    /// The request.
    pub request: &'a Request,
    /// Who asks.
    pub user: User,
    /// Its time, read once.
    pub now: Timestamp,
    /// Warnings so far; shown with the answer, also with a refusal.
    pub warnings: Vec<String>,
}

impl Pass<'_> {
    /// Stores an object or, with `None`, deletes it, and tells the hooks.
    pub fn commit(&mut self, verb: &'static str, resource: &Resource, key: Key, after: Option<Value>) -> Arc<Event> {
        self.commit_with(verb, resource, key, after, Vec::new())
    }

    /// The same, leaving these fields of metadata empty in storage; see [`super::store::Stored::empties`].
    pub fn commit_with(
        &mut self,
        verb: &'static str,
        resource: &Resource,
        key: Key,
        after: Option<Value>,
        empties: Vec<String>,
    ) -> Arc<Event> {
        let schema_revision = resource.custom.as_ref().map_or(0, |custom| custom.schema_revision);
        let after = after.map(|mut value| {
            super::rest::to_storage_version(resource, &mut value);
            let mut value = builtin::stored_form(resource, value);
            meta::arrange(&mut value, resource.custom.is_some());
            Content { value, schema_revision, empties }
        });
        self.state.commit_content(&self.request.peer, verb, &resource.id, key, after, self.now)
    }
}

impl State {
    /// Stores an object (with its schema revision) or, with `None`, deletes it, and tells the hooks.
    pub fn commit(
        &mut self,
        actor: &str,
        verb: &'static str,
        id: &Arc<str>,
        key: Key,
        after: Option<(Value, u64)>,
        now: Timestamp,
    ) -> Arc<Event> {
        let after = after.map(|(value, schema_revision)| Content::new(value, schema_revision));
        self.commit_content(actor, verb, id, key, after, now)
    }

    /// The same with everything that storage holds.
    pub fn commit_content(
        &mut self,
        actor: &str,
        verb: &'static str,
        id: &Arc<str>,
        key: Key,
        after: Option<Content>,
        now: Timestamp,
    ) -> Arc<Event> {
        self.deep = self.deep || after.as_ref().is_some_and(|content| depth::is_deep(&content.value));
        let event = self.store.commit(id, key, after, now);
        self.revisions.send_replace(event.revision);
        if !self.hooks.is_empty() {
            let (namespace, name) = &event.key;
            let commit = Commit {
                revision: event.revision,
                at: event.at,
                actor: actor.to_owned(),
                verb,
                resource: id.to_string(),
                namespace: Some(namespace.clone()).filter(|namespace| !namespace.is_empty()),
                name: name.clone(),
                before: event.before.as_ref().map(|stored| stored.value.clone()),
                after: event.after.as_ref().map(|stored| stored.value.clone()),
            };
            self.hooks.iter().for_each(|hook| hook(&commit));
        }
        event
    }
}
