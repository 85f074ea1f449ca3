//! Events: what changed in the cluster, told to the control plane (contract §20).

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most events of one request (contract §20.2).
pub const BATCH_MAX: usize = 100;

/// Kind of the event that says "still here" (contract §20.1).
pub const HEARTBEAT: &str = "ClusterHeartbeat";

/// The body of `POST events`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventBatch {
    /// The cluster that speaks (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// At most [`BATCH_MAX`], in order per object.
    pub events: Vec<Event>,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// By which the receiver knows a repetition; a heartbeat has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_key: Option<String>,
    /// A kind of contract §20.1, for example `ConditionTransition`.
    pub kind: String,
    /// What it is about.
    pub resource_ref: ResourceRef,
    /// The conditions it tells.
    #[serde(default)]
    pub conditions: Vec<Value>,
    /// Where the application is reached; on events of an ApplicationInstance only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<Value>,
    /// When it happened, RFC 3339; equal on every re-send.
    pub timestamp: String,
}

/// What an event is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceRef {
    /// `group/version`.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Namespace, absent for cluster-scoped objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// `metadata.uid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The generation it speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
}
