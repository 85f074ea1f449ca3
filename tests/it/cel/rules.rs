//! The rules of definitions.

use std::collections::BTreeSet;

use fakes::apiserver::schema::Node;
use fakes::apiserver::schema::cel::types::Declared;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::objects::objects;
use super::{both, definitions};

/// Objects that each rule is run over.
const OBJECTS: usize = 24;

/// What is quoted in an expression.
fn quoted(source: &str) -> Vec<String> {
    let parts = |quote| source.split(quote).skip(1).step_by(2).map(str::to_owned);
    parts('\'').chain(parts('"')).collect()
}

/// Every place with rules: its schema, whether it is a whole object, and the rules.
fn ruled<'v>(schema: &'v Value, root: bool, out: &mut Vec<(&'v Value, bool, &'v Vec<Value>)>) {
    if let Some(rules) = schema.get("x-kubernetes-validations").and_then(Value::as_array) {
        out.push((schema, root, rules));
    }
    let named = schema.get("properties").and_then(Value::as_object).into_iter().flatten().map(|(_, below)| below);
    let others = ["items", "additionalProperties"].into_iter().filter_map(|key| schema.get(key));
    named.chain(others).for_each(|below| ruled(below, false, out));
}

#[test]
fn rules_of_definitions_come_out_as_in_the_library() {
    let schemas = definitions::schemas();
    let mut places = Vec::new();
    schemas.iter().for_each(|schema| ruled(schema, true, &mut places));
    let mut seen = BTreeSet::new();
    let mut runner = TestRunner::deterministic();
    let (mut rules, mut runs, mut values, mut wrong) = (0, 0, 0, Vec::new());
    for (schema, root, all) in places {
        if !seen.insert((schema.to_string(), root)) {
            continue;
        }
        let node = Node::from_openapi(schema);
        let declared = Declared { resource: root, ..Declared::part(&node) };
        for rule in all {
            let optional = rule["optionalOldSelf"] == json!(true);
            for source in ["rule", "messageExpression"].into_iter().filter_map(|key| rule[key].as_str()) {
                rules += 1;
                let made = objects(schema, &quoted(source), 4);
                for run in 0..OBJECTS {
                    let mut object = || made.new_tree(&mut runner).expect("nothing is filtered").current();
                    let (object, old) = (object(), Some(object()).filter(|_| run % 4 != 0));
                    let Some(outcome) = both(source, declared, &object, old.as_ref(), optional) else { continue };
                    runs += 1;
                    values += usize::from(outcome.ours.is_ok());
                    if !outcome.agrees() {
                        wrong.push(format!("{source}\n  of {object}, before {old:?}\n  {outcome:?}"));
                        break;
                    }
                }
            }
        }
    }
    println!("{rules} expressions, {runs} runs, {values} of them with a value");
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
    assert!(rules > 100 && values > 1_000, "{rules} expressions, {values} values: too few to say anything");
}
