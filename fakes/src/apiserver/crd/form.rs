//! The form in which a definition is stored: what decoding into the server's types leaves of it, and what defaulting adds.

use serde_json::{Map, Value, json};

use super::{text, versions};

/// Brings the spec of a definition into its stored form.
pub(super) fn spec(crd: &mut Value) {
    let Some(spec) = crd.get_mut("spec").and_then(Value::as_object_mut) else { return };
    for key in ["group", "scope"] {
        spec.entry(key).or_insert_with(|| json!(""));
    }
    if spec.get("preserveUnknownFields") == Some(&Value::Bool(false)) {
        spec.shift_remove("preserveUnknownFields");
    }
    let names = spec.entry("names").or_insert_with(|| json!({}));
    if let Some(names) = names.as_object_mut() {
        drop_empty(names, &[]);
        for key in ["plural", "kind"] {
            names.entry(key).or_insert_with(|| json!(""));
        }
        let kind = names["kind"].as_str().unwrap_or_default().to_owned();
        if !kind.is_empty() {
            names.entry("singular").or_insert_with(|| json!(kind.to_lowercase()));
            names.entry("listKind").or_insert_with(|| json!(format!("{kind}List")));
        }
    }
    let conversion = spec.entry("conversion").or_insert_with(|| json!({"strategy": "None"}));
    if let Some(port) = conversion.pointer_mut("/webhook/clientConfig/service").and_then(Value::as_object_mut) {
        port.entry("port").or_insert_with(|| json!(443));
    }
    for version in spec.get_mut("versions").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(version) = version.as_object_mut() {
            self::version(version);
        }
    }
}

fn version(version: &mut Map<String, Value>) {
    drop_empty(version, &["schema", "subresources", "served", "storage"]);
    for (key, zero) in [("name", json!("")), ("served", json!(false)), ("storage", json!(false))] {
        version.entry(key).or_insert(zero);
    }
    for column in version.get_mut("additionalPrinterColumns").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(column) = column.as_object_mut() {
            drop_empty(column, &[]);
            for key in ["name", "type", "jsonPath"] {
                column.entry(key).or_insert_with(|| json!(""));
            }
        }
    }
    if let Some(schema) = version.get_mut("schema").and_then(|schema| schema.get_mut("openAPIV3Schema")) {
        document(schema);
    }
}

/// Keys whose zero value means something.
const KEPT: [&str; 19] = [
    "default",
    "example",
    "maximum",
    "minimum",
    "multipleOf",
    "maxLength",
    "minLength",
    "maxItems",
    "minItems",
    "maxProperties",
    "minProperties",
    "additionalProperties",
    "additionalItems",
    "items",
    "not",
    "externalDocs",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
];

/// Brings a schema document into its stored form: what is empty is left out.
fn document(schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else { return };
    drop_empty(map, &KEPT);
    for (key, value) in map.iter_mut() {
        match key.as_str() {
            "items" | "additionalProperties" | "additionalItems" | "not" => document(value),
            "properties" | "patternProperties" | "definitions" => {
                value.as_object_mut().into_iter().flat_map(Map::values_mut).for_each(document);
            }
            "allOf" | "anyOf" | "oneOf" => value.as_array_mut().into_iter().flatten().for_each(document),
            "x-kubernetes-validations" => {
                for rule in value.as_array_mut().into_iter().flatten() {
                    if let Some(rule) = rule.as_object_mut() {
                        drop_empty(rule, &["rule", "reason", "optionalOldSelf"]);
                        rule.entry("rule").or_insert_with(|| json!(""));
                    }
                }
            }
            _ => {}
        }
    }
}

fn drop_empty(map: &mut Map<String, Value>, kept: &[&str]) {
    map.retain(|key, value| match value {
        Value::Null => false,
        _ if kept.contains(&key.as_str()) => true,
        Value::Bool(flag) => *flag,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(entries) => !entries.is_empty(),
        Value::Number(number) => number.as_f64() != Some(0.0),
    });
}

/// Brings the status into its stored form. Stored versions that are missing are the storage version.
pub(super) fn status(crd: &mut Value) {
    let storage: Option<Value> = storage_version(crd).map(Value::from);
    let status = &mut crd["status"];
    if !status.is_object() {
        *status = json!({"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": null});
    }
    let Some(status) = status.as_object_mut() else { return };
    status.entry("conditions").or_insert(Value::Null);
    status.entry("acceptedNames").or_insert_with(|| json!({"plural": "", "kind": ""}));
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        if let Some(condition) = condition.as_object_mut() {
            condition.entry("lastTransitionTime").or_insert(Value::Null);
        }
    }
    if status.get("storedVersions").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        let stored = storage.map_or(Value::Null, |name| json!([name]));
        status.insert("storedVersions".to_owned(), stored);
    }
}

/// The version in which objects are stored: the first one marked so.
pub(super) fn storage_version(crd: &Value) -> Option<String> {
    versions(crd).find(|version| version["storage"] == true).map(|version| text(version, "name").to_owned())
}
