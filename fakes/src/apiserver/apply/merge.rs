//! Puts an applied body over the live object, and takes given fields out of one.

use std::collections::VecDeque;

use serde_json::{Map, Value};

use super::element::Element;
use super::set::Set;
use super::shape::{ListShape, MapShape, Shape, Type};

/// The live value with the applied one over it: leaves of the body win, maps and associative lists are joined.
pub(super) fn merge(live: &Value, body: &Value, of: Type<'_>) -> Value {
    let choice = of.choose(body);
    match of.shape(choice) {
        Shape::Map(map) => {
            let left = live.as_object().filter(|map| !map.is_empty());
            let right = body.as_object().filter(|map| !map.is_empty());
            if map.atomic || (left.is_none() && right.is_none()) {
                return body.clone();
            }
            merge_maps(left, right, map)
        }
        Shape::List(list) => {
            let left = live.as_array().map_or(&[][..], Vec::as_slice);
            let right = body.as_array().map_or(&[][..], Vec::as_slice);
            if list.atomic() || (left.is_empty() && right.is_empty()) {
                return body.clone();
            }
            Value::Array(merge_lists(left, right, list))
        }
        Shape::Scalar(_) => body.clone(),
    }
}

fn merge_maps(left: Option<&Map<String, Value>>, right: Option<&Map<String, Value>>, map: MapShape<'_>) -> Value {
    let size = |map: Option<&Map<String, Value>>| map.map_or(0, Map::len);
    // Most of what is applied is there already.
    let mut out = Map::with_capacity(size(left).max(size(right)));
    for (name, live) in left.into_iter().flat_map(|left| map.entries(left)) {
        let merged = match right.and_then(|right| right.get(name)) {
            Some(body) => merge(live, body, map.field(name).map_or(Type::Deduced, |field| field.of)),
            None => live.clone(),
        };
        out.insert(name.to_owned(), merged);
    }
    for (name, body) in right.into_iter().flat_map(|right| map.entries(right)) {
        if left.is_none_or(|left| !left.contains_key(name)) {
            out.insert(name.to_owned(), body.clone());
        }
    }
    Value::Object(out)
}

/// Joins two associative lists (apiserver.md D10). Shared items come in the order of the body; an item only the live
/// list has keeps its place relative to the shared ones around it.
fn merge_lists(live: &[Value], body: &[Value], list: ListShape<'_>) -> Vec<Value> {
    let address = |items| -> Vec<Element<'_>> {
        let items: &[Value] = items;
        items.iter().filter_map(|item| list.element(item).ok()).collect()
    };
    let (left, right) = (address(live), address(body));
    if left.len() != live.len() || right.len() != body.len() {
        return body.to_vec();
    }
    // An item the live list has twice merges with nothing.
    let partner = |element: &Element<'_>| {
        let mut found = left.iter().enumerate().filter(|(_, other)| *other == element);
        match (found.next(), found.next()) {
            (Some((at, _)), None) => Some(&live[at]),
            _ => None,
        }
    };
    let joined = |at: usize| match partner(&right[at]) {
        Some(live) => merge(live, &body[at], list.item()),
        None => body[at].clone(),
    };
    let mut shared: VecDeque<usize> = (0..right.len()).filter(|at| left.contains(&right[*at])).collect();
    let mut done = vec![false; right.len()];
    let mut out = Vec::with_capacity(live.len().max(body.len()));
    let (mut l, mut r) = (0, 0);
    while l < left.len() || r < right.len() {
        if l < left.len() && r < right.len() {
            if left[l] == right[r] {
                out.push(joined(r));
                done[r] = true;
                l += 1;
                r += 1;
                shared.pop_front();
                continue;
            }
            // A shared item whose turn has not come.
            if right.contains(&left[l]) && shared.front().is_some_and(|next| right[*next] != left[l]) {
                l += 1;
                continue;
            }
        }
        if l < left.len() {
            match right.iter().position(|element| *element == left[l]) {
                None => {
                    out.push(live[l].clone());
                    l += 1;
                    continue;
                }
                Some(at) if done[at] => l += 1,
                Some(_) => {}
            }
        }
        if r < right.len() {
            out.push(joined(r));
            done[r] = true;
            if shared.front() == Some(&r) {
                shared.pop_front();
            }
            r += 1;
        }
    }
    out
}

/// The value without the given fields. `None` where nothing is left of a map or list that lost something.
pub(super) fn remove(value: &Value, fields: &Set<'_>, of: Type<'_>) -> Option<Value> {
    match of.shape_of(value) {
        Shape::Scalar(_) => Some(value.clone()),
        Shape::Map(map) => {
            let live = value.as_object()?;
            if live.is_empty() || map.atomic {
                return None;
            }
            let mut out = Map::new();
            for (name, value) in map.entries(live) {
                let inner = match fields.get(&Element::field(name)) {
                    Some(entry) if entry.member => continue,
                    Some(entry) => {
                        let of = map.field(name).map_or(Type::Deduced, |field| field.of);
                        remove(value, &entry.below, of).unwrap_or_else(|| emptied(value))
                    }
                    None => value.clone(),
                };
                out.insert(name.to_owned(), inner);
            }
            (!out.is_empty()).then_some(Value::Object(out))
        }
        Shape::List(list) => {
            let live = value.as_array()?;
            if live.is_empty() || list.atomic() {
                return None;
            }
            let mut out = Vec::with_capacity(live.len());
            for item in live {
                let entry = list.element(item).ok().and_then(|element| fields.get(&element));
                match entry {
                    Some(entry) if entry.member => {}
                    Some(entry) => out.push(remove(item, &entry.below, list.item()).unwrap_or_else(|| emptied(item))),
                    None => out.push(item.clone()),
                }
            }
            (!out.is_empty()).then_some(Value::Array(out))
        }
    }
}

/// A map or list that lost everything but is itself kept: its owner sees it empty, not null.
fn emptied(value: &Value) -> Value {
    if value.is_array() { Value::Array(Vec::new()) } else { Value::Object(Map::new()) }
}
