//! Value validations: types, bounds, enumerations and their logical combinations (apiserver.md F5-F7), with ratcheting (F10).
//!
//! The order of checks at one node and which check stops which are observable in `details.causes`, so they follow the
//! server's validators one by one.

use serde_json::{Map, Number, Value, json};

use super::cause;
use super::format;
use super::go;
use super::list;
use super::node::{Checks, ListType, Node, NodeKind};
use super::path::Path;
use crate::apiserver::errors::Cause;

/// Checks `value`, with errors named below `prefix` (`status` when only that part is looked at, else empty).
///
/// With `old`, whatever is unchanged is accepted, valid or not.
pub fn check(node: &Node, value: &Value, old: Option<&Value>, prefix: &str, causes: &mut Vec<Cause>) {
    Checking { prefix, causes, counting: false }.node(node, value, old, &Path::ROOT);
}

struct Checking<'a> {
    prefix: &'a str,
    causes: &'a mut Vec<Cause>,
    /// Inside an alternative, where the number of passed checks matters.
    counting: bool,
}

impl Checking<'_> {
    /// The number of checks passed, by which the best of several failed alternatives is chosen.
    fn node(&mut self, node: &Node, value: &Value, old: Option<&Value>, path: &Path<'_>) -> usize {
        if !self.counting && old == Some(value) {
            return 0;
        }
        let before = self.causes.len();
        let mut passed = self.kind(node, value, path);
        if value.is_null() {
            passed += self.enumeration(&node.checks, value, path);
        } else {
            passed += self.combinations(&node.checks, value, old, path);
            passed += match value {
                Value::String(text) => self.string(node, text, path),
                Value::Number(number) => self.number(node, number, path),
                Value::Array(items) => self.array(node, items, old, path),
                _ => 0,
            };
            passed += self.enumeration(&node.checks, value, path);
            if let Value::Object(map) = value {
                passed += self.object(node, map, old, path);
            }
        }
        if self.causes.len() > before && old == Some(value) {
            self.causes.truncate(before);
        }
        passed
    }

    fn kind(&mut self, node: &Node, value: &Value, path: &Path<'_>) -> usize {
        let expected = match node.kind {
            NodeKind::Any => return 1,
            NodeKind::IntOrString => "integer,string",
            kind => kind.name(),
        };
        let found = type_name(value);
        let format = node.checks.format.as_deref().filter(|name| format::is_known(name));
        let complaint = match (node.kind, value) {
            (_, Value::Null) => (!node.nullable).then_some((expected, "null")),
            (NodeKind::String, Value::String(_)) | (NodeKind::IntOrString, Value::String(_)) => None,
            (NodeKind::Number, Value::Number(_)) => None,
            (NodeKind::Integer | NodeKind::IntOrString, Value::Number(number)) if is_integer(number) => None,
            (NodeKind::Array, Value::Array(_)) | (NodeKind::Object, Value::Object(_)) => None,
            (NodeKind::Boolean, Value::Bool(_)) => None,
            // Any string passes where a format is named and no number is wanted; the format itself is checked later.
            (NodeKind::Boolean | NodeKind::Object | NodeKind::Array, Value::String(_) | Value::Array(_))
            | (NodeKind::String, Value::Array(_))
                if format.is_some() =>
            {
                None
            }
            (_, Value::String(_) | Value::Array(_)) => Some((expected, found)),
            (_, other) => Some(match format {
                Some(format) => (format, type_format(other)),
                None => (expected, found),
            }),
        };
        let Some((expected, found)) = complaint else { return 2 };
        self.named(path, "must be of type", |field, text| {
            cause::type_invalid(field, &json!(found), &format!("{text} {expected}: {}", go::quote(found)))
        });
        0
    }

    fn string(&mut self, node: &Node, text: &str, path: &Path<'_>) -> usize {
        let checks = &node.checks;
        let length = || i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
        let shown = || Value::String(text.to_owned());
        if checks.max_length.is_some_and(|limit| length() > limit) {
            let limit = checks.max_length.unwrap_or_default();
            self.causes.push(cause::too_long(self.field(path), limit));
        } else if checks.min_length.is_some_and(|limit| length() < limit) {
            let limit = checks.min_length.unwrap_or_default();
            self.invalid(path, &shown(), &format!("should be at least {limit} chars long"));
        } else if let Some(pattern) = &checks.pattern
            && !pattern.regex().is_some_and(|regex| regex.is_match(text))
        {
            self.invalid(path, &shown(), &format!("should match '{}'", pattern.source));
        }
        if let Some(name) = &checks.format
            && format::is_known(name)
            && !format::accepts(name, text)
        {
            self.named(path, "must be of type", |field, detail| {
                cause::type_invalid(field, &shown(), &format!("{detail} {name}: {}", go::quote(text)))
            });
        }
        2
    }

    fn number(&mut self, node: &Node, number: &Number, path: &Path<'_>) -> usize {
        let checks = &node.checks;
        if node.kind == NodeKind::Integer && !fits(number, checks.format.as_deref()) {
            let width = match checks.format.as_deref().filter(|name| format::is_known(name)) {
                Some(format) => format!("with format {format}"),
                None => "(default format)".to_owned(),
            };
            let text = format!("Checked value must be of type integer {width} in {}", path.dotted());
            self.unnamed(&text);
        }
        let shown = Value::Number(number.clone());
        if let Some(factor) = &checks.multiple_of
            && !is_multiple(number, factor)
        {
            self.invalid(path, &shown, &format!("should be a multiple of {}", go::number(factor)));
        }
        if let Some(limit) = &checks.maximum {
            let over = if checks.exclusive_maximum { !less(number, limit) } else { less(limit, number) };
            if over {
                let or_equal = if checks.exclusive_maximum { "" } else { " or equal to" };
                self.invalid(path, &shown, &format!("should be less than{or_equal} {}", go::number(limit)));
            }
        }
        if let Some(limit) = &checks.minimum {
            let under = if checks.exclusive_minimum { !less(limit, number) } else { less(number, limit) };
            if under {
                let or_equal = if checks.exclusive_minimum { "" } else { " or equal to" };
                self.invalid(path, &shown, &format!("should be greater than{or_equal} {}", go::number(limit)));
            }
        }
        2
    }

    fn array(&mut self, node: &Node, items: &[Value], old: Option<&Value>, path: &Path<'_>) -> usize {
        let mut passed = 1;
        if let Some(item) = &node.items {
            for (index, value) in items.iter().enumerate() {
                passed += self.node(item, value, old_item(node, value, old), &path.index(index));
            }
        }
        let checks = &node.checks;
        let size = items.len();
        let count = i64::try_from(size).unwrap_or(i64::MAX);
        if let Some(limit) = checks.min_items.filter(|limit| count < *limit) {
            self.invalid(path, &json!(size), &format!("should have at least {limit} items"));
        }
        if let Some(limit) = checks.max_items.filter(|limit| count > *limit) {
            self.causes.push(cause::too_many(self.field(path), size, limit));
        }
        if checks.unique_items && items.iter().enumerate().any(|(index, item)| items[..index].contains(item)) {
            self.invalid(path, &json!(""), "shouldn't contain duplicates");
        }
        passed
    }

    fn enumeration(&mut self, checks: &Checks, value: &Value, path: &Path<'_>) -> usize {
        if checks.enumeration.is_empty() || checks.enumeration.iter().any(|allowed| equal(allowed, value)) {
            return 1;
        }
        let names: Vec<String> = checks
            .enumeration
            .iter()
            .map(|allowed| match allowed {
                Value::String(text) => text.clone(),
                other => go::json(other),
            })
            .collect();
        self.causes.push(cause::not_supported(self.field(path), value, names.iter().map(String::as_str)));
        0
    }

    fn object(&mut self, node: &Node, map: &Map<String, Value>, old: Option<&Value>, path: &Path<'_>) -> usize {
        let checks = &node.checks;
        let count = i64::try_from(map.len()).unwrap_or(i64::MAX);
        if let Some(limit) = checks.min_properties.filter(|limit| count < *limit) {
            self.invalid(path, &json!(map.len()), &format!("should have at least {limit} properties"));
            return 0;
        }
        if let Some(limit) = checks.max_properties.filter(|limit| count > *limit) {
            self.causes.push(cause::too_many(self.field(path), map.len(), limit));
            return 0;
        }
        let mut passed = 1;
        for (key, value) in map {
            let old = old.and_then(|old| old.as_object()?.get(key));
            if let Some(field) = node.properties.get(key) {
                passed += self.node(field, value, old, &path.field(key));
            } else if let Some(field) = &node.additional {
                passed += self.node(field, value, old, &path.key(key));
            }
        }
        for name in &checks.required {
            if !map.contains_key(name) {
                self.causes.push(cause::required(self.field(&path.field(name)), ""));
            }
        }
        passed
    }

    fn combinations(&mut self, checks: &Checks, value: &Value, old: Option<&Value>, path: &Path<'_>) -> usize {
        let mut passed = 0;
        if !checks.any_of.is_empty() {
            let (valid, best) = self.alternatives(&checks.any_of, value, old, path);
            if valid == 0 {
                self.unnamed(&format!("{} must validate at least one schema (anyOf)", go::quote(&path.dotted())));
            }
            passed += best.passed;
            self.causes.extend(best.causes);
        }
        if !checks.one_of.is_empty() {
            let (valid, best) = self.alternatives(&checks.one_of, value, old, path);
            if valid != 1 {
                let found = if valid == 0 { "none valid".to_owned() } else { format!("{valid} valid alternatives") };
                let name = go::quote(&path.dotted());
                self.unnamed(&format!("{name} must validate one and only one schema (oneOf). Found {found}"));
            }
            passed += best.passed;
            self.causes.extend(best.causes);
        }
        let mut failed = 0;
        for schema in &checks.all_of {
            let before = self.causes.len();
            passed += self.node(schema, value, old, path);
            failed += usize::from(self.causes.len() > before);
        }
        if failed > 0 {
            let none = if failed == checks.all_of.len() { ". None validated" } else { "" };
            self.unnamed(&format!("{} must validate all the schemas (allOf){none}", go::quote(&path.dotted())));
        }
        if let Some(schema) = &checks.not {
            let before = self.causes.len();
            self.node(schema, value, old, path);
            if self.causes.len() == before {
                self.unnamed(&format!("{} must not validate the schema (not)", go::quote(&path.dotted())));
            } else {
                self.causes.truncate(before);
            }
        }
        passed + 1
    }

    /// How many alternatives accept the value, and the outcome to report: the first success, else the best failure.
    fn alternatives(
        &mut self,
        schemas: &[std::sync::Arc<Node>],
        value: &Value,
        old: Option<&Value>,
        path: &Path<'_>,
    ) -> (usize, Outcome) {
        let mut valid = 0;
        let mut best: Option<Outcome> = None;
        let counting = std::mem::replace(&mut self.counting, true);
        for schema in schemas {
            let before = self.causes.len();
            let passed = self.node(schema, value, old, path);
            let outcome = Outcome { passed, causes: self.causes.split_off(before) };
            if outcome.causes.is_empty() {
                if valid == 0 {
                    best = Some(outcome);
                }
                valid += 1;
            } else if valid == 0 && best.as_ref().is_none_or(|best| outcome.passed > best.passed) {
                best = Some(outcome);
            }
        }
        self.counting = counting;
        (valid, best.unwrap_or(Outcome { passed: 0, causes: Vec::new() }))
    }

    /// `Invalid value: v: <name> in body <complaint>`.
    fn invalid(&mut self, path: &Path<'_>, value: &Value, complaint: &str) {
        self.named(path, complaint, |field, text| cause::invalid(field, value, &text));
    }

    fn named(&mut self, path: &Path<'_>, complaint: &str, cause: impl FnOnce(String, String) -> Cause) {
        let text = format!("{} in body {complaint}", path.dotted());
        self.causes.push(cause(self.field(path), text));
    }

    /// A complaint that the server does not tie to a field.
    fn unnamed(&mut self, text: &str) {
        let field = if self.prefix.is_empty() { "<nil>" } else { self.prefix };
        self.causes.push(cause::invalid_text(field, "\"\"", text));
    }

    fn field(&self, path: &Path<'_>) -> String {
        match (self.prefix, path.dotted()) {
            ("", name) if name.is_empty() => "<nil>".to_owned(),
            ("", name) => name,
            (prefix, name) if name.is_empty() => prefix.to_owned(),
            (prefix, name) => format!("{prefix}.{name}"),
        }
    }
}

struct Outcome {
    passed: usize,
    causes: Vec<Cause>,
}

/// The old value that an item of a list corresponds to: only lists of type map have such a thing.
pub fn old_item<'a>(node: &Node, item: &Value, old: Option<&'a Value>) -> Option<&'a Value> {
    if node.list_type != ListType::Map {
        return None;
    }
    let items = old?.as_array()?;
    let key = list::identity(node, item);
    items.iter().find(|candidate| list::identity(node, candidate) == key)
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The width the server infers for a value, named where a format was expected.
fn type_format(value: &Value) -> &'static str {
    match value {
        Value::Number(number) if number.is_i64() => "int64",
        Value::Number(_) => "float64",
        _ => "",
    }
}

fn is_integer(number: &Number) -> bool {
    number.is_i64()
        || number.as_f64().is_some_and(|float| float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0)
}

/// Whether the number is an integer of the format's width.
fn fits(number: &Number, format: Option<&str>) -> bool {
    let Some(integer) = number.as_i64().or_else(|| {
        // Larger floats print with an exponent, which is not an integer to the server.
        number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 1e21).map(|float| float as i64)
    }) else {
        return false;
    };
    if number.is_u64() && !number.is_i64() || number.as_f64().is_some_and(|float| float.abs() >= 9.3e18) {
        return false;
    }
    format != Some("int32") || i32::try_from(integer).is_ok()
}

fn is_multiple(number: &Number, factor: &Number) -> bool {
    match (number.as_i64(), factor.as_i64()) {
        (_, Some(0)) => true,
        (Some(number), Some(factor)) => number % factor == 0,
        _ => {
            let ratio = number.as_f64().unwrap_or_default() / factor.as_f64().unwrap_or(1.0);
            ratio.fract() == 0.0
        }
    }
}

fn less(left: &Number, right: &Number) -> bool {
    match (left.as_i64(), right.as_i64()) {
        (Some(left), Some(right)) => left < right,
        _ => left.as_f64().unwrap_or_default() < right.as_f64().unwrap_or_default(),
    }
}

/// Equality as enumerations see it: numbers by value, whatever their spelling.
fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => !less(left, right) && !less(right, left),
        _ => left == right,
    }
}
