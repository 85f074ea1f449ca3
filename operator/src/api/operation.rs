//! Operation: one piece of work on an ApplicationInstance (contract §7).

#![allow(unreachable_pub, reason = "the schema derive copies public types into a function body")]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{Condition, EngineRef, Free, GitSource, Transition, free_object};
use super::open::Open;

/// Which work is wanted, on which target, by which engine.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "ops.vworkspace.io",
    version = "v1alpha1",
    kind = "Operation",
    plural = "operations",
    shortname = "op",
    namespaced,
    status = "OperationStatus",
    derive = "PartialEq",
    doc = "One piece of work on an ApplicationInstance, such as a backup, a restore or an upgrade. It runs once and keeps its result.",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase", description = "How far the work is"),
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.type", description = "What is done"),
    printcolumn(name = "Engine", type_ = "string", json_path = ".spec.engine", description = "What does it"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Target",
        type_ = "string",
        json_path = ".spec.targetRef.name",
        description = "The ApplicationInstance worked on",
        priority = 1
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.status==\"True\")].reason",
        description = "First true reason among Succeeded, Failed, Cancelled, Blocked and Running",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(oldSelf.cancel) || !oldSelf.cancel || (has(self.cancel) && self.cancel)")
        .message("spec.cancel cannot be taken back: create a new Operation instead"),
    validation = Rule::new("has(oldSelf.notAfter) == has(self.notAfter) && (!has(self.notAfter) || self.notAfter == oldSelf.notAfter)")
        .message("spec.notAfter cannot be changed: create a new Operation with another deadline")
)]
pub struct OperationSpec {
    /// The ApplicationInstance to work on, in the namespace of this object.
    #[x_kube(
        validation = Rule::new("self == oldSelf")
            .message("spec.targetRef cannot be changed: create a new Operation for another target")
    )]
    pub target_ref: TargetRef,
    /// What to do.
    #[serde(rename = "type")]
    #[x_kube(
        validation = Rule::new("self == oldSelf")
            .message("spec.type cannot be changed: create a new Operation of the other type")
    )]
    pub type_: Open<OperationType>,
    /// Which controller does the work. Only some pairs of type and engine exist.
    #[x_kube(
        validation = Rule::new("self == oldSelf")
            .message("spec.engine cannot be changed: create a new Operation with the other engine")
    )]
    pub engine: Open<EngineName>,
    /// Parameters of the type and engine. They can be edited until the work starts.
    #[serde(default)]
    #[schemars(schema_with = "free_object")]
    pub parameters: Free,
    /// Approval of destructive work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals: Option<Approvals>,
    /// When the work may start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<OperationPolicy>,
    /// Set to true to stop the work. It cannot be taken back.
    #[serde(default)]
    pub cancel: bool,
    /// How long the work may take in seconds, counted from its start. It may be raised while the work runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 604800))]
    pub timeout_seconds: Option<i64>,
    /// How long this object is kept in seconds after the work ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub ttl_seconds_after_finished: Option<i64>,
    /// Start deadline: work that has not started by then is refused. It cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"), length(max = 64))]
    pub not_after: Option<String>,
}

/// The object worked on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.apiVersion == 'apps.vworkspace.io/v1alpha1'")
        .message("targetRef.apiVersion must be apps.vworkspace.io/v1alpha1"),
    validation = Rule::new("self.kind == 'ApplicationInstance'").message("targetRef.kind must be ApplicationInstance")
)]
pub struct TargetRef {
    /// Always apps.vworkspace.io/v1alpha1.
    #[schemars(length(max = 253))]
    pub api_version: String,
    /// Always ApplicationInstance.
    #[schemars(length(max = 63))]
    pub kind: String,
    /// Name of an ApplicationInstance in the namespace of this object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// What an Operation does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum OperationType {
    /// Save the target's data.
    #[default]
    Backup,
    /// Bring saved data back.
    Restore,
    /// Move the release to another chart version.
    Upgrade,
    /// Change the target's data for a new version.
    Migration,
    /// Run one command.
    RunCommand,
    /// Run a workflow of several steps.
    Runbook,
}

/// What does the work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum EngineName {
    /// Velero.
    #[default]
    Velero,
    /// Argo Workflows.
    Workflow,
    /// A Kubernetes Job.
    Job,
    /// The Helm engine of the cluster.
    Helm,
    /// VolSync.
    Volsync,
    /// A hook of the released chart, run as a Kubernetes Job.
    HelmHookJob,
    /// CSI volume snapshots.
    Snapshot,
}

/// Approval of an Operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(oldSelf.required) || !oldSelf.required || (has(self.required) && self.required)")
        .message("approvals.required cannot be taken back: create a new Operation instead")
)]
pub struct Approvals {
    /// Whether a claim is needed even where the template does not ask for one.
    #[serde(default)]
    pub required: bool,
    /// The signed claim. It may be set or replaced until the work starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8192))]
    pub claim: Option<String>,
    /// Who approved it; for information only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub approved_by: Option<String>,
    /// When it was approved; for information only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"), length(max = 64))]
    pub approved_at: Option<String>,
}

/// Conditions of the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationPolicy {
    /// Whether the target must be Ready before the work starts. The default depends on the type and engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_ready: Option<bool>,
    /// How long the Operation waits for its preconditions, in seconds. Default 86400.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 60, max = 2592000))]
    pub precondition_timeout_seconds: Option<i64>,
}

/// What the operator observed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "!has(oldSelf.phase) || !(oldSelf.phase in ['Succeeded', 'Failed', 'Cancelled']) || (has(self.phase) && self.phase == oldSelf.phase)"
    ).message("status.phase of a finished Operation cannot change: create a new Operation instead"),
    validation = Rule::new("!has(oldSelf.finishedAt) || (has(self.finishedAt) && self.finishedAt == oldSelf.finishedAt)")
        .message("status.finishedAt is written once and cannot change")
)]
pub struct OperationStatus {
    /// Summary of the conditions. Succeeded, Failed and Cancelled are final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Open<OperationPhase>>,
    /// Newest generation this status reflects; it never decreases for one object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When the work was first seen running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"), length(max = 64))]
    pub started_at: Option<String>,
    /// When the Operation ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"), length(max = 64))]
    pub finished_at: Option<String>,
    /// The object that does the work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_ref: Option<EngineRef>,
    /// Succeeded, Failed, Cancelled, Blocked, Running, Accepted, Degraded and UnknownState.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_string()]))]
    pub conditions: Vec<Condition>,
    /// What the work produced. Values are strings, except warnings, which is a list of strings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_object")]
    pub outputs: Option<Free>,
    /// Where logs can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs_ref: Option<LogsRef>,
    /// The start record: from here on the work may exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<StartRecord>,
    /// SHA-256 of the parameters at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub parameters_digest: Option<String>,
    /// The approval that was used up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ConsumedApproval>,
    /// How much is done, where the engine says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// Where this object came from, when it was applied from Git.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<GitSource>,
    /// Number of the newest entry of transitions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transition_seq: Option<i64>,
    /// The newest 20 changes of conditions, kept for reporting.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub transitions: Vec<Transition>,
}

/// Summary of an Operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum OperationPhase {
    /// Not started.
    #[default]
    Pending,
    /// The work was seen running.
    Running,
    /// It ended well. Final.
    Succeeded,
    /// It ended badly, or never could start. Final.
    Failed,
    /// It was cancelled. Final.
    Cancelled,
}

impl OperationPhase {
    /// Whether no other phase can follow.
    pub fn terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// Where logs are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogsRef {
    /// Kind of the object whose logs are meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub kind: Option<String>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub name: Option<String>,
    /// Its namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub namespace: Option<String>,
    /// Or an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub url: Option<String>,
}

/// What was about to be created, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StartRecord {
    /// When the start was decided.
    #[schemars(extend("format" = "date-time"), length(max = 64))]
    pub recorded_at: String,
    /// When the child was last known to be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"), length(max = 64))]
    pub checked_at: Option<String>,
    /// API version of the child.
    #[schemars(length(max = 317))]
    pub api_version: String,
    /// Kind of the child.
    #[schemars(length(max = 63))]
    pub kind: String,
    /// Namespace of the child.
    #[schemars(length(max = 253))]
    pub namespace: String,
    /// Name of the child.
    #[schemars(length(max = 253))]
    pub name: String,
}

/// An approval that was used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConsumedApproval {
    /// vws1 or vws2.
    #[schemars(length(max = 16))]
    pub scheme: String,
    /// Key the claim was signed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub kid: Option<String>,
    /// Id of the claim.
    #[schemars(length(max = 253))]
    pub id: String,
    /// Who approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub by: Option<String>,
    /// When it was used up.
    #[schemars(extend("format" = "date-time"), length(max = 64))]
    pub consumed_at: String,
}

/// Progress reported by an engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// How much is done.
    pub done: i64,
    /// How much there is to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
    /// What is counted, for example items or bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub unit: Option<String>,
}
