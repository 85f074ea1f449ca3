//! `Connected`, `Disconnected`, the phase, and the heartbeat (contract §16.3, §21).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{Snapshot, time, told};
use crate::api::OPS_API_VERSION;
use crate::api::cluster::{ClusterPhase, ConnectivityMode};
use crate::api::condition::{Reason, Status, find};
use crate::cluster_api::Object;
use crate::protocol::answer::Closed;
use crate::protocol::event::{Event, EventBatch, HEARTBEAT, ResourceRef};
use crate::protocol::{Call, Trouble};
use crate::reconcile::link::{RUN, SILENCE, Standing};
use crate::reconcile::status::{Says, conditions, stamp};

/// `Disconnected` is cleared when contact has held for so long (contract §21).
const HELD: Duration = Duration::from_secs(60);
/// The stamp of the last round trip is written this seldom (contract §14.2).
const STAMP: SignedDuration = SignedDuration::from_secs(60);
/// A rejected credential is probed this seldom (contract §15.2).
const PROBE: Duration = Duration::from_secs(600);
/// A 403 that was not ours is probed this soon.
const SUSPICION: Duration = Duration::from_secs(2);

/// What a request met, in words that are the same at every retry.
pub(super) fn words(trouble: &Trouble) -> String {
    match trouble {
        // The one detail that a human has to know: contract §15.2.
        Trouble::Unreachable { why, .. } if why.to_ascii_lowercase().contains("certificate") => {
            format!("the connection fails: {}", crate::foreign::text::stable(why))
        }
        Trouble::Unreachable { .. } => "the control plane does not answer".into(),
        Trouble::Throttled { .. } => "the control plane asks to wait".into(),
        Trouble::Misconfigured { why } => {
            format!("what answers is not our control plane: {}", crate::foreign::text::stable(why))
        }
        Trouble::Closed(Closed::Rejected) => "the control plane does not accept the credential".into(),
        other => other.to_string(),
    }
}

fn without_endpoint(snapshot: &Snapshot) -> bool {
    snapshot.connection.mode != ConnectivityMode::Pull && snapshot.connection.endpoint.is_none()
}

/// For how long there was no round trip. A process that is young and has failed already believes the last stamp: one that
/// restarts every minute would else never notice an outage.
fn silence(snapshot: &Snapshot, cluster: &Object, now: Timestamp) -> Duration {
    let seen = &snapshot.seen;
    let stamped = time(told(cluster, "/lastHeartbeat")).map(|at| now.duration_since(at));
    match stamped.and_then(|ago| Duration::try_from(ago).ok()) {
        Some(ago) if seen.answered.is_none() && seen.trouble.is_some() => seen.silent.max(ago),
        _ => seen.silent,
    }
}

/// `Connected`. `None` leaves what was said before.
pub(super) fn connected(snapshot: &Snapshot, cluster: &Object, now: Timestamp) -> Option<Says> {
    if without_endpoint(snapshot) {
        let message = "no endpoint is configured, and this connectivity mode needs none";
        return Some((Status::Unknown, Reason::EndpointNotConfigured, message.into()));
    }
    let seen = &snapshot.seen;
    if seen.answered.is_some_and(|answered| answered < RUN) {
        let reason = match said(cluster) {
            None | Some("RegistrationPending" | "RegistrationTokenInvalid" | "CredentialMissing") => {
                Reason::ControlPlaneReachable
            }
            // The word goes together with the next stamp: one write less.
            Some("ControlPlaneReachable") if heard(snapshot, cluster, now).is_none() => Reason::ControlPlaneReachable,
            Some(_) => Reason::RoundTripOK,
        };
        return Some((Status::True, reason, "the control plane answers".into()));
    }
    let stored = said(cluster);
    // A first failure is news where nothing better was ever said; contact that was there ends after 90 s.
    let open = !matches!(stored, Some("RoundTripOK" | "ControlPlaneReachable")) && seen.trouble.is_some();
    if open || silence(snapshot, cluster, now) >= RUN {
        let unknown = || "the control plane does not answer".to_string();
        let message = seen.trouble.as_ref().map_or_else(unknown, words);
        let lacking = snapshot.connection.missing.as_ref().map(|missing| format!("; {missing} is missing"));
        return Some((Status::False, Reason::ControlPlaneUnreachable, message + &lacking.unwrap_or_default()));
    }
    None
}

/// The stored reason of `Connected`.
fn said(cluster: &Object) -> Option<&str> {
    find(conditions(cluster), "Connected")?["reason"].as_str()
}

/// `Disconnected`. Never in gitops, in push only with an endpoint, and only of a cluster that has a credential or had one.
pub(super) fn disconnected(snapshot: &Snapshot, cluster: &Object, now: Timestamp) -> Option<Says> {
    let stored = find(conditions(cluster), "Disconnected");
    let connected = |message: &str| Some((Status::False, Reason::Connected, message.to_string()));
    let meant = snapshot.connection.mode != ConnectivityMode::Gitops && snapshot.connection.endpoint.is_some();
    if !meant {
        return stored.and_then(|_| connected("nothing is expected of a control plane in this connectivity mode"));
    }
    let raised = stored.is_some_and(|stored| stored["status"] == "True");
    let seen = &snapshot.seen;
    if seen.answered.is_some_and(|answered| answered < RUN) {
        let held = seen.held.is_some_and(|held| held >= HELD);
        return if raised && !held { None } else { connected("the control plane answers") };
    }
    let known = snapshot.connection.token().is_some() || told(cluster, "/lastHeartbeat").is_some();
    if known && silence(snapshot, cluster, now) >= SILENCE {
        let message = "no round trip to the control plane for 5 minutes; applications go on, new jobs wait";
        return Some((Status::True, Reason::NoRecentRoundTrip, message.into()));
    }
    None
}

/// `Authenticated`, as far as round trips decide it.
pub(super) fn authenticated(snapshot: &Snapshot, now: Timestamp) -> Option<Says> {
    let credentials = snapshot.connection.credentials.as_ref()?;
    match snapshot.seen.standing {
        Standing::Accepted => Some((Status::True, Reason::CredentialAccepted, accepted(snapshot))),
        Standing::PreviousAccepted => {
            let message = "the control plane accepts the credential before the current one; it is being replaced";
            Some((Status::True, Reason::CredentialAccepted, message.into()))
        }
        Standing::Rejected => {
            let expires = time(credentials.expires_at.as_deref());
            let expired = expires.is_some_and(|expires| expires <= now + snapshot.seen.ahead);
            Some(if expired {
                let message = "the credential has expired: issue a new registration token";
                (Status::False, Reason::CredentialExpired, message.into())
            } else {
                let message = "the control plane rejects the credential: issue a new registration token";
                (Status::False, Reason::CredentialRejected, message.into())
            })
        }
        Standing::Untried | Standing::Questioned | Standing::Suspected => None,
    }
}

/// A token reference that leads nowhere changes nothing but these words (contract §15.1).
fn accepted(snapshot: &Snapshot) -> String {
    match &snapshot.offered {
        super::Offered::Missing(missing) => format!(
            "the credential is accepted; {missing}, which spec.registrationTokenSecretRef names: it is needed only to \
             register again"
        ),
        _ => "the credential is accepted".into(),
    }
}

/// The phase that goes with the conditions.
pub(super) fn phase(connected: Option<&Value>, authenticated: Option<&Value>) -> ClusterPhase {
    let of = |condition: Option<&Value>, field: &str| {
        condition.and_then(|condition| condition[field].as_str()).unwrap_or_default().to_string()
    };
    let reason = of(authenticated, "reason");
    match (of(connected, "status").as_str(), of(connected, "reason").as_str()) {
        (_, "NotSingleton" | "RegistrationTokenInvalid") => ClusterPhase::Error,
        _ if matches!(reason.as_str(), "CredentialRejected" | "CredentialExpired") => ClusterPhase::Error,
        ("True", _) | ("Unknown", "EndpointNotConfigured") => ClusterPhase::Connected,
        (_, "RegistrationPending") if reason == "RegistrationFailed" => ClusterPhase::Error,
        (_, "RegistrationPending") => ClusterPhase::Registering,
        (_, "ControlPlaneUnreachable") => ClusterPhase::Disconnected,
        _ => ClusterPhase::Pending,
    }
}

/// The stamp to write: at most once a minute.
pub(super) fn heard(snapshot: &Snapshot, cluster: &Object, now: Timestamp) -> Option<String> {
    let answered = snapshot.seen.answered.filter(|answered| *answered < RUN)?;
    let at = now - SignedDuration::try_from(answered).ok()?;
    let stored = time(told(cluster, "/lastHeartbeat"));
    // One from the future was written before the clock was set back.
    stored.is_none_or(|stored| at.duration_since(stored) >= STAMP || stored > now).then(|| stamp(at))
}

/// How long until the next heartbeat. `None`: nobody to send one to.
pub(super) fn beat_in(snapshot: &Snapshot) -> Option<Duration> {
    snapshot.connection.endpoint.as_ref()?;
    snapshot.connection.token()?;
    let seen = &snapshot.seen;
    let interval = match seen.standing {
        Standing::Rejected => PROBE,
        Standing::Suspected if matches!(seen.trouble, Some(Trouble::Forbidden { .. })) => SUSPICION,
        _ => snapshot.given.heartbeat,
    };
    let due = seen.beaten.map_or(Duration::ZERO, |ago| interval.saturating_sub(ago));
    Some(due.max(seen.wait))
}

/// The heartbeat: the Cluster with its stored conditions.
pub(super) fn beat(snapshot: &Snapshot, cluster: &Object, now: Timestamp) -> Call {
    let resource_ref = ResourceRef {
        api_version: OPS_API_VERSION.into(),
        kind: "Cluster".into(),
        namespace: None,
        name: cluster.name().into(),
        uid: cluster.uid().map(|uid| uid.0),
        generation: Some(cluster.generation()),
    };
    let event = Event {
        event_key: None,
        kind: HEARTBEAT.into(),
        resource_ref,
        conditions: conditions(cluster).to_vec(),
        endpoints: Vec::new(),
        timestamp: stamp(now),
    };
    Call::Events(EventBatch { cluster_id: snapshot.cluster_id().map(String::from), events: vec![event] })
}
