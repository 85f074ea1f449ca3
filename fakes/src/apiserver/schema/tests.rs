//! Schemas against what a real server was seen to answer.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::Schema;

fn schema(spec: Value) -> Schema {
    let document = json!({"type": "object", "properties": {"spec": spec, "status": {"type": "object", "properties": {"phase": {"type": "string"}}}}});
    Schema::compile(&document).unwrap_or_else(|causes| panic!("{causes:#?}"))
}

fn fields(properties: Value) -> Value {
    json!({"type": "object", "properties": properties})
}

/// A schema with one of everything.
fn everything() -> Schema {
    schema(fields(json!({
        "i": {"type": "integer"},
        "i32": {"type": "integer", "format": "int32"},
        "size": {"type": "integer", "maximum": 10},
        "mult": {"type": "integer", "multipleOf": 5},
        "n": {"type": "number"},
        "ios": {"x-kubernetes-int-or-string": true},
        "pat": {"type": "string", "pattern": "^a+$"},
        "lim": {"type": "string", "maxLength": 3},
        "mode": {"type": "string", "enum": ["A", "B"], "default": "A"},
        "dt": {"type": "string", "format": "date-time"},
        "arr": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "integer"}},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "lst": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "v": {"type": "integer", "default": 1}}}},
        "mp": {"type": "object", "additionalProperties": {"type": "string"}},
        "nul": {"type": "string", "nullable": true},
        "nuld": {"type": "string", "nullable": true, "default": "d"},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"known": fields(json!({"a": {"type": "string"}}))}},
        "emb": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
        "one": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
            "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
        "q": {"type": "string", "x-kubernetes-validations": [{"rule": "isQuantity(self)"}]},
        "imm": {"type": "string", "x-kubernetes-validations": [
            {"rule": "oldSelf.hasValue() ? self == oldSelf.value() : self == 'init'", "optionalOldSelf": true, "message": "oos"}]},
        "once": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "immutable"}]},
    })))
}

fn complaints(schema: &Schema, spec: Value, old: Option<Value>) -> Vec<String> {
    let object = |spec: Value| {
        let mut object = json!({"apiVersion": "q.io/v1", "kind": "Q", "metadata": {"name": "a"}, "spec": spec});
        schema.prune(&mut object);
        schema.default(&mut object);
        object
    };
    let causes = schema.validate(&object(spec), old.map(object).as_ref());
    causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
}

const NOT_CHECKED: &str = "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";

#[test]
fn values_are_refused_in_the_server_s_words() {
    let schema = everything();
    for (spec, expected) in [
        (json!({"i": 2.0}), &[][..]),
        (json!({"i": 1e3}), &[]),
        (
            json!({"i": 2.5}),
            &[
                "spec.i: Invalid value: \"number\": spec.i in body must be of type integer: \"number\"",
                "<nil>: Invalid value: \"\": Checked value must be of type integer (default format) in spec.i",
                NOT_CHECKED,
            ],
        ),
        (
            json!({"i": 9_223_372_036_854_775_808_u64}),
            &[
                "spec.i: Invalid value: \"number\": spec.i in body must be of type integer: \"number\"",
                "<nil>: Invalid value: \"\": Checked value must be of type integer (default format) in spec.i",
                NOT_CHECKED,
            ],
        ),
        (
            json!({"i32": 2_147_483_648_i64}),
            &["<nil>: Invalid value: \"\": Checked value must be of type integer with format int32 in spec.i32"],
        ),
        (json!({"size": 11}), &["spec.size: Invalid value: 11: spec.size in body should be less than or equal to 10"]),
        (json!({"mult": 7}), &["spec.mult: Invalid value: 7: spec.mult in body should be a multiple of 5"]),
        (json!({"n": 2}), &[]),
        (json!({"ios": "5%"}), &[]),
        (
            json!({"ios": 1.5}),
            &[
                "spec.ios: Invalid value: \"number\": spec.ios in body must be of type integer,string: \"number\"",
                NOT_CHECKED,
            ],
        ),
        (json!({"pat": "b"}), &["spec.pat: Invalid value: \"b\": spec.pat in body should match '^a+$'"]),
        (json!({"lim": "abcd"}), &["spec.lim: Too long: may not be more than 3 bytes", NOT_CHECKED]),
        (json!({"mode": "C"}), &["spec.mode: Unsupported value: \"C\": supported values: \"A\", \"B\"", NOT_CHECKED]),
        (
            json!({"mode": 1}),
            &[
                "spec.mode: Invalid value: \"integer\": spec.mode in body must be of type string: \"integer\"",
                "spec.mode: Unsupported value: 1: supported values: \"A\", \"B\"",
                NOT_CHECKED,
            ],
        ),
        (
            json!({"dt": "nope"}),
            &["spec.dt: Invalid value: \"nope\": spec.dt in body must be of type date-time: \"nope\"", NOT_CHECKED],
        ),
        (json!({"arr": []}), &["spec.arr: Invalid value: 0: spec.arr in body should have at least 1 items"]),
        (json!({"arr": [1, 2, 3]}), &["spec.arr: Too many: 3: must have at most 2 items", NOT_CHECKED]),
        (json!({"set": ["x", "x", "x"]}), &["spec.set[1]: Duplicate value: \"x\""]),
        (json!({"lst": [{"name": "p"}, {"name": "p"}]}), &["spec.lst[1]: Duplicate value: {\"name\":\"p\"}"]),
        (
            json!({"mp": {"k": 5}}),
            &[
                "spec.mp.k: Invalid value: \"integer\": spec.mp.k in body must be of type string: \"integer\"",
                NOT_CHECKED,
            ],
        ),
        (
            json!({"one": {"a": "1", "b": "2"}}),
            &[
                "<nil>: Invalid value: \"\": \"spec.one\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
            ],
        ),
        (
            json!({"one": {}}),
            &[
                "<nil>: Invalid value: \"\": \"spec.one\" must validate one and only one schema (oneOf). Found none valid",
                "spec.one.a: Required value",
                NOT_CHECKED,
            ],
        ),
        (
            json!({"emb": {"a": 1}}),
            &["spec.emb.apiVersion: Required value", "spec.emb.kind: Required value", NOT_CHECKED],
        ),
        (json!({"q": "zz"}), &["spec.q: Invalid value: \"zz\": failed rule: isQuantity(self)"]),
        (json!({"imm": "x"}), &["spec.imm: Invalid value: \"x\": oos"]),
        (json!({"imm": "init"}), &[]),
    ] {
        assert_eq!(complaints(&schema, spec.clone(), None), expected, "{spec}");
    }
}

#[test]
fn unchanged_values_pass_and_transitions_do_not() {
    let schema = everything();
    for (old, new, expected) in [
        (json!({"lim": "abcd"}), json!({"lim": "abcd", "i": 1}), &[][..]),
        (
            json!({"lim": "abcd"}),
            json!({"lim": "abcde"}),
            &["spec.lim: Too long: may not be more than 3 bytes", NOT_CHECKED],
        ),
        (json!({"q": "zz"}), json!({"q": "zz", "i": 1}), &[]),
        (json!({"q": "zz"}), json!({"q": "zy"}), &["spec.q: Invalid value: \"zy\": failed rule: isQuantity(self)"]),
        (json!({"once": "a"}), json!({"once": "b"}), &["spec.once: Invalid value: \"b\": immutable"]),
        (json!({"once": "a"}), json!({}), &[]),
        (json!({}), json!({"once": "a"}), &[]),
        (json!({"imm": "init"}), json!({"imm": "y"}), &["spec.imm: Invalid value: \"y\": oos"]),
        (
            json!({"lst": [{"name": "p"}, {"name": "p"}]}),
            json!({"lst": [{"name": "p"}, {"name": "p"}], "set": ["a", "a"]}),
            &[],
        ),
    ] {
        assert_eq!(complaints(&schema, new.clone(), Some(old.clone())), expected, "{old} {new}");
    }
    let object = |phase: Value| json!({"status": {"phase": phase}});
    let causes = schema.validate_status(&object(json!(1)), &object(json!("a")));
    assert_eq!(
        (causes[0].field.as_str(), causes[0].message.as_str()),
        ("status.phase", "Invalid value: \"integer\": phase in body must be of type string: \"integer\"")
    );
}

#[test]
fn pruning_and_defaulting() {
    let schema = everything();
    let mut object = json!({"apiVersion": "q.io/v1", "kind": "Q", "metadata": {"name": "a", "bogus": 1}, "junk": 1, "spec": {
        "x": 1, "free": {"any": {"thing": 1}, "known": {"a": "b", "c": 1}}, "lst": [{"name": "p", "z": 1}],
        "emb": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "foo": 1}, "z": 1}, "nul": null, "nuld": null, "i": null, "mp": {"a": null}, "mode": null}});
    let mut dropped = schema.prune(&mut object);
    dropped.sort();
    assert_eq!(
        dropped,
        ["junk", "metadata.bogus", "spec.emb.metadata.foo", "spec.free.known.c", "spec.lst[0].z", "spec.x"]
    );
    schema.default(&mut object);
    assert_eq!(
        object["spec"],
        json!({"free": {"any": {"thing": 1}, "known": {"a": "b"}}, "lst": [{"name": "p", "v": 1}], "mode": "A",
        "emb": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "z": 1}, "nul": null, "nuld": null, "mp": {}})
    );
}

#[test]
fn documents_are_refused_in_the_server_s_words() {
    let cause = |document: Value| -> Vec<String> {
        match Schema::compile(&document) {
            Ok(_) => Vec::new(),
            Err(causes) => causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect(),
        }
    };
    let below = |spec: Value| json!({"type": "object", "properties": {"spec": spec}});
    let rule = |rule: &str| {
        below(
            json!({"type": "object", "properties": {"teeth": {"type": "integer"}}, "x-kubernetes-validations": [{"rule": rule}]}),
        )
    };
    let at = "openAPIV3Schema.properties[spec]";
    let shown = |rule: &str, message_expression: &str| {
        format!(
            "{{\"Rule\":{},\"Message\":\"\",\"MessageExpression\":\"{message_expression}\",\"Reason\":null,\"FieldPath\":\"\",\"OptionalOldSelf\":null}}",
            super::go::json(&json!(rule))
        )
    };
    for (document, expected) in [
        (json!({}), vec!["openAPIV3Schema.type: Required value: must not be empty at the root".to_owned()]),
        (below(json!({"type": "object", "anyOf": [{"properties": {"zz": {"type": "string"}}}]})),
            vec![format!("{at}.anyOf[0].properties[zz].type: Forbidden: must be empty to be structural")]),
        (below(json!({"type": "object", "properties": {"x": {"description": "no type"}}})),
            vec![format!("{at}.properties[x].type: Required value: must not be empty for specified object fields")]),
        (below(json!({"type": "object", "properties": {"x": {"type": "array", "items": {"type": "string"}, "uniqueItems": true}}})),
            vec![format!("{at}.properties[x].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic")]),
        (below(json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 0, "default": -5}}})),
            vec![format!("{at}.properties[n].default: Invalid value: -5:  in body should be greater than or equal to 0")]),
        (below(json!({"type": "object", "properties": {"n": {"type": "integer", "default": "str"}}})),
            vec![format!("{at}.properties[n].default: Invalid value: \"string\":  in body must be of type integer: \"string\"")]),
        (rule("self."), vec![format!("{at}.x-kubernetes-validations[0].rule: Invalid value: {}: compilation failed: ERROR: <input>:1:6: Syntax error: no viable alternative at input '.'\n | self.\n | .....^", shown("self.", ""))]),
        (rule("self.nope > 1"), vec![format!("{at}.x-kubernetes-validations[0].rule: Invalid value: {}: compilation failed: ERROR: <input>:1:5: undefined field 'nope'\n | self.nope > 1\n | ....^", shown("self.nope > 1", ""))]),
        (rule("foo(self)"), vec![format!("{at}.x-kubernetes-validations[0].rule: Invalid value: {}: compilation failed: ERROR: <input>:1:4: undeclared reference to 'foo' (in container '')\n | foo(self)\n | ...^", shown("foo(self)", ""))]),
        (rule("1 + 1"), vec![format!("{at}.x-kubernetes-validations[0].rule: Invalid value: {}: cel expression must evaluate to a bool", shown("1 + 1", ""))]),
        (rule("self.teeth == \"x\""), vec![format!("{at}.x-kubernetes-validations[0].rule: Invalid value: {}: compilation failed: ERROR: <input>:1:12: found no matching overload for '_==_' applied to '(int, string)'\n | self.teeth == \"x\"\n | ...........^", shown("self.teeth == \"x\"", ""))]),
        (below(json!({"type": "object", "properties": {"big": {"type": "array", "items": {"type": "array", "items": {"type": "string"}},
            "x-kubernetes-validations": [{"rule": "self.all(x, x.all(y, self.all(z, z.exists(w, w == y))))"}]}}})), vec![
            format!("{at}.properties[big].x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"),
            format!("{at}.properties[big].x-kubernetes-validations[0].rule: Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"),
            "openAPIV3Schema: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of more than 100x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)".to_owned(),
        ]),
    ] {
        assert_eq!(cause(document.clone()), expected, "{document}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-zA-Z0-9é]{0,6}".prop_map(Value::from),
    ];
    let names = prop::sample::select(vec![
        "spec",
        "status",
        "metadata",
        "apiVersion",
        "kind",
        "name",
        "i",
        "size",
        "ios",
        "mode",
        "arr",
        "set",
        "lst",
        "mp",
        "free",
        "emb",
        "one",
        "a",
        "b",
        "q",
        "imm",
        "once",
        "v",
        "labels",
        "x",
        "type",
        "properties",
        "items",
        "default",
        "x-kubernetes-validations",
        "rule",
    ]);
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((names.clone(), inner), 0..6).prop_map(|entries| Value::Object(
                entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
            )),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_object_is_judged_without_a_panic(new in any_json(), old in any_json()) {
        let schema = everything();
        schema.validate(&new, None);
        schema.validate(&new, Some(&old));
        schema.validate_status(&new, &old);
    }

    #[test]
    fn any_document_is_judged_without_a_panic(document in any_json()) {
        if let (schema, causes) = Schema::check(&document, "p") && causes.is_empty() {
            schema.validate(&document, None);
        }
    }

    #[test]
    fn pruning_and_defaulting_twice_is_once(object in any_json()) {
        let schema = everything();
        let mut once = object;
        schema.prune(&mut once);
        let mut twice = once.clone();
        prop_assert_eq!(schema.prune(&mut twice), Vec::<String>::new());
        prop_assert_eq!(&once, &twice);
        schema.default(&mut once);
        twice = once.clone();
        schema.default(&mut twice);
        prop_assert_eq!(once, twice);
    }
}

/// Every definition in the directory `VWORKSPACE_CRDS` must be accepted, as it was by a real server.
#[test]
fn published_definitions_compile() {
    use serde::Deserialize as _;
    let Ok(directory) = std::env::var("VWORKSPACE_CRDS") else {
        println!("skipped: VWORKSPACE_CRDS is not set");
        return;
    };
    let mut files = Vec::new();
    let mut open = vec![std::path::PathBuf::from(directory)];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
            if entry.path().is_dir() { open.push(entry.path()) } else { files.push(entry.path()) }
        }
    }
    files.sort();
    let (mut schemas, mut rules, mut refused) = (0, 0, Vec::new());
    let start = tokio::time::Instant::now();
    for file in &files {
        let text = std::fs::read_to_string(file).expect("a readable file");
        for document in serde_yaml_ng::Deserializer::from_str(&text) {
            let Ok(crd) = Value::deserialize(document) else { continue };
            for version in crd["spec"]["versions"].as_array().into_iter().flatten() {
                let document = &version["schema"]["openAPIV3Schema"];
                rules += document.to_string().matches("\"rule\":").count();
                schemas += 1;
                if let Err(causes) = Schema::compile(document) {
                    refused.push((file.clone(), version["name"].clone(), causes));
                }
            }
        }
    }
    println!("{} files, {schemas} schemas, {rules} rules in {:?}", files.len(), start.elapsed());
    assert!(refused.is_empty(), "{refused:#?}");
    assert!(schemas > 0, "no definitions found");
}
