//! What may be a definition (apiserver.md N2). Parts that all versions share are named at the top of the spec, as the
//! server's internal form has them there.

use serde_json::{Value, json};

use crate::apiserver::errors::Cause;
use crate::apiserver::meta;
use crate::apiserver::schema::Node;
use crate::apiserver::schema::cause;

use super::document;
use super::form;
use super::version::{self, Common};
use super::{holds, text, versions};

const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const APPROVAL: &str = "api-approved.kubernetes.io";
const APPROVAL_LINK: &str = "https://github.com/kubernetes/enhancements/pull/1111";
/// Refusals of a new definition.
pub(super) fn create(crd: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let name = text(&crd["metadata"], "name");
    if name != format!("{}.{}", text(&crd["spec"]["names"], "plural"), text(&crd["spec"], "group")) {
        let complaint = "must be spec.names.plural+\".\"+spec.group";
        causes.push(cause::invalid("metadata.name", &json!(name), complaint));
    }
    causes.extend(spec(crd));
    causes.extend(status(crd));
    causes.extend(stored_versions(crd));
    approval(crd, None, &mut causes);
    preserve_unknown(crd, None, &mut causes);
    causes
}

/// Refusals of a changed definition.
pub(super) fn update(crd: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = spec(crd);
    let immutable = |pointer: &str, field: &str| {
        let (new, old) = (crd.pointer(pointer), old.pointer(pointer));
        (new != old).then(|| cause::invalid(field, new.unwrap_or(&json!("")), "field is immutable"))
    };
    if holds(old, "Established") {
        causes.extend(immutable("/spec/scope", "spec.scope"));
        causes.extend(immutable("/spec/names/kind", "spec.names.kind"));
    }
    causes.extend(immutable("/spec/group", "spec.group"));
    causes.extend(immutable("/spec/names/plural", "spec.names.plural"));
    causes.extend(status(crd));
    causes.extend(stored_versions(crd));
    approval(crd, Some(old), &mut causes);
    preserve_unknown(crd, Some(old), &mut causes);
    causes
}

/// Refusals of a changed status.
pub(super) fn status(crd: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    names(&crd["status"]["acceptedNames"], "status.acceptedNames", &mut causes);
    causes
}

fn spec(crd: &Value) -> Vec<Cause> {
    let spec = &crd["spec"];
    let mut causes = Vec::new();
    group(text(spec, "group"), &mut causes);
    match text(spec, "scope") {
        "" => causes.push(cause::required("spec.scope", "")),
        "Cluster" | "Namespaced" => {}
        other => causes.push(cause::not_supported("spec.scope", &json!(other), ["Cluster", "Namespaced"])),
    }
    let common = Common::of(crd);
    if !versions(crd).any(|version| version.pointer("/schema/openAPIV3Schema/default").is_some())
        && !versions(crd).any(has_defaults)
    {
        // Without defaults there is nothing to forbid.
    } else if spec.get("preserveUnknownFields") == Some(&json!(true)) {
        let complaint = "must be false in order to use defaults in the schema";
        causes.push(cause::invalid("spec.preserveUnknownFields", &json!(true), complaint));
    }
    let mut seen: Vec<&str> = Vec::new();
    let mut unique = true;
    for (index, version) in versions(crd).enumerate() {
        let path = format!("spec.versions[{index}]");
        let name = text(version, "name");
        unique &= !seen.contains(&name);
        seen.push(name);
        if version.pointer("/schema/openAPIV3Schema").is_none() {
            causes.push(cause::required(format!("{path}.schema.openAPIV3Schema"), ""));
        }
        if !is_label_1035(name) {
            causes.push(cause::invalid(format!("{path}.name"), &json!(name), LABEL_1035));
        }
        version::version(version, &path, &common, &mut causes);
    }
    let shown = || document::versions(versions(crd), |part| common.has(part));
    if !unique {
        causes.push(cause::invalid_text("spec.versions", &shown(), "must contain unique version names"));
    }
    if versions(crd).filter(|version| version["storage"] == true).count() != 1 {
        let complaint = "must have exactly one version marked as storage version";
        causes.push(cause::invalid_text("spec.versions", &shown(), complaint));
    }
    let first = versions(crd).next();
    if let Some(name) = first.map(|version| text(version, "name")).filter(|name| !name.is_empty())
        && !is_label_1035(name)
    {
        causes.push(cause::invalid("spec.version", &json!(name), LABEL_1035));
    }
    for key in ["plural", "singular", "kind", "listKind"] {
        if text(&spec["names"], key).is_empty() {
            causes.push(cause::required(format!("spec.names.{key}"), ""));
        }
    }
    names(&spec["names"], "spec.names", &mut causes);
    if let Some(first) = first {
        version::shared(first, &common, &mut causes);
    }
    conversion(&spec["conversion"], &mut causes);
    causes
}

fn has_defaults(version: &Value) -> bool {
    version.pointer("/schema/openAPIV3Schema").is_some_and(|schema| Node::from_openapi(schema).has_defaults)
}

fn group(group: &str, causes: &mut Vec<Cause>) {
    let problems = meta::subdomain_problems(group);
    if group.is_empty() {
        causes.push(cause::required("spec.group", ""));
    } else if !problems.is_empty() {
        causes.push(cause::invalid("spec.group", &json!(group), &problems.join(",")));
    } else if !group.contains('.') {
        causes.push(cause::invalid("spec.group", &json!(group), "should be a domain with at least one dot"));
    }
}

/// Whether a name is one that versions, plurals and so on may have.
fn is_label_1035(name: &str) -> bool {
    name.len() <= 63
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && !name.ends_with('-')
        && name
            .chars()
            .all(|character| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-')
}

fn names(names: &Value, path: &str, causes: &mut Vec<Cause>) {
    for key in ["plural", "singular"] {
        let name = text(names, key);
        if !name.is_empty() && !is_label_1035(name) {
            causes.push(cause::invalid(format!("{path}.{key}"), &json!(name), LABEL_1035));
        }
    }
    for key in ["kind", "listKind"] {
        let name = text(names, key);
        if !name.is_empty() && !is_label_1035(&name.to_lowercase()) {
            let complaint = format!("may have mixed case, but should otherwise match: {LABEL_1035}");
            causes.push(cause::invalid(format!("{path}.{key}"), &json!(name), &complaint));
        }
    }
    let kind = text(names, "kind");
    if !kind.is_empty() && kind == text(names, "listKind") {
        causes.push(cause::invalid(format!("{path}.listKind"), &json!(kind), "kind and listKind may not be the same"));
    }
    for key in ["shortNames", "categories"] {
        for (index, name) in names.get(key).and_then(Value::as_array).into_iter().flatten().enumerate() {
            if !name.as_str().is_some_and(is_label_1035) {
                causes.push(cause::invalid(format!("{path}.{key}[{index}]"), name, LABEL_1035));
            }
        }
    }
}

fn conversion(conversion: &Value, causes: &mut Vec<Cause>) {
    let strategy = text(conversion, "strategy");
    match strategy {
        "" => causes.push(cause::required("spec.conversion.strategy", "")),
        "None" | "Webhook" => {}
        other => causes.push(cause::not_supported("spec.conversion.strategy", &json!(other), ["None", "Webhook"])),
    }
    let config = conversion.pointer("/webhook/clientConfig");
    let review: Vec<&Value> = conversion
        .pointer("/webhook/conversionReviewVersions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .collect();
    let config_field = "spec.conversion.webhookClientConfig";
    let review_field = "spec.conversion.conversionReviewVersions";
    if strategy != "Webhook" {
        let complaint = "should not be set when strategy is not set to Webhook";
        if config.is_some() {
            causes.push(cause::forbidden(config_field, complaint));
        }
        if !review.is_empty() {
            causes.push(cause::forbidden(review_field, complaint));
        }
        return;
    }
    match config {
        None => causes.push(cause::required(config_field, "required when strategy is set to Webhook")),
        Some(config) if config.get("url").is_some() == config.get("service").is_some() => {
            causes.push(cause::required(config_field, "exactly one of url or service is required"));
        }
        Some(_) => {}
    }
    if review.is_empty() {
        causes.push(cause::required(review_field, ""));
        return;
    }
    for (index, version) in review.iter().enumerate() {
        let field = format!("{review_field}[{index}]");
        if review[..index].contains(version) {
            causes.push(cause::invalid(field, version, "duplicate version"));
        } else if !version.as_str().is_some_and(is_label_1035) {
            causes.push(cause::invalid(field, version, LABEL_1035));
        }
    }
    if !review.iter().any(|version| matches!(version.as_str(), Some("v1" | "v1beta1"))) {
        causes.push(cause::invalid(review_field, &json!(review), "must include at least one of v1, v1beta1"));
    }
}

fn stored_versions(crd: &Value) -> Vec<Cause> {
    let list = &crd["status"]["storedVersions"];
    let stored: Vec<&str> = list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if stored.is_empty() {
        return vec![cause::invalid("status.storedVersions", list, "must have at least one stored version")];
    }
    let mut causes = Vec::new();
    for version in versions(crd).filter(|version| version["storage"] == true) {
        let name = text(version, "name");
        if !stored.contains(&name) {
            let complaint = format!("must have the storage version {name}");
            causes.push(cause::invalid("status.storedVersions", list, &complaint));
        }
    }
    for (index, name) in stored.iter().enumerate() {
        if !versions(crd).any(|version| text(version, "name") == *name) {
            let complaint = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            );
            causes.push(cause::invalid(format!("status.storedVersions[{index}]"), &json!(name), &complaint));
        }
    }
    causes
}

fn approval(crd: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    let group = text(&crd["spec"], "group");
    let protected =
        ["k8s.io", "kubernetes.io"].iter().any(|domain| group == *domain || group.ends_with(&format!(".{domain}")));
    let of = |crd: &Value| {
        crd["metadata"]["annotations"].get(APPROVAL).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let found = of(crd);
    if !protected || old.is_some_and(|old| of(old) == found) {
        return;
    }
    let field = format!("metadata.annotations[{APPROVAL}]");
    if found.is_empty() {
        let complaint = format!("protected groups must have approval annotation \"{APPROVAL}\", see {APPROVAL_LINK}");
        causes.push(cause::required(field, &complaint));
    } else if !found.starts_with("unapproved") && !found.contains("://") {
        let complaint = format!(
            "protected groups must have approval annotation \"{APPROVAL}\" with either a URL or a reason starting with \"unapproved\", see {APPROVAL_LINK}"
        );
        causes.push(cause::invalid(field, &json!(found), &complaint));
    }
}

fn preserve_unknown(crd: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    let set = |crd: &Value| crd["spec"].get("preserveUnknownFields") == Some(&json!(true));
    if set(crd) && !old.is_some_and(set) {
        let complaint =
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        causes.push(cause::invalid("spec.preserveUnknownFields", &json!(true), complaint));
    }
}

/// Adds the storage version to the stored versions.
pub(super) fn grow_stored_versions(crd: &mut Value) {
    let Some(storage) = form::storage_version(crd) else { return };
    if let Some(stored) = crd["status"]["storedVersions"].as_array_mut()
        && !stored.iter().any(|name| name.as_str() == Some(&storage))
    {
        stored.push(json!(storage));
    }
}
