//! CustomResourceDefinitions (apiserver.md N): what may be one, what it serves, and its life from names to removal.
//!
//! ```text
//! write ──► form (as decoding leaves it) ──► validate ──► store
//!                                                          │ life cycle, some milliseconds later
//!                            names accepted ──► established ──► served ──► (changed: watches closed) ──► emptied ──► gone
//! ```
//!
//! Not modelled: conversion webhooks (definitions with them are accepted, objects pass unconverted), several API servers
//! that disagree for a while.

mod document;
mod form;
mod lifecycle;
mod removal;
mod served;
mod strategy;
mod validate;
mod version;

pub use lifecycle::run;
pub use removal::{FINALIZER, terminate};
pub use strategy::Definitions;

use serde_json::Value;

/// The key of the table of definitions.
pub const ID: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// Whether a condition of a definition is true.
pub fn holds(crd: &Value, condition: &str) -> bool {
    condition_of(crd, condition).is_some_and(|found| found["status"] == "True")
}

fn condition_of<'a>(crd: &'a Value, kind: &str) -> Option<&'a Value> {
    crd["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn versions(crd: &Value) -> impl Iterator<Item = &Value> {
    crd["spec"]["versions"].as_array().into_iter().flatten()
}
