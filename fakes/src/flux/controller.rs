//! The machinery of both controllers: list and watch, cache, passes, crash and restart.
//!
//! One object is worked on by one pass at a time; passes of different objects overlap up to the limit of their kind. All of
//! it is one future without tasks of its own: dropping it is the death of the process.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::queue::Queue;
use super::release::Releases;
use super::source::Sources;
use super::subject::{Hub, Stop};
use super::timing::Step;
use super::world::{Controller, World};
use crate::apiserver::Client;
use crate::script::{Switch, Target};

/// Wait before a list that failed is tried again.
const RELIST: Duration = Duration::from_secs(5);
/// Wait before a watch that ended is opened again.
const REWATCH: Duration = Duration::from_millis(500);

/// The annotation that asks for a pass.
pub(crate) const REQUESTED_AT: &str = "reconcile.fluxcd.io/requestedAt";

/// What a pass asks of the queue.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing: an event will wake it.
    Done,
    /// Another pass after this time.
    After(Duration),
    /// Another pass through the rate limiter.
    Again,
}

/// How a pass ended, and the last version it wrote.
pub(crate) struct Ended {
    pub(crate) outcome: Result<Outcome, Stop>,
    pub(crate) version: String,
}

/// A kind that a controller watches.
#[derive(Clone)]
pub(crate) struct Watched {
    pub(crate) kind: &'static str,
    pub(crate) path: String,
    /// How many passes of this kind may overlap; 0: the kind is only looked at.
    pub(crate) workers: usize,
}

/// What the watches have delivered.
pub(crate) type Cache = BTreeMap<Target, Value>;

/// One controller's logic.
pub(crate) trait Reconciler: Sync {
    fn hub(&self) -> &Hub;
    fn watched(&self) -> Vec<Watched>;
    /// One pass over an object as the cache has it.
    fn pass(&self, target: Target, object: Value) -> impl Future<Output = Ended> + Send;
    /// Who else wants a pass because this object changed.
    fn wakes(&self, target: &Target, old: Option<&Value>, new: &Value, cache: &Cache) -> Vec<Target>;
}

/// source-controller, for ever. Drop the future to kill the process; [`World`] is what survives.
pub async fn run_source_controller(client: Client, world: World) {
    run(&Sources { hub: Hub { client, world, controller: Controller::Source } }).await;
}

/// helm-controller, for ever. Drop the future to kill the process; [`World`] is what survives.
pub async fn run_helm_controller(client: Client, world: World) {
    run(&Releases { hub: Hub { client, world, controller: Controller::Helm } }).await;
}

async fn run<R: Reconciler>(reconciler: &R) {
    let hub = reconciler.hub();
    let mut changes = hub.world.subscribe();
    loop {
        while hub.world.peek(|state| state.absent.contains(&hub.controller)) {
            if changes.changed().await.is_err() {
                return;
            }
        }
        incarnation(reconciler).await;
        tokio::time::sleep(hub.world.span(Step::Failover, hub.controller.name())).await;
    }
}

/// From the first list to the death of the process.
async fn incarnation<R: Reconciler>(reconciler: &R) {
    let hub = reconciler.hub();
    let watched = reconciler.watched();
    let workers: BTreeMap<&str, usize> = watched.iter().map(|one| (one.kind, one.workers)).collect();
    let (sender, mut deliveries) = mpsc::unbounded_channel();
    let mut feeds: FuturesUnordered<_> = watched.iter().map(|one| feed(&hub.client, one, sender.clone())).collect();
    let mut changes = hub.world.subscribe();
    changes.mark_changed();
    let mut view =
        View { reconciler, workers, cache: Cache::new(), queue: Queue::default(), late: BTreeMap::new(), order: 0 };
    let mut running = FuturesUnordered::new();
    loop {
        view.deliver_due();
        view.queue.promote(Instant::now());
        while let Some((target, object)) = view.next_pass() {
            running.push(async move { (target.clone(), reconciler.pass(target, object).await) });
        }
        let wake = view.wake();
        tokio::select! {
            biased;
            Some((target, ended)) = running.next(), if !running.is_empty() => {
                if matches!(ended.outcome, Err(Stop::Crash)) {
                    return;
                }
                view.ended(&target, ended);
            }
            Some(delivery) = deliveries.recv() => view.receive(delivery),
            Ok(()) = changes.changed() => {
                let (dies, kicks) = hub.world.peek(|state| {
                    let dies = state.restarts.remove(&hub.controller) || state.absent.contains(&hub.controller);
                    let mine = |target: &Target| view.workers.get(target.kind.as_str()).is_some_and(|count| *count > 0);
                    let kicks: Vec<Target> = state.kicks.iter().filter(|target| mine(target)).cloned().collect();
                    state.kicks.retain(|target| !mine(target));
                    (dies, kicks)
                });
                if dies {
                    return;
                }
                for target in kicks {
                    view.queue.add(target);
                }
            }
            () = sleep_until(wake), if wake.is_some() => {}
            _ = feeds.next() => {}
        }
    }
}

async fn sleep_until(wake: Option<Instant>) {
    if let Some(wake) = wake {
        tokio::time::sleep_until(wake).await;
    }
}

enum Delivery {
    Listed(&'static str, Vec<Value>),
    Changed(&'static str, Value),
    Deleted(&'static str, Value),
}

/// Lists, watches, and starts over when the watch ends. Never returns.
async fn feed(client: &Client, watched: &Watched, sender: mpsc::UnboundedSender<Delivery>) {
    let kind = watched.kind;
    loop {
        let (code, list) = client.request("GET", &watched.path, None, None).await;
        if code != 200 {
            tokio::time::sleep(RELIST).await;
            continue;
        }
        let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        let items = list["items"].as_array().cloned().unwrap_or_default();
        // The receiver lives as long as this future: a failure to send cannot be seen.
        let _ = sender.send(Delivery::Listed(kind, items));
        let mut events = Box::pin(client.watch(&format!("{}?resourceVersion={version}", watched.path)));
        while let Some((what, object)) = events.next().await {
            let delivery = match what.as_str() {
                "ADDED" | "MODIFIED" => Delivery::Changed(kind, object),
                "DELETED" => Delivery::Deleted(kind, object),
                "BOOKMARK" => continue,
                _ => break,
            };
            let _ = sender.send(delivery);
        }
        tokio::time::sleep(REWATCH).await;
    }
}

struct View<'a, R> {
    reconciler: &'a R,
    workers: BTreeMap<&'a str, usize>,
    cache: Cache,
    queue: Queue,
    /// Deliveries that the cache has not seen yet.
    late: BTreeMap<(Instant, u64), Delivery>,
    order: u64,
}

fn target_of(kind: &str, object: &Value) -> Target {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    Target::new(kind, text("namespace"), text("name"))
}

fn number(version: &Value) -> u64 {
    version.as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}

impl<R: Reconciler> View<'_, R> {
    fn world(&self) -> &World {
        &self.reconciler.hub().world
    }

    /// Takes a delivery now or, with a lagging cache, later, never before an earlier one.
    fn receive(&mut self, delivery: Delivery) {
        let lag = self.world().lag(self.reconciler.hub().controller.name());
        if lag.is_zero() && self.late.is_empty() {
            self.apply(delivery);
            return;
        }
        let latest = self.late.keys().next_back().map_or_else(Instant::now, |(due, _)| *due);
        self.order += 1;
        self.late.insert((latest.max(Instant::now() + lag), self.order), delivery);
    }

    fn deliver_due(&mut self) {
        let now = Instant::now();
        while let Some(entry) = self.late.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let delivery = entry.remove();
            self.apply(delivery);
        }
    }

    fn apply(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Listed(kind, items) => {
                let present: BTreeSet<Target> = items.iter().map(|item| target_of(kind, item)).collect();
                let gone: Vec<Target> = self
                    .cache
                    .keys()
                    .filter(|target| target.kind == kind && !present.contains(target))
                    .cloned()
                    .collect();
                for target in gone {
                    self.forget(&target);
                }
                for item in items {
                    self.change(kind, item);
                }
            }
            Delivery::Changed(kind, object) => self.change(kind, object),
            Delivery::Deleted(kind, object) => self.forget(&target_of(kind, &object)),
        }
    }

    fn forget(&mut self, target: &Target) {
        self.cache.remove(target);
        self.queue.forget(target);
    }

    fn change(&mut self, kind: &str, object: Value) {
        let target = target_of(kind, &object);
        let old = self.cache.insert(target.clone(), object.clone());
        self.queue.settle(&target, number(&object["metadata"]["resourceVersion"]));
        let works = self.workers.get(kind).is_some_and(|count| *count > 0);
        if works && old.as_ref().is_none_or(|old| asks_for_a_pass(old, &object)) {
            let delay = self.world().span(Step::Queue, &target.to_string());
            self.queue.add_after(target.clone(), delay);
        }
        for woken in self.reconciler.wakes(&target, old.as_ref(), &object, &self.cache) {
            let delay = self.world().span(Step::Notify, &woken.to_string());
            self.queue.add_after(woken, delay);
        }
    }

    /// The next object that may be worked on. Objects of an absent controller (H17) wait.
    fn next_pass(&mut self) -> Option<(Target, Value)> {
        loop {
            let target = self.queue.pop(&self.workers)?;
            let Some(object) = self.cache.get(&target) else {
                self.queue.done(&target);
                continue;
            };
            if self.world().armed(Switch::H17, &target) {
                self.queue.done(&target);
                self.queue.add_after(target, Duration::from_secs(1));
                continue;
            }
            return Some((target, object.clone()));
        }
    }

    fn ended(&mut self, target: &Target, ended: Ended) {
        match ended.outcome {
            Ok(Outcome::Done) => self.queue.forgive(target),
            Ok(Outcome::After(wait)) => {
                self.queue.forgive(target);
                self.queue.add_after(target.clone(), wait);
            }
            Ok(Outcome::Again) => self.queue.retry(target),
            Err(Stop::Gone) => self.queue.forget(target),
            Err(Stop::Api(why)) => {
                tracing::debug!(controller = self.reconciler.hub().controller.name(), %target, %why, "pass failed");
                self.queue.retry(target);
            }
            // The caller has ended the incarnation already.
            Err(Stop::Crash) => {}
        }
        let cached = self.cache.get(target).map_or(u64::MAX, |object| number(&object["metadata"]["resourceVersion"]));
        let written = ended.version.parse().unwrap_or_default();
        if cached >= written {
            self.queue.done(target);
        } else {
            self.queue.settle_later(target, written);
        }
    }

    fn wake(&self) -> Option<Instant> {
        let late = self.late.keys().next().map(|(due, _)| *due);
        late.into_iter().chain(self.queue.wake()).min()
    }
}

/// A new generation, a deletion, or a new token. Nothing else makes a pass.
fn asks_for_a_pass(old: &Value, new: &Value) -> bool {
    let token = |object: &Value| object["metadata"]["annotations"][REQUESTED_AT].clone();
    old["metadata"]["generation"] != new["metadata"]["generation"]
        || old["metadata"]["deletionTimestamp"] != new["metadata"]["deletionTimestamp"]
        || old["metadata"]["uid"] != new["metadata"]["uid"]
        || token(old) != token(new)
}
