//! Request bodies: media types, duplicate keys, the right kind, unknown fields.

use serde_json::Value;

use super::errors::{Cause, Outcome, Status};
use super::json;
use super::meta;
use super::protobuf;
use super::request::{FieldValidation, Request, WriteOptions};
use super::resource::Resource;
use super::schema::Node;
use super::server::Pass;

/// A parsed body and the paths of its duplicate keys.
pub struct Parsed {
    /// The value.
    pub value: Value,
    /// Duplicate keys; the last one won.
    pub duplicates: Vec<String>,
}

/// Parses the body of a write by its Content-Type.
///
/// # Errors
/// 415 and 400.
pub fn body(request: &Request) -> Outcome<Parsed> {
    match media_type(request) {
        "" | "application/json" => parse_json(&request.body),
        "application/yaml" => parse_yaml(&request.body),
        protobuf::MEDIA_TYPE => match protobuf::decode(&request.body) {
            Ok(value) => Ok(Parsed { value, duplicates: Vec::new() }),
            Err(protobuf::ProtobufError::Malformed(why)) => Err(Status::bad_request(why)),
            Err(unmodelled) => Err(Status::not_modelled(&unmodelled.to_string())),
        },
        _ => Err(Status::unsupported_media_type(&[
            "application/json",
            "application/yaml",
            "application/vnd.kubernetes.protobuf",
        ])),
    }
}

/// The Content-Type without parameters.
pub fn media_type(request: &Request) -> &str {
    request.header("content-type").split(';').next().unwrap_or_default().trim()
}

/// Parses JSON.
///
/// # Errors
/// 400.
pub fn parse_json(bytes: &[u8]) -> Outcome<Parsed> {
    let (value, duplicates) = json::parse(bytes)
        .map_err(|error| Status::bad_request(format!("couldn't get version/kind; json parse error: {error}")))?;
    Ok(Parsed { value, duplicates })
}

/// Parses YAML, of which JSON is a part.
///
/// # Errors
/// 400.
pub fn parse_yaml(bytes: &[u8]) -> Outcome<Parsed> {
    if let Ok((mut value, duplicates)) = json::parse(bytes) {
        json::normalise_numbers(&mut value);
        return Ok(Parsed { value, duplicates });
    }
    let mut value = serde_yaml_ng::from_slice(bytes)
        .map_err(|error| Status::bad_request(format!("error decoding YAML: {error}")))?;
    // The way from YAML leads through JSON text, where a whole number has no fraction.
    json::normalise_numbers(&mut value);
    Ok(Parsed { value, duplicates: Vec::new() })
}

/// Reads the object of a POST or PUT: parsed, of the right kind, without unknown fields, with decoded metadata.
///
/// # Errors
/// 400, 415 and, for a custom resource of a wrong kind, 422.
pub fn object(pass: &mut Pass<'_>, resource: &Resource, options: &WriteOptions) -> Outcome<Value> {
    let Parsed { mut value, duplicates } = body(pass.request)?;
    if !value.is_object() {
        return Err(Status::bad_request(
            "couldn't get version/kind; json parse error: json: cannot unmarshal into Go value of type struct",
        ));
    }
    check_kind(resource, &mut value)?;
    let problems = unknown_fields(resource, &mut value, &duplicates)?;
    match options.validation {
        FieldValidation::Ignore => {}
        FieldValidation::Warn => pass.warnings.extend(problems),
        FieldValidation::Strict if problems.is_empty() => {}
        FieldValidation::Strict => {
            let (version, kind) = (&resource.version, &resource.kind);
            let why = format!("strict decoding error: {}", problems.join(", "));
            return Err(Status::bad_request(format!(
                "{kind} in version {version:?} cannot be handled as a {kind}: {why}"
            )));
        }
    }
    Ok(value)
}

/// Brings an object into the form in which the server handles it: no unknown fields, metadata and defaults as they are stored. Returns
/// the texts of warnings: duplicates first.
///
/// # Errors
/// 400 for a value of a type that the decoder cannot take.
pub fn unknown_fields(resource: &Resource, value: &mut Value, duplicates: &[String]) -> Outcome<Vec<String>> {
    let mut problems: Vec<String> = duplicates.iter().map(|path| format!("duplicate field {path:?}")).collect();
    shape(resource, value, false)?.into_iter().for_each(|path| problems.push(format!("unknown field {path:?}")));
    Ok(problems)
}

/// The same without texts: returns the paths of unknown fields. An apply keeps nulls, to be refused later (D21).
///
/// # Errors
/// 400 for a value of a type that the decoder cannot take.
pub fn shape(resource: &Resource, value: &mut Value, keep_nulls: bool) -> Outcome<Vec<String>> {
    let schema = resource.schema();
    let unknown = schema.prune(value);
    let decoded = meta::decode(value);
    let refuse = |why: &str| {
        let (version, kind) = (&resource.version, &resource.kind);
        Err(Status::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {why}")))
    };
    if let Some(wrong) = decoded.wrong {
        return refuse(&format!("json: {wrong}"));
    }
    if resource.custom.is_none() {
        if let Some(cause) =
            schema.validate(value, None).into_iter().find(|cause| cause.reason == "FieldValueTypeInvalid")
        {
            return refuse(&format!(
                "json: cannot unmarshal into Go struct field {}.{}: {}",
                resource.kind, cause.field, cause.message
            ));
        }
        drop_empty(schema.root(), value, true);
    }
    if keep_nulls {
        schema.default_keeping_nulls(value);
    } else {
        schema.default(value);
    }
    Ok(unknown)
}

/// Go leaves out empty lists and maps of built-in kinds when it encodes them.
fn drop_empty(node: &Node, value: &mut Value, root: bool) {
    let Value::Object(fields) = value else { return };
    fields.retain(|name, value| {
        if root && name == "metadata" {
            return true;
        }
        let Some(field) = node.field(name) else { return !value.is_null() };
        match &mut *value {
            Value::Null => false,
            Value::Array(items) => {
                if let Some(item) = &field.items {
                    items.iter_mut().for_each(|value| drop_empty(item, value, false));
                }
                !items.is_empty()
            }
            Value::Object(entries) if field.additional.is_some() => !entries.is_empty(),
            Value::Object(_) => {
                drop_empty(field, value, false);
                true
            }
            _ => true,
        }
    });
}

fn check_kind(resource: &Resource, value: &mut Value) -> Outcome<()> {
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text(value, "apiVersion"), text(value, "kind"));
    if resource.custom.is_some() {
        if kind.is_empty() {
            let shown = json::to_string(value);
            return Err(Status::bad_request(format!("Object 'Kind' is missing in '{shown}'")));
        }
        if api_version != resource.api_version {
            let expected = &resource.api_version;
            let message = format!(
                "the API version in the data ({api_version}) does not match the expected API version ({expected})"
            );
            return Err(Status::bad_request(message));
        }
        if kind != resource.kind {
            let cause = Cause::invalid("kind", &Value::from(kind), format!("must be {}", resource.kind));
            return Err(Status::invalid(&resource.group, &resource.kind, meta::text(value, "name"), vec![cause]));
        }
        return Ok(());
    }
    if !api_version.is_empty() && api_version != resource.api_version || !kind.is_empty() && kind != resource.kind {
        let expected = &resource.api_version;
        let message =
            format!("the API version in the data ({api_version}) does not match the expected API version ({expected})");
        return Err(Status::bad_request(message));
    }
    value["apiVersion"] = Value::from(resource.api_version.as_str());
    value["kind"] = Value::from(resource.kind.as_str());
    Ok(())
}
