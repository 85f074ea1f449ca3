//! The rules, pure and total. Admission and decide ask the same functions (contract §13.1): admission is a courtesy that
//! fails early, decide is the law.

use serde::Serialize;

use crate::api::cluster::{Helm, HelmEngine, Security};
use crate::api::{ClusterSpec, Open};
use crate::cluster_api::{Caps, Object};

pub mod conflict;
pub mod gate;
pub mod instance;
pub mod jobs;
pub mod secrets;
pub mod template;

/// What a rule says when it refuses. `code` begins the message and is what a sender can match on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Which class of refusal it is: the condition reason (contract §13.1).
    pub class: Class,
    /// Code of contract §13.2, empty for plain shape errors.
    pub code: &'static str,
    /// A sentence that says what to write instead. Never a value of the user's.
    pub message: String,
}

/// The two classes of contract §13.1, and a missing controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Class {
    /// The request is not valid: `ValidationFailed`.
    Shape,
    /// A rule of this cluster forbids it: `PolicyDenied`.
    Policy,
    /// A needed controller is not installed: `MissingDependencies`.
    Missing,
}

impl Refusal {
    /// A shape error.
    pub fn shape(message: impl Into<String>) -> Self {
        Self { class: Class::Shape, code: "", message: message.into() }
    }

    /// A missing controller.
    pub fn missing(message: impl Into<String>) -> Self {
        Self { class: Class::Missing, code: "", message: message.into() }
    }

    /// A refusal with a code.
    pub fn coded(class: Class, code: &'static str, message: impl Into<String>) -> Self {
        Self { class, code, message: message.into() }
    }

    /// Code and message as one text.
    pub fn text(&self) -> String {
        if self.code.is_empty() { self.message.clone() } else { format!("{}: {}", self.code, self.message) }
    }
}

/// Settings of the cluster a decision needs. They travel inside the snapshot, so a trace shows what was known.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Settings {
    /// The own cluster id; `None` before the first registration.
    pub cluster_id: Option<String>,
    /// Spec of the active Cluster, or defaults where there is none.
    pub cluster: ClusterSpec,
    /// The active Cluster has a spec that this version cannot read. Its rules are then unknown, not absent.
    pub unreadable: bool,
    /// The engine that existing releases were made with (`Cluster.status.helmEngine`).
    pub recorded_engine: Option<String>,
    /// What the API server serves.
    pub caps: Caps,
    /// Namespace of the operator's own objects.
    pub home: String,
    /// Name of this process in Kubernetes Events (`reportingInstance`); the pod name.
    pub reporter: String,
}

impl Settings {
    /// Settings from all Cluster objects: the oldest by creation time, then name, is active (contract §14.3). One that
    /// cannot be read keeps its id and is marked: defaults in its place would lift the restrictions it holds.
    pub fn from_clusters(clusters: &[Object], caps: Caps, reporter: &str) -> Self {
        let active = clusters.iter().min_by_key(|object| {
            let created = object.0.pointer("/metadata/creationTimestamp").and_then(|time| time.as_str());
            (created.unwrap_or_default().to_string(), object.name().to_string())
        });
        let spec = active.and_then(|object| object.0.get("spec"));
        let read: Option<ClusterSpec> = match spec {
            None => Some(ClusterSpec::default()),
            Some(spec) => serde_json::from_value(spec.clone()).ok(),
        };
        let text = |pointer: &str| {
            let value = active?.0.pointer(pointer)?.as_str()?;
            (!value.is_empty()).then(|| value.to_string())
        };
        Self {
            cluster_id: text("/spec/clusterId"),
            unreadable: read.is_none(),
            cluster: read.unwrap_or_default(),
            recorded_engine: text("/status/helmEngine"),
            caps,
            reporter: reporter.into(),
            home: String::new(),
        }
    }

    /// Helm settings with defaults.
    pub fn helm(&self) -> Helm {
        self.cluster.helm.clone().unwrap_or_default()
    }

    /// Security settings with defaults.
    pub fn security(&self) -> Security {
        self.cluster.security.clone().unwrap_or_default()
    }

    /// The Helm engine in use: the recorded one wins, because moving releases silently reinstalls them (contract §6).
    pub fn engine(&self) -> Open<HelmEngine> {
        match self.recorded_engine.as_deref() {
            Some("flux") => HelmEngine::Flux.into(),
            Some("argocd") => HelmEngine::Argocd.into(),
            _ => self.helm().engine,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_oldest_cluster_counts_and_an_unreadable_one_is_marked() {
        let cluster = |name: &str, created: &str, spec: serde_json::Value| {
            Object(json!({"metadata": {"name": name, "creationTimestamp": created}, "spec": spec}))
        };
        let clusters = [
            cluster("b", "2026-01-02T00:00:00Z", json!({"clusterId": "new"})),
            cluster("a", "2026-01-01T00:00:00Z", json!({"clusterId": "old", "helm": {"timeout": "20m"}})),
        ];
        let settings = Settings::from_clusters(&clusters, Caps::default(), "pod");
        assert_eq!(settings.cluster_id.as_deref(), Some("old"));
        assert_eq!((settings.helm().timeout.as_str(), settings.helm().upgrade_retries), ("20m", 0));
        let odd = [cluster("a", "", json!({"clusterId": "c1", "helm": 7}))];
        let odd = Settings::from_clusters(&odd, Caps::default(), "");
        assert_eq!((odd.cluster_id.as_deref(), odd.unreadable), (Some("c1"), true));
        assert!(!settings.unreadable && !Settings::from_clusters(&[], Caps::default(), "").unreadable);
        assert_eq!(Settings::from_clusters(&[], Caps::default(), "").cluster_id, None);
    }
}
