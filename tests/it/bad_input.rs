//! Wrong manifests, values, references and downstream objects: each ends in a refusal by the API server that says what to
//! write instead, or in a named condition; nothing of the user's is lost, and no other object is delayed.

use fakes::flux::Settings;
use serde_json::{Value, json};

mod children;
mod definitions;
mod instances;
mod table;

use crate::cluster::Cluster;
use crate::stage::{INSTANCES, RELEASES, SOURCES, Stage, files};

fn changed(pointer: &str, value: Value) -> Value {
    let mut manifest = files("6.6.0");
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    manifest.pointer_mut(parent).expect("a parent")[field.replace("~1", "/")] = value;
    manifest
}

fn without(pointer: &str) -> Value {
    let mut manifest = files("6.6.0");
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    manifest.pointer_mut(parent).and_then(Value::as_object_mut).expect("a parent").remove(field);
    manifest
}

#[tokio::test(start_paused = true)]
async fn the_api_server_refuses_wrong_manifests_with_the_field_and_a_sentence() {
    let cluster = Cluster::start().await;
    cluster.gated("org-a").await;
    let placeholder = |spec: Value| {
        let mut manifest = files("6.6.0");
        manifest["spec"] = spec;
        manifest
    };
    let rows: Vec<(Value, &str, &str)> = vec![
        (changed("/metadata/name", json!("n".repeat(64))), "", "at most 63 characters"),
        (without("/spec/appRef"), "spec.appRef", "Required value"),
        (without("/spec/chart"), "spec", "spec.chart is required"),
        (without("/spec/release"), "spec", "spec.release is required"),
        (without("/spec/values"), "spec", "spec.values is required"),
        (changed("/spec/mode", json!("hybrid")), "spec.mode", "Unsupported value"),
        (changed("/spec/chart/sourceType", json!("git")), "spec.chart.sourceType", "Unsupported value"),
        (changed("/spec/chart/sourceType", json!("helm")), "spec.chart.url", "must begin with https://"),
        (changed("/spec/chart/url", json!("https://charts.example.org")), "spec.chart.url", "oci://REGISTRY/PATH"),
        (changed("/spec/chart/url", json!("oci://charts.example.org/apps:6.6.0")), "spec.chart.url", "without a tag"),
        (changed("/spec/chart/url", json!("oci://u:p@charts.example.org/apps")), "spec.chart.url", "credentials"),
        (changed("/spec/chart/url", json!("")), "spec.chart.url", "at least 1 char"),
        (changed("/spec/chart/name", json!("../x")), "spec.chart.name", "letters, digits"),
        (changed("/spec/chart/version", json!("latest")), "spec.chart.version", "one concrete version"),
        (changed("/spec/chart/version", json!("^1.2.0")), "spec.chart.version", "one concrete version"),
        (changed("/spec/chart/version", json!(6)), "spec.chart.version", "must be of type string"),
        (changed("/spec/release/name", json!("Files")), "spec.release.name", "lower-case"),
        (changed("/spec/release/name", json!("f".repeat(54))), "spec.release.name", "Too long"),
        (changed("/spec/values/source", json!("vault")), "spec.values.source", "Unsupported value"),
        (changed("/spec/values/source", json!("secretRef")), "spec.values", "values.secretRef with name and key"),
        (changed("/spec/values", json!({"source": "inline"})), "spec.values", "may be {}"),
        (
            changed(
                "/spec/values",
                json!({"source": "merge", "inline": {}, "secretRef": {"name": "a", "key": "b"}, "configMapRef": {"name": "a", "key": "b"}}),
            ),
            "spec.values",
            "exactly one of",
        ),
        (
            changed("/spec/values", json!({"source": "secretRef", "secretRef": {"name": "a"}})),
            "spec.values.secretRef.key",
            "Required value",
        ),
        (
            changed("/spec/integrations", json!({"ingress": {"enabled": true}})),
            "spec.integrations.ingress",
            "host is required",
        ),
        (
            placeholder(
                json!({"mode": "placeholder", "appRef": {"catalogId": "x"}, "values": {"source": "inline", "inline": {}}}),
            ),
            "spec",
            "not allowed with mode: placeholder",
        ),
        (
            placeholder(json!({"appRef": {"catalogId": ""}, "mode": "placeholder"})),
            "spec.appRef.catalogId",
            "at least 1 char",
        ),
        // Names, labels and annotations beyond what Kubernetes takes.
        (changed("/metadata/name", json!("n".repeat(254))), "metadata.name", "253"),
        (changed("/metadata/name", json!("größe")), "metadata.name", "lowercase"),
        (changed("/metadata/labels/app.vworkspace.io~1cluster-id", json!("c\u{7}")), "metadata.labels", "alphanumeric"),
        (
            changed("/metadata/annotations", json!({"example.org/notes": "n".repeat(257 * 1024)})),
            "metadata.annotations",
            "Too long",
        ),
        // Wrong types, null and strange schemes.
        (changed("/spec", json!("nextcloud 6.6.0")), "spec", "must be of type object"),
        (changed("/spec/values/inline", json!("replicas: 2")), "spec.values.inline", "must be of type object"),
        (changed("/spec/values/inline", json!([{"replicas": 2}])), "spec.values.inline", "must be of type object"),
        (changed("/spec/values/inline", Value::Null), "spec.values", "may be {}"),
        (changed("/spec/release/name", json!("fi\u{0}les")), "spec.release.name", "lower-case"),
        (changed("/spec/release/name", Value::Null), "spec.release.name", "Required value"),
        (changed("/spec/chart/url", json!("OCI://charts.example.org/apps")), "spec.chart.url", "oci://REGISTRY/PATH"),
        (
            changed("/spec/chart/url", json!("oci://charts.example.org/apps@sha256:00")),
            "spec.chart.url",
            "without a tag or digest",
        ),
        (changed("/spec/chart/url", json!("file:///charts")), "spec.chart.url", "oci://REGISTRY/PATH"),
        (changed("/spec/chart/url", json!("oci://".to_string() + &"x".repeat(2048))), "spec.chart.url", "Too long"),
        (
            changed("/spec/chart/version", json!(">=1.0.0 <2.0.0")),
            "spec.chart.version",
            "ranges and latest are not allowed",
        ),
        (changed("/spec/chart/version", json!("1.2")), "spec.chart.version", "such as 1.4.2"),
        (changed("/spec/chart/version", json!("６.6.0")), "spec.chart.version", "such as 1.4.2"),
        (
            changed("/spec/integrations", json!({"ingress": {"enabled": "yes"}})),
            "spec.integrations.ingress.enabled",
            "must be of type boolean",
        ),
        (
            changed("/spec/integrations", json!({"ingress": {"enabled": true, "host": "h".repeat(254)}})),
            "spec.integrations.ingress.host",
            "Too long",
        ),
    ];
    for (manifest, field, words) in &rows {
        let (code, answer) = cluster.admin.post(INSTANCES, manifest).await;
        let message = answer["message"].as_str().unwrap_or_default();
        assert_eq!(code, 422, "{manifest}: {answer}");
        assert!(message.contains(words) && message.contains(field), "{manifest}: {message}");
    }
    // What must not change once it is there.
    cluster.create(INSTANCES, &files("6.6.0")).await;
    for (merge, words) in [
        (json!({"spec": {"release": {"name": "other"}}}), "spec.release cannot be changed"),
        (
            json!({"spec": {"mode": "placeholder", "chart": null, "values": null}}),
            "cannot change from managed to placeholder",
        ),
    ] {
        let (code, answer) = cluster.admin.merge_patch(&format!("{INSTANCES}/files"), &merge).await;
        let message = answer["message"].as_str().unwrap_or_default();
        assert!(code == 422 && message.contains(words), "{merge}: {message}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_gets_in_and_is_wrong_ends_in_a_named_condition_and_delays_nobody() {
    let stage = Stage::start(Settings::default()).await;
    let named = |name: &str, mut manifest: Value| {
        manifest["metadata"]["name"] = json!(name);
        manifest["spec"]["release"]["name"] = json!(name);
        manifest
    };
    let by_reference = |kind: &str| json!({"source": kind, kind: {"name": "absent", "key": "values.yaml"}});
    let huge: Value = (0..20_000)
        .map(|number| (format!("key-{number}"), json!("x".repeat(20))))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let rows: Vec<(&str, Value, &str, &str)> = vec![
        (
            "password",
            changed("/spec/values/inline", json!({"db": {"password": "hunter2"}})),
            "Blocked=T/PolicyDenied",
            "spec.values.inline.db.password",
        ),
        (
            "pem",
            changed("/spec/values/inline", json!({"tls": "-----BEGIN PRIVATE KEY-----\nhunter2"})),
            "Blocked=T/PolicyDenied",
            "private key",
        ),
        ("numeric", changed("/spec/values/inline", json!({"token": 12345})), "Blocked=T/PolicyDenied", "number"),
        (
            "address",
            changed("/spec/values/inline", json!({"url": "postgres://a:hunter2@db/x"})),
            "Blocked=T/PolicyDenied",
            "URL",
        ),
        (
            "elsewhere",
            changed("/spec/release/namespace", json!("org-b")),
            "Blocked=T/ValidationFailed",
            "namespace of this object",
        ),
        ("no-secret", changed("/spec/values", by_reference("secretRef")), "Blocked=T/MissingSecret", "Secret absent"),
        (
            "no-map",
            changed("/spec/values", by_reference("configMapRef")),
            "Blocked=T/MissingSecret",
            "ConfigMap absent",
        ),
        (
            "no-login",
            changed("/spec/chart/secretRef", json!({"name": "absent"})),
            "Blocked=T/MissingSecret",
            "chart credentials",
        ),
        (
            "certs",
            changed("/spec/integrations", json!({"certManager": {"enabled": true}})),
            "Blocked=T/MissingDependencies",
            "cert-manager",
        ),
        (
            "stores",
            changed("/spec/integrations", json!({"externalSecrets": {"enabled": true}})),
            "Blocked=T/MissingDependencies",
            "external-secrets",
        ),
        (
            "stranger",
            changed("/metadata/labels/app.vworkspace.io~1cluster-id", json!("c2")),
            "Blocked=T/PolicyDenied",
            "ClusterIdMismatch",
        ),
        ("nowhere", changed("/spec/chart/url", json!("oci://absent.example.org/apps")), "Ready=F/ChartUnreachable", ""),
        ("unknown", changed("/spec/chart/version", json!("9.9.9")), "Ready=F/ChartUnreachable", ""),
        ("large", changed("/spec/values/inline", huge), "Ready=T/HelmReleaseReady", ""),
    ];
    for (name, manifest, _, _) in &rows {
        let (code, answer) = stage.apply(&named(name, manifest.clone())).await;
        assert_eq!(code, 201, "{name}: {answer}");
    }
    // A release of somebody else, and two instances that want one release.
    let foreign = json!({"apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease", "metadata": {"name": "theirs", "namespace": "org-a"},
        "spec": {"interval": "5m", "chart": {"spec": {"chart": "x", "sourceRef": {"kind": "HelmRepository", "name": "x"}}}}});
    stage.cluster.create(RELEASES, &foreign).await;
    stage.apply(&named("theirs", files("6.6.0"))).await;
    stage.installed().await;
    stage.pass(2).await;
    let mut rival = files("6.6.0");
    rival["metadata"]["name"] = json!("rival");
    stage.apply(&rival).await;
    for (name, _, condition, words) in &rows {
        stage.says(name, &[condition], 120).await;
        let type_ = condition.split('=').next().expect("a type");
        let message = stage.message(name, type_).await;
        assert!(message.contains(words) && !message.contains("hunter2"), "{name}: {message}");
    }
    stage.says("theirs", &["Blocked=T/PolicyDenied"], 10).await;
    assert!(stage.message("theirs", "Blocked").await.contains("belongs to someone else"));
    assert_eq!(stage.get(&format!("{RELEASES}/theirs")).await["spec"]["interval"], "5m", "not touched");
    stage.says("rival", &["Blocked=T/ValidationFailed"], 10).await;
    assert!(stage.message("rival", "Blocked").await.contains("ReleaseNameTaken: ApplicationInstance files"));
    // Odd words and shapes in other people's objects.
    for merge in [
        json!({"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Novel", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}], "observedGeneration": 99}}),
        json!({"status": {"conditions": [], "history": [{"name": "files", "namespace": "org-a", "version": 7, "status": "shimmering", "digest": "x", "chartName": "?", "chartVersion": "?", "configDigest": "", "firstDeployed": "2026-01-01T00:00:00Z", "lastDeployed": "2026-01-01T00:00:00Z"}]}}),
        json!({"status": {"conditions": [{"type": "Stalled", "status": "Unknown", "reason": "Odd", "message": "x".repeat(20_000), "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}),
    ] {
        let (code, answer) = stage.admin.merge_patch(&format!("{RELEASES}/files/status"), &merge).await;
        assert_eq!(code, 200, "{answer}");
        stage.pass(5).await;
        let status = stage.instance("files").await["status"].to_string();
        assert!(status.len() < 20_000, "an odd status does not flow through");
    }
    // A Secret that vanishes under a running release changes nothing but a condition.
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "absent"}, "data": {"values.yaml": "YTogMQ=="}});
    stage.cluster.create("/api/v1/namespaces/org-a/secrets", &secret).await;
    stage.says("no-secret", &["Ready=T/HelmReleaseReady", "Blocked=F/Unblocked"], 120).await;
    stage.admin.delete("/api/v1/namespaces/org-a/secrets/absent", None).await;
    stage.pass(310).await;
    stage.says("no-secret", &["Blocked=T/MissingSecret"], 10).await;
    assert!(stage.get(&format!("{RELEASES}/no-secret")).await.is_object());
    // And in all this nobody else waited.
    let mut bystander = files("6.6.0");
    bystander["metadata"]["name"] = json!("bystander");
    bystander["spec"]["release"]["name"] = json!("bystander");
    stage.apply(&bystander).await;
    stage.says("bystander", &["Ready=T/HelmReleaseReady"], 40).await;
    assert!(
        stage.get(SOURCES).await["items"]
            .as_array()
            .is_some_and(|items| items.iter().all(|item| item["metadata"]["labels"].is_object()))
    );
}
