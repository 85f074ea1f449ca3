//! What is known of who was told what: an index in memory over the cursor, the outbox and the journals of all objects. A
//! restart rebuilds it. Everything here is plain data and plain functions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::cursor::{Page, Place, SHARD_ABOVE};
use super::journal::{Mark, journal, tell, untold};
use super::outbox::{Entry, Outbox};
use crate::cluster_api::{Key, Object};
use crate::protocol::event::Event;

/// Most transitions that wait while the control plane does not take them (contract §20.4).
pub const BUFFER_MAX: usize = 1_000;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Book {
    pub(super) subjects: BTreeMap<String, Subject>,
    /// Which object has the name.
    live: BTreeMap<Key, String>,
    /// Events of the outbox that are no numbered transition.
    pub(super) loose: VecDeque<Event>,
    /// Keys of events that the outbox still holds and that were told, or given up.
    done: BTreeSet<String>,
    pages: BTreeMap<Place, Page>,
    /// Every object was looked at once.
    complete: bool,
    /// The request for a snapshot that is being served.
    asked: Option<String>,
    changed: bool,
}

/// One object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Subject {
    /// Where it is; `None`: known from the stores only, or gone.
    key: Option<Key>,
    /// Acknowledged last.
    mark: Option<Mark>,
    /// To be told, oldest first.
    pub(super) line: VecDeque<Item>,
    /// A snapshot of it is owed.
    owed: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item {
    Tell {
        mark: Mark,
        event: Box<Event>,
        /// The outbox holds it.
        kept: bool,
    },
    /// Nobody can tell these any more. Counted when everything before them was told, so that number and count move in one
    /// write.
    Lost { through: i64, count: i64 },
}

impl Subject {
    fn tail(&self) -> Option<Mark> {
        match self.line.back() {
            Some(Item::Tell { mark, .. }) => Some(mark.clone()),
            Some(Item::Lost { through, .. }) => Some(Mark { seq: *through, digest: String::new() }),
            None => self.mark.clone(),
        }
    }

    fn gap(&mut self, next: i64, count: i64) {
        if count > 0 {
            self.line.push_back(Item::Lost { through: next.saturating_sub(1), count });
        }
    }

    fn tells(&self) -> usize {
        self.line.iter().filter(|item| matches!(item, Item::Tell { .. })).count()
    }

    pub(super) fn front(&self) -> Option<&Event> {
        match self.line.front() {
            Some(Item::Tell { event, .. }) => Some(event),
            _ => None,
        }
    }

    /// Takes the first event off; its key, if the outbox holds it. The number moves on with the last event of it.
    fn pop(&mut self) -> Option<String> {
        let Some(Item::Tell { mark, event, kept }) = self.line.pop_front() else { return None };
        let more = matches!(self.line.front(), Some(Item::Tell { mark: next, .. }) if *next == mark);
        if !more {
            self.mark = Some(mark);
        }
        event.event_key.filter(|_| kept)
    }
}

impl Book {
    /// A book over the stored pages.
    pub fn open(pages: &BTreeMap<Place, Page>) -> Self {
        let mut book = Self { pages: pages.clone(), ..Self::default() };
        for page in book.pages.values_mut() {
            for (uid, text) in std::mem::take(&mut page.acknowledged) {
                let mark = Mark::read(&text);
                book.subjects.insert(uid, Subject { mark, ..Subject::default() });
            }
        }
        let unhealed = book.pages.values().any(|page| page.dropped > 0 || page.refused > 0);
        if unhealed {
            book.owe_all();
        }
        book
    }

    fn first(&mut self) -> &mut Page {
        self.pages.entry(Place::First).or_default()
    }

    /// Notes under which id we report. A control plane that knows us under another one knows nothing yet.
    pub fn belongs_to(&mut self, cluster: &str) {
        let known = self.first().cluster.replace(cluster.to_string());
        if known.as_deref() != Some(cluster) {
            self.changed = true;
            if known.is_some() {
                self.owe_all();
            }
        }
    }

    /// A snapshot of everything is owed.
    pub fn owe_all(&mut self) {
        self.first().snapshot = true;
        self.changed = true;
        for subject in self.subjects.values_mut() {
            subject.owed = subject.key.is_some();
        }
    }

    /// A snapshot is asked for under this token.
    pub fn asked(&mut self, token: Option<&str>) {
        let Some(token) = token else { return };
        if self.first().resynced.as_deref() != Some(token) && self.asked.as_deref() != Some(token) {
            self.asked = Some(token.to_string());
            self.owe_all();
        }
    }

    /// What a fresh read of this address found.
    pub fn seen(&mut self, key: &Key, object: Option<&Object>) {
        let uid = object.and_then(Object::uid).map(|uid| uid.0);
        if self.live.get(key) != uid.as_ref() {
            self.gone(key);
        }
        let (Some(object), Some(uid)) = (object, uid) else { return };
        self.live.insert(key.clone(), uid.clone());
        // Who is met for the first time while everybody is owed a snapshot is owed one, too.
        let owed = !self.complete && self.first().snapshot;
        let subject = self.subjects.entry(uid.clone()).or_default();
        subject.owed |= owed && subject.key.is_none();
        subject.key = Some(key.clone());
        let rest = untold(&journal(object), subject.tail().as_ref());
        subject.owed |= rest.rewound;
        if rest.rewound && rest.entries.is_empty() && subject.line.is_empty() {
            subject.mark = None;
            self.changed = true;
        }
        if let Some(next) = rest.entries.first() {
            subject.gap(next.seq, rest.lost);
        }
        for transition in &rest.entries {
            let told = tell(object, transition);
            for event in told.events {
                subject.line.push_back(Item::Tell { mark: told.mark.clone(), event: Box::new(event), kept: false });
            }
        }
        self.count_lost(&uid);
    }

    /// The object of this name is gone. What it has to tell is told all the same.
    fn gone(&mut self, key: &Key) {
        let Some(uid) = self.live.remove(key) else { return };
        if let Some(subject) = self.subjects.get_mut(&uid) {
            subject.key = None;
            subject.owed = false;
        }
        self.forget_if_told(&uid);
    }

    fn forget_if_told(&mut self, uid: &str) {
        if self.complete
            && self.subjects.get(uid).is_some_and(|subject| subject.key.is_none() && subject.line.is_empty())
        {
            self.subjects.remove(uid);
            self.changed = true;
        }
    }

    /// Every object that there is was seen: numbers of others are of no use any more.
    pub fn completed(&mut self) {
        self.complete = true;
        let gone: Vec<String> =
            self.subjects.iter().filter(|(_, subject)| subject.key.is_none()).map(|(uid, _)| uid.clone()).collect();
        for uid in gone {
            self.forget_if_told(&uid);
        }
        self.heal();
    }

    /// Takes in what the outbox holds.
    pub fn kept(&mut self, outbox: &Outbox) {
        let counted = self.first().outbox;
        let more = outbox.dropped.saturating_sub(counted);
        if more != 0 {
            self.first().outbox = outbox.dropped;
            self.lost(Place::First, more.max(0));
        }
        let mut touched = BTreeSet::new();
        for Entry { seq, after, event } in &outbox.entries {
            let Some(event_key) = event.event_key.as_ref().filter(|key| !self.done.contains(*key)) else { continue };
            match (seq, &event.resource_ref.uid) {
                (Some(seq), Some(uid)) => {
                    if !self.kept_transition(uid, *seq, after.unwrap_or_default(), event) {
                        self.done.insert(event_key.clone());
                    }
                    touched.insert(uid.clone());
                }
                _ if self.loose.contains(event) => {}
                _ => self.loose.push_back(event.clone()),
            }
        }
        let holds = |key: &String| outbox.entries.iter().any(|entry| entry.event.event_key.as_ref() == Some(key));
        self.done.retain(holds);
        for uid in touched {
            self.count_lost(&uid);
            self.forget_if_told(&uid);
        }
    }

    /// Whether the event still waits to be told.
    fn kept_transition(&mut self, uid: &str, seq: i64, after: i64, event: &Event) -> bool {
        let subject = self.subjects.entry(uid.to_string()).or_default();
        let mut known = false;
        for item in &mut subject.line {
            if let Item::Tell { event: of, kept, .. } = item
                && of.event_key == event.event_key
            {
                *kept = true;
                known = true;
            }
        }
        let digest = event.event_key.as_deref().and_then(|key| key.rsplit_once('-')).map_or("", |(_, hex)| hex);
        let mark = Mark { seq, digest: digest.into() };
        let tail = subject.tail();
        let last = tail.as_ref().map_or(after, |tail| tail.seq);
        // Two events of one transition: the second is new although its number is not.
        let second = subject.line.iter().any(|item| matches!(item, Item::Tell { mark: of, .. } if *of == mark));
        if known || (seq <= last && !second) {
            return known;
        }
        if !second {
            subject.gap(seq, seq.saturating_sub(last).saturating_sub(1));
        }
        subject.line.push_back(Item::Tell { mark, event: Box::new(event.clone()), kept: true });
        true
    }

    /// Counts gaps that have come to the front of an object's line.
    fn count_lost(&mut self, uid: &str) {
        let place = self.place(uid);
        let Some(subject) = self.subjects.get_mut(uid) else { return };
        let mut sum: i64 = 0;
        while let Some(Item::Lost { through, count }) = subject.line.front() {
            subject.mark = Some(Mark { seq: *through, digest: String::new() });
            sum = sum.saturating_add(*count);
            subject.line.pop_front();
        }
        self.lost(place, sum);
    }

    fn lost(&mut self, place: Place, count: i64) {
        if count == 0 {
            return;
        }
        let page = self.pages.entry(place).or_default();
        page.dropped = page.dropped.saturating_add(count);
        page.total = page.total.saturating_add(count);
        self.owe_all();
    }

    /// Drops the oldest transitions beyond [`BUFFER_MAX`]: for as long as the control plane takes nothing.
    pub fn cap(&mut self) {
        let mut surplus = self.waiting().saturating_sub(BUFFER_MAX);
        while surplus > 0 {
            let oldest =
                self.subjects.iter().filter_map(|(uid, subject)| Some((&subject.front()?.timestamp, uid))).min();
            let Some((_, uid)) = oldest else { return };
            let (uid, place) = (uid.clone(), self.place(uid));
            let Some(subject) = self.subjects.get_mut(&uid) else { return };
            let before = subject.mark.clone();
            // All events of one transition go together.
            while subject.mark == before && surplus > 0 && subject.front().is_some() {
                self.done.extend(subject.pop());
                surplus -= 1;
            }
            self.lost(place, 1);
            self.count_lost(&uid);
            self.forget_if_told(&uid);
        }
    }

    /// What waits to be told, snapshots not counted.
    pub fn waiting(&self) -> usize {
        self.subjects.values().map(Subject::tells).sum::<usize>() + self.loose.len()
    }

    /// Objects of which a snapshot is owed, at most `count`.
    pub fn owed(&self, count: usize) -> Vec<(String, Key)> {
        let owed = self.subjects.iter().filter(|(_, subject)| subject.owed);
        owed.filter_map(|(uid, subject)| Some((uid.clone(), subject.key.clone()?))).take(count).collect()
    }

    /// Whether anything is to be told, and whether the other side must hear it before it is asked for jobs (contract §21).
    pub fn idle(&self) -> bool {
        self.waiting() == 0 && !self.subjects.values().any(|subject| subject.owed)
    }

    /// An event of an object's line was acknowledged.
    pub(super) fn told(&mut self, uid: &str, event: &Event) {
        self.changed = true;
        let Some(subject) = self.subjects.get_mut(uid) else { return };
        if subject.front().is_some_and(|front| front.event_key == event.event_key) {
            self.done.extend(subject.pop());
        }
        self.count_lost(uid);
        self.forget_if_told(uid);
    }

    /// An event of an object's line was refused: its object is told as a whole instead.
    pub(super) fn refused(&mut self, uid: &str, event: &Event) {
        let place = self.place(uid);
        let page = self.pages.entry(place).or_default();
        page.refused = page.refused.saturating_add(1);
        page.total = page.total.saturating_add(1);
        if let Some(subject) = self.subjects.get_mut(uid) {
            subject.owed = subject.key.is_some();
        }
        self.told(uid, event);
    }

    /// An event without a number was acknowledged or refused.
    pub(super) fn loose_done(&mut self, event: &Event) {
        self.changed = true;
        self.loose.retain(|other| other.event_key != event.event_key);
        self.done.extend(event.event_key.clone());
    }

    /// One more event that nobody will hear.
    pub(super) fn given_up(&mut self) {
        let first = self.first();
        first.total = first.total.saturating_add(1);
        self.changed = true;
    }

    /// The snapshot of an object was acknowledged, or there is nothing to say of it, or the other side refuses to hear it.
    pub fn snapshot_done(&mut self, uid: &str) {
        if let Some(subject) = self.subjects.get_mut(uid) {
            subject.owed = false;
        }
    }

    /// What was dropped is healed once every object was told as a whole.
    pub fn heal(&mut self) {
        if !self.complete || self.subjects.values().any(|subject| subject.owed) {
            return;
        }
        let asked = self.asked.take();
        let first = self.first();
        let served = std::mem::take(&mut first.snapshot);
        if let Some(token) = asked {
            first.resynced = Some(token);
        }
        let mut healed = served;
        for page in self.pages.values_mut() {
            healed |= std::mem::take(&mut page.dropped) > 0 || std::mem::take(&mut page.refused) > 0;
        }
        self.changed |= healed;
    }

    fn place(&self, uid: &str) -> Place {
        Place::of(uid, self.sharded())
    }

    fn sharded(&self) -> bool {
        self.pages.get(&Place::First).is_some_and(|page| page.sharded)
    }

    /// Whether the cursor should be written. It may lag: what it does not say yet is told again after a crash.
    pub fn changed(&self) -> bool {
        self.changed
    }

    /// The cursor was written as [`Book::pages`] said.
    pub fn saved(&mut self) {
        self.changed = false;
    }

    /// The pages as they should be stored.
    pub fn pages(&mut self) -> BTreeMap<Place, Page> {
        let marks = self.subjects.iter().filter_map(|(uid, subject)| Some((uid, subject.mark.as_ref()?.text())));
        let marks: Vec<(String, String)> = marks.map(|(uid, text)| (uid.clone(), text)).collect();
        self.first().sharded |= marks.len() > SHARD_ABOVE;
        let sharded = self.sharded();
        let mut pages = self.pages.clone();
        for (uid, text) in marks {
            pages.entry(Place::of(&uid, sharded)).or_default().acknowledged.insert(uid, text);
        }
        pages
    }

    /// Whether an object that is gone has something to tell that only this process knows.
    pub fn homeless(&self) -> bool {
        self.subjects.values().any(|subject| subject.key.is_none() && subject.line.iter().any(unkept))
    }

    /// The outbox as it should be stored, given what is.
    pub fn outbox(&self, stored: &Outbox) -> Outbox {
        let waits = |entry: &Entry| entry.event.event_key.as_ref().is_some_and(|key| !self.done.contains(key));
        let mut outbox = stored.clone();
        outbox.entries.retain(waits);
        let gone = self.subjects.values().filter(|subject| subject.key.is_none());
        let homeless = gone.flat_map(|subject| {
            let after = Some(subject.mark.as_ref().map_or(0, |mark| mark.seq));
            subject.line.iter().filter(|item| unkept(item)).filter_map(move |item| match item {
                Item::Tell { mark, event, .. } => Some(Entry { seq: Some(mark.seq), after, event: (**event).clone() }),
                Item::Lost { .. } => None,
            })
        });
        outbox.add(homeless.collect());
        outbox
    }
}

fn unkept(item: &Item) -> bool {
    matches!(item, Item::Tell { kept: false, .. })
}
