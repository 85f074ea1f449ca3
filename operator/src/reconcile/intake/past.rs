//! What earlier jobs mean for one job: the ledger's lines and the other open jobs, reduced to what a decision needs
//! (contract §18.1, §18.5).

use jiff::Timestamp;
use serde::Serialize;

use super::journal::{Entry, State};
use super::ledger::{self, Ledger, Line};
use super::work;
use crate::cluster_api::Key;
use crate::policy::Settings;
use crate::policy::jobs::{Places, Sort};
use crate::protocol::job::AppliedRef;

/// An open job as the others see it: its entry without the payload.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Job id.
    pub id: String,
    /// Received order.
    pub order: i64,
    /// Idempotency key.
    pub key: Option<String>,
    /// The object it works on.
    pub object: Option<Key>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// How far it is.
    pub state: State,
    /// Whether an effect may have begun.
    pub tried: bool,
    /// The object it applied or found.
    pub applied: Option<AppliedRef>,
    /// How it ended, once that is decided.
    pub line: Option<Line>,
}

impl Summary {
    /// Of an entry.
    pub fn of(entry: &Entry, settings: &Settings, places: &Places) -> Self {
        let task = entry.payload.as_ref().and_then(|_| work::task(&entry.as_job(), settings, places).ok());
        let applied = entry.applied_ref.clone().or_else(|| entry.decided().and_then(|result| result.applied_ref));
        Self {
            id: entry.job.id.clone(),
            order: entry.order,
            key: entry.job.key.clone(),
            object: task.and_then(|task| task.key).or_else(|| address(applied.as_ref()?)),
            created: entry.created(),
            state: entry.state,
            tried: entry.tried,
            applied,
            line: entry.line(),
        }
    }

    /// Whether it matters for a job with this key on this object.
    pub fn concerns(&self, other: &Self) -> bool {
        self.id != other.id
            && ((self.key.is_some() && self.key == other.key) || (self.object.is_some() && self.object == other.object))
    }

    fn decided(&self) -> bool {
        self.line.is_some()
    }
}

/// The object that a result names, if jobs work on its kind.
fn address(applied: &AppliedRef) -> Option<Key> {
    let sorts = [Sort::Instance, Sort::Operation, Sort::CatalogPolicy, Sort::BackupLocation];
    let kind = sorts.map(Sort::kind).into_iter().find(|kind| kind.kind == applied.kind)?;
    Some(Key::namespaced(&kind, applied.namespace.as_deref()?, &applied.name))
}

impl Entry {
    /// Its line in the ledger, once its result is decided.
    pub(super) fn line(&self) -> Option<Line> {
        let result = self.result.as_deref()?;
        let digest = self.digest.clone();
        Line::new(&self.job.id, self.job.key.as_deref(), digest, self.job.created_at.as_deref(), self.tried, result)
    }
}

/// Why a job has to wait for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Waits {
    /// An earlier one with the same key is not decided.
    SameKey,
    /// An earlier one on the same object is not applied.
    SameObject,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Past {
    /// This very job was closed before.
    pub same_job: Option<Line>,
    /// The newest effect under the same key.
    pub same_key: Option<Line>,
    /// What it waits for.
    pub waits: Option<Waits>,
    /// When the newest job was made that had an effect on the same object.
    pub newest: Option<Timestamp>,
    /// Uid and key number of each effect on the same object.
    pub numbers: Vec<(String, u64)>,
    /// The ledger may have forgotten it.
    pub beyond: bool,
}

impl Past {
    /// Of the job `entry` on `object`.
    pub fn of<'a>(
        entry: &Entry,
        object: Option<&Key>,
        ledger: &Ledger,
        peers: impl Iterator<Item = &'a Summary> + Clone,
    ) -> Self {
        let id = entry.job.id.as_str();
        let peers = || peers.clone().filter(|peer| peer.id != id);
        let same_key = |peer: &&Summary| entry.job.key.is_some() && peer.key == entry.job.key;
        let same_object = |peer: &&Summary| object.is_some() && peer.object.as_ref() == object;
        let earlier = |peer: &&Summary| peer.order < entry.order && !peer.decided();
        let waits = if peers().filter(same_key).any(|peer| earlier(&peer)) {
            Some(Waits::SameKey)
        } else if peers().filter(same_object).any(|peer| earlier(&peer) && peer.state < State::Applied) {
            Some(Waits::SameObject)
        } else {
            None
        };
        // Open jobs are newer than every line.
        let open = peers().filter(|peer| peer.tried).filter_map(|peer| peer.line.as_ref());
        let open = open.filter(|line| entry.job.key.is_some() && line.k == entry.job.key).last();
        let lines = || ledger.entries.iter().filter(|line| line.a && line.j != id && names(&line.applied, object));
        let effects = || peers().filter(|peer| peer.tried && (same_object(peer) || names(&peer.applied, object)));
        let uid = |applied: &Option<AppliedRef>| applied.as_ref().and_then(|applied| applied.uid.clone());
        let closed = lines().filter_map(|line| Some((uid(&line.applied)?, line.n?)));
        let opened = effects().filter_map(|peer| Some((uid(&peer.applied)?, ledger::number(peer.key.as_deref()?)?)));
        Self {
            same_job: ledger.of_job(id).cloned(),
            same_key: open.or_else(|| ledger.of_key(entry.job.key.as_deref()?)).filter(|line| line.j != id).cloned(),
            waits,
            newest: lines()
                .filter_map(|line| line.c.as_ref()?.parse().ok())
                .chain(effects().filter_map(|peer| peer.created))
                .max(),
            numbers: closed.chain(opened).collect(),
            beyond: ledger.beyond(entry.created()),
        }
    }
}

fn names(applied: &Option<AppliedRef>, object: Option<&Key>) -> bool {
    let (Some(applied), Some(key)) = (applied, object) else { return false };
    applied.kind == key.kind.kind
        && applied.namespace == key.namespace
        && applied.name == key.name
        && applied.api_version == key.kind.api_version()
}
