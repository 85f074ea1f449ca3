//! `metadata`: its fields and types, names and labels, and what may change in an update.

mod decode;
mod names;
mod validate;

use serde_json::{Map, Value, json};

pub use decode::{Decoded, decode, go_kind};
pub use names::{label_problems, label_value_problems, qualified_name_problems, subdomain_problems};
pub use validate::{validate, validate_update};

/// Fields of ObjectMeta in wire order.
const FIELDS: [&str; 15] = [
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
];

/// Drops all but the first owner reference of each uid and returns the warning about it (C19).
pub fn deduplicate_owners(object: &mut Value) -> Option<String> {
    let owners = object.pointer_mut("/metadata/ownerReferences")?.as_array_mut()?;
    let (mut seen, mut twice): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    owners.retain(|owner| {
        let uid = owner["uid"].as_str().unwrap_or_default().to_owned();
        let first = !seen.contains(&uid);
        if first {
            seen.push(uid);
        } else if !twice.contains(&uid) {
            twice.push(uid);
        }
        first
    });
    (!twice.is_empty()).then(|| {
        format!(
            ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            twice.join(", ")
        )
    })
}

/// Warnings about new finalizers of custom resources that are not qualified by a domain and a path.
pub fn finalizer_warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let known: Vec<&str> = old.into_iter().flat_map(finalizers).collect();
    let mut added: Vec<&str> = finalizers(new).filter(|name| !known.contains(name)).collect();
    added.sort_unstable();
    added.dedup();
    let plain = |name: &&str| !name.contains('/') && !matches!(*name, "orphan" | "foregroundDeletion" | "kubernetes");
    let warn = |name: &str| {
        format!(
            "metadata.finalizers: {name:?}: prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with other finalizer writers"
        )
    };
    added.into_iter().filter(plain).map(warn).collect()
}

/// Text of a metadata field, empty when missing.
pub fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

/// The metadata map; an object that was decoded always has one.
pub fn map(object: &mut Value) -> &mut Map<String, Value> {
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    object["metadata"].as_object_mut().expect("metadata was made an object above")
}

/// Sets or, when `None`, removes a metadata field.
pub fn set(object: &mut Value, field: &str, value: Option<Value>) {
    let metadata = map(object);
    match value {
        Some(value) => drop(metadata.insert(field.to_owned(), value)),
        None => drop(metadata.shift_remove(field)),
    }
}

/// Puts keys in the order in which the real server prints them: fields of ObjectMeta for built-in kinds, sorted for
/// custom resources.
pub fn arrange(object: &mut Value, custom: bool) {
    if custom {
        sort(object);
        return;
    }
    let place = |key: &String| FIELDS.iter().position(|field| field == key).unwrap_or(FIELDS.len());
    let metadata = map(object);
    if !metadata.keys().is_sorted_by_key(place) {
        let mut fields: Vec<(String, Value)> = std::mem::take(metadata).into_iter().collect();
        fields.sort_by_key(|(key, _)| place(key));
        metadata.extend(fields);
    }
}

fn sort(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if !fields.keys().is_sorted() {
                fields.sort_keys();
            }
            fields.values_mut().for_each(sort);
        }
        Value::Array(items) => items.iter_mut().for_each(sort),
        _ => {}
    }
}

/// The finalizers.
pub fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    object["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Being deleted.
pub fn terminating(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}
