//! The rules of one kind as data: the status it starts with, what is filled in, what is refused.

use std::sync::Arc;

use serde_json::Value;

use crate::apiserver::errors::Cause;
use crate::apiserver::resource::{Resource, Strategy};

/// Fills in and drops fields; `old` is `None` on create.
pub(super) type Prepare = fn(new: &mut Value, old: Option<&Value>);
/// Refusals as 422; `old` is `None` on create.
pub(super) type Validate = fn(new: &Value, old: Option<&Value>) -> Vec<Cause>;

/// Rules of one kind.
pub(super) struct Rules {
    /// Status of a new object as JSON; empty when the kind has none.
    pub(super) status: &'static str,
    /// What decoding and defaulting do. Run on the main resource only.
    pub(super) prepare: Prepare,
    /// What the server adds by itself; nobody owns it. Run on the main resource only.
    pub(super) complete: Prepare,
    /// Run on the main resource only.
    pub(super) validate: Validate,
}

/// No rules: start from here.
pub(super) const RULES: Rules =
    Rules { status: "", prepare: |_, _| {}, complete: |_, _| {}, validate: |_, _| Vec::new() };

impl Strategy for Rules {
    fn prepare(&self, new: &mut Value, old: Option<&Value>, subresource: Option<&str>) {
        if subresource.is_none() {
            (self.prepare)(new, old);
        }
    }

    fn complete(&self, new: &mut Value, old: Option<&Value>, subresource: Option<&str>) {
        if subresource.is_some() {
            return;
        }
        if old.is_none() && !self.status.is_empty() {
            new["status"] = serde_json::from_str(self.status).expect("the tables hold JSON");
        }
        (self.complete)(new, old);
    }

    fn validate(&self, new: &Value, old: Option<&Value>, subresource: Option<&str>) -> Vec<Cause> {
        if subresource.is_some() { Vec::new() } else { (self.validate)(new, old) }
    }
}

impl Resource {
    /// The same resource with rules.
    pub(super) fn ruled(self, rules: Rules) -> Resource {
        Resource { strategy: Some(Arc::new(rules)), ..self }
    }

    /// The same resource with a strategy of its own.
    pub(super) fn with_strategy(self, strategy: impl Strategy + 'static) -> Resource {
        Resource { strategy: Some(Arc::new(strategy)), ..self }
    }

    /// The same resource outside of namespaces.
    pub(super) fn cluster(self) -> Resource {
        Resource { namespaced: false, ..self }
    }

    /// The same resource in the category `all`.
    pub(super) fn in_all(self) -> Resource {
        Resource { categories: vec!["all".to_owned()], ..self }
    }

    /// The same resource with field selectors beyond name and namespace.
    pub(super) fn selectable(self, fields: &[&str]) -> Resource {
        Resource { selectable_fields: fields.iter().map(|&field| field.to_owned()).collect(), ..self }
    }

    /// The same resource with these subresources besides status and scale.
    pub(super) fn with(self, subresources: &[&str]) -> Resource {
        Resource { subresources: subresources.iter().map(|&name| name.to_owned()).collect(), ..self }
    }

    /// The same resource with `/scale` at the usual paths.
    pub(super) fn scaled(self) -> Resource {
        let scale = crate::apiserver::resource::Scale {
            spec: "spec.replicas".to_owned(),
            status: "status.replicas".to_owned(),
            selector: Some("spec.selector".to_owned()),
        };
        Resource { scale: Some(scale), ..self }
    }
}

/// `field is immutable`, with the value as JSON.
pub(super) fn immutable(field: &str, value: &Value) -> Cause {
    Cause::new("FieldValueInvalid", field, format!("Invalid value: {value}: field is immutable"))
}

/// Items of the list at a JSON pointer. Indexing a mutable value would leave nulls behind where nothing was.
pub(super) fn items<'a>(value: &'a mut Value, pointer: &str) -> impl Iterator<Item = &'a mut Value> {
    value.pointer_mut(pointer).and_then(Value::as_array_mut).into_iter().flatten()
}

/// Sets a field of an object where it is missing or null.
pub(super) fn fill(object: &mut Value, field: &str, default: Value) {
    if let Value::Object(fields) = object
        && fields.get(field).is_none_or(Value::is_null)
    {
        fields.insert(field.to_owned(), default);
    }
}

/// Runs `change` on the value at a JSON pointer, if there is one.
pub(super) fn at(value: &mut Value, pointer: &str, change: impl FnOnce(&mut Value)) {
    if let Some(value) = value.pointer_mut(pointer) {
        change(value);
    }
}
