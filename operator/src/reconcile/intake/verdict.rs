//! How a job ended, before it is text (contract §17.5).

use jiff::Timestamp;

use crate::cluster_api::{Key, Object};
use crate::policy::Refusal;
use crate::protocol::job::{AppliedRef, FieldConflict, Outcome, ResultBody, error_text};

/// Outcome, error, object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    pub(super) outcome: Outcome,
    pub(super) error: Option<String>,
    pub(super) applied: Option<AppliedRef>,
    pub(super) conflicts: Vec<FieldConflict>,
}

impl Verdict {
    pub(super) fn succeeded() -> Self {
        Self { outcome: Outcome::Succeeded, error: None, applied: None, conflicts: Vec::new() }
    }

    /// Nothing was done, with an exact word or none.
    pub(super) fn noop(word: Option<&str>) -> Self {
        Self { outcome: Outcome::Noop, error: word.map(String::from), ..Self::succeeded() }
    }

    pub(super) fn failed(code: &str, text: &str) -> Self {
        Self { outcome: Outcome::Failed, error: Some(error(code, text)), ..Self::succeeded() }
    }

    pub(super) fn conflict(code: &str, text: &str) -> Self {
        Self { outcome: Outcome::Conflict, ..Self::failed(code, text) }
    }

    pub(super) fn refused(refusal: &Refusal) -> Self {
        let code = if refusal.code.is_empty() { "InvalidPayload" } else { refusal.code };
        Self::failed(code, &refusal.message)
    }

    /// Names the object too.
    pub(super) fn about(mut self, applied: Option<AppliedRef>) -> Self {
        self.applied = applied.or(self.applied);
        self
    }

    /// The exact bytes that are posted from now on.
    pub(super) fn body(self, now: Timestamp) -> String {
        let body = ResultBody {
            outcome: self.outcome,
            error: self.error,
            applied_ref: self.applied,
            conflicts: self.conflicts,
            timestamp: stamp(now),
        };
        text(&body)
    }
}

/// A result as text: the same body always gives the same bytes.
pub(super) fn text(body: &ResultBody) -> String {
    serde_json::to_string(body).expect("text keys and finite numbers")
}

/// `<Code>: <text>`, also where the text begins with its code already.
fn error(code: &str, text: &str) -> String {
    error_text(code, text.strip_prefix(&format!("{code}: ")).unwrap_or(text))
}

/// Seconds in UTC.
pub(super) fn stamp(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// How results name an object.
pub(super) fn reference(key: &Key, object: &Object) -> AppliedRef {
    AppliedRef {
        api_version: key.kind.api_version(),
        kind: key.kind.kind.clone(),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        uid: object.uid().map(|uid| uid.0),
        generation: Some(object.generation()).filter(|generation| *generation > 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_its_code_once() {
        assert_eq!(error("A", "b"), "A: b");
        assert_eq!(error("A", "A: b"), "A: b");
    }

    #[test]
    fn a_result_has_the_members_of_the_contract() {
        let now: Timestamp = "2026-05-28T10:00:15.5Z".parse().expect("a time");
        assert_eq!(
            Verdict::noop(Some("expired")).body(now),
            r#"{"outcome":"noop","error":"expired","timestamp":"2026-05-28T10:00:15Z"}"#
        );
    }
}
