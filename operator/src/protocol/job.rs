//! Jobs, and what is said of them: status and result (contract §17.3 to §17.5).

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The answer to a poll. Each job is decoded on its own: one that is malformed must not hide its neighbours.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Jobs {
    /// As received.
    #[serde(default)]
    pub jobs: Vec<Value>,
}

/// One job. Every member is read leniently; what is missing or of the wrong type is judged by intake and answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Job {
    /// Opaque, at most 253 bytes. Without one nothing can be answered.
    pub id: String,
    /// `apply`, `delete`, `intent`, or a word of a newer server.
    pub kind: String,
    /// What to do, in the open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
    /// What to do, as a compact JWE (contract §19.2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypted_payload: Option<String>,
    /// By which a repetition is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// When the control plane made it, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// Start deadline by the control plane's clock, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Detached JWS (contract §19.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// How an open job stands (contract §17.4).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusBody {
    /// Pending, Blocked, Reconciling, Running, Ready, Deleting or Failed.
    pub phase: String,
    /// Conditions of the applied object.
    #[serde(default)]
    pub conditions: Vec<Value>,
    /// One sentence.
    #[serde(default)]
    pub message: String,
    /// RFC 3339.
    pub timestamp: String,
    /// Strictly increases per job, also across restarts.
    #[serde(default)]
    pub sequence: i64,
}

/// How a job ended (contract §17.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Done, and seen to be done.
    Succeeded,
    /// Refused, failed, or its deadline passed.
    Failed,
    /// A repetition, expired, or superseded: no effect.
    Noop,
    /// A field belongs to another manager, or the key was used for another body.
    Conflict,
}

/// The result of a job. Serialized once; the text is then posted unchanged until it is acknowledged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResultBody {
    /// How it ended.
    pub outcome: Outcome,
    /// `<Code>: <text>`, at most 1 KiB, redacted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The object that was applied or found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_ref: Option<AppliedRef>,
    /// Who holds which field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<FieldConflict>,
    /// RFC 3339.
    pub timestamp: String,
}

/// An object as results name it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AppliedRef {
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
    /// The generation the job made or found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
}

/// One field that an apply could not take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldConflict {
    /// The field manager that holds it.
    pub manager: String,
    /// As the API server writes it, for example `.spec.chart.version`.
    pub field_path: String,
}
