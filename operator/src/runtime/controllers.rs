//! One Controller per loop over one of our own kinds.
//!
//! The watch only wakes: it fills a store of stubs (name, namespace, uid) and triggers, and the reconcile function gets
//! the key alone. What the decision needs, it reads fresh.
//!
//! A change that is only our own status write does not wake its object, or every pass would cause another. Passes of one
//! key start at least [`PACE`] apart, so that a burst of changes is one pass, and a writer that never stops cannot
//! postpone it: kube's debounce would wait for silence.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DynamicResourceScope;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::reflector::store::{Store, Writer};
use kube::runtime::watcher::{self, Event};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tracing::Instrument;

use super::health::Health;
use super::retry;
use crate::api::annotation;
use crate::cluster_api::{Change, ClusterApi, Detail, Key, Kind, Manager, Object, Scope};
use crate::reconcile::act::Failure;

/// A whole pass ends after this long (design §7).
pub const PASS: Duration = Duration::from_secs(60);
/// Passes of one key start at least this far apart.
pub const PACE: Duration = Duration::from_secs(2);
/// A pass starts this long after the change that asked for it, so that what comes with it is seen too.
pub const SETTLE: Duration = Duration::from_millis(500);
/// A pass that asks to be woken is woken at the earliest after this long: at most twelve passes per minute without an
/// event (contract §29.52).
pub const SHORTEST_WAKE: Duration = Duration::from_secs(5);

/// Which of our own kinds a loop is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Own {
    /// ApplicationInstance.
    ApplicationInstance,
}

impl Own {
    /// The kind.
    pub fn kind(self) -> Kind {
        match self {
            Own::ApplicationInstance => Kind::namespaced(
                crate::api::APPS_GROUP,
                crate::api::VERSION,
                "ApplicationInstance",
                "applicationinstances",
            ),
        }
    }

    /// The controller's name in logs and metrics.
    pub fn controller(self) -> &'static str {
        match self {
            Own::ApplicationInstance => "applicationinstance",
        }
    }
}

/// Namespace and name.
type Name = (String, String);

/// What the store keeps of an object: enough to be found and to be woken.
#[derive(Clone, Debug, Deserialize)]
pub struct Stub {
    metadata: ObjectMeta,
    /// The object itself is gone; only what it left behind is looked at.
    #[serde(skip)]
    gone: bool,
}

impl Stub {
    fn of(object: &Object) -> Self {
        // Only what somebody maps by: the owner of an external release is found by its annotation.
        let annotations = object
            .annotation(annotation::HELMRELEASE_AUTHORITY)
            .map(|value| BTreeMap::from([(annotation::HELMRELEASE_AUTHORITY.to_string(), value.to_string())]));
        Self {
            metadata: ObjectMeta {
                name: Some(object.name().into()),
                namespace: object.namespace().map(String::from),
                uid: object.uid().map(|uid| uid.0),
                annotations,
                ..ObjectMeta::default()
            },
            gone: false,
        }
    }

    /// A stub of an object that does not exist.
    fn gone(namespace: &str, name: &str) -> Self {
        let metadata =
            ObjectMeta { name: Some(name.into()), namespace: Some(namespace.into()), ..ObjectMeta::default() };
        Self { metadata, gone: true }
    }

    fn name(&self) -> Name {
        (self.metadata.namespace.clone().unwrap_or_default(), self.metadata.name.clone().unwrap_or_default())
    }

    /// Whether a HelmRelease of the same namespace without our label may belong to this instance.
    pub fn observes_external_release(&self) -> bool {
        self.metadata
            .annotations
            .as_ref()
            .and_then(|annotations| annotations.get(annotation::HELMRELEASE_AUTHORITY))
            .is_some_and(|value| value == "external")
    }
}

impl kube::Resource for Stub {
    type DynamicType = Own;
    type Scope = DynamicResourceScope;

    fn kind(own: &Own) -> Cow<'_, str> {
        own.kind().kind.into()
    }

    fn group(own: &Own) -> Cow<'_, str> {
        own.kind().group.into()
    }

    fn version(own: &Own) -> Cow<'_, str> {
        own.kind().version.into()
    }

    fn plural(own: &Own) -> Cow<'_, str> {
        own.kind().plural.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// A wish to look at an object, from something that is not the object. The object need not exist: what it left behind
/// may want looking at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wake {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// One pass over one key: observe, decide, act. `Ok` says when to look again although nothing changed.
pub trait Pass: Send + Sync + 'static {
    /// Runs one pass. `last` is how the previous pass of this key failed, if it did.
    fn pass(&self, key: &Key, last: Option<&Failure>)
    -> impl Future<Output = Result<Option<Duration>, Failure>> + Send;
}

/// What is remembered of a key between passes.
#[derive(Default)]
struct Memory {
    started: Option<Instant>,
    /// When the pass that was asked for may start.
    due: Option<Instant>,
    failures: u32,
    last: Option<Failure>,
    passes: u64,
}

impl Memory {
    /// How long this wake has to wait. A change rarely comes alone (a controller writes a finalizer, then a condition, then
    /// another), so all but the first pass of a key wait a moment for the rest of it.
    fn wait(&mut self, now: Instant) -> Option<Duration> {
        let started = self.started?;
        let due = *self.due.get_or_insert((started + PACE).max(now + SETTLE));
        let wait = due.saturating_duration_since(now);
        if wait.is_zero() {
            self.due = None;
        }
        (!wait.is_zero()).then_some(wait)
    }
}

struct Loop<P> {
    own: Own,
    pass: P,
    memory: Arc<Mutex<BTreeMap<Name, Memory>>>,
}

/// Runs the loop over `own` until dropped. Returns only if something ended that must not end.
pub async fn run<A: ClusterApi, P: Pass>(
    api: &A,
    own: Own,
    pass: P,
    workers: u16,
    store: Writer<Stub>,
    wakes: mpsc::UnboundedReceiver<Wake>,
    health: Health,
) {
    let memory = Arc::new(Mutex::new(BTreeMap::new()));
    let reader = store.as_reader();
    let trigger = trigger(api, own, store, wakes, Arc::clone(&memory), health);
    let context = Arc::new(Loop { own, pass, memory });
    Controller::for_stream_with(trigger, reader, own)
        .with_config(Config::default().concurrency(workers))
        .run(reconcile::<P>, |_, never, _| match *never {}, context)
        // An object that vanished between wake and pass is no error; every other outcome was logged by its pass.
        .for_each(|_| std::future::ready(()))
        .await;
}

async fn reconcile<P: Pass>(stub: Arc<Stub>, context: Arc<Loop<P>>) -> Result<Action, Infallible> {
    Ok(context.step(stub.name(), stub.gone).await.map_or_else(Action::await_change, Action::requeue))
}

impl<P: Pass> Loop<P> {
    /// One pass, unless it comes too soon after the last. When to come back; `None` if there is nothing to come back to.
    async fn step(&self, (namespace, name): Name, gone: bool) -> Option<Duration> {
        let key = Key::namespaced(&self.own.kind(), &namespace, &name);
        let now = Instant::now();
        let (last, number) = {
            let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            let memory = memory.entry((namespace.clone(), name.clone())).or_default();
            if let Some(wait) = memory.wait(now) {
                return Some(wait);
            }
            memory.started = Some(now);
            memory.passes += 1;
            (memory.last.clone(), memory.passes)
        };
        let span = tracing::info_span!(
            "reconcile",
            controller = self.own.controller(),
            reconcileID = %reconcile_id(&key, number),
            namespace = %namespace,
            application_instance = tracing::field::Empty,
        );
        match self.own {
            Own::ApplicationInstance => span.record("application_instance", name.as_str()),
        };
        let result = async {
            let result = timeout(PASS, self.pass.pass(&key, last.as_ref())).await.unwrap_or(Err(Failure::Overtime));
            if let Err(failure) = &result {
                log(failure);
            }
            result
        }
        .instrument(span)
        .await;
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if gone && matches!(result, Ok(None)) {
            memory.remove(&(namespace, name));
            return None;
        }
        let Some(memory) = memory.get_mut(&(namespace, name)) else {
            // Deleted while we looked.
            return None;
        };
        match result {
            Ok(wake) => {
                memory.failures = 0;
                memory.last = None;
                Some(wake.map_or_else(|| retry::resync(&key), |wake| wake.max(SHORTEST_WAKE)))
            }
            Err(failure) => {
                let delay = retry::delay(&failure, memory.failures, &key);
                memory.failures = memory.failures.saturating_add(1);
                memory.last = Some(failure);
                Some(delay)
            }
        }
    }
}

/// Warn for what will be tried again, error for what will not help by itself (contract §23.2).
fn log(failure: &Failure) {
    use crate::cluster_api::ApiError::{Forbidden, Refused};
    match failure {
        Failure::Observe(Refused { .. } | Forbidden { .. })
        | Failure::Effect { error: Refused { .. } | Forbidden { .. }, .. } => {
            tracing::error!(error = %failure, "reconcile failed");
        }
        other => tracing::warn!(error = %other, "reconcile failed"),
    }
}

/// Names one pass in the log; unique per key and pass of this process, and the same in every repetition of a run.
fn reconcile_id(key: &Key, number: u64) -> String {
    let digest = Sha256::digest(format!("{key}#{number}"));
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The main watch and the wakes as a store writer and a trigger.
fn trigger<A: ClusterApi>(
    api: &A,
    own: Own,
    store: Writer<Stub>,
    wakes: mpsc::UnboundedReceiver<Wake>,
    memory: Arc<Mutex<BTreeMap<Name, Memory>>>,
    health: Health,
) -> impl Stream<Item = Result<Stub, watcher::Error>> + Send + 'static {
    let changes = api.watch(&own.kind(), &Scope::all(), Detail::Metadata).map(Input::Change);
    let wakes = stream::unfold(wakes, |mut wakes| async move { Some((Input::Wake(wakes.recv().await?), wakes)) });
    let mut state = Trigger::new(own, store, memory, health);
    stream::select(changes, wakes).flat_map(move |input| {
        let woken = match input {
            Input::Change(change) => state.on(change),
            Input::Wake(wake) => state.wake(wake),
        };
        stream::iter(woken.into_iter().map(Ok))
    })
}

enum Input {
    Change(Change),
    Wake(Wake),
}

/// Objects that are gone and still looked at, at most; the oldest are forgotten first.
const GONE: usize = 256;

struct Trigger {
    own: Own,
    store: Writer<Stub>,
    memory: Arc<Mutex<BTreeMap<Name, Memory>>>,
    health: Health,
    /// Fingerprints of what was last woken for.
    known: BTreeMap<Name, [u8; 8]>,
    /// While a list arrives: what it holds, and what to wake once the store holds it too.
    listed: Option<Listing>,
    /// Wakes that came before the first complete list.
    early: Option<BTreeSet<Name>>,
    /// Objects that are gone, in the store only so that a pass can look at what they left behind.
    gone: VecDeque<Name>,
}

/// A list that arrives.
#[derive(Default)]
struct Listing {
    names: BTreeSet<Name>,
    wakes: Vec<Stub>,
}

impl Trigger {
    fn new(own: Own, store: Writer<Stub>, memory: Arc<Mutex<BTreeMap<Name, Memory>>>, health: Health) -> Self {
        let (known, early) = (BTreeMap::new(), Some(BTreeSet::new()));
        Self { own, store, memory, health, known, listed: None, early, gone: VecDeque::new() }
    }

    fn wake(&mut self, Wake { namespace, name }: Wake) -> Vec<Stub> {
        let name = (namespace, name);
        if let Some(early) = &mut self.early {
            early.insert(name);
            return Vec::new();
        }
        vec![if self.known.contains_key(&name) { self.stub(&name) } else { self.vanished(name) }]
    }

    fn stub(&self, (namespace, name): &Name) -> Stub {
        // Only its name matters: the store holds the object.
        Stub { gone: false, ..Stub::gone(namespace, name) }
    }

    fn vanished(&mut self, name: Name) -> Stub {
        let stub = Stub::gone(&name.0, &name.1);
        if !self.gone.contains(&name) {
            if self.gone.len() >= GONE
                && let Some((namespace, name)) = self.gone.pop_front()
            {
                self.store.apply_watcher_event(&Event::Delete(Stub::gone(&namespace, &name)));
            }
            self.gone.push_back(name);
        }
        self.store.apply_watcher_event(&Event::Apply(stub.clone()));
        stub
    }

    fn on(&mut self, change: Change) -> Vec<Stub> {
        match change {
            Change::Reset => {
                self.store.apply_watcher_event(&Event::Init);
                self.listed = Some(Listing::default());
                Vec::new()
            }
            Change::Listed(object) => {
                let stub = Stub::of(&object);
                self.store.apply_watcher_event(&Event::InitApply(stub.clone()));
                let news = self.news(&object);
                if let Some(listing) = &mut self.listed {
                    listing.names.insert(name(&object));
                    if news {
                        listing.wakes.push(stub);
                    }
                }
                Vec::new()
            }
            Change::Synced => {
                let Some(Listing { names, mut wakes }) = self.listed.take() else { return Vec::new() };
                self.gone.retain(|name| !names.contains(name));
                // What vanished while nobody watched is looked at once more, like what was seen to go.
                let vanished: Vec<_> = self.known.keys().filter(|name| !names.contains(*name)).cloned().collect();
                self.known.retain(|name, _| names.contains(name));
                self.memory.lock().unwrap_or_else(PoisonError::into_inner).retain(|name, _| names.contains(name));
                for (namespace, name) in &self.gone {
                    self.store.apply_watcher_event(&Event::InitApply(Stub::gone(namespace, name)));
                }
                self.store.apply_watcher_event(&Event::InitDone);
                self.health.synced(self.own.controller());
                let early = self.early.take().unwrap_or_default();
                let early = early.into_iter().filter(|name| !names.contains(name));
                for name in early.chain(vanished).collect::<Vec<_>>() {
                    wakes.push(self.vanished(name));
                }
                wakes
            }
            Change::Applied(object) => {
                let stub = Stub::of(&object);
                self.gone.retain(|gone| *gone != name(&object));
                self.store.apply_watcher_event(&Event::Apply(stub.clone()));
                if self.news(&object) { vec![stub] } else { Vec::new() }
            }
            Change::Deleted(object) => {
                self.known.remove(&name(&object));
                self.memory.lock().unwrap_or_else(PoisonError::into_inner).remove(&name(&object));
                vec![self.vanished(name(&object))]
            }
            Change::Interrupted(error) => {
                self.health.interrupted(self.own.controller(), &error);
                Vec::new()
            }
        }
    }

    fn news(&mut self, object: &Object) -> bool {
        let fingerprint = fingerprint(object);
        self.known.insert(name(object), fingerprint) != Some(fingerprint)
    }
}

fn name(object: &Object) -> Name {
    (object.namespace().unwrap_or_default().into(), object.name().into())
}

/// Everything in the metadata that says somebody else changed something: all of it except the version and our own
/// status writes.
fn fingerprint(object: &Object) -> [u8; 8] {
    let mut metadata = object.0.get("metadata").cloned().unwrap_or(Value::Null);
    if let Some(map) = metadata.as_object_mut() {
        map.remove("resourceVersion");
        if let Some(Value::Array(entries)) = map.get_mut("managedFields") {
            entries.retain(|entry| {
                entry.get("manager").and_then(Value::as_str) != Some(Manager::Operator.name())
                    || entry.get("subresource").and_then(Value::as_str) != Some("status")
            });
        }
    }
    let digest = Sha256::digest(metadata.to_string().as_bytes());
    let mut short = [0; 8];
    short.copy_from_slice(&digest[..8]);
    short
}

/// The objects a loop knows, for those who wake it.
#[derive(Clone)]
pub struct Stubs(Store<Stub>);

impl Stubs {
    /// Namespace and name of those that `which` selects, in order: the store iterates in hash order.
    pub fn select(&self, which: impl Fn(&Stub) -> bool) -> BTreeSet<Name> {
        self.0.state().iter().filter(|stub| !stub.gone && which(stub)).map(|stub| stub.name()).collect()
    }
}

/// The store of stubs of `own`, empty.
pub fn store(own: Own) -> (Stubs, Writer<Stub>) {
    let writer = Writer::new(own);
    (Stubs(writer.as_reader()), writer)
}

/// Fills a store as a complete list would.
#[cfg(test)]
pub(crate) fn insert_for_test(writer: &mut Writer<Stub>, object: &Object) {
    writer.apply_watcher_event(&Event::Apply(Stub::of(object)));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(change: impl FnOnce(&mut Value)) -> Object {
        let mut value = json!({"metadata": {
            "name": "crm", "namespace": "shop", "uid": "u", "resourceVersion": "1", "generation": 1,
            "labels": {"a": "b"}, "annotations": {"c": "d"}, "finalizers": ["f"],
            "managedFields": [
                {"manager": "kubectl", "operation": "Update", "time": "2026-01-01T00:00:00Z"},
                {"manager": "vworkspace-operator", "operation": "Apply", "subresource": "status", "time": "2026-01-01T00:00:00Z"},
            ],
        }});
        change(&mut value);
        Object(value)
    }

    fn wakes(change: impl FnOnce(&mut Value)) -> bool {
        fingerprint(&object(|_| {})) != fingerprint(&object(change))
    }

    #[test]
    fn everything_but_our_own_status_write_wakes() {
        assert!(!wakes(|_| {}));
        assert!(!wakes(|object| {
            object["metadata"]["resourceVersion"] = json!("2");
            object["metadata"]["managedFields"][1]["time"] = json!("2026-01-01T00:00:09Z");
        }));
        assert!(wakes(|object| object["metadata"]["generation"] = json!(2)));
        assert!(wakes(|object| object["metadata"]["labels"] = json!({})));
        assert!(wakes(|object| object["metadata"]["annotations"]["c"] = json!("e")));
        assert!(wakes(|object| object["metadata"]["finalizers"] = json!([])));
        assert!(wakes(|object| object["metadata"]["uid"] = json!("v")));
        assert!(wakes(|object| object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:09Z")));
        assert!(
            wakes(|object| {
                object["metadata"]["managedFields"][1]["manager"] = json!("kubectl-edit");
            }),
            "somebody else wrote the status"
        );
    }

    fn trigger() -> Trigger {
        let (_, store) = store(Own::ApplicationInstance);
        Trigger::new(Own::ApplicationInstance, store, Arc::default(), Health::default())
    }

    #[test]
    fn a_list_wakes_once_the_store_holds_it_and_only_for_news() {
        let mut trigger = trigger();
        let reader = trigger.store.as_reader();
        assert_eq!(trigger.on(Change::Reset).len(), 0);
        assert_eq!(trigger.on(Change::Listed(object(|_| {}))).len(), 0);
        assert!(reader.is_empty());
        assert_eq!(trigger.on(Change::Synced).len(), 1);
        assert_eq!(reader.len(), 1);
        for change in [Change::Reset, Change::Listed(object(|_| {})), Change::Synced, Change::Applied(object(|_| {}))] {
            assert_eq!(trigger.on(change).len(), 0);
        }
        assert_eq!(trigger.on(Change::Applied(object(|object| object["metadata"]["generation"] = json!(2)))).len(), 1);
    }

    fn wake(name: &str) -> Wake {
        Wake { namespace: "shop".into(), name: name.into() }
    }

    #[test]
    fn what_is_gone_is_looked_at_once_more() {
        let mut trigger = trigger();
        let reader = trigger.store.as_reader();
        assert_eq!(trigger.wake(wake("crm")).len(), 0, "nobody knows yet whether it exists");
        assert_eq!(trigger.wake(wake("left")).len(), 0);
        let woken: Vec<_> = [Change::Reset, Change::Listed(object(|_| {})), Change::Synced]
            .into_iter()
            .flat_map(|change| trigger.on(change))
            .map(|stub| (stub.name().1, stub.gone))
            .collect();
        assert_eq!(woken, [("crm".into(), false), ("left".into(), true)]);
        assert_eq!(trigger.wake(wake("crm")).iter().map(|stub| stub.gone).collect::<Vec<_>>(), [false]);
        assert_eq!(
            trigger.on(Change::Deleted(object(|_| {}))).iter().map(|stub| stub.gone).collect::<Vec<_>>(),
            [true]
        );
        assert_eq!(reader.len(), 2, "both can be looked at");
        assert_eq!(Stubs(reader.clone()).select(|_| true).len(), 0, "and neither counts as there");
        assert_eq!(
            trigger.on(Change::Applied(object(|_| {}))).iter().map(|stub| stub.gone).collect::<Vec<_>>(),
            [false]
        );
        let vanished: Vec<_> =
            [Change::Reset, Change::Synced].into_iter().flat_map(|change| trigger.on(change)).collect();
        assert_eq!(vanished.iter().map(|stub| (stub.name().1, stub.gone)).collect::<Vec<_>>(), [("crm".into(), true)]);
        for number in 0..1_000 {
            trigger.wake(wake(&format!("n{number}")));
        }
        assert_eq!(reader.len(), GONE);
    }

    struct Scripted(Mutex<Vec<Result<Option<Duration>, Failure>>>);

    impl Pass for Scripted {
        async fn pass(&self, _: &Key, last: Option<&Failure>) -> Result<Option<Duration>, Failure> {
            let next = self.0.lock().expect("lock").remove(0);
            if let Ok(Some(long)) = next
                && long > PASS
            {
                tokio::time::sleep(long).await;
            }
            assert_eq!(last.is_some(), matches!(next, Err(Failure::Overtime)), "how the last pass failed is handed on");
            next
        }
    }

    fn looped(passes: Vec<Result<Option<Duration>, Failure>>) -> Loop<Scripted> {
        Loop { own: Own::ApplicationInstance, pass: Scripted(Mutex::new(passes)), memory: Arc::default() }
    }

    async fn step(looped: &Loop<Scripted>) -> f64 {
        looped.step(("shop".into(), "crm".into()), false).await.expect("a time to come back").as_secs_f64()
    }

    async fn sleep(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn passes_of_a_key_are_paced_and_wakes_are_not_too_short() {
        let looped = looped(vec![Ok(None), Ok(Some(Duration::from_secs(30))), Ok(Some(Duration::from_millis(1)))]);
        assert!(step(&looped).await > 8.0 * 3600.0, "the first at once, then quiet until the resync");
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!((step(&looped).await - 1.7).abs() < 1e-3, "a wake right after a pass waits");
        sleep(1).await;
        assert!((step(&looped).await - 0.7).abs() < 1e-3, "further wakes do not postpone it");
        sleep(1).await;
        assert!((step(&looped).await - 30.0).abs() < 1e-9);
        sleep(60).await;
        assert!((step(&looped).await - SETTLE.as_secs_f64()).abs() < 1e-9, "a wake out of the quiet waits for company");
        sleep(1).await;
        assert!((step(&looped).await - SHORTEST_WAKE.as_secs_f64()).abs() < 1e-9);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_back_off_until_a_success_and_a_pass_ends_after_a_minute() {
        let looped = looped(vec![Ok(Some(Duration::from_secs(3600))), Err(Failure::Overtime), Err(Failure::Overtime)]);
        let begun = Instant::now();
        let first = step(&looped).await;
        assert_eq!(begun.elapsed(), PASS);
        assert_eq!(Duration::from_secs_f64(step(&looped).await), SETTLE);
        sleep(1).await;
        let second = step(&looped).await;
        step(&looped).await;
        sleep(3).await;
        let third = step(&looped).await;
        assert!(first < second && second < third && third <= 4.0, "{first} {second} {third}");
        let memory = looped.memory.lock().expect("lock");
        assert_eq!(memory[&("shop".to_string(), "crm".to_string())].failures, 3);
    }
}
