//! conf_d*: the checklist of apiserver.md D, as far as it needs no server.

use super::*;
use crate::apiserver::schema::Node;
use proptest::prelude::*;
use serde_json::{Map, json};

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

#[test]
fn conf_d1_apply_creates_and_owns_leaves_only() {
    let mut store = Store::new();
    store
        .apply(
            "m1",
            json!({"size": 1, "mp": {"a": "1"}, "lst": [{"name": "x"}], "set": ["s"], "free": {"q": {"r": 1}}}),
        )
        .unwrap();
    assert_eq!(
        store.owned("m1"),
        json!({"f:spec": {"f:size": {}, "f:mp": {"f:a": {}}, "f:set": {"v:\"s\"": {}},
            "f:free": {"f:q": {".": {}, "f:r": {}}},
            "f:lst": {"k:{\"name\":\"x\",\"proto\":\"TCP\"}": {".": {}, "f:name": {}}}}})
    );
}

#[test]
fn conf_d2_the_same_apply_again_writes_nothing() {
    let mut store = Store::new();
    store.apply("m1", json!({"size": 1})).unwrap();
    store.now = 60;
    store.apply("m1", json!({"size": 1})).unwrap();
    assert_eq!((store.writes, store.record()[0].2), (1, 0));
}

#[test]
fn conf_d3_what_only_this_manager_owned_and_no_longer_applies_goes() {
    let mut store = Store::new();
    store
        .apply("m1", json!({"size": 1, "mp": {"a": "1", "b": "1"}, "lst": [{"name": "x"}, {"name": "y", "v": 1}]}))
        .unwrap();
    store.apply("m2", json!({"mp": {"b": "1"}, "lst": [{"name": "y"}]})).unwrap();
    store.apply("m1", json!({})).unwrap();
    assert_eq!(store.spec(), json!({"mp": {"b": "1"}, "lst": [{"name": "y"}]}));
    assert_eq!(store.owned("m1"), json!({"f:spec": {}}));
    // A key somebody else added to my map stays, with the map.
    let mut store = Store::new();
    store.apply("m1", json!({"mp": {"a": "1"}, "size": 1})).unwrap();
    store.update("kubectl", json!({"mp": {"a": "1", "z": "9"}, "size": 1}));
    store.apply("m1", json!({"size": 1})).unwrap();
    assert_eq!(store.spec(), json!({"mp": {"z": "9"}, "size": 1}));
}

#[test]
fn conf_d4_the_same_value_is_shared() {
    let mut store = Store::new();
    store.apply("m1", json!({"size": 1})).unwrap();
    store.apply("m2", json!({"size": 1})).unwrap();
    assert_eq!(store.owned("m1"), store.owned("m2"));
    store.apply("m1", Value::Null).unwrap();
    assert_eq!((store.spec(), store.owned("m1")), (json!({"size": 1}), Value::Null));
}

#[test]
fn conf_d5_conflicts_name_managers_and_fields() {
    let mut store = Store::new();
    store.apply("m1", json!({"size": 1, "mode": "B", "mp": {"a": "1"}})).unwrap();
    let error = store.apply("m2", json!({"size": 2})).unwrap_err();
    assert_eq!(error.to_string(), "Apply failed with 1 conflict: conflict with \"m1\": .spec.size");
    assert_eq!(error, ApplyError::Conflict(vec![Conflict { manager: "\"m1\"".into(), field: ".spec.size".into() }]));
    store.update("kubectl", json!({"size": 3, "mode": "B", "mp": {"a": "1"}}));
    assert_eq!(
        message(store.apply("m2", json!({"size": 2, "mode": "C", "mp": {"a": "2"}}))),
        "Apply failed with 3 conflicts: conflicts with \"kubectl\" using ex.io/v1:\n- .spec.size\n\
         conflicts with \"m1\":\n- .spec.mode\n- .spec.mp.a"
    );
}

#[test]
fn conf_d6_force_takes_and_an_empty_manager_goes() {
    let mut store = Store::new();
    store.apply("m1", json!({"size": 1})).unwrap();
    store.force("m2", json!({"size": 2}));
    assert_eq!(store.spec(), json!({"size": 2}));
    assert_eq!(store.record().len(), 1);
    assert_eq!(store.owned("m2"), json!({"f:spec": {"f:size": {}}}));
}

#[test]
fn conf_d7_updates_take_exactly_what_they_change() {
    let mut store = Store::new();
    store.apply("m1", json!({"size": 1, "mode": "A"})).unwrap();
    store.now = 1;
    store.update("m1", json!({"size": 2, "mode": "A", "mp": {}}));
    store.update("m2", json!({"size": 2, "mode": "A", "mp": {}}));
    let record = store.record();
    assert_eq!(record[0], ("m1".into(), "A".into(), 0, json!({"f:spec": {"f:mode": {}}})));
    assert_eq!(record[1], ("m1".into(), "U".into(), 1, json!({"f:spec": {"f:size": {}, "f:mp": {}}})));
    assert_eq!(record.len(), 2);
    store.update("m2", json!({"mode": "A"}));
    assert_eq!(store.record().len(), 1, "removed fields leave every manager");
}

#[test]
fn conf_d8_no_manager_is_unknown() {
    let mut store = Store::new();
    store.update("", json!({"size": 1}));
    assert_eq!(store.owned("unknown"), json!({"f:spec": {".": {}, "f:size": {}}}));
}

#[test]
fn conf_d9_lists_and_maps_without_keys_are_one_field() {
    let mut store = Store::new();
    store.apply("m1", json!({"adef": ["a"], "amp": {"a": "1"}, "lst": [{"name": "x", "v": 1}]})).unwrap();
    assert_eq!(store.owned("m1")["f:spec"]["f:amp"], json!({}));
    assert_eq!(
        message(
            store
                .apply("m2", json!({"adef": ["b"], "amp": {"b": "1"}, "lst": [{"name": "x", "proto": "TCP", "v": 2}]}))
        ),
        "Apply failed with 3 conflicts: conflicts with \"m1\":\n- .spec.adef\n- .spec.amp\n\
         - .spec.lst[name=\"x\",proto=\"TCP\"].v"
    );
    store.apply("m2", json!({"lst": [{"name": "x", "proto": "UDP", "v": 2}]})).unwrap();
    assert_eq!(store.spec()["lst"].as_array().map(Vec::len), Some(2));
}

#[test]
fn conf_d10_merged_lists_keep_the_order_of_the_body_around_foreign_items() {
    let names = |store: &Store| -> String {
        store.spec()["lst"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
    };
    let list =
        |names: &str| json!({"lst": names.chars().map(|name| json!({"name": name.to_string()})).collect::<Vec<_>>()});
    for (live, body, expect) in [
        ("ab", "c", "abc"),
        ("abc", "cxa", "bcxa"),
        ("ab", "ba", "ba"),
        ("abcd", "bxd", "abcxd"),
        ("", "ba", "ba"),
        ("abc", "xbyc", "axbyc"),
    ] {
        let mut store = Store::new();
        store.update("u", list(live));
        store.apply("m1", list(body)).unwrap();
        assert_eq!(names(&store), expect, "{live} under {body}");
    }
    let mut store = Store::new();
    store.apply("m1", list("ab")).unwrap();
    store.apply("m1", list("ba")).unwrap();
    assert_eq!((names(&store).as_str(), store.writes), ("ba", 2));
}

#[test]
fn conf_d11_bodies_that_do_not_fit_the_types() {
    let mut store = Store::new();
    let prefix = "failed to create typed patch object (n/w; ex.io/v1, Kind=Widget): ";
    for (spec, reason) in [
        (json!({"nope": 1}), ".spec.nope: field not declared in schema"),
        (json!({"size": "x"}), ".spec.size: expected numeric (int or float), got string"),
        (json!({"mode": 1}), ".spec.mode: expected string, got &value.valueUnstructured{Value:1}"),
        (json!({"set": ["q", "q"]}), ".spec.set: duplicate entries for key [=\"q\"]"),
        (
            json!({"lst": [{"name": "q"}, {"name": "q"}]}),
            ".spec.lst: duplicate entries for key [name=\"q\",proto=\"TCP\"]",
        ),
        (json!({"lst": [null]}), ".spec.lst: element 0: associative list with keys may not have a null element"),
        (json!({"mp": ["x"]}), ".spec.mp: expected map, got &{[x]}"),
        (
            json!({"size": "x", "lst": {}}),
            "errors:\n  .spec.size: expected numeric (int or float), got string\n  .spec.lst: expected list, got &{map[]}",
        ),
    ] {
        assert_eq!(store.apply("m1", spec).unwrap_err(), ApplyError::Internal(format!("{prefix}{reason}")));
    }
    let keys = Node::from_openapi(&json!({"type": "object", "properties": {"l": {"type": "array",
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
        "items": {"type": "object", "properties": {"name": {"type": "string"}}}}}}));
    assert_eq!(
        typed::check(&json!({"l": [{}]}), Type::Root(&keys), false).unwrap_err(),
        ".l: element 0: associative list with keys has an element that omits all key fields [\"name\"] \
         (and doesn't have default values for any key fields)"
    );
}

#[test]
fn conf_d12_defaults_have_no_owner_under_apply_but_under_a_create() {
    let mut store = Store::new();
    store.apply("m1", json!({"size": 1})).unwrap();
    let mut object = store.object.clone().unwrap();
    object["spec"]["mode"] = json!("A"); // what defaulting adds after the merge
    store.object = Some(object);
    assert_eq!(store.owned("m1"), json!({"f:spec": {"f:size": {}}}));
    store.apply("m1", json!({"size": 1})).unwrap();
    assert_eq!(store.spec(), json!({"size": 1, "mode": "A"}), "and stay when the applier comes again");
    let mut store = Store::new();
    store.update("u", json!({"mode": "A"}));
    assert_eq!(store.owned("u"), json!({"f:spec": {".": {}, "f:mode": {}}}));
}

#[test]
fn conf_d13_metadata_merges_across_managers() {
    let body = |key: &str, uid: &str| {
        let mut body = widget(Value::Null);
        body["metadata"]["labels"] = json!({key: "1"});
        body["metadata"]["finalizers"] = json!([format!("x.io/{key}")]);
        body["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "K", "name": key, "uid": uid}]);
        body
    };
    let mut store = Store::new();
    store.apply_as("m1", "", &body("a", "1"), false).unwrap();
    store.apply_as("m2", "", &body("b", "2"), false).unwrap();
    let metadata = &store.object.as_ref().unwrap()["metadata"];
    assert_eq!(metadata["labels"], json!({"a": "1", "b": "1"}));
    assert_eq!(metadata["finalizers"], json!(["x.io/a", "x.io/b"]));
    assert_eq!(metadata["ownerReferences"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        store.owned("m1"),
        json!({"f:metadata": {"f:labels": {"f:a": {}}, "f:finalizers": {"v:\"x.io/a\"": {}},
            "f:ownerReferences": {"k:{\"uid\":\"1\"}": {}}}})
    );
    store.apply_as("m1", "", &widget(Value::Null), false).unwrap();
    assert_eq!(store.object.as_ref().unwrap()["metadata"]["labels"], json!({"b": "1"}));
}

#[test]
fn conf_d14_status_is_owned_only_through_its_subresource() {
    let mut store = Store::new();
    let mut body = widget(json!({"size": 1}));
    body["status"] = json!({"phase": "P"});
    store.apply_as("m1", "", &body, false).unwrap();
    assert_eq!(
        (store.owned("m1"), store.object.as_ref().unwrap().get("status")),
        (json!({"f:spec": {"f:size": {}}}), None)
    );
    body["spec"] = json!({"size": 9});
    store.apply_as("s", "status", &body, true).unwrap();
    assert_eq!(store.spec(), json!({"size": 1}));
    assert_eq!(
        store.record().last().map(|entry| (entry.1.as_str(), entry.3.clone())),
        Some(("Astatus", json!({"f:status": {"f:phase": {}}})))
    );
    let mut new = store.object.clone().unwrap();
    new["status"]["phase"] = json!("Q");
    store.write("u", "status", new);
    let error = store.apply_as("s", "status", &body, false).unwrap_err().to_string();
    assert_eq!(
        error,
        "Apply failed with 1 conflict: conflict with \"u\" with subresource \"status\" using ex.io/v1: .status.phase"
    );
}

#[test]
fn conf_d15_d17_a_repeat_with_a_foreign_status_may_reorder_the_record() {
    let mut store = Store::new();
    let mut body = widget(json!({"size": 1}));
    body["status"] = json!({"phase": "P"});
    let order = |store: &Store| store.record().into_iter().map(|entry| (entry.0, entry.2)).collect::<Vec<_>>();
    store.now = 6;
    store.apply_as("m1", "", &body, false).unwrap();
    store.apply_as("m1", "", &body, false).unwrap();
    store.now = 8;
    store.apply("m2", json!({"mode": "B"})).unwrap();
    assert_eq!((order(&store), store.writes), (vec![("m1".into(), 6), ("m2".into(), 8)], 2));
    store.now = 9;
    store.apply_as("m1", "", &body, false).unwrap();
    assert_eq!((order(&store), store.writes), (vec![("m2".into(), 8), ("m1".into(), 9)], 3));
    store.now = 20;
    store.apply_as("m1", "", &body, false).unwrap();
    store.apply("m1", json!({"size": 1})).unwrap();
    assert_eq!((order(&store), store.writes), (vec![("m2".into(), 8), ("m1".into(), 9)], 3));
    // Two applies within one second sort by name, and appliers come before updaters.
    let mut store = Store::new();
    store.update("a", json!({"size": 1}));
    store.apply("z", json!({"mode": "B"})).unwrap();
    store.apply("b", json!({"mode": "B", "mp": {"a": "1"}})).unwrap();
    assert_eq!(order(&store).iter().map(|entry| entry.0.as_str()).collect::<Vec<_>>(), ["b", "z", "a"]);
}

#[test]
fn conf_d16_becoming_an_owner_without_a_change_has_no_time() {
    let mut store = Store::new();
    store.now = 14;
    store.apply("m1", json!({"size": 1})).unwrap();
    store.apply("m2", json!({"size": 1})).unwrap();
    let order: Vec<_> = store.record().into_iter().map(|entry| (entry.0, entry.2)).collect();
    assert_eq!((order, store.writes), (vec![("m2".into(), -1), ("m1".into(), 14)], 2));
}

#[test]
fn conf_d18_the_record_can_be_cleared_but_not_applied() {
    let mut store = Store::new();
    store.apply("m1", json!({"size": 1})).unwrap();
    let mut body = widget(json!({"size": 1}));
    body["metadata"]["managedFields"] = json!([]);
    assert_eq!(
        store.apply_as("m1", "", &body, false).unwrap_err(),
        ApplyError::BadRequest("metadata.managedFields must be nil".into())
    );
    for reset in [json!([]), json!([{}])] {
        let mut new = store.object.clone().unwrap();
        new["metadata"]["managedFields"] = reset;
        new["spec"]["mode"] = json!("Z");
        store.write("u", "", new);
        assert_eq!(store.entries(), Vec::<Value>::new());
        store.update("u", json!({"size": 2}));
        assert_eq!(store.entries(), Vec::<Value>::new(), "nothing is tracked before somebody applies");
        store.apply("m1", json!({"size": 2})).unwrap();
        assert_eq!(store.owned("before-first-apply"), json!({"f:spec": {".": {}, "f:size": {}}}));
    }
}

#[test]
fn conf_d20_the_body_names_the_kind() {
    let mut store = Store::new();
    for (key, value, expect) in [
        ("kind", Value::Null, "invalid object type: ex.io/v1, Kind="),
        ("apiVersion", Value::Null, "invalid object type: /, Kind=Widget"),
        ("apiVersion", json!("ex.io/v2"), "invalid object type: ex.io/v2, Kind=Widget"),
    ] {
        let mut body = widget(json!({}));
        body[key] = value;
        assert_eq!(store.apply_as("m", "", &body, false).unwrap_err(), ApplyError::BadRequest(expect.into()));
    }
}

#[test]
fn conf_d22_old_updates_merge() {
    let mut store = Store::new();
    for number in 0..12 {
        store.now = number;
        let mut keys = Map::new();
        for key in 0..=number {
            keys.insert(format!("k{key:02}"), json!("1"));
        }
        store.update(&format!("u{number:02}"), json!({"mp": keys}));
    }
    let record = store.record();
    assert_eq!(record.len(), 10);
    assert_eq!((record[0].0.as_str(), record[0].2), ("ancient-changes", 2));
    assert_eq!(record[0].3["f:spec"]["f:mp"], json!({".": {}, "f:k00": {}, "f:k01": {}, "f:k02": {}}));
}

#[test]
fn conf_d24_versions_differ_in_name_only() {
    let mut store = Store::new();
    store.apply("m1", json!({"size": 1})).unwrap();
    let node = Store::new().node;
    let target = Target {
        api_version: "ex.io/v2",
        other_versions: &[("ex.io/v1", &store.node)],
        schema: &node,
        ..store.target("")
    };
    let mut live = store.object.clone().unwrap();
    live["apiVersion"] = json!("ex.io/v2");
    let mut body = widget(json!({"size": 2}));
    body["apiVersion"] = json!("ex.io/v2");
    let request = ApplyRequest { manager: "m2", force: false, now: store.at(), target };
    let error = apply(Some(&live), &body, &request).unwrap_err();
    assert_eq!(error.to_string(), "Apply failed with 1 conflict: conflict with \"m1\": .spec.size");
    let new = apply(Some(&live), &body, &ApplyRequest { force: true, ..request }).unwrap();
    let entries = &new["metadata"]["managedFields"];
    assert_eq!((entries.as_array().map(Vec::len), &entries[0]["apiVersion"]), (Some(1), &json!("ex.io/v2")));
    // The same applier in another version is one entry, and what it gives up goes.
    body["spec"] = json!({"mode": "B"});
    let new = apply(Some(&live), &body, &ApplyRequest { manager: "m1", ..request }).unwrap();
    assert_eq!(
        (&new["spec"], new["metadata"]["managedFields"].as_array().map(Vec::len)),
        (&json!({"mode": "B"}), Some(1))
    );
}

#[test]
fn kubectl_takes_over_from_its_own_client_side_apply() {
    let mut store = Store::new();
    let mut object = widget(json!({"size": 1, "mode": "B"}));
    object["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": widget(json!({"size": 1, "mode": "B"})).to_string()});
    store.write("kubectl-client-side-apply", "", object);
    store.apply("kubectl", json!({"size": 2, "mode": "B"})).unwrap();
    let note =
        store.object.as_ref().unwrap()["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]
            .clone();
    assert!(note.as_str().unwrap().contains("\"size\":2"), "{note}");
    store.update("other", json!({"size": 3, "mode": "B"}));
    assert_eq!(
        message(store.apply("kubectl", json!({"size": 4, "mode": "B"}))),
        "Apply failed with 1 conflict: conflict with \"other\" using ex.io/v1: .spec.size"
    );
}

/// Two corners of the real thing that the properties below leave out.
#[test]
fn empty_collections_are_odd() {
    let mut store = Store::new();
    store.apply("m1", json!({"lst": [], "set": []})).unwrap();
    assert_eq!(store.owned("m1"), Value::Null, "an empty list owns nothing");
    store.apply("m1", json!({"mp": {"a": "1"}, "size": 1})).unwrap();
    store.apply("m1", json!({"mp": {}, "size": 1})).unwrap();
    assert_eq!(store.spec()["mp"], json!({}), "an owned map that loses its keys stays");
}

/// Specs of a small universe, so that managers collide.
fn specs() -> impl Strategy<Value = Value> {
    let text = || prop_oneof![Just("a"), Just("b")];
    let map = proptest::collection::btree_map(text(), text(), 0..3);
    let item = (text(), proptest::option::of(0..2i64)).prop_map(|(name, v)| {
        let mut item = json!({"name": name});
        if let Some(v) = v {
            item["v"] = json!(v);
        }
        item
    });
    let list = proptest::collection::vec(item, 1..3).prop_map(|mut items| {
        items.dedup_by(|a, b| a["name"] == b["name"]);
        items.truncate(2);
        if items.len() == 2 && items[0]["name"] == items[1]["name"] {
            items.pop();
        }
        items
    });
    let field = |strategy: BoxedStrategy<Value>| proptest::option::weighted(0.5, strategy);
    (
        field((0..2i64).prop_map(Value::from).boxed()),
        field(map.clone().prop_map(|map| json!(map)).boxed()),
        field(map.prop_map(|map| json!(map)).boxed()),
        field(list.prop_map(|list| json!(list)).boxed()),
        field(proptest::collection::btree_set(text(), 1..3).prop_map(|set| json!(set)).boxed()),
        field(
            prop_oneof![Just(json!({"u": {"w": 1}})), Just(json!({"u": 1, "v": {}})), Just(json!({"u": [1]}))].boxed(),
        ),
    )
        .prop_map(|(size, mp, amp, lst, set, free)| {
            // Something stays in every spec, see above.
            let fields = [
                ("mode", Some(json!("A"))),
                ("size", size),
                ("mp", mp),
                ("amp", amp),
                ("lst", lst),
                ("set", set),
                ("free", free),
            ];
            Value::Object(fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect())
        })
}

/// Any JSON at all.
fn anything() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        Just("metadata"),
        Just("spec"),
        Just("lst"),
        Just("name"),
        Just("managedFields"),
        Just("fieldsV1"),
        Just("f:spec"),
        Just("k:{"),
        Just("v:\"a\""),
        Just("set"),
        Just("labels"),
        Just("free"),
        Just("ownerReferences")
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-c]{0,2}".prop_map(Value::from)
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(key.clone(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// After any history, an apply is visible, and the same apply again is no write.
    #[test]
    fn apply_is_idempotent(history in proptest::collection::vec((0..3usize, any::<bool>(), specs()), 0..6), spec in specs()) {
        let mut store = Store::new();
        for (who, applied, spec) in history {
            store.now += 1;
            if applied { store.force(MANAGERS[who], spec) } else { store.update(MANAGERS[who], spec) }
        }
        store.force("m1", spec.clone());
        for (key, value) in spec.as_object().unwrap() {
            if ["size", "amp"].contains(&key.as_str()) {
                prop_assert_eq!(&store.spec()[key], value);
            }
        }
        let (object, writes) = (store.object.clone(), store.writes);
        store.now += 9;
        store.apply("m1", spec).unwrap();
        prop_assert_eq!((store.object, store.writes), (object, writes));
    }

    /// Applying and then giving everything up leaves what the others made.
    #[test]
    fn apply_then_drop_removes_exactly_what_was_owned(first in specs(), second in specs()) {
        let mut store = Store::new();
        store.update("u", first.clone());
        let before = store.spec();
        if store.apply("m1", second).is_ok() {
            store.apply("m1", Value::Null).unwrap();
            prop_assert_eq!(store.owned("m1"), Value::Null);
            // The order of merged lists may stay as the applier had it.
            let sorted = |mut spec: Value| {
                for list in ["lst", "set"] {
                    if let Some(items) = spec.get_mut(list).and_then(Value::as_array_mut) {
                        items.sort_by_key(Value::to_string);
                    }
                }
                spec
            };
            prop_assert_eq!(sorted(store.spec()), sorted(before));
        }
    }

    #[test]
    fn nothing_panics(live in anything(), body in anything()) {
        let store = Store::new();
        let request = ApplyRequest { manager: "m", force: true, now: store.at(), target: store.target("") };
        let update = UpdateRequest { manager: "m", now: store.at(), target: store.target("") };
        let mut typed = body.clone();
        if let Some(map) = typed.as_object_mut() {
            map.insert("apiVersion".into(), json!("ex.io/v1"));
            map.insert("kind".into(), json!("Widget"));
        }
        for body in [&body, &typed] {
            drop(apply(Some(&live), body, &request));
            drop(apply(None, body, &request));
            for live in [None, Some(&live)] {
                let mut new = body.clone();
                track_update(live, &mut new, &update);
                keep_times(&mut new, body);
            }
        }
    }
}
