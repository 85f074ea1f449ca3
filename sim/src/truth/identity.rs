//! Credentials: what the cluster holds durably, and what the control plane accepts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fakes::odoo::Face;
use serde_json::Value;

use super::{CLUSTERS, Truth, deleting, text};

/// The operator's namespace.
pub const SYSTEM: &str = "vworkspace-system";
/// The credentials Secret (contract §3.4).
pub const CREDENTIALS: &str = "vworkspace-agent-credentials";

/// The values of the credentials Secret that authenticate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// `token`.
    pub token: Option<String>,
    /// `previous-token`.
    pub previous: Option<String>,
    /// `pending-registration-id`.
    pub registration: Option<String>,
    /// `pending-rotation-id`.
    pub rotation: Option<String>,
}

/// One value of a Secret, decoded.
pub fn value(secret: &Value, key: &str) -> Option<String> {
    let bytes = STANDARD.decode(secret["data"][key].as_str()?).ok()?;
    String::from_utf8(bytes).ok().filter(|text| !text.is_empty())
}

impl Stored {
    /// Those of a Secret.
    pub fn of(secret: &Value) -> Self {
        Self {
            token: value(secret, "token"),
            previous: value(secret, "previous-token"),
            registration: value(secret, "pending-registration-id"),
            rotation: value(secret, "pending-rotation-id"),
        }
    }
}

/// What the cluster holds; `None` where there is no credentials Secret.
pub fn stored(truth: &Truth) -> Option<Stored> {
    truth.get("secrets", SYSTEM, CREDENTIALS).map(|secret| Stored::of(secret))
}

/// The tokens that the control plane accepts from this cluster now.
pub fn accepted(truth: &Truth, cluster: &str) -> Vec<String> {
    let Some(now) = truth.odoo_now() else { return Vec::new() };
    let tokens = truth.odoo(|state| {
        let row = state.clusters.get(cluster)?;
        let current = row.credential.iter();
        let previous = row.previous.iter().filter(|(_, until)| now < *until).map(|(credential, _)| credential);
        let valid = current.chain(previous).filter(|credential| credential.expires.is_none_or(|at| now < at));
        Some(valid.map(|credential| credential.token.clone()).collect())
    });
    tokens.flatten().unwrap_or_default()
}

/// Whether the operator can be heard: it pulls or has an endpoint, the control plane is healthy, and it accepts what the
/// cluster holds. What is owed to the control plane is owed only then (reliability §2.1: survivability).
pub fn connected(truth: &Truth, cluster: &str) -> bool {
    let endpoint = truth
        .get(CLUSTERS, "", "cluster")
        .is_some_and(|object| !deleting(object) && !text(object, "/spec/controlPlaneEndpoint").is_empty());
    let healthy = truth.odoo(|state| state.dials.face == Face::Healthy).unwrap_or(false);
    let token = stored(truth).and_then(|stored| stored.token);
    endpoint && healthy && token.is_some_and(|token| accepted(truth, cluster).contains(&token))
}

/// Whether jobs are pulled.
pub fn pulls(truth: &Truth) -> bool {
    let mode = truth.get(CLUSTERS, "", "cluster").map(|object| text(object, "/spec/connectivityMode").to_owned());
    mode.is_some_and(|mode| mode.is_empty() || mode == "pull")
}
