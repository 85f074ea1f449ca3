//! The scale subresource: `autoscaling/v1` Scale read from and written to the object at declared paths (F14).

use serde_json::{Map, Value, json};

use http::Method;

use super::decode::{self, Parsed};
use super::errors::{Cause, Outcome, Status};
use super::meta;
use super::patch;
use super::reply::{Payload, Reply};
use super::request::{Target, WriteOptions};
use super::resource::Scale;
use super::rest::{self, Update};
use super::server::Pass;

/// GET, PUT and PATCH of `/scale`.
///
/// # Errors
/// Those of the object's update; 422 for a negative number; 501 for an apply.
pub fn answer(pass: &mut Pass<'_>, target: &Target) -> Outcome<Reply> {
    let resource = &target.resource;
    let Some(paths) = resource.scale.clone() else { return Err(Status::no_such_resource()) };
    if pass.request.method == Method::GET {
        let stored = rest::find(pass, target).ok_or_else(|| target.not_found())?;
        return Ok(Reply::new(200, Payload::Json(scale_of(&stored.value, &paths))));
    }
    let is_patch = pass.request.method == Method::PATCH;
    if !is_patch && pass.request.method != Method::PUT {
        return Err(Status::method_not_allowed());
    }
    let kind = if is_patch { "PatchOptions" } else { "UpdateOptions" };
    let options = WriteOptions::parse(pass.request, kind, false)?;
    let media_type = decode::media_type(pass.request).to_owned();
    if is_patch && !patch::is_plain(&media_type) {
        return Err(Status::not_modelled(&format!("{media_type} on scale")));
    }
    let Parsed { value: body, .. } =
        if is_patch { decode::parse_json(&pass.request.body)? } else { decode::body(pass.request)? };
    let verb = if is_patch { "patch" } else { "update" };
    let update = Update { target, options: &options, verb, uid: None, create: false, track: true };
    let (stored, _) = rest::update_object(pass, &update, &mut |_, live| {
        let mut object = live.cloned().unwrap_or_default();
        let wanted = if is_patch {
            let mut scale = scale_of(&object, &paths);
            patch::plain(&mut scale, &media_type, &body)?;
            scale
        } else {
            body.clone()
        };
        let replicas = wanted["spec"]["replicas"].as_i64().unwrap_or(0);
        if replicas < 0 {
            let cause = Cause::invalid("spec.replicas", &json!(replicas), "must be greater than or equal to 0");
            let name = target.name.as_deref().unwrap_or_default();
            return Err(Status::invalid("autoscaling", "Scale", name, vec![cause]));
        }
        put(&mut object, &paths.spec, json!(replicas));
        let revision = meta::text(&wanted, "resourceVersion");
        if !revision.is_empty() {
            meta::set(&mut object, "resourceVersion", Some(json!(revision)));
        }
        Ok(object.into())
    })?;
    Ok(Reply::new(200, Payload::Json(scale_of(&stored.value, &paths))))
}

fn scale_of(object: &Value, paths: &Scale) -> Value {
    let metadata: Map<String, Value> = ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"]
        .into_iter()
        .filter_map(|field| Some((field.to_owned(), object["metadata"].get(field)?.clone())))
        .collect();
    let number = |path: &str| at(object, path).and_then(Value::as_i64).unwrap_or(0);
    let mut status = json!({ "replicas": number(&paths.status) });
    if let Some(selector) = paths.selector.as_deref().and_then(|path| at(object, path)).and_then(selector_text) {
        status["selector"] = json!(selector);
    }
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": { "replicas": number(&paths.spec) }, "status": status,
    })
}

/// A selector as text: as it is, or a `matchLabels` selector of a built-in kind.
fn selector_text(selector: &Value) -> Option<String> {
    if let Some(text) = selector.as_str() {
        return Some(text.to_owned()).filter(|text| !text.is_empty());
    }
    let labels = selector.get("matchLabels").unwrap_or(selector).as_object()?;
    let mut terms: Vec<String> =
        labels.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    terms.sort();
    Some(terms.join(","))
}

fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    path.trim_start_matches('.').split('.').try_fold(object, |value, field| value.get(field))
}

fn put(object: &mut Value, path: &str, value: Value) {
    let mut place = object;
    for field in path.trim_start_matches('.').split('.') {
        if !place.is_object() {
            *place = json!({});
        }
        place = &mut place[field];
    }
    *place = value;
}
