//! `batch/v1` Job (downstream §10).
//!
//! Only `Complete` and `Failed` are final. `SuccessCriteriaMet` and `FailureTarget` come before pods have ended, and a Job
//! whose only pod failed has no active pod while it waits to try again.

use jiff::Timestamp;
use serde_json::Value;

use super::{Truth, conditions, find, integer, string, text};
use crate::cluster_api::{Caps, Kind, Object};

/// Job.
pub fn job(caps: &Caps) -> Option<Kind> {
    let version = caps.served("batch", "jobs", &["v1"])?;
    Some(Kind::namespaced("batch", version, "Job", "jobs"))
}

/// How far a Job is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No pod was active yet.
    Idle,
    /// A pod is active, or the last ones are being counted.
    Active,
    /// A pod failed and no other is active yet.
    Retrying,
    /// `Complete=True`.
    Complete,
    /// `Failed=True`.
    Failed {
        /// Its deadline passed.
        deadline: bool,
        /// Quoted.
        message: String,
    },
    /// It says both, which proves neither.
    Contradictory,
}

/// What we read of a Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// How far it is.
    pub verdict: Verdict,
    /// When the controller started it; without that, when it was created.
    pub since: Option<Timestamp>,
    /// `status.completionTime` as written.
    pub completed: Option<String>,
    /// `spec.suspend`.
    pub suspended: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether a disruption of its pod fails it instead of starting a second pod.
    pub once: bool,
}

impl Job {
    /// Reads whatever there is.
    pub fn read(object: &Object) -> Self {
        let time = |pointer: &str| string(object, pointer).and_then(|text| text.parse().ok());
        Self {
            verdict: verdict(object),
            since: time("/status/startTime").or_else(|| time("/metadata/creationTimestamp")),
            completed: string(object, "/status/completionTime"),
            suspended: object.0.pointer("/spec/suspend") == Some(&Value::Bool(true)),
            deleting: object.deleting(),
            once: object.0.pointer("/spec/podFailurePolicy").is_some_and(Value::is_object),
        }
    }

    /// Whether nothing more happens to it.
    pub fn ended(&self) -> bool {
        matches!(self.verdict, Verdict::Complete | Verdict::Failed { .. })
    }
}

fn verdict(object: &Object) -> Verdict {
    let conditions = conditions(object);
    let truth = |type_: &str| find(&conditions, type_).filter(|condition| condition.is(Truth::True));
    match (truth("Complete"), truth("Failed")) {
        (Some(_), Some(_)) => return Verdict::Contradictory,
        (Some(_), None) => return Verdict::Complete,
        (None, Some(failed)) => {
            return Verdict::Failed {
                deadline: failed.reason == "DeadlineExceeded",
                message: text::quote(&failed.reason, &failed.message),
            };
        }
        (None, None) => {}
    }
    let some = |field: &str| integer(object, &format!("/status/{field}")).is_some_and(|count| count > 0);
    let counted = |outcome: &str| {
        let uncounted = object.0.pointer(&format!("/status/uncountedTerminatedPods/{outcome}"));
        uncounted.and_then(Value::as_array).is_some_and(|uids| !uids.is_empty())
    };
    let ending = truth("SuccessCriteriaMet").or(truth("FailureTarget")).is_some();
    if some("active") || some("terminating") || some("succeeded") || ending || counted("succeeded") {
        Verdict::Active
    } else if some("failed") || counted("failed") {
        Verdict::Retrying
    } else {
        Verdict::Idle
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cond(type_: &str, status: &str, reason: &str) -> Value {
        json!({"type": type_, "status": status, "reason": reason, "message": "m"})
    }

    #[test]
    fn verdicts_by_their_markers() {
        let failed = |deadline: bool, message: &str| Verdict::Failed { deadline, message: message.into() };
        for (status, expect) in [
            (json!(null), Verdict::Idle),
            (json!({"startTime": "2026-01-01T00:00:00Z"}), Verdict::Idle),
            (json!({"active": 0, "failed": 0}), Verdict::Idle),
            (json!({"active": "2", "conditions": 7}), Verdict::Idle),
            (json!({"active": 1}), Verdict::Active),
            (json!({"active": 1, "failed": 2}), Verdict::Active),
            (json!({"terminating": 1, "failed": 1}), Verdict::Active),
            (json!({"failed": 1}), Verdict::Retrying),
            (json!({"uncountedTerminatedPods": {"failed": ["u"]}}), Verdict::Retrying),
            (json!({"uncountedTerminatedPods": {"succeeded": ["u"]}}), Verdict::Active),
            (json!({"conditions": [cond("SuccessCriteriaMet", "True", "CompletionsReached")]}), Verdict::Active),
            (json!({"failed": 1, "conditions": [cond("FailureTarget", "True", "DeadlineExceeded")]}), Verdict::Active),
            (json!({"conditions": [cond("Suspended", "True", "JobSuspended")]}), Verdict::Idle),
            (json!({"conditions": [cond("Complete", "False", "x")]}), Verdict::Idle),
            (json!({"conditions": [cond("Complete", "Maybe", "x")]}), Verdict::Idle),
            (json!({"conditions": [cond("Complete", "True", "")], "active": 1}), Verdict::Complete),
            (
                json!({"conditions": [cond("Failed", "True", "BackoffLimitExceeded")]}),
                failed(false, "BackoffLimitExceeded: m"),
            ),
            (json!({"conditions": [cond("Failed", "True", "PodFailurePolicy")]}), failed(false, "PodFailurePolicy: m")),
            (json!({"conditions": [cond("Failed", "True", "DeadlineExceeded")]}), failed(true, "DeadlineExceeded: m")),
            (
                json!({"conditions": [cond("Failed", "True", "x"), cond("Complete", "True", "x")]}),
                Verdict::Contradictory,
            ),
            (json!({"conditions": [cond("Failed", "True", "x"), cond("Failed", "False", "x")]}), Verdict::Idle),
        ] {
            assert_eq!(Job::read(&Object(json!({"status": status.clone()}))).verdict, expect, "{status}");
        }
        for odd in [json!(null), json!([]), json!({"spec": 1, "status": [], "metadata": "x"})] {
            assert_eq!(Job::read(&Object(odd)).verdict, Verdict::Idle);
        }
    }
}
