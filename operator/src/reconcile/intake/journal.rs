//! The journal: one ConfigMap per open job (contract §18.1, §22). It is written before the acknowledgement, because after
//! it the server stops sending the job, and removed when the result is told and the ledger knows it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::cluster_api::{Key, Object, Preconditions, Propagation};
use crate::foreign::core;
use crate::protocol::job::{AppliedRef, Job, ResultBody};
use crate::reconcile::Effect;

/// Label by which the stores of intake are listed, and its value on open jobs.
pub const STORE: &str = "vworkspace.io/store";
/// See [`STORE`].
pub const JOB: &str = "job";
/// Key of the entry in its ConfigMap.
const ENTRY: &str = "entry.json";
/// Version of the format.
const VERSION: i64 = 1;

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum State {
    /// It is kept here, and the server may not know.
    Received,
    /// The server knows. Effects may begin.
    Acked,
    /// Its effect is there; the result waits for what becomes of it.
    Applied,
    /// The result is decided and told until somebody takes it.
    Decided,
}

/// What is kept of the job itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Head {
    /// Job id.
    pub id: String,
    /// `apply`, `delete`, `intent`, or what was sent.
    pub kind: String,
    /// Idempotency key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// As received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// As received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// As received (additive).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// One open job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    v: i64,
    /// The identity it was received under (contract §18.7).
    pub cluster_id: String,
    /// The job.
    pub job: Head,
    /// As received; absent if the job was refused at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
    /// As received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypted_payload: Option<String>,
    /// How far it is.
    pub state: State,
    /// When the acknowledgement was known, by our clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acked_at: Option<String>,
    /// When it ends in `DeadlineExceeded`, by our clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// The object it applied or found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_ref: Option<AppliedRef>,
    /// No status with a higher number was sent yet; numbers below may have been.
    #[serde(default)]
    pub status_seq: i64,
    /// The exact body of the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// Received order: jobs of one object are applied by it (additive).
    #[serde(default)]
    pub order: i64,
    /// An effect may have begun (additive).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tried: bool,
    /// It is a new attempt of a failed job with its key (contract §18.5; additive).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
    /// Digest of kind and payload, once the payload is no longer needed (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// How often the result was refused (contract §17.2; additive).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refused: u32,
    /// What a newer version wrote.
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape serde asks for")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Why an entry cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Broken: it is moved aside.
    Corrupt,
    /// Written by a newer version: it is left alone (contract §26.1).
    Newer,
}

impl Entry {
    /// A job that was just received.
    pub fn new(cluster_id: &str, job: &Job, order: i64) -> Self {
        let head = Head {
            id: job.id.clone(),
            kind: job.kind.clone(),
            key: job.idempotency_key.clone(),
            created_at: job.created_at.clone(),
            expires_at: job.expires_at.clone(),
            signature: job.signature.clone(),
        };
        Self {
            v: VERSION,
            cluster_id: cluster_id.into(),
            job: head,
            payload: job.payload.clone(),
            encrypted_payload: job.encrypted_payload.clone(),
            state: State::Received,
            acked_at: None,
            deadline: None,
            applied_ref: None,
            status_seq: 0,
            result: None,
            order,
            tried: false,
            again: false,
            digest: None,
            refused: 0,
            rest: Map::new(),
        }
    }

    /// The job as it was received.
    pub fn as_job(&self) -> Job {
        Job {
            id: self.job.id.clone(),
            kind: self.job.kind.clone(),
            payload: self.payload.clone(),
            encrypted_payload: self.encrypted_payload.clone(),
            idempotency_key: self.job.key.clone(),
            created_at: self.job.created_at.clone(),
            expires_at: self.job.expires_at.clone(),
            signature: self.job.signature.clone(),
        }
    }

    /// Reads a stored entry.
    ///
    /// # Errors
    /// It is broken, or of a newer version.
    pub fn read(stored: &Object) -> Result<Self, Unreadable> {
        let text = stored.0.pointer("/data/entry.json").and_then(Value::as_str).ok_or(Unreadable::Corrupt)?;
        let value: Value = serde_json::from_str(text).map_err(|_| Unreadable::Corrupt)?;
        if value.get("v").and_then(Value::as_i64).is_some_and(|version| version > VERSION) {
            return Err(Unreadable::Newer);
        }
        let entry: Self = serde_json::from_value(value).map_err(|_| Unreadable::Corrupt)?;
        // An entry under another name would be a job that cannot be found again.
        if entry.job.id.is_empty() || (!stored.name().is_empty() && stored.name() != name(&entry.job.id)) {
            return Err(Unreadable::Corrupt);
        }
        Ok(entry)
    }

    /// The result, decoded.
    pub fn decided(&self) -> Option<ResultBody> {
        self.result.as_ref().and_then(|text| serde_json::from_str(text).ok())
    }

    /// When it was made, if it says so.
    pub fn created(&self) -> Option<Timestamp> {
        self.job.created_at.as_ref().and_then(|time| time.parse().ok())
    }

    /// Creates the ConfigMap.
    pub fn create(&self, namespace: &str) -> Effect {
        Effect::Create(Object(json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": name(&self.job.id), "namespace": namespace, "labels": { STORE: JOB } },
            "data": { ENTRY: self.text() },
        })))
    }

    /// Writes over what was read, if nobody else did.
    pub fn update(&self, stored: &Object) -> Effect {
        let mut object = stored.clone();
        object.0["data"] = json!({ ENTRY: self.text() });
        if let Some(metadata) = object.0.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        Effect::Update(object)
    }

    fn text(&self) -> String {
        serde_json::to_string(self).expect("text keys and finite numbers")
    }
}

/// Name of a job's ConfigMap (contract §3.4).
pub fn name(job: &str) -> String {
    let digest = Sha256::digest(job.as_bytes());
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("vworkspace-job-{hex}")
}

/// Removes the entry that was read.
pub fn remove(stored: &Object) -> Effect {
    let key = Key::namespaced(&core::config_map(), stored.namespace().unwrap_or_default(), stored.name());
    let only_if = Preconditions { uid: stored.uid(), version: None };
    Effect::Delete { key, only_if, how: Propagation::Background }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry::new("c1", &Job { id: "j-1/ü".into(), kind: "apply".into(), ..Job::default() }, 7)
    }

    fn stored(entry: &Entry) -> Object {
        let Effect::Create(object) = entry.create("vworkspace-system") else { panic!("a create") };
        object
    }

    #[test]
    fn an_entry_survives_storage_with_what_a_newer_version_added() {
        let object = stored(&entry());
        assert_eq!(Entry::read(&object), Ok(entry()));
        // echo -n 'j-1/ü' | sha256sum
        assert_eq!(object.name().len(), "vworkspace-job-".len() + 32);
        let mut text: Value =
            serde_json::from_str(object.0["data"]["entry.json"].as_str().expect("text")).expect("JSON");
        text["later"] = json!({"x": 1});
        let mut newer = object.clone();
        newer.0["data"]["entry.json"] = json!(text.to_string());
        let read = Entry::read(&newer).expect("readable");
        let Effect::Update(written) = read.update(&newer) else { panic!("an update") };
        assert!(written.0["data"]["entry.json"].as_str().expect("text").contains(r#""later":{"x":1}"#));
        text["v"] = json!(2);
        newer.0["data"]["entry.json"] = json!(text.to_string());
        assert_eq!(Entry::read(&newer), Err(Unreadable::Newer));
    }

    #[test]
    fn what_is_broken_or_lies_under_a_foreign_name_is_corrupt() {
        let mut object = stored(&entry());
        object.0["metadata"]["name"] = json!("vworkspace-job-0");
        assert_eq!(Entry::read(&object), Err(Unreadable::Corrupt));
        for data in
            [json!(null), json!({}), json!({"entry.json": "{"}), json!({"entry.json": "[]"}), json!({"entry.json": 7})]
        {
            let mut object = stored(&entry());
            object.0["data"] = data;
            assert_eq!(Entry::read(&object), Err(Unreadable::Corrupt));
        }
    }
}
