use super::super::operation::OperationEngine;
use super::super::trial::{self, UID, at, caps, child_key, child_pod, labels, named, order, owner, watched};
use super::*;
use crate::api::operation::OperationType;

const NOW: &str = "2026-01-01T12:10:00Z";

fn release(history: Value) -> Object {
    Object(json!({
        "metadata": {"name": "files", "namespace": "org-a"},
        "spec": {"storageNamespace": "org-a"},
        "status": {"history": history},
    }))
}

fn deployed() -> Object {
    release(json!([
        7,
        {"name": "files", "version": 4, "status": "failed"},
        {"name": "files", "version": 3, "status": "deployed"},
    ]))
}

fn manifest() -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "files-pre-upgrade", "annotations": {"helm.sh/hook": "pre-upgrade", "helm.sh/hook-weight": "1"}},
        "spec": {
            "backoffLimit": 9,
            "template": {
                "metadata": {
                    "annotations": {"helm.sh/hook": "pre-upgrade", "meta.helm.sh/release-name": "files", "linkerd.io/inject": "disabled", "odd": 7},
                    "labels": {"app": "files", "ops.vworkspace.io/operation": "somebody", "helm.sh/chart": "nextcloud"},
                },
                "spec": {
                    "restartPolicy": "Never",
                    "serviceAccountName": "files-hooks",
                    "nodeSelector": null,
                    "containers": [{
                        "name": "upgrade", "image": "nextcloud:6.6.0", "command": ["occ", "upgrade"],
                        "env": [{"name": "DB_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}],
                    }],
                    "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data-files"}}],
                },
            },
        },
    })
}

fn start(release: Option<Object>, hook: Option<Value>, missing: &str) -> Result<Start, Hold> {
    let order = order(OperationType::Migration, json!({"hookName": "files-pre-upgrade"}));
    let world = |question: &Question| match question {
        Question::Object(key) | Question::Keys(key) if key.name == missing => Answer::Absent,
        Question::Object(key) if key.kind.kind == "HelmRelease" => {
            release.clone().map_or(Answer::Absent, |release| Answer::Object(Box::new(release)))
        }
        Question::Object(_) => Answer::Object(Box::new(Object(json!({})))),
        Question::Keys(_) => Answer::Keys(BTreeSet::from(["password".to_string()])),
        Question::Hook { secret, hook: name } => {
            assert_eq!(
                (secret.to_string().as_str(), name.as_str()),
                ("Secret org-a/sh.helm.release.v1.files.v3", "files-pre-upgrade")
            );
            hook.clone().map_or(Answer::Absent, Answer::Hook)
        }
        Question::List(..) => Answer::Absent,
    };
    let facts = trial::facts(&Hook, Stage::Start, &order, &caps(), &world);
    let start = Hook.render(&order, &caps(), &facts, at(NOW));
    assert_eq!(start, Hook.render(&order, &caps(), &facts, at(NOW)));
    start
}

#[test]
fn f6_a_hook_becomes_a_job_with_the_pod_the_chart_made() {
    let start = start(Some(deployed()), Some(manifest()), "").expect("it may start");
    let mut ours = labels();
    ours["ops.vworkspace.io/source-hook"] = json!("files-pre-upgrade");
    let mut of_pod = ours.clone();
    of_pod["app"] = json!("files");
    of_pod["helm.sh/chart"] = json!("nextcloud");
    assert_eq!(
        start.object.0,
        json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": "nightly-8f14e45f", "namespace": "org-a", "labels": ours, "ownerReferences": [owner()]},
            "spec": {
                "backoffLimit": 0, "activeDeadlineSeconds": 1800, "ttlSecondsAfterFinished": 86400,
                "podReplacementPolicy": "Failed",
                "podFailurePolicy": {"rules": [{"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]},
                "template": {
                    "metadata": {"labels": of_pod, "annotations": {"linkerd.io/inject": "disabled"}},
                    "spec": {
                        "restartPolicy": "Never",
                        "serviceAccountName": "files-hooks",
                        "containers": [{
                            "name": "upgrade", "image": "nextcloud:6.6.0", "command": ["occ", "upgrade"],
                            "env": [{"name": "DB_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}],
                        }],
                        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data-files"}}],
                    },
                },
            },
        })
    );
    assert!(!start.object.0.to_string().contains("helm.sh/hook"));
}

#[test]
fn a_pod_hook_is_wrapped_and_a_restarting_one_has_no_failure_policy() {
    let pod = |policy: Value| {
        let spec = json!({"restartPolicy": policy, "containers": [{"name": "t", "image": "x"}]});
        json!({"kind": "Pod", "metadata": {"labels": {"app": "t"}, "annotations": {"helm.sh/hook": "test"}}, "spec": spec})
    };
    for (policy, expect, guarded) in
        [(json!("Always"), "Never", true), (json!(null), "Never", true), (json!("OnFailure"), "OnFailure", false)]
    {
        let job = start(Some(deployed()), Some(pod(policy)), "").expect("it may start").object.0;
        assert_eq!(job["spec"]["template"]["spec"]["restartPolicy"], expect);
        assert_eq!(job["spec"].get("podFailurePolicy").is_some(), guarded);
        assert!(job["spec"]["template"]["metadata"].get("annotations").is_none());
        assert_eq!(job["spec"]["template"]["metadata"]["labels"]["ops.vworkspace.io/operation"], UID);
    }
}

#[test]
fn of_doubles_in_the_environment_the_last_counts() {
    let mut doubled = manifest();
    doubled["spec"]["template"]["spec"]["containers"][0]["env"] =
        json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}, {"name": "A", "value": "3"}]);
    let job = start(Some(deployed()), Some(doubled), "").expect("it may start").object.0;
    assert_eq!(
        job["spec"]["template"]["spec"]["containers"][0]["env"],
        json!([{"name": "B", "value": "2"}, {"name": "A", "value": "3"}])
    );
}

#[test]
fn what_cannot_start_says_what_to_do() {
    let mut secret = manifest();
    secret["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{"name": "DB_PASSWORD", "value": "hunter2"}]);
    let mut early = manifest();
    early["spec"]["template"]["spec"]["initContainers"] =
        json!([{"name": "i", "env": [{"name": "TOKEN", "value": "hunter2"}]}]);
    let elsewhere = {
        let mut release = deployed();
        release.0["spec"]["storageNamespace"] = json!("other");
        release
    };
    let none = json!([{"name": "files", "version": 1, "status": "failed"}]);
    for (release, hook, missing, expect) in [
        (None, None, "", "last HookRequiresRelease"),
        (Some(release(json!([]))), None, "", "last HookRequiresRelease"),
        (Some(release(json!("odd"))), None, "", "last HookRequiresRelease"),
        (Some(release(none)), None, "", "last HookRequiresRelease"),
        (Some(elsewhere), Some(manifest()), "", "last HookRequiresRelease"),
        (Some(deployed()), None, "", "last HookNotFound"),
        (Some(deployed()), Some(json!({"kind": "ServiceAccount"})), "", "last HookNotFound"),
        (Some(deployed()), Some(json!({"kind": "Job", "spec": 7})), "", "last HookNotFound"),
        (Some(deployed()), Some(secret), "", "last HookContainsInlineSecret"),
        (Some(deployed()), Some(early), "", "last HookContainsInlineSecret"),
        (
            Some(deployed()),
            Some(manifest()),
            "files-hooks",
            "wait MissingSecret ServiceAccount files-hooks does not exist",
        ),
        (Some(deployed()), Some(manifest()), "db", "wait MissingSecret Secret db does not exist"),
    ] {
        let hold = start(release, hook, missing).expect_err("it cannot start");
        let text = format!("{} {} {}", if hold.last { "last" } else { "wait" }, hold.reason, hold.message);
        assert!(text.starts_with(expect), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
    let mut placeholder = order(OperationType::Migration, json!({"hookName": "h"}));
    placeholder.target.object = Some(Object(json!({"spec": {"mode": "placeholder"}})));
    assert!(Hook.questions(Stage::Start, &placeholder, &caps(), &Facts::default()).is_empty());
    let hold = Hook.render(&placeholder, &caps(), &Facts::default(), at(NOW)).expect_err("no release");
    assert_eq!((hold.reason, hold.last), (Reason::HookRequiresRelease, true));
    assert!(Hook.kinds(&placeholder, &Caps::default()).is_err());
    assert_eq!(label_value(&format!("{}.-x", "h".repeat(62))), "h".repeat(62));
}

#[test]
fn questions_follow_from_answers() {
    let order = order(OperationType::Migration, json!({"hookName": "files-pre-upgrade"}));
    let mut facts = Facts::default();
    let asked = |facts: &Facts| Hook.questions(Stage::Start, &order, &caps(), facts);
    let first = asked(&facts);
    assert_eq!(first.iter().map(named).collect::<Vec<_>>(), ["HelmRelease org-a/files"]);
    facts.0.insert(first[0].clone(), Answer::Object(Box::new(deployed())));
    let second = asked(&facts);
    assert_eq!(named(&second[1]), "hook files-pre-upgrade in sh.helm.release.v1.files.v3");
    facts.0.insert(second[1].clone(), Answer::Hook(manifest()));
    let third: Vec<String> = asked(&facts).iter().map(named).collect();
    assert!(
        third.contains(&"Secret org-a/db".into()) && third.contains(&"ServiceAccount org-a/files-hooks".into()),
        "{third:?}"
    );
}

#[test]
fn every_row_of_the_mapping() {
    let order = order(OperationType::Migration, json!({"hookName": "h"}));
    let cond = |type_: &str, reason: &str| json!([{"type": type_, "status": "True", "reason": reason, "message": "m"}]);
    let crashed = json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 137}}}]});
    for (status, state, message) in [
        (json!({}), State::Waiting, "the Job waits for its pod"),
        (json!({"active": 1}), State::Running(Reason::HelmHookJobActive), "the pod runs"),
        (json!({"failed": 1}), State::Running(Reason::HelmHookJobActive), "a pod failed; the Job tries again"),
        (
            json!({"conditions": cond("Complete", ""), "completionTime": "2026-01-01T12:09:00Z"}),
            State::Succeeded(Reason::EngineCompleted, Reason::HelmHookJobSucceeded),
            "the Job is complete",
        ),
        (
            json!({"conditions": cond("Failed", "DeadlineExceeded")}),
            State::Failed(Reason::HelmHookJobFailed),
            "DeadlineExceeded: m; the container ended with exit code 137",
        ),
        (
            json!({"conditions": cond("Failed", "BackoffLimitExceeded")}),
            State::Failed(Reason::HelmHookJobFailed),
            "BackoffLimitExceeded: m; the container ended with exit code 137",
        ),
    ] {
        let job = Object(
            json!({"metadata": {"name": "nightly-8f14e45f", "uid": "child-1"}, "spec": {"podFailurePolicy": {}}, "status": status}),
        );
        let facts = watched(vec![child_pod("Job", "p", "", crashed.clone())], vec![]);
        let reading = Hook.interpret(&order, &caps(), &job, &facts, at(NOW));
        assert_eq!((&reading.state, reading.message.as_str()), (&state, message));
        let time = reading.outputs.get("completionTime").and_then(Value::as_str);
        assert_eq!(time.is_some(), matches!(state, State::Succeeded(..)));
        assert_eq!(reading.outputs["jobName"], "nightly-8f14e45f");
    }
    let key = child_key(&Hook, &order);
    let running = Object(json!({"metadata": {"uid": "child-1"}, "status": {"active": 1}}));
    let stop = |cause| Hook.withdraw(&order, cause, Some((&key, &running)), &watched(vec![], vec![]), at(NOW), at(NOW));
    assert_eq!(
        (stop(Cause::Cancelled).steps.len(), stop(Cause::Timeout).steps.len(), stop(Cause::Deleted).steps.len()),
        (1, 1, 0)
    );
}
