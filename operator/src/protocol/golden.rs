//! The golden bodies of tests/golden/protocol, in both directions, and the laws of the codec.

use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::answer::ErrorBody;
use super::event::EventBatch;
use super::job::{Job, Jobs, ResultBody, StatusBody};
use super::register::{RegisterAnswer, RegisterRequest, RotateAnswer, RotateRequest};
use super::{Call, proof};
use crate::api::secret::SecretText;

macro_rules! golden {
    ($name:literal) => {
        include_str!(concat!("../../../tests/golden/protocol/", $name)).lines().collect::<Vec<&str>>()
    };
}

/// The body with a member in every object that no version of ours knows, except in what is free: payloads and conditions.
fn newer(line: &str) -> String {
    fn grow(value: &mut Value) {
        match value {
            Value::Object(members) => {
                for (name, member) in members.iter_mut() {
                    if !["payload", "conditions", "endpoints", "publicKey", "signingKeys"].contains(&name.as_str()) {
                        grow(member);
                    }
                }
                members.insert("novel".into(), serde_json::json!({"a": [1]}));
            }
            Value::Array(items) => items.iter_mut().for_each(grow),
            _ => {}
        }
    }
    let mut value = serde_json::from_str(line).expect("JSON");
    grow(&mut value);
    value.to_string()
}

fn unchanged<T: Serialize + DeserializeOwned>(lines: &[&str]) {
    assert!(!lines.is_empty());
    for line in lines {
        for sent in [line.to_string(), newer(line)] {
            let read: T = serde_json::from_str(&sent).unwrap_or_else(|error| panic!("{error}: {sent}"));
            assert_eq!(serde_json::to_string(&read).expect("text"), *line, "{sent}");
        }
    }
}

#[test]
fn what_is_sent_is_read_and_written_unchanged() {
    unchanged::<StatusBody>(&golden!("status.jsonl"));
    unchanged::<ResultBody>(&golden!("result.jsonl"));
    unchanged::<EventBatch>(&golden!("events.jsonl"));
    unchanged::<ErrorBody>(&golden!("error.jsonl"));
}

#[test]
fn jobs_are_read_one_by_one_and_written_unchanged() {
    for line in golden!("jobs.jsonl") {
        for sent in [line.to_string(), newer(line)] {
            let jobs = Jobs::read(sent.as_bytes()).expect("a list of jobs").jobs;
            let jobs: Vec<Job> = jobs.into_iter().map(|job| serde_json::from_value(job).expect("a job")).collect();
            assert!(jobs.iter().all(Job::addressable));
            assert_eq!(serde_json::json!({"jobs": jobs}).to_string(), *line, "{sent}");
        }
    }
}

#[test]
fn registration_and_rotation_speak_as_the_contract_does() {
    for line in golden!("register-request.jsonl") {
        let sent: Value = serde_json::from_str(line).expect("JSON");
        let text = |name: &str| sent[name].as_str().map(String::from);
        let request = RegisterRequest {
            registration_token: SecretText::new(text("registrationToken").expect("a token")),
            cluster_id: text("clusterId"),
            display_name: text("displayName"),
            registration_id: text("registrationId").expect("an id"),
            public_key: sent.get("publicKey").cloned(),
            operator_version: text("operatorVersion").expect("a version"),
            connectivity_mode: text("connectivityMode").expect("a mode"),
        };
        assert_eq!(request.body(), line);
    }
    for line in golden!("rotate-request.jsonl") {
        let sent: Value = serde_json::from_str(line).expect("JSON");
        let rotation_id = sent["rotationId"].as_str().expect("an id").to_string();
        let call = Call::Rotate(RotateRequest { rotation_id, public_key: sent.get("publicKey").cloned() });
        let request = call.request("https://x", &SecretText::new("t"), jiff::Timestamp::UNIX_EPOCH).expect("a request");
        assert_eq!(request.body(), line);
    }
    for line in golden!("register-answer.jsonl") {
        let (sent, read): (Value, RegisterAnswer) =
            (serde_json::from_str(line).expect("JSON"), serde_json::from_str(line).expect("an answer"));
        let text = |name: &str| sent[name].as_str().map(String::from);
        assert_eq!((Some(read.cluster_id), Some(read.token)), (text("clusterId"), text("token")));
        assert_eq!((read.expires_at, read.organization_id), (text("expiresAt"), text("organizationId")));
        assert_eq!(read.signing_keys.as_ref(), sent.get("signingKeys"));
    }
    for line in golden!("rotate-answer.jsonl") {
        let (sent, read): (Value, RotateAnswer) =
            (serde_json::from_str(line).expect("JSON"), serde_json::from_str(line).expect("an answer"));
        assert_eq!(
            (Some(&*read.token), read.expires_at.as_deref()),
            (sent["token"].as_str(), sent["expiresAt"].as_str())
        );
        assert_eq!(read.signing_keys.as_ref(), sent.get("signingKeys"));
    }
}

#[test]
fn the_proof_is_what_another_implementation_computes() {
    let rows: Vec<Value> =
        serde_json::from_str(include_str!("../../../tests/golden/protocol/proof.json")).expect("what proof.py wrote");
    assert_eq!(rows.len(), 4);
    for row in rows {
        let text = |name: &str| row[name].as_str().expect("text");
        let seconds = row["seconds"].as_i64().expect("a number");
        let proof =
            proof::sign(&SecretText::new(text("token")), "POST", text("path"), seconds, text("body").as_bytes());
        assert_eq!(proof, text("proof"), "{row}");
    }
}

proptest! {
    /// No JSON of ours, cut or changed at any place, makes a decoder panic.
    #[test]
    fn damaged_bodies_are_refused_or_read(at in any::<prop::sample::Index>(), which in any::<prop::sample::Index>(), byte: u8, cut: bool) {
        let lines = [golden!("jobs.jsonl"), golden!("events.jsonl"), golden!("result.jsonl"), golden!("status.jsonl")].concat();
        let mut body = lines[which.index(lines.len())].as_bytes().to_vec();
        let at = at.index(body.len());
        if cut { body.truncate(at) } else { body[at] = byte }
        for job in Jobs::read(&body).unwrap_or_default().jobs {
            if let Ok(job) = serde_json::from_value::<Job>(job) {
                let _ = (job.addressable(), job.digest());
            }
        }
        let _ = serde_json::from_slice::<EventBatch>(&body);
        let _ = serde_json::from_slice::<ResultBody>(&body);
        let _ = serde_json::from_slice::<StatusBody>(&body);
    }
}
