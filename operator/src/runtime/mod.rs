//! Starts everything and keeps it together.
//!
//! ```text
//!   discovery ──caps──► watches ──wakes──► controller(s) ──► pass: observe, decide, act ──permit──► API server
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
use crate::reconcile::permit::Permits;
use crate::transport::HttpService;
use clock::Clock;
use controllers::Own;
use health::Health;
use lease::Election;

pub mod clock;
pub mod controllers;
mod discovery;
pub mod health;
mod instance;
pub mod lease;
pub mod retry;
mod settings;
mod watches;

/// What a process is made of. Everything that reaches outside is in here.
pub struct Parts {
    /// Bytes to the API server.
    pub cluster: HttpService,
    /// Its address and credentials.
    pub kube: kube::Config,
    /// The wall clock.
    pub clock: Clock,
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
pub async fn run(parts: Parts, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
    let Parts { cluster, kube, clock, config, probes } = parts;
    let api = Arc::new(KubeCluster::new(cluster, &kube).map_err(|error| RunError::Connection(error.to_string()))?);
    let health = Health::default();
    let permits = if config.leader_elect { Permits::default() } else { Permits::unlimited() };
    let (caps_out, caps) = watch::channel(Arc::new(Caps::default()));
    let refresh = Arc::new(Notify::new());
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
                start(&mut tenure, &api, &clock, &permits, &caps, &refresh, &health, &config);
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
fn start(
    tasks: &mut Tasks,
    api: &Arc<KubeCluster>,
    clock: &Clock,
    permits: &Permits,
    caps: &watch::Receiver<Arc<Caps>>,
    refresh: &Arc<Notify>,
    health: &Health,
    config: &Config,
) {
    let own = Own::ApplicationInstance;
    let (store, writer) = controllers::store(own);
    let (wakes, woken) = mpsc::unbounded_channel();
    health.expected(own.controller());
    let forget = settings::Forget::default();
    let watches = watches::Watches::new(
        Arc::clone(api),
        caps.clone(),
        Arc::clone(refresh),
        forget.clone(),
        store,
        wakes,
        health.clone(),
    );
    let pass = instance::InstancePass {
        api: Arc::clone(api),
        settings: settings::SettingsReader::new(Arc::clone(api), caps.clone(), &config.identity, forget),
        clock: clock.clone(),
        permits: permits.clone(),
        refresh: Arc::clone(refresh),
    };
    let (api, health, mut caps, workers) = (Arc::clone(api), health.clone(), caps.clone(), config.workers);
    tasks.spawn("watches", watches.run());
    tasks.spawn("applicationinstance controller", async move {
        // Without discovery nothing can be rendered.
        if caps.wait_for(|caps| !caps.versions.is_empty()).await.is_ok() {
            controllers::run(&*api, own, pass, workers, writer, woken, health).await;
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
