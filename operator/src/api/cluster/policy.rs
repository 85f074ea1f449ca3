//! Cluster: what is allowed where.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::open::Open;
use super::super::operation::OperationType;

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
