//! Looks at one object as the server holds it now, and does what has to be done about it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::graph::Graph;
use super::node::{FOREGROUND, Identity, Node, ORPHAN, Owner, has_finalizer, owners};
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

/// One thing to do.
#[derive(Debug)]
pub(super) enum Step {
    /// Delete this, with this policy.
    Delete(Identity, &'static str),
    /// Take references to these uids out of this.
    Drop(Identity, Arc<Value>, Vec<String>),
    /// Let no reference of this block its owner.
    Unblock(Identity, Arc<Value>),
    /// Take this finalizer off this.
    Release(Identity, &'static str),
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

    /// What is to be done about one task.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(super) fn decide(&self, graph: &mut Graph, task: &Task) -> Result<Vec<Step>, Failure> {
        match task {
            Task::Delete(uid) => self.delete(graph, uid),
            Task::Orphan(uid) => self.orphan(graph, uid),
        }
    }

    fn delete(&self, graph: &mut Graph, uid: &str) -> Result<Vec<Step>, Failure> {
        let Some(node) = graph.get(uid).cloned() else { return Ok(Vec::new()) };
        if node.being_deleted && !node.deleting_dependents {
            return Ok(Vec::new());
        }
        let Some(object) = self.find(&node.identity)?.filter(|object| meta::text(object, "uid") == uid) else {
            graph.verified_absent(&node.identity);
            return Ok(Vec::new());
        };
        if node.deleting_dependents {
            return Ok(wait_for_dependents(graph, &node));
        }
        let references = owners(&object);
        // A virtual node that exists will be seen as itself.
        if !node.observed || references.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.classify(graph, &node.identity, references)?;
        if !found.solid.is_empty() {
            let gone: Vec<String> = found.dangling.into_iter().chain(found.waiting).map(|owner| owner.uid).collect();
            return Ok(if gone.is_empty() { Vec::new() } else { vec![Step::Drop(node.identity, object, gone)] });
        }
        if !found.waiting.is_empty() && !node.dependents.is_empty() {
            // In a circle everything waits for everything: stop blocking.
            let circle = graph.dependents(&node).any(|dependent| dependent.deleting_dependents);
            let unblock = circle.then(|| Step::Unblock(node.identity.clone(), object));
            return Ok(unblock.into_iter().chain([Step::Delete(node.identity, "Foreground")]).collect());
        }
        let policy = if has_finalizer(&object, ORPHAN) {
            "Orphan"
        } else if has_finalizer(&object, FOREGROUND) {
            "Foreground"
        } else {
            "Background"
        };
        Ok(vec![Step::Delete(node.identity, policy)])
    }

    fn orphan(&self, graph: &Graph, uid: &str) -> Result<Vec<Step>, Failure> {
        let Some(node) = graph.get(uid) else { return Ok(Vec::new()) };
        let mut steps = Vec::new();
        for dependent in graph.dependents(node) {
            let object = self.find(&dependent.identity)?;
            let refers = |object: &Arc<Value>| owners(object).iter().any(|owner| owner.uid == uid);
            if let Some(object) = object.filter(refers)
                && meta::text(&object, "uid") == dependent.identity.uid
            {
                steps.push(Step::Drop(dependent.identity.clone(), object, vec![uid.to_owned()]));
            }
        }
        steps.push(Step::Release(node.identity.clone(), ORPHAN));
        Ok(steps)
    }

    fn classify(&self, graph: &Graph, dependent: &Identity, references: Vec<Owner>) -> Result<Owners, Failure> {
        let mut found = Owners::default();
        for reference in references {
            let identity = reference.identity(&dependent.namespace);
            if graph.is_absent(&identity) {
                found.dangling.push(reference);
                continue;
            }
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

    /// Does what was decided, up to the first refusal.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(super) async fn perform(&self, steps: &[Step]) -> Result<(), Failure> {
        for step in steps {
            match step {
                Step::Delete(identity, policy) => self.request_delete(identity, policy).await?,
                Step::Drop(identity, object, gone) => self.drop_references(identity, object, gone).await?,
                Step::Unblock(identity, object) => self.unblock(identity, object).await?,
                Step::Release(identity, finalizer) => self.remove_finalizer(identity, finalizer).await?,
            }
        }
        Ok(())
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

    async fn drop_references(&self, identity: &Identity, object: &Value, gone: &[String]) -> Result<(), Failure> {
        let references = object["metadata"]["ownerReferences"].as_array();
        let kept: Vec<&Value> = references
            .into_iter()
            .flatten()
            .filter(|reference| !gone.iter().any(|uid| reference["uid"] == uid.as_str()))
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

/// An owner under foreground deletion goes once nothing that blocks it is left.
fn wait_for_dependents(graph: &mut Graph, node: &Node) -> Vec<Step> {
    let uid = &node.identity.uid;
    let blocks = |dependent: &&Node| dependent.owners.iter().any(|owner| owner.uid == *uid && owner.blocks);
    let blocking: Vec<(String, bool)> = graph
        .dependents(node)
        .filter(blocks)
        .map(|dependent| (dependent.identity.uid.clone(), dependent.deleting_dependents))
        .collect();
    if blocking.is_empty() {
        return vec![Step::Release(node.identity.clone(), FOREGROUND)];
    }
    for (dependent, _) in blocking.iter().filter(|(_, deleting)| !deleting) {
        graph.look_at(dependent);
    }
    Vec::new()
}

/// Whether a request did what it should or found nothing left to do.
fn settled(code: u16) -> Result<(), Failure> {
    if code < 300 || code == 404 { Ok(()) } else { Err(Failure::Refused) }
}
