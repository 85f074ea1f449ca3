//! The `snapshot` engine: a VolumeSnapshot, or a claim made from one (contract §10.4).

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::operation::{Cause, Facts, Hold, OperationEngine, Order, Question, Reading, Stage, Start, Withdrawal};
use crate::api::condition::Reason;
use crate::api::names;
use crate::api::operation::OperationType;
use crate::cluster_api::{Caps, Key, Kind, Object};
use crate::foreign::claim::claim;
use crate::foreign::snapshot::volume_snapshot;

mod claims;
mod take;

/// See [`OperationEngine`].
pub struct Snapshot;

impl OperationEngine for Snapshot {
    fn kinds(&self, _: &Order, caps: &Caps) -> Result<Vec<Kind>, String> {
        let missing = "the VolumeSnapshot API snapshot.storage.k8s.io/v1 is not installed in this cluster";
        Ok(vec![volume_snapshot(caps).ok_or(missing)?])
    }

    fn child(&self, order: &Order, caps: &Caps) -> Option<Key> {
        if order.type_ == OperationType::Restore {
            let name = order.parameters.get("pvc").and_then(Value::as_str)?;
            return Some(Key::namespaced(&claim(), &order.namespace, name));
        }
        let name = names::operation_child(&order.name, &order.uid);
        Some(Key::namespaced(&volume_snapshot(caps)?, &order.namespace, &name))
    }

    fn questions(&self, stage: Stage, order: &Order, caps: &Caps, facts: &Facts) -> Vec<Question> {
        let Some(child) = self.child(order, caps) else { return Vec::new() };
        match order.type_ {
            OperationType::Restore => claims::questions(stage, &child, order, caps, facts),
            _ => take::questions(stage, &child, order, caps, facts),
        }
    }

    fn render(&self, order: &Order, caps: &Caps, facts: &Facts, _: Timestamp) -> Result<Start, Hold> {
        let unserved =
            || Hold::wait(Reason::EngineNotInstalled, "the snapshot controller is not installed in this cluster");
        let key = self.child(order, caps).ok_or_else(unserved)?;
        match order.type_ {
            OperationType::Restore => claims::render(key, order, caps, facts),
            _ => take::render(key, order, caps, facts),
        }
    }

    fn interpret(&self, order: &Order, caps: &Caps, child: &Object, facts: &Facts, _: Timestamp) -> Reading {
        match order.type_ {
            OperationType::Restore => claims::interpret(child, facts),
            _ => take::interpret(order, caps, child, facts),
        }
    }

    fn withdraw(
        &self,
        order: &Order,
        cause: Cause,
        child: Option<(&Key, &Object)>,
        _: &Facts,
        _: Timestamp,
        _: Timestamp,
    ) -> Withdrawal {
        match order.type_ {
            OperationType::Restore => claims::withdraw(cause, child),
            _ => take::withdraw(cause, child),
        }
    }
}

/// A child without owner: the data must outlive the Operation.
fn child(key: &Key, labels: &Map<String, Value>, spec: Value) -> Object {
    Object(json!({
        "apiVersion": key.kind.api_version(),
        "kind": key.kind.kind,
        "metadata": { "name": key.name, "namespace": key.namespace, "labels": labels },
        "spec": spec,
    }))
}

#[cfg(test)]
mod tests;
