//! Tells the loops that have no kind of their own (intake, report) which of our objects changed.
//!
//! A listener keeps one entry per object, however often it changed (contract §22): it reads the object fresh anyway.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::sync::{Notify, watch};

use crate::api::{OPS_GROUP, VERSION};
use crate::cluster_api::{Caps, Change, ClusterApi, Detail, Key, Kind, Object, Scope};
use crate::reconcile::connection::cluster_kind;

/// Everybody who listens. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Changes(Arc<Mutex<Vec<Arc<Pending>>>>);

#[derive(Default)]
struct Pending {
    keys: Mutex<BTreeSet<Key>>,
    some: Notify,
}

/// What changed since the last look.
pub(super) struct Listener(Arc<Pending>);

impl Changes {
    /// From now on every change is kept for the new listener, too.
    pub(super) fn listen(&self) -> Listener {
        let pending = Arc::new(Pending::default());
        lock(&self.0).push(Arc::clone(&pending));
        Listener(pending)
    }

    /// Something happened to the object, or it is gone.
    pub(super) fn tell(&self, key: &Key) {
        for pending in lock(&self.0).iter() {
            lock(&pending.keys).insert(key.clone());
            pending.some.notify_one();
        }
    }

    /// Tells of the object in a change of a watch of `kind`.
    pub(super) fn of(&self, kind: &Kind, change: &Change) {
        if let Change::Listed(object) | Change::Applied(object) | Change::Deleted(object) = change {
            self.tell(&key(kind, object));
        }
    }
}

impl Listener {
    /// Takes what changed; waits until something did. Cancel-safe.
    pub(super) async fn changed(&self) -> BTreeSet<Key> {
        loop {
            let keys = std::mem::take(&mut *lock(&self.0.keys));
            if !keys.is_empty() {
                return keys;
            }
            self.0.some.notified().await;
        }
    }
}

fn key(kind: &Kind, object: &Object) -> Key {
    Key { kind: kind.clone(), namespace: object.namespace().map(String::from), name: object.name().into() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kind of the Operation.
pub(super) fn operation_kind() -> Kind {
    Kind::namespaced(OPS_GROUP, VERSION, "Operation", "operations")
}

/// Watches the kinds of ours that no controller watches yet.
pub(super) async fn run<A: ClusterApi>(api: Arc<A>, changes: Changes, mut caps: watch::Receiver<Arc<Caps>>) {
    let served = |caps: &Caps, kind: &Kind| caps.served(&kind.group, &kind.plural, &[VERSION]).is_some();
    let kinds = [operation_kind(), cluster_kind()];
    if caps.wait_for(|caps| kinds.iter().all(|kind| served(caps, kind))).await.is_err() {
        return;
    }
    let watches: Vec<BoxStream<'_, (Kind, Change)>> = kinds
        .into_iter()
        .map(|kind| {
            let watch = api.watch(&kind, &Scope::all(), Detail::Metadata);
            watch.map(move |change| (kind.clone(), change)).boxed()
        })
        .collect();
    let mut all = stream::select_all(watches);
    while let Some((kind, change)) = all.next().await {
        changes.of(&kind, &change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_listener_hears_of_each_object_once() {
        let changes = Changes::default();
        let (one, two) = (changes.listen(), changes.listen());
        let kind = operation_kind();
        let (a, b) = (Key::namespaced(&kind, "org-a", "a"), Key::namespaced(&kind, "org-a", "b"));
        for key in [&b, &a, &b] {
            changes.tell(key);
        }
        assert_eq!(one.changed().await, BTreeSet::from([a.clone(), b.clone()]));
        assert_eq!(two.changed().await.len(), 2);
        changes.tell(&a);
        assert_eq!(one.changed().await, BTreeSet::from([a]));
        let more = tokio::time::timeout(std::time::Duration::from_secs(9), one.changed()).await;
        assert!(more.is_err(), "nothing more happened");
    }
}
