//! One Controller per loop over one of our own kinds.
//!
//! The watch only wakes: it fills a store of stubs (name, namespace, uid) and triggers, and the reconcile function gets
//! the key alone. What the decision needs, it reads fresh.
//!
//! A change that is only our own status write does not wake its object, or every pass would cause another. Passes of one
//! key start at least [`PACE`] apart, so that a burst of changes is one pass, and a writer that never stops cannot
//! postpone it: kube's debounce would wait for silence.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::reflector::store::Writer;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tracing::Instrument;

use super::changes::Changes;
use super::health::Health;
use super::retry;
use crate::cluster_api::{ClusterApi, Key};
use crate::reconcile::act::Failure;

mod stub;
mod trigger;

use stub::Name;
#[cfg(test)]
pub(crate) use stub::insert_for_test;
pub use stub::{Own, Stub, Stubs, Wake, store};
use trigger::trigger;

/// A whole pass ends after this long (design §7).
pub const PASS: Duration = Duration::from_secs(60);
/// Passes of one key start at least this far apart.
pub const PACE: Duration = Duration::from_secs(2);
/// A pass starts this long after the change that asked for it, so that what comes with it is seen too.
pub const SETTLE: Duration = Duration::from_millis(500);
/// A pass that asks to be woken is woken at the earliest after this long: at most twelve passes per minute without an
/// event (contract §29.52).
pub const SHORTEST_WAKE: Duration = Duration::from_secs(5);

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
#[expect(clippy::too_many_arguments, reason = "the parts of a loop, named once")]
pub(super) async fn run<A: ClusterApi, P: Pass>(
    api: &A,
    own: Own,
    pass: P,
    workers: u16,
    store: Writer<Stub>,
    wakes: mpsc::UnboundedReceiver<Wake>,
    changes: Changes,
    health: Health,
) {
    let memory = Arc::new(Mutex::new(BTreeMap::new()));
    let reader = store.as_reader();
    let trigger = trigger(api, own, store, wakes, changes, Arc::clone(&memory), health);
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::trigger::{GONE, Trigger, fingerprint};
    use super::*;
    use crate::cluster_api::{Change, Object};

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
