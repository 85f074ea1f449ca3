//! An acknowledged job before its effect: everything that keeps it from having one, in the order of contract §18.1 and
//! §18.5, and then the effect.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::decide::{Case, surroundings};
use super::journal::{Entry, State};
use super::ledger::{Line, number};
use super::past::Waits;
use super::verdict::{Verdict, reference};
use super::work::{Task, Work};
use super::{Step, Then, outcome, rotation, watch};
use crate::api::label;
use crate::cluster_api::{ApiError, Key, Manager, Object, Preconditions, Propagation};
use crate::foreign::{core, fields};
use crate::policy::jobs::{Door, Sort};
use crate::protocol::job::{AppliedRef, FieldConflict, Outcome, digest};
use crate::reconcile::act::{Failure, describe};
use crate::reconcile::instance::Look;
use crate::reconcile::{Effect, Plan};

/// The first of: given up, refused, waiting, replayed, superseded, expired, done.
pub(super) fn start(case: &Case<'_>, mut entry: Entry) -> Step {
    let snapshot = case.snapshot;
    let task = match &snapshot.task {
        Ok(task) => task,
        Err(refusal) => return case.tell(entry, Verdict::refused(refusal)),
    };
    let deadline = case.deadline(&entry);
    if deadline.is_some_and(|deadline| deadline <= case.now) {
        let why = match (&snapshot.memory.last, snapshot.past.waits) {
            (Some(Failure::Effect { error, .. }), _) => error.to_string(),
            (_, Some(_)) => "it waited for an earlier job".into(),
            _ => "it could not be applied in time".into(),
        };
        return case.tell(entry, Verdict::failed("DeadlineExceeded", &why));
    }
    let wake = deadline.map(|deadline| case.until(deadline));
    if let Some(waits) = snapshot.past.waits {
        let why = match waits {
            Waits::SameKey => "an earlier job with its key is open",
            Waits::SameObject => "an earlier job on its object is not applied yet",
        };
        let plan = Plan { effects: case.save(&entry), wake, why: why.into() };
        return Step::new(entry, plan, Then::Rest);
    }
    match replay(case, &entry, task) {
        Replay::Told(verdict) => return case.tell(entry, verdict),
        Replay::Again => entry.again = true,
        Replay::No => {}
    }
    let door = match surroundings(snapshot, task) {
        Ok(door) => door,
        Err(refusal) => return case.tell(entry, Verdict::refused(&refusal)),
    };
    if superseded(case, &entry) {
        return case.tell(entry, Verdict::noop(Some("superseded")).about(found(task, &snapshot.target)));
    }
    // The evicted line might be this job's: running a restore twice is worse than refusing it (contract §18.5).
    let new_operation = task.sort == Some(Sort::Operation) && matches!(task.work, Work::Apply(_)) && !entry.again;
    if new_operation && snapshot.past.same_key.is_none() && snapshot.past.beyond && !entry.tried {
        let message = "it is older than what this cluster remembers; send it as a new Operation";
        return case.tell(entry, Verdict::failed("StaleJob", message));
    }
    let there = snapshot.memory.applied || (entry.tried && evident(task, &snapshot.target));
    if !there && expired(case, &entry) {
        return case.tell(entry, Verdict::noop(Some("expired")));
    }
    match (&task.work, &task.key) {
        (Work::Apply(object), Some(key)) => apply(case, entry, task, (key, object), door, there),
        (Work::Delete(uid), Some(key)) => remove(case, entry, key, uid.as_deref()),
        (Work::Cancel(uid), Some(key)) => cancel(case, entry, key, uid.as_deref()),
        (Work::Rotate, _) => rotation::start(case, entry),
        (Work::Resync, _) => rotation::resync(case, entry),
        (Work::Apply(_) | Work::Delete(_) | Work::Cancel(_), None) => {
            case.tell(entry, Verdict::failed("InvalidPayload", "it names no object"))
        }
    }
}

enum Replay {
    No,
    /// The same apply once more, because it failed (contract §18.5).
    Again,
    Told(Verdict),
}

/// What a known key means.
fn replay(case: &Case<'_>, entry: &Entry, task: &Task) -> Replay {
    if entry.tried {
        return Replay::No;
    }
    let Some(line) = &case.snapshot.past.same_key else { return Replay::No };
    let own = entry.payload.as_ref().map(|payload| digest(&entry.job.kind, payload));
    if line.h.is_some() && line.h != own {
        let verdict = Verdict::conflict("IdempotencyKeyReused", "the key was used for another body");
        return Replay::Told(verdict.about(line.applied.clone()));
    }
    let applies = matches!(task.work, Work::Apply(_));
    let gone = applies && vanished(line, &case.snapshot.target);
    if gone {
        let mut verdict = Verdict::failed("AppliedObjectGone", "the object was deleted; send it under a new key");
        verdict.outcome = Outcome::Noop;
        return Replay::Told(verdict.about(line.applied.clone()));
    }
    if applies && task.sort == Some(Sort::Instance) && line.o == Outcome::Failed {
        return Replay::Again;
    }
    Replay::Told(Verdict::noop(None).about(line.applied.clone()))
}

/// Whether the object that a key made is gone.
fn vanished(line: &Line, target: &Look) -> bool {
    let Some(uid) = line.applied.as_ref().and_then(|applied| applied.uid.as_ref()) else { return false };
    target.found().and_then(Object::uid).is_none_or(|live| live.0 != *uid)
}

/// Whether a newer job had its effect on the same object.
fn superseded(case: &Case<'_>, entry: &Entry) -> bool {
    if entry.tried {
        return false;
    }
    let past = &case.snapshot.past;
    if let (Some(own), Some(newest)) = (entry.created(), past.newest)
        && own < newest
    {
        return true;
    }
    let uid = case.snapshot.target.found().and_then(Object::uid).map(|uid| uid.0);
    let own = entry.job.key.as_deref().and_then(number);
    own.is_some_and(|own| past.numbers.iter().any(|(of, number)| Some(of) == uid.as_ref() && *number > own))
}

/// By the control plane's clock.
fn expired(case: &Case<'_>, entry: &Entry) -> bool {
    let Some(expires) = entry.job.expires_at.as_ref().and_then(|time| time.parse::<Timestamp>().ok()) else {
        return false;
    };
    let theirs = case.now.checked_add(case.snapshot.ahead).unwrap_or(case.now);
    expires <= theirs
}

/// Whether an apply whose answer was lost has left its traces.
fn evident(task: &Task, target: &Look) -> bool {
    let (Work::Apply(wanted), Some(live)) = (&task.work, target.found()) else { return false };
    fields::settled(live, wanted)
}

fn found(task: &Task, target: &Look) -> Option<AppliedRef> {
    Some(reference(task.key.as_ref()?, target.found()?))
}

fn apply(
    case: &Case<'_>,
    mut entry: Entry,
    task: &Task,
    (key, wanted): (&Key, &Object),
    door: Door,
    there: bool,
) -> Step {
    let target = &case.snapshot.target;
    let sort = task.sort;
    if there {
        return applied(case, entry, key, sort);
    }
    let wake = case.deadline(&entry).map(|deadline| case.until(deadline));
    if let Some(live) = target.found() {
        if live.deleting() {
            // What is written into it now goes with it.
            let plan = Plan { effects: case.save(&entry), wake, why: "the old object is being deleted".into() };
            return Step::new(entry, plan, Then::Rest);
        }
        if sort == Some(Sort::Operation) && !entry.tried {
            if let Some(path) = immutable(live, wanted) {
                let text = format!("the Operation exists with another {path}");
                return case.tell(entry, Verdict::conflict("FieldConflict", &text).about(found(task, target)));
            }
            if outcome::terminal(live) {
                return case.tell(entry, Verdict::noop(None).about(found(task, target)));
            }
        }
    }
    let mut object = wanted.clone();
    // With its uid an apply can neither bring back an object that is gone nor take over one that took its name.
    if let Some(uid) = target.found().and_then(Object::uid) {
        object.0["metadata"]["uid"] = json!(uid.0);
    }
    let effect = Effect::Apply { object, manager: Manager::Agent, force: false };
    if let Some(verdict) = answered(case, &effect) {
        // The server has said no: there is no effect, and the key may be used again.
        entry.tried = false;
        return case.tell(entry, verdict.about(found(task, target)));
    }
    entry.tried = true;
    let mut effects = case.save(&entry);
    if door == Door::Create {
        effects.push(Effect::Create(Object(json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": key.namespace, "labels": { label::GATE: label::GATE_VALUE } },
        }))));
        return Step::new(entry, Plan { effects, ..Plan::idle("its namespace is created") }, Then::Again);
    }
    effects.push(effect);
    Step::new(entry, Plan { effects, ..Plan::idle("applied") }, Then::Applied)
}

/// The server's definite answer to the apply of the last pass, if it gave one. Everything else is tried again until the
/// deadline.
fn answered(case: &Case<'_>, effect: &Effect) -> Option<Verdict> {
    let Some(Failure::Effect { effect: of, error }) = &case.snapshot.memory.last else { return None };
    if *of != describe(effect) {
        return None;
    }
    let refused = |text: &str| {
        let said = text.split_once("denied the request: ").map_or(text, |(_, said)| said);
        Verdict::failed(outcome::coded(said).unwrap_or("InvalidPayload"), said)
    };
    match error {
        ApiError::FieldConflict { fields, .. } => {
            let first = fields.first();
            let (manager, path) = first.map_or(("?", "?"), |(manager, path)| (manager.as_str(), path.as_str()));
            let mut verdict = Verdict::conflict("FieldConflict", &format!("manager \"{manager}\" owns {path}"));
            verdict.conflicts = fields
                .iter()
                .map(|(manager, path)| FieldConflict { manager: manager.clone(), field_path: path.clone() })
                .collect();
            Some(verdict)
        }
        ApiError::Refused { why } => Some(refused(why)),
        // A webhook says no with 403 as well; without its sentence it is a right that may still come.
        ApiError::Forbidden { what } if what.contains("denied the request") => Some(refused(what)),
        _ => None,
    }
}

/// The first field that an Operation never changes and the job wants otherwise.
fn immutable(live: &Object, wanted: &Object) -> Option<&'static str> {
    ["/spec/targetRef", "/spec/type", "/spec/engine"].into_iter().find_map(|pointer| {
        let wanted = wanted.0.pointer(pointer)?;
        (!fields::covers(live.0.pointer(pointer).unwrap_or(&Value::Null), wanted)).then(|| &pointer[1..])
    })
}

fn applied(case: &Case<'_>, mut entry: Entry, key: &Key, sort: Option<Sort>) -> Step {
    entry.tried = true;
    let Some(live) = case.snapshot.target.found() else {
        let verdict = Verdict::failed("ExternalDeletion", "the object was deleted right after it was applied");
        return case.tell(entry, verdict);
    };
    let live_ref = reference(key, live);
    entry.applied_ref = Some(live_ref);
    entry.state = State::Applied;
    if sort == Some(Sort::CatalogPolicy) {
        return case.tell(entry, Verdict::succeeded());
    }
    watch::watch(case, entry)
}

/// The uid is in the journal before the delete: after a crash nothing else is deleted than what was found now.
fn remove(case: &Case<'_>, mut entry: Entry, key: &Key, uid: Option<&str>) -> Step {
    entry.tried = true;
    let live = case.snapshot.target.found();
    let meant = live.filter(|live| uid.is_none_or(|uid| live.uid().is_some_and(|live| live.0 == uid)));
    let Some(live) = meant else {
        let named = AppliedRef { uid: uid.map(String::from), generation: None, ..reference(key, &Object(Value::Null)) };
        entry.applied_ref = Some(named);
        return case.tell(entry, Verdict::succeeded());
    };
    entry.applied_ref = Some(reference(key, live));
    entry.state = State::Applied;
    let mut effects = case.save(&entry);
    effects.push(delete(key, live));
    Step::new(entry, Plan { effects, ..Plan::idle("deleted") }, Then::Again)
}

pub(super) fn delete(key: &Key, live: &Object) -> Effect {
    let only_if = Preconditions { uid: live.uid(), version: None };
    Effect::Delete { key: key.clone(), only_if, how: Propagation::Background }
}

fn cancel(case: &Case<'_>, mut entry: Entry, key: &Key, uid: Option<&str>) -> Step {
    let Some(live) = case.snapshot.target.found() else {
        return case.tell(entry, Verdict::failed("TargetNotFound", "there is no such Operation"));
    };
    if uid.is_some_and(|uid| live.uid().is_none_or(|live| live.0 != uid)) {
        return case.tell(entry, Verdict::failed("AppliedObjectGone", "the Operation was replaced by another one"));
    }
    entry.tried = true;
    entry.applied_ref = Some(reference(key, live));
    entry.state = State::Applied;
    if outcome::terminal(live) {
        return case.tell(entry, Verdict::succeeded());
    }
    let mut effects = case.save(&entry);
    effects.extend(request_cancel(key, live));
    Step::new(entry, Plan { effects, ..Plan::idle("cancelled") }, Then::Rest)
}

pub(super) fn request_cancel(key: &Key, live: &Object) -> Option<Effect> {
    let asked = live.0.pointer("/spec/cancel") == Some(&json!(true));
    let merge = json!({ "spec": { "cancel": true } });
    (!asked).then_some(Effect::Patch { key: key.clone(), uid: live.uid()?, merge })
}

/// Where the namespace of a key is read.
pub(super) fn namespace_key(key: &Key) -> Option<Key> {
    Some(Key::cluster(&core::namespace(), key.namespace.as_deref()?))
}
