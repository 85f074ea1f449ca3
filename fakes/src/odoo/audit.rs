//! The timeline as Discuss shows it: what people at the control plane read (contract §20.1, §16.2).

use jiff::Timestamp;
use operator::protocol::event::{Event, ResourceRef};
use operator::protocol::job::{Outcome, ResultBody};
use serde::Serialize;
use serde_json::Value;

use super::tables::JobRow;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// When Odoo wrote it.
    pub at: Timestamp,
    /// When it happened, by the sender's account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub happened: Option<String>,
    /// About which cluster.
    pub cluster: String,
    /// Kind of event, `Job`, or `Odoo` for its own deeds.
    pub source: String,
    /// The event's key, by which a line is told once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What happened, as people read it.
    pub text: String,
    /// The condition's message, the job's error.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// How it is marked: `good`, `bad`, `plain`.
    pub mood: &'static str,
    /// Whether it is a row of the durable audit.
    pub durable: bool,
    /// Whether a chat rule matched its reason: posted into the channel, not only filed.
    pub chat: bool,
}

/// Condition types that make an audit row when True (contract §20.1).
const DURABLE: [&str; 7] = ["Succeeded", "Failed", "Running", "Cancelled", "Blocked", "Connected", "Disconnected"];

/// Reasons that the chat rules match (contract §16.2), and what they say of an object.
const CHAT: [(&str, &str, &str); 7] = [
    ("VeleroBackupCompleted", "good", "backup completed"),
    ("VeleroRestoreCompleted", "good", "restore completed"),
    ("VeleroBackupFailed", "bad", "backup failed"),
    ("VeleroRestoreFailed", "bad", "restore failed"),
    ("HelmReleaseReady", "good", "is ready"),
    ("HelmReleaseUpgraded", "good", "was upgraded"),
    ("HelmReleaseUpgradeFailed", "bad", "upgrade failed"),
];

/// Kinds that are filed as such (contract §20.1). The last five are the server's choice: this one files them.
const KINDS: [(&str, &str, &str); 11] = [
    ("CredentialRotated", "plain", "credential rotated"),
    ("OperationAccepted", "plain", "accepted"),
    ("OperationBlocked", "plain", "blocked"),
    ("OperationRunning", "plain", "running"),
    ("OperationSucceeded", "good", "succeeded"),
    ("OperationFailed", "bad", "failed"),
    ("JobPayloadSignatureInvalid", "bad", "refused a job: its signature is not valid"),
    ("JobPayloadDecryptionFailed", "bad", "refused a job: it could not be decrypted"),
    ("OperatorUpgraded", "good", "operator upgraded"),
    ("OperatorUpgradeFailed", "bad", "operator upgrade failed"),
    ("CRDVersionDeprecated", "plain", "serves a deprecated definition"),
];

impl Line {
    pub(super) fn of_odoo(at: Timestamp, cluster: &str, text: &str) -> Self {
        Self {
            at,
            happened: None,
            cluster: cluster.into(),
            source: "Odoo".into(),
            key: None,
            text: text.into(),
            detail: String::new(),
            mood: "plain",
            durable: true,
            chat: false,
        }
    }

    pub(super) fn of_result(at: Timestamp, job: &JobRow, result: &ResultBody) -> Self {
        let (mood, word) = match result.outcome {
            Outcome::Succeeded => ("good", "succeeded"),
            Outcome::Failed => ("bad", "failed"),
            Outcome::Noop => ("plain", "had nothing to do"),
            Outcome::Conflict => ("bad", "met a conflict"),
        };
        Self {
            happened: Some(result.timestamp.clone()),
            source: "Job".into(),
            detail: result.error.clone().unwrap_or_default(),
            mood,
            ..Self::of_odoo(at, &job.cluster, &format!("Job {} {word}: {}", job.id, self::job(&job.wire)))
        }
    }

    /// The line an event makes, if it makes one. Of several conditions the first that is told wins.
    pub(super) fn of_event(at: Timestamp, cluster: &str, event: &Event) -> Option<Self> {
        let about = named(&event.resource_ref);
        let line = |mood, text: String, detail: &str| Self {
            happened: Some(event.timestamp.clone()),
            source: event.kind.clone(),
            key: event.event_key.clone(),
            detail: detail.into(),
            mood,
            ..Self::of_odoo(at, cluster, &text)
        };
        let conditions: Vec<[&str; 4]> = event
            .conditions
            .iter()
            .map(|condition| {
                ["type", "status", "reason", "message"]
                    .map(|field| condition.get(field).and_then(Value::as_str).unwrap_or_default())
            })
            .collect();
        if event.kind != "ConditionTransition" {
            let (kind, mood, words) = KINDS.iter().find(|(kind, ..)| *kind == event.kind)?;
            let detail = conditions.first().map_or("", |condition| condition[3]);
            let chat = *kind == "CredentialRotated";
            return Some(Self { chat, ..line(mood, format!("{about}: {words}"), detail) });
        }
        // A snapshot tells what was told before: it heals the view, it is no news.
        if event.event_key.as_ref().is_some_and(|key| key.starts_with("snapshot/")) {
            return None;
        }
        let mut filed = None;
        for [type_, status, reason, message] in conditions {
            let durable = status == "True" && DURABLE.contains(&type_);
            // HelmReleaseReady is a reason of Ready=True; the failed upgrade one of Degraded or Failed.
            let rule = CHAT.iter().find(|(known, ..)| *known == reason && status == "True");
            if let Some((_, mood, words)) = rule {
                return Some(Self { durable, chat: true, ..line(mood, format!("{about}: {words}"), message) });
            }
            if durable && filed.is_none() {
                let mood = match type_ {
                    "Failed" | "Disconnected" => "bad",
                    "Succeeded" | "Connected" => "good",
                    _ => "plain",
                };
                filed = Some(line(mood, format!("{about}: {type_} ({reason})"), message));
            }
        }
        filed
    }
}

fn named(object: &ResourceRef) -> String {
    match &object.namespace {
        Some(namespace) => format!("{} {namespace}/{}", object.kind, object.name),
        None => format!("{} {}", object.kind, object.name),
    }
}

/// A job in a few words: `apply ApplicationInstance org-a/files`.
pub(super) fn job(wire: &Value) -> String {
    let text = |value: &Value| value.as_str().map(str::to_string);
    let kind = text(&wire["kind"]).unwrap_or_else(|| "?".into());
    let payload = &wire["payload"];
    if let Some(intent) = text(&payload["intent"]) {
        return format!("{kind} {intent}");
    }
    let metadata = if payload["metadata"].is_object() { &payload["metadata"] } else { payload };
    let place = [text(&metadata["namespace"]), text(&metadata["name"])].into_iter().flatten().collect::<Vec<_>>();
    format!("{kind} {} {}", text(&payload["kind"]).unwrap_or_else(|| "?".into()), place.join("/"))
}
