//! Hostile and broken jobs: each that can be answered gets exactly one result with the right code, none has an effect, and
//! the good jobs of the same poll come through as fast as without them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use operator::protocol::job::Outcome;
use serde_json::{Value, json};

use crate::intake::connected;
use crate::stage::{INSTANCES, Stage, files};

fn named(name: &str) -> Value {
    let mut manifest = files("6.6.0");
    manifest["metadata"]["name"] = json!(name);
    manifest["spec"]["release"]["name"] = json!(name);
    manifest
}

fn changed(pointer: &str, value: Value) -> Value {
    let mut manifest = named("bad");
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    manifest.pointer_mut(parent).expect("a parent")[field.replace("~1", "/")] = value;
    manifest
}

fn object(api_version: &str, kind: &str, namespace: &str, name: &str) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": {}})
}

fn address(api_version: &str, kind: &str, namespace: &str, name: &str) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "namespace": namespace, "name": name})
}

/// A job with a key of its own, then changed.
fn job(kind: &str, payload: Value) -> Value {
    json!({"kind": kind, "payload": payload})
}

fn with(mut job: Value, member: &str, value: Value) -> Value {
    job[member] = value;
    job
}

fn without(mut job: Value, member: &str) -> Value {
    job.as_object_mut().expect("an object").remove(member);
    job[format!("no-{member}")] = json!(true);
    job
}

fn deep(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!([inner]))
}

const APPS: &str = "apps.vworkspace.io/v1alpha1";
const OPS: &str = "ops.vworkspace.io/v1alpha1";

/// What is sent, and the code of its result.
fn table() -> Vec<(&'static str, Value, &'static str)> {
    let apply = || job("apply", named("bad"));
    let operation = |parameters: Value| {
        let mut object = object(OPS, "Operation", "org-a", "bad");
        object["spec"] = json!({"targetRef": {"apiVersion": APPS, "kind": "ApplicationInstance", "name": "files"},
            "type": "Backup", "engine": "velero", "parameters": parameters});
        object
    };
    let label =
        |key: &str, value: Value| job("apply", changed(&format!("/metadata/labels/{}", key.replace('/', "~1")), value));
    let policy = |text: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "vworkspace-catalog-policy", "namespace": "vworkspace-system"},
            "data": {"policy.json": text}})
    };
    vec![
        ("unknown kind", job("exec", json!({"command": "id"})), "UnsupportedKind"),
        ("no kind", without(apply(), "kind"), "UnsupportedKind"),
        ("kind is a number", with(apply(), "kind", json!(7)), "InvalidPayload"),
        ("foreign namespace", job("apply", changed("/metadata/namespace", json!("closed"))), "NamespaceNotGated"),
        ("absent namespace", job("apply", changed("/metadata/namespace", json!("nowhere"))), "NamespaceNotGated"),
        ("system namespace", job("apply", changed("/metadata/namespace", json!("kube-system"))), "NamespaceNotGated"),
        (
            "operator namespace",
            job("apply", changed("/metadata/namespace", json!("vworkspace-system"))),
            "NamespaceNotGated",
        ),
        ("namespace climbs", job("apply", changed("/metadata/namespace", json!("../kube-system"))), "InvalidPayload"),
        ("no namespace", job("apply", changed("/metadata/namespace", Value::Null)), "InvalidPayload"),
        ("Deployment", job("apply", object("apps/v1", "Deployment", "org-a", "bad")), "KindNotAllowed"),
        ("Secret", job("apply", object("v1", "Secret", "org-a", "bad")), "KindNotAllowed"),
        (
            "the ledger itself",
            job("apply", object("v1", "ConfigMap", "vworkspace-system", "vworkspace-applied-jobs")),
            "KindNotAllowed",
        ),
        (
            "ClusterRole",
            job("apply", object("rbac.authorization.k8s.io/v1", "ClusterRole", "", "bad")),
            "KindNotAllowed",
        ),
        (
            "RoleBinding",
            job("apply", object("rbac.authorization.k8s.io/v1", "RoleBinding", "org-a", "bad")),
            "KindNotAllowed",
        ),
        ("Cluster", job("apply", object(OPS, "Cluster", "", "cluster")), "KindNotAllowed"),
        ("Namespace", job("apply", object("v1", "Namespace", "", "org-a")), "KindNotAllowed"),
        (
            "HelmRelease",
            job("apply", object("helm.toolkit.fluxcd.io/v2", "HelmRelease", "org-a", "files")),
            "KindNotAllowed",
        ),
        (
            "BackupStorageLocation",
            job("apply", object("velero.io/v1", "BackupStorageLocation", "velero", "bad")),
            "KindNotAllowed",
        ),
        ("subresource", job("apply", changed("/subresource", json!("status"))), "KindNotAllowed"),
        (
            "kind with a subresource",
            job("apply", changed("/kind", json!("ApplicationInstance/status"))),
            "KindNotAllowed",
        ),
        ("name with a subresource", job("apply", changed("/metadata/name", json!("files/status"))), "InvalidPayload"),
        (
            "kind of another version",
            job("apply", changed("/apiVersion", json!("apps.vworkspace.io/v1"))),
            "KindNotAllowed",
        ),
        ("kind of another group", job("apply", changed("/apiVersion", json!(OPS))), "KindNotAllowed"),
        ("apiVersion is a list", job("apply", changed("/apiVersion", json!([APPS]))), "InvalidPayload"),
        ("other cluster", label("app.vworkspace.io/cluster-id", json!("c2")), "ClusterIdMismatch"),
        ("cluster id is a number", label("app.vworkspace.io/cluster-id", json!(1)), "ClusterIdMismatch"),
        (
            "poses as the operator",
            label("app.vworkspace.io/managed-by", json!("vworkspace-operator")),
            "InvalidPayload",
        ),
        ("poses as a workflow", label("ops.vworkspace.io/parent-operation", json!("u")), "InvalidPayload"),
        ("poses as a child", label("apps.vworkspace.io/instance-uid", json!("u")), "InvalidPayload"),
        ("labels are a list", job("apply", changed("/metadata/labels", json!(["a"]))), "InvalidPayload"),
        (
            "600 KiB",
            job("apply", changed("/spec/values/inline", json!({"a": "x".repeat(600 * 1024)}))),
            "PayloadTooLarge",
        ),
        (
            "600 KiB encrypted",
            with(without(apply(), "payload"), "encryptedPayload", json!("x".repeat(600 * 1024))),
            "PayloadTooLarge",
        ),
        ("deep", job("apply", changed("/spec/values/inline", deep(500))), "InvalidPayload"),
        ("no key", without(apply(), "idempotencyKey"), "InvalidPayload"),
        ("empty key", with(apply(), "idempotencyKey", json!("")), "InvalidPayload"),
        ("key is a list", with(apply(), "idempotencyKey", json!(["k"])), "InvalidPayload"),
        ("long key", with(apply(), "idempotencyKey", json!("k".repeat(5000))), "InvalidPayload"),
        (
            "same key, other body",
            with(job("apply", named("other")), "idempotencyKey", json!("used")),
            "IdempotencyKeyReused",
        ),
        ("expired", with(apply(), "expiresAt", json!("2025-12-31T23:59:59Z")), "expired"),
        ("expires some day", with(apply(), "expiresAt", json!("tomorrow")), "InvalidPayload"),
        ("made at a number", with(apply(), "createdAt", json!(1_779_962_400)), "InvalidPayload"),
        ("both payloads", with(apply(), "encryptedPayload", json!("e")), "InvalidPayload"),
        ("no payload", without(apply(), "payload"), "InvalidPayload"),
        ("payload is null", with(apply(), "payload", Value::Null), "InvalidPayload"),
        ("payload is a text", with(apply(), "payload", json!("kind: Secret")), "InvalidPayload"),
        ("payload is a list", with(apply(), "payload", json!([named("bad")])), "InvalidPayload"),
        (
            "encrypted",
            with(without(apply(), "payload"), "encryptedPayload", json!("a.b.c.d.e")),
            "JobPayloadDecryptionFailed",
        ),
        ("encrypted is an object", with(without(apply(), "payload"), "encryptedPayload", json!({})), "InvalidPayload"),
        ("signature is an object", with(apply(), "signature", json!({})), "InvalidPayload"),
        ("metadata is a text", job("apply", changed("/metadata", json!("bad"))), "InvalidPayload"),
        ("no name", job("apply", changed("/metadata/name", Value::Null)), "InvalidPayload"),
        ("a generated name", job("apply", changed("/metadata/generateName", json!("bad-"))), "InvalidPayload"),
        ("spec is a text", job("apply", changed("/spec", json!("nextcloud"))), "InvalidPayload"),
        ("a spec the schema refuses", job("apply", changed("/spec/chart/version", json!("latest"))), "InvalidPayload"),
        (
            "inline secret",
            job("apply", changed("/spec/values/inline", json!({"adminPassword": "hunter2"}))),
            "InlineSecretMaterialRejected",
        ),
        (
            "inline secret of an Operation",
            job("apply", operation(json!({"env": [{"name": "DB_PASSWORD", "value": "hunter2"}]}))),
            "InlineSecretMaterialRejected",
        ),
        ("broken catalog policy", job("apply", policy("{\"version\": 2}")), "InvalidPayload"),
        (
            "delete of an unmanaged object",
            job("delete", address(APPS, "ApplicationInstance", "org-a", "private")),
            "NotManaged",
        ),
        (
            "delete in a foreign namespace",
            job("delete", address(APPS, "ApplicationInstance", "closed", "x")),
            "NamespaceNotGated",
        ),
        ("delete of a Deployment", job("delete", address("apps/v1", "Deployment", "org-a", "x")), "KindNotAllowed"),
        ("delete of a namespace", job("delete", address("v1", "Namespace", "", "org-a")), "KindNotAllowed"),
        (
            "delete of a number",
            job("delete", with(address(APPS, "ApplicationInstance", "org-a", "private"), "uid", json!(7))),
            "InvalidPayload",
        ),
        ("unknown intent", job("intent", json!({"intent": "drop-everything"})), "UnsupportedIntent"),
        ("no intent", job("intent", json!({})), "InvalidPayload"),
        (
            "an intent with another kind",
            job(
                "intent",
                json!({"intent": "ensure-application-instance", "applicationInstance": object("v1", "Secret", "org-a", "bad")}),
            ),
            "KindNotAllowed",
        ),
        (
            "an intent in a foreign namespace",
            job("intent", json!({"intent": "delete-application-instance", "namespace": "closed", "name": "x"})),
            "NamespaceNotGated",
        ),
        (
            "cancel of nothing",
            job("intent", json!({"intent": "cancel-operation", "namespace": "org-a", "name": "none"})),
            "TargetNotFound",
        ),
        ("../../a b/ü?#%2e", job("exec", json!({})), "UnsupportedKind"),
        (LONG, job("exec", json!({})), "UnsupportedKind"),
    ]
}

/// An id of 253 bytes.
const LONG: &str = "iiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiii";

/// Jobs that nobody could be told about.
fn nameless() -> Vec<Value> {
    let ids = [json!(""), json!("i".repeat(300)), json!(".."), Value::Null];
    let jobs = ids.map(|id| with(job("apply", named("bad")), "id", id));
    jobs.into_iter().chain([job("apply", named("bad")), json!([1]), json!("job")]).collect()
}

/// Every object that a job could be after: address and uid to what people wrote of it.
async fn world(stage: &Stage) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for path in [
        "/api/v1/namespaces",
        "/api/v1/configmaps",
        "/api/v1/secrets",
        "/apis/apps.vworkspace.io/v1alpha1/applicationinstances",
        "/apis/ops.vworkspace.io/v1alpha1/operations",
        "/apis/helm.toolkit.fluxcd.io/v2/helmreleases",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        "/apis/rbac.authorization.k8s.io/v1/rolebindings",
        "/apis/ops.vworkspace.io/v1alpha1/clusters",
    ] {
        let (code, list) = stage.admin.get(path).await;
        assert_eq!(code, 200, "{path}");
        for item in list["items"].as_array().into_iter().flatten() {
            let meta = &item["metadata"];
            let name = meta["name"].as_str().expect("a name");
            // Stores of the operator, which change with its work.
            let store =
                ["vworkspace-job-", "vworkspace-applied-jobs", "vworkspace-event-", "vworkspace-agent-credentials"];
            if store.iter().any(|prefix| name.starts_with(prefix)) {
                continue;
            }
            let address = format!("{path} {}/{name}", meta["namespace"].as_str().unwrap_or("-"));
            found.insert(
                address,
                json!([meta["uid"], meta["labels"], meta["ownerReferences"], item["spec"], item["data"]]),
            );
        }
    }
    found
}

fn good() -> [(&'static str, Value); 3] {
    let mut stripped = named("good-c");
    stripped["status"] = json!({"conditions": [{"type": "Ready", "status": "True"}]});
    for (field, value) in [
        ("ownerReferences", json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "u"}])),
        ("finalizers", json!(["example.org/never"])),
        ("uid", json!("u")),
        ("resourceVersion", json!("7")),
        ("generation", json!(9)),
        ("creationTimestamp", json!("2020-01-01T00:00:00Z")),
        ("deletionTimestamp", json!("2020-01-01T00:00:00Z")),
        ("managedFields", json!([])),
    ] {
        stripped["metadata"][field] = value;
    }
    [("good-a", named("good-a")), ("good-b", named("good-b")), ("good-c", stripped)]
}

/// How long the good jobs take, among the others or alone.
async fn neighbours(stage: &Stage, others: Vec<Value>) -> Vec<i64> {
    stage.odoo.dial(|dials| dials.jobs_per_answer = 1000);
    let since: Timestamp = stage.odoo.now();
    let mut good: Vec<Value> = good()
        .into_iter()
        .map(|(id, manifest)| json!({"id": id, "kind": "apply", "payload": manifest, "idempotencyKey": id}))
        .collect();
    let last = good.pop().expect("three");
    for job in good.into_iter().chain(others).chain([last]) {
        stage.odoo.enqueue_raw("c1", job);
    }
    let mut times = Vec::new();
    for id in ["good-a", "good-b", "good-c"] {
        let result = stage.result(id, 120).await;
        assert_eq!(result.body.outcome, Outcome::Succeeded, "{id}: {:?}", result.body);
        times.push(result.at.duration_since(since).as_secs());
    }
    times
}

#[tokio::test(start_paused = true)]
async fn bad_jobs_get_one_result_no_effect_and_delay_nobody() {
    let alone = neighbours(&stage().await, Vec::new()).await;
    let stage = stage().await;
    let before = world(&stage).await;
    let table = table();
    let mut jobs: Vec<Value> = Vec::new();
    for (name, job, _) in &table {
        let mut job = job.clone();
        let members = job.as_object_mut().expect("an object");
        members.insert("id".into(), json!(name));
        if members.remove("no-idempotencyKey").is_none() {
            members.entry("idempotencyKey").or_insert_with(|| json!(format!("key of {name}")));
        }
        members.remove("no-kind");
        members.remove("no-payload");
        jobs.push(job);
    }
    jobs.extend(nameless());
    let among = neighbours(&stage, jobs).await;
    stage.pass(120).await;
    let mut wrong = Vec::new();
    for (name, _, code) in &table {
        let row = stage.job(name);
        let error = row.result.as_ref().map(|result| result.body.error.clone().unwrap_or_default());
        let got = error.as_deref().map(|error| error.split(':').next().unwrap_or_default());
        if got != Some(*code) || row.repeats + row.clashes > 0 || row.acks.len() != 1 {
            wrong.push(format!("{name}: {error:?}, {} acks, {} repeats, expected {code}", row.acks.len(), row.repeats));
        }
        assert!(!error.unwrap_or_default().contains("hunter2"), "{name}");
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    let mut after = world(&stage).await;
    after.retain(|address, _| !address.contains("/good-"));
    assert_eq!(before, after, "an effect");
    let stripped = stage.instance("good-c").await;
    assert_eq!(stripped["metadata"]["ownerReferences"], Value::Null);
    assert_eq!(stripped["metadata"]["finalizers"], json!(["apps.vworkspace.io/finalizer"]));
    for (alone, among) in alone.iter().zip(&among) {
        assert!(*among <= alone + (alone / 10).max(1), "{among} s instead of {alone} s");
    }
    println!(
        "{} bad jobs, {} without a usable id; good neighbours {among:?} s, alone {alone:?} s",
        table.len(),
        nameless().len()
    );
}

/// A registered cluster with a foreign namespace, an object that is not the control plane's, and a used key.
async fn stage() -> Stage {
    let stage = connected().await;
    stage.cluster.create("/api/v1/namespaces", &json!({"metadata": {"name": "closed"}})).await;
    let mut private = named("private");
    private["metadata"]["labels"] = json!({});
    stage.cluster.create(INSTANCES, &private).await;
    let used = json!({"id": "used", "kind": "apply", "payload": named("used"), "idempotencyKey": "used"});
    stage.odoo.enqueue_raw("c1", used);
    assert_eq!(stage.ended("used", 120).await.0, Outcome::Succeeded);
    stage.pass(5).await;
    stage
}
