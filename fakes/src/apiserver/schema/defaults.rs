//! Putting defaults in and taking nulls out (apiserver.md F4).

use serde_json::Value;

use super::node::Node;

/// Puts the default of every declared field that is missing, or null without being nullable.
pub fn fill(node: &Node, value: &mut Value) {
    if !node.has_defaults {
        return;
    }
    match value {
        Value::Object(map) => {
            for (name, field) in &node.properties {
                let Some(default) = &field.default else { continue };
                match map.get_mut(name) {
                    None => {
                        map.insert(name.clone(), default.clone());
                    }
                    Some(present) if present.is_null() && !field.nullable => *present = default.clone(),
                    Some(_) => {}
                }
            }
            let with_parts = |value: &Value| matches!(value, Value::Object(_) | Value::Array(_) | Value::Null);
            for (key, value) in map.iter_mut().filter(|(_, value)| with_parts(value)) {
                if let Some(field) = node.field(key) {
                    replace_null(field, value);
                    fill(field, value);
                }
            }
        }
        Value::Array(items) => {
            let Some(item) = &node.items else { return };
            for value in items {
                replace_null(item, value);
                fill(item, value);
            }
        }
        _ => {}
    }
}

fn replace_null(node: &Node, value: &mut Value) {
    if let (Value::Null, false, Some(default)) = (&*value, node.nullable, &node.default) {
        *value = default.clone();
    }
}

/// Removes null fields that are neither nullable nor defaulted. Decoding a body does this; applying a configuration does not.
pub fn drop_nulls(node: &Node, value: &mut Value) {
    // Looking for a null needs no schema, and hardly any object has one.
    if has_null(value) {
        drop_below(node, value);
    }
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.values().any(has_null),
        Value::Array(items) => items.iter().any(has_null),
        _ => false,
    }
}

fn drop_below(node: &Node, value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, value| {
                node.field(key).is_none_or(|field| !value.is_null() || field.nullable || field.default.is_some())
            });
            for (key, value) in map.iter_mut() {
                if let Some(field) = node.field(key) {
                    drop_below(field, value);
                }
            }
        }
        Value::Array(items) => {
            let Some(item) = &node.items else { return };
            for value in items {
                drop_below(item, value);
            }
        }
        _ => {}
    }
}
