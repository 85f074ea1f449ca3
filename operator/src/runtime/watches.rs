//! The watches that wake loops without being over their own kind: the namespace gate, the CRDs, the settings in Cluster,
//! and children.
//!
//! Namespaces, CRDs and Clusters are watched cluster-wide, as metadata. Children are watched per gated namespace, because rights
//! are bound there (contract §24), and only kinds that discovery has seen; the set of watches follows gate and discovery.
//! A child wakes the owner its label names, in its own namespace; nothing of it is kept but its version and that owner,
//! so that a list after a gap can tell what changed and what is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use futures::stream::{AbortHandle, BoxStream, SelectAll, abortable};
use futures::{StreamExt, stream};
use tokio::sync::{Notify, mpsc, watch};

use super::controllers::{Stub, Stubs, Wake};
use super::health::Health;
use super::settings::Forget;
use crate::api::{self, label};
use crate::cluster_api::{Caps, Change, ClusterApi, Detail, Kind, Scope};

use children::{CHILDREN, Known};

mod children;
mod gate;
#[cfg(test)]
mod tests;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Namespaces,
    Definitions,
    Clusters,
    Children(Kind, String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Namespaces => f.write_str("namespaces"),
            Source::Definitions => f.write_str("customresourcedefinitions"),
            Source::Clusters => f.write_str("clusters"),
            Source::Children(kind, namespace) => write!(f, "{} in {namespace}", kind.plural),
        }
    }
}

/// See the module.
pub(super) struct Watches<A> {
    api: Arc<A>,
    caps: watch::Receiver<Arc<Caps>>,
    refresh: Arc<Notify>,
    forget: Forget,
    store: Stubs,
    wakes: mpsc::UnboundedSender<Wake>,
    health: Health,
    streams: SelectAll<BoxStream<'static, (Source, Change)>>,
    running: BTreeMap<(Kind, String), AbortHandle>,
    known: BTreeMap<(Kind, String), Known>,
    gated: BTreeSet<String>,
    /// Gated namespaces seen in the list that is arriving.
    listed: Option<BTreeSet<String>>,
    definitions_listed: bool,
    /// The settings of this cluster are watched once their kind is served. Their generations: the heartbeat stamps the
    /// status every half minute, and that concerns nobody here.
    clusters: Option<AbortHandle>,
    generations: BTreeMap<String, i64>,
}

impl<A: ClusterApi> Watches<A> {
    /// Wakes objects in `store` through `wakes`; asks for discovery through `refresh`, makes settings forgotten through
    /// `forget`.
    pub(super) fn new(
        api: Arc<A>,
        caps: watch::Receiver<Arc<Caps>>,
        refresh: Arc<Notify>,
        forget: Forget,
        store: Stubs,
        wakes: mpsc::UnboundedSender<Wake>,
        health: Health,
    ) -> Self {
        Self {
            api,
            caps,
            refresh,
            forget,
            store,
            wakes,
            health,
            streams: SelectAll::new(),
            running: BTreeMap::new(),
            known: BTreeMap::new(),
            gated: BTreeSet::new(),
            listed: None,
            definitions_listed: false,
            clusters: None,
            generations: BTreeMap::new(),
        }
    }

    /// Runs until dropped. Returns only if discovery or the loop it wakes has ended.
    pub(super) async fn run(mut self) {
        let namespaces = Kind::cluster("", "v1", "Namespace", "namespaces");
        let definitions =
            Kind::cluster("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions");
        self.start(Source::Namespaces, &namespaces, &Scope::all());
        self.start(Source::Definitions, &definitions, &Scope::all());
        loop {
            tokio::select! {
                biased;
                changed = self.caps.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.follow();
                    self.wake_all(|_| true);
                }
                Some((source, change)) = self.streams.next() => match source {
                    Source::Namespaces => self.namespace(change),
                    Source::Definitions => self.definition(change),
                    Source::Clusters => self.cluster(change),
                    Source::Children(kind, namespace) => self.child(kind, namespace, change),
                },
                () = self.wakes.closed() => return,
            }
        }
    }

    fn start(&mut self, source: Source, kind: &Kind, scope: &Scope) -> AbortHandle {
        self.health.expected(&source.to_string());
        let changes = self.api.watch(kind, scope, Detail::Metadata);
        let (changes, handle) = abortable(changes);
        self.streams.push(changes.zip(stream::repeat(source)).map(|(change, source)| (source, change)).boxed());
        handle
    }

    /// Starts and stops watches so that they are those of gate and discovery.
    fn follow(&mut self) {
        let caps = Arc::clone(&self.caps.borrow_and_update());
        let clusters = Kind::cluster(api::OPS_GROUP, api::VERSION, "Cluster", "clusters");
        match (caps.served(&clusters.group, &clusters.plural, &[api::VERSION]), self.clusters.take()) {
            (Some(_), None) => self.clusters = Some(self.start(Source::Clusters, &clusters, &Scope::all())),
            (Some(_), running) => self.clusters = running,
            (None, running) => {
                if let Some(running) = running {
                    running.abort();
                    self.health.dropped(&Source::Clusters.to_string());
                }
            }
        }
        let kinds: Vec<Kind> = CHILDREN
            .iter()
            .filter_map(|(group, kind, plural, versions)| {
                Some(Kind::namespaced(group, caps.served(group, plural, versions)?, kind, plural))
            })
            .collect();
        let wanted: BTreeSet<(Kind, String)> = self
            .gated
            .iter()
            .flat_map(|namespace| kinds.iter().map(move |kind| (kind.clone(), namespace.clone())))
            .collect();
        for unwanted in self.running.keys().filter(|key| !wanted.contains(key)).cloned().collect::<Vec<_>>() {
            if let Some(handle) = self.running.remove(&unwanted) {
                handle.abort();
            }
            self.known.remove(&unwanted);
            self.health.dropped(&Source::Children(unwanted.0, unwanted.1).to_string());
        }
        for (kind, namespace) in wanted {
            if self.running.contains_key(&(kind.clone(), namespace.clone())) {
                continue;
            }
            // Releases of others are watched too: an instance may observe one that Git writes.
            let scope = match kind.kind.as_str() {
                "HelmRelease" => Scope::namespace(&namespace),
                _ => Scope::namespace(&namespace).labelled(label::APPLICATION_INSTANCE),
            };
            let handle = self.start(Source::Children(kind.clone(), namespace.clone()), &kind, &scope);
            self.running.insert((kind, namespace), handle);
        }
    }

    fn definition(&mut self, change: Change) {
        let source = Source::Definitions.to_string();
        match change {
            Change::Reset | Change::Listed(_) => {}
            Change::Synced => {
                self.health.synced(&source);
                // The first list is what discovery has just read.
                if self.definitions_listed {
                    self.refresh.notify_one();
                }
                self.definitions_listed = true;
            }
            Change::Applied(_) | Change::Deleted(_) => self.refresh.notify_one(),
            Change::Interrupted(error) => self.health.interrupted(&source, &error),
        }
    }

    /// Settings decide what every instance becomes.
    fn cluster(&mut self, change: Change) {
        let source = Source::Clusters.to_string();
        let news = match change {
            Change::Reset => false,
            Change::Listed(object) | Change::Applied(object) => {
                self.generations.insert(object.name().into(), object.generation()) != Some(object.generation())
            }
            Change::Deleted(object) => self.generations.remove(object.name()).is_some(),
            Change::Synced => {
                self.health.synced(&source);
                false
            }
            Change::Interrupted(error) => {
                self.health.interrupted(&source, &error);
                false
            }
        };
        if news {
            self.forget.forget();
            self.wake_all(|_| true);
        }
    }

    fn wake(&self, namespace: &str, name: &str) {
        // The receiver ends only together with this loop.
        let _ = self.wakes.send(Wake { namespace: namespace.into(), name: name.into() });
    }

    fn wake_all(&self, namespaces: impl Fn(&str) -> bool) {
        for (namespace, name) in self.store.select(|_| true) {
            if namespaces(&namespace) {
                self.wake(&namespace, &name);
            }
        }
    }

    fn wake_observers(&self, of: &str) {
        for (namespace, name) in self.store.select(Stub::observes_external_release) {
            if namespace == of {
                self.wake(&namespace, &name);
            }
        }
    }
}
