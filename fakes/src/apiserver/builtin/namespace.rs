//! Namespaces: the `kubernetes` finalizer in `spec`, the phase, and the label with the name.

use serde_json::{Value, json};

use crate::apiserver::resource::Strategy;

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
            // Finalizers of the spec change only through /finalize, the phase only through /status.
            Some(old) if subresource != Some("finalize") => {
                new["spec"]["finalizers"] = old["spec"]["finalizers"].clone()
            }
            Some(_) => {}
        }
    }
}
