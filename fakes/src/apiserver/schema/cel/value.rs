//! Values while a program runs. Objects under test are not converted: they are looked at where they are.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use crate::apiserver::schema::list;
use crate::apiserver::schema::node::{ListType, Node, NodeKind};

use super::types::Declared;

/// One value.
#[derive(Clone, Debug)]
pub enum Val<'a> {
    /// `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// An unsigned integer.
    Uint(u64),
    /// A float.
    Double(f64),
    /// Text.
    String(Cow<'a, str>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// A span of time.
    Duration(SignedDuration),
    /// A point in time.
    Timestamp(Timestamp),
    /// A list in an object under test, with the schema of the list.
    Array(&'a [Value], Option<&'a Node>),
    /// A map or object in an object under test, with its schema.
    Object(&'a Map<String, Value>, Option<Declared<'a>>),
    /// A computed list.
    List(Arc<Vec<Val<'a>>>),
    /// A computed map, in order of insertion.
    Map(Arc<Vec<(Val<'a>, Val<'a>)>>),
    /// An optional value.
    Optional(Option<Arc<Val<'a>>>),
    /// The name of a type.
    Type(&'static str),
    /// A value of a library: a quantity, an address.
    Foreign(kube_cel::cel::Value),
}

/// Why evaluation stopped, as the server words it.
pub type Failure = String;

/// A name or key that is not there.
pub fn no_such_key(key: &str) -> Failure {
    format!("no such key: {key}")
}

/// Operands of the wrong types.
pub fn no_such_overload() -> Failure {
    "no such overload".to_owned()
}

impl<'a> Val<'a> {
    /// Looks at a value under its schema, or without one.
    ///
    /// # Errors
    /// The value is not of the declared type.
    pub fn of(value: &'a Value, declared: Option<Declared<'a>>) -> Result<Val<'a>, Failure> {
        let Some(declared) = declared else { return Ok(Val::untyped(value)) };
        let node = declared.node;
        let bad = |wanted: &str| Err(format!("invalid data, expected {wanted}, got {}", go_type(value)));
        Ok(match (node.kind, value) {
            (_, Value::Null) if node.nullable => Val::Null,
            (_, Value::Null) => return Err("invalid data, got null for schema with nullable=false".to_owned()),
            (NodeKind::IntOrString | NodeKind::Any, _) => Val::untyped(value),
            (NodeKind::Boolean, Value::Bool(flag)) => Val::Bool(*flag),
            (NodeKind::Boolean, _) => return bad("bool"),
            (NodeKind::Integer, Value::Number(number)) if number.is_i64() => {
                Val::Int(number.as_i64().unwrap_or_default())
            }
            (NodeKind::Integer, _) => return bad("int"),
            (NodeKind::Number, Value::Number(number)) => Val::Double(number.as_f64().unwrap_or_default()),
            (NodeKind::Number, _) => return bad("float"),
            (NodeKind::String, Value::String(text)) => match node.checks.format.as_deref() {
                Some("byte") => Val::Bytes(decode_base64(text).into()),
                Some("duration") => match super::time::duration(text) {
                    Some(duration) => Val::Duration(duration),
                    None => return Err(format!("invalid data, expected duration, got {text}")),
                },
                Some("date") => Val::Timestamp(super::time::date(text).ok_or("invalid data, expected date")?),
                Some("date-time") => {
                    Val::Timestamp(text.parse().map_err(|_| "invalid data, expected date-time".to_owned())?)
                }
                _ => Val::String(Cow::Borrowed(text)),
            },
            (NodeKind::String, _) => return bad("string"),
            (NodeKind::Array, Value::Array(items)) => Val::Array(items, Some(node)),
            (NodeKind::Array, _) => return bad("an array to match the schema for the list"),
            (NodeKind::Object, Value::Object(map)) => Val::Object(map, Some(declared)),
            (NodeKind::Object, _) => return bad("a map to match the schema for the object"),
        })
    }

    /// Looks at a value of which only the JSON type is known.
    pub fn untyped(value: &'a Value) -> Val<'a> {
        match value {
            Value::Null => Val::Null,
            Value::Bool(flag) => Val::Bool(*flag),
            Value::Number(number) => {
                number.as_i64().map_or_else(|| Val::Double(number.as_f64().unwrap_or_default()), Val::Int)
            }
            Value::String(text) => Val::String(Cow::Borrowed(text)),
            Value::Array(items) => Val::Array(items, None),
            Value::Object(map) => Val::Object(map, None),
        }
    }

    /// Text that the value owns.
    pub fn text(text: impl Into<String>) -> Val<'a> {
        Val::String(Cow::Owned(text.into()))
    }

    /// A computed list.
    pub fn list(items: Vec<Val<'a>>) -> Val<'a> {
        Val::List(Arc::new(items))
    }

    /// The items of a list.
    ///
    /// # Errors
    /// Not a list, or an item that is not of its declared type.
    pub fn items(&self) -> Result<Vec<Val<'a>>, Failure> {
        match self {
            Val::List(items) => Ok(items.as_ref().clone()),
            Val::Array(items, node) => items.iter().map(|item| element(item, *node)).collect(),
            _ => Err(no_such_overload()),
        }
    }

    /// The keys and values of a map.
    ///
    /// # Errors
    /// Not a map, or a value that is not of its declared type.
    pub fn entries(&self) -> Result<Vec<(Val<'a>, Val<'a>)>, Failure> {
        match self {
            Val::Map(entries) => Ok(entries.as_ref().clone()),
            Val::Object(map, declared) => map
                .iter()
                .filter(|(key, _)| declared.is_none_or(|declared| visible(declared, key).is_some()))
                .map(|(key, value)| {
                    let part = declared.and_then(|declared| visible(declared, key));
                    Ok((Val::String(Cow::Borrowed(key)), Val::of(value, part)?))
                })
                .collect(),
            _ => Err(no_such_overload()),
        }
    }

    /// How many items, entries, characters or bytes.
    ///
    /// # Errors
    /// The value has no size.
    pub fn size(&self) -> Result<usize, Failure> {
        Ok(match self {
            Val::String(text) => text.chars().count(),
            Val::Bytes(bytes) => bytes.len(),
            Val::Array(items, _) => items.len(),
            Val::List(items) => items.len(),
            Val::Object(map, None) => map.len(),
            Val::Object(..) => self.entries()?.len(),
            Val::Map(entries) => entries.len(),
            _ => return Err(no_such_overload()),
        })
    }

    /// A field or key by its JSON name, if present.
    ///
    /// # Errors
    /// Not something with fields, or a field that is not of its declared type.
    pub fn get(&self, name: &str) -> Result<Option<Val<'a>>, Failure> {
        match self {
            Val::Object(map, None) => Ok(map.get(name).map(Val::untyped)),
            Val::Object(map, Some(declared)) => {
                let Some(part) = visible(*declared, name) else { return Ok(None) };
                map.get(name).map(|value| Val::of(value, Some(part))).transpose()
            }
            Val::Map(entries) => Ok(entries
                .iter()
                .find(|(key, _)| matches!(key, Val::String(text) if text == name))
                .map(|(_, value)| value.clone())),
            Val::Optional(None) => Ok(None),
            Val::Optional(Some(inner)) => inner.get(name),
            _ => Err(no_such_overload()),
        }
    }

    /// A list item or map value, if present.
    ///
    /// # Errors
    /// Not a list or map, or a key of the wrong type.
    pub fn index(&self, key: &Val<'a>) -> Result<Option<Val<'a>>, Failure> {
        match (self, key) {
            (Val::Array(items, node), _) => {
                match integer(key).and_then(|index| items.get(usize::try_from(index).ok()?)) {
                    Some(item) => element(item, *node).map(Some),
                    None if integer(key).is_some() => Ok(None),
                    None => Err(no_such_overload()),
                }
            }
            (Val::List(items), _) => match integer(key) {
                Some(index) => Ok(usize::try_from(index).ok().and_then(|index| items.get(index)).cloned()),
                None => Err(no_such_overload()),
            },
            (Val::Object(..), Val::String(name)) => self.get(name),
            (Val::Map(entries), _) => {
                Ok(entries.iter().find(|(known, _)| known.equals(key)).map(|(_, value)| value.clone()))
            }
            (Val::Optional(None), _) => Ok(None),
            (Val::Optional(Some(inner)), _) => inner.index(key),
            _ => Err(no_such_overload()),
        }
    }

    /// Equality: numbers by value across types, lists of type set and map regardless of order.
    pub fn equals(&self, other: &Val<'a>) -> bool {
        match (self, other) {
            (Val::Null, Val::Null) => true,
            (Val::Bool(left), Val::Bool(right)) => left == right,
            (Val::Int(_) | Val::Uint(_) | Val::Double(_), Val::Int(_) | Val::Uint(_) | Val::Double(_)) => {
                self.compare(other) == Some(Ordering::Equal)
            }
            (Val::String(left), Val::String(right)) => left == right,
            (Val::Bytes(left), Val::Bytes(right)) => left == right,
            (Val::Duration(left), Val::Duration(right)) => left == right,
            (Val::Timestamp(left), Val::Timestamp(right)) => left == right,
            (Val::Type(left), Val::Type(right)) => left == right,
            (Val::Foreign(left), Val::Foreign(right)) => left == right,
            (Val::Optional(left), Val::Optional(right)) => match (left, right) {
                (None, None) => true,
                (Some(left), Some(right)) => left.equals(right),
                _ => false,
            },
            (Val::Array(left, Some(node)), Val::Array(right, _)) if node.list_type != ListType::Atomic => {
                same_members(left, right, node)
            }
            (Val::Array(..) | Val::List(_), Val::Array(..) | Val::List(_)) => match (self.items(), other.items()) {
                (Ok(left), Ok(right)) => {
                    left.len() == right.len() && left.iter().zip(&right).all(|(left, right)| left.equals(right))
                }
                _ => false,
            },
            (Val::Object(..) | Val::Map(_), Val::Object(..) | Val::Map(_)) => match (self.entries(), other.entries()) {
                (Ok(left), Ok(right)) => {
                    left.len() == right.len()
                        && left.iter().all(|(key, value)| {
                            right.iter().any(|(other_key, other)| key.equals(other_key) && value.equals(other))
                        })
                }
                _ => false,
            },
            _ => false,
        }
    }

    /// Order, where there is one.
    pub fn compare(&self, other: &Val<'a>) -> Option<Ordering> {
        Some(match (self, other) {
            (Val::Bool(left), Val::Bool(right)) => left.cmp(right),
            (Val::Int(left), Val::Int(right)) => left.cmp(right),
            (Val::Uint(left), Val::Uint(right)) => left.cmp(right),
            (Val::Int(left), Val::Uint(right)) => i128::from(*left).cmp(&i128::from(*right)),
            (Val::Uint(left), Val::Int(right)) => i128::from(*left).cmp(&i128::from(*right)),
            (Val::Double(left), Val::Double(right)) => return left.partial_cmp(right),
            (Val::Double(left), Val::Int(right)) => return left.partial_cmp(&(*right as f64)),
            (Val::Int(left), Val::Double(right)) => return (*left as f64).partial_cmp(right),
            (Val::Double(left), Val::Uint(right)) => return left.partial_cmp(&(*right as f64)),
            (Val::Uint(left), Val::Double(right)) => return (*left as f64).partial_cmp(right),
            (Val::String(left), Val::String(right)) => left.cmp(right),
            (Val::Bytes(left), Val::Bytes(right)) => left.cmp(right),
            (Val::Duration(left), Val::Duration(right)) => left.cmp(right),
            (Val::Timestamp(left), Val::Timestamp(right)) => left.cmp(right),
            _ => return None,
        })
    }

    /// The name of the type, as `type()` gives it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Val::Null => "null_type",
            Val::Bool(_) => "bool",
            Val::Int(_) => "int",
            Val::Uint(_) => "uint",
            Val::Double(_) => "double",
            Val::String(_) => "string",
            Val::Bytes(_) => "bytes",
            Val::Duration(_) => "google.protobuf.Duration",
            Val::Timestamp(_) => "google.protobuf.Timestamp",
            Val::Array(..) | Val::List(_) => "list",
            Val::Object(..) | Val::Map(_) => "map",
            Val::Optional(_) => "optional_type",
            Val::Type(_) => "type",
            Val::Foreign(_) => "opaque",
        }
    }
}

/// An integer used as an index: whole numbers of any type.
fn integer(key: &Val<'_>) -> Option<i64> {
    match key {
        Val::Int(index) => Some(*index),
        Val::Uint(index) => i64::try_from(*index).ok(),
        Val::Double(index) if index.fract() == 0.0 => Some(*index as i64),
        _ => None,
    }
}

/// The declaration of a key of an object or map; undeclared fields are invisible.
fn visible<'a>(declared: Declared<'a>, name: &str) -> Option<Declared<'a>> {
    if declared.is_map() { declared.element() } else { declared.property(name) }
}

/// One item of a list under the list's schema.
fn element<'a>(item: &'a Value, node: Option<&'a Node>) -> Result<Val<'a>, Failure> {
    Val::of(item, node.and_then(|node| node.items.as_deref()).map(Declared::part))
}

fn same_members(left: &[Value], right: &[Value], node: &Node) -> bool {
    let equal = |left: &Value, right: &Value| match (element(left, Some(node)), element(right, Some(node))) {
        (Ok(left), Ok(right)) => left.equals(&right),
        _ => false,
    };
    left.len() == right.len()
        && left.iter().all(|item| match node.list_type {
            ListType::Map => {
                let key = list::identity(node, item);
                right.iter().any(|other| list::identity(node, other) == key && equal(item, other))
            }
            _ => right.iter().any(|other| equal(item, other)),
        })
}

/// The name that the server's language gives the type of a decoded value.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

fn decode_base64(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default()
}
