//! `vworkspace-app-operator register`: what a human does to register a cluster, done with the human's own rights
//! (contract §15.1). It writes the Secret with the token and the Cluster that names it; the operator in the cluster does the
//! rest.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{fingerprint, told};
use crate::api::condition::find;
use crate::api::secret::SecretText;
use crate::api::{OPS_API_VERSION, OPS_GROUP};
use crate::cluster_api::{ApiError, ClusterApi, Key, Object, Scope};
use crate::foreign::core;
use crate::reconcile::connection::{active, cluster_kind};
use crate::reconcile::status::conditions;

/// How long to wait for the operator (contract §15.1).
const PATIENCE: Duration = Duration::from_secs(120);
/// What was said before is not believed for so long: the operator reads the token every ten seconds.
const STALE: Duration = Duration::from_secs(30);
/// How often to look.
const LOOK: Duration = Duration::from_secs(2);
/// Secret with the token.
pub const SECRET: &str = "vworkspace-registration";
/// Its key.
const KEY: &str = "registrationToken";

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Enrollment {
    /// The registration token.
    pub token: SecretText,
    /// `spec.controlPlaneEndpoint`.
    pub endpoint: String,
    /// Name of the Cluster object.
    pub name: String,
    /// `spec.clusterId`, if it is known already.
    pub cluster_id: Option<String>,
    /// Namespace of the operator.
    pub namespace: String,
}

/// Registers, telling of each step; the cluster id.
///
/// # Errors
/// A sentence for the user.
pub async fn enroll<A: ClusterApi>(api: &A, of: &Enrollment, mut tell: impl FnMut(&str)) -> Result<String, String> {
    let kind = cluster_kind();
    let clusters = match api.list(&kind, &Scope::all()).await {
        Err(ApiError::Unserved { .. }) => {
            return Err(format!("clusters.{OPS_GROUP} is not served: install the operator first"));
        }
        answer => answer.map_err(|error| words("list Clusters", &error))?,
    };
    if let Some(other) = active(&clusters).filter(|other| other.name() != of.name) {
        let name = other.name();
        return Err(format!(
            "the Cluster {name} exists already and only one counts: use --cluster-name {name}, or delete it"
        ));
    }
    let secret = Key::namespaced(&core::secret(), &of.namespace, SECRET);
    let data = json!({ KEY: STANDARD.encode(of.token.expose()) });
    let what = format!("write the Secret {}/{SECRET}", of.namespace);
    match api.get(&secret).await.map_err(|error| words(&what, &error))? {
        Some(stored) => match stored.uid() {
            Some(uid) => api.patch(&secret, &uid, &json!({ "data": data })).await.map(drop),
            None => Ok(()),
        },
        None => {
            let object = json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": data,
                "metadata": {"name": SECRET, "namespace": of.namespace}});
            api.create(&Object(object)).await.map(drop)
        }
    }
    .map_err(|error| words(&what, &error))?;
    tell(&format!("the token is in the Secret {}/{SECRET}", of.namespace));
    let mut spec = json!({
        "controlPlaneEndpoint": of.endpoint,
        "registrationTokenSecretRef": { "name": SECRET, "key": KEY },
    });
    if let Some(id) = &of.cluster_id {
        spec["clusterId"] = json!(id);
    }
    let what = format!("write the Cluster {}", of.name);
    let key = Key::cluster(&kind, &of.name);
    let written = match clusters.iter().find(|cluster| cluster.name() == of.name) {
        Some(stored) => match stored.uid() {
            Some(uid) => api.patch(&key, &uid, &json!({ "spec": spec })).await,
            None => Ok(stored.clone()),
        },
        None => {
            spec["displayName"] = json!(of.name);
            let object =
                json!({"apiVersion": OPS_API_VERSION, "kind": "Cluster", "metadata": {"name": of.name}, "spec": spec});
            api.create(&Object(object)).await
        }
    }
    .map_err(|error| words(&what, &error))?;
    tell(&format!("the Cluster {} names it; waiting for the operator", of.name));
    let before = find(conditions(&written), "Authenticated").cloned().unwrap_or_default();
    wait(api, &key, of, written.generation(), &before, tell).await
}

async fn wait<A: ClusterApi>(
    api: &A,
    key: &Key,
    of: &Enrollment,
    generation: i64,
    before: &Value,
    mut tell: impl FnMut(&str),
) -> Result<String, String> {
    let began = Instant::now();
    let token = fingerprint(&of.token);
    let mut last = String::from("the operator has said nothing: is it running, and is this its namespace?");
    while began.elapsed() < PATIENCE {
        tokio::time::sleep(LOOK).await;
        // A read that fails now and then is nothing to give up for.
        let Ok(Some(cluster)) = api.get(key).await else { continue };
        let observed = cluster.0.pointer("/status/observedGeneration").and_then(Value::as_i64);
        if observed < Some(generation) {
            continue;
        }
        let says = |type_: &str| {
            let stored = find(conditions(&cluster), type_).cloned().unwrap_or_default();
            let text = |field: &str| stored[field].as_str().unwrap_or_default().to_string();
            (text("status"), text("reason"), text("message"))
        };
        let ((connected, _, why), (authenticated, reason, message)) = (says("Connected"), says("Authenticated"));
        if told(&cluster, "/observedToken") == Some(token.as_str()) && connected == "True" && authenticated == "True" {
            let id = cluster.0.pointer("/spec/clusterId").and_then(Value::as_str).unwrap_or_default();
            return Ok(id.to_string());
        }
        let stale = find(conditions(&cluster), "Authenticated") == Some(before) && began.elapsed() < STALE;
        if stale {
            continue;
        }
        if authenticated == "False" && matches!(reason.as_str(), "RegistrationFailed" | "CredentialRejected") {
            return Err(message);
        }
        let now = if authenticated == "False" && !message.is_empty() { message } else { why };
        if now != last && !now.is_empty() {
            tell(&now);
            last = now;
        }
    }
    Err(format!("not connected after {} s: {last}", PATIENCE.as_secs()))
}

fn words(what: &str, error: &ApiError) -> String {
    match error {
        ApiError::Forbidden { .. } => format!("not allowed to {what}"),
        error => format!("cannot {what}: {error}"),
    }
}
