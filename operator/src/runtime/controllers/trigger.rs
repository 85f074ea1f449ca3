//! From changes of a loop's own kind, and wakes by others, to the objects to look at.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, StreamExt, stream};
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::{self, Event};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::super::changes::Changes;
use super::super::health::Health;
use super::Memory;
use super::stub::{Name, Own, Stub, Wake};
use crate::cluster_api::{Change, ClusterApi, Detail, Key, Manager, Object, Scope};

/// The main watch and the wakes as a store writer and a trigger.
pub(super) fn trigger<A: ClusterApi>(
    api: &A,
    own: Own,
    store: Writer<Stub>,
    wakes: mpsc::UnboundedReceiver<Wake>,
    others: Changes,
    memory: Arc<Mutex<BTreeMap<Name, Memory>>>,
    health: Health,
) -> impl Stream<Item = Result<Stub, watcher::Error>> + Send + 'static {
    let changes = api.watch(&own.kind(), &Scope::all(), Detail::Metadata).map(Input::Change);
    let wakes = stream::unfold(wakes, |mut wakes| async move { Some((Input::Wake(wakes.recv().await?), wakes)) });
    let kind = own.kind();
    let mut state = Trigger::new(own, store, memory, health);
    stream::select(changes, wakes).flat_map(move |input| {
        let woken = match input {
            Input::Change(change) => {
                others.of(&kind, &change);
                let woken = state.on(change);
                for (namespace, name) in woken.iter().filter(|stub| stub.gone).map(Stub::name) {
                    others.tell(&Key::namespaced(&kind, &namespace, &name));
                }
                woken
            }
            Input::Wake(wake) => state.wake(wake),
        };
        stream::iter(woken.into_iter().map(Ok))
    })
}

enum Input {
    Change(Change),
    Wake(Wake),
}

/// Objects that are gone and still looked at, at most; the oldest are forgotten first.
pub(super) const GONE: usize = 256;

pub(super) struct Trigger {
    own: Own,
    pub(super) store: Writer<Stub>,
    memory: Arc<Mutex<BTreeMap<Name, Memory>>>,
    health: Health,
    /// Fingerprints of what was last woken for.
    known: BTreeMap<Name, [u8; 8]>,
    /// While a list arrives: what it holds, and what to wake once the store holds it too.
    listed: Option<Listing>,
    /// Wakes that came before the first complete list.
    early: Option<BTreeSet<Name>>,
    /// Objects that are gone, in the store only so that a pass can look at what they left behind.
    gone: VecDeque<Name>,
}

/// A list that arrives.
#[derive(Default)]
struct Listing {
    names: BTreeSet<Name>,
    wakes: Vec<Stub>,
}

impl Trigger {
    pub(super) fn new(
        own: Own,
        store: Writer<Stub>,
        memory: Arc<Mutex<BTreeMap<Name, Memory>>>,
        health: Health,
    ) -> Self {
        let (known, early) = (BTreeMap::new(), Some(BTreeSet::new()));
        Self { own, store, memory, health, known, listed: None, early, gone: VecDeque::new() }
    }

    pub(super) fn wake(&mut self, Wake { namespace, name }: Wake) -> Vec<Stub> {
        let name = (namespace, name);
        if let Some(early) = &mut self.early {
            early.insert(name);
            return Vec::new();
        }
        vec![if self.known.contains_key(&name) { self.stub(&name) } else { self.vanished(name) }]
    }

    fn stub(&self, (namespace, name): &Name) -> Stub {
        // Only its name matters: the store holds the object.
        Stub { gone: false, ..Stub::gone(namespace, name) }
    }

    fn vanished(&mut self, name: Name) -> Stub {
        let stub = Stub::gone(&name.0, &name.1);
        if !self.gone.contains(&name) {
            if self.gone.len() >= GONE
                && let Some((namespace, name)) = self.gone.pop_front()
            {
                self.store.apply_watcher_event(&Event::Delete(Stub::gone(&namespace, &name)));
            }
            self.gone.push_back(name);
        }
        self.store.apply_watcher_event(&Event::Apply(stub.clone()));
        stub
    }

    pub(super) fn on(&mut self, change: Change) -> Vec<Stub> {
        match change {
            Change::Reset => {
                self.store.apply_watcher_event(&Event::Init);
                self.listed = Some(Listing::default());
                Vec::new()
            }
            Change::Listed(object) => {
                let stub = Stub::of(&object);
                self.store.apply_watcher_event(&Event::InitApply(stub.clone()));
                let news = self.news(&object);
                if let Some(listing) = &mut self.listed {
                    listing.names.insert(name(&object));
                    if news {
                        listing.wakes.push(stub);
                    }
                }
                Vec::new()
            }
            Change::Synced => {
                let Some(Listing { names, mut wakes }) = self.listed.take() else { return Vec::new() };
                self.gone.retain(|name| !names.contains(name));
                // What vanished while nobody watched is looked at once more, like what was seen to go.
                let vanished: Vec<_> = self.known.keys().filter(|name| !names.contains(*name)).cloned().collect();
                self.known.retain(|name, _| names.contains(name));
                self.memory.lock().unwrap_or_else(PoisonError::into_inner).retain(|name, _| names.contains(name));
                for (namespace, name) in &self.gone {
                    self.store.apply_watcher_event(&Event::InitApply(Stub::gone(namespace, name)));
                }
                self.store.apply_watcher_event(&Event::InitDone);
                self.health.synced(self.own.controller());
                let early = self.early.take().unwrap_or_default();
                let early = early.into_iter().filter(|name| !names.contains(name));
                for name in early.chain(vanished).collect::<Vec<_>>() {
                    wakes.push(self.vanished(name));
                }
                wakes
            }
            Change::Applied(object) => {
                let stub = Stub::of(&object);
                self.gone.retain(|gone| *gone != name(&object));
                self.store.apply_watcher_event(&Event::Apply(stub.clone()));
                if self.news(&object) { vec![stub] } else { Vec::new() }
            }
            Change::Deleted(object) => {
                self.known.remove(&name(&object));
                self.memory.lock().unwrap_or_else(PoisonError::into_inner).remove(&name(&object));
                vec![self.vanished(name(&object))]
            }
            Change::Interrupted(error) => {
                self.health.interrupted(self.own.controller(), &error);
                Vec::new()
            }
        }
    }

    fn news(&mut self, object: &Object) -> bool {
        let fingerprint = fingerprint(object);
        self.known.insert(name(object), fingerprint) != Some(fingerprint)
    }
}

fn name(object: &Object) -> Name {
    (object.namespace().unwrap_or_default().into(), object.name().into())
}

/// Everything in the metadata that says somebody else changed something: all of it except the version and our own
/// status writes.
pub(super) fn fingerprint(object: &Object) -> [u8; 8] {
    let mut metadata = object.0.get("metadata").cloned().unwrap_or(Value::Null);
    if let Some(map) = metadata.as_object_mut() {
        map.remove("resourceVersion");
        if let Some(Value::Array(entries)) = map.get_mut("managedFields") {
            entries.retain(|entry| {
                entry.get("manager").and_then(Value::as_str) != Some(Manager::Operator.name())
                    || entry.get("subresource").and_then(Value::as_str) != Some("status")
            });
        }
    }
    let digest = Sha256::digest(metadata.to_string().as_bytes());
    let mut short = [0; 8];
    short.copy_from_slice(&digest[..8]);
    short
}
