//! What makes a schema structural, checked on the document itself so that errors name its parts (apiserver.md N2).

use serde_json::{Map, Value, json};

use super::cause;
use crate::apiserver::errors::Cause;

/// Where in the object the schema being looked at applies.
#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Field,
    Item,
}

/// Every way in which `schema` is not structural, with paths below `path`.
pub fn check(schema: &Value, path: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    invariants(schema, Level::Root, path, &mut causes);
    if causes.is_empty() {
        complete(schema, schema, path, path, &mut causes);
    }
    causes
}

fn text<'a>(schema: &'a Value, key: &str) -> &'a str {
    schema.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn flag(schema: &Value, key: &str) -> bool {
    schema.get(key).and_then(Value::as_bool).unwrap_or(false)
}

fn fields<'a>(schema: &'a Value, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    let empty = schema.get(key).and_then(Value::as_object);
    empty.into_iter().flat_map(Map::iter)
}

fn list<'a>(schema: &'a Value, key: &str) -> impl Iterator<Item = (usize, &'a Value)> {
    schema.get(key).and_then(Value::as_array).into_iter().flatten().enumerate()
}

/// `Required` where the type is missing, `Invalid` where it is another.
fn wrong_type(kind: &str, path: &str, complaint: &str) -> Cause {
    let field = format!("{path}.type");
    if kind.is_empty() { cause::required(field, complaint) } else { cause::invalid(field, &json!(kind), complaint) }
}

fn invariants(schema: &Value, level: Level, path: &str, causes: &mut Vec<Cause>) {
    let kind = text(schema, "type");
    let items = schema.get("items").filter(|items| items.is_object());
    if kind == "array" && items.is_none() {
        causes.push(cause::required(format!("{path}.items"), "must be specified"));
    }
    if let Some(items) = items {
        invariants(items, Level::Item, &format!("{path}.items"), causes);
    }
    for (name, field) in fields(schema, "properties") {
        invariants(field, Level::Field, &format!("{path}.properties[{name}]"), causes);
    }
    if let Some(additional) = schema.get("additionalProperties").filter(|value| !value.is_null()) {
        if level == Level::Root {
            causes.push(cause::forbidden(format!("{path}.additionalProperties"), "must not be used at the root"));
        }
        if additional.is_object() {
            invariants(additional, Level::Field, &format!("{path}.additionalProperties"), causes);
        }
    }
    extensions(schema, items, path, causes);
    let int_or_string = flag(schema, "x-kubernetes-int-or-string");
    let skip_any_of = int_or_string && is_int_or_string(schema);
    let skip_in_all_of =
        int_or_string && list(schema, "allOf").next().is_some_and(|(_, first)| is_int_or_string(first));
    combinations(schema, skip_any_of, skip_in_all_of, path, causes);

    let embedded = flag(schema, "x-kubernetes-embedded-resource");
    let preserve = flag(schema, "x-kubernetes-preserve-unknown-fields");
    if embedded && kind != "object" {
        causes.push(wrong_type(kind, path, "must be object if x-kubernetes-embedded-resource is true"));
    } else if kind.is_empty() && !int_or_string && !preserve {
        let complaint = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        causes.push(cause::required(format!("{path}.type"), complaint));
    }
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        causes.push(cause::invalid(format!("{path}.type"), &json!(kind), "must be object at the root"));
    }
    if embedded && schema.get("additionalProperties").is_some_and(|value| !value.is_null()) {
        let complaint = "must not be used if x-kubernetes-embedded-resource is set";
        causes.push(cause::forbidden(format!("{path}.additionalProperties"), complaint));
    }
    if embedded && !preserve && fields(schema, "properties").next().is_none() {
        let complaint =
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        causes.push(cause::required(format!("{path}.properties"), complaint));
    }
    if level == Level::Root || embedded {
        resource_fields(schema, path, causes);
    }
}

/// `apiVersion`, `kind` and `metadata` of a resource may be mentioned, not reshaped.
fn resource_fields(schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    for (name, field) in fields(schema, "properties") {
        let path = format!("{path}.properties[{name}]");
        match name.as_str() {
            "apiVersion" | "kind" if text(field, "type") != "string" => {
                causes.push(cause::invalid(format!("{path}.type"), &json!(text(field, "type")), "must be string"));
            }
            "metadata" => {
                if text(field, "type") != "object" {
                    causes.push(cause::invalid(format!("{path}.type"), &json!(text(field, "type")), "must be object"));
                }
                let restricts = fields(field, "properties").any(|(name, _)| name != "name" && name != "generateName")
                    || field.as_object().is_some_and(|map| {
                        map.keys().any(|key| !["type", "properties", "default"].contains(&key.as_str()))
                    });
                if restricts {
                    let complaint = "must not specify anything other than name and generateName, but metadata is implicitly specified";
                    causes.push(cause::forbidden(path, complaint));
                }
            }
            _ => {}
        }
    }
}

fn extensions(schema: &Value, items: Option<&Value>, path: &str, causes: &mut Vec<Cause>) {
    if flag(schema, "x-kubernetes-int-or-string") {
        for key in ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"] {
            if flag(schema, key) {
                let complaint = "must be false if x-kubernetes-int-or-string is true";
                causes.push(cause::invalid(format!("{path}.{key}"), &json!(true), complaint));
            }
        }
    }
    if text(schema, "x-kubernetes-list-type") == "set"
        && let Some(items) = items
    {
        let key = match text(items, "type") {
            "object" => "x-kubernetes-map-type",
            "array" => "x-kubernetes-list-type",
            _ => return,
        };
        if text(items, key) != "atomic" {
            let complaint = "must be atomic as item of a list with x-kubernetes-list-type=set";
            let value = items.get(key).unwrap_or(&Value::Null);
            causes.push(cause::invalid(format!("{path}.items.{key}"), value, complaint));
        }
    }
}

/// `anyOf: [{type: integer}, {type: string}]`, the one place where nested types are allowed.
fn is_int_or_string(schema: &Value) -> bool {
    let types: Vec<Value> = list(schema, "anyOf").map(|(_, value)| value.clone()).collect();
    types == [json!({"type": "integer"}), json!({"type": "string"})]
}

fn combinations(schema: &Value, skip_any_of: bool, skip_in_all_of: bool, path: &str, causes: &mut Vec<Cause>) {
    for key in ["anyOf", "allOf", "oneOf"] {
        if key == "anyOf" && skip_any_of {
            continue;
        }
        for (index, value) in list(schema, key) {
            let skip = key == "allOf" && index == 0 && skip_in_all_of;
            nested(value, skip, &format!("{path}.{key}[{index}]"), causes);
        }
    }
    if let Some(value) = schema.get("not").filter(|value| value.is_object()) {
        nested(value, false, &format!("{path}.not"), causes);
    }
    let pattern = text(schema, "pattern");
    if let Err(error) = regex::Regex::new(pattern) {
        let complaint = format!("must be a valid regular expression, but isn't: {error}");
        causes.push(cause::invalid(format!("{path}.pattern"), &json!(pattern), &complaint));
    }
}

/// Inside a combination only value validations may appear.
fn nested(schema: &Value, skip_any_of: bool, path: &str, causes: &mut Vec<Cause>) {
    combinations(schema, skip_any_of, false, path, causes);
    if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
        nested(items, false, &format!("{path}.items"), causes);
    }
    for (name, field) in fields(schema, "properties") {
        nested(field, false, &format!("{path}.properties[{name}]"), causes);
        if name == "metadata" {
            let complaint = "must not be specified in a nested context";
            causes.push(cause::forbidden(format!("{path}.properties[metadata]"), complaint));
        }
    }
    for (keys, complaint) in [
        (&["type", "title", "description", "x-kubernetes-list-map-keys"][..], "must be empty to be structural"),
        (
            &["additionalProperties", "default", "x-kubernetes-list-type", "x-kubernetes-map-type"],
            "must be undefined to be structural",
        ),
        (
            &[
                "nullable",
                "x-kubernetes-preserve-unknown-fields",
                "x-kubernetes-embedded-resource",
                "x-kubernetes-int-or-string",
            ],
            "must be false to be structural",
        ),
    ] {
        for key in keys {
            let unset = match schema.get(*key) {
                None | Some(Value::Null | Value::Bool(false)) => true,
                Some(Value::String(text)) => text.is_empty(),
                Some(Value::Array(list)) => list.is_empty(),
                Some(_) => false,
            };
            if !unset {
                causes.push(cause::forbidden(format!("{path}.{key}"), complaint));
            }
        }
    }
}

/// Fields that combinations speak of must be declared outside them.
fn complete(schema: &Value, outer: &Value, outer_path: &str, path: &str, causes: &mut Vec<Cause>) {
    for key in ["allOf", "anyOf", "oneOf"] {
        for (index, value) in list(schema, key) {
            inner_complete(value, outer, outer_path, &format!("{path}.{key}[{index}]"), causes);
        }
    }
    if let Some(value) = schema.get("not").filter(|value| value.is_object()) {
        inner_complete(value, outer, outer_path, &format!("{path}.not"), causes);
    }
    if !std::ptr::eq(schema, outer) {
        return;
    }
    for (name, field) in fields(schema, "properties") {
        let path = format!("{path}.properties[{name}]");
        complete(field, field, &path, &path, causes);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(value) = schema.get(key).filter(|value| value.is_object()) {
            let path = format!("{path}.{key}");
            complete(value, value, &path, &path, causes);
        }
    }
}

fn inner_complete(nested: &Value, outer: &Value, outer_path: &str, path: &str, causes: &mut Vec<Cause>) {
    complete(nested, outer, outer_path, path, causes);
    let mut descend = |inner: &Value, outer: Option<&Value>, step: &str| {
        let (outer_path, path) = (format!("{outer_path}.{step}"), format!("{path}.{step}"));
        match outer {
            Some(outer) => inner_complete(inner, outer, &outer_path, &path, causes),
            None => causes.push(cause::required(outer_path, &format!("because it is defined in {path}"))),
        }
    };
    if let Some(items) = nested.get("items").filter(|items| items.is_object()) {
        descend(items, outer.get("items"), "items");
    }
    for (name, field) in fields(nested, "properties") {
        let outer = outer.get("properties").and_then(|fields| fields.get(name));
        descend(field, outer, &format!("properties[{name}]"));
    }
}
