//! Request bodies: media types, duplicate keys, the right kind, unknown fields.

use serde_json::Value;

use super::depth;
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
    let (value, duplicates) = json::parse(bytes).map_err(Status::bad_request)?;
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
    if depth::of_text(bytes) > depth::LEVELS_MAX {
        let why = format!("error decoding YAML: yaml: exceeded max depth of {}", depth::LEVELS_MAX);
        return Err(Status::bad_request(why));
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
    let bytes = &pass.request.body;
    let unrecognized = |why: &str| {
        let message = format!(
            "the object provided is unrecognized (must be of type {}): {why} ({})",
            resource.kind,
            summary(bytes)
        );
        Status::bad_request(message)
    };
    let parsed = body(pass.request).map_err(|status| match status.code {
        400 if bytes.is_empty() => {
            unrecognized("couldn't get version/kind; json parse error: unexpected end of JSON input")
        }
        400 => unrecognized(&format!("couldn't get version/kind; json parse error: {}", status.message)),
        _ => status,
    })?;
    let Parsed { mut value, duplicates } = parsed;
    if !value.is_object() {
        let found = meta::go_kind(&value);
        return Err(unrecognized(&format!(
            "couldn't get version/kind; json parse error: json: cannot unmarshal {found} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}"
        )));
    }
    for (field, shown) in [("kind", "Kind"), ("apiVersion", "apiVersion")] {
        if resource.custom.is_some() && value[field].as_str().is_none_or(str::is_empty) {
            return Err(unrecognized(&format!("Object '{shown}' is missing in '{}'", String::from_utf8_lossy(bytes))));
        }
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
    if let Some(why) = super::builtin::time_problem(resource, value) {
        return refuse(&why);
    }
    if resource.custom.is_none() {
        drop_empty(schema.root(), value, true);
        if let Some(cause) =
            // Null is the zero value of every type.
            schema
                .validate(value, None)
                .into_iter()
                .find(|cause| cause.reason == "FieldValueTypeInvalid" && !cause.message.ends_with(": \"null\""))
        {
            return refuse(&format!("json: {}", mistyped(resource, &cause)));
        }
        if let Some(at) = bad_base64(value) {
            return refuse(&format!("illegal base64 data at input byte {at}"));
        }
    }
    if keep_nulls {
        schema.default_keeping_nulls(value);
    } else {
        schema.default(value);
    }
    Ok(unknown)
}

/// The words of Go's decoder for a value of a wrong type.
fn mistyped(resource: &Resource, cause: &Cause) -> String {
    let go = |name: &str| match name {
        "integer" | "number" => "number".to_owned(),
        "boolean" => "bool".to_owned(),
        other => other.to_owned(),
    };
    let found = go(cause.message.split('"').nth(1).unwrap_or_default());
    let wanted =
        cause.message.split("must be of type ").nth(1).and_then(|rest| rest.split(':').next()).unwrap_or_default();
    let wanted = match wanted {
        "object" => "map[string]string",
        "array" => "[]string",
        "integer" => "int32",
        "boolean" => "bool",
        other => other,
    };
    // Keys of maps and positions in lists are no struct fields.
    let mut node = Some(&**resource.schema().root());
    let mut path = vec![resource.kind.as_str()];
    for part in cause.field.split('.') {
        let name = part.split('[').next().unwrap_or_default();
        let declared = node.and_then(|node| node.properties.get(name));
        if declared.is_some() {
            path.push(name);
        }
        node = declared.or_else(|| node.and_then(|node| node.additional.as_ref())).map(|node| &**node);
        if part.contains('[') {
            node = node.and_then(|node| node.items.as_deref());
        }
    }
    format!("cannot unmarshal {found} into Go struct field {} of type {wanted}", path.join("."))
}

/// Where the bytes of a Secret or ConfigMap are not base64.
fn bad_base64(value: &Value) -> Option<usize> {
    use base64::Engine as _;
    let field = match value["kind"].as_str() {
        Some("Secret") => "data",
        Some("ConfigMap") => "binaryData",
        _ => return None,
    };
    let texts = value[field].as_object().into_iter().flatten().filter_map(|(_, text)| text.as_str());
    texts.into_iter().find_map(|text| {
        base64::engine::general_purpose::STANDARD.decode(text).err().map(|error| match error {
            base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
            base64::DecodeError::InvalidLength(length) => length / 4 * 4,
            base64::DecodeError::InvalidPadding => text.trim_end_matches('=').len(),
        })
    })
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

/// The beginning of a body, as errors show it: text of an object, anything else in hexadecimal.
fn summary(bytes: &[u8]) -> String {
    const SHOWN: usize = 30;
    let cut = &bytes[..bytes.len().min(SHOWN)];
    let more = if bytes.len() > SHOWN { " ..." } else { "" };
    match bytes.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(cut)),
        Some(_) => format!("{}{more}", cut.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    }
}

/// The body must be of the resource's kind and version; built-in kinds may leave both out (F16, J5).
///
/// # Errors
/// 400, and 422 for a custom resource of another kind.
pub fn check_kind(resource: &Resource, value: &mut Value) -> Outcome<()> {
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text(value, "apiVersion"), text(value, "kind"));
    if resource.custom.is_some() {
        if api_version != resource.api_version {
            let expected = &resource.api_version;
            let message = format!(
                "the API version in the data ({api_version}) does not match the expected API version ({expected})"
            );
            return Err(Status::bad_request(message));
        }
        if kind != resource.kind {
            let cause = Cause::invalid("kind", &Value::from(kind.as_str()), format!("must be {}", resource.kind));
            return Err(Status::invalid(&resource.group, &kind, meta::text(value, "name"), vec![cause]));
        }
        return Ok(());
    }
    let own = &resource.kind;
    if !kind.is_empty() && kind != *own {
        let version = if api_version.is_empty() { &resource.version } else { &api_version };
        let version = version.rsplit('/').next().unwrap_or_default();
        let internal =
            if resource.group.is_empty() { "core" } else { resource.group.split('.').next().unwrap_or_default() };
        return Err(Status::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a {own}: converting ({version}.{kind}) to ({internal}.{own}): unknown conversion"
        )));
    }
    if !api_version.is_empty() && api_version != resource.api_version {
        return Err(Status::bad_request(format!(
            "{own} in version {api_version:?} cannot be handled as a {own}: no kind {own:?} is registered for version {api_version:?} in scheme \"k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30\""
        )));
    }
    value["apiVersion"] = Value::from(resource.api_version.as_str());
    value["kind"] = Value::from(own.as_str());
    Ok(())
}
