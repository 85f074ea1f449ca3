//! Cluster: how Helm releases are made.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::open::Open;

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
