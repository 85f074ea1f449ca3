use super::super::operation::OperationEngine;
use super::super::trial::{at, caps, order, target};
use super::*;
use crate::api::operation::OperationType;

const NOW: &str = "2026-01-01T12:10:00Z";

/// The target at this generation with this version and these inline values, and who holds what.
fn target_at(generation: i64, version: &str, inline: Value, managers: &[(&str, &str, Value)]) -> Object {
    let mut object = target();
    object.0["metadata"]["generation"] = json!(generation);
    object.0["spec"]["chart"]["version"] = json!(version);
    object.0["spec"]["values"]["inline"] = inline;
    object.0["metadata"]["managedFields"] = managers
        .iter()
        .map(|(manager, operation, fields)| json!({"manager": manager, "operation": operation, "fieldsV1": fields}))
        .collect();
    object
}

fn start_on(target: Object, parameters: Value) -> Result<Start, Hold> {
    let mut order = order(OperationType::Upgrade, parameters);
    order.target.object = Some(target);
    let start = Helm.render(&order, &caps(), &Facts::default(), at(NOW));
    assert_eq!(start, Helm.render(&order, &caps(), &Facts::default(), at(NOW)));
    start
}

#[test]
fn an_upgrade_takes_exactly_the_version_and_the_leaves() {
    let parameters = json!({"targetVersion": "7.0.0", "valuesPatch": {"ingress": {"class": "nginx"}, "list": [3]}});
    let start = start_on(target(), parameters).expect("it may start");
    assert_eq!((start.key.to_string().as_str(), start.take), ("HelmRelease org-a/files", Some(Manager::Upgrade)));
    assert_eq!(
        start.object.0,
        json!({
            "apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance",
            "metadata": {"name": "files", "namespace": "org-a", "uid": "t-1", "resourceVersion": "41"},
            "spec": {
                "chart": {"version": "7.0.0"},
                "values": {"inline": {"ingress": {"class": "nginx"}, "list": [3]}},
            },
        })
    );
    assert_eq!(Value::Object(start.outputs), json!({"fromVersion": "6.6.0", "toVersion": "7.0.0"}));
    let values_only = start_on(target(), json!({"valuesPatch": {"replicas": 2}})).expect("it may start");
    assert_eq!(values_only.object.0["spec"], json!({"values": {"inline": {"replicas": 2}}}));
    assert_eq!(values_only.outputs["toVersion"], "6.6.0");
}

#[test]
fn what_the_manager_holds_from_before_is_applied_again_unchanged() {
    let held = json!({"f:spec": {"f:chart": {"f:version": {}}, "f:values": {"f:inline": {
        "f:replicas": {}, "f:ingress": {"f:enabled": {}}, "f:gone": {}, "f:list": {},
    }}}});
    let inline = json!({"replicas": 5, "ingress": {"enabled": true, "host": "theirs"}, "list": [1, 2]});
    let target = target_at(7, "6.6.0", inline, &[("vworkspace-operator-upgrade", "Apply", held)]);
    let start =
        start_on(target, json!({"valuesPatch": {"ingress": {"class": "nginx"}, "list": [3]}})).expect("it may start");
    assert_eq!(
        start.object.0["spec"],
        json!({
            "chart": {"version": "6.6.0"},
            "values": {"inline": {"ingress": {"enabled": true, "class": "nginx"}, "list": [3], "replicas": 5}},
        })
    );
}

#[test]
fn what_cannot_start_says_what_to_do() {
    let version = json!({"f:spec": {"f:chart": {"f:version": {}}}});
    let by = |manager: &str, fields: Value| target_at(7, "6.6.0", json!({}), &[(manager, "Apply", fields)]);
    let upgrade = json!({"targetVersion": "7.0.0"});
    let patch = json!({"valuesPatch": {"a": {"b": 1}}});
    let mut external = target();
    external.0["metadata"]["annotations"] = json!({"apps.vworkspace.io/helmrelease-authority": "external"});
    let mut secret = target();
    secret.0["spec"]["values"] = json!({"source": "secretRef", "secretRef": {"name": "v", "key": "values.yaml"}});
    let placeholder = Object(json!({"metadata": {"name": "files"}, "spec": {"mode": "placeholder"}}));
    for (target, parameters, expect) in [
        (
            by("kustomize-controller", version.clone()),
            upgrade.clone(),
            "PolicyDenied TargetManagedByGit: spec.chart.version is applied by kustomize-controller",
        ),
        (
            by("argocd-controller", version.clone()),
            patch.clone(),
            "PolicyDenied TargetManagedByGit: spec.chart.version",
        ),
        (
            by("argocd-application-controller", json!({"f:spec": {"f:values": {"f:inline": {"f:a": {"f:b": {}}}}}})),
            patch.clone(),
            "PolicyDenied TargetManagedByGit: spec.values.inline.a.b",
        ),
        (by("vworkspace-agent", version), upgrade.clone(), ""),
        (external, upgrade.clone(), "PolicyDenied the target's HelmRelease is written by someone else"),
        (secret.clone(), patch, "ValidationFailed parameters.valuesPatch needs a target whose values.source"),
        (secret, upgrade.clone(), ""),
        (placeholder, upgrade, "ValidationFailed the target has no release"),
        (
            target(),
            json!({"targetVersion": "latest"}),
            "ValidationFailed parameters.targetVersion must be one concrete",
        ),
        (
            target(),
            json!({"targetVersion": "^7.0.0"}),
            "ValidationFailed parameters.targetVersion must be one concrete",
        ),
        (target(), json!({"targetVersion": "v7.0.0-rc.1+b"}), ""),
        (target(), json!({"valuesPatch": {}}), "ValidationFailed parameters need targetVersion"),
        (target(), json!({"targetVersion": null}), "ValidationFailed parameters need targetVersion"),
        (
            target(),
            json!({"valuesPatch": {"a": [{"b": null}]}}),
            "ValidationFailed parameters.valuesPatch must hold no null",
        ),
        (
            target(),
            json!({"valuesPatch": {"db": {"password": "hunter2"}}}),
            "ValidationFailed inline secret material rejected at parameters.valuesPatch.db.password",
        ),
        (target(), json!({"valuesPatch": {"db": {"existingSecret": "db"}}}), ""),
    ] {
        let text = match start_on(target, parameters.clone()) {
            Ok(_) => String::new(),
            Err(hold) => {
                assert!(!hold.last && !hold.message.contains("hunter2"));
                format!("{} {}", hold.reason, hold.message)
            }
        };
        assert!(text.starts_with(expect) && text.is_empty() == expect.is_empty(), "{parameters}: {text}");
    }
    let mut gone = order(OperationType::Upgrade, json!({"targetVersion": "7.0.0"}));
    gone.target.object = None;
    assert!(Helm.child(&gone, &caps()).is_none() && Helm.kinds(&gone, &Caps::default()).is_err());
    let hold = Helm.render(&gone, &caps(), &Facts::default(), at(NOW)).expect_err("no target");
    assert_eq!(hold.reason, Reason::TargetNotFound);
}

fn cond(type_: &str, status: &str, reason: &str) -> Value {
    json!({"type": type_, "status": status, "reason": reason, "message": "m", "observedGeneration": 2})
}

/// The HelmRelease, rendered from this generation of the target, with this chart version newest in its history.
fn release(rendered: &str, deployed: &str, conditions: Vec<Value>) -> Object {
    Object(json!({
        "metadata": {
            "name": "files", "uid": "h-1", "generation": 2,
            "labels": {"apps.vworkspace.io/instance-uid": "t-1"},
            "annotations": {"vworkspace.io/last-applied-generation": rendered},
        },
        "spec": {},
        "status": {
            "observedGeneration": 2, "lastAttemptedGeneration": 2, "lastAttemptedReleaseAction": "upgrade",
            "history": [
                {"version": 4, "status": "deployed", "chartName": "nextcloud", "chartVersion": deployed},
                {"version": 3, "status": "superseded", "chartName": "nextcloud", "chartVersion": "6.6.0"},
            ],
            "conditions": conditions,
        },
    }))
}

fn good() -> Vec<Value> {
    vec![cond("Ready", "True", "UpgradeSucceeded"), cond("Released", "True", "UpgradeSucceeded")]
}

fn stalled(remediated: bool) -> Vec<Value> {
    let mut conditions = vec![
        cond("Stalled", "True", "RetriesExceeded"),
        cond("Ready", "False", "UpgradeFailed"),
        cond("Released", "False", "UpgradeFailed"),
    ];
    if remediated {
        conditions.push(cond("Remediated", "True", "RollbackSucceeded"));
    }
    conditions
}

fn read(target: Option<Object>, outputs: &Value, release: &Object) -> Reading {
    let mut order = order(OperationType::Upgrade, json!({"targetVersion": "7.0.0", "valuesPatch": {"replicas": 2}}));
    order.target.object = target;
    order.outputs = outputs.as_object().cloned().unwrap_or_default();
    Helm.interpret(&order, &caps(), release, &Facts::default(), at(NOW))
}

#[test]
fn every_row_of_the_verdict() {
    use State::{Failed, Running, Waiting};
    let mine = json!({"replicas": 2, "more": 1});
    let carrying = || target_at(8, "7.0.0", mine.clone(), &[]);
    let later = || target_at(9, "7.0.0", json!({"replicas": 2, "more": 7}), &[]);
    let other = || target_at(9, "7.1.0", mine.clone(), &[]);
    let undone = || target_at(9, "7.0.0", json!({"replicas": 1}), &[]);
    let before = || target_at(7, "6.6.0", json!({"replicas": 1}), &[]);
    let blocked = {
        let mut object = carrying();
        let block = json!({"type": "Blocked", "status": "True", "reason": "PolicyDenied", "message": "ChartVersionForbidden", "observedGeneration": 8});
        object.0["status"] = json!({"conditions": [block]});
        object
    };
    let foreign = {
        let mut object = release("8", "7.0.0", good());
        object.0["metadata"]["labels"] = json!({});
        object
    };
    let suspended = {
        let mut object = release("8", "7.0.0", good());
        object.0["spec"]["suspend"] = json!(true);
        object
    };
    let started = json!({"fromVersion": "6.6.0", "toVersion": "7.0.0"});
    let written = json!({"fromVersion": "6.6.0", "toVersion": "7.0.0", "targetGeneration": "8"});
    let upgrading = Running(Reason::HelmReleaseUpgrading);
    let succeeded = State::Succeeded(Reason::EngineCompleted, Reason::HelmReleaseUpgraded);
    let superseded = Failed(Reason::Superseded);
    let progressing = || vec![cond("Reconciling", "True", "Progressing"), cond("Ready", "Unknown", "Progressing")];
    let retrying =
        || vec![cond("Reconciling", "True", "ProgressingWithRetry"), cond("Ready", "False", "UpgradeFailed")];
    for (name, target, outputs, release, state, working) in [
        ("not written", Some(before()), &started, release("7", "6.6.0", good()), Waiting, false),
        ("written, not rendered", Some(carrying()), &started, release("7", "6.6.0", good()), Waiting, true),
        (
            "written, refused by the target's rules",
            Some(blocked),
            &written,
            release("7", "6.6.0", good()),
            Waiting,
            true,
        ),
        ("rendered by somebody else", Some(carrying()), &written, foreign, Waiting, true),
        ("odd generation", Some(carrying()), &written, release("eight", "7.0.0", good()), Waiting, true),
        (
            "rendered, working",
            Some(carrying()),
            &written,
            release("8", "6.6.0", progressing()),
            upgrading.clone(),
            true,
        ),
        ("rendered, old evidence", Some(carrying()), &written, release("8", "6.6.0", good()), upgrading.clone(), true),
        ("suspended by a human", Some(carrying()), &written, suspended, upgrading.clone(), true),
        (
            "failing, tried again",
            Some(carrying()),
            &written,
            release("8", "6.6.0", retrying()),
            upgrading.clone(),
            true,
        ),
        ("done", Some(carrying()), &written, release("8", "7.0.0+5f2c9d0a1b2c", good()), succeeded.clone(), false),
        ("done, recorded late", Some(carrying()), &started, release("8", "7.0.0", good()), succeeded.clone(), false),
        (
            "rolled back",
            Some(carrying()),
            &written,
            release("8", "6.6.0", stalled(true)),
            Failed(Reason::RolledBack),
            false,
        ),
        (
            "failed",
            Some(carrying()),
            &written,
            release("8", "6.6.0", stalled(false)),
            Failed(Reason::HelmReleaseUpgradeFailed),
            false,
        ),
        (
            "a later spec that carries it",
            Some(later()),
            &written,
            release("9", "7.0.0", good()),
            succeeded.clone(),
            false,
        ),
        (
            "a later spec, ours still rendered",
            Some(later()),
            &written,
            release("8", "7.0.0", good()),
            succeeded.clone(),
            false,
        ),
        ("another version after the verdict", Some(other()), &written, release("8", "7.0.0", good()), succeeded, false),
        (
            "another version before the verdict",
            Some(other()),
            &written,
            release("8", "6.6.0", progressing()),
            superseded.clone(),
            true,
        ),
        ("another version deployed", Some(other()), &written, release("9", "7.1.0", good()), superseded.clone(), false),
        (
            "another version on its way",
            Some(other()),
            &written,
            release("9", "6.6.0", progressing()),
            superseded.clone(),
            true,
        ),
        ("values taken back", Some(undone()), &written, release("9", "7.0.0", good()), superseded, false),
        ("target gone", None, &written, release("8", "7.0.0", good()), upgrading, true),
    ] {
        let reading = read(target, outputs, &release);
        assert_eq!((&reading.state, reading.working), (&state, working), "{name}: {}", reading.message);
        assert_eq!(reading.at_deadline.is_some(), name == "failing, tried again", "{name}");
        let revision = reading.outputs.get(REVISION).and_then(Value::as_str);
        assert_eq!(revision, matches!(state, State::Succeeded(..)).then_some("4"), "{name}");
        if !matches!(name, "not written" | "target gone") {
            assert_eq!(reading.outputs[TARGET_GENERATION], "8", "{name}");
        }
        if name.contains("rules") {
            assert_eq!(reading.message, "the target is blocked: PolicyDenied: ChartVersionForbidden");
        }
    }
    let blip = vec![
        cond("Reconciling", "True", "Progressing"),
        cond("Ready", "True", "UpgradeSucceeded"),
        cond("Released", "True", "UpgradeSucceeded"),
    ];
    assert_eq!(read(Some(carrying()), &written, &release("8", "7.0.0", blip)).message, "the release is being upgraded");
    for odd in [json!(null), json!({"metadata": 7, "status": "x"})] {
        assert_eq!(read(Some(carrying()), &written, &Object(odd)).state, Waiting);
    }
}

#[test]
fn only_stored_values_prove_the_effect() {
    let mut order = order(
        OperationType::Upgrade,
        json!({"targetVersion": "7.0.0", "valuesPatch": {"a": {"b": 1}, "l": [{"x": 1}], "e": {}}}),
    );
    let owned = json!({"f:spec": {"f:chart": {"f:version": {}}}});
    for (version, inline, expect) in [
        ("7.0.0", json!({"a": {"b": 1, "c": 2}, "l": [{"x": 1}], "e": {}}), true),
        ("7.0.0", json!({"a": {"b": 1.0}, "l": [{"x": 1}], "e": {"f": 1}}), true),
        ("6.6.0", json!({"a": {"b": 1}, "l": [{"x": 1}], "e": {}}), false),
        ("7.0.0", json!({"a": {"b": 2}, "l": [{"x": 1}], "e": {}}), false),
        ("7.0.0", json!({"a": {"b": 1}, "l": [{"x": 1, "y": 2}], "e": {}}), false),
        ("7.0.0", json!({"a": {"b": 1}, "l": [{"x": 1}, {"x": 1}], "e": {}}), false),
        ("7.0.0", json!({"l": [{"x": 1}], "e": {}}), false),
        ("7.0.0", json!(null), false),
    ] {
        let managers = [("vworkspace-operator-upgrade", "Apply", owned.clone())];
        order.target.object = Some(target_at(8, version, inline.clone(), &managers));
        assert_eq!(committed(&order), expect, "{version} {inline}");
    }
    order.target.object = None;
    assert!(!committed(&order));
}

#[test]
fn shared_fields_are_let_go_and_others_never() {
    let held = json!({"f:spec": {"f:chart": {"f:version": {}}, "f:values": {"f:inline": {"f:a": {}, "f:b": {}}}}});
    let ours = ("vworkspace-operator-upgrade", "Apply", held.clone());
    let inline = json!({"a": 1, "b": 2});
    let with = |others: Option<(&'static str, &'static str, Value)>| {
        let managers: Vec<_> = std::iter::once(ours.clone()).chain(others).collect();
        handed_over(&target_at(8, "7.0.0", inline.clone(), &managers)).map(|object| object.0)
    };
    assert_eq!(with(None), None);
    assert_eq!(with(Some(("vworkspace-agent", "Apply", json!({"f:spec": {"f:chart": {"f:name": {}}}})))), None);
    let version = json!({"f:spec": {"f:chart": {"f:version": {}}}});
    let rest = with(Some(("vworkspace-agent", "Apply", version))).expect("the version is shared");
    assert_eq!(rest["spec"], json!({"values": {"inline": {"a": 1, "b": 2}}}));
    assert_eq!((&rest["metadata"]["uid"], &rest["metadata"]["resourceVersion"]), (&json!("t-1"), &json!("41")));
    let nothing = with(Some(("vworkspace-odoo", "Apply", held))).expect("everything is shared");
    assert!(nothing.get("spec").is_none(), "{nothing}");
    assert_eq!(handed_over(&target()), None);
}

#[test]
fn nothing_is_undone() {
    let order = order(OperationType::Upgrade, json!({"targetVersion": "7.0.0"}));
    for (cause, told) in
        [(Cause::Cancelled, true), (Cause::Timeout, true), (Cause::Finished, false), (Cause::Deleted, false)]
    {
        let withdrawal = Helm.withdraw(&order, cause, None, &Facts::default(), at(NOW), at(NOW));
        assert!(withdrawal.steps.is_empty() && withdrawal.done);
        assert_eq!(withdrawal.note.contains("goes on"), told, "{cause:?}");
    }
}
