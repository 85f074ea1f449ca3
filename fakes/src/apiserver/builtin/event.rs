//! Events: core/v1 and events.k8s.io/v1 are two forms of one stored object (K7). Stored in the core form.

use serde_json::{Map, Value};

use crate::apiserver::errors::Cause;

/// Field selectors of core events.
pub(super) const CORE_FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

/// The fields that differ: (core, events.k8s.io).
const RENAMED: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// The same event in the other version's form; events.k8s.io has no empty `deprecatedSource` and so on.
pub(crate) fn convert(event: &Value, to_core: bool) -> Value {
    let Value::Object(fields) = event else { return event.clone() };
    let converted = fields.iter().map(|(key, value)| {
        let pair = RENAMED.iter().find(|(core, new)| key == if to_core { new } else { core });
        let key = pair.map_or(key.as_str(), |(core, new)| if to_core { core } else { new });
        (key.to_owned(), value.clone())
    });
    let mut converted: Map<String, Value> = converted.collect();
    converted.insert("apiVersion".to_owned(), if to_core { "v1" } else { "events.k8s.io/v1" }.into());
    Value::Object(converted)
}

/// Go's empty structs and pointers as the core form shows them.
pub(super) fn prepare(new: &mut Value, _old: Option<&Value>) {
    for (field, empty) in [
        ("involvedObject", Value::Object(Map::new())),
        ("source", Value::Object(Map::new())),
        ("reportingComponent", "".into()),
        ("reportingInstance", "".into()),
    ] {
        if new[field].is_null() {
            new[field] = empty;
        }
    }
    for field in ["firstTimestamp", "lastTimestamp", "eventTime"] {
        if new.get(field).is_none() {
            new[field] = Value::Null;
        }
    }
}

/// Rules of the core form (K7).
pub(super) fn validate(new: &Value, _old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let namespace = new["metadata"]["namespace"].as_str().unwrap_or_default();
    let about = new["involvedObject"]["namespace"].as_str().unwrap_or_default();
    if about != namespace && !(about.is_empty() && namespace == "default") {
        causes.push(Cause::invalid("involvedObject.namespace", &about.into(), "does not match event.namespace"));
    }
    causes
}

/// Rules of the events.k8s.io form: those of core, and more on creation.
pub(super) fn validate_new(new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let core = convert(new, true);
    let mut causes = if old.is_none() { strict(&core) } else { Vec::new() };
    if causes.is_empty() {
        causes = validate(&core, None);
    }
    causes
}

/// The rules of events.k8s.io on creation.
fn strict(event: &Value) -> Vec<Cause> {
    let empty = |field: &str| event[field].as_str().is_none_or(str::is_empty);
    if empty("eventTime") {
        return vec![Cause::required("eventTime", "")];
    }
    let mut causes = Vec::new();
    if empty("reportingComponent") {
        causes.push(Cause::required("reportingController", ""));
    }
    for field in ["reportingInstance", "action", "reason"] {
        if empty(field) {
            causes.push(Cause::required(field, ""));
        }
    }
    if event["message"].as_str().is_some_and(|note| note.len() > 1024) {
        causes.push(Cause::invalid("message", &"".into(), "can have at most 1024 characters"));
    }
    let kind = &event["type"];
    if !matches!(kind.as_str(), Some("Normal" | "Warning")) {
        causes.push(Cause::invalid("type", &kind.as_str().unwrap_or_default().into(), "has invalid value: "));
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// K7: one object in two forms; the namespace must match; the newer group asks for more.
    #[test]
    fn conf_k7() {
        let new = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e", "namespace": "n"}, "eventTime": "2024-01-01T00:00:00.000000Z",
            "regarding": {"namespace": "n"}, "note": "hello", "reportingController": "c", "reportingInstance": "i", "action": "a", "reason": "r", "type": "Normal"});
        let core = convert(&new, true);
        assert_eq!(
            (&core["message"], &core["involvedObject"], &core["reportingComponent"]),
            (&json!("hello"), &json!({"namespace": "n"}), &json!("c"))
        );
        assert_eq!(convert(&core, false), new);
        assert_eq!(validate(&core, None), []);
        assert_eq!(strict(&json!({}))[0].field, "eventTime");
        let wrong = json!({"metadata": {"namespace": "n"}, "involvedObject": {"namespace": "other"}});
        assert_eq!(validate(&wrong, None)[0].message, "Invalid value: \"other\": does not match event.namespace");
    }
}
