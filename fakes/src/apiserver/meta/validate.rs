//! Refusals of `metadata` on create and update.

use serde_json::{Value, json};

use super::{finalizers, label_value_problems, qualified_name_problems, set, terminating, text};
use crate::apiserver::crd;
use crate::apiserver::errors::Cause;

/// Annotations of one object, keys and values together (J3).
const ANNOTATIONS_BYTES: usize = 256 * 1024;

/// Refusals of `metadata` on create and, for the parts that may change, on update.
pub fn validate(object: &Value, name_problems: &dyn Fn(&str) -> Vec<String>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let name = text(object, "name");
    let generate_name = text(object, "generateName");
    if !generate_name.is_empty() {
        // The prefix may end in a dash: the suffix follows.
        let prefix = generate_name.strip_suffix('-').map_or(generate_name.to_owned(), |base| format!("{base}a"));
        for problem in name_problems(&prefix) {
            causes.push(Cause::invalid("metadata.generateName", &json!(generate_name), problem));
        }
    }
    if name.is_empty() {
        causes.push(Cause::required("metadata.name", "name or generateName is required"));
    } else {
        for problem in name_problems(name) {
            causes.push(Cause::invalid("metadata.name", &json!(name), problem));
        }
    }
    causes.extend(validate_common(object));
    causes
}

fn validate_common(object: &Value) -> Vec<Cause> {
    let metadata = &object["metadata"];
    let mut causes = Vec::new();
    if metadata["generation"].as_i64().is_some_and(|generation| generation < 0) {
        causes.push(Cause::invalid(
            "metadata.generation",
            &metadata["generation"],
            "must be greater than or equal to 0",
        ));
    }
    for (key, value) in metadata["labels"].as_object().into_iter().flatten() {
        for problem in qualified_name_problems(key) {
            causes.push(Cause::invalid("metadata.labels", &json!(key), problem));
        }
        for problem in label_value_problems(value.as_str().unwrap_or_default()) {
            causes.push(Cause::invalid("metadata.labels", value, problem));
        }
    }
    let mut size = 0;
    for (key, value) in metadata["annotations"].as_object().into_iter().flatten() {
        for problem in qualified_name_problems(&key.to_lowercase()) {
            causes.push(Cause::invalid("metadata.annotations", &json!(key), problem));
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > ANNOTATIONS_BYTES {
        causes.push(Cause::too_long("metadata.annotations", ANNOTATIONS_BYTES));
    }
    causes.extend(validate_owners(metadata));
    causes.extend(validate_finalizers(metadata, is_built_in(object)));
    causes
}

fn validate_owners(metadata: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut controller: Option<String> = None;
    for owner in metadata["ownerReferences"].as_array().into_iter().flatten() {
        let field = |name: &str| owner[name].as_str().unwrap_or_default();
        let path = "metadata.ownerReferences";
        let (group, version) = match field("apiVersion").split_once('/') {
            Some((group, version)) => (group, version),
            None => ("", field("apiVersion")),
        };
        if version.is_empty() {
            causes.push(Cause::invalid(
                format!("{path}.apiVersion"),
                &owner["apiVersion"],
                "version must not be empty",
            ));
        }
        for name in ["kind", "name", "uid"] {
            if field(name).is_empty() {
                causes.push(Cause::invalid(format!("{path}.{name}"), &json!(field(name)), "must not be empty"));
            }
        }
        if group.is_empty() && field("kind") == "Event" {
            let detail = format!("{group}/{version}, Kind=Event is disallowed from being an owner");
            causes.push(Cause::invalid(path, owner, detail));
        }
        if owner["controller"] == json!(true) {
            match &controller {
                None => controller = Some(field("name").to_owned()),
                Some(first) => {
                    let detail = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {}",
                        field("name")
                    );
                    causes.push(Cause::invalid(path, &metadata["ownerReferences"], detail));
                }
            }
        }
    }
    causes
}

/// Whether the kind is one of the server's own, judged by its group.
fn is_built_in(object: &Value) -> bool {
    let group =
        object["apiVersion"].as_str().and_then(|version| version.split_once('/')).map_or("", |(group, _)| group);
    !group.contains('.') || group.ends_with(".k8s.io")
}

/// The server's own kinds ask for a slash or a standard name; custom resources only for a qualified name, so Flux's
/// `finalizers.fluxcd.io` passes there.
fn validate_finalizers(metadata: &Value, built_in: bool) -> Vec<Cause> {
    let mut causes = Vec::new();
    let path = "metadata.finalizers";
    let (mut orphan, mut foreground) = (false, false);
    for (index, finalizer) in metadata["finalizers"].as_array().into_iter().flatten().enumerate() {
        let name = finalizer.as_str().unwrap_or_default();
        for problem in qualified_name_problems(name) {
            causes.push(Cause::invalid(path, finalizer, problem));
        }
        orphan |= name == "orphan";
        foreground |= name == "foregroundDeletion";
        let standard = matches!(name, "orphan" | "foregroundDeletion" | "kubernetes") || name == crd::FINALIZER;
        if built_in && !name.contains('/') && !standard {
            causes.push(Cause::invalid(
                format!("{path}[{index}]"),
                finalizer,
                "name is neither a standard finalizer name nor is it fully qualified",
            ));
        }
    }
    if orphan && foreground {
        let detail = "finalizer orphan and foregroundDeletion cannot be both set";
        causes.push(Cause::invalid(path, &metadata["finalizers"], detail));
    }
    causes
}

/// Carries over what an update cannot change and refuses what it must not. Both objects are decoded.
pub fn validate_update(new: &mut Value, old: &Value) -> Vec<Cause> {
    for field in ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        if new["metadata"].get(field).is_none() && !old["metadata"][field].is_null() {
            set(new, field, Some(old["metadata"][field].clone()));
        }
    }
    let mut causes = Vec::new();
    if terminating(old) {
        let known: Vec<&str> = finalizers(old).collect();
        let mut added: Vec<String> =
            finalizers(new).filter(|name| !known.contains(name)).map(|name| format!("{name:?}")).collect();
        added.sort();
        added.dedup();
        if !added.is_empty() {
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                added.join(", ")
            );
            causes.push(Cause::forbidden("metadata.finalizers", detail));
        }
    }
    for field in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        if new["metadata"][field] != old["metadata"][field] {
            causes.push(Cause::invalid(format!("metadata.{field}"), &new["metadata"][field], "field is immutable"));
        }
    }
    let generation = |object: &Value| object["metadata"]["generation"].as_i64().unwrap_or(0);
    if generation(new) < generation(old) {
        causes.push(Cause::invalid("metadata.generation", &new["metadata"]["generation"], "must not be decremented"));
    }
    causes.extend(validate_common(new));
    causes
}
