//! How an open job stands, told while it is open: best effort, at most once in ten seconds (contract §17.4).

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::Value;

use super::Told;
use super::decide::Case;
use super::journal::Entry;
use super::verdict::stamp;
use crate::cluster_api::Object;
use crate::foreign::text::stable;
use crate::foreign::{Condition, Truth, conditions, find};
use crate::protocol::Call;
use crate::protocol::job::StatusBody;
use crate::reconcile::Effect;

const PACE: SignedDuration = SignedDuration::from_secs(10);
/// Numbers are taken out of the journal in blocks: one write in so many posts.
const BLOCK: i64 = 10;

/// A status to send, or how long it has to wait.
#[derive(Default)]
pub(super) struct Spoken {
    pub(super) call: Option<Effect>,
    pub(super) told: Option<Told>,
    pub(super) wait: Option<Duration>,
}

/// What is to be said of `live` now. A number that was reserved is in the entry before it is used.
pub(super) fn status(case: &Case<'_>, entry: &mut Entry, live: &Object) -> Spoken {
    let memory = &case.snapshot.memory;
    let conditions = conditions(live);
    if conditions.is_empty() || !memory.reachable {
        return Spoken::default();
    }
    let phase = phase(live, &conditions);
    let print = print(phase, &conditions);
    if let Some(told) = &memory.told {
        if told.print == print {
            return Spoken::default();
        }
        let due = told.at.checked_add(PACE).unwrap_or(told.at);
        // A clock that was set back must not silence it.
        if due > case.now && told.at <= case.now {
            return Spoken { wait: Some(case.until(due)), ..Spoken::default() };
        }
    }
    let sequence = memory.told.as_ref().map_or(entry.status_seq, |told| told.sequence) + 1;
    if sequence > entry.status_seq {
        entry.status_seq = sequence + BLOCK - 1;
    }
    let list = live.0.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    let message = ["Blocked", "Reconciling", "Running", "Ready"]
        .iter()
        .filter_map(|type_| find(&conditions, type_))
        .find(|found| found.is(Truth::True))
        .map(|found| stable(&found.message))
        .unwrap_or_default();
    let body = StatusBody { phase: phase.into(), conditions: list, message, timestamp: stamp(case.now), sequence };
    Spoken {
        call: Some(Effect::Call(Call::Status { job: entry.job.id.clone(), body })),
        told: Some(Told { sequence, print, at: case.now }),
        wait: None,
    }
}

fn phase(live: &Object, conditions: &[Condition]) -> &'static str {
    let stands = |type_: &str| find(conditions, type_).is_some_and(|found| found.is(Truth::True));
    let word = live.0.pointer("/status/phase").and_then(Value::as_str);
    match word {
        _ if live.deleting() || stands("Deleting") => "Deleting",
        _ if stands("Blocked") => "Blocked",
        Some("Running") => "Running",
        Some("Failed" | "Cancelled") => "Failed",
        Some("Succeeded") => "Ready",
        Some(_) => "Pending",
        None if stands("Reconciling") => "Reconciling",
        None if stands("Ready") => "Ready",
        None if find(conditions, "Ready").is_some_and(|found| found.reason == "HelmReleaseFailed") => "Failed",
        None => "Pending",
    }
}

/// Everything but times and messages.
fn print(phase: &str, conditions: &[Condition]) -> String {
    let mut print = phase.to_string();
    for condition in conditions {
        print.push_str(&format!(";{}={:?}/{}", condition.type_, condition.status, condition.reason));
    }
    print
}
