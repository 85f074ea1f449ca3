//! Velero (downstream §6). No kind has a status subresource: an object is created once and its generation proves nothing.

use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{string, text};
use crate::api::{Open, names};
use crate::cluster_api::{Caps, Kind, Object};

const GROUP: &str = "velero.io";

/// Label with a backup's name on everything Velero makes for it.
pub const BACKUP_NAME: &str = "velero.io/backup-name";
/// Label with the restore's name on everything it made.
pub const RESTORE_NAME: &str = "velero.io/restore-name";

fn kind(caps: &Caps, version: &str, name: &str, plural: &str) -> Option<Kind> {
    let version = caps.served(GROUP, plural, &[version])?;
    Some(Kind::namespaced(GROUP, version, name, plural))
}

/// Backup.
pub fn backup(caps: &Caps) -> Option<Kind> {
    kind(caps, "v1", "Backup", "backups")
}

/// Restore.
pub fn restore(caps: &Caps) -> Option<Kind> {
    kind(caps, "v1", "Restore", "restores")
}

/// BackupStorageLocation.
pub fn location(caps: &Caps) -> Option<Kind> {
    kind(caps, "v1", "BackupStorageLocation", "backupstoragelocations")
}

/// DataUpload: one volume on its way to the object store (Velero 1.12 and later).
pub fn data_upload(caps: &Caps) -> Option<Kind> {
    kind(caps, "v2alpha1", "DataUpload", "datauploads")
}

/// PodVolumeBackup: one volume saved file by file.
pub fn pod_volume_backup(caps: &Caps) -> Option<Kind> {
    kind(caps, "v1", "PodVolumeBackup", "podvolumebackups")
}

/// A name as Velero writes it into a label: one that is too long ends in a hash.
pub fn label_value(name: &str) -> String {
    if name.len() <= 63 {
        return name.into();
    }
    let mut hash = Sha256::new();
    hash.update(name.as_bytes());
    let hex: String = hash.finalize().iter().take(3).map(|byte| format!("{byte:02x}")).collect();
    format!("{}{hex}", name.chars().take(57).collect::<String>())
}

/// Phase of a Backup or Restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Empty, `New`, `Queued` or `ReadyToStart`.
    Waiting,
    /// `InProgress`, and everything that begins with `WaitingForPluginOperations` or `Finalizing`.
    Working,
    /// `Completed`.
    Completed,
    /// `PartiallyFailed`.
    PartiallyFailed,
    /// `Failed`.
    Failed,
    /// `FailedValidation`.
    FailedValidation,
    /// `Deleting`.
    Deleting,
}

impl Phase {
    fn read(word: &str) -> Open<Phase> {
        match word {
            "" | "New" | "Queued" | "ReadyToStart" => Phase::Waiting.into(),
            "Completed" => Phase::Completed.into(),
            "PartiallyFailed" => Phase::PartiallyFailed.into(),
            "Failed" => Phase::Failed.into(),
            "FailedValidation" => Phase::FailedValidation.into(),
            "Deleting" => Phase::Deleting.into(),
            _ if word == "InProgress"
                || word.starts_with("WaitingForPluginOperations")
                || word.starts_with("Finalizing") =>
            {
                Phase::Working.into()
            }
            other => Open::Other(other.into()),
        }
    }
}

/// A counter: absent is 0, anything but a number is `None`, which proves nothing.
pub type Count = Option<i64>;

/// What we read of a Backup or a Restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// `status.phase`.
    pub phase: Open<Phase>,
    /// `status.errors`.
    pub errors: Count,
    /// `status.warnings`.
    pub warnings: Count,
    /// `status.hookStatus.hooksFailed`.
    pub hooks_failed: Count,
    /// `status.csiVolumeSnapshotsAttempted` and `…Completed`.
    pub csi: (Count, Count),
    /// `status.volumeSnapshotsCompleted`.
    pub native: Count,
    /// `status.progress.itemsBackedUp` or `itemsRestored`.
    pub items: Count,
    /// `status.progress.totalItems`.
    pub total: Count,
    /// `status.failureReason`, fit for a condition.
    pub failure: String,
    /// `status.validationErrors`, fit for a condition.
    pub invalid: String,
    /// `status.expiration` as written.
    pub expiration: Option<String>,
}

impl Work {
    /// Reads whatever there is.
    pub fn read(object: &Object) -> Self {
        let count = |pointer: &str| count(object.0.pointer(pointer));
        // A phase of another type than text is no phase we know.
        let phase = match object.0.pointer("/status/phase") {
            None | Some(Value::Null) => Phase::Waiting.into(),
            Some(Value::String(word)) => Phase::read(word),
            Some(other) => Open::Other(text::cut(&other.to_string(), 64)),
        };
        let items = if object.kind() == "Restore" { "itemsRestored" } else { "itemsBackedUp" };
        let invalid = object.0.pointer("/status/validationErrors").and_then(Value::as_array);
        let invalid: Vec<&str> = invalid.into_iter().flatten().filter_map(Value::as_str).collect();
        Self {
            phase,
            errors: count("/status/errors"),
            warnings: count("/status/warnings"),
            hooks_failed: count("/status/hookStatus/hooksFailed"),
            csi: (count("/status/csiVolumeSnapshotsAttempted"), count("/status/csiVolumeSnapshotsCompleted")),
            native: count("/status/volumeSnapshotsCompleted"),
            items: count(&format!("/status/progress/{items}")),
            total: count("/status/progress/totalItems"),
            failure: text::stable(&string(object, "/status/failureReason").unwrap_or_default()),
            invalid: text::stable(&invalid.join("; ")),
            expiration: string(object, "/status/expiration"),
        }
    }

    /// Whether Velero works on it no more, whatever came out.
    pub fn ended(&self) -> bool {
        // A backup is deleted only once it has ended; Velero refuses earlier requests.
        matches!(
            self.phase.known(),
            Some(Phase::Completed | Phase::PartiallyFailed | Phase::Failed | Phase::FailedValidation | Phase::Deleting)
        )
    }
}

fn count(value: Option<&Value>) -> Count {
    match value {
        None | Some(Value::Null) => Some(0),
        Some(value) => value.as_i64().filter(|number| *number >= 0),
    }
}

/// What we read of a BackupStorageLocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// `status.phase` is `Available`.
    pub available: bool,
    /// `status.phase` as written.
    pub phase: String,
    /// `status.message`, fit for a condition.
    pub message: String,
    /// `status.lastValidationTime`.
    pub validated: Option<Timestamp>,
    /// `spec.validationFrequency` as written.
    pub frequency: Option<String>,
    /// `spec.accessMode` is `ReadOnly`.
    pub read_only: bool,
    /// Digest of bucket and prefix.
    pub digest: String,
}

impl Location {
    /// Reads whatever there is.
    pub fn read(object: &Object) -> Self {
        let text_of = |pointer: &str| string(object, pointer).unwrap_or_default();
        let phase = text_of("/status/phase");
        let store = |field: &str| text_of(&format!("/spec/objectStorage/{field}"));
        Self {
            available: phase == "Available",
            phase,
            message: text::stable(&text_of("/status/message")),
            validated: text_of("/status/lastValidationTime").parse().ok(),
            frequency: string(object, "/spec/validationFrequency"),
            read_only: text_of("/spec/accessMode") == "ReadOnly",
            digest: names::digest(&[&store("bucket"), &store("prefix")]),
        }
    }
}

/// One volume that Velero moved or copied itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The claim, where the object names it.
    pub claim: Option<String>,
    /// Whether it is complete.
    pub complete: bool,
    /// `status.progress.totalBytes`.
    pub bytes: Option<i64>,
}

impl Moved {
    /// Reads a DataUpload or PodVolumeBackup of a volume in this namespace; `None` for one of another namespace.
    pub fn read(object: &Object, namespace: &str) -> Option<Self> {
        let (from, claim) = match object.kind() {
            "DataUpload" => (string(object, "/spec/sourceNamespace"), string(object, "/spec/sourcePVC")),
            _ => (string(object, "/spec/pod/namespace"), object.annotation("velero.io/pvc-name").map(String::from)),
        };
        (from.as_deref() == Some(namespace)).then(|| Self {
            claim: claim.filter(|name| !name.is_empty()),
            complete: string(object, "/status/phase").as_deref() == Some("Completed"),
            bytes: object.0.pointer("/status/progress/totalBytes").and_then(Value::as_i64).filter(|bytes| *bytes >= 0),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn counters_that_are_missing_are_zero_and_odd_ones_prove_nothing() {
        for (value, expect) in [
            (json!(null), Some(0)),
            (json!(3), Some(3)),
            (json!(-1), None),
            (json!("0"), None),
            (json!(1.5), None),
            (json!({}), None),
        ] {
            assert_eq!(Work::read(&Object(json!({"status": {"errors": value}}))).errors, expect, "{value}");
        }
        let nothing = Work::read(&Object(json!({"status": "x"})));
        assert_eq!((nothing.errors, nothing.items, nothing.phase), (Some(0), Some(0), Phase::Waiting.into()));
        assert!(matches!(Work::read(&Object(json!({"status": {"phase": 7}}))).phase, Open::Other(_)));
    }

    #[test]
    fn long_names_become_labels_as_velero_writes_them() {
        assert_eq!(label_value("nightly"), "nightly");
        let long = label_value(&"n".repeat(70));
        assert_eq!((long.len(), &long[..57]), (63, "n".repeat(57).as_str()));
        assert_ne!(long, label_value(&"n".repeat(71)));
    }

    #[test]
    fn a_location_is_read_whatever_it_holds() {
        let odd = Location::read(&Object(json!({"spec": [], "status": {"phase": 1, "lastValidationTime": "x"}})));
        assert_eq!((odd.available, odd.validated, odd.frequency), (false, None, None));
        let of = |bucket: &str, prefix: &str| {
            Location::read(&Object(json!({"spec": {"objectStorage": {"bucket": bucket, "prefix": prefix}}}))).digest
        };
        assert_ne!(of("a", "b"), of("ab", ""));
        assert_eq!(of("a", "b"), of("a", "b"));
    }
}
