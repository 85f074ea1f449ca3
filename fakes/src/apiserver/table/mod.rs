//! `Table` and `PartialObjectMetadata` forms of objects and lists (M4, B19): what `kubectl get` and metadata-only informers ask for.

mod age;
mod cells;
mod columns;
mod jsonpath;
mod represent;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::builtin::definitions;
use super::resource::Resource;

pub(crate) use represent::Form;

/// `includeObject` of a Table request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Include {
    /// `PartialObjectMetadata`: the default.
    Metadata,
    /// The whole object.
    Object,
    /// Null.
    None,
}

impl Include {
    /// Reads the query parameter; unknown values are `None` of the outer option, which is a 400.
    pub(crate) fn parse(text: Option<&str>) -> Option<Include> {
        Some(match text {
            None | Some("Metadata") => Include::Metadata,
            Some("Object") => Include::Object,
            Some("None") => Include::None,
            Some(_) => return None,
        })
    }
}

/// A Table of objects, each with its `kind` and `apiVersion`. `metadata` is that of the list, or of the one object.
/// `heading` is false for later events of a watch, whose `columnDefinitions` are null (B19).
pub(crate) fn table<'a>(
    resource: &Resource,
    metadata: &Value,
    objects: impl Iterator<Item = &'a Value>,
    include: Include,
    heading: bool,
    now: Timestamp,
) -> Value {
    let printer = Printer::of(resource);
    let rows: Vec<Value> = objects
        .map(|object| {
            let shown = match include {
                Include::Metadata => partial(object),
                Include::Object => object.clone(),
                Include::None => Value::Null,
            };
            json!({ "cells": printer.cells(object, now), "object": shown })
        })
        .collect();
    // Only the fallback printer leaves the rows of an empty list null.
    let rows = if rows.is_empty() && matches!(printer, Printer::Fallback) { Value::Null } else { Value::Array(rows) };
    let columns = if heading { Value::Array(printer.columns()) } else { Value::Null };
    let mut shown = serde_json::Map::new();
    for key in ["resourceVersion", "continue", "remainingItemCount"] {
        if let Some(value) = metadata.get(key).filter(|value| *value != "") {
            shown.insert(key.to_owned(), value.clone());
        }
    }
    json!({ "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": shown, "columnDefinitions": columns, "rows": rows })
}

/// One object reduced to its metadata.
pub(crate) fn partial(object: &Value) -> Value {
    json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"] })
}

/// A list reduced to the metadata of its items.
pub(crate) fn partial_list<'a>(metadata: &Value, objects: impl Iterator<Item = &'a Value>) -> Value {
    let items: Vec<Value> = objects.map(partial).collect();
    let items = if items.is_empty() { Value::Null } else { Value::Array(items) };
    let mut shown = metadata.clone();
    if let Some(fields) = shown.as_object_mut() {
        fields.retain(|_, value| value != "");
    }
    json!({ "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": shown, "items": items })
}

/// How rows of one resource are made.
enum Printer<'a> {
    BuiltIn(&'static columns::Columns),
    Custom(&'a [Value]),
    /// Kinds without a printer: name and creation time.
    Fallback,
}

impl<'a> Printer<'a> {
    fn of(resource: &'a Resource) -> Printer<'a> {
        if let Some(custom) = &resource.custom {
            return Printer::Custom(&custom.columns);
        }
        columns::of(&resource.group, &resource.plural).map_or(Printer::Fallback, Printer::BuiltIn)
    }

    fn columns(&self) -> Vec<Value> {
        let meta = |field| definitions::description(definitions::OBJECT_META, &[field]);
        let name =
            json!({ "name": "Name", "type": "string", "format": "name", "description": meta("name"), "priority": 0 });
        let age = |name: &str, kind: &str| json!({ "name": name, "type": kind, "format": "", "description": meta("creationTimestamp"), "priority": 0 });
        match self {
            Printer::BuiltIn(columns) => columns
                .list
                .iter()
                .map(|column| match column.name {
                    "Name" => json!({ "name": "Name", "type": "string", "format": "name", "description": meta("name"), "priority": column.priority }),
                    "Age" => age("Age", "string"),
                    _ => json!({ "name": column.name, "type": column.kind, "format": "", "description": column.description(), "priority": column.priority }),
                })
                .collect(),
            Printer::Custom([]) => vec![name, age("Age", "date")],
            Printer::Custom(columns) => {
                let shown = columns.iter().map(|column| {
                    let description = column.get("description").and_then(Value::as_str).filter(|text| !text.is_empty());
                    let path = column["jsonPath"].as_str().unwrap_or_default();
                    let description = description.map_or_else(|| format!("Custom resource definition column (in JSONPath format): {path}"), str::to_owned);
                    json!({
                        "name": column["name"], "type": column["type"], "format": column.get("format").and_then(Value::as_str).unwrap_or_default(),
                        "description": description, "priority": column.get("priority").and_then(Value::as_i64).unwrap_or_default(),
                    })
                });
                std::iter::once(name).chain(shown).collect()
            }
            Printer::Fallback => vec![name, age("Created At", "date")],
        }
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let created = &object["metadata"]["creationTimestamp"];
        match self {
            Printer::BuiltIn(columns) => (columns.cells)(object, now),
            Printer::Custom([]) => vec![object["metadata"]["name"].clone(), age::human(created, now).into()],
            Printer::Custom(columns) => {
                let cells = columns.iter().map(|column| custom_cell(column, object, now));
                std::iter::once(object["metadata"]["name"].clone()).chain(cells).collect()
            }
            Printer::Fallback => vec![object["metadata"]["name"].clone(), created.clone()],
        }
    }
}

/// One cell of an `additionalPrinterColumns` entry: the first value at the path, if it has the declared type.
fn custom_cell(column: &Value, object: &Value, now: Timestamp) -> Value {
    let path = column["jsonPath"].as_str().unwrap_or_default();
    let Some(value) = jsonpath::find(path, object).into_iter().next() else { return Value::Null };
    match (column["type"].as_str().unwrap_or_default(), value) {
        (_, Value::Null) => Value::Null,
        ("string", Value::String(text)) => text.clone().into(),
        ("string", other) => super::json::to_string(other).into(),
        ("integer", Value::Number(number)) => {
            number.as_i64().or_else(|| number.as_f64().map(|float| float as i64)).into()
        }
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
        ("date", Value::String(_)) => age::human(value, now).into(),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::resource::Custom;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn custom(columns: Value) -> Resource {
        let columns = columns.as_array().cloned().unwrap_or_default();
        let custom = Custom {
            storage_version: "v1".into(),
            columns,
            schema_revision: 0,
            schemas: Default::default(),
            deprecation: None,
            terminating: false,
        };
        Resource { custom: Some(custom), ..Resource::builtin("ex.io", "v1", "Widget", "widgets", &[]) }
    }

    /// M4: columns, priorities, dates as ages, and the three forms of `object`.
    #[test]
    fn conf_m4() {
        let resource = custom(json!([
            {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
            {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status", "description": "is it", "priority": 1},
            {"name": "Wrong", "type": "boolean", "jsonPath": ".spec.text"},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        ]));
        let object = json!({"apiVersion": "ex.io/v1", "kind": "Widget", "metadata": {"name": "w", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"size": 3.0, "text": "x"}, "status": {"conditions": [{"type": "A", "status": "no"}, {"type": "Ready", "status": "True"}]}});
        let now = at("2026-01-01T00:05:07Z");
        let table = table(
            &resource,
            &json!({"resourceVersion": "7", "continue": ""}),
            [&object].into_iter(),
            Include::Metadata,
            true,
            now,
        );
        assert_eq!(table["metadata"], json!({"resourceVersion": "7"}));
        assert_eq!(table["rows"][0]["cells"], json!(["w", 3, "True", null, "5m7s"]));
        assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
        assert_eq!(table["rows"][0]["object"]["metadata"]["name"], "w");
        let columns = table["columnDefinitions"].as_array().expect("columns");
        assert_eq!(columns[1]["description"], "Custom resource definition column (in JSONPath format): .spec.size");
        assert_eq!((&columns[2]["description"], &columns[2]["priority"]), (&json!("is it"), &json!(1)));

        let none = super::table(&resource, &json!({}), [&object].into_iter(), Include::None, true, now);
        assert_eq!(none["rows"][0]["object"], Value::Null);
        let whole = super::table(&resource, &json!({}), [&object].into_iter(), Include::Object, true, now);
        assert_eq!(whole["rows"][0]["object"], object);
        assert_eq!(Include::parse(Some("Everything")), None);
        assert_eq!(partial_list(&json!({}), [&object].into_iter())["items"][0]["metadata"]["name"], "w");
    }

    /// B19: column definitions only where the caller asks for a heading; empty lists have rows `[]`, but null without a printer.
    #[test]
    fn conf_b19() {
        let config_maps = Resource::builtin("", "v1", "ConfigMap", "configmaps", &["cm"]);
        let object = json!({"metadata": {"name": "c", "creationTimestamp": "2026-01-01T00:00:00Z"}, "data": {"a": "1"}, "binaryData": {"b": ""}});
        let now = at("2026-01-01T00:00:09Z");
        let later = table(&config_maps, &json!({}), [&object].into_iter(), Include::Metadata, false, now);
        assert_eq!(later["columnDefinitions"], Value::Null);
        assert_eq!(later["rows"][0]["cells"], json!(["c", 2, "9s"]));
        assert_eq!(table(&config_maps, &json!({}), [].into_iter(), Include::Metadata, true, now)["rows"], json!([]));
        let roles = Resource::builtin("rbac.authorization.k8s.io", "v1", "Role", "roles", &[]);
        assert_eq!(table(&roles, &json!({}), [].into_iter(), Include::Metadata, true, now)["rows"], Value::Null);
        assert_eq!(
            table(&custom(json!([])), &json!({}), [].into_iter(), Include::Metadata, true, now)["rows"],
            json!([])
        );
    }
}
