//! Rotation: a new credential for the one that is there (contract §15.3).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::exchange::Rotation;
use super::{Snapshot, Tried, fingerprint, time, told};
use crate::api::condition::{Reason, Status};
use crate::cluster_api::{Key, Object};
use crate::foreign::core;
use crate::protocol::Trouble;
use crate::protocol::register::RotateRequest;
use crate::reconcile::Effect;
use crate::reconcile::connection::Credentials;
use crate::reconcile::link::{Standing, pace::share};
use crate::reconcile::status::Says;

/// `spec.rotateCredentials` counts for nothing so long after a rotation: a value kept in Git returns at each sync.
const ASKED_AGAIN: SignedDuration = SignedDuration::from_hours(24);
/// However short interval and validity are, a credential lives so long before the next one is asked for.
const SHORTEST: SignedDuration = SignedDuration::from_secs(60);

/// How long until the next attempt: 60 s doubling to 1 h.
pub(super) fn delays(_: &Trouble) -> (Duration, Duration) {
    (Duration::from_secs(60), Duration::from_secs(3600))
}

/// Whether the credential is one that nobody has recorded yet in the Cluster's status: it came by an exchange whose last steps
/// are not done.
pub(super) fn unrecorded(cluster: &Object, credentials: &Credentials) -> bool {
    let issued = credentials.issued_at.as_deref();
    issued.is_some()
        && issued != told(cluster, "/credentialStatus/rotatedAt")
        && issued != told(cluster, "/credentialStatus/registeredAt")
}

/// Why a rotation is wanted. `None`: it is not.
pub(super) fn cause(snapshot: &Snapshot, cluster: &Object, now: Timestamp) -> Option<&'static str> {
    let credentials = snapshot.connection.credentials.as_ref()?;
    let token = snapshot.connection.token()?;
    let usable = snapshot.connection.endpoint.is_some() && snapshot.seen.standing != Standing::Rejected;
    if !usable || unrecorded(cluster, credentials) {
        return None;
    }
    if credentials.pending_rotation.is_some() {
        return Some("a rotation is under way");
    }
    if matches!(snapshot.seen.standing, Standing::Questioned | Standing::PreviousAccepted) {
        return Some("the credential is not accepted");
    }
    // Nothing is renewed that is not known to work: an old credential may just have been taken over.
    if snapshot.seen.standing != Standing::Accepted {
        return None;
    }
    let issued = issued(cluster, credentials);
    let age = issued.map(|issued| now.duration_since(issued));
    if age.is_some_and(|age| age < SHORTEST && !age.is_negative()) {
        return None;
    }
    let recently = rotated(cluster, credentials)
        .is_some_and(|rotated| now.duration_since(rotated) < ASKED_AGAIN && rotated <= now + ASKED_AGAIN);
    if snapshot.spec.rotate_credentials == Some(true) && !recently {
        return Some("spec.rotateCredentials asks for it");
    }
    let rotation = snapshot.spec.rotation.clone().unwrap_or_default();
    let day = SignedDuration::from_hours(24);
    let interval = duration(&rotation.interval).unwrap_or(day * 7);
    // Clusters that registered together do not rotate together.
    let jitter = 0.9 + 0.2 * share(&[&fingerprint(token)]);
    if age.is_some_and(|age| age.as_secs_f64() >= interval.as_secs_f64() * jitter) {
        return Some("the credential is old");
    }
    let expires = time(credentials.expires_at.as_deref())?;
    let remaining = expires.duration_since(now + snapshot.seen.ahead);
    let before = duration(&rotation.before).unwrap_or(day);
    // A credential that lives shorter than that is renewed at half its life, not at once.
    let before = issued.map_or(before, |issued| before.min(expires.duration_since(issued) / 2));
    (remaining <= before).then_some("the credential expires soon")
}

/// When the credential was issued, as far as anybody knows. A Secret of an older agent says nothing of it.
fn issued(cluster: &Object, credentials: &Credentials) -> Option<Timestamp> {
    time(credentials.issued_at.as_deref())
        .or_else(|| time(told(cluster, "/credentialStatus/rotatedAt")))
        .or_else(|| time(told(cluster, "/credentialStatus/registeredAt")))
        .or_else(|| time(credentials.created.as_deref()))
}

/// When it was last rotated.
fn rotated(cluster: &Object, credentials: &Credentials) -> Option<Timestamp> {
    let stored = time(told(cluster, "/credentialStatus/rotatedAt"));
    let now = credentials.previous.as_ref().and_then(|_| time(credentials.issued_at.as_deref()));
    stored.max(now)
}

/// The effects of a rotation that is wanted: first the pending record, in the next pass the exchange.
pub(super) fn exchange(snapshot: &Snapshot) -> Vec<Effect> {
    let (Some(credentials), Some(token)) = (&snapshot.connection.credentials, snapshot.connection.token()) else {
        return Vec::new();
    };
    if tried(snapshot).is_some_and(|tried| tried.ended.is_err() && !tried.wait.is_zero()) {
        return Vec::new();
    }
    let key = Key::namespaced(&core::secret(), &snapshot.place.namespace, &snapshot.place.name);
    let Some(pending) = &credentials.pending_rotation else {
        let data = json!({ "pending-rotation-id": STANDARD.encode(&snapshot.given.rotation_id) });
        return vec![credentials.patch(key, json!({ "data": data }))];
    };
    vec![Effect::Rotate(Rotation {
        request: RotateRequest { rotation_id: pending.clone(), public_key: None },
        of: fingerprint(token),
        pin_keys: snapshot.settings.security().pin_keys,
    })]
}

/// The last attempt with this credential.
fn tried(snapshot: &Snapshot) -> Option<&Tried> {
    let of = fingerprint(snapshot.connection.token()?);
    snapshot.attempts.rotation.as_ref().filter(|tried| tried.of == of)
}

/// `previous-token` goes after the first success with the new one, when the rotation is recorded.
pub(super) fn retire(snapshot: &Snapshot, cluster: &Object) -> Option<Effect> {
    let credentials = snapshot.connection.credentials.as_ref()?;
    credentials.previous.as_ref()?;
    if snapshot.seen.standing != Standing::Accepted || unrecorded(cluster, credentials) {
        return None;
    }
    let key = Key::namespaced(&core::secret(), &snapshot.place.namespace, &snapshot.place.name);
    Some(credentials.patch(key, json!({ "data": { "previous-token": null } })))
}

/// `Authenticated`, as far as a failed rotation decides it.
pub(super) fn condition(snapshot: &Snapshot, cluster: &Object, now: Timestamp) -> Option<Says> {
    cause(snapshot, cluster, now)?;
    let Err(trouble) = &tried(snapshot)?.ended else { return None };
    let credentials = snapshot.connection.credentials.as_ref()?;
    let expired = time(credentials.expires_at.as_deref()).is_some_and(|expires| expires <= now + snapshot.seen.ahead);
    Some(if expired {
        let message = "the credential has expired and could not be renewed: issue a new registration token";
        (Status::False, Reason::CredentialExpired, message.into())
    } else {
        let message =
            format!("the credential could not be renewed and stays in use: {}", super::connectivity::words(trouble));
        (Status::False, Reason::RotationFailed, message)
    })
}

/// Go's durations: `168h`, `1h30m`, `0.5h`.
pub(super) fn duration(text: &str) -> Option<SignedDuration> {
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
        let (unit, seconds) = units.into_iter().find(|(unit, _)| rest.starts_with(unit))?;
        total += number * seconds;
        rest = &rest[unit.len()..];
    }
    (!text.is_empty()).then(|| SignedDuration::try_from_secs_f64(total).ok()).flatten()
}
