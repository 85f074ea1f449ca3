//! The adapter against the fake API server: what each verb sends, and what the server's real answers become.

use std::time::Duration;

use futures::StreamExt;
use operator::cluster_api::{
    ApiError, Change, ClusterApi, Detail, Key, Kind, Manager, Object, Preconditions, Propagation, Scope, Uid,
};
use serde_json::{Value, json};

use crate::cluster::Cluster;

fn config_maps() -> Kind {
    Kind::namespaced("", "v1", "ConfigMap", "configmaps")
}

fn key(name: &str) -> Key {
    Key::namespaced(&config_maps(), "default", name)
}

fn config_map(name: &str, value: &str) -> Object {
    Object(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": {"a": value}}),
    )
}

fn instance(name: &str) -> Value {
    json!({
        "apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance",
        "metadata": {"name": name, "namespace": "default", "labels": {"app.vworkspace.io/managed-by": "control-plane"}},
        "spec": {"mode": "placeholder", "appRef": {"catalogId": "crm"}},
    })
}

#[tokio::test(start_paused = true)]
async fn read_create_update_delete() {
    let cluster = Cluster::start().await;
    let api = cluster.api("operator");
    assert_eq!(api.get(&key("a")).await, Ok(None));
    let created = api.create(&config_map("a", "1")).await.expect("created");
    assert_eq!(api.create(&config_map("a", "1")).await, Err(ApiError::Exists));
    assert_eq!(api.get(&key("a")).await, Ok(Some(created.clone())));

    let mut changed = created.clone();
    changed.0["data"]["a"] = json!("2");
    let updated = api.update(&changed).await.expect("updated");
    assert_ne!(updated.version(), created.version());
    assert!(matches!(api.update(&changed).await, Err(ApiError::Conflict { .. })), "an old version");

    let other = Preconditions { uid: Some(Uid("other".into())), version: None };
    assert_eq!(api.delete(&key("a"), &other, Propagation::Background).await, Ok(()), "the object meant is gone");
    assert!(api.get(&key("a")).await.expect("read").is_some(), "the one of that name is not");
    let old = Preconditions { uid: created.uid(), version: created.version() };
    assert!(matches!(api.delete(&key("a"), &old, Propagation::Background).await, Err(ApiError::Conflict { .. })));
    let now = Preconditions { uid: created.uid(), version: updated.version() };
    assert_eq!(api.delete(&key("a"), &now, Propagation::Background).await, Ok(()));
    assert_eq!(api.delete(&key("a"), &now, Propagation::Background).await, Ok(()));
    assert!(matches!(api.update(&changed).await, Err(ApiError::Missing | ApiError::Conflict { .. })));
}

#[tokio::test(start_paused = true)]
async fn kinds_that_are_not_served_differ_from_objects_that_are_absent() {
    let cluster = Cluster::start().await;
    let api = cluster.api("operator");
    for (group, plural) in [("nobody.example", "things"), ("apps.vworkspace.io", "things")] {
        let kind = Kind::namespaced(group, "v1alpha1", "Thing", plural);
        let unserved = ApiError::Unserved { kind: format!("{group}/{plural}") };
        assert_eq!(api.get(&Key::namespaced(&kind, "default", "a")).await, Err(unserved.clone()));
        assert_eq!(api.list(&kind, &Scope::all()).await, Err(unserved));
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_is_complete_and_sorted_over_pages() {
    let cluster = Cluster::start().await;
    let api = cluster.api("operator");
    for number in (0..1_203).rev() {
        let mut object = config_map(&format!("c{number:04}"), "x");
        object.0["metadata"]["labels"] = json!({"odd": (number % 2 == 1).to_string()});
        cluster.create("/api/v1/namespaces/default/configmaps", &object.0).await;
    }
    cluster.take_requests();
    let names = |objects: Vec<Object>| objects.iter().map(|object| object.name().to_string()).collect::<Vec<_>>();
    let odd = names(api.list(&config_maps(), &Scope::namespace("default").labelled("odd=true")).await.expect("a list"));
    assert_eq!(odd.len(), 601);
    assert!(odd.is_sorted());
    assert_eq!(cluster.take_requests().len(), 3, "601 objects are three pages");
    let lean = api.list(&config_maps(), &Scope::namespace("default").lean()).await.expect("a list");
    let fields = |object: &Object| object.0.pointer("/metadata/managedFields").is_some();
    assert!(lean.len() >= 1_203 && !lean.iter().any(fields));
    let all = api.list(&config_maps(), &Scope::all()).await.expect("a list");
    assert!(all.iter().any(fields));
    assert!(all.len() >= 1_203);
    assert!(all.iter().all(|object| object.kind() == "ConfigMap" && object.0["apiVersion"] == "v1"));
}

#[tokio::test(start_paused = true)]
async fn an_apply_with_a_uid_neither_resurrects_nor_hijacks() {
    let cluster = Cluster::start().await;
    let api = cluster.api("operator");
    let applied = api.apply(&config_map("a", "1"), Manager::Operator, false).await.expect("created");
    let managers = applied.0.pointer("/metadata/managedFields/0/manager").and_then(Value::as_str);
    assert_eq!(managers, Some("vworkspace-operator"));

    let mut with_uid = config_map("a", "2");
    with_uid.0["metadata"]["uid"] = json!(applied.uid().expect("a uid").0);
    api.apply(&with_uid, Manager::Operator, false).await.expect("the same object");
    api.delete(&key("a"), &Preconditions::default(), Propagation::Background).await.expect("deleted");
    let resurrected = api.apply(&with_uid, Manager::Operator, false).await;
    assert!(matches!(resurrected, Err(ApiError::Conflict { .. })), "{resurrected:?}");
    api.create(&config_map("a", "3")).await.expect("a new object of that name");
    let hijacked = api.apply(&with_uid, Manager::Operator, false).await;
    // The server looks at the fields first.
    assert!(matches!(hijacked, Err(ApiError::FieldConflict { .. })), "{hijacked:?}");
    let patched = api.patch(&key("a"), &applied.uid().expect("a uid"), &json!({"data": {"a": "4"}})).await;
    assert!(matches!(patched, Err(ApiError::Conflict { .. })), "{patched:?}");
}

#[tokio::test(start_paused = true)]
async fn an_apply_with_a_version_undoes_nothing_that_was_written_since() {
    let cluster = Cluster::start().await;
    let api = cluster.api("operator");
    let read = api.apply(&config_map("a", "1"), Manager::Operator, false).await.expect("created");
    let of = |object: &Object, value: &str| {
        let mut wanted = config_map("a", value);
        wanted.0["metadata"]["uid"] = object.0["metadata"]["uid"].clone();
        wanted.0["metadata"]["resourceVersion"] = object.0["metadata"]["resourceVersion"].clone();
        wanted
    };
    api.apply(&of(&read, "3"), Manager::Operator, false).await.expect("unchanged since");
    let late = api.apply(&of(&read, "2"), Manager::Operator, false).await;
    assert!(matches!(late, Err(ApiError::Conflict { .. })), "{late:?}");
    assert_eq!(api.get(&key("a")).await.expect("read").expect("there").0["data"]["a"], "3");
}

#[tokio::test(start_paused = true)]
async fn an_apply_over_another_managers_field_names_it() {
    let cluster = Cluster::start().await;
    let api = cluster.api("operator");
    api.apply(&config_map("a", "1"), Manager::Agent, false).await.expect("created");
    let refused = api.apply(&config_map("a", "2"), Manager::Operator, false).await;
    let Err(ApiError::FieldConflict { fields, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(fields, [("vworkspace-agent".to_string(), ".data.a".to_string())]);
    api.apply(&config_map("a", "2"), Manager::Operator, true).await.expect("forced");
    let uid = api.get(&key("a")).await.expect("read").expect("there").uid().expect("a uid");
    let patched = api.patch(&key("a"), &uid, &json!({"data": {"b": "3"}})).await.expect("patched");
    assert_eq!(patched.0["data"], json!({"a": "2", "b": "3"}));
}

#[tokio::test(start_paused = true)]
async fn undeclared_fields_and_bad_values_are_refused() {
    let cluster = Cluster::start().await;
    let api = cluster.api("operator");
    let mut undeclared = instance("crm");
    undeclared["spec"]["noSuchField"] = json!(1);
    let answer = api.apply(&Object(undeclared), Manager::Operator, false).await;
    assert!(matches!(&answer, Err(ApiError::Refused { why }) if why.contains("noSuchField")), "{answer:?}");
    let mut invalid = instance("crm");
    invalid["spec"]["mode"] = json!("elsewhere");
    let answer = api.create(&Object(invalid)).await;
    assert!(matches!(&answer, Err(ApiError::Refused { why }) if why.contains("spec.mode")), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn status_is_a_forced_apply_without_empty_objects() {
    let cluster = Cluster::start().await;
    let api = cluster.api("operator");
    let path = "/apis/apps.vworkspace.io/v1alpha1/namespaces/default/applicationinstances";
    let created = Object(cluster.create(path, &instance("crm")).await);
    let kind = Kind::namespaced("apps.vworkspace.io", "v1alpha1", "ApplicationInstance", "applicationinstances");
    let key = Key::namespaced(&kind, "default", "crm");
    let uid = created.uid().expect("a uid");
    let condition = json!({"type": "Ready", "status": "True", "reason": "Placeholder", "message": "m",
        "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1});
    let status = json!({"observedGeneration": 1, "conditions": [condition], "helmReleaseRef": {}});
    api.patch_status(&key, &uid, created.version(), &status).await.expect("applied");
    let stored = api.get(&key).await.expect("read").expect("there");
    assert_eq!(stored.0["status"], json!({"observedGeneration": 1, "conditions": [condition]}));
    assert_eq!(stored.generation(), created.generation());

    let mut other_status = status.clone();
    other_status["observedGeneration"] = json!(2);
    let stale = api.patch_status(&key, &uid, created.version(), &other_status).await;
    assert!(matches!(stale, Err(ApiError::Conflict { .. })), "{stale:?}");
    api.patch_status(&key, &uid, None, &json!({})).await.expect("cleared");
    let default = json!({"observedGeneration": -1});
    assert_eq!(api.get(&key).await.expect("read").expect("there").0["status"], default, "what we left out is gone");
}

#[tokio::test(start_paused = true)]
async fn a_watch_lists_then_tells_and_survives_its_own_timeout() {
    for detail in [Detail::Full, Detail::Metadata] {
        let cluster = Cluster::start().await;
        let api = cluster.api("operator");
        cluster.create("/api/v1/namespaces/default/configmaps", &config_map("a", "1").0).await;
        let mut changes = api.watch(&config_maps(), &Scope::namespace("default").labelled("!hidden"), detail);
        assert_eq!(changes.next().await, Some(Change::Reset));
        loop {
            match changes.next().await.expect("never ends") {
                Change::Listed(object) => {
                    assert_eq!((object.kind(), &object.0["apiVersion"]), ("ConfigMap", &json!("v1")));
                    assert_eq!(object.0.get("data").is_some(), detail == Detail::Full);
                }
                Change::Synced => break,
                other => panic!("{other:?}"),
            }
        }
        // Longer than a watch lasts: it is renewed without a word.
        for number in 0..3 {
            tokio::time::sleep(Duration::from_secs(50)).await;
            cluster.create("/api/v1/namespaces/default/configmaps", &config_map(&format!("b{number}"), "1").0).await;
            let change = changes.next().await.expect("never ends");
            assert!(matches!(&change, Change::Applied(object) if object.name() == format!("b{number}")), "{change:?}");
        }
        cluster.admin.delete("/api/v1/namespaces/default/configmaps/a", None).await;
        let change = changes.next().await.expect("never ends");
        assert!(matches!(&change, Change::Deleted(object) if object.name() == "a"), "{change:?}");
        let requests = cluster.take_requests();
        assert!(
            requests
                .iter()
                .all(|request| !request.contains("resourceVersion=0") && !request.contains("sendInitialEvents"))
        );
        assert_eq!(
            requests.iter().filter(|request| !request.contains("watch=true")).count(),
            1,
            "one list: {requests:?}"
        );
        assert!(
            requests
                .iter()
                .filter(|request| request.contains("watch=true"))
                .all(|request| request.contains("timeoutSeconds=45"))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn discovery_knows_versions_fields_and_releases() {
    let cluster = Cluster::start().await;
    let api = cluster.api("operator");
    let caps = api.discover().await.expect("discovery");
    assert_eq!(caps.served("apps.vworkspace.io", "applicationinstances", &["v1alpha1"]), Some("v1alpha1"));
    assert_eq!(caps.served("batch", "jobs", &["v1"]), Some("v1"));
    assert_eq!(caps.served("velero.io", "backups", &["v1"]), None);
    let version = caps.served("helm.toolkit.fluxcd.io", "helmreleases", &["v2", "v2beta2"]).expect("served");
    let kind = Kind::namespaced("helm.toolkit.fluxcd.io", version, "HelmRelease", "helmreleases");
    for path in [
        "spec.chartRef",
        "spec.chart.spec.version",
        "spec.valuesFrom.targetPath",
        "status.history",
        "spec.install.remediation.retries",
    ] {
        assert!(caps.declares(&kind, path), "{path} in {:?}", caps.fields.keys());
    }
    assert!(!caps.declares(&kind, "spec.noSuchField"));
    let jobs = Kind::namespaced("batch", "v1", "Job", "jobs");
    for path in ["spec.podFailurePolicy", "spec.podReplacementPolicy"] {
        assert!(caps.declares(&jobs, path), "{path}: a built-in kind names its parts");
    }
    assert!(
        caps.fields
            .keys()
            .any(|name| name.starts_with("source.toolkit.fluxcd.io/") && name.ends_with("/ocirepositories"))
    );

    cluster.take_requests();
    assert_eq!(api.discover().await.expect("again"), caps);
    assert_eq!(cluster.take_requests().len(), 3, "schemas are not read again");

    cluster
        .admin
        .delete("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/helmreleases.helm.toolkit.fluxcd.io", None)
        .await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let without = api.discover().await.expect("discovery");
    assert_eq!(without.served("helm.toolkit.fluxcd.io", "helmreleases", &["v2", "v2beta2"]), None);
    assert!(without.served("source.toolkit.fluxcd.io", "ocirepositories", &["v1", "v1beta2"]).is_some());
}
