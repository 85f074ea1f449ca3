//! A job as the poll brought it. A member of a wrong type, or too long for a store, is a flaw of that job alone.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::policy::{Class, Refusal};
use crate::protocol::job::Job;

/// Longest payload in bytes (contract §17.3).
const PAYLOAD_MAX: usize = 512 * 1024;
/// Longest key that the ledger keeps.
const KEY_MAX: usize = 1024;
/// Longest kind or time that the journal keeps.
const WORD_MAX: usize = 64;

/// A job that can be answered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Received {
    /// The job.
    pub job: Job,
    /// What is wrong with it as a whole.
    pub flaw: Option<Refusal>,
}

/// Reads one job. `None`: it has no usable id, so nobody could be told how it ended.
pub fn read(wire: &Value) -> Option<Received> {
    let mut job: Job = serde_json::from_value(wire.clone()).ok()?;
    if !job.addressable() {
        return None;
    }
    let flaw = too_large(&job).or_else(|| flaw(wire, &job));
    if flaw.is_some() {
        // A refused job is kept by its id alone: what else it holds may be of any size.
        let kept = |text: &String, longest: usize| text.len() <= longest;
        job.kind = Some(job.kind).filter(|kind| kept(kind, WORD_MAX)).unwrap_or_default();
        job.idempotency_key = job.idempotency_key.filter(|key| kept(key, KEY_MAX));
        job.created_at = job.created_at.filter(|time| kept(time, WORD_MAX) && is_time(time));
        job.expires_at = job.expires_at.filter(|time| kept(time, WORD_MAX));
    }
    Some(Received { job, flaw })
}

fn too_large(job: &Job) -> Option<Refusal> {
    let size = job.payload.as_ref().map_or(0, |payload| payload.to_string().len());
    let size = [&job.encrypted_payload, &job.signature].into_iter().flatten().map(String::len).fold(size, usize::max);
    let message = || format!("a payload may have {PAYLOAD_MAX} bytes");
    (size > PAYLOAD_MAX).then(|| Refusal::coded(Class::Shape, "PayloadTooLarge", message()))
}

fn flaw(wire: &Value, job: &Job) -> Option<Refusal> {
    let texts = ["id", "kind", "idempotencyKey", "createdAt", "expiresAt", "signature", "encryptedPayload"];
    for name in texts {
        if wire.get(name).is_some_and(|value| !value.is_null() && !value.is_string()) {
            return Some(invalid(format!("{name} must be a string")));
        }
    }
    let longest = [("kind", Some(&job.kind), WORD_MAX), ("idempotencyKey", job.idempotency_key.as_ref(), KEY_MAX)];
    for (name, text, longest) in longest {
        if text.is_some_and(|text| text.len() > longest) {
            return Some(invalid(format!("{name} may have {longest} bytes")));
        }
    }
    for (name, time) in [("createdAt", &job.created_at), ("expiresAt", &job.expires_at)] {
        if time.as_ref().is_some_and(|time| !is_time(time)) {
            return Some(invalid(format!("{name} must be a time of RFC 3339")));
        }
    }
    None
}

fn is_time(text: &str) -> bool {
    text.len() <= WORD_MAX && text.parse::<Timestamp>().is_ok()
}

/// A job that is not well-formed.
pub(super) fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::coded(Class::Shape, "InvalidPayload", message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_job_without_a_usable_id_is_nobody_s() {
        let ids = [json!(""), json!(null), json!("j".repeat(254)), json!("ü".repeat(127)), json!("..")];
        for job in ids.map(|id| json!({"id": id})).into_iter().chain([json!({}), json!([1]), json!("x"), json!(null)]) {
            assert_eq!(read(&job), None, "{job}");
        }
        assert!(read(&json!({"id": "../a b/ü"})).is_some());
    }

    #[test]
    fn a_member_of_a_wrong_type_or_size_is_a_flaw_and_is_not_kept() {
        let flaw = |job: Value| read(&job).expect("an id");
        assert_eq!(flaw(json!({"id": "j", "kind": "apply", "payload": {}, "idempotencyKey": "k"})).flaw, None);
        for (name, value, code) in [
            ("kind", json!(1), "InvalidPayload"),
            ("kind", json!("k".repeat(65)), "InvalidPayload"),
            ("idempotencyKey", json!(["k"]), "InvalidPayload"),
            ("idempotencyKey", json!("k".repeat(1025)), "InvalidPayload"),
            ("createdAt", json!("yesterday"), "InvalidPayload"),
            ("createdAt", json!("9".repeat(100_000)), "InvalidPayload"),
            ("expiresAt", json!(1_700_000_000), "InvalidPayload"),
            ("signature", json!({}), "InvalidPayload"),
            ("signature", json!("s".repeat(PAYLOAD_MAX + 1)), "PayloadTooLarge"),
            ("encryptedPayload", json!({}), "InvalidPayload"),
            ("encryptedPayload", json!("e".repeat(PAYLOAD_MAX + 1)), "PayloadTooLarge"),
            ("payload", json!({"a": "p".repeat(PAYLOAD_MAX)}), "PayloadTooLarge"),
        ] {
            let read = flaw(json!({"id": "j", name: value}));
            assert_eq!(read.flaw.map(|flaw| flaw.code), Some(code), "{name}");
            let head = [Some(read.job.kind), read.job.idempotency_key, read.job.created_at, read.job.expires_at];
            assert!(head.iter().flatten().all(|text| text.len() <= KEY_MAX), "{name}");
        }
    }
}
