use super::super::operation::{Answer, OperationEngine, Step};
use super::super::trial::{self, at, caps, child_key, child_pod, labels, named, order, owner, watched};
use super::*;
use crate::cluster_api::Propagation;

const NOW: &str = "2026-01-01T12:10:00Z";

/// Everything named exists; every Secret and ConfigMap has the key `password`.
fn there(question: &Question) -> Answer {
    match question {
        Question::Keys(_) => Answer::Keys(BTreeSet::from(["password".to_string()])),
        Question::Object(key) => Answer::Object(Box::new(Object(json!({ "metadata": { "name": key.name } })))),
        _ => Answer::Absent,
    }
}

fn start(type_: OperationType, parameters: Value, caps: &Caps, world: trial::World<'_>) -> Result<Start, Hold> {
    let order = order(type_, parameters);
    let facts = trial::facts(&Job, Stage::Start, &order, caps, world);
    let start = Job.render(&order, caps, &facts, at(NOW));
    assert_eq!(start, Job.render(&order, caps, &facts, at(NOW)));
    start
}

fn rendered(type_: OperationType, parameters: Value) -> Value {
    start(type_, parameters, &caps(), &there).expect("it may start").object.0
}

#[test]
fn f5_a_command_becomes_a_job_with_its_environment_in_order() {
    let start = start(
        OperationType::RunCommand,
        json!({
            "image": "registry.example/tools@sha256:00", "command": ["occ"], "args": ["files:scan", "--all"],
            "env": [
                {"name": "Z_MODE", "value": "full"},
                {"name": "DB_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
                {"name": "A_POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            ],
            "activeDeadlineSeconds": 1800, "backoffLimit": 2,
        }),
        &caps(),
        &there,
    )
    .expect("it may start");
    assert_eq!((start.key.to_string().as_str(), start.take), ("Job org-a/nightly-8f14e45f", None));
    assert_eq!(
        start.object.0,
        json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {
                "name": "nightly-8f14e45f", "namespace": "org-a", "labels": labels(), "ownerReferences": [owner()],
            },
            "spec": {
                "backoffLimit": 2, "activeDeadlineSeconds": 1800, "ttlSecondsAfterFinished": 86400,
                "template": {
                    "metadata": {"labels": labels()},
                    "spec": {
                        "restartPolicy": "Never", "serviceAccountName": "vworkspace-operation-runner",
                        "securityContext": {
                            "runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"},
                        },
                        "containers": [{
                            "name": "runner", "image": "registry.example/tools@sha256:00",
                            "command": ["occ"], "args": ["files:scan", "--all"],
                            "env": [
                                {"name": "Z_MODE", "value": "full"},
                                {"name": "DB_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
                                {"name": "A_POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                            ],
                            "resources": {
                                "requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "500m", "memory": "512Mi"},
                            },
                            "securityContext": {
                                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
                                "readOnlyRootFilesystem": true, "runAsNonRoot": true, "runAsUser": 65532,
                                "seccompProfile": {"type": "RuntimeDefault"},
                            },
                            "volumeMounts": [{"name": "vws-tmp", "mountPath": "/tmp"}],
                        }],
                        "volumes": [{"name": "vws-tmp", "emptyDir": {"sizeLimit": "1Gi"}}],
                    },
                },
            },
        })
    );
}

#[test]
fn a_migration_runs_at_most_once_where_the_server_can_say_so() {
    let job = rendered(OperationType::Migration, json!({"image": "x"}));
    assert_eq!(job["spec"]["backoffLimit"], 0);
    assert_eq!(job["spec"]["podReplacementPolicy"], "Failed");
    assert_eq!(
        job["spec"]["podFailurePolicy"],
        json!({"rules": [{"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]})
    );
    let old = Caps { fields: std::collections::BTreeMap::new(), ..caps() };
    let job = start(OperationType::Migration, json!({"image": "x"}), &old, &there).expect("it may start").object.0;
    assert!(job["spec"].get("podFailurePolicy").is_none() && job["spec"].get("podReplacementPolicy").is_none());
    let command = rendered(OperationType::RunCommand, json!({"image": "x"}));
    assert!(command["spec"].get("podFailurePolicy").is_none());
    assert_eq!(
        (&command["spec"]["backoffLimit"], &command["spec"]["activeDeadlineSeconds"]),
        (&json!(2), &json!(3600))
    );
}

#[test]
fn limits_are_capped_and_what_is_given_replaces_the_default() {
    let late = rendered(OperationType::RunCommand, json!({"image": "x", "activeDeadlineSeconds": 99999}));
    assert_eq!(late["spec"]["activeDeadlineSeconds"], 7200);
    let given = rendered(
        OperationType::RunCommand,
        json!({
            "image": "x", "env": {"B": "2", "A": "1"}, "imagePullSecrets": ["pull"], "ttlSecondsAfterFinished": 3600,
            "resources": {"limits": {"memory": "2Gi", "cpu": 1}},
            "volumes": [
                {"name": "data", "mountPath": "/data", "pvcName": "data-files"},
                {"name": "s", "mountPath": "/s", "secretName": "db", "readOnly": true},
                {"name": "scratch", "mountPath": "/tmp/", "configMapName": "c"},
            ],
        }),
    );
    let pod = &given["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(container["env"], json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]));
    assert_eq!(container["resources"], json!({"requests": {}, "limits": {"memory": "2Gi", "cpu": 1}}));
    assert_eq!(given["spec"]["ttlSecondsAfterFinished"], 3600);
    assert_eq!(pod["imagePullSecrets"], json!([{"name": "pull"}]));
    assert_eq!(
        pod["volumes"],
        json!([
            {"name": "data", "persistentVolumeClaim": {"claimName": "data-files", "readOnly": false}},
            {"name": "s", "secret": {"secretName": "db"}},
            {"name": "scratch", "configMap": {"name": "c"}},
        ])
    );
    assert_eq!(container["volumeMounts"][2], json!({"name": "scratch", "mountPath": "/tmp/", "readOnly": false}));
}

#[test]
fn what_cannot_start_says_what_to_do() {
    let volume = |more: Value| {
        let mut volume = json!({"name": "v", "mountPath": "/v"});
        volume.as_object_mut().expect("a map").extend(more.as_object().cloned().expect("a map"));
        volume
    };
    let claim = |name: &str| json!({"name": name, "mountPath": format!("/{name}"), "pvcName": name});
    for (parameters, expect) in [
        (
            json!({"env": {"DB_PASSWORD": "hunter2"}}),
            "ValidationFailed inline secret material rejected at parameters.env",
        ),
        (json!({"env": [{"name": "TOKEN", "value": "hunter2"}]}), "ValidationFailed inline secret material rejected"),
        (
            json!({"args": ["--db=postgres://u:hunter2@db/n"]}),
            "ValidationFailed inline secret material rejected at parameters.args[0]",
        ),
        (
            json!({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}),
            "ValidationFailed parameters.env[1].name is there twice",
        ),
        (
            json!({"env": [{"name": "A", "value": "1", "valueFrom": {"fieldRef": {}}}]}),
            "ValidationFailed parameters.env[0] needs either",
        ),
        (json!({"env": [{"name": "A", "valueFrom": {}}]}), "ValidationFailed parameters.env[0] needs either"),
        (json!({"volumes": [volume(json!({}))]}), "ValidationFailed parameters.volumes[0] needs exactly one"),
        (
            json!({"volumes": [volume(json!({"pvcName": "a", "secretName": "b"}))]}),
            "ValidationFailed parameters.volumes[0] needs exactly one",
        ),
        (
            json!({"volumes": [volume(json!({"pvcName": "a", "mountPath": "v"}))]}),
            "ValidationFailed parameters.volumes[0].mountPath",
        ),
        (json!({"volumes": [claim("a"), claim("b")]}), "ValidationFailed parameters.volumes may name at most one"),
        (
            json!({"volumes": [volume(json!({"secretName": "s"})), volume(json!({"secretName": "s"}))]}),
            "ValidationFailed parameters.volumes[1] has the name",
        ),
        (
            json!({"volumes": [volume(json!({"name": "vws-tmp", "secretName": "s"}))]}),
            "ValidationFailed parameters.volumes[0] has the name",
        ),
        (
            json!({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "gone", "key": "k"}}}]}),
            "MissingSecret Secret gone does not exist",
        ),
        (
            json!({"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "db", "key": "k"}}}]}),
            "MissingSecret ConfigMap db has no key k",
        ),
        (
            json!({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "gone", "key": "k", "optional": true}}}]}),
            "",
        ),
        (json!({"volumes": [volume(json!({"secretName": "gone"}))]}), "MissingSecret Secret gone does not exist"),
        (json!({"imagePullSecrets": ["gone"]}), "MissingSecret Secret gone does not exist"),
        (json!({"volumes": [claim("gone")]}), "DependencyMissing PersistentVolumeClaim gone does not exist"),
        (json!({"unknown": 1}), "ValidationFailed parameters do not have the form"),
    ] {
        let mut parameters = parameters;
        parameters["image"] = json!("x");
        let world = |question: &Question| match question {
            Question::Keys(key) | Question::Object(key) if key.name == "gone" => Answer::Absent,
            other => there(other),
        };
        let text = match start(OperationType::RunCommand, parameters.clone(), &caps(), &world) {
            Ok(_) => String::new(),
            Err(hold) => {
                assert!(!hold.last && !hold.message.contains("hunter2"), "{}", hold.message);
                format!("{} {}", hold.reason, hold.message)
            }
        };
        assert!(text.starts_with(expect) && text.is_empty() == expect.is_empty(), "{parameters}: {text}");
    }
    let none = Caps::default();
    let order = order(OperationType::RunCommand, json!({"image": "x"}));
    assert!(Job.kinds(&order, &none).is_err() && Job.child(&order, &none).is_none());
    assert_eq!(Job.kinds(&order, &caps()).expect("served").len(), 1);
}

#[test]
fn f12_a_placeholder_can_be_worked_on() {
    let mut order = order(OperationType::RunCommand, json!({"image": "x"}));
    order.target.object = Some(Object(json!({"metadata": {"name": "files"}, "spec": {"mode": "placeholder"}})));
    assert!(Job.render(&order, &caps(), &Facts::default(), at(NOW)).is_ok());
    order.target.object = None;
    assert!(Job.render(&order, &caps(), &Facts::default(), at(NOW)).is_ok());
}

fn a_job(spec: Value, status: Value) -> Object {
    Object(json!({
        "metadata": {"name": "nightly-8f14e45f", "uid": "child-1", "creationTimestamp": "2026-01-01T12:00:00Z"},
        "spec": spec, "status": status,
    }))
}

fn cond(type_: &str, reason: &str) -> Value {
    json!([{"type": type_, "status": "True", "reason": reason, "message": "m"}])
}

fn read(type_: OperationType, job: &Object, facts: &Facts) -> Reading {
    Job.interpret(&order(type_, json!({"image": "x"})), &caps(), job, facts, at(NOW))
}

#[test]
fn every_row_of_the_mapping() {
    use State::{Failed, Running, Waiting};
    let runs = child_pod("Job", "p1", "2026-01-01T12:00:01Z", json!({"phase": "Running"}));
    let pulls =
        json!({"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]});
    let pulls = child_pod("Job", "p2", "2026-01-01T12:05:00Z", pulls);
    let crashed = json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 3}}}]});
    let crashed = child_pod("Job", "p0", "2026-01-01T11:59:00Z", crashed);
    let done = child_pod("Job", "p1", "2026-01-01T12:00:01Z", json!({"phase": "Succeeded"}));
    let succeeded = State::Succeeded(Reason::EngineCompleted, Reason::JobSucceeded);
    for (status, pods, state, message, working) in [
        (json!(null), vec![], Waiting, "the Job waits for its pod", true),
        (json!({"conditions": 7, "active": "x"}), vec![], Waiting, "the Job waits for its pod", true),
        (json!({"active": 1}), vec![runs.clone()], Running(Reason::JobPodActive), "the pod runs", true),
        (
            json!({"active": 1}),
            vec![pulls.clone()],
            Running(Reason::JobPodActive),
            "the pod waits: the image cannot be pulled",
            true,
        ),
        // J6: between two attempts nothing is active and nothing has failed for good.
        (
            json!({"failed": 1}),
            vec![crashed.clone()],
            Running(Reason::JobPodActive),
            "a pod failed; the Job tries again",
            true,
        ),
        // J1 and J2: intermediate conditions are no verdict.
        (
            json!({"conditions": cond("SuccessCriteriaMet", "CompletionsReached")}),
            vec![runs.clone()],
            Running(Reason::JobPodActive),
            "the pod runs",
            true,
        ),
        (
            json!({"conditions": cond("FailureTarget", "BackoffLimitExceeded")}),
            vec![crashed.clone()],
            Running(Reason::JobPodActive),
            "the pod runs",
            true,
        ),
        (
            json!({"conditions": cond("Complete", "CompletionsReached"), "succeeded": 1}),
            vec![done.clone()],
            succeeded.clone(),
            "the Job is complete",
            false,
        ),
        // An older server says Complete before the pod has ended.
        (
            json!({"conditions": cond("Complete", "")}),
            vec![runs.clone()],
            succeeded.clone(),
            "the Job is complete",
            true,
        ),
        (
            json!({"conditions": cond("Failed", "DeadlineExceeded")}),
            vec![crashed.clone()],
            Failed(Reason::JobActiveDeadlineExceeded),
            "DeadlineExceeded: m; the container ended with exit code 3",
            false,
        ),
        (
            json!({"conditions": cond("Failed", "BackoffLimitExceeded")}),
            vec![crashed.clone(), done.clone()],
            Failed(Reason::JobFailedBackoffExceeded),
            "BackoffLimitExceeded: m; the container ended with exit code 3",
            false,
        ),
        (
            json!({"conditions": cond("Failed", "PodFailurePolicy")}),
            vec![],
            Failed(Reason::JobFailedBackoffExceeded),
            "PodFailurePolicy: m",
            false,
        ),
        (
            json!({"conditions": cond("Failed", "SomethingNew")}),
            vec![],
            Failed(Reason::JobFailedBackoffExceeded),
            "SomethingNew: m",
            false,
        ),
        (
            json!({"conditions": [cond("Failed", "x")[0], cond("Complete", "x")[0]]}),
            vec![],
            Running(Reason::JobPodActive),
            "the Job says that it is complete and that it failed",
            true,
        ),
    ] {
        let reading =
            read(OperationType::RunCommand, &a_job(json!({}), status.clone()), &watched(pods.clone(), vec![]));
        assert_eq!((&reading.state, reading.message.as_str(), reading.working), (&state, message, working), "{status}");
        assert_eq!(reading.outputs["jobName"], "nightly-8f14e45f");
        assert_eq!(reading.outputs.get("succeeded").is_some(), state == succeeded, "{status}");
        assert_eq!(reading.logs.is_some(), !pods.is_empty());
    }
    let both = watched(vec![pulls, runs], vec![]);
    let newest = read(OperationType::RunCommand, &a_job(json!({}), json!({"active": 1})), &both).logs.expect("a pod");
    assert_eq!((newest.kind.as_deref(), newest.name.as_deref()), (Some("Pod"), Some("p2")));
    let unread = read(
        OperationType::RunCommand,
        &a_job(json!({}), json!({"conditions": cond("Complete", "")})),
        &Facts::default(),
    );
    assert!(unread.working, "what was not read may run");
}

#[test]
fn a_migration_that_may_run_twice_says_so() {
    let active = json!({"active": 1});
    let facts = watched(vec![], vec![]);
    let old = read(OperationType::Migration, &a_job(json!({}), active.clone()), &facts);
    assert!(old.message.contains("second time"), "{}", old.message);
    let new = read(OperationType::Migration, &a_job(json!({"podFailurePolicy": {}}), active), &facts);
    assert_eq!(new.message, "the pod runs");
}

#[test]
fn a_job_without_a_pod_shows_the_newest_warning_without_its_counters() {
    let warning = |suffix: &str, at: &str| {
        json!({
            "metadata": {"name": at}, "type": "Warning", "reason": "FailedCreate", "lastTimestamp": at,
            "message": format!("Error creating: pods \"nightly-8f14e45f-{suffix}\" is forbidden: exceeded quota"),
            "involvedObject": {"uid": "child-1"},
        })
    };
    let said = |started: &str, pods: Vec<Value>, events: Vec<Value>| {
        let job = a_job(json!({}), json!({"startTime": started}));
        read(OperationType::RunCommand, &job, &watched(pods, events)).message
    };
    let quota =
        "the Job has no pod: FailedCreate: Error creating: pods \"nightly-8f14e45f\" is forbidden: exceeded quota";
    let long_ago = "2026-01-01T12:08:00Z";
    assert_eq!(said(long_ago, vec![], vec![warning("abcde", "2026-01-01T12:00:00Z")]), quota);
    assert_eq!(said(long_ago, vec![], vec![warning("x2z4q", "2026-01-01T12:00:01Z")]), quota);
    let waits = "the Job waits for its pod";
    assert_eq!(said(long_ago, vec![], vec![]), waits);
    assert_eq!(said("2026-01-01T12:08:01Z", vec![], vec![warning("abcde", "2026-01-01T12:09:00Z")]), waits);
    assert_eq!(said("2026-01-01T13:00:00Z", vec![], vec![warning("abcde", "2026-01-01T12:09:00Z")]), waits);
    let pending = child_pod("Job", "p", "2026-01-01T12:00:00Z", json!({"phase": "Pending"}));
    assert_eq!(said(long_ago, vec![pending], vec![warning("abcde", "2026-01-01T12:00:00Z")]), waits);
    assert_eq!(
        read(OperationType::RunCommand, &a_job(json!({"suspend": true}), json!({})), &watched(vec![], vec![])).message,
        "the Job is suspended"
    );
    let order = order(OperationType::RunCommand, json!({"image": "x"}));
    let asked =
        |facts: &Facts| Job.questions(Stage::Watch, &order, &caps(), facts).iter().map(named).collect::<Vec<_>>();
    assert_eq!(asked(&Facts::default()), ["pods"]);
    assert_eq!(asked(&watched(vec![], vec![])), ["pods", "events"]);
    assert_eq!(asked(&watched(vec![json!({})], vec![])), ["pods"]);
}

#[test]
fn pods_of_others_are_no_work_of_ours_and_orphans_are() {
    let job = a_job(json!({"suspend": true}), json!({}));
    let runs = json!({"phase": "Running"});
    let with = |owner: Value| {
        let mut pod = child_pod("Job", "p", "", runs.clone());
        pod["metadata"]["ownerReferences"] = owner;
        read(OperationType::RunCommand, &job, &watched(vec![pod], vec![])).working
    };
    assert!(with(json!([{"kind": "Job", "name": "other", "uid": "child-1", "controller": true}])));
    assert!(with(json!([{"kind": "Job", "name": "nightly-8f14e45f", "uid": "before", "controller": true}])));
    assert!(with(json!([])), "an orphan still runs");
    assert!(!with(json!([{"kind": "ReplicaSet", "name": "nightly-8f14e45f", "uid": "child-1", "controller": true}])));
    assert!(!with(json!([{"kind": "Job", "name": "copy", "uid": "other", "controller": true}])));
}

#[test]
fn every_stop_by_cause() {
    let order = order(OperationType::RunCommand, json!({"image": "x"}));
    let key = child_key(&Job, &order);
    let runs = child_pod("Job", "p", "", json!({"phase": "Running"}));
    let running = a_job(json!({}), json!({"active": 1}));
    let held = a_job(json!({"suspend": true}), json!({}));
    let ended = a_job(json!({}), json!({"conditions": cond("Complete", "")}));
    let mut going = running.clone();
    going.0["metadata"]["deletionTimestamp"] = json!("2026-01-01T12:09:00Z");
    let mut nameless = running.clone();
    nameless.0["metadata"]["uid"] = json!(7);
    for (cause, child, pods, steps, done) in [
        (Cause::Cancelled, Some(&running), vec![runs.clone()], "delete", false),
        (Cause::Cancelled, Some(&held), vec![], "delete", false),
        (Cause::Cancelled, Some(&going), vec![], "", false),
        (Cause::Cancelled, Some(&ended), vec![], "", true),
        (Cause::Cancelled, Some(&nameless), vec![], "", false),
        (Cause::Cancelled, None, vec![runs.clone()], "", false),
        (Cause::Cancelled, None, vec![], "", true),
        (Cause::Timeout, Some(&running), vec![runs.clone()], "suspend", false),
        (Cause::Timeout, Some(&held), vec![runs.clone()], "", false),
        (Cause::Timeout, Some(&held), vec![], "", true),
        (Cause::Timeout, Some(&going), vec![], "", true),
        (Cause::Timeout, None, vec![], "", true),
        (Cause::Finished, Some(&ended), vec![], "", true),
        (Cause::Deleted, Some(&held), vec![runs], "", true),
    ] {
        let child = child.map(|object| (&key, object));
        let what = format!("{cause:?} {child:?}");
        let withdrawal = Job.withdraw(&order, cause, child, &watched(pods, vec![]), at(NOW), at(NOW));
        let told: Vec<&str> = withdrawal
            .steps
            .iter()
            .map(|step| match step {
                Step::Delete { only_if, how, .. } => {
                    assert_eq!(
                        (only_if.uid.as_ref().map(|uid| uid.0.as_str()), *how),
                        (Some("child-1"), Propagation::Background)
                    );
                    "delete"
                }
                Step::Patch { merge, uid, .. } => {
                    assert_eq!((merge, uid.0.as_str()), (&json!({"spec": {"suspend": true}}), "child-1"));
                    "suspend"
                }
            })
            .collect();
        assert_eq!((told.join(" ").as_str(), withdrawal.done), (steps, done), "{what}");
    }
}
