//! A job whose effect is there: the result waits for what becomes of the object (contract §18.3, §18.4, §18.6).

use std::time::Duration;

use serde_json::json;

use super::decide::Case;
use super::journal::Entry;
use super::start::{delete, request_cancel};
use super::verdict::Verdict;
use super::work::{Task, Work};
use super::{Step, Then, outcome, rotation, status};
use crate::api::{annotation, names};
use crate::cluster_api::{Key, Object};
use crate::foreign::flux;
use crate::policy::jobs::Sort;
use crate::reconcile::{Effect, Plan};

/// A watched object is looked at this often although nothing was heard of it.
const LOOK: Duration = Duration::from_secs(5 * 60);
/// An object whose kind nobody watches.
const POLL: Duration = Duration::from_secs(10);

pub(super) fn watch(case: &Case<'_>, mut entry: Entry) -> Step {
    let snapshot = case.snapshot;
    let task = match &snapshot.task {
        Ok(task) => task,
        // It was allowed when it began; what it made is what it is.
        Err(refusal) => return case.tell(entry, Verdict::refused(refusal)),
    };
    if matches!(task.work, Work::Rotate | Work::Resync) {
        return rotation::watch(case, entry);
    }
    let (Some(key), Some(applied)) = (&task.key, entry.applied_ref.clone()) else {
        return case.tell(entry, Verdict::failed("InvalidPayload", "it names no object"));
    };
    let same = |live: &&Object| live.uid().map(|uid| uid.0) == applied.uid;
    let Some(live) = snapshot.target.found().filter(same) else {
        let verdict = match task.work {
            Work::Delete(_) => Verdict::succeeded(),
            _ if newer(case, &entry) => Verdict::noop(Some("superseded")),
            _ => Verdict::failed("ExternalDeletion", "the object was deleted before its result was known"),
        };
        return case.tell(entry, verdict);
    };
    let generation = applied.generation.unwrap_or_default();
    if let Some(verdict) = verdict(case, &entry, task, live, generation) {
        return case.tell(entry, verdict);
    }
    let own = case.deadline(&entry);
    let theirs = (task.sort == Some(Sort::Operation)).then(|| outcome::operation_deadline(live)).flatten();
    let deadline = own.max(theirs);
    if deadline.is_some_and(|deadline| deadline <= case.now) {
        return case.tell(entry, Verdict::failed("DeadlineExceeded", &outcome::current(live)));
    }
    let again = effect(task, key, live).or_else(|| retry(&entry, task, key, live));
    let spoken = status::status(case, &mut entry, live);
    let look = if task.sort == Some(Sort::BackupLocation) { POLL } else { LOOK };
    let mut wake = deadline.map_or(look, |deadline| case.until(deadline).min(look));
    if let Some(wait) = spoken.wait {
        wake = wake.min(wait);
    }
    let mut effects = case.save(&entry);
    effects.extend(again);
    effects.extend(spoken.call);
    let why = format!("waits for {key}");
    Step { plan: Plan { effects, wake: Some(wake), why }, entry: Some(entry), then: Then::Rest, told: spoken.told }
}

fn verdict(case: &Case<'_>, entry: &Entry, task: &Task, live: &Object, generation: i64) -> Option<Verdict> {
    match (&task.work, task.sort) {
        // Until it is gone.
        (Work::Delete(_), _) => None,
        (Work::Cancel(_), _) => outcome::terminal(live).then(Verdict::succeeded),
        (_, Some(Sort::Instance)) => outcome::instance(live, generation, attempted(case, entry, live)),
        (_, Some(Sort::Operation)) => outcome::operation(live),
        (_, Some(Sort::BackupLocation)) => {
            let since = entry.acked_at.as_ref().and_then(|time| time.parse().ok());
            outcome::location(live, since, case.now)
        }
        _ => Some(Verdict::succeeded()),
    }
}

/// What an effect lacks that is repeated until it is seen.
fn effect(task: &Task, key: &Key, live: &Object) -> Option<Effect> {
    match task.work {
        Work::Delete(_) if !live.deleting() => Some(delete(key, live)),
        Work::Cancel(_) => request_cancel(key, live),
        _ => None,
    }
}

/// Whether a newer job had its effect on the object.
fn newer(case: &Case<'_>, entry: &Entry) -> bool {
    match (entry.created(), case.snapshot.past.newest) {
        (Some(own), Some(newest)) => own < newest,
        _ => false,
    }
}

/// A job that is processed again asks once for a new attempt of a release that stands failed (contract §6.5): the value is
/// derived from the job, and the instance's loop does the asking.
fn retry(entry: &Entry, task: &Task, key: &Key, live: &Object) -> Option<Effect> {
    let wanted = retry_value(entry);
    let asks = entry.again && task.sort == Some(Sort::Instance) && outcome::failed(live);
    if !asks || live.annotation(annotation::RETRY) == Some(wanted.as_str()) {
        return None;
    }
    let merge = json!({ "metadata": { "annotations": { annotation::RETRY: wanted } } });
    Some(Effect::Patch { key: key.clone(), uid: live.uid()?, merge })
}

fn retry_value(entry: &Entry) -> String {
    names::token("job", &[&entry.job.id])
}

/// Whether a failure of the release is about the attempt this job asked for. The instance's status does not tell: a second
/// failure for the same reason reads like the first. So the release is asked whether it has handled the token.
fn attempted(case: &Case<'_>, entry: &Entry, live: &Object) -> bool {
    if !entry.again {
        return true;
    }
    let value = retry_value(entry);
    if live.annotation(annotation::RETRY) != Some(value.as_str()) {
        // It did not stand failed when this job came, and nothing was asked for; or it is asked for now.
        return false;
    }
    let uid = live.uid().map(|uid| uid.0).unwrap_or_default();
    let token = names::token("retry", &[&uid, &value]);
    case.snapshot
        .release
        .as_ref()
        .is_some_and(|release| flux::handled_reset(release).as_deref() == Some(&token) && flux::at_rest(release))
}
