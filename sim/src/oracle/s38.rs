//! S38: conditions are honest in form: one per type, a reason each, a transition time that moves only with the status,
//! and no pair that contradicts itself.
//!
//! Times have one second, so two flips within a second may carry equal times; a time that moves without a flip, or
//! backwards, is a lie.

use std::collections::BTreeSet;

use fakes::history::{Event, Record};
use serde_json::Value;

use super::Oracle;
use crate::truth::{Truth, condition_reason, condition_status, is_operator, text};

/// S38.
#[derive(Default)]
pub(super) struct HonestConditions;

/// Two conditions that cannot be true together.
const CONTRADICTIONS: [(&str, &str); 5] = [
    ("Running", "Succeeded"),
    ("Running", "Failed"),
    ("Succeeded", "Failed"),
    ("Succeeded", "Cancelled"),
    ("Failed", "Cancelled"),
];

impl Oracle for HonestConditions {
    fn id(&self) -> &'static str {
        "S38"
    }

    fn promise(&self) -> &'static str {
        "conditions: one per type, a reason each, a time that moves only with the status, no contradiction"
    }

    fn step(&mut self, record: &Record, _truth: &Truth) -> Result<(), String> {
        let Event::Commit(commit) = &record.event else { return Ok(()) };
        let Some(after) = commit.after.as_deref() else { return Ok(()) };
        if !commit.resource.ends_with(".vworkspace.io") || !is_operator(&record.actor) {
            return Ok(());
        }
        let name = &commit.name;
        let old = commit.before.as_deref().map(conditions).unwrap_or_default();
        let mut types = BTreeSet::new();
        for condition in conditions(after) {
            let kind = text(condition, "/type");
            if !types.insert(kind) {
                return Err(format!("{name} carries {kind} twice"));
            }
            if text(condition, "/reason").is_empty() {
                return Err(format!("{kind} of {name} has no reason"));
            }
            let Some(before) = old.iter().find(|before| before["type"] == kind) else { continue };
            let (was, is) = (text(before, "/lastTransitionTime"), text(condition, "/lastTransitionTime"));
            if is < was {
                return Err(format!("the transition time of {kind} of {name} went back from {was} to {is}"));
            }
            if before["status"] == condition["status"] && is != was {
                return Err(format!("the transition time of {kind} of {name} moved without a transition"));
            }
        }
        let holds = |kind: &str| condition_status(after, kind) == "True";
        if let Some((one, other)) = CONTRADICTIONS.iter().find(|(one, other)| holds(one) && holds(other)) {
            return Err(format!("{name} is {one} and {other}"));
        }
        // While Blocked, Ready goes on describing the release that runs (contract §6.5), whatever somebody else does to it.
        let busy = !holds("Blocked")
            && matches!(condition_reason(after, "Reconciling"), "HelmReleaseInstalling" | "HelmReleaseUpgrading");
        if busy && holds("Ready") && holds("Reconciling") {
            return Err(format!("{name} is Ready while its release is being worked on"));
        }
        Ok(())
    }
}

fn conditions(object: &Value) -> Vec<&Value> {
    object.pointer("/status/conditions").and_then(Value::as_array).map(|list| list.iter().collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::story::{OPERATOR, Story, ready};
    use super::*;

    fn told(change: impl FnOnce(&mut Vec<Value>)) -> Story<HonestConditions> {
        let mut next = ready();
        change(next["status"]["conditions"].as_array_mut().expect("a list"));
        Story::new().commit(OPERATOR, &ready()).commit(OPERATOR, &next)
    }

    #[test]
    fn each_dishonesty_is_seen() {
        told(|list| list.push(list[0].clone())).breaks("twice");
        told(|list| list[0]["reason"] = json!("")).breaks("no reason");
        told(|list| list[0]["lastTransitionTime"] = json!("2026-01-01T00:00:09Z")).breaks("without a transition");
        told(|list| {
            list[0]["status"] = json!("False");
            list[0]["lastTransitionTime"] = json!("2025-01-01T00:00:00Z");
        })
        .breaks("went back");
        told(|list| {
            list[1] = json!({ "type": "Reconciling", "status": "True", "reason": "HelmReleaseUpgrading",
                              "lastTransitionTime": "2026-01-01T00:00:00Z" });
        })
        .breaks("worked on");
        told(|list| {
            for kind in ["Running", "Failed"] {
                list.push(json!({ "type": kind, "status": "True", "reason": "R" }));
            }
        })
        .breaks("Running and Failed");
    }

    #[test]
    fn a_flip_with_its_time_holds() {
        told(|list| {
            list[0] = json!({ "type": "Ready", "status": "False", "reason": "Upgrading",
                              "lastTransitionTime": "2026-01-01T00:00:09Z" });
        })
        .holds();
    }
}
