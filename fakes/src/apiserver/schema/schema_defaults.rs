//! Defaults must themselves be valid and declared (apiserver.md N2).

use serde_json::Value;

use super::cause;
use super::embedded;
use super::node::Node;
use super::path::Path;
use super::prune;
use super::values;
use crate::apiserver::errors::Cause;

/// Every default below `path` that the schema around it would refuse.
pub fn check(document: &Value, root: &Node, path: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    walk(document, root, path, true, &mut causes);
    causes
}

fn walk(document: &Value, node: &Node, path: &str, resource: bool, causes: &mut Vec<Cause>) {
    if let Some(default) = &node.default {
        let field = format!("{path}.default");
        let mut pruned = default.clone();
        let dropped = prune::prune(node, &mut pruned, resource);
        if !dropped.is_empty() {
            causes.push(cause::invalid(&field, default, "must not have unknown fields"));
        }
        let before = causes.len();
        if resource && !node.embedded_resource {
            for key in ["apiVersion", "kind"] {
                if default.get(key).is_none() {
                    causes.push(cause::required(format!("{field}.{key}"), ""));
                }
            }
        }
        let mut inner = Vec::new();
        embedded::check(node, default, &Path::ROOT, &mut inner);
        for cause in inner {
            causes.push(Cause { field: format!("{field}.{}", cause.field), ..cause });
        }
        if causes.len() == before {
            values::check(node, default, None, &field, causes);
        }
    }
    for (name, field) in &node.properties {
        let Some(part) = document.get("properties").and_then(|fields| fields.get(name)) else { continue };
        walk(part, field, &format!("{path}.properties[{name}]"), field.embedded_resource, causes);
    }
    for (key, part) in [("items", &node.items), ("additionalProperties", &node.additional)] {
        if let (Some(part), Some(document)) = (part, document.get(key)) {
            walk(document, part, &format!("{path}.{key}"), part.embedded_resource, causes);
        }
    }
}
