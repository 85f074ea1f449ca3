//! The store as the commits built it, and the tables of the control plane: what is really there, for oracles, waits and
//! verdicts.
//!
//! The store is kept by reading the history, not by asking the server: a reader runs in the middle of a commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use fakes::history::{Event, Record};
use fakes::odoo::{Odoo, State};
use jiff::Timestamp;
use serde_json::Value;

pub mod books;
pub mod identity;
pub mod view;

/// Address of an object: resource (`plural.group`), namespace (empty for cluster-scoped ones), name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// `plural.group`, or the bare plural in the core group.
    pub resource: String,
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

impl Address {
    /// An address from its parts.
    pub fn new(resource: &str, namespace: &str, name: &str) -> Self {
        Self { resource: resource.into(), namespace: namespace.into(), name: name.into() }
    }
}

/// ApplicationInstances.
pub const INSTANCES: &str = "applicationinstances.apps.vworkspace.io";
/// HelmReleases.
pub const RELEASES: &str = "helmreleases.helm.toolkit.fluxcd.io";
/// OCIRepositories.
pub const OCI_REPOSITORIES: &str = "ocirepositories.source.toolkit.fluxcd.io";
/// HelmRepositories.
pub const HELM_REPOSITORIES: &str = "helmrepositories.source.toolkit.fluxcd.io";
/// The Cluster.
pub const CLUSTERS: &str = "clusters.ops.vworkspace.io";
/// Operations.
pub const OPERATIONS: &str = "operations.ops.vworkspace.io";
/// Our finalizer on an ApplicationInstance (contract §3.2).
pub const FINALIZER: &str = "apps.vworkspace.io/finalizer";

/// Every object of the store after the last commit.
#[derive(Default)]
pub struct Truth {
    objects: BTreeMap<Address, Arc<Value>>,
    revision: u64,
    odoo: Option<Odoo>,
    /// What was said to the control plane.
    pub books: books::Books,
}

impl Truth {
    /// From now on the tables of this control plane are part of the truth.
    pub fn know(&mut self, odoo: Odoo) {
        self.odoo = Some(odoo);
    }

    /// Reads the tables of the control plane; `None` where there is none.
    pub fn odoo<T>(&self, at: impl FnOnce(&State) -> T) -> Option<T> {
        self.odoo.as_ref().map(|odoo| odoo.look(at))
    }

    /// The control plane's clock.
    pub fn odoo_now(&self) -> Option<Timestamp> {
        self.odoo.as_ref().map(Odoo::now)
    }

    /// Follows one record.
    pub fn step(&mut self, record: &Record) {
        self.books.step(record);
        let Event::Commit(commit) = &record.event else { return };
        let namespace = commit.namespace.as_deref().unwrap_or_default();
        let address = Address::new(&commit.resource, namespace, &commit.name);
        self.revision = commit.revision;
        match &commit.after {
            Some(object) => self.objects.insert(address, object.clone()),
            None => self.objects.remove(&address),
        };
    }

    /// Puts an object into a store that no history built.
    #[cfg(test)]
    pub(crate) fn insert(&mut self, address: Address, object: Value) {
        self.objects.insert(address, Arc::new(object));
    }

    /// Revision of the last commit.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// One object.
    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<&Arc<Value>> {
        self.objects.get(&Address::new(resource, namespace, name))
    }

    /// Every object of one resource, in order.
    pub fn all<'a>(&'a self, resource: &'a str) -> impl Iterator<Item = (&'a Address, &'a Arc<Value>)> + 'a {
        self.objects
            .range(Address::new(resource, "", "")..)
            .take_while(move |(address, _)| address.resource == resource)
    }

    /// Every object.
    pub fn objects(&self) -> impl Iterator<Item = (&Address, &Arc<Value>)> {
        self.objects.iter()
    }

    /// What depends on the instance with this uid: by owner reference, or by our label.
    pub fn children<'a>(&'a self, uid: &'a str) -> impl Iterator<Item = (&'a Address, &'a Arc<Value>)> + 'a {
        self.objects.iter().filter(move |(address, object)| {
            matches!(&*address.resource, RELEASES | OCI_REPOSITORIES | HELM_REPOSITORIES | "configmaps")
                && owner(object) == Some(uid)
        })
    }
}

/// The instance uid an object belongs to: its label, or its owner reference.
pub fn owner(object: &Value) -> Option<&str> {
    if let Some(uid) = label(object, "apps.vworkspace.io/instance-uid") {
        return Some(uid);
    }
    let references = object.pointer("/metadata/ownerReferences")?.as_array()?;
    let ours = references.iter().find(|reference| reference["kind"] == "ApplicationInstance")?;
    ours["uid"].as_str()
}

/// One label.
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("labels")?.get(key)?.as_str()
}

/// One annotation.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("annotations")?.get(key)?.as_str()
}

/// Text at a JSON pointer, empty if there is none.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Number at a JSON pointer, 0 if there is none.
pub fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or_default()
}

/// `metadata.uid`.
pub fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

/// `metadata.generation`.
pub fn generation(object: &Value) -> i64 {
    number(object, "/metadata/generation")
}

/// Whether the object is being deleted.
pub fn deleting(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some()
}

/// Whether the object carries the finalizer.
pub fn has_finalizer(object: &Value, finalizer: &str) -> bool {
    let list = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    list.is_some_and(|list| list.iter().any(|item| item == finalizer))
}

/// One condition of `status.conditions`.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object.pointer("/status/conditions")?.as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// Status of a condition; empty if absent.
pub fn condition_status<'a>(object: &'a Value, kind: &str) -> &'a str {
    condition(object, kind).map_or("", |condition| text(condition, "/status"))
}

/// Reason of a condition; empty if absent.
pub fn condition_reason<'a>(object: &'a Value, kind: &str) -> &'a str {
    condition(object, kind).map_or("", |condition| text(condition, "/reason"))
}

/// Whether an actor of the history is an incarnation of the operator.
pub fn is_operator(actor: &str) -> bool {
    actor.starts_with("operator")
}

/// A chart version as Flux prints it, without build metadata and leading `v`.
pub fn bare_version(version: &str) -> &str {
    let version = version.strip_prefix('v').unwrap_or(version);
    version.split('+').next().unwrap_or_default()
}
