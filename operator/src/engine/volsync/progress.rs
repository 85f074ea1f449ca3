//! What VolSync says, and how it is stopped. It tries for ever: only the deadline fails it.

use serde_json::{Value, json};

use super::child::mixture;
use super::continuous;
use crate::api::condition::Reason;
use crate::api::names;
use crate::api::operation::OperationType;
use crate::cluster_api::{Caps, Key, Object, Preconditions, Propagation, Scope};
use crate::engine::operation::{Answer, Cause, Facts, Order, Question, Reading, State, Step, Withdrawal};
use crate::foreign::job::job;
use crate::foreign::pod::controller;
use crate::foreign::text;
use crate::foreign::volsync::Replication;

/// Jobs of the namespace, among which the mover's are found by their controller.
fn jobs(order: &Order, caps: &Caps) -> Option<Question> {
    Some(Question::List(job(caps)?, Scope::namespace(&order.namespace).lean()))
}

pub(super) fn questions(order: &Order, caps: &Caps) -> Vec<Question> {
    jobs(order, caps).into_iter().collect()
}

/// Contract §10.5.
pub(super) fn interpret(order: &Order, caps: &Caps, child: &Object) -> Reading {
    let read = Replication::read(child);
    let mut reading = if continuous(order) { again(&read) } else { once(order, &read) };
    let ended = matches!(reading.state, State::Succeeded(..) | State::Failed(_));
    if !ended {
        trouble(order, &read, &mut reading);
    }
    if let Some(mixture) = (order.type_ == OperationType::Restore).then(|| mixture(order, caps)).flatten() {
        reading.degraded.get_or_insert(mixture);
    }
    let mut put = |name: &str, value: Option<&String>| {
        if let Some(value) = value {
            reading.outputs.insert(name.into(), Value::String(text::cut(value, 64)));
        }
    };
    put("replicationName", Some(&child.name().to_string()));
    // Times of a synchronisation before the start are not this Operation's.
    if after_start(order, read.last_sync_time.as_deref()) {
        put("lastSyncTime", read.last_sync_time.as_ref());
        put("lastSyncDuration", read.last_sync_duration.as_ref());
    }
    reading
}

/// VolSync writes whole seconds, so the start is compared as one.
fn after_start(order: &Order, time: Option<&str>) -> bool {
    let time: Option<jiff::Timestamp> = time.and_then(|text| text.parse().ok());
    time.zip(order.started).is_some_and(|(time, started)| time.as_second() >= started.as_second())
}

fn once(order: &Order, read: &Replication) -> Reading {
    let ours = read.last_manual_sync.as_deref() == Some(order.uid.as_str());
    let synced = after_start(order, read.last_sync_time.as_deref());
    if ours && synced && !read.synchronizing {
        if order.type_ == OperationType::Restore && read.nothing_restored {
            let message = "the repository holds no copy that fits: nothing was restored. Check repository, restoreAsOf and previous";
            return Reading::of(State::Failed(Reason::VolSyncNothingRestored), message);
        }
        let state = State::Succeeded(Reason::EngineCompleted, Reason::VolSyncLastSyncSucceeded);
        return Reading::of(state, "VolSync copied everything");
    }
    running(read)
}

fn running(read: &Replication) -> Reading {
    if !read.noticed {
        return Reading::of(State::Waiting, "VolSync has not seen it");
    }
    match read.last_sync_time {
        None => Reading::of(State::Running(Reason::VolSyncFirstSyncInProgress), "VolSync copies everything"),
        Some(_) => Reading::of(State::Running(Reason::VolSyncSynchronizing), "VolSync copies what changed"),
    }
}

/// A replication with a schedule never ends. Its copies are no work that anybody waits for: whoever needs the volume at
/// rest pauses it (contract §10.5).
fn again(read: &Replication) -> Reading {
    let idle = read.noticed && !read.syncing && !read.synchronizing && read.last_sync_time.is_some();
    let mut reading = match idle {
        true => Reading::of(State::Running(Reason::VolSyncIdle), "VolSync waits for its next turn"),
        false => running(read),
    };
    reading.working = reading.state == State::Waiting;
    reading
}

/// What is wrong for the moment.
fn trouble(order: &Order, read: &Replication, reading: &mut Reading) {
    // The result of a mover stays until the next one has a result: it counts only for a synchronisation that began after
    // the start and is not complete.
    let begun = read.sync_start.zip(order.started).is_some_and(|(sync, start)| sync.as_second() >= start.as_second());
    let words = match &read.error {
        Some(error) => Some(text::cut(&format!("VolSync tries again: {error}"), 1024)),
        None if read.mover_failed && begun => Some("the mover failed; VolSync tries again".into()),
        None => None,
    };
    if let Some(words) = words {
        reading.at_deadline = Some(Reason::VolSyncFailed);
        reading.degraded = Some((Reason::VolSyncDegraded, words));
    }
    if read.paused && read.paused_by_others {
        reading.blocked =
            Some((Reason::AwaitingResume, "somebody paused the replication; set spec.paused to false".into()));
    }
}

/// Whether the mover's Job is there. What was not read may be.
fn mover_there(order: &Order, facts: &Facts) -> bool {
    let name = names::operation_child(&order.name, &order.uid);
    let wanted = match order.type_ {
        OperationType::Restore => "ReplicationDestination",
        _ => "ReplicationSource",
    };
    let list = facts.0.iter().find_map(|(question, answer)| match (question, answer) {
        (Question::List(kind, _), Answer::List(list)) if kind.kind == "Job" => Some(list),
        _ => None,
    });
    list.is_none_or(|list| {
        list.iter().filter_map(controller).any(|controller| controller.kind == wanted && controller.name == name)
    })
}

/// Paused, so that no new mover starts; then deleted, with the mover. The repository is never touched.
pub(super) fn withdraw(order: &Order, cause: Cause, child: Option<(&Key, &Object)>, facts: &Facts) -> Withdrawal {
    let stopping = matches!(cause, Cause::Cancelled | Cause::Timeout);
    let Some((key, object)) = child else {
        let moving = stopping && mover_there(order, facts);
        let note = if moving { "the mover is being stopped" } else { "" };
        return Withdrawal { steps: Vec::new(), done: !moving, note: note.into() };
    };
    let read = Replication::read(object);
    let note = if stopping { "the replication is being stopped" } else { "" };
    if read.deleting {
        return Withdrawal { steps: Vec::new(), done: !stopping, note: note.into() };
    }
    let Some(uid) = object.uid() else { return Withdrawal { steps: Vec::new(), done: false, note: note.into() } };
    let mut steps = Vec::new();
    if stopping && !read.paused {
        steps.push(Step::Patch { key: key.clone(), uid: uid.clone(), merge: json!({ "spec": { "paused": true } }) });
    }
    let only_if = Preconditions { uid: Some(uid), version: None };
    steps.push(Step::Delete { key: key.clone(), only_if, how: Propagation::Background });
    Withdrawal { steps, done: false, note: note.into() }
}
