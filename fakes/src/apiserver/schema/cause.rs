//! The field errors of the schema code, worded as the server words them.

use serde_json::Value;

use super::go;
use crate::apiserver::errors::Cause;

/// `Invalid value: v: detail`.
pub fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> Cause {
    Cause::new("FieldValueInvalid", field, with_value("Invalid value", value, detail))
}

/// `Invalid value: detail`: for objects and lists, whose content the server leaves out.
pub fn invalid_omitted(field: impl Into<String>, detail: &str) -> Cause {
    Cause::new("FieldValueInvalid", field, format!("Invalid value: {detail}"))
}

/// `Invalid value: v: detail` with a text already printed.
pub fn invalid_text(field: impl Into<String>, printed: &str, detail: &str) -> Cause {
    Cause::new("FieldValueInvalid", field, format!("Invalid value: {printed}: {detail}"))
}

/// A value of the wrong type; `found` names what came instead.
pub fn type_invalid(field: impl Into<String>, found: &Value, detail: &str) -> Cause {
    Cause::new("FieldValueTypeInvalid", field, with_value("Invalid value", found, detail))
}

/// `Required value` or `Required value: detail`.
pub fn required(field: impl Into<String>, detail: &str) -> Cause {
    Cause::new("FieldValueRequired", field, bare("Required value", detail))
}

/// `Forbidden: detail`.
pub fn forbidden(field: impl Into<String>, detail: &str) -> Cause {
    Cause::new("FieldValueForbidden", field, bare("Forbidden", detail))
}

/// `Duplicate value: v`.
pub fn duplicate(field: impl Into<String>, value: &Value) -> Cause {
    Cause::new("FieldValueDuplicate", field, with_value("Duplicate value", value, ""))
}

/// `Unsupported value: v: supported values: "a", "b"`.
pub fn not_supported<'a>(
    field: impl Into<String>,
    value: &Value,
    supported: impl IntoIterator<Item = &'a str>,
) -> Cause {
    let names: Vec<String> = supported.into_iter().map(go::quote).collect();
    let detail = if names.is_empty() { String::new() } else { format!("supported values: {}", names.join(", ")) };
    Cause::new("FieldValueNotSupported", field, with_value("Unsupported value", value, &detail))
}

/// `Too long: may not be more than n bytes`.
pub fn too_long(field: impl Into<String>, limit: i64) -> Cause {
    Cause::new("FieldValueTooLong", field, format!("Too long: may not be more than {limit} bytes"))
}

/// `Too many: n: must have at most m items`.
pub fn too_many(field: impl Into<String>, actual: usize, limit: i64) -> Cause {
    let noun = if limit == 1 { "item" } else { "items" };
    Cause::new("FieldValueTooMany", field, format!("Too many: {actual}: must have at most {limit} {noun}"))
}

fn bare(kind: &str, detail: &str) -> String {
    if detail.is_empty() { kind.to_owned() } else { format!("{kind}: {detail}") }
}

fn with_value(kind: &str, value: &Value, detail: &str) -> String {
    let printed = match value {
        Value::String(text) => go::quote(text),
        Value::Number(number) => go::number(number),
        other => go::json(other),
    };
    bare(&format!("{kind}: {printed}"), detail)
}
