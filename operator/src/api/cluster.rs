//! Cluster: the cluster's own record, a singleton (contract §14).

#![allow(unreachable_pub, reason = "the schema derive copies public types into a function body")]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{Condition, Free, NamespacedRef, Transition, free_object};
use super::open::Open;
use super::operation::OperationType;

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

/// Strictness of a protection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Strictness {
    /// Not checked.
    Disabled,
    /// Checked and reported.
    #[default]
    Warn,
    /// Checked and enforced.
    Require,
}

fn strictness_disabled() -> Open<Strictness> {
    Open::Known(Strictness::Disabled)
}

/// Protection settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Security {
    /// Whether job payloads must be signed.
    #[serde(default)]
    pub signed_payloads: Open<Strictness>,
    /// Whether secret payloads must be encrypted.
    #[serde(default = "strictness_disabled")]
    pub encrypted_payloads: Open<Strictness>,
    /// The same as signedPayloads: require.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_signed_payloads: Option<bool>,
    /// The same as encryptedPayloads: require.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_encrypted_secret_payloads: Option<bool>,
    /// Client certificate towards the control plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtls: Option<Mtls>,
    /// Ignore signing keys offered by the server; only keys already stored count.
    #[serde(default)]
    pub pin_keys: bool,
    /// Which approvals count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals: Option<ApprovalSettings>,
    /// What happens in a gated namespace without the restricted Pod Security level.
    #[serde(default)]
    pub pod_security: Open<Strictness>,
}

/// Client certificate settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Mtls {
    /// Present tls.crt and tls.key of the credentials Secret.
    #[serde(default)]
    pub enabled: bool,
}

/// Approval settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalSettings {
    /// Whether claims of the older scheme vws1 count.
    #[serde(default = "yes")]
    pub accept_vws1: bool,
    /// Whether the one who asks may also approve.
    #[serde(default)]
    pub allow_self_approval: bool,
}

impl Default for ApprovalSettings {
    fn default() -> Self {
        Self { accept_vws1: true, allow_self_approval: false }
    }
}

fn yes() -> bool {
    true
}

/// Helm settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Helm {
    /// Which controller makes the releases of this cluster. It cannot change while managed instances exist.
    #[serde(default)]
    pub engine: Open<HelmEngine>,
    /// How long one install or upgrade may take, for example 15m.
    #[serde(default = "helm_timeout")]
    #[schemars(length(max = 32))]
    #[x_kube(
        validation = Rule::new(r"self.matches('^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$')")
            .message("helm.timeout must be a duration such as 15m or 1h30m")
    )]
    pub timeout: String,
    /// How often a failed upgrade is tried again before it is rolled back.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100))]
    pub upgrade_retries: i64,
    /// Whether changes made by hand to released objects are undone.
    #[serde(default)]
    pub drift_detection: Open<DriftDetection>,
    /// ServiceAccount under which releases are made, in the release namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub service_account_name: Option<String>,
    /// Whether Helm repositories without TLS are allowed.
    #[serde(default)]
    pub allow_plain_http: bool,
    /// Chart addresses must begin with one of these; empty allows all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 2048)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub allowed_chart_url_prefixes: Vec<String>,
    /// Issuer for certificates of ingresses; becomes the annotation cert-manager.io/cluster-issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub default_cluster_issuer: Option<String>,
    /// Settings of the Argo CD engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub argocd: Option<ArgoCd>,
}

impl Default for Helm {
    fn default() -> Self {
        Self {
            engine: Open::default(),
            timeout: helm_timeout(),
            upgrade_retries: 0,
            drift_detection: Open::default(),
            service_account_name: None,
            allow_plain_http: false,
            allowed_chart_url_prefixes: Vec::new(),
            default_cluster_issuer: None,
            argocd: None,
        }
    }
}

fn helm_timeout() -> String {
    "15m".into()
}

/// Which controller makes Helm releases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HelmEngine {
    /// Flux.
    #[default]
    Flux,
    /// Argo CD.
    Argocd,
}

/// What happens to changes made by hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DriftDetection {
    /// They are undone.
    #[default]
    Enabled,
    /// They are reported.
    Warn,
    /// They are not looked for.
    Disabled,
}

/// Argo CD settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArgoCd {
    /// Namespace of Argo CD.
    #[serde(default = "argocd_namespace")]
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// Project of the Applications.
    #[serde(default = "argocd_project")]
    #[schemars(length(max = 253))]
    pub project: String,
}

impl Default for ArgoCd {
    fn default() -> Self {
        Self { namespace: argocd_namespace(), project: argocd_project() }
    }
}

fn argocd_namespace() -> String {
    "argocd".into()
}

fn argocd_project() -> String {
    "default".into()
}

/// Rules for Operations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Operations {
    /// How long finished Operations are kept, in seconds. Default 90 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub ttl_seconds_after_finished: Option<i64>,
    /// How many finished Operations are kept per target. Default 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100000))]
    pub history_limit: Option<i64>,
    /// Whether the last lines of logs are sent with the result.
    #[serde(default)]
    pub mirror_log_tail: bool,
    /// Tightening of single templates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["ref".to_string()]))]
    pub templates: Vec<TemplateRule>,
}

/// How one template is tightened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateRule {
    /// The template, for example restore.velero.
    #[serde(rename = "ref")]
    #[schemars(length(min = 1, max = 63))]
    pub template: String,
    /// Whether the template is not available here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// Whether an approval is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval_required: Option<bool>,
    /// Whether nothing else may run on the target at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclusive: Option<bool>,
    /// Whether the target must be Ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_ready: Option<bool>,
    /// How long the work may take, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 604800))]
    pub timeout_seconds: Option<i64>,
    /// How long an Operation waits for its preconditions, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 60, max = 2592000))]
    pub precondition_timeout_seconds: Option<i64>,
    /// When the work may start; without any, at any time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub maintenance_windows: Vec<MaintenanceWindow>,
}

/// A window in which work may start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceWindow {
    /// When the window opens, as a cron expression.
    #[schemars(length(min = 1, max = 128))]
    pub start: String,
    /// How long it stays open, for example 3h.
    #[schemars(length(min = 1, max = 32))]
    pub duration: String,
    /// Time zone of start. Default UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub time_zone: Option<String>,
}

/// What is allowed where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// What is allowed per namespace; the patterns may use * and ?.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub namespaces: Vec<NamespaceRule>,
    /// Whether a catalog policy is expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog: Option<Open<CatalogUse>>,
    /// How old the catalog policy may be, for example 168h. Default 7 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub catalog_max_age: Option<String>,
    /// What jobs from the control plane may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobs: Option<JobPolicy>,
}

/// Rules for namespaces that match a pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceRule {
    /// Namespace name; may use * and ?.
    #[schemars(length(min = 1, max = 253))]
    pub pattern: String,
    /// Operation types allowed there; empty allows all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub allowed_types: Vec<Open<OperationType>>,
    /// Templates allowed there; empty allows all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub allowed_operation_templates: Vec<String>,
}

/// Whether the catalog policy is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CatalogUse {
    /// It is used where it is present.
    #[default]
    Optional,
    /// Its absence is reported.
    Required,
}

/// What jobs may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobPolicy {
    /// Whether a job may create a missing namespace that matches a pattern.
    #[serde(default)]
    pub create_namespaces: bool,
    /// Namespaces jobs may write to; may use * and ?.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub namespace_patterns: Vec<String>,
    /// Further kinds jobs may apply, as group/Kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 317)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub extra_kinds: Vec<String>,
    /// Whether jobs may deliver Secrets.
    #[serde(default)]
    pub secret_delivery: bool,
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
