//! L20: what the control plane last heard of every object is what the cluster says, within a minute of the last change.
//!
//! Asked for while the control plane accepts the cluster, counted from when the faults stopped and the retries after an outage are over, if that is
//! later. Objects that are gone are not compared ([`differs`]).

use std::time::Duration;

use fakes::history::{Event, Phase, Record};

use super::l5::RECOVERY;
use super::{Oracle, Pending};
use crate::truth::identity::connected;
use crate::truth::view::differs;
use crate::truth::{CLUSTERS, INSTANCES, OPERATIONS, Truth};
use crate::world::workload::CLUSTER;

const BOUND: Duration = Duration::from_secs(60);

/// L20.
#[derive(Default)]
pub(super) struct TheViewIsTrue {
    faulty: bool,
    calm: Duration,
    /// When the conditions of some object last changed.
    changed: Duration,
}

impl Oracle for TheViewIsTrue {
    fn id(&self) -> &'static str {
        "L20"
    }

    fn promise(&self) -> &'static str {
        "the control plane's last-known condition of every object equals the cluster's"
    }

    fn step(&mut self, record: &Record, _: &Truth) -> Result<(), String> {
        match &record.event {
            Event::Phase(Phase::Faults) => self.faulty = true,
            Event::Phase(Phase::Healed) if self.faulty => {
                (self.faulty, self.calm) = (false, record.at + RECOVERY);
            }
            Event::Handled { call, status: 200, .. } if call.verb == "register" => self.calm = self.calm.max(record.at),
            Event::Commit(commit) if matches!(&*commit.resource, INSTANCES | OPERATIONS | CLUSTERS) => {
                let conditions = |object: &Option<std::sync::Arc<serde_json::Value>>| {
                    object.as_ref().and_then(|object| object.pointer("/status/conditions").cloned())
                };
                if conditions(&commit.before) != conditions(&commit.after) {
                    self.changed = record.at;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn pending(&self, truth: &Truth, now: Duration) -> Option<Pending> {
        if !connected(truth, CLUSTER) {
            return None;
        }
        let why = differs(truth, CLUSTER)?;
        Some(Pending { why, overdue: now.saturating_sub(self.changed.max(self.calm)) > BOUND })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fakes::odoo::{ObjectKey, ObjectView, Odoo};
    use serde_json::{Value, json};

    use super::super::story::{OPERATOR, Story, cluster, ready, registered, secret};
    use super::*;
    use crate::truth::identity::CREDENTIALS;

    fn knowing(odoo: &Odoo, reconciling: &str) {
        let condition = |type_: &str, status: &str, reason: &str| {
            (type_.to_owned(), json!({ "type": type_, "status": status, "reason": reason, "message": "another" }))
        };
        let conditions: BTreeMap<String, Value> =
            [condition("Ready", "True", "HelmReleaseReady"), condition("Reconciling", reconciling, "Stable")].into();
        let key = ObjectKey { kind: "ApplicationInstance".into(), namespace: "org-a".into(), name: "files".into() };
        odoo.with(|state| {
            let view = &mut state.clusters.get_mut(CLUSTER).expect("registered").view;
            view.insert(key, ObjectView { conditions, ..ObjectView::default() });
        });
    }

    fn told() -> Story<TheViewIsTrue> {
        let mut token = String::new();
        let story = Story::new().phase(Phase::Healed).odoo(|odoo| token = registered(odoo)).commit("user", &cluster());
        story.commit(OPERATOR, &secret(CREDENTIALS, &[("token", &token)])).commit(OPERATOR, &ready())
    }

    #[test]
    fn an_object_that_is_unknown_or_known_wrongly_is_owed_then_overdue() {
        told().later(60).owes("the control plane knows nothing", false);
        told().odoo(|odoo| knowing(odoo, "True")).later(61).owes("Reconciling is False Stable", true);
    }

    #[test]
    fn the_same_conditions_hold_whatever_their_messages() {
        told().odoo(|odoo| knowing(odoo, "False")).later(600).holds();
    }
}
