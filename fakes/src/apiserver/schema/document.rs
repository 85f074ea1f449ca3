//! Rules for schema documents beyond being structural: what OpenAPI keywords are allowed, list types, validation rules as text.

use serde_json::{Value, json};

use super::cause;
use super::cel::field_path;
use super::go;
use super::node::Node;
use crate::apiserver::errors::Cause;

/// Walks a schema document and its parts.
///
/// `rules` is called for each part that has validation rules and no error at it or below, with the path of the part.
pub fn check<'a>(
    schema: &'a Value,
    node: Option<&'a Node>,
    path: &str,
    rules: &mut dyn FnMut(&Node, &Value, &str) -> Vec<Cause>,
) -> Vec<Cause> {
    let mut walk = Walk { rules, inside_metadata: false };
    let (mut errors, cel) = walk.schema(schema, node, path, true);
    errors.extend(cel);
    errors
}

struct Walk<'a> {
    rules: &'a mut dyn FnMut(&Node, &Value, &str) -> Vec<Cause>,
    inside_metadata: bool,
}

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
const REASONS: [&str; 4] = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

fn text<'a>(schema: &'a Value, key: &str) -> &'a str {
    schema.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn present<'a>(schema: &'a Value, key: &str) -> Option<&'a Value> {
    schema.get(key).filter(|value| !value.is_null())
}

impl Walk<'_> {
    /// Errors of the document, and errors of rules, which do not count as errors of the document.
    fn schema(&mut self, schema: &Value, node: Option<&Node>, path: &str, resource: bool) -> (Vec<Cause>, Vec<Cause>) {
        let mut errors = Vec::new();
        let mut cel = Vec::new();
        keywords(schema, path, &mut errors);
        let mut below = |walk: &mut Self, schema: &Value, node: Option<&Node>, path: &str, resource: bool| {
            let (more, rules) = walk.schema(schema, node, path, resource);
            errors.extend(more);
            cel.extend(rules);
        };
        if let Some(additional) = present(schema, "additionalProperties").filter(|value| value.is_object()) {
            let node = node.and_then(|node| node.additional.as_deref());
            below(self, additional, node, &format!("{path}.additionalProperties"), false);
        }
        for (name, field) in present(schema, "properties").and_then(Value::as_object).into_iter().flatten() {
            let embedded = field.get("x-kubernetes-embedded-resource") == Some(&Value::Bool(true));
            let outside = self.inside_metadata;
            self.inside_metadata |= resource && name == "metadata";
            let node = node.and_then(|node| node.properties.get(name)).map(AsRef::as_ref);
            below(self, field, node, &format!("{path}.properties[{name}]"), embedded);
            self.inside_metadata = outside;
        }
        for key in ["allOf", "oneOf", "anyOf"] {
            for (index, value) in present(schema, key).and_then(Value::as_array).into_iter().flatten().enumerate() {
                below(self, value, None, &format!("{path}.{key}[{index}]"), false);
            }
        }
        for key in ["not", "items"] {
            if let Some(value) = present(schema, key).filter(|value| value.is_object()) {
                let node = node.filter(|_| key == "items").and_then(|node| node.items.as_deref());
                below(self, value, node, &format!("{path}.{key}"), false);
            }
        }
        list_types(schema, path, &mut errors);
        rule_texts(schema, path, &mut errors);
        if errors.is_empty()
            && let Some(node) = node
            && !node.rules.is_empty()
        {
            cel.extend((self.rules)(node, schema, path));
        }
        (errors, cel)
    }
}

fn keywords(schema: &Value, path: &str, errors: &mut Vec<Cause>) {
    let kind = text(schema, "type");
    if !kind.is_empty() && kind != "null" && !TYPES.contains(&kind) {
        errors.push(cause::not_supported(format!("{path}.type"), &json!(kind), TYPES));
    }
    for key in ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"] {
        let empty = match present(schema, key) {
            None => true,
            Some(Value::Object(map)) => map.is_empty() && key != "additionalItems",
            Some(value) => value == &json!(""),
        };
        if !empty {
            errors.push(cause::forbidden(format!("{path}.{key}"), &format!("{key} is not supported")));
        }
    }
    if kind == "null" {
        errors.push(cause::forbidden(
            format!("{path}.type"),
            "type cannot be set to null, use nullable as an alternative",
        ));
    }
    if present(schema, "items").is_some_and(Value::is_array) {
        errors.push(cause::forbidden(format!("{path}.items"), "items must be a schema object and not an array"));
    }
    if schema.get("uniqueItems") == Some(&Value::Bool(true)) {
        let complaint = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(cause::forbidden(format!("{path}.uniqueItems"), complaint));
    }
    let has_fields = present(schema, "properties").and_then(Value::as_object).is_some_and(|fields| !fields.is_empty());
    if has_fields && present(schema, "additionalProperties").is_some_and(|value| value != &Value::Bool(true)) {
        let complaint = "additionalProperties and properties are mutual exclusive";
        errors.push(cause::forbidden(format!("{path}.additionalProperties"), complaint));
    }
    let preserve = "x-kubernetes-preserve-unknown-fields";
    if schema.get(preserve) == Some(&Value::Bool(false)) {
        errors.push(cause::invalid(format!("{path}.{preserve}"), &json!(false), "must be true or undefined"));
    }
}

fn list_types(schema: &Value, path: &str, errors: &mut Vec<Cause>) {
    let kind = text(schema, "type");
    for (key, wanted, values) in [
        ("x-kubernetes-map-type", "object", &["atomic", "granular"][..]),
        ("x-kubernetes-list-type", "array", &["atomic", "map", "set"]),
    ] {
        let Some(value) = present(schema, key) else { continue };
        if kind != wanted {
            let complaint = format!("must be {wanted} if {key} is specified");
            let field = format!("{path}.type");
            errors.push(match kind {
                "" => cause::required(field, &complaint),
                kind => cause::invalid(field, &json!(kind), &complaint),
            });
        }
        if !value.as_str().is_some_and(|value| values.contains(&value)) {
            errors.push(cause::not_supported(format!("{path}.{key}"), value, values.iter().copied()));
        }
    }
    let list_type = present(schema, "x-kubernetes-list-type").and_then(Value::as_str);
    let keys: Vec<&str> = present(schema, "x-kubernetes-list-map-keys")
        .and_then(Value::as_array)
        .map(|keys| keys.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    if !keys.is_empty() && list_type != Some("map") {
        let field = format!("{path}.x-kubernetes-list-type");
        let complaint = "must be map if x-kubernetes-list-map-keys is non-empty";
        errors.push(match list_type {
            None => cause::required(field, complaint),
            Some(other) => cause::invalid(field, &json!(other), complaint),
        });
    }
    let items = present(schema, "items").filter(|items| items.is_object());
    if list_type == Some("map") {
        if keys.is_empty() {
            let complaint = "must not be empty if x-kubernetes-list-type is map";
            errors.push(cause::required(format!("{path}.x-kubernetes-list-map-keys"), complaint));
        }
        match items {
            None => errors
                .push(cause::required(format!("{path}.items"), "must have a schema if x-kubernetes-list-type is map")),
            Some(items) if text(items, "type") != "object" => {
                let complaint = "must be object if parent array's x-kubernetes-list-type is map";
                errors.push(cause::invalid(format!("{path}.items.type"), &json!(text(items, "type")), complaint));
            }
            Some(items) => map_keys(&keys, items, path, errors),
        }
    }
    if let (Some(kind @ ("map" | "set")), Some(items)) = (list_type, items)
        && items.get("nullable") == Some(&Value::Bool(true))
    {
        let complaint = format!("cannot be nullable when x-kubernetes-list-type is {kind}");
        errors.push(cause::forbidden(format!("{path}.items.nullable"), &complaint));
    }
}

fn map_keys(keys: &[&str], items: &Value, path: &str, errors: &mut Vec<Cause>) {
    let names_field = format!("{path}.x-kubernetes-list-map-keys");
    for (index, key) in keys.iter().enumerate() {
        match items.get("properties").and_then(|fields| fields.get(*key)) {
            Some(field) if matches!(text(field, "type"), "array" | "object") => errors.push(cause::invalid(
                format!("{path}.items.properties[{key}].type"),
                &json!(text(items, "type")),
                "must be a scalar type if parent array's x-kubernetes-list-type is map",
            )),
            Some(_) => {}
            None => errors.push(cause::invalid(
                names_field.clone(),
                &json!(keys),
                "entries must all be names of item properties",
            )),
        }
        if keys[..index].contains(key) {
            errors.push(cause::invalid(names_field.clone(), &json!(keys), "must not contain duplicate entries"));
        }
    }
    let required: Vec<&str> = items
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    for key in keys {
        let Some(field) = items.get("properties").and_then(|fields| fields.get(*key)) else { continue };
        let path = format!("{path}.items.properties[{key}]");
        if !required.contains(key) && present(field, "default").is_none() {
            let complaint =
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(cause::required(format!("{path}.default"), complaint));
        }
        if field.get("nullable") == Some(&Value::Bool(true)) {
            let complaint = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(cause::forbidden(format!("{path}.nullable"), complaint));
        }
    }
}

/// The parts of a validation rule that can be judged without compiling it.
fn rule_texts(schema: &Value, path: &str, errors: &mut Vec<Cause>) {
    let rules = present(schema, "x-kubernetes-validations").and_then(Value::as_array);
    for (index, rule) in rules.into_iter().flatten().enumerate() {
        let path = format!("{path}.x-kubernetes-validations[{index}]");
        let (expression, message) = (text(rule, "rule"), text(rule, "message"));
        let (trimmed, trimmed_message) = (expression.trim(), message.trim());
        if trimmed.is_empty() {
            errors.push(cause::required(format!("{path}.rule"), "rule is not specified"));
        } else if !message.is_empty() && trimmed_message.is_empty() {
            let complaint = "message must be non-empty if specified";
            errors.push(cause::invalid(format!("{path}.message"), &json!(message), complaint));
        } else if trimmed_message.contains('\n') {
            let complaint = "message must not contain line breaks";
            errors.push(cause::invalid(format!("{path}.message"), &json!(message), complaint));
        } else if trimmed.contains('\n') && trimmed_message.is_empty() {
            let complaint = "message must be specified if rule contains line breaks";
            errors.push(cause::required(format!("{path}.message"), complaint));
        }
        let message_expression = text(rule, "messageExpression");
        if !message_expression.is_empty() && message_expression.trim().is_empty() {
            let complaint = "messageExpression must be non-empty if specified";
            errors.push(cause::required(format!("{path}.messageExpression"), complaint));
        }
        if let Some(reason) = present(rule, "reason")
            && !reason.as_str().is_some_and(|reason| REASONS.contains(&reason))
        {
            errors.push(cause::not_supported(format!("{path}.reason"), reason, REASONS));
        }
        let field = text(rule, "fieldPath");
        if !field.is_empty() {
            let complaint = if field.trim().is_empty() {
                Some("fieldPath must be non-empty if specified")
            } else if field.contains('\n') {
                Some("fieldPath must not contain line breaks")
            } else {
                None
            };
            if let Some(complaint) = complaint {
                errors.push(cause::invalid(format!("{path}.fieldPath"), &json!(field), complaint));
            }
            if field_path::resolve(field.trim(), &Node::from_openapi(schema), true).is_err() {
                errors.push(cause::invalid(format!("{path}.fieldPath"), &json!(field), "must be a valid path"));
            }
        }
    }
}

/// One rule as the server's messages print it.
pub fn shown_rule(rule: &Value) -> String {
    let text = |key: &str| go::json(rule.get(key).unwrap_or(&json!("")));
    let optional = |key: &str| go::json(rule.get(key).unwrap_or(&Value::Null));
    format!(
        "{{\"Rule\":{},\"Message\":{},\"MessageExpression\":{},\"Reason\":{},\"FieldPath\":{},\"OptionalOldSelf\":{}}}",
        text("rule"),
        text("message"),
        text("messageExpression"),
        optional("reason"),
        text("fieldPath"),
        optional("optionalOldSelf")
    )
}
