//! Keeps what is known of the server's kinds current, and the readiness checks that follow from it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::health::Health;
use super::retry::CAP;
use crate::api::{APPS_GROUP, OPS_GROUP, VERSION};
use crate::cluster_api::backoff::backoff;
use crate::cluster_api::{ApiError, Caps, ClusterApi, Object};

/// Refreshed this often without a reason (contract §27.3).
const INTERVAL: Duration = Duration::from_secs(600);
/// After a CRD changed: soon, and once more when its schema has certainly been published too.
const SOON: Duration = Duration::from_secs(1);
const PUBLISHED: Duration = Duration::from_secs(10);

/// Runs until dropped. Returns only if nobody listens any more.
pub(super) async fn run<A: ClusterApi>(
    api: Arc<A>,
    caps: watch::Sender<Arc<Caps>>,
    refresh: Arc<Notify>,
    health: Health,
    namespace: String,
) {
    health.fail("crds", "discovery has not answered yet");
    health.fail("rbac", "not checked yet");
    let mut failures = 0;
    let mut allowed = false;
    loop {
        if let Err(error) = look(&*api, &caps, &health).await {
            tracing::warn!(%error, "discovery failed");
            sleep(backoff(failures, &"discovery", CAP)).await;
            failures = failures.saturating_add(1);
            continue;
        }
        failures = 0;
        // Rights are asked for until they are there, then no more: a question is a POST, and quiet time has none.
        allowed = allowed || access(&*api, &namespace, &health).await;
        let next = Instant::now() + if allowed { INTERVAL } else { CAP };
        if timeout_at(next, refresh.notified()).await.is_ok() {
            let published = Instant::now() + PUBLISHED;
            sleep(SOON).await;
            // A failure here is followed by the second look anyway.
            let _ = look(&*api, &caps, &health).await;
            sleep_until(published).await;
        }
        if caps.is_closed() {
            return;
        }
    }
}

/// One discovery; tells those who follow it only what is new.
async fn look<A: ClusterApi>(api: &A, caps: &watch::Sender<Arc<Caps>>, health: &Health) -> Result<(), ApiError> {
    let found = api.discover().await?;
    served(&found, health);
    caps.send_if_modified(|known| {
        let news = **known != found;
        if news {
            *known = Arc::new(found);
        }
        news
    });
    Ok(())
}

fn served(caps: &Caps, health: &Health) {
    match caps.served(APPS_GROUP, "applicationinstances", &[VERSION]) {
        Some(_) => health.pass("crds", "ok"),
        None => health.fail(
            "crds",
            format!("applicationinstances.{APPS_GROUP} {VERSION} is not served: install the CRDs of this release"),
        ),
    }
}

/// What every loop needs wherever it looks (a part of contract §24): group, resource with subresource, verbs. Rights
/// that are bound per namespace show as watches that are refused.
const NEEDED: [(&str, &str, &[&str]); 7] = [
    (APPS_GROUP, "applicationinstances", &["get", "list", "watch", "patch"]),
    (APPS_GROUP, "applicationinstances/status", &["patch"]),
    (OPS_GROUP, "clusters", &["get", "list", "watch", "patch"]),
    (OPS_GROUP, "clusters/status", &["patch"]),
    (OPS_GROUP, "operations", &["get", "list", "watch"]),
    ("", "namespaces", &["get", "list", "watch"]),
    ("apiextensions.k8s.io", "customresourcedefinitions", &["get", "list", "watch"]),
];
/// The same in the operator's own namespace.
const NEEDED_AT_HOME: [(&str, &str, &[&str]); 3] = [
    ("coordination.k8s.io", "leases", &["get", "create", "update"]),
    ("", "configmaps", &["get", "list", "create", "update", "delete"]),
    ("", "secrets", &["get", "create", "patch", "delete"]),
];

/// One right: how it reads, and the question to the server.
fn needed(namespace: &str) -> Vec<(String, Value)> {
    let everywhere = NEEDED.iter().map(|right| (right, None));
    let at_home = NEEDED_AT_HOME.iter().map(|right| (right, Some(namespace)));
    let mut rights = Vec::new();
    for ((group, resource, verbs), namespace) in everywhere.chain(at_home) {
        let dotted = if group.is_empty() { (*resource).to_string() } else { format!("{resource} of {group}") };
        let (plural, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        for verb in *verbs {
            let mut name = format!("{verb} {dotted}");
            let mut question = json!({ "verb": verb, "group": group, "resource": plural });
            if !subresource.is_empty() {
                question["subresource"] = json!(subresource);
            }
            if let Some(namespace) = namespace {
                name.push_str(&format!(" in {namespace}"));
                question["namespace"] = json!(namespace);
            }
            rights.push((name, question));
        }
    }
    rights
}

/// Asks the server what we may do. `true` once it allows everything.
async fn access<A: ClusterApi>(api: &A, namespace: &str, health: &Health) -> bool {
    let mut missing = Vec::new();
    for (name, right) in needed(namespace) {
        let review = Object(json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": { "resourceAttributes": right },
        }));
        match api.create(&review).await {
            Ok(answer) if answer.0.pointer("/status/allowed") == Some(&Value::Bool(true)) => {}
            Ok(_) | Err(ApiError::Forbidden { .. }) => missing.push(name),
            Err(error) => {
                tracing::debug!(%error, "access could not be reviewed");
                return false;
            }
        }
    }
    let allowed = missing.is_empty();
    if allowed {
        health.pass("rbac", "ok");
    } else {
        let missing = missing.join(", ");
        tracing::error!(%missing, "rights are missing; bind the ClusterRole of this release to the operator's ServiceAccount");
        health.fail("rbac", format!("not allowed: {missing}"));
    }
    allowed
}
