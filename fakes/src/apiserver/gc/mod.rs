//! The garbage collector (apiserver.md E1, E2, E4-E6): a controller that keeps the graph of owners and dependents from what it
//! sees, and deletes, orphans and cleans references through the server's own request path.
//!
//! ```text
//! feed ──► graph (pure: nodes, virtual owners, what to look at) ──► look (reads the truth) ──► requests ──► feed …
//! ```
//!
//! Decisions are made on what the server holds now, never on the graph alone: the graph only says where to look. The twenty
//! workers of a real collector are twenty items that are looked at before any of them is acted upon: siblings see each other
//! alive. Not modelled: the periodic resync.

mod graph;
mod look;
mod node;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::feed::{Feed, Reading};
use super::server::Server;
use graph::{Graph, Notice};
use look::{Failure, Look};

/// The actor in the history; what stands before the slash is the field manager.
pub const ACTOR: &str = "kube-controller-manager/generic-garbage-collector";
/// A failed item is tried again after this, doubled each time.
const RETRY_FIRST: Duration = Duration::from_millis(5);
/// The longest wait of a failed item.
const RETRY_LONGEST: Duration = Duration::from_secs(1000);

/// Items that are looked at together (upstream `concurrent-gc-syncs`).
const WORKERS: usize = 20;

/// What an item in the queue is looked at for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    /// Is it garbage, or done waiting for its dependents?
    Delete(String),
    /// Take the references to it out of its dependents, and let it go.
    Orphan(String),
}

/// Runs the collector. Never returns.
pub async fn run(server: &Server) {
    let mut feed = Feed::new(server, 0x6763);
    let mut graph = Graph::default();
    let mut look = Look::new(server);
    let mut failed: BTreeMap<Task, (u32, Instant)> = BTreeMap::new();
    // Items with owners of a kind that is not served (now).
    let mut unresolved: Vec<Task> = Vec::new();
    loop {
        let next_retry = failed.values().map(|(_, at)| *at).min();
        tokio::select! {
            biased;
            () = feed.changed() => {
                let changes = match feed.read() {
                    Reading::Changes(changes) => changes,
                    Reading::Everything(objects) => {
                        graph = Graph::default();
                        objects
                    }
                };
                for change in &changes {
                    if &*change.resource == "customresourcedefinitions.apiextensions.k8s.io" {
                        unresolved.drain(..).for_each(|task| graph.enqueue(task));
                    }
                    graph.process(change);
                }
            }
            () = sleep_until(next_retry) => {
                let now = Instant::now();
                for (task, _) in failed.iter().filter(|(_, (_, at))| *at <= now) {
                    graph.enqueue(task.clone());
                }
            }
        }
        for notice in graph.take_notices() {
            let Notice::InvalidNamespace { dependent, owner } = notice;
            look.report(&dependent, &owner).await;
        }
        loop {
            let batch: Vec<Task> = std::iter::from_fn(|| graph.next()).take(WORKERS).collect();
            if batch.is_empty() {
                break;
            }
            let decided: Vec<_> = batch.iter().map(|task| look.decide(&mut graph, task)).collect();
            for (task, decision) in batch.into_iter().zip(decided) {
                let result = match decision {
                    Ok(steps) => look.perform(&steps).await,
                    Err(failure) => Err(failure),
                };
                match result {
                    Ok(()) => drop(failed.remove(&task)),
                    Err(Failure::Unresolved) => {
                        failed.remove(&task);
                        unresolved.push(task);
                    }
                    Err(Failure::Refused) => {
                        let (times, at) = failed.entry(task).or_insert((0, Instant::now()));
                        let wait = RETRY_FIRST.saturating_mul(2_u32.saturating_pow(*times)).min(RETRY_LONGEST);
                        *at = Instant::now() + wait;
                        *times += 1;
                    }
                }
            }
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
