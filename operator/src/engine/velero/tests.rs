use super::super::operation::{Answer, Step};
use super::super::trial::{self, UID, at, order};
use super::*;
use crate::api::operation::OperationType::{Backup, Restore};
use crate::cluster_api::Preconditions;

const NOW: &str = "2026-01-01T12:00:00Z";
const NAME: &str = "vws-8f14e45f-ceea-467f-a9d1-1f2c3d4e5f60";

fn caps(fields: &[&str]) -> Caps {
    let mut caps = trial::caps();
    for plural in ["backups", "restores", "backupstoragelocations", "podvolumebackups"] {
        caps.versions.insert(format!("velero.io/{plural}"), vec!["v1".into()]);
    }
    caps.versions.insert("velero.io/datauploads".into(), vec!["v2alpha1".into()]);
    caps.versions.insert("snapshot.storage.k8s.io/volumesnapshotclasses".into(), vec!["v1".into()]);
    for plural in ["backups", "restores"] {
        let all = fields.iter().map(|path| (*path).to_string()).collect();
        caps.fields.insert(format!("velero.io/v1/{plural}"), all);
    }
    caps
}

fn labels() -> Value {
    let mut labels = trial::labels();
    labels.as_object_mut().unwrap().remove("velero.io/exclude-from-backup");
    for (key, value) in [("target", "files"), ("target-namespace", "org-a"), ("target-uid", "t-1")] {
        labels[format!("ops.vworkspace.io/{key}")] = json!(value);
    }
    labels
}

fn overlay(mut into: Value, change: &Value) -> Value {
    fn lay(into: &mut Value, change: &Value) {
        match (into, change) {
            (Value::Object(into), Value::Object(change)) => {
                for (key, value) in change {
                    lay(into.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
            (into, change) => *into = change.clone(),
        }
    }
    lay(&mut into, change);
    into
}

type World = Vec<(&'static str, Value)>;

fn location_of(change: Value) -> (&'static str, Value) {
    let location = json!({
        "metadata": {"name": "primary"},
        "spec": {"objectStorage": {"bucket": "b", "prefix": "p"}, "validationFrequency": "1m0s"},
        "status": {"phase": "Available", "lastValidationTime": "2026-01-01T11:59:00Z"},
    });
    ("BackupStorageLocation", overlay(location, &change))
}

fn claim_of(name: &str, phase: &str, labels: Value) -> (&'static str, Value) {
    ("PersistentVolumeClaim", json!({"metadata": {"name": name, "labels": labels}, "status": {"phase": phase}}))
}

fn ask(stage: Stage, order: &Order, caps: &Caps, world: &World) -> Facts {
    trial::facts(&Velero, stage, order, caps, &|question| match question {
        Question::Object(key) => world
            .iter()
            .find(|(kind, object)| *kind == key.kind.kind && object["metadata"]["name"] == key.name.as_str())
            .map_or(Answer::Absent, |(_, object)| Answer::Object(Box::new(Object(object.clone())))),
        Question::List(kind, scope) => {
            let selected = |object: &Value| {
                scope.labels.split_once('=').is_none_or(|(key, value)| object["metadata"]["labels"][key] == value)
            };
            let found = world.iter().filter(|(found, object)| *found == kind.kind && selected(object));
            Answer::List(found.map(|(_, object)| Object(object.clone())).collect())
        }
        _ => panic!("{question:?}"),
    })
}

fn start(order: &Order, caps: &Caps, world: &World) -> Result<Start, Hold> {
    let facts = ask(Stage::Start, order, caps, world);
    let first = Velero.render(order, caps, &facts, at(NOW));
    assert_eq!(first, Velero.render(order, caps, &facts, at(NOW)));
    first
}

#[test]
fn f1_a_backup_names_everything_that_was_asked_for() {
    let parameters = json!({
        "storageLocation": "primary", "snapshotVolumes": true, "csiSnapshotClassName": "rbd", "ttl": "720h",
        "includedResources": ["*"], "excludedResources": ["events"], "snapshotMoveData": false,
    });
    let world = vec![
        location_of(json!({})),
        ("VolumeSnapshotClass", json!({"metadata": {"name": "rbd"}, "driver": "rbd.csi"})),
        claim_of("data-b", "Bound", json!({})),
        claim_of("data-a", "Bound", json!({})),
        claim_of("waits", "Pending", json!({})),
    ];
    let start = start(&order(Backup, parameters.clone()), &caps(&["spec.snapshotMoveData"]), &world).unwrap();
    assert_eq!(
        start.object.0,
        json!({
            "apiVersion": "velero.io/v1", "kind": "Backup",
            "metadata": {
                "name": NAME, "namespace": "velero", "labels": labels(),
                "annotations": {"velero.io/csi-volumesnapshot-class_rbd.csi": "rbd", "ops.vworkspace.io/volumes": "data-a,data-b"},
            },
            "spec": {
                "includedNamespaces": ["org-a"], "storageLocation": "primary", "ttl": "720h0m0s", "snapshotVolumes": true,
                "includedResources": ["*"], "excludedResources": ["events", "operations.ops.vworkspace.io"], "snapshotMoveData": false,
            },
        })
    );
    assert_eq!(start.outputs["volumes"], "data-a,data-b");
    assert_eq!(start.outputs["storageLocationDigest"], names::digest(&["b", "p"]));
    let old = super::tests::start(&order(Backup, parameters), &caps(&[]), &world).unwrap();
    assert!(old.object.0["spec"].get("snapshotMoveData").is_none() && old.degraded.is_none());
    let wished = json!({"storageLocation": "primary", "snapshotMoveData": true, "snapshotVolumes": false});
    let wished = super::tests::start(&order(Backup, wished), &caps(&[]), &world).unwrap();
    assert_eq!(wished.degraded.unwrap().0, Reason::PartialFailure);
    assert!(wished.outputs.get("volumes").is_none() && wished.object.0["metadata"].get("annotations").is_none());
}

#[test]
fn what_keeps_a_backup_from_starting() {
    let status = |change: Value| location_of(json!({"status": change}));
    let long = "d".repeat(50);
    for (case, more, world, expect) in [
        ("no location", json!({}), vec![], Some(Reason::DependencyMissing)),
        (
            "unavailable (V1)",
            json!({}),
            vec![status(json!({"phase": "Unavailable", "message": "no"}))],
            Some(Reason::DependencyMissing),
        ),
        ("not validated", json!({}), vec![status(json!({"phase": null}))], Some(Reason::DependencyMissing)),
        ("unknown phase", json!({}), vec![status(json!({"phase": "Novel"}))], Some(Reason::DependencyMissing)),
        (
            "validated two minutes ago",
            json!({}),
            vec![status(json!({"lastValidationTime": "2026-01-01T11:58:00Z"}))],
            None,
        ),
        (
            "validated too long ago",
            json!({}),
            vec![status(json!({"lastValidationTime": "2026-01-01T11:57:59Z"}))],
            Some(Reason::DependencyMissing),
        ),
        ("odd time", json!({}), vec![status(json!({"lastValidationTime": 7}))], Some(Reason::DependencyMissing)),
        (
            "never validated again",
            json!({}),
            vec![location_of(json!({"spec": {"validationFrequency": "0s"}, "status": {"lastValidationTime": null}}))],
            None,
        ),
        (
            "read-only",
            json!({}),
            vec![location_of(json!({"spec": {"accessMode": "ReadOnly"}}))],
            Some(Reason::DependencyMissing),
        ),
        (
            "no class",
            json!({"csiSnapshotClassName": "x"}),
            vec![location_of(json!({}))],
            Some(Reason::MissingVolumeSnapshotClass),
        ),
        (
            "odd class",
            json!({"csiSnapshotClassName": "x"}),
            vec![location_of(json!({})), ("VolumeSnapshotClass", json!({"metadata": {"name": "x"}}))],
            Some(Reason::MissingVolumeSnapshotClass),
        ),
        (
            "long driver",
            json!({"csiSnapshotClassName": "x"}),
            vec![location_of(json!({})), ("VolumeSnapshotClass", json!({"metadata": {"name": "x"}, "driver": long}))],
            Some(Reason::ValidationFailed),
        ),
        (
            "other namespace",
            json!({"includeNamespaces": ["org-a", "org-b"]}),
            vec![location_of(json!({}))],
            Some(Reason::ValidationFailed),
        ),
        ("own namespace", json!({"includeNamespaces": ["org-a"]}), vec![location_of(json!({}))], None),
        ("too short", json!({"ttl": "59m"}), vec![location_of(json!({}))], Some(Reason::ValidationFailed)),
        (
            "in and out",
            json!({"includedResources": ["pods"], "excludedResources": ["pods"]}),
            vec![location_of(json!({}))],
            Some(Reason::ValidationFailed),
        ),
        (
            "our kinds",
            json!({"includedResources": ["operations.ops.vworkspace.io"]}),
            vec![location_of(json!({}))],
            Some(Reason::ValidationFailed),
        ),
        (
            "all excluded",
            json!({"excludedResources": ["*"]}),
            vec![location_of(json!({}))],
            Some(Reason::ValidationFailed),
        ),
    ] {
        let parameters = overlay(json!({"storageLocation": "primary"}), &more);
        let found = start(&order(Backup, parameters), &caps(&[]), &world).err().map(|hold| (hold.reason, hold.last));
        assert_eq!(found, expect.map(|reason| (reason, false)), "{case}");
    }
    assert!(Velero.kinds(&order(Backup, json!({})), &trial::caps()).is_err());
}

fn status_of(kind: &str, status: Value) -> Object {
    Object(json!({
        "kind": kind, "metadata": {"name": NAME, "namespace": "velero", "uid": "b-1", "resourceVersion": "5"},
        "spec": {"backupName": "nightly"}, "status": status,
    }))
}

fn watch(order: &Order, child: &Object, world: &World) -> Reading {
    let facts = ask(Stage::Watch, order, &caps(&[]), world);
    Velero.interpret(order, &caps(&[]), child, &facts, at(NOW))
}

/// Phase, state and whether Velero is at work, for both directions; `running`, `ended` and so on differ.
fn table(kind: &str, order: &Order, words: &Words, done: Value) {
    let failed = || State::Failed(words.failed);
    let running = || State::Running(words.running);
    for (case, status, state, working, degraded) in [
        ("no status", json!(null), State::Waiting, true, false),
        ("odd status", json!(7), State::Waiting, true, false),
        ("New", json!({"phase": "New"}), State::Waiting, true, false),
        ("Queued (V7)", json!({"phase": "Queued", "queuePosition": 3}), State::Waiting, true, false),
        ("ReadyToStart", json!({"phase": "ReadyToStart"}), State::Waiting, true, false),
        ("InProgress", json!({"phase": "InProgress"}), running(), true, false),
        ("Waiting", json!({"phase": "WaitingForPluginOperations"}), running(), true, false),
        ("Waiting, partial", json!({"phase": "WaitingForPluginOperationsPartiallyFailed"}), running(), true, false),
        ("Finalizing", json!({"phase": "Finalizing"}), running(), true, false),
        ("Finalizing, partial", json!({"phase": "FinalizingPartiallyFailed"}), running(), true, false),
        ("Deleting", json!({"phase": "Deleting"}), running(), false, false),
        ("unknown (V14)", json!({"phase": "Novel"}), running(), true, false),
        ("odd phase", json!({"phase": ["Completed"]}), running(), true, false),
        ("PartiallyFailed (V4)", json!({"phase": "PartiallyFailed", "errors": 2}), failed(), false, true),
        ("PartiallyFailed, odd", json!({"phase": "PartiallyFailed", "errors": "2"}), failed(), false, true),
        (
            "Failed (V3)",
            json!({"phase": "Failed", "failureReason": "found a backup with status, password=hunter2"}),
            failed(),
            false,
            false,
        ),
        ("Failed, silent", json!({"phase": "Failed"}), failed(), false, false),
        (
            "FailedValidation",
            json!({"phase": "FailedValidation", "validationErrors": ["no location", 7]}),
            failed(),
            false,
            false,
        ),
        ("Completed", done.clone(), State::Succeeded(words.ended, words.succeeded), false, false),
        ("Completed with errors", overlay(done.clone(), &json!({"errors": 1})), failed(), false, true),
        ("Completed, odd errors", overlay(done.clone(), &json!({"errors": "0"})), failed(), false, true),
        (
            "Completed, hook failed",
            overlay(done.clone(), &json!({"hookStatus": {"hooksFailed": 1}})),
            failed(),
            false,
            true,
        ),
        (
            "Completed with warnings",
            overlay(done, &json!({"warnings": 3})),
            State::Succeeded(words.ended, words.succeeded),
            false,
            false,
        ),
    ] {
        let reading = watch(order, &status_of(kind, status), &vec![]);
        let invalid = case == "FailedValidation";
        assert_eq!(
            (&reading.state, reading.working, reading.degraded.is_some()),
            (&state, working, degraded),
            "{case}"
        );
        assert_eq!(reading.accepted, invalid.then_some(words.invalid), "{case}");
        assert!(!reading.message.contains("hunter2") && !reading.message.is_empty(), "{case}");
        assert_eq!(reading.message.starts_with("PartiallyFailed"), degraded, "{case}");
    }
}

#[test]
fn the_mapping_table_of_backups() {
    let words = Words {
        running: Reason::VeleroBackupInProgress,
        ended: Reason::VeleroBackupSucceeded,
        succeeded: Reason::VeleroBackupCompleted,
        failed: Reason::VeleroBackupFailed,
        invalid: Reason::VeleroBackupValidationFailed,
    };
    let order = order(Backup, json!({"storageLocation": "primary"}));
    table("Backup", &order, &words, json!({"phase": "Completed", "progress": {"itemsBackedUp": 9, "totalItems": 9}}));
    for (case, status) in [
        ("no items (V6)", json!({"phase": "Completed", "progress": {"itemsBackedUp": 0}})),
        ("no progress", json!({"phase": "Completed"})),
        (
            "CSI differs",
            json!({"phase": "Completed", "progress": {"itemsBackedUp": 1}, "csiVolumeSnapshotsAttempted": 2, "csiVolumeSnapshotsCompleted": 1}),
        ),
        (
            "CSI odd",
            json!({"phase": "Completed", "progress": {"itemsBackedUp": 1}, "csiVolumeSnapshotsAttempted": "x", "csiVolumeSnapshotsCompleted": "x"}),
        ),
    ] {
        let reading = watch(&order, &status_of("Backup", status), &vec![]);
        assert_eq!(reading.state, State::Failed(Reason::VeleroBackupFailed), "{case}");
    }
    let done = json!({"phase": "Completed", "progress": {"itemsBackedUp": 9}, "warnings": 2, "expiration": "2026-02-01T00:00:00Z"});
    let upload = |uid: &str| {
        (
            "DataUpload",
            json!({
                "metadata": {"name": uid, "labels": {"velero.io/backup-name": NAME, "velero.io/backup-uid": uid}},
                "spec": {"sourceNamespace": "org-a", "sourcePVC": "a"}, "status": {"phase": "Completed", "progress": {"totalBytes": 100}},
            }),
        )
    };
    let reading = watch(&order, &status_of("Backup", done.clone()), &vec![upload("b-1"), upload("b-0")]);
    assert_eq!(
        Value::Object(reading.outputs),
        json!({
            "backupName": NAME, "backupUid": "b-1", "backupItemCount": "9", "storageLocation": "primary", "errorCount": "0",
            "warningCount": "2", "expiration": "2026-02-01T00:00:00Z", "backupSizeBytes": "100",
            "warnings": ["Velero counted 2 warnings; its log has them"],
        })
    );
    let unread = Velero.interpret(&order, &caps(&[]), &status_of("Backup", done), &Facts::default(), at(NOW));
    assert_eq!(unread.state, State::Running(Reason::VeleroBackupInProgress), "a failed read is no fact");
}

#[test]
fn w11_a_skipped_volume_is_no_plain_success() {
    let done = |csi: i64| {
        status_of(
            "Backup",
            json!({"phase": "Completed", "progress": {"itemsBackedUp": 9}, "csiVolumeSnapshotsAttempted": csi, "csiVolumeSnapshotsCompleted": csi}),
        )
    };
    let copied = (
        "PodVolumeBackup",
        json!({
            "metadata": {"name": "p", "labels": {"velero.io/backup-name": NAME}, "annotations": {"velero.io/pvc-name": "data-a"}},
            "spec": {"pod": {"namespace": "org-a"}}, "status": {"phase": "Completed"},
        }),
    );
    let succeeded = || State::Succeeded(Reason::VeleroBackupSucceeded, Reason::VeleroBackupCompleted);
    let failed = || State::Failed(Reason::VeleroBackupFailed);
    for (case, parameters, csi, world, state, uncovered) in [
        ("all", json!({}), 2, vec![], succeeded(), None),
        ("one missing", json!({}), 1, vec![], failed(), Some("1")),
        ("one named", json!({}), 0, vec![copied.clone()], failed(), Some("1: data-b")),
        ("both ways", json!({}), 1, vec![copied], succeeded(), None),
        ("accepted", json!({"allowUncovered": true}), 1, vec![], succeeded(), Some("1")),
        ("not wanted", json!({"snapshotVolumes": false}), 0, vec![], succeeded(), None),
    ] {
        let mut order = order(Backup, parameters);
        order.outputs.insert("volumes".into(), "data-a,data-b".into());
        let reading = watch(&order, &done(csi), &world);
        assert_eq!(
            (reading.state, reading.outputs.get("uncoveredVolumes")),
            (state, uncovered.map(|text| json!(text)).as_ref()),
            "{case}"
        );
        assert_eq!(reading.degraded.map(|found| found.0), uncovered.map(|_| Reason::PartialFailure), "{case}");
    }
}

#[test]
fn a_backup_is_deleted_only_before_it_begins() {
    let order = order(Backup, json!({}));
    let key = Velero.child(&order, &caps(&[])).unwrap();
    for (phase, deletes, done) in [
        ("", true, false),
        ("New", true, false),
        ("Queued", true, false),
        ("ReadyToStart", true, false),
        ("InProgress", false, true),
        ("Novel", false, true),
        ("Completed", false, true),
        ("PartiallyFailed", false, true),
        ("Failed", false, true),
        ("Deleting", false, true),
    ] {
        let child = status_of("Backup", json!({"phase": phase}));
        for cause in [Cause::Cancelled, Cause::Timeout, Cause::Finished, Cause::Deleted] {
            let found = Velero.withdraw(&order, cause, Some((&key, &child)), &Facts::default(), at(NOW), at(NOW));
            let stopping = matches!(cause, Cause::Cancelled | Cause::Timeout);
            assert_eq!(
                (found.steps.len() == 1, found.done),
                (deletes && stopping, done || !stopping),
                "{phase} {cause:?}"
            );
            let guarded = Preconditions { uid: child.uid(), version: child.version() };
            assert!(found.steps.iter().all(|step| matches!(step, Step::Delete { only_if, .. } if *only_if == guarded)));
        }
    }
    assert!(Velero.withdraw(&order, Cause::Cancelled, None, &Facts::default(), at(NOW), at(NOW)).done);
}

fn backup_of(name: &str, change: Value) -> (&'static str, Value) {
    let backup = json!({
        "kind": "Backup",
        "metadata": {"name": name, "labels": {
            "app.vworkspace.io/cluster-id": "c1", "ops.vworkspace.io/target-namespace": "org-a", "ops.vworkspace.io/target-uid": "t-1",
            "ops.vworkspace.io/operation": "op-1", "ops.vworkspace.io/operation-name": "nightly-op",
        }},
        "spec": {"includedNamespaces": ["org-a"], "storageLocation": "primary"},
        "status": {"phase": "Completed"},
    });
    ("Backup", overlay(backup, &change))
}

fn maker_of(name: &str, outputs: Value) -> (&'static str, Value) {
    (
        "Operation",
        json!({
            "metadata": {"name": name, "uid": "op-1"}, "spec": {"targetRef": {"name": "files"}}, "status": {"outputs": outputs},
        }),
    )
}

fn restoring(more: Value, approved: bool) -> Order {
    let mut order = order(Restore, overlay(json!({"backupName": "b"}), &more));
    order.clone_approved = approved;
    order
}

#[test]
fn f3_a_restore_in_place() {
    let more = json!({"existingResourcePolicy": "update", "restorePVs": true, "storageClassMapping": {"slow": "fast"}});
    let world = vec![
        location_of(json!({})),
        backup_of("b", json!({})),
        maker_of("nightly-op", json!({"volumes": "data-a", "storageLocationDigest": names::digest(&["b", "p"])})),
    ];
    let start_ = start(&restoring(more.clone(), false), &caps(&["spec.resourceModifier"]), &world).unwrap();
    let kept_out = [
        "applicationinstances.apps.vworkspace.io",
        "operations.ops.vworkspace.io",
        "helmreleases.helm.toolkit.fluxcd.io",
        "helmrepositories.source.toolkit.fluxcd.io",
        "ocirepositories.source.toolkit.fluxcd.io",
        "helmcharts.source.toolkit.fluxcd.io",
        "leases.coordination.k8s.io",
    ];
    assert_eq!(
        start_.object.0,
        json!({
            "apiVersion": "velero.io/v1", "kind": "Restore", "metadata": {"name": NAME, "namespace": "velero", "labels": labels()},
            "spec": {
                "backupName": "b", "includedNamespaces": ["org-a"], "excludedResources": kept_out, "existingResourcePolicy": "update",
                "labelSelector": {"matchExpressions": [{"key": "owner", "operator": "NotIn", "values": ["helm"]}]},
                "restorePVs": true, "resourceModifier": {"kind": "ConfigMap", "name": NAME},
            },
        })
    );
    assert_eq!(start_.outputs["volumes"], "data-a");
    let [map] = start_.before.as_slice() else { panic!("{:?}", start_.before) };
    assert_eq!(
        (map.kind(), map.namespace(), map.name(), &map.0["metadata"]["labels"]),
        ("ConfigMap", Some("velero"), NAME, &labels())
    );
    let rules: Value = serde_yaml_ng::from_str(map.0["data"]["modifiers.yaml"].as_str().unwrap()).unwrap();
    assert_eq!(rules["resourceModifierRules"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        rules["resourceModifierRules"][0]["patches"][1],
        json!({"operation": "replace", "path": "/spec/storageClassName", "value": "fast"})
    );
    assert_eq!(start(&restoring(more, false), &caps(&[]), &world).unwrap_err().reason, Reason::ValidationFailed);
    let turn = json!({"storageClassMapping": {"a": "b", "b": "c"}});
    assert_eq!(
        start(&restoring(turn, false), &caps(&["spec.resourceModifier"]), &world).unwrap_err().reason,
        Reason::ValidationFailed
    );
}

#[test]
fn f2_a_clone_needs_its_approval_and_a_mapping() {
    let other = json!({"metadata": {"labels": {"ops.vworkspace.io/target-namespace": "org-b"}}, "spec": {"includedNamespaces": ["org-b"]}});
    let world = vec![location_of(json!({})), backup_of("b", other)];
    let clone = json!({"clone": true, "namespaceMapping": {"org-b": "org-a"}});
    let said =
        |more: &Value, approved: bool, world: &World| start(&restoring(more.clone(), approved), &caps(&[]), world);
    let start = said(&clone, true, &world).unwrap();
    assert_eq!(start.object.0["spec"]["namespaceMapping"], json!({"org-b": "org-a"}));
    assert_eq!(start.object.0["spec"]["includedNamespaces"], json!(["org-b"]));
    let refused = said(&clone, false, &world).unwrap_err();
    assert_eq!(refused.reason, Reason::PolicyDenied);
    assert!(refused.message.contains("BackupNotOwned"));
    for (more, approved, world) in
        [(&json!({}), false, &world), (&json!({}), false, &vec![]), (&json!({}), true, &world), (&clone, true, &vec![])]
    {
        assert_eq!(
            said(more, approved, world).unwrap_err(),
            refused,
            "an unknown and a foreign name get the same answer"
        );
    }
    for (case, mapping, reason) in [
        ("elsewhere", json!({"org-b": "org-c"}), Reason::PolicyDenied),
        ("not in it", json!({"org-z": "org-a"}), Reason::ValidationFailed),
        ("no mapping", json!({}), Reason::ValidationFailed),
    ] {
        let more = json!({"clone": true, "namespaceMapping": mapping});
        assert_eq!(said(&more, true, &world).unwrap_err().reason, reason, "{case}");
    }
}

#[test]
fn whose_backup_it_is() {
    let label = |key: &str, value: Value| json!({"metadata": {"labels": {(key): value}}});
    let legacy = json!({"metadata": {"labels": {
        "ops.vworkspace.io/target-namespace": null, "ops.vworkspace.io/target-uid": null, "ops.vworkspace.io/operation-name": null,
    }}});
    let by_label = json!({"metadata": {"labels": {"ops.vworkspace.io/operation-name": "b"}}});
    let denied = Err(Reason::PolicyDenied);
    for (case, objects, expect) in [
        ("exact", vec![backup_of("b", json!({}))], Ok("b")),
        ("by Operation", vec![backup_of("x", by_label.clone())], Ok("x")),
        ("exact before label", vec![backup_of("b", json!({})), backup_of("x", by_label.clone())], Ok("b")),
        (
            "foreign exact, own label",
            vec![backup_of("b", label("ops.vworkspace.io/target-uid", json!("t-2"))), backup_of("x", by_label.clone())],
            Ok("x"),
        ),
        ("several", vec![backup_of("x", by_label.clone()), backup_of("y", by_label)], Err(Reason::ValidationFailed)),
        ("other cluster", vec![backup_of("b", label("app.vworkspace.io/cluster-id", json!("c2")))], denied),
        ("other uid", vec![backup_of("b", label("ops.vworkspace.io/target-uid", json!("t-2")))], denied),
        ("other namespace", vec![backup_of("b", label("ops.vworkspace.io/target-namespace", json!("org-b")))], denied),
        ("no cluster", vec![backup_of("b", label("app.vworkspace.io/cluster-id", json!(null)))], denied),
        ("two namespaces", vec![backup_of("b", json!({"spec": {"includedNamespaces": ["org-a", "org-b"]}}))], denied),
        ("all namespaces", vec![backup_of("b", json!({"spec": {"includedNamespaces": ["*"]}}))], denied),
        ("odd namespaces", vec![backup_of("b", json!({"spec": {"includedNamespaces": "org-a"}}))], denied),
        ("legacy", vec![backup_of("b", legacy.clone()), maker_of("b", json!({}))], Ok("b")),
        ("legacy, maker gone", vec![backup_of("b", legacy.clone())], denied),
        (
            "legacy, other maker",
            vec![
                backup_of("b", overlay(legacy, &label("ops.vworkspace.io/operation", json!("op-9")))),
                maker_of("b", json!({})),
            ],
            denied,
        ),
        (
            "partly",
            vec![backup_of("b", json!({"status": {"phase": "PartiallyFailed"}}))],
            Err(Reason::ValidationFailed),
        ),
        ("failed", vec![backup_of("b", json!({"status": {"phase": "Failed"}}))], Err(Reason::DependencyMissing)),
        (
            "not complete",
            vec![backup_of("b", json!({"status": {"phase": "InProgress"}}))],
            Err(Reason::DependencyMissing),
        ),
        ("unknown phase", vec![backup_of("b", json!({"status": {"phase": "Novel"}}))], Err(Reason::DependencyMissing)),
        (
            "deleting",
            vec![backup_of("b", json!({"metadata": {"deletionTimestamp": "x"}}))],
            Err(Reason::DependencyMissing),
        ),
        (
            "moved location (W73)",
            vec![backup_of("b", json!({})), maker_of("nightly-op", json!({"storageLocationDigest": "other"}))],
            denied,
        ),
        (
            "other maker's digest",
            vec![
                backup_of("b", label("ops.vworkspace.io/operation", json!("op-2"))),
                maker_of("nightly-op", json!({"storageLocationDigest": "other"})),
            ],
            Ok("b"),
        ),
    ] {
        let mut world = objects;
        world.push(location_of(json!({})));
        let found = start(&restoring(json!({}), false), &caps(&[]), &world);
        let found = found.map(|start| start.object.0["spec"]["backupName"].as_str().unwrap().to_string());
        assert_eq!(found.map_err(|hold| hold.reason), expect.map(String::from), "{case}");
    }
    let partly = vec![location_of(json!({})), backup_of("b", json!({"status": {"phase": "PartiallyFailed"}}))];
    assert!(start(&restoring(json!({"allowPartial": true}), false), &caps(&[]), &partly).is_ok());
    let gone = vec![backup_of("b", json!({}))];
    assert_eq!(start(&restoring(json!({}), false), &caps(&[]), &gone).unwrap_err().reason, Reason::DependencyMissing);
    for odd in ["../b", "b,c", "b=c", "b c", "-b", ""] {
        let order = restoring(json!({"backupName": odd}), false);
        assert!(Velero.questions(Stage::Start, &order, &caps(&[]), &Facts::default()).is_empty(), "{odd}");
        assert_eq!(start(&order, &caps(&[]), &gone).unwrap_err().reason, Reason::PolicyDenied, "{odd}");
    }
}

#[test]
fn w09_files_do_not_come_without_their_pods() {
    let copied = ("PodVolumeBackup", json!({"metadata": {"name": "p", "labels": {"velero.io/backup-name": "b"}}}));
    for (more, copies, expect) in [
        (json!({"includedResources": ["persistentvolumeclaims"]}), true, Some(Reason::ValidationFailed)),
        (json!({"excludedResources": ["pods"]}), true, Some(Reason::ValidationFailed)),
        (json!({"includedResources": ["persistentvolumeclaims", "pods"]}), true, None),
        (json!({"includedResources": ["*"]}), true, None),
        (json!({}), true, None),
        (json!({"includedResources": ["persistentvolumeclaims"]}), false, None),
    ] {
        let mut world = vec![location_of(json!({})), backup_of("b", json!({}))];
        if copies {
            world.push(copied.clone());
        }
        let found = start(&restoring(more.clone(), false), &caps(&[]), &world).err().map(|hold| hold.reason);
        assert_eq!(found, expect, "{more} {copies}");
    }
}

#[test]
fn volumes_that_exist_are_named_and_accepted_only_on_demand() {
    let world = vec![location_of(json!({})), backup_of("b", json!({})), claim_of("data-a", "Bound", json!({}))];
    let hold = start(&restoring(json!({"restorePVs": true}), false), &caps(&[]), &world).unwrap_err();
    assert_eq!((hold.reason, hold.last), (Reason::ExistingVolumes, false));
    assert!(hold.message.contains("data-a"));
    let accepted =
        start(&restoring(json!({"restorePVs": true, "acceptExistingVolumes": true}), false), &caps(&[]), &world);
    assert_eq!(accepted.unwrap().outputs["skippedVolumes"], "data-a");
    assert!(start(&restoring(json!({"restorePVs": false}), false), &caps(&[]), &world).is_ok());
}

#[test]
fn the_mapping_table_of_restores_and_its_volumes() {
    let words = Words {
        running: Reason::VeleroRestoreInProgress,
        ended: Reason::VeleroRestoreSucceeded,
        succeeded: Reason::VeleroRestoreCompleted,
        failed: Reason::VeleroRestoreFailed,
        invalid: Reason::ValidationFailed,
    };
    let done = json!({"phase": "Completed", "progress": {"itemsRestored": 7}});
    table("Restore", &restoring(json!({}), false), &words, done.clone());
    let succeeded = || State::Succeeded(words.ended, words.succeeded);
    let ours = || json!({"velero.io/restore-name": NAME});
    for (case, accept, existing, world, state, skipped) in [
        (
            "all there",
            false,
            "",
            vec![claim_of("data-a", "Bound", ours()), claim_of("data-b", "Pending", ours())],
            succeeded(),
            None,
        ),
        (
            "one missing",
            false,
            "",
            vec![claim_of("data-a", "Bound", ours())],
            State::Failed(words.failed),
            Some("data-b"),
        ),
        (
            "made by others",
            false,
            "",
            vec![
                claim_of("data-a", "Bound", ours()),
                claim_of("data-b", "Bound", json!({"velero.io/restore-name": "x"})),
            ],
            State::Failed(words.failed),
            Some("data-b"),
        ),
        ("accepted", true, "", vec![claim_of("data-a", "Bound", ours())], succeeded(), Some("data-b")),
        (
            "was there, labelled since",
            true,
            "data-a",
            vec![claim_of("data-a", "Bound", ours()), claim_of("data-b", "Bound", ours())],
            succeeded(),
            Some("data-a"),
        ),
    ] {
        let mut order = restoring(json!({"restorePVs": true, "acceptExistingVolumes": accept}), false);
        order.outputs.insert("volumes".into(), "data-a,data-b".into());
        order.outputs.insert("skippedVolumes".into(), existing.into());
        let reading = watch(&order, &status_of("Restore", done.clone()), &world);
        assert_eq!(
            (reading.state, reading.outputs.get("skippedVolumes")),
            (state, skipped.map(|text| json!(text)).as_ref()),
            "{case}"
        );
        assert_eq!(reading.degraded.map(|found| found.0), skipped.map(|_| Reason::VolumesNotRestored), "{case}");
        let unread =
            Velero.interpret(&order, &caps(&[]), &status_of("Restore", done.clone()), &Facts::default(), at(NOW));
        assert_eq!(unread.state, State::Running(words.running), "{case}");
    }
    let outputs = watch(&restoring(json!({}), false), &status_of("Restore", done), &vec![]).outputs;
    assert_eq!(
        Value::Object(outputs),
        json!({"restoreName": NAME, "backupName": "nightly", "restoredItemCount": "7", "errorCount": "0", "warningCount": "0"})
    );
}

#[test]
fn a_restore_goes_with_its_operation_once_it_ended() {
    let order = restoring(json!({"storageClassMapping": {"slow": "fast"}}), false);
    let key = Velero.child(&order, &caps(&[])).unwrap();
    let map = |uid: &str| {
        ("ConfigMap", json!({"metadata": {"name": NAME, "uid": "m-1", "labels": {"ops.vworkspace.io/operation": uid}}}))
    };
    for (phase, cause, steps, done) in [
        ("InProgress", Cause::Cancelled, 0, true),
        ("InProgress", Cause::Timeout, 0, true),
        ("InProgress", Cause::Deleted, 0, true),
        ("Completed", Cause::Cancelled, 0, true),
        ("Completed", Cause::Finished, 0, true),
        ("Completed", Cause::Deleted, 2, false),
        ("Failed", Cause::Deleted, 2, false),
    ] {
        let child = status_of("Restore", json!({"phase": phase}));
        let facts = ask(Stage::Watch, &order, &caps(&[]), &vec![map(UID)]);
        let found = Velero.withdraw(&order, cause, Some((&key, &child)), &facts, at(NOW), at(NOW));
        assert_eq!((found.steps.len(), found.done), (steps, done), "{phase} {cause:?}");
    }
    let mut deleting = status_of("Restore", json!({"phase": "Completed"}));
    deleting.0["metadata"]["deletionTimestamp"] = json!("x");
    let facts = ask(Stage::Watch, &order, &caps(&[]), &vec![map("other")]);
    let found = Velero.withdraw(&order, Cause::Deleted, Some((&key, &deleting)), &facts, at(NOW), at(NOW));
    assert_eq!((found.steps, found.done), (vec![], true), "V12: stuck, and no map of ours");
}
