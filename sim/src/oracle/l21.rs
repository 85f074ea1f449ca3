//! L21: a registration completes within 300 s of the moment at which token, Secret and Cluster are there, whatever
//! crashed on the way.
//!
//! Asked for while the token can still be exchanged: it is valid and unused, or it was used under the id that the cluster
//! still holds and the server answers again (contract §15.1).

use std::time::Duration;

use fakes::front::fingerprint;
use fakes::history::{Event, Phase, Record};
use fakes::odoo::Face;

use super::l5::RECOVERY;
use super::{Oracle, Pending};
use crate::truth::identity::{SYSTEM, stored, value};
use crate::truth::{CLUSTERS, Truth, condition_status, text};

const BOUND: Duration = Duration::from_secs(300);

/// L21.
#[derive(Default)]
pub(super) struct RegistrationCompletes {
    faulty: bool,
    calm: Duration,
    /// When Cluster or Secrets last changed.
    changed: Duration,
}

impl Oracle for RegistrationCompletes {
    fn id(&self) -> &'static str {
        "L21"
    }

    fn promise(&self) -> &'static str {
        "a registration completes within 300 s, whatever crashed on the way"
    }

    fn step(&mut self, record: &Record, _: &Truth) -> Result<(), String> {
        match &record.event {
            Event::Phase(Phase::Faults) => self.faulty = true,
            Event::Phase(Phase::Healed) if self.faulty => {
                (self.faulty, self.calm) = (false, record.at + RECOVERY);
            }
            Event::Commit(commit)
                if matches!(&*commit.resource, "secrets" | CLUSTERS) && !crate::truth::is_operator(&record.actor) =>
            {
                self.changed = record.at;
            }
            _ => {}
        }
        Ok(())
    }

    fn pending(&self, truth: &Truth, now: Duration) -> Option<Pending> {
        let cluster = truth.get(CLUSTERS, "", "cluster").filter(|object| !crate::truth::deleting(object))?;
        let secret = truth.get("secrets", SYSTEM, text(cluster, "/spec/registrationTokenSecretRef/name"))?;
        let key = match text(cluster, "/spec/registrationTokenSecretRef/key") {
            "" => "registrationToken",
            key => key,
        };
        let token = value(secret, key)?;
        let done = text(cluster, "/status/observedToken") == fingerprint(token.trim())
            && condition_status(cluster, "Authenticated") == "True";
        if done || !exchangeable(truth, token.trim()) {
            return None;
        }
        let overdue = now.saturating_sub(self.changed.max(self.calm)) > BOUND;
        Some(Pending { why: "the cluster is not registered with its token".into(), overdue })
    }
}

/// Whether the control plane would still exchange this token for a credential.
fn exchangeable(truth: &Truth, token: &str) -> bool {
    let Some(now) = truth.odoo_now() else { return false };
    let holds = stored(truth).unwrap_or_default();
    let by_table = truth.odoo(|state| {
        let Some(row) = state.tokens.get(token) else { return false };
        let repeated = |id: &String| state.dials.honours_registration_id && holds.registration.as_ref() == Some(id);
        let open = match &row.used {
            None => now < row.expires,
            Some((_, id)) => {
                id.as_ref().is_some_and(repeated) || (row.credential.is_some() && row.credential == holds.token)
            }
        };
        open && state.dials.face == Face::Healthy
    });
    by_table.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::story::{CLUSTER, Story, cluster, registered, secret, with};
    use super::*;

    fn told(used: bool) -> Story<RegistrationCompletes> {
        let mut token = String::new();
        let story = Story::new().phase(Phase::Healed).odoo(|odoo| {
            if used {
                registered(odoo);
                token = odoo.look(|state| state.tokens.keys().next().cloned()).expect("issued");
            } else {
                token = odoo.issue_token(Some(CLUSTER));
            }
        });
        let reference = json!({ "spec": { "registrationTokenSecretRef": { "name": "registration" } } });
        story
            .commit("user", &secret("registration", &[("registrationToken", &token)]))
            .commit("user", &with(&cluster(), &reference))
    }

    #[test]
    fn a_registration_that_hangs_is_owed_then_overdue() {
        told(false).later(300).owes("not registered", false);
        told(false).later(301).owes("not registered", true);
    }

    #[test]
    fn a_token_that_somebody_else_used_cannot_be_exchanged() {
        told(true).later(5000).holds();
    }

    #[test]
    fn a_cluster_without_a_token_owes_nothing() {
        Story::<RegistrationCompletes>::new().phase(Phase::Healed).commit("user", &cluster()).later(5000).holds();
    }
}
