//! Made-up expressions.

use fakes::apiserver::schema::Node;
use fakes::apiserver::schema::cel::types::Declared;
use proptest::prelude::*;
use proptest::test_runner::Config;
use serde_json::{Value, json};

use super::both;
use super::objects::objects;

/// The object that made-up expressions are about.
fn playground() -> Value {
    let (int, text) = (json!({ "type": "integer" }), json!({ "type": "string" }));
    json!({ "type": "object", "properties": {
        "n": int, "m": int, "d": { "type": "number" }, "s": text, "t": text, "f": { "type": "boolean" },
        "l": { "type": "array", "items": int }, "w": { "type": "array", "items": text },
        "k": { "type": "object", "additionalProperties": int },
        "o": { "type": "object", "properties": { "x": int, "y": text } },
        "at": { "type": "string", "format": "date-time" }, "span": { "type": "string", "format": "duration" },
    } })
}

type Source = BoxedStrategy<String>;

fn one_of(fixed: &[&str], made: Vec<Source>) -> Source {
    let fixed = proptest::sample::select(fixed.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
    made.into_iter().fold(fixed.boxed(), |all, next| prop_oneof![all, next].boxed())
}

/// An expression from a pattern, in which `$` stands for the parts in turn.
fn from(pattern: &'static str, parts: Vec<Source>) -> Source {
    parts
        .prop_map(move |parts| {
            let mut parts = parts.into_iter();
            pattern.split_inclusive('$').fold(String::new(), |out, piece| match piece.strip_suffix('$') {
                Some(piece) => out + piece + &parts.next().expect("as many parts as dollars"),
                None => out + piece,
            })
        })
        .boxed()
}

fn int(levels: u32) -> Source {
    let fixed =
        &["0", "1", "-3", "7", "9223372036854775807", "self.n", "self.m", "self.o.x", "self.l[0]", "self.k['a']"];
    if levels == 0 {
        return one_of(fixed, Vec::new());
    }
    let (int, text, list, bool) = (|| int(levels - 1), || text(levels - 1), || list(levels - 1), || bool(levels - 1));
    one_of(
        fixed,
        vec![
            from("($ + $)", vec![int(), int()]),
            from("($ - $)", vec![int(), int()]),
            from("($ * $)", vec![int(), int()]),
            from("($ / $)", vec![int(), int()]),
            from("($ % $)", vec![int(), int()]),
            from("(- $)", vec![int()]),
            from("size($)", vec![text()]),
            from("$.size()", vec![list()]),
            from("$[$]", vec![list(), int()]),
            from("($ ? $ : $)", vec![bool(), int(), int()]),
            from("int($)", vec![text()]),
            from("$.indexOf($)", vec![text(), text()]),
            from("$.min()", vec![list()]),
            from("$.lastIndexOf($)", vec![text(), text()]),
            from("{'a': $, 'b': $}['b']", vec![int(), int()]),
            from("optional.of($).orValue(1)", vec![int()]),
        ],
    )
}

fn text(levels: u32) -> Source {
    let fixed = &["''", "'a'", "'Ab-c'", "'1'", "self.s", "self.t", "self.o.y", "self.w[1]"];
    if levels == 0 {
        return one_of(fixed, Vec::new());
    }
    let (int, text, bool) = (|| int(levels - 1), || text(levels - 1), || bool(levels - 1));
    one_of(
        fixed,
        vec![
            from("($ + $)", vec![text(), text()]),
            from("$.lowerAscii()", vec![text()]),
            from("$.replace($, $)", vec![text(), text(), text()]),
            from("$.substring($)", vec![text(), int()]),
            from("$.charAt($)", vec![text(), int()]),
            from("$.trim()", vec![text()]),
            from("$.upperAscii()", vec![text()]),
            from("$.substring($, $)", vec![text(), int(), int()]),
            from("string($)", vec![int()]),
            from("$.split('a').join('+')", vec![text()]),
            from("($ ? $ : $)", vec![bool(), text(), text()]),
            from("$.find('[a-c]+')", vec![text()]),
        ],
    )
}

fn list(levels: u32) -> Source {
    let fixed = &["[]", "[1, 2, 3]", "self.l"];
    if levels == 0 {
        return one_of(fixed, Vec::new());
    }
    let (int, list, bool) = (|| int(levels - 1), || list(levels - 1), || bool(levels - 1));
    one_of(
        fixed,
        vec![
            from("[$, $]", vec![int(), int()]),
            from("($ + $)", vec![list(), list()]),
            from("$.filter(i, i > $)", vec![list(), int()]),
            from("$.map(i, i + $)", vec![list(), int()]),
            from("$.map(i, $, i * 2)", vec![list(), bool()]),
        ],
    )
}

fn bool(levels: u32) -> Source {
    let fixed = &["true", "false", "self.f", "has(self.o.x)", "has(self.s)", "'a' in self.k", "self.n < self.d"];
    if levels == 0 {
        return one_of(fixed, Vec::new());
    }
    let (int, text, list, bool) = (|| int(levels - 1), || text(levels - 1), || list(levels - 1), || bool(levels - 1));
    one_of(
        fixed,
        vec![
            from("($ && $)", vec![bool(), bool()]),
            from("($ || $)", vec![bool(), bool()]),
            from("(!$)", vec![bool()]),
            from("($ == $)", vec![int(), int()]),
            from("($ != $)", vec![list(), list()]),
            from("($ < $)", vec![int(), int()]),
            from("($ >= $)", vec![text(), text()]),
            from("($ in $)", vec![int(), list()]),
            from("$.all(i, i < $)", vec![list(), int()]),
            from("$.exists(i, i == $)", vec![list(), int()]),
            from("$.exists_one(i, i > $)", vec![list(), int()]),
            from("$.startsWith($)", vec![text(), text()]),
            from("$.contains($)", vec![text(), text()]),
            from("$.matches('^[a-z]+')", vec![text()]),
            from("(self.at < timestamp('2031-06-01T00:00:00Z') || $)", vec![bool()]),
            from("(self.span <= duration('80s') || $)", vec![bool()]),
            from("(self.at + self.span).getMinutes() > $", vec![int()]),
            from("self.k.all(key, self.k[key] > $)", vec![int()]),
            from("$.isSorted()", vec![list()]),
            from("sets.contains($, $)", vec![list(), list()]),
            from("sets.intersects($, $)", vec![list(), list()]),
            from("(double($) / self.d < 2.0)", vec![int()]),
            from("isQuantity($)", vec![text()]),
            from("(quantity(self.s).compareTo(quantity('5Mi')) > $)", vec![int()]),
            from("({'a': $} == {'a': $})", vec![int(), int()]),
            from("(uint($) < 3u)", vec![int()]),
            from("isURL($)", vec![text()]),
        ],
    )
}

proptest! {
    #![proptest_config(Config { cases: 1_500, failure_persistence: None, ..Config::default() })]
    #[test]
    fn expressions_come_out_as_in_the_library(
        source in prop_oneof![bool(3), int(3), text(3), list(3)],
        object in objects(&playground(), &[], 3),
    ) {
        let node = Node::from_openapi(&playground());
        let outcome = both(&source, Declared::part(&node), &object, None, false).expect("it compiles");
        prop_assert!(outcome.agrees(), "{source}\n  of {object}\n  {outcome:?}");
    }
}

/// Where ours differs from the library, and what for. What is here, the expressions above leave out; so do they `sum()`, which panics there
/// on overflow.
const DIFFERENT: [(&str, &str, &str, &str); 7] = [
    ("'é'.size()", "Int(1)", "Int(2)", "the CEL specification counts code points"),
    ("'a'.split('').size()", "Int(1)", "Int(3)", "cel-go splits as Go does: no empty ends"),
    ("--3", "Int(3)", "Int(-3)", "two signs are none: the grammar of the CEL specification"),
    ("type(1) == int", "Bool(true)", "failed", "types are values: CEL specification, abstract types"),
    ("self.?o.?x.orValue(0)", "Int(0)", "failed", "what is missing in an optional is none: cel-go, optional types"),
    ("self.?n.orValue(int('x'))", "Int(5)", "failed", "cel-go looks at the alternative only where it needs it"),
    ("[1, 2].transformList(i, v, i + v)", "[Int(1),Int(3)]", "failed", "Kubernetes has two-variable macros"),
];

#[test]
fn known_differences_are_as_they_are_told() {
    let node = Node::from_openapi(&playground());
    for (source, ours, theirs, why) in DIFFERENT {
        let outcome = both(source, Declared::part(&node), &json!({ "n": 5 }), None, false).expect("it compiles");
        let told = |result: Result<String, String>| result.unwrap_or_else(|_| "failed".to_owned());
        assert_eq!((told(outcome.ours).as_str(), told(outcome.theirs).as_str()), (ours, theirs), "{source}: {why}");
    }
}
