//! PATCH: merge patch, JSON patch, strategic merge patch, server-side apply.

use serde_json::{Map, Value};

use super::apply as ownership;
use super::decode::{self, Parsed};
use super::errors::{Cause, Details, Outcome, Status};
use super::json;
use super::json_patch;
use super::meta;
use super::reply::{Payload, Reply};
use super::request::{FieldValidation, Request, Target, WriteOptions};
use super::resource::Resource;
use super::rest::{self, Made, Update};
use super::server::Pass;
use super::strategic;
use super::track;

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
const APPLY_PATCH: &str = "application/apply-patch+yaml";

/// PATCH of one object or subresource.
///
/// # Errors
/// Everything that can be wrong with a patch and its result.
pub fn patch(pass: &mut Pass<'_>, target: &Target) -> Outcome<Reply> {
    let resource = &target.resource;
    let media_type = decode::media_type(pass.request).to_owned();
    let known = match media_type.as_str() {
        JSON_PATCH | MERGE_PATCH | APPLY_PATCH => true,
        STRATEGIC_PATCH => resource.custom.is_none(),
        _ => false,
    };
    if !known {
        if media_type != STRATEGIC_PATCH {
            let status = Status::new(415, "UnsupportedMediaType", "415: Unsupported Media Type");
            return Err(status.with_details(Details::default()));
        }
        let all = [JSON_PATCH, MERGE_PATCH, APPLY_PATCH];
        let builtin = [JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH];
        return Err(Status::unsupported_media_type(if resource.custom.is_some() { &all } else { &builtin }));
    }
    if media_type == APPLY_PATCH {
        return apply(pass, target);
    }
    let options = WriteOptions::parse(pass.request, "PatchOptions", false)?;
    let Parsed { value: body, duplicates } = decode::parse_json(&pass.request.body)
        .map_err(|status| Status::bad_request(format!("error decoding patch: {}", status.message)))?;
    if media_type != JSON_PATCH && !body.is_object() {
        let found = meta::go_kind(&body);
        let message = format!(
            "error decoding patch: json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"
        );
        return Err(Status::bad_request(message));
    }
    // A record that the patch leaves alone is taken from the live object again when the change is tracked; only the refusals of a strict
    // or built-in decoder show the whole object.
    let keeps_record = media_type == MERGE_PATCH
        && resource.custom.is_some()
        && options.validation != FieldValidation::Strict
        && body.get("metadata").is_none_or(|metadata| metadata.is_object() && metadata.get("managedFields").is_none());
    let update = Update { target, options: &options, verb: "patch", uid: None, create: false, track: true };
    let (stored, created) = rest::update_object(pass, &update, &mut |pass, live| {
        let mut object = match live {
            Some(live) if keeps_record => ownership::without_record(live),
            live => live.cloned().unwrap_or_default(),
        };
        match media_type.as_str() {
            MERGE_PATCH | JSON_PATCH => plain(&mut object, &media_type, &body)?,
            _ => strategic::merge(&mut object, &body, resource.schema().root())?,
        }
        decode_patched(pass, target, &mut object, &duplicates, &options)?;
        rest::check_name(&object, target)?;
        Ok(object.into())
    })?;
    Ok(Reply::new(if created { 201 } else { 200 }, Payload::Object(resource.clone(), stored)))
}

/// Whether a request is a JSON patch.
pub fn is_json_patch(request: &Request) -> bool {
    decode::media_type(request) == JSON_PATCH
}

/// A merge patch or JSON patch.
pub fn is_plain(media_type: &str) -> bool {
    matches!(media_type, MERGE_PATCH | JSON_PATCH)
}

/// Applies a merge patch or JSON patch.
///
/// # Errors
/// 400 and 422 of a JSON patch.
pub fn plain(object: &mut Value, media_type: &str, body: &Value) -> Outcome<()> {
    if media_type == JSON_PATCH {
        return json_patch(object, body);
    }
    merge(object, body);
    Ok(())
}

/// The patched object is decoded like a body; what Strict refuses is here a 422 (F1).
fn decode_patched(
    pass: &mut Pass<'_>,
    target: &Target,
    object: &mut Value,
    duplicates: &[String],
    options: &WriteOptions,
) -> Outcome<()> {
    let resource = &target.resource;
    let built_in = resource.custom.is_none();
    let sent = (options.validation == FieldValidation::Strict || built_in).then(|| object.clone());
    let refuse = |sent: Option<Value>, why: String| {
        let mut sent = sent.unwrap_or_default();
        sent.sort_all_objects();
        let cause = Cause::invalid("patch", &Value::from(json::to_string(&sent)), why);
        Err(Status::invalid("", "", "", vec![cause]))
    };
    let decoded =
        decode::check_kind(resource, object).and_then(|()| decode::unknown_fields(resource, object, duplicates));
    let problems = match decoded {
        Ok(problems) => problems,
        Err(status) if built_in && status.code == 400 => return refuse(sent, status.message),
        Err(status) => return Err(status),
    };
    match options.validation {
        FieldValidation::Warn => pass.warnings.extend(problems),
        FieldValidation::Strict if !problems.is_empty() => {
            return refuse(sent, format!("strict decoding error: {}", problems.join(", ")));
        }
        _ => {}
    }
    Ok(())
}

/// Server-side apply (D).
fn apply(pass: &mut Pass<'_>, target: &Target) -> Outcome<Reply> {
    let resource = &target.resource;
    let options = WriteOptions::parse(pass.request, "PatchOptions", true)?;
    let Parsed { value: body, duplicates } = decode::parse_yaml(&pass.request.body)?;
    if options.validation == FieldValidation::Warn {
        pass.warnings.extend(duplicates.iter().map(|path| format!("duplicate field {path:?}")));
    }
    let name = target.name.as_deref().unwrap_or_default();
    if !meta::text(&body, "name").is_empty() || !meta::text(&body, "namespace").is_empty() {
        if meta::text(&body, "name").is_empty() {
            let mut named = body.clone();
            meta::set(&mut named, "name", Some(name.into()));
            rest::check_name(&named, target)?;
        } else {
            rest::check_name(&body, target)?;
        }
    }
    let create = target.subresource.is_none();
    let update = Update { target, options: &options, verb: "apply", uid: None, create, track: false };
    let (stored, created) = rest::update_object(pass, &update, &mut |pass, live| {
        let uid = meta::text(&body, "uid");
        if live.is_none() && !uid.is_empty() {
            let why =
                format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
            return Err(Status::conflict(&resource.group, &resource.plural, name, &why));
        }
        let mut object = track::apply(pass, target, live, &body, &options)?;
        // A subresource takes metadata from the stored object, as it was read.
        let empties = if create { hidden_empties(resource, &object) } else { Vec::new() };
        decode::shape(resource, &mut object, true)?;
        Ok(Made { object, empties })
    })?;
    Ok(Reply::new(if created { 201 } else { 200 }, Payload::Object(resource.clone(), stored)))
}

/// RFC 7386.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(object) = target else { return };
    for (key, value) in fields {
        if value.is_null() {
            object.shift_remove(key);
        } else {
            merge(object.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// What an applied custom resource leaves in storage without ever showing it: the body is not decoded the way that others are.
fn hidden_empties(resource: &Resource, object: &Value) -> Vec<String> {
    let empty = |value: &Value| match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    };
    let fields = object["metadata"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, value)| resource.custom.is_some() && empty(value));
    let mut names: Vec<String> = fields.map(|(name, _)| name.clone()).collect();
    names.sort();
    names
}

/// Largest number of operations.
const OPERATIONS: usize = 10_000;

fn json_patch(object: &mut Value, patch: &Value) -> Outcome<()> {
    let Some(operations) = patch.as_array() else {
        return Err(Status::bad_request(
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
        ));
    };
    if operations.len() > OPERATIONS {
        let message =
            format!("The allowed maximum operations in a JSON patch is {OPERATIONS}, got {}", operations.len());
        return Err(Status::new(413, "RequestEntityTooLarge", format!("Request entity too large: {message}")));
    }
    json_patch::apply(object, operations).map_err(|_| {
        Status::new(422, "Invalid", "the server rejected our request due to an error in our request")
            .with_details(Details::default())
    })
}
