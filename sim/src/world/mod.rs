//! Who runs: one API server with its controllers, the fake Flux, the control plane, the operator's incarnations, and
//! people.
//!
//! Everything lives on one paused runtime. A run ends by dropping the world: nothing of it is global.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fakes::apiserver::{self, Client, Server};
use fakes::faults::Faults;
use fakes::flux::Controller;
use fakes::front::{Front, Latency};
use fakes::history::{Event, History, Phase, Record};
use fakes::odoo::{Dials, Odoo};
use fakes::script::Order;
use rand::Rng as _;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::case::{Case, fork};
use crate::oracle::{self, Judge, Oracle, Violation};
use crate::trace::{Detail, Trace};
use crate::truth::Truth;

pub mod clock;
pub mod install;
pub mod process;
pub mod workload;

use clock::SimulatedTime;
use process::{Process, Surroundings};

/// A running world.
pub struct World {
    /// The server, as everybody reaches it.
    pub server: Server,
    /// The way to it, recorded and with faults.
    pub front: Front,
    /// The control plane.
    pub odoo: Odoo,
    /// The way to it, in the same history and under the same faults.
    pub control_plane: Front,
    /// What happened.
    pub history: History,
    /// The same as text and hash.
    pub trace: Trace,
    /// What goes wrong.
    pub faults: Faults,
    /// What Helm and the registries hold, and how Flux behaves.
    pub flux: fakes::flux::World,
    /// Time.
    pub time: SimulatedTime,
    judge: Arc<Mutex<Judge>>,
    /// Counts what may have changed the truth.
    commits: watch::Receiver<u64>,
    /// What the control plane knew when a copy of it was made.
    copy: Option<Box<fakes::odoo::State>>,
    operator: Option<Process>,
    tasks: JoinSet<()>,
    seed: u64,
    _logs: tracing::subscriber::DefaultGuard,
}

/// Somebody who follows the history.
pub type Reader = Box<dyn FnMut(&Record) + Send>;

/// What a world is built from.
pub struct Plan {
    /// World seed: uids, latencies, timings of the fakes.
    pub seed: u64,
    /// Time, already started.
    pub time: SimulatedTime,
    /// Definitions of other people's kinds.
    pub definitions: Vec<Value>,
    /// How Flux is installed.
    pub flux: fakes::flux::Settings,
    /// Round trip to the API server in milliseconds: least and most.
    pub latency_ms: (u64, u64),
    /// How much of the trace is kept.
    pub detail: Detail,
    /// Who judges.
    pub oracles: Vec<Box<dyn Oracle>>,
    /// Sees the history from its first record.
    pub reader: Option<Reader>,
}

impl Plan {
    /// The world of a case, beginning now.
    pub fn of(case: &Case) -> Self {
        let mut flux = fakes::flux::Settings::default();
        if let Some(release) = case.dials.flux {
            flux.release = release;
        }
        Self {
            seed: case.world,
            time: SimulatedTime::start(),
            definitions: fakes::kinds::crds(&case.dials),
            flux,
            latency_ms: case.latency_ms,
            detail: Detail::Lines,
            oracles: oracle::all(),
            reader: None,
        }
    }
}

impl World {
    /// Builds a world: cluster up, definitions installed, Flux running, the operator not yet started.
    ///
    /// # Errors
    /// The cluster cannot be built: a defect of ours, or of definitions that somebody gave us.
    pub async fn build(plan: Plan) -> Result<Self, String> {
        let time = plan.time;
        let history = History::new(move || time.elapsed());
        let trace = Trace::of(&history, plan.detail);
        let judge = Arc::new(Mutex::new(Judge::new(plan.oracles)));
        let judging = judge.clone();
        history.read(move |record| lock(&judging).step(record));
        if let Some(reader) = plan.reader {
            history.read(reader);
        }
        let (count, commits) = watch::channel(0);
        history.read(move |record| {
            if matches!(record.event, Event::Commit(_) | Event::Handled { .. }) {
                count.send_modify(|count| *count += 1);
            }
        });

        let logs = crate::logs::collect(history.clone());
        let clock = apiserver::Clock::new(move || time.now());
        let server = Server::new(apiserver::Config::new(clock, plan.seed));
        let faults = Faults::default();
        let front = Front::new(server.clone(), history.clone(), faults.clone());
        let front = front.with_latency(latency(plan.seed, "latency", plan.latency_ms));
        let odoo = Odoo::new(plan.seed, move || time.now());
        lock(&judge).know(odoo.clone());
        let control_plane = Front::to(odoo.clone(), history.clone(), faults.clone());
        let control_plane =
            control_plane.with_latency(latency(plan.seed, "latency of the control plane", CONTROL_PLANE_LATENCY_MS));

        let mut tasks = JoinSet::new();
        let controllers = server.clone();
        tasks.spawn(async move { controllers.run_controllers().await });
        install::install(&server.client("admin"), &plan.definitions).await?;
        let flux = flux(&server, plan.flux, plan.seed, time, &mut tasks);
        let seed = plan.seed;
        let operator = None;
        Ok(Self {
            server,
            front,
            odoo,
            control_plane,
            history,
            trace,
            faults,
            flux,
            time,
            judge,
            commits,
            copy: None,
            _logs: logs,
            operator,
            tasks,
            seed,
        })
    }

    /// Starts the operator; it is started again whenever it ends.
    pub fn start_operator(&mut self) {
        let around = Surroundings {
            cluster: self.front.clone(),
            control_plane: self.control_plane.clone(),
            history: self.history.clone(),
            time: self.time,
            seed: self.seed,
        };
        self.operator = Some(Process::start("operator-0", around));
    }

    /// The operator's process.
    pub fn operator(&self) -> Option<&Process> {
        self.operator.as_ref()
    }

    /// A client for a person or controller of this name.
    pub fn client(&self, actor: &str) -> Client {
        self.server.client(actor)
    }

    /// The oracles and the truth; not to be held across an await.
    pub fn judge(&self) -> MutexGuard<'_, Judge> {
        lock(&self.judge)
    }

    /// Reads something off the store.
    pub fn look<T>(&self, at: impl FnOnce(&Truth) -> T) -> T {
        at(self.judge().truth())
    }

    /// The first broken promise so far.
    pub fn violation(&self) -> Option<Violation> {
        self.judge().violation().cloned()
    }

    /// Says something into the history.
    pub fn tell(&self, actor: &str, what: impl Into<String>) {
        self.history.push(&actor.into(), Event::Step { what: what.into() });
    }

    /// Enters a phase.
    pub fn enter(&self, phase: Phase) {
        self.history.push(&"sim".into(), Event::Phase(phase));
    }

    /// Tells the fake Flux how to behave next.
    pub fn order(&self, order: Order) {
        self.flux.arm(order);
    }

    /// All faults stop: rules are disarmed, the fakes forget their scripts.
    pub fn heal(&self) {
        self.faults.heal();
        self.flux.heal();
        self.odoo.dial(Dials::heal);
        self.control_plane.line().mend();
    }

    /// Waits until `reached` is true of the store and the control plane's tables.
    ///
    /// # Errors
    /// What is missing after `within` of simulated time.
    pub async fn until(&self, within: Duration, reached: impl Fn(&Truth) -> Result<(), String>) -> Result<(), String> {
        let deadline = tokio::time::Instant::now() + within;
        let mut commits = self.commits.clone();
        loop {
            commits.borrow_and_update();
            let Err(missing) = self.look(&reached) else { return Ok(()) };
            tokio::select! {
                biased;
                changed = commits.changed() => changed.map_err(|_| missing)?,
                () = tokio::time::sleep_until(deadline) => return Err(missing),
            }
        }
    }

    /// Ends everything that runs in this world.
    pub async fn end(mut self) {
        if let Some(operator) = self.operator.take() {
            operator.stop().await;
        }
        self.tasks.shutdown().await;
        self.enter(Phase::End);
    }
}

/// Round trip to the control plane in milliseconds: least and most. It is somewhere on the internet.
const CONTROL_PLANE_LATENCY_MS: (u64, u64) = (20, 60);

/// A way that takes as long as `purpose` draws each time.
fn latency(seed: u64, purpose: &str, (least, most): (u64, u64)) -> Latency {
    let stream = Mutex::new(fork(seed, purpose));
    Arc::new(move || {
        let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
        Duration::from_micros(stream.random_range(least * 1000..=most * 1000))
    })
}

/// Starts both Flux controllers. Every chart that is asked for by an exact version exists.
fn flux(
    server: &Server,
    settings: fakes::flux::Settings,
    seed: u64,
    time: SimulatedTime,
    tasks: &mut JoinSet<()>,
) -> fakes::flux::World {
    let world = fakes::flux::World::new(settings, seed, move || time.now());
    world.with(|state| state.catalogue.everything_exists = true);
    let (source, helm, hands) = (world.clone(), world.clone(), world.clone());
    let (to_source, to_helm) = (server.client(Controller::Source.name()), server.client(Controller::Helm.name()));
    let to_hands = server.clone();
    tasks.spawn(async move { fakes::flux::run_source_controller(to_source, source).await });
    tasks.spawn(async move { fakes::flux::run_helm_controller(to_helm, helm).await });
    tasks.spawn(async move { fakes::flux::run_surroundings(to_hands, hands).await });
    world
}

fn lock(judge: &Mutex<Judge>) -> MutexGuard<'_, Judge> {
    judge.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Path of an ApplicationInstance.
pub fn instance_path(instance: &str) -> String {
    let (namespace, name) = crate::case::split(instance);
    format!("/apis/apps.vworkspace.io/v1alpha1/namespaces/{namespace}/applicationinstances/{name}")
}

/// The message of a refusal.
pub fn message(answer: &Value) -> &str {
    answer["message"].as_str().unwrap_or_default()
}
