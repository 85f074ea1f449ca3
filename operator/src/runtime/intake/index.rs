//! The open jobs as the loop knows them: who is due, who waits for whom. An index: everything in it is in the journal, or
//! is worth no more than one repeated step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{Done, OPEN_MAX};
use crate::cluster_api::backoff::backoff;
use crate::cluster_api::{ApiError, ClusterApi, Key};
use crate::protocol::Trouble;
use crate::reconcile::act::Failure;
use crate::reconcile::intake::close::Closing;
use crate::reconcile::intake::journal::{self, State};
use crate::reconcile::intake::ledger::Ledger;
use crate::reconcile::intake::past::Summary;
use crate::reconcile::intake::receive::Received;
use crate::reconcile::intake::{Memory, Then};
use crate::reconcile::link::{Group, Link};
use crate::transport::Transport;

/// Longest wait between two tries of a step.
const CAP: Duration = Duration::from_secs(60);
/// A watched object rarely changes once: its job looks at most this often.
const SETTLE: Duration = Duration::from_millis(500);
/// A job whose acknowledgement was refused is not taken up again for this long.
const DROPPED: Duration = Duration::from_secs(3600);
/// That unsigned payloads are taken is said this often (contract §19.1).
const UNSIGNED: Duration = Duration::from_secs(3600);

/// One open job.
struct Open {
    summary: Summary,
    /// As received, until its entry is known to exist.
    fresh: Option<Received>,
    /// Name of its entry.
    name: String,
    /// Its entry may exist nevertheless.
    maybe: bool,
    memory: Memory,
    failures: u32,
    due: Option<Instant>,
    looked: Option<Instant>,
    running: bool,
    /// Something happened while a pass ran.
    woken: bool,
    closing: Option<Closing>,
}

impl Open {
    /// Whether the next step is a request to the control plane.
    fn posts(&self) -> bool {
        match self.summary.state {
            State::Received => !self.memory.acked,
            State::Decided => !self.memory.posted,
            State::Acked | State::Applied => false,
        }
    }
}

/// What a pass may know.
pub(super) struct View {
    pub(super) name: String,
    pub(super) fresh: Option<(Received, i64)>,
    pub(super) maybe: bool,
    pub(super) memory: Memory,
    pub(super) peers: Vec<Summary>,
    pub(super) ledger: Arc<Ledger>,
}

/// See the module.
pub(super) struct Index {
    cluster_id: String,
    other_identity: bool,
    open: BTreeMap<String, Open>,
    ledger: Arc<Ledger>,
    order: i64,
    notes: Map<String, Value>,
    dropped: BTreeMap<String, Instant>,
    unsigned: Option<Instant>,
    close_at: Option<Instant>,
    close_failures: u32,
    /// Jobs of the write in flight.
    batch: Vec<String>,
}

impl Index {
    pub(super) fn new(cluster_id: &str) -> Self {
        Self {
            cluster_id: cluster_id.into(),
            other_identity: false,
            open: BTreeMap::new(),
            ledger: Arc::default(),
            order: 0,
            notes: Map::new(),
            dropped: BTreeMap::new(),
            unsigned: None,
            close_at: None,
            close_failures: 0,
            batch: Vec::new(),
        }
    }

    pub(super) fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    pub(super) fn other_identity(&self) -> bool {
        self.other_identity
    }

    pub(super) fn identity_changed(&mut self) {
        self.other_identity = true;
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Results that nobody has accepted.
    pub(super) fn untold(&self) -> usize {
        self.open.values().filter(|open| open.summary.line.is_some() && !open.memory.posted).count()
    }

    pub(super) fn notes(&self) -> &Map<String, Value> {
        &self.notes
    }

    pub(super) fn set_ledger(&mut self, ledger: Ledger) {
        self.ledger = Arc::new(ledger);
    }

    /// A job of the journal.
    pub(super) fn known(&mut self, summary: Summary) {
        self.order = self.order.max(summary.order);
        self.insert(summary, None);
    }

    /// An entry that cannot be read: it is found by its ConfigMap's name.
    pub(super) fn broken(&mut self, name: &str) {
        let summary = Summary {
            id: name.into(),
            order: 0,
            key: None,
            object: None,
            created: None,
            state: State::Decided,
            tried: false,
            applied: None,
            line: None,
        };
        self.insert(summary, None);
        if let Some(open) = self.open.get_mut(name) {
            open.name = name.into();
        }
    }

    fn insert(&mut self, summary: Summary, fresh: Option<Received>) {
        let open = Open {
            name: journal::name(&summary.id),
            fresh,
            maybe: false,
            memory: Memory::default(),
            failures: 0,
            due: Some(Instant::now()),
            looked: None,
            running: false,
            woken: false,
            closing: None,
            summary,
        };
        self.open.insert(open.summary.id.clone(), open);
    }

    /// A job from the poll. What is beyond the bound is sent again by the server, which has no acknowledgement for it.
    pub(super) fn received(&mut self, received: Received, summarize: impl FnOnce(&Received, i64) -> Summary) {
        let now = Instant::now();
        self.dropped.retain(|_, at| now.saturating_duration_since(*at) < DROPPED);
        let id = &received.job.id;
        if let Some(open) = self.open.get_mut(id) {
            // The server has not heard the acknowledgement.
            if open.summary.state == State::Received && !open.memory.acked && open.failures == 0 {
                open.due = Some(now);
            }
            return;
        }
        if self.open.len() >= OPEN_MAX || self.dropped.contains_key(id) {
            return;
        }
        self.order += 1;
        let summary = summarize(&received, self.order);
        self.insert(summary, Some(received));
    }

    /// The next job to run, the one that waits longest first. While the control plane does not answer, one request at a
    /// time asks whether it does again.
    pub(super) fn take_due(&mut self, now: Instant, wait: Duration, troubled: bool) -> Option<String> {
        let posting = self.open.values().any(|open| open.running && open.posts());
        let held = !wait.is_zero() || (troubled && posting);
        let due = self
            .open
            .values()
            .filter(|open| !open.running && open.closing.is_none())
            .filter(|open| open.due.is_some_and(|due| due <= now) && !(held && open.posts()))
            .min_by_key(|open| (open.due, open.summary.order))?;
        let id = due.summary.id.clone();
        if let Some(open) = self.open.get_mut(&id) {
            open.running = true;
            open.woken = false;
            open.looked = Some(now);
        }
        Some(id)
    }

    /// What a pass over this job may know.
    pub(super) fn view(&self, id: &str) -> View {
        let open = &self.open[id];
        View {
            name: open.name.clone(),
            fresh: open.fresh.clone().map(|received| (received, open.summary.order)),
            maybe: open.maybe,
            memory: open.memory.clone(),
            peers: self
                .open
                .values()
                .map(|peer| &peer.summary)
                .filter(|peer| peer.concerns(&open.summary))
                .cloned()
                .collect(),
            ledger: Arc::clone(&self.ledger),
        }
    }

    /// When the next job is due that may then run.
    pub(super) fn wake(&self, now: Instant, wait: Duration, troubled: bool) -> Instant {
        let posting = troubled && self.open.values().any(|open| open.running && open.posts());
        let waiting = self.open.values().filter(|open| !open.running && open.closing.is_none());
        let due = waiting.filter_map(|open| match (open.due, open.posts()) {
            (Some(_), true) if posting => None,
            (Some(due), true) => Some(due.max(now + wait)),
            (due, _) => due,
        });
        due.min().unwrap_or(now + CAP)
    }

    /// When jobs that are over go into the ledger.
    pub(super) fn wake_to_close(&self) -> Option<Instant> {
        self.close_at
    }

    /// Objects changed.
    pub(super) fn changed(&mut self, keys: &BTreeSet<Key>) {
        for open in self.open.values_mut() {
            if open.summary.object.as_ref().is_some_and(|object| keys.contains(object)) {
                open.wake(Instant::now());
            }
        }
    }

    /// A pass ended.
    pub(super) fn finished<A: ClusterApi, T: Transport>(&mut self, done: Done, link: &Link<A, T>) {
        let now = Instant::now();
        if done.cluster_id.as_deref().is_some_and(|id| id != self.cluster_id) {
            self.other_identity = true;
        }
        if let Some(at) = done.unsigned {
            self.unsigned(now, at, &done.id);
        }
        let Some(open) = self.open.get_mut(&done.id) else { return };
        open.running = false;
        let Some(step) = done.step else {
            let failure = done.result.err().unwrap_or(Failure::Overtime);
            return open.failed(failure, now, link.wait(Group::Post));
        };
        if step.told.is_some() {
            open.memory.told = step.told.clone();
        }
        let lost_status = matches!(done.result, Err(Failure::Call { call: "status", .. }));
        match done.result {
            Err(failure) if !lost_status => {
                open.maybe = true;
                return open.failed(failure, now, link.wait(Group::Post));
            }
            _ => {}
        }
        let refused = matches!(open.memory.last, Some(Failure::Call { trouble: Trouble::Refused { .. }, .. }));
        open.failures = 0;
        open.memory.last = None;
        open.fresh = None;
        // With its payload a decided job loses its object: who waited for it is known from before.
        let earlier = open.summary.clone();
        let before = (earlier.state, earlier.line.is_some());
        if let Some(summary) = done.summary {
            open.summary = summary;
        }
        let after = (open.summary.state, open.summary.line.is_some());
        open.due = Some(now);
        match step.then {
            Then::Rest => open.due = step.plan.wake.map(|wake| now + wake),
            Then::Again => {}
            Then::Acked => open.memory.acked = true,
            Then::Applied => open.memory.applied = true,
            Then::Posted => open.memory.posted = true,
            Then::Close(line, object) => {
                open.closing = Some(Closing { line: *line, object });
                self.close_at.get_or_insert(now);
            }
            Then::Forget => {
                let summary = open.summary.clone();
                if refused {
                    self.dropped.insert(summary.id.clone(), now);
                }
                self.open.remove(&summary.id);
                return self.wake_peers(&summary);
            }
        }
        if open.woken {
            open.wake(now);
        }
        if before != after {
            self.wake_peers(&earlier);
        }
    }

    /// For the cluster loop, which says so in `PayloadSecurity`.
    fn unsigned(&mut self, now: Instant, at: Timestamp, job: &str) {
        self.notes.insert("unsignedPayload".into(), json!(at.to_string()));
        if self.unsigned.is_none_or(|at| now.saturating_duration_since(at) >= UNSIGNED) {
            self.unsigned = Some(now);
            tracing::warn!(job_id = %job, "a payload was taken that no known key has signed");
        }
    }

    /// Jobs that may have waited for this one.
    fn wake_peers(&mut self, summary: &Summary) {
        for open in self.open.values_mut().filter(|open| open.summary.concerns(summary)) {
            open.wake(Instant::now());
        }
    }

    /// Jobs that are over, if a write of the ledger may start.
    pub(super) fn closing(&mut self, now: Instant, most: usize) -> Option<Vec<Closing>> {
        if self.close_at.is_none_or(|at| at > now) {
            return None;
        }
        let mut closing: Vec<(i64, &Closing)> =
            self.open.values().filter_map(|open| Some((open.summary.order, open.closing.as_ref()?))).collect();
        closing.sort_by_key(|(order, _)| *order);
        let closing: Vec<Closing> = closing.into_iter().take(most).map(|(_, closing)| closing.clone()).collect();
        self.batch = closing.iter().map(|closing| closing.line.j.clone()).collect();
        self.close_at = None;
        (!closing.is_empty()).then_some(closing)
    }

    /// A write of the ledger ended.
    pub(super) fn closed(&mut self, written: Result<Ledger, Failure>) {
        let now = Instant::now();
        match written {
            Ok(ledger) => {
                self.close_failures = 0;
                self.ledger = Arc::new(ledger);
                for id in std::mem::take(&mut self.batch) {
                    if let Some(open) = self.open.remove(&id) {
                        self.wake_peers(&open.summary);
                    }
                }
            }
            Err(failure) => {
                tracing::warn!(error = %failure, "the ledger could not be written");
                self.close_at = Some(now + backoff(self.close_failures, &"ledger", CAP));
                self.close_failures = self.close_failures.saturating_add(1);
            }
        }
        if self.close_at.is_none() && self.open.values().any(|open| open.closing.is_some()) {
            self.close_at = Some(now);
        }
    }
}

impl Open {
    fn wake(&mut self, now: Instant) {
        if self.running {
            self.woken = true;
        } else if self.failures == 0 && self.closing.is_none() {
            let settled = self.looked.map_or(now, |looked| (looked + SETTLE).max(now));
            self.due = Some(self.due.map_or(settled, |due| due.min(settled)));
        }
    }

    fn failed(&mut self, failure: Failure, now: Instant, post: Duration) {
        let own = backoff(self.failures, &self.summary.id, CAP);
        let wait = match &failure {
            // What the server has said for good is a result, and the entry that exists is read.
            Failure::Effect {
                error: ApiError::Refused { .. } | ApiError::FieldConflict { .. } | ApiError::Exists,
                ..
            } if self.failures == 0 => Duration::ZERO,
            Failure::Effect { error: ApiError::Throttled { after }, .. }
            | Failure::Observe(ApiError::Throttled { after }) => own.max(*after),
            Failure::Call { trouble: Trouble::NotFound | Trouble::Conflict | Trouble::Refused { .. }, .. } => {
                Duration::ZERO
            }
            Failure::Call { .. } => post.max(Duration::from_secs(1)),
            _ => own,
        };
        self.failures = self.failures.saturating_add(1);
        self.memory.last = Some(failure);
        self.due = Some(now + wait);
    }
}
