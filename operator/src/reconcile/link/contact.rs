//! What is known of the other side, and of the credential there. Not a fact about the cluster: it is gone with the process.

use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::Instant;

use crate::api::secret::SecretText;
use crate::protocol::{Call, Trouble};
use crate::reconcile::connection::Connection;

/// Three heartbeats without an answer end a run of contact (contract §21).
pub const RUN: Duration = Duration::from_secs(90);
/// So long without an answer is a disconnection (contract §21).
pub const SILENCE: Duration = Duration::from_secs(300);

/// What the last requests told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contact {
    /// The last successful round trip: poll, post or heartbeat.
    pub answered: Option<Instant>,
    /// When the run of successful round trips without a gap of 90 s began that `answered` belongs to.
    pub since: Option<Instant>,
    /// Why the last request failed, if it did.
    pub trouble: Option<Trouble>,
    /// How far the control plane's clock is ahead of ours, from its `Date` headers.
    pub ahead: SignedDuration,
    /// How the credential stands.
    pub standing: Standing,
    of: Option<Mark>,
}

/// How the credential of this moment stands with the server (contract §15.2). Network errors and 5xx never move it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Not tried since it was read.
    #[default]
    Untried,
    /// The server accepted it.
    Accepted,
    /// The server refused it and accepted the one before it.
    PreviousAccepted,
    /// 401 for it and the one before it: one rotation may still save it.
    Questioned,
    /// A 403 that was not ours: a heartbeat has to repeat it before it counts.
    Suspected,
    /// Rejected: only heartbeats are sent, one every ten minutes.
    Rejected,
}

/// Which credential a [`Standing`] is about.
#[derive(Clone, Debug, PartialEq)]
struct Mark {
    endpoint: Option<String>,
    token: Option<SecretText>,
    cluster_id: Option<String>,
}

/// Which credential a request carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bearer {
    /// `token`.
    Current,
    /// `previous-token`.
    Previous,
    /// A registration token.
    Registration,
}

impl Contact {
    /// Whether the credential was rejected.
    pub fn rejected(&self) -> bool {
        self.standing == Standing::Rejected
    }

    /// Whether nothing was answered within the time of a disconnection.
    pub(super) fn silent(&self, now: Instant) -> bool {
        self.answered.is_none_or(|answered| now.saturating_duration_since(answered) >= SILENCE)
    }

    /// A changed credential starts anew; whether it did.
    pub(super) fn concerns(&mut self, connection: &Connection) -> bool {
        let mark = Mark {
            endpoint: connection.endpoint.clone(),
            token: connection.credentials.as_ref().and_then(|credentials| credentials.token.clone()),
            cluster_id: connection.cluster_id.clone(),
        };
        let changed = self.of.as_ref() != Some(&mark);
        if changed {
            self.standing = Standing::Untried;
            self.of = Some(mark);
        }
        changed
    }

    /// Takes note of an answer.
    pub(super) fn note(
        &mut self,
        call: &Call,
        bearer: Bearer,
        token: &SecretText,
        answer: Result<(), &Trouble>,
        now: Instant,
    ) {
        // An answer to a token that was replaced meanwhile, or to a registration token, says nothing of this one.
        let current = self.of.as_ref().is_none_or(|of| of.token.as_ref() == Some(token));
        self.trouble = answer.err().cloned();
        // What these say concerns one job or one event; the round trip is complete.
        let told = matches!(answer, Err(Trouble::NotFound | Trouble::Conflict));
        let alone = matches!(call, Call::Register(_) | Call::Rotate(_) | Call::Decommission);
        if answer.is_ok() || (told && !alone) {
            let unbroken = self.answered.is_some_and(|answered| now.saturating_duration_since(answered) < RUN);
            if !unbroken {
                self.since = Some(now);
            }
            self.answered = Some(now);
            self.trouble = None;
            match bearer {
                Bearer::Current if current => self.standing = Standing::Accepted,
                Bearer::Previous if current => self.standing = Standing::PreviousAccepted,
                _ => {}
            }
            return;
        }
        if bearer == Bearer::Registration || !current {
            return;
        }
        self.standing = match (answer, self.standing) {
            (Err(Trouble::Unauthorized | Trouble::Forbidden { .. }), Standing::Rejected) => Standing::Rejected,
            (Err(Trouble::Unauthorized), _) if matches!(call, Call::Rotate(_)) => Standing::Rejected,
            (Err(Trouble::Unauthorized), _) => Standing::Questioned,
            (Err(Trouble::Forbidden { ours: true }), _) => Standing::Rejected,
            (Err(Trouble::Forbidden { ours: false }), Standing::Suspected) if call.is_heartbeat() => Standing::Rejected,
            (Err(Trouble::Forbidden { ours: false }), _) => Standing::Suspected,
            (_, standing) => standing,
        };
    }
}
