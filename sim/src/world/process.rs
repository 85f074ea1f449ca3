//! The operator as a process: incarnations that die and come back.
//!
//! A crash is power loss: the gate of the incarnation closes, its future is dropped, and the runtime is yielded to until
//! its tasks are gone. The next incarnation is a new pod with a new name: it has to wait for the Lease of the old one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fakes::front::{Front, Gate};
use fakes::history::{Event, History};
use operator::cluster_api::kube::connect;
use operator::config::Config;
use operator::runtime::clock::Clock;
use operator::runtime::entropy::Entropy;
use operator::runtime::{self, Parts};
use rand::Rng as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::clock::SimulatedTime;
use super::install::SYSTEM;
use crate::case::fork;
use crate::wire::direct;

/// How long the cluster takes to start a pod again.
const RESTART: Duration = Duration::from_secs(1);

/// What a process of the operator reaches, and what it is given.
#[derive(Clone)]
pub struct Surroundings {
    /// The way to the API server.
    pub cluster: Front,
    /// The way to the control plane.
    pub control_plane: Front,
    /// Where starts and ends are told.
    pub history: History,
    /// Time.
    pub time: SimulatedTime,
    /// World seed: the ids that an incarnation draws are forked from it.
    pub seed: u64,
}

/// One replica of the operator and the incarnation that lives now.
pub struct Process {
    supervisor: JoinHandle<()>,
    /// The living incarnation's gate, and how long the next one takes to come.
    state: watch::Sender<State>,
}

#[derive(Clone, Default)]
struct State {
    gate: Gate,
    incarnation: u64,
    down: Duration,
    stopped: bool,
}

impl Process {
    /// Starts the first incarnation of `name`.
    #[expect(clippy::disallowed_methods, reason = "the supervisor is the process table of the simulated node")]
    pub fn start(name: &'static str, around: Surroundings) -> Self {
        let (state, _) = watch::channel(State { down: RESTART, ..State::default() });
        let supervisor = tokio::spawn(supervise(name, around, state.clone()));
        Self { supervisor, state }
    }

    /// Power loss now; the next incarnation comes after `down` (at least a second).
    pub fn crash(&self, down: Duration) {
        self.state.send_modify(|state| {
            state.down = down.max(RESTART);
            state.gate.close();
        });
    }

    /// How many incarnations there have been.
    pub fn incarnation(&self) -> u64 {
        self.state.borrow().incarnation
    }

    /// Ends the process for good.
    pub async fn stop(self) {
        self.state.send_modify(|state| {
            state.stopped = true;
            state.gate.close();
        });
        self.supervisor.abort();
        let _ = self.supervisor.await;
        settle().await;
    }
}

#[expect(clippy::disallowed_methods, reason = "an incarnation is a process of its own, ended by its supervisor")]
async fn supervise(name: &'static str, around: Surroundings, state: watch::Sender<State>) {
    let history = around.history.clone();
    let node: Arc<str> = "kubelet".into();
    loop {
        let gate = Gate::default();
        let mut incarnation = 0;
        state.send_modify(|state| {
            state.incarnation += 1;
            state.gate = gate.clone();
            incarnation = state.incarnation;
        });
        let actor: Arc<str> = format!("{name}.{incarnation}").into();
        history.push(&node, Event::Step { what: format!("{actor} starts") });
        let mut task = AbortOnDrop(tokio::spawn(incarnate(actor.clone(), around.clone(), gate.clone())));
        let end = tokio::select! {
            biased;
            () = gate.closed() => "loses power".to_owned(),
            outcome = &mut task.0 => match outcome {
                Ok(outcome) => format!("ends: {outcome}"),
                Err(error) if error.is_panic() => "panics".to_owned(),
                Err(_) => "is cancelled".to_owned(),
            },
        };
        gate.close();
        history.push(&node, Event::Step { what: format!("{actor} {end}") });
        drop(task);
        settle().await;
        let mut down = RESTART;
        state.send_modify(|state| down = std::mem::replace(&mut state.down, RESTART));
        tokio::time::sleep(down).await;
    }
}

/// Lets aborted tasks end: they are dropped when the runtime polls them next, and what they drop may wake others.
async fn settle() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let mut before = tasks();
    for _ in 0..100 {
        for _ in 0..16 {
            tokio::task::yield_now().await;
        }
        let now = tasks();
        if now >= before {
            return;
        }
        before = now;
    }
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Ids that differ between incarnations and not between runs.
fn entropy(seed: u64, actor: &str) -> Entropy {
    let stream = Mutex::new(fork(seed, actor));
    Entropy::new(move |bytes| stream.lock().unwrap_or_else(PoisonError::into_inner).fill(bytes))
}

/// The production operator, given simulated parts. Returns when it ends by itself, with the reason.
async fn incarnate(actor: Arc<str>, around: Surroundings, gate: Gate) -> String {
    let time = around.time;
    let config = Config { identity: actor.to_string(), operator_namespace: SYSTEM.into(), ..Config::default() };
    let address = http::Uri::from_static("http://apiserver");
    let parts = Parts {
        cluster: direct::service(&around.cluster, &actor, &gate),
        control_plane: direct::service(&around.control_plane, &actor, &gate),
        kube: connect::plain(address),
        clock: Clock::new(move || time.now()),
        entropy: entropy(around.seed, &actor),
        config,
        probes: None,
    };
    match runtime::run(parts, std::future::pending()).await {
        Ok(()) => "shut down".to_owned(),
        Err(error) => error.to_string(),
    }
}
