//! Intake: jobs of the control plane, from the poll to the result (contract §17, §18).
//!
//! Each open job is one small state machine whose memory is its [journal](journal) entry:
//!
//! ```text
//!   poll ─► Received ─ack─► Acked ─effect─► Applied ─watch─► Decided ─result─► ledger, entry removed
//!             └──────── refused, replayed, expired, superseded ───────┘
//! ```
//!
//! One pass over one job is [`observe`](observe()), [`decide`](decide()), act. What must survive lies in the entry before
//! the next step begins, so a crash anywhere repeats at most one request, and every request may be repeated: the entry has
//! a name derived from the job id, the acknowledgement and the result carry it, an apply is server-side apply.
//!
//! [`Memory`] is what this process knows beyond that, such as that its acknowledgement was just answered. Without it a step is
//! repeated, nothing worse.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::Plan;
use super::act::Failure;
use super::instance::Look;
use crate::cluster_api::Object;
use crate::policy::jobs::Places;
use crate::policy::{Refusal, Settings};

mod audit;
mod catalog;
pub mod close;
mod decide;
pub mod journal;
pub mod ledger;
mod observe;
mod outcome;
pub mod past;
pub mod receive;
pub mod rotation;
mod start;
mod status;
#[cfg(test)]
mod tests;
mod verdict;
mod watch;
pub mod work;

pub use decide::decide;
pub use observe::{Ask, observe};

use journal::Entry;
use ledger::Line;
use past::Past;
use receive::Received;
use rotation::Rotation;
use work::Task;

/// Settings of this process that a decision needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rules {
    /// Namespaces beyond the gated ones.
    pub places: Places,
    /// How long after its acknowledgement a job is given up (contract §18.6).
    pub deadline: Duration,
}

/// Where the job comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// The poll, just now; with its number in received order.
    Fresh(Box<Received>, i64),
    /// The journal.
    Stored {
        /// The ConfigMap.
        object: Object,
        /// What it says.
        entry: Box<Entry>,
    },
    /// The entry cannot be read; and what was moved aside before.
    Corrupt(Object, Vec<Object>),
    /// The entry was written by a newer version.
    Newer,
    /// The entry is gone.
    Gone,
}

/// What this process knows of a job beside its entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// The acknowledgement was answered.
    pub acked: bool,
    /// The effect was confirmed: what is there now is at least that.
    pub applied: bool,
    /// The result was accepted.
    pub posted: bool,
    /// How the last pass failed, if it did.
    pub last: Option<Failure>,
    /// The last status that was sent.
    pub told: Option<Told>,
    /// Whether the control plane answers: a status is not worth a wait.
    pub reachable: bool,
}

/// A status that was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Its number.
    pub sequence: i64,
    /// What it said, without times and messages.
    pub print: String,
    /// When.
    pub at: Timestamp,
}

/// What one decision needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Settings of the cluster.
    pub settings: Settings,
    /// Settings of this process.
    pub rules: Rules,
    /// How far the control plane's clock is ahead of ours.
    pub ahead: SignedDuration,
    /// The job.
    pub origin: Origin,
    /// What it asks for, or why it may not.
    pub task: Result<Task, Refusal>,
    /// Its object's namespace, if the state needs it.
    pub namespace: Option<Object>,
    /// Its object.
    pub target: Look,
    /// The HelmRelease of an instance that is tried again.
    pub release: Option<Object>,
    /// The credential, for the one intent that changes it.
    pub rotation: Option<Rotation>,
    /// The event cursor, absent or not, for the one intent that asks for a snapshot.
    pub cursor: Option<Option<Object>>,
    /// The active Cluster and the outbox, where a refusal has to be told as an event of its own.
    pub audit: Option<(Object, Option<Object>)>,
    /// What earlier jobs mean for it.
    pub past: Past,
    /// See [`Memory`].
    pub memory: Memory,
}

/// What follows a pass whose every effect was confirmed.
#[derive(Clone, Debug, PartialEq)]
pub enum Then {
    /// Nothing, until a change or the plan's wake.
    Rest,
    /// The next pass at once.
    Again,
    /// The acknowledgement was answered.
    Acked,
    /// The effect is there.
    Applied,
    /// The result was accepted.
    Posted,
    /// The job is over: this line goes into the ledger, and then the entry goes.
    Close(Box<Line>, Object),
    /// The job is over and leaves nothing.
    Forget,
}

/// A decision about one job.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What to do.
    pub plan: Plan,
    /// The entry as it then stands, if it stands at all.
    pub entry: Option<Entry>,
    /// What follows.
    pub then: Then,
    /// The status that the plan sends, if it does.
    pub told: Option<Told>,
}

impl Step {
    fn new(entry: Entry, plan: Plan, then: Then) -> Self {
        Self { plan, entry: Some(entry), then, told: None }
    }

    /// Nothing to do until a change, or until `wake`.
    fn rest(entry: Entry, why: impl Into<String>, wake: Option<Duration>) -> Self {
        Self::new(entry, Plan { wake, ..Plan::idle(why) }, Then::Rest)
    }
}
