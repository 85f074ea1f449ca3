//! What an update cannot change stays, and `generation` follows what did.

use serde_json::{Value, json};

use crate::apiserver::meta;
use crate::apiserver::request::Target;
use crate::apiserver::resource::{Generation, Resource};

/// Keeps what this endpoint does not change: everything but status on `/status`, and status elsewhere (C1, C2).
pub(super) fn prepare_update(new: &mut Value, old: &Value, target: &Target) {
    let resource = &target.resource;
    if target.subresource.as_deref() == Some("status") && resource.custom.is_none() {
        put(new, "spec", old.get("spec").cloned());
        if &*resource.id == "deployments.apps" {
            meta::set(new, "labels", old["metadata"].get("labels").cloned());
        }
        return;
    }
    if target.subresource.as_deref() == Some("status") {
        restore(new, old, &["status"], &|new, old| {
            restore(new, old, &["managedFields"], &|new, old| *new = old.clone())
        });
        return;
    }
    if resource.status {
        put(new, "status", old.get("status").cloned());
    }
    if resource.namespaced {
        meta::set(new, "namespace", Some(json!(target.namespace)));
    }
    meta::set(new, "selfLink", None);
    meta::set(new, "creationTimestamp", old["metadata"].get("creationTimestamp").cloned());
    if resource.generation != Generation::None {
        meta::set(new, "generation", old["metadata"].get("generation").cloned());
    }
}

/// Puts back every field but those in `kept`; `metadata`, and below it everything, as `below` does. What is equal already stays where it
/// is: nearly always everything, and copying an object costs more than comparing it.
fn restore(new: &mut Value, old: &Value, kept: &[&str], below: &dyn Fn(&mut Value, &Value)) {
    let (Some(new), Some(old)) = (new.as_object_mut(), old.as_object()) else { return };
    if new.keys().any(|key| !kept.contains(&key.as_str()) && !old.contains_key(key)) {
        new.retain(|key, _| kept.contains(&key.as_str()) || old.contains_key(key));
    }
    for (key, value) in old.iter().filter(|(key, _)| !kept.contains(&key.as_str())) {
        match new.get_mut(key) {
            Some(found) if found == value => {}
            Some(found) if key == "metadata" => below(found, value),
            Some(found) => *found = value.clone(),
            None => drop(new.insert(key.clone(), value.clone())),
        }
    }
}

fn put(object: &mut Value, field: &str, value: Option<Value>) {
    if let Some(fields) = object.as_object_mut() {
        match value {
            Some(value) => drop(fields.insert(field.to_owned(), value)),
            None => drop(fields.shift_remove(field)),
        }
    }
}

pub(super) fn raise_generation(new: &mut Value, old: &Value, resource: &Resource, subresource: Option<&str>) {
    let changed = match resource.generation {
        Generation::None => return,
        _ if subresource == Some("status") => false,
        Generation::Spec => new["spec"] != old["spec"],
        Generation::SpecAndAnnotations => {
            new["spec"] != old["spec"] || new["metadata"]["annotations"] != old["metadata"]["annotations"]
        }
        Generation::AllButMetadata => {
            let counts =
                |key: &String| key != "metadata" && key != "apiVersion" && !(resource.status && key == "status");
            let (new, old) = (new.as_object(), old.as_object());
            let side = |object: Option<&serde_json::Map<String, Value>>| {
                object.map_or(0, |fields| fields.keys().filter(|key| counts(key)).count())
            };
            side(new) != side(old)
                || new
                    .into_iter()
                    .flatten()
                    .filter(|(key, _)| counts(key))
                    .any(|(key, value)| old.and_then(|old| old.get(key)) != Some(value))
        }
    };
    if changed {
        let generation = old["metadata"]["generation"].as_i64().unwrap_or(0);
        meta::set(new, "generation", Some(json!(generation + 1)));
    }
}
