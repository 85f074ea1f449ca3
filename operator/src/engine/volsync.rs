//! The `volsync` engine: one copy, a copy again and again, or one restore (contract §10.5).

use jiff::Timestamp;
use serde_json::Value;

use super::operation::{Cause, Facts, Hold, OperationEngine, Order, Question, Reading, Stage, Start, Withdrawal};
use crate::api::condition::Reason;
use crate::api::names;
use crate::api::operation::OperationType;
use crate::cluster_api::{Caps, Key, Kind, Object};
use crate::foreign::volsync::{destination, source};

mod child;
mod progress;

/// See [`OperationEngine`].
pub struct Volsync;

fn kind(order: &Order, caps: &Caps) -> Option<Kind> {
    match order.type_ {
        OperationType::Restore => destination(caps),
        _ => source(caps),
    }
}

/// Whether it goes on until it is cancelled.
fn continuous(order: &Order) -> bool {
    order.type_ != OperationType::Restore && order.parameters.get("schedule").is_some_and(Value::is_string)
}

impl OperationEngine for Volsync {
    fn kinds(&self, order: &Order, caps: &Caps) -> Result<Vec<Kind>, String> {
        Ok(vec![kind(order, caps).ok_or("the VolSync API volsync.backube/v1alpha1 is not installed in this cluster")?])
    }

    fn child(&self, order: &Order, caps: &Caps) -> Option<Key> {
        let name = names::operation_child(&order.name, &order.uid);
        Some(Key::namespaced(&kind(order, caps)?, &order.namespace, &name))
    }

    fn questions(&self, stage: Stage, order: &Order, caps: &Caps, _: &Facts) -> Vec<Question> {
        match stage {
            Stage::Start => child::questions(order),
            Stage::Watch => progress::questions(order, caps),
        }
    }

    fn render(&self, order: &Order, caps: &Caps, facts: &Facts, _: Timestamp) -> Result<Start, Hold> {
        let unserved = || Hold::wait(Reason::EngineNotInstalled, "VolSync is not installed in this cluster");
        let key = self.child(order, caps).ok_or_else(unserved)?;
        match order.type_ {
            OperationType::Restore => child::destination(key, order, caps, facts),
            _ => child::source(key, order, caps, facts),
        }
    }

    fn interpret(&self, order: &Order, caps: &Caps, child: &Object, _: &Facts, _: Timestamp) -> Reading {
        progress::interpret(order, caps, child)
    }

    fn withdraw(
        &self,
        order: &Order,
        cause: Cause,
        child: Option<(&Key, &Object)>,
        facts: &Facts,
        _: Timestamp,
        _: Timestamp,
    ) -> Withdrawal {
        progress::withdraw(order, cause, child, facts)
    }
}

#[cfg(test)]
mod tests;
