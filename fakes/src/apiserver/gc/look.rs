//! Looks at one object as the server holds it now, and does what has to be done about it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::graph::{FOREGROUND, Graph, Identity, Node, ORPHAN, Owner, has_finalizer, owners};
use super::{ACTOR, Task};
use crate::apiserver::resource::Resource;
use crate::apiserver::{Client, Server, meta, rest};

/// Why a task is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// A reference names a kind that is not served: nothing can be said about that owner (apiserver.md E2).
    Unresolved,
    /// The server refused: try again.
    Refused,
}

pub(super) struct Look {
    server: Server,
    client: Client,
    /// Events sent: their name and count.
    events: BTreeMap<(Identity, Identity), (String, u32)>,
}

/// How the owners of an object are.
#[derive(Default)]
struct Owners {
    solid: Vec<Owner>,
    /// Absent.
    dangling: Vec<Owner>,
    /// Waiting for their dependents.
    waiting: Vec<Owner>,
}

impl Look {
    pub(super) fn new(server: &Server) -> Look {
        Look { server: server.clone(), client: server.client(ACTOR), events: BTreeMap::new() }
    }

    /// Does one task.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(super) async fn work(&mut self, graph: &mut Graph, task: &Task) -> Result<(), Failure> {
        match task {
            Task::Delete(uid) => self.delete(graph, uid).await,
            Task::Orphan(uid) => self.orphan(graph, uid).await,
        }
    }

    async fn delete(&self, graph: &mut Graph, uid: &str) -> Result<(), Failure> {
        let Some(node) = graph.get(uid).cloned() else { return Ok(()) };
        if node.being_deleted && !node.deleting_dependents {
            return Ok(());
        }
        let Some(object) = self.find(&node.identity)?.filter(|object| meta::text(object, "uid") == uid) else {
            graph.verified_absent(&node.identity);
            return Ok(());
        };
        if node.deleting_dependents {
            return self.wait_for_dependents(graph, &node).await;
        }
        if !node.observed {
            // It exists, and the feed will say so.
            return Ok(());
        }
        let references = owners(&object);
        if references.is_empty() {
            return Ok(());
        }
        let found = self.classify(&node.identity, references)?;
        if !found.solid.is_empty() {
            let gone: Vec<&Owner> = found.dangling.iter().chain(&found.waiting).collect();
            return if gone.is_empty() { Ok(()) } else { self.drop_references(&node.identity, &object, &gone).await };
        }
        if !found.waiting.is_empty() && !node.dependents.is_empty() {
            // A circle of objects that all wait for each other: stop blocking.
            if graph.dependents(&node).any(|dependent| dependent.deleting_dependents) {
                self.unblock(&node.identity, &object).await?;
            }
            return self.request_delete(&node.identity, "Foreground").await;
        }
        let policy = if has_finalizer(&object, ORPHAN) {
            "Orphan"
        } else if has_finalizer(&object, FOREGROUND) {
            "Foreground"
        } else {
            "Background"
        };
        self.request_delete(&node.identity, policy).await
    }

    /// An owner under foreground deletion goes once nothing that blocks it is left.
    async fn wait_for_dependents(&self, graph: &mut Graph, node: &Node) -> Result<(), Failure> {
        let uid = &node.identity.uid;
        let blocks = |dependent: &&Node| dependent.owners.iter().any(|owner| owner.uid == *uid && owner.blocks);
        let blocking: Vec<(String, bool)> = graph
            .dependents(node)
            .filter(blocks)
            .map(|dependent| (dependent.identity.uid.clone(), dependent.deleting_dependents))
            .collect();
        if blocking.is_empty() {
            return self.remove_finalizer(&node.identity, FOREGROUND).await;
        }
        for (dependent, _) in blocking.iter().filter(|(_, deleting)| !deleting) {
            graph.look_at(dependent);
        }
        Ok(())
    }

    async fn orphan(&self, graph: &Graph, uid: &str) -> Result<(), Failure> {
        let Some(node) = graph.get(uid) else { return Ok(()) };
        for dependent in graph.dependents(node) {
            let Some(object) = self.find(&dependent.identity)? else { continue };
            if meta::text(&object, "uid") != dependent.identity.uid {
                continue;
            }
            let references = owners(&object);
            let gone: Vec<&Owner> = references.iter().filter(|owner| owner.uid == uid).collect();
            if !gone.is_empty() {
                self.drop_references(&dependent.identity, &object, &gone).await?;
            }
        }
        self.remove_finalizer(&node.identity, ORPHAN).await
    }

    fn classify(&self, dependent: &Identity, references: Vec<Owner>) -> Result<Owners, Failure> {
        let mut found = Owners::default();
        for reference in references {
            let identity = reference.identity(&dependent.namespace);
            let owner = self.find(&identity)?.filter(|object| meta::text(object, "uid") == reference.uid);
            match owner {
                None => found.dangling.push(reference),
                Some(owner) if meta::terminating(&owner) && has_finalizer(&owner, FOREGROUND) => {
                    found.waiting.push(reference);
                }
                Some(_) => found.solid.push(reference),
            }
        }
        Ok(found)
    }

    /// The resource of an identity. A namespaced owner of a cluster-wide object cannot exist and is left alone.
    fn resource(&self, identity: &Identity) -> Result<Arc<Resource>, Failure> {
        let state = self.server.state();
        let matches =
            |resource: &&Arc<Resource>| resource.api_version == identity.api_version && resource.kind == identity.kind;
        let resource = state.resources.iter().find(matches).cloned().ok_or(Failure::Unresolved)?;
        if resource.namespaced && identity.namespace.is_empty() { Err(Failure::Unresolved) } else { Ok(resource) }
    }

    fn find(&self, identity: &Identity) -> Result<Option<Arc<Value>>, Failure> {
        let resource = self.resource(identity)?;
        let namespace = if resource.namespaced { identity.namespace.as_str() } else { "" };
        let state = self.server.state();
        Ok(state.store.get(&resource.id, namespace, &identity.name).map(|stored| stored.value.clone()))
    }

    fn path(&self, identity: &Identity) -> Result<String, Failure> {
        let resource = self.resource(identity)?;
        let root = if resource.group.is_empty() { "/api" } else { "/apis" };
        let namespace = if resource.namespaced { format!("/namespaces/{}", identity.namespace) } else { String::new() };
        Ok(format!("{root}/{}{namespace}/{}/{}", resource.api_version, resource.plural, identity.name))
    }

    async fn request_delete(&self, identity: &Identity, policy: &str) -> Result<(), Failure> {
        let Some(object) = self.find(identity)? else { return Ok(()) };
        let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy,
            "preconditions": {"uid": identity.uid, "resourceVersion": meta::text(&object, "resourceVersion")}});
        settled(self.client.delete(&self.path(identity)?, Some(&options)).await.0)
    }

    async fn patch(&self, identity: &Identity, object: &Value, mut metadata: Value) -> Result<(), Failure> {
        metadata["resourceVersion"] = object["metadata"]["resourceVersion"].clone();
        let body = json!({ "metadata": metadata });
        settled(self.client.merge_patch(&self.path(identity)?, &body).await.0)
    }

    async fn drop_references(&self, identity: &Identity, object: &Value, gone: &[&Owner]) -> Result<(), Failure> {
        let references = object["metadata"]["ownerReferences"].as_array();
        let kept: Vec<&Value> = references
            .into_iter()
            .flatten()
            .filter(|reference| !gone.iter().any(|owner| reference["uid"] == owner.uid.as_str()))
            .collect();
        let references = if kept.is_empty() { Value::Null } else { json!(kept) };
        self.patch(identity, object, json!({ "ownerReferences": references })).await
    }

    async fn unblock(&self, identity: &Identity, object: &Value) -> Result<(), Failure> {
        let mut references = object["metadata"]["ownerReferences"].clone();
        for reference in references.as_array_mut().into_iter().flatten() {
            if reference["blockOwnerDeletion"] == Value::Bool(true) {
                reference["blockOwnerDeletion"] = Value::Bool(false);
            }
        }
        self.patch(identity, object, json!({ "ownerReferences": references })).await
    }

    async fn remove_finalizer(&self, identity: &Identity, finalizer: &str) -> Result<(), Failure> {
        let Some(object) = self.find(identity)? else { return Ok(()) };
        if meta::text(&object, "uid") != identity.uid || !has_finalizer(&object, finalizer) {
            return Ok(());
        }
        let kept: Vec<&str> = meta::finalizers(&object).filter(|found| *found != finalizer).collect();
        let finalizers = if kept.is_empty() { Value::Null } else { json!(kept) };
        self.patch(identity, &object, json!({ "finalizers": finalizers })).await
    }

    /// Tells that an owner reference crosses namespaces, as an Event. The same news again only counts.
    pub(super) async fn report(&mut self, dependent: &Identity, owner: &Identity) {
        let namespace = if dependent.namespace.is_empty() { "default" } else { &dependent.namespace };
        let events = format!("/api/v1/namespaces/{namespace}/events");
        let now = self.server.config().clock.now();
        let time = rest::second(now);
        if let Some((name, count)) = self.events.get_mut(&(dependent.clone(), owner.clone())) {
            *count += 1;
            let body = json!({"count": count, "lastTimestamp": time});
            self.client.merge_patch(&format!("{events}/{name}"), &body).await;
            return;
        }
        let name = format!("{}.{:x}", dependent.name, now.as_nanosecond() + self.events.len() as i128);
        let message = format!(
            "ownerRef [{}/{}, namespace: {}, name: {}, uid: {}] does not exist in namespace {:?}",
            owner.api_version, owner.kind, owner.namespace, owner.name, owner.uid, dependent.namespace
        );
        let component = "garbage-collector-controller";
        let body = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {"apiVersion": dependent.api_version, "kind": dependent.kind, "name": dependent.name,
                "namespace": dependent.namespace, "uid": dependent.uid},
            "reason": "OwnerRefInvalidNamespace", "message": message, "type": "Warning", "count": 1,
            "firstTimestamp": time, "lastTimestamp": time,
            "source": {"component": component}, "reportingComponent": component,
        });
        // An Event that cannot be created (the namespace is being deleted) is lost, as upstream.
        self.client.post(&events, &body).await;
        self.events.insert((dependent.clone(), owner.clone()), (name, 1));
    }
}

/// Whether a request did what it should or found nothing left to do.
fn settled(code: u16) -> Result<(), Failure> {
    if code < 300 || code == 404 { Ok(()) } else { Err(Failure::Refused) }
}
