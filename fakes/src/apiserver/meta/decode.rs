//! Decoding `metadata` as the real server does: known fields of the right types, nothing empty.

use serde_json::{Map, Value, json};

use super::FIELDS;

const OWNER_FIELDS: [&str; 6] = ["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"];
const MANAGED_FIELDS: [&str; 7] =
    ["manager", "operation", "apiVersion", "time", "fieldsType", "fieldsV1", "subresource"];

/// What decoding found in `metadata`.
#[derive(Debug, Default)]
pub struct Decoded {
    /// Paths of unknown fields, dropped.
    pub unknown: Vec<String>,
    /// A value of a wrong type: the text of the real decoder.
    pub wrong: Option<String>,
}

/// Brings `metadata` into the form that the real server's ObjectMeta round trip gives: known fields in wire order, nothing empty.
pub fn decode(object: &mut Value) -> Decoded {
    let mut decoded = Decoded::default();
    let Some(fields) = object.as_object_mut() else { return decoded };
    if fields.get("metadata").and_then(Value::as_object).is_some_and(is_decoded) {
        return decoded;
    }
    let metadata = match fields.get_mut("metadata") {
        Some(Value::Object(metadata)) => std::mem::take(metadata),
        Some(Value::Null) | None => Map::new(),
        Some(other) => {
            decoded.wrong = Some(format!(
                "cannot unmarshal {} into Go struct field .metadata of type v1.ObjectMeta",
                go_kind(other)
            ));
            return decoded;
        }
    };
    let mut known = Map::with_capacity(metadata.len());
    let mut found: Vec<(usize, String, Value)> = Vec::with_capacity(metadata.len());
    for (key, value) in metadata {
        match FIELDS.iter().position(|field| *field == key) {
            Some(position) => found.push((position, key, value)),
            None => decoded.unknown.push(format!("metadata.{key}")),
        }
    }
    found.sort_by_key(|(position, ..)| *position);
    for (_, key, mut value) in found {
        let path = format!("metadata.{key}");
        if let Err(type_name) = check(&key, &path, &mut value, &mut decoded.unknown) {
            decoded.wrong.get_or_insert_with(|| {
                format!(
                    "cannot unmarshal {} into Go struct field ObjectMeta.{path} of type {type_name}",
                    go_kind(&wrong_part(&value))
                )
            });
        }
        let empty = match &value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(entries) => entries.is_empty(),
            Value::Number(number) => key == "generation" && number.as_i64() == Some(0),
            Value::Bool(_) => false,
        };
        if !empty {
            known.insert(key, value);
        }
    }
    fields.insert("metadata".to_owned(), Value::Object(known));
    decoded
}

/// Whether decoding would change nothing but the order, which storing settles: so it is with whatever was read from storage.
fn is_decoded(metadata: &Map<String, Value>) -> bool {
    let texts =
        |value: &Value| value.as_object().is_some_and(|map| !map.is_empty() && map.values().all(Value::is_string));
    let entries = |value: &Value, fields: &[&str]| {
        let whole = |item: &Value| {
            item.as_object()
                .is_some_and(|item| item.iter().all(|(key, value)| fields.contains(&key.as_str()) && !value.is_null()))
        };
        value.as_array().is_some_and(|items| !items.is_empty() && items.iter().all(whole))
    };
    metadata.iter().all(|(key, value)| match key.as_str() {
        "labels" | "annotations" => texts(value),
        "finalizers" => value.as_array().is_some_and(|items| !items.is_empty() && items.iter().all(Value::is_string)),
        "ownerReferences" => entries(value, &OWNER_FIELDS),
        "managedFields" => entries(value, &MANAGED_FIELDS),
        "generation" => value.as_i64().is_some_and(|generation| generation != 0),
        "deletionGracePeriodSeconds" => value.is_i64() || value.is_u64(),
        key => FIELDS.contains(&key) && value.as_str().is_some_and(|text| !text.is_empty()),
    })
}

fn wrong_part(value: &Value) -> Value {
    match value {
        Value::Object(entries) => {
            entries.values().find(|entry| !entry.is_string()).cloned().unwrap_or_else(|| value.clone())
        }
        Value::Array(items) => items.iter().find(|item| !item.is_string()).cloned().unwrap_or_else(|| value.clone()),
        other => other.clone(),
    }
}

/// The word of Go's decoder for a JSON value.
pub fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn check(key: &str, path: &str, value: &mut Value, unknown: &mut Vec<String>) -> Result<(), &'static str> {
    match (key, &mut *value) {
        (_, Value::Null) => {}
        ("generation" | "deletionGracePeriodSeconds", Value::Number(number)) if number.is_i64() || number.is_u64() => {}
        ("generation" | "deletionGracePeriodSeconds", _) => return Err("int64"),
        ("labels" | "annotations", Value::Object(entries)) => {
            if entries.values().any(|entry| !entry.is_string() && !entry.is_null()) {
                return Err("string");
            }
            entries.values_mut().filter(|entry| entry.is_null()).for_each(|entry| *entry = json!(""));
        }
        ("labels" | "annotations", _) => return Err("map[string]string"),
        ("finalizers", Value::Array(items)) => {
            if items.iter().any(|item| !item.is_string()) {
                return Err("string");
            }
        }
        ("finalizers", _) => return Err("[]string"),
        ("ownerReferences", Value::Array(items)) => {
            entries(items, path, &OWNER_FIELDS, unknown).map_err(|()| "v1.OwnerReference")?
        }
        ("ownerReferences", _) => return Err("[]v1.OwnerReference"),
        ("managedFields", Value::Array(items)) => {
            entries(items, path, &MANAGED_FIELDS, unknown).map_err(|()| "v1.ManagedFieldsEntry")?
        }
        ("managedFields", _) => return Err("[]v1.ManagedFieldsEntry"),
        (_, Value::String(_)) => {}
        ("creationTimestamp" | "deletionTimestamp", _) => return Err("v1.Time"),
        _ => return Err("string"),
    }
    Ok(())
}

fn entries(items: &mut [Value], path: &str, fields: &[&str], unknown: &mut Vec<String>) -> Result<(), ()> {
    for (index, item) in items.iter_mut().enumerate() {
        let entry = item.as_object_mut().ok_or(())?;
        entry.retain(|key, value| {
            let known = fields.contains(&key.as_str());
            if !known {
                unknown.push(format!("{path}[{index}].{key}"));
            }
            known && !value.is_null()
        });
    }
    Ok(())
}
