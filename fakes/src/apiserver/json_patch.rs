//! JSON patch as the real server's library runs it, which differs from RFC 6902 where clients have come to rely on it (C18, G2):
//! `replace` of a missing key adds it, `test` for null passes when the key is missing, indexes may be negative.

use serde_json::Value;

use super::depth;

/// Applies a patch; on an error the object is half patched and must be thrown away.
///
/// # Errors
/// What went wrong, for nobody: the server does not tell.
pub fn apply(object: &mut Value, patch: &[Value]) -> Result<(), &'static str> {
    patch.iter().try_for_each(|operation| step(object, operation))
}

fn step(object: &mut Value, operation: &Value) -> Result<(), &'static str> {
    let path = operation["path"].as_str().ok_or("no path")?;
    let value = || operation.get("value").cloned().unwrap_or_default();
    match operation["op"].as_str() {
        Some("add") => add(object, path, value()),
        Some("remove") => remove(object, path).map(drop),
        Some("replace") => replace(object, path, value()),
        Some("test") => test(object, path, &value()),
        Some("move") => {
            let from = operation["from"].as_str().ok_or("no source")?;
            let moved = remove(object, from)?;
            add(object, path, moved)
        }
        Some("copy") => {
            let from = operation["from"].as_str().ok_or("no source")?;
            let copied = get(object, from)?.cloned().unwrap_or_default();
            add(object, path, copied)
        }
        _ => Err("unknown operation"),
    }
}

/// The container of a path and the last key in it.
fn container<'a>(object: &'a mut Value, path: &str) -> Result<(&'a mut Value, String), &'static str> {
    let (parents, last) = path.rsplit_once('/').ok_or("the root cannot be patched")?;
    let mut at = object;
    for part in parents.split('/').skip(1) {
        let part = decoded(part);
        at = match at {
            Value::Object(fields) => fields.get_mut(&part),
            Value::Array(items) => index(&part, items.len()).and_then(|index| items.get_mut(index)),
            _ => None,
        }
        .ok_or("a parent is missing")?;
    }
    if !at.is_object() && !at.is_array() {
        return Err("a parent holds no fields");
    }
    Ok((at, decoded(last)))
}

fn decoded(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

/// An existing position; negative ones count from the end.
fn index(text: &str, length: usize) -> Option<usize> {
    let number: i64 = text.parse().ok()?;
    let length = i64::try_from(length).ok()?;
    let index = if number < 0 { number + length } else { number };
    usize::try_from(index).ok().filter(|index| (*index as u64) < length.unsigned_abs())
}

fn get<'a>(object: &'a mut Value, path: &str) -> Result<Option<&'a Value>, &'static str> {
    let (container, key) = container(object, path)?;
    match container {
        Value::Object(fields) => Ok(fields.get(&key)),
        Value::Array(items) => {
            let index = index(&key, items.len()).ok_or("no such index")?;
            Ok(items.get(index))
        }
        _ => Ok(None),
    }
}

/// A value must not take the object beyond what the server could read again.
fn fits(path: &str, value: &Value) -> Result<(), &'static str> {
    let levels = path.matches('/').count();
    if levels > depth::LEVELS_MAX || depth::exceeds(value, depth::LEVELS_MAX - levels) {
        return Err("exceeded max depth");
    }
    Ok(())
}

fn add(object: &mut Value, path: &str, value: Value) -> Result<(), &'static str> {
    fits(path, &value)?;
    let (container, key) = container(object, path)?;
    match container {
        Value::Object(fields) => {
            fields.insert(key, value);
        }
        Value::Array(items) if key == "-" => items.push(value),
        Value::Array(items) => {
            // One position behind the end is a legal place.
            let index = index(&key, items.len() + 1).ok_or("no such index")?;
            items.insert(index, value);
        }
        _ => {}
    }
    Ok(())
}

fn remove(object: &mut Value, path: &str) -> Result<Value, &'static str> {
    let (container, key) = container(object, path)?;
    match container {
        Value::Object(fields) => fields.shift_remove(&key).ok_or("no such key"),
        Value::Array(items) => index(&key, items.len()).map(|index| items.remove(index)).ok_or("no such index"),
        _ => Err("no such key"),
    }
}

fn replace(object: &mut Value, path: &str, value: Value) -> Result<(), &'static str> {
    fits(path, &value)?;
    let (container, key) = container(object, path)?;
    match container {
        Value::Object(fields) => {
            fields.insert(key, value);
        }
        Value::Array(items) => {
            let index = index(&key, items.len()).ok_or("no such index")?;
            items[index] = value;
        }
        _ => {}
    }
    Ok(())
}

fn test(object: &mut Value, path: &str, wanted: &Value) -> Result<(), &'static str> {
    let found = get(object, path)?.unwrap_or(&Value::Null);
    if found == wanted { Ok(()) } else { Err("the test failed") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::apply;

    #[test]
    fn patches_go_the_way_of_the_real_library() {
        let object = json!({"m": {"a": 1}, "l": [1, 2], "n": null});
        for (patch, result) in [
            (json!([{"op": "test", "path": "/m/b", "value": null}]), Some(object.clone())),
            (json!([{"op": "test", "path": "/x/b", "value": null}]), None),
            (
                json!([{"op": "replace", "path": "/m/b", "value": 2}]),
                Some(json!({"m": {"a": 1, "b": 2}, "l": [1, 2], "n": null})),
            ),
            (json!([{"op": "remove", "path": "/m/b"}]), None),
            (
                json!([{"op": "add", "path": "/l/-", "value": 3}]),
                Some(json!({"m": {"a": 1}, "l": [1, 2, 3], "n": null})),
            ),
            (
                json!([{"op": "add", "path": "/l/2", "value": 3}]),
                Some(json!({"m": {"a": 1}, "l": [1, 2, 3], "n": null})),
            ),
            (json!([{"op": "add", "path": "/l/3", "value": 3}]), None),
            (json!([{"op": "remove", "path": "/l/-1"}]), Some(json!({"m": {"a": 1}, "l": [1], "n": null}))),
            (json!([{"op": "replace", "path": "/n/x", "value": 1}]), None),
            (json!([{"op": "move", "from": "/m/a", "path": "/n"}]), Some(json!({"m": {}, "l": [1, 2], "n": 1}))),
            (
                json!([{"op": "copy", "from": "/m/a", "path": "/l/0"}]),
                Some(json!({"m": {"a": 1}, "l": [1, 1, 2], "n": null})),
            ),
            (json!([{"op": "become", "path": "/m"}]), None),
            (json!([{"op": "add", "path": "", "value": 1}]), None),
        ] {
            let mut patched = object.clone();
            let done = apply(&mut patched, patch.as_array().expect("a list"));
            assert_eq!(done.ok().map(|()| patched), result, "{patch}");
        }
    }
}
