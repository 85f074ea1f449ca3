//! L11: a rotation that was asked for ends within 300 s with one credential that works, and nothing of it is left over:
//! no flag, no pending id, no previous token.
//!
//! Asked for while the control plane is healthy and accepts a stored credential. A flag within a day of the last rotation is
//! ignored by contract (§14.1).

use std::time::Duration;

use fakes::history::{Event, Phase, Record};

use super::l5::RECOVERY;
use super::{Oracle, Pending};
use crate::truth::Truth;
use crate::truth::identity::{CREDENTIALS, connected, stored};
use crate::world::workload::CLUSTER;

const BOUND: Duration = Duration::from_secs(300);

/// L11.
#[derive(Default)]
pub(super) struct RotationEnds {
    faulty: bool,
    calm: Duration,
    /// Since when something of a rotation is in the Secret.
    since: Option<Duration>,
}

impl Oracle for RotationEnds {
    fn id(&self) -> &'static str {
        "L11"
    }

    fn promise(&self) -> &'static str {
        "a rotation ends within 300 s with one credential that works"
    }

    fn step(&mut self, record: &Record, truth: &Truth) -> Result<(), String> {
        match &record.event {
            Event::Phase(Phase::Faults) => self.faulty = true,
            Event::Phase(Phase::Healed) if self.faulty => {
                (self.faulty, self.calm) = (false, record.at + RECOVERY);
            }
            Event::Commit(commit) if commit.resource == "secrets" && commit.name == CREDENTIALS => {
                let left = stored(truth).is_some_and(|stored| stored.rotation.is_some() || stored.previous.is_some());
                self.since = left.then(|| self.since.unwrap_or(record.at));
            }
            _ => {}
        }
        Ok(())
    }

    fn pending(&self, truth: &Truth, now: Duration) -> Option<Pending> {
        let since = self.since?;
        if !connected(truth, CLUSTER) {
            return None;
        }
        let stored = stored(truth)?;
        let what = if stored.rotation.is_some() { "pending-rotation-id" } else { "previous-token" };
        let overdue = now.saturating_sub(since.max(self.calm)) > BOUND;
        Some(Pending { why: format!("a rotation has not ended: {what} is still stored"), overdue })
    }
}

#[cfg(test)]
mod tests {
    use super::super::story::{OPERATOR, Story, cluster, registered, secret};
    use super::*;

    fn told(left: &[(&str, &str)]) -> Story<RotationEnds> {
        let mut token = String::new();
        let story = Story::new().phase(Phase::Healed).odoo(|odoo| token = registered(odoo)).commit("user", &cluster());
        let values = [&[("token", token.as_str())], left].concat();
        story.commit(OPERATOR, &secret(CREDENTIALS, &values))
    }

    #[test]
    fn a_rotation_that_hangs_is_owed_then_overdue() {
        told(&[("pending-rotation-id", "r")]).later(300).owes("pending-rotation-id", false);
        told(&[("pending-rotation-id", "r")]).later(301).owes("pending-rotation-id", true);
        told(&[("previous-token", "old")]).later(301).owes("previous-token", true);
    }

    #[test]
    fn one_credential_and_nothing_else_holds() {
        told(&[]).later(5000).holds();
    }
}
