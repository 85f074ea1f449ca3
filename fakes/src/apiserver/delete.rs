//! DELETE of one object and of a collection: preconditions, finalizers, propagation.

use std::sync::Arc;

use serde_json::{Value, json};

use super::crd;
use super::decode;
use super::errors::{Cause, Details, Outcome, Status};
use super::list;
use super::meta;
use super::reply::{ListMeta, Payload, Reply};
use super::request::{Request, Target, dry_run_causes};
use super::resource::Resource;
use super::rest;
use super::selector::Selector;
use super::server::Pass;
use super::store::{Key, Stored};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// DeleteOptions from the body or the query.
#[derive(Clone, Debug, Default)]
struct DeleteOptions {
    dry_run: bool,
    uid: Option<String>,
    resource_version: Option<String>,
    orphan_dependents: Option<bool>,
    policy: Option<String>,
    grace_seconds: Option<i64>,
}

impl DeleteOptions {
    fn parse(request: &Request) -> Outcome<DeleteOptions> {
        let mut options = DeleteOptions::default();
        let query = &request.query;
        let mut dry_run: Vec<String> = query.all("dryRun").map(str::to_owned).collect();
        if request.body.is_empty() {
            options.policy = query.get("propagationPolicy").map(str::to_owned);
            options.orphan_dependents = query.flag("orphanDependents");
            options.grace_seconds = query.get("gracePeriodSeconds").and_then(|text| text.parse().ok());
        } else {
            let body = decode::body(request)?.value;
            let kind = body["kind"].as_str().unwrap_or_default();
            if !matches!(kind, "" | "DeleteOptions") {
                let version = body["apiVersion"].as_str().unwrap_or_default();
                return Err(Status::bad_request(format!(
                    "{kind} in version {version:?} cannot be handled as a DeleteOptions: converting ({kind}) to (v1.DeleteOptions): unknown conversion"
                )));
            }
            dry_run =
                body["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
            options.uid = body["preconditions"]["uid"].as_str().map(str::to_owned);
            options.resource_version = body["preconditions"]["resourceVersion"].as_str().map(str::to_owned);
            options.orphan_dependents = body["orphanDependents"].as_bool();
            options.policy = body["propagationPolicy"].as_str().map(str::to_owned);
            options.grace_seconds = body["gracePeriodSeconds"].as_i64();
        }
        let mut causes = Vec::new();
        if options.orphan_dependents.is_some() && options.policy.is_some() {
            let value = json!(options.policy);
            causes.push(Cause::invalid(
                "propagationPolicy",
                &value,
                "orphanDependents and deletionPropagation cannot be both set",
            ));
        }
        if let Some(policy) = &options.policy
            && !matches!(policy.as_str(), "Foreground" | "Background" | "Orphan")
        {
            causes.push(Cause::not_supported(
                "propagationPolicy",
                &json!(policy),
                &["Foreground", "Background", "Orphan", "nil"],
            ));
        }
        causes.extend(dry_run_causes(dry_run.iter().map(String::as_str)));
        if !causes.is_empty() {
            return Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", causes));
        }
        options.dry_run = dry_run.iter().any(|value| !value.is_empty());
        Ok(options)
    }

    /// The finalizers that the garbage collector acts on, after this request (C13).
    fn finalizers(&self, object: &Value) -> Vec<String> {
        let has = |wanted: &str| meta::finalizers(object).any(|finalizer| finalizer == wanted);
        let orphan = match (self.orphan_dependents, self.policy.as_deref()) {
            (Some(orphan), _) => orphan,
            (None, Some(policy)) => policy == "Orphan",
            (None, None) => has(ORPHAN) && first_of(object) == Some(ORPHAN),
        };
        let foreground = match (self.orphan_dependents, self.policy.as_deref()) {
            (Some(_), _) => false,
            (None, Some(policy)) => policy == "Foreground",
            (None, None) => has(FOREGROUND) && first_of(object) == Some(FOREGROUND),
        };
        let kept = meta::finalizers(object).filter(|finalizer| !matches!(*finalizer, ORPHAN | FOREGROUND));
        let added = [(orphan, ORPHAN), (foreground, FOREGROUND)]
            .into_iter()
            .filter(|(wanted, _)| *wanted)
            .map(|(_, name)| name);
        let new: Vec<&str> = kept.chain(added).collect();
        let old: Vec<&str> = meta::finalizers(object).collect();
        let same = old.iter().all(|name| new.contains(name)) && new.iter().all(|name| old.contains(name));
        if same { old } else { new }.into_iter().map(str::to_owned).collect()
    }
}

fn first_of(object: &Value) -> Option<&str> {
    meta::finalizers(object).find(|finalizer| matches!(*finalizer, ORPHAN | FOREGROUND))
}

/// Whether a terminating object without finalizers may be removed: a namespace also has finalizers in its spec.
pub fn may_go(resource: &Resource, object: &Value) -> bool {
    let own = object["spec"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty());
    !(is_namespace(resource) && own)
}

/// DELETE of one object.
///
/// # Errors
/// 404, 409, 422.
pub fn delete(pass: &mut Pass<'_>, target: &Target) -> Outcome<Reply> {
    if !target.resource.verbs.contains(&"delete") {
        return Err(Status::method_not_allowed());
    }
    let options = DeleteOptions::parse(pass.request)?;
    let existing = rest::find(pass, target).ok_or_else(|| target.not_found())?;
    let resource = &target.resource;
    if is_namespace(resource) && PERMANENT.contains(&meta::text(&existing.value, "name")) {
        let name = meta::text(&existing.value, "name");
        return Err(Status::forbidden("", "namespaces", name, "this namespace may not be deleted"));
    }
    match remove(pass, resource, &existing, &options)? {
        Removal::Gone(last) if SHOWN_WHEN_GONE.contains(&&*resource.id) => {
            Ok(Reply::new(200, Payload::Object(resource.clone(), list::view(resource, &last))))
        }
        Removal::Stays(shown) => {
            let accepted = options.orphan_dependents == Some(false);
            Ok(Reply::new(
                if accepted { 202 } else { 200 },
                Payload::Object(resource.clone(), list::view(resource, &shown)),
            ))
        }
        Removal::Gone(_) => {
            let details = Details {
                name: target.name.clone().unwrap_or_default(),
                group: resource.group.clone(),
                kind: resource.plural.clone(),
                uid: meta::text(&existing.value, "uid").to_owned(),
                ..Details::default()
            };
            let mut status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success" });
            status["details"] = details.to_value();
            Ok(Reply::new(200, Payload::Json(status)))
        }
    }
}

/// Namespaces that admission protects.
const PERMANENT: [&str; 3] = ["default", "kube-system", "kube-public"];
/// Kinds whose deletion answers the object instead of a Status.
const SHOWN_WHEN_GONE: [&str; 8] = [
    "persistentvolumeclaims",
    "persistentvolumes",
    "pods",
    "podtemplates",
    "resourcequotas",
    "serviceaccounts",
    "services",
    "storageclasses.storage.k8s.io",
];

fn is_namespace(resource: &Resource) -> bool {
    &*resource.id == "namespaces"
}

/// What a deletion did to one object.
enum Removal {
    /// It waits for finalizers, or for its grace period.
    Stays(Arc<Stored>),
    /// It is gone; its last state at the revision of the deletion.
    Gone(Arc<Stored>),
}

/// Deletes or marks one object.
fn remove(
    pass: &mut Pass<'_>,
    resource: &Resource,
    existing: &Arc<Stored>,
    options: &DeleteOptions,
) -> Outcome<Removal> {
    let object = &*existing.value;
    let name = meta::text(object, "name");
    check_preconditions(resource, object, name, options)?;
    let key: Key = (meta::text(object, "namespace").to_owned(), name.to_owned());
    if &*resource.id == crd::ID {
        let mut new = object.clone();
        crd::terminate(&mut new, &rest::second(pass.now));
        return Ok(Removal::Stays(if new == *object {
            existing.clone()
        } else if options.dry_run {
            Arc::new(Stored::new(new, existing.revision, existing.schema_revision))
        } else {
            let event = pass.commit("delete", resource, key, Some(new));
            event.after.clone().expect("an update stores an object")
        }));
    }
    // The first deletion of a namespace only marks it, and further ones do nothing while its spec has finalizers (E7).
    let first = is_namespace(resource) && !meta::terminating(object);
    if !may_go(resource, object) && !first {
        return Ok(Removal::Stays(existing.clone()));
    }
    let finalizers = options.finalizers(object);
    let unchanged = finalizers.iter().map(String::as_str).eq(meta::finalizers(object));
    let mut new = object.clone();
    if !unchanged {
        let value = (!finalizers.is_empty()).then(|| json!(finalizers));
        meta::set(&mut new, "finalizers", value);
    }
    let grace = super::builtin::grace_seconds(resource, object, options.grace_seconds);
    let stays = !finalizers.is_empty() || first || grace.is_some_and(|seconds| seconds > 0);
    if stays || grace.is_some() {
        mark(&mut new, pass, resource, grace.unwrap_or(0));
    }
    let shown = if new == *object {
        existing.clone()
    } else if options.dry_run {
        Arc::new(Stored::new(new, existing.revision, existing.schema_revision))
    } else {
        let event = pass.commit("delete", resource, key.clone(), Some(new));
        event.after.clone().expect("an update stores an object")
    };
    if stays {
        return Ok(Removal::Stays(shown));
    }
    if options.dry_run {
        return Ok(Removal::Gone(shown));
    }
    let event = pass.commit("delete", resource, key, None);
    Ok(Removal::Gone(event.gone().unwrap_or(shown)))
}

/// Sets what a terminating object shows (C5, C8).
fn mark(object: &mut Value, pass: &Pass<'_>, resource: &Resource, grace: i64) {
    if meta::terminating(object) {
        // Only namespaces can be without it here, see below.
        if object["metadata"]["deletionGracePeriodSeconds"].is_null() {
            meta::set(object, "deletionGracePeriodSeconds", Some(json!(0)));
        }
        // A grace period may become shorter (C16).
        let left = object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
        if grace < left {
            let end = meta::text(object, "deletionTimestamp").parse::<jiff::Timestamp>().unwrap_or(pass.now);
            let end = end.checked_sub(jiff::SignedDuration::from_secs(left - grace)).unwrap_or(end);
            meta::set(object, "deletionTimestamp", Some(json!(rest::second(end))));
            meta::set(object, "deletionGracePeriodSeconds", Some(json!(grace)));
        }
        return;
    }
    if let Some(generation) = object["metadata"]["generation"].as_i64().filter(|generation| *generation > 0) {
        meta::set(object, "generation", Some(json!(generation + 1)));
    }
    let end = pass.now.checked_add(jiff::SignedDuration::from_secs(grace)).unwrap_or(pass.now);
    meta::set(object, "deletionTimestamp", Some(json!(rest::second(end))));
    if is_namespace(resource) {
        object["status"]["phase"] = json!("Terminating");
    } else {
        meta::set(object, "deletionGracePeriodSeconds", Some(json!(grace)));
    }
}

fn check_preconditions(resource: &Resource, object: &Value, name: &str, options: &DeleteOptions) -> Outcome<()> {
    if is_namespace(resource) {
        return check_namespace_preconditions(object, name, options);
    }
    let conflict = |why: String| Err(Status::conflict(&resource.group, &resource.kind, name, &why));
    if let Some(wanted) = &options.uid {
        let found = meta::text(object, "uid");
        if wanted != found {
            return conflict(format!(
                "the UID in the precondition ({wanted}) does not match the UID in record ({found}). The object might have been deleted and then recreated"
            ));
        }
    }
    if let Some(wanted) = &options.resource_version {
        let found = meta::text(object, "resourceVersion");
        if wanted != found {
            return conflict(format!(
                "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({found}). The object might have been modified"
            ));
        }
    }
    Ok(())
}

/// Namespaces check by themselves and use other words.
fn check_namespace_preconditions(object: &Value, name: &str, options: &DeleteOptions) -> Outcome<()> {
    let pairs = [("UID", &options.uid, "uid"), ("ResourceVersion", &options.resource_version, "resourceVersion")];
    for (what, wanted, field) in pairs {
        let found = meta::text(object, field);
        if let Some(wanted) = wanted.as_deref().filter(|wanted| *wanted != found) {
            let why = format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}");
            return Err(Status::conflict("", "namespaces", name, &why));
        }
    }
    Ok(())
}

/// DELETE of a collection; answers the items as they were (C17).
///
/// # Errors
/// Those of one deletion and of selectors.
pub fn delete_collection(pass: &mut Pass<'_>, target: &Target) -> Outcome<Reply> {
    let resource = &target.resource;
    if !resource.verbs.contains(&"deletecollection") {
        return Err(Status::method_not_allowed());
    }
    let options = DeleteOptions::parse(pass.request)?;
    let selector = Selector::parse(&pass.request.query, resource)?;
    let revision = pass.state.store.revision();
    let table = pass.state.store.table(&resource.id);
    table.refresh(revision);
    let selected: Vec<Arc<Stored>> = list::in_namespace(&table.objects, &target.namespace)
        .map(|(_, stored)| stored.clone())
        .filter(|stored| selector.matches(&stored.value))
        .collect();
    for stored in &selected {
        remove(pass, resource, stored, &options)?;
    }
    let items = selected.iter().map(|stored| list::view(resource, stored)).collect();
    let meta = ListMeta { revision, ..ListMeta::default() };
    Ok(Reply::new(200, Payload::List(resource.clone(), meta, items)))
}
