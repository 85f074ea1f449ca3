//! What is asked for, in the terms of authorization: verb and resource, or verb and path.

use http::Method;

use super::identity::User;
use crate::apiserver::errors::{Details, Status, qualified};
use crate::apiserver::request::Request;

/// One question to the authorizer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) verb: String,
    pub(super) group: String,
    pub(super) resource: String,
    pub(super) subresource: String,
    pub(super) namespace: String,
    pub(super) name: String,
    /// Set for paths that are not resources; then the fields above but `verb` are empty.
    pub(super) path: Option<String>,
}

/// The attributes of a request. Existence plays no part: this comes before it (K2).
pub(super) fn of(request: &Request) -> Attributes {
    let parts: Vec<&str> = request.path.trim_matches('/').split('/').collect();
    let rest = match parts.as_slice() {
        ["api", _, rest @ ..] if !rest.is_empty() => Some(("", rest)),
        ["apis", group, _, rest @ ..] if !rest.is_empty() => Some((*group, rest)),
        _ => None,
    };
    let Some((group, mut rest)) = rest else {
        let verb = request.method.as_str().to_lowercase();
        return Attributes { verb, path: Some(request.path.clone()), ..Attributes::default() };
    };
    let watch_prefix = rest[0] == "watch" && rest.len() > 1;
    if watch_prefix {
        rest = &rest[1..];
    }
    let mut namespace = "";
    if rest[0] == "namespaces" && rest.len() > 1 {
        namespace = rest[1];
        if rest.len() > 2 && !matches!(rest[2], "status" | "finalize") {
            rest = &rest[2..];
        }
    }
    let mut name = rest.get(1).copied().unwrap_or_default().to_owned();
    let collection = name.is_empty();
    let query = &request.query;
    let verb = match request.method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if collection => "deletecollection",
        Method::DELETE => "delete",
        _ if watch_prefix || collection && query.flag("watch") == Some(true) => "watch",
        _ if collection => "list",
        _ => "get",
    };
    if matches!(verb, "list" | "watch") {
        // A list of one name is a question about that name.
        let term = query
            .get("fieldSelector")
            .and_then(|selector| selector.split(',').find_map(|term| term.strip_prefix("metadata.name=")));
        name = term.map(|name| name.trim_start_matches('=').to_owned()).unwrap_or(name);
    }
    Attributes {
        verb: verb.to_owned(),
        group: group.to_owned(),
        resource: rest[0].to_owned(),
        subresource: rest.get(2).copied().unwrap_or_default().to_owned(),
        namespace: namespace.to_owned(),
        name,
        path: None,
    }
}

/// What constrained impersonation asks besides `impersonate-on:…`.
pub(super) fn impersonation(mode: &str, name: &str, account: Option<(&str, &str)>) -> Attributes {
    let (resource, namespace, name) = match account {
        Some((namespace, name)) => ("serviceaccounts", namespace, name),
        None => ("users", "", name),
    };
    Attributes {
        verb: format!("impersonate:{mode}"),
        group: "authentication.k8s.io".to_owned(),
        resource: resource.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        ..Attributes::default()
    }
}

/// 403 with the sentence that people know.
pub(super) fn forbidden(user: &User, wanted: &Attributes, reason: &str) -> Status {
    let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    let (name, verb) = (&user.name, &wanted.verb);
    if let Some(path) = &wanted.path {
        let message = format!("forbidden: User {name:?} cannot {verb} path {path:?}{reason}");
        return Status::new(403, "Forbidden", message).with_details(Details::default());
    }
    let resource = if wanted.subresource.is_empty() {
        wanted.resource.clone()
    } else {
        format!("{}/{}", wanted.resource, wanted.subresource)
    };
    let scope = if wanted.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace {:?}", wanted.namespace)
    };
    let mut what = qualified(&wanted.resource, &wanted.group).into_owned();
    if !wanted.name.is_empty() {
        what = format!("{what} {:?}", wanted.name);
    }
    let message = format!(
        "{what} is forbidden: User {name:?} cannot {verb} resource {resource:?} in API group {:?} {scope}{reason}",
        wanted.group
    );
    Status::new(403, "Forbidden", message).with_details(Details {
        name: wanted.name.clone(),
        group: wanted.group.clone(),
        kind: wanted.resource.clone(),
        ..Details::default()
    })
}
