//! The control plane: the side of Odoo that operators talk to, as a small honest server (contract §15 to §20).
//!
//! [`Odoo`] is a handle. [`Odoo::handle`] takes a request and answers it, for the simulator as for a real socket; it has
//! no socket and no clock of its own. Its tables ([`State`]) are public: oracles read in them what really arrived,
//! workloads write into them what Odoo wants. What goes wrong on its side is in [`Dials`]; what goes wrong on the way
//! (loss, refused connections) is the transport's business.
//!
//! Choices where the contract leaves one, always the less kind:
//! - A second result of a closed job is answered 409 ("already closed"), also when its bytes are the same;
//!   [`Dials::accepts_repeated_result`] answers 204 to the same bytes.
//! - A poll that was abandoned by its client is noticed by nobody: the next job goes into it and is lost until
//!   redelivery ([`Dials::ghost_polls`]).
//! - Every registration token belongs to one cluster id. A registration that names another is answered 409, an unknown
//!   or expired token 401, a used one 409 unless the same registration id comes back.
//! - A rotation is repeated only by a bearer that still authenticates: with no grace, a lost answer locks the cluster out.
//! - The view of an object is what arrived last. No clock or number is compared, so a sender that breaks the order shows.
//! - A POST without a media type of ours is answered 415, a poll with a wait outside 1 to 300 s 400.
//!
//! What it does not model: Odoo's own database and its workers (one request never blocks another), sessions and users,
//! catalog and approval workflows, signatures and encryption of payloads (jobs go out as they were put in), mutual TLS,
//! push mode (that is an API client with the field manager `vworkspace-odoo`), and limits on the number of clusters or
//! jobs. The body proof is checked when it is there, without a time window unless one is set.

mod answer;
mod audit;
mod console;
mod dials;
mod entropy;
mod events;
mod identity;
mod jobs;
mod proof;
mod routes;
mod tables;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use operator::protocol::job::Job;
use serde_json::Value;
use tokio::sync::watch;

pub use audit::Line;
pub use dials::{Dials, Does, Endpoint, Face, Kill, Proof, Rule};
pub use tables::{
    ClusterRow, Credential, Delivery, EventRow, JobRow, JobState, ObjectKey, ObjectView, Post, ResultRow, State,
    StatusRow, TokenRow,
};

struct Shared {
    state: Mutex<State>,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    /// Counts looks with [`Odoo::with`] and everything else that may have changed something: wakes polls.
    changes: watch::Sender<u64>,
}

/// Handle to the control plane; cheap to clone.
#[derive(Clone)]
pub struct Odoo(Arc<Shared>);

impl Odoo {
    /// A control plane that knows nobody. Ids and tokens follow from `seed`; `now` is its wall clock.
    pub fn new(seed: u64, now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let (changes, _) = watch::channel(0);
        Self(Arc::new(Shared { state: Mutex::new(State::new(seed)), now: Box::new(now), changes }))
    }

    /// Its clock, with [`Dials::clock_ahead`].
    pub fn now(&self) -> Timestamp {
        let ahead = self.look(|state| state.dials.clock_ahead);
        self.shifted(ahead)
    }

    fn shifted(&self, ahead: i64) -> Timestamp {
        (self.0.now)().checked_add(jiff::SignedDuration::from_secs(ahead)).unwrap_or(Timestamp::MAX)
    }

    /// Reads the tables.
    pub fn look<R>(&self, at: impl FnOnce(&State) -> R) -> R {
        at(&self.lock())
    }

    /// Changes the tables, and wakes polls that wait.
    pub fn with<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let answer = change(&mut self.lock());
        self.0.changes.send_modify(|count| *count += 1);
        answer
    }

    /// Sets how it behaves from now on.
    pub fn dial(&self, turn: impl FnOnce(&mut Dials)) {
        self.with(|state| turn(&mut state.dials));
    }

    /// Issues a registration token for this cluster id, or for a new one, which is in the [`TokenRow`].
    pub fn issue_token(&self, cluster: Option<&str>) -> String {
        let now = self.now();
        self.with(|state| state.issue_token(cluster, now))
    }

    /// Puts a job into the queue of a cluster and returns its id. An empty id is filled in, and so is `createdAt`.
    pub fn enqueue(&self, cluster: &str, mut job: Job) -> String {
        let now = self.now();
        job.created_at.get_or_insert_with(|| now.to_string());
        let mut job = serde_json::to_value(job).expect("wire types have text keys and finite numbers");
        self.with(|state| {
            if job["id"].as_str().is_some_and(str::is_empty) {
                job["id"] = state.job_id().into();
            }
            state.enqueue(cluster, job, now)
        })
    }

    /// The same with any JSON, for jobs that no honest server would send. The row is found under `id`, or under an id of
    /// the table's own where there is none.
    pub fn enqueue_raw(&self, cluster: &str, job: Value) -> String {
        let now = self.now();
        self.with(|state| state.enqueue(cluster, job, now))
    }

    /// Issues a job that applies a manifest, under the conventional key with the next number of this object.
    pub fn apply(&self, cluster: &str, manifest: Value) -> String {
        let job = self.with(|state| state.apply_job(manifest));
        self.enqueue(cluster, job)
    }

    /// Issues a job that deletes an object: `{apiVersion, kind, namespace, name}`.
    pub fn delete(&self, cluster: &str, object: Value) -> String {
        let job = self.with(|state| state.delete_job(object));
        self.enqueue(cluster, job)
    }

    /// Issues an intent: `{"intent": …}`.
    pub fn intent(&self, cluster: &str, payload: Value) -> String {
        let job = self.with(|state| state.intent_job(payload));
        self.enqueue(cluster, job)
    }

    /// Issues the catalog policy as a job (contract §13.4): a ConfigMap in the operator's namespace.
    pub fn publish_policy(&self, cluster: &str, namespace: &str, document: &Value) -> String {
        let manifest = serde_json::json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "vworkspace-catalog-policy", "namespace": namespace},
            "data": {"policy.json": document.to_string()},
        });
        self.apply(cluster, manifest)
    }

    /// Delivers a job once more at the next poll of its cluster, whatever has become of it.
    pub fn redeliver(&self, job: &str) {
        self.with(|state| {
            if let Some(row) = state.jobs.get_mut(job) {
                row.again = true;
            }
        });
    }

    /// Revokes every credential of a cluster: 401 from now on.
    pub fn revoke(&self, cluster: &str) {
        let now = self.now();
        self.with(|state| state.revoke(cluster, now));
    }

    /// Everything it knows, to be restored later.
    pub fn snapshot(&self) -> State {
        self.look(State::clone)
    }

    /// Goes back to an earlier state, as after a restore of its database (F43). Dials, counters and the log of posts stay,
    /// and nothing that was drawn since is drawn again.
    pub fn restore(&self, earlier: State) {
        self.with(|state| state.restore(earlier));
    }

    /// Loses its memory of jobs, events and objects; clusters, credentials and tokens stay (W59).
    pub fn forget(&self) {
        self.with(State::forget);
    }

    /// Ids of all clusters that ever registered.
    pub fn clusters(&self) -> BTreeSet<String> {
        self.look(|state| state.clusters.keys().cloned().collect())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
