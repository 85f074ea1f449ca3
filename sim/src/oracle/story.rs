//! Hand-written histories for the unit tests of oracles.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fakes::apiserver::Commit;
use fakes::history::{Call, Event, Phase, Record};
use serde_json::{Value, json};

use super::Oracle;
use crate::truth::{INSTANCES, OCI_REPOSITORIES, RELEASES, Truth};

/// A history under construction, judged as it grows.
pub(super) struct Story<O> {
    oracle: O,
    truth: Truth,
    ordinal: u64,
    at: Duration,
    broken: Option<String>,
}

pub(super) const OPERATOR: &str = "operator-0.1";

impl<O: Oracle + Default> Story<O> {
    pub(super) fn new() -> Self {
        Self { oracle: O::default(), truth: Truth::default(), ordinal: 0, at: Duration::ZERO, broken: None }
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

    pub(super) fn phase(self, phase: Phase) -> Self {
        self.add("sim", Event::Phase(phase))
    }

    pub(super) fn later(mut self, seconds: u64) -> Self {
        self.at += Duration::from_secs(seconds);
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
    format!("{root}/namespaces/{namespace}/{plural}/{name}")
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
