//! The two exchanges whose answer is a secret: act sends the request and stores what it brings, so that no token ever lies in a
//! plan, a snapshot or a trace.
//!
//! An answer is worth more than any other: a registration token is spent by it. So storing it is tried again for a while
//! instead of left to the next pass. It is stored only where the pending record is still the one that was sent, with the
//! version that was read, under a permit of its own: a deposed leader that thaws must not overwrite a newer credential.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::cluster_api::{ApiError, ClusterApi, Key, Object};
use crate::foreign::core;
use crate::protocol::register::{RegisterAnswer, RegisterRequest, RotateAnswer, RotateRequest};
use crate::protocol::{Call, Trouble};
use crate::reconcile::act::{Failure, Out};
use crate::reconcile::connection::{self, SecretPlace};
use crate::reconcile::link::Exchange;
use crate::reconcile::status::stamp;
use crate::transport::Transport;

/// A registration that is ready to be sent: its id is stored. Prints no secret.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Registration {
    /// The request; its token serializes redacted.
    pub request: RegisterRequest,
    /// Fingerprint of the registration token.
    pub of: String,
    /// Where it goes: stored with the credential.
    pub endpoint: String,
    /// The cluster id that is already set: another one is refused.
    pub expected: Option<String>,
    /// Whether offered signing keys are ignored.
    pub pin_keys: bool,
}

/// A rotation that is ready to be sent: its id is stored.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rotation {
    /// The request.
    pub request: RotateRequest,
    /// Fingerprint of the credential.
    pub of: String,
    /// Whether offered signing keys are ignored.
    pub pin_keys: bool,
}

/// Name of the Secret with the keys that sign job payloads (contract §3.4).
pub const KEYS: &str = "vworkspace-control-plane-keys";

/// How often storing is tried, and how long it waits in between.
const TRIES: u32 = 15;
const PAUSE: Duration = Duration::from_secs(2);

/// Sends the registration and stores its answer.
///
/// # Errors
/// Not answered, refused, another cluster id, or not stored. The attempt is noted in the link.
pub async fn register<A: ClusterApi, T: Transport>(out: &Out<A, T>, of: &Registration) -> Result<(), Failure> {
    let answered = async {
        let body = out.link.call(&Call::Register(of.request.clone())).await?;
        let answer: RegisterAnswer = read(&body)?;
        if of.expected.as_ref().is_some_and(|expected| *expected != answer.cluster_id) {
            // Its token is forgotten here: this cluster is not the one it was made for.
            let message = "it answered with another cluster id than spec.clusterId".into();
            return Err(Trouble::Refused { status: 200, message });
        }
        if answer.cluster_id.is_empty() || answer.token.is_empty() {
            return Err(Trouble::Misconfigured { why: "an answer without cluster id or token".into() });
        }
        let mut data = Map::new();
        data.insert("control-plane-base-url".into(), encoded(&of.endpoint));
        data.insert("odoo-base-url".into(), Value::Null);
        data.insert("cluster-id".into(), encoded(&answer.cluster_id));
        data.insert("registered-with".into(), encoded(&of.of));
        data.insert("organization-id".into(), answer.organization_id.as_deref().map_or(Value::Null, encoded));
        data.insert("previous-token".into(), Value::Null);
        data.insert("pending-rotation-id".into(), Value::Null);
        let pending = ("pending-registration-id", of.request.registration_id.as_str());
        store(out, pending, &answer.token, answer.expires_at.as_deref(), data, false).await?;
        keys(out, answer.signing_keys.filter(|_| !of.pin_keys)).await;
        Ok(())
    };
    ended(out, Exchange::Registration, &of.of, answered.await)
}

/// Sends the rotation and stores its answer.
///
/// # Errors
/// Not answered, refused, or not stored. The attempt is noted in the link.
pub async fn rotate<A: ClusterApi, T: Transport>(out: &Out<A, T>, of: &Rotation) -> Result<(), Failure> {
    let answered = async {
        let body = out.link.call(&Call::Rotate(of.request.clone())).await?;
        let answer: RotateAnswer = read(&body)?;
        if answer.token.is_empty() {
            return Err(Trouble::Misconfigured { why: "an answer without token".into() });
        }
        let pending = ("pending-rotation-id", of.request.rotation_id.as_str());
        store(out, pending, &answer.token, answer.expires_at.as_deref(), Map::new(), true).await?;
        keys(out, answer.signing_keys.filter(|_| !of.pin_keys)).await;
        Ok(())
    };
    ended(out, Exchange::Rotation, &of.of, answered.await)
}

/// Sends the decommission.
///
/// # Errors
/// Not answered, or refused. The attempt is noted in the link.
pub async fn decommission<A: ClusterApi, T: Transport>(out: &Out<A, T>) -> Result<(), Failure> {
    let answered = out.link.call(&Call::Decommission).await.map(drop);
    ended(out, Exchange::Decommission, "", answered)
}

fn ended<A: ClusterApi, T: Transport>(
    out: &Out<A, T>,
    exchange: Exchange,
    of: &str,
    answered: Result<(), Trouble>,
) -> Result<(), Failure> {
    out.link.attempted(exchange, of, answered.clone());
    let call = match exchange {
        Exchange::Registration => "register",
        Exchange::Rotation => "rotate",
        Exchange::Decommission => "decommission",
    };
    answered.map_err(|trouble| Failure::Call { call, trouble })
}

/// Reads a body without quoting it.
fn read<B: DeserializeOwned>(body: &[u8]) -> Result<B, Trouble> {
    serde_json::from_slice(body).map_err(|_| Trouble::Misconfigured { why: "an answer of another shape".into() })
}

fn encoded(text: &str) -> Value {
    Value::String(STANDARD.encode(text))
}

/// Why the answer is not stored.
enum Lost {
    /// Once more.
    Again(String),
    /// Never: the record is not ours any more.
    Gone,
}

async fn store<A: ClusterApi, T: Transport>(
    out: &Out<A, T>,
    pending: (&str, &str),
    token: &str,
    expires: Option<&str>,
    mut data: Map<String, Value>,
    keeps_previous: bool,
) -> Result<(), Trouble> {
    data.insert("token".into(), encoded(token));
    data.insert("token-issued-at".into(), encoded(&stamp(out.link.now())));
    data.insert("token-expires-at".into(), expires.map_or(Value::Null, encoded));
    data.insert(pending.0.into(), Value::Null);
    let unstored =
        |why: &str| Trouble::Unreachable { why: format!("its answer could not be stored: {why}"), late: false };
    let mut last = String::new();
    for attempt in 0..TRIES {
        if attempt > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        if out.permits.permit().is_err() {
            return Err(unstored("not the leader any more"));
        }
        match once(&*out.api, out.link.place(), pending, token, &data, keeps_previous).await {
            Ok(()) => {
                out.link.reload().await;
                return Ok(());
            }
            Err(Lost::Again(why)) => last = why,
            Err(Lost::Gone) => return Err(unstored("its record was taken over")),
        }
    }
    Err(unstored(&last))
}

async fn once<A: ClusterApi>(
    api: &A,
    place: &SecretPlace,
    pending: (&str, &str),
    token: &str,
    data: &Map<String, Value>,
    keeps_previous: bool,
) -> Result<(), Lost> {
    let again = |error: ApiError| Lost::Again(error.to_string());
    let key = Key::namespaced(&core::secret(), &place.namespace, &place.name);
    let Some(secret) = api.get(&key).await.map_err(again)? else {
        // Somebody removed the Secret meanwhile: nobody else can have written a newer credential.
        let mut data = data.clone();
        data.retain(|_, value| !value.is_null());
        return api.create(&opaque(&key.name, place, data)).await.map(drop).map_err(again);
    };
    let stored = connection::text(&secret, "token");
    if stored.as_deref() == Some(token) {
        return Ok(());
    }
    if connection::text(&secret, pending.0).as_deref() != Some(pending.1) {
        return Err(Lost::Gone);
    }
    let mut data = data.clone();
    if let Some(stored) = stored.filter(|_| keeps_previous) {
        data.insert("previous-token".into(), encoded(&stored));
    }
    let mut merge = json!({ "data": data });
    if let Some(version) = secret.version() {
        merge["metadata"]["resourceVersion"] = json!(version.0);
    }
    let uid = secret.uid().ok_or(Lost::Gone)?;
    api.patch(&key, &uid, &merge).await.map(drop).map_err(again)
}

fn opaque(name: &str, place: &SecretPlace, data: Map<String, Value>) -> Object {
    Object(json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": { "name": name, "namespace": place.namespace },
        "data": data,
    }))
}

/// Stores the offered signing keys in the place of those before. What cannot be stored comes again with the next rotation.
async fn keys<A: ClusterApi, T: Transport>(out: &Out<A, T>, offered: Option<Value>) {
    let offered: Map<String, Value> = offered
        .as_ref()
        .and_then(|set| set.get("keys")?.as_array())
        .into_iter()
        .flatten()
        .filter_map(|key| {
            let kid = key.get("kid")?.as_str().filter(|kid| is_key(kid))?;
            // Public parts only: a private one has no business here.
            let mut public = key.as_object()?.clone();
            public.remove("d");
            Some((format!("{kid}.jwk"), encoded(&Value::Object(public).to_string())))
        })
        .collect();
    if offered.is_empty() || out.permits.permit().is_err() {
        return;
    }
    let place = out.link.place();
    let key = Key::namespaced(&core::secret(), &place.namespace, KEYS);
    let stored = match out.api.get(&key).await {
        Ok(None) => out.api.create(&opaque(KEYS, place, offered)).await.map(drop),
        Ok(Some(secret)) => {
            let before = secret.0.get("data").and_then(Value::as_object).cloned().unwrap_or_default();
            if before == offered {
                return;
            }
            let mut data = offered;
            for gone in before.keys() {
                data.entry(gone.clone()).or_insert(Value::Null);
            }
            let mut merge = json!({ "data": data });
            if let Some(version) = secret.version() {
                merge["metadata"]["resourceVersion"] = json!(version.0);
            }
            match secret.uid() {
                Some(uid) => out.api.patch(&key, &uid, &merge).await.map(drop),
                None => Ok(()),
            }
        }
        Err(error) => Err(error),
    };
    if let Err(error) = stored {
        tracing::warn!(%error, "offered signing keys could not be stored; they come again with the next rotation");
    }
}

/// Whether the text, with `.jwk` behind it, can be a key of a Secret.
fn is_key(kid: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !kid.is_empty() && kid.len() <= 200 && kid.bytes().all(valid) && !kid.starts_with("..")
}
