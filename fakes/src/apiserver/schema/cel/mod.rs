//! `x-kubernetes-validations`: the rules of a schema node.

pub mod field_path;

use serde_json::Value;

/// One rule as written in the schema.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The expression; must evaluate to a boolean.
    pub rule: String,
    /// Fixed text of the failure.
    pub message: Option<String>,
    /// Expression giving the text of the failure.
    pub message_expression: Option<String>,
    /// One of FieldValueInvalid, FieldValueForbidden, FieldValueRequired, FieldValueDuplicate.
    pub reason: Option<String>,
    /// Field, relative to the node, that the failure names.
    pub field_path: Option<String>,
    /// Whether `oldSelf` is optional, so that the rule runs on create too.
    pub optional_old_self: Option<bool>,
}

impl Rule {
    /// Reads one entry of `x-kubernetes-validations`; missing parts are empty.
    pub fn from_json(value: &Value) -> Rule {
        let text =
            |key: &str| value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
        Rule {
            rule: text("rule").unwrap_or_default(),
            message: text("message"),
            message_expression: text("messageExpression"),
            reason: text("reason"),
            field_path: text("fieldPath"),
            optional_old_self: value.get("optionalOldSelf").and_then(Value::as_bool),
        }
    }
}
