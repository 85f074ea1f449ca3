//! S32: at every instant some credential that the control plane accepts is durably in the cluster: as the current or the
//! previous token, or as the id of a registration or rotation that the server answers again.
//!
//! What somebody else takes away is not asked for: a revocation, a decommission, a restore of the control plane, a deleted
//! Secret. A server that neither honours the repeated id nor grants a grace cannot be served so.

use fakes::history::{Event, Record};

use super::Oracle;
use crate::truth::identity::{CREDENTIALS, Stored, accepted, stored};
use crate::truth::{Truth, is_operator};
use crate::world::workload::CLUSTER;

/// S32.
#[derive(Default)]
pub(super) struct NeverLockedOut {
    /// Whether there was one when the operator or the server last moved.
    held: bool,
}

impl Oracle for NeverLockedOut {
    fn id(&self) -> &'static str {
        "S32"
    }

    fn promise(&self) -> &'static str {
        "at every instant the cluster durably holds a credential that the control plane accepts"
    }

    fn step(&mut self, record: &Record, truth: &Truth) -> Result<(), String> {
        let moved = match &record.event {
            Event::Commit(commit) => commit.resource == "secrets" && commit.name == CREDENTIALS,
            Event::Handled { call, .. } => matches!(call.verb, "register" | "rotate"),
            Event::Step { .. } => {
                // Somebody may have revoked or restored: what was held before says nothing any more.
                self.held &= holds(truth);
                false
            }
            _ => false,
        };
        if !moved {
            return Ok(());
        }
        let before = std::mem::replace(&mut self.held, holds(truth));
        let open = !accepted(truth, CLUSTER).is_empty();
        if before && !self.held && open && is_operator(&record.actor) && stored(truth).is_some() {
            return Err("no stored credential is accepted any more".into());
        }
        Ok(())
    }
}

/// Whether some stored credential is accepted, or will be answered again.
fn holds(truth: &Truth) -> bool {
    let Some(Stored { token, previous, registration, rotation }) = stored(truth) else { return false };
    let accepted = accepted(truth, CLUSTER);
    if [&token, &previous].into_iter().flatten().any(|token| accepted.contains(token)) {
        return true;
    }
    let repeats = truth.odoo(|state| {
        let (row, dials) = (state.clusters.get(CLUSTER), &state.dials);
        let rotated = row.and_then(|row| row.rotation.clone()).filter(|_| dials.honours_rotation_id);
        let registered = state.tokens.values().filter(|_| dials.honours_registration_id);
        let mut registered = registered.filter_map(|row| row.used.as_ref()?.1.clone());
        let by_rotation = rotation.is_some() && rotated == rotation;
        by_rotation || registration.is_some_and(|id| registered.any(|known| known == id))
    });
    repeats.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use fakes::odoo::{Credential, Odoo};
    use serde_json::{Value, json};

    use super::super::story::{OPERATOR, Story, registered, secret};
    use super::*;

    /// A registered cluster that holds its credential, and the control plane after a rotation without grace.
    fn rotated(odoo: &Odoo, id: &str) {
        let now = odoo.now();
        odoo.with(|state| {
            let row = state.clusters.get_mut(CLUSTER).expect("registered");
            row.credential = Some(Credential { token: "new".into(), issued: now, expires: None, used: None });
            row.rotation = Some(id.into());
        });
    }

    fn told(pending: &[(&str, &str)]) -> Story<NeverLockedOut> {
        let mut token = String::new();
        let story = Story::new().odoo(|odoo| token = registered(odoo));
        let values = [&[("token", token.as_str())], pending].concat();
        story.commit(OPERATOR, &secret(CREDENTIALS, &values))
    }

    fn rotate(story: Story<NeverLockedOut>) -> Story<NeverLockedOut> {
        story.odoo(|odoo| rotated(odoo, "r-9")).call(OPERATOR, "rotate", &json!({}), 200, &Value::Null)
    }

    #[test]
    fn a_rotation_that_nobody_could_repeat_is_seen() {
        rotate(told(&[])).breaks("no stored credential");
        rotate(told(&[("pending-rotation-id", "another")])).breaks("no stored credential");
    }

    #[test]
    fn a_credential_overwritten_before_its_successor_counts_is_seen() {
        told(&[]).commit(OPERATOR, &secret(CREDENTIALS, &[("token", "unknown")])).breaks("no stored credential");
    }

    #[test]
    fn a_pending_id_and_a_revocation_hold() {
        rotate(told(&[("pending-rotation-id", "r-9")])).holds();
        told(&[])
            .odoo(|odoo| odoo.revoke(CLUSTER))
            .told("odoo", "revokes the credential")
            .commit(OPERATOR, &secret(CREDENTIALS, &[("token", "gone")]))
            .holds();
    }
}
