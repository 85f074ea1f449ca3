//! Instances that the API server lets in although something is wrong with them, or looks so.

use fakes::flux::Settings;
use operator::api::{annotation, label};
use serde_json::{Value, json};

use super::table::{
    LEASES, MAPS, Must, PRECIOUS, Row, Run, SECRETS, alone, annotated, fine, foreign_release, inline, instance, lease,
    many, named, nested, release, row, undelayed,
};
use crate::stage::{CHARTS, RELEASES, SOURCES, Stage};

/// Every way of §13.3 to write a secret down, and the ways that only look like one.
fn secrets() -> Vec<Row> {
    let refused = |name, what, words, values| row(name, what, "Blocked=T/PolicyDenied", words, inline(values));
    let pem = format!("x: |\n  -----BEGIN OPENSSH PRIVATE KEY-----\n  {PRECIOUS}");
    let long = "aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMmh1bnRlcjI=";
    vec![
        refused(
            "sec-env",
            "an environment variable carries a password",
            "env[0].value",
            json!({"env": [{"name": "DB_PASSWORD", "value": PRECIOUS}]}),
        ),
        refused("sec-case", "the key is written in capitals", "inline.ADMIN_PASSWD", json!({"ADMIN_PASSWD": PRECIOUS})),
        refused(
            "sec-list",
            "passwords stand in a list",
            "inline.passwords.rootPassword[1]",
            json!({"passwords": {"rootPassword": ["", PRECIOUS]}}),
        ),
        refused("sec-dsn", "a connection string", "inline.db.dsn", json!({"db": {"dsn": PRECIOUS}})),
        refused("sec-number", "a secret of digits", "inline.apiKey", json!({"apiKey": 20})),
        refused("sec-pem", "a private key inside another document", "private key", json!({"files": {"id": pem}})),
        refused(
            "sec-url",
            "an address with user and password",
            "user and password",
            json!({"proxy": format!("http://u:{PRECIOUS}@proxy:3128")}),
        ),
        refused(
            "sec-long",
            "long base64 under a reference key",
            "inline.existingSecret",
            json!({"existingSecret": long}),
        ),
        refused(
            "sec-tpl",
            "a template with the secret as its default",
            "inline.token",
            json!({"token": format!("{{{{ .x | default \"{PRECIOUS}\" }}}}")}),
        ),
        fine(
            "sec-none",
            "empty, null, boolean, variables and references are no secrets",
            inline(json!({
                "password": "", "token": null, "apiKey": true, "dsn": "${DSN}", "auth": {"existingSecret": "db-credentials"}, "adminPassword": "<set via externalSecret>",
            })),
        ),
        row("sec-merge", "a secret beside a reference", "Blocked=T/PolicyDenied", "inline.pwd", |manifest| {
            manifest["spec"]["values"] = json!({"source": "merge", "inline": {"pwd": PRECIOUS}, "secretRef": {"name": "values", "key": "there"}});
        }),
    ]
}

fn shapes() -> Vec<Row> {
    let all = json!({"none": null, "list": [null, {}, [], 1.5], "empty": {}, "big": i64::MAX, "tiny": 5e-324, "yes": "yes", "octal": "0777"});
    let unicode =
        json!({"größe": "ñandú 🦀", "\u{202e}rtl": "\u{0}\u{7}\u{feff}", "": "no key", "a.b/c[0]": {"f:x": "k:{}"}});
    vec![
        fine("null-values", "nulls, empty lists, the largest and the smallest number", inline(all)),
        fine("unicode", "other scripts, control characters and keys that look like paths", inline(unicode)),
        fine("deep", "maps nested sixty times", inline(nested(60))),
        fine("deepest", "as deep as is read, and its record of owners deeper", inline(nested(LEVELS))),
        too_deep("deeper", LEVELS + 1),
        too_deep("deeper-still", 200),
        too_deep("bottomless", 600),
        fine("long", "one value of a mebibyte less a bit", inline(json!({"text": "x".repeat(1_000_000)}))),
        fine("many", "ten thousand keys", inline(many(10_000))),
        fine("notes", "annotations up to the limit", annotated("example.org/notes", "n".repeat(250 * 1024))),
        fine("a.dotted-name", "a name with a dot", |manifest| {
            manifest["spec"]["release"]["name"] = json!("a-dotted-name")
        }),
        fine(LONGEST, "a name of 63 characters and a release name of 53", |manifest| {
            manifest["spec"]["release"]["name"] = json!("r".repeat(53))
        }),
        row(
            "host",
            "the ingress is on and its host is in the explicit values",
            "Ready=T/HelmReleaseReadyWithWarnings",
            "ingress.host",
            |manifest| {
                manifest["spec"]["integrations"] = json!({"ingress": {"enabled": true, "host": "a.example.org"}});
                manifest["spec"]["values"]["inline"] = json!({"ingress": {"host": "b.example.org"}});
            },
        ),
    ]
}

/// Levels of inline values with which an instance is just read: three stand above them.
const LEVELS: usize = 125 - 3;

fn too_deep(name: &'static str, levels: usize) -> Row {
    let what = "maps nested deeper than is read";
    row(name, what, "Blocked=T/ValidationFailed", "deeper than 125 levels", inline(nested(levels)))
}

const LONGEST: &str = "n23456789012345678901234567890123456789012345678901234567890123";

fn identities() -> Vec<Row> {
    let ignored = |name, what, manifest| Row { name, what, manifest, must: Must::BeIgnored };
    let mut rows = vec![
        ignored(
            "stranger",
            "managed by somebody else",
            named("stranger", |manifest| manifest["metadata"]["labels"][label::MANAGED_BY] = json!("helm")),
        ),
        ignored(
            "capital",
            "managed-by in another case",
            named("capital", |manifest| manifest["metadata"]["labels"][label::MANAGED_BY] = json!("Control-Plane")),
        ),
        ignored("bare", "no labels at all", named("bare", |manifest| manifest["metadata"]["labels"] = Value::Null)),
        row(
            "no-id",
            "no cluster id",
            "Blocked=T/PolicyDenied",
            "is missing; set it to the id of this cluster",
            |manifest| {
                manifest["metadata"]["labels"] = json!({label::MANAGED_BY: "control-plane"});
            },
        ),
        row("other-id", "the id of another cluster", "Blocked=T/PolicyDenied", "names another cluster", |manifest| {
            manifest["metadata"]["labels"][label::CLUSTER_ID] = json!("c2");
        }),
        row(
            "elsewhere",
            "a release namespace that is not its own",
            "Blocked=T/ValidationFailed",
            "spec.release.namespace must be the namespace of this object",
            |manifest| {
                manifest["spec"]["release"]["namespace"] = json!("kube-system");
            },
        ),
        row(
            "half-off",
            "reconcile says Disabled, which is not disabled",
            "Blocked=T/ValidationFailed",
            "reconcile must be disabled or enabled",
            annotated(annotation::RECONCILE, "Disabled".into()),
        ),
        row(
            "orphaned",
            "a deletion policy that does not exist",
            "Blocked=T/ValidationFailed",
            "deletion-policy must be orphan",
            annotated(annotation::DELETION_POLICY, "keep".into()),
        ),
        row(
            "outsourced",
            "an authority that does not exist",
            "Blocked=T/ValidationFailed",
            "helmrelease-authority must be external",
            annotated(annotation::HELMRELEASE_AUTHORITY, "External".into()),
        ),
        fine("enabled", "the opposite of paused", annotated(annotation::RECONCILE, "enabled".into())),
        fine(
            "retried",
            "a retry value of many odd characters",
            annotated(annotation::RETRY, "\u{1}🦀\n".repeat(5_000)),
        ),
        row(
            "observed",
            "an external release that nobody wrote",
            "Ready=U/Reconciling",
            "no HelmRelease yet",
            annotated(annotation::HELMRELEASE_AUTHORITY, "external".into()),
        ),
        row(
            "paused",
            "paused from the first moment",
            "Suspended=T/ReconcilePaused",
            "remove it to go on",
            annotated(annotation::RECONCILE, "disabled".into()),
        ),
        fine("finalized", "a finalizer of somebody else", |manifest| {
            manifest["metadata"]["finalizers"] = json!(["example.org/hold"])
        }),
    ];
    // The server keeps no null.
    rows[2].manifest["metadata"].as_object_mut().expect("metadata").remove("labels");
    rows
}

fn references() -> Vec<Row> {
    let by = |source: &'static str, name: &'static str, key: &'static str| {
        move |manifest: &mut Value| {
            manifest["spec"]["values"] = json!({"source": source, source: {"name": name, "key": key}})
        }
    };
    vec![
        row(
            "no-key",
            "the Secret lacks the key",
            "Blocked=T/MissingSecret",
            "Secret values has no key absent",
            by("secretRef", "values", "absent"),
        ),
        row(
            "no-map",
            "the ConfigMap is not there",
            "Ready=F/WaitingForSecret",
            "ConfigMap absent",
            by("configMapRef", "absent", "there"),
        ),
        row(
            "no-login",
            "the registry's credentials are not there",
            "Blocked=T/MissingSecret",
            "Secret absent with chart credentials",
            |manifest| {
                manifest["spec"]["chart"]["secretRef"] = json!({"name": "absent"});
            },
        ),
        row(
            "longname",
            "a reference to a name of 253 characters",
            "Blocked=T/MissingSecret",
            "does not exist",
            |manifest| {
                manifest["spec"]["values"] =
                    json!({"source": "secretRef", "secretRef": {"name": "s".repeat(253), "key": "k"}});
            },
        ),
        row(
            "their-release",
            "the HelmRelease belongs to somebody else",
            "Blocked=T/PolicyDenied",
            "use another release name",
            |_| {},
        ),
        row(
            "their-source",
            "the chart source belongs to somebody else",
            "Blocked=T/PolicyDenied",
            "OCIRepository",
            |_| {},
        ),
        row(
            "their-map",
            "the generated ConfigMap belongs to somebody else",
            "Blocked=T/PolicyDenied",
            "ConfigMap",
            |manifest| {
                manifest["spec"]["integrations"] = integrations();
                manifest["spec"]["values"] =
                    json!({"source": "secretRef", "secretRef": {"name": "values", "key": "there"}});
            },
        ),
        row(
            "rival",
            "a second instance of one release name",
            "Blocked=T/ValidationFailed",
            "ReleaseNameTaken: ApplicationInstance null-values",
            |manifest| {
                manifest["spec"]["release"]["name"] = json!("null-values");
            },
        ),
        fine("lock-text", "a lock that is no JSON", |_| {}),
        fine("lock-shape", "a lock of another shape", |_| {}),
        fine("lock-types", "holders of wrong types", |_| {}),
    ]
}

fn integrations() -> Value {
    json!({"ingress": {"enabled": true, "host": "files.example.org"}})
}

async fn owned_by_others(run: &mut Run) {
    run.keep(RELEASES, foreign_release("their-release")).await;
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "values"}, "data": {"there": "YTogMQ=="}});
    run.keep(SECRETS, secret).await;
    let source = operator::api::names::oci_repository("their-source", CHARTS, "nextcloud", "6.6.0");
    let repository = json!({"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "OCIRepository",
        "metadata": {"name": source}, "spec": {"interval": "1h", "url": "oci://else.example.org/x", "suspend": true}});
    run.keep(SOURCES, repository).await;
    let wanted = serde_json::from_value(integrations()).expect("integrations");
    let fragment = operator::engine::values::fragment(Some(&wanted), &operator::api::cluster::Helm::default());
    let content = operator::engine::values::canonical(&fragment.into()).to_string();
    let map = operator::api::names::values_config_map("their-map", &content);
    run.keep(
        MAPS,
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": map}, "data": {"mine": "yes"}}),
    )
    .await;
    for (target, lock) in [
        ("lock-text", "{\u{7}"),
        ("lock-shape", "{\"holders\":{\"uid\":\"x\",\"type\":\"Restore\"}}"),
        (
            "lock-types",
            "{\"holders\":[7,null,{\"uid\":7,\"type\":\"Restore\"},{\"uid\":\"\",\"type\":\"Restore\"}],\"v\":\"one\"}",
        ),
    ] {
        run.keep(LEASES, lease(target, lock)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_api_server_lets_in_ends_in_a_named_condition_and_delays_nobody() {
    let alone = alone().await;
    let mut run = Run::new(Stage::start(Settings::default()).await);
    owned_by_others(&mut run).await;
    let rows: Vec<Row> = [shapes(), secrets(), identities(), references()].into_iter().flatten().collect();
    run.apply(&rows).await;
    undelayed(run.neighbour("neighbour", 120).await, alone);
    run.judge(&rows).await;
    assert_eq!(run.stage.get(&release("paused")).await, Value::Null);
    // A wrong word in an annotation of what runs: it is told, and the application survives the deletion.
    let (code, _) = run
        .stage
        .admin
        .merge_patch(
            &instance("enabled"),
            &json!({"metadata": {"annotations": {annotation::DELETION_POLICY: "Orphan"}}}),
        )
        .await;
    assert_eq!(code, 200);
    run.stage.pass(20).await;
    let said = run.stage.conditions("enabled").await;
    assert!(
        said.contains(&"Blocked=T/ValidationFailed".into()) && said.contains(&"Ready=T/HelmReleaseReady".into()),
        "{said:?}"
    );
    run.stage.admin.delete(&instance("enabled"), None).await;
    run.stage.pass(20).await;
    assert_eq!(run.stage.instance("enabled").await, Value::Null);
    assert_eq!(run.stage.get(&release("enabled")).await["metadata"]["deletionTimestamp"], Value::Null);
    assert!(run.stage.get(&release("enabled")).await.is_object());
    // Nothing goes on.
    run.stage.pass(60).await;
    run.stage.writes();
    run.stage.pass(600).await;
    assert_eq!(run.stage.writes(), Vec::<String>::new());
    // Somebody else's finalizer stays, and ours does not wait for it.
    run.stage.admin.delete(&instance("finalized"), None).await;
    run.stage.pass(60).await;
    assert_eq!(run.stage.instance("finalized").await["metadata"]["finalizers"], json!(["example.org/hold"]));
    assert_eq!(run.stage.get(&release("finalized")).await, Value::Null);
    run.end().await;
}

#[tokio::test(start_paused = true)]
async fn outside_the_gate_and_after_the_end_nothing_is_touched() {
    let mut run = Run::new(Stage::without_operator(Settings::default()).await);
    let closed = "/apis/apps.vworkspace.io/v1alpha1/namespaces/org-b/applicationinstances";
    let namespace = json!({"metadata": {"name": "org-b", "labels": {"managed-by": "Vworkspace"}}});
    run.stage.cluster.create("/api/v1/namespaces", &namespace).await;
    let lost = named("lost", |manifest| {
        manifest["metadata"]["namespace"] = json!("org-b");
        manifest["spec"]["release"]["namespace"] = json!("org-b");
    });
    run.keep(closed, lost).await;
    // Deleted before anybody saw it, and held by somebody else.
    let dying = named("dying", |manifest| manifest["metadata"]["finalizers"] = json!(["example.org/hold"]));
    run.stage.apply(&dying).await;
    run.stage.admin.delete(&instance("dying"), None).await;
    run.freeze(instance("dying")).await;
    run.stage.run();
    run.neighbour("neighbour", 60).await;
    run.stage.pass(300).await;
    assert_eq!(run.stage.get(&release("dying")).await, Value::Null);
    run.end().await;
}
