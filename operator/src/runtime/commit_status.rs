//! Posts commit statuses to notification-controller, in gitops mode. One at a time, newest state per object, beside the
//! report loop and never in its way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use http::header;
use tokio::time::{Instant, sleep_until};

use super::retry::CAP;
use super::tick::Loop;
use crate::api::Open;
use crate::api::cluster::{CommitStatus, ConnectivityMode};
use crate::cluster_api::backoff::backoff;
use crate::cluster_api::{ClusterApi, Key};
use crate::policy::Settings;
use crate::reconcile::Plan;
use crate::reconcile::act::act;
use crate::reconcile::report::commit_status::{self, Status, WAITING_MAX};
use crate::reconcile::report::cursor::Place;
use crate::reconcile::report::observe;
use crate::transport::{Dial, Transport};

/// How long an answer may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// Pause after a write.
const WRITE: Duration = Duration::from_secs(2);
/// Pause after a read that failed.
const PAUSE: Duration = Duration::from_secs(10);
/// Where no statuses are wanted, the settings are looked at this often.
const UNWANTED: Duration = Duration::from_secs(60);
/// Objects that are read at once, at most.
const READS: usize = 64;

/// What became of a commit is told to notification-controller.
pub(super) async fn commit_status<A: ClusterApi, T: Transport>(this: Loop<A, T>) {
    let listener = this.changes.listen();
    let mut desk = Desk {
        this,
        unread: BTreeSet::new(),
        known: BTreeMap::new(),
        waiting: BTreeMap::new(),
        acknowledged: None,
        changed: false,
        failures: 0,
        at: Instant::now(),
    };
    loop {
        let idle = desk.unread.is_empty() && desk.waiting.is_empty() && !desk.changed;
        tokio::select! {
            biased;
            keys = listener.changed() => desk.unread.extend(keys.into_iter().filter(|key| key.kind.kind != "Cluster")),
            () = sleep_until(desk.at), if !idle => desk.round().await,
        }
    }
}

struct Desk<A, T> {
    this: Loop<A, T>,
    unread: BTreeSet<Key>,
    known: BTreeMap<Key, String>,
    waiting: BTreeMap<String, Status>,
    acknowledged: Option<BTreeMap<String, String>>,
    changed: bool,
    failures: u32,
    /// When the next round may begin.
    at: Instant,
}

/// Whether statuses are wanted.
fn wanted(settings: &Settings) -> bool {
    let chosen = settings.cluster.gitops.as_ref().and_then(|gitops| gitops.commit_status.clone());
    settings.cluster.connectivity_mode.is(ConnectivityMode::Gitops)
        && chosen.unwrap_or(Open::Known(CommitStatus::Flux)).is(CommitStatus::Flux)
}

impl<A: ClusterApi, T: Transport> Desk<A, T> {
    async fn round(&mut self) {
        self.at = Instant::now() + PAUSE;
        let Ok(settings) = self.this.settings.read().await else { return };
        if !wanted(&settings) {
            self.waiting.clear();
            self.at = Instant::now() + UNWANTED;
            return;
        }
        let namespace = self.this.config.operator_namespace.clone();
        let api = &*self.this.out.api;
        let key = Place::First.key(&namespace);
        if self.acknowledged.is_none() {
            let Ok(stored) = api.get(&key).await else { return };
            self.acknowledged = Some(commit_status::acknowledged(stored.as_ref()));
        }
        self.look().await;
        self.post().await;
        if self.changed && self.waiting.is_empty() {
            let api = &*self.this.out.api;
            let Ok(stored) = api.get(&key).await else { return };
            let marks = self.acknowledged.clone().unwrap_or_default();
            let effects = vec![commit_status::write(&marks, stored.as_ref(), &namespace)];
            let plan = Plan { effects, ..Plan::idle("what was said of commits is remembered") };
            self.changed = act(&self.this.out, &plan).await.is_err();
            self.at = Instant::now() + WRITE;
        }
    }

    /// Reads what changed, as far as there is room for what it has to say.
    async fn look(&mut self) {
        let room = WAITING_MAX.saturating_sub(self.waiting.len()).min(READS);
        let keys: BTreeSet<Key> = self.unread.iter().take(room).cloned().collect();
        let acknowledged = self.acknowledged.get_or_insert_default();
        for (key, object) in observe::objects(&*self.this.out.api, &keys).await {
            self.unread.remove(&key);
            let uid = object.as_ref().and_then(|object| object.uid()).map(|uid| uid.0);
            let before = match &uid {
                Some(uid) => self.known.insert(key, uid.clone()),
                None => self.known.remove(&key),
            };
            if let Some(gone) = before.filter(|before| Some(before) != uid.as_ref()) {
                self.waiting.remove(&gone);
                self.changed |= acknowledged.remove(&gone).is_some();
            }
            let Some(uid) = uid else { continue };
            match object.and_then(|object| commit_status::status(&object, &self.this.config.identity)) {
                Some(status) if acknowledged.get(&uid) != Some(&status.mark) => {
                    self.waiting.insert(uid, status);
                }
                _ => {
                    self.waiting.remove(&uid);
                }
            }
        }
        if !self.unread.is_empty() {
            self.at = Instant::now();
        }
    }

    async fn post(&mut self) {
        let Some((uid, status)) = self.waiting.iter().next().map(|(uid, status)| (uid.clone(), status.clone())) else {
            return;
        };
        let request = http::Request::post(&self.this.config.flux_events_address)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Bytes::from(status.body.to_string()));
        let (Ok(request), Ok(_permit)) = (request, self.this.out.permits.permit()) else { return };
        let answer = self.this.out.link.transport().send(request, DEADLINE, &Dial::default()).await;
        // 429: it has seen this within the last minutes.
        let heard = answer.is_ok_and(|answer| matches!(answer.status().as_u16(), 202 | 429));
        if heard {
            self.waiting.remove(&uid);
            self.acknowledged.get_or_insert_default().insert(uid, status.mark);
            self.changed = true;
            self.failures = 0;
            self.at = Instant::now();
        } else {
            self.at = Instant::now() + backoff(self.failures, &"commit status", CAP).max(Duration::from_secs(1));
            self.failures = self.failures.saturating_add(1);
            tracing::debug!("notification-controller did not take a commit status");
        }
    }
}
