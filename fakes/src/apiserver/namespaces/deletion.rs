//! One pass over a terminating namespace: delete what is in it, say what remains, and let it go once nothing does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::ACTOR;
use crate::apiserver::resource::Resource;
use crate::apiserver::{Client, Server, list, meta, rest};

/// The finalizer in the spec of a namespace that stands for this controller.
const FINALIZER: &str = "kubernetes";
/// How long content with finalizers is expected to take (upstream `finalizerEstimateSeconds`).
const FINALIZER_ESTIMATE_SECONDS: i64 = 15;
/// Attempts at a write that conflicts.
const ATTEMPTS: usize = 5;

/// How a pass ended.
pub(super) enum Outcome {
    /// Nothing more to do.
    Done,
    /// Content is left: look again after this.
    Remaining(Duration),
    /// A request failed.
    Failed,
}

/// What the passes over the resources of one namespace found.
#[derive(Default)]
struct Findings {
    estimate_seconds: i64,
    resources: BTreeMap<String, usize>,
    finalizers: BTreeMap<String, usize>,
    errors: Vec<String>,
}

pub(super) struct Deletion {
    server: Server,
    client: Client,
}

impl Deletion {
    pub(super) fn new(server: &Server) -> Deletion {
        Deletion { server: server.clone(), client: server.client(ACTOR) }
    }

    /// Looks at one namespace.
    pub(super) async fn sync(&self, name: &str) -> Outcome {
        let Some(mut namespace) = self.get(name).filter(|namespace| meta::terminating(namespace)) else {
            return Outcome::Done;
        };
        if namespace["status"]["phase"] != "Terminating" {
            let mut new = (*namespace).clone();
            new["status"]["phase"] = json!("Terminating");
            self.client.put(&format!("/api/v1/namespaces/{name}/status"), &new).await;
            let Some(fresh) = self.get(name) else { return Outcome::Done };
            namespace = fresh;
        }
        if finalizers(&namespace).next().is_none() {
            return Outcome::Done;
        }
        let findings = self.delete_content(name, &namespace).await;
        self.update_conditions(name, &namespace, &findings).await;
        if !findings.errors.is_empty() {
            return Outcome::Failed;
        }
        if findings.estimate_seconds > 0 {
            let seconds = findings.estimate_seconds / 2 + 1;
            return Outcome::Remaining(Duration::from_secs(seconds.unsigned_abs()));
        }
        self.finalize(name).await
    }

    fn get(&self, name: &str) -> Option<Arc<Value>> {
        self.server.state().store.get("namespaces", "", name).map(|stored| stored.value.clone())
    }

    /// Every resource that can have objects in a namespace, in one version, pods first: what else is there may be needed
    /// by pods that end.
    fn resources(&self) -> Vec<Arc<Resource>> {
        let state = self.server.state();
        let mut found: Vec<Arc<Resource>> = Vec::new();
        for resource in
            state.resources.iter().filter(|resource| resource.namespaced && resource.verbs.contains(&"delete"))
        {
            if !found.iter().any(|other| other.id == resource.id) {
                found.push(resource.clone());
            }
        }
        found.sort_by_key(|resource| &*resource.id != "pods");
        found
    }

    async fn delete_content(&self, name: &str, namespace: &Value) -> Findings {
        let mut findings = Findings::default();
        for resource in self.resources() {
            self.delete_resource(&resource, name, namespace, &mut findings).await;
            if &*resource.id == "pods" && !findings.resources.is_empty() {
                break;
            }
        }
        findings
    }

    async fn delete_resource(&self, resource: &Resource, name: &str, namespace: &Value, findings: &mut Findings) {
        let items = self.items(resource, name);
        if items.is_empty() {
            return;
        }
        let grace = if &*resource.id == "pods" {
            pod_grace_seconds(&items, namespace, self.server.config().clock.now())
        } else {
            0
        };
        let root = if resource.group.is_empty() { "/api" } else { "/apis" };
        let collection = format!("{root}/{}/namespaces/{name}/{}", resource.api_version, resource.plural);
        let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"});
        if resource.verbs.contains(&"deletecollection") {
            let (code, answer) = self.client.delete(&collection, Some(&options)).await;
            if code >= 300 {
                findings.errors.push(answer["message"].as_str().unwrap_or_default().to_owned());
            }
        } else {
            for item in &items {
                let (code, answer) =
                    self.client.delete(&format!("{collection}/{}", meta::text(item, "name")), Some(&options)).await;
                if code >= 300 && code != 404 {
                    findings.errors.push(answer["message"].as_str().unwrap_or_default().to_owned());
                }
            }
        }
        let left = self.items(resource, name);
        if left.is_empty() {
            return;
        }
        findings.resources.insert(format!("{}.{}", resource.plural, resource.group), left.len());
        let mut held = false;
        for finalizer in left.iter().flat_map(|item| meta::finalizers(item)) {
            *findings.finalizers.entry(finalizer.to_owned()).or_default() += 1;
            held = true;
        }
        let estimate = match (grace, held) {
            (0, true) => FINALIZER_ESTIMATE_SECONDS,
            (grace, _) => grace,
        };
        findings.estimate_seconds = findings.estimate_seconds.max(estimate);
        if estimate == 0 {
            findings.errors.push(format!(
                "unexpected items still remain in namespace: {name} for gvr: {}/{}, Resource={}",
                resource.group, resource.version, resource.plural
            ));
        }
    }

    fn items(&self, resource: &Resource, namespace: &str) -> Vec<Arc<Value>> {
        let mut state = self.server.state();
        let table = state.store.table(&resource.id);
        list::in_namespace(&table.objects, namespace).map(|(_, stored)| stored.value.clone()).collect()
    }

    async fn update_conditions(&self, name: &str, namespace: &Value, findings: &Findings) {
        let mut new = namespace.clone();
        let at = rest::second(self.server.config().clock.now());
        let mut changed = false;
        let Some(status) = new["status"].as_object_mut() else { return };
        let list = status.entry("conditions").or_insert_with(|| json!([]));
        let Some(list) = list.as_array_mut() else { return };
        for (kind, status, reason, message) in conditions(findings) {
            let status = if status { "True" } else { "False" };
            let fresh =
                json!({"type": kind, "status": status, "lastTransitionTime": at, "reason": reason, "message": message});
            match list.iter_mut().find(|condition| condition["type"] == kind) {
                None => {
                    list.push(fresh);
                    changed = true;
                }
                Some(old) => {
                    if ["status", "reason", "message"].iter().all(|field| old[field] == fresh[field]) {
                        continue;
                    }
                    let since = old["lastTransitionTime"].take();
                    let flipped = old["status"] != fresh["status"];
                    *old = fresh;
                    if !flipped {
                        old["lastTransitionTime"] = since;
                    }
                    changed = true;
                }
            }
        }
        if changed {
            // A conflict is seen again by the next pass.
            self.client.put(&format!("/api/v1/namespaces/{name}/status"), &new).await;
        }
    }

    async fn finalize(&self, name: &str) -> Outcome {
        for _ in 0..ATTEMPTS {
            let Some(namespace) = self.get(name) else { return Outcome::Done };
            let mut left: Vec<&str> = finalizers(&namespace).filter(|finalizer| *finalizer != FINALIZER).collect();
            left.sort_unstable();
            let mut new = (*namespace).clone();
            new["spec"]["finalizers"] = json!(left);
            match self.client.put(&format!("/api/v1/namespaces/{name}/finalize"), &new).await.0 {
                409 => {}
                code if code < 300 || code == 404 => return Outcome::Done,
                _ => return Outcome::Failed,
            }
        }
        Outcome::Failed
    }
}

fn finalizers(namespace: &Value) -> impl Iterator<Item = &str> {
    namespace["spec"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// The conditions that describe a pass: type, whether it is bad, reason, message.
fn conditions(findings: &Findings) -> [(&'static str, bool, &'static str, String); 5] {
    let ok = |kind, reason, message: &str| (kind, false, reason, message.to_owned());
    let list = |parts: Vec<String>| parts.join(", ");
    let failure = "NamespaceDeletionContentFailure";
    let remaining = "NamespaceContentRemaining";
    let held = "NamespaceFinalizersRemaining";
    [
        ok("NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered", "All resources successfully discovered"),
        ok(
            "NamespaceDeletionGroupVersionParsingFailure",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        if findings.errors.is_empty() {
            ok(failure, "ContentDeleted", "All content successfully deleted, may be waiting on finalization")
        } else {
            let mut errors = findings.errors.clone();
            errors.sort();
            let message = format!("Failed to delete all resource types, {} remaining: {}", errors.len(), list(errors));
            (failure, true, "ContentDeletionFailed", message)
        },
        if findings.resources.is_empty() {
            ok(remaining, "ContentRemoved", "All content successfully removed")
        } else {
            let counts =
                findings.resources.iter().map(|(name, count)| format!("{name} has {count} resource instances"));
            (
                remaining,
                true,
                "SomeResourcesRemain",
                format!("Some resources are remaining: {}", list(counts.collect())),
            )
        },
        if findings.finalizers.is_empty() {
            ok(held, "ContentHasNoFinalizers", "All content-preserving finalizers finished")
        } else {
            let counts =
                findings.finalizers.iter().map(|(name, count)| format!("{name} in {count} resource instances"));
            let message = format!("Some content in the namespace has finalizers remaining: {}", list(counts.collect()));
            (held, true, "SomeFinalizersRemain", message)
        },
    ]
}

/// How long the pods may take to end, 0 once they should have.
fn pod_grace_seconds(pods: &[Arc<Value>], namespace: &Value, now: Timestamp) -> i64 {
    let running = |pod: &&Arc<Value>| !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    let grace = pods
        .iter()
        .filter(running)
        .filter_map(|pod| pod["spec"]["terminationGracePeriodSeconds"].as_i64())
        .max()
        .unwrap_or(0);
    let deleted: Option<Timestamp> = meta::text(namespace, "deletionTimestamp").parse().ok();
    let elapsed = deleted.map_or(0, |deleted| now.as_second() - deleted.as_second());
    if elapsed >= grace { 0 } else { grace }
}
