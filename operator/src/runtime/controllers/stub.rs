//! What a loop keeps of its objects between wake and pass: a name to look under, never what it says.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DynamicResourceScope;
use kube::runtime::reflector::store::{Store, Writer};
#[cfg(test)]
use kube::runtime::watcher::Event;
use serde::Deserialize;

use crate::api::annotation;
use crate::cluster_api::{Kind, Object};

/// Which of our own kinds a loop is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Own {
    /// ApplicationInstance.
    ApplicationInstance,
}

impl Own {
    /// The kind.
    pub fn kind(self) -> Kind {
        match self {
            Own::ApplicationInstance => Kind::namespaced(
                crate::api::APPS_GROUP,
                crate::api::VERSION,
                "ApplicationInstance",
                "applicationinstances",
            ),
        }
    }

    /// The controller's name in logs and metrics.
    pub fn controller(self) -> &'static str {
        match self {
            Own::ApplicationInstance => "applicationinstance",
        }
    }
}

/// Namespace and name.
pub(super) type Name = (String, String);

/// What the store keeps of an object: enough to be found and to be woken.
#[derive(Clone, Debug, Deserialize)]
pub struct Stub {
    pub(super) metadata: ObjectMeta,
    /// The object itself is gone; only what it left behind is looked at.
    #[serde(skip)]
    pub(super) gone: bool,
}

impl Stub {
    pub(super) fn of(object: &Object) -> Self {
        // Only what somebody maps by: the owner of an external release is found by its annotation.
        let annotations = object
            .annotation(annotation::HELMRELEASE_AUTHORITY)
            .map(|value| BTreeMap::from([(annotation::HELMRELEASE_AUTHORITY.to_string(), value.to_string())]));
        Self {
            metadata: ObjectMeta {
                name: Some(object.name().into()),
                namespace: object.namespace().map(String::from),
                uid: object.uid().map(|uid| uid.0),
                annotations,
                ..ObjectMeta::default()
            },
            gone: false,
        }
    }

    /// A stub of an object that does not exist.
    pub(super) fn gone(namespace: &str, name: &str) -> Self {
        let metadata =
            ObjectMeta { name: Some(name.into()), namespace: Some(namespace.into()), ..ObjectMeta::default() };
        Self { metadata, gone: true }
    }

    pub(super) fn name(&self) -> Name {
        (self.metadata.namespace.clone().unwrap_or_default(), self.metadata.name.clone().unwrap_or_default())
    }

    /// Whether a HelmRelease of the same namespace without our label may belong to this instance.
    pub fn observes_external_release(&self) -> bool {
        self.metadata
            .annotations
            .as_ref()
            .and_then(|annotations| annotations.get(annotation::HELMRELEASE_AUTHORITY))
            .is_some_and(|value| value == "external")
    }
}

impl kube::Resource for Stub {
    type DynamicType = Own;
    type Scope = DynamicResourceScope;

    fn kind(own: &Own) -> Cow<'_, str> {
        own.kind().kind.into()
    }

    fn group(own: &Own) -> Cow<'_, str> {
        own.kind().group.into()
    }

    fn version(own: &Own) -> Cow<'_, str> {
        own.kind().version.into()
    }

    fn plural(own: &Own) -> Cow<'_, str> {
        own.kind().plural.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// A wish to look at an object, from something that is not the object. The object need not exist: what it left behind
/// may want looking at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wake {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// The objects a loop knows, for those who wake it.
#[derive(Clone)]
pub struct Stubs(pub(super) Store<Stub>);

impl Stubs {
    /// Namespace and name of those that `which` selects, in order: the store iterates in hash order.
    pub fn select(&self, which: impl Fn(&Stub) -> bool) -> BTreeSet<Name> {
        self.0.state().iter().filter(|stub| !stub.gone && which(stub)).map(|stub| stub.name()).collect()
    }
}

/// The store of stubs of `own`, empty.
pub fn store(own: Own) -> (Stubs, Writer<Stub>) {
    let writer = Writer::new(own);
    (Stubs(writer.as_reader()), writer)
}

/// Fills a store as a complete list would.
#[cfg(test)]
pub(crate) fn insert_for_test(writer: &mut Writer<Stub>, object: &Object) {
    writer.apply_watcher_event(&Event::Apply(Stub::of(object)));
}
