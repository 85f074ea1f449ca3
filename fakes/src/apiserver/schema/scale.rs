//! The numbers that `/scale` reads, checked with every write of the object (apiserver.md F14).

use serde_json::{Number, Value, json};

use super::cause;
use super::go;
use crate::apiserver::errors::Cause;

/// Where the replicas are, as the definition writes it: `.spec.replicas`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalePaths {
    /// Wanted number.
    pub spec: String,
    /// Observed number.
    pub status: String,
    /// Label selector in text form.
    pub selector: Option<String>,
}

/// Largest number of replicas.
const LARGEST: i64 = i32::MAX as i64;

impl ScalePaths {
    /// Checks both numbers.
    pub fn check(&self, object: &Value, causes: &mut Vec<Cause>) {
        replicas(&self.spec, object, causes);
        replicas(&self.status, object, causes);
    }

    /// Checks the observed number and the selector.
    pub fn check_status(&self, object: &Value, causes: &mut Vec<Cause>) {
        replicas(&self.status, object, causes);
        if let Some(path) = self.selector.as_deref().filter(|path| !path.is_empty())
            && let Some(value) = find(path, object).filter(|value| !value.is_string())
        {
            causes.push(mistyped(path, value, "string", &json!("")));
        }
    }
}

fn replicas(path: &str, object: &Value, causes: &mut Vec<Cause>) {
    match find(path, object) {
        None => {}
        Some(Value::Number(number)) if number.is_i64() => {
            let count = number.as_i64().unwrap_or_default();
            if count < 0 {
                causes.push(cause::invalid(path, &json!(count), "should be a non-negative integer"));
            } else if count > LARGEST {
                let complaint = format!("should be less than or equal to {LARGEST}");
                causes.push(cause::invalid(path, &json!(count), &complaint));
            }
        }
        Some(other) => causes.push(mistyped(path, other, "int64", &json!(0))),
    }
}

fn mistyped(path: &str, found: &Value, wanted: &str, zero: &Value) -> Cause {
    let (shown, kind) = match found {
        Value::Null => ("<nil>".to_owned(), "<nil>"),
        Value::Bool(flag) => (flag.to_string(), "bool"),
        Value::Number(number) if number.is_i64() => (number.to_string(), "int64"),
        Value::Number(number) => (go::number(number), "float64"),
        Value::String(text) => (text.clone(), "string"),
        Value::Array(_) => (printed(found), "[]interface {}"),
        Value::Object(_) => (printed(found), "map[string]interface {}"),
    };
    cause::invalid(path, zero, &format!("{path} accessor error: {shown} is of the type {kind}, expected {wanted}"))
}

/// A value as `%v` prints it.
fn printed(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(printed).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            let entries: Vec<String> = keys.into_iter().map(|key| format!("{key}:{}", printed(&map[key]))).collect();
            format!("map[{}]", entries.join(" "))
        }
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".to_owned(),
        Value::Number(number) => go::number(number),
        Value::Bool(flag) => flag.to_string(),
    }
}

/// The value at a dotted path.
pub fn find<'a>(path: &str, object: &'a Value) -> Option<&'a Value> {
    path.trim_start_matches('.').split('.').try_fold(object, |value, key| value.as_object()?.get(key))
}

/// A number of replicas as a scale object shows it; 0 where there is none.
pub fn count(path: &str, object: &Value) -> Number {
    match find(path, object) {
        Some(Value::Number(number)) if number.is_i64() => number.clone(),
        _ => Number::from(0),
    }
}
