//! Uniqueness in lists of type `set` and `map` (apiserver.md F5, `Duplicate value`).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::cause;
use super::go;
use super::node::{ListType, Node};
use super::path::Path;
use crate::apiserver::errors::Cause;

/// Appends one cause per repeated item of every set and map list at `value` or below.
pub fn duplicates(node: &Node, value: &Value, path: &Path<'_>, causes: &mut Vec<Cause>) {
    if !node.has_unique {
        return;
    }
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if let Some(field) = node.properties.get(key) {
                    duplicates(field, value, &path.field(key), causes);
                } else if let Some(field) = &node.additional {
                    duplicates(field, value, &path.key(key), causes);
                }
            }
        }
        Value::Array(items) => {
            match node.list_type {
                ListType::Atomic => {}
                ListType::Set => repeated(items.iter().map(go::json), items, path, causes),
                ListType::Map => {
                    let shown: Vec<Value> = items.iter().map(|item| identity(node, item)).collect();
                    repeated(shown.iter().map(go::json), &shown, path, causes);
                }
            }
            if let Some(item) = &node.items {
                for (index, value) in items.iter().enumerate() {
                    duplicates(item, value, &path.index(index), causes);
                }
            }
        }
        _ => {}
    }
}

/// The identifying fields of an item of a map list that are present, defaults included.
pub fn identity(node: &Node, item: &Value) -> Value {
    let mut key = Map::new();
    for name in &node.list_map_keys {
        let value = item.get(name).or_else(|| node.items.as_deref()?.properties.get(name)?.default.as_ref());
        if let Some(value) = value {
            key.insert(name.clone(), value.clone());
        }
    }
    Value::Object(key)
}

/// The second appearance of a key is named; further ones are not.
fn repeated(keys: impl Iterator<Item = String>, shown: &[Value], path: &Path<'_>, causes: &mut Vec<Cause>) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (index, key) in keys.enumerate() {
        let count = seen.entry(key).or_default();
        *count += 1;
        if *count == 2 {
            causes.push(cause::duplicate(path.index(index).bracketed(), &shown[index]));
        }
    }
}
