//! One run, from a case to a report.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;

use fakes::history::{CONTROL_PLANE, Event, Phase, Record};
use serde::Serialize;
use serde_json::{Value, json};

use crate::case::{Case, Step, split};
use crate::entropy;
use crate::oracle::{self, Oracle, Violation};
use crate::stories;
use crate::trace::Detail;
use crate::truth::{CLUSTERS, HELM_REPOSITORIES, INSTANCES, OCI_REPOSITORIES, RELEASES, Truth, is_operator};
use crate::world::{Plan, World};

/// How long nothing may happen before a run is believed to be over (reliability §4: W).
pub const WINDOW: Duration = Duration::from_secs(1200);
/// Between convergence and the quiet: the last pass ends with its Events.
pub const SETTLE: Duration = Duration::from_secs(10);
/// The same where there is a control plane: two heartbeat stamps.
pub const SETTLE_CONNECTED: Duration = Duration::from_secs(130);
/// Simulated time after which a healed run is given up: longer than every bound of every oracle.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Stack of a run's thread: the fakes and the operator read objects of ten thousand levels. Only what is used becomes memory.
const STACK: usize = 64 << 20;

/// A case about to be run.
pub struct Simulation {
    case: Case,
    detail: Detail,
    window: Duration,
    also: Option<fn() -> Box<dyn Oracle>>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "is")]
pub enum Verdict {
    /// Everything that was promised came true and stayed.
    Clean,
    /// A promise was broken.
    Violation {
        /// Id of the oracle.
        oracle: String,
        /// The promise.
        promise: String,
        /// How it was broken.
        what: String,
        /// Ordinal of the record.
        at: u64,
    },
    /// The workload could not be carried out.
    Stuck {
        /// Which step.
        step: String,
        /// Why.
        why: String,
    },
    /// Something panicked.
    Panic {
        /// Message and place of the first one.
        what: String,
    },
    /// Nothing was broken and something is still owed after the patience of the run.
    Unfinished {
        /// What is owed.
        why: String,
    },
}

impl Verdict {
    /// Whether the run kept every promise.
    pub fn is_clean(&self) -> bool {
        *self == Self::Clean
    }

    /// The oracle that objected.
    pub fn oracle(&self) -> Option<&str> {
        match self {
            Self::Violation { oracle, .. } => Some(oracle),
            _ => None,
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Clean => f.write_str("clean"),
            Self::Violation { oracle, promise, what, at } => {
                write!(f, "{oracle} is broken at record {at}: {what}\n  promised: {promise}")
            }
            Self::Stuck { step, why } => write!(f, "stuck at step {step}: {why}"),
            Self::Panic { what } => write!(f, "panic: {what}"),
            Self::Unfinished { why } => write!(f, "not finished: {why}"),
        }
    }
}

/// What one run was.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// How it ended.
    pub verdict: Verdict,
    /// Running hash of the trace.
    pub hash: String,
    /// Records in the history.
    pub records: u64,
    /// Simulated milliseconds.
    pub simulated_ms: u64,
    /// Requests of the operator.
    pub requests: u64,
    /// Of these, the ones that would change the store, Leases excepted.
    pub writes: u64,
    /// Writes attempted in the quiet phase, Leases excepted.
    pub quiet_writes: u64,
    /// Draws of randomness on the run's thread.
    pub draws: u64,
    /// How often each fault struck.
    pub fired: BTreeMap<String, u64>,
    /// What was there at the end: the same for every road to it.
    pub end: BTreeMap<String, Value>,
    /// The trace, as far as it was kept.
    #[serde(skip)]
    pub lines: Vec<String>,
    /// The operator's requests in order, for the enumeration of crash points.
    #[serde(skip)]
    pub calls: Vec<String>,
    /// How many of them came before the faults were lifted: only those can be struck.
    pub disturbed_calls: usize,
    /// How many of these went to the control plane.
    pub calls_to_control_plane: usize,
    /// What was struck, in order.
    pub struck: Vec<String>,
    /// How many requests matched the fault rules of each id, struck or not.
    #[serde(skip)]
    pub matched: BTreeMap<String, u64>,
}

impl Simulation {
    /// Of this case, keeping the lines of the trace.
    pub fn new(case: Case) -> Self {
        Self { case, detail: Detail::Lines, window: WINDOW, also: None }
    }

    /// How much of the trace is kept.
    #[must_use]
    pub fn detail(mut self, detail: Detail) -> Self {
        self.detail = detail;
        self
    }

    /// How long nothing may happen at the end.
    #[must_use]
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// One more oracle.
    #[must_use]
    pub fn also(mut self, oracle: fn() -> Box<dyn Oracle>) -> Self {
        self.also = Some(oracle);
        self
    }

    /// Runs the case on a thread of its own and waits for it.
    pub fn run(self) -> Report {
        warm_up();
        on_fresh_thread(self.case.entropy, move || self.play())
            .unwrap_or_else(|what| Report { verdict: Verdict::Panic { what }, ..Report::empty() })
    }

    fn play(self) -> Report {
        let runtime = runtime();
        let tally = Arc::new(Mutex::new(Tally::default()));
        let counting = tally.clone();
        let mut report = runtime.block_on(async move {
            let reader = Box::new(move |record: &Record| {
                counting.lock().unwrap_or_else(PoisonError::into_inner).add(record);
            });
            let oracles = oracle::all().into_iter().chain(self.also.map(|make| make())).collect();
            let plan = Plan { detail: self.detail, oracles, reader: Some(reader), ..Plan::of(&self.case) };
            match World::build(plan).await {
                Ok(world) => story(world, &self.case, self.window).await,
                Err(why) => Report { verdict: Verdict::Stuck { step: "build".into(), why }, ..Report::empty() },
            }
        });
        drop(runtime);
        let tally = std::mem::take(&mut *tally.lock().unwrap_or_else(PoisonError::into_inner));
        report.requests = tally.requests;
        report.writes = tally.writes;
        report.quiet_writes = tally.quiet_writes;
        report.calls = tally.calls;
        report.disturbed_calls = tally.disturbed_calls;
        report.calls_to_control_plane = tally.calls_to_control_plane;
        report.draws = entropy::draws();
        report
    }
}

impl Report {
    /// Of a run that has not begun.
    pub fn empty() -> Self {
        Self {
            verdict: Verdict::Clean,
            hash: String::new(),
            records: 0,
            simulated_ms: 0,
            requests: 0,
            writes: 0,
            quiet_writes: 0,
            draws: 0,
            fired: BTreeMap::new(),
            end: BTreeMap::new(),
            lines: Vec::new(),
            calls: Vec::new(),
            disturbed_calls: 0,
            calls_to_control_plane: 0,
            struck: Vec::new(),
            matched: BTreeMap::new(),
        }
    }
}

/// Makes the first run of a process like every later one. The parser of validation rules learns as it parses, in hash maps
/// of the whole process, and each hash map that is made moves the keys of those made after it on the same thread: a run
/// that teaches the parser would take its turns in another order than one that finds it taught. So the first run of a
/// process is a short one that nobody looks at.
fn warm_up() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let case = stories::named("whole").expect("a built-in case");
        let _ = on_fresh_thread(0, move || Simulation::new(case).detail(Detail::Hash).window(Duration::ZERO).play());
    });
}

thread_local! {
    static PANICS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Counts panics on threads that run a simulation, wherever they are caught; elsewhere the usual hook speaks.
fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let counted = PANICS.with(|panics| match &mut *panics.borrow_mut() {
                Some(panics) => {
                    let place = info.location().map(ToString::to_string).unwrap_or_default();
                    let payload = info.payload();
                    let text = payload.downcast_ref::<String>().map(String::as_str);
                    let text = text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without text");
                    panics.push(format!("{text} at {place}"));
                    true
                }
                None => false,
            });
            if !counted {
                usual(info);
            }
        }));
    });
}

/// Runs `work` as one run: fresh thread, shim first, panics counted. `Err` is the first panic.
pub fn on_fresh_thread<T: Send + 'static>(seed: u64, work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    if let Err(why) = entropy::prime() {
        return Err(why.to_owned());
    }
    count_panics();
    let (answer, wait) = mpsc::channel();
    let thread = std::thread::Builder::new().name("run".into()).stack_size(STACK).spawn(move || {
        // No map, no runtime, no logging before this line: std caches its hash keys per thread.
        let run = entropy::Run::install(seed);
        PANICS.with(|panics| *panics.borrow_mut() = Some(Vec::new()));
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        let panics = PANICS.with(|panics| panics.borrow_mut().take()).unwrap_or_default();
        drop(run);
        let first = panics.into_iter().next();
        let _ = answer.send(match (outcome, first) {
            (Ok(value), None) => Ok(value),
            (_, first) => Err(first.unwrap_or_else(|| "a panic".to_owned())),
        });
    });
    let outcome = wait.recv().unwrap_or_else(|_| Err("the run ended without an answer".to_owned()));
    if let Ok(thread) = thread {
        let _ = thread.join();
    }
    outcome
}

/// The runtime of the direct tier: one thread, paused clock.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing from the system")
}

#[derive(Default)]
struct Tally {
    quiet: bool,
    requests: u64,
    writes: u64,
    quiet_writes: u64,
    calls: Vec<String>,
    disturbed_calls: usize,
    calls_to_control_plane: usize,
}

impl Tally {
    fn add(&mut self, record: &Record) {
        match &record.event {
            Event::Phase(phase) => {
                self.quiet = *phase == Phase::Quiet;
                if *phase == Phase::Healed {
                    self.disturbed_calls = self.calls.len();
                    let control_plane = |call: &&String| call.split(' ').nth(1) == Some(CONTROL_PLANE);
                    self.calls_to_control_plane = self.calls.iter().filter(control_plane).count();
                }
            }
            Event::Request { call, .. } if is_operator(&record.actor) => {
                let writes = u64::from(call.writes() && call.resource != "leases.coordination.k8s.io");
                self.requests += 1;
                self.writes += writes;
                self.quiet_writes += if self.quiet { writes } else { 0 };
                self.calls.push(call.to_string());
            }
            _ => {}
        }
    }
}

async fn story(mut world: World, case: &Case, window: Duration) -> Report {
    let verdict = phases(&mut world, case, window).await;
    let (fired, struck, matched) = (world.faults.fired(), world.faults.struck(), world.faults.matched());
    let mut end = world.look(end_state);
    for step in &case.workload {
        let Step::Instance(wish) = step else { continue };
        let (namespace, name) = split(&wish.instance);
        let runs = world.flux.deployed(namespace, name).map(|revision| revision.chart_version);
        end.insert(format!("Helm {}", wish.instance), json!(runs));
    }
    let (trace, time) = (world.trace.clone(), world.time);
    world.end().await;
    Report {
        verdict,
        hash: trace.hash(),
        records: trace.count(),
        simulated_ms: u64::try_from(time.elapsed().as_millis()).unwrap_or(u64::MAX),
        fired,
        struck,
        matched,
        end,
        lines: trace.take_lines(),
        ..Report::empty()
    }
}

async fn phases(world: &mut World, case: &Case, window: Duration) -> Verdict {
    // Without faults the promises of the healed phase hold from the beginning.
    let disturbed = !case.faults.is_empty() || case.workload.iter().any(Step::disturbs);
    world.enter(if disturbed { Phase::Faults } else { Phase::Healed });
    if let Err(why) = world.faults.load(&case.faults) {
        return Verdict::Stuck { step: "faults".into(), why };
    }
    world.start_operator();
    for (index, step) in case.workload.iter().enumerate() {
        let outcome = world.carry_out(step).await;
        if let Some(violation) = world.violation() {
            return broken(violation);
        }
        if let Err(why) = outcome {
            return Verdict::Stuck { step: (index + 1).to_string(), why };
        }
    }
    if disturbed {
        world.heal();
        world.enter(Phase::Healed);
    }
    if let Some(verdict) = owed(world).await {
        return verdict;
    }
    // A connected Cluster settles with its second heartbeat: the first contact becomes a round trip like any other.
    let connects = world.look(|truth| truth.get(CLUSTERS, "", "cluster").is_some());
    tokio::time::sleep(if connects { SETTLE_CONNECTED } else { SETTLE }).await;
    world.enter(Phase::Quiet);
    let calm = tokio::time::Instant::now() + window;
    while tokio::time::Instant::now() < calm {
        tokio::time::sleep(Duration::from_secs(30)).await;
        let now = world.time.elapsed();
        let pending = world.judge().pending(now);
        if let Some(violation) = world.violation() {
            return broken(violation);
        }
        if let Some(why) = pending {
            return Verdict::Unfinished { why: format!("it did not stay: {why}") };
        }
    }
    Verdict::Clean
}

/// Waits until nothing is owed any more; a verdict if that fails.
async fn owed(world: &World) -> Option<Verdict> {
    let deadline = world.time.elapsed() + PATIENCE;
    loop {
        let now = world.time.elapsed();
        let pending = world.judge().pending(now);
        if let Some(violation) = world.violation() {
            return Some(broken(violation));
        }
        let why = pending?;
        if now > deadline {
            return Some(Verdict::Unfinished { why });
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn broken(violation: Violation) -> Verdict {
    let Violation { oracle, promise, what, ordinal } = violation;
    Verdict::Violation { oracle: oracle.into(), promise: promise.into(), what, at: ordinal }
}

/// What must be the same at the end whatever happened on the way: specs and identities of our objects and their
/// children, conditions without their times. Uids, versions and generations count how often something was written, which
/// is another matter.
fn end_state(truth: &Truth) -> BTreeMap<String, Value> {
    let kinds = [INSTANCES, RELEASES, OCI_REPOSITORIES, HELM_REPOSITORIES];
    let mut end = BTreeMap::new();
    for resource in kinds {
        for (address, object) in truth.all(resource) {
            let conditions = if resource == INSTANCES { conditions(object) } else { Value::Null };
            let metadata = &object["metadata"];
            let state = json!({
                "spec": object["spec"],
                "labels": without(&metadata["labels"], "apps.vworkspace.io/instance-uid"),
                "finalizers": metadata["finalizers"],
                "conditions": conditions,
            });
            end.insert(format!("{resource} {}/{}", address.namespace, address.name), state);
        }
    }
    if let Some(cluster) = truth.get(CLUSTERS, "", "cluster") {
        let said = |condition: &Value| json!([condition["type"], condition["status"], condition["reason"]]);
        let list = cluster.pointer("/status/conditions").and_then(Value::as_array);
        let said: Vec<Value> = list.map(|list| list.iter().map(said).collect()).unwrap_or_default();
        end.insert(
            "Cluster".into(),
            json!({ "spec": cluster["spec"], "phase": cluster["status"]["phase"], "conditions": said }),
        );
    }
    end.extend(truth.odoo(known).unwrap_or_default());
    let stores = ["-vws-values-", "vworkspace-job-", "vworkspace-event-outbox"];
    for (address, _) in
        truth.all("configmaps").filter(|(address, _)| stores.iter().any(|store| address.name.contains(store)))
    {
        end.insert(format!("configmaps {}/{}", address.namespace, address.name), Value::Null);
    }
    end
}

/// The same for the control plane: how each job ended, what is known of each object, and how often the cluster had to
/// register and to rotate.
fn known(odoo: &fakes::odoo::State) -> BTreeMap<String, Value> {
    let mut known = BTreeMap::new();
    for job in odoo.jobs.values() {
        let body = job.result.as_ref().map(|result| &result.body);
        let ended = json!([body.map(|body| body.outcome), body.and_then(|body| body.error.clone()), job.clashes]);
        known.insert(format!("job {}", job.id), ended);
    }
    for cluster in odoo.clusters.values() {
        known.insert(format!("cluster {}", cluster.id), json!([cluster.registrations, cluster.rotations]));
        for (key, view) in &cluster.view {
            known.insert(format!("view {} {}/{}", key.kind, key.namespace, key.name), json!(view.says()));
        }
    }
    known
}

fn without(map: &Value, key: &str) -> Value {
    let mut map = map.clone();
    if let Some(map) = map.as_object_mut() {
        map.remove(key);
    }
    map
}

fn conditions(object: &Value) -> Value {
    let list = object.pointer("/status/conditions").and_then(Value::as_array);
    let short =
        |condition: &Value| json!([condition["type"], condition["status"], condition["reason"], condition["message"]]);
    list.map(|list| list.iter().map(short).collect()).unwrap_or_default()
}
