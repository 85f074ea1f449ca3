//! The rules of a schema: compiling one, and running all of them over an object (apiserver.md F8-F10).

use std::sync::OnceLock;

use serde_json::Value;

use crate::apiserver::errors::Cause;
use crate::apiserver::schema::cause;
use crate::apiserver::schema::node::{MapType, Node, NodeKind};
use crate::apiserver::schema::path::Path;
use crate::apiserver::schema::values::old_item;

use super::check::{self, Variable};
use super::eval;
use super::field_path;
use super::program::Expr;
use super::types::{Declared, Type};
use super::value::Val;

/// Longest text a message expression may give, in bytes.
const MESSAGE_BYTES: usize = 5 * 1024;

/// One rule as written in the schema.
#[derive(Debug)]
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
    compiled: OnceLock<Compiled>,
}

/// What compiling a rule gave.
#[derive(Debug)]
pub struct Compiled {
    /// The program, or what is wrong with the rule.
    pub rule: Result<Expr, String>,
    /// Worst cost of the rule.
    pub cost: u64,
    /// The program of the message expression, or what is wrong with it.
    pub message: Option<Result<Expr, String>>,
    /// Worst cost of the message expression.
    pub message_cost: u64,
    /// Whether the rule compares with the old value.
    pub uses_old_self: bool,
    /// [`Rule::field_path`] as errors print it.
    pub field: Option<String>,
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
            compiled: OnceLock::new(),
        }
    }

    /// The program, compiled at first use for the node that the rule is about.
    pub fn compiled(&self, declared: Declared<'_>) -> &Compiled {
        self.compiled.get_or_init(|| self.compile(declared))
    }

    fn compile(&self, declared: Declared<'_>) -> Compiled {
        let kind = declared.kind().unwrap_or(Type::Dyn);
        let old =
            if self.optional_old_self == Some(true) { Type::Optional(Box::new(kind.clone())) } else { kind.clone() };
        let variables = [
            Variable { name: "self", kind, declared: Some(declared) },
            Variable { name: "oldSelf", kind: old, declared: Some(declared) },
        ];
        let (rule, cost, uses_old_self) = match check::compile(&self.rule, &variables) {
            Err(errors) => (Err(format!("compilation failed: {errors}")), 0, false),
            Ok(checked) if checked.kind != Type::Bool => {
                (Err("cel expression must evaluate to a bool".to_owned()), 0, false)
            }
            Ok(checked) => (Ok(checked.expr), checked.cost, checked.used[1]),
        };
        let (message, message_cost) =
            match self.message_expression.as_deref().map(|source| check::compile(source, &variables)) {
                None => (None, 0),
                Some(Err(errors)) => (Some(Err(format!("messageExpression compilation failed: {errors}"))), 0),
                Some(Ok(checked)) if checked.kind != Type::String => {
                    (Some(Err("messageExpression must evaluate to a string".to_owned())), 0)
                }
                Some(Ok(checked)) => (Some(Ok(checked.expr)), checked.cost),
            };
        let field = self
            .field_path
            .as_deref()
            .and_then(|path| field_path::resolve(path.trim(), declared.node, true).ok())
            .map(|(printed, _)| printed);
        Compiled { rule, cost, message, message_cost, uses_old_self, field }
    }

    /// What an error calls the rule.
    fn named(&self) -> &str {
        self.message.as_deref().unwrap_or(&self.rule).trim()
    }
}

/// Appends what the rules at `root` and below say of `new`, given `old` on update. `old_passed` tells that they accepted `old`: then they
/// accept what is unchanged, unless they compare.
pub fn check(root: &Node, new: &Value, old: Option<&Value>, old_passed: bool, causes: &mut Vec<Cause>) {
    let declared = Declared { node: root, resource: true };
    let correlated = old.map(|old| (new, old));
    Running { causes, old_passed }.walk(root, declared, new, old, correlated, false, &Path::ROOT);
}

struct Running<'a> {
    causes: &'a mut Vec<Cause>,
    old_passed: bool,
}

/// A new value and the old one it corresponds to: of the value itself, or of the nearest value around it that has one.
type Correlated<'a> = Option<(&'a Value, &'a Value)>;

impl Running<'_> {
    /// `rules` is the node whose rules run; it differs from the declaration only inside `allOf`. `settled`: accepted as it is, but for
    /// rules that compare.
    #[expect(clippy::too_many_arguments, reason = "one step of a walk down five things at once")]
    fn walk(
        &mut self,
        rules: &Node,
        declared: Declared<'_>,
        value: &Value,
        old: Option<&Value>,
        correlated: Correlated<'_>,
        settled: bool,
        path: &Path<'_>,
    ) {
        if !rules.has_rules || value.is_null() {
            return;
        }
        let settled = settled || self.old_passed && old == Some(value);
        if settled && !rules.has_comparisons {
            return;
        }
        if !rules.rules.is_empty() {
            self.run(rules, declared, value, old.filter(|old| !old.is_null()), correlated, settled, path);
        }
        for nested in &rules.checks.all_of {
            self.walk(nested, declared, value, old, correlated, settled, path);
        }
        let node = declared.node;
        match value {
            Value::Object(map) => {
                let old = old.filter(|_| node.map_type == MapType::Granular).and_then(Value::as_object);
                for (key, value) in map {
                    let old = old.and_then(|old| old.get(key));
                    let correlated = old.map(|old| (value, old)).or(correlated);
                    if let (Some(rules), Some(part)) = (rules.properties.get(key), node.properties.get(key)) {
                        self.walk(rules, Declared::part(part), value, old, correlated, settled, &path.field(key));
                    } else if let (Some(rules), Some(part)) = (&rules.additional, &node.additional) {
                        self.walk(rules, Declared::part(part), value, old, correlated, settled, &path.key(key));
                    }
                }
            }
            Value::Array(items) => {
                let (Some(rules), Some(part)) = (&rules.items, &node.items) else { return };
                for (index, value) in items.iter().enumerate() {
                    let old = old_item(node, value, old);
                    let correlated = old.map(|old| (value, old)).or(correlated);
                    self.walk(rules, Declared::part(part), value, old, correlated, settled, &path.index(index));
                }
            }
            _ => {}
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one step of a walk down five things at once")]
    fn run(
        &mut self,
        rules: &Node,
        declared: Declared<'_>,
        value: &Value,
        old: Option<&Value>,
        correlated: Correlated<'_>,
        settled: bool,
        path: &Path<'_>,
    ) {
        let kind = Value::from(declared.node.kind.name());
        let current = Val::of(value, Some(declared));
        let previous = old.map(|old| Val::of(old, Some(declared)));
        for rule in &rules.rules {
            let compiled = rule.compiled(declared);
            let program = match &compiled.rule {
                Ok(program) => program,
                Err(why) => {
                    let why = format!("rule compile error: {why}");
                    self.causes.push(cause::invalid(path.bracketed(), &kind, &why));
                    continue;
                }
            };
            let optional = rule.optional_old_self == Some(true);
            if settled && !compiled.uses_old_self || compiled.uses_old_self && old.is_none() && !optional {
                continue;
            }
            let result = variables(&current, previous.as_ref(), optional)
                .and_then(|variables| eval::run(program, &variables).map(|result| (result, variables)));
            let variables = match result {
                Ok((Val::Bool(true), _)) => continue,
                Ok((_, variables)) => variables,
                Err(why) => {
                    let text = if why.starts_with("no such overload") {
                        format!(
                            "'{why}': call arguments did not match a supported operator, function or macro signature for rule: {}",
                            rule.named()
                        )
                    } else {
                        format!("{why} evaluating rule: {}", rule.named())
                    };
                    self.causes.push(cause::invalid(path.bracketed(), &kind, &text));
                    continue;
                }
            };
            // Unchanged values stay, unless the rule is about changes.
            if !compiled.uses_old_self && correlated.is_some_and(|(new, old)| new == old) {
                continue;
            }
            let text = message(rule, compiled, &variables);
            let field = match &compiled.field {
                None => path.bracketed(),
                Some(field) => path.field(field).bracketed(),
            };
            self.causes.push(failure(rule, declared.node, field, value, &text));
        }
    }
}

/// `self` and `oldSelf`.
fn variables<'a>(
    current: &Result<Val<'a>, String>,
    previous: Option<&Result<Val<'a>, String>>,
    optional: bool,
) -> Result<[Option<Val<'a>>; 2], String> {
    let previous = previous.cloned().transpose()?;
    let old = if optional { Some(Val::Optional(previous.map(std::sync::Arc::new))) } else { previous };
    Ok([Some(current.clone()?), old])
}

/// The text of a failure: what the message expression gives, if that is a usable text, else the fixed one.
fn message(rule: &Rule, compiled: &Compiled, variables: &[Option<Val<'_>>; 2]) -> String {
    if let Some(Ok(program)) = &compiled.message
        && let Ok(Val::String(text)) = eval::run(program, variables)
    {
        let text = text.trim();
        if !text.is_empty() && text.len() <= MESSAGE_BYTES && !text.contains('\n') {
            return text.to_owned();
        }
    }
    match &rule.message {
        Some(message) => message.trim().to_owned(),
        None => format!("failed rule: {}", rule.rule.trim()),
    }
}

fn failure(rule: &Rule, node: &Node, field: String, value: &Value, text: &str) -> Cause {
    match rule.reason.as_deref() {
        Some("FieldValueForbidden") => cause::forbidden(field, text),
        Some("FieldValueRequired") => cause::required(field, text),
        Some("FieldValueDuplicate") => cause::duplicate(field, value),
        // The content of objects and lists is left out.
        _ if matches!(node.kind, NodeKind::Object | NodeKind::Array) => cause::invalid_omitted(field, text),
        _ => cause::invalid(field, value, text),
    }
}
