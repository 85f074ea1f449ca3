use std::collections::BTreeSet;

use serde_json::json;

use super::super::operation::{Answer, State, Step};
use super::super::trial::{self, UID, at, labels, order, owner};
use super::*;
use crate::api::operation::OperationType::{Backup, Restore};

const NOW: &str = "2026-01-01T12:10:00Z";

fn caps(fields: &[&str]) -> Caps {
    let mut caps = trial::caps();
    for plural in ["replicationsources", "replicationdestinations"] {
        caps.versions.insert(format!("volsync.backube/{plural}"), vec!["v1alpha1".into()]);
        let all = ["spec.restic", "spec.rclone", "spec.rsyncTLS"].iter().chain(fields);
        caps.fields.insert(format!("volsync.backube/v1alpha1/{plural}"), all.map(|path| (*path).to_string()).collect());
    }
    caps
}

const CONTEXT: &str = "spec.restic.moverSecurityContext";
const DELETION: &str = "spec.restic.enableFileDeletion";

fn start(order: &Order, caps: &Caps, claim: Option<Value>) -> Result<Start, Hold> {
    let world = |question: &Question| match question {
        Question::Keys(key) if key.name == "repo" => {
            let keys = ["RESTIC_REPOSITORY", "RESTIC_PASSWORD", "rclone.conf", "psk.txt"];
            Answer::Keys(keys.iter().map(|key| (*key).to_string()).collect())
        }
        Question::Keys(key) if key.name == "half" => Answer::Keys(BTreeSet::from(["RESTIC_REPOSITORY".to_string()])),
        Question::Object(_) => claim.clone().map_or(Answer::Absent, |object| Answer::Object(Box::new(Object(object)))),
        _ => Answer::Absent,
    };
    let facts = trial::facts(&Volsync, Stage::Start, order, caps, &world);
    let first = Volsync.render(order, caps, &facts, at(NOW));
    assert_eq!(first, Volsync.render(order, caps, &facts, at("2026-01-02T12:10:00Z")));
    first
}

fn with(more: Value) -> Value {
    let mut parameters = json!({"pvc": "data", "repository": {"secretName": "repo", "type": "restic"}});
    for (key, value) in more.as_object().unwrap() {
        parameters[key] = value.clone();
    }
    parameters
}

fn there() -> Option<Value> {
    Some(json!({"metadata": {"name": "data"}}))
}

fn metadata() -> Value {
    json!({"name": "nightly-8f14e45f", "namespace": "org-a", "labels": labels(), "ownerReferences": [owner()]})
}

#[test]
fn f8_a_schedule_becomes_a_trigger() {
    let parameters = with(json!({
        "schedule": "*/15 * * * *", "retain": {"hourly": 24, "daily": 7, "weekly": 4},
        "cacheCapacity": "2Gi", "volumeSnapshotClassName": "rbd",
    }));
    let start = start(&order(Backup, parameters), &caps(&[CONTEXT]), there()).unwrap();
    assert_eq!(
        start.object.0,
        json!({
            "apiVersion": "volsync.backube/v1alpha1", "kind": "ReplicationSource", "metadata": metadata(),
            "spec": {
                "sourcePVC": "data", "trigger": {"schedule": "*/15 * * * *"},
                "restic": {
                    "repository": "repo", "copyMethod": "Snapshot", "volumeSnapshotClassName": "rbd", "cacheCapacity": "2Gi",
                    "retain": {"hourly": 24, "daily": 7, "weekly": 4},
                    "moverSecurityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
                },
            },
        })
    );
    assert!(start.before.is_empty() && start.degraded.is_none());
}

#[test]
fn one_copy_is_asked_for_by_the_uid_and_has_one_mover() {
    for (type_, section) in [
        ("restic", json!({"repository": "repo", "copyMethod": "Clone"})),
        (
            "rclone",
            json!({"rcloneConfig": "repo", "rcloneConfigSection": "vworkspace", "rcloneDestPath": "org-a/data", "copyMethod": "Clone"}),
        ),
        ("rsyncTLS", json!({"keySecret": "repo", "copyMethod": "Clone"})),
    ] {
        let parameters = with(json!({"repository": {"secretName": "repo", "type": type_}, "copyMethod": "Clone"}));
        let start = start(&order(Backup, parameters), &caps(&[]), there()).unwrap();
        assert_eq!(start.object.0["spec"], json!({"sourcePVC": "data", "trigger": {"manual": UID}, type_: section}));
    }
}

#[test]
fn a_destination_fills_the_claim_itself() {
    let parameters = with(
        json!({"capacity": "10Gi", "storageClassName": "fast", "restoreAsOf": "2026-01-01T00:00:00Z", "previous": 1}),
    );
    let start_ = start(&order(Restore, parameters.clone()), &caps(&[]), None).unwrap();
    assert_eq!(
        start_.object.0,
        json!({
            "apiVersion": "volsync.backube/v1alpha1", "kind": "ReplicationDestination", "metadata": metadata(),
            "spec": {
                "trigger": {"manual": UID},
                "restic": {"repository": "repo", "copyMethod": "Direct", "destinationPVC": "data", "restoreAsOf": "2026-01-01T00:00:00Z", "previous": 1},
            },
        })
    );
    let mut kept = labels();
    kept.as_object_mut().unwrap().remove("velero.io/exclude-from-backup");
    assert_eq!(
        start_.before.iter().map(|object| object.0.clone()).collect::<Vec<_>>(),
        [json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": "org-a", "labels": kept},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}, "storageClassName": "fast"},
        })]
    );
    let ours = json!({"metadata": {"name": "data", "labels": {"ops.vworkspace.io/operation": UID}}});
    let again = start(&order(Restore, parameters), &caps(&[]), Some(ours)).unwrap();
    assert_eq!((again.object, again.before), (start_.object, Vec::new()), "a crash between the two");
}

#[test]
fn w37_old_files_are_removed_or_the_mixture_is_told() {
    let order = order(Restore, with(json!({"acceptExistingVolumes": true})));
    let clean = start(&order, &caps(&[DELETION]), there()).unwrap();
    assert_eq!((clean.object.0["spec"]["restic"]["enableFileDeletion"].clone(), clean.degraded), (json!(true), None));
    let mixed = start(&order, &caps(&[]), there()).unwrap();
    assert!(mixed.object.0["spec"]["restic"].get("enableFileDeletion").is_none());
    assert_eq!(mixed.degraded.unwrap().0, Reason::PartialFailure);
}

#[test]
fn what_keeps_a_replication_from_starting() {
    let repository = |type_: &str, secret: &str| json!({"repository": {"secretName": secret, "type": type_}});
    for (case, type_, more, claim, expect) in [
        ("no kopia here", Backup, repository("kopia", "repo"), there(), Reason::EngineNotInstalled),
        ("no Secret", Backup, repository("restic", "none"), there(), Reason::MissingSecret),
        ("no key", Backup, repository("restic", "half"), there(), Reason::MissingSecret),
        ("no claim", Backup, json!({}), None, Reason::DependencyMissing),
        ("odd schedule", Backup, json!({"schedule": "whenever"}), there(), Reason::ValidationFailed),
        ("odd cache", Backup, json!({"cacheCapacity": "much"}), there(), Reason::ValidationFailed),
        (
            "retain for rclone",
            Backup,
            json!({"repository": {"secretName": "repo", "type": "rclone"}, "retain": {"daily": 1}}),
            there(),
            Reason::ValidationFailed,
        ),
        ("claim exists", Restore, json!({}), there(), Reason::ExistingVolumes),
        (
            "claim goes",
            Restore,
            json!({"acceptExistingVolumes": true}),
            Some(json!({"metadata": {"name": "data", "deletionTimestamp": "x"}})),
            Reason::ExistingVolumes,
        ),
        ("no capacity", Restore, json!({}), None, Reason::ValidationFailed),
        ("odd capacity", Restore, json!({"capacity": "0"}), None, Reason::ValidationFailed),
        ("odd time", Restore, json!({"capacity": "1Gi", "restoreAsOf": "yesterday"}), None, Reason::ValidationFailed),
        (
            "time for rclone",
            Restore,
            json!({"capacity": "1Gi", "previous": 1, "repository": {"secretName": "repo", "type": "rclone"}}),
            None,
            Reason::ValidationFailed,
        ),
    ] {
        let hold = start(&order(type_, with(more)), &caps(&[]), claim).unwrap_err();
        assert_eq!((hold.reason, hold.last), (expect, false), "{case}");
    }
    let unserved = trial::caps();
    assert!(Volsync.kinds(&order(Backup, with(json!({}))), &unserved).is_err());
}

fn read(type_: OperationType, more: Value, spec: Value, status: Value) -> Reading {
    let order = order(type_, with(more));
    let child =
        Object(json!({"metadata": {"name": "nightly-8f14e45f", "uid": "rs-1"}, "spec": spec, "status": status}));
    Volsync.interpret(&order, &caps(&[]), &child, &Facts::default(), at(NOW))
}

fn synchronizing(status: &str, reason: &str) -> Value {
    json!([{"type": "Synchronizing", "status": status, "reason": reason, "message": "volume is gone"}])
}

#[test]
fn one_copy_is_done_only_with_all_evidence() {
    let first = || State::Running(Reason::VolSyncFirstSyncInProgress);
    let more = || State::Running(Reason::VolSyncSynchronizing);
    let done = || State::Succeeded(Reason::EngineCompleted, Reason::VolSyncLastSyncSucceeded);
    let idle = || synchronizing("False", "WaitingForManual");
    let error = || synchronizing("False", "Error");
    let after = "2026-01-01T12:05:00Z";
    for (case, status, state, degraded) in [
        ("no status", json!(null), State::Waiting, false),
        ("empty", json!({}), State::Waiting, false),
        ("odd", json!([]), State::Waiting, false),
        (
            "begun",
            json!({"lastSyncStartTime": after, "conditions": synchronizing("True", "SyncInProgress")}),
            first(),
            false,
        ),
        ("an error", json!({"lastSyncStartTime": after, "conditions": error()}), first(), true),
        ("mover failed", json!({"lastSyncStartTime": after, "latestMoverStatus": {"result": "Failed"}}), first(), true),
        (
            "mover failed before (O2)",
            json!({"lastSyncStartTime": "2026-01-01T11:00:00Z", "latestMoverStatus": {"result": "Failed"}}),
            first(),
            false,
        ),
        (
            "mover failed, idle",
            json!({"latestMoverStatus": {"result": "Failed"}, "conditions": idle()}),
            first(),
            false,
        ),
        ("done", json!({"lastManualSync": UID, "lastSyncTime": after, "conditions": idle()}), done(), false),
        ("done, no condition", json!({"lastManualSync": UID, "lastSyncTime": after}), done(), false),
        (
            "done in the second of the start",
            json!({"lastManualSync": UID, "lastSyncTime": "2026-01-01T12:00:00Z"}),
            done(),
            false,
        ),
        (
            "done, stale mover",
            json!({"lastManualSync": UID, "lastSyncTime": after, "latestMoverStatus": {"result": "Failed"}}),
            done(),
            false,
        ),
        (
            "still synchronizing",
            json!({"lastManualSync": UID, "lastSyncTime": after, "conditions": synchronizing("True", "x")}),
            more(),
            false,
        ),
        (
            "unknown synchronizing",
            json!({"lastManualSync": UID, "lastSyncTime": after, "conditions": synchronizing("Unknown", "x")}),
            more(),
            false,
        ),
        ("another tag (O1)", json!({"lastManualSync": "other", "lastSyncTime": after}), more(), false),
        ("before the start", json!({"lastManualSync": UID, "lastSyncTime": "2026-01-01T11:59:59Z"}), more(), false),
        ("no time", json!({"lastManualSync": UID}), first(), false),
        ("odd time", json!({"lastManualSync": UID, "lastSyncTime": "soon"}), more(), false),
        ("odd tag", json!({"lastManualSync": 7, "lastSyncTime": after}), more(), false),
    ] {
        let reading = read(Backup, json!({}), json!({}), status);
        assert_eq!((reading.state.clone(), reading.degraded.is_some()), (state, degraded), "{case}");
        assert_eq!(reading.at_deadline.is_some(), degraded, "{case}");
        assert_eq!(reading.working, !matches!(reading.state, State::Succeeded(..)), "{case}");
    }
    let outputs = read(
        Backup,
        json!({}),
        json!({}),
        json!({"lastManualSync": UID, "lastSyncTime": after, "lastSyncDuration": "30s"}),
    )
    .outputs;
    assert_eq!(
        Value::Object(outputs),
        json!({"replicationName": "nightly-8f14e45f", "lastSyncTime": after, "lastSyncDuration": "30s"})
    );
}

#[test]
fn o5_an_empty_restore_is_no_success() {
    let logs = |logs: Value| json!({"lastManualSync": UID, "lastSyncTime": "2026-01-01T12:05:00Z", "latestMoverStatus": {"result": "Successful", "logs": logs}});
    let nothing = State::Failed(Reason::VolSyncNothingRestored);
    let done = State::Succeeded(Reason::EngineCompleted, Reason::VolSyncLastSyncSucceeded);
    for (text, state) in [
        (json!("No eligible snapshots found\n=== No data will be restored ==="), &nothing),
        (json!("=== No data will be restored ==="), &nothing),
        (json!("restoring snapshot 1234"), &done),
        (json!(7), &done),
    ] {
        let reading = read(Restore, json!({}), json!({}), logs(text.clone()));
        assert_eq!((&reading.state, reading.working), (state, false), "{text}");
    }
    let source = read(Backup, json!({}), json!({}), logs(json!("no data will be restored")));
    assert_eq!(source.state, done);
    let mixed = read(Restore, json!({"acceptExistingVolumes": true}), json!({}), logs(json!("x")));
    assert_eq!(mixed.degraded.unwrap().0, Reason::PartialFailure);
}

#[test]
fn a_schedule_never_ends() {
    let schedule = || json!({"schedule": "@daily"});
    let after = "2026-01-01T12:05:00Z";
    for (case, status, state) in [
        ("no status", json!(null), State::Waiting),
        ("first", json!({"lastSyncStartTime": after}), State::Running(Reason::VolSyncFirstSyncInProgress)),
        (
            "idle",
            json!({"lastSyncTime": after, "conditions": synchronizing("False", "WaitingForSchedule")}),
            State::Running(Reason::VolSyncIdle),
        ),
        (
            "again",
            json!({"lastSyncTime": after, "lastSyncStartTime": after}),
            State::Running(Reason::VolSyncSynchronizing),
        ),
        (
            "even with our tag",
            json!({"lastManualSync": UID, "lastSyncTime": after}),
            State::Running(Reason::VolSyncIdle),
        ),
    ] {
        let reading = read(Backup, schedule(), json!({}), status);
        assert_eq!(reading.working, state == State::Waiting, "{case}");
        assert_eq!(reading.state, state, "{case}");
    }
}

#[test]
fn a_pause_of_others_is_told() {
    let paused = |spec: Value| read(Backup, json!({}), spec, json!({"lastSyncStartTime": "2026-01-01T12:05:00Z"}));
    assert_eq!(paused(json!({"paused": true})).blocked.unwrap().0, Reason::AwaitingResume);
    assert_eq!(paused(json!({"paused": false})).blocked, None);
    assert_eq!(paused(json!({"paused": "true"})).blocked, None);
}

#[test]
fn a_replication_is_paused_deleted_and_waited_for() {
    let order = order(Backup, with(json!({})));
    let caps = caps(&[]);
    let key = Volsync.child(&order, &caps).unwrap();
    let facts = |jobs: Vec<Value>| {
        let world = move |_: &Question| Answer::List(jobs.iter().cloned().map(Object).collect());
        trial::facts(&Volsync, Stage::Watch, &order, &caps, &world)
    };
    let stop = |cause, object: Option<&Object>, facts: &Facts| {
        let found = Volsync.withdraw(&order, cause, object.map(|object| (&key, object)), facts, at(NOW), at(NOW));
        let steps: Vec<&str> = found
            .steps
            .iter()
            .map(|step| match step {
                Step::Delete { only_if, .. } if only_if.uid.is_some() => "delete",
                Step::Delete { .. } => "delete anything",
                Step::Patch { merge, .. } if *merge == json!({"spec": {"paused": true}}) => "pause",
                Step::Patch { .. } => "patch",
            })
            .collect();
        (steps.join(" "), found.done)
    };
    let object = |spec: Value, deleting: bool| {
        let mut metadata = json!({"name": "nightly-8f14e45f", "uid": "rs-1"});
        if deleting {
            metadata["deletionTimestamp"] = json!("x");
        }
        Object(json!({"metadata": metadata, "spec": spec}))
    };
    let job = |kind: &str, name: &str| json!({"metadata": {"name": "volsync-src-x", "ownerReferences": [{"kind": kind, "name": name, "uid": "u", "controller": true}]}});
    let quiet =
        facts(vec![job("ReplicationSource", "other"), job("ReplicationDestination", "nightly-8f14e45f"), json!({})]);
    let moving = facts(vec![job("ReplicationSource", "nightly-8f14e45f")]);
    let live = object(json!({}), false);
    for cause in [Cause::Cancelled, Cause::Timeout] {
        assert_eq!(stop(cause, Some(&live), &moving), ("pause delete".into(), false));
        assert_eq!(stop(cause, Some(&object(json!({"paused": true}), false)), &moving), ("delete".into(), false));
        assert_eq!(stop(cause, Some(&object(json!({}), true)), &moving), (String::new(), false));
        assert_eq!(stop(cause, None, &moving), (String::new(), false));
        assert_eq!(stop(cause, None, &Facts::default()), (String::new(), false), "what was not read may be there");
        assert_eq!(stop(cause, None, &quiet), (String::new(), true));
    }
    for cause in [Cause::Finished, Cause::Deleted] {
        assert_eq!(stop(cause, Some(&live), &quiet), ("delete".into(), false));
        assert_eq!(stop(cause, Some(&object(json!({}), true)), &quiet), (String::new(), true));
        assert_eq!(stop(cause, None, &quiet), (String::new(), true));
    }
}
