//! What the control plane is reached with: read from the active Cluster and the Secrets it names, by name
//! (contract §14.1, §15.2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;

use crate::api::cluster::{ClusterSpec, ConnectivityMode};
use crate::api::secret::SecretText;
use crate::api::{OPS_GROUP, Open, VERSION};
use crate::cluster_api::{ApiError, ClusterApi, Key, Kind, Object, Scope, Uid, Version};
use crate::foreign::core;
use crate::reconcile::Effect;
use crate::transport::{ClientPair, Dial, Proxy};

/// One reading. Nothing in it prints a secret.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Connection {
    /// The active Cluster (contract §14.3); `None` where there is none.
    pub cluster: Option<Object>,
    /// The Clusters that are not active.
    pub others: Vec<Object>,
    /// How intent arrives.
    pub mode: ConnectivityMode,
    /// Base URL without a slash at its end.
    pub endpoint: Option<String>,
    /// Our id, from the Cluster, else from the Secret.
    pub cluster_id: Option<String>,
    /// The credentials Secret; `None` where it is known to be absent.
    pub credentials: Option<Credentials>,
    /// How to dial.
    pub dial: Dial,
    /// A Secret that the Cluster's spec asks for and that is absent, or lacks its keys: of `caBundleSecretRef`, or the pair of
    /// `security.mtls`.
    pub missing: Option<String>,
}

/// The credentials Secret (contract §3.4).
#[derive(Clone, Debug, PartialEq)]
pub struct Credentials {
    /// Which incarnation of the Secret.
    pub uid: Option<Uid>,
    /// Its version, for updates.
    pub version: Option<Version>,
    /// `control-plane-base-url`, or the legacy `odoo-base-url`.
    pub base_url: Option<String>,
    /// `cluster-id`.
    pub cluster_id: Option<String>,
    /// `token`.
    pub token: Option<SecretText>,
    /// `previous-token`.
    pub previous: Option<SecretText>,
    /// `token-issued-at`, RFC 3339.
    pub issued_at: Option<String>,
    /// `token-expires-at`, RFC 3339.
    pub expires_at: Option<String>,
    /// `registered-with` (additive): fingerprint of the registration token that this credential came from.
    pub registered_with: Option<String>,
    /// `organization-id` (additive): from the registration.
    pub organization: Option<String>,
    /// `metadata.creationTimestamp`: the credential is at most that old.
    pub created: Option<String>,
    /// The Secret names owners: older agents did so, and foreground deletion of the Cluster would take it first.
    pub owned: bool,
    /// `pending-registration-id`.
    pub pending_registration: Option<String>,
    /// `pending-rotation-id`.
    pub pending_rotation: Option<String>,
}

impl Connection {
    /// The credential, unless it belongs to another identity than the Cluster has.
    pub fn token(&self) -> Option<&SecretText> {
        let credentials = self.credentials.as_ref()?;
        let other = credentials.cluster_id.is_some() && credentials.cluster_id != self.cluster_id;
        credentials.token.as_ref().filter(|_| !other)
    }
}

/// Kind of the Cluster.
pub fn cluster_kind() -> Kind {
    Kind::cluster(OPS_GROUP, VERSION, "Cluster", "clusters")
}

/// The active Cluster among all: the oldest by creation time, then name (contract §14.3).
pub fn active(clusters: &[Object]) -> Option<&Object> {
    clusters.iter().min_by_key(|object| {
        let created = object.0.pointer("/metadata/creationTimestamp").and_then(Value::as_str);
        (created.unwrap_or_default().to_string(), object.name().to_string())
    })
}

/// One value of a Secret, decoded.
pub fn value(secret: &Object, key: &str) -> Option<Bytes> {
    let text = secret.0.get("data")?.get(key)?.as_str()?;
    STANDARD.decode(text).ok().map(Bytes::from)
}

/// One value of a Secret as text without space around it; `None` where it is missing, empty or no text.
pub fn text(secret: &Object, key: &str) -> Option<String> {
    let text = String::from_utf8(value(secret, key)?.to_vec()).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_string())
}

impl Credentials {
    /// Reads the Secret; what is missing or no text is absent.
    pub fn read(secret: &Object) -> Self {
        Self {
            uid: secret.uid(),
            version: secret.version(),
            base_url: text(secret, "control-plane-base-url").or_else(|| text(secret, "odoo-base-url")),
            cluster_id: text(secret, "cluster-id"),
            token: text(secret, "token").map(SecretText::new),
            previous: text(secret, "previous-token").map(SecretText::new),
            issued_at: text(secret, "token-issued-at"),
            expires_at: text(secret, "token-expires-at"),
            registered_with: text(secret, "registered-with"),
            organization: text(secret, "organization-id"),
            created: secret.0.pointer("/metadata/creationTimestamp").and_then(Value::as_str).map(String::from),
            owned: secret
                .0
                .pointer("/metadata/ownerReferences")
                .and_then(Value::as_array)
                .is_some_and(|all| !all.is_empty()),
            pending_registration: text(secret, "pending-registration-id"),
            pending_rotation: text(secret, "pending-rotation-id"),
        }
    }
}

impl Credentials {
    /// A merge patch of single keys of the Secret at `key`, which insists on the version that was read.
    pub fn patch(&self, key: Key, mut merge: Value) -> Effect {
        if let Some(version) = &self.version {
            merge["metadata"]["resourceVersion"] = Value::String(version.0.clone());
        }
        let uid = self.uid.clone().unwrap_or_else(|| Uid(String::new()));
        Effect::Patch { key, uid, merge }
    }
}

/// Where the credentials Secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretPlace {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// Reads the connection, fresh.
///
/// # Errors
/// A read failed: then nothing is known, also not that there is no credential.
pub async fn read<A: ClusterApi>(api: &A, place: &SecretPlace) -> Result<Connection, ApiError> {
    let clusters = match api.list(&cluster_kind(), &Scope::all()).await {
        Ok(clusters) => clusters,
        Err(ApiError::Unserved { .. }) => Vec::new(),
        Err(error) => return Err(error),
    };
    let secret = |name: &str| Key::namespaced(&core::secret(), &place.namespace, name);
    let stored = api.get(&secret(&place.name)).await?;
    let credentials = stored.as_ref().map(Credentials::read);
    let Some(cluster) = active(&clusters) else {
        return Ok(Connection { credentials, ..Connection::default() });
    };
    let spec: ClusterSpec =
        cluster.0.get("spec").cloned().and_then(|spec| serde_json::from_value(spec).ok()).unwrap_or_default();
    let mut missing = None;
    let mut roots = None;
    if let Some(bundle) = &spec.ca_bundle_secret_ref {
        roots = api.get(&secret(&bundle.name)).await?.as_ref().and_then(|secret| value(secret, &bundle.key));
        if roots.is_none() {
            missing = Some(format!("Secret {} with key {}", bundle.name, bundle.key));
        }
    }
    let mutual = spec.security.as_ref().and_then(|security| security.mtls.as_ref()).is_some_and(|mtls| mtls.enabled);
    let pair = |secret: &Object| {
        let certificate = value(secret, "tls.crt")?;
        let key = SecretText::new(text(secret, "tls.key")?);
        Some(ClientPair { certificate, key })
    };
    let client = stored.as_ref().filter(|_| mutual).and_then(pair);
    if mutual && client.is_none() {
        missing = Some(format!("Secret {} with keys tls.crt and tls.key", place.name));
    }
    let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let proxy = spec.proxy.as_ref().map_or_else(Proxy::default, |proxy| Proxy {
        http: filled(&proxy.http_proxy),
        https: filled(&proxy.https_proxy),
        none: filled(&proxy.no_proxy),
    });
    let endpoint = filled(&spec.control_plane_endpoint)
        .or_else(|| filled(&spec.control_plane_base_url))
        .or_else(|| credentials.as_ref()?.base_url.clone())
        .map(|endpoint| endpoint.trim_end_matches('/').to_string());
    Ok(Connection {
        cluster: Some(cluster.clone()),
        others: clusters.iter().filter(|other| other.uid() != cluster.uid()).cloned().collect(),
        mode: match &spec.connectivity_mode {
            Open::Known(mode) => *mode,
            // A mode of a newer version: nothing is fetched on a guess.
            Open::Other(_) => ConnectivityMode::Push,
        },
        endpoint,
        cluster_id: filled(&spec.cluster_id).or_else(|| credentials.as_ref()?.cluster_id.clone()),
        credentials,
        dial: Dial { roots, client, proxy },
        missing,
    })
}
