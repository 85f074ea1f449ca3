use super::super::operation::{Answer, State, Step};
use super::super::trial::{self, UID, at, order};
use super::*;
use crate::api::operation::OperationType::{Backup, Restore};
use crate::cluster_api::Preconditions;

fn caps() -> Caps {
    let mut caps = trial::caps();
    for plural in ["volumesnapshots", "volumesnapshotcontents", "volumesnapshotclasses"] {
        caps.versions.insert(format!("snapshot.storage.k8s.io/{plural}"), vec!["v1".into()]);
    }
    caps
}

fn labels_of(exclude: bool) -> Value {
    let mut labels = trial::labels();
    labels.as_object_mut().unwrap().remove("velero.io/exclude-from-backup");
    for (key, value) in [("target", "files"), ("target-namespace", "org-a"), ("target-uid", "t-1")] {
        labels[format!("ops.vworkspace.io/{key}")] = json!(value);
    }
    if exclude {
        labels["velero.io/exclude-from-backup"] = json!("true");
    }
    labels
}

fn claim_of(change: Value) -> Value {
    let mut claim = json!({
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data-files", "annotations": {"volume.kubernetes.io/storage-provisioner": "rbd.csi"}},
        "spec": {"storageClassName": "fast", "accessModes": ["ReadWriteMany"]},
        "status": {"phase": "Bound", "capacity": {"storage": "10Gi"}},
    });
    overlay(&mut claim, &change);
    claim
}

fn overlay(into: &mut Value, change: &Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (key, value) in change {
                overlay(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, change) => *into = change.clone(),
    }
}

fn class_of(name: &str, driver: &str, default: &str) -> Value {
    json!({
        "metadata": {"name": name, "annotations": {"snapshot.storage.kubernetes.io/is-default-class": default}},
        "driver": driver,
    })
}

/// Answers by kind and name from a list of objects.
fn start(order: &Order, objects: &[(&str, Value)]) -> Result<Start, Hold> {
    let world = |question: &Question| match question {
        Question::Object(key) => objects
            .iter()
            .find(|(kind, object)| *kind == key.kind.kind && object["metadata"]["name"] == key.name.as_str())
            .map_or(Answer::Absent, |(_, object)| Answer::Object(Box::new(Object(object.clone())))),
        Question::List(kind, _) => Answer::List(
            objects.iter().filter(|(found, _)| *found == kind.kind).map(|(_, object)| Object(object.clone())).collect(),
        ),
        _ => Answer::Absent,
    };
    let facts = trial::facts(&Snapshot, Stage::Start, order, &caps(), &world);
    let first = Snapshot.render(order, &caps(), &facts, at("2026-01-01T12:00:00Z"));
    assert_eq!(first, Snapshot.render(order, &caps(), &facts, at("2026-01-01T13:00:00Z")));
    first
}

const PVC: &str = "PersistentVolumeClaim";
const CLASS: &str = "VolumeSnapshotClass";

#[test]
fn f7_a_snapshot_names_its_class_and_has_no_owner() {
    let parameters = json!({"pvc": "data-files", "volumeSnapshotClassName": "rbd", "quiesce": {"enabled": true}});
    let mut order = order(Backup, parameters);
    let world = [(PVC, claim_of(json!({}))), (CLASS, class_of("rbd", "rbd.csi", "false"))];
    assert_eq!(start(&order, &world).unwrap_err().reason, Reason::CapabilityMissing);
    let target = order.target.object.as_mut().unwrap();
    target.0["metadata"]["annotations"] = json!({"ops.vworkspace.io/quiesce": "exec"});
    let start = start(&order, &world).unwrap();
    assert_eq!(
        start.object.0,
        json!({
            "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
            "metadata": {"name": "nightly-8f14e45f", "namespace": "org-a", "labels": labels_of(true)},
            "spec": {"volumeSnapshotClassName": "rbd", "source": {"persistentVolumeClaimName": "data-files"}},
        })
    );
    assert_eq!(start.outputs["consistency"], "crash");
    assert_eq!(start.degraded.unwrap().0, Reason::QuiesceSkipped);
}

#[test]
fn a_class_fits_the_driver_or_nothing_starts() {
    let storage = |provisioner: &str| json!({"metadata": {"name": "fast"}, "provisioner": provisioner});
    let nameless = || claim_of(json!({"metadata": {"annotations": null}}));
    for (case, given, objects, expect) in [
        ("no claim", None, vec![], Err((Reason::SourcePvcNotFound, true))),
        (
            "not bound",
            None,
            vec![(PVC, claim_of(json!({"status": {"phase": "Pending"}})))],
            Err((Reason::DependencyMissing, false)),
        ),
        (
            "deleting",
            None,
            vec![(PVC, claim_of(json!({"metadata": {"deletionTimestamp": "x"}})))],
            Err((Reason::DependencyMissing, false)),
        ),
        ("no class", None, vec![(PVC, claim_of(json!({})))], Err((Reason::MissingVolumeSnapshotClass, false))),
        (
            "one default",
            None,
            vec![
                (PVC, claim_of(json!({}))),
                (CLASS, class_of("a", "rbd.csi", "true")),
                (CLASS, class_of("b", "rbd.csi", "false")),
                (CLASS, class_of("c", "nfs.csi", "true")),
            ],
            Ok("a"),
        ),
        (
            "two defaults",
            None,
            vec![
                (PVC, claim_of(json!({}))),
                (CLASS, class_of("a", "rbd.csi", "true")),
                (CLASS, class_of("b", "rbd.csi", "true")),
            ],
            Err((Reason::MissingVolumeSnapshotClass, false)),
        ),
        (
            "unknown class",
            Some("x"),
            vec![(PVC, claim_of(json!({})))],
            Err((Reason::MissingVolumeSnapshotClass, false)),
        ),
        (
            "another driver",
            Some("c"),
            vec![(PVC, claim_of(json!({}))), (CLASS, class_of("c", "nfs.csi", "false"))],
            Err((Reason::MissingVolumeSnapshotClass, false)),
        ),
        (
            "driver from the storage class",
            None,
            vec![(PVC, nameless()), ("StorageClass", storage("rbd.csi")), (CLASS, class_of("a", "rbd.csi", "true"))],
            Ok("a"),
        ),
        (
            "driver unknown, no class",
            None,
            vec![(PVC, nameless()), (CLASS, class_of("a", "rbd.csi", "true"))],
            Err((Reason::MissingVolumeSnapshotClass, false)),
        ),
        (
            "driver unknown, class given",
            Some("a"),
            vec![(PVC, nameless()), (CLASS, class_of("a", "rbd.csi", "true"))],
            Ok("a"),
        ),
        (
            "odd class",
            Some("a"),
            vec![(PVC, claim_of(json!({}))), (CLASS, json!({"metadata": {"name": "a"}, "driver": 7}))],
            Err((Reason::MissingVolumeSnapshotClass, false)),
        ),
    ] {
        let parameters = match given {
            Some(class) => json!({"pvc": "data-files", "volumeSnapshotClassName": class}),
            None => json!({"pvc": "data-files"}),
        };
        let found = start(&order(Backup, parameters), &objects);
        let found = found.map(|start| start.object.0["spec"]["volumeSnapshotClassName"].as_str().unwrap().to_string());
        assert_eq!(found.map_err(|hold| (hold.reason, hold.last)), expect.map(String::from), "{case}");
    }
}

fn taken(status: Value) -> Object {
    Object(json!({
        "metadata": {"name": "nightly-8f14e45f", "namespace": "org-a", "uid": "vs-1", "resourceVersion": "9"},
        "status": status,
    }))
}

fn watch(child: &Object, content: Option<Value>) -> Reading {
    let order = order(Backup, json!({"pvc": "data-files"}));
    let world = |question: &Question| match question {
        Question::Object(key) if key.kind.kind == "VolumeSnapshot" => Answer::Object(Box::new(child.clone())),
        Question::Object(key) if key.kind.kind == "VolumeSnapshotContent" => {
            content.clone().map_or(Answer::Absent, |object| Answer::Object(Box::new(Object(object))))
        }
        _ => panic!("{question:?}"),
    };
    let facts = trial::facts(&Snapshot, Stage::Watch, &order, &caps(), &world);
    Snapshot.interpret(&order, &caps(), child, &facts, at("2026-01-01T12:10:00Z"))
}

#[test]
fn the_mapping_table_of_snapshots() {
    let running = || State::Running(Reason::VolumeSnapshotInProgress);
    let ready = || State::Succeeded(Reason::EngineCompleted, Reason::VolumeSnapshotReadyToUse);
    let content = |uid: &str| {
        Some(json!({"spec": {"volumeSnapshotRef": {"name": "nightly-8f14e45f", "namespace": "org-a", "uid": uid}}}))
    };
    let bound = |ready: Value| json!({"readyToUse": ready, "boundVolumeSnapshotContentName": "c"});
    let failing = json!({"readyToUse": false, "error": {"message": "rpc error: token=hunter2 refused"}});
    for (case, status, content, state, at_deadline, working) in [
        ("no status", json!(null), None, State::Waiting, false, true),
        ("empty status", json!({}), None, State::Waiting, false, true),
        ("not ready", bound(json!(false)), content("vs-1"), running(), false, true),
        ("an error", failing.clone(), None, running(), true, true),
        ("an odd error", json!({"error": "x"}), None, running(), false, true),
        ("ready", bound(json!(true)), content("vs-1"), ready(), false, false),
        (
            "ready, old error",
            json!({"readyToUse": true, "boundVolumeSnapshotContentName": "c", "error": {"message": "x"}}),
            content("vs-1"),
            ready(),
            false,
            false,
        ),
        ("ready, content gone (N3)", bound(json!(true)), None, running(), false, false),
        ("ready, content of another", bound(json!(true)), content("vs-2"), running(), false, false),
        ("ready, unbound", json!({"readyToUse": true}), None, running(), false, false),
        ("ready as text", bound(json!("true")), content("vs-1"), running(), false, true),
        ("odd status", json!([1]), None, State::Waiting, false, true),
    ] {
        let reading = watch(&taken(status), content);
        assert_eq!(
            (reading.state, reading.at_deadline.is_some(), reading.working),
            (state, at_deadline, working),
            "{case}"
        );
        assert!(!reading.message.contains("hunter2"), "{case}");
    }
    let deleting =
        Object(json!({"metadata": {"name": "n", "deletionTimestamp": "x"}, "status": {"readyToUse": false}}));
    assert!(!watch(&deleting, None).working, "its deletion was requested");
    let done = json!({"readyToUse": true, "boundVolumeSnapshotContentName": "c", "restoreSize": "10Gi", "creationTime": "2026-01-01T12:00:01Z"});
    let outputs = watch(&taken(done), content("vs-1")).outputs;
    assert_eq!(
        Value::Object(outputs),
        json!({"volumeSnapshotName": "nightly-8f14e45f", "volumeSnapshotContentName": "c", "restoreSize": "10Gi", "creationTime": "2026-01-01T12:00:01Z"})
    );
}

#[test]
fn only_a_snapshot_that_is_not_ready_is_taken_back() {
    let order = order(Backup, json!({"pvc": "data-files"}));
    let key = Snapshot.child(&order, &caps()).unwrap();
    let stop = |cause, object: Option<&Object>| {
        let child = object.map(|object| (&key, object));
        let now = at("2026-01-01T12:10:00Z");
        let found = Snapshot.withdraw(&order, cause, child, &Facts::default(), now, now);
        (found.steps, found.done)
    };
    let open = taken(json!({"readyToUse": false}));
    for cause in [Cause::Cancelled, Cause::Timeout] {
        let (steps, done) = stop(cause, Some(&open));
        let only_if = Preconditions { uid: open.uid(), version: open.version() };
        assert!(matches!(&steps[..], [Step::Delete { only_if: found, .. }] if *found == only_if), "{steps:?}");
        assert!(!done);
        assert_eq!(stop(cause, Some(&taken(json!({"readyToUse": true})))), (vec![], true));
        assert_eq!(stop(cause, None), (vec![], true));
        let mut deleting = open.clone();
        deleting.0["metadata"]["deletionTimestamp"] = json!("x");
        assert_eq!(stop(cause, Some(&deleting)), (vec![], true), "W13: it may never go");
    }
    for cause in [Cause::Finished, Cause::Deleted] {
        assert_eq!(stop(cause, Some(&open)), (vec![], true));
    }
}

fn snapshot_of(change: Value) -> Value {
    let mut snapshot = json!({
        "metadata": {"name": "snap", "labels": labels_of(true)},
        "spec": {"source": {"persistentVolumeClaimName": "data-files"}},
        "status": {"readyToUse": true, "restoreSize": "8Gi"},
    });
    overlay(&mut snapshot, &change);
    snapshot
}

#[test]
fn a_claim_is_made_from_an_own_snapshot() {
    let order = order(Restore, json!({"snapshotName": "snap", "pvc": "data-new"}));
    let start = start(&order, &[("VolumeSnapshot", snapshot_of(json!({}))), (PVC, claim_of(json!({})))]).unwrap();
    assert_eq!(
        start.object.0,
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data-new", "namespace": "org-a", "labels": labels_of(false)},
            "spec": {
                "accessModes": ["ReadWriteMany"], "storageClassName": "fast",
                "resources": {"requests": {"storage": "10Gi"}},
                "dataSource": {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "snap"},
            },
        })
    );
    assert_eq!(start.outputs["pvcName"], "data-new");
}

#[test]
fn what_keeps_a_claim_from_being_made() {
    let snap = |change: Value| ("VolumeSnapshot", snapshot_of(change));
    let foreign = |label: &str| snap(json!({"metadata": {"labels": {(label): "other"}}}));
    let old = || (PVC, json!({"metadata": {"name": "data-new"}}));
    let mine = || (PVC, json!({"metadata": {"name": "data-new", "labels": {"ops.vworkspace.io/operation": UID}}}));
    let nothing = json!({});
    for (case, more, objects, expect) in [
        ("unknown", &nothing, vec![], Err(Reason::PolicyDenied)),
        ("other cluster", &nothing, vec![foreign("app.vworkspace.io/cluster-id")], Err(Reason::PolicyDenied)),
        ("other target", &nothing, vec![foreign("ops.vworkspace.io/target")], Err(Reason::PolicyDenied)),
        ("other namespace", &nothing, vec![foreign("ops.vworkspace.io/target-namespace")], Err(Reason::PolicyDenied)),
        ("other uid", &nothing, vec![foreign("ops.vworkspace.io/target-uid")], Err(Reason::PolicyDenied)),
        ("not ready", &nothing, vec![snap(json!({"status": {"readyToUse": false}}))], Err(Reason::DependencyMissing)),
        (
            "deleting",
            &nothing,
            vec![snap(json!({"metadata": {"deletionTimestamp": "x"}}))],
            Err(Reason::DependencyMissing),
        ),
        ("claim exists", &nothing, vec![snap(json!({})), old()], Err(Reason::ExistingVolumes)),
        ("claim is ours", &nothing, vec![snap(json!({})), mine()], Ok("8Gi")),
        ("source gone", &nothing, vec![snap(json!({}))], Ok("8Gi")),
        (
            "no size anywhere",
            &nothing,
            vec![snap(json!({"status": {"restoreSize": "0"}}))],
            Err(Reason::ValidationFailed),
        ),
        ("too small", &json!({"size": "8191Mi"}), vec![snap(json!({}))], Err(Reason::ValidationFailed)),
        ("equal in other words", &json!({"size": "8192Mi"}), vec![snap(json!({}))], Ok("8192Mi")),
        ("decimal is smaller", &json!({"size": "8G"}), vec![snap(json!({}))], Err(Reason::ValidationFailed)),
        (
            "smaller than the source",
            &json!({"size": "9Gi"}),
            vec![snap(json!({})), (PVC, claim_of(json!({})))],
            Err(Reason::ValidationFailed),
        ),
        ("no quantity", &json!({"size": "large"}), vec![snap(json!({}))], Err(Reason::ValidationFailed)),
    ] {
        let mut parameters = json!({"snapshotName": "snap", "pvc": "data-new"});
        overlay(&mut parameters, more);
        let found = start(&order(Restore, parameters), &objects);
        let found =
            found.map(|start| start.object.0["spec"]["resources"]["requests"]["storage"].as_str().unwrap().to_string());
        assert_eq!(found.map_err(|hold| hold.reason), expect.map(String::from), "{case}");
    }
    let said = |objects: &[(&str, Value)]| {
        start(&order(Restore, json!({"snapshotName": "snap", "pvc": "p"})), objects).unwrap_err()
    };
    assert_eq!(said(&[]), said(&[foreign("ops.vworkspace.io/target-uid")]), "nobody learns that it exists");
}

#[test]
fn the_phases_of_a_claim() {
    let order = order(Restore, json!({"snapshotName": "snap", "pvc": "data-new"}));
    let running = || State::Running(Reason::EngineStarted);
    let done = || State::Succeeded(Reason::EngineCompleted, Reason::EngineCompleted);
    for (case, phase, mode, chosen, state) in [
        ("no status", json!(null), "Immediate", false, State::Waiting),
        ("pending", json!("Pending"), "Immediate", false, running()),
        ("waits for a pod", json!("Pending"), "WaitForFirstConsumer", false, done()),
        ("a pod came", json!("Pending"), "WaitForFirstConsumer", true, running()),
        ("bound", json!("Bound"), "Immediate", false, done()),
        ("lost", json!("Lost"), "Immediate", false, running()),
        ("unknown", json!("Novel"), "Immediate", false, running()),
        ("odd", json!(7), "Immediate", false, State::Waiting),
    ] {
        let mut child =
            json!({"metadata": {"name": "data-new"}, "spec": {"storageClassName": "fast"}, "status": {"phase": phase}});
        if chosen {
            child["metadata"]["annotations"] = json!({"volume.kubernetes.io/selected-node": "n1"});
        }
        let child = Object(child);
        let world = |question: &Question| match question {
            Question::Object(key) if key.kind.kind == "StorageClass" => {
                Answer::Object(Box::new(Object(json!({"volumeBindingMode": mode}))))
            }
            _ => Answer::Object(Box::new(child.clone())),
        };
        let facts = trial::facts(&Snapshot, Stage::Watch, &order, &caps(), &world);
        let now = at("2026-01-01T12:10:00Z");
        let reading = Snapshot.interpret(&order, &caps(), &child, &facts, now);
        assert_eq!(reading.state, state, "{case}");
        let key = Snapshot.child(&order, &caps()).unwrap();
        for cause in [Cause::Cancelled, Cause::Timeout, Cause::Finished, Cause::Deleted] {
            let found = Snapshot.withdraw(&order, cause, Some((&key, &child)), &facts, now, now);
            assert!(found.steps.is_empty() && found.done, "a claim is never deleted: {case}");
        }
    }
}
