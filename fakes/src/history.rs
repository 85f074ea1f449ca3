//! What happened: every request, reply, commit and watch delivery, in order.
//!
//! The history is the truth the oracles read. It is written by whoever carries requests to the API server or to the
//! control plane (the simulator's transports) and by the API server's own commit hook; it never asks a server anything,
//! because records are pushed while the server is in the middle of a commit.
//!
//! Readers subscribe: the trace hashes, the oracles judge, a narrator tells. Nothing is kept here, so a long run does not
//! grow.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use crate::apiserver::Commit;

/// The resource of every call to the control plane.
pub const CONTROL_PLANE: &str = "control-plane";

/// What a request asks for, read from its line alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Call {
    /// get, list, watch, create, update, patch, apply, delete, deletecollection; `other` for discovery and the like; poll,
    /// ack, status, result, events, register, rotate, decommission at the control plane.
    pub verb: &'static str,
    /// `plural.group`, the bare plural in the core group, [`CONTROL_PLANE`], or the path where the verb is `other`.
    pub resource: String,
    /// `status`, `scale`, … or empty.
    pub subresource: String,
    /// The namespace, empty for cluster-scoped objects and lists across namespaces.
    pub namespace: String,
    /// The object's name, empty for collections; the job's id at the control plane, where there is one.
    pub name: String,
    /// Path and query as sent.
    pub path: String,
}

impl Call {
    /// Reads method, path and content type the way the API server's routes are laid out.
    pub fn read(method: &http::Method, path_and_query: &str, content_type: Option<&str>) -> Self {
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        if let Some((_, tail)) = path.split_once(operator::protocol::PATH) {
            return Self::to_control_plane(method, tail, path_and_query);
        }
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let other = || Self {
            verb: "other",
            resource: path.to_owned(),
            subresource: String::new(),
            namespace: String::new(),
            name: String::new(),
            path: path_and_query.to_owned(),
        };
        let (group, rest) = match parts.as_slice() {
            ["api", "v1", rest @ ..] => ("", rest),
            ["apis", group, _version, rest @ ..] => (*group, rest),
            _ => return other(),
        };
        // Below a namespace, unless the namespace itself (or one of its subresources) is meant.
        let (namespace, rest) = match rest {
            ["namespaces", namespace, inner @ ..]
                if inner.len() >= 2 || (inner.len() == 1 && !is_subresource(inner[0])) =>
            {
                (*namespace, inner)
            }
            _ => ("", rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (*plural, "", ""),
            [plural, name] => (*plural, *name, ""),
            [plural, name, subresource, ..] => (*plural, *name, *subresource),
            [] => return other(),
        };
        let watching = query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1"));
        let verb = match method.as_str() {
            "GET" if watching => "watch",
            "GET" if name.is_empty() => "list",
            "GET" => "get",
            "POST" => "create",
            "PUT" => "update",
            "PATCH" if content_type.is_some_and(|kind| kind.contains("apply-patch")) => "apply",
            "PATCH" => "patch",
            "DELETE" if name.is_empty() => "deletecollection",
            "DELETE" => "delete",
            _ => "other",
        };
        Self {
            verb,
            resource: if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") },
            subresource: subresource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            path: path_and_query.to_owned(),
        }
    }

    /// The routes of contract §17.2.
    fn to_control_plane(method: &http::Method, tail: &str, path_and_query: &str) -> Self {
        let parts: Vec<&str> = tail.split('/').filter(|part| !part.is_empty()).collect();
        let (verb, name) = match (method.as_str(), parts.as_slice()) {
            ("GET", ["jobs"]) => ("poll", ""),
            ("POST", ["jobs", job, "ack"]) => ("ack", *job),
            ("POST", ["jobs", job, "status"]) => ("status", *job),
            ("POST", ["jobs", job, "result"]) => ("result", *job),
            ("POST", ["events"]) => ("events", ""),
            ("POST", ["register"]) => ("register", ""),
            ("POST", ["credentials", "rotate"]) => ("rotate", ""),
            ("POST", ["cluster", "decommission"]) => ("decommission", ""),
            _ => ("other", ""),
        };
        Self {
            verb,
            resource: CONTROL_PLANE.into(),
            subresource: String::new(),
            namespace: String::new(),
            name: percent_encoding::percent_decode_str(name).decode_utf8_lossy().into_owned(),
            path: path_and_query.to_owned(),
        }
    }

    /// Whether the control plane is asked, not the API server.
    pub fn is_control_plane(&self) -> bool {
        self.resource == CONTROL_PLANE
    }

    /// Whether a success changes the store of the cluster. Reviews are created and answered, but nothing is stored.
    pub fn writes(&self) -> bool {
        let review = self.resource.split('.').next().is_some_and(|plural| plural.ends_with("reviews"));
        matches!(self.verb, "create" | "update" | "patch" | "apply" | "delete" | "deletecollection") && !review
    }

    /// Whether the call is about this resource, given as plural, `plural.group` or kind in any case
    /// (`HelmRelease`, `helmreleases`, `helmreleases.helm.toolkit.fluxcd.io`).
    pub fn is_about(&self, kind: &str) -> bool {
        let wanted = kind.to_ascii_lowercase();
        let plural = self.resource.split('.').next().unwrap_or_default();
        self.resource == wanted
            || plural == wanted
            || plural == format!("{wanted}s")
            || plural == format!("{wanted}es")
            || wanted.strip_suffix('y').is_some_and(|stem| plural == format!("{stem}ies"))
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.subresource.is_empty() {
            write!(f, "/{}", self.subresource)?;
        }
        match (self.namespace.is_empty(), self.name.is_empty()) {
            (true, true) => Ok(()),
            (true, false) => write!(f, " {}", self.name),
            (false, true) => write!(f, " {}/*", self.namespace),
            (false, false) => write!(f, " {}/{}", self.namespace, self.name),
        }
    }
}

fn is_subresource(part: &str) -> bool {
    matches!(part, "status" | "finalize")
}

/// One line of the history.
#[derive(Clone, Debug)]
pub struct Record {
    /// Position in the history, from 1.
    pub ordinal: u64,
    /// Simulated time since the run began.
    pub at: Duration,
    /// Who: `operator-0.2` is the second incarnation of the first replica; fakes and people carry plain names.
    pub actor: Arc<str>,
    /// What.
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A request left its sender, whether or not it will arrive.
    Request {
        /// Joins request, reply and deliveries.
        id: u64,
        /// What it asks.
        call: Arc<Call>,
        /// Its body as sent.
        body: Bytes,
    },
    /// The server answered. The body of a watch is in its deliveries.
    Reply {
        /// Of this request.
        id: u64,
        /// What was asked.
        call: Arc<Call>,
        /// HTTP status.
        status: u16,
        /// The whole body; empty for a watch.
        body: Bytes,
        /// Whether it reached the sender.
        delivered: bool,
    },
    /// No answer reached the sender: connection refused, reset, or silence.
    Lost {
        /// Of this request.
        id: u64,
        /// What was asked.
        call: Arc<Call>,
        /// How.
        why: &'static str,
    },
    /// One line of a watch stream reached its reader.
    Delivery {
        /// Of this watch request.
        id: u64,
        /// What is watched.
        call: Arc<Call>,
        /// The event as JSON text.
        line: Bytes,
    },
    /// The store changed.
    Commit(Arc<Commit>),
    /// The control plane handled a request, whether or not its reply will arrive.
    Handled {
        /// Of this request.
        id: u64,
        /// What was asked.
        call: Arc<Call>,
        /// With which credential: [`crate::front::fingerprint`], empty for none.
        bearer: String,
        /// The body it came with.
        request: Bytes,
        /// HTTP status; 0 where it broke the connection instead, perhaps after a commit.
        status: u16,
        /// The body of the answer.
        reply: Bytes,
    },
    /// A fault is about to strike (written before it does).
    Fault {
        /// The rule's id.
        rule: Arc<str>,
        /// In words.
        what: String,
    },
    /// A line of the actor's log. Not part of the trace: it may quote third parties.
    Log {
        /// As it is written.
        line: String,
    },
    /// The harness or a fake did something that is no request: a start, a crash, what a person means to do.
    Step {
        /// In words.
        what: String,
    },
    /// The run enters a phase.
    Phase(Phase),
}

/// The phases of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The workload runs, faults strike.
    Faults,
    /// All faults have stopped and all fakes are prompt: what is promised must come true within its bound.
    Healed,
    /// Everything has come true; now nothing may happen any more.
    Quiet,
    /// The end.
    End,
}

type Reader = Box<dyn FnMut(&Record) + Send>;

struct Inner {
    ordinal: u64,
    request: u64,
    readers: Vec<Reader>,
}

/// The history of one run; a cheap handle.
#[derive(Clone)]
pub struct History {
    clock: Arc<dyn Fn() -> Duration + Send + Sync>,
    inner: Arc<Mutex<Inner>>,
}

impl History {
    /// An empty history; `clock` tells the simulated time since the run began.
    pub fn new(clock: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self {
            clock: Arc::new(clock),
            inner: Arc::new(Mutex::new(Inner { ordinal: 0, request: 0, readers: Vec::new() })),
        }
    }

    /// Simulated time since the run began.
    pub fn now(&self) -> Duration {
        (self.clock)()
    }

    /// Adds a reader. It sees every record from now on, in order, while the event happens: it must not push records or
    /// send requests itself.
    pub fn read(&self, reader: impl FnMut(&Record) + Send + 'static) {
        self.lock().readers.push(Box::new(reader));
    }

    /// A fresh request id.
    pub fn request_id(&self) -> u64 {
        let mut inner = self.lock();
        inner.request += 1;
        inner.request
    }

    /// Appends one record and shows it to every reader.
    pub fn push(&self, actor: &Arc<str>, event: Event) {
        let at = (self.clock)();
        let mut inner = self.lock();
        inner.ordinal += 1;
        let record = Record { ordinal: inner.ordinal, at, actor: actor.clone(), event };
        for reader in &mut inner.readers {
            reader(&record);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // A reader that panicked has already failed the run; the history itself stays usable for the report.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    #[test]
    fn calls_are_read_from_the_request_line() {
        let apply = Some("application/apply-patch+yaml");
        for (method, path, content_type, expected) in [
            (Method::GET, "/api/v1/namespaces", None, "list namespaces"),
            (Method::GET, "/api/v1/namespaces/a", None, "get namespaces a"),
            (Method::PUT, "/api/v1/namespaces/a/finalize", None, "update namespaces/finalize a"),
            (Method::PATCH, "/api/v1/namespaces/a/status", None, "patch namespaces/status a"),
            (Method::GET, "/api/v1/namespaces/a/secrets", None, "list secrets a/*"),
            (Method::GET, "/api/v1/namespaces/a/secrets/s", None, "get secrets a/s"),
            (Method::GET, "/api/v1/nodes?watch=true&x=1", None, "watch nodes"),
            (Method::POST, "/apis/g.io/v1/namespaces/a/things?dryRun=All", None, "create things.g.io a/*"),
            (Method::PATCH, "/apis/g.io/v1/namespaces/a/things/t", apply, "apply things.g.io a/t"),
            (Method::PATCH, "/apis/g.io/v1/namespaces/a/things/t/status", apply, "apply things.g.io/status a/t"),
            (Method::DELETE, "/apis/g.io/v1/clusters/c", None, "delete clusters.g.io c"),
            (Method::DELETE, "/apis/g.io/v1/namespaces/a/things", None, "deletecollection things.g.io a/*"),
            (Method::GET, "/api/agent/jobs?cluster=c1&wait=30", None, "poll control-plane"),
            (Method::POST, "/odoo/api/agent/jobs/j%2D1/ack", None, "ack control-plane j-1"),
            (Method::POST, "/api/agent/jobs/j-1/result", None, "result control-plane j-1"),
            (Method::POST, "/api/agent/credentials/rotate", None, "rotate control-plane"),
            (Method::GET, "/api/agent/fly", None, "other control-plane"),
            (Method::GET, "/version", None, "other /version"),
            (Method::GET, "/apis/g.io/v1", None, "other /apis/g.io/v1"),
        ] {
            assert_eq!(Call::read(&method, path, content_type).to_string(), expected, "{method} {path}");
        }
    }

    #[test]
    fn a_call_is_about_a_kind_by_any_of_its_names() {
        let call = Call::read(&Method::GET, "/apis/source.toolkit.fluxcd.io/v1/ocirepositories", None);
        for name in ["OCIRepository", "ocirepositories", "ocirepositories.source.toolkit.fluxcd.io"] {
            assert!(call.is_about(name), "{name}");
        }
        assert!(!call.is_about("HelmRepository"));
    }

    #[test]
    fn readers_see_records_in_order() {
        let history = History::new(|| Duration::from_secs(3));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let into = seen.clone();
        history.read(move |record| into.lock().expect("no panic").push((record.ordinal, record.at.as_secs())));
        let actor: Arc<str> = "user".into();
        history.push(&actor, Event::Step { what: "first".into() });
        history.push(&actor, Event::Step { what: "second".into() });
        assert_eq!(*seen.lock().expect("no panic"), [(1, 3), (2, 3)]);
    }
}
