//! How far the history of the cluster was seen, so that storage restored from an older backup is noticed.
//!
//! The revisions of a restored etcd go back under running servers. A watch that goes on from where it was is then in the
//! future and stays silent until the counter has passed it, for hours perhaps, and what was undone it never tells (etcd-io/etcd
//! #16028). A quorum read that is behind what was seen before it was sent tells that this has happened; then every watch lists
//! anew, since one storage holds all kinds. Taking it for a restore when it was none costs those lists and nothing else.
//!
//! Versions are compared only where both are numbers, as Kubernetes writes them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::cluster_api::{Key, Kind};

/// What was seen since the last restore.
#[derive(Default)]
struct Known {
    /// The newest version that a list or watch of the kind told.
    kinds: BTreeMap<Kind, u64>,
    /// The version of single objects. The version of an object is that of its own last change, so it is compared with
    /// nothing else; kept for the Lease alone, which is read or written every few seconds, since for every object it
    /// would need memory without a bound.
    leases: BTreeMap<Key, u64>,
}

/// Shared by all verbs and watches of one cluster.
pub(super) struct Seen {
    known: Mutex<Known>,
    /// Counts restores.
    histories: watch::Sender<u64>,
}

impl Default for Seen {
    fn default() -> Self {
        Self { known: Mutex::default(), histories: watch::Sender::new(0) }
    }
}

/// What was known when a read was sent: an answer that took long may be behind what has been seen since, and is in order.
#[derive(Clone, Copy)]
pub(super) struct Before {
    version: Option<u64>,
    history: u64,
}

impl Seen {
    /// To be called before a list is sent.
    pub(super) fn before_list(&self, kind: &Kind) -> Before {
        let known = self.known();
        Before { version: known.kinds.get(kind).copied(), history: *self.histories.borrow() }
    }

    /// To be called before one object is read.
    pub(super) fn before_read(&self, key: &Key) -> Before {
        let known = self.known();
        Before { version: known.leases.get(key).copied(), history: *self.histories.borrow() }
    }

    /// A list was answered at this version.
    pub(super) fn listed(&self, kind: &Kind, version: Option<&str>, before: Before) {
        let Some(version) = number(version) else { return };
        self.compare(version, before);
        self.told(kind, version);
    }

    /// An object came on a watch, or in its list.
    pub(super) fn watched(&self, kind: &Kind, version: Option<&str>) {
        if let Some(version) = number(version) {
            self.told(kind, version);
        }
    }

    /// An object was read, or written, at this version.
    pub(super) fn read(&self, key: &Key, version: Option<&str>, before: Before) {
        let Some(version) = number(version).filter(|_| key.kind.plural == "leases") else { return };
        self.compare(version, before);
        let mut known = self.known();
        let last = known.leases.entry(key.clone()).or_default();
        *last = version.max(*last);
    }

    /// Changes with each restore.
    pub(super) fn histories(&self) -> watch::Receiver<u64> {
        self.histories.subscribe()
    }

    fn told(&self, kind: &Kind, version: u64) {
        let mut known = self.known();
        match known.kinds.get_mut(kind) {
            Some(last) => *last = version.max(*last),
            None => drop(known.kinds.insert(kind.clone(), version)),
        }
    }

    fn compare(&self, version: u64, before: Before) {
        if before.version.is_none_or(|seen| version >= seen) {
            return;
        }
        let mut known = self.known();
        // Reads that were sent before the same restore tell nothing new.
        if *self.histories.borrow() == before.history {
            *known = Known::default();
            self.histories.send_modify(|count| *count += 1);
            tracing::warn!(version, seen = ?before.version, "the cluster's storage went back: every watch lists anew");
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Every change of it is complete in itself.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn number(version: Option<&str>) -> Option<u64> {
    version?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_read_behind_what_was_seen_before_it_counts_and_counts_once() {
        let (seen, kind) = (Seen::default(), Kind::namespaced("", "v1", "ConfigMap", "configmaps"));
        let histories = seen.histories();
        let early = seen.before_list(&kind);
        seen.watched(&kind, Some("100"));
        seen.listed(&kind, Some("90"), early);
        seen.listed(&kind, Some("opaque"), seen.before_list(&kind));
        seen.listed(&kind, Some("100"), seen.before_list(&kind));
        assert_eq!(*histories.borrow(), 0);
        let (one, two) = (seen.before_list(&kind), seen.before_list(&kind));
        seen.listed(&kind, Some("60"), one);
        seen.listed(&kind, Some("61"), two);
        seen.listed(&kind, Some("62"), seen.before_list(&kind));
        assert_eq!(*histories.borrow(), 1);
    }

    #[test]
    fn a_lease_that_went_back_counts_and_another_object_does_not() {
        let (seen, leases) = (Seen::default(), Kind::namespaced("coordination.k8s.io", "v1", "Lease", "leases"));
        let histories = seen.histories();
        let read = |key: &Key, version: &str| seen.read(key, Some(version), seen.before_read(key));
        let [a, b] = ["a", "b"].map(|name| Key::namespaced(&leases, "s", name));
        let map = Key::namespaced(&Kind::namespaced("", "v1", "ConfigMap", "configmaps"), "s", "a");
        for (key, version) in [(&a, "9"), (&b, "5"), (&map, "7"), (&map, "6"), (&a, "10")] {
            read(key, version);
        }
        assert_eq!(*histories.borrow(), 0);
        read(&a, "8");
        assert_eq!(*histories.borrow(), 1);
    }
}
