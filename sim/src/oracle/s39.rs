//! S39: when everything has come true and nobody changes anything, the operator writes nothing and reads little.
//!
//! Counted are attempts, committed or not, in the quiet phase. Leader election renews its Lease and is excepted, and so is
//! the Cluster's heartbeat stamp, once a minute, if the write changes nothing else (contract §29.51). Reading
//! has a budget: twelve passes of ten requests per instance and minute would be a storm; what is declared is a look at
//! every interval of a release (5 min) and every recheck of a reference (5 min), and discovery every 10 min.

use std::sync::Arc;
use std::time::Duration;

use fakes::history::{Event, Phase, Record};
use serde_json::Value;

use super::Oracle;
use crate::truth::{CLUSTERS, INSTANCES, Truth, is_operator, text};

/// S39.
#[derive(Default)]
pub(super) struct Quiet {
    since: Option<Duration>,
    reads: u64,
}

/// Seconds between two stamps of the heartbeat: a minute (contract §14.2) in whole seconds.
const STAMP: i64 = 59;

/// Reads allowed per instance and started five minutes.
const PER_INSTANCE: u64 = 60;
/// Reads allowed besides, per started five minutes: watches renewed, discovery; the Cluster, its credentials, the offered
/// token and the trust roots every 10 s (contract §27.3); what its status says of the rest of the cluster every minute.
const BESIDES: u64 = 120 + 4 * 30 + 12 * 5;
/// Reads allowed besides where there is a Cluster: every ten seconds (contract §14.3) the cluster loop and the calls to the
/// control plane each look at Cluster, credentials and token.
const CONNECTED: u64 = 30 * (3 + 3);

impl Oracle for Quiet {
    fn id(&self) -> &'static str {
        "S39"
    }

    fn promise(&self) -> &'static str {
        "in a steady state the operator attempts no write and stays within its budget of reads"
    }

    fn step(&mut self, record: &Record, truth: &Truth) -> Result<(), String> {
        match &record.event {
            Event::Phase(phase) => {
                self.since = (*phase == Phase::Quiet).then_some(record.at);
                self.reads = 0;
                Ok(())
            }
            Event::Commit(commit) if commit.resource == CLUSTERS && self.since.is_some() => {
                let bare = |object: &Option<Arc<Value>>| {
                    let mut object = object.as_deref().cloned().unwrap_or_default();
                    for (parent, member) in
                        [("/status", "lastHeartbeat"), ("/metadata", "managedFields"), ("/metadata", "resourceVersion")]
                    {
                        if let Some(parent) = object.pointer_mut(parent).and_then(Value::as_object_mut) {
                            parent.remove(member);
                        }
                    }
                    object
                };
                if is_operator(&record.actor)
                    && let Some(apart) = beats(&commit.before, &commit.after).filter(|apart| *apart < STAMP)
                {
                    return Err(format!("two stamps of the heartbeat {apart} s apart"));
                }
                if is_operator(&record.actor) && bare(&commit.before) != bare(&commit.after) {
                    return Err("the Cluster's status changed in the quiet, and not only its heartbeat".into());
                }
                Ok(())
            }
            Event::Request { call, .. } if is_operator(&record.actor) => {
                let Some(since) = self.since else { return Ok(()) };
                if call.resource == "leases.coordination.k8s.io" || call.is_control_plane() {
                    return Ok(());
                }
                if call.resource == CLUSTERS && call.subresource == "status" {
                    return Ok(());
                }
                if call.writes() {
                    let after = record.at.saturating_sub(since).as_secs();
                    return Err(format!("{call} was attempted {after} s into the quiet"));
                }
                self.reads += 1;
                let spans = record.at.saturating_sub(since).as_secs() / 300 + 1;
                let connected = if truth.all(CLUSTERS).next().is_some() { CONNECTED } else { 0 };
                let budget = spans * (BESIDES + connected + PER_INSTANCE * truth.all(INSTANCES).count() as u64);
                if self.reads > budget {
                    return Err(format!("{} reads in the quiet, {budget} are the budget", self.reads));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Seconds between the stamps before and after a write.
fn beats(before: &Option<Arc<Value>>, after: &Option<Arc<Value>>) -> Option<i64> {
    let stamp = |object: &Option<Arc<Value>>| -> Option<jiff::Timestamp> {
        text(object.as_deref()?, "/status/lastHeartbeat").parse().ok()
    };
    Some(stamp(after)?.duration_since(stamp(before)?).as_secs())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::story::{OPERATOR, Story, cluster, instance, release, with};
    use super::*;

    fn beating(at: &str, ready: &str) -> Value {
        with(&cluster(), &json!({ "status": { "lastHeartbeat": at, "phase": ready } }))
    }

    #[test]
    fn a_change_of_the_cluster_in_the_quiet_is_seen_and_its_heartbeat_is_not() {
        let told = || {
            Story::<Quiet>::new().commit(OPERATOR, &beating("2026-01-01T00:00:00Z", "Connected")).phase(Phase::Quiet)
        };
        told().commit(OPERATOR, &beating("2026-01-01T00:01:00Z", "Disconnected")).breaks("not only its heartbeat");
        told()
            .commit(OPERATOR, &beating("b", "Connected"))
            .later(60)
            .commit(OPERATOR, &beating("c", "Connected"))
            .holds();
    }

    #[test]
    fn a_write_in_the_quiet_is_seen() {
        Story::<Quiet>::new().phase(Phase::Quiet).later(7).attempt(OPERATOR, &release()).breaks("7 s into");
    }

    #[test]
    fn a_storm_of_reads_is_seen() {
        let story = Story::<Quiet>::new().commit("user", &instance()).phase(Phase::Quiet);
        (0..=BESIDES + PER_INSTANCE).fold(story, |story, _| story.attempt_read(OPERATOR, &instance())).breaks("budget");
    }

    #[test]
    fn the_lease_others_and_what_came_before_do_not_count() {
        let lease = json!({ "kind": "Lease", "metadata": { "namespace": "vworkspace-system", "name": "l" } });
        Story::<Quiet>::new()
            .attempt(OPERATOR, &release())
            .phase(Phase::Quiet)
            .attempt(OPERATOR, &lease)
            .attempt("flux", &release())
            .holds();
    }
}
