//! Registration: from a single-use token to a credential (contract §15.1), and taking over one that is there (§26.2).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::exchange::Registration;
use super::{Offered, Snapshot, Tried, VERSION, fingerprint, reregisters, told};
use crate::api::Open;
use crate::api::condition::{Reason, Status};
use crate::api::secret::SecretText;
use crate::cluster_api::{Key, Object};
use crate::foreign::core;
use crate::protocol::Trouble;
use crate::protocol::register::RegisterRequest;
use crate::reconcile::Effect;
use crate::reconcile::link::Standing;
use crate::reconcile::status::Says;

/// A token that was refused is tried again this seldom.
const REFUSED: Duration = Duration::from_secs(600);
/// The first delay after no answer.
const FIRST: Duration = Duration::from_secs(30);

/// How long until the next attempt: the first delay, doubling to the second.
pub(super) fn delays(trouble: &Trouble) -> (Duration, Duration) {
    if refused(trouble) || malformed(trouble) { (REFUSED, REFUSED) } else { (FIRST, REFUSED) }
}

/// The server says no to the token. A 403 that is not ours comes from something in between.
fn refused(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Unauthorized | Trouble::Forbidden { ours: true } | Trouble::Conflict)
}

/// The server says no to the request.
fn malformed(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Refused { .. } | Trouble::NotFound)
}

/// Where registration stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step<'a> {
    /// Nothing to do.
    Done,
    /// No endpoint: nobody to register with.
    Nobody,
    /// No credential and no token to get one.
    Stuck {
        /// What is missing, if a Secret is named.
        missing: Option<&'a str>,
    },
    /// The credential came from this token, or is taken over, or is kept because the token is used up.
    Record {
        /// Fingerprint of the token.
        of: String,
    },
    /// An exchange may be made now.
    Due {
        /// The token.
        token: &'a SecretText,
        /// Its fingerprint.
        of: String,
        /// The last one with this token, if it failed.
        after: Option<&'a Tried>,
    },
    /// The last one failed.
    Waiting {
        /// How.
        tried: &'a Tried,
    },
}

/// Names the step.
pub(super) fn step<'a>(snapshot: &'a Snapshot, cluster: &Object) -> Step<'a> {
    let registered = snapshot.connection.token().is_some();
    if snapshot.connection.endpoint.is_none() {
        return Step::Nobody;
    }
    let token = match &snapshot.offered {
        Offered::Token(token) => token,
        _ if registered => return Step::Done,
        Offered::Nothing => return Step::Stuck { missing: None },
        Offered::Missing(missing) => return Step::Stuck { missing: Some(missing) },
    };
    let of = fingerprint(token);
    let observed = told(cluster, "/observedToken");
    let forced = reregisters(cluster);
    if registered && !forced {
        let credentials = snapshot.connection.credentials.as_ref();
        if observed == Some(of.as_str()) {
            return Step::Done;
        }
        let from = credentials.and_then(|credentials| credentials.registered_with.as_deref());
        if observed.is_none() || from == Some(of.as_str()) {
            return Step::Record { of };
        }
    }
    let works = matches!(snapshot.seen.standing, Standing::Accepted | Standing::PreviousAccepted);
    match snapshot.attempts.registration.as_ref().filter(|tried| tried.of == of) {
        Some(Tried { ended: Ok(()), .. }) if registered => Step::Record { of },
        Some(Tried { ended: Err(trouble), .. }) if registered && works && refused(trouble) => Step::Record { of },
        Some(tried @ Tried { ended: Err(_), wait, .. }) if !wait.is_zero() => Step::Waiting { tried },
        tried => Step::Due { token, of, after: tried.filter(|tried| tried.ended.is_err()) },
    }
}

/// The effects of an exchange that is due: first the pending record, in the next pass the exchange.
pub(super) fn exchange(snapshot: &Snapshot, cluster: &Object, token: &SecretText, of: &str) -> Vec<Effect> {
    let key = Key::namespaced(&core::secret(), &snapshot.place.namespace, &snapshot.place.name);
    let credentials = snapshot.connection.credentials.as_ref();
    let endpoint = snapshot.connection.endpoint.clone().unwrap_or_default();
    // The id tells which token it was drawn for: with another one it is another registration.
    let pending = credentials
        .and_then(|credentials| credentials.pending_registration.as_deref())
        .filter(|pending| pending.starts_with(of));
    let Some(pending) = pending else {
        let id = format!("{of}-{}", snapshot.given.registration_id);
        let data = json!({ "pending-registration-id": STANDARD.encode(id) });
        return vec![match credentials {
            None => Effect::Create(Object(json!({
                "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
                "metadata": { "name": key.name, "namespace": key.namespace },
                "data": data,
            }))),
            Some(credentials) => credentials.patch(key, json!({ "data": data })),
        }];
    };
    let request = RegisterRequest {
        registration_token: token.clone(),
        cluster_id: snapshot.cluster_id().map(String::from),
        display_name: snapshot.spec.display_name.clone().filter(|name| !name.is_empty()),
        registration_id: pending.into(),
        public_key: None,
        operator_version: VERSION.into(),
        connectivity_mode: mode(snapshot),
    };
    let mut effects = vec![Effect::Register(Registration {
        request,
        of: of.into(),
        endpoint,
        expected: snapshot.spec.cluster_id.clone().filter(|id| !id.is_empty()),
        pin_keys: snapshot.settings.security().pin_keys,
    })];
    effects.extend(clean(cluster));
    effects
}

/// Takes the inline token and the annotation off the Cluster: they have done what they were for.
pub(super) fn clean(cluster: &Object) -> Option<Effect> {
    let merge = settled(cluster, None)?;
    Some(Effect::Patch { key: super::decide::key(cluster), uid: cluster.uid()?, merge })
}

/// The one write of the Cluster's main resource after a registration: its id, without inline token and annotation. `None`
/// where there is nothing to write.
pub(super) fn settled(cluster: &Object, id: Option<&str>) -> Option<Value> {
    let mut merge = json!({});
    let stored = |pointer: &str| cluster.0.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(id) = id
        && stored("/spec/clusterId").is_none()
    {
        merge["spec"]["clusterId"] = json!(id);
    }
    if stored("/spec/registrationToken").is_some() {
        merge["spec"]["registrationToken"] = Value::Null;
    }
    if reregisters(cluster) {
        merge["metadata"]["annotations"][crate::api::annotation::ROTATE_CREDENTIALS] = Value::Null;
    }
    merge.as_object().is_some_and(|merge| !merge.is_empty()).then_some(merge)
}

fn mode(snapshot: &Snapshot) -> String {
    match &snapshot.spec.connectivity_mode {
        Open::Known(mode) => serde_json::to_value(mode).ok().and_then(|mode| Some(mode.as_str()?.to_string())),
        Open::Other(other) => Some(other.clone()),
    }
    .unwrap_or_default()
}

/// `Connected` and `Authenticated`, as far as registration decides them: always while there is no credential, and where the
/// server refused a new one.
pub(super) fn conditions(snapshot: &Snapshot, step: &Step<'_>) -> (Option<Says>, Option<Says>) {
    let no = |reason, message: &str| Some((Status::False, reason, message.to_string()));
    let registered = snapshot.connection.token().is_some();
    let other = snapshot.connection.credentials.as_ref().is_some_and(|credentials| credentials.token.is_some());
    match step {
        Step::Done | Step::Record { .. } => (None, None),
        // What was said of the last attempt holds until the next one ends: else a token that stays invalid would be news with
        // every attempt.
        Step::Due { after: Some(tried), .. } => waiting(snapshot, tried, registered),
        Step::Due { .. } if registered => (None, None),
        Step::Nobody | Step::Stuck { missing: None } => {
            let (connected, authenticated) = match step {
                _ if other && !registered => (
                    "the stored credential belongs to another cluster id",
                    "the credentials Secret belongs to another cluster id: register again with a token for this one",
                ),
                Step::Nobody => ("spec.controlPlaneEndpoint is not set", "there is no credential"),
                _ => (
                    "there is no credential and no registration token",
                    "there is no credential: create a Secret with a registration token and name it in \
                     spec.registrationTokenSecretRef",
                ),
            };
            (no(Reason::CredentialMissing, connected), no(Reason::CredentialMissing, authenticated))
        }
        Step::Stuck { missing: Some(missing) } => {
            let text = format!("{missing}, which spec.registrationTokenSecretRef names");
            (no(Reason::CredentialMissing, "there is no credential"), no(Reason::TokenSecretMissing, &text))
        }
        Step::Due { .. } => (
            no(Reason::RegistrationPending, "registering with the control plane"),
            no(Reason::CredentialMissing, "there is no credential yet: registering"),
        ),
        Step::Waiting { tried } => waiting(snapshot, tried, registered),
    }
}

fn waiting(snapshot: &Snapshot, tried: &Tried, registered: bool) -> (Option<Says>, Option<Says>) {
    let no = |reason, message: String| Some((Status::False, reason, message));
    let Err(trouble) = &tried.ended else { return (None, None) };
    if refused(trouble) {
        // Whether a stored credential still works is not known before the next heartbeat.
        if registered && snapshot.seen.standing == Standing::Untried {
            return (None, None);
        }
        let interrupted = tried.unanswered || found(snapshot);
        let message = if interrupted {
            "the registration token is not accepted; an earlier attempt may have used it before its answer could be stored, \
             and this server does not repeat answers: issue a new token"
        } else {
            "the registration token is not accepted: it was used before, has expired, or is unknown: issue a new token"
        };
        let invalid = no(Reason::RegistrationTokenInvalid, message.into());
        return (invalid, no(Reason::RegistrationFailed, message.into()));
    }
    if malformed(trouble) {
        let message = match trouble {
            Trouble::Refused { message, .. } => format!("the control plane refuses the registration: {message}"),
            _ => "the control plane does not know how to register".into(),
        };
        let pending = no(Reason::RegistrationPending, "the control plane refuses the registration".into());
        return (pending.filter(|_| !registered), no(Reason::RegistrationFailed, message));
    }
    if registered {
        return (None, None);
    }
    let message = format!("registering: {}", super::connectivity::words(trouble));
    let missing = "there is no credential yet: registering".to_string();
    (no(Reason::RegistrationPending, message), no(Reason::CredentialMissing, missing))
}

/// Whether the pending record is that of an earlier process.
fn found(snapshot: &Snapshot) -> bool {
    let credentials = snapshot.connection.credentials.as_ref();
    let pending = credentials.and_then(|credentials| credentials.pending_registration.as_ref());
    pending.is_some() && pending == snapshot.given.found_pending.as_ref()
}
