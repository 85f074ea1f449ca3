//! Objects for a schema.

use proptest::prelude::*;
use serde_json::{Value, json};

/// Objects of a schema, also such as the schema would refuse; `texts` are worth trying as strings.
pub(super) fn objects(schema: &Value, texts: &[String], levels: usize) -> BoxedStrategy<Value> {
    let choices = |values: Vec<Value>| proptest::sample::select(values).boxed();
    let inner = |schema: &Value| objects(schema, texts, levels.saturating_sub(1));
    if let Some(values) = schema["enum"].as_array().filter(|values| !values.is_empty()) {
        return choices(values.clone());
    }
    let text = || {
        let mut all: Vec<Value> = texts.iter().map(|text| json!(text)).collect();
        all.extend(["", "a", "b", "a-b", "10Mi", "https://a.b/c", "1.2.3"].map(Value::from));
        choices(all)
    };
    if schema["x-kubernetes-int-or-string"] == json!(true) {
        return prop_oneof![text(), (0..4_i64).prop_map(Value::from)].boxed();
    }
    match schema["type"].as_str() {
        Some("object") if levels > 0 => {
            if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
                let keys = "[a-c]{1,2}";
                return proptest::collection::btree_map(keys, inner(values), 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect()))
                    .boxed();
            }
            let fields = schema["properties"].as_object().into_iter().flatten();
            let fields: Vec<_> = fields
                .map(|(name, schema)| {
                    let name = name.clone();
                    proptest::option::weighted(0.6, inner(schema)).prop_map(move |value| (name.clone(), value))
                })
                .collect();
            fields
                .prop_map(|fields| {
                    Value::Object(fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
                })
                .boxed()
        }
        Some("object") => choices(vec![json!({})]),
        Some("array") => {
            let size = if levels > 0 { 0..4 } else { 0..1 };
            proptest::collection::vec(inner(&schema["items"]), size).prop_map(Value::Array).boxed()
        }
        Some("integer") => {
            let bounds = ["minimum", "maximum"].map(|bound| schema[bound].as_i64()).into_iter().flatten();
            choices((-1..4).chain(bounds).chain([80, 443, i64::MAX]).map(Value::from).collect())
        }
        Some("number") => choices([0.0, 0.5, 1.0, 2.0, -1.5].map(Value::from).to_vec()),
        Some("boolean") => any::<bool>().prop_map(Value::from).boxed(),
        Some("string") => match schema["format"].as_str() {
            Some("date-time") => choices(vec![json!("2031-01-02T03:04:05Z"), json!("2031-01-02T03:04:06.5Z")]),
            Some("date") => choices(vec![json!("2031-01-02")]),
            Some("duration") => choices(vec![json!("1h"), json!("90s"), json!("0s"), json!("1.5s")]),
            Some("byte") => choices(vec![json!("aGk="), json!("")]),
            _ => text(),
        },
        _ => choices(vec![json!(1), json!("a"), json!(true), json!({ "a": 1 })]),
    }
}
