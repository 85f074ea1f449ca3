//! The hand-over from client-side to server-side apply that `kubectl` gets: its own last applied configuration does not
//! conflict with it, and the annotation is kept up to date.

use serde_json::Value;

use super::managers::metadata_mut;
use super::set::Set;
use super::shape::Type;
use super::{Conflict, Target, typed};
use crate::apiserver::{depth, json};

/// The only manager with these rights.
pub(super) const KUBECTL: &str = "kubectl";
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Most bytes of all annotations; an annotation that would not fit is dropped.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

fn annotation(object: &Value) -> Option<&str> {
    object.get("metadata")?.get("annotations")?.get(ANNOTATION)?.as_str()
}

/// The conflicts that remain once fields are forgiven whose live value is what kubectl applied last. `None` where there
/// is no usable annotation.
pub(super) fn remaining(conflicts: &[Conflict], live: &Value, target: &Target<'_>) -> Option<Vec<Conflict>> {
    let text = annotation(live)?.as_bytes();
    depth::with_room(depth::is_deep_text(text), || forgiving(conflicts, text, live, target))
}

fn forgiving(conflicts: &[Conflict], text: &[u8], live: &Value, target: &Target<'_>) -> Option<Vec<Conflict>> {
    let (applied, _) = json::parse(text).ok()?;
    if applied.get("apiVersion").and_then(Value::as_str) != Some(target.api_version) {
        return None;
    }
    let of = Type::Root(target.schema);
    typed::check(&applied, of, false).ok()?;
    let difference = typed::compare(&applied, live, of).ok()?;
    let unchanged: Set<'_> = typed::fields(&applied, of)
        .difference(&difference.modified)
        .difference(&difference.added)
        .difference(&difference.removed);
    let allowed = unchanged.paths();
    Some(conflicts.iter().filter(|conflict| !allowed.contains(&conflict.field)).cloned().collect())
}

/// Writes the applied body into the annotation of an object that has one.
pub(super) fn refresh(object: &mut Value, body: &Value) {
    if annotation(object).is_none() {
        return;
    }
    let mut body = body.clone();
    if let Some(metadata) = metadata_mut(&mut body) {
        metadata.remove("managedFields");
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(ANNOTATION);
            if annotations.is_empty() {
                metadata.remove("annotations");
            }
        }
    }
    sort(&mut body);
    let Some(annotations) =
        metadata_mut(object).and_then(|metadata| metadata.get_mut("annotations")).and_then(Value::as_object_mut)
    else {
        return;
    };
    annotations.insert(ANNOTATION.to_owned(), Value::from(format!("{body}\n")));
    let bytes: usize = annotations.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if bytes > ANNOTATIONS_BYTES_MAX {
        annotations.shift_remove(ANNOTATION);
    }
}

fn sort(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.sort_keys();
            map.values_mut().for_each(sort);
        }
        Value::Array(items) => items.iter_mut().for_each(sort),
        _ => {}
    }
}
