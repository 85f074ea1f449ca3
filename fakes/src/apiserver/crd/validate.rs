//! What may be a definition (apiserver.md N2). Parts that all versions share are named at the top of the spec, as the
//! server's internal form has them there.

use serde_json::{Value, json};

use crate::apiserver::errors::Cause;
use crate::apiserver::meta;
use crate::apiserver::schema::cause;
use crate::apiserver::schema::cel::field_path;
use crate::apiserver::schema::{Node, NodeKind};

use super::document;
use super::form;
use super::served;
use super::{holds, text, versions};

const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const APPROVAL: &str = "api-approved.kubernetes.io";
const APPROVAL_LINK: &str = "https://github.com/kubernetes/enhancements/pull/1111";
const COLUMN_TYPES: &str = "boolean,date,integer,number,string";
const COLUMN_FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
/// Most fields that selectors may name.
const SELECTABLE: usize = 8;
/// What the root of a schema may hold when there is a status subresource.
const ROOT_FIELDS: [(&str, &str); 22] = [
    ("Description", "description"),
    ("Type", "type"),
    ("Format", "format"),
    ("Title", "title"),
    ("Maximum", "maximum"),
    ("ExclusiveMaximum", "exclusiveMaximum"),
    ("Minimum", "minimum"),
    ("ExclusiveMinimum", "exclusiveMinimum"),
    ("MaxLength", "maxLength"),
    ("MinLength", "minLength"),
    ("Pattern", "pattern"),
    ("MaxItems", "maxItems"),
    ("MinItems", "minItems"),
    ("UniqueItems", "uniqueItems"),
    ("MultipleOf", "multipleOf"),
    ("Required", "required"),
    ("Items", "items"),
    ("Properties", "properties"),
    ("ExternalDocs", "externalDocs"),
    ("Example", "example"),
    ("XPreserveUnknownFields", "x-kubernetes-preserve-unknown-fields"),
    ("XValidations", "x-kubernetes-validations"),
];

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
        self::version(version, &path, &common, &mut causes);
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
        shared(first, &common, &mut causes);
    }
    conversion(&spec["conversion"], &mut causes);
    causes
}

fn has_defaults(version: &Value) -> bool {
    version.pointer("/schema/openAPIV3Schema").is_some_and(|schema| Node::from_openapi(schema).has_defaults)
}

/// Which parts are the same in all versions.
struct Common {
    schema: bool,
    subresources: bool,
    columns: bool,
    fields: bool,
}

impl Common {
    fn of(crd: &Value) -> Common {
        let same = |key: &str| {
            let mut parts = versions(crd).map(|version| version.get(key));
            let first = parts.next();
            first.is_some_and(|first| parts.all(|part| part == first))
        };
        let present = |key: &str| versions(crd).next().is_some_and(|version| version.get(key).is_some());
        Common {
            schema: same("schema") && present("schema"),
            subresources: same("subresources") && present("subresources"),
            columns: same("additionalPrinterColumns") && present("additionalPrinterColumns"),
            fields: same("selectableFields") && present("selectableFields"),
        }
    }

    fn has(&self, part: &str) -> bool {
        match part {
            "schema" => self.schema,
            "subresources" => self.subresources,
            "additionalPrinterColumns" => self.columns,
            "selectableFields" => self.fields,
            _ => false,
        }
    }
}

/// The parts of one version that are not shared.
fn version(version: &Value, path: &str, common: &Common, causes: &mut Vec<Cause>) {
    if !common.schema {
        schema(version, &format!("{path}.schema"), causes);
    }
    if !common.subresources {
        scale(version, &format!("{path}.subresources"), causes);
    }
    if !common.columns {
        columns(version, &format!("{path}.additionalPrinterColumns"), causes);
    }
    if !common.fields {
        selectable(version, &format!("{path}.selectableFields"), causes);
    }
}

/// The parts that all versions share.
fn shared(first: &Value, common: &Common, causes: &mut Vec<Cause>) {
    if common.schema {
        schema(first, "spec.validation", causes);
    }
    if common.subresources {
        scale(first, "spec.subresources", causes);
    }
    if common.columns {
        columns(first, "spec.additionalPrinterColumns", causes);
    }
    if common.fields {
        selectable(first, "spec.selectableFields", causes);
    }
}

fn schema(version: &Value, path: &str, causes: &mut Vec<Cause>) {
    let Some(document) = version.pointer("/schema/openAPIV3Schema") else { return };
    let path = format!("{path}.openAPIV3Schema");
    if version.pointer("/subresources/status").is_some() {
        root_with_status(document, &path, causes);
    }
    if document.get("nullable") == Some(&Value::Bool(true)) {
        causes.push(cause::forbidden(format!("{path}.nullable"), "nullable cannot be true at the root"));
    }
    causes.extend(served::check(document, &path));
}

fn root_with_status(document: &Value, path: &str, causes: &mut Vec<Cause>) {
    let kind = text(document, "type");
    if !kind.is_empty() && kind != "object" {
        let complaint =
            "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        causes.push(cause::invalid(format!("{path}.type"), &json!(kind), complaint));
        return;
    }
    let others =
        document.as_object().into_iter().flatten().any(|(key, _)| !ROOT_FIELDS.iter().any(|(_, known)| known == key));
    if others {
        let names: Vec<&str> = ROOT_FIELDS.iter().map(|(name, _)| *name).collect();
        let complaint = format!(
            "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
            names.join(" ")
        );
        causes.push(cause::invalid_text(path, &document::schema(document), &complaint));
    }
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

fn scale(version: &Value, path: &str, causes: &mut Vec<Cause>) {
    let Some(scale) = version.pointer("/subresources/scale") else { return };
    for (key, root, needed) in [
        ("specReplicasPath", ".spec", true),
        ("statusReplicasPath", ".status", true),
        ("labelSelectorPath", ".status", false),
    ] {
        let found = text(scale, key);
        let field = format!("{path}.scale.{key}");
        if found.is_empty() {
            if needed {
                causes.push(cause::required(field, ""));
            }
        } else if !found.starts_with('.') {
            causes.push(cause::invalid(field, &json!(found), "must be a simple json path starting with ."));
        } else if !found.starts_with(&format!("{root}.")) {
            causes.push(cause::invalid(field, &json!(found), &format!("should be a json path under {root}")));
        }
    }
}

fn columns(version: &Value, path: &str, causes: &mut Vec<Cause>) {
    for (index, column) in
        version.get("additionalPrinterColumns").and_then(Value::as_array).into_iter().flatten().enumerate()
    {
        let path = format!("{path}[{index}]");
        if text(column, "name").is_empty() {
            causes.push(cause::required(format!("{path}.name"), ""));
        }
        let kind = text(column, "type");
        let complaint = format!("must be one of {COLUMN_TYPES}");
        if kind.is_empty() {
            causes.push(cause::required(format!("{path}.type"), &complaint));
        } else if !COLUMN_TYPES.split(',').any(|known| known == kind) {
            causes.push(cause::invalid(format!("{path}.type"), &json!(kind), &complaint));
        }
        let format = text(column, "format");
        if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
            let complaint = format!("must be one of {}", COLUMN_FORMATS.join(","));
            causes.push(cause::invalid(format!("{path}.format"), &json!(format), &complaint));
        }
        let found = text(column, "jsonPath");
        if found.is_empty() {
            causes.push(cause::required(format!("{path}.JSONPath"), ""));
        } else if !found.starts_with('.') {
            let complaint = "must be a simple json path starting with .";
            causes.push(cause::invalid(format!("{path}.JSONPath"), &json!(found), complaint));
        }
    }
}

fn selectable(version: &Value, path: &str, causes: &mut Vec<Cause>) {
    let Some(fields) = version.get("selectableFields").and_then(Value::as_array).filter(|fields| !fields.is_empty())
    else {
        return;
    };
    let Some(document) = version.pointer("/schema/openAPIV3Schema") else { return };
    let root = Node::from_openapi(document);
    let mut seen: Vec<String> = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let path = format!("{path}[{index}].jsonPath");
        let found = text(field, "jsonPath");
        if found.is_empty() {
            causes.push(cause::required(path, ""));
            continue;
        }
        match field_path::resolve(found, &root, false) {
            Err(why) => causes.push(cause::invalid(path, &json!(found), &format!("is an invalid path: {why}"))),
            Ok((printed, node)) => {
                if !matches!(node.kind, NodeKind::String | NodeKind::Boolean | NodeKind::Integer) {
                    let complaint = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
                    causes.push(cause::invalid(path.clone(), &json!(found), complaint));
                }
                if printed.starts_with("metadata.") {
                    causes.push(cause::invalid(path.clone(), &json!(found), "must not point to fields in metadata"));
                }
                if seen.contains(&printed) {
                    causes.push(cause::duplicate(path, &json!(found)));
                } else {
                    seen.push(printed);
                }
            }
        }
    }
    if seen.len() > SELECTABLE {
        causes.push(cause::too_many(path, seen.len(), SELECTABLE as i64));
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
