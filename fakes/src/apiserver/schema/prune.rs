//! Dropping what a schema does not declare (apiserver.md F1, F3).

use std::fmt::Write as _;

use serde_json::Value;

use super::metadata;
use super::node::Node;

/// Removes unknown fields of `value` and returns their paths in the order found, as warnings print them (`spec.x`, `spec.list[0].y`).
pub fn prune(node: &Node, value: &mut Value, resource_root: bool) -> Vec<String> {
    let mut pruning = Pruning { path: String::new(), dropped: Vec::new() };
    pruning.value(Some(node), value, resource_root);
    pruning.dropped
}

/// The fields every resource has, declared or not.
const RESOURCE_FIELDS: [&str; 3] = ["apiVersion", "kind", "metadata"];

struct Pruning {
    path: String,
    dropped: Vec<String>,
}

impl Pruning {
    fn value(&mut self, node: Option<&Node>, value: &mut Value, resource: bool) {
        match value {
            Value::Object(map) => {
                let resource = resource || node.is_some_and(|node| node.embedded_resource);
                let preserve = node.is_some_and(|node| node.preserve_unknown);
                let mut unknown = Vec::new();
                for (key, value) in map.iter_mut() {
                    if resource && RESOURCE_FIELDS.contains(&key.as_str()) {
                        if key == "metadata" {
                            self.below(key, |pruning| metadata::prune(value, &pruning.path, &mut pruning.dropped));
                        }
                        continue;
                    }
                    match node.and_then(|node| node.field(key)) {
                        Some(field) => self.below(key, |pruning| pruning.value(Some(field), value, false)),
                        None if preserve => {}
                        None => unknown.push(key.clone()),
                    }
                }
                for key in unknown {
                    map.shift_remove(&key);
                    self.below(&key, |pruning| pruning.dropped.push(pruning.path.clone()));
                }
            }
            Value::Array(items) => {
                let item = node.and_then(|node| node.items.as_deref());
                if item.is_none() && node.is_some_and(|node| node.preserve_unknown) {
                    return;
                }
                for (index, value) in items.iter_mut().enumerate() {
                    let length = self.path.len();
                    let _ = write!(self.path, "[{index}]");
                    self.value(item, value, false);
                    self.path.truncate(length);
                }
            }
            _ => {}
        }
    }

    fn below(&mut self, key: &str, walk: impl FnOnce(&mut Pruning)) {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(key);
        walk(self);
        self.path.truncate(length);
    }
}
