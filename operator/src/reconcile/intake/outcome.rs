//! When an applied object decides its job's result, and how (contract §18.6).

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::verdict::Verdict;
use crate::api::annotation;
use crate::cluster_api::Object;
use crate::foreign::{Condition, Truth, conditions, find, integer, string};

/// How long a storage location may be unavailable.
const LOCATION_GRACE: SignedDuration = SignedDuration::from_mins(2);

/// An ApplicationInstance whose `generation` the job applied. `retried` tells whether a failure is about the attempt that
/// the job asked for; a job that asked for none takes any.
pub(super) fn instance(object: &Object, generation: i64, retried: bool) -> Option<Verdict> {
    if object.generation() > generation {
        return Some(Verdict::noop(Some("superseded")));
    }
    let conditions = conditions(object);
    let about = |type_: &str| find(&conditions, type_).filter(|found| found.observed_generation == Some(generation));
    let stands = |type_: &str, truth: Truth| about(type_).filter(|found| found.is(truth));
    if let Some(blocked) = stands("Blocked", Truth::True)
        && matches!(blocked.reason.as_str(), "ValidationFailed" | "PolicyDenied")
    {
        return Some(refused(blocked));
    }
    if object.annotation(annotation::RECONCILE) == Some("disabled") {
        return stands("Suspended", Truth::True).map(|_| Verdict::succeeded());
    }
    if let Some(ready) = stands("Ready", Truth::True) {
        return match ready.reason.as_str() {
            "RolledBack" => retried.then(|| Verdict::failed("RolledBack", &because(&conditions, ready))),
            _ => Some(Verdict::succeeded()),
        };
    }
    let blocked = find(&conditions, "Blocked").is_some_and(|found| found.is(Truth::True));
    let stable = stands("Reconciling", Truth::False).is_some();
    let failed = stands("Ready", Truth::False).filter(|ready| ready.reason == "HelmReleaseFailed");
    failed.filter(|_| stable && !blocked && retried).map(|ready| Verdict::failed(&ready.reason, &ready.message))
}

/// Whether an instance stands failed: then a job that is processed again asks for a new attempt.
pub(super) fn failed(object: &Object) -> bool {
    instance(object, object.generation(), true).is_some_and(|verdict| {
        matches!(verdict.outcome, crate::protocol::job::Outcome::Failed)
            && !find(&conditions(object), "Blocked").is_some_and(|found| found.is(Truth::True))
    })
}

/// Codes that a policy message begins with are the error's code (contract §13.2).
const CODES: [&str; 8] = [
    "NamespaceNotGated",
    "ClusterIdMismatch",
    "InlineSecretMaterialRejected",
    "ChartSourceNotAllowed",
    "ChartVersionForbidden",
    "ChartVersionOutsideAllowedRange",
    "ReleaseNameTaken",
    "OperationTemplateNotAllowedInNamespace",
];

/// The code of contract §13.2 that a text names, if it begins with one.
pub(super) fn coded(text: &str) -> Option<&'static str> {
    CODES.into_iter().find(|code| text.strip_prefix(code).is_some_and(|rest| rest.starts_with(':')))
}

fn refused(blocked: &Condition) -> Verdict {
    Verdict::failed(coded(&blocked.message).unwrap_or(&blocked.reason), &blocked.message)
}

fn because(conditions: &[Condition], ready: &Condition) -> String {
    let degraded = find(conditions, "Degraded").filter(|found| found.is(Truth::True));
    degraded.map_or_else(|| ready.message.clone(), |found| found.message.clone())
}

/// An Operation.
pub(super) fn operation(object: &Object) -> Option<Verdict> {
    let conditions = conditions(object);
    let reason = |type_: &str| find(&conditions, type_).filter(|found| found.is(Truth::True));
    match phase(object) {
        Some("Succeeded") => Some(Verdict::succeeded()),
        Some(phase @ ("Failed" | "Cancelled")) => Some(match reason(phase) {
            Some(found) => Verdict::failed(&found.reason, &found.message),
            None => Verdict::failed(phase, "the Operation ended so"),
        }),
        // A continuous one never ends by itself: its first sync is what was asked for.
        Some("Running") => reason("Running")
            .filter(|found| matches!(found.reason.as_str(), "VolSyncSynchronizing" | "VolSyncIdle"))
            .map(|_| Verdict::succeeded()),
        _ => None,
    }
}

/// Whether an Operation is over.
pub(super) fn terminal(object: &Object) -> bool {
    matches!(phase(object), Some("Succeeded" | "Failed" | "Cancelled"))
}

fn phase(object: &Object) -> Option<&str> {
    object.0.pointer("/status/phase").and_then(Value::as_str)
}

/// Wait window of an Operation that names none (contract §7.1), and the longest timeout of a template (contract §9.1).
const WINDOW: i64 = 86_400;
const LONGEST: i64 = 6 * 3_600;
/// The stop grace of contract §8.4, and what is left for the last status to come.
const GRACE: i64 = 7 * 60;

/// Before this time an Operation's own limits have not passed: the one result must agree with its real end.
pub(super) fn operation_deadline(object: &Object) -> Option<Timestamp> {
    let seconds = |pointer: &str, default: i64| integer(object, pointer).unwrap_or(default).clamp(0, 31_536_000);
    let time = |pointer: &str| string(object, pointer).and_then(|text| text.parse::<Timestamp>().ok());
    let window = seconds("/spec/policy/preconditionTimeoutSeconds", WINDOW);
    let timeout = seconds("/spec/timeoutSeconds", LONGEST);
    let waits = time("/metadata/creationTimestamp").map(|from| (from, window + timeout + GRACE));
    let runs = time("/status/start/recordedAt").map(|from| (from, timeout + GRACE));
    [waits, runs]
        .into_iter()
        .flatten()
        .filter_map(|(from, seconds)| from.checked_add(SignedDuration::from_secs(seconds)).ok())
        .max()
}

/// A BackupStorageLocation that was acknowledged at `since`.
pub(super) fn location(object: &Object, since: Option<Timestamp>, now: Timestamp) -> Option<Verdict> {
    match phase(object)? {
        "Available" => Some(Verdict::succeeded()),
        "Unavailable" if since.is_none_or(|since| now.duration_since(since) >= LOCATION_GRACE) => {
            let message = string(object, "/status/message").unwrap_or_default();
            Some(Verdict::failed("Unavailable", &message))
        }
        _ => None,
    }
}

/// The condition that says most about how an object stands, for the text of a deadline.
pub(super) fn current(object: &Object) -> String {
    let conditions = conditions(object);
    let known = ["Blocked", "Failed", "Running", "Reconciling", "Ready", "Succeeded"];
    let true_ones = known.iter().filter_map(|type_| find(&conditions, type_)).find(|found| found.is(Truth::True));
    match true_ones.or_else(|| find(&conditions, "Ready")) {
        Some(found) => format!("{}={}/{}: {}", found.type_, truth(found), found.reason, found.message),
        None => "the object has no status yet".into(),
    }
}

fn truth(condition: &Condition) -> &'static str {
    match condition.status.known() {
        Some(Truth::True) => "True",
        Some(Truth::False) => "False",
        _ => "Unknown",
    }
}
