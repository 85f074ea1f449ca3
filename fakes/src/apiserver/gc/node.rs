//! One object as the collector knows it: its coordinates and its references.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::apiserver::meta;

/// Finalizer of an owner whose dependents are to be deleted first.
pub(super) const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer of an owner whose dependents are to be left alone.
pub(super) const ORPHAN: &str = "orphan";

/// An object as a reference names it, with the namespace it is looked for in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Identity {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

/// One `ownerReferences` item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) blocks: bool,
    controller: bool,
}

/// A known object, or one that others refer to and nobody has seen.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) identity: Identity,
    pub(super) owners: Vec<Owner>,
    pub(super) dependents: BTreeSet<String>,
    /// Waits for its dependents to be deleted.
    pub(super) deleting_dependents: bool,
    pub(super) being_deleted: bool,
    pub(super) observed: bool,
}

/// Owner references of an object.
pub(super) fn owners(object: &Value) -> Vec<Owner> {
    let references = object["metadata"]["ownerReferences"].as_array();
    let text = |reference: &Value, key: &str| reference[key].as_str().unwrap_or_default().to_owned();
    references
        .into_iter()
        .flatten()
        .map(|reference| Owner {
            api_version: text(reference, "apiVersion"),
            kind: text(reference, "kind"),
            name: text(reference, "name"),
            uid: text(reference, "uid"),
            blocks: reference["blockOwnerDeletion"] == Value::Bool(true),
            controller: reference["controller"] == Value::Bool(true),
        })
        .collect()
}

/// Whether an object carries a finalizer.
pub(super) fn has_finalizer(object: &Value, finalizer: &str) -> bool {
    meta::finalizers(object).any(|found| found == finalizer)
}

impl Owner {
    /// The owner as a reference from this namespace names it.
    pub(super) fn identity(&self, namespace: &str) -> Identity {
        Identity {
            api_version: self.api_version.clone(),
            kind: self.kind.clone(),
            namespace: namespace.to_owned(),
            name: self.name.clone(),
            uid: self.uid.clone(),
        }
    }

    pub(super) fn names(&self, identity: &Identity) -> bool {
        self.uid == identity.uid
            && self.name == identity.name
            && self.kind == identity.kind
            && self.api_version == identity.api_version
    }
}

impl Node {
    /// Whether some reference of this node names `identity`, and whether some reference with its uid names something else.
    pub(super) fn references(&self, identity: &Identity) -> (bool, bool) {
        let near = identity.namespace.is_empty() || identity.namespace == self.identity.namespace;
        let mut found = (false, false);
        for owner in self.owners.iter().filter(|owner| owner.uid == identity.uid) {
            if near && owner.names(identity) { found.0 = true } else { found.1 = true }
        }
        found
    }
}
