//! The report loop: reads what changed, tells it, remembers what was told. One request is under way at a time, so order per
//! object needs no further care.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::changes::Listener;
use super::retry::CAP;
use super::tick::Loop;
use crate::cluster_api::backoff::backoff;
use crate::cluster_api::{ApiError, ClusterApi, Key};
use crate::protocol::answer::Closed;
use crate::protocol::event::{BATCH_MAX, Event};
use crate::protocol::{Call, Trouble};
use crate::reconcile::act::{Failure, act};
use crate::reconcile::link::Group;
use crate::reconcile::report::batch::{Answered, Batch, Size};
use crate::reconcile::report::book::Book;
use crate::reconcile::report::{self, observe, snapshot};
use crate::reconcile::{Effect, Plan};
use crate::transport::Transport;

/// Least time between two writes of the cursor (contract §20.4).
const WRITE: Duration = Duration::from_secs(2);
/// The stores are read at least this often: others put events into the outbox, or ask for a snapshot.
const LOOK: Duration = Duration::from_secs(10);
/// Pause after a read or write that failed, and between looks at whether posts may go again.
const PAUSE: Duration = Duration::from_secs(1);
/// Where nothing can be sent, the settings are looked at this often (contract §27.3).
const CLOSED: Duration = Duration::from_secs(10);

/// What changed is told to the control plane.
pub(super) async fn report<A: ClusterApi, T: Transport>(this: Loop<A, T>) {
    let listener = this.changes.listen();
    let mut desk = Desk::open(this, &listener).await;
    loop {
        desk.read().await;
        desk.remember().await;
        desk.tell().await;
        let wake = desk.wake();
        tokio::select! {
            biased;
            keys = listener.changed() => desk.changed(keys),
            () = sleep_until(wake) => {}
        }
    }
}

struct Desk<A, T> {
    this: Loop<A, T>,
    book: Book,
    /// Objects that changed, and since when the first of them waits.
    unread: BTreeSet<Key>,
    read_at: Instant,
    /// Every object was read once.
    complete: bool,
    looked: Option<Instant>,
    look_at: Instant,
    written: Option<Instant>,
    size: Size,
    tell_at: Instant,
    /// The control plane takes nothing although there is a way to it.
    refusing: bool,
}

impl<A: ClusterApi, T: Transport> Desk<A, T> {
    /// Reads the stores and who there is; tries until that succeeds.
    async fn open(this: Loop<A, T>, listener: &Listener) -> Self {
        let mut attempt = 0;
        let (book, unread) = loop {
            match Self::begin(&this).await {
                Ok(begun) => break begun,
                Err(error) => tracing::debug!(%error, "who has something to tell is not known yet"),
            }
            sleep(backoff(attempt, &"report", CAP)).await;
            attempt += 1;
        };
        let now = Instant::now();
        let size = Size::new(usize::from(this.config.event_batch_size));
        let mut desk = Self {
            this,
            book,
            unread,
            read_at: now,
            complete: false,
            looked: None,
            look_at: now,
            written: None,
            size,
            tell_at: now,
            refusing: false,
        };
        // Who changed since the lists is read with the others.
        if let Ok(keys) = tokio::time::timeout(Duration::ZERO, listener.changed()).await {
            desk.unread.extend(keys);
        }
        desk
    }

    async fn begin(this: &Loop<A, T>) -> Result<(Book, BTreeSet<Key>), ApiError> {
        let stores = observe::stores(&*this.out.api, &this.config.operator_namespace).await?;
        let everybody = observe::everybody(&*this.out.api).await?;
        Ok((Book::open(&stores.cursor()), everybody))
    }

    /// A change waits a moment for others: they are read, and told, together.
    fn changed(&mut self, keys: BTreeSet<Key>) {
        if self.unread.is_empty() {
            self.read_at = Instant::now() + self.this.config.event_flush_interval;
        }
        self.unread.extend(keys);
        if self.unread.len() >= BATCH_MAX {
            self.read_at = self.read_at.min(Instant::now());
        }
    }

    async fn read(&mut self) {
        if self.unread.is_empty() || Instant::now() < self.read_at {
            return;
        }
        let found = observe::objects(&*self.this.out.api, &self.unread).await;
        for (key, object) in &found {
            self.book.seen(key, object.as_ref());
            self.unread.remove(key);
        }
        if !self.unread.is_empty() {
            self.read_at = Instant::now() + PAUSE;
        } else if !self.complete {
            self.complete = true;
            self.book.completed();
        }
        if self.refusing {
            self.book.cap();
        }
    }

    async fn remember(&mut self) {
        let lapsed = |since: Option<Instant>, time| since.is_none_or(|since| since.elapsed() >= time);
        let due =
            self.book.homeless() || (self.book.changed() && lapsed(self.written, WRITE)) || lapsed(self.looked, LOOK);
        if !due || Instant::now() < self.look_at {
            return;
        }
        self.look_at = Instant::now() + PAUSE;
        let namespace = &self.this.config.operator_namespace;
        let stores = match observe::stores(&*self.this.out.api, namespace).await {
            Ok(stores) => stores,
            Err(error) => {
                tracing::debug!(%error, "the event stores were not read");
                return;
            }
        };
        self.looked = Some(Instant::now());
        self.book.kept(&stores.outbox());
        self.book.asked(stores.requested());
        self.book.heal();
        if !self.book.changed() && !self.book.homeless() && self.book.outbox(&stores.outbox()) == stores.outbox() {
            return;
        }
        let plan = report::store(&mut self.book, &stores, namespace);
        match act(&self.this.out, &plan).await {
            Ok(()) => {
                self.book.saved();
                self.written = Some(Instant::now());
            }
            // What is not remembered is told again: the receiver knows it by its key.
            Err(failure) => tracing::warn!(%failure, "what was told is not remembered yet"),
        }
    }

    async fn tell(&mut self) {
        let link = &self.this.out.link;
        // Polling waits for this after a disconnection (contract §21).
        link.events_waiting(!self.complete || !self.book.idle());
        let now = Instant::now();
        if self.book.idle() || now < self.tell_at {
            return;
        }
        // All posts back off together: another one that succeeds opens the way for this one.
        let wait = link.wait(Group::Post);
        if !wait.is_zero() {
            self.tell_at = now + wait.min(PAUSE);
            return;
        }
        let Ok(connection) = link.connection().await else {
            self.tell_at = Instant::now() + PAUSE;
            return;
        };
        let ready = connection.endpoint.is_some()
            && connection.credentials.as_ref().is_some_and(|credentials| credentials.token.is_some());
        let Some(cluster) = connection.cluster_id.as_deref().filter(|_| ready) else {
            self.tell_at = Instant::now() + CLOSED;
            return;
        };
        self.book.belongs_to(cluster);
        let snapshots = self.snapshots().await;
        let batch = Batch::next(&self.book, &snapshots, self.size.limit());
        if batch.is_empty() {
            self.book.heal();
            self.tell_at = Instant::now() + PAUSE;
            return;
        }
        let call = Effect::Call(Call::Events(batch.body(cluster)));
        let plan = Plan { effects: vec![call], ..Plan::idle(format!("{} events", batch.len())) };
        let trouble = match act(&self.this.out, &plan).await {
            Ok(()) => None,
            Err(Failure::Call { trouble, .. }) => Some(trouble),
            Err(_) => {
                self.tell_at = Instant::now() + PAUSE;
                return;
            }
        };
        let answered = batch.answered(&mut self.book, trouble.as_ref().map_or(Ok(()), Err));
        self.size = self.size.after(answered, batch.len());
        self.this.out.link.events_waiting(!self.complete || !self.book.idle());
        self.pace(answered, trouble.as_ref());
    }

    /// When the next request may start.
    fn pace(&mut self, answered: Answered, trouble: Option<&Trouble>) {
        let now = Instant::now();
        self.refusing = false;
        match answered {
            Answered::Taken | Answered::Split => self.tell_at = now,
            // A control plane that refuses everything must not be asked as fast as it can say no.
            Answered::GivenUp => {
                tracing::warn!(trouble = trouble.map(tracing::field::display), "an event was refused and is dropped");
                self.tell_at = now + self.this.config.event_flush_interval;
            }
            Answered::Later => {
                self.tell_at = match trouble {
                    Some(Trouble::Closed(_)) => now + CLOSED,
                    _ => now + PAUSE,
                };
                let nobody = Some(&Trouble::Closed(Closed::NoEndpoint)) == trouble
                    || Some(&Trouble::Closed(Closed::NoCredential)) == trouble;
                // Nothing is dropped because there is nobody to tell it yet (contract §20.4).
                self.refusing = !nobody;
                if self.refusing {
                    self.book.cap();
                }
            }
        }
    }

    /// Objects of which a snapshot is owed, read afresh and told as a whole.
    async fn snapshots(&mut self) -> BTreeMap<String, Event> {
        let room = self.size.limit().saturating_sub(self.book.waiting());
        let owed: BTreeMap<Key, String> = self.book.owed(room).into_iter().map(|(uid, key)| (key, uid)).collect();
        let found = observe::objects(&*self.this.out.api, &owed.keys().cloned().collect()).await;
        let mut snapshots = BTreeMap::new();
        for (key, object) in &found {
            self.book.seen(key, object.as_ref());
            let event = object.as_ref().and_then(snapshot::event);
            match (owed.get(key), event) {
                (Some(uid), Some(event)) if event.resource_ref.uid.as_ref() == Some(uid) => {
                    snapshots.insert(uid.clone(), event);
                }
                (Some(uid), _) => self.book.snapshot_done(uid),
                (None, _) => {}
            }
        }
        snapshots
    }

    fn wake(&self) -> Instant {
        let mut wake = self.looked.map_or_else(Instant::now, |looked| looked + LOOK).max(self.look_at);
        if !self.unread.is_empty() {
            wake = wake.min(self.read_at);
        }
        if self.book.homeless() {
            wake = wake.min(self.look_at);
        }
        if self.book.changed() {
            let next = self.written.map_or(self.look_at, |written| (written + WRITE).max(self.look_at));
            wake = wake.min(next);
        }
        if !self.book.idle() {
            wake = wake.min(self.tell_at);
        }
        wake
    }
}
