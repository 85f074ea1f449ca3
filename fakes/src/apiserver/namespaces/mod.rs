//! The life cycle of namespaces (apiserver.md E3, E7, E8): what a controller manager does about them.
//!
//! [`run`] empties and finalises terminating namespaces, [`contents::run`] puts into every active one what it always has. Both
//! work through the server's own request path, so admission, conflicts and finalizers apply to them.

pub mod contents;
mod deletion;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::feed::{Feed, Reading};
use super::meta;
use super::server::Server;
use deletion::{Deletion, Outcome};

/// The actor in the history; what stands before the slash is the field manager.
pub const ACTOR: &str = "kube-controller-manager/namespace-controller";
/// Deletion is noticed this much later, so that every API server knows of it (upstream `namespaceDeletionGracePeriod`).
const GRACE: Duration = Duration::from_secs(5);
/// Wait after errors, doubled each time.
const RETRY_FIRST: Duration = Duration::from_secs(5);
/// Longest wait after errors.
const RETRY_LONGEST: Duration = Duration::from_secs(60);

/// Namespaces to look at, each once, at the earliest time asked for.
#[derive(Default)]
struct Agenda(BTreeMap<String, Instant>);

impl Agenda {
    fn add(&mut self, namespace: &str, at: Instant) {
        let entry = self.0.entry(namespace.to_owned()).or_insert(at);
        *entry = at.min(*entry);
    }

    fn next(&self) -> Option<Instant> {
        self.0.values().min().copied()
    }

    fn take_due(&mut self, now: Instant) -> Option<String> {
        let due = self.0.iter().filter(|(_, at)| **at <= now).min_by_key(|(_, at)| **at)?.0.clone();
        self.0.remove(&due);
        Some(due)
    }
}

/// Runs the life cycle. Never returns.
pub async fn run(server: &Server) {
    let mut feed = Feed::new(server, 0x6e73);
    let deletion = Deletion::new(server);
    let mut agenda = Agenda::default();
    let mut failures: BTreeMap<String, u32> = BTreeMap::new();
    loop {
        let next = agenda.next();
        tokio::select! {
            biased;
            () = feed.changed() => {
                let (Reading::Everything(changes) | Reading::Changes(changes)) = feed.read();
                for change in changes.iter().filter(|change| &*change.resource == "namespaces") {
                    if let Some(namespace) = change.after.as_ref().filter(|namespace| meta::terminating(namespace)) {
                        agenda.add(meta::text(namespace, "name"), Instant::now() + GRACE);
                    }
                }
            }
            () = sleep_until(next) => {}
        }
        while let Some(namespace) = agenda.take_due(Instant::now()) {
            match deletion.sync(&namespace).await {
                Outcome::Done => drop(failures.remove(&namespace)),
                Outcome::Remaining(wait) => {
                    failures.remove(&namespace);
                    agenda.add(&namespace, Instant::now() + wait);
                }
                Outcome::Failed => {
                    let times = failures.entry(namespace.clone()).or_default();
                    let wait = RETRY_FIRST.saturating_mul(2_u32.saturating_pow(*times)).min(RETRY_LONGEST);
                    *times += 1;
                    agenda.add(&namespace, Instant::now() + wait);
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
