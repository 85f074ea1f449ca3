//! The loop of the Cluster: a pass every ten seconds, or when a Cluster changed, or when something is due.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::changes::Listener;
use super::retry;
use super::tick::Loop;
use crate::api::condition::find;
use crate::cluster_api::{ClusterApi, Key};
use crate::reconcile::act::{Failure, act};
use crate::reconcile::cluster::{Given, SURVEY, TICK, decide, observe};
use crate::reconcile::connection::cluster_kind;
use crate::reconcile::status::conditions;
use crate::reconcile::{Effect, Plan};
use crate::transport::Transport;

/// Two passes are at least so long apart.
const SETTLE: Duration = Duration::from_millis(500);
/// A pass may take so long: a registration has 60 s, and storing its answer 30 s more.
const PASS: Duration = Duration::from_secs(120);

/// What one tenure remembers.
struct Memory {
    began: Instant,
    deleting: Option<Instant>,
    /// When the rest of the cluster was looked at.
    surveyed: Option<Instant>,
    /// The pending record as the first pass found it.
    found: Option<Option<String>>,
}

/// Runs until dropped.
pub(super) async fn run<A: ClusterApi, T: Transport>(of: Loop<A, T>) {
    let listener = of.changes.listen();
    let mut memory = Memory { began: Instant::now(), deleting: None, surveyed: None, found: None };
    let mut last: Option<Failure> = None;
    let mut failures = 0;
    loop {
        let began = Instant::now();
        let result = match timeout_at(began + PASS, pass(&of, &mut memory, last.as_ref())).await {
            Ok(result) => result,
            Err(_) => Err(Failure::Overtime),
        };
        let wait = match &result {
            Ok(wake) => {
                failures = 0;
                *wake
            }
            // What the control plane says is in the next snapshot, and that says when to try again.
            Err(Failure::Call { call, trouble }) => {
                failures = 0;
                tracing::debug!(call, %trouble, "not answered");
                Duration::from_secs(1)
            }
            Err(failure) => {
                let delay = retry::delay(failure, failures, &Key::cluster(&cluster_kind(), "")).min(TICK);
                failures = failures.saturating_add(1);
                tracing::warn!(%failure, "the pass over the Cluster failed");
                delay
            }
        };
        last = result.err();
        changed(&listener, Instant::now() + wait.min(TICK)).await;
        sleep_until(began + SETTLE).await;
    }
}

/// Waits until a Cluster changed, or the time has come.
async fn changed(listener: &Listener, until: Instant) {
    loop {
        match timeout_at(until, listener.changed()).await {
            Ok(keys) if keys.iter().all(|key| key.kind.kind != "Cluster") => {}
            _ => return,
        }
    }
}

async fn pass<A: ClusterApi, T: Transport>(
    of: &Loop<A, T>,
    memory: &mut Memory,
    last: Option<&Failure>,
) -> Result<Duration, Failure> {
    let link = &of.out.link;
    let given = Given {
        registration_id: of.entropy.id(),
        rotation_id: of.entropy.id(),
        found_pending: memory.found.clone().flatten(),
        led: memory.began.elapsed(),
        deleting: memory.deleting.map_or(Duration::ZERO, |since| since.elapsed()),
        heartbeat: of.config.heartbeat_interval,
        survey: memory.surveyed.is_none_or(|at| at.elapsed() >= SURVEY),
    };
    let snapshot = observe(&*of.out.api, link, |clusters| of.settings.of(clusters), given)
        .await
        .map_err(Failure::Observe)?
        .after(last);
    let connection = &snapshot.connection;
    memory.found.get_or_insert_with(|| connection.credentials.as_ref()?.pending_registration.clone());
    match connection.cluster.as_ref().is_some_and(crate::cluster_api::Object::deleting) {
        true => memory.deleting = memory.deleting.or(Some(Instant::now())),
        false => memory.deleting = None,
    }
    let stored = connection.cluster.as_ref().map(conditions).unwrap_or_default();
    of.health.control_plane(find(stored, "Connected").is_some_and(|stored| stored["status"] == "True"));
    link.disconnected(find(stored, "Disconnected").is_some_and(|stored| stored["status"] == "True"));
    let plan: Plan = decide(&snapshot, of.clock.now());
    tracing::debug!(why = %plan.why, effects = plan.effects.len(), "decided");
    let result = act(&of.out, &plan).await;
    // A step that comes before the status leaves what was seen unsaid: the next pass looks again.
    let step = |effect: &Effect| match effect {
        Effect::Apply { .. } => true,
        Effect::Patch { key, .. } => key.kind == cluster_kind(),
        _ => false,
    };
    let said = matches!(result, Ok(()) | Err(Failure::Call { .. })) && !plan.effects.iter().any(step);
    if snapshot.survey.is_some() && said {
        memory.surveyed = Some(Instant::now());
    }
    result.map(|()| plan.wake.unwrap_or(TICK))
}
