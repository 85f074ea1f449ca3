//! The one store: every object, one revision counter, and the history that watches, paged lists and exact reads look back into.
//!
//! A table holds the objects of one resource and its events. An event keeps the object before and after, so that any revision within
//! the history can be rebuilt by rolling back, and a watch is only a cursor.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use futures::task::AtomicWaker;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::json;

/// How long the watch cache tries to keep events (upstream `eventFreshDuration`).
const FRESH: SignedDuration = SignedDuration::from_secs(75);
/// Bounds of the watch cache's ring.
const RING: std::ops::RangeInclusive<usize> = 100..=102_400;
/// How long old revisions can be listed: storage is compacted every five minutes, down to five minutes ago.
const RETENTION: SignedDuration = SignedDuration::from_secs(600);

/// One stored state of one object.
pub struct Stored {
    /// The object with apiVersion, kind and resourceVersion.
    pub value: Arc<Value>,
    /// The revision of the write that made it.
    pub revision: u64,
    /// Schema under which it was written; see [`super::resource::Custom::schema_revision`].
    pub schema_revision: u64,
    /// Fields of metadata that are stored empty, although no answer shows them: an apply to a custom resource may leave some, and the
    /// next write without them is not a no-op.
    pub empties: Vec<String>,
    encoded: OnceLock<Encoded>,
}

struct Encoded {
    bytes: Bytes,
    prefix: usize,
}

impl Stored {
    /// A state; `value` carries the resourceVersion already.
    pub fn new(value: Value, revision: u64, schema_revision: u64) -> Stored {
        Stored { value: Arc::new(value), revision, schema_revision, empties: Vec::new(), encoded: OnceLock::new() }
    }

    /// The object as JSON, serialised once.
    pub fn bytes(&self) -> Bytes {
        self.encoded().bytes.clone()
    }

    /// Appends the object without apiVersion and kind, as items of built-in lists are.
    pub fn write_bare(&self, out: &mut Vec<u8>) {
        let encoded = self.encoded();
        out.push(b'{');
        out.extend_from_slice(&encoded.bytes[encoded.prefix..]);
    }

    /// Appends the object.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.encoded().bytes);
    }

    /// The same object with another resourceVersion: what DELETED events carry.
    pub fn at_revision(&self, revision: u64) -> Stored {
        let mut value = (*self.value).clone();
        value["metadata"]["resourceVersion"] = json!(revision.to_string());
        Stored::new(value, revision, self.schema_revision)
    }

    fn encoded(&self) -> &Encoded {
        self.encoded.get_or_init(|| {
            let mut out = Vec::with_capacity(1024);
            out.extend_from_slice(b"{\"kind\":");
            json::write(&mut out, &self.value["kind"]);
            out.extend_from_slice(b",\"apiVersion\":");
            json::write(&mut out, &self.value["apiVersion"]);
            out.push(b',');
            let prefix = out.len();
            if let Value::Object(fields) = &*self.value {
                for (name, value) in fields.iter().filter(|(name, _)| *name != "kind" && *name != "apiVersion") {
                    json::write(&mut out, &Value::String(name.clone()));
                    out.push(b':');
                    json::write(&mut out, value);
                    out.push(b',');
                }
            }
            // Replaces the last comma; an object always has metadata, so there is one after the prefix.
            if let Some(last) = out.last_mut() {
                *last = b'}';
            }
            Encoded { bytes: out.into(), prefix }
        })
    }
}

/// What a commit stores.
pub struct Content {
    /// The object; it gets its resourceVersion on commit.
    pub value: Value,
    /// See [`Stored::schema_revision`].
    pub schema_revision: u64,
    /// See [`Stored::empties`].
    pub empties: Vec<String>,
}

impl Content {
    /// An object without hidden parts.
    pub fn new(value: Value, schema_revision: u64) -> Content {
        Content { value, schema_revision, empties: Vec::new() }
    }
}

/// Namespace (empty for cluster-wide objects) and name; the order of lists.
pub type Key = (String, String);

/// One committed change.
pub struct Event {
    /// The revision of the change.
    pub revision: u64,
    /// When it was committed.
    pub at: Timestamp,
    /// The object's key.
    pub key: Key,
    /// State before, `None` for a creation.
    pub before: Option<Arc<Stored>>,
    /// State after, `None` for a deletion.
    pub after: Option<Arc<Stored>>,
    gone: OnceLock<Arc<Stored>>,
}

impl Event {
    /// The last state with this event's revision: what a watch shows when the object leaves its view.
    pub fn gone(&self) -> Option<Arc<Stored>> {
        let before = self.before.as_ref()?;
        Some(self.gone.get_or_init(|| Arc::new(before.at_revision(self.revision))).clone())
    }
}

/// What wakes a watch. Held by the watch, weakly by the table.
#[derive(Default)]
pub struct Slot {
    /// The task that polls the watch's body.
    pub waker: AtomicWaker,
    /// Set when the server ends the watch: changed definition, slow consumer, restart.
    pub closed: std::sync::atomic::AtomicBool,
}

/// The objects and the history of one resource.
#[derive(Default)]
pub struct Table {
    /// Current objects.
    pub objects: BTreeMap<Key, Arc<Stored>>,
    events: VecDeque<Arc<Event>>,
    watches: Vec<Weak<Slot>>,
    /// Events in the watch cache: the last `window` of `events`.
    window: usize,
    capacity: usize,
    /// Largest revision that is no longer in the watch cache; watches from below it are refused.
    forgotten: u64,
    /// Largest revision that is gone from the history altogether.
    compacted: u64,
    /// Revision that the watch cache knows it has reached.
    cached: u64,
}

impl Table {
    fn record(&mut self, event: Arc<Event>) {
        self.capacity = self.capacity.max(*RING.start());
        let oldest_age =
            |table: &Table, index: usize| table.window_event(index).map(|old| event.at.duration_since(old.at));
        if self.window >= self.capacity {
            if oldest_age(self, 0).is_some_and(|age| age < FRESH) {
                self.capacity = (self.capacity * 2).min(*RING.end());
            } else if oldest_age(self, self.window - self.capacity / 4).is_some_and(|age| age > FRESH) {
                self.capacity = (self.capacity / 2).max(*RING.start());
            }
        }
        self.cached = event.revision;
        self.events.push_back(event.clone());
        self.window += 1;
        while self.window > self.capacity {
            self.forgotten = self.window_event(0).map_or(self.forgotten, |old| old.revision);
            self.window -= 1;
        }
        while self.events.len() > self.window
            && self
                .events
                .front()
                .is_some_and(|old| event.at.duration_since(old.at) > RETENTION || self.events.len() > *RING.end())
        {
            if let Some(old) = self.events.pop_front() {
                self.compacted = old.revision;
            }
        }
        self.wake();
    }

    fn window_event(&self, index: usize) -> Option<&Arc<Event>> {
        self.events.get(self.events.len() - self.window + index)
    }

    /// Wakes every open watch and forgets the closed ones.
    pub fn wake(&mut self) {
        self.watches.retain(|slot| {
            slot.upgrade().is_some_and(|slot| {
                slot.waker.wake();
                true
            })
        });
    }

    /// Registers a watch.
    pub fn subscribe(&mut self) -> Arc<Slot> {
        let slot = Arc::new(Slot::default());
        self.watches.push(Arc::downgrade(&slot));
        slot
    }

    /// The open watches.
    pub fn slots(&self) -> Vec<Arc<Slot>> {
        self.watches.iter().filter_map(Weak::upgrade).collect()
    }

    /// Ends every open watch with EOF.
    pub fn close_watches(&mut self) {
        for slot in self.watches.drain(..).filter_map(|slot| slot.upgrade()) {
            slot.closed.store(true, std::sync::atomic::Ordering::Relaxed);
            slot.waker.wake();
        }
    }

    /// Revision of the watch cache: of the last event, or of the last read that asked storage how far it is.
    pub fn cached(&self) -> u64 {
        self.cached
    }

    /// Brings the watch cache up to a revision, as a consistent read does, and returns it.
    pub fn refresh(&mut self, revision: u64) -> u64 {
        self.cached = self.cached.max(revision);
        self.cached
    }

    /// Largest revision that a watch can no longer start from.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Largest revision that can no longer be listed.
    pub fn compacted(&self) -> u64 {
        self.compacted
    }

    /// Forgets the watch cache up to `revision`, as a restart does; with `history` also older states.
    pub fn forget(&mut self, revision: u64, history: bool) {
        self.window = self.events.iter().rev().take_while(|event| event.revision > revision).count();
        self.forgotten = self.forgotten.max(revision);
        if history {
            self.events.drain(..self.events.len() - self.window);
            self.compacted = self.compacted.max(revision);
        }
    }

    /// Events after a revision, oldest first.
    pub fn since(&self, revision: u64) -> impl Iterator<Item = &Arc<Event>> {
        let start = self.events.partition_point(|event| event.revision <= revision);
        self.events.range(start..)
    }

    /// The revision of the last change of this resource.
    pub fn last_revision(&self) -> u64 {
        self.events.back().map_or(self.compacted, |event| event.revision)
    }

    /// The objects as they were at a revision that is not compacted.
    pub fn at(&self, revision: u64) -> BTreeMap<Key, Arc<Stored>> {
        let mut objects = self.objects.clone();
        for event in self.events.iter().rev().take_while(|event| event.revision > revision) {
            match &event.before {
                Some(before) => objects.insert(event.key.clone(), before.clone()),
                None => objects.remove(&event.key),
            };
        }
        objects
    }
}

/// All tables.
#[derive(Default)]
pub struct Store {
    revision: u64,
    tables: BTreeMap<Arc<str>, Table>,
}

impl Store {
    /// The revision of the last change of anything.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The table of a resource, empty if nothing was ever stored.
    pub fn table(&mut self, id: &Arc<str>) -> &mut Table {
        self.tables.entry(id.clone()).or_default()
    }

    /// All tables by resource id.
    pub fn tables(&mut self) -> impl Iterator<Item = (&Arc<str>, &mut Table)> {
        self.tables.iter_mut()
    }

    /// Objects of a resource in one namespace, or in all with an empty one.
    pub fn objects<'a>(&'a self, id: &str, namespace: &'a str) -> impl Iterator<Item = (&'a Key, &'a Arc<Stored>)> {
        self.tables.get(id).into_iter().flat_map(move |table| super::list::in_namespace(&table.objects, namespace))
    }

    /// One object by resource id, such as `namespaces`.
    pub fn get(&self, id: &str, namespace: &str, name: &str) -> Option<&Arc<Stored>> {
        self.tables.get(id)?.objects.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// Stores or, with `None`, deletes an object. The new value gets the new resourceVersion.
    pub fn commit(&mut self, id: &Arc<str>, key: Key, after: Option<Content>, at: Timestamp) -> Arc<Event> {
        self.revision += 1;
        let revision = self.revision;
        let after = after.map(|mut content| {
            content.value["metadata"]["resourceVersion"] = json!(revision.to_string());
            let stored = Stored::new(content.value, revision, content.schema_revision);
            Arc::new(Stored { empties: content.empties, ..stored })
        });
        let table = self.table(id);
        let before = match &after {
            Some(stored) => table.objects.insert(key.clone(), stored.clone()),
            None => table.objects.remove(&key),
        };
        let event = Arc::new(Event { revision, at, key, before, after, gone: OnceLock::new() });
        table.record(event.clone());
        event
    }
}
