//! Parameters of the engines that save and restore data (contract §10.2 to §10.5).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `backup.velero`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VeleroBackup {
    /// BackupStorageLocation. Default `default`.
    #[schemars(length(min = 1, max = 253))]
    pub storage_location: Option<String>,
    /// How long the backup is kept: `720h`, `30d` or `4w`, at least an hour. Default `720h`. `retention` is accepted, too.
    #[schemars(regex(pattern = r"^([0-9]+(h|m|s|d|w))+$"), length(max = 64))]
    pub ttl: Option<String>,
    /// Whether volumes are snapshotted.
    pub snapshot_volumes: Option<bool>,
    /// VolumeSnapshotClass. `snapshotClassName` is accepted, too.
    #[schemars(length(min = 1, max = 253))]
    pub csi_snapshot_class_name: Option<String>,
    /// Resources that are saved; all by default.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub included_resources: Vec<String>,
    /// Resources that are not saved.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub excluded_resources: Vec<String>,
    /// Legacy: only the target's own namespace is accepted.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(min = 1, max = 63)))]
    pub include_namespaces: Vec<String>,
    /// Whether volumes are saved file by file.
    #[serde(default)]
    pub default_volumes_to_fs_backup: bool,
    /// Whether snapshots are moved to the object store.
    pub snapshot_move_data: Option<bool>,
    /// Accept volumes that the backup skipped.
    #[serde(default)]
    pub allow_uncovered: bool,
}

/// What happens to objects that exist already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExistingResources {
    /// They stay.
    #[default]
    None,
    /// They are patched.
    Update,
}

/// `restore.velero`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VeleroRestore {
    /// Name of the backup, or of the Operation that made it.
    #[schemars(length(min = 1, max = 253))]
    pub backup_name: String,
    /// From namespaces of the backup to namespaces of this cluster; the only destination is the own namespace.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub namespace_mapping: BTreeMap<String, String>,
    /// Whether volumes are restored.
    #[serde(rename = "restorePVs")]
    pub restore_pvs: Option<bool>,
    /// What happens to objects that exist already.
    #[serde(default)]
    pub existing_resource_policy: ExistingResources,
    /// Resources that are restored; all by default.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub included_resources: Vec<String>,
    /// Resources that are not restored.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub excluded_resources: Vec<String>,
    /// From storage classes of the backup to storage classes of this cluster.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub storage_class_mapping: BTreeMap<String, String>,
    /// Accept a backup that is only partly complete.
    #[serde(default)]
    pub allow_partial: bool,
    /// Restore another application's backup; needs a `vws2` approval.
    #[serde(default)]
    pub clone: bool,
    /// Accept that volumes which exist keep their data.
    #[serde(default)]
    pub accept_existing_volumes: bool,
}

/// `backup.snapshot`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SnapshotBackup {
    /// The PersistentVolumeClaim.
    #[schemars(length(min = 1, max = 253))]
    pub pvc: String,
    /// VolumeSnapshotClass. Default: the single default class of the volume's driver.
    #[schemars(length(min = 1, max = 253))]
    pub volume_snapshot_class_name: Option<String>,
    /// Whether the application is brought to rest first.
    pub quiesce: Option<Quiesce>,
}

/// Bringing an application to rest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Quiesce {
    /// Whether it is asked for.
    #[serde(default)]
    pub enabled: bool,
    /// How long it may take, in seconds. Default 60.
    #[schemars(range(min = 1, max = 600))]
    pub timeout_seconds: Option<i64>,
}

/// `restore.snapshot`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SnapshotRestore {
    /// The VolumeSnapshot, of the same target.
    #[schemars(length(min = 1, max = 253))]
    pub snapshot_name: String,
    /// Name of the new PersistentVolumeClaim.
    #[schemars(length(min = 1, max = 253))]
    pub pvc: String,
    /// Its storage class.
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
    /// Its access modes. Default: those of the snapshot's source.
    #[serde(default)]
    #[schemars(length(max = 4), inner(length(min = 1, max = 32)))]
    pub access_modes: Vec<String>,
    /// Its size, a quantity. Default: the larger of the snapshot's and its source's.
    #[schemars(length(min = 1, max = 32))]
    pub size: Option<String>,
}

/// Where VolSync keeps data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Repository {
    /// Secret with address and credentials, in the target's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
    /// The mover: `restic`, `rclone`, `rsyncTLS` or `kopia`.
    #[serde(rename = "type")]
    #[schemars(regex(pattern = r"^(restic|rclone|rsyncTLS|kopia)$"))]
    pub type_: String,
}

/// How many old copies are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retain {
    /// Hourly ones.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hourly: Option<i64>,
    /// Daily ones.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daily: Option<i64>,
    /// Weekly ones.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weekly: Option<i64>,
    /// Monthly ones.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monthly: Option<i64>,
    /// Yearly ones.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub yearly: Option<i64>,
}

/// `backup.volsync`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VolsyncBackup {
    /// Always `source`.
    #[schemars(regex(pattern = r"^source$"))]
    pub direction: Option<String>,
    /// The PersistentVolumeClaim.
    #[schemars(length(min = 1, max = 253))]
    pub pvc: String,
    /// Where the data go.
    pub repository: Repository,
    /// Cron expression: replicate again and again until cancelled. Without one, once.
    #[schemars(length(min = 1, max = 128))]
    pub schedule: Option<String>,
    /// How many old copies are kept.
    pub retain: Option<Retain>,
    /// `Snapshot` (default), `Clone` or `Direct`.
    #[schemars(regex(pattern = r"^(Snapshot|Clone|Direct)$"))]
    pub copy_method: Option<String>,
    /// VolumeSnapshotClass of the point-in-time copy.
    #[schemars(length(min = 1, max = 253))]
    pub volume_snapshot_class_name: Option<String>,
    /// Size of the mover's cache, a quantity.
    #[schemars(length(min = 1, max = 32))]
    pub cache_capacity: Option<String>,
}

/// `restore.volsync`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VolsyncRestore {
    /// Always `destination`.
    #[schemars(regex(pattern = r"^destination$"))]
    pub direction: Option<String>,
    /// The PersistentVolumeClaim that is filled; made if it is missing.
    #[schemars(length(min = 1, max = 253))]
    pub pvc: String,
    /// Where the data come from.
    pub repository: Repository,
    /// Take the newest copy before this time, RFC 3339.
    #[schemars(length(min = 1, max = 64))]
    pub restore_as_of: Option<String>,
    /// Skip so many newer copies.
    #[schemars(range(min = 0))]
    pub previous: Option<i64>,
    /// `Direct` is what is done; other words are refused.
    #[schemars(regex(pattern = r"^Direct$"))]
    pub copy_method: Option<String>,
    /// Size of the mover's cache, a quantity.
    #[schemars(length(min = 1, max = 32))]
    pub cache_capacity: Option<String>,
    /// Size of a new claim, a quantity.
    #[schemars(length(min = 1, max = 32))]
    pub capacity: Option<String>,
    /// Access modes of a new claim.
    #[serde(default)]
    #[schemars(length(max = 4), inner(length(min = 1, max = 32)))]
    pub access_modes: Vec<String>,
    /// Storage class of a new claim.
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
    /// Fill a claim that exists.
    #[serde(default)]
    pub accept_existing_volumes: bool,
}
