//! The parts of a HelmRelease and of a chart source that we write (contract §6.1, §6.2).

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

/// `HelmRelease.spec` as we write it: only what we own.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are Flux's, described in contract §6.2")]
pub struct HelmReleaseApply {
    pub interval: String,
    pub timeout: String,
    pub release_name: String,
    pub target_namespace: String,
    pub storage_namespace: String,
    pub max_history: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chart: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chart_ref: Option<Value>,
    pub install: Value,
    pub upgrade: Value,
    pub rollback: Value,
    pub uninstall: Value,
    pub drift_detection: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values_from: Vec<ValuesFrom>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// One entry of `valuesFrom`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ValuesFrom {
    /// Secret or ConfigMap.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Its key.
    pub values_key: String,
}

/// `HelmRepository.spec` or `OCIRepository.spec` as we write it.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceApply {
    /// How often the source is looked at.
    pub interval: String,
    /// Where it is.
    pub url: String,
    /// OCI only: the tag.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<BTreeMap<&'static str, String>>,
    /// OCI only: which layer is the chart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer_selector: Option<BTreeMap<&'static str, &'static str>>,
    /// Credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<BTreeMap<&'static str, String>>,
}
