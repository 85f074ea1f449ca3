//! Jobs, and what is said of them: status and result (contract §17.3 to §17.5).

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::skim;
use crate::foreign::text::{cut, redacted};

/// Longest job id, in bytes (contract §17.3).
pub const ID_MAX: usize = 253;

/// Longest `error` of a result, in bytes (contract §17.5).
pub const ERROR_MAX: usize = 1024;

/// The answer to a poll. Each job is decoded on its own: one that is malformed must not hide its neighbours.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Jobs {
    /// As received.
    #[serde(default)]
    pub jobs: Vec<Value>,
}

impl Jobs {
    /// Reads the body of an answer, each job on its own. A member of a job that cannot be decoded (deeper than 127 levels, a
    /// number without end, a broken character) becomes a text that says so, which is no payload and no date; a job that is
    /// no object at all becomes null. `None` where the body is no list of jobs.
    pub fn read(body: &[u8]) -> Option<Self> {
        let members = skim::members(body)?;
        let list = skim::member_of(&members, "jobs")?;
        if list == b"null" {
            return Some(Self::default());
        }
        let decode = |value| serde_json::from_slice(value).unwrap_or_else(|_| Value::from(UNREADABLE));
        let jobs = skim::elements(list)?.into_iter().map(|job| match skim::members(job) {
            Some(members) => members.into_iter().map(|(name, value)| (name, decode(value))).collect(),
            None => Value::Null,
        });
        Some(Self { jobs: jobs.collect() })
    }
}

/// Stands for a member that cannot be decoded.
const UNREADABLE: &str = "not decodable JSON";

/// One job. Reading an object never fails: a member that should be a text and is none is read as its JSON text, so it is
/// judged by intake and answered, not dropped.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// Opaque, at most 253 bytes. Without one nothing can be answered.
    pub id: String,
    /// `apply`, `delete`, `intent`, or a word of a newer server.
    pub kind: String,
    /// What to do, in the open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
    /// What to do, as a compact JWE (contract §19.2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypted_payload: Option<String>,
    /// By which a repetition is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// When the control plane made it, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// Start deadline by the control plane's clock, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Detached JWS (contract §19.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

impl<'de> Deserialize<'de> for Job {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Value::Object(mut members) = Value::deserialize(deserializer)? else {
            return Err(D::Error::custom("a job is an object"));
        };
        let mut member = |name: &str| members.remove(name).filter(|value| !value.is_null());
        let payload = member("payload");
        let mut text = |name: &str| {
            member(name).map(|value| match value {
                Value::String(text) => text,
                other => other.to_string(),
            })
        };
        Ok(Self {
            id: text("id").unwrap_or_default(),
            kind: text("kind").unwrap_or_default(),
            payload,
            encrypted_payload: text("encryptedPayload"),
            idempotency_key: text("idempotencyKey"),
            created_at: text("createdAt"),
            expires_at: text("expiresAt"),
            signature: text("signature"),
        })
    }
}

impl Job {
    /// Whether its id can stand in a path (contract §17.3): not empty, at most 253 bytes, and no dot segment, which every
    /// HTTP client on the way would resolve. A job that cannot be addressed cannot be answered.
    pub fn addressable(&self) -> bool {
        addressable(&self.id)
    }

    /// SHA-256 of the canonical JSON (RFC 8785) of `[kind, payload]`: by it the same key with another body is known
    /// (contract §18.5).
    pub fn digest(&self) -> String {
        digest(&self.kind, self.payload.as_ref().unwrap_or(&Value::Null))
    }
}

pub(super) fn addressable(id: &str) -> bool {
    !id.is_empty() && id.len() <= ID_MAX && id != "." && id != ".."
}

/// Lower-case hex SHA-256 of the canonical JSON of `[kind, payload]` (contract §18.5).
pub fn digest(kind: &str, payload: &Value) -> String {
    let canonical =
        serde_json_canonicalizer::to_vec(&(kind, payload)).expect("JSON values have text keys and finite numbers");
    Sha256::digest(canonical).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The `error` of a result: `<Code>: <text>`, redacted and cut to 1 KiB (contract §17.5); the code alone where the text is
/// empty, as `expired` and `superseded` must be.
pub fn error_text(code: &str, text: &str) -> String {
    match redacted(text) {
        text if text.is_empty() => code.to_string(),
        text => cut(&format!("{code}: {text}"), ERROR_MAX),
    }
}

/// How an open job stands (contract §17.4).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusBody {
    /// Pending, Blocked, Reconciling, Running, Ready, Deleting or Failed.
    pub phase: String,
    /// Conditions of the applied object.
    #[serde(default)]
    pub conditions: Vec<Value>,
    /// One sentence.
    #[serde(default)]
    pub message: String,
    /// RFC 3339.
    pub timestamp: String,
    /// Strictly increases per job, also across restarts; counts from 1. An older agent sends none, which reads as 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sequence: i64,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// How a job ended (contract §17.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Done, and seen to be done.
    Succeeded,
    /// Refused, failed, or its deadline passed.
    Failed,
    /// A repetition, expired, or superseded: no effect.
    Noop,
    /// A field belongs to another manager, or the key was used for another body.
    Conflict,
}

/// The result of a job. Serialized once; the text is then posted unchanged until it is acknowledged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResultBody {
    /// How it ended.
    pub outcome: Outcome,
    /// `<Code>: <text>`, at most 1 KiB, redacted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The object that was applied or found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_ref: Option<AppliedRef>,
    /// Who holds which field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<FieldConflict>,
    /// RFC 3339.
    pub timestamp: String,
}

/// An object as results name it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AppliedRef {
    /// `group/version`.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Namespace, absent for cluster-scoped objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// `metadata.uid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The generation the job made or found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
}

/// One field that an apply could not take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldConflict {
    /// The field manager that holds it.
    pub manager: String,
    /// As the API server writes it, for example `.spec.chart.version`.
    pub field_path: String,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(body: &str) -> Vec<Job> {
        let jobs = Jobs::read(body.as_bytes()).expect("a list of jobs").jobs;
        jobs.into_iter().filter_map(|job| serde_json::from_value(job).ok()).collect()
    }

    #[test]
    fn a_broken_job_hides_no_neighbour() {
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        for broken in [
            "null",
            "7",
            "{\"id\":}",
            "nonsense",
            &format!("{{\"id\":\"x\",\"payload\":{deep}}}"),
            "{\"id\":\"x\",\"payload\":{\"spec\":1e999}}",
            "{\"id\":\"x\",\"payload\":{\"spec\":\"\\ud800\"}}",
        ] {
            let jobs = read(&format!(
                r#"{{"jobs":[{{"id":"a","payload":{{"x":[1]}}}},{broken},{{"id":"b"}}],"more":{deep}}}"#
            ));
            let named = |id: &str| jobs.iter().find(|job| job.id == id);
            assert_eq!(named("a").map(|job| &job.payload), Some(&Some(json!({"x": [1]}))), "{broken:.60}");
            assert!(named("b").is_some(), "{broken:.60}");
            if let Some(job) = named("x") {
                assert_eq!(job.payload, Some(json!(UNREADABLE)), "a payload is never half of what was sent");
            }
        }
    }

    #[test]
    fn only_a_list_of_jobs_is_one() {
        for (body, jobs) in [
            (r#"{"jobs":[]}"#, Some(0)),
            (r#"{"jobs":null}"#, Some(0)),
            (r#"{"jobs":[{},{}],"next":"x"}"#, Some(2)),
            ("", None),
            ("{}", None),
            ("[]", None),
            ("null", None),
            (r#"{"jobs":{}}"#, None),
            (r#"{"jobs":"none"}"#, None),
            (r#"{"jobs":[{"id":"a"}"#, None),
            ("<html></html>", None),
        ] {
            assert_eq!(Jobs::read(body.as_bytes()).map(|read| read.jobs.len()), jobs, "{body}");
        }
    }

    #[test]
    fn what_is_no_text_is_kept_as_its_json() {
        let job: Job = serde_json::from_value(json!({
            "id": 17, "kind": ["apply"], "payload": null, "idempotencyKey": null, "expiresAt": 1779962400, "novel": {}
        }))
        .expect("an object");
        assert_eq!((job.id.as_str(), job.kind.as_str()), ("17", r#"["apply"]"#));
        assert_eq!((job.payload, job.idempotency_key), (None, None));
        assert_eq!(job.expires_at.as_deref(), Some("1779962400"), "a deadline that is no date is not no deadline");
    }

    #[test]
    fn some_ids_cannot_stand_in_a_path() {
        for (id, good) in
            [("j-01HX", true), ("a/b ü?#%2e", true), ("...", true), ("", false), (".", false), ("..", false)]
        {
            assert_eq!(Job { id: id.into(), ..Job::default() }.addressable(), good, "{id:?}");
        }
        assert!(addressable(&"x".repeat(253)) && !addressable(&"x".repeat(254)));
    }

    #[test]
    fn the_digest_depends_on_the_content_alone() {
        let digest = |kind: &str, payload: &str| digest(kind, &serde_json::from_str(payload).unwrap());
        let one = digest("apply", r#"{"b":[1,2.50,"\u20ac"],"a":{"y":1e2,"x":null}}"#);
        // Python: hashlib.sha256('["apply",{"a":{"x":null,"y":100},"b":[1,2.5,"€"]}]'.encode()).hexdigest()
        assert_eq!(one, "4bcb6024b66ac5165711ef2a1dbdc09d0425ed5b13d3b140d87573c323e39f36");
        assert_eq!(one, digest("apply", "{ \"a\": {\"x\": null, \"y\": 100}, \"b\": [1.0, 2.5, \"€\"] }"));
        assert_ne!(one, digest("delete", r#"{"b":[1,2.50,"\u20ac"],"a":{"y":1e2,"x":null}}"#));
        assert_ne!(digest("a", "null"), digest("a", "{}"));
        let deep = format!("{}1{}", "{\"a\":".repeat(126), "}".repeat(126));
        assert_eq!(digest("apply", &deep).len(), 64, "as deep as a job can be read");
    }

    #[test]
    fn an_error_names_its_code_and_no_secret() {
        assert_eq!(error_text("expired", ""), "expired");
        let conflict = "manager \"kustomize-controller\" owns .spec.chart.version";
        assert_eq!(error_text("FieldConflict", conflict), format!("FieldConflict: {conflict}"));
        assert_eq!(error_text("InvalidPayload", "a\npassword: hunter2"), "InvalidPayload: a password: [REDACTED]");
        let long = error_text("HelmReleaseFailed", &"ü".repeat(2000));
        assert!(long.len() <= ERROR_MAX && long.len() > ERROR_MAX - 4 && long.ends_with("ü…"), "{}", long.len());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in any::<Vec<u8>>(), list in r#"[\[\]{}",:\\a1 ]{0,40}"#) {
            let _ = Jobs::read(&body);
            let _ = read_any(&format!(r#"{{"jobs":[{list}]}}"#));
        }
    }

    fn read_any(body: &str) -> Option<Vec<Job>> {
        let jobs = Jobs::read(body.as_bytes())?.jobs;
        Some(jobs.into_iter().filter_map(|job| serde_json::from_value(job).ok()).collect())
    }
}
