//! Cluster: what the operator observed.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::common::{Condition, Free, NamespacedRef, Transition, free_object};
use super::super::open::Open;

/// What the operator observed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// State of the registration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Open<ClusterPhase>>,
    /// Newest generation this status reflects; it never decreases for one object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Connected, Disconnected, Authenticated, ControllersHealthy, CRDsRegistered, BufferOverflow and PayloadSecurity.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_string()]))]
    pub conditions: Vec<Condition>,
    /// Last successful round trip; written at most once a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"), length(max = 64))]
    pub last_heartbeat: Option<String>,
    /// Where the credentials are and how old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_status: Option<CredentialStatus>,
    /// The credentials Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<NamespacedRef>,
    /// First 16 hex digits of the SHA-256 of the registration token that was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub observed_token: Option<String>,
    /// Version of this operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub operator_version: Option<String>,
    /// Release channel of this operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub operator_channel: Option<String>,
    /// Version of Flux, where its CRDs tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub flux_version: Option<String>,
    /// Version of Velero, where its CRDs tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub velero_version: Option<String>,
    /// The gated namespaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5000))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub managed_namespaces: Vec<ManagedNamespace>,
    /// Signing keys of the control plane that are trusted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["kid".to_string()]))]
    pub control_plane_keys: Vec<KeyThumbprint>,
    /// This cluster's public key, as a JWK.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_object")]
    pub public_key: Option<Free>,
    /// The Helm engine in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub helm_engine: Option<String>,
    /// Organization of this cluster, from its registration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub organization_id: Option<String>,
    /// Number of the newest entry of transitions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transition_seq: Option<i64>,
    /// The newest 20 changes of conditions, kept for reporting.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub transitions: Vec<Transition>,
}

/// State of the registration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClusterPhase {
    /// Not registered.
    #[default]
    Pending,
    /// A registration is on its way.
    Registering,
    /// The control plane answers, or none is needed.
    Connected,
    /// The control plane does not answer.
    Disconnected,
    /// Something has to be repaired by a human.
    Error,
    /// Being removed.
    Terminating,
}

/// Where the credentials are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialStatus {
    /// Name of the credentials Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub secret_name: Option<String>,
    /// Namespace of the credentials Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub secret_namespace: Option<String>,
    /// When this cluster registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"), length(max = 64))]
    pub registered_at: Option<String>,
    /// Whether the registration token has been used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration_token_consumed: Option<bool>,
    /// When the credentials were last rotated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"), length(max = 64))]
    pub rotated_at: Option<String>,
    /// When the credentials expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"), length(max = 64))]
    pub expires_at: Option<String>,
}

/// A gated namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManagedNamespace {
    /// Its name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Templates allowed there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub allowed_operation_templates: Vec<String>,
    /// Its Pod Security level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub pod_security: Option<String>,
}

/// A trusted signing key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyThumbprint {
    /// Key id.
    #[schemars(length(min = 1, max = 253))]
    pub kid: String,
    /// RFC 7638 thumbprint.
    #[schemars(length(max = 128))]
    pub thumbprint: String,
}
