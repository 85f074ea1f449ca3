//! Events: accepted once by key, and what they tell of objects (contract §20).

use bytes::Bytes;
use jiff::Timestamp;
use operator::protocol::event::{BATCH_MAX, Event, EventBatch};
use serde_json::Value;

use super::answer::{Answer, Refusal, refuse};
use super::audit::Line;
use super::tables::{ClusterRow, EventRow, ObjectKey, ObjectView, State};

/// The kind without a key.
const HEARTBEAT: &str = "ClusterHeartbeat";

/// Whether a body is a batch of nothing but heartbeats.
pub(super) fn only_heartbeats(body: &Bytes) -> bool {
    let batch: Option<EventBatch> = serde_json::from_slice(body).ok();
    batch.is_some_and(|batch| batch.events.iter().all(|event| event.kind == HEARTBEAT))
}

impl State {
    /// Takes a batch: all of it, or nothing, or its first `most` events.
    pub(super) fn events(
        &mut self,
        cluster: &str,
        body: &Bytes,
        most: usize,
        now: Timestamp,
    ) -> Result<Answer, Refusal> {
        let invalid = |why: String| refuse(422, "InvalidEvents", why);
        let batch: EventBatch = serde_json::from_slice(body).map_err(|error| invalid(error.to_string()))?;
        if batch.cluster_id.as_ref().is_some_and(|id| id != cluster) {
            return Err(refuse(403, "OtherCluster", "these are events of another cluster"));
        }
        if batch.events.len() > BATCH_MAX {
            return Err(refuse(413, "BatchTooLarge", format!("more than {BATCH_MAX} events")));
        }
        for (index, event) in batch.events.iter().enumerate() {
            if event.event_key.as_ref().is_none_or(String::is_empty) && event.kind != HEARTBEAT {
                return Err(invalid(format!("events[{index}]: only a heartbeat goes without eventKey")));
            }
            if event.timestamp.parse::<Timestamp>().is_err() {
                return Err(invalid(format!("events[{index}]: timestamp is not RFC 3339")));
            }
            let poisoned = |key: &String| self.dials.poison.iter().any(|poison| key.contains(poison));
            if event.event_key.as_ref().is_some_and(poisoned) {
                let status = self.dials.poison_status;
                return Err(refuse(status, "InvalidEvents", format!("events[{index}] is not acceptable")));
            }
        }
        for event in batch.events.into_iter().take(most) {
            let Some(row) = self.clusters.get_mut(cluster) else { break };
            if let Some(line) = row.take(event, now) {
                self.audit.push(line);
            }
        }
        Ok(Answer::Done)
    }
}

impl ClusterRow {
    /// Takes one event; a line for people, if it is new and one of the kinds they read.
    fn take(&mut self, event: Event, now: Timestamp) -> Option<Line> {
        let Some(key) = event.event_key.clone() else {
            self.last_heartbeat = Some(now);
            self.heartbeats += 1;
            self.conditions = event.conditions;
            return None;
        };
        let order = self.events.len() as u64 + 1;
        match self.events.entry(key.clone()) {
            std::collections::btree_map::Entry::Occupied(mut known) => {
                let known = known.get_mut();
                known.repeats += 1;
                // Endpoints are what stands when it is sent; a condition's journal does not hold them.
                let again = Event { endpoints: known.event.endpoints.clone(), ..event };
                known.clashes += u32::from(known.event != again);
                return None;
            }
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(EventRow { event: event.clone(), at: now, order, repeats: 0, clashes: 0 });
            }
        }
        if event.kind == "ConditionTransition" {
            self.see(&event, key.starts_with("snapshot/"));
        }
        Line::of_event(now, &self.id, &event)
    }

    fn see(&mut self, event: &Event, whole: bool) {
        let view = self.view.entry(ObjectKey::from(&event.resource_ref)).or_default();
        if whole || view.object.uid != event.resource_ref.uid {
            *view = ObjectView::default();
        }
        view.object = event.resource_ref.clone();
        view.at.clone_from(&event.timestamp);
        if !event.endpoints.is_empty() {
            view.endpoints.clone_from(&event.endpoints);
        }
        for condition in &event.conditions {
            let type_ = condition.get("type").and_then(Value::as_str).unwrap_or_default();
            view.conditions.insert(type_.into(), condition.clone());
        }
    }
}
