//! The seam to field ownership: what of a request counts for whom.

use std::sync::Arc;

use serde_json::Value;

use super::apply::{self, ApplyError, ApplyRequest, Reset, UpdateRequest};
use super::errors::{Cause, Details, Outcome, Status};
use super::request::{Target, WriteOptions};
use super::resource::Resource;
use super::schema::Schema;
use super::server::Pass;

/// What a write through this endpoint cannot change, and so cannot own.
fn reset(target: &Target) -> Reset<'static> {
    let resource = &target.resource;
    match target.subresource.as_deref() {
        Some("status") if resource.custom.is_some() => Reset::AllBut(&["status"]),
        Some("status") => Reset::Fields(&[&["spec"]]),
        None | Some("finalize") if resource.status => Reset::Fields(&[&["status"]]),
        _ => Reset::Nothing,
    }
}

/// The other versions of a resource with their schemas; of custom resources also those that are not served.
fn others(pass: &Pass<'_>, resource: &Resource) -> Vec<(String, Arc<Schema>)> {
    if let Some(custom) = &resource.custom {
        let others = custom.schemas.iter().filter(|(version, _)| **version != resource.version);
        return others.map(|(version, schema)| (format!("{}/{version}", resource.group), schema.clone())).collect();
    }
    let versions = pass.state.resources.versions(&resource.group, &resource.plural);
    let others = versions.filter(|other| other.version != resource.version);
    others.map(|other| (other.api_version.clone(), other.schema().clone())).collect()
}

/// Runs `with` on the description of this write's target.
fn described<T>(pass: &Pass<'_>, target: &Target, with: impl FnOnce(apply::Target<'_>) -> T) -> T {
    let resource = &target.resource;
    let others = others(pass, resource);
    let other_versions: Vec<_> =
        others.iter().map(|(api_version, schema)| (api_version.as_str(), &**schema.root())).collect();
    with(apply::Target {
        api_version: &resource.api_version,
        kind: &resource.kind,
        schema: resource.schema().root(),
        other_versions: &other_versions,
        subresource: target.subresource.as_deref().unwrap_or_default(),
        reset: reset(target),
    })
}

/// Records in `new` who owns what after a create, a replacement or a patch.
pub fn update(pass: &Pass<'_>, target: &Target, live: Option<&Value>, new: &mut Value, options: &WriteOptions) {
    let now = pass.now;
    described(pass, target, |target| {
        apply::track_update(live, new, &UpdateRequest { manager: &options.manager, now, target });
    });
}

/// Records what a controller of the server itself changes through a subresource.
pub fn by_server(resource: &Resource, subresource: &str, live: &Value, new: &mut Value, now: jiff::Timestamp) {
    let target = apply::Target {
        api_version: &resource.api_version,
        kind: &resource.kind,
        schema: resource.schema().root(),
        other_versions: &[],
        subresource,
        reset: Reset::Fields(&[&["spec"]]),
    };
    apply::track_update(Some(live), new, &UpdateRequest { manager: "kube-apiserver", now, target });
}

/// Merges an applied body into the live object.
///
/// # Errors
/// 400, 409, 500.
pub fn apply(
    pass: &Pass<'_>,
    target: &Target,
    live: Option<&Value>,
    body: &Value,
    options: &WriteOptions,
) -> Outcome<Value> {
    let now = pass.now;
    let applied = described(pass, target, |target| {
        let request = ApplyRequest { manager: &options.manager, force: options.force, now, target };
        apply::apply(live, body, &request)
    });
    applied.map_err(|error| match error {
        ApplyError::BadRequest(message) => Status::bad_request(message),
        ApplyError::Internal(message) => Status::internal(message),
        ApplyError::Conflict(ref conflicts) => {
            let causes = conflicts
                .iter()
                .map(|conflict| Cause::new("FieldManagerConflict", conflict.field.clone(), conflict.message()));
            let details = Details { causes: causes.collect(), ..Details::default() };
            Status::new(409, "Conflict", error.to_string()).with_details(details)
        }
    })
}
