//! Who owns which field (`metadata.managedFields`), and whether an object already holds what we would write.
//!
//! An unforced apply answers 409 when somebody else holds another value. We know that before asking, from the object, so a
//! conflict is a state with a condition, not an error that repeats (contract §3.3).

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::cluster_api::{Manager, Object};

/// One entry of `metadata.managedFields`.
#[derive(Clone, Debug)]
struct Entry<'a> {
    manager: &'a str,
    operation: &'a str,
    subresource: &'a str,
    fields: &'a Value,
}

impl Entry<'_> {
    fn is_ours(&self) -> bool {
        self.manager == Manager::Operator.name() && self.operation == "Apply" && self.subresource.is_empty()
    }

    /// Written by the existing agent; on a child of ours it becomes ours before anything is applied ([`repaired`]).
    fn is_legacy(&self) -> bool {
        LEGACY_MANAGERS.contains(&self.manager) && self.operation == "Update" && self.subresource.is_empty()
    }
}

fn raw(object: &Object) -> &[Value] {
    object.0.pointer("/metadata/managedFields").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn entries(object: &Object) -> impl Iterator<Item = Entry<'_>> {
    raw(object).iter().map(|entry| {
        let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default();
        Entry {
            manager: text("manager"),
            operation: text("operation"),
            subresource: text("subresource"),
            fields: entry.get("fieldsV1").unwrap_or(&Value::Null),
        }
    })
}

/// Whether the set holds the path: the field itself, or a whole above it.
fn holds(mut fields: &Value, path: &[String]) -> bool {
    for step in path {
        let Some(below) = fields.get(format!("f:{step}")) else { return false };
        fields = below;
        if fields.as_object().is_none_or(Map::is_empty) {
            return true;
        }
    }
    // A structure is held where the set names it, not where it only names parts of it.
    fields.get(".").is_some()
}

fn path(steps: &[&str]) -> Vec<String> {
    steps.iter().map(|step| (*step).to_string()).collect()
}

/// Whether our applies hold this field.
pub fn ours(object: &Object, steps: &[&str]) -> bool {
    let path = path(steps);
    entries(object).any(|entry| entry.is_ours() && holds(entry.fields, &path))
}

/// Whether anybody else holds this field.
pub fn others(object: &Object, steps: &[&str]) -> bool {
    let path = path(steps);
    entries(object).any(|entry| !entry.is_ours() && entry.subresource.is_empty() && holds(entry.fields, &path))
}

/// Names of the managers that hold this field, itself or with a whole above it.
pub fn holders<'a>(object: &'a Object, path: &[String]) -> BTreeSet<&'a str> {
    entries(object)
        .filter(|entry| entry.subresource.is_empty() && holds(entry.fields, path))
        .map(|entry| entry.manager)
        .collect()
}

/// Paths of the leaves that applies of `manager` hold. A list counts as one leaf, whatever it is keyed by.
pub fn held(object: &Object, manager: Manager) -> BTreeSet<Vec<String>> {
    let mut found = BTreeSet::new();
    for entry in entries(object) {
        if entry.manager == manager.name() && entry.operation == "Apply" && entry.subresource.is_empty() {
            below(entry.fields, &mut Vec::new(), &mut found);
        }
    }
    found
}

fn below(fields: &Value, path: &mut Vec<String>, found: &mut BTreeSet<Vec<String>>) {
    let named =
        || fields.as_object().into_iter().flatten().filter_map(|(key, below)| Some((key.strip_prefix("f:")?, below)));
    if named().next().is_none() && !path.is_empty() {
        found.insert(path.clone());
    }
    for (name, fields) in named() {
        path.push(name.into());
        below(fields, path, found);
        path.pop();
    }
}

/// Whether the finalizer is ours alone and came by apply: then an apply without it removes it.
pub fn finalizer_is_ours_alone(object: &Object, finalizer: &str) -> bool {
    let item = format!("v:{}", json!(finalizer));
    let has = |entry: &Entry<'_>| {
        entry.fields.pointer("/f:metadata/f:finalizers").is_some_and(|set| set.get(&item).is_some() || is_leaf(set))
    };
    let mut holders = entries(object).filter(has).peekable();
    holders.peek().is_some() && holders.all(|entry| entry.is_ours())
}

fn is_leaf(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty)
}

/// Fields of `desired` that somebody else holds with another value: manager and dotted path, sorted.
pub fn conflicts(live: &Object, desired: &Object) -> BTreeSet<(String, String)> {
    let mut differing = Vec::new();
    leaves(&live.0, &desired.0, &mut Vec::new(), &mut differing);
    let foreign: Vec<Entry<'_>> =
        entries(live).filter(|entry| !entry.is_ours() && !entry.is_legacy() && entry.subresource.is_empty()).collect();
    let mut found = BTreeSet::new();
    for path in differing {
        for entry in &foreign {
            if holds(entry.fields, &path) {
                found.insert((entry.manager.to_string(), path.join(".")));
            }
        }
    }
    found
}

/// Paths of the leaves of `desired` that `live` holds with another value. Lists count as one leaf, except owner references,
/// which are merged by uid and cannot conflict.
fn leaves(live: &Value, desired: &Value, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    for (name, value) in desired.as_object().into_iter().flatten() {
        let identity = matches!(
            (path.first().map(String::as_str), name.as_str()),
            (None, "apiVersion" | "kind") | (Some("metadata"), "name" | "namespace" | "uid" | "ownerReferences")
        );
        if identity {
            continue;
        }
        let below = live.get(name).unwrap_or(&Value::Null);
        path.push(name.clone());
        match value {
            Value::Object(map) if !map.is_empty() && (below.is_object() || below.is_null()) => {
                leaves(below, value, path, found);
            }
            _ if !covers(below, value) => found.push(path.clone()),
            _ => {}
        }
        path.pop();
    }
}

/// Whether `live` holds everything `desired` says. More is allowed in maps, not in lists; numbers count by value.
pub fn covers(live: &Value, desired: &Value) -> bool {
    match (live, desired) {
        (Value::Object(live), Value::Object(desired)) => {
            desired.iter().all(|(name, value)| covers(live.get(name).unwrap_or(&Value::Null), value))
        }
        (Value::Array(live), Value::Array(desired)) => {
            live.len() == desired.len() && live.iter().zip(desired).all(|(live, desired)| covers(live, desired))
        }
        (Value::Number(live), Value::Number(desired)) => live == desired || live.as_f64() == desired.as_f64(),
        // The server may drop a null or an empty map.
        (Value::Null, Value::Object(desired)) => desired.values().all(|value| covers(&Value::Null, value)),
        (live, desired) => live == desired,
    }
}

/// Whether `live` needs no apply of `desired`. Owner references of others beside ours are none of our business.
pub fn settled(live: &Object, desired: &Object) -> bool {
    let mut rest = desired.0.clone();
    let references = rest
        .get_mut("metadata")
        .and_then(Value::as_object_mut)
        .map(|metadata| metadata.remove("ownerReferences").unwrap_or(Value::Null));
    let present = live.0.pointer("/metadata/ownerReferences").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let wanted = references.as_ref().and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    wanted.iter().all(|wanted| present.iter().any(|present| covers(present, wanted))) && covers(&live.0, &rest)
}

/// Field managers under which the existing agent wrote children (contract §26.2).
const LEGACY_MANAGERS: [&str; 2] = ["vworkspace-app-operator", "manager"];

/// `managedFields` as they should be, if they are not: entries of the existing agent become ours, so that what it wrote
/// can be taken back; entries in a version that is no longer served are moved to `api_version`, because they would make
/// every apply fail (downstream §0.2). `adopt` says whether the object is a child of ours.
pub fn repaired(object: &Object, adopt: bool, served: &[String], api_version: &str) -> Option<Value> {
    let mut entries: Vec<Value> = raw(object).to_vec();
    let mut changed = false;
    let mine =
        entries.iter().position(|entry| entry["manager"] == Manager::Operator.name() && entry["operation"] == "Apply");
    let mut merged = mine.map(|index| entries[index].clone());
    let mut kept = Vec::new();
    for (index, mut entry) in entries.drain(..).enumerate() {
        let version = entry["apiVersion"].as_str().unwrap_or_default().to_string();
        if !version.is_empty() && !served.contains(&version) {
            entry["apiVersion"] = json!(api_version);
            changed = true;
            if Some(index) == mine
                && let Some(merged) = &mut merged
            {
                merged["apiVersion"] = json!(api_version);
            }
        }
        let legacy = adopt
            && entry["operation"] == "Update"
            && entry.get("subresource").and_then(Value::as_str).unwrap_or_default().is_empty()
            && LEGACY_MANAGERS.iter().any(|manager| entry["manager"] == *manager);
        if legacy {
            changed = true;
            match &mut merged {
                Some(ours) => {
                    let mut union = ours["fieldsV1"].clone();
                    unite(&mut union, &entry["fieldsV1"]);
                    ours["fieldsV1"] = union;
                }
                None => {
                    entry["manager"] = json!(Manager::Operator.name());
                    entry["operation"] = json!("Apply");
                    merged = Some(entry);
                }
            }
        } else if Some(index) != mine {
            kept.push(entry);
        }
    }
    changed.then(|| {
        kept.extend(merged);
        Value::Array(kept)
    })
}

fn unite(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                unite(into.entry(name.clone()).or_insert_with(|| json!({})), value);
            }
        }
        (into, from) if into.is_null() => *into = from.clone(),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(fields: &[(&str, &str, Value)], spec: Value) -> Object {
        let entries: Vec<Value> = fields
            .iter()
            .map(|(manager, operation, fields)| {
                json!({"manager": manager, "operation": operation, "apiVersion": "helm.toolkit.fluxcd.io/v2", "fieldsV1": fields})
            })
            .collect();
        Object(json!({"metadata": {"name": "a", "managedFields": entries}, "spec": spec}))
    }

    #[test]
    fn a_foreign_value_is_a_conflict_and_an_equal_one_is_not() {
        let held = json!({"f:spec": {"f:interval": {}, "f:values": {".": {}, "f:a": {".": {}, "f:b": {}}}}});
        let object = live(&[("kubectl-edit", "Update", held)], json!({"interval": "1m", "values": {"a": {"b": 1}}}));
        let desired = |interval: &str, b: i64| {
            Object(
                json!({"metadata": {"name": "a"}, "spec": {"interval": interval, "values": {"a": {"b": b}}, "timeout": "5m"}}),
            )
        };
        let named = |desired: &Object| {
            conflicts(&object, desired)
                .into_iter()
                .map(|(manager, path)| format!("{manager} {path}"))
                .collect::<Vec<_>>()
        };
        assert!(named(&desired("1m", 1)).is_empty());
        assert_eq!(named(&desired("5m", 1)), ["kubectl-edit spec.interval"]);
        assert_eq!(named(&desired("5m", 2)), ["kubectl-edit spec.interval", "kubectl-edit spec.values.a.b"]);
    }

    #[test]
    fn what_we_hold_ourselves_is_no_conflict() {
        let held = json!({"f:spec": {"f:interval": {}}});
        let object = live(&[("vworkspace-operator", "Apply", held)], json!({"interval": "1m"}));
        assert!(conflicts(&object, &Object(json!({"spec": {"interval": "5m"}}))).is_empty());
        assert!(ours(&object, &["spec", "interval"]) && !others(&object, &["spec", "interval"]));
        assert!(!ours(&object, &["spec", "suspend"]));
    }

    #[test]
    fn settled_means_nothing_of_ours_is_missing() {
        let live = Object(
            json!({"metadata": {"labels": {"a": "1", "b": "2"}, "ownerReferences": [{"uid": "x"}, {"uid": "u", "kind": "K", "controller": true}]}, "spec": {"n": 1.0, "list": [{"a": 1, "defaulted": true}]}}),
        );
        let desired = |spec: Value| {
            Object(
                json!({"metadata": {"labels": {"a": "1"}, "ownerReferences": [{"uid": "u", "kind": "K"}]}, "spec": spec}),
            )
        };
        assert!(settled(&live, &desired(json!({"n": 1, "list": [{"a": 1}], "empty": {}, "null": null}))));
        assert!(!settled(&live, &desired(json!({"n": 2}))));
        assert!(!settled(&live, &desired(json!({"list": []}))));
        let other = Object(json!({"metadata": {"ownerReferences": [{"uid": "v"}]}}));
        assert!(!settled(&live, &other));
    }

    #[test]
    fn entries_of_the_existing_agent_become_ours_once() {
        let object = live(
            &[
                ("helm-controller", "Update", json!({"f:metadata": {}})),
                ("manager", "Update", json!({"f:spec": {"f:values": {"f:a": {}}}})),
                ("vworkspace-operator", "Apply", json!({"f:spec": {"f:interval": {}}})),
            ],
            json!({}),
        );
        let served = ["helm.toolkit.fluxcd.io/v2".to_string()];
        let repaired_fields = repaired(&object, true, &served, "helm.toolkit.fluxcd.io/v2").unwrap();
        let mut after = object.clone();
        after.0["metadata"]["managedFields"] = repaired_fields;
        assert!(ours(&after, &["spec", "values", "a"]) && ours(&after, &["spec", "interval"]));
        assert!(!others(&after, &["spec", "values", "a"]));
        assert_eq!(repaired(&after, true, &served, "helm.toolkit.fluxcd.io/v2"), None);
        assert_eq!(repaired(&object, false, &served, "helm.toolkit.fluxcd.io/v2"), None, "not a child of ours");
        let gone = repaired(&object, false, &["helm.toolkit.fluxcd.io/v3".to_string()], "helm.toolkit.fluxcd.io/v3");
        assert!(
            gone.unwrap().as_array().unwrap().iter().all(|entry| entry["apiVersion"] == "helm.toolkit.fluxcd.io/v3")
        );
    }

    #[test]
    fn the_leaves_of_a_manager_and_the_managers_of_a_leaf() {
        let upgrade = json!({"f:spec": {"f:chart": {"f:version": {}}, "f:values": {"f:inline": {
            "f:a": {".": {}, "f:b": {}}, "f:list": {"k:{\"name\":\"x\"}": {}}, "f:empty": {".": {}},
        }}}});
        let agent = json!({"f:spec": {"f:chart": {"f:version": {}, "f:name": {}}, "f:values": {}}});
        let object = live(
            &[
                ("vworkspace-operator-upgrade", "Apply", upgrade.clone()),
                ("vworkspace-operator-upgrade", "Update", json!({"f:spec": {"f:other": {}}})),
                ("vworkspace-agent", "Apply", agent),
                ("odd", "Apply", json!(7)),
            ],
            json!({}),
        );
        let leaves: Vec<String> = held(&object, Manager::Upgrade).iter().map(|path| path.join(".")).collect();
        assert_eq!(
            leaves,
            ["spec.chart.version", "spec.values.inline.a.b", "spec.values.inline.empty", "spec.values.inline.list"]
        );
        let managers = |text: &str| holders(&object, &text.split('.').map(String::from).collect::<Vec<_>>()).len();
        assert_eq!((managers("spec.chart.version"), managers("spec.chart.name"), managers("spec.chart")), (2, 1, 0));
        assert_eq!(managers("spec.values.inline.a.b"), 2, "a whole above it counts");
        assert!(held(&Object(json!(null)), Manager::Upgrade).is_empty());
    }

    #[test]
    fn a_finalizer_that_somebody_else_holds_too_is_not_ours_alone() {
        let set = json!({"f:metadata": {"f:finalizers": {".": {}, "v:\"apps.vworkspace.io/finalizer\"": {}}}});
        let finalizer = "apps.vworkspace.io/finalizer";
        assert!(finalizer_is_ours_alone(&live(&[("vworkspace-operator", "Apply", set.clone())], json!({})), finalizer));
        let both = live(&[("vworkspace-operator", "Apply", set.clone()), ("manager", "Update", set)], json!({}));
        assert!(!finalizer_is_ours_alone(&both, finalizer));
        assert!(!finalizer_is_ours_alone(&live(&[], json!({})), finalizer));
    }
}
