//! S45: what a timer drives happens once per due slot, whatever the clocks do: one heartbeat per half minute, one rotation
//! per reason.
//!
//! A heartbeat that was not confirmed may be repeated; a new incarnation begins with one, and a new credential is tried with
//! one. A rotation keeps its id until
//! it is done; a new id needs a reason: somebody asked (flag, intent), the credential was rejected, or it is old.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fakes::history::{Event, Record};
use serde_json::Value;

use super::Oracle;
use crate::truth::{CLUSTERS, Truth, is_operator, text};

/// S45.
#[derive(Default)]
pub(super) struct OncePerSlot {
    /// The last confirmed heartbeat of each incarnation under each credential.
    beats: BTreeMap<(Arc<str>, String), Duration>,
    rotations: BTreeSet<String>,
    /// Reasons for a rotation that were not used yet.
    reasons: u32,
    /// When a credential was last new.
    renewed: Duration,
}

/// Between two heartbeats: the interval, less what jitter and latency may take.
const APART: Duration = Duration::from_secs(25);
/// The least age of a credential that is rotated for its age: 7 days less a tenth of jitter.
const OLD: Duration = Duration::from_secs(7 * 24 * 3600 * 9 / 10);

impl Oracle for OncePerSlot {
    fn id(&self) -> &'static str {
        "S45"
    }

    fn promise(&self) -> &'static str {
        "heartbeats and rotations happen once per due slot"
    }

    fn step(&mut self, record: &Record, truth: &Truth) -> Result<(), String> {
        match &record.event {
            Event::Commit(commit) if commit.resource == CLUSTERS && !is_operator(&record.actor) => {
                let flag = |object: &Option<Arc<Value>>| {
                    object.as_ref().is_some_and(|object| object["spec"]["rotateCredentials"] == true)
                };
                self.reasons += u32::from(flag(&commit.after) && !flag(&commit.before));
                Ok(())
            }
            Event::Handled { call, status, request, reply, bearer, .. } if is_operator(&record.actor) => {
                self.reasons += u32::from(matches!(status, 401 | 403));
                match (call.verb, *status) {
                    ("poll", 200) => {
                        self.reasons += asked_by_intent(reply);
                        Ok(())
                    }
                    ("register", 200) => {
                        self.renewed = record.at;
                        Ok(())
                    }
                    ("events", 200..=299) => self.beat(record, bearer, request),
                    _ => Ok(()),
                }
            }
            Event::Request { call, body, .. } if call.verb == "rotate" && is_operator(&record.actor) => {
                self.rotate(record.at, body, truth)
            }
            _ => Ok(()),
        }
    }
}

fn asked_by_intent(reply: &[u8]) -> u32 {
    let answer: Value = serde_json::from_slice(reply).unwrap_or_default();
    let jobs = answer["jobs"].as_array().into_iter().flatten();
    let asked = jobs.filter(|job| job["payload"]["intent"] == "rotate-operator-credentials").count();
    u32::try_from(asked).unwrap_or(u32::MAX)
}

impl OncePerSlot {
    fn beat(&mut self, record: &Record, bearer: &str, body: &[u8]) -> Result<(), String> {
        let batch: Value = serde_json::from_slice(body).unwrap_or_default();
        let beats =
            batch["events"].as_array().into_iter().flatten().filter(|event| event["kind"] == "ClusterHeartbeat");
        for _ in beats {
            let last = self.beats.insert((record.actor.clone(), bearer.to_owned()), record.at);
            let apart = last.map(|last| record.at.saturating_sub(last));
            if let Some(apart) = apart.filter(|apart| *apart < APART) {
                return Err(format!("two heartbeats within {} s", apart.as_secs()));
            }
        }
        Ok(())
    }

    fn rotate(&mut self, at: Duration, body: &[u8], truth: &Truth) -> Result<(), String> {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        if !self.rotations.insert(text(&asked, "/rotationId").to_owned()) {
            return Ok(());
        }
        let age = at.saturating_sub(std::mem::replace(&mut self.renewed, at));
        let ends = |now: jiff::Timestamp| {
            let cluster = truth.get(CLUSTERS, "", "cluster")?;
            let at: jiff::Timestamp = text(cluster, "/status/credentialStatus/expiresAt").parse().ok()?;
            Some(at.duration_since(now) <= jiff::SignedDuration::from_hours(24))
        };
        if age >= OLD || truth.odoo_now().and_then(ends) == Some(true) {
            return Ok(());
        }
        if self.reasons == 0 {
            return Err("a rotation began for no reason".into());
        }
        self.reasons -= 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::story::{OPERATOR, Story, cluster, with};
    use super::*;

    fn beat(story: Story<OncePerSlot>, actor: &str) -> Story<OncePerSlot> {
        let body = json!({ "events": [{ "kind": "ClusterHeartbeat" }] });
        story.call(actor, "events", &body, 204, &Value::Null)
    }

    fn rotate(story: Story<OncePerSlot>, id: &str) -> Story<OncePerSlot> {
        story.call(OPERATOR, "rotate", &json!({ "rotationId": id }), 200, &json!({}))
    }

    fn asked() -> Story<OncePerSlot> {
        Story::new().commit("user", &with(&cluster(), &json!({ "spec": { "rotateCredentials": true } })))
    }

    #[test]
    fn heartbeats_in_a_row_are_seen() {
        beat(beat(Story::new(), OPERATOR).later(10), OPERATOR).breaks("within 10 s");
    }

    #[test]
    fn a_rotation_without_a_reason_is_seen() {
        rotate(Story::new(), "a").breaks("for no reason");
        rotate(rotate(asked(), "a"), "b").breaks("for no reason");
    }

    #[test]
    fn a_repeated_rotation_an_old_credential_and_steady_heartbeats_hold() {
        rotate(rotate(rotate(asked(), "a"), "a").later(7 * 24 * 3600), "b").holds();
        beat(beat(beat(Story::new(), OPERATOR).later(30), OPERATOR).later(5), "operator-0.2").holds();
    }
}
