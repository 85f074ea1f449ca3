//! Starts everything and keeps it together.
//!
//! ```text
//!   discovery ──caps──► watches ──wakes──► controller(s) ──► pass: observe, decide, act ──permit──► API server
//!   cluster, intake, report loops ◄──changes── watches; their calls go to the control plane, under the same permits
//!   election ──permits───────────────────────────────────────────────────────────────────▲
//!   probes
//! ```
//!
//! Discovery and probes run always. Watches and controllers run during a tenure only; when it is lost they are dropped
//! and wait for the next one, so a loop that does not lead reads nothing and writes nothing. All tasks live in one
//! `JoinSet`; one that ends or panics ends the process.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinError, JoinSet};

use crate::cluster_api::Caps;
use crate::cluster_api::kube::KubeCluster;
use crate::config::Config;
use crate::reconcile::act::Out;
use crate::reconcile::connection::SecretPlace;
use crate::reconcile::link::Link;
use crate::reconcile::permit::Permits;
use crate::transport::{HttpService, Transport};
use clock::Clock;
use controllers::Own;
use entropy::Entropy;
use health::Health;
use lease::Election;

mod changes;
pub mod clock;
mod cluster;
mod commit_status;
pub mod controllers;
mod discovery;
pub mod entropy;
pub mod health;
mod instance;
mod intake;
pub mod lease;
mod report;
pub mod retry;
mod settings;
mod tick;
mod watches;

/// What a process is made of. Everything that reaches outside is in here.
pub struct Parts<T> {
    /// Bytes to the API server.
    pub cluster: HttpService,
    /// Bytes to the control plane.
    pub control_plane: T,
    /// Its address and credentials.
    pub kube: kube::Config,
    /// The wall clock.
    pub clock: Clock,
    /// Randomness for ids.
    pub entropy: Entropy,
    /// Settings.
    pub config: Config,
    /// Where probes are answered; `None` where nobody probes.
    pub probes: Option<TcpListener>,
}

/// Why the process ends although nobody asked it to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration of the cluster connection is unusable.
    #[error("the cluster connection is unusable: {0}")]
    Connection(String),
    /// A loop ended. A process whose loop is gone would look alive and do nothing, so it ends too.
    #[error("{0} ended unexpectedly{1}")]
    LoopEnded(&'static str, String),
}

/// How long the last request of a clean shutdown may take: well inside the termination grace of 30 s.
const RELEASE: Duration = Duration::from_secs(5);

/// Runs until `shutdown` resolves, then stops everything and gives leadership back. May be dropped at any point instead:
/// that is a crash, and leaves nothing that the next process could not take over.
///
/// # Errors
/// When the connection settings are unusable, or a loop ended.
pub async fn run<T: Transport>(parts: Parts<T>, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
    let Parts { cluster, control_plane, kube, clock, entropy, config, probes } = parts;
    let api = Arc::new(KubeCluster::new(cluster, &kube).map_err(|error| RunError::Connection(error.to_string()))?);
    let health = Health::default();
    let permits = if config.leader_elect { Permits::default() } else { Permits::unlimited() };
    let (caps_out, caps) = watch::channel(Arc::new(Caps::default()));
    let refresh = Arc::new(Notify::new());
    let place =
        SecretPlace { namespace: config.credentials_namespace.clone(), name: config.credentials_secret.clone() };
    let now = clock.clone();
    let link = Arc::new(Link::new(Arc::clone(&api), control_plane, place, move || now.now()));
    let out = Out { api: Arc::clone(&api), link, permits: permits.clone() };
    let config = Arc::new(config);
    let mut election =
        Election::new(Arc::clone(&api), &config.operator_namespace, &config.identity, clock.clone(), permits.clone());

    let mut always = Tasks::default();
    if let Some(listener) = probes {
        always.spawn("probes", health::serve(listener, health.clone()));
    }
    always.spawn(
        "discovery",
        discovery::run(
            Arc::clone(&api),
            caps_out,
            Arc::clone(&refresh),
            health.clone(),
            config.operator_namespace.clone(),
        ),
    );
    let mut tenure = Tasks::default();
    let result = {
        let leading = async {
            loop {
                health.pass("leader", "standby");
                if config.leader_elect {
                    election.acquire().await;
                }
                health.pass("leader", "leading");
                start(&mut tenure, &out, &clock, &entropy, &caps, &refresh, &health, &config);
                tokio::select! {
                    biased;
                    ended = tenure.ended() => return ended,
                    () = election.hold(), if config.leader_elect => {}
                }
                tenure.stop().await;
                health.standby();
            }
        };
        tokio::select! {
            biased;
            () = shutdown => Ok(()),
            ended = always.ended() => Err(ended),
            ended = leading => Err(ended),
        }
    };
    // First everything that acts, then the Lease: the next leader must not find us still at work.
    tenure.stop().await;
    if config.leader_elect && permits.leading() {
        let _ = tokio::time::timeout(RELEASE, election.release()).await;
    }
    always.stop().await;
    result
}

/// Starts the loops of one tenure.
#[expect(clippy::too_many_arguments, reason = "the parts of a process, named once")]
fn start<T: Transport>(
    tasks: &mut Tasks,
    out: &Out<KubeCluster, T>,
    clock: &Clock,
    entropy: &Entropy,
    caps: &watch::Receiver<Arc<Caps>>,
    refresh: &Arc<Notify>,
    health: &Health,
    config: &Arc<Config>,
) {
    let own = Own::ApplicationInstance;
    let (store, writer) = controllers::store(own);
    let (wakes, woken) = mpsc::unbounded_channel();
    health.expected(own.controller());
    let forget = settings::Forget::default();
    let settings = settings::SettingsReader::new(
        Arc::clone(&out.api),
        caps.clone(),
        &config.operator_namespace,
        &config.identity,
        forget.clone(),
    );
    let watches = watches::Watches::new(
        Arc::clone(&out.api),
        caps.clone(),
        Arc::clone(refresh),
        forget,
        store,
        wakes,
        health.clone(),
    );
    let pass = instance::InstancePass {
        out: out.clone(),
        settings: settings.clone(),
        clock: clock.clone(),
        refresh: Arc::clone(refresh),
    };
    let changes = changes::Changes::default();
    let without_queue = tick::Loop {
        out: out.clone(),
        settings,
        changes: changes.clone(),
        clock: clock.clone(),
        entropy: entropy.clone(),
        config: Arc::clone(config),
        health: health.clone(),
    };
    // They listen before anybody tells.
    tasks.spawn("cluster loop", cluster::run(without_queue.clone()));
    tasks.spawn("intake loop", intake::run(without_queue.clone()));
    tasks.spawn("report loop", report::report(without_queue.clone()));
    tasks.spawn("commit status loop", commit_status::commit_status(without_queue));
    let (api, health, mut caps, workers) = (Arc::clone(&out.api), health.clone(), caps.clone(), config.workers);
    tasks.spawn("watches", watches.run());
    tasks.spawn("applicationinstance controller", async move {
        // Without discovery nothing can be rendered.
        if caps.wait_for(|caps| !caps.versions.is_empty()).await.is_ok() {
            // In one task: who of several waiters for discovery wakes first is tokio's draw, and a run must repeat.
            let others = changes::run(Arc::clone(&api), changes.clone(), caps.clone());
            let own = controllers::run(&*api, own, pass, workers, writer, woken, changes, health);
            tokio::select! {
                biased;
                () = others => {}
                () = own => {}
            }
        }
    });
}

/// Loops that must not end.
#[derive(Default)]
struct Tasks {
    set: JoinSet<&'static str>,
}

impl Tasks {
    fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.set.spawn(async move {
            task.await;
            name
        });
    }

    /// Resolves when one of them ended, which is an error.
    async fn ended(&mut self) -> RunError {
        match self.set.join_next().await {
            Some(Ok(name)) => RunError::LoopEnded(name, String::new()),
            Some(Err(error)) => RunError::LoopEnded("a loop", format!(": {}", reason(error))),
            None => std::future::pending().await,
        }
    }

    /// Stops all of them and waits until they are gone.
    async fn stop(&mut self) {
        self.set.shutdown().await;
    }
}

/// Without the panic's text: it may quote what it was working on. The hook has logged its place.
fn reason(error: JoinError) -> &'static str {
    if error.is_panic() { "it panicked" } else { "it was cancelled" }
}
