//! Hand-written histories for the unit tests of oracles.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fakes::apiserver::Commit;
use fakes::history::{Call, Event, Phase, Record};
use fakes::odoo::Odoo;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::Oracle;
use crate::truth::identity::SYSTEM;
use crate::truth::{CLUSTERS, INSTANCES, OCI_REPOSITORIES, RELEASES, Truth};

/// A history under construction, judged as it grows.
pub(super) struct Story<O> {
    oracle: O,
    truth: Truth,
    ordinal: u64,
    at: Duration,
    seconds: Arc<AtomicU64>,
    odoo: Odoo,
    broken: Option<String>,
}

pub(super) const OPERATOR: &str = "operator-0.1";

impl<O: Oracle + Default> Story<O> {
    pub(super) fn new() -> Self {
        let seconds = Arc::new(AtomicU64::new(0));
        let clock = seconds.clone();
        let odoo = Odoo::new(1, move || {
            let seconds = i64::try_from(clock.load(Ordering::Relaxed)).expect("a short story");
            EPOCH.parse::<Timestamp>().expect("a time") + SignedDuration::from_secs(seconds)
        });
        let mut truth = Truth::default();
        truth.know(odoo.clone());
        Self { oracle: O::default(), truth, ordinal: 0, at: Duration::ZERO, seconds, odoo, broken: None }
    }

    /// Something happens at the control plane.
    pub(super) fn odoo(self, happens: impl FnOnce(&Odoo)) -> Self {
        happens(&self.odoo);
        self
    }

    /// The operator sends a call, and the control plane handles it with this answer. `call` is `ack j1`, `events`, …
    pub(super) fn call(self, actor: &str, call: &str, body: &Value, status: u16, answer: &Value) -> Self {
        self.sent(actor, call, body).handled(actor, call, body, status, answer, "")
    }

    /// The operator sends a call.
    pub(super) fn sent(self, actor: &str, call: &str, body: &Value) -> Self {
        let id = self.ordinal + 1;
        self.add(actor, Event::Request { id, call: to_control_plane(call), body: bytes(body) })
    }

    /// The control plane handles the call that was sent last, under this bearer.
    pub(super) fn handled(
        self,
        actor: &str,
        call: &str,
        body: &Value,
        status: u16,
        answer: &Value,
        bearer: &str,
    ) -> Self {
        let (id, call, bearer) = (self.ordinal, to_control_plane(call), bearer.to_owned());
        self.add(actor, Event::Handled { id, call, bearer, request: bytes(body), status, reply: bytes(answer) })
    }

    /// A poll that brings these jobs.
    pub(super) fn polled(self, jobs: &Value) -> Self {
        self.call(OPERATOR, "poll", &Value::Null, 200, &json!({ "jobs": jobs }))
    }

    /// A line of the operator's log.
    pub(super) fn logged(self, line: &str) -> Self {
        self.add(OPERATOR, Event::Log { line: line.into() })
    }

    /// What somebody does, in words.
    pub(super) fn told(self, actor: &str, what: &str) -> Self {
        self.add(actor, Event::Step { what: what.into() })
    }

    fn add(mut self, actor: &str, event: Event) -> Self {
        self.ordinal += 1;
        let record = Record { ordinal: self.ordinal, at: self.at, actor: actor.into(), event };
        self.truth.step(&record);
        if let Err(what) = self.oracle.step(&record, &self.truth) {
            self.broken.get_or_insert(what);
        }
        self
    }

    /// The object is created or becomes this.
    pub(super) fn commit(self, actor: &str, object: &Value) -> Self {
        let (resource, namespace, name) = address(object);
        let before = self.truth.get(resource, &namespace, &name).cloned();
        self.change(actor, resource, &namespace, &name, before, Some(Arc::new(object.clone())))
    }

    /// The object is gone.
    pub(super) fn remove(self, actor: &str, object: &Value) -> Self {
        let (resource, namespace, name) = address(object);
        let before = self.truth.get(resource, &namespace, &name).cloned();
        self.change(actor, resource, &namespace, &name, before, None)
    }

    fn change(
        self,
        actor: &str,
        resource: &str,
        namespace: &str,
        name: &str,
        before: Option<Arc<Value>>,
        after: Option<Arc<Value>>,
    ) -> Self {
        let verb = if after.is_none() { "delete" } else { "update" };
        let commit = Commit {
            revision: self.ordinal + 1,
            at: jiff::Timestamp::UNIX_EPOCH,
            actor: actor.into(),
            verb,
            resource: resource.into(),
            namespace: Some(namespace.into()),
            name: name.into(),
            before,
            after,
        };
        self.add(actor, Event::Commit(Arc::new(commit)))
    }

    /// The actor reads the object.
    pub(super) fn read(self, actor: &str, object: &Value) -> Self {
        let call = Arc::new(Call::read(&http::Method::GET, &path(object), None));
        let body = Bytes::from(object.to_string());
        self.add(actor, Event::Reply { id: 1, call, status: 200, body, delivered: true })
    }

    /// The actor tries to apply the object.
    pub(super) fn attempt(self, actor: &str, object: &Value) -> Self {
        let call = Arc::new(Call::read(&http::Method::PATCH, &path(object), Some("application/apply-patch+yaml")));
        self.add(actor, Event::Request { id: 1, call, body: Bytes::from(object.to_string()) })
    }

    /// The actor asks for the object.
    pub(super) fn attempt_read(self, actor: &str, object: &Value) -> Self {
        let call = Arc::new(Call::read(&http::Method::GET, &path(object), None));
        self.add(actor, Event::Request { id: 1, call, body: Bytes::new() })
    }

    /// The actor reads a path.
    pub(super) fn ask(self, actor: &str, path: &str) -> Self {
        let call = Arc::new(Call::read(&http::Method::GET, path, None));
        self.add(actor, Event::Request { id: 1, call, body: Bytes::new() })
    }

    pub(super) fn phase(self, phase: Phase) -> Self {
        self.add("sim", Event::Phase(phase))
    }

    pub(super) fn later(mut self, seconds: u64) -> Self {
        self.at += Duration::from_secs(seconds);
        self.seconds.store(self.at.as_secs(), Ordering::Relaxed);
        self
    }

    /// The history breaks the promise, and the sentence contains the word.
    #[track_caller]
    pub(super) fn breaks(self, word: &str) {
        let what = self.broken.expect("the oracle should object");
        assert!(what.contains(word), "{what}");
    }

    /// The history keeps the promise, and nothing is owed.
    #[track_caller]
    pub(super) fn holds(self) {
        assert_eq!(self.broken, None);
        assert_eq!(self.oracle.pending(&self.truth, self.at), None);
    }

    /// Something is owed; `overdue` when it should have come true already.
    #[track_caller]
    pub(super) fn owes(self, word: &str, overdue: bool) {
        assert_eq!(self.broken, None);
        let pending = self.oracle.pending(&self.truth, self.at).expect("something should be owed");
        assert!(pending.why.contains(word), "{}", pending.why);
        assert_eq!(pending.overdue, overdue, "{}", pending.why);
    }
}

fn address(object: &Value) -> (&'static str, String, String) {
    let resource = match object["kind"].as_str() {
        Some("ApplicationInstance") => INSTANCES,
        Some("HelmRelease") => RELEASES,
        Some("OCIRepository") => OCI_REPOSITORIES,
        Some("ConfigMap") => "configmaps",
        Some("Secret") => "secrets",
        Some("Cluster") => CLUSTERS,
        Some("Namespace") => "namespaces",
        Some("Lease") => "leases.coordination.k8s.io",
        other => panic!("no such kind in a story: {other:?}"),
    };
    let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
    (resource, text("namespace"), text("name"))
}

fn path(object: &Value) -> String {
    let (resource, namespace, name) = address(object);
    let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
    let root = if group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{group}/v1") };
    let within = if namespace.is_empty() { String::new() } else { format!("/namespaces/{namespace}") };
    format!("{root}{within}/{plural}/{name}")
}

fn bytes(body: &Value) -> Bytes {
    if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) }
}

fn to_control_plane(call: &str) -> Arc<Call> {
    let (verb, job) = call.split_once(' ').unwrap_or((call, ""));
    let (method, tail) = match verb {
        "poll" => (http::Method::GET, "jobs?cluster=c1&wait=30".to_owned()),
        "rotate" => (http::Method::POST, "credentials/rotate".to_owned()),
        "register" | "events" => (http::Method::POST, verb.to_owned()),
        _ => (http::Method::POST, format!("jobs/{job}/{verb}")),
    };
    Arc::new(Call::read(&method, &format!("/api/agent/{tail}"), None))
}

/// When every story begins.
const EPOCH: &str = "2026-01-01T00:00:00Z";

/// The id of the cluster in stories.
pub(super) const CLUSTER: &str = "c1";

/// A Secret of the operator's namespace; values in the clear.
pub(super) fn secret(name: &str, values: &[(&str, &str)]) -> Value {
    let data: serde_json::Map<String, Value> =
        values.iter().map(|(key, value)| ((*key).to_owned(), STANDARD.encode(value).into())).collect();
    json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "namespace": SYSTEM, "name": name, "uid": "u-s" }, "data": data })
}

/// A ConfigMap of the operator's namespace.
pub(super) fn store(name: &str, key: &str, content: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "namespace": SYSTEM, "name": name, "uid": "u-c" },
            "data": { key: content.to_string() } })
}

/// The Cluster, registered or not yet.
pub(super) fn cluster() -> Value {
    json!({ "apiVersion": "ops.vworkspace.io/v1alpha1", "kind": "Cluster",
        "metadata": { "name": "cluster", "uid": "u-9", "generation": 1 },
        "spec": { "clusterId": CLUSTER, "controlPlaneEndpoint": "https://odoo.example.org" } })
}

/// A job that applies the usual instance, as it is delivered.
pub(super) fn job(id: &str, key: &str) -> Value {
    let instance = instance();
    json!({ "id": id, "kind": "apply", "idempotencyKey": key, "createdAt": EPOCH,
        "payload": { "apiVersion": instance["apiVersion"], "kind": "ApplicationInstance",
            "metadata": { "namespace": "org-a", "name": "files" }, "spec": instance["spec"] } })
}

/// A result as it is posted.
pub(super) fn result(outcome: &str, uid: &str, generation: i64) -> Value {
    json!({ "outcome": outcome, "timestamp": EPOCH, "appliedRef": {
        "apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance", "namespace": "org-a", "name": "files",
        "uid": uid, "generation": generation } })
}

/// The control plane registers the cluster, and the credential it hands out.
pub(super) fn registered(odoo: &Odoo) -> String {
    let token = odoo.issue_token(Some(CLUSTER));
    let body = json!({ "registrationToken": token, "registrationId": "r-1" });
    let request = http::Request::post("/api/agent/register")
        .header("authorization", format!("Bearer {token}"))
        .header("accept", operator::protocol::MEDIA_TYPE)
        .header("content-type", operator::protocol::MEDIA_TYPE)
        .body(http_body_util::Full::new(bytes(&body)))
        .expect("a request");
    let answer = crate::simulation::runtime().block_on(odoo.handle("story", request));
    assert_eq!(answer.expect("an answer").status(), 200);
    odoo.look(|state| state.clusters[CLUSTER].credential.clone()).expect("it is registered").token
}

/// The usual instance: generation 1, our finalizer, chart version 6.6.0, no status.
pub(super) fn instance() -> Value {
    json!({
        "apiVersion": "apps.vworkspace.io/v1alpha1",
        "kind": "ApplicationInstance",
        "metadata": { "namespace": "org-a", "name": "files", "uid": "u-1", "generation": 1,
            "finalizers": ["apps.vworkspace.io/finalizer"],
            "labels": { "app.vworkspace.io/managed-by": "control-plane" } },
        "spec": {
            "chart": { "sourceType": "oci", "url": "oci://charts.example.org/apps", "name": "nextcloud", "version": "6.6.0" },
            "release": { "name": "files", "namespace": "org-a" },
            "values": { "source": "inline", "inline": { "replicaCount": 2 } },
        },
    })
}

/// Its source.
pub(super) fn source() -> Value {
    json!({
        "kind": "OCIRepository",
        "metadata": { "namespace": "org-a", "name": "files-source-1", "uid": "u-2", "generation": 1,
            "labels": { "apps.vworkspace.io/instance-uid": "u-1" } },
        "spec": { "url": "oci://charts.example.org/apps/nextcloud", "ref": { "tag": "6.6.0" } },
    })
}

/// Its HelmRelease, as rendered, without a status.
pub(super) fn release() -> Value {
    json!({
        "kind": "HelmRelease",
        "metadata": { "namespace": "org-a", "name": "files", "uid": "u-3", "generation": 1,
            "labels": { "apps.vworkspace.io/instance-uid": "u-1" } },
        "spec": {
            "releaseName": "files", "targetNamespace": "org-a",
            "chartRef": { "kind": "OCIRepository", "name": "files-source-1" },
            "values": { "replicaCount": 2 },
        },
    })
}

/// The HelmRelease after Flux installed it.
pub(super) fn deployed() -> Value {
    with(
        &release(),
        &json!({ "status": {
        "observedGeneration": 1, "lastAttemptedGeneration": 1,
        "conditions": [
            { "type": "Ready", "status": "True", "reason": "InstallSucceeded", "observedGeneration": 1 },
            { "type": "Released", "status": "True", "reason": "InstallSucceeded", "observedGeneration": 1 },
        ],
        "history": [{ "status": "deployed", "chartName": "nextcloud", "chartVersion": "6.6.0+1234567890ab" }],
    } }),
    )
}

/// The instance after the operator reported it.
pub(super) fn ready() -> Value {
    let condition = |kind: &str, status: &str, reason: &str| {
        json!({ "type": kind, "status": status, "reason": reason, "message": "m", "observedGeneration": 1,
                "lastTransitionTime": "2026-01-01T00:00:00Z" })
    };
    with(
        &instance(),
        &json!({ "status": { "observedGeneration": 1, "conditions": [
        condition("Ready", "True", "HelmReleaseReady"),
        condition("Reconciling", "False", "Stable"),
    ] } }),
    )
}

/// A merge patch on a copy.
pub(super) fn with(object: &Value, patch: &Value) -> Value {
    fn merge(into: &mut Value, patch: &Value) {
        match (into, patch) {
            (Value::Object(into), Value::Object(patch)) => {
                for (key, value) in patch {
                    if value.is_null() {
                        into.remove(key);
                    } else {
                        merge(into.entry(key.clone()).or_insert(Value::Null), value);
                    }
                }
            }
            (into, patch) => *into = patch.clone(),
        }
    }
    let mut object = object.clone();
    merge(&mut object, patch);
    object
}
