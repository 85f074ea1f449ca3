//! What is written: finalizer, children, adoption.

use serde_json::json;

use super::super::fixtures::{Case, UID, caps, seconds, told};
use super::super::{Look, State};
use super::INSTALLED;
use crate::api::{annotation, names};
use crate::cluster_api::{Key, Object};
use crate::engine::Role;
use crate::foreign::flux;
use crate::reconcile::Effect;

#[test]
fn a_new_instance_gets_its_finalizer_before_its_children() {
    Case::new().check(State::Live, &["finalizer", "apply OCIRepository", "apply HelmRelease"], &[]);
}

#[test]
fn children_render_the_contract() {
    let case = Case::new();
    let source = case.child(Role::Source).0;
    assert_eq!(source["apiVersion"], "source.toolkit.fluxcd.io/v1");
    assert_eq!(
        source["spec"],
        json!({
            "interval": "10m0s",
            "url": "oci://charts.example.org/apps/nextcloud",
            "ref": {"tag": "6.6.0"},
            "layerSelector": {"mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "operation": "copy"},
        })
    );
    let release = case.child(Role::Release).0;
    assert_eq!(release["metadata"]["name"], "files");
    assert_eq!(
        release["metadata"]["labels"],
        json!({
            "app.vworkspace.io/managed-by": "vworkspace-operator",
            "app.vworkspace.io/cluster-id": "c1",
            "app.vworkspace.io/application-instance": "files",
            "apps.vworkspace.io/instance-uid": UID,
            "velero.io/exclude-from-backup": "true",
        })
    );
    assert_eq!(release["metadata"]["ownerReferences"][0]["uid"], UID);
    assert_eq!(release["metadata"]["annotations"][annotation::LAST_APPLIED_GENERATION], "1");
    let name = names::oci_repository("files", "oci://charts.example.org/apps", "nextcloud", "6.6.0");
    assert_eq!(
        release["spec"],
        json!({
            "interval": "5m0s", "timeout": "15m0s", "releaseName": "files", "targetNamespace": "org-a", "storageNamespace": "org-a",
            "maxHistory": 10,
            "chartRef": {"kind": "OCIRepository", "name": name},
            "install": {"remediation": {"retries": 0}},
            "upgrade": {"remediation": {"retries": 0, "remediateLastFailure": true}, "cleanupOnFail": true},
            "rollback": {"timeout": "5m0s", "cleanupOnFail": true},
            "uninstall": {"deletionPropagation": "background", "keepHistory": false},
            "driftDetection": {"mode": "enabled", "ignore": [
                {"paths": ["/spec/replicas"], "target": {"kind": "Deployment"}},
                {"paths": ["/spec/replicas"], "target": {"kind": "StatefulSet"}},
            ]},
            "values": {"replicas": 2},
        })
    );
    let text = |case: &Case| serde_json::to_string(&case.child(Role::Release)).unwrap();
    assert_eq!(text(&case), text(&case.clone()), "two renders are byte-equal");
}

#[test]
fn a_helm_repository_a_merge_and_optional_fields_render_the_contract() {
    let mut case = Case::new()
        .spec("/chart", json!({"sourceType": "helm", "url": "https://charts.example.org", "name": "nextcloud", "version": "6.6.0", "secretRef": {"name": "repo"}}))
        .spec("/values", json!({"source": "merge", "inline": {"a": 1}, "secretRef": {"name": "v", "key": "k"}}))
        .spec("/integrations", json!({"ingress": {"enabled": true, "host": "files.example.org"}}));
    let fields = case.snapshot.settings.caps.fields.get_mut("helm.toolkit.fluxcd.io/v2/helmreleases").unwrap();
    fields.extend(
        ["spec.install.strategy", "spec.upgrade.strategy", "spec.upgrade.chartNameChangeStrategy"].map(String::from),
    );
    let source = case.child(Role::Source).0;
    assert_eq!(source["metadata"]["name"], "files-source");
    assert_eq!(
        source["spec"],
        json!({"interval": "10m0s", "url": "https://charts.example.org", "secretRef": {"name": "repo"}})
    );
    let generated = case.child(Role::Values).0;
    assert_eq!(generated["immutable"], true);
    assert_eq!(generated["data"]["values.yaml"], r#"{"a":1,"ingress":{"enabled":true,"host":"files.example.org"}}"#);
    let spec = &case.child(Role::Release).0["spec"];
    assert_eq!(spec.get("values"), None);
    assert_eq!(
        spec["valuesFrom"],
        json!([
            {"kind": "ConfigMap", "name": generated["metadata"]["name"], "valuesKey": "values.yaml"},
            {"kind": "Secret", "name": "v", "valuesKey": "k"},
        ])
    );
    assert_eq!(
        spec["chart"]["spec"],
        json!({"chart": "nextcloud", "version": "6.6.0", "sourceRef": {"kind": "HelmRepository", "name": "files-source"}})
    );
    assert_eq!(spec.get("chartRef"), None);
    assert_eq!(spec["install"]["strategy"], json!({"name": "RemediateOnFailure"}));
    assert_eq!(spec["upgrade"]["chartNameChangeStrategy"], "InPlaceUpdate");
}

#[test]
fn an_upgrade_writes_a_new_source_and_the_release_and_says_so_at_once() {
    let case = Case::new().deployed().said(&INSTALLED).spec("/chart/version", json!("7.0.0")).generation(2);
    let mut upgraded = case.clone();
    upgraded.snapshot.source = Look::Absent;
    upgraded.check(
        State::Live,
        &["apply OCIRepository", "apply HelmRelease", "status", "event ReconcileStarted"],
        &["Ready=F/Upgrading", "Reconciling=T/HelmReleaseUpgrading"],
    );
}

#[test]
fn what_is_superseded_goes_once_the_new_release_is_there() {
    let old = names::oci_repository("files", "oci://charts.example.org/apps", "nextcloud", "6.5.0");
    let kind = flux::oci_repository(&caps()).unwrap();
    let object =
        |name: &str| Object(json!({"kind": "OCIRepository", "metadata": {"name": name, "uid": format!("uid-{name}")}}));
    let current = Case::new().child(Role::Source).name().to_string();
    let mut case = Case::new().deployed();
    let rest: Vec<(Key, Object)> = [old.as_str(), current.as_str()]
        .iter()
        .map(|name| (Key::namespaced(&kind, "org-a", name), object(name)))
        .collect();
    case.snapshot.rest = Some(rest);
    case.check(
        State::Live,
        &[&format!("delete OCIRepository {old}"), "status", "event ReleaseReady"],
        &["Ready=T/HelmReleaseReady"],
    );
    let busy = case.flux(&["Reconciling=T/Progressing", "Ready=U/Progressing"]);
    assert!(!told(&busy.plan()).iter().any(|effect| effect.starts_with("delete")));
}

#[test]
fn a_release_of_the_existing_agent_is_adopted() {
    let case = Case::new().deployed().release(|release| {
        release["metadata"]["labels"] = json!({});
        release["metadata"]["annotations"] = json!({});
        release["spec"]["values"] = json!({"copied": "secret"});
        release["metadata"]["managedFields"] = json!([{"manager": "manager", "operation": "Update", "apiVersion": "helm.toolkit.fluxcd.io/v2", "fieldsV1": {"f:spec": {"f:values": {"f:copied": {}}}}}]);
    });
    let plan = case.plan();
    assert_eq!(told(&plan)[0], "patch HelmRelease");
    assert!(!told(&plan).contains(&"apply HelmRelease".into()), "the patch moves the version that an apply insists on");
    assert_eq!(plan.wake, seconds(1));
    let Effect::Patch { merge, .. } = &plan.effects[0] else { panic!("no patch") };
    assert_eq!(merge["metadata"]["managedFields"][0]["manager"], "vworkspace-operator");
    assert_eq!(merge["metadata"]["managedFields"][0]["operation"], "Apply");
}

#[test]
fn an_apply_of_a_known_child_carries_its_uid_and_the_version_that_was_read() {
    let case = Case::new().deployed().spec("/values/inline", json!({"replicas": 3})).generation(2);
    let plan = case.plan();
    let Effect::Apply { object, .. } = &plan.effects[0] else { panic!("no apply") };
    assert_eq!((object.kind(), &object.0["metadata"]["uid"]), ("HelmRelease", &json!("uid-Release")));
    assert_eq!(object.version(), case.snapshot.release.found().and_then(Object::version));
    assert!(object.version().is_some());
}

#[test]
fn the_first_apply_of_a_child_insists_that_there_is_none() {
    let plan = Case::new().plan();
    let applies: Vec<_> = plan
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Apply { object, .. } if object.kind() != "ApplicationInstance" => Some(object),
            _ => None,
        })
        .collect();
    assert!(!applies.is_empty());
    for object in applies {
        assert_eq!(
            (object.uid(), object.version()),
            (None, Some(crate::cluster_api::Version("1".into()))),
            "{object:?}"
        );
    }
}
