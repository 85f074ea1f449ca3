//! `metadata`: its fields and types, names and labels, and what may change in an update.

use serde_json::{Map, Value, json};

use super::errors::Cause;

/// Fields of ObjectMeta in wire order.
const FIELDS: [&str; 15] = [
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
];
const OWNER_FIELDS: [&str; 6] = ["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"];
const MANAGED_FIELDS: [&str; 7] =
    ["manager", "operation", "apiVersion", "time", "fieldsType", "fieldsV1", "subresource"];
/// Annotations of one object, keys and values together (J3).
const ANNOTATIONS_BYTES: usize = 256 * 1024;

/// What decoding found in `metadata`.
#[derive(Debug, Default)]
pub struct Decoded {
    /// Paths of unknown fields, dropped.
    pub unknown: Vec<String>,
    /// A value of a wrong type: the text of the real decoder.
    pub wrong: Option<String>,
}

/// Brings `metadata` into the form that the real server's ObjectMeta round trip gives: known fields in wire order, nothing empty.
pub fn decode(object: &mut Value) -> Decoded {
    let mut decoded = Decoded::default();
    let Some(fields) = object.as_object_mut() else { return decoded };
    if fields.get("metadata").and_then(Value::as_object).is_some_and(is_decoded) {
        return decoded;
    }
    let metadata = match fields.get_mut("metadata") {
        Some(Value::Object(metadata)) => std::mem::take(metadata),
        Some(Value::Null) | None => Map::new(),
        Some(other) => {
            decoded.wrong = Some(format!(
                "cannot unmarshal {} into Go struct field .metadata of type v1.ObjectMeta",
                go_kind(other)
            ));
            return decoded;
        }
    };
    let mut known = Map::with_capacity(metadata.len());
    let mut found: Vec<(usize, String, Value)> = Vec::with_capacity(metadata.len());
    for (key, value) in metadata {
        match FIELDS.iter().position(|field| *field == key) {
            Some(position) => found.push((position, key, value)),
            None => decoded.unknown.push(format!("metadata.{key}")),
        }
    }
    found.sort_by_key(|(position, ..)| *position);
    for (_, key, mut value) in found {
        let path = format!("metadata.{key}");
        if let Err(type_name) = check(&key, &path, &mut value, &mut decoded.unknown) {
            decoded.wrong.get_or_insert_with(|| {
                format!(
                    "cannot unmarshal {} into Go struct field ObjectMeta.{path} of type {type_name}",
                    go_kind(&wrong_part(&value))
                )
            });
        }
        let empty = match &value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(entries) => entries.is_empty(),
            Value::Number(number) => key == "generation" && number.as_i64() == Some(0),
            Value::Bool(_) => false,
        };
        if !empty {
            known.insert(key, value);
        }
    }
    fields.insert("metadata".to_owned(), Value::Object(known));
    decoded
}

/// Whether decoding would change nothing but the order, which storing settles: so it is with whatever was read from storage.
fn is_decoded(metadata: &Map<String, Value>) -> bool {
    let texts =
        |value: &Value| value.as_object().is_some_and(|map| !map.is_empty() && map.values().all(Value::is_string));
    let entries = |value: &Value, fields: &[&str]| {
        let whole = |item: &Value| {
            item.as_object()
                .is_some_and(|item| item.iter().all(|(key, value)| fields.contains(&key.as_str()) && !value.is_null()))
        };
        value.as_array().is_some_and(|items| !items.is_empty() && items.iter().all(whole))
    };
    metadata.iter().all(|(key, value)| match key.as_str() {
        "labels" | "annotations" => texts(value),
        "finalizers" => value.as_array().is_some_and(|items| !items.is_empty() && items.iter().all(Value::is_string)),
        "ownerReferences" => entries(value, &OWNER_FIELDS),
        "managedFields" => entries(value, &MANAGED_FIELDS),
        "generation" => value.as_i64().is_some_and(|generation| generation != 0),
        "deletionGracePeriodSeconds" => value.is_i64() || value.is_u64(),
        key => FIELDS.contains(&key) && value.as_str().is_some_and(|text| !text.is_empty()),
    })
}

fn wrong_part(value: &Value) -> Value {
    match value {
        Value::Object(entries) => {
            entries.values().find(|entry| !entry.is_string()).cloned().unwrap_or_else(|| value.clone())
        }
        Value::Array(items) => items.iter().find(|item| !item.is_string()).cloned().unwrap_or_else(|| value.clone()),
        other => other.clone(),
    }
}

/// The word of Go's decoder for a JSON value.
pub fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn check(key: &str, path: &str, value: &mut Value, unknown: &mut Vec<String>) -> Result<(), &'static str> {
    match (key, &mut *value) {
        (_, Value::Null) => {}
        ("generation" | "deletionGracePeriodSeconds", Value::Number(number)) if number.is_i64() || number.is_u64() => {}
        ("generation" | "deletionGracePeriodSeconds", _) => return Err("int64"),
        ("labels" | "annotations", Value::Object(entries)) => {
            if entries.values().any(|entry| !entry.is_string() && !entry.is_null()) {
                return Err("string");
            }
            entries.values_mut().filter(|entry| entry.is_null()).for_each(|entry| *entry = json!(""));
        }
        ("labels" | "annotations", _) => return Err("map[string]string"),
        ("finalizers", Value::Array(items)) => {
            if items.iter().any(|item| !item.is_string()) {
                return Err("string");
            }
        }
        ("finalizers", _) => return Err("[]string"),
        ("ownerReferences", Value::Array(items)) => {
            entries(items, path, &OWNER_FIELDS, unknown).map_err(|()| "v1.OwnerReference")?
        }
        ("ownerReferences", _) => return Err("[]v1.OwnerReference"),
        ("managedFields", Value::Array(items)) => {
            entries(items, path, &MANAGED_FIELDS, unknown).map_err(|()| "v1.ManagedFieldsEntry")?
        }
        ("managedFields", _) => return Err("[]v1.ManagedFieldsEntry"),
        (_, Value::String(_)) => {}
        ("creationTimestamp" | "deletionTimestamp", _) => return Err("v1.Time"),
        _ => return Err("string"),
    }
    Ok(())
}

fn entries(items: &mut [Value], path: &str, fields: &[&str], unknown: &mut Vec<String>) -> Result<(), ()> {
    for (index, item) in items.iter_mut().enumerate() {
        let entry = item.as_object_mut().ok_or(())?;
        entry.retain(|key, value| {
            let known = fields.contains(&key.as_str());
            if !known {
                unknown.push(format!("{path}[{index}].{key}"));
            }
            known && !value.is_null()
        });
    }
    Ok(())
}

/// Drops all but the first owner reference of each uid and returns the warning about it (C19).
pub fn deduplicate_owners(object: &mut Value) -> Option<String> {
    let owners = object.pointer_mut("/metadata/ownerReferences")?.as_array_mut()?;
    let (mut seen, mut twice): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    owners.retain(|owner| {
        let uid = owner["uid"].as_str().unwrap_or_default().to_owned();
        let first = !seen.contains(&uid);
        if first {
            seen.push(uid);
        } else if !twice.contains(&uid) {
            twice.push(uid);
        }
        first
    });
    (!twice.is_empty()).then(|| {
        format!(
            ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            twice.join(", ")
        )
    })
}

/// Warnings about new finalizers of custom resources that are not qualified by a domain and a path.
pub fn finalizer_warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let known: Vec<&str> = old.into_iter().flat_map(finalizers).collect();
    let mut added: Vec<&str> = finalizers(new).filter(|name| !known.contains(name)).collect();
    added.sort_unstable();
    added.dedup();
    let plain = |name: &&str| !name.contains('/') && !matches!(*name, "orphan" | "foregroundDeletion" | "kubernetes");
    let warn = |name: &str| {
        format!(
            "metadata.finalizers: {name:?}: prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with other finalizer writers"
        )
    };
    added.into_iter().filter(plain).map(warn).collect()
}

/// Text of a metadata field, empty when missing.
pub fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

/// The metadata map; an object that was decoded always has one.
pub fn map(object: &mut Value) -> &mut Map<String, Value> {
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    object["metadata"].as_object_mut().expect("metadata was made an object above")
}

/// Sets or, when `None`, removes a metadata field.
pub fn set(object: &mut Value, field: &str, value: Option<Value>) {
    let metadata = map(object);
    match value {
        Some(value) => drop(metadata.insert(field.to_owned(), value)),
        None => drop(metadata.shift_remove(field)),
    }
}

/// Puts keys in the order in which the real server prints them: fields of ObjectMeta for built-in kinds, sorted for
/// custom resources.
pub fn arrange(object: &mut Value, custom: bool) {
    if custom {
        sort(object);
        return;
    }
    let place = |key: &String| FIELDS.iter().position(|field| field == key).unwrap_or(FIELDS.len());
    let metadata = map(object);
    if !metadata.keys().is_sorted_by_key(place) {
        let mut fields: Vec<(String, Value)> = std::mem::take(metadata).into_iter().collect();
        fields.sort_by_key(|(key, _)| place(key));
        metadata.extend(fields);
    }
}

fn sort(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if !fields.keys().is_sorted() {
                fields.sort_keys();
            }
            fields.values_mut().for_each(sort);
        }
        Value::Array(items) => items.iter_mut().for_each(sort),
        _ => {}
    }
}

/// The finalizers.
pub fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    object["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Being deleted.
pub fn terminating(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

fn is_label(text: &str) -> bool {
    let ok = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = text.as_bytes();
    !bytes.is_empty() && ok(bytes[0]) && ok(bytes[bytes.len() - 1]) && bytes.iter().all(|&c| ok(c) || c == b'-')
}

fn is_name_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ok = |c: u8| c.is_ascii_alphanumeric();
    !bytes.is_empty()
        && ok(bytes[0])
        && ok(bytes[bytes.len() - 1])
        && bytes.iter().all(|&c| ok(c) || matches!(c, b'-' | b'_' | b'.'))
}

/// What is wrong with a DNS subdomain.
pub fn subdomain_problems(name: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if name.len() > 253 {
        problems.push("must be no more than 253 characters".to_owned());
    }
    if !name.split('.').all(is_label) {
        problems.push(SUBDOMAIN.to_owned());
    }
    problems
}

/// What is wrong with a DNS label.
pub fn label_problems(name: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if name.len() > 63 {
        problems.push("must be no more than 63 characters".to_owned());
    }
    if !is_label(name) {
        let dots_only = name.split('.').all(is_label);
        problems.push(if dots_only { "must not contain dots" } else { LABEL }.to_owned());
    }
    problems
}

/// What is wrong with a label key or finalizer.
pub fn qualified_name_problems(name: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let parts: Vec<&str> = name.split('/').collect();
    let part = match parts.as_slice() {
        [part] => part,
        [prefix, part] => {
            if prefix.is_empty() {
                problems.push("prefix part must be non-empty".to_owned());
            } else {
                problems.extend(subdomain_problems(prefix).into_iter().map(|problem| format!("prefix part {problem}")));
            }
            part
        }
        _ => {
            return vec!["a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')".to_owned()];
        }
    };
    if part.is_empty() {
        problems.push("name part must be non-empty".to_owned());
    } else if part.len() > 63 {
        problems.push("name part must be no more than 63 bytes".to_owned());
    }
    if !is_name_part(part) {
        problems.push(QUALIFIED.to_owned());
    }
    problems
}

/// What is wrong with a label value.
pub fn label_value_problems(value: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if value.len() > 63 {
        problems.push("must be no more than 63 bytes".to_owned());
    }
    if !value.is_empty() && !is_name_part(value) {
        problems.push(LABEL_VALUE.to_owned());
    }
    problems
}

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
        let standard = matches!(name, "orphan" | "foregroundDeletion" | "kubernetes") || name == super::crd::FINALIZER;
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
