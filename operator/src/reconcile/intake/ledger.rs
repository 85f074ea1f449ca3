//! The ledger: how every closed job ended, as long as the store's bounds allow (contract §18.5, §22).
//!
//! A key in it counts only if its job had an effect, and the entry is written when the result is told, never before the
//! effect: a key that is here stands for something that was in the cluster.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::verdict::{stamp, text};
use crate::cluster_api::{Key, Object};
use crate::foreign::core;
use crate::protocol::job::{AppliedRef, FieldConflict, Outcome, ResultBody};
use crate::reconcile::Effect;

/// Name of the ConfigMap (contract §3.4).
pub const NAME: &str = "vworkspace-applied-jobs";
const LEDGER: &str = "ledger.json";
const KEYS: &str = "applied-keys.json";
/// Most lines.
const LINES_MAX: usize = 2_000;
/// Oldest line.
const AGE_MAX: SignedDuration = SignedDuration::from_hours(14 * 24);
/// Most bytes of all keys of the ConfigMap together: the server takes 1 MiB.
const BYTES_MAX: usize = 768 * 1024;

/// One closed job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k: Option<String>,
    /// Digest of kind and payload; absent if it was adopted or refused unread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub h: Option<String>,
    /// Job id, empty if it was adopted from an older agent.
    #[serde(default)]
    pub j: String,
    /// Outcome.
    pub o: Outcome,
    /// Error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub e: Option<String>,
    /// The object.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<AppliedRef>,
    /// When the job was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub c: Option<String>,
    /// Number of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
    /// Time of the result.
    pub t: String,
    /// Conflicts of the result (additive: without them it could not be rebuilt).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub x: Vec<FieldConflict>,
    /// Whether it had an effect (additive: the key of a job that had none may be used again).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub a: bool,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl Line {
    /// A closed job. `None` if its result is not readable, which only somebody else can have done.
    pub(super) fn new(
        id: &str,
        key: Option<&str>,
        digest: Option<String>,
        created: Option<&str>,
        effect: bool,
        result: &str,
    ) -> Option<Self> {
        let result: ResultBody = serde_json::from_str(result).ok()?;
        Some(Self {
            k: key.map(String::from),
            h: digest,
            j: id.into(),
            o: result.outcome,
            e: result.error,
            applied: result.applied_ref,
            c: created.map(String::from),
            n: key.and_then(number),
            t: result.timestamp,
            x: result.conflicts,
            a: effect,
            rest: Map::new(),
        })
    }

    fn adopted(key: String, now: &str) -> Self {
        Self {
            n: number(&key),
            k: Some(key),
            h: None,
            j: String::new(),
            o: Outcome::Succeeded,
            e: None,
            applied: None,
            c: None,
            t: now.into(),
            x: Vec::new(),
            a: true,
            rest: Map::new(),
        }
    }

    /// The body of its result, byte for byte.
    pub(super) fn body(&self) -> String {
        text(&ResultBody {
            outcome: self.o,
            error: self.e.clone(),
            applied_ref: self.applied.clone(),
            conflicts: self.x.clone(),
            timestamp: self.t.clone(),
        })
    }

    fn age_key(&self) -> Option<&str> {
        self.c.as_deref().or(Some(&self.t))
    }

    fn bytes(&self) -> usize {
        let line = serde_json::to_string(self).map_or(0, |text| text.len() + 1);
        // A succeeded key stands in both lists.
        line + self.k.as_ref().map_or(0, |key| key.len() + 3)
    }
}

/// The number at the end of a key, by the convention `<kind>/<namespace>/<name>@<generation>`.
pub fn number(key: &str) -> Option<u64> {
    key.rsplit_once('@')?.1.parse().ok()
}

/// The whole ledger.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ledger {
    v: i64,
    /// The identity it belongs to (contract §18.7).
    pub cluster_id: String,
    /// The newest `createdAt` that was ever evicted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub horizon: Option<String>,
    /// What intake tells the cluster loop: `unsignedPayload`, when one was last taken (for `PayloadSecurity`).
    #[serde(skip)]
    pub notes: Map<String, Value>,
    /// Oldest first.
    pub entries: Vec<Line>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// What was found in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The ledger to go on with.
    pub ledger: Ledger,
    /// The store could not be read: it is moved aside before anything is written.
    pub corrupt: bool,
    /// It holds more or less than the store does.
    pub dirty: bool,
}

impl Ledger {
    /// Reads the ConfigMap, `None` if there is none. A broken ledger begins anew with its horizon at now; keys that an older
    /// agent wrote are adopted.
    pub fn read(stored: Option<&Object>, cluster_id: &str, now: Timestamp) -> Reading {
        let now = stamp(now);
        let data = |key: &str| stored?.0.get("data")?.get(key)?.as_str();
        let fresh = || Self { v: 1, cluster_id: cluster_id.into(), ..Self::default() };
        let parsed = data(LEDGER).map(serde_json::from_str::<Self>);
        let keys = data(KEYS).map(serde_json::from_str::<Vec<String>>);
        let broken = |ok: Option<bool>| ok == Some(false);
        let corrupt = broken(parsed.as_ref().map(Result::is_ok)) || broken(keys.as_ref().map(Result::is_ok));
        let mut dirty = false;
        let mut ledger = match parsed {
            Some(Ok(ledger)) if ledger.cluster_id == cluster_id => ledger,
            Some(Ok(_)) => {
                dirty = true;
                return Reading { ledger: fresh(), corrupt, dirty };
            }
            Some(Err(_)) => fresh(),
            None => fresh(),
        };
        if corrupt {
            ledger.horizon = ledger.horizon.take().max(Some(now.clone()));
            dirty = true;
        }
        for key in keys.and_then(Result::ok).into_iter().flatten() {
            if !ledger.entries.iter().any(|line| line.k.as_deref() == Some(&key)) {
                ledger.entries.push(Line::adopted(key, &now));
                dirty = true;
            }
        }
        ledger.notes = data(NOTES).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        Reading { ledger, corrupt, dirty }
    }

    /// The result of a job that was closed.
    pub fn of_job(&self, id: &str) -> Option<&Line> {
        self.entries.iter().rev().find(|line| line.j == id && !id.is_empty())
    }

    /// The newest effect of a key.
    pub fn of_key(&self, key: &str) -> Option<&Line> {
        self.entries.iter().rev().find(|line| line.a && line.k.as_deref() == Some(key))
    }

    /// Adds closed jobs, unless they are there, and drops what is too old or too much.
    pub fn close(&mut self, lines: impl IntoIterator<Item = Line>, now: Timestamp) {
        for line in lines {
            if line.j.is_empty() || self.of_job(&line.j).is_none() {
                self.entries.push(line);
            }
        }
        let oldest = stamp(now.checked_sub(AGE_MAX).unwrap_or(Timestamp::UNIX_EPOCH));
        let mut bytes: usize = self.entries.iter().map(Line::bytes).sum();
        let mut evicted = 0;
        for line in &self.entries {
            let rest = self.entries.len() - evicted;
            if line.t >= oldest && rest <= LINES_MAX && bytes <= BYTES_MAX {
                break;
            }
            bytes -= line.bytes();
            evicted += 1;
        }
        let horizon = self.entries.drain(..evicted).filter_map(|line| line.age_key().map(instant)).max();
        self.horizon = self.horizon.take().map(|text| instant(&text)).max(horizon).map(exact);
    }

    /// Whether a job made at `created` may have been forgotten.
    pub fn beyond(&self, created: Option<Timestamp>) -> bool {
        let Some(horizon) = self.horizon.as_deref().map(instant) else { return false };
        created.is_none_or(|created| created <= horizon)
    }

    /// Writes it over what was read.
    pub fn write(&self, namespace: &str, stored: Option<&Object>) -> Effect {
        let keys: Vec<&str> = self
            .entries
            .iter()
            .filter(|line| line.a && line.o == Outcome::Succeeded)
            .filter_map(|line| line.k.as_deref())
            .collect();
        let data = json!({
            LEDGER: serde_json::to_string(self).expect("text keys and finite numbers"),
            KEYS: json!(keys).to_string(),
            NOTES: Value::Object(self.notes.clone()).to_string(),
        });
        match stored {
            Some(stored) => {
                let mut object = stored.clone();
                object.0["data"] = data;
                if let Some(metadata) = object.0.get_mut("metadata").and_then(Value::as_object_mut) {
                    metadata.remove("managedFields");
                }
                Effect::Update(object)
            }
            None => Effect::Create(Object(json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": { "name": NAME, "namespace": namespace }, "data": data,
            }))),
        }
    }
}

/// Key of what intake tells the cluster loop.
pub const NOTES: &str = "notes.json";

/// Where the ledger is.
pub fn key(namespace: &str) -> Key {
    Key::namespaced(&core::config_map(), namespace, NAME)
}

fn instant(text: &str) -> Timestamp {
    // What cannot be read is taken for the beginning: it moves no horizon.
    text.parse().unwrap_or(Timestamp::UNIX_EPOCH)
}

fn exact(time: Timestamp) -> String {
    time.to_string()
}
