//! A CustomResourceDefinition as the fakes describe it, and the manifest one would apply.

use serde_json::{Value, json};

use super::schema::{Schema, object, text};

/// One kind with every version a release serves.
pub(crate) struct Definition {
    pub(crate) group: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) short_names: &'static [&'static str],
    pub(crate) categories: &'static [&'static str],
    pub(crate) versions: Vec<Version>,
}

/// One served version. All kinds here are namespaced and have a `/status` subresource.
pub(crate) struct Version {
    pub(crate) name: &'static str,
    pub(crate) storage: bool,
    pub(crate) deprecated: bool,
    /// Name, type, JSON path; what `kubectl get` prints.
    pub(crate) columns: Vec<(&'static str, &'static str, &'static str)>,
    /// One sentence for `kubectl explain`.
    pub(crate) description: &'static str,
    pub(crate) spec: Schema,
    pub(crate) status: Schema,
}

impl Definition {
    /// The manifest, ready to be created.
    pub(crate) fn manifest(self) -> Value {
        let singular = self.kind.to_lowercase();
        let mut names = json!({
            "kind": self.kind,
            "listKind": format!("{}List", self.kind),
            "plural": self.plural,
            "singular": singular,
        });
        if !self.short_names.is_empty() {
            names["shortNames"] = json!(self.short_names);
        }
        if !self.categories.is_empty() {
            names["categories"] = json!(self.categories);
        }
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{}.{}", self.plural, self.group)},
            "spec": {
                "group": self.group,
                "names": names,
                "scope": "Namespaced",
                "versions": self.versions.into_iter().map(Version::manifest).collect::<Vec<_>>(),
            },
        })
    }
}

impl Version {
    fn manifest(self) -> Value {
        let whole = object()
            .says(self.description)
            .may("apiVersion", text())
            .may("kind", text())
            .may("metadata", object())
            .may("spec", self.spec)
            .may("status", self.status);
        let columns: Vec<Value> = self
            .columns
            .iter()
            .map(|(name, kind, path)| json!({"name": name, "type": kind, "jsonPath": path}))
            .collect();
        let mut version = json!({
            "name": self.name,
            "served": true,
            "storage": self.storage,
            "schema": {"openAPIV3Schema": whole.into_value()},
            "subresources": {"status": {}},
            "additionalPrinterColumns": columns,
        });
        if self.deprecated {
            version["deprecated"] = json!(true);
        }
        version
    }
}
