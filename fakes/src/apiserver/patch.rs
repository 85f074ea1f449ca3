//! PATCH by merge patch and JSON patch.

use serde_json::{Map, Value};

use super::decode;
use super::errors::{Outcome, Status};
use super::meta;
use super::reply::{Payload, Reply};
use super::request::{Target, WriteOptions};
use super::rest::{self, Update};
use super::server::Pass;

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
    if matches!(media_type.as_str(), STRATEGIC_PATCH | APPLY_PATCH) {
        return Err(Status::not_modelled(&media_type));
    }
    let options = WriteOptions::parse(pass.request, "PatchOptions", false)?;
    let body = decode::parse_json(&pass.request.body)?.value;
    let update = Update { target, options: &options, verb: "patch", uid: None, create: false };
    let (stored, created) = rest::update_object(pass, &update, &mut |_, live| {
        let mut object = live.cloned().unwrap_or_default();
        if media_type == MERGE_PATCH {
            merge(&mut object, &body);
        } else {
            json_patch(&mut object, &body)?;
        }
        meta::decode(&mut object);
        rest::check_name(&object, target)?;
        Ok(object)
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

fn json_patch(object: &mut Value, patch: &Value) -> Outcome<()> {
    let rejected = || {
        Status::new(422, "Invalid", "the server rejected our request due to an error in our request")
            .with_details(Default::default())
    };
    let patch: json_patch::Patch = serde_json::from_value(patch.clone()).map_err(|_| rejected())?;
    json_patch::patch(object, &patch).map_err(|_| rejected())
}
