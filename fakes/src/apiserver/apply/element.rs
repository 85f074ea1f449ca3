//! One step of a field path, in memory and in the `fieldsV1` spelling (apiserver.md D25).

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use serde_json::{Map, Value};

use super::go;

/// One step of a path: a field, a list item found by its keys, a set item found by its value, or a position.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Element<'a> {
    /// `f:name`
    Field(Cow<'a, str>),
    /// `k:{"name":"a"}`, sorted by key name.
    Key(Vec<(Cow<'a, str>, Scalar<'a>)>),
    /// `v:"x"`
    Value(Scalar<'a>),
    /// `i:0`
    Index(i64),
}

/// A JSON value inside a path, ordered and compared as the server does: 1 and 1.0 are the same.
#[derive(Clone, Debug)]
pub(super) struct Scalar<'a>(pub(super) Cow<'a, Value>);

impl<'a> Element<'a> {
    /// The step into a field.
    pub(super) fn field(name: &'a str) -> Element<'a> {
        Element::Field(Cow::Borrowed(name))
    }

    /// Reads a key of a `fieldsV1` map. `Ok(None)` for kinds of steps this server does not know: they are skipped.
    pub(super) fn decode(text: &'a str) -> Result<Option<Element<'a>>, String> {
        let Some((kind, rest)) = text.split_once(':') else { return Ok(None) };
        let parse = |rest: &str| serde_json::from_str::<Value>(rest).map_err(|error| error.to_string());
        Ok(match kind {
            "f" => Some(Element::field(rest)),
            "v" => Some(Element::Value(Scalar(Cow::Owned(parse(rest)?)))),
            "k" => {
                let Value::Object(fields) = parse(rest)? else { return Err(format!("expected object, got {rest}")) };
                let mut keys: Vec<_> =
                    fields.into_iter().map(|(name, value)| (Cow::Owned(name), Scalar(Cow::Owned(value)))).collect();
                keys.sort();
                Some(Element::Key(keys))
            }
            "i" => Some(Element::Index(rest.parse().map_err(|_| format!("invalid index {rest}"))?)),
            _ => None,
        })
    }

    /// The key of a `fieldsV1` map.
    pub(super) fn encode(&self) -> String {
        match self {
            Element::Field(name) => format!("f:{name}"),
            Element::Value(value) => format!("v:{}", value.0),
            Element::Index(index) => format!("i:{index}"),
            Element::Key(keys) => {
                let fields: Map<String, Value> =
                    keys.iter().map(|(name, value)| (name.to_string(), value.0.clone().into_owned())).collect();
                format!("k:{}", Value::Object(fields))
            }
        }
    }
}

impl fmt::Display for Element<'_> {
    /// As in messages: `.name`, `[name="a"]`, `[="x"]`, `[0]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Element::Field(name) => write!(f, ".{name}"),
            Element::Value(value) => write!(f, "[={}]", go::text(&value.0)),
            Element::Index(index) => write!(f, "[{index}]"),
            Element::Key(keys) => {
                let parts: Vec<String> =
                    keys.iter().map(|(name, value)| format!("{name}={}", go::text(&value.0))).collect();
                write!(f, "[{}]", parts.join(","))
            }
        }
    }
}

impl Ord for Scalar<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        order(&self.0, &other.0)
    }
}

impl PartialOrd for Scalar<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scalar<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scalar<'_> {}

/// Total order of JSON values: numbers, strings, booleans, lists, maps, null.
fn order(left: &Value, right: &Value) -> Ordering {
    fn rank(value: &Value) -> u8 {
        match value {
            Value::Number(_) => 0,
            Value::String(_) => 1,
            Value::Bool(_) => 2,
            Value::Array(_) => 3,
            Value::Object(_) => 4,
            Value::Null => 5,
        }
    }
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => numbers(a, b),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Array(a), Value::Array(b)) => {
            a.iter().zip(b).map(|(x, y)| order(x, y)).find(|o| o.is_ne()).unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        (Value::Object(a), Value::Object(b)) => {
            let sorted = |map: &Map<String, Value>| {
                let mut fields: Vec<(String, Value)> = map.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
                fields.sort_by(|x, y| x.0.cmp(&y.0));
                fields
            };
            let (a, b) = (sorted(a), sorted(b));
            a.iter()
                .zip(&b)
                .map(|(x, y)| x.0.cmp(&y.0).then_with(|| order(&x.1, &y.1)))
                .find(|o| o.is_ne())
                .unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        _ => rank(left).cmp(&rank(right)),
    }
}

fn numbers(left: &serde_json::Number, right: &serde_json::Number) -> Ordering {
    match (left.as_i64(), right.as_i64()) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => left.as_f64().unwrap_or_default().total_cmp(&right.as_f64().unwrap_or_default()),
    }
}

/// Equality of values as the merge sees it: integers and floats compare by number, the order of keys is nothing.
pub(super) fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => a == b || numbers(a, b).is_eq(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(x, y)| same(x, y)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, x)| b.get(key).is_some_and(|y| same(x, y)))
        }
        _ => left == right,
    }
}
