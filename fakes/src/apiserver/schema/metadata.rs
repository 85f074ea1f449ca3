//! The metadata of a resource: what it may hold and of which type (apiserver.md F3, F12).

use serde_json::Value;

/// The fields of ObjectMeta with the JSON type of each.
const FIELDS: [(&str, Shape); 15] = [
    ("annotations", Shape::Strings),
    ("creationTimestamp", Shape::Time),
    ("deletionGracePeriodSeconds", Shape::Integer),
    ("deletionTimestamp", Shape::Time),
    ("finalizers", Shape::List),
    ("generateName", Shape::Text),
    ("generation", Shape::Integer),
    ("labels", Shape::Strings),
    ("managedFields", Shape::Objects),
    ("name", Shape::Text),
    ("namespace", Shape::Text),
    ("ownerReferences", Shape::Objects),
    ("resourceVersion", Shape::Text),
    ("selfLink", Shape::Text),
    ("uid", Shape::Text),
];

#[derive(Clone, Copy)]
enum Shape {
    Text,
    Time,
    Integer,
    Strings,
    List,
    Objects,
}

/// The fields of an owner reference.
const OWNER_FIELDS: [&str; 6] = ["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"];
/// The fields of a managedFields entry.
const MANAGED_FIELDS: [&str; 7] =
    ["manager", "operation", "apiVersion", "time", "fieldsType", "fieldsV1", "subresource"];

/// Removes fields that ObjectMeta does not have, appending their paths below `path`.
pub fn prune(metadata: &mut Value, path: &str, dropped: &mut Vec<String>) {
    let Some(map) = metadata.as_object_mut() else { return };
    for (list, known) in [("ownerReferences", &OWNER_FIELDS[..]), ("managedFields", &MANAGED_FIELDS[..])] {
        for (index, item) in map.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().enumerate() {
            let Some(item) = item.as_object_mut() else { continue };
            let unknown: Vec<String> = item.keys().filter(|key| !known.contains(&key.as_str())).cloned().collect();
            for key in unknown {
                item.shift_remove(&key);
                dropped.push(format!("{path}.{list}[{index}].{key}"));
            }
        }
    }
    let unknown: Vec<String> =
        map.keys().filter(|key| !FIELDS.iter().any(|(name, _)| name == &key.as_str())).cloned().collect();
    for key in unknown {
        map.shift_remove(&key);
        dropped.push(format!("{path}.{key}"));
    }
}

/// Removes fields of embedded metadata whose value has the wrong type: stored objects lose them silently.
pub fn drop_mistyped(metadata: &mut Value) {
    let Some(map) = metadata.as_object_mut() else { return };
    let wrong: Vec<String> = map
        .iter()
        .filter(|(key, value)| {
            FIELDS.iter().find(|(name, _)| name == &key.as_str()).is_some_and(|(_, shape)| !shape.accepts(value))
        })
        .map(|(key, _)| key.clone())
        .collect();
    for key in wrong {
        map.shift_remove(&key);
    }
}

impl Shape {
    fn accepts(self, value: &Value) -> bool {
        if value.is_null() {
            return true;
        }
        match self {
            Shape::Text => value.is_string(),
            Shape::Time => value.as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok()),
            Shape::Integer => value.is_i64(),
            Shape::Strings => value.as_object().is_some_and(|map| map.values().all(Value::is_string)),
            Shape::List => value.as_array().is_some_and(|list| list.iter().all(Value::is_string)),
            Shape::Objects => value.as_array().is_some_and(|list| list.iter().all(Value::is_object)),
        }
    }
}
