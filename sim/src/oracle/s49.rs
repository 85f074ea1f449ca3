//! S49: only the leader talks to the control plane: whoever sends holds the Lease at that moment.

use fakes::history::{Event, Record};

use super::Oracle;
use crate::truth::{Truth, is_operator, text};

/// S49.
#[derive(Default)]
pub(super) struct OnlyTheLeaderTalks;

/// Leader election (contract §3.2).
const LEASE: &str = "dad03b25.vworkspace.io";

impl Oracle for OnlyTheLeaderTalks {
    fn id(&self) -> &'static str {
        "S49"
    }

    fn promise(&self) -> &'static str {
        "at most one incarnation talks to the control plane: the leader"
    }

    fn step(&mut self, record: &Record, truth: &Truth) -> Result<(), String> {
        let Event::Request { call, .. } = &record.event else { return Ok(()) };
        if !call.is_control_plane() || !is_operator(&record.actor) {
            return Ok(());
        }
        let lease = truth.all("leases.coordination.k8s.io").find(|(address, _)| address.name == LEASE);
        let holder = lease.map_or("", |(_, lease)| text(lease, "/spec/holderIdentity"));
        if holder == &*record.actor {
            return Ok(());
        }
        Err(format!("{} sent {}, but the Lease is held by {holder:?}", record.actor, call.verb))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::story::{OPERATOR, Story};
    use super::*;

    fn told(holder: &str) -> Story<OnlyTheLeaderTalks> {
        let lease = json!({ "kind": "Lease", "metadata": { "namespace": "vworkspace-system", "name": LEASE },
            "spec": { "holderIdentity": holder } });
        Story::new().commit(OPERATOR, &lease)
    }

    #[test]
    fn a_poll_without_the_lease_is_seen() {
        told("operator-0.2").sent(OPERATOR, "poll", &Value::Null).breaks("held by \"operator-0.2\"");
        told("").sent(OPERATOR, "events", &json!({})).breaks("held by \"\"");
    }

    #[test]
    fn the_leader_may() {
        told(OPERATOR).sent(OPERATOR, "poll", &Value::Null).holds();
    }
}
