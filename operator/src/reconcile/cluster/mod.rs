//! Cluster: who this cluster is to its control plane, and how the two stand (contract §14, §15, §16.3, §21).
//!
//! One pass reads the Clusters, the credentials Secret and the offered token fresh, and decides one step of whatever is under
//! way: a repair, one write of the Cluster, or its status and one exchange. What an exchange brings is stored by the exchange
//! itself ([`exchange`]); the next pass finds it in the Secret and goes on from there. So a crash between any two steps leaves
//! a state that this same function knows.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use super::act::Failure;
use super::connection::{Connection, SecretPlace};
use super::link::{Attempt, Standing};
use crate::api::secret::SecretText;
use crate::api::{ClusterSpec, annotation};
use crate::cluster_api::{ApiError, Key, Object, Uid};
use crate::policy::Settings;
use crate::protocol::Trouble;

mod connectivity;
mod decide;
mod decommission;
pub mod enroll;
pub mod exchange;
#[cfg(test)]
mod fixtures;
mod health;
mod observe;
mod registration;
mod rotation;
mod status;
mod survey;
#[cfg(test)]
mod tests;
mod versions;

pub use decide::decide;
pub use observe::{Given, observe};
pub use survey::{Observed, Survey};

/// Version of this operator.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The rest of the cluster is looked at this often.
pub const SURVEY: Duration = Duration::from_secs(60);
/// Cluster and credentials are read this often without a reason (contract §27.3).
pub const TICK: Duration = Duration::from_secs(10);

/// What one decision needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The active Cluster, the credentials and how to dial.
    pub connection: Connection,
    /// Its spec; defaults where it cannot be read.
    pub spec: ClusterSpec,
    /// The registration token that is offered.
    pub offered: Offered,
    /// What is known of the other side.
    pub seen: Seen,
    /// How exchanges of this process went.
    pub attempts: Attempts,
    /// What this process is given.
    pub given: Given,
    /// Where the credentials Secret is.
    pub place: SecretPlace,
    /// Settings of the cluster.
    pub settings: Settings,
    /// What goes with the old identity, read for a deletion only.
    pub stores: Vec<(Key, Option<Uid>)>,
    /// What the status says of the rest of the cluster, once a minute.
    pub survey: Option<Survey>,
    /// The last pass could not write because the server said no.
    pub refused: bool,
}

/// The registration token (contract §14.1).
#[derive(Clone, Debug, PartialEq)]
pub enum Offered {
    /// None is named.
    Nothing,
    /// There it is.
    Token(SecretText),
    /// The Secret that is named, or its key, is missing: in words.
    Missing(String),
}

/// What is known of the other side, in durations: decide has no monotonic clock.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// How long ago the last round trip succeeded.
    pub answered: Option<Duration>,
    /// For how long round trips have succeeded without a gap.
    pub held: Option<Duration>,
    /// For how long this process has been waiting for a round trip.
    pub silent: Duration,
    /// Why the last request failed, if it did.
    pub trouble: Option<Trouble>,
    /// How far the control plane's clock is ahead of ours.
    pub ahead: SignedDuration,
    /// How the credential stands.
    pub standing: Standing,
    /// How long ago a heartbeat was sent with this credential.
    pub beaten: Option<Duration>,
    /// How long the control plane asks to wait.
    pub wait: Duration,
    /// Every result and event is acknowledged.
    pub told: bool,
}

/// How exchanges of this process went.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attempts {
    /// Of a registration.
    pub registration: Option<Tried>,
    /// Of a rotation.
    pub rotation: Option<Tried>,
    /// Of a decommission.
    pub decommission: Option<Tried>,
}

/// One exchange, and when the next may follow.
#[derive(Clone, Debug, PartialEq)]
pub struct Tried {
    /// Fingerprint of the token it was made with.
    pub of: String,
    /// How it ended.
    pub ended: Result<(), Trouble>,
    /// One of the attempts may have been carried out although it was not answered.
    pub unanswered: bool,
    /// How long until the next one.
    pub wait: Duration,
}

impl Tried {
    fn read(attempt: &Attempt, delays: impl Fn(&Trouble) -> (Duration, Duration)) -> Self {
        let wait = match &attempt.ended {
            Ok(()) => Duration::ZERO,
            Err(trouble) => {
                let (first, cap) = delays(trouble);
                attempt.wait(first, cap, tokio::time::Instant::now())
            }
        };
        Self { of: attempt.of.clone(), ended: attempt.ended.clone(), unanswered: attempt.unanswered, wait }
    }
}

impl Snapshot {
    /// The same snapshot, knowing how the last pass ended.
    pub fn after(mut self, last: Option<&Failure>) -> Self {
        self.refused =
            matches!(last, Some(Failure::Effect { error: ApiError::Refused { .. } | ApiError::Forbidden { .. }, .. }));
        self
    }

    /// The cluster id, if it is known.
    fn cluster_id(&self) -> Option<&str> {
        self.connection.cluster_id.as_deref()
    }
}

/// First 16 hex digits of the SHA-256 of a token (contract §14.2).
pub fn fingerprint(token: &SecretText) -> String {
    Sha256::digest(token.expose().as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Whether the annotation asks for a new exchange of the registration token (contract §4.2).
fn reregisters(cluster: &Object) -> bool {
    cluster.annotation(annotation::ROTATE_CREDENTIALS).is_some_and(|text| !text.is_empty() && text != "false")
}

/// A time as it is stored.
fn time(text: Option<&str>) -> Option<Timestamp> {
    text?.parse().ok()
}

/// One field of the stored status.
fn told<'a>(cluster: &'a Object, pointer: &str) -> Option<&'a str> {
    cluster.0.get("status")?.pointer(pointer)?.as_str().filter(|text| !text.is_empty())
}
