//! VolSync (downstream §8).
//!
//! It has no observed generation and no final failure: it tries for ever. Success is a manual tag that came back, with the
//! time of that very synchronisation.

use jiff::Timestamp;
use serde_json::Value;

use super::{Truth, conditions, find, string, text};
use crate::cluster_api::{Caps, Kind, Manager, Object};

const GROUP: &str = "volsync.backube";

/// ReplicationSource.
pub fn source(caps: &Caps) -> Option<Kind> {
    let version = caps.served(GROUP, "replicationsources", &["v1alpha1"])?;
    Some(Kind::namespaced(GROUP, version, "ReplicationSource", "replicationsources"))
}

/// ReplicationDestination.
pub fn destination(caps: &Caps) -> Option<Kind> {
    let version = caps.served(GROUP, "replicationdestinations", &["v1alpha1"])?;
    Some(Kind::namespaced(GROUP, version, "ReplicationDestination", "replicationdestinations"))
}

/// What we read of a ReplicationSource or ReplicationDestination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replication {
    /// Whether anybody wrote a status.
    pub noticed: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// `spec.paused`.
    pub paused: bool,
    /// Whether somebody beside us holds `spec.paused`.
    pub paused_by_others: bool,
    /// `status.lastManualSync`.
    pub last_manual_sync: Option<String>,
    /// `status.lastSyncTime` as written.
    pub last_sync_time: Option<String>,
    /// `status.lastSyncDuration` as written.
    pub last_sync_duration: Option<String>,
    /// `status.lastSyncStartTime`: set as long as a synchronisation is not complete.
    pub sync_start: Option<Timestamp>,
    /// Whether `status.lastSyncStartTime` is there, readable or not.
    pub syncing: bool,
    /// `Synchronizing=True`.
    pub synchronizing: bool,
    /// The message of `Synchronizing=False/Error`.
    pub error: Option<String>,
    /// `status.latestMoverStatus.result` is `Failed`.
    pub mover_failed: bool,
    /// Whether the mover said that no snapshot was eligible.
    pub nothing_restored: bool,
}

/// What the movers print when there is nothing to restore; they end with code 0.
const NOTHING: [&str; 2] = ["no eligible snapshots found", "no data will be restored"];

impl Replication {
    /// Reads whatever there is.
    pub fn read(object: &Object) -> Self {
        let named = |pointer: &str| string(object, pointer).filter(|text| !text.is_empty());
        let conditions = conditions(object);
        let synchronizing = find(&conditions, "Synchronizing");
        let error = synchronizing.filter(|found| found.is(Truth::False) && found.reason == "Error");
        let logs = string(object, "/status/latestMoverStatus/logs").unwrap_or_default().to_lowercase();
        let start = named("/status/lastSyncStartTime");
        Self {
            noticed: object.0.get("status").and_then(Value::as_object).is_some_and(|status| !status.is_empty()),
            deleting: object.deleting(),
            paused: object.0.pointer("/spec/paused") == Some(&Value::Bool(true)),
            paused_by_others: paused_by_others(object),
            last_manual_sync: named("/status/lastManualSync"),
            last_sync_time: named("/status/lastSyncTime"),
            last_sync_duration: named("/status/lastSyncDuration"),
            syncing: start.is_some(),
            sync_start: start.and_then(|text| text.parse().ok()),
            // A status that is neither True nor False is no sign that it is over.
            synchronizing: synchronizing.is_some_and(|found| !found.is(Truth::False)),
            error: error.map(|found| text::quote("Error", &found.message)),
            mover_failed: string(object, "/status/latestMoverStatus/result").as_deref() == Some("Failed"),
            nothing_restored: NOTHING.iter().any(|words| logs.contains(words)),
        }
    }
}

/// Our own pause is a merge patch, which the server notes as an update of our manager.
fn paused_by_others(object: &Object) -> bool {
    if object.0.pointer("/spec/paused") != Some(&Value::Bool(true)) {
        return false;
    }
    let entries = object.0.pointer("/metadata/managedFields").and_then(Value::as_array);
    let holders: Vec<&Value> = entries
        .into_iter()
        .flatten()
        .filter(|entry| entry.pointer("/fieldsV1/f:spec/f:paused").is_some())
        .map(|entry| entry.get("manager").unwrap_or(&Value::Null))
        .collect();
    holders.is_empty() || holders.iter().any(|manager| manager.as_str() != Some(Manager::Operator.name()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_replication_is_read_whatever_it_holds() {
        for status in [json!(null), json!(7), json!({}), json!([1])] {
            assert!(!Replication::read(&Object(json!({"status": status}))).noticed, "{status}");
        }
        let odd = Replication::read(&Object(json!({
            "spec": {"paused": "true"},
            "status": {"lastSyncStartTime": "soon", "conditions": [{"type": "Synchronizing", "status": "Perhaps"}],
                       "latestMoverStatus": "x", "lastSyncTime": 3},
        })));
        assert_eq!((odd.syncing, odd.sync_start, odd.synchronizing, odd.paused), (true, None, true, false));
        assert_eq!((odd.last_sync_time, odd.mover_failed, odd.nothing_restored), (None, false, false));
    }

    #[test]
    fn who_paused_is_told_apart() {
        let held = |managers: &[&str]| {
            let entries: Vec<Value> = managers
                .iter()
                .map(|manager| json!({"manager": manager, "operation": "Update", "fieldsV1": {"f:spec": {"f:paused": {}}}}))
                .collect();
            let object = json!({"metadata": {"managedFields": entries}, "spec": {"paused": true}});
            Replication::read(&Object(object)).paused_by_others
        };
        assert!(!held(&["vworkspace-operator"]));
        assert!(held(&["kubectl-edit"]));
        assert!(held(&["vworkspace-operator", "kubectl-edit"]));
        assert!(held(&[]));
    }
}
