use super::super::operation::OperationEngine;
use super::super::trial::{self, at, caps, child_key, child_pod, labels, named, order, owner, watched};
use super::*;
use crate::api::operation::OperationType;

const NOW: &str = "2026-01-01T12:10:00Z";

fn start(parameters: Value, near: bool, far: bool) -> Result<Start, Hold> {
    let order = order(OperationType::Migration, parameters);
    let world = |question: &Question| match question {
        Question::Object(key) if (key.namespace.is_some() && near) || (key.namespace.is_none() && far) => {
            Answer::Object(Box::new(Object(json!({}))))
        }
        _ => Answer::Absent,
    };
    let facts = trial::facts(&Workflow, Stage::Start, &order, &caps(), &world);
    let start = Workflow.render(&order, &caps(), &facts, at(NOW));
    assert_eq!(start, Workflow.render(&order, &caps(), &facts, at(NOW)));
    start
}

#[test]
fn f4_a_migration_becomes_a_workflow_with_five_sorted_arguments() {
    let start = start(
        json!({
            "template": "nextcloud-migrate", "targetChartVersion": "7.0.0", "snapshotClassName": "rbd",
            "timeoutSeconds": 1800, "failureAction": "rollback",
        }),
        true,
        true,
    )
    .expect("it may start");
    assert_eq!((start.key.to_string().as_str(), start.take), ("Workflow org-a/nightly-8f14e45f", None));
    assert_eq!(
        start.object.0,
        json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow",
            "metadata": {
                "name": "nightly-8f14e45f", "namespace": "org-a", "labels": labels(), "ownerReferences": [owner()],
            },
            "spec": {
                "workflowTemplateRef": {"name": "nextcloud-migrate"},
                "serviceAccountName": "vworkspace-operation-runner",
                "arguments": {"parameters": [
                    {"name": "failureAction", "value": "rollback"},
                    {"name": "snapshotClassName", "value": "rbd"},
                    {"name": "targetChartVersion", "value": "7.0.0"},
                    {"name": "targetName", "value": "files"},
                    {"name": "targetNamespace", "value": "org-a"},
                ]},
                "activeDeadlineSeconds": 1800,
                "ttlStrategy": {"secondsAfterCompletion": 86400},
                "podMetadata": {"labels": labels()},
            },
        })
    );
}

#[test]
fn templates_of_the_namespace_come_first_and_explicit_names_win() {
    let explicit = json!({"template": "t", "failureAction": "none", "timeoutSeconds": 90000, "workflowTemplateParameters": {"failureAction": "rollback", "Z": "1", "targetName": "other"}});
    let workflow = start(explicit, false, true).expect("it may start").object.0;
    assert_eq!(workflow["spec"]["workflowTemplateRef"], json!({"name": "t", "clusterScope": true}));
    assert_eq!(workflow["spec"]["activeDeadlineSeconds"], 7200);
    let arguments: Vec<String> = workflow["spec"]["arguments"]["parameters"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| format!("{}={}", one["name"].as_str().unwrap_or("?"), one["value"].as_str().unwrap_or("?")))
        .collect();
    assert_eq!(arguments, ["Z=1", "failureAction=rollback", "targetName=other", "targetNamespace=org-a"]);
    let order = order(OperationType::Runbook, json!({"template": "t"}));
    let mut facts = Facts::default();
    let asked = |facts: &Facts, caps: &Caps| Workflow.questions(Stage::Start, &order, caps, facts);
    let first = asked(&facts, &caps());
    assert_eq!(first.iter().map(named).collect::<Vec<_>>(), ["WorkflowTemplate org-a/t"]);
    facts.0.insert(first[0].clone(), Answer::Absent);
    assert_eq!(named(&asked(&facts, &caps())[1]), "ClusterWorkflowTemplate t");
    let mut bare = caps();
    bare.versions.remove("argoproj.io/workflowtemplates");
    assert_eq!(named(&asked(&Facts::default(), &bare)[0]), "ClusterWorkflowTemplate t");
}

#[test]
fn what_cannot_start_says_what_to_do() {
    for (parameters, expect) in [
        (json!({"template": "t"}), "WorkflowTemplateNotFound there is neither a WorkflowTemplate t"),
        (
            json!({"template": "t", "workflowTemplateParameters": {"dbPassword": "hunter2"}}),
            "ValidationFailed inline secret material rejected",
        ),
        (json!({"template": "t", "workflowTemplateParameters": {"a b": "x"}}), "ValidationFailed names in"),
        (json!({"template": "t", "workflowTemplateParameters": {"": "x"}}), "ValidationFailed names in"),
        (json!({"template": 7}), "ValidationFailed parameters do not have the form"),
    ] {
        let hold = start(parameters, false, false).expect_err("it cannot start");
        let text = format!("{} {}", hold.reason, hold.message);
        assert!(text.starts_with(expect) && !hold.last && !text.contains("hunter2"), "{text}");
    }
    let order = order(OperationType::Runbook, json!({"template": "t"}));
    // Argo CD shares the group.
    let mut argocd = Caps::default();
    argocd.versions.insert("argoproj.io/applications".into(), vec!["v1alpha1".into()]);
    assert!(Workflow.kinds(&order, &argocd).is_err());
}

fn a_workflow(spec: Value, status: Value) -> Object {
    Object(json!({"metadata": {"name": "nightly-8f14e45f", "uid": "child-1"}, "spec": spec, "status": status}))
}

fn read(object: &Object, pods: Vec<Value>) -> Reading {
    Workflow.interpret(
        &order(OperationType::Migration, json!({"template": "t"})),
        &caps(),
        object,
        &watched(pods, vec![]),
        at(NOW),
    )
}

#[test]
fn every_row_of_the_mapping() {
    use State::{Failed, Running, Waiting};
    let node = |type_: &str, phase: &str, message: &str| json!({"n": {"displayName": "migrate", "type": type_, "phase": phase, "message": message}});
    let outcome = |value: Value| json!({"parameters": [{"name": "vws-outcome", "value": value}]});
    let progress = Running(Reason::WorkflowInProgress);
    let succeeded = State::Succeeded(Reason::EngineCompleted, Reason::WorkflowSucceeded);
    for (status, state, message) in [
        (json!(null), Waiting, "the workflow waits for its turn"),
        (json!({"phase": ""}), Waiting, "the workflow waits for its turn"),
        (json!({"phase": 7, "nodes": 3}), Waiting, "the workflow waits for its turn"),
        // W5
        (
            json!({"phase": "Pending", "message": "Workflow processing has been postponed"}),
            Waiting,
            "Workflow processing has been postponed",
        ),
        (json!({"phase": "Running", "nodes": node("Pod", "Running", "")}), progress.clone(), "step migrate runs"),
        // W6: nodes kept elsewhere.
        (json!({"phase": "Running", "offloadNodeStatusVersion": "v"}), progress.clone(), "the workflow runs"),
        // W3
        (json!({"phase": "Running", "nodes": node("Pod", "Succeeded", "")}), progress.clone(), "the workflow runs"),
        // W1: the exit handler still runs, and only the phase counts.
        (
            json!({"phase": "Running", "nodes": node("Pod", "Failed", "exit code 1")}),
            progress.clone(),
            "the workflow runs",
        ),
        (json!({"phase": "Omitted"}), progress.clone(), "the workflow is in phase Omitted, which is not known here"),
        (
            json!({"phase": "Running", "nodes": node("Suspend", "Running", "")}),
            Running(Reason::WorkflowSuspended),
            "the workflow is suspended at migrate; resume it when it may go on",
        ),
        (json!({"phase": "Succeeded"}), succeeded.clone(), "the workflow ended well"),
        (
            json!({"phase": "Succeeded", "nodes": node("Pod", "Failed", "x")}),
            succeeded.clone(),
            "the workflow ended well",
        ),
        (
            json!({"phase": "Succeeded", "outputs": outcome(json!("done"))}),
            succeeded.clone(),
            "the workflow ended well",
        ),
        (
            json!({"phase": "Succeeded", "outputs": outcome(json!("rolled-back"))}),
            Failed(Reason::RolledBack),
            "the workflow undid its work",
        ),
        (
            json!({"phase": "Failed", "nodes": node("Pod", "Failed", "exit code 3"), "outputs": outcome(json!("rolled-back"))}),
            Failed(Reason::RolledBack),
            "the workflow undid its work after a failure: migrate: exit code 3",
        ),
        (
            json!({"phase": "Failed", "message": "child failed", "nodes": node("Pod", "Failed", "exit code 3")}),
            Failed(Reason::WorkflowFailed),
            "migrate: exit code 3",
        ),
        (
            json!({"phase": "Failed", "message": "Stopped with strategy 'Stop'"}),
            Failed(Reason::WorkflowFailed),
            "Stopped with strategy 'Stop'",
        ),
        (
            json!({"phase": "Failed", "outputs": outcome(json!({"a": 1}))}),
            Failed(Reason::WorkflowFailed),
            "the workflow failed",
        ),
        // W2
        (json!({"phase": "Error", "message": "pod deleted"}), Failed(Reason::WorkflowError), "pod deleted"),
        (
            json!({"phase": "Error", "outputs": outcome(json!("rolled-back")), "nodes": node("Pod", "Error", "pod deleted")}),
            Failed(Reason::WorkflowError),
            "migrate: pod deleted",
        ),
    ] {
        let reading = read(&a_workflow(json!({}), status.clone()), vec![]);
        assert_eq!((&reading.state, reading.message.as_str()), (&state, message), "{status}");
        let suspended = state == Running(Reason::WorkflowSuspended);
        assert_eq!(reading.blocked.map(|blocked| blocked.0), suspended.then_some(Reason::AwaitingResume), "{status}");
        assert_eq!(reading.working, matches!(state, Waiting | Running(_)), "{status}");
        assert_eq!(
            (&reading.outputs["workflowName"], &reading.outputs["runId"]),
            (&json!("nightly-8f14e45f"), &json!("child-1"))
        );
        assert_eq!(reading.logs.and_then(|logs| logs.kind).as_deref(), Some("Workflow"));
    }
    let held = read(&a_workflow(json!({"suspend": true}), json!({"phase": "Running"})), vec![]);
    assert_eq!(held.state, Running(Reason::WorkflowSuspended));
    assert_eq!(read(&a_workflow(json!({"suspend": true}), json!({"phase": "Succeeded"})), vec![]).state, succeeded);
}

#[test]
fn exit_handlers_and_daemons_outlive_the_phase() {
    let ended = a_workflow(json!({}), json!({"phase": "Succeeded"}));
    let pod = |phase: &str| child_pod("Workflow", "p", "", json!({"phase": phase}));
    assert!(read(&ended, vec![pod("Running")]).working);
    assert!(!read(&ended, vec![pod("Succeeded")]).working);
    assert!(!read(&ended, vec![child_pod("Job", "p", "", json!({"phase": "Running"}))]).working);
}

#[test]
fn declared_outputs_are_taken_within_bounds() {
    let parameter = |name: &str, value: Value| json!({"name": name, "value": value});
    let many: Vec<Value> = (0..20).map(|n| parameter(&format!("vws-out-{n:02}"), json!("x".repeat(5000)))).collect();
    let read_outputs = |list: Vec<Value>| {
        read(
            &a_workflow(json!({}), json!({"phase": "Succeeded", "progress": "3/4", "outputs": {"parameters": list}})),
            vec![],
        )
    };
    let reading = read_outputs(vec![
        parameter("vws-out-rows", json!(42)),
        parameter("vws-out-log", json!("password=hunter2")),
        parameter("other", json!("x")),
        parameter("vws-out-odd", json!([1])),
        json!(7),
    ]);
    let names: Vec<&String> = reading.outputs.keys().collect();
    assert!(!reading.outputs["vws-out-log"].to_string().contains("hunter2"));
    assert_eq!((names.len(), &reading.outputs["vws-out-rows"]), (4, &json!("42")));
    assert_eq!(reading.progress.map(|progress| (progress.done, progress.total)), Some((3, Some(4))));
    let size: usize = read_outputs(many).outputs.values().map(|value| value.as_str().map_or(0, str::len)).sum();
    assert!((4000..7000).contains(&size), "{size}");
}

#[test]
fn every_stop_by_cause() {
    let order = order(OperationType::Migration, json!({"template": "t"}));
    let key = child_key(&Workflow, &order);
    let with = |shutdown: &str| {
        let spec = if shutdown.is_empty() { json!({}) } else { json!({"shutdown": shutdown}) };
        a_workflow(spec, json!({"phase": "Running"}))
    };
    let (running, stopping, ending) = (with(""), with("Stop"), with("Terminate"));
    let ended = a_workflow(json!({}), json!({"phase": "Failed"}));
    let mut going = running.clone();
    going.0["metadata"]["deletionTimestamp"] = json!(NOW);
    let pod = child_pod("Workflow", "p", "", json!({"phase": "Running"}));
    let (early, late) = ("2026-01-01T12:14:59Z", "2026-01-01T12:15:00Z");
    for (cause, child, pods, now, step, done) in [
        (Cause::Cancelled, Some(&running), vec![], early, "Stop", false),
        (Cause::Cancelled, Some(&stopping), vec![], early, "", false),
        (Cause::Cancelled, Some(&ending), vec![], early, "", false),
        (Cause::Cancelled, Some(&stopping), vec![], late, "Terminate", true),
        (Cause::Cancelled, Some(&running), vec![], late, "Terminate", true),
        (Cause::Cancelled, Some(&ending), vec![], late, "", true),
        (Cause::Cancelled, Some(&going), vec![], early, "", false),
        (Cause::Cancelled, Some(&ended), vec![], early, "", true),
        (Cause::Cancelled, None, vec![], early, "", true),
        (Cause::Cancelled, None, vec![pod.clone()], early, "", false),
        (Cause::Timeout, Some(&running), vec![], early, "Stop", false),
        (Cause::Timeout, Some(&stopping), vec![], late, "Terminate", true),
        (Cause::Finished, Some(&ended), vec![], early, "", true),
        (Cause::Deleted, Some(&running), vec![pod], early, "", true),
    ] {
        let child = child.map(|object| (&key, object));
        let withdrawal = Workflow.withdraw(&order, cause, child, &watched(pods, vec![]), at(NOW), at(now));
        let told: Vec<String> = withdrawal
            .steps
            .iter()
            .map(|step| match step {
                Step::Patch { merge, uid, .. } if uid.0 == "child-1" => {
                    merge["spec"]["shutdown"].as_str().unwrap_or("?").to_string()
                }
                other => format!("{other:?}"),
            })
            .collect();
        assert_eq!((told.join(" ").as_str(), withdrawal.done), (step, done), "{cause:?} {child:?} {now}");
    }
}
