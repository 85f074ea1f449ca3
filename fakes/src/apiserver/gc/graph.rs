//! Who owns whom, as far as the collector has seen.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;

use super::Task;
use super::node::{FOREGROUND, Identity, Node, ORPHAN, Owner, has_finalizer, owners};
use crate::apiserver::feed::Change;
use crate::apiserver::meta;

/// Something to tell the users.
pub(super) enum Notice {
    /// A reference to an owner that lives in another namespace.
    InvalidNamespace {
        /// The object with the reference.
        dependent: Identity,
        /// The owner as referred to, in the namespace of the dependent.
        owner: Identity,
    },
}

/// The graph, and what to look at next.
#[derive(Default)]
pub(super) struct Graph {
    nodes: BTreeMap<String, Node>,
    queue: VecDeque<Task>,
    queued: BTreeSet<Task>,
    notices: Vec<Notice>,
    /// Owners that are known not to exist (any more), the newest last: uids do not come back, so these need no lookup, and
    /// the kind of some may be gone as well.
    absent: VecDeque<Identity>,
}

/// How many absent owners are remembered (upstream keeps as many).
const ABSENT: usize = 500;

/// Whether an object began to wait for the collector to do what a finalizer stands for.
fn starts(before: Option<&Value>, after: &Value, finalizer: &str) -> bool {
    let waits = |object: &Value| meta::terminating(object) && has_finalizer(object, finalizer);
    waits(after) && !before.is_some_and(waits)
}

impl Graph {
    pub(super) fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    /// The nodes that refer to this one.
    pub(super) fn dependents<'a>(&'a self, node: &'a Node) -> impl Iterator<Item = &'a Node> {
        node.dependents.iter().filter_map(|uid| self.nodes.get(uid))
    }

    /// Adds a task unless it waits already.
    pub(super) fn enqueue(&mut self, task: Task) {
        if self.queued.insert(task.clone()) {
            self.queue.push_back(task);
        }
    }

    pub(super) fn look_at(&mut self, uid: &str) {
        self.enqueue(Task::Delete(uid.to_owned()));
    }

    /// The next task.
    pub(super) fn next(&mut self) -> Option<Task> {
        let task = self.queue.pop_front()?;
        self.queued.remove(&task);
        Some(task)
    }

    pub(super) fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Takes in one change.
    pub(super) fn process(&mut self, change: &Change) {
        // Events own nothing and are owned by nobody (upstream ignores them as well).
        if &*change.resource == "events" {
            return;
        }
        let Some(object) = change.object() else { return };
        let uid = meta::text(object, "uid").to_owned();
        if change.after.is_none() {
            self.removed(&uid);
            return;
        }
        let identity = Identity {
            api_version: object["apiVersion"].as_str().unwrap_or_default().to_owned(),
            kind: object["kind"].as_str().unwrap_or_default().to_owned(),
            namespace: meta::text(object, "namespace").to_owned(),
            name: meta::text(object, "name").to_owned(),
            uid: uid.clone(),
        };
        let new_owners = owners(object);
        if self.nodes.contains_key(&uid) {
            self.observe(identity);
            self.change_owners(&uid, new_owners);
        } else {
            let node = Node {
                identity,
                owners: new_owners.clone(),
                dependents: BTreeSet::new(),
                deleting_dependents: meta::terminating(object) && has_finalizer(object, FOREGROUND),
                being_deleted: meta::terminating(object),
                observed: true,
            };
            self.nodes.insert(uid.clone(), node);
            self.add_to_owners(&uid, &new_owners);
        }
        if let Some(node) = self.nodes.get_mut(&uid) {
            node.being_deleted |= meta::terminating(object);
        }
        self.transitions(change.before.as_deref(), object, &uid);
    }

    /// A virtual node turns out to exist.
    fn observe(&mut self, identity: Identity) {
        let Some(node) = self.nodes.get_mut(&identity.uid) else { return };
        if node.observed {
            return;
        }
        node.observed = true;
        let guessed = std::mem::replace(&mut node.identity, identity.clone());
        if guessed == identity {
            return;
        }
        let doubtful: Vec<Identity> = {
            let node = &self.nodes[&identity.uid];
            self.dependents(node)
                .filter(|node| node.references(&identity).1)
                .map(|node| node.identity.clone())
                .collect()
        };
        for dependent in doubtful {
            if !identity.namespace.is_empty() && dependent.namespace != identity.namespace {
                self.report_namespace(&dependent.uid, &identity.uid);
            }
            self.look_at(&dependent.uid);
        }
    }

    fn change_owners(&mut self, uid: &str, new: Vec<Owner>) {
        let Some(node) = self.nodes.get_mut(uid) else { return };
        let old = std::mem::replace(&mut node.owners, new.clone());
        let find = |list: &[Owner], uid: &str| list.iter().find(|owner| owner.uid == uid).cloned();
        let added: Vec<Owner> = new.iter().filter(|owner| find(&old, &owner.uid).is_none()).cloned().collect();
        for before in &old {
            let after = find(&new, &before.uid);
            // An owner that waits for this dependent may go on.
            if before.blocks && after.as_ref().is_none_or(|after| !after.blocks) && self.nodes.contains_key(&before.uid)
            {
                self.look_at(&before.uid);
            }
            if after.is_none()
                && let Some(owner) = self.nodes.get_mut(&before.uid)
            {
                owner.dependents.remove(uid);
            }
        }
        self.add_to_owners(uid, &added);
    }

    fn add_to_owners(&mut self, uid: &str, owners: &[Owner]) {
        let Some(namespace) = self.nodes.get(uid).map(|node| node.identity.namespace.clone()) else { return };
        let mut doubtful = false;
        for owner in owners {
            if let Some(node) = self.nodes.get_mut(&owner.uid) {
                node.dependents.insert(uid.to_owned());
                if doubtful {
                    continue;
                }
                let (identity, observed) = (&node.identity, node.observed);
                let namespaced = !identity.namespace.is_empty();
                let elsewhere = identity.namespace != namespace;
                doubtful = !owner.names(identity) || (elsewhere && (namespaced || !observed));
                if namespaced && elsewhere && observed {
                    self.report_namespace(uid, &owner.uid);
                }
            } else {
                let node = Node {
                    identity: owner.identity(&namespace),
                    owners: Vec::new(),
                    dependents: BTreeSet::from([uid.to_owned()]),
                    deleting_dependents: false,
                    being_deleted: false,
                    observed: false,
                };
                self.nodes.insert(owner.uid.clone(), node);
                self.look_at(&owner.uid);
            }
        }
        if doubtful {
            self.look_at(uid);
        }
    }

    fn report_namespace(&mut self, dependent: &str, owner: &str) {
        if let Some(node) = self.nodes.get(dependent)
            && let Some(owner) = node.owners.iter().find(|reference| reference.uid == owner)
        {
            let owner = owner.identity(&node.identity.namespace);
            self.notices.push(Notice::InvalidNamespace { dependent: node.identity.clone(), owner });
        }
    }

    fn transitions(&mut self, before: Option<&Value>, after: &Value, uid: &str) {
        if starts(before, after, ORPHAN) {
            self.enqueue(Task::Orphan(uid.to_owned()));
            return;
        }
        if starts(before, after, FOREGROUND)
            && let Some(node) = self.nodes.get_mut(uid)
        {
            node.deleting_dependents = true;
            for dependent in node.dependents.clone() {
                self.look_at(&dependent);
            }
            self.look_at(uid);
        }
    }

    /// An object is gone.
    fn removed(&mut self, uid: &str) {
        let Some(node) = self.nodes.remove(uid) else { return };
        for owner in &node.owners {
            if let Some(owner_node) = self.nodes.get_mut(&owner.uid) {
                owner_node.dependents.remove(uid);
            }
        }
        if !node.dependents.is_empty() {
            self.remember_absent(node.identity);
        }
        for dependent in &node.dependents {
            self.look_at(dependent);
        }
        for owner in &node.owners {
            if self.nodes.get(&owner.uid).is_some_and(|node| node.deleting_dependents) {
                self.look_at(&owner.uid);
            }
        }
    }

    fn remember_absent(&mut self, identity: Identity) {
        self.absent.push_back(identity);
        if self.absent.len() > ABSENT {
            self.absent.pop_front();
        }
    }

    /// Whether the owner is known to be absent, in the namespace of the reference or cluster-wide.
    pub(super) fn is_absent(&self, identity: &Identity) -> bool {
        self.absent.iter().any(|absent| {
            absent.uid == identity.uid
                && absent.name == identity.name
                && absent.kind == identity.kind
                && absent.api_version == identity.api_version
                && (absent.namespace.is_empty() || absent.namespace == identity.namespace)
        })
    }

    /// A look found that nothing exists under this identity.
    pub(super) fn verified_absent(&mut self, identity: &Identity) {
        let Some(node) = self.nodes.get(&identity.uid) else { return };
        let (mut matching, mut other) = (Vec::new(), Vec::new());
        for dependent in self.dependents(node) {
            let (names, differs) = dependent.references(identity);
            if names {
                matching.push(dependent.identity.uid.clone());
            }
            if differs {
                other.push(dependent.identity.uid.clone());
            }
        }
        let certain = if node.observed { node.identity == *identity } else { other.is_empty() };
        if certain {
            self.removed(&identity.uid);
            return;
        }
        self.remember_absent(identity.clone());
        for dependent in &matching {
            self.look_at(dependent);
        }
        let Some(node) = self.nodes.get(&identity.uid).filter(|node| !node.observed && node.identity == *identity)
        else {
            return;
        };
        // Dependents disagree about what the owner is: look for the next thing it may be.
        let alternative = self
            .dependents(node)
            .flat_map(|dependent| {
                let of_owner = dependent.owners.iter().filter(|owner| owner.uid == identity.uid);
                of_owner.map(|owner| owner.identity(&dependent.identity.namespace)).collect::<Vec<_>>()
            })
            .find(|candidate| !self.absent.contains(candidate));
        if let Some(alternative) = alternative
            && let Some(node) = self.nodes.get_mut(&identity.uid)
        {
            node.identity = alternative;
            self.look_at(&identity.uid);
        }
    }
}
