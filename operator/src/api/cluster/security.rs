//! Cluster: protection of payloads, approvals and pods.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::open::Open;

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
