//! conf_d*: the checklist of apiserver.md D, as far as it needs no server.

mod merging;
mod owners;
mod properties;

use super::*;
use crate::apiserver::schema::Node;
use serde_json::json;

/// A store of one object: what the REST layer does around the two doors, reduced to status and the no-op rule.
struct Store {
    node: Node,
    object: Option<Value>,
    now: i64,
    writes: u32,
}

const MANAGERS: [&str; 3] = ["m1", "m2", "m3"];

impl Store {
    fn new() -> Store {
        let node = Node::from_openapi(&json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "size": {"type": "integer"}, "mode": {"type": "string", "default": "A"},
                "adef": {"type": "array", "items": {"type": "string"}},
                "set": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
                "mp": {"type": "object", "additionalProperties": {"type": "string"}},
                "amp": {"type": "object", "additionalProperties": {"type": "string"}, "x-kubernetes-map-type": "atomic"},
                "lst": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name", "proto"],
                    "items": {"type": "object", "properties": {"name": {"type": "string"}, "v": {"type": "integer"},
                        "proto": {"type": "string", "default": "TCP"}}}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}},
            "status": {"type": "object", "properties": {"phase": {"type": "string"}}}}}));
        Store { node, object: None, now: 0, writes: 0 }
    }

    fn target<'a>(&'a self, subresource: &'a str) -> Target<'a> {
        Target {
            api_version: "ex.io/v1",
            kind: "Widget",
            schema: &self.node,
            other_versions: &[],
            subresource,
            reset: if subresource.is_empty() { Reset::Fields(&[&["status"]]) } else { Reset::AllBut(&["status"]) },
        }
    }

    fn at(&self) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + self.now).unwrap()
    }

    fn commit(&mut self, mut new: Value, subresource: &str) {
        let live = self.object.clone().unwrap_or_else(|| json!({}));
        let kept = if subresource.is_empty() { "status" } else { "spec" };
        match live.get(kept) {
            Some(value) => new[kept] = value.clone(),
            None => drop(new.as_object_mut().unwrap().remove(kept)),
        }
        new["metadata"]["uid"] = json!("u");
        if let Some(stored) = &self.object {
            keep_times(&mut new, stored);
        }
        self.writes += u32::from(self.object.as_ref() != Some(&new));
        self.object = Some(new);
    }

    fn apply_as(&mut self, manager: &str, subresource: &str, body: &Value, force: bool) -> Result<(), ApplyError> {
        let request = ApplyRequest { manager, force, now: self.at(), target: self.target(subresource) };
        let new = apply(self.object.as_ref(), body, &request)?;
        self.commit(new, subresource);
        Ok(())
    }

    fn apply(&mut self, manager: &str, spec: Value) -> Result<(), ApplyError> {
        self.apply_as(manager, "", &widget(spec), false)
    }

    fn force(&mut self, manager: &str, spec: Value) {
        self.apply_as(manager, "", &widget(spec), true).unwrap();
    }

    fn update(&mut self, manager: &str, spec: Value) {
        let mut new = self.object.clone().unwrap_or_else(|| widget(json!({})));
        new["spec"] = spec;
        self.write(manager, "", new);
    }

    fn write(&mut self, manager: &str, subresource: &str, mut new: Value) {
        let request = UpdateRequest { manager, now: self.at(), target: self.target(subresource) };
        track_update(self.object.as_ref(), &mut new, &request);
        self.commit(new, subresource);
    }

    fn spec(&self) -> Value {
        self.object.as_ref().unwrap().get("spec").cloned().unwrap_or(Value::Null)
    }

    fn entries(&self) -> Vec<Value> {
        let object = self.object.as_ref().unwrap();
        object.pointer("/metadata/managedFields").and_then(Value::as_array).cloned().unwrap_or_default()
    }

    /// manager, operation initial, subresource, second or -1, fieldsV1.
    fn record(&self) -> Vec<(String, String, i64, Value)> {
        let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        self.entries()
            .iter()
            .map(|entry| {
                let time = entry
                    .get("time")
                    .and_then(Value::as_str)
                    .map_or(-1, |time| time.parse::<Timestamp>().unwrap().as_second() - 1_700_000_000);
                let kind = format!("{}{}", &text(entry, "operation")[..1], text(entry, "subresource"));
                (text(entry, "manager"), kind, time, entry["fieldsV1"].clone())
            })
            .collect()
    }

    fn owned(&self, manager: &str) -> Value {
        self.record().into_iter().find(|entry| entry.0 == manager).map_or(Value::Null, |entry| entry.3)
    }
}

fn widget(spec: Value) -> Value {
    let mut object = json!({"apiVersion": "ex.io/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": "n"}});
    if !spec.is_null() {
        object["spec"] = spec;
    }
    object
}

fn message(result: Result<(), ApplyError>) -> String {
    result.unwrap_err().to_string()
}
