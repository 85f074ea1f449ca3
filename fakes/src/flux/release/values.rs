//! Values: references in list order, later ones win, `spec.values` on top.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::super::catalogue::digest;
use super::super::subject::Subject;

/// The merged values, or the text of the ValuesError. The text never holds content.
pub(super) async fn compose(subject: &Subject<'_>) -> Result<Value, String> {
    let mut whole = json!({});
    let references = subject.spec("/valuesFrom").and_then(Value::as_array).cloned().unwrap_or_default();
    for reference in &references {
        let text = |field: &str| reference[field].as_str().filter(|text| !text.is_empty());
        let (kind, name) = (text("kind").unwrap_or_default(), text("name").unwrap_or_default());
        let key = text("valuesKey").unwrap_or("values.yaml");
        let optional = reference["optional"] == true;
        let full = format!("{kind} '{}/{name}'", subject.namespace());
        let content = match content(subject, kind, name, key).await {
            Ok(content) => content,
            Err(_) if optional => continue,
            Err(Missing::Object) => return Err(format!("could not resolve {full}: not found")),
            Err(Missing::Key) => return Err(format!("could not resolve {full}: missing key '{key}'")),
        };
        if let Some(path) = text("targetPath") {
            let value = match reference["literal"] == true {
                true => Value::String(content),
                false => scalar(&content),
            };
            place(&mut whole, path, value).map_err(|()| format!("unable to merge {full} at path '{path}'"))?;
            continue;
        }
        let values: Value = match content.trim().is_empty() {
            true => json!({}),
            false => serde_yaml_ng::from_str(&content)
                .map_err(|_| format!("unable to read values from key '{key}' in {full}"))?,
        };
        match values {
            Value::Object(values) => merge(&mut whole, values),
            Value::Null => {}
            _ => return Err(format!("unable to read values from key '{key}' in {full}: not a map")),
        }
    }
    if let Some(Value::Object(values)) = subject.spec("/values") {
        merge(&mut whole, values.clone());
    }
    Ok(whole)
}

/// Digest of the values, independent of the order of their keys.
pub(super) fn digest_of(values: &Value) -> String {
    digest(&[&canonical(values)])
}

fn canonical(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort();
            let inner: Vec<String> = names
                .into_iter()
                .filter_map(|name| fields.get(name).map(|value| format!("{name:?}:{}", canonical(value))))
                .collect();
            format!("{{{}}}", inner.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        _ => value.to_string(),
    }
}

enum Missing {
    Object,
    Key,
}

async fn content(subject: &Subject<'_>, kind: &str, name: &str, key: &str) -> Result<String, Missing> {
    let plural = if kind == "Secret" { "secrets" } else { "configmaps" };
    let path = format!("/api/v1/namespaces/{}/{plural}/{name}", subject.namespace());
    let (code, object) = subject.hub.client.get(&path).await;
    if code != 200 {
        return Err(Missing::Object);
    }
    let text = object["data"].get(key).and_then(Value::as_str).ok_or(Missing::Key)?;
    if kind != "Secret" {
        return Ok(text.to_owned());
    }
    let bytes = STANDARD.decode(text).map_err(|_| Missing::Key)?;
    String::from_utf8(bytes).map_err(|_| Missing::Key)
}

fn merge(into: &mut Value, values: Map<String, Value>) {
    let Value::Object(fields) = into else { return };
    for (name, value) in values {
        match (fields.get_mut(&name), value) {
            (Some(old @ Value::Object(_)), Value::Object(new)) => merge(old, new),
            (_, value) => {
                fields.insert(name, value);
            }
        }
    }
}

/// A value as `helm --set` reads it.
fn scalar(text: &str) -> Value {
    match text.trim() {
        "true" => json!(true),
        "false" => json!(false),
        "null" => Value::Null,
        trimmed => trimmed.parse::<i64>().map_or_else(|_| json!(trimmed), |number| json!(number)),
    }
}

/// Sets one value at a dotted path; list indices are not modelled.
fn place(whole: &mut Value, path: &str, value: Value) -> Result<(), ()> {
    let mut at = whole;
    let steps: Vec<&str> = path.split('.').collect();
    let (last, parents) = steps.split_last().ok_or(())?;
    if path.contains('[') {
        return Err(());
    }
    for step in parents {
        let fields = at.as_object_mut().ok_or(())?;
        at = fields.entry((*step).to_owned()).or_insert_with(|| json!({}));
    }
    at.as_object_mut().ok_or(())?.insert((*last).to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_values_win_and_maps_merge() {
        let mut whole = json!({"a": {"x": 1, "y": [1, 2]}});
        let Value::Object(more) = json!({"a": {"y": [3], "z": null}, "b": true}) else { unreachable!("an object") };
        merge(&mut whole, more);
        assert_eq!(whole, json!({"a": {"x": 1, "y": [3], "z": null}, "b": true}));
    }

    #[test]
    fn a_path_sets_one_value() {
        let mut whole = json!({"a": 1});
        place(&mut whole, "db.password", scalar("7")).expect("the path is free");
        assert_eq!(whole, json!({"a": 1, "db": {"password": 7}}));
        assert!(place(&mut whole, "a.b", json!(1)).is_err());
    }

    #[test]
    fn the_digest_ignores_the_order_of_keys() {
        assert_eq!(digest_of(&json!({"a": 1, "b": 2})), digest_of(&json!({"b": 2, "a": 1})));
        assert_ne!(digest_of(&json!({"a": 1})), digest_of(&json!({"a": "1"})));
    }
}
