//! Embedded resources: objects within objects that have apiVersion, kind and metadata of their own (apiserver.md F3).

use serde_json::{Value, json};

use super::cause;
use super::metadata;
use super::node::Node;
use super::path::Path;
use crate::apiserver::errors::Cause;

/// Appends what is missing in embedded resources at `value` or below.
pub fn check(node: &Node, value: &Value, path: &Path<'_>, causes: &mut Vec<Cause>) {
    if !node.has_embedded {
        return;
    }
    match value {
        Value::Object(map) => {
            if node.embedded_resource {
                for key in ["apiVersion", "kind"] {
                    let path = path.field(key);
                    match map.get(key) {
                        None => causes.push(cause::required(path.bracketed(), "")),
                        Some(Value::String(text)) if text.is_empty() => {
                            causes.push(cause::invalid(path.bracketed(), &json!(""), "must not be empty"));
                        }
                        Some(Value::String(_)) => {}
                        Some(other) => causes.push(cause::invalid(path.bracketed(), other, "must be a string")),
                    }
                }
            }
            for (key, value) in map {
                if let Some(field) = node.properties.get(key) {
                    check(field, value, &path.field(key), causes);
                } else if let Some(field) = &node.additional {
                    check(field, value, &path.key(key), causes);
                }
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                if let Some(item) = &node.items {
                    check(item, value, &path.index(index), causes);
                }
            }
        }
        _ => {}
    }
}

/// Takes mistyped fields out of the metadata of embedded resources.
pub fn drop_mistyped(node: &Node, value: &mut Value) {
    if !node.has_embedded {
        return;
    }
    match value {
        Value::Object(map) => {
            if node.embedded_resource
                && let Some(found) = map.get_mut("metadata")
            {
                metadata::drop_mistyped(found);
            }
            for (key, value) in map.iter_mut() {
                if let Some(field) = node.field(key) {
                    drop_mistyped(field, value);
                }
            }
        }
        Value::Array(items) => {
            for value in items {
                if let Some(item) = &node.items {
                    drop_mistyped(item, value);
                }
            }
        }
        _ => {}
    }
}
