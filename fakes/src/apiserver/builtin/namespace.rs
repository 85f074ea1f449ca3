//! Namespaces: the `kubernetes` finalizer in `spec`, the phase, and the label with the name.

use serde_json::{Value, json};

use crate::apiserver::resource::Strategy;

pub(super) struct Namespaces;

impl Strategy for Namespaces {
    fn prepare(&self, new: &mut Value, old: Option<&Value>, subresource: Option<&str>) {
        let name = new["metadata"]["name"].clone();
        match old {
            None => {
                let finalizers = new["spec"]["finalizers"].as_array().cloned().unwrap_or_default();
                let mut finalizers = finalizers;
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
        new["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
    }
}
