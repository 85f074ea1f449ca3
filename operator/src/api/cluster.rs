//! Cluster: the cluster's own record, a singleton (contract §14).

#![allow(unreachable_pub, reason = "the schema derive copies public types into a function body")]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::open::Open;

mod helm;
mod operations;
mod policy;
mod security;
mod status;

pub use helm::{ArgoCd, DriftDetection, Helm, HelmEngine};
pub use operations::{MaintenanceWindow, Operations, TemplateRule};
pub use policy::{CatalogUse, JobPolicy, NamespaceRule, Policy};
pub use security::{ApprovalSettings, Mtls, Security, Strictness};
pub use status::{ClusterPhase, ClusterStatus, CredentialStatus, KeyThumbprint, ManagedNamespace};

/// How this cluster is connected and what it allows.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "ops.vworkspace.io",
    version = "v1alpha1",
    kind = "Cluster",
    plural = "clusters",
    shortname = "cluster",
    status = "ClusterStatus",
    derive = "PartialEq",
    doc = "This cluster: how it is connected to its control plane, and what the operator may do in it. The oldest one counts.",
    printcolumn(
        name = "Phase",
        type_ = "string",
        json_path = ".status.phase",
        description = "State of the registration"
    ),
    printcolumn(
        name = "Connected",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Connected\")].status",
        description = "Whether the control plane answers"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "ClusterId",
        type_ = "string",
        json_path = ".spec.clusterId",
        description = "Id issued by the control plane",
        priority = 1
    ),
    printcolumn(
        name = "Mode",
        type_ = "string",
        json_path = ".spec.connectivityMode",
        description = "pull, push or gitops",
        priority = 1
    ),
    printcolumn(
        name = "Heartbeat",
        type_ = "date",
        json_path = ".status.lastHeartbeat",
        description = "Last answer of the control plane",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "!has(oldSelf.clusterId) || oldSelf.clusterId == '' || (has(self.clusterId) && self.clusterId == oldSelf.clusterId)"
    ).message("spec.clusterId cannot be changed once it is set: delete this Cluster and register again")
)]
pub struct ClusterSpec {
    /// Id issued by the control plane. Written by the operator at the first registration; never changed afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub cluster_id: Option<String>,
    /// Name shown in the control plane; sent at registration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub display_name: Option<String>,
    /// Base URL of the control plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(
        validation = Rule::new("self == '' || self.startsWith('https://') || self.startsWith('http://')")
            .message("controlPlaneEndpoint must begin with https:// or http://")
    )]
    pub control_plane_endpoint: Option<String>,
    /// Deprecated: use controlPlaneEndpoint. Read only when that is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub control_plane_base_url: Option<String>,
    /// Secret in the operator namespace with the registration token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration_token_secret_ref: Option<TokenRef>,
    /// Deprecated: use registrationTokenSecretRef. An inline token is used once and then cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8192))]
    pub registration_token: Option<String>,
    /// Set to true to rotate the credentials once; cleared afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_credentials: Option<bool>,
    /// Reserved; ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// How intent arrives. pull: the operator fetches it. push: the control plane writes it here. gitops: it comes from Git.
    #[serde(default)]
    pub connectivity_mode: Open<ConnectivityMode>,
    /// Proxy for traffic to the control plane. Without it the process environment counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Proxy>,
    /// Secret in the operator namespace with further trust roots for the control plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle_secret_ref: Option<CaBundleRef>,
    /// Protection of payloads, approvals and pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security: Option<Security>,
    /// How Helm releases are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helm: Option<Helm>,
    /// Rules for all Operations of this cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operations: Option<Operations>,
    /// What is allowed where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// When credentials are rotated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
    /// Settings of gitops mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gitops: Option<GitOps>,
    /// Which operator releases this cluster takes; recorded and reported only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<Upgrade>,
}

/// A key of a Secret that holds the registration token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenRef {
    /// Name of the Secret in the operator namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key of the token.
    #[serde(default = "registration_token_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn registration_token_key() -> String {
    "registrationToken".into()
}

/// A key of a Secret that holds PEM certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CaBundleRef {
    /// Name of the Secret in the operator namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key of the certificates.
    #[serde(default = "ca_bundle_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn ca_bundle_key() -> String {
    "ca.crt".into()
}

/// Reserved switches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// Reserved; ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flux: Option<bool>,
    /// Reserved; ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub velero: Option<bool>,
}

/// How intent arrives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ConnectivityMode {
    /// The operator fetches jobs.
    #[default]
    Pull,
    /// The control plane writes objects.
    Push,
    /// Objects come from Git.
    Gitops,
}

/// Proxy settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Proxy {
    /// Proxy for http addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub http_proxy: Option<String>,
    /// Proxy for https addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub https_proxy: Option<String>,
    /// Hosts that are reached without a proxy, separated by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8192))]
    pub no_proxy: Option<String>,
}

/// Credential rotation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rotation {
    /// How often credentials are rotated.
    #[serde(default = "rotation_interval")]
    #[schemars(length(max = 32))]
    #[x_kube(
        validation = Rule::new(r"self.matches('^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$')")
            .message("rotation.interval must be a duration such as 168h")
    )]
    pub interval: String,
    /// How long before they expire.
    #[serde(default = "rotation_before")]
    #[schemars(length(max = 32))]
    #[x_kube(
        validation = Rule::new(r"self.matches('^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$')")
            .message("rotation.before must be a duration such as 24h")
    )]
    pub before: String,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { interval: rotation_interval(), before: rotation_before() }
    }
}

fn rotation_interval() -> String {
    "168h".into()
}

fn rotation_before() -> String {
    "24h".into()
}

/// GitOps settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitOps {
    /// Who writes commit statuses. Default flux in gitops mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit_status: Option<Open<CommitStatus>>,
}

/// Who writes commit statuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CommitStatus {
    /// Flux's notification controller.
    #[default]
    Flux,
    /// Nobody.
    Disabled,
}

/// Which operator releases are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Upgrade {
    /// Release channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Open<Channel>>,
    /// A version to stay on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub pinned_version: Option<String>,
}

/// Release channel of the operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// Released versions.
    #[default]
    Stable,
    /// Release candidates.
    Candidate,
    /// Newest builds.
    Edge,
}
