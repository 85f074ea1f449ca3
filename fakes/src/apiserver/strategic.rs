//! Strategic merge patch of built-in kinds (G4): maps merge, lists merge by their key where the kind says so, directives delete and replace.

use serde_json::{Map, Value};

use super::errors::{Outcome, Status};
use super::schema::Node;

const DIRECTIVE: &str = "$patch";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";
const RETAIN_KEYS: &str = "$retainKeys";

/// How a list field merges.
enum Strategy<'a> {
    /// Replaced as a whole.
    Replace,
    /// Scalars, each once.
    Scalars,
    /// Objects, by this key.
    ByKey(&'a str),
}

/// Merges `patch` into `target`, an object of the kind whose schema is `node`.
///
/// # Errors
/// 400 for a directive that cannot be understood.
pub fn merge(target: &mut Value, patch: &Value, node: &Node) -> Outcome<()> {
    let (Value::Object(fields), Value::Object(patch)) = (&mut *target, patch) else {
        *target = patch.clone();
        return Ok(());
    };
    merge_map(fields, patch, Some(node), true)
}

fn merge_map(
    target: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    node: Option<&Node>,
    root: bool,
) -> Outcome<()> {
    match patch.get(DIRECTIVE).map(Value::as_str) {
        Some(Some("replace")) => {
            *target = patch.clone();
            target.shift_remove(DIRECTIVE);
            return Ok(());
        }
        Some(Some("delete")) => {
            target.clear();
            return Ok(());
        }
        Some(Some("merge")) | None => {}
        Some(found) => {
            return Err(Status::bad_request(format!("unknown patch type found: {}", found.unwrap_or_default())));
        }
    }
    if let Some(keys) = patch.get(RETAIN_KEYS).and_then(Value::as_array) {
        target.retain(|key, _| keys.iter().any(|kept| kept == key.as_str()));
    }
    for (key, value) in patch.iter().filter(|(key, _)| !key.starts_with('$')) {
        let metadata = root && key == "metadata";
        let field = node.and_then(|node| node.field(key)).map(|field| &**field);
        let order = patch.get(&format!("{ORDER}{key}")).and_then(Value::as_array);
        match (target.get_mut(key), value) {
            (_, Value::Null) => drop(target.shift_remove(key)),
            (Some(Value::Object(old)), Value::Object(new)) if metadata => merge_metadata(old, new)?,
            (Some(Value::Object(old)), Value::Object(new)) => merge_map(old, new, field, false)?,
            (Some(Value::Array(old)), Value::Array(new)) => {
                *old = merge_list(old, new, order, field, &strategy(field))?;
            }
            (_, Value::Array(new)) => {
                let fresh = merge_list(&[], new, order, field, &strategy(field))?;
                target.insert(key.clone(), Value::Array(fresh));
            }
            (_, Value::Object(new)) => {
                let mut fresh = Map::new();
                merge_map(&mut fresh, new, field, false)?;
                target.insert(key.clone(), Value::Object(fresh));
            }
            (_, other) => drop(target.insert(key.clone(), other.clone())),
        }
    }
    let removals =
        patch.iter().filter_map(|(key, value)| Some((key.strip_prefix(DELETE_FROM_LIST)?, value.as_array()?)));
    for (key, removed) in removals {
        if let Some(Value::Array(items)) = target.get_mut(key) {
            items.retain(|item| !removed.contains(item));
        }
    }
    Ok(())
}

/// Metadata has no schema of its own here: its lists with an identity are these two.
fn merge_metadata(target: &mut Map<String, Value>, patch: &Map<String, Value>) -> Outcome<()> {
    let mut rest = patch.clone();
    for (key, strategy) in [("finalizers", Strategy::Scalars), ("ownerReferences", Strategy::ByKey("uid"))] {
        if let Some(Value::Array(new)) = patch.get(key) {
            let order = patch.get(&format!("{ORDER}{key}")).and_then(Value::as_array);
            let old = target.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
            target.insert(key.to_owned(), Value::Array(merge_list(&old, new, order, None, &strategy)?));
            rest.shift_remove(key);
        }
    }
    merge_map(target, &rest, None, false)
}

fn strategy(field: Option<&Node>) -> Strategy<'_> {
    let text =
        |name: &str| field.and_then(|field| field.extensions.get(name)).and_then(Value::as_str).unwrap_or_default();
    let merges = text("x-kubernetes-patch-strategy").split(',').any(|part| part == "merge");
    match (merges, text("x-kubernetes-patch-merge-key")) {
        (false, _) => Strategy::Replace,
        (true, "") => Strategy::Scalars,
        (true, key) => Strategy::ByKey(key),
    }
}

fn merge_list(
    old: &[Value],
    patch: &[Value],
    order: Option<&Vec<Value>>,
    field: Option<&Node>,
    strategy: &Strategy<'_>,
) -> Outcome<Vec<Value>> {
    let key = match strategy {
        Strategy::Replace => return Ok(patch.to_vec()),
        Strategy::Scalars => None,
        Strategy::ByKey(key) => Some(*key),
    };
    let Some(key) = key else {
        let mut merged = old.to_vec();
        patch.iter().for_each(|item| {
            if !merged.contains(item) {
                merged.push(item.clone());
            }
        });
        return Ok(ordered(merged, order.map_or(patch, Vec::as_slice), old, None));
    };
    if patch.iter().any(|item| item[DIRECTIVE] == "replace" && item.get(key).is_none()) {
        return Ok(patch.iter().filter(|item| item.get(DIRECTIVE).is_none()).cloned().collect());
    }
    let mut merged = old.to_vec();
    let item_node = field.and_then(|field| field.items.as_deref());
    let mut plain = Vec::new();
    for item in patch {
        let identity = item.get(key).ok_or_else(|| {
            Status::bad_request(format!(
                "map: {} does not contain declared merge key: {key}",
                super::json::to_string(item)
            ))
        })?;
        let found = merged.iter().position(|known| known.get(key) == Some(identity));
        match (item[DIRECTIVE].as_str(), found) {
            (Some("delete"), _) => merged.retain(|known| known.get(key) != Some(identity)),
            (_, Some(index)) => {
                if let (Value::Object(known), Value::Object(item)) = (&mut merged[index], item) {
                    merge_map(known, item, item_node, false)?;
                }
                plain.push(item.clone());
            }
            (_, None) => {
                let mut fresh = Map::new();
                if let Value::Object(item) = item {
                    merge_map(&mut fresh, item, item_node, false)?;
                }
                merged.push(Value::Object(fresh));
                plain.push(item.clone());
            }
        }
    }
    Ok(ordered(merged, order.map_or(plain.as_slice(), Vec::as_slice), old, Some(key)))
}

/// Order of a merged list: items of the patch in its order, the others in the server's; two items that both were on the server keep
/// their order there, and an item that was not comes before.
fn ordered(merged: Vec<Value>, patch: &[Value], server: &[Value], key: Option<&str>) -> Vec<Value> {
    let identity = |item: &Value| key.map_or_else(|| item.clone(), |key| item[key].clone());
    let place = |list: &[Value], item: &Value| list.iter().position(|known| identity(known) == identity(item));
    let (mut right, mut left): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|item| place(patch, item).is_some());
    right.sort_by_key(|item| place(patch, item));
    left.sort_by_key(|item| place(server, item));
    let mut out = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    loop {
        let take_left = match (left.peek(), right.peek()) {
            (None, None) => return out,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(l), Some(r)) => place(server, l).zip(place(server, r)).is_some_and(|(l, r)| l < r),
        };
        out.extend(if take_left { left.next() } else { right.next() });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::apiserver::resource::Resource;

    fn merged(object: &Value, patch: &Value) -> Value {
        let pods = Resource::builtin("", "v1", "Pod", "pods", &[]);
        let mut object = object.clone();
        super::merge(&mut object, patch, pods.schema().root()).expect("a good patch");
        object
    }

    /// G4: containers by name, new ones first; directives.
    #[test]
    fn conf_g4_lists_merge_by_key() {
        let pod = json!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}], "nodeSelector": {"x": "1"}}});
        let names = |value: &Value| {
            let containers = value["spec"]["containers"].as_array().cloned().unwrap_or_default();
            containers
                .iter()
                .map(|item| format!("{}{}", item["name"].as_str().unwrap_or(""), item["image"].as_str().unwrap_or("")))
                .collect::<Vec<_>>()
        };
        for (containers, wanted) in [
            (json!([{"name": "c", "image": "2"}]), vec!["c2", "a1", "b1"]),
            (json!([{"name": "b", "image": "2"}]), vec!["a1", "b2"]),
            (json!([{"name": "a", "$patch": "delete"}]), vec!["b1"]),
            (json!([{"$patch": "replace"}, {"name": "z", "image": "9"}]), vec!["z9"]),
        ] {
            let result = merged(&pod, &json!({"spec": {"containers": containers}}));
            assert_eq!(names(&result), wanted);
        }
        let ordered = json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "a", "image": "3"}]}});
        assert_eq!(names(&merged(&pod, &ordered)), ["b1", "a3"]);
        let finalizers = json!({"metadata": {"finalizers": ["x/a", "x/b"], "labels": {"a": "1"}}});
        let result = merged(
            &finalizers,
            &json!({"metadata": {"finalizers": ["x/c"], "$deleteFromPrimitiveList/finalizers": ["x/a"], "labels": {"b": "2"}}}),
        );
        assert_eq!(result, json!({"metadata": {"finalizers": ["x/c", "x/b"], "labels": {"a": "1", "b": "2"}}}));
        let replaced = merged(&pod, &json!({"spec": {"nodeSelector": {"$patch": "replace", "y": "2"}}}));
        assert_eq!(replaced["spec"]["nodeSelector"], json!({"y": "2"}));
    }
}
