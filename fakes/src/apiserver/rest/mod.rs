//! Reading one object, and what creating and replacing share: the life of a write from decoded body to commit.

mod create;
mod keep;
mod update;

use std::sync::Arc;

use serde_json::{Value, json};

use super::errors::{Cause, Details, Outcome, Status};
use super::json as wire;
use super::list;
use super::meta;
use super::reply::{Payload, Reply};
use super::request::Target;
use super::resource::Resource;
use super::server::Pass;
use super::store::Stored;

pub use create::{Creation, create, create_object};
pub use update::{Made, Make, Update, check_name, replace, update_object};

/// GET of one object.
///
/// # Errors
/// 404, and 504 for a revision of the future.
pub fn get(pass: &mut Pass<'_>, target: &Target) -> Outcome<Reply> {
    if let Some(text) = pass.request.query.get("resourceVersion") {
        let revision = text.parse().map_err(|_| {
            Status::bad_request(format!(
                "resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
            ))
        })?;
        list::check_reached(revision, pass.state.store.revision())?;
    }
    let stored = find(pass, target).ok_or_else(|| target.not_found())?;
    Ok(Reply::new(200, Payload::Object(target.resource.clone(), list::view(&target.resource, &stored))))
}

/// The stored object of a target.
pub fn find(pass: &Pass<'_>, target: &Target) -> Option<Arc<Stored>> {
    pass.state.store.get(&target.resource.id, &target.namespace, target.name.as_deref()?).cloned()
}

/// NamespaceLifecycle: content needs a namespace, and new content a living one (A14, E3).
///
/// # Errors
/// 404 and 403.
pub fn admit_namespace(pass: &Pass<'_>, target: &Target, name: &str, creates: bool) -> Outcome<()> {
    if !target.resource.namespaced {
        return Ok(());
    }
    let namespace = &target.namespace;
    let Some(found) = pass.state.store.get("namespaces", "", namespace) else {
        return Err(Status::not_found("", "namespaces", namespace));
    };
    if !creates || !meta::terminating(&found.value) {
        return Ok(());
    }
    let resource = &target.resource;
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let cause =
        Cause::new("NamespaceTerminating", "metadata.namespace", format!("namespace {namespace} is being terminated"));
    let status = Status::forbidden(&resource.group, &resource.plural, name, &why);
    Err(status.with_details(Details {
        name: name.to_owned(),
        group: resource.group.clone(),
        kind: resource.plural.clone(),
        causes: vec![cause],
        ..Details::default()
    }))
}

/// What encoding for storage and decoding again does to values: whole floats become integers, and custom resources have the defaults of
/// what was dropped on the way, such as the whole status of a new object (Flux's `observedGeneration: -1`). The order of keys is settled by
/// the commit, or by [`meta::arrange`] where there is none.
pub(super) fn storage_form(resource: &Resource, object: &mut Value) {
    wire::normalise_numbers(object);
    if resource.custom.is_some() {
        resource.schema().default(object);
    }
}

/// Objects are stored in the storage version, whichever version they were written in (N3).
pub fn to_storage_version(resource: &Resource, object: &mut Value) {
    if let Some(custom) = resource.custom.as_ref().filter(|custom| custom.storage_version != resource.version) {
        object["apiVersion"] = json!(format!("{}/{}", resource.group, custom.storage_version));
        // Whoever reads it decodes by the schema of that version; so it may as well be stored that way.
        if let Some(schema) = custom.schemas.get(&custom.storage_version) {
            schema.prune(object);
        }
    }
}

/// A time as objects show it: seconds and `Z`.
pub fn second(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

pub(super) const NAMESPACE_MISMATCH: &str =
    "the namespace of the provided object does not match the namespace sent on the request";
