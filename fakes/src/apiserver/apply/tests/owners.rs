//! Who owns what, and how the record shows it.

use serde_json::{Map, Value, json};

use super::super::{ApplyError, ApplyRequest, Conflict, Target, apply};
use super::{Store, message, widget};

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
