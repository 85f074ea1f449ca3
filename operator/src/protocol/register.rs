//! Registration and rotation of the cluster's credential (contract §15.1, §15.3). Requests hold secrets and therefore
//! serialize redacted; [`super::call`] writes their real bodies.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::api::secret::SecretText;

/// The body of `POST register`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegisterRequest {
    /// The single-use token; also the bearer of this request.
    pub registration_token: SecretText,
    /// The id the Cluster already has.
    pub cluster_id: Option<String>,
    /// `Cluster.spec.displayName`.
    pub display_name: Option<String>,
    /// Ours, so that a repetition gets the same answer (additive).
    pub registration_id: String,
    /// The cluster's public JWK for encrypted payloads (additive).
    pub public_key: Option<Value>,
    /// Version of this operator (additive).
    pub operator_version: String,
    /// `pull`, `push` or `gitops` (additive).
    pub connectivity_mode: String,
}

impl RegisterRequest {
    /// The real body, with the token in it.
    pub fn body(&self) -> String {
        let mut body = Map::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(key.into(), value);
            }
        };
        put("registrationToken", Some(self.registration_token.expose().into()));
        put("clusterId", self.cluster_id.clone().map(Value::from));
        put("displayName", self.display_name.clone().map(Value::from));
        put("registrationId", Some(self.registration_id.clone().into()));
        put("publicKey", self.public_key.clone());
        put("operatorVersion", Some(self.operator_version.clone().into()));
        put("connectivityMode", Some(self.connectivity_mode.clone().into()));
        Value::Object(body).to_string()
    }
}

/// The answer to a registration. Its token is taken out at once.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegisterAnswer {
    /// The cluster's id.
    pub cluster_id: String,
    /// The credential.
    pub token: String,
    /// When it ends, RFC 3339.
    #[serde(default, deserialize_with = "text_or_nothing")]
    pub expires_at: Option<String>,
    /// Keys that sign job payloads, as a JWK set (additive).
    #[serde(default)]
    pub signing_keys: Option<Value>,
    /// Organization of this cluster (additive).
    #[serde(default, deserialize_with = "text_or_nothing")]
    pub organization_id: Option<String>,
}

/// An optional member of another type is as good as absent: the token beside it must not be lost.
fn text_or_nothing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Value::deserialize(deserializer)?.as_str().map(String::from))
}

/// The body of `POST credentials/rotate`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RotateRequest {
    /// Ours, so that a repetition gets the same answer (additive).
    pub rotation_id: String,
    /// The cluster's public JWK (additive).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<Value>,
}

/// The answer to a rotation.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RotateAnswer {
    /// The new credential.
    pub token: String,
    /// When it ends, RFC 3339.
    #[serde(default, deserialize_with = "text_or_nothing")]
    pub expires_at: Option<String>,
    /// Keys that sign job payloads, as a JWK set (additive).
    #[serde(default)]
    pub signing_keys: Option<Value>,
}
