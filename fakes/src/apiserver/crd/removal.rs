//! The end of a definition: marking it, deleting what it defines, waiting until nothing is left (apiserver.md N4).

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::apiserver::client::Client;
use crate::apiserver::server::Server;

use super::lifecycle::set_condition;
use super::{holds, text, versions};

/// The finalizer that keeps a definition until its objects are gone.
pub const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";
/// How often the clean-up looks whether objects remain.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A failed write is tried again after this.
const RETRY: Duration = Duration::from_millis(100);
/// How long it looks before it reports and starts again.
const PATIENCE: Duration = Duration::from_secs(60);

/// Marks a definition that is to be deleted, at `now` in RFC 3339. Does nothing to one that is marked.
pub fn terminate(crd: &mut Value, now: &str) {
    if crd["metadata"]["deletionTimestamp"].is_string() {
        return;
    }
    crd["metadata"]["deletionTimestamp"] = json!(now);
    let finalizers = &mut crd["metadata"]["finalizers"];
    if !finalizers.is_array() {
        *finalizers = json!([]);
    }
    if let Some(finalizers) = finalizers.as_array_mut()
        && !finalizers.iter().any(|finalizer| finalizer == FINALIZER)
    {
        finalizers.push(json!(FINALIZER));
    }
    let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    set_condition(&mut crd["status"], terminating("True", "InstanceDeletionPending", message), now);
}

fn terminating(status: &str, reason: &str, message: &str) -> Value {
    json!({"type": "Terminating", "status": status, "reason": reason, "message": message})
}

/// How far the removal of one definition is.
pub(super) struct Removal {
    /// When to go on.
    pub(super) due: Instant,
    /// When to give up looking; `None` before objects were deleted.
    give_up: Option<Instant>,
}

impl Removal {
    /// A removal that has not begun.
    pub(super) fn new(now: Instant) -> Removal {
        Removal { due: now, give_up: None }
    }

    /// Does what is due.
    pub(super) async fn step(&mut self, server: &Server, client: &Client, crd: &Value) {
        let now = Instant::now();
        let name = text(&crd["metadata"], "name").to_owned();
        let has_finalizer = |crd: &Value| {
            crd["metadata"]["finalizers"].as_array().into_iter().flatten().any(|finalizer| finalizer == FINALIZER)
        };
        if !has_finalizer(crd) {
            self.due = now + LOOK_EVERY;
            return;
        }
        let time = crate::apiserver::rest::second(server.config().clock.now());
        if self.give_up.is_none() {
            let condition = terminating("True", "InstanceDeletionInProgress", "CustomResource deletion is in progress");
            if !write(client, &name, &time, condition, false).await {
                self.due = now + RETRY;
                return;
            }
            if holds(crd, "Established") {
                delete_instances(server, client, crd).await;
            }
            self.give_up = Some(now + PATIENCE);
        }
        // What was never established is not looked for.
        if !holds(crd, "Established") || count(server, &name) == 0 {
            let condition = if holds(crd, "Established") {
                terminating("False", "InstanceDeletionCompleted", "removed all instances")
            } else {
                terminating("False", "NeverEstablished", "resource was never established")
            };
            write(client, &name, &time, condition, true).await;
            self.due = now + LOOK_EVERY;
        } else if self.give_up.is_some_and(|give_up| now >= give_up) {
            let message = "could not confirm zero CustomResources remaining: timed out waiting for the condition";
            write(client, &name, &time, terminating("True", "InstanceDeletionFailed", message), false).await;
            *self = Removal::new(now + LOOK_EVERY);
        } else {
            self.due = now + LOOK_EVERY;
        }
    }
}

/// How many objects of a definition there are.
fn count(server: &Server, name: &str) -> usize {
    server.state().store.objects(name, "").count()
}

/// Sets the condition and, at the end, takes the finalizer away. Whether it succeeded.
async fn write(client: &Client, name: &str, time: &str, condition: Value, last: bool) -> bool {
    let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
    let (code, mut crd) = client.get(&path).await;
    if code != 200 {
        return false;
    }
    set_condition(&mut crd["status"], condition, time);
    if last && let Some(finalizers) = crd["metadata"]["finalizers"].as_array_mut() {
        finalizers.retain(|finalizer| finalizer != FINALIZER);
    }
    let (code, _) = client.put(&format!("{path}/status"), &crd).await;
    code == 200
}

/// Deletes all objects, namespace by namespace, through the API; in storage where no version is served.
async fn delete_instances(server: &Server, client: &Client, crd: &Value) {
    let name = text(&crd["metadata"], "name");
    let (group, plural) = (text(&crd["spec"], "group"), text(&crd["spec"]["names"], "plural"));
    let Some(version) = versions(crd).find(|version| version["served"] == true) else {
        return delete_stored(server, name);
    };
    let version = text(version, "name");
    let mut namespaces: Vec<String> =
        server.state().store.objects(name, "").map(|((namespace, _), _)| namespace.clone()).collect();
    namespaces.dedup();
    for namespace in namespaces {
        let path = if namespace.is_empty() {
            format!("/apis/{group}/{version}/{plural}")
        } else {
            format!("/apis/{group}/{version}/namespaces/{namespace}/{plural}")
        };
        client.request("DELETE", &path, None, None).await;
    }
}

fn delete_stored(server: &Server, name: &str) {
    let now = server.config().clock.now();
    let mut state = server.state();
    let objects: Vec<_> = state
        .store
        .objects(name, "")
        .map(|(key, stored)| (key.clone(), stored.value.clone(), stored.schema_revision))
        .collect();
    for (key, object, schema_revision) in objects {
        let held = object["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty());
        let after = if !held {
            None
        } else if object["metadata"]["deletionTimestamp"].is_string() {
            continue;
        } else {
            let mut object = (*object).clone();
            object["metadata"]["deletionTimestamp"] = json!(crate::apiserver::rest::second(now));
            object["metadata"]["deletionGracePeriodSeconds"] = json!(0);
            if let Some(generation) = object["metadata"]["generation"].as_i64() {
                object["metadata"]["generation"] = json!(generation + 1);
            }
            Some((object, schema_revision))
        };
        state.commit(super::lifecycle::ACTOR, "delete", &name.into(), key, after, now);
    }
}
