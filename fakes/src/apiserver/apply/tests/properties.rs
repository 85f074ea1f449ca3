//! What holds for any history and any JSON.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{ApplyRequest, UpdateRequest, apply, keep_times, track_update};
use super::{MANAGERS, Store};

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
