//! What an apply makes of an object, and which bodies it refuses.

use serde_json::{Value, json};

use super::super::shape::Type;
use super::super::{ApplyError, typed};
use super::{Store, message, widget};
use crate::apiserver::schema::Node;

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
