//! The `velero` engine: a Backup or a Restore in Velero's namespace (contract §10.2, §10.3).

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::operation::{
    Cause, Facts, Hold, OperationEngine, Order, Question, Reading, Stage, Start, State, Withdrawal,
};
use super::{flux, operation};
use crate::api::condition::Reason;
use crate::api::names;
use crate::api::operation::{OperationType, Progress};
use crate::cluster_api::{Caps, Key, Kind, Object};
use crate::foreign::text;
use crate::foreign::velero::{self, Location, Phase, Work};

mod backup;
mod coverage;
mod origin;
mod restore;

/// See [`OperationEngine`].
pub struct Velero;

/// How often Velero validates a location that does not say, in seconds (downstream §6.1).
const VALIDATION_SECONDS: i64 = 60;

impl OperationEngine for Velero {
    fn kinds(&self, order: &Order, caps: &Caps) -> Result<Vec<Kind>, String> {
        let missing = |what: &str| format!("the Velero API {what} velero.io/v1 is not installed in this cluster");
        let backup = velero::backup(caps).ok_or_else(|| missing("Backup"))?;
        let location = velero::location(caps).ok_or_else(|| missing("BackupStorageLocation"))?;
        if order.type_ != OperationType::Restore {
            return Ok(vec![backup, location]);
        }
        Ok(vec![velero::restore(caps).ok_or_else(|| missing("Restore"))?, backup, location])
    }

    fn child(&self, order: &Order, caps: &Caps) -> Option<Key> {
        let kind = match order.type_ {
            OperationType::Restore => velero::restore(caps)?,
            _ => velero::backup(caps)?,
        };
        Some(Key::namespaced(&kind, &order.velero_namespace, &names::by_uid(&order.uid)))
    }

    fn questions(&self, stage: Stage, order: &Order, caps: &Caps, facts: &Facts) -> Vec<Question> {
        match order.type_ {
            OperationType::Restore => restore::questions(stage, order, caps, facts),
            _ => backup::questions(stage, order, caps),
        }
    }

    fn render(&self, order: &Order, caps: &Caps, facts: &Facts, now: Timestamp) -> Result<Start, Hold> {
        let unserved = || Hold::wait(Reason::EngineNotInstalled, "Velero is not installed in this cluster");
        let key = self.child(order, caps).ok_or_else(unserved)?;
        match order.type_ {
            OperationType::Restore => restore::render(key, order, caps, facts),
            _ => backup::render(key, order, caps, facts, now),
        }
    }

    fn interpret(&self, order: &Order, caps: &Caps, child: &Object, facts: &Facts, _: Timestamp) -> Reading {
        match order.type_ {
            OperationType::Restore => restore::interpret(order, child, facts),
            _ => backup::interpret(order, caps, child, facts),
        }
    }

    fn withdraw(
        &self,
        order: &Order,
        cause: Cause,
        child: Option<(&Key, &Object)>,
        facts: &Facts,
        _: Timestamp,
        _: Timestamp,
    ) -> Withdrawal {
        match order.type_ {
            OperationType::Restore => restore::withdraw(order, cause, child, facts),
            _ => backup::withdraw(cause, child),
        }
    }
}

/// The reasons of one direction.
struct Words {
    running: Reason,
    ended: Reason,
    succeeded: Reason,
    failed: Reason,
    invalid: Reason,
}

/// The mapping table, which is the same in both directions. `whole` says whether `Completed` really is (contract §10.2).
fn judge(work: &Work, words: &Words, whole: Result<(), String>) -> Reading {
    let partial = |message: String| {
        let mut reading = Reading::of(State::Failed(words.failed), message.clone());
        reading.degraded = Some((Reason::PartialFailure, message));
        reading
    };
    let mut reading = match work.phase.known() {
        Some(Phase::Waiting) => Reading::of(State::Waiting, "Velero has not begun"),
        Some(Phase::Working) => Reading::of(State::Running(words.running), "Velero works on it"),
        Some(Phase::Completed) => match whole {
            Ok(()) => Reading::of(State::Succeeded(words.ended, words.succeeded), "Velero completed it"),
            Err(why) => partial(format!("PartiallyFailed: Velero says Completed, but {why}")),
        },
        Some(Phase::PartiallyFailed) => {
            let errors = work.errors.map_or_else(|| "an unreadable number of".into(), |errors| errors.to_string());
            partial(format!("PartiallyFailed: {errors} errors; see the log that Velero keeps with it"))
        }
        Some(Phase::Failed) => {
            let why = if work.failure.is_empty() { "Velero gives no reason" } else { &work.failure };
            Reading::of(State::Failed(words.failed), text::cut(why, 1024))
        }
        Some(Phase::FailedValidation) => {
            let why = if work.invalid.is_empty() { "Velero gives no reason" } else { &work.invalid };
            let mut reading = Reading::of(State::Failed(words.failed), text::cut(why, 1024));
            reading.accepted = Some(words.invalid);
            reading
        }
        Some(Phase::Deleting) => Reading::of(State::Running(words.running), "Velero is deleting it"),
        None => Reading::of(State::Running(words.running), "Velero is in a phase that is not known to this version"),
    };
    reading.working = !work.ended();
    reading.progress = progress(work);
    reading
}

fn progress(work: &Work) -> Option<Progress> {
    let done = work.items.filter(|items| *items > 0)?;
    Some(Progress { done, total: work.total.filter(|total| *total > 0), unit: Some("items".into()) })
}

/// Counters of the end, under the names of contract §10.2 and §10.3.
fn counted(work: &Work, items: &str, outputs: &mut Map<String, Value>) {
    let known = [(items, work.items), ("errorCount", work.errors), ("warningCount", work.warnings)];
    for (name, count) in known {
        if let Some(count) = count {
            outputs.insert(name.into(), count.to_string().into());
        }
    }
    // A Backup has counters, no texts.
    if let Some(warnings) = work.warnings.filter(|count| *count > 0) {
        outputs.insert("warnings".into(), json!([format!("Velero counted {warnings} warnings; its log has them")]));
    }
}

fn location_key(order: &Order, caps: &Caps, name: &str) -> Option<Key> {
    Some(Key::namespaced(&velero::location(caps)?, &order.velero_namespace, name))
}

/// The location, if Velero can use it now.
fn usable_location(key: Option<Key>, name: &str, facts: &Facts) -> Result<Location, Hold> {
    let wait = |message: String| Hold::wait(Reason::DependencyMissing, message);
    let location = key.and_then(|key| facts.object(&key).map(Location::read)).ok_or_else(|| {
        wait(format!("BackupStorageLocation {name} does not exist; create it in Velero's namespace, or name another"))
    })?;
    if !location.available {
        let phase = if location.phase.is_empty() { "not validated yet" } else { &location.phase };
        let quoted = text::cut(&text::quote(phase, &location.message), 800);
        return Err(wait(format!("BackupStorageLocation {name} is not Available: {quoted}")));
    }
    Ok(location)
}

/// Whether the last validation is newer than twice its frequency, where there is one.
fn fresh(location: &Location, now: Timestamp) -> bool {
    let frequency = location.frequency.as_deref().and_then(flux::seconds).unwrap_or(VALIDATION_SECONDS);
    frequency == 0
        || location.validated.is_some_and(|at| now.duration_since(at).as_secs() <= frequency.saturating_mul(2))
}

/// A child of ours in Velero's namespace; it has no owner there.
fn child(key: &Key, order: &Order, annotations: &Map<String, Value>, body: Value) -> Object {
    let mut metadata =
        json!({ "name": key.name, "namespace": key.namespace, "labels": operation::labels(order, true) });
    if !annotations.is_empty() {
        metadata["annotations"] = json!(annotations);
    }
    let mut object = json!({ "apiVersion": key.kind.api_version(), "kind": key.kind.kind, "metadata": metadata });
    for (field, value) in body.as_object().into_iter().flatten() {
        object[field] = value.clone();
    }
    Object(object)
}

/// What the schema of resource lists cannot say; Velero refuses such a request for good.
fn check_resources(included: &[String], excluded: &[String], ours: &[&str]) -> Result<(), Hold> {
    let invalid = |message: String| Err(Hold::wait(Reason::ValidationFailed, message));
    if included.len() > 1 && included.iter().any(|name| name == "*") {
        return invalid("parameters.includedResources has * beside other names; use * alone".into());
    }
    if excluded.iter().any(|name| name == "*") {
        return invalid("parameters.excludedResources must not have *".into());
    }
    if let Some(both) = included.iter().find(|name| excluded.contains(name)) {
        return invalid(format!("parameters includes and excludes {both}; remove it from one of the lists"));
    }
    if let Some(kept_out) = included.iter().find(|name| ours.contains(&name.as_str())) {
        return invalid(format!("parameters.includedResources must not have {kept_out}: old requests would run again"));
    }
    Ok(())
}

/// The given names and ours, each once, ours last.
fn excluded(given: &[String], ours: &[&str]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for name in given.iter().map(String::as_str).chain(ours.iter().copied()) {
        if !all.iter().any(|known| known == name) {
            all.push(name.into());
        }
    }
    all
}

#[cfg(test)]
mod tests;
