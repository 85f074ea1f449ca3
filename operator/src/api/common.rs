//! Types that several of our kinds share.

#![allow(unreachable_pub, reason = "the schema derive copies public types into a function body")]

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Free JSON: an object whose fields the API server keeps without knowing them.
pub type Free = Map<String, Value>;

/// Schema of [`Free`]: an object that keeps unknown fields. CEL cannot look into it.
pub fn free_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// One observation about an object, in the shape of `metav1.Condition`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What the condition is about; unique per object.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 316))]
    pub type_: String,
    /// True, False or Unknown.
    #[schemars(extend("enum" = ["True", "False", "Unknown"]))]
    pub status: String,
    /// One word of a closed list that says why; meant for programs.
    #[schemars(length(min = 1, max = 1024), extend("pattern" = "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"))]
    pub reason: String,
    /// A sentence for humans; stable as long as nothing changes.
    #[schemars(length(max = 32768))]
    pub message: String,
    /// When the status last changed; a new reason or message does not move it.
    #[schemars(extend("format" = "date-time"), length(max = 64))]
    pub last_transition_time: String,
    /// The generation this observation is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
}

/// One change of status or reason of a condition, kept until it has been reported (contract §20.3).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Transition {
    /// Number of the transition; grows by one per object.
    pub seq: i64,
    /// Condition type.
    #[serde(rename = "type")]
    #[schemars(length(max = 316))]
    pub type_: String,
    /// The status the condition took.
    #[schemars(length(max = 16))]
    pub status: String,
    /// The reason it took.
    #[schemars(length(max = 1024))]
    pub reason: String,
    /// The message at that moment.
    #[schemars(length(max = 32768))]
    pub message: String,
    /// When it happened.
    #[schemars(extend("format" = "date-time"), length(max = 64))]
    pub time: String,
    /// The generation of the object it was about.
    pub generation: i64,
}

/// Where an object applied from Git came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitSource {
    /// Kind of the object that applied it, for example Kustomization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub kind: Option<String>,
    /// Namespace of that object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub namespace: Option<String>,
    /// Name of that object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub name: Option<String>,
    /// The Git revision that was applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub revision: Option<String>,
}

/// A key of a Secret or ConfigMap in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyRef {
    /// Name of the Secret or ConfigMap, in the namespace of this object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key whose content is used.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// The name of an object in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalRef {
    /// Name of the object, in the namespace of this object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// The name and namespace of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespacedRef {
    /// Name of the object.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Namespace of the object.
    #[schemars(length(max = 253))]
    pub namespace: String,
}

/// The child object an engine works on, under its real name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EngineRef {
    /// API version of the child.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 317))]
    pub api_version: Option<String>,
    /// Kind of the child.
    #[schemars(length(max = 63))]
    pub kind: String,
    /// Namespace of the child.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub namespace: Option<String>,
    /// Name of the child.
    #[schemars(length(max = 253))]
    pub name: String,
    /// UID of the child: another object of the same name is not it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub uid: Option<String>,
}
