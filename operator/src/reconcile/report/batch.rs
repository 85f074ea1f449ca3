//! The next request: at most so many events, oldest first, in order per object; and what its answer means (contract §17.2,
//! §20.2).

use std::collections::{BTreeMap, BTreeSet};

use super::book::{Book, Item};
use crate::protocol::Trouble;
use crate::protocol::event::{BATCH_MAX, Event, EventBatch};

/// What one request tells. Sent again unchanged until it is answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    of: Of,
    event: Event,
}

#[derive(Clone, Debug, PartialEq)]
enum Of {
    Line(String),
    Loose,
    Snapshot(String),
}

/// What to do after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// It was taken: the next one may follow at once.
    Taken,
    /// It was refused: a smaller one follows at once.
    Split,
    /// Its only event was refused and given up.
    GivenUp,
    /// Nothing is known of it: the same again later.
    Later,
}

impl Batch {
    /// The oldest `limit` events. `snapshots` of objects by uid follow what is to be told of the same objects before.
    pub fn next(book: &Book, snapshots: &BTreeMap<String, Event>, limit: usize) -> Self {
        let mut entries = Vec::new();
        let mut heads: BTreeSet<(&str, &str, usize)> = BTreeSet::new();
        let event = |uid: &str, index: usize| match book.subjects.get(uid)?.line.get(index)? {
            Item::Tell { event, .. } => Some(&**event),
            Item::Lost { .. } => None,
        };
        for (uid, subject) in &book.subjects {
            if let Some(front) = subject.front() {
                heads.insert((&front.timestamp, uid, 0));
            }
        }
        while let Some((_, uid, index)) = heads.pop_first().filter(|_| entries.len() < limit) {
            if let Some(head) = event(uid, index) {
                entries.push(Entry { of: Of::Line(uid.into()), event: head.clone() });
            }
            if let Some(next) = event(uid, index + 1) {
                heads.insert((&next.timestamp, uid, index + 1));
            }
        }
        let room = limit.saturating_sub(entries.len());
        entries.extend(book.loose.iter().take(room).map(|event| Entry { of: Of::Loose, event: event.clone() }));
        for (uid, event) in snapshots {
            let told = entries.iter().filter(|entry| entry.of == Of::Line(uid.clone())).count();
            let whole = book.subjects.get(uid).is_some_and(|subject| subject.line.len() == told);
            if whole && entries.len() < limit {
                entries.push(Entry { of: Of::Snapshot(uid.clone()), event: event.clone() });
            }
        }
        Self { entries }
    }

    /// How many events.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Nothing to tell: no request.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The body.
    pub fn body(&self, cluster: &str) -> EventBatch {
        let events = self.entries.iter().map(|entry| entry.event.clone()).collect();
        EventBatch { cluster_id: Some(cluster.into()), events }
    }

    /// Enters the answer into the book.
    pub fn answered(&self, book: &mut Book, answer: Result<(), &Trouble>) -> Answered {
        match answer {
            // 409: it knows all of them.
            Ok(()) | Err(Trouble::Conflict) => {
                self.taken(book);
                Answered::Taken
            }
            Err(Trouble::Refused { .. }) if self.entries.len() > 1 => Answered::Split,
            Err(Trouble::Refused { .. }) => {
                self.give_up(book);
                Answered::GivenUp
            }
            Err(_) => Answered::Later,
        }
    }

    fn taken(&self, book: &mut Book) {
        for Entry { of, event } in &self.entries {
            match of {
                Of::Line(uid) => book.told(uid, event),
                Of::Loose => book.loose_done(event),
                Of::Snapshot(uid) => book.snapshot_done(uid),
            }
        }
        // Whoever was told that we were away is told how everything stands (contract §20.5).
        if self.entries.iter().any(|entry| disconnected(&entry.event)) {
            book.owe_all();
        }
        book.heal();
    }

    fn give_up(&self, book: &mut Book) {
        for Entry { of, event } in &self.entries {
            match of {
                Of::Line(uid) => book.refused(uid, event),
                Of::Loose => {
                    book.loose_done(event);
                    book.given_up();
                }
                Of::Snapshot(uid) => {
                    book.snapshot_done(uid);
                    book.given_up();
                }
            }
        }
        book.heal();
    }
}

fn disconnected(event: &Event) -> bool {
    let is = |field: &str, word: &str| event.conditions.first().is_some_and(|condition| condition[field] == word);
    event.kind == "ConditionTransition"
        && event.resource_ref.kind == "Cluster"
        && event.conditions.len() == 1
        && is("type", "Disconnected")
        && is("status", "True")
}

/// How many events go into one request: halved by a refusal, doubled by every success up to `most`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    now: usize,
    most: usize,
}

impl Size {
    /// Begins with `most`, which is at most what the protocol allows.
    pub fn new(most: usize) -> Self {
        let most = most.clamp(1, BATCH_MAX);
        Self { now: most, most }
    }

    /// The limit of the next request.
    pub fn limit(self) -> usize {
        self.now
    }

    /// After an answer to a request of `sent` events.
    pub fn after(self, answered: Answered, sent: usize) -> Self {
        let now = match answered {
            Answered::Taken => self.now.saturating_mul(2).min(self.most),
            Answered::Split => (sent / 2).max(1),
            Answered::GivenUp | Answered::Later => self.now,
        };
        Self { now, ..self }
    }
}
