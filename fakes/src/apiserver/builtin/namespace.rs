//! Namespaces: the `kubernetes` finalizer in `spec`, the phase, and the label with the name.

use serde_json::{Value, json};

use crate::apiserver::errors::Cause;
use crate::apiserver::resource::Strategy;

/// Finalizers without a domain.
const STANDARD: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

pub(super) struct Namespaces;

impl Strategy for Namespaces {
    fn prepare(&self, new: &mut Value, _old: Option<&Value>, _subresource: Option<&str>) {
        new["metadata"]["labels"]["kubernetes.io/metadata.name"] = new["metadata"]["name"].clone();
    }

    fn complete(&self, new: &mut Value, old: Option<&Value>, subresource: Option<&str>) {
        match old {
            None => {
                let mut finalizers = new["spec"]["finalizers"].as_array().cloned().unwrap_or_default();
                if !finalizers.contains(&json!("kubernetes")) {
                    finalizers.push(json!("kubernetes"));
                }
                new["spec"] = json!({ "finalizers": finalizers });
                new["status"] = json!({ "phase": "Active" });
            }
            Some(old) if subresource == Some("finalize") => new["status"] = old["status"].clone(),
            // Finalizers of the spec change only through /finalize, the phase only through /status.
            Some(old) => new["spec"] = old["spec"].clone(),
        }
    }

    fn validate(&self, new: &Value, _old: Option<&Value>, _subresource: Option<&str>) -> Vec<Cause> {
        let finalizers = new["spec"]["finalizers"].as_array().into_iter().flatten();
        finalizers
            .filter(|name| !name.as_str().is_some_and(|name| name.contains('/') || STANDARD.contains(&name)))
            .map(|name| {
                Cause::invalid(
                    "spec.finalizers",
                    name,
                    "name is neither a standard finalizer name nor is it fully qualified",
                )
            })
            .collect()
    }
}
