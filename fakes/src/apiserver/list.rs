//! Reads of collections: revisions, selectors, pages.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use serde_json::{Value, json};

use super::errors::{Cause, Outcome, Status};
use super::reply::{ListMeta, Payload, Reply};
use super::request::{Request, Target};
use super::resource::Resource;
use super::selector::Selector;
use super::server::Pass;
use super::store::{Key, Stored};

/// Objects of one namespace, or all, in order.
pub fn in_namespace<'a>(
    objects: &'a BTreeMap<Key, Arc<Stored>>,
    namespace: &'a str,
) -> impl Iterator<Item = (&'a Key, &'a Arc<Stored>)> {
    let start =
        if namespace.is_empty() { Bound::Unbounded } else { Bound::Included((namespace.to_owned(), String::new())) };
    objects
        .range((start, Bound::Unbounded))
        .take_while(move |((found, _), _)| namespace.is_empty() || found == namespace)
}

/// A stored object as this version of the resource shows it.
pub fn view(resource: &Resource, stored: &Arc<Stored>) -> Arc<Stored> {
    if let Some(value) = super::builtin::shown_form(resource, &stored.value) {
        return Arc::new(Stored::new(value, stored.revision, stored.schema_revision));
    }
    match &resource.custom {
        Some(custom)
            if custom.schema_revision != stored.schema_revision || custom.storage_version != resource.version =>
        {
            let mut value = (*stored.value).clone();
            // Reading decodes by the schema of now (C6, F4), of the version in which the object is stored.
            let version = value["apiVersion"].as_str().and_then(|version| version.rsplit('/').next());
            if let Some(schema) = version.and_then(|version| custom.schemas.get(version)) {
                schema.prune(&mut value);
                schema.default(&mut value);
            }
            value["apiVersion"] = json!(resource.api_version);
            resource.schema().prune(&mut value);
            resource.schema().default(&mut value);
            Arc::new(Stored::new(value, stored.revision, custom.schema_revision))
        }
        _ => stored.clone(),
    }
}

/// The revision that a read has to wait for, if it names one (I8).
pub fn awaited_revision(request: &Request) -> Option<u64> {
    if request.method != Method::GET || request.query.flag("watch") == Some(true) {
        return None;
    }
    request.query.get("resourceVersion")?.parse().ok()
}

/// Refuses a revision of the future after the wait.
///
/// # Errors
/// 504.
pub fn check_reached(wanted: u64, current: u64) -> Outcome<()> {
    if wanted <= current {
        return Ok(());
    }
    let message = format!("Too large resource version: {wanted}, current: {current}");
    let mut status = Status::new(504, "Timeout", format!("Timeout: {message}"));
    status.details = Some(Box::new(super::errors::Details {
        causes: vec![Cause::new("ResourceVersionTooLarge", "", "Too large resource version")],
        retry_after_seconds: 1,
        ..Default::default()
    }));
    status.retry_after = Some(1);
    Err(status)
}

/// `resourceVersion` of a watch: `None` when absent or empty.
///
/// # Errors
/// 500, as the real server answers (B9).
pub fn parse_revision_of_watch(text: Option<&str>) -> Outcome<Option<u64>> {
    let Some(text) = text else { return Ok(None) };
    text.parse().map(Some).map_err(|_| {
        Status::internal(format!(
            "resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
        ))
    })
}

/// How the revision of a list is meant.
enum At {
    /// The newest state.
    Latest,
    /// The state of the watch cache, at least as new as this revision.
    Cached(u64),
    /// Exactly this revision.
    Exact(u64),
}

struct Page {
    /// The last key of the page before, exclusive.
    after: Option<Key>,
    at: At,
}

/// Lists a collection.
///
/// # Errors
/// Refusals of options, expired revisions and tokens.
pub fn list(pass: &mut Pass<'_>, target: &Target) -> Outcome<Reply> {
    let query = &pass.request.query;
    let resource = &target.resource;
    if !resource.verbs.contains(&"list") {
        return Err(Status::method_not_allowed());
    }
    let selector = Selector::parse(query, resource)?;
    let limit = query.get("limit").and_then(|text| text.parse::<i64>().ok()).filter(|limit| *limit > 0);
    let page = page(pass, target)?;
    // A list from the cache returns everything (I4).
    let limit = limit.filter(|_| query.get("resourceVersion") != Some("0"));
    let latest = pass.state.store.revision();
    let table = pass.state.store.table(&resource.id);
    let (revision, snapshot) = match page.at {
        At::Latest => (table.refresh(latest), None),
        // The cache holds every event already; only its revision lags behind.
        At::Cached(revision) if revision <= table.cached() => (table.cached(), None),
        At::Cached(_) => (table.refresh(latest), None),
        At::Exact(revision) if revision < table.compacted() => {
            return Err(expired(target, page.after.as_ref(), query.get("continue").is_some()));
        }
        At::Exact(revision) => (revision, (table.last_revision() > revision).then(|| table.at(revision))),
    };
    let objects = snapshot.as_ref().unwrap_or(&table.objects);
    let start = page.after.as_ref();
    let mut selected: Vec<Arc<Stored>> = Vec::new();
    let (mut more, mut last) = (0, None);
    for (key, stored) in in_namespace(objects, &target.namespace) {
        if start.is_some_and(|start| key <= start) {
            continue;
        }
        if limit.is_some_and(|limit| selected.len() as i64 == limit) {
            more += 1;
            continue;
        }
        if selector.is_empty() || selector.matches(&stored.value) {
            selected.push(view(resource, stored));
            last = Some(key);
        }
    }
    let mut meta = ListMeta { revision, ..ListMeta::default() };
    if more > 0
        && let Some(last) = last
    {
        meta.continue_token = Some(token(revision.cast_signed(), last, &target.namespace));
        meta.remaining = selector.is_empty().then_some(more);
    }
    Ok(Reply::new(200, Payload::List(resource.clone(), meta, selected)))
}

fn page(pass: &Pass<'_>, target: &Target) -> Outcome<Page> {
    let query = &pass.request.query;
    let version = query.get("resourceVersion");
    let version_match = query.get("resourceVersionMatch");
    let token = query.get("continue");
    check_match(version, version_match, token)?;
    if let Some(token) = token {
        let (revision, after) = read_token(token, &target.namespace)?;
        if version.is_some_and(|version| version != "0") {
            return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
        }
        let at = if revision < 0 { At::Latest } else { At::Exact(revision.unsigned_abs()) };
        return Ok(Page { after: Some(after), at });
    }
    let Some(version) = version else { return Ok(Page { after: None, at: At::Latest }) };
    let revision: u64 = version.parse().map_err(|_| {
        Status::bad_request(format!(
            "invalid resource version: resourceVersion: Invalid value: {version:?}: strconv.ParseUint: parsing {version:?}: invalid syntax"
        ))
    })?;
    check_reached(revision, pass.state.store.revision())?;
    let limited = query.get("limit").is_some_and(|text| text.parse::<i64>().is_ok_and(|limit| limit > 0));
    let exact = version_match == Some("Exact") || version_match.is_none() && limited && revision > 0;
    Ok(Page { after: None, at: if exact { At::Exact(revision) } else { At::Cached(revision) } })
}

fn check_match(version: Option<&str>, version_match: Option<&str>, token: Option<&str>) -> Outcome<()> {
    let mut causes = Vec::new();
    let field = "resourceVersionMatch";
    if let Some(wanted) = version_match {
        if version.is_none() {
            causes
                .push(Cause::forbidden(field, "resourceVersionMatch is forbidden unless resourceVersion is provided"));
        }
        if token.is_some() {
            causes.push(Cause::forbidden(field, "resourceVersionMatch is forbidden when continue is provided"));
        }
        if !matches!(wanted, "Exact" | "NotOlderThan") {
            causes.push(Cause::not_supported(field, &Value::from(wanted), &["Exact", "NotOlderThan", ""]));
        }
        if wanted == "Exact" && version == Some("0") {
            causes
                .push(Cause::forbidden(field, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""));
        }
    }
    if causes.is_empty() { Ok(()) } else { Err(Status::invalid("meta.k8s.io", "ListOptions", "", causes)) }
}

fn token(revision: i64, last: &Key, namespace: &str) -> String {
    let start = if namespace.is_empty() && !last.0.is_empty() {
        format!("/{}/{}\u{0}", last.0, last.1)
    } else {
        format!("/{}\u{0}", last.1)
    };
    let body = json!({ "v": "meta.k8s.io/v1", "rv": revision, "start": start });
    URL_SAFE_NO_PAD.encode(super::json::to_vec(&body))
}

fn read_token(token: &str, namespace: &str) -> Outcome<(i64, Key)> {
    let wrong = |why: &str| Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
    let bytes = URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).map_err(|error| wrong(&error.to_string()))?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| wrong(&error.to_string()))?;
    if value["v"] != json!("meta.k8s.io/v1") {
        return Err(wrong("server does not recognize this encoded version"));
    }
    let revision = value["rv"].as_i64().unwrap_or(0);
    let start = value["start"].as_str().unwrap_or_default();
    if revision == 0 {
        return Err(wrong("incorrect encoded start resourceVersion (version meta.k8s.io/v1)"));
    }
    if start.is_empty() {
        return Err(wrong("encoded start key empty (version meta.k8s.io/v1)"));
    }
    let start = start.trim_start_matches('/').trim_end_matches('\u{0}');
    let key = match start.split_once('/') {
        Some((found, name)) if namespace.is_empty() => (found.to_owned(), name.to_owned()),
        _ => (namespace.to_owned(), start.to_owned()),
    };
    Ok((revision, key))
}

fn expired(target: &Target, after: Option<&Key>, continued: bool) -> Status {
    if !continued {
        return Status::new(410, "Expired", "The resourceVersion for the provided list is too old.");
    }
    let message = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";
    let mut status = Status::new(410, "Expired", message);
    if let Some(last) = after {
        status.continue_token = Some(token(-1, last, &target.namespace));
    }
    status
}
