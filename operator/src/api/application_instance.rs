//! ApplicationInstance: one application a cluster should run (contract §5).

#![allow(unreachable_pub, reason = "the schema derive copies public types into a function body")]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{Condition, EngineRef, Free, GitSource, KeyRef, LocalRef, NamespacedRef, Transition, free_object};
use super::open::Open;

/// What should run: which chart, under which release name, with which values.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "apps.vworkspace.io",
    version = "v1alpha1",
    kind = "ApplicationInstance",
    plural = "applicationinstances",
    shortname = "appinst",
    namespaced,
    status = "ApplicationInstanceStatus",
    derive = "PartialEq",
    doc = "An application this cluster should run. The operator turns it into a Helm release and reports how it is doing.",
    validation = Rule::new("size(self.metadata.name) <= 63").message(
        "metadata.name must be at most 63 characters because it becomes a label value: choose a shorter name"
    ),
    validation = Rule::new(
        "!(has(self.spec.mode) && self.spec.mode == 'placeholder') || (has(oldSelf.spec.mode) && oldSelf.spec.mode == 'placeholder') || !has(oldSelf.status) || !has(oldSelf.status.helmReleaseRef)"
    ).message(
        "spec.mode cannot become placeholder while a release exists: delete this ApplicationInstance and create a placeholder instead"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether the application runs as requested"
    ),
    printcolumn(name = "Chart", type_ = "string", json_path = ".spec.chart.name", description = "Chart name"),
    printcolumn(
        name = "Version",
        type_ = "string",
        json_path = ".spec.chart.version",
        description = "Requested chart version"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why it is ready or not",
        priority = 1
    ),
    printcolumn(
        name = "Mode",
        type_ = "string",
        json_path = ".spec.mode",
        description = "managed or placeholder",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.mode) && self.mode == 'placeholder') || has(self.chart)")
        .message("spec.chart is required: write sourceType, url, name and version, or set mode: placeholder"),
    validation = Rule::new("(has(self.mode) && self.mode == 'placeholder') || has(self.release)")
        .message("spec.release is required: write a name, and the namespace of this object"),
    validation = Rule::new("(has(self.mode) && self.mode == 'placeholder') || has(self.values)")
        .message("spec.values is required: write source: inline with inline: {} if the chart needs no values"),
    validation = Rule::new(
        "!(has(self.mode) && self.mode == 'placeholder') || (!has(self.chart) && !has(self.values) && !has(self.integrations))"
    ).message("chart, values and integrations are not allowed with mode: placeholder: remove them, or set mode: managed"),
    validation = Rule::new(
        "!(has(self.mode) && self.mode == 'placeholder') || (has(oldSelf.mode) && oldSelf.mode == 'placeholder') || (!has(oldSelf.chart) && !has(oldSelf.release))"
    ).message("spec.mode cannot change from managed to placeholder: delete this ApplicationInstance and create a placeholder instead")
)]
pub struct ApplicationInstanceSpec {
    /// managed: the operator runs a Helm release. placeholder: nothing is deployed; the object only serves as a target for
    /// RunCommand and Runbook operations.
    #[serde(default)]
    pub mode: Open<Mode>,
    /// The catalog entry this application comes from.
    pub app_ref: AppRef,
    /// The chart to deploy. Required in managed mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart: Option<Chart>,
    /// The Helm release. Required in managed mode, never changed afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(
        validation = Rule::new("self == oldSelf")
            .message("spec.release cannot be changed: create another ApplicationInstance with the new release name")
    )]
    pub release: Option<Release>,
    /// Where the chart's values come from. Required in managed mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Values>,
    /// Integrations with other controllers of the cluster. They become chart values that explicit values override.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integrations: Option<Integrations>,
}

/// Whether the operator deploys anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A Helm release is kept as the spec says.
    #[default]
    Managed,
    /// Nothing is deployed.
    Placeholder,
}

/// Reference to a catalog entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppRef {
    /// Catalog id, recorded for policy and audit. It is never looked up remotely.
    #[schemars(length(min = 1, max = 253))]
    pub catalog_id: String,
}

/// Where the chart is and which version of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.sourceType != 'oci' || self.url.matches('^oci://[^/]+(/[^:@]*)?$')").message(
        "with sourceType oci, url must be oci://REGISTRY/PATH without a tag or digest: put the version into chart.version"
    ).field_path(".url"),
    validation = Rule::new(
        "self.sourceType != 'helm' || self.url.startsWith('https://') || self.url.startsWith('http://')"
    ).message("with sourceType helm, url must begin with https:// (or http:// where the cluster allows it)").field_path(".url"),
    validation = Rule::new("!self.url.matches('^[a-z]+://[^/]*@')").message(
        "url must not contain credentials: put them into a Secret and name it in chart.secretRef"
    ).field_path(".url")
)]
pub struct Chart {
    /// oci: a chart in an OCI registry. helm: a chart in a Helm repository with an index.
    pub source_type: Open<SourceType>,
    /// For oci: oci://REGISTRY/PATH, without a tag. For helm: the https:// address of the repository.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// Chart name. It cannot change while a release exists, unless the installed Flux can replace a chart in place.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-zA-Z0-9][a-zA-Z0-9._-]*$')")
            .message("chart.name must begin with a letter or digit and contain only letters, digits, '.', '_' and '-'")
    )]
    pub name: String,
    /// One concrete version, for example 1.4.2. Ranges and "latest" are refused.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(
        validation = Rule::new(
            r"self.matches('^v?[0-9]+\\.[0-9]+\\.[0-9]+(-[0-9A-Za-z.-]+)?(\\+[0-9A-Za-z.-]+)?$')"
        ).message("chart.version must be one concrete version such as 1.4.2: ranges and latest are not allowed")
    )]
    pub version: String,
    /// Secret with credentials for the registry or repository. It is passed on by name and never read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalRef>,
}

/// Kind of chart source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SourceType {
    /// An OCI registry.
    #[default]
    Oci,
    /// A Helm repository.
    Helm,
}

/// The Helm release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// Release name: at most 53 characters, unique among the ApplicationInstances of the namespace.
    #[schemars(length(min = 1, max = 53))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')")
            .message("release.name must consist of lower-case letters, digits and '-', and begin and end with a letter or digit")
    )]
    pub name: String,
    /// Must be the namespace of this object.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
}

/// Where values come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "self.source != 'inline' || (has(self.inline) && !has(self.secretRef) && !has(self.configMapRef))"
    ).message("with source inline, write values.inline (may be {}) and neither secretRef nor configMapRef"),
    validation = Rule::new(
        "self.source != 'secretRef' || (has(self.secretRef) && !has(self.inline) && !has(self.configMapRef))"
    ).message("with source secretRef, write values.secretRef with name and key, and neither inline nor configMapRef"),
    validation = Rule::new(
        "self.source != 'configMapRef' || (has(self.configMapRef) && !has(self.inline) && !has(self.secretRef))"
    ).message("with source configMapRef, write values.configMapRef with name and key, and neither inline nor secretRef"),
    validation = Rule::new(
        "self.source != 'merge' || (has(self.inline) && (has(self.secretRef) != has(self.configMapRef)))"
    ).message("with source merge, write values.inline and exactly one of secretRef and configMapRef; the reference wins")
)]
pub struct Values {
    /// inline: values.inline. secretRef, configMapRef: one key of a Secret or ConfigMap. merge: inline plus exactly one
    /// reference, which wins.
    pub source: Open<ValuesSource>,
    /// Values as written here. Secrets are refused: put them into a Secret and use secretRef or merge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_object")]
    pub inline: Option<Free>,
    /// A key of a Secret in this namespace that holds a values document in YAML or JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<KeyRef>,
    /// A key of a ConfigMap in this namespace that holds a values document in YAML or JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<KeyRef>,
}

/// Which members of `values` are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ValuesSource {
    /// `values.inline`.
    #[default]
    Inline,
    /// `values.secretRef`.
    SecretRef,
    /// `values.configMapRef`.
    ConfigMapRef,
    /// `values.inline` under one reference.
    Merge,
}

/// Integrations with other controllers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Integrations {
    /// Secrets from an external store; needs external-secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_secrets: Option<Switch>,
    /// Certificates; needs cert-manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_manager: Option<Switch>,
    /// An Ingress rendered by the chart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Ingress>,
}

/// An integration that is on or off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Switch {
    /// Whether the integration is used.
    #[serde(default)]
    pub enabled: bool,
}

/// The Ingress integration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.enabled) || !self.enabled || (has(self.host) && size(self.host) > 0)")
        .message("integrations.ingress.host is required when the ingress is enabled: write the host name")
)]
pub struct Ingress {
    /// Whether the chart should render an Ingress.
    #[serde(default)]
    pub enabled: bool,
    /// Host name of the application. Required when enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub host: Option<String>,
}

/// What the operator observed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApplicationInstanceStatus {
    /// Newest generation this status reflects; it never decreases for one object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Reconciling, Degraded, Suspended, Blocked and Deleting.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_string()]))]
    pub conditions: Vec<Condition>,
    /// The HelmRelease of this application, once it exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helm_release_ref: Option<NamespacedRef>,
    /// The object the Helm engine works on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_ref: Option<EngineRef>,
    /// Chart coordinates last written to the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_applied_chart: Option<AppliedChart>,
    /// When this status last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"), length(max = 64))]
    pub last_reconcile_time: Option<String>,
    /// Addresses this application declares.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub endpoints: Vec<Endpoint>,
    /// Reserved; not written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_object")]
    pub inventory: Option<Free>,
    /// Revision of the referenced values object that was last handed to the Helm engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values_revision: Option<ValuesRevision>,
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

/// Chart coordinates that were written to a release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppliedChart {
    /// oci or helm.
    #[schemars(length(max = 16))]
    pub source_type: String,
    /// Registry path or repository address.
    #[schemars(length(max = 2048))]
    pub url: String,
    /// Chart name.
    #[schemars(length(max = 128))]
    pub name: String,
    /// Chart version.
    #[schemars(length(max = 128))]
    pub version: String,
}

/// An address of the application.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Name of the endpoint, for example ingress.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its address.
    #[schemars(length(max = 2048))]
    pub url: String,
    /// What kind of endpoint it is.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub type_: Option<String>,
    /// A remark for humans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub notes: Option<String>,
}

/// Which revision of which values object was used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ValuesRevision {
    /// Secret or ConfigMap.
    #[schemars(length(max = 63))]
    pub kind: String,
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its resourceVersion.
    #[schemars(length(max = 128))]
    pub resource_version: String,
}
