//! Parameters of the engine that changes a release (contract §10.9).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// `upgrade.helm`; at least one of the two.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("minProperties" = 1))]
pub struct HelmParameters {
    /// A concrete version.
    #[schemars(length(min = 1, max = 128))]
    pub target_version: Option<String>,
    /// Values that replace those of `spec.values.inline`, leaf by leaf; no nulls, lists as a whole.
    #[serde(default)]
    #[schemars(schema_with = "super::free")]
    pub values_patch: Option<Map<String, Value>>,
}
