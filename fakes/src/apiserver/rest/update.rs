//! PUT of one object or subresource, and every other change of one.

use std::sync::Arc;

use serde_json::{Value, json};

use super::create::{Creation, create_object};
use super::keep::{prepare_update, raise_generation};
use super::{NAMESPACE_MISMATCH, admit_namespace, find, storage_form, to_storage_version};
use crate::apiserver::apply;
use crate::apiserver::decode;
use crate::apiserver::delete;
use crate::apiserver::errors::{Cause, Outcome, Status};
use crate::apiserver::limits;
use crate::apiserver::list;
use crate::apiserver::meta;
use crate::apiserver::rbac;
use crate::apiserver::reply::{Payload, Reply};
use crate::apiserver::request::{Target, WriteOptions};
use crate::apiserver::server::Pass;
use crate::apiserver::store::{Key, Stored};
use crate::apiserver::track;

/// PUT of one object or subresource.
///
/// # Errors
/// Everything that can be wrong with a changed object.
pub fn replace(pass: &mut Pass<'_>, target: &Target) -> Outcome<Reply> {
    let options = WriteOptions::parse(pass.request, "UpdateOptions", false)?;
    let object = decode::object(pass, &target.resource, &options)?;
    check_name(&object, target)?;
    let update = Update {
        target,
        options: &options,
        verb: "update",
        uid: Some(meta::text(&object, "uid").to_owned()).filter(|uid| !uid.is_empty()),
        create: target.resource.allow_create_on_update && target.subresource.is_none(),
        track: true,
    };
    let (stored, created) = update_object(pass, &update, &mut |_, _| Ok(object.clone().into()))?;
    Ok(Reply::new(if created { 201 } else { 200 }, Payload::Object(target.resource.clone(), stored)))
}

/// The body must be about the object of the URL (A11).
///
/// # Errors
/// 400.
pub fn check_name(object: &Value, target: &Target) -> Outcome<()> {
    let (name, wanted) = (meta::text(object, "name"), target.name.as_deref().unwrap_or_default());
    if name.is_empty() {
        let message =
            format!("the name of the object ({wanted} based on URL) was undeterminable: name must be provided");
        return Err(Status::bad_request(message));
    }
    if name != wanted {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({wanted})"
        )));
    }
    let (namespace, wanted) = (meta::text(object, "namespace"), &target.namespace);
    if !namespace.is_empty() && namespace != wanted {
        return Err(Status::bad_request(NAMESPACE_MISMATCH));
    }
    Ok(())
}

/// What an update of one object is.
pub struct Update<'a> {
    /// The object.
    pub target: &'a Target,
    /// Options.
    pub options: &'a WriteOptions,
    /// Verb for the history.
    pub verb: &'static str,
    /// The uid that the stored object must have (A9).
    pub uid: Option<String>,
    /// A missing object is created.
    pub create: bool,
    /// Record who owns what: not for an apply, which did.
    pub track: bool,
}

/// A new state of an object.
pub struct Made {
    /// The object.
    pub object: Value,
    /// See [`Stored::empties`].
    pub empties: Vec<String>,
}

impl From<Value> for Made {
    fn from(object: Value) -> Made {
        Made { object, empties: Vec::new() }
    }
}

/// Makes the new state from the live one (`None` when it is created).
pub type Make<'a> = &'a mut dyn FnMut(&mut Pass<'_>, Option<&Value>) -> Outcome<Made>;

/// Changes one object; the flag tells a creation.
///
/// # Errors
/// 404, 409, 422 and those of `make`.
pub fn update_object(pass: &mut Pass<'_>, update: &Update<'_>, make: Make<'_>) -> Outcome<(Arc<Stored>, bool)> {
    let target = update.target;
    let resource = &target.resource;
    let name = target.name.as_deref().unwrap_or_default();
    let Some(existing) = find(pass, target) else {
        if !update.create {
            return Err(target.not_found());
        }
        let mut made = make(pass, None)?;
        meta::set(&mut made.object, "name", Some(json!(name)));
        let creation = Creation { target, options: update.options, verb: update.verb, track: update.track };
        return create_object(pass, &creation, made).map(|stored| (stored, true));
    };
    let live = list::view(resource, &existing);
    let old = &*live.value;
    if let Some(uid) = &update.uid
        && uid != meta::text(old, "uid")
    {
        return Err(uid_conflict(target, uid, meta::text(old, "uid"), update.options.dry_run));
    }
    let Made { object: mut new, empties } = make(pass, Some(old))?;
    rbac::check_grant(pass, target, &new, Some(old))?;
    check_revision(&mut new, old, target)?;
    admit_namespace(pass, target, name, false)?;
    let subresource = target.subresource.as_deref();
    pass.warnings.extend(meta::deduplicate_owners(&mut new));
    if let Some(strategy) = &resource.strategy {
        strategy.prepare(&mut new, Some(old), subresource);
    }
    // Before anything is put back: a body that cannot be typed loses the whole record, even where only its status counts.
    if update.track {
        track::update(pass, target, Some(old), &mut new, update.options);
    }
    prepare_update(&mut new, old, target);
    if let Some(strategy) = &resource.strategy {
        strategy.complete(&mut new, Some(old), subresource);
    }
    let causes = update_causes(&mut new, old, &existing, target);
    if !causes.is_empty() {
        return Err(Status::invalid(&resource.group, &resource.kind, name, causes));
    }
    if resource.custom.is_some() {
        pass.warnings.extend(meta::finalizer_warnings(&new, Some(old)));
    }
    raise_generation(&mut new, old, resource, subresource);
    storage_form(resource, &mut new);
    // The comparison tells an empty field from a missing one.
    if empties.is_empty() {
        apply::keep_times(&mut new, old);
    }
    let unchanged = if Arc::ptr_eq(&live.value, &existing.value) {
        new == *old
    } else {
        // Defaults or another storage version that are seen but not stored make it a write (C6, N3).
        let mut stored = new.clone();
        to_storage_version(resource, &mut stored);
        stored == *existing.value
    };
    if unchanged && empties == existing.empties {
        return Ok((live, false));
    }
    limits::check_size(&new, pass.request.body.len() + existing.bytes().len())?;
    let key: Key = (target.namespace.clone(), name.to_owned());
    let emptied = meta::terminating(old) && meta::finalizers(&new).next().is_none() && delete::may_go(resource, &new);
    if update.options.dry_run || emptied {
        // The answer shows the new content under the old revision (C10).
        meta::arrange(&mut new, resource.custom.is_some());
        let shown = Arc::new(Stored::new(new, existing.revision, live.schema_revision));
        if emptied && !update.options.dry_run {
            pass.commit("delete", resource, key, None);
        }
        return Ok((shown, false));
    }
    let event = pass.commit_with(update.verb, resource, key, Some(new), empties);
    let stored = event.after.as_ref().expect("an update stores an object");
    Ok((list::view(resource, stored), false))
}

fn update_causes(new: &mut Value, old: &Value, existing: &Stored, target: &Target) -> Vec<Cause> {
    let resource = &target.resource;
    let subresource = target.subresource.as_deref();
    let mut causes = meta::validate_update(new, old);
    // The generic layer and the kind's own rules both check metadata, so each cause appears twice.
    causes.extend(causes.clone());
    if let Some(custom) = &resource.custom {
        let (schema, status_only) = (resource.schema(), subresource == Some("status"));
        // Another version has rules of its own.
        let passed = custom.schema_revision == existing.schema_revision && custom.schemas.len() == 1;
        causes.extend(match (passed, status_only) {
            (true, _) => schema.validate_change(new, old, status_only),
            (false, true) => schema.validate_status(new, old),
            (false, false) => schema.validate(new, Some(old)),
        });
    }
    if let Some(strategy) = &resource.strategy {
        causes.extend(strategy.validate(new, Some(old), subresource));
    }
    causes
}

fn uid_conflict(target: &Target, wanted: &str, found: &str, dry_run: bool) -> Status {
    let resource = &target.resource;
    let name = target.name.as_deref().unwrap_or_default();
    let group = if resource.group.is_empty() { String::new() } else { format!("{}/", resource.group) };
    // A dry run checks before the layer that adds the prefix.
    let prefix = if dry_run { "" } else { "/registry" };
    let key = format!("{prefix}/{group}{}/{}/{name}", resource.plural, target.namespace).replace("//", "/");
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}"
    );
    Status::conflict(&resource.group, &resource.plural, name, &why)
}

/// Compares the resourceVersion of the new state and sets it to the stored one (A5, A6).
fn check_revision(new: &mut Value, old: &Value, target: &Target) -> Outcome<()> {
    let resource = &target.resource;
    let name = target.name.as_deref().unwrap_or_default();
    let text = meta::text(new, "resourceVersion");
    let wanted = if text.is_empty() { Ok(0) } else { text.parse::<u64>() };
    match wanted {
        Err(_) => return Err(Status::internal(format!("strconv.ParseUint: parsing {text:?}: invalid syntax"))),
        Ok(0) if !resource.allow_unconditional_update => {
            let cause = Cause::invalid("metadata.resourceVersion", &json!(0), "must be specified for an update");
            return Err(Status::invalid(&resource.group, &resource.plural, name, vec![cause]));
        }
        Ok(0) => {}
        Ok(_) if text == meta::text(old, "resourceVersion") => {}
        Ok(_) => return Err(Status::modified(&resource.group, &resource.plural, name)),
    }
    meta::set(new, "resourceVersion", Some(old["metadata"]["resourceVersion"].clone()));
    Ok(())
}
