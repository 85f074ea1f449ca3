//! What a request asks for: path, query, options. Parsing only; nothing here looks at the store.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::Value;

use super::errors::{Cause, Outcome, Status};
use super::resource::{Resource, Resources};

/// One request with its body read.
pub struct Request {
    /// HTTP method.
    pub method: Method,
    /// Path without query.
    pub path: String,
    /// Decoded query.
    pub query: Query,
    /// Headers.
    pub headers: HeaderMap,
    /// Whole body.
    pub body: Bytes,
    /// The actor, for the history.
    pub peer: String,
}

impl Request {
    /// A header as text, empty when missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// Decoded query parameters in order.
#[derive(Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Parses a query string; malformed escapes are kept as they are.
    pub fn parse(text: &str) -> Query {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (unescape(key).into_owned(), unescape(value).into_owned())
        });
        Query(pairs.collect())
    }

    /// The first value of a parameter, unless it is empty.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.first(key).filter(|value| !value.is_empty())
    }

    fn first(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Every value of a parameter.
    pub fn all<'a>(&'a self, key: &'static str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// A boolean as the real server converts it: absent, `0` and `false` are false, everything else is true.
    pub fn flag(&self, key: &str) -> Option<bool> {
        let value = self.first(key)?;
        Some(!matches!(value, "0" | "false"))
    }
}

fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let escaped = bytes.get(index + 1..index + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        match (bytes[index], escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                index += 3;
                continue;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        index += 1;
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// The resource, object or collection that a path names.
#[derive(Clone)]
pub struct Target {
    /// The resource.
    pub resource: Arc<Resource>,
    /// Namespace of the path; empty for cluster-wide paths.
    pub namespace: String,
    /// Name of the path; `None` for a collection.
    pub name: Option<String>,
    /// Subresource of the path.
    pub subresource: Option<String>,
    /// The deprecated `/watch/` prefix was used.
    pub watch_prefix: bool,
}

impl Target {
    /// Resolves a path below `/api/v1` or `/apis/<group>/<version>`.
    ///
    /// # Errors
    /// 404, as text for unknown groups and as a status for unknown resources.
    pub fn resolve(resources: &Resources, path: &str) -> Outcome<Target> {
        let mut parts: Vec<Cow<'_, str>> = path.trim_matches('/').split('/').map(unescape_segment).collect();
        let (group, version, mut rest) = match parts.first().map(AsRef::as_ref) {
            Some("api") if parts.len() >= 3 => (Cow::Borrowed(""), std::mem::take(&mut parts[1]), parts.split_off(2)),
            Some("apis") if parts.len() >= 4 => {
                (std::mem::take(&mut parts[1]), std::mem::take(&mut parts[2]), parts.split_off(3))
            }
            _ => return Err(Status::page_not_found()),
        };
        if !resources.has_version(&group, &version) {
            return Err(Status::page_not_found());
        }
        let watch_prefix = rest[0] == "watch" && rest.len() > 1;
        if watch_prefix {
            rest.remove(0);
        }
        let nested = rest.len() >= 3 && rest[0] == "namespaces" && !matches!(rest[2].as_ref(), "status" | "finalize");
        let mut namespace = String::new();
        if nested {
            namespace = rest[1].as_ref().to_owned();
            rest.drain(..2);
        }
        let missing = || {
            // A group that only custom resources live in has no handler for unknown paths of its own.
            let custom = resources.iter().any(|known| known.group == group && known.custom.is_some());
            if custom { Status::page_not_found() } else { Status::no_such_resource() }
        };
        let resource = resources.get(&group, &version, &rest[0]).cloned().ok_or_else(missing)?;
        let name = rest.get(1).map(|part| part.as_ref().to_owned());
        let subresource = rest.get(2).map(|part| part.as_ref().to_owned());
        let unknown = subresource.as_ref().is_some_and(|sub| !resource.has_subresource(sub));
        if unknown && resource.custom.is_some() && rest.len() == 3 {
            // The handler of custom resources says it of the object.
            return Err(Status::not_found(&resource.group, &resource.plural, name.as_deref().unwrap_or_default()));
        }
        if rest.len() > 3 || unknown {
            return Err(Status::no_such_resource());
        }
        if nested && !resource.namespaced || resource.namespaced && namespace.is_empty() && name.is_some() {
            return Err(missing());
        }
        if name.as_deref() == Some("") {
            return Err(Status::no_such_resource());
        }
        Ok(Target { resource, namespace, name, subresource, watch_prefix })
    }

    /// 404 for this object.
    pub fn not_found(&self) -> Status {
        Status::not_found(&self.resource.group, &self.resource.plural, self.name.as_deref().unwrap_or_default())
    }
}

fn unescape_segment(text: &str) -> Cow<'_, str> {
    if text.contains('%') { unescape(&text.replace('+', "%2B")).into_owned().into() } else { Cow::Borrowed(text) }
}

/// What happens to unknown and duplicate fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValidation {
    /// Nothing.
    Ignore,
    /// A warning each; the default.
    Warn,
    /// The request is refused.
    Strict,
}

/// Options of a write.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// Nothing is stored.
    pub dry_run: bool,
    /// Manager of the changed fields.
    pub manager: String,
    /// Treatment of unknown fields.
    pub validation: FieldValidation,
    /// Apply takes fields of others.
    pub force: bool,
}

impl WriteOptions {
    /// Reads the query of a write. `kind` is `CreateOptions`, `UpdateOptions` or `PatchOptions`; `apply` tells a server-side apply.
    ///
    /// # Errors
    /// 422 about the options.
    pub fn parse(request: &Request, kind: &str, apply: bool) -> Outcome<WriteOptions> {
        let query = &request.query;
        let mut causes = Vec::new();
        let manager = query.get("fieldManager").unwrap_or_default();
        if kind == "PatchOptions" {
            if apply && manager.is_empty() {
                causes.push(Cause::required("fieldManager", "is required for apply patch"));
            }
            if !apply && query.flag("force").is_some() {
                causes.push(Cause::forbidden("force", "may not be specified for non-apply patch"));
            }
        }
        if manager.len() > 128 {
            causes.push(Cause::too_long("fieldManager", 128));
        }
        if manager.chars().any(char::is_control) {
            causes.push(Cause::invalid(
                "fieldManager",
                &Value::from(manager),
                "should only contain printable characters",
            ));
        }
        causes.extend(dry_run_causes(query.all("dryRun")));
        let validation = match query.get("fieldValidation") {
            None | Some("Warn") => FieldValidation::Warn,
            Some("Ignore") => FieldValidation::Ignore,
            Some("Strict") => FieldValidation::Strict,
            Some(other) => {
                causes.push(Cause::not_supported(
                    "fieldValidation",
                    &Value::from(other),
                    &["", "Ignore", "Strict", "Warn"],
                ));
                FieldValidation::Warn
            }
        };
        if !causes.is_empty() {
            return Err(Status::invalid("meta.k8s.io", kind, "", causes));
        }
        let manager =
            if manager.is_empty() { default_manager(request.header("user-agent")) } else { manager.to_owned() };
        Ok(WriteOptions {
            dry_run: query.all("dryRun").next().is_some_and(|value| !value.is_empty()),
            manager,
            validation,
            force: query.flag("force").unwrap_or(false),
        })
    }
}

/// Causes of unknown `dryRun` values.
pub fn dry_run_causes<'a>(values: impl Iterator<Item = &'a str>) -> Vec<Cause> {
    let wrong = values.filter(|value| !value.is_empty() && *value != "All");
    let refuse = |value: &str| {
        let message = format!("Unsupported value: [{value:?}]: supported values: \"All\"");
        Cause::new("FieldValueNotSupported", "dryRun", message)
    };
    wrong.map(refuse).take(1).collect()
}

/// The manager of a write that names none: the User-Agent up to the first `/`, without control characters, at most 128 bytes.
fn default_manager(user_agent: &str) -> String {
    let prefix = user_agent.split('/').next().unwrap_or_default();
    let mut manager: String = prefix.chars().filter(|c| !c.is_control()).collect();
    while manager.len() > 128 {
        manager.pop();
    }
    if manager.is_empty() { "unknown".to_owned() } else { manager }
}
