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
            for (key, value) in map.iter_mut() {
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
    match value {
        Value::Object(map) => {
            map.retain(|key, value| {
                node.field(key).is_none_or(|field| !value.is_null() || field.nullable || field.default.is_some())
            });
            for (key, value) in map.iter_mut() {
                if let Some(field) = node.field(key) {
                    drop_nulls(field, value);
                }
            }
        }
        Value::Array(items) => {
            let Some(item) = &node.items else { return };
            for value in items {
                drop_nulls(item, value);
            }
        }
        _ => {}
    }
}
