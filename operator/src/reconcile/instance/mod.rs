//! ApplicationInstance: one HelmRelease and its source, kept as the spec says (contract §5, §6).
//!
//! [`observe`] reads, [`decide`] decides. The snapshot holds what one decision needs and nothing secret: of a referenced
//! Secret only its revision and whether the key is there.

use serde::Serialize;
use serde_json::Value;

use crate::api::common::GitSource;
use crate::api::{annotation, finalizer, label};
use crate::cluster_api::{ApiError, Key, Object};
use crate::foreign::core::Revision;
use crate::policy::Settings;
use crate::reconcile::act::Failure;

mod decide;
mod deletion;
mod farewell;
#[cfg(test)]
mod fixtures;
mod gitops;
mod intent;
mod live;
mod nudge;
mod observe;
mod obstacle;
#[cfg(test)]
mod outside;
mod status;
mod table;
#[cfg(test)]
mod tests;
mod write;

pub use decide::{State, decide, state};
pub use observe::observe;

/// One object that was looked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub enum Look {
    /// This pass did not need it.
    #[default]
    NotRead,
    /// Known to be absent.
    Absent,
    /// Its kind is not served.
    Unserved,
    /// There it is.
    Found(Box<Object>),
}

impl Look {
    /// The object, if there is one.
    pub fn found(&self) -> Option<&Object> {
        match self {
            Look::Found(object) => Some(object),
            _ => None,
        }
    }
}

/// Another ApplicationInstance that matters for the release name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rival {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// `metadata.creationTimestamp` as written; these sort as text.
    pub created: String,
    /// Whether it is for the same release name and counts.
    pub same_release: bool,
}

/// What one decision needs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Snapshot {
    /// Which instance.
    pub key: Key,
    /// Settings of the cluster.
    pub settings: Settings,
    /// The instance.
    pub instance: Option<Object>,
    /// Its namespace.
    pub namespace: Option<Object>,
    /// The HelmRelease of the release name.
    pub release: Look,
    /// The chart source that the spec asks for.
    pub source: Look,
    /// The HelmChart that Flux makes from a Helm repository.
    pub chart: Option<Object>,
    /// The generated values ConfigMap that the spec asks for.
    pub generated: Look,
    /// The target Lease.
    pub lease: Option<Object>,
    /// The Operation that holds the target, read only for a deletion that waits for it.
    pub holder: Option<Object>,
    /// The values reference: not read, or absent, or its revision.
    pub values: Option<Option<Revision>>,
    /// The chart's credentials Secret, likewise.
    pub chart_secret: Option<Option<Revision>>,
    /// Other instances that matter, if the release had to be looked into.
    pub rivals: Vec<Rival>,
    /// All sources and generated ConfigMaps of ours, if they were listed; of a vanished instance, its releases.
    pub rest: Option<Vec<(Key, Object)>>,
    /// Whether the HelmRelease CRD is in order, if a release vanished.
    pub definition_ready: Option<bool>,
    /// What was told of the instance, if our finalizer may go in this pass.
    pub stores: Option<farewell::Stores>,
    /// What the Kustomization of the instance has applied, in gitops mode.
    pub applied: Option<GitSource>,
    /// Why the last pass could not write, if the server said no.
    pub refused: Option<String>,
}

impl Snapshot {
    /// A snapshot with nothing in it.
    pub fn empty(key: &Key, settings: &Settings) -> Self {
        Self {
            key: key.clone(),
            settings: settings.clone(),
            instance: None,
            namespace: None,
            release: Look::NotRead,
            source: Look::NotRead,
            chart: None,
            generated: Look::NotRead,
            lease: None,
            holder: None,
            values: None,
            chart_secret: None,
            rivals: Vec::new(),
            rest: None,
            definition_ready: None,
            stores: None,
            applied: None,
            refused: None,
        }
    }

    /// The same snapshot, knowing how the last pass of this key ended. A refusal by the server is told to the user; everything
    /// else repeats by itself.
    pub fn after(mut self, last: Option<&Failure>) -> Self {
        self.refused = match last {
            Some(Failure::Effect { error: ApiError::Refused { why } | ApiError::Forbidden { what: why }, .. }) => {
                Some(crate::foreign::text::stable(why))
            }
            _ => None,
        };
        self
    }
}

/// Whether the instance is paused.
fn paused(instance: &Object) -> bool {
    instance.annotation(annotation::RECONCILE) == Some("disabled")
}

/// Whether deletion leaves everything in place: by request, or because it cannot be read what is requested.
fn orphaning(instance: &Object) -> bool {
    instance.annotation(annotation::DELETION_POLICY) == Some("orphan")
        || crate::policy::instance::words(instance).is_err()
}

/// Whether somebody else writes the HelmRelease.
fn external(instance: &Object) -> bool {
    instance.annotation(annotation::HELMRELEASE_AUTHORITY) == Some("external")
}

/// Whether our finalizer is on it.
fn held(instance: &Object) -> bool {
    instance.has_finalizer(finalizer::APPLICATION_INSTANCE)
}

/// Whose a child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ownership {
    /// Made by us for this instance, or by the existing agent for it.
    Ours,
    /// Made by us for an instance that is gone, and nobody controls it (contract §4.1).
    Orphaned,
    /// Somebody else's.
    Foreign,
}

/// By uid label or controller reference, never by name alone. `alive` are uids of other instances.
fn ownership(child: &Object, instance: &Object, alive: &[Rival]) -> Ownership {
    let uid = instance.uid().map(|uid| uid.0).unwrap_or_default();
    let managed = child.label(label::MANAGED_BY) == Some(label::OPERATOR);
    let labelled = child.label(label::INSTANCE_UID);
    let references = child.0.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let controller = references
        .into_iter()
        .flatten()
        .find(|reference| reference["controller"] == true)
        .map(|reference| reference["uid"].as_str().unwrap_or_default());
    match (labelled, controller) {
        _ if uid.is_empty() => Ownership::Foreign,
        (_, Some(controller)) if controller != uid => Ownership::Foreign,
        (Some(labelled), _) if labelled == uid && managed => Ownership::Ours,
        (None, Some(_)) => Ownership::Ours,
        (Some(labelled), None) if managed && !alive.iter().any(|rival| rival.uid == labelled) => Ownership::Orphaned,
        _ => Ownership::Foreign,
    }
}
