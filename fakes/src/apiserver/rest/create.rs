//! POST to a collection, and whatever else makes a new object.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Made, NAMESPACE_MISMATCH, admit_namespace, second, storage_form};
use crate::apiserver::decode;
use crate::apiserver::errors::{Outcome, Status};
use crate::apiserver::limits;
use crate::apiserver::list;
use crate::apiserver::meta;
use crate::apiserver::rbac;
use crate::apiserver::reply::{Payload, Reply};
use crate::apiserver::request::{Target, WriteOptions};
use crate::apiserver::resource::{Generation, Resource};
use crate::apiserver::server::Pass;
use crate::apiserver::store::Stored;
use crate::apiserver::track;

/// Longest base of a generated name; the suffix has five letters (J1).
const GENERATED_BASE: usize = 58;
/// Attempts to find a free generated name.
const GENERATED_ATTEMPTS: usize = 8;

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
