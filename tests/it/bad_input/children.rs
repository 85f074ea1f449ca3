//! Children that other people lay hands on, statuses that lie, and a Flux that is not there.

use fakes::flux::Settings;
use fakes::script::{Order, Switch, Target};
use serde_json::{Value, json};

use super::table::{DEFINITIONS, PRECIOUS, Row, Run, SECRETS, alone, fine, instance, nested, release, row, undelayed};
use crate::stage::{SOURCES, Stage};

/// The status with all evidence that `name` runs.
fn truth() -> Value {
    let now = "2026-01-01T00:00:30Z";
    let condition = |type_: &str| {
        json!({"type": type_, "status": "True", "reason": "InstallSucceeded", "message": "installed",
        "observedGeneration": 1, "lastTransitionTime": now})
    };
    json!({"observedGeneration": 1, "lastAttemptedGeneration": 1, "conditions": [condition("Ready"), condition("Released")],
        "history": [{"name": "x", "namespace": "org-a", "version": 1, "status": "deployed", "digest": "sha256:0", "chartName": "nextcloud",
            "chartVersion": "6.6.0+5f2c9d0a1b2c", "configDigest": "", "firstDeployed": now, "lastDeployed": now}]})
}

/// The truth with one place changed.
fn but(pointer: &str, value: Value) -> Value {
    let mut status = truth();
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    let parent = status.pointer_mut(parent).expect("a parent");
    match field.parse::<usize>() {
        Ok(index) => parent[index] = value,
        Err(_) => parent[field] = value,
    }
    status
}

/// Instances whose Flux is silent, and what somebody writes into the status of their HelmRelease.
fn liars() -> Vec<(Row, Value)> {
    let ready = |status: &str, reason: &str, message: &str| {
        json!({"type": "Ready", "status": status, "reason": reason, "message": message,
        "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:30Z"})
    };
    let busy = |name, what| row(name, what, "Reconciling=T/HelmReleaseInstalling", "", |_| {});
    // The history says that something runs; that it is what is wanted is not believed.
    let doubted = |name, what| row(name, what, "Reconciling=T/HelmReleaseUpgrading", "", |_| {});
    let failed = |name, what, words| row(name, what, "Ready=F/HelmReleaseFailed", words, |_| {});
    let mut stuck = but("/conditions/0", ready("Unknown", "Progressing", "working"));
    stuck["conditions"][0]["lastTransitionTime"] = json!("9999-12-31T23:59:59Z");
    let mut undated = stuck.clone();
    undated["conditions"][0]["lastTransitionTime"] = json!("the day before yesterday");
    let twice =
        json!([ready("True", "InstallSucceeded", ""), ready("False", "InstallFailed", ""), ready("Unknown", "", "")]);
    let mut stalled = but(
        "/conditions/0",
        ready("False", "InstallFailed", &format!("password={PRECIOUS} \u{7}\u{1b}[31m 🦀{}", "y".repeat(900_000))),
    );
    stalled["conditions"][1] =
        json!({"type": "Stalled", "status": "True", "reason": "Novel", "message": "", "observedGeneration": 1});
    vec![
        (fine("honest", "the truth", |_| {}), truth()),
        (fine("abysmal", "the truth beside an abyss", |_| {}), but("/novel", nested(600))),
        (busy("future", "a generation that never was"), but("/observedGeneration", json!(99))),
        (doubted("past", "ready about an older generation"), but("/conditions/0/observedGeneration", json!(0))),
        (busy("floating", "generations that are no whole numbers"), but("/lastAttemptedGeneration", json!(1.5))),
        (busy("worded", "a generation in quotation marks"), but("/observedGeneration", json!("1"))),
        (doubted("unsure", "a condition status that does not exist"), but("/conditions/0/status", json!("Sure"))),
        (doubted("untyped", "a condition status that is a boolean"), but("/conditions/0/status", json!(true))),
        (busy("mapped", "conditions as a map"), but("/conditions", json!({"Ready": "True"}))),
        (busy("unlisted", "a history that is no list"), but("/history", json!({"0": {"status": "deployed"}}))),
        (
            busy("mixed", "a history of wrong types"),
            but("/history", json!([7, null, {"version": "x", "status": 1, "chartVersion": []}])),
        ),
        (busy("shimmer", "a release status that does not exist"), but("/history/0/status", json!("shimmering"))),
        (doubted("another", "another chart version"), but("/history/0/chartVersion", json!("6.6.1"))),
        (doubted("unreleased", "ready without a release"), but("/conditions/1/status", json!("False"))),
        (doubted("twofold", "conditions that contradict each other"), but("/conditions", twice)),
        (doubted("endless", "stuck since the end of time"), stuck),
        (doubted("undated", "times that are none"), undated),
        (
            doubted("novel", "an unknown reason in progress"),
            but("/conditions/0", ready("Unknown", "Sh1mmering", "\u{202e}")),
        ),
        (
            failed("refusing", "an unknown reason of a failure", "Novel: no"),
            but("/conditions/0", ready("False", "Novel", "no")),
        ),
        (
            failed(
                "shouting",
                "a failure of a mebibyte with a secret and control characters",
                "InstallFailed: password=[REDACTED]",
            ),
            stalled,
        ),
        (row("wordless", "a status that is a word", "Ready=U/Reconciling", "", |_| {}), json!("fine")),
    ]
}

/// Lets any status into a HelmRelease: a Flux of another time may have another schema.
async fn loosen(stage: &Stage) {
    let path = format!("{DEFINITIONS}/helmreleases.helm.toolkit.fluxcd.io");
    let mut definition = stage.get(&path).await;
    for version in definition["spec"]["versions"].as_array_mut().expect("versions") {
        version["schema"]["openAPIV3Schema"]["properties"]["status"] =
            json!({"x-kubernetes-preserve-unknown-fields": true});
    }
    let (code, answer) = stage.admin.put(&path, &definition).await;
    assert_eq!(code, 200, "{answer}");
    stage.pass(3).await;
}

#[tokio::test(start_paused = true)]
async fn a_status_that_lies_convinces_nobody_and_delays_nobody() {
    let alone = alone().await;
    let stage = Stage::start(Settings::default()).await;
    loosen(&stage).await;
    let mut run = Run::new(stage);
    let (rows, lies): (Vec<Row>, Vec<Value>) = liars().into_iter().unzip();
    for row in &rows {
        run.stage.world.arm(Order::new(Switch::H17).on(Target::new("HelmRelease", "org-a", row.name)));
    }
    run.apply(&rows).await;
    run.stage.pass(30).await;
    for (row, lie) in rows.iter().zip(&lies) {
        let (code, answer) =
            run.stage.admin.merge_patch(&format!("{}/status", release(row.name)), &json!({"status": lie})).await;
        assert_eq!(code, 200, "{}: {answer}", row.what);
    }
    undelayed(run.neighbour("neighbour", 120).await, alone);
    run.stage.pass(60).await;
    run.judge(&rows).await;
    for row in &rows {
        let said = run.stage.conditions(row.name).await;
        let ready = said.iter().any(|text| text.starts_with("Ready=T"));
        assert_eq!(ready, matches!(row.name, "honest" | "abysmal"), "{}: {said:?}", row.what);
    }
    run.end().await;
}

#[tokio::test(start_paused = true)]
async fn lies_in_our_own_status_are_taken_back() {
    let run = Run::new(Stage::start(Settings::default()).await);
    run.neighbour("files", 60).await;
    let far = i64::MAX;
    let condition = |type_: &str, status: &str, generation: i64| {
        json!({"type": type_, "status": status, "reason": "Said", "message": PRECIOUS,
        "observedGeneration": generation, "lastTransitionTime": "2026-01-01T00:00:00Z"})
    };
    for lie in [
        json!({"observedGeneration": far}),
        json!({"transitionSeq": far}),
        json!({"transitionSeq": i64::MIN, "transitions": []}),
        json!({"conditions": [condition("Ready", "True", far), condition("Blocked", "True", far), condition("Deleting", "Unknown", 1)]}),
        json!({"conditions": []}),
        json!({"engineRef": null, "helmReleaseRef": {"name": "other", "namespace": "kube-system"}, "lastAppliedChart": null}),
    ] {
        let (code, answer) =
            run.stage.admin.merge_patch(&format!("{}/status", instance("files")), &json!({"status": lie})).await;
        assert_eq!(code, 200, "{lie}: {answer}");
        // Our own status wakes nobody; the next change of anything does.
        run.stage.patch(json!({"metadata": {"annotations": {"example.org/now": lie.to_string()}}})).await;
        run.stage.pass(10).await;
        run.stage.says("files", &["Ready=T/HelmReleaseReady", "Blocked=F/Unblocked"], 0).await;
        let found = run.stage.instance("files").await;
        assert_eq!(found["status"]["observedGeneration"], found["metadata"]["generation"], "{lie}");
        assert_eq!(found["status"]["helmReleaseRef"]["name"], "files");
        for condition in found["status"]["conditions"].as_array().expect("conditions") {
            let claims = condition["observedGeneration"].as_i64().unwrap_or_default();
            assert!(claims <= found["metadata"]["generation"].as_i64().expect("a generation"), "{lie}: {condition}");
        }
    }
    run.stage.pass(60).await;
    run.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_others_do_to_children_is_reported_and_left_alone() {
    let mut run = Run::new(Stage::start(Settings::default()).await);
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "values"}, "data": {"k": "YTogMQ=="}});
    run.stage.cluster.create(SECRETS, &secret).await;
    let rows = [
        row(
            "renamed",
            "another release name written into the HelmRelease",
            "Blocked=T/PolicyDenied",
            "field spec.timeout is held by manager kubectl-edit",
            |_| {},
        ),
        row(
            "resourced",
            "another address written into the source",
            "Blocked=T/PolicyDenied",
            "field spec.url is held by manager kubectl-edit",
            |_| {},
        ),
        row("held", "suspended by a human", "Suspended=T/ManuallySuspended", "resume it", |_| {}),
        row(
            "going",
            "deleted by a human and held by a finalizer",
            "Ready=U/Reconciling",
            "deleted by someone else",
            |_| {},
        ),
        row(
            "vanished",
            "its Secret vanished",
            "Blocked=T/MissingSecret",
            "Secret values with values does not exist",
            |manifest| {
                manifest["spec"]["values"] =
                    json!({"source": "secretRef", "secretRef": {"name": "values", "key": "k"}});
            },
        ),
        fine("stripped", "labels and a field of ours removed", |_| {}),
        fine("guarded", "a second owner and a foreign finalizer", |_| {}),
    ];
    run.apply(&rows).await;
    run.stage.pass(90).await;
    let edit = async |run: &Run, path: String, merge: Value| {
        let (code, answer) = run.stage.admin.merge_patch(&format!("{path}?fieldManager=kubectl-edit"), &merge).await;
        assert_eq!(code, 200, "{answer}");
    };
    edit(&run, release("renamed"), json!({"spec": {"timeout": "1m0s"}})).await;
    let source =
        run.stage.get(&release("resourced")).await["spec"]["chartRef"]["name"].as_str().expect("a source").to_owned();
    edit(&run, format!("{SOURCES}/{source}"), json!({"spec": {"url": "oci://else.example.org/x"}})).await;
    edit(&run, release("resourced"), json!({"metadata": {"labels": {"example.org/a": "b"}}})).await;
    edit(&run, release("held"), json!({"spec": {"suspend": true}})).await;
    edit(&run, release("going"), json!({"metadata": {"finalizers": ["example.org/hold", "finalizers.fluxcd.io"]}}))
        .await;
    run.stage.admin.delete(&release("going"), None).await;
    run.stage.admin.delete(&format!("{SECRETS}/values"), None).await;
    edit(
        &run,
        release("stripped"),
        json!({"metadata": {"labels": null, "annotations": null}, "spec": {"maxHistory": null}}),
    )
    .await;
    let owner = run
        .stage
        .cluster
        .create(
            "/api/v1/namespaces/org-a/configmaps",
            &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner"}}),
        )
        .await;
    let mut owners = run.stage.get(&release("guarded")).await["metadata"]["ownerReferences"].clone();
    owners
        .as_array_mut()
        .expect("ours")
        .push(json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}));
    edit(
        &run,
        release("guarded"),
        json!({"metadata": {"ownerReferences": owners, "finalizers": ["example.org/hold", "finalizers.fluxcd.io"]}}),
    )
    .await;
    run.stage.pass(330).await;
    let said = |name: &'static str| run.stage.conditions(name);
    // A release that runs keeps its Ready, whatever stands in the way of the next.
    for (name, condition) in [("renamed", "Ready=T"), ("held", "Ready=T"), ("guarded", "Ready=T")] {
        let said = said(name).await;
        assert!(said.iter().any(|text| text.starts_with(condition)), "{name}: {said:?}");
    }
    run.judge(&rows).await;
    assert_eq!(run.stage.get(&release("renamed")).await["spec"]["timeout"], "1m0s", "never overwritten");
    assert_eq!(run.stage.get(&format!("{SOURCES}/{source}")).await["spec"]["url"], "oci://else.example.org/x");
    assert_eq!(run.stage.get(&release("held")).await["spec"]["suspend"], true);
    assert!(run.stage.get(&release("going")).await["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(run.stage.get(&release("stripped")).await["spec"]["maxHistory"], 10, "ours, and nobody's else");
    let guarded = run.stage.get(&release("guarded")).await;
    assert_eq!(guarded["metadata"]["ownerReferences"].as_array().map(Vec::len), Some(2));
    assert!(guarded["metadata"]["finalizers"].to_string().contains("example.org/hold"));
    // Who lets go ends the conflict.
    edit(&run, release("renamed"), json!({"spec": {"timeout": "15m0s"}})).await;
    run.stage.says("renamed", &["Blocked=F/Unblocked"], 90).await;
    run.end().await;
}
