//! The intake loop: polls for jobs and runs one pass after another over each open one (contract §17.2, §18.1).
//!
//! One task, three kinds of futures in it: at most one poll, at most one write of the ledger, and as many passes over jobs
//! as there are workers. A job that waits holds none of them: a change of its object or a timer wakes it. The index of
//! open jobs is rebuilt from their entries when a tenure begins.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::time::{Instant, sleep, sleep_until};

use super::tick::Loop;
use crate::cluster_api::backoff::backoff;
use crate::cluster_api::{ApiError, ClusterApi, Scope};
use crate::foreign::core;
use crate::policy::Settings;
use crate::policy::jobs::Places;
use crate::protocol::Call;
use crate::protocol::job::Jobs;
use crate::reconcile::act::{Failure, Out, act};
use crate::reconcile::connection::Connection;
use crate::reconcile::intake::close::{self, Closing};
use crate::reconcile::intake::journal::{Entry, JOB, STORE};
use crate::reconcile::intake::ledger::Ledger;
use crate::reconcile::intake::past::Summary;
use crate::reconcile::intake::receive::read;
use crate::reconcile::intake::{Ask, Memory, Rules, Step, decide, observe};
use crate::reconcile::link::Group;
use crate::transport::Transport;
use index::Index;
use poller::{Polled, Poller};

mod index;
mod poller;

/// Most open jobs (contract §18.1, §22).
const OPEN_MAX: usize = 500;
/// Jobs that are closed by one write of the ledger.
const BATCH: usize = 100;
/// Shortest sleep.
const TICK: Duration = Duration::from_millis(1);
/// A pass ends after this long.
const PASS: Duration = Duration::from_secs(90);
/// Longest wait between two tries of the same thing.
const CAP: Duration = Duration::from_secs(60);
/// How often it is looked whether this cluster has an identity.
const IDENTITY: Duration = Duration::from_secs(10);

/// A pass that ended.
struct Done {
    id: String,
    /// The decision, if one was made.
    step: Option<Box<Step>>,
    /// The job as the others see it, after the step.
    summary: Option<Summary>,
    /// When an unsigned payload was taken.
    unsigned: Option<Timestamp>,
    /// The own id at that time.
    cluster_id: Option<String>,
    result: Result<(), Failure>,
}

/// Runs the loop until dropped.
pub(super) async fn run<A: ClusterApi, T: Transport>(parts: Loop<A, T>) {
    let changes = parts.changes.listen();
    let rules = Rules {
        places: Places {
            operator: parts.config.operator_namespace.clone(),
            velero: parts.config.velero_namespace.clone(),
        },
        deadline: parts.config.job_deadline,
    };
    let mut poller = Poller::new(parts.config.poll_interval);
    loop {
        let mut index = load(&parts, &rules).await;
        let mut passes: FuturesUnordered<BoxFuture<'_, Done>> = FuturesUnordered::new();
        let mut poll: Option<BoxFuture<'_, Polled>> = None;
        let mut batch: Option<BoxFuture<'_, Result<Ledger, Failure>>> = None;
        // Until this cluster gets another identity: then everything is read anew.
        loop {
            let now = Instant::now();
            parts.out.link.results_waiting(index.untold());
            if index.other_identity() && passes.is_empty() && batch.is_none() {
                break;
            }
            if !index.other_identity() {
                let (wait, troubled) = (parts.out.link.wait(Group::Post), parts.out.link.contact().trouble.is_some());
                while passes.len() < usize::from(parts.config.workers)
                    && let Some(id) = index.take_due(now, wait, troubled)
                {
                    passes.push(start(&parts, &rules, &index, &id, wait.is_zero() && !troubled));
                }
                if batch.is_none()
                    && let Some(closing) = index.closing(now, BATCH)
                {
                    batch = Some(ledger(&parts, &rules, &index, closing).boxed());
                }
                if poll.is_none() && poller.due(now, &parts.out.link, index.len()) {
                    poll = Some(ask(&parts, index.cluster_id().to_string(), poller.begin(now)).boxed());
                }
            }
            // What is in flight wakes by its end.
            let full = passes.len() >= usize::from(parts.config.workers) || index.other_identity();
            let mut wake = now + CAP;
            if !full {
                let (wait, troubled) = (parts.out.link.wait(Group::Post), parts.out.link.contact().trouble.is_some());
                wake = wake.min(index.wake(now, wait, troubled));
            }
            if batch.is_none() {
                wake = wake.min(index.wake_to_close().unwrap_or(wake));
            }
            if poll.is_none() && !index.other_identity() {
                wake = wake.min(poller.wake(now));
            }
            tokio::select! {
                biased;
                Some(done) = passes.next(), if !passes.is_empty() => index.finished(done, &parts.out.link),
                written = pending(&mut batch) => {
                    batch = None;
                    index.closed(written);
                }
                answer = pending(&mut poll) => {
                    poll = None;
                    receive(&mut index, poller.ended(answer, Instant::now()), &rules);
                }
                keys = changes.changed() => index.changed(&keys),
                () = sleep_until(wake.max(now + TICK)) => {}
            }
        }
    }
}

/// The future, if there is one.
async fn pending<F: Future + Unpin>(future: &mut Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Reads the journal and the ledger, as often as it takes.
async fn load<A: ClusterApi, T: Transport>(parts: &Loop<A, T>, rules: &Rules) -> Index {
    let mut failures = 0;
    loop {
        match try_load(parts, rules).await {
            Ok(Some(index)) => return index,
            Ok(None) => sleep(IDENTITY).await,
            Err(failure) => {
                tracing::warn!(error = %failure, "the journal cannot be read");
                sleep(backoff(failures, &"intake", CAP)).await;
                failures += 1;
            }
        }
    }
}

/// `None` while this cluster has no identity.
async fn try_load<A: ClusterApi, T: Transport>(parts: &Loop<A, T>, rules: &Rules) -> Result<Option<Index>, Failure> {
    let settings = parts.settings.read().await.map_err(Failure::Observe)?;
    let Some(cluster_id) = settings.cluster_id.clone() else { return Ok(None) };
    let scope = Scope::namespace(&rules.places.operator).labelled(&format!("{STORE}={JOB}")).lean();
    let stored = parts.out.api.list(&core::config_map(), &scope).await.map_err(Failure::Observe)?;
    let mut index = Index::new(&cluster_id);
    for object in stored {
        match Entry::read(&object) {
            Ok(entry) => index.known(Summary::of(&entry, &settings, &rules.places)),
            // Its name stands for its id: the pass finds it broken and moves it aside.
            Err(_) => index.broken(object.name()),
        }
    }
    let ledger = ledger(parts, rules, &index, Vec::new()).await?;
    index.set_ledger(ledger);
    tracing::info!(open = index.len(), "intake begins");
    Ok(Some(index))
}

/// One write of the ledger for jobs that are over.
fn ledger<A: ClusterApi, T: Transport>(
    parts: &Loop<A, T>,
    rules: &Rules,
    index: &Index,
    closing: Vec<Closing>,
) -> impl Future<Output = Result<Ledger, Failure>> + Send + use<A, T> {
    let (out, clock, config) = (parts.out.clone(), parts.clock.clone(), Arc::clone(&parts.config));
    let (namespace, cluster_id, notes) =
        (rules.places.operator.clone(), index.cluster_id().to_string(), index.notes().clone());
    async move {
        let books = close::observe(&*out.api, &namespace).await.map_err(Failure::Observe)?;
        let (ledger, plan) =
            close::close(&books, &closing, &notes, &cluster_id, &namespace, &config.identity, clock.now());
        act(&out, &plan).await?;
        Ok(ledger)
    }
}

/// One poll.
async fn ask<A: ClusterApi, T: Transport>(parts: &Loop<A, T>, cluster: String, wait: Duration) -> Polled {
    let Ok(settings) = parts.settings.read().await else { return Polled::NotNow };
    if settings.cluster_id.as_deref() != Some(&cluster) {
        return Polled::OtherIdentity;
    }
    let Ok(connection) = parts.out.link.connection().await else { return Polled::NotNow };
    if settings.unreadable || !poller::polls(&connection) {
        return Polled::NotNow;
    }
    // Leader only, like every effect (contract §17.1).
    if parts.out.permits.permit().is_err() {
        return Polled::NotNow;
    }
    Polled::Asked(parts.out.link.call(&Call::Poll { cluster, wait }).await)
}

fn receive(index: &mut Index, polled: Polled, rules: &Rules) {
    let body = match polled {
        Polled::OtherIdentity => return index.identity_changed(),
        Polled::Asked(Ok(body)) => body,
        Polled::Asked(Err(_)) | Polled::NotNow => return,
    };
    let Some(Jobs { jobs }) = Jobs::read(&body) else {
        tracing::error!("the answer to a poll is no list of jobs");
        return;
    };
    // Which object a job is about shows without the other settings; its pass knows better.
    let known = Settings { cluster_id: Some(index.cluster_id().into()), ..Settings::default() };
    for job in &jobs {
        match read(job) {
            Some(received) => index.received(received, |received, order| {
                Summary::of(&Entry::new("", &received.job, order), &known, &rules.places)
            }),
            None => tracing::warn!("a job without a usable id was skipped"),
        }
    }
}

/// One pass over one job.
fn start<'a, A: ClusterApi, T: Transport>(
    parts: &'a Loop<A, T>,
    rules: &'a Rules,
    index: &Index,
    id: &str,
    reachable: bool,
) -> BoxFuture<'a, Done> {
    let id = id.to_string();
    let view = index.view(&id);
    let memory = Memory { reachable, ..view.memory };
    let span = tracing::info_span!("job", job_id = %id);
    let pass = async move {
        let mut done =
            Done { id: id.clone(), step: None, summary: None, unsigned: None, cluster_id: None, result: Ok(()) };
        let work = async {
            let settings = parts.settings.read().await?;
            let connection = connection(&parts.out).await?;
            let ask = Ask {
                name: &view.name,
                fresh: view.fresh.as_ref().map(|(received, order)| (received, *order)),
                maybe: view.maybe,
                settings,
                rules,
                ahead: parts.out.link.contact().ahead,
                ledger: &view.ledger,
                peers: &view.peers,
                connection: &connection,
                memory,
            };
            observe(&*parts.out.api, ask).await
        };
        let snapshot = match tokio::time::timeout(PASS, work).await {
            Ok(Ok(snapshot)) => snapshot,
            Ok(Err(error)) => return Done { result: Err(Failure::Observe(error)), ..done },
            Err(_) => return Done { result: Err(Failure::Overtime), ..done },
        };
        let now = parts.clock.now();
        let step = decide(&snapshot, now);
        tracing::debug!(why = %step.plan.why, effects = step.plan.effects.len(), "decided");
        done.cluster_id = snapshot.settings.cluster_id.clone();
        let unsigned = view.fresh.is_some() && snapshot.task.as_ref().is_ok_and(|task| task.unsigned);
        done.unsigned = unsigned.then_some(now);
        done.summary = step.entry.as_ref().map(|entry| Summary::of(entry, &snapshot.settings, &rules.places));
        done.result = match tokio::time::timeout(PASS, act(&parts.out, &step.plan)).await {
            Ok(result) => result,
            Err(_) => Err(Failure::Overtime),
        };
        if let Err(failure) = &done.result {
            tracing::warn!(error = %failure, "job step failed");
        }
        done.step = Some(Box::new(step));
        done
    };
    tracing::Instrument::instrument(pass, span).boxed()
}

/// The connection; only intents look at it.
async fn connection<A: ClusterApi, T: Transport>(out: &Out<A, T>) -> Result<Arc<Connection>, ApiError> {
    out.link.connection().await
}
