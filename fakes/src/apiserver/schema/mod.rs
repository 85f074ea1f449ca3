//! Structural schemas: pruning, defaulting, validation and CEL rules (apiserver.md F).

pub mod budget;
pub mod cause;
pub mod cel;
pub mod defaults;
pub mod document;
pub mod embedded;
pub mod format;
pub mod go;
pub mod list;
pub mod metadata;
pub mod node;
pub mod path;
pub mod prune;
pub mod scale;
pub mod schema_defaults;
pub mod structural;
pub mod values;

use std::sync::Arc;

use serde_json::Value;

pub use document::shown_rule;
pub use list::identity;
pub use node::{Checks, ListType, MapType, Node, NodeKind};
pub use scale::ScalePaths;

use super::errors::Cause;
use budget::Budget;
use path::Path;

/// A compiled schema: shared by every object of one version of one kind.
#[derive(Debug)]
pub struct Schema {
    root: Arc<Node>,
    scale: Option<ScalePaths>,
}

/// What follows errors that keep rules from running; only schemas with rules say it.
const NOT_CHECKED: &str = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";

/// Reasons after which rules do not run: the object may be of a shape that rules cannot read, or too large for their budget.
const BLOCKING: [&str; 5] =
    ["FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"];

impl Schema {
    /// Compiles an `openAPIV3Schema`, or tells everything that is wrong with it, with paths below `openAPIV3Schema`.
    ///
    /// # Errors
    /// One cause per complaint of a real server.
    pub fn compile(document: &Value) -> Result<Schema, Vec<Cause>> {
        let (schema, causes) = Schema::check(document, "openAPIV3Schema");
        if causes.is_empty() { Ok(schema) } else { Err(causes) }
    }

    /// Reads a schema and checks it, naming errors below `path`.
    pub fn check(document: &Value, path: &str) -> (Schema, Vec<Cause>) {
        let schema = Schema::trusted(document);
        let mut causes = structural::check(document, path);
        if causes.is_empty() {
            causes = schema_defaults::check(document, &schema.root, path);
        }
        let sound = causes.is_empty();
        let mut budget = Budget::new(&schema.root);
        let mut rules = |node: &Node, part: &Value, path: &str| budget.rules(node, part, path);
        causes.extend(document::check(document, sound.then_some(&*schema.root), path, &mut rules));
        causes.extend(budget.finish(path));
        (schema, causes)
    }

    /// Reads a schema that is known to be good: one that was checked before, or a built-in kind's.
    pub fn trusted(document: &Value) -> Schema {
        Schema { root: Arc::new(Node::from_openapi(document)), scale: None }
    }

    /// Also checks the numbers at these paths as `/scale` reads them.
    #[must_use]
    pub fn with_scale(self, scale: Option<ScalePaths>) -> Schema {
        Schema { scale, ..self }
    }

    /// The tree.
    pub fn root(&self) -> &Arc<Node> {
        &self.root
    }

    /// Removes what the schema does not declare and returns the paths, as warnings print them: `spec.x`.
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        let dropped = prune::prune(&self.root, object, true);
        embedded::drop_mistyped(&self.root, object);
        dropped
    }

    /// Drops nulls that are not nullable, then fills in defaults: what decoding a body or reading the store does.
    pub fn default(&self, object: &mut Value) {
        defaults::drop_nulls(&self.root, object);
        defaults::fill(&self.root, object);
    }

    /// Fills in defaults but keeps nulls without one, to be refused by [`Schema::validate`]: what applying a configuration does.
    pub fn default_keeping_nulls(&self, object: &mut Value) {
        defaults::fill(&self.root, object);
    }

    /// Everything that is wrong with a new object or, with `old`, with what changed in it.
    pub fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<Cause> {
        self.finish(new, old, self.values(new, old), false)
    }

    /// Everything that is wrong with what changed in an object, or only in its status, that passed these very rules when it was written: of
    /// what is unchanged, only rules about changes run again.
    pub fn validate_change(&self, new: &Value, old: &Value, status_only: bool) -> Vec<Cause> {
        let causes = if status_only { self.status_values(new, old) } else { self.values(new, Some(old)) };
        self.finish(new, Some(old), causes, true)
    }

    fn values(&self, new: &Value, old: Option<&Value>) -> Vec<Cause> {
        let mut causes = Vec::new();
        values::check(&self.root, new, old, "", &mut causes);
        if let Some(scale) = &self.scale {
            scale.check(new, &mut causes);
        }
        causes
    }

    /// Everything that is wrong with a new status: values are looked at below `status` only, rules everywhere.
    pub fn validate_status(&self, new: &Value, old: &Value) -> Vec<Cause> {
        self.finish(new, Some(old), self.status_values(new, old), false)
    }

    fn status_values(&self, new: &Value, old: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        if let (Some(node), Some(status)) = (self.root.properties.get("status"), new.get("status")) {
            values::check(node, status, old.get("status"), "status", &mut causes);
        }
        if let Some(scale) = &self.scale {
            scale.check_status(new, &mut causes);
        }
        causes
    }

    fn finish(&self, new: &Value, old: Option<&Value>, mut causes: Vec<Cause>, old_passed: bool) -> Vec<Cause> {
        embedded::check(&self.root, new, &Path::ROOT, &mut causes);
        let before = causes.len();
        list::duplicates(&self.root, new, &Path::ROOT, &mut causes);
        if causes.len() > before
            && let Some(old) = old
        {
            // A list that was already ambiguous may stay so.
            let mut was = Vec::new();
            list::duplicates(&self.root, old, &Path::ROOT, &mut was);
            if !was.is_empty() {
                causes.truncate(before);
            }
        }
        if self.root.has_rules && causes.iter().any(|cause| BLOCKING.contains(&&*cause.reason)) {
            causes.push(cause::invalid("<nil>", &Value::Null, NOT_CHECKED));
        } else {
            cel::rules::check(&self.root, new, old, old_passed, &mut causes);
        }
        causes
    }
}

#[cfg(test)]
mod tests;
