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

    fn namespace(&mut self, change: Change) {
        let source = Source::Namespaces.to_string();
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

    fn child(&mut self, kind: Kind, namespace: String, change: Change) {
        let source = Source::Children(kind.clone(), namespace.clone()).to_string();
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

impl Child {
    fn of(object: &Object) -> Self {
        Self {
            version: object.version().map(|version| version.0).unwrap_or_default(),
            owner: object.label(label::APPLICATION_INSTANCE).map(String::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::channel::mpsc::UnboundedSender;
    use serde_json::{Value, json};

    use super::super::controllers::{Own, insert_for_test, store};
    use super::*;
    use crate::cluster_api::MockClusterApi;

    type Senders = Arc<Mutex<BTreeMap<String, UnboundedSender<Change>>>>;

    /// Watches over streams that the test feeds, and what they wake.
    struct World {
        senders: Senders,
        wakes: mpsc::UnboundedReceiver<Wake>,
        caps: watch::Sender<Arc<Caps>>,
        health: Health,
        _task: tokio::task::JoinSet<()>,
    }

    fn served(plurals: &[&str]) -> Arc<Caps> {
        let versions = plurals.iter().map(|plural| {
            let version = if plural.starts_with("helm.") { "v2" } else { "v1" };
            (plural.to_string(), vec![version.to_string()])
        });
        Arc::new(Caps { versions: versions.collect(), ..Caps::default() })
    }

    impl World {
        fn start() -> Self {
            let senders = Senders::default();
            let into = Arc::clone(&senders);
            let mut api = MockClusterApi::new();
            api.expect_watch().returning(move |kind, scope, detail| {
                assert_eq!(detail, Detail::Metadata);
                let name = format!("{}/{}", kind.plural, scope.namespace.as_deref().unwrap_or("*"));
                let (sender, stream) = futures::channel::mpsc::unbounded();
                into.lock().expect("lock").insert(name, sender);
                stream.chain(stream::pending()).boxed()
            });
            let (caps, known) = watch::channel(served(&[]));
            let (out, wakes) = mpsc::unbounded_channel();
            let (stubs, mut writer) = store(Own::ApplicationInstance);
            for (name, external) in [("crm", None), ("git", Some("external"))] {
                let annotations = external.map(|value| json!({"apps.vworkspace.io/helmrelease-authority": value}));
                insert_for_test(
                    &mut writer,
                    &Object(json!({"metadata": {"name": name, "namespace": "shop", "annotations": annotations}})),
                );
            }
            let health = Health::default();
            let watches =
                Watches::new(Arc::new(api), known, Arc::default(), Forget::default(), stubs, out, health.clone());
            let mut task = tokio::task::JoinSet::new();
            task.spawn(async move {
                let _writer = writer;
                watches.run().await;
            });
            Self { senders, wakes, caps, health, _task: task }
        }

        async fn tell(&self, watch: &str, changes: Vec<Change>) {
            settle().await;
            let sender = self.senders.lock().expect("lock").get(watch).cloned().unwrap_or_else(|| panic!("no {watch}"));
            changes.into_iter().for_each(|change| sender.unbounded_send(change).expect("watched"));
            settle().await;
        }

        async fn woken(&mut self) -> Vec<String> {
            settle().await;
            std::iter::from_fn(|| self.wakes.try_recv().ok()).map(|wake| wake.name).collect()
        }

        fn open(&self) -> BTreeSet<String> {
            let senders = self.senders.lock().expect("lock");
            senders.iter().filter(|(_, sender)| !sender.is_closed()).map(|(name, _)| name.clone()).collect()
        }
    }

    async fn settle() {
        for _ in 0..64 {
            tokio::task::yield_now().await;
        }
    }

    fn namespace(name: &str, gated: bool) -> Object {
        let labels = if gated { json!({"managed-by": "vworkspace"}) } else { json!({}) };
        Object(json!({"metadata": {"name": name, "labels": labels}}))
    }

    fn child(name: &str, version: &str, owner: Option<&str>) -> Object {
        let labels = owner.map(|owner| json!({"app.vworkspace.io/application-instance": owner})).unwrap_or(Value::Null);
        Object(json!({"metadata": {"name": name, "namespace": "shop", "resourceVersion": version, "labels": labels}}))
    }

    fn listed(objects: Vec<Object>) -> Vec<Change> {
        let objects = objects.into_iter().map(Change::Listed);
        std::iter::once(Change::Reset).chain(objects).chain(std::iter::once(Change::Synced)).collect()
    }

    const RELEASES: &str = "helmreleases/shop";

    async fn gated() -> World {
        let mut world = World::start();
        world.caps.send_replace(served(&["helm.toolkit.fluxcd.io/helmreleases"]));
        world.tell("namespaces/*", listed(vec![namespace("shop", true), namespace("other", false)])).await;
        world.tell(RELEASES, listed(vec![child("r", "1", Some("crm"))])).await;
        world.woken().await;
        world
    }

    #[tokio::test]
    async fn watches_follow_gate_and_discovery() {
        let mut world = World::start();
        world.tell("namespaces/*", listed(vec![namespace("shop", true), namespace("other", false)])).await;
        assert_eq!(world.woken().await, ["crm", "git"], "the gate opened");
        let fixed = ["customresourcedefinitions/*", "namespaces/*"].map(String::from);
        assert_eq!(world.open(), BTreeSet::from(fixed.clone()), "nothing is served");
        world.caps.send_replace(served(&["helm.toolkit.fluxcd.io/helmreleases", "ops.vworkspace.io/clusters"]));
        settle().await;
        let expect: BTreeSet<String> = fixed.iter().cloned().chain([RELEASES.to_string()]).collect();
        assert_eq!(world.open(), expect);
        assert!(!world.health.ready().0, "a watch that has not listed yet");
        world.tell("customresourcedefinitions/*", listed(Vec::new())).await;
        world.tell(RELEASES, listed(Vec::new())).await;
        assert!(world.health.ready().0, "{:?}", world.health.ready());
        world.woken().await;
        world.tell("namespaces/*", vec![Change::Applied(namespace("shop", false))]).await;
        assert_eq!(world.open(), BTreeSet::from(fixed), "the gate closed");
        assert_eq!(world.woken().await, ["crm", "git"]);
    }

    #[tokio::test]
    async fn a_child_wakes_its_owner_also_when_it_goes_or_changes_hands_unseen() {
        let mut world = gated().await;
        world.tell(RELEASES, vec![Change::Applied(child("r", "2", Some("crm")))]).await;
        assert_eq!(world.woken().await, ["crm"]);
        world.tell(RELEASES, listed(vec![child("r", "2", Some("crm"))])).await;
        assert_eq!(world.woken().await, Vec::<String>::new(), "a list without news");
        world.tell(RELEASES, listed(vec![child("r", "3", Some("erp"))])).await;
        assert_eq!(world.woken().await, ["crm", "erp"], "the label changed while nobody watched");
        world.tell(RELEASES, listed(Vec::new())).await;
        assert_eq!(world.woken().await, ["erp"], "gone while nobody watched");
        world.tell(RELEASES, vec![Change::Applied(child("x", "4", None))]).await;
        assert_eq!(world.woken().await, ["git"], "a release without our label concerns who observes external ones");
        world.tell(RELEASES, vec![Change::Interrupted(crate::cluster_api::ApiError::Missing)]).await;
        assert_eq!(world.woken().await, Vec::<String>::new());
    }
}
