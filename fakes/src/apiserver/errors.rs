//! The `Status` answers of a real API server: code, reason, message, details and causes.
//!
//! Clients branch on `code` and `reason`, controllers on `details.causes`; people read the message. All four are built here, in one
//! place, so that they cannot drift apart.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

/// One reason why an object was refused; an element of `details.causes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Machine-readable class, such as `FieldValueInvalid`.
    pub reason: Cow<'static, str>,
    /// The text after the field path, such as `Invalid value: 11: should be less than or equal to 10`.
    pub message: String,
    /// The path of the field, such as `spec.size`; `<nil>` when there is none.
    pub field: String,
}

impl Cause {
    /// A cause with the given class.
    pub fn new(reason: &'static str, field: impl Into<String>, message: impl Into<String>) -> Cause {
        Cause { reason: Cow::Borrowed(reason), message: message.into(), field: field.into() }
    }

    /// `Invalid value: <value>: <detail>`; the value is shown as JSON, objects and lists as their type name.
    pub fn invalid(field: impl Into<String>, value: &Value, detail: impl AsRef<str>) -> Cause {
        Cause::new("FieldValueInvalid", field, format!("Invalid value: {}: {}", shown(value), detail.as_ref()))
    }

    /// `Required value`, with a detail unless it is empty.
    pub fn required(field: impl Into<String>, detail: &str) -> Cause {
        let message = if detail.is_empty() { "Required value".to_owned() } else { format!("Required value: {detail}") };
        Cause::new("FieldValueRequired", field, message)
    }

    /// `Forbidden: <detail>`.
    pub fn forbidden(field: impl Into<String>, detail: impl AsRef<str>) -> Cause {
        Cause::new("FieldValueForbidden", field, format!("Forbidden: {}", detail.as_ref()))
    }

    /// `Duplicate value: <value>`.
    pub fn duplicate(field: impl Into<String>, value: &Value) -> Cause {
        Cause::new("FieldValueDuplicate", field, format!("Duplicate value: {value}"))
    }

    /// `Unsupported value: <value>: supported values: …`, the choices in the order given.
    pub fn not_supported(field: impl Into<String>, value: &Value, choices: &[&str]) -> Cause {
        let choices: Vec<String> = choices.iter().map(|choice| format!("{choice:?}")).collect();
        let message = format!("Unsupported value: {}: supported values: {}", shown(value), choices.join(", "));
        Cause::new("FieldValueNotSupported", field, message)
    }

    /// `Too long: may not be more than <bytes> bytes`.
    pub fn too_long(field: impl Into<String>, bytes: usize) -> Cause {
        Cause::new("FieldValueTooLong", field, format!("Too long: may not be more than {bytes} bytes"))
    }
}

fn shown(value: &Value) -> Cow<'static, str> {
    match value {
        Value::Object(_) => Cow::Borrowed("\"object\""),
        Value::Array(_) => Cow::Borrowed("\"array\""),
        other => Cow::Owned(super::json::to_string(other)),
    }
}

/// `details` of a `Status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Name of the object, empty when unknown.
    pub name: String,
    /// API group, empty for the core group.
    pub group: String,
    /// The plural resource or the kind, whichever the real server shows in this answer.
    pub kind: String,
    /// Uid of the object, empty when unknown.
    pub uid: String,
    /// The causes in order.
    pub causes: Vec<Cause>,
    /// Seconds after which a retry makes sense; 0 = absent.
    pub retry_after_seconds: u32,
}

/// A refusal, rendered as a `Status` object or, where the real server does so, as plain text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// Reason, empty when the real server gives none.
    pub reason: Cow<'static, str>,
    /// Text for people.
    pub message: String,
    /// Details; `Some` of an empty value is rendered as `{}`.
    pub details: Option<Box<Details>>,
    /// Value of the `Retry-After` header in seconds.
    pub retry_after: Option<u32>,
    /// Rendered as `text/plain` instead of a `Status` object.
    pub plain: bool,
    /// `metadata.continue` of the answer (only with 410 Expired of a list).
    pub continue_token: Option<String>,
}

/// What every step of a request returns.
pub type Outcome<T> = Result<T, Status>;

impl Status {
    /// A status without details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Status {
        Status {
            code,
            reason: Cow::Borrowed(reason),
            message: message.into(),
            details: None,
            retry_after: None,
            plain: false,
            continue_token: None,
        }
    }

    fn about(mut self, group: &str, kind: &str, name: &str) -> Status {
        self.details = Some(Box::new(Details {
            name: name.to_owned(),
            group: group.to_owned(),
            kind: kind.to_owned(),
            ..Details::default()
        }));
        self
    }

    /// The same status with these details.
    pub fn with_details(mut self, details: Details) -> Status {
        self.details = Some(Box::new(details));
        self
    }

    /// 404 for an object.
    pub fn not_found(group: &str, plural: &str, name: &str) -> Status {
        Status::new(404, "NotFound", format!("{} {name:?} not found", qualified(plural, group)))
            .about(group, plural, name)
    }

    /// 404 for a resource or subresource that does not exist in a known group.
    pub fn no_such_resource() -> Status {
        Status::new(404, "NotFound", "the server could not find the requested resource")
            .with_details(Details::default())
    }

    /// 404 in plain text: nothing is served under this path.
    pub fn page_not_found() -> Status {
        Status { plain: true, ..Status::new(404, "NotFound", "404 page not found\n") }
    }

    /// 405.
    pub fn method_not_allowed() -> Status {
        Status::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
            .with_details(Details::default())
    }

    /// 405 of a custom resource, naming the verb.
    pub fn verb_not_supported(group: &str, plural: &str, verb: &str) -> Status {
        let message = format!("{verb} is not supported on resources of kind {:?}", qualified(plural, group));
        Status::new(405, "MethodNotAllowed", message).about(group, plural, "")
    }

    /// 429 in plain text: too many requests are in flight (L1). Not a Status, which clients that expect one get wrong.
    pub fn overloaded() -> Status {
        let message = "Too many requests, please try again later.\n";
        Status { plain: true, retry_after: Some(1), ..Status::new(429, "TooManyRequests", message) }
    }

    /// 429 while the storage of a resource starts (L3).
    pub fn initializing() -> Status {
        let details = Details { retry_after_seconds: 1, ..Details::default() };
        let status = Status::new(429, "TooManyRequests", "storage is (re)initializing").with_details(details);
        Status { retry_after: Some(1), ..status }
    }

    /// 503 for paths of custom resources before definitions are read after a start (B15).
    pub fn not_installed() -> Status {
        let message = "the request has been made before all known HTTP paths have been installed, please try again";
        Status { retry_after: Some(5), ..Status::new(503, "ServiceUnavailable", message) }
    }

    /// 409 on create.
    pub fn already_exists(group: &str, plural: &str, name: &str) -> Status {
        Status::new(409, "AlreadyExists", format!("{} {name:?} already exists", qualified(plural, group)))
            .about(group, plural, name)
    }

    /// 409 on a write; `kind` is the plural or the kind.
    pub fn conflict(group: &str, kind: &str, name: &str, why: &str) -> Status {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", qualified(kind, group));
        Status::new(409, "Conflict", message).about(group, kind, name)
    }

    /// 409 because the resourceVersion given is not the stored one.
    pub fn modified(group: &str, plural: &str, name: &str) -> Status {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Status::conflict(group, plural, name, why)
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Status {
        Status::new(400, "BadRequest", message)
    }

    /// 403 for an object.
    pub fn forbidden(group: &str, plural: &str, name: &str, why: &str) -> Status {
        let what = if name.is_empty() {
            qualified(plural, group).into_owned()
        } else {
            format!("{} {name:?}", qualified(plural, group))
        };
        Status::new(403, "Forbidden", format!("{what} is forbidden: {why}")).about(group, plural, name)
    }

    /// 415 with the media types that would be accepted.
    pub fn unsupported_media_type(accepted: &[&str]) -> Status {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Status::new(415, "UnsupportedMediaType", message)
    }

    /// 500 with a reason-less message, as storage errors are.
    pub fn internal(message: impl Into<String>) -> Status {
        Status::new(500, "", message)
    }

    /// 501: this fake does not model the request. A real server never answers so.
    pub fn not_modelled(what: &str) -> Status {
        Status::new(501, "NotImplemented", format!("the fake API server does not model {what}"))
    }

    /// 422 with causes. `kind` is the kind, or the plural where the real server shows that. Equal parts of the message are shown once.
    pub fn invalid(group: &str, kind: &str, name: &str, causes: Vec<Cause>) -> Status {
        let mut parts: Vec<String> = Vec::new();
        for cause in &causes {
            let part = format!("{}: {}", cause.field, cause.message);
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
        let all = if parts.len() == 1 { parts.remove(0) } else { format!("[{}]", parts.join(", ")) };
        let message = format!("{} {name:?} is invalid: {all}", qualified(kind, group));
        Status::new(422, "Invalid", message).with_details(Details {
            name: name.to_owned(),
            group: group.to_owned(),
            kind: kind.to_owned(),
            causes,
            ..Details::default()
        })
    }

    /// The object on the wire.
    pub fn to_value(&self) -> Value {
        let mut metadata = Map::new();
        if let Some(token) = &self.continue_token {
            metadata.insert("continue".into(), json!(token));
        }
        let mut object = Map::new();
        object.insert("kind".into(), json!("Status"));
        object.insert("apiVersion".into(), json!("v1"));
        object.insert("metadata".into(), Value::Object(metadata));
        object.insert("status".into(), json!("Failure"));
        if !self.message.is_empty() {
            object.insert("message".into(), json!(self.message));
        }
        if !self.reason.is_empty() {
            object.insert("reason".into(), json!(self.reason));
        }
        if let Some(details) = &self.details {
            object.insert("details".into(), details.to_value());
        }
        object.insert("code".into(), json!(self.code));
        Value::Object(object)
    }
}

impl Details {
    /// The object on the wire, without empty fields.
    pub fn to_value(&self) -> Value {
        let mut object = Map::new();
        for (key, text) in [("name", &self.name), ("group", &self.group), ("kind", &self.kind), ("uid", &self.uid)] {
            if !text.is_empty() {
                object.insert(key.into(), json!(text));
            }
        }
        if !self.causes.is_empty() {
            let causes = self.causes.iter().map(|cause| {
                let mut entry = Map::new();
                for (key, text) in
                    [("reason", cause.reason.as_ref()), ("message", &cause.message), ("field", &cause.field)]
                {
                    if !text.is_empty() {
                        entry.insert(key.into(), json!(text));
                    }
                }
                Value::Object(entry)
            });
            object.insert("causes".into(), causes.collect());
        }
        if self.retry_after_seconds > 0 {
            object.insert("retryAfterSeconds".into(), json!(self.retry_after_seconds));
        }
        Value::Object(object)
    }
}

/// `plural.group`, or just `plural` for the core group: how messages name a resource.
pub fn qualified<'a>(plural: &'a str, group: &str) -> Cow<'a, str> {
    if group.is_empty() { Cow::Borrowed(plural) } else { Cow::Owned(format!("{plural}.{group}")) }
}
