//! PATCH: merge patch, JSON patch, strategic merge patch, server-side apply.

use serde_json::{Map, Value};

use super::decode::{self, Parsed};
use super::errors::{Cause, Outcome, Status};
use super::json;
use super::meta;
use super::reply::{Payload, Reply};
use super::request::{FieldValidation, Target, WriteOptions};
use super::rest::{self, Update};
use super::schema::Node;
use super::server::Pass;
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
        let all = [JSON_PATCH, MERGE_PATCH, APPLY_PATCH];
        let builtin = [JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH];
        return Err(Status::unsupported_media_type(if resource.custom.is_some() { &all } else { &builtin }));
    }
    if media_type == APPLY_PATCH {
        return apply(pass, target);
    }
    let options = WriteOptions::parse(pass.request, "PatchOptions", false)?;
    let Parsed { value: body, duplicates } = decode::parse_json(&pass.request.body)?;
    let update = Update { target, options: &options, verb: "patch", uid: None, create: false, track: true };
    let (stored, created) = rest::update_object(pass, &update, &mut |pass, live| {
        let mut object = live.cloned().unwrap_or_default();
        match media_type.as_str() {
            MERGE_PATCH => merge(&mut object, &body),
            JSON_PATCH => json_patch(&mut object, &body)?,
            _ => strategic(&mut object, &body, resource.schema().root()),
        }
        decode_patched(pass, target, &mut object, &duplicates, &options)?;
        rest::check_name(&object, target)?;
        Ok(object)
    })?;
    Ok(Reply::new(if created { 201 } else { 200 }, Payload::Object(resource.clone(), stored)))
}

/// The patched object is decoded like a body; what Strict refuses is here a 422 (F1).
fn decode_patched(
    pass: &mut Pass<'_>,
    target: &Target,
    object: &mut Value,
    duplicates: &[String],
    options: &WriteOptions,
) -> Outcome<()> {
    let sent = (options.validation == FieldValidation::Strict).then(|| object.clone());
    let problems = decode::unknown_fields(&target.resource, object, duplicates)?;
    match (options.validation, sent) {
        (FieldValidation::Warn, _) => pass.warnings.extend(problems),
        (FieldValidation::Strict, Some(mut sent)) if !problems.is_empty() => {
            sent.sort_all_objects();
            let why = format!("strict decoding error: {}", problems.join(", "));
            let cause = Cause::invalid("patch", &Value::from(json::to_string(&sent)), why);
            return Err(Status::invalid("", "", target.name.as_deref().unwrap_or_default(), vec![cause]));
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
        let mut named = body.clone();
        if meta::text(&body, "name").is_empty() {
            meta::set(&mut named, "name", Some(name.into()));
        }
        rest::check_name(&named, target)?;
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
        decode::shape(resource, &mut object, true)?;
        Ok(object)
    })?;
    Ok(Reply::new(if created { 201 } else { 200 }, Payload::Object(resource.clone(), stored)))
}

/// Strategic merge: lists with a merge key merge item by item, new items in front (G4).
fn strategic(target: &mut Value, patch: &Value, node: &Node) {
    let _ = node;
    merge(target, patch);
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

fn json_patch(object: &mut Value, patch: &Value) -> Outcome<()> {
    let rejected = || {
        Status::new(422, "Invalid", "the server rejected our request due to an error in our request")
            .with_details(Default::default())
    };
    let patch: json_patch::Patch = serde_json::from_value(patch.clone()).map_err(|_| rejected())?;
    json_patch::patch(object, &patch).map_err(|_| rejected())
}
