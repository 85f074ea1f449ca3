//! Reading one object, creating and replacing: the life of a write from decoded body to commit.

use std::sync::Arc;

use serde_json::{Value, json};

use super::apply;
use super::decode;
use super::delete;
use super::errors::{Cause, Details, Outcome, Status};
use super::json as wire;
use super::limits;
use super::list;
use super::meta;
use super::rbac;
use super::reply::{Payload, Reply};
use super::request::{Target, WriteOptions};
use super::resource::{Generation, Resource};
use super::server::Pass;
use super::store::{Key, Stored};
use super::track;

/// Longest base of a generated name; the suffix has five letters (J1).
const GENERATED_BASE: usize = 58;
/// Attempts to find a free generated name.
const GENERATED_ATTEMPTS: usize = 8;

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

/// POST to a collection.
///
/// # Errors
/// Everything that can be wrong with a new object.
pub fn create(pass: &mut Pass<'_>, target: &Target) -> Outcome<Reply> {
    let resource = &target.resource;
    if !resource.verbs.contains(&"create") {
        return Err(Status::method_not_allowed());
    }
    if resource.namespaced && target.namespace.is_empty() {
        return Err(if resource.custom.is_some() { Status::page_not_found() } else { Status::method_not_allowed() });
    }
    let options = WriteOptions::parse(pass.request, "CreateOptions", false)?;
    let object = decode::object(pass, resource, &options)?;
    check_namespace(&object, target)?;
    let stored =
        create_object(pass, &Creation { target, options: &options, verb: "create", track: true }, object.into())?;
    Ok(Reply::new(201, Payload::Object(resource.clone(), stored)))
}

fn check_namespace(object: &Value, target: &Target) -> Outcome<()> {
    let found = meta::text(object, "namespace");
    if found.is_empty() || found == target.namespace {
        return Ok(());
    }
    Err(Status::bad_request(NAMESPACE_MISMATCH))
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

/// What the creation of one object is.
pub struct Creation<'a> {
    /// The collection, or the missing object.
    pub target: &'a Target,
    /// Options.
    pub options: &'a WriteOptions,
    /// Verb for the history; `create` is a POST.
    pub verb: &'static str,
    /// Record who owns what: not for an apply, which did.
    pub track: bool,
}

/// Completes, validates and stores a decoded new object.
///
/// # Errors
/// 403, 404, 409, 422, 500.
pub fn create_object(pass: &mut Pass<'_>, creation: &Creation<'_>, made: Made) -> Outcome<Arc<Stored>> {
    let Made { mut object, empties } = made;
    let target = creation.target;
    let resource = target.resource.clone();
    if resource.custom.as_ref().is_some_and(|custom| custom.terminating) {
        let why = "create not allowed while custom resource definition is terminating";
        return Err(Status::forbidden(&resource.group, &resource.plural, meta::text(&object, "name"), why));
    }
    admit_namespace(pass, target, meta::text(&object, "name"), true)?;
    pass.warnings.extend(meta::deduplicate_owners(&mut object));
    rbac::check_grant(pass, target, &object, None)?;
    if resource.status
        && let Some(fields) = object.as_object_mut()
    {
        fields.shift_remove("status");
    }
    if let Some(strategy) = &resource.strategy {
        strategy.prepare(&mut object, None, None);
    }
    if creation.track {
        track::update(pass, target, None, &mut object, creation.options);
    }
    let had_revision = creation.verb == "create" && !object["metadata"]["resourceVersion"].is_null();
    for field in ["resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        meta::set(&mut object, field, None);
    }
    let generated = meta::text(&object, "name").is_empty().then(|| meta::text(&object, "generateName").to_owned());
    if let Some(base) = generated.as_deref().filter(|base| !base.is_empty()) {
        let name = generated_name(pass, target, base);
        meta::set(&mut object, "name", Some(json!(name)));
    }
    if resource.namespaced {
        meta::set(&mut object, "namespace", Some(json!(target.namespace)));
    }
    let uid = pass.state.entropy.uid();
    meta::set(&mut object, "uid", Some(json!(uid)));
    if resource.generation != Generation::None {
        meta::set(&mut object, "generation", Some(json!(1)));
    }
    meta::set(&mut object, "creationTimestamp", Some(json!(second(pass.now))));
    if let Some(strategy) = &resource.strategy {
        strategy.complete(&mut object, None, None);
    }
    let mut causes = meta::validate(&object, &|name| name_problems(&resource, name));
    if resource.custom.is_some() {
        causes.extend(resource.schema().validate(&object, None));
    }
    if let Some(strategy) = &resource.strategy {
        causes.extend(strategy.validate(&object, None, None));
    }
    let name = meta::text(&object, "name").to_owned();
    if !causes.is_empty() {
        return Err(Status::invalid(&resource.group, &resource.kind, &name, causes));
    }
    if resource.custom.is_some() {
        pass.warnings.extend(meta::finalizer_warnings(&object, None));
    }
    if had_revision {
        return Err(Status::internal("resourceVersion should not be set on objects to be created"));
    }
    let key = (target.namespace.clone(), name.clone());
    if let Some(existing) = pass.state.store.table(&resource.id).objects.get(&key) {
        let mut status = Status::already_exists(&resource.group, &resource.plural, &name);
        if meta::terminating(&existing.value) {
            status.message = format!("object is being deleted: {}", status.message);
        }
        return Err(status);
    }
    storage_form(&resource, &mut object);
    limits::check_size(&object, pass.request.body.len())?;
    if creation.options.dry_run {
        meta::arrange(&mut object, resource.custom.is_some());
        return Ok(Arc::new(Stored::new(object, 0, 0)));
    }
    let event = pass.commit_with(creation.verb, &resource, key, Some(object), empties);
    Ok(list::view(&resource, event.after.as_ref().expect("a create stores an object")))
}

/// What encoding for storage and decoding again does to values: whole floats become integers, and custom resources have the defaults of
/// what was dropped on the way, such as the whole status of a new object (Flux's `observedGeneration: -1`). The order of keys is settled by
/// the commit, or by [`meta::arrange`] where there is none.
fn storage_form(resource: &Resource, object: &mut Value) {
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

fn generated_name(pass: &mut Pass<'_>, target: &Target, base: &str) -> String {
    let mut base = base.to_owned();
    while base.len() > GENERATED_BASE {
        base.pop();
    }
    let mut name = String::new();
    for _ in 0..GENERATED_ATTEMPTS {
        name = format!("{base}{}", pass.state.entropy.suffix());
        if pass.state.store.get(&target.resource.id, &target.namespace, &name).is_none() {
            break;
        }
    }
    name
}

fn name_problems(resource: &Resource, name: &str) -> Vec<String> {
    match resource.plural.as_str() {
        "namespaces" => meta::label_problems(name),
        _ => meta::subdomain_problems(name),
    }
}

/// A time as objects show it: seconds and `Z`.
pub fn second(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

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

const NAMESPACE_MISMATCH: &str =
    "the namespace of the provided object does not match the namespace sent on the request";

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

/// Keeps what this endpoint does not change: everything but status on `/status`, and status elsewhere (C1, C2).
fn prepare_update(new: &mut Value, old: &Value, target: &Target) {
    let resource = &target.resource;
    if target.subresource.as_deref() == Some("status") && resource.custom.is_none() {
        put(new, "spec", old.get("spec").cloned());
        if &*resource.id == "deployments.apps" {
            meta::set(new, "labels", old["metadata"].get("labels").cloned());
        }
        return;
    }
    if target.subresource.as_deref() == Some("status") {
        restore(new, old, &["status"], &|new, old| {
            restore(new, old, &["managedFields"], &|new, old| *new = old.clone())
        });
        return;
    }
    if resource.status {
        put(new, "status", old.get("status").cloned());
    }
    if resource.namespaced {
        meta::set(new, "namespace", Some(json!(target.namespace)));
    }
    meta::set(new, "selfLink", None);
    meta::set(new, "creationTimestamp", old["metadata"].get("creationTimestamp").cloned());
    if resource.generation != Generation::None {
        meta::set(new, "generation", old["metadata"].get("generation").cloned());
    }
}

/// Puts back every field but those in `kept`; `metadata`, and below it everything, as `below` does. What is equal already stays where it
/// is: nearly always everything, and copying an object costs more than comparing it.
fn restore(new: &mut Value, old: &Value, kept: &[&str], below: &dyn Fn(&mut Value, &Value)) {
    let (Some(new), Some(old)) = (new.as_object_mut(), old.as_object()) else { return };
    if new.keys().any(|key| !kept.contains(&key.as_str()) && !old.contains_key(key)) {
        new.retain(|key, _| kept.contains(&key.as_str()) || old.contains_key(key));
    }
    for (key, value) in old.iter().filter(|(key, _)| !kept.contains(&key.as_str())) {
        match new.get_mut(key) {
            Some(found) if found == value => {}
            Some(found) if key == "metadata" => below(found, value),
            Some(found) => *found = value.clone(),
            None => drop(new.insert(key.clone(), value.clone())),
        }
    }
}

fn put(object: &mut Value, field: &str, value: Option<Value>) {
    if let Some(fields) = object.as_object_mut() {
        match value {
            Some(value) => drop(fields.insert(field.to_owned(), value)),
            None => drop(fields.shift_remove(field)),
        }
    }
}

fn raise_generation(new: &mut Value, old: &Value, resource: &Resource, subresource: Option<&str>) {
    let changed = match resource.generation {
        Generation::None => return,
        _ if subresource == Some("status") => false,
        Generation::Spec => new["spec"] != old["spec"],
        Generation::SpecAndAnnotations => {
            new["spec"] != old["spec"] || new["metadata"]["annotations"] != old["metadata"]["annotations"]
        }
        Generation::AllButMetadata => {
            let counts =
                |key: &String| key != "metadata" && key != "apiVersion" && !(resource.status && key == "status");
            let (new, old) = (new.as_object(), old.as_object());
            let side = |object: Option<&serde_json::Map<String, Value>>| {
                object.map_or(0, |fields| fields.keys().filter(|key| counts(key)).count())
            };
            side(new) != side(old)
                || new
                    .into_iter()
                    .flatten()
                    .filter(|(key, _)| counts(key))
                    .any(|(key, value)| old.and_then(|old| old.get(key)) != Some(value))
        }
    };
    if changed {
        let generation = old["metadata"]["generation"].as_i64().unwrap_or(0);
        meta::set(new, "generation", Some(json!(generation + 1)));
    }
}
