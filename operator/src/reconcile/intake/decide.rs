//! One job, one decision: which step it is at, and what that step does (contract §18.1).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::journal::{self, Entry, State};
use super::verdict::Verdict;
use super::{Origin, Snapshot, Step, Then, audit, start, watch};
use crate::cluster_api::Object;
use crate::policy::{Refusal, jobs};
use crate::protocol::job::digest;
use crate::protocol::{Call, Trouble};
use crate::reconcile::act::Failure;
use crate::reconcile::{Effect, Plan};

/// How often a refused result is posted again, and how many times (contract §17.2).
const REFUSED_AGAIN: Duration = Duration::from_secs(3600);
const REFUSED_MAX: u32 = 24;
/// Where nothing may be decided, it is looked at again after this long.
const LATER: Duration = Duration::from_secs(30);

/// What happens to the job now.
pub fn decide(snapshot: &Snapshot, now: Timestamp) -> Step {
    match &snapshot.origin {
        Origin::Fresh(received, order) => receive(snapshot, received, *order, now),
        Origin::Gone => forget(Vec::new(), "the entry is gone"),
        Origin::Corrupt(object, older) => super::close::aside(object, older, &snapshot.settings.reporter, now),
        Origin::Newer => {
            let plan = Plan { wake: Some(LATER), ..Plan::idle("the entry was written by a newer version") };
            Step { plan, entry: None, then: Then::Rest, told: None }
        }
        Origin::Stored { object, entry } => {
            let case = Case { snapshot, object, stored: entry, now };
            case.step()
        }
    }
}

/// The job ends without a word and without a line.
pub(super) fn forget(effects: Vec<Effect>, why: &str) -> Step {
    let plan = Plan { effects, ..Plan::idle(why) };
    Step { plan, entry: None, then: Then::Forget, told: None }
}

/// A job from the poll: checked without effects, kept, acknowledged.
fn receive(snapshot: &Snapshot, received: &super::Received, order: i64, now: Timestamp) -> Step {
    let cluster_id = snapshot.settings.cluster_id.as_deref().unwrap_or_default();
    let mut entry = Entry::new(cluster_id, &received.job, order);
    let (result, why) = if let Some(line) = &snapshot.past.same_job {
        (Some(line.body()), "closed before: its result is told again")
    } else if let Some(refusal) = refusal(snapshot, received.flaw.as_ref()) {
        (Some(Verdict::refused(&refusal).body(now)), "refused")
    } else {
        (None, "kept and acknowledged")
    };
    if result.is_some() {
        entry.payload = None;
        entry.encrypted_payload = None;
        entry.job.signature = None;
    }
    entry.result = result;
    // The event first: once the entry is there, the refusal is not decided again.
    let mut effects: Vec<Effect> = audit::event(snapshot, &entry.job.id, now).into_iter().collect();
    effects.extend([entry.create(&snapshot.rules.places.operator), acknowledge(&entry)]);
    Step::new(entry, Plan { effects, ..Plan::idle(why) }, Then::Acked)
}

/// Everything that forbids a job before anything is done for it. A key that is known is judged later, by what it did.
fn refusal(snapshot: &Snapshot, flaw: Option<&Refusal>) -> Option<Refusal> {
    if let Some(flaw) = flaw {
        return Some(flaw.clone());
    }
    match &snapshot.task {
        Err(refusal) => Some(refusal.clone()),
        Ok(_) if snapshot.past.same_key.is_some() => None,
        Ok(task) => surroundings(snapshot, task).err(),
    }
}

/// The checks that look at the cluster: gate and ownership.
pub(super) fn surroundings(snapshot: &Snapshot, task: &super::Task) -> Result<jobs::Door, Refusal> {
    let (Some(sort), Some(key)) = (task.sort, &task.key) else { return Ok(jobs::Door::Open) };
    let namespace = key.namespace.as_deref().unwrap_or_default();
    let door = jobs::namespace(sort, namespace, snapshot.namespace.as_ref(), task.verb(), &snapshot.settings)?;
    let foreign = matches!(task.work, super::work::Work::Delete(_) | super::work::Work::Cancel(_));
    if let (true, Some(target)) = (foreign, snapshot.target.found()) {
        jobs::managed(target)?;
    }
    Ok(door)
}

fn acknowledge(entry: &Entry) -> Effect {
    Effect::Call(Call::Acknowledge { job: entry.job.id.clone() })
}

/// A stored job under decision.
pub(super) struct Case<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) object: &'a Object,
    pub(super) stored: &'a Entry,
    pub(super) now: Timestamp,
}

impl Case<'_> {
    fn step(&self) -> Step {
        let Some(own) = self.snapshot.settings.cluster_id.as_deref() else {
            return Step::rest(self.stored.clone(), "the own cluster id is not known", Some(LATER));
        };
        if self.stored.cluster_id != own {
            return forget(vec![journal::remove(self.object)], "it belongs to an earlier identity of this cluster");
        }
        if self.snapshot.settings.unreadable && self.stored.state < State::Applied {
            return Step::rest(self.stored.clone(), "the rules of this cluster cannot be read", Some(LATER));
        }
        match self.stored.state {
            State::Received if !self.snapshot.memory.acked => self.unacknowledged(),
            State::Received | State::Acked => {
                let entry = self.acknowledged();
                // A result that was decided before the acknowledgement.
                if entry.result.is_some() {
                    return self.decided(entry);
                }
                start::start(self, entry)
            }
            State::Applied => watch::watch(self, self.stored.clone()),
            State::Decided => self.told(),
        }
    }

    /// How a call of the last pass was answered, if it was not as asked.
    fn trouble(&self, wanted: &str) -> Option<&Trouble> {
        match &self.snapshot.memory.last {
            Some(Failure::Call { call, trouble }) if *call == wanted => Some(trouble),
            _ => None,
        }
    }

    fn unacknowledged(&self) -> Step {
        match self.trouble("ack") {
            Some(Trouble::NotFound | Trouble::Conflict) => {
                forget(vec![journal::remove(self.object)], "the control plane has closed it already")
            }
            Some(Trouble::Refused { .. }) => {
                forget(vec![journal::remove(self.object)], "the control plane refuses the acknowledgement")
            }
            _ => {
                let plan = Plan { effects: vec![acknowledge(self.stored)], ..Plan::idle("to be acknowledged") };
                Step::new(self.stored.clone(), plan, Then::Acked)
            }
        }
    }

    fn acknowledged(&self) -> Entry {
        let mut entry = self.stored.clone();
        if entry.state == State::Received {
            let deadline = SignedDuration::try_from(self.snapshot.rules.deadline).unwrap_or(SignedDuration::MAX);
            entry.state = State::Acked;
            entry.acked_at = Some(self.now.to_string());
            entry.deadline = Some(self.now.checked_add(deadline).unwrap_or(Timestamp::MAX).to_string());
        }
        entry
    }

    /// Writes the entry, unless that is what is stored.
    pub(super) fn save(&self, entry: &Entry) -> Vec<Effect> {
        if entry == self.stored { Vec::new() } else { vec![entry.update(self.object)] }
    }

    /// The result is decided: into the journal first, then told.
    pub(super) fn tell(&self, mut entry: Entry, verdict: Verdict) -> Step {
        let applied = verdict.applied.clone().or_else(|| entry.applied_ref.clone());
        entry.result = Some(verdict.about(applied).body(self.now));
        self.decided(entry)
    }

    fn decided(&self, mut entry: Entry) -> Step {
        entry.state = State::Decided;
        if let Some(payload) = entry.payload.take() {
            entry.digest = Some(digest(&entry.job.kind, &payload));
        }
        entry.encrypted_payload = None;
        let mut effects = self.save(&entry);
        let why = format!("ends as {:?}", entry.decided().map(|result| result.outcome));
        // A control plane that does not answer would keep a worker for the whole of a timeout.
        if !self.snapshot.memory.reachable {
            return Step::new(entry, Plan { effects, ..Plan::idle(why) }, Then::Again);
        }
        effects.extend(result(&entry));
        Step::new(entry, Plan { effects, ..Plan::idle(why) }, Then::Posted)
    }

    /// The result is posted until somebody takes it.
    fn told(&self) -> Step {
        let entry = self.stored.clone();
        let accepted = matches!(self.trouble("result"), Some(Trouble::NotFound | Trouble::Conflict));
        if self.snapshot.memory.posted || accepted {
            return self.close(entry, "its result is accepted");
        }
        if let Some(Trouble::Refused { .. }) = self.trouble("result") {
            if entry.refused + 1 >= REFUSED_MAX {
                return self.close(entry, "its result was refused for a day");
            }
            let mut entry = entry;
            entry.refused += 1;
            let effects = self.save(&entry);
            let plan = Plan { effects, wake: Some(REFUSED_AGAIN), why: "the control plane refuses the result".into() };
            return Step::new(entry, plan, Then::Rest);
        }
        let effects = result(&entry).into_iter().collect();
        Step::new(entry, Plan { effects, ..Plan::idle("its result is to be told") }, Then::Posted)
    }

    fn close(&self, entry: Entry, why: &str) -> Step {
        match entry.line() {
            Some(line) => Step::new(entry, Plan::idle(why), Then::Close(Box::new(line), self.object.clone())),
            // Not what this operator writes: there is nothing to remember it by.
            None => forget(vec![journal::remove(self.object)], why),
        }
    }

    /// When the job is given up.
    pub(super) fn deadline(&self, entry: &Entry) -> Option<Timestamp> {
        entry.deadline.as_ref().and_then(|time| time.parse().ok())
    }

    /// Time until `at`; nothing if it has passed.
    pub(super) fn until(&self, at: Timestamp) -> Duration {
        at.duration_since(self.now).try_into().unwrap_or(Duration::ZERO)
    }
}

fn result(entry: &Entry) -> Option<Effect> {
    let body = entry.result.clone()?;
    Some(Effect::Call(Call::Result { job: entry.job.id.clone(), body }))
}
