//! Other people's objects: what we read of them, what we write into them, and what their status means.
//!
//! Reading is total: a struct is filled field by field from JSON, a value of a wrong type is an absent one, an unknown word
//! stays as it is. One odd object must never make a list or a pass fail (contract §29.54).

use serde_json::Value;

use crate::api::Open;
use crate::cluster_api::Object;

pub mod argo;
pub mod claim;
pub mod core;
pub mod fields;
pub mod flux;
pub mod helm_storage;
pub mod job;
pub mod packed;
pub mod pod;
pub mod quantity;
pub mod snapshot;
pub mod text;
pub mod velero;
pub mod volsync;

/// Status of a foreign condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// `True`.
    True,
    /// `False`.
    False,
    /// `Unknown`.
    Unknown,
}

/// One foreign condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// `type`.
    pub type_: String,
    /// `status`, unknown words kept.
    pub status: Open<Truth>,
    /// `reason`.
    pub reason: String,
    /// `message`.
    pub message: String,
    /// `observedGeneration`.
    pub observed_generation: Option<i64>,
    /// `lastTransitionTime` as written.
    pub last_transition: Option<String>,
}

impl Condition {
    /// Whether the status is exactly this word.
    pub fn is(&self, truth: Truth) -> bool {
        self.status.is(truth)
    }
}

/// All conditions of an object, in order, each type once. One that is there twice and contradicts itself proves nothing.
pub fn conditions(object: &Object) -> Vec<Condition> {
    let list = object.0.pointer("/status/conditions").and_then(Value::as_array);
    let mut found: Vec<Condition> = Vec::new();
    for read in list.into_iter().flatten().filter_map(condition) {
        match found.iter_mut().find(|known| known.type_ == read.type_) {
            Some(known) if known.status != read.status => known.status = Open::Other("contradictory".into()),
            Some(_) => {}
            None => found.push(read),
        }
    }
    found
}

fn condition(value: &Value) -> Option<Condition> {
    let text = |field: &str| value.get(field).and_then(Value::as_str);
    Some(Condition {
        type_: text("type")?.into(),
        status: match text("status").unwrap_or_default() {
            "True" => Truth::True.into(),
            "False" => Truth::False.into(),
            "Unknown" => Truth::Unknown.into(),
            other => Open::Other(other.into()),
        },
        reason: text("reason").unwrap_or_default().into(),
        message: text("message").unwrap_or_default().into(),
        observed_generation: value.get("observedGeneration").and_then(Value::as_i64),
        last_transition: text("lastTransitionTime").map(String::from),
    })
}

/// The condition of one type.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// A string below the object's root, if it is one.
pub(crate) fn string(object: &Object, pointer: &str) -> Option<String> {
    object.0.pointer(pointer).and_then(Value::as_str).map(String::from)
}

/// A whole number below the object's root, if it is one.
pub(crate) fn integer(object: &Object, pointer: &str) -> Option<i64> {
    object.0.pointer(pointer).and_then(Value::as_i64)
}
