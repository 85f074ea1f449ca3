//! The watches that wake loops without being over their own kind: the namespace gate, the CRDs, and children.
//!
//! Namespaces and CRDs are watched cluster-wide, as metadata. Children are watched per gated namespace, because rights
//! are bound there (contract §24), and only kinds that discovery has seen; the set of watches follows gate and discovery.
//! A child wakes the owner its label names, in its own namespace; nothing of it is kept but its version and that owner,
//! so that a list after a gap can tell what changed and what is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::stream::{AbortHandle, BoxStream, SelectAll, abortable};
use futures::{StreamExt, stream};
use tokio::sync::{Notify, mpsc, watch};

use super::controllers::{Own, Stub, Stubs, Wake, wake};
use super::health::Health;
use crate::api::{self, label};
use crate::cluster_api::{Caps, Change, ClusterApi, Detail, Kind, Object, Scope};

/// Children of an ApplicationInstance: group, kind, plural, the versions we would use (best first).
const CHILDREN: [(&str, &str, &str, &[&str]); 4] = [
    ("helm.toolkit.fluxcd.io", "HelmRelease", "helmreleases", &["v2", "v2beta2"]),
    ("source.toolkit.fluxcd.io", "HelmRepository", "helmrepositories", &["v1", "v1beta2"]),
    ("source.toolkit.fluxcd.io", "OCIRepository", "ocirepositories", &["v1", "v1beta2"]),
    ("coordination.k8s.io", "Lease", "leases", &["v1"]),
];

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Namespaces,
    Definitions,
    Children(Kind, String),
}

/// What is known of a child.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Child {
    version: String,
    owner: Option<String>,
}

#[derive(Default)]
struct Known {
    children: BTreeMap<String, Child>,
    /// Names seen in the list that is arriving.
    listed: Option<BTreeSet<String>>,
}

/// See the module.
pub(super) struct Watches<A> {
    api: Arc<A>,
    caps: watch::Receiver<Arc<Caps>>,
    refresh: Arc<Notify>,
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
}

impl<A: ClusterApi> Watches<A> {
    /// Wakes objects in `store` through `wakes`; asks for discovery through `refresh`.
    pub(super) fn new(
        api: Arc<A>,
        caps: watch::Receiver<Arc<Caps>>,
        refresh: Arc<Notify>,
        store: Stubs,
        wakes: mpsc::UnboundedSender<Wake>,
        health: Health,
    ) -> Self {
        Self {
            api,
            caps,
            refresh,
            store,
            wakes,
            health,
            streams: SelectAll::new(),
            running: BTreeMap::new(),
            known: BTreeMap::new(),
            gated: BTreeSet::new(),
            listed: None,
            definitions_listed: false,
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
                    Source::Children(kind, namespace) => self.child(kind, namespace, change),
                },
                () = self.wakes.closed() => return,
            }
        }
    }

    fn start(&mut self, source: Source, kind: &Kind, scope: &Scope) -> AbortHandle {
        self.health.expected(&format!("{source:?}"));
        let changes = self.api.watch(kind, scope, Detail::Metadata);
        let (changes, handle) = abortable(changes);
        self.streams.push(changes.zip(stream::repeat(source)).map(|(change, source)| (source, change)).boxed());
        handle
    }

    /// Starts and stops child watches so that they are those of gate and discovery.
    fn follow(&mut self) {
        let caps = Arc::clone(&self.caps.borrow_and_update());
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
            self.health.dropped(&format!("{:?}", Source::Children(unwanted.0, unwanted.1)));
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

    fn namespace(&mut self, change: Change) {
        let source = format!("{:?}", Source::Namespaces);
        let open = |object: &Object| object.0.pointer("/metadata/labels").is_some_and(api::gated);
        match change {
            Change::Reset => self.listed = Some(BTreeSet::new()),
            Change::Listed(object) => {
                if open(&object)
                    && let Some(listed) = &mut self.listed
                {
                    listed.insert(object.name().into());
                }
            }
            Change::Synced => {
                self.health.synced(&source);
                if let Some(listed) = self.listed.take() {
                    self.gate(listed);
                }
            }
            Change::Applied(object) => {
                let mut gated = self.gated.clone();
                let name = object.name().to_string();
                let _ = if open(&object) { gated.insert(name) } else { gated.remove(&name) };
                self.gate(gated);
            }
            Change::Deleted(object) => {
                let mut gated = self.gated.clone();
                gated.remove(object.name());
                self.gate(gated);
            }
            Change::Interrupted(error) => self.health.interrupted(&source, &error),
        }
    }

    fn gate(&mut self, gated: BTreeSet<String>) {
        if gated == self.gated {
            return;
        }
        let changed: BTreeSet<String> = gated.symmetric_difference(&self.gated).cloned().collect();
        tracing::info!(namespaces = gated.len(), "the set of gated namespaces changed");
        self.gated = gated;
        self.follow();
        self.wake_all(|namespace| changed.contains(namespace));
    }

    fn definition(&mut self, change: Change) {
        let source = format!("{:?}", Source::Definitions);
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

    fn child(&mut self, kind: Kind, namespace: String, change: Change) {
        let source = format!("{:?}", Source::Children(kind.clone(), namespace.clone()));
        let external = kind.kind == "HelmRelease";
        let known = self.known.entry((kind, namespace.clone())).or_default();
        let mut owners: BTreeSet<Option<String>> = BTreeSet::new();
        match change {
            Change::Reset => known.listed = Some(BTreeSet::new()),
            Change::Listed(object) => {
                let name = object.name().to_string();
                if let Some(listed) = &mut known.listed {
                    listed.insert(name.clone());
                }
                let child = Child::of(&object);
                if known.children.get(&name) != Some(&child) {
                    owners.insert(child.owner.clone());
                    owners.extend(known.children.insert(name, child).map(|before| before.owner));
                }
            }
            Change::Synced => {
                self.health.synced(&source);
                if let Some(listed) = known.listed.take() {
                    let gone: Vec<String> =
                        known.children.keys().filter(|name| !listed.contains(*name)).cloned().collect();
                    owners.extend(gone.iter().filter_map(|name| known.children.remove(name)).map(|child| child.owner));
                }
            }
            Change::Applied(object) => {
                let child = Child::of(&object);
                owners.insert(child.owner.clone());
                owners.extend(known.children.insert(object.name().into(), child).map(|before| before.owner));
            }
            Change::Deleted(object) => {
                owners.insert(Child::of(&object).owner);
                owners.extend(known.children.remove(object.name()).map(|before| before.owner));
            }
            Change::Interrupted(error) => self.health.interrupted(&source, &error),
        }
        for owner in owners {
            match owner {
                Some(owner) => self.wake(&namespace, &owner),
                None if external => self.wake_observers(&namespace),
                None => {}
            }
        }
    }

    fn wake(&self, namespace: &str, name: &str) {
        // The receiver ends only together with this loop.
        let _ = self.wakes.send(wake(Own::ApplicationInstance, namespace, name));
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

impl Child {
    fn of(object: &Object) -> Self {
        Self {
            version: object.version().map(|version| version.0).unwrap_or_default(),
            owner: object.label(label::APPLICATION_INSTANCE).map(String::from),
        }
    }
}
