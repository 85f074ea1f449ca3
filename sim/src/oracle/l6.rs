//! L6: deletion completes: within the uninstall timeout and a minute our finalizer is gone, and soon nothing that
//! belonged to the instance is left.
//!
//! Counted from when the faults stopped or the deletion was asked for, whichever is later. A release that a human
//! suspended holds the deletion until it is resumed, as contract §6.7 says; retained children stay. Foreign finalizers
//! are not ours to wait for.

use std::collections::BTreeMap;
use std::time::Duration;

use fakes::history::{Event, Phase, Record};
use serde_json::Value;

use super::s11::{gated, retains};
use super::{Oracle, Pending};
use crate::truth::{FINALIZER, INSTANCES, RELEASES, Truth, deleting, has_finalizer, text, uid};

/// `helm.timeout` (15 min) and a minute.
const BOUND: Duration = Duration::from_secs(16 * 60);

/// L6.
#[derive(Default)]
pub(super) struct DeletionCompletes {
    healed: Option<Duration>,
    /// By uid of an instance: when its deletion was asked for.
    asked: BTreeMap<String, Duration>,
    /// Finished instances whose children must go: uid, name and when the instance went.
    finished: BTreeMap<String, (String, Duration)>,
}

impl Oracle for DeletionCompletes {
    fn id(&self) -> &'static str {
        "L6"
    }

    fn promise(&self) -> &'static str {
        "deletion completes within the uninstall timeout and a minute, and leaves nothing behind"
    }

    fn step(&mut self, record: &Record, truth: &Truth) -> Result<(), String> {
        match &record.event {
            Event::Phase(Phase::Healed) => self.healed = Some(record.at),
            Event::Commit(commit) if commit.resource == INSTANCES => match (&commit.before, &commit.after) {
                (_, Some(after)) if deleting(after) => {
                    self.asked.entry(uid(after).to_owned()).or_insert(record.at);
                }
                (Some(before), None) => {
                    self.asked.remove(uid(before));
                    if !retains(before) && gated(truth, text(before, "/metadata/namespace")) {
                        self.finished.insert(uid(before).to_owned(), (commit.name.clone(), record.at));
                    }
                }
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn pending(&self, truth: &Truth, now: Duration) -> Option<Pending> {
        let healed = self.healed.unwrap_or(now);
        let late = |since: Duration| now.saturating_sub(since.max(healed)) > BOUND;
        for (address, instance) in truth.all(INSTANCES) {
            if !deleting(instance) || !has_finalizer(instance, FINALIZER) || held_by_human(instance, truth) {
                continue;
            }
            let since = self.asked.get(uid(instance)).copied().unwrap_or(healed);
            let why = format!("{} is still being deleted", address.name);
            return Some(Pending { why, overdue: late(since) });
        }
        self.finished.iter().find_map(|(uid, (name, since))| {
            let (child, _) = truth.children(uid).next()?;
            let why = format!("{name} is gone, but {} {} is left", child.resource, child.name);
            Some(Pending { why, overdue: late(*since) })
        })
    }
}

fn held_by_human(instance: &Value, truth: &Truth) -> bool {
    let namespace = text(instance, "/metadata/namespace");
    truth
        .get(RELEASES, namespace, text(instance, "/spec/release/name"))
        .is_some_and(|release| release.pointer("/spec/suspend") == Some(&Value::Bool(true)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::story::{OPERATOR, Story, instance, release, with};
    use super::*;

    fn told() -> Story<DeletionCompletes> {
        let leaving = with(&instance(), &json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } }));
        Story::new()
            .phase(Phase::Healed)
            .commit("user", &instance())
            .commit(OPERATOR, &release())
            .commit("user", &leaving)
    }

    #[test]
    fn a_deletion_that_hangs_is_owed_then_overdue() {
        told().later(900).owes("still being deleted", false);
        told().later(1000).owes("still being deleted", true);
    }

    #[test]
    fn what_is_left_behind_is_owed() {
        told().remove(OPERATOR, &instance()).later(1000).owes("helmreleases", true);
    }

    #[test]
    fn a_release_a_human_suspended_is_waited_for() {
        told().commit("human", &with(&release(), &json!({ "spec": { "suspend": true } }))).later(5000).holds();
    }

    #[test]
    fn a_complete_deletion_holds() {
        told().remove("flux", &release()).remove(OPERATOR, &instance()).later(5000).holds();
    }
}
