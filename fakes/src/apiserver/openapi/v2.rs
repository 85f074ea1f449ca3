//! OpenAPI v2 (Swagger): what `kubectl apply` reads merge directives from, in JSON and in the protobuf form of gnostic.

use serde_json::{Map, Value, json};

use super::names;
use crate::apiserver::builtin::definitions;
use crate::apiserver::json as wire;
use crate::apiserver::server::Pass;

/// The whole document. Paths are left out: clients of this form read definitions.
pub(super) fn document(pass: &Pass<'_>) -> Value {
    let mut schemas = Map::new();
    for resource in pass.state.resources.iter() {
        names::add(pass, resource, &mut schemas);
    }
    names::close(&mut schemas);
    let definitions: Map<String, Value> = schemas.into_iter().map(|(name, schema)| (name, downgrade(schema))).collect();
    json!({ "swagger": "2.0", "info": { "title": "Kubernetes", "version": "v1.36.2" }, "paths": {}, "definitions": definitions })
}

/// A v3 schema in terms of v2: references move, `allOf` around one reference goes, what v2 does not know goes.
fn downgrade(schema: Value) -> Value {
    let Value::Object(object) = schema else { return schema };
    let mut out = Map::new();
    for (key, value) in object {
        match key.as_str() {
            "$ref" => {
                let name =
                    value.as_str().and_then(|text| text.strip_prefix(definitions::REFERENCE)).unwrap_or_default();
                out.insert(key, json!(format!("#/definitions/{name}")));
            }
            "allOf" if value.as_array().is_some_and(|all| all.len() == 1 && all[0].get("$ref").is_some()) => {
                if let Value::Object(reference) = downgrade(value[0].clone()) {
                    out.extend(reference);
                }
            }
            "oneOf" | "anyOf" | "allOf" | "not" | "nullable" => {}
            "properties" => {
                let properties = value.as_object().cloned().unwrap_or_default();
                out.insert(
                    key,
                    properties
                        .into_iter()
                        .map(|(name, property)| (name, downgrade(property)))
                        .collect::<Map<_, _>>()
                        .into(),
                );
            }
            "items" | "additionalProperties" => {
                out.insert(key, downgrade(value));
            }
            _ => {
                out.insert(key, value);
            }
        }
    }
    if out.get("x-kubernetes-int-or-string").is_some() && !out.contains_key("type") {
        out.insert("type".into(), json!("string"));
        out.insert("format".into(), json!("int-or-string"));
    }
    out.into()
}

/// The document as `openapi.v2.Document`.
pub(super) fn protobuf(document: &Value) -> Vec<u8> {
    let mut info = Vec::new();
    text(&mut info, 1, &document["info"]["title"]);
    text(&mut info, 2, &document["info"]["version"]);
    let mut definitions = Vec::new();
    for (name, schema) in document["definitions"].as_object().into_iter().flatten() {
        bytes(&mut definitions, 1, &named(name, &self::schema(schema)));
    }
    let mut out = Vec::new();
    text(&mut out, 1, &document["swagger"]);
    bytes(&mut out, 2, &info);
    bytes(&mut out, 8, &[]);
    bytes(&mut out, 9, &definitions);
    out
}

/// `openapi.v2.Schema`.
fn schema(schema: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    let wrapped = |value: &[u8]| {
        let mut message = Vec::new();
        bytes(&mut message, 1, value);
        message
    };
    for (key, value) in schema.as_object().into_iter().flatten() {
        match key.as_str() {
            "$ref" => text(&mut out, 1, value),
            "format" => text(&mut out, 2, value),
            "title" => text(&mut out, 3, value),
            "description" => text(&mut out, 4, value),
            "default" => bytes(&mut out, 5, &any(value)),
            "pattern" => text(&mut out, 13, value),
            "required" => value.as_array().into_iter().flatten().for_each(|name| text(&mut out, 19, name)),
            "enum" => value.as_array().into_iter().flatten().for_each(|choice| bytes(&mut out, 20, &any(choice))),
            "additionalProperties" => match value {
                Value::Bool(_) => bytes(&mut out, 21, &[0x10, u8::from(*value == true)]),
                _ => bytes(&mut out, 21, &wrapped(&self::schema(value))),
            },
            "type" => bytes(&mut out, 22, &wrapped(value.as_str().unwrap_or_default().as_bytes())),
            "items" => bytes(&mut out, 23, &wrapped(&self::schema(value))),
            "properties" => {
                let mut properties = Vec::new();
                for (name, property) in value.as_object().into_iter().flatten() {
                    bytes(&mut properties, 1, &named(name, &self::schema(property)));
                }
                bytes(&mut out, 25, &properties);
            }
            extension if extension.starts_with("x-") => bytes(&mut out, 31, &named(extension, &any(value))),
            // Bounds: no client of this form reads them.
            _ => {}
        }
    }
    out
}

/// A name and a message: the map entries of gnostic.
fn named(name: &str, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    bytes(&mut out, 1, name.as_bytes());
    bytes(&mut out, 2, value);
    out
}

/// `openapi.v2.Any`: YAML text, of which JSON is a part.
fn any(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    bytes(&mut out, 2, format!("{}\n", wire::to_string(value)).as_bytes());
    out
}

fn text(out: &mut Vec<u8>, field: u64, value: &Value) {
    if let Some(value) = value.as_str() {
        bytes(out, field, value.as_bytes());
    }
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
