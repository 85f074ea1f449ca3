//! Watches over streams that the test feeds.

use std::sync::Mutex;

use futures::channel::mpsc::UnboundedSender;
use serde_json::{Value, json};

use super::super::controllers::{Own, insert_for_test, store};
use super::*;
use crate::cluster_api::{MockClusterApi, Object};

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
        let watches = Watches::new(Arc::new(api), known, Arc::default(), Forget::default(), stubs, out, health.clone());
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
