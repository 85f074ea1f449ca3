//! The rules of the kind CustomResourceDefinition for the generic write path.

use serde_json::Value;

use crate::apiserver::errors::Cause;
use crate::apiserver::resource::Strategy;

use super::{form, validate};

/// The strategy of definitions.
pub struct Definitions;

impl Strategy for Definitions {
    fn prepare(&self, new: &mut Value, _old: Option<&Value>, subresource: Option<&str>) {
        match subresource {
            None => form::spec(new),
            Some(_) => form::status(new),
        }
    }

    fn complete(&self, new: &mut Value, old: Option<&Value>, subresource: Option<&str>) {
        if old.is_none() {
            new["status"] = Value::Null;
            form::status(new);
        } else if subresource.is_none() {
            validate::grow_stored_versions(new);
        }
    }

    fn validate(&self, new: &Value, old: Option<&Value>, subresource: Option<&str>) -> Vec<Cause> {
        match (old, subresource) {
            (None, _) => validate::create(new),
            (Some(old), None) => validate::update(new, old),
            (Some(_), Some(_)) => validate::status(new),
        }
    }
}
