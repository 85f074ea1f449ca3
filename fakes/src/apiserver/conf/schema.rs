//! Checklist F: what schemas do to objects, seen over the wire. The words of refusals are in the tables of the schema engine.

use serde_json::{Value, json};

use super::crd::{GEARS, gear, served};

fn spec() -> Value {
    json!({"type": "object", "properties": {
        "teeth": {"type": "integer", "maximum": 10}, "label": {"type": "string", "maxLength": 3},
        "mode": {"type": "string", "enum": ["A", "B"], "default": "A"}, "nul": {"type": "string", "nullable": true},
        "mp": {"type": "object", "additionalProperties": {"type": "string"}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "emb": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
        "once": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "immutable"}]},
        "first": {"type": "string", "x-kubernetes-validations": [{"rule": "oldSelf.hasValue() || self == 'init'", "optionalOldSelf": true}]},
        "pair": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "x-kubernetes-validations": [
            {"rule": "self.a <= self.b", "messageExpression": "'a is ' + string(self.a)", "reason": "FieldValueForbidden", "fieldPath": ".a"}]},
        "amount": {"type": "string", "x-kubernetes-validations": [{"rule": "quantity(self).isLessThan(quantity('1Gi')) && !self.startsWith('-')"}]},
    }})
}

/// POSTs one spec per case and checks code and the first cause (or, on success, the stored spec).
async fn cases(cases: &[(Value, u16, &str)]) {
    let cases = cases.to_vec();
    served(spec(), |_, client| async move {
        for (index, (spec, code, expected)) in cases.into_iter().enumerate() {
            let (found, answer) = client.post(GEARS, &gear(&format!("g{index}"), spec.clone())).await;
            assert_eq!(found, code, "{spec}: {answer}");
            if code == 201 {
                assert_eq!(answer["spec"], serde_json::from_str::<Value>(expected).expect("cases hold JSON"), "{spec}");
            } else {
                let message = answer["message"].as_str().unwrap_or_default();
                assert!(message.contains(expected), "{spec}: {message}");
            }
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn conf_f1_unknown_fields_are_dropped_or_refused() {
    served(spec(), |_, client| async move {
        let object = gear("a", json!({"junk": 1, "teeth": 1}));
        let (code, answer) = client.post(&format!("{GEARS}?fieldValidation=Strict"), &object).await;
        assert_eq!(code, 400);
        assert!(
            answer["message"]
                .as_str()
                .is_some_and(|text| text.contains("strict decoding error: unknown field \"spec.junk\"")),
            "{answer}"
        );
        let (code, answer) = client.post(GEARS, &object).await;
        assert_eq!((code, &answer["spec"]), (201, &json!({"mode": "A", "teeth": 1})));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn conf_f2_keys_are_case_sensitive() {
    cases(&[(json!({"Teeth": 1}), 201, r#"{"mode": "A"}"#)]).await;
}

#[tokio::test(start_paused = true)]
async fn conf_f3_preserved_and_embedded() {
    cases(&[
        (json!({"free": {"any": {"x": [1]}}}), 201, r#"{"mode": "A", "free": {"any": {"x": [1]}}}"#),
        (json!({"emb": {"a": 1}}), 422, "spec.emb.apiVersion: Required value"),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn conf_f4_defaults_and_nulls() {
    cases(&[
        (
            json!({"mode": null, "nul": null, "teeth": null, "mp": {"k": null}}),
            201,
            r#"{"mode": "A", "nul": null, "mp": {}}"#,
        ),
        (json!({}), 201, r#"{"mode": "A"}"#),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn conf_f5_f6_refusals_are_aggregated() {
    cases(&[(json!({"teeth": 11, "label": "abcd", "mode": "C"}), 422, "some validation rules were not checked")]).await;
    cases(&[(json!({"teeth": 11, "label": "abcd"}), 422, "spec.teeth in body should be less than or equal to 10")])
        .await;
}

#[tokio::test(start_paused = true)]
async fn conf_f7_numbers() {
    cases(&[
        (json!({"teeth": 2.0}), 201, r#"{"mode": "A", "teeth": 2}"#),
        (json!({"teeth": 2.5}), 422, "must be of type integer: \"number\""),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn conf_f8_rules_with_messages_reasons_paths_and_libraries() {
    cases(&[
        (json!({"pair": {"a": 2, "b": 1}}), 422, "spec.pair.a: Forbidden: a is 2"),
        (json!({"pair": {"a": 2}}), 422, "no such key: b evaluating rule: self.a <= self.b"),
        (json!({"amount": "2Gi"}), 422, "spec.amount: Invalid value: \"2Gi\": failed rule: quantity(self)"),
        (json!({"amount": "5Mi"}), 201, r#"{"mode": "A", "amount": "5Mi"}"#),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn conf_f9_transitions_need_an_old_value_unless_it_is_optional() {
    cases(&[
        (json!({"once": "a"}), 201, r#"{"mode": "A", "once": "a"}"#),
        (json!({"first": "x"}), 422, "failed rule: oldSelf.hasValue()"),
    ])
    .await;
    served(spec(), |_, client| async move {
        let one = format!("{GEARS}/a");
        assert_eq!(client.post(GEARS, &gear("a", json!({"once": "a"}))).await.0, 201);
        for (body, code) in [(json!("b"), 422), (json!("a"), 200), (json!(null), 200), (json!("c"), 200)] {
            assert_eq!(client.merge_patch(&one, &json!({"spec": {"once": body}})).await.0, code, "{body}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn conf_f10_unchanged_values_survive_a_tightened_schema() {
    served(spec(), |server, client| async move {
        let one = format!("{GEARS}/a");
        assert_eq!(client.post(GEARS, &gear("a", json!({"teeth": 9}))).await.0, 201);
        super::crd::change(
            &server,
            &client,
            "/schema/openAPIV3Schema/properties/spec/properties/teeth/maximum",
            json!(2),
        )
        .await;
        assert_eq!(client.merge_patch(&one, &json!({"spec": {"label": "x"}})).await.0, 200);
        assert_eq!(client.merge_patch(&one, &json!({"spec": {"teeth": 8}})).await.0, 422);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn conf_f11_f12_f15_f16_spec_may_be_missing_and_the_rest_is_checked() {
    served(spec(), |_, client| async move {
        let mut bare = gear("a", json!({}));
        bare.as_object_mut().expect("an object").shift_remove("spec");
        assert_eq!(client.post(GEARS, &bare).await.0, 201);
        bare["metadata"]["labels"] = json!({"x": 1});
        assert_eq!(client.post(GEARS, &bare).await.0, 400);
        assert_eq!(client.merge_patch(&format!("{GEARS}/a/status"), &json!({"status": {"n": "x"}})).await.0, 422);
        let mut other = gear("b", json!({}));
        other["kind"] = json!("Wheel");
        assert_eq!(client.post(GEARS, &other).await.0, 422);
        other.as_object_mut().expect("an object").shift_remove("kind");
        assert_eq!(client.post(GEARS, &other).await.0, 400);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn conf_f13_selectable_fields() {
    served(spec(), |_, client| async move {
        assert_eq!(client.post(GEARS, &gear("a", json!({"mode": "B"}))).await.0, 201);
        assert_eq!(client.post(GEARS, &gear("b", json!({}))).await.0, 201);
        let (code, list) = client.get(&format!("{GEARS}?fieldSelector=spec.mode%3DB")).await;
        assert_eq!((code, list["items"].as_array().map(Vec::len)), (200, Some(1)));
        let (code, refused) = client.get(&format!("{GEARS}?fieldSelector=spec.teeth%3D1")).await;
        assert_eq!((code, refused["message"].as_str()), (400, Some("field label not supported: spec.teeth")));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn conf_f14_scale_reads_its_paths() {
    cases(&[(json!({"teeth": -1}), 422, ".spec.teeth: Invalid value: -1: should be a non-negative integer")]).await;
    served(spec(), |_, client| async move {
        assert_eq!(client.post(GEARS, &gear("a", json!({"teeth": 3}))).await.0, 201);
        let (code, scale) = client.get(&format!("{GEARS}/a/scale")).await;
        assert_eq!((code, &scale["kind"], &scale["spec"]["replicas"]), (200, &json!("Scale"), &json!(3)));
    })
    .await;
}
