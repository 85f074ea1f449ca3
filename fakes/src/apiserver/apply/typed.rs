//! Reads a value under its type: what an applied body may not contain (apiserver.md D11), and which fields a value has.

use serde_json::Value;

use super::element::{Element, same};
use super::go;
use super::set::{Entry, Set};
use super::shape::{ListShape, MapShape, ScalarKind, Shape, Type};

/// Checks a value against its type.
///
/// # Errors
/// All findings as one message, each with its path.
pub(super) fn check(value: &Value, of: Type<'_>, allow_duplicates: bool) -> Result<(), String> {
    let mut check = Check { findings: Vec::new(), path: Vec::new(), allow_duplicates };
    check.value(value, of);
    match check.findings.len() {
        0 => Ok(()),
        1 => Err(check.findings.remove(0)),
        _ => Err(format!("errors:\n  {}", check.findings.join("\n  "))),
    }
}

struct Check<'a> {
    findings: Vec<String>,
    path: Vec<Element<'a>>,
    allow_duplicates: bool,
}

impl<'a> Check<'a> {
    fn found(&mut self, message: &str) {
        let path: String = self.path.iter().map(ToString::to_string).collect();
        self.findings.push(if path.is_empty() { message.to_owned() } else { format!("{path}: {message}") });
    }

    fn value(&mut self, value: &'a Value, of: Type<'a>) {
        match of.shape_of(value) {
            Shape::Scalar(kind) => {
                if let Some(message) = refuse_scalar(value, kind) {
                    self.found(&message);
                }
            }
            Shape::Map(map) => match value {
                Value::Null => {}
                Value::Object(fields) => {
                    for (name, value) in map.entries(fields) {
                        self.path.push(Element::field(name));
                        let field = map.field(name);
                        match field {
                            Some(field) => self.value(value, field.of),
                            None => self.found("field not declared in schema"),
                        }
                        self.path.pop();
                        if field.is_none() {
                            return;
                        }
                    }
                }
                other => self.found(&format!("expected map, got &{{{}}}", go::plain(other))),
            },
            Shape::List(list) => match value {
                Value::Null => {}
                Value::Array(items) => self.list(items, list),
                other => self.found(&format!("expected list, got &{{{}}}", go::plain(other))),
            },
        }
    }

    fn list(&mut self, items: &'a [Value], list: ListShape<'a>) {
        let mut seen: Vec<Element<'a>> = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let element = if list.atomic() {
                Element::Index(index as i64)
            } else {
                match list.element(item) {
                    Ok(element) => element,
                    Err(reason) => {
                        self.found(&format!("element {index}: {reason}"));
                        return;
                    }
                }
            };
            if !list.atomic() && !self.allow_duplicates {
                if seen.contains(&element) {
                    self.found(&format!("duplicate entries for key {element}"));
                }
                seen.push(element.clone());
            }
            self.path.push(element);
            self.value(item, list.item());
            self.path.pop();
        }
    }
}

/// Why a value is not a scalar of this kind. Null is one of every kind.
fn refuse_scalar(value: &Value, kind: ScalarKind) -> Option<String> {
    let raw = || format!("&value.valueUnstructured{{Value:{}}}", go::source(value));
    match (kind, value) {
        (_, Value::Null)
        | (ScalarKind::Numeric | ScalarKind::Untyped, Value::Number(_))
        | (ScalarKind::String | ScalarKind::Untyped, Value::String(_))
        | (ScalarKind::Boolean | ScalarKind::Untyped, Value::Bool(_)) => None,
        (ScalarKind::Numeric, other) => Some(format!("expected numeric (int or float), got {}", go::type_name(other))),
        (ScalarKind::String, _) => Some(format!("expected string, got {}", raw())),
        (ScalarKind::Boolean, other) => Some(format!("expected boolean, got &{{{}}}", go::plain(other))),
        (ScalarKind::Untyped, other) => Some(format!("expected any scalar, got &{{{}}}", go::plain(other))),
    }
}

/// The fields of a value, as an applier owns them: leaves, items of lists, keys of maps; not the structs around them.
pub(super) fn fields<'a>(value: &'a Value, of: Type<'a>) -> Set<'a> {
    fields_at(value, of).1
}

/// Whether the value itself is a leaf, and what is below it.
fn fields_at<'a>(value: &'a Value, of: Type<'a>) -> (bool, Set<'a>) {
    match of.shape_of(value) {
        Shape::Scalar(_) => (true, Set::default()),
        Shape::Map(map) if map.atomic => (true, Set::default()),
        Shape::List(list) if list.atomic() => (true, Set::default()),
        Shape::Map(map) => (false, value.as_object().map_or_else(Set::default, |fields| map_fields(fields, map))),
        Shape::List(list) => (false, value.as_array().map_or_else(Set::default, |items| list_fields(items, list))),
    }
}

fn map_fields<'a>(fields: &'a serde_json::Map<String, Value>, map: MapShape<'a>) -> Set<'a> {
    let mut entries = Vec::with_capacity(fields.len());
    for (name, value) in map.entries(fields) {
        let field = map.field(name);
        let (leaf, below) = fields_at(value, field.map_or(Type::Deduced, |field| field.of));
        let empty = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
        let member = leaf || empty || !field.is_some_and(|field| field.named);
        entries.push(Entry { element: Element::field(name), member, below });
    }
    Set::from_entries(entries)
}

fn list_fields<'a>(items: &'a [Value], list: ListShape<'a>) -> Set<'a> {
    let mut entries: Vec<Entry<'a>> = Vec::with_capacity(items.len());
    for item in items {
        let Ok(element) = list.element(item) else { continue };
        if let Some(before) = entries.iter_mut().find(|entry| entry.element == element) {
            // Of an item that is there twice only the item is owned, not its fields.
            before.below = Set::default();
            continue;
        }
        let (_, below) = fields_at(item, list.item());
        entries.push(Entry { element, member: true, below });
    }
    Set::from_entries(entries)
}

/// What differs between two values.
#[derive(Default)]
pub(super) struct Difference<'a> {
    pub(super) added: Set<'a>,
    pub(super) modified: Set<'a>,
    pub(super) removed: Set<'a>,
}

impl<'a> Difference<'a> {
    /// What was added or modified, and what was removed.
    pub(super) fn split(self) -> (Set<'a>, Set<'a>) {
        let changed = match (self.modified.is_empty(), self.added.is_empty()) {
            (true, _) => self.added,
            (_, true) => self.modified,
            _ => self.modified.union(&self.added),
        };
        (changed, self.removed)
    }

    pub(super) fn map(self, change: impl Fn(Set<'a>) -> Set<'a>) -> Difference<'a> {
        Difference { added: change(self.added), modified: change(self.modified), removed: change(self.removed) }
    }

    fn merge(self, other: &Difference<'a>) -> Difference<'a> {
        Difference {
            added: self.added.union(&other.added),
            modified: self.modified.union(&other.modified),
            removed: self.removed.union(&other.removed),
        }
    }
}

/// Compares two objects.
///
/// # Errors
/// Where both sides are invalid in the same place.
pub(super) fn compare<'a>(before: &'a Value, after: &'a Value, of: Type<'a>) -> Result<Difference<'a>, String> {
    Ok(compare_at(Some(before), Some(after), of)?.below)
}

/// The result of comparing one place: what happened to the place itself, and below it.
#[derive(Default)]
struct Place<'a> {
    added: bool,
    modified: bool,
    removed: bool,
    below: Difference<'a>,
}

fn compare_at<'a>(before: Option<&'a Value>, after: Option<&'a Value>, of: Type<'a>) -> Result<Place<'a>, String> {
    // Both were checked against the type: what is equal needs no look below.
    if let (Some(before), Some(after)) = (before, after)
        && same(before, after)
    {
        return Ok(Place::default());
    }
    let choice = |value: Option<&Value>| value.map(|value| of.choose(value));
    match (choice(before), choice(after)) {
        (None, None) => Ok(Place::default()),
        (Some(left), Some(right)) if left != right => {
            // The value changed its shape: gone in one, new in the other.
            let first = compare_shape(before, after, of.shape(left))?;
            let second = compare_shape(before, after, of.shape(right))?;
            Ok(Place {
                added: first.added || second.added,
                modified: first.modified || second.modified,
                removed: first.removed || second.removed,
                below: first.below.merge(&second.below),
            })
        }
        (Some(choice), None) | (_, Some(choice)) => compare_shape(before, after, of.shape(choice)),
    }
}

fn compare_shape<'a>(
    before: Option<&'a Value>,
    after: Option<&'a Value>,
    shape: Shape<'a>,
) -> Result<Place<'a>, String> {
    let leaf = || Place {
        added: before.is_none(),
        removed: after.is_none(),
        modified: matches!((before, after), (Some(before), Some(after)) if !same(before, after)),
        below: Difference::default(),
    };
    let below = match shape {
        Shape::Scalar(kind) => {
            if let (Some(left), Some(right)) = (
                before.and_then(|value| refuse_scalar(value, kind)),
                after.and_then(|value| refuse_scalar(value, kind)),
            ) {
                return Err(format!("lhs: {left}, rhs: {right}"));
            }
            return Ok(leaf());
        }
        Shape::Map(map) => {
            let left = before.and_then(Value::as_object).filter(|map| !map.is_empty());
            let right = after.and_then(Value::as_object).filter(|map| !map.is_empty());
            if map.atomic || (left.is_none() && right.is_none()) {
                return Ok(leaf());
            }
            compare_maps(left, right, map)?
        }
        Shape::List(list) => {
            let left = before.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let right = after.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            if list.atomic() || (left.is_empty() && right.is_empty()) {
                return Ok(leaf());
            }
            compare_lists(left, right, list)?
        }
    };
    Ok(Place { added: before.is_none(), removed: after.is_none(), modified: false, below })
}

/// Collects the places of one level.
#[derive(Default)]
struct Level<'a> {
    added: Vec<Entry<'a>>,
    modified: Vec<Entry<'a>>,
    removed: Vec<Entry<'a>>,
}

impl<'a> Level<'a> {
    fn put(&mut self, element: Element<'a>, place: Place<'a>) {
        let Place { added, modified, removed, below } = place;
        for (list, member, below) in [
            (&mut self.added, added, below.added),
            (&mut self.modified, modified, below.modified),
            (&mut self.removed, removed, below.removed),
        ] {
            if member || !below.is_empty() {
                list.push(Entry { element: element.clone(), member, below });
            }
        }
    }

    fn finish(self) -> Difference<'a> {
        Difference {
            added: Set::from_entries(self.added),
            modified: Set::from_entries(self.modified),
            removed: Set::from_entries(self.removed),
        }
    }
}

type Fields = serde_json::Map<String, Value>;

fn compare_maps<'a>(
    before: Option<&'a Fields>,
    after: Option<&'a Fields>,
    map: MapShape<'a>,
) -> Result<Difference<'a>, String> {
    let mut level = Level::default();
    let of = |name: &str| map.field(name).map_or(Type::Deduced, |field| field.of);
    for (name, left) in before.into_iter().flat_map(|before| map.entries(before)) {
        let right = after.and_then(|after| after.get(name));
        level.put(Element::field(name), compare_at(Some(left), right, of(name))?);
    }
    for (name, right) in after.into_iter().flat_map(|after| map.entries(after)) {
        if before.is_none_or(|before| !before.contains_key(name)) {
            level.put(Element::field(name), compare_at(None, Some(right), of(name))?);
        }
    }
    Ok(level.finish())
}

fn compare_lists<'a>(before: &'a [Value], after: &'a [Value], list: ListShape<'a>) -> Result<Difference<'a>, String> {
    let mut groups: Vec<(Element<'a>, [Vec<&'a Value>; 2])> = Vec::with_capacity(before.len().max(after.len()));
    for (side, items) in [before, after].into_iter().enumerate() {
        for (index, item) in items.iter().enumerate() {
            let element = list.element(item).map_err(|reason| format!("element {index}: {reason}"))?;
            match groups.iter_mut().find(|group| group.0 == element) {
                Some(group) => group.1[side].push(item),
                None => {
                    let mut sides = [Vec::new(), Vec::new()];
                    sides[side].push(item);
                    groups.push((element, sides));
                }
            }
        }
    }
    let mut level = Level::default();
    for (element, [left, right]) in groups {
        let item = |items: &[&'a Value]| items.first().copied();
        // Items that are there more than once are compared as one unit.
        let place = match (left.len(), right.len()) {
            (0 | 1, 0 | 1) => compare_at(item(&left), item(&right), list.item())?,
            (2.., 2..) => Place {
                modified: left.len() != right.len() || left.iter().zip(&right).any(|(a, b)| !same(a, b)),
                ..Place::default()
            },
            (2.., _) => Place { removed: true, ..compare_at(None, item(&right), list.item())? },
            _ => Place { added: true, ..compare_at(item(&left), None, list.item())? },
        };
        level.put(element, place);
    }
    Ok(level.finish())
}
