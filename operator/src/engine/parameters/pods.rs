//! Parameters of the engines that run something (contract §10.6 to §10.8).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// `migration.workflow` and `runbook.workflow`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkflowParameters {
    /// WorkflowTemplate of the target's namespace, else ClusterWorkflowTemplate. `workflowTemplate` is accepted, too.
    #[schemars(length(min = 1, max = 253))]
    pub template: String,
    /// Arguments for it.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub workflow_template_parameters: BTreeMap<String, String>,
    /// Argument `targetChartVersion`.
    #[schemars(length(min = 1, max = 128))]
    pub target_chart_version: Option<String>,
    /// Argument `snapshotClassName`.
    #[schemars(length(min = 1, max = 253))]
    pub snapshot_class_name: Option<String>,
    /// Argument `failureAction`: `rollback` (default) or `none`.
    #[schemars(regex(pattern = r"^(rollback|none)$"))]
    pub failure_action: Option<String>,
    /// How long the workflow may take, in seconds.
    #[schemars(range(min = 1))]
    pub timeout_seconds: Option<i64>,
    /// Only the runner's account.
    #[schemars(regex(pattern = r"^vworkspace-operation-runner$"))]
    pub service_account_name: Option<String>,
}

/// `migration.job` and `runCommand.job`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobParameters {
    /// The image; a digest is allowed.
    #[schemars(length(min = 1, max = 1024))]
    pub image: String,
    /// Its command.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub command: Vec<String>,
    /// Its arguments.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub args: Vec<String>,
    /// Its environment, in this order; a map of strings is accepted, too.
    #[serde(default)]
    pub env: Environment,
    /// Volumes; at most one of them a PersistentVolumeClaim.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub volumes: Vec<VolumeMount>,
    /// How long it may take, in seconds. Default 3600. `timeoutSeconds` is accepted, too.
    #[schemars(range(min = 1))]
    pub active_deadline_seconds: Option<i64>,
    /// How often it is tried again. Default 0 for Migration, 2 for RunCommand.
    #[schemars(range(min = 0, max = 1000))]
    pub backoff_limit: Option<i64>,
    /// How long the Job is kept after it ended, in seconds. Default 86400.
    #[schemars(range(min = 3600))]
    pub ttl_seconds_after_finished: Option<i64>,
    /// Requests and limits of the container. Default requests 50m, 64Mi and limits 500m, 512Mi.
    pub resources: Option<Resources>,
    /// Secrets with registry credentials.
    #[serde(default)]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)))]
    pub image_pull_secrets: Vec<String>,
    /// Only the runner's account.
    #[schemars(regex(pattern = r"^vworkspace-operation-runner$"))]
    pub service_account_name: Option<String>,
}

/// The environment in either form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Environment {
    /// In order.
    List(Vec<EnvironmentVariable>),
    /// The legacy form.
    Map(BTreeMap<String, String>),
}

impl Default for Environment {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

/// One variable.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvironmentVariable {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32768))]
    pub value: Option<String>,
    /// Or where its value is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_from: Option<EnvironmentSource>,
}

/// Where a value is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvironmentSource {
    /// In a Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeySelector>,
    /// In a ConfigMap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeySelector>,
    /// In the pod itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::free")]
    pub field_ref: Option<Map<String, Value>>,
}

/// A key of a Secret or ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeySelector {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
    /// Whether it may be missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optional: Option<bool>,
}

/// One mounted volume: exactly one source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VolumeMount {
    /// Its name in the pod.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Where it is mounted.
    #[schemars(length(min = 1, max = 4096))]
    pub mount_path: String,
    /// Whether it can only be read.
    #[serde(default)]
    pub read_only: bool,
    /// A Secret.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,
    /// A ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub config_map_name: Option<String>,
    /// A PersistentVolumeClaim.
    #[schemars(length(min = 1, max = 253))]
    pub pvc_name: Option<String>,
}

/// Requests and limits, as in a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resources {
    /// What is reserved.
    #[serde(default)]
    pub requests: BTreeMap<String, Quantity>,
    /// What is allowed.
    #[serde(default)]
    pub limits: BTreeMap<String, Quantity>,
}

/// A quantity, as text or as a number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Quantity {
    /// `500m`, `64Mi`.
    Text(String),
    /// `1`.
    Number(serde_json::Number),
}

/// `migration.helmHookJob`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HookParameters {
    /// Name of the hook in the released manifest.
    #[schemars(length(min = 1, max = 253))]
    pub hook_name: String,
    /// How long it may take, in seconds. Default 1800.
    #[schemars(range(min = 1))]
    pub active_deadline_seconds: Option<i64>,
    /// How often it is tried again. Default 0.
    #[schemars(range(min = 0, max = 1000))]
    pub backoff_limit: Option<i64>,
}
