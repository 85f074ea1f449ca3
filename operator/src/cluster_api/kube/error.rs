//! kube's errors → what the caller can do.
//!
//! The one place that reads status codes, reasons and messages of the API server. Everything that is not a definite
//! answer is [`ApiError::Unknown`]: the request may have been carried out.

use std::time::Duration;

use kube::core::Status;

use crate::cluster_api::{ApiError, Kind};

/// What was asked, where the same status code means different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// get, list, discover.
    Read,
    /// POST.
    Create,
    /// PUT, apply, merge patch: may carry a uid.
    Write,
    /// DELETE.
    Delete,
}

/// The two 500s that are the request's own fault (contract §8.4): a server-side apply reports schema errors and oversize
/// with them.
const OWN_FAULT: [&str; 2] = ["failed to create typed patch object", "request is too large"];

/// The shortest delay we believe: a server that says "retry after 0" gets a second.
const SHORTEST: Duration = Duration::from_secs(1);

/// Maps any error of the client.
pub(super) fn from_kube(error: kube::Error, verb: Verb, kind: &Kind) -> ApiError {
    match error {
        kube::Error::Api(status) => from_status(&status, verb, kind),
        // A success whose body cannot be read, a broken connection, an expired deadline, a token that cannot be renewed:
        // nothing is known about the outcome.
        other => ApiError::Unknown { why: chain(&other) },
    }
}

/// Maps an answer of the server.
pub(super) fn from_status(status: &Status, verb: Verb, kind: &Kind) -> ApiError {
    let why = || status.message.clone();
    let retry_after = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    match status.code {
        401 | 403 => ApiError::Forbidden { what: why() },
        404 if names_object(status) => ApiError::Missing,
        404 => ApiError::Unserved { kind: format!("{}/{}", kind.group, kind.plural) },
        409 if status.reason == "AlreadyExists" && verb == Verb::Create => ApiError::Exists,
        409 if verb == Verb::Write && !held(status).is_empty() => {
            ApiError::FieldConflict { why: why(), fields: held(status) }
        }
        409 => ApiError::Conflict { why: why() },
        422 if verb == Verb::Write && wrong_uid(status) => ApiError::Conflict { why: why() },
        429 => ApiError::Throttled { after: delay(retry_after) },
        503 if retry_after > 0 => ApiError::Throttled { after: delay(retry_after) },
        410 => ApiError::Unknown { why: why() },
        400..=499 => ApiError::Refused { why: why() },
        500 if OWN_FAULT.iter().any(|text| status.message.contains(text)) => ApiError::Refused { why: why() },
        _ => ApiError::Unknown { why: format!("{} {}", status.code, status.message) },
    }
}

fn delay(seconds: u32) -> Duration {
    SHORTEST.max(Duration::from_secs(u64::from(seconds)))
}

/// A 404 of one object names it; a 404 of a whole resource is plain text or a `Status` with empty details.
fn names_object(status: &Status) -> bool {
    status.details.as_ref().is_some_and(|details| !details.name.is_empty())
}

/// An apply or merge patch with the uid of an object that was replaced is refused because `metadata.uid` is immutable.
fn wrong_uid(status: &Status) -> bool {
    status.details.as_ref().is_some_and(|details| details.causes.iter().any(|cause| cause.field == "metadata.uid"))
}

/// Manager and field of each field conflict. The manager stands in quotes in the cause's message, which has no member for it.
fn held(status: &Status) -> Vec<(String, String)> {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes
        .filter(|cause| cause.reason == "FieldManagerConflict")
        .map(|cause| {
            let manager = cause.message.split('"').nth(1).unwrap_or_default();
            (manager.to_string(), cause.field.clone())
        })
        .collect()
}

/// The error and its sources in one line, for the log only.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(verb: Verb, status: Value, expect: &ApiError) {
        let kind = Kind::namespaced("helm.toolkit.fluxcd.io", "v2", "HelmRelease", "helmreleases");
        let parsed: Status = serde_json::from_value(status.clone()).expect("a Status");
        assert_eq!(&from_status(&parsed, verb, &kind), expect, "{verb:?} {status}");
    }

    fn conflict() -> ApiError {
        ApiError::Conflict { why: "m".into() }
    }

    fn refused(why: &str) -> ApiError {
        ApiError::Refused { why: why.into() }
    }

    fn throttled(seconds: u64) -> ApiError {
        ApiError::Throttled { after: Duration::from_secs(seconds) }
    }

    fn unknown(why: &str) -> ApiError {
        ApiError::Unknown { why: why.into() }
    }

    #[test]
    fn every_row() {
        use Verb::{Create, Delete, Read, Write};
        let forbidden = ApiError::Forbidden { what: "m".into() };
        let unserved = ApiError::Unserved { kind: "helm.toolkit.fluxcd.io/helmreleases".into() };
        let uid = json!({"code": 422, "reason": "Invalid", "message": "m", "details": {"causes": [{"field": "metadata.uid"}]}});
        let owned = json!({"code": 409, "reason": "Conflict", "message": "m", "details": {"causes": [{
            "reason": "FieldManagerConflict", "field": ".spec.x", "message": "conflict with \"kubectl\" using v1"}]}});
        let field =
            json!({"code": 422, "reason": "Invalid", "message": "m", "details": {"causes": [{"field": "spec.x"}]}});
        let rows: Vec<(Verb, Value, ApiError)> = vec![
            (Read, json!({"code": 401, "message": "m"}), forbidden.clone()),
            (Create, json!({"code": 403, "message": "m"}), forbidden),
            (
                Write,
                json!({"code": 404, "reason": "NotFound", "message": "m", "details": {"name": "a", "kind": "helmreleases"}}),
                ApiError::Missing,
            ),
            (Read, json!({"code": 404, "reason": "NotFound", "message": "m", "details": {}}), unserved.clone()),
            (Read, json!({"code": 404, "message": "404 page not found"}), unserved),
            (Create, json!({"code": 409, "reason": "AlreadyExists", "message": "m"}), ApiError::Exists),
            (Create, json!({"code": 409, "reason": "Conflict", "message": "m"}), conflict()),
            (Write, json!({"code": 409, "reason": "Conflict", "message": "m"}), conflict()),
            (Delete, json!({"code": 409, "reason": "Conflict", "message": "m"}), conflict()),
            (
                Write,
                owned,
                ApiError::FieldConflict { why: "m".into(), fields: vec![("kubectl".into(), ".spec.x".into())] },
            ),
            (Write, uid.clone(), conflict()),
            (Create, uid, refused("m")),
            (Write, field, refused("m")),
            (Write, json!({"code": 400, "message": "m"}), refused("m")),
            (Write, json!({"code": 405, "message": "m"}), refused("m")),
            (Write, json!({"code": 413, "message": "m"}), refused("m")),
            (Write, json!({"code": 415, "message": "m"}), refused("m")),
            (
                Write,
                json!({"code": 500, "message": "failed to create typed patch object (a/b; v1, Kind=C): x"}),
                refused("failed to create typed patch object (a/b; v1, Kind=C): x"),
            ),
            (
                Write,
                json!({"code": 500, "message": "etcdserver: request is too large"}),
                refused("etcdserver: request is too large"),
            ),
            (
                Write,
                json!({"code": 500, "message": "etcdserver: leader changed"}),
                unknown("500 etcdserver: leader changed"),
            ),
            (Read, json!({"code": 429, "message": "m"}), throttled(1)),
            (Read, json!({"code": 429, "message": "m", "details": {"retryAfterSeconds": 9}}), throttled(9)),
            (Write, json!({"code": 503, "message": "m", "details": {"retryAfterSeconds": 5}}), throttled(5)),
            (Write, json!({"code": 503, "message": "m"}), unknown("503 m")),
            (Write, json!({"code": 504, "reason": "Timeout", "message": "m"}), unknown("504 m")),
            (Read, json!({"code": 410, "reason": "Expired", "message": "m"}), unknown("m")),
        ];
        for (verb, status, expect) in rows {
            check(verb, status, &expect);
        }
    }

    #[test]
    fn a_broken_answer_is_unknown() {
        let kind = Kind::cluster("", "v1", "Namespace", "namespaces");
        let error = kube::Error::Service(Box::new(super::super::deadline::DeadlineExceeded(Duration::from_secs(10))));
        assert!(matches!(from_kube(error, Verb::Write, &kind), ApiError::Unknown { why } if why.contains("10 s")));
        let truncated = serde_json::from_str::<Value>("{\"a\":").expect_err("truncated");
        assert!(matches!(from_kube(kube::Error::SerdeError(truncated), Verb::Write, &kind), ApiError::Unknown { .. }));
    }
}
