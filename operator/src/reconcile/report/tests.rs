//! The book and its batches against a small cluster and a control plane that keeps keys: whatever is lost, refused, cut off
//! or set back, each transition arrives once, in order per object, or is counted and healed by a snapshot.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::batch::{Answered, Batch, Size};
use super::book::{BUFFER_MAX, Book};
use super::cursor::{Page, Place};
use super::observe::{Stores, kinds};
use super::outbox;
use super::{cursor, snapshot, store};
use crate::api::condition::record;
use crate::cluster_api::{Key, Object};
use crate::protocol::Trouble;
use crate::protocol::event::Event;
use crate::reconcile::Effect;

/// Objects with journals, and the stores.
#[derive(Clone, Debug, Default)]
struct Cluster {
    objects: BTreeMap<Key, Object>,
    stored: BTreeMap<Key, Object>,
    made: u64,
}

fn key(name: &str) -> Key {
    Key::namespaced(&kinds()[0], "org-a", name)
}

impl Cluster {
    fn create(&mut self, name: &str) {
        self.made += 1;
        let object = json!({"apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance",
            "metadata": {"name": name, "namespace": "org-a", "uid": format!("{:04x}", self.made), "generation": 1}, "status": {}});
        self.objects.entry(key(name)).or_insert(Object(object));
    }

    /// One transition of `Ready`, at minute `minute`.
    fn turn(&mut self, name: &str, minute: u32) {
        let Some(object) = self.objects.get_mut(&key(name)) else { return };
        let mut status: Map<String, Value> = object.0["status"].as_object().cloned().unwrap_or_default();
        let old = status.get("conditions").and_then(|list| list[0]["status"].as_str()).unwrap_or("False");
        let next = if old == "True" { "False" } else { "True" };
        let time = format!("2026-01-01T{:02}:{:02}:00Z", minute / 60, minute % 60);
        let condition = json!({"type": "Ready", "status": next, "reason": "R", "message": format!("turn {minute}"), "lastTransitionTime": time});
        status.insert("conditions".into(), json!([condition]));
        record(&mut status, &[condition], 1, &time);
        object.0["status"] = Value::Object(status);
    }

    fn stores(&self) -> Stores {
        let mut stores = Stores::default();
        for place in std::iter::once(Place::First).chain(Place::shards()) {
            if let Some(object) = self.stored.get(&place.key("system")) {
                stores.pages.insert(place, (object.clone(), cursor::read(object)));
            }
        }
        let outbox = self.stored.get(&outbox::key("system"));
        stores.outbox = outbox.map(|object| (object.clone(), outbox::read(object)));
        stores
    }

    /// Performs the first `many` of these writes; later ones are cut off by a crash.
    fn write(&mut self, effects: &[Effect], many: usize) {
        for effect in effects.iter().take(many) {
            let (Effect::Create(object) | Effect::Update(object)) = effect else { panic!("a store is written") };
            let mut object = object.clone();
            object.0["metadata"]["uid"] = json!("store");
            let place = Key::namespaced(&crate::foreign::core::config_map(), "system", object.name());
            self.stored.insert(place, object);
        }
    }

    /// What the instance loop does before its finalizer goes.
    fn delete(&mut self, name: &str) {
        let Some(object) = self.objects.remove(&key(name)) else { return };
        let stores = self.stores();
        let uid = object.uid().map(|uid| uid.0).unwrap_or_default();
        let told = stores.cursor().get(&Place::of(&uid, false)).and_then(|page| page.mark(&uid));
        let words = outbox::last_words(&object, told.as_ref());
        let stored = stores.outbox.as_ref().map(|(object, _)| object);
        if let Some(effect) = outbox::append(stored, words, "system") {
            self.write(&[effect], 1);
        }
    }
}

/// The reporting process: gone with a crash.
struct Reporter {
    book: Book,
    size: Size,
}

impl Reporter {
    fn start(cluster: &Cluster) -> Self {
        let stores = cluster.stores();
        let mut book = Book::open(&stores.cursor());
        book.belongs_to("c1");
        book.kept(&stores.outbox());
        for (key, object) in &cluster.objects {
            book.seen(key, Some(object));
        }
        book.completed();
        Self { book, size: Size::new(8) }
    }

    fn look(&mut self, cluster: &Cluster, name: &str) {
        let key = key(name);
        self.book.seen(&key, cluster.objects.get(&key));
    }

    fn remember(&mut self, cluster: &mut Cluster, many: usize) {
        let stores = cluster.stores();
        self.book.kept(&stores.outbox());
        self.book.asked(stores.requested());
        self.book.heal();
        let plan = store(&mut self.book, &stores, "system");
        cluster.write(&plan.effects, many);
        if many >= plan.effects.len() {
            self.book.saved();
        }
    }

    fn batch(&mut self, cluster: &Cluster) -> Batch {
        let mut snapshots = BTreeMap::new();
        for (uid, key) in self.book.owed(self.size.limit()) {
            self.book.seen(&key, cluster.objects.get(&key));
            match cluster.objects.get(&key).and_then(snapshot::event) {
                Some(event) => drop(snapshots.insert(uid, event)),
                None => self.book.snapshot_done(&uid),
            }
        }
        self.book.heal();
        Batch::next(&self.book, &snapshots, self.size.limit())
    }

    fn answer(&mut self, batch: &Batch, answer: Result<(), Trouble>) -> Answered {
        let answered = batch.answered(&mut self.book, answer.as_ref().copied());
        self.size = self.size.after(answered, batch.len());
        answered
    }
}

/// The other side: keeps each key once, and what it was told last of each object.
#[derive(Default)]
struct Server {
    seen: BTreeSet<String>,
    order: Vec<Event>,
    view: BTreeMap<String, Value>,
    times: BTreeMap<String, String>,
}

impl Server {
    fn take(&mut self, batch: &Batch, many: usize) {
        for event in batch.body("c1").events.into_iter().take(many) {
            let event_key = event.event_key.clone().expect("every event of ours has a key");
            let time = self.times.entry(event_key.clone()).or_insert_with(|| event.timestamp.clone());
            assert_eq!(*time, event.timestamp, "a repetition tells the same time");
            if self.seen.insert(event_key) {
                let uid = event.resource_ref.uid.clone().expect("a uid");
                self.view.insert(uid, event.conditions.last().cloned().unwrap_or_default());
                self.order.push(event);
            }
        }
    }

    fn seqs(&self, uid: &str) -> Vec<i64> {
        let of = |event: &&Event| event.resource_ref.uid.as_deref() == Some(uid);
        let seq = |event: &Event| {
            let key = event.event_key.as_deref()?;
            let tail = key.starts_with("condition/").then(|| key.rsplit_once('#')).flatten()?.1;
            tail.split_once('-')?.0.parse().ok()
        };
        self.order.iter().filter(of).filter_map(seq).collect()
    }
}

fn unreachable() -> Trouble {
    Trouble::Unreachable { why: "it answers 503".into(), late: false }
}

fn refused() -> Trouble {
    Trouble::Refused { status: 422, message: String::new() }
}

/// Everything answers from now on: at most so many rounds until all is told and remembered.
fn settle(cluster: &mut Cluster, reporter: &mut Reporter, server: &mut Server) {
    let mut names: BTreeSet<String> = cluster.objects.keys().map(|key| key.name.clone()).collect();
    names.extend((0..4).map(|who| format!("a{who}")));
    for name in names {
        reporter.look(cluster, &name);
    }
    for _ in 0..1000 {
        reporter.remember(cluster, usize::MAX);
        let batch = reporter.batch(cluster);
        if batch.is_empty() {
            assert!(reporter.book.idle(), "nothing to send, yet something waits: {:?}", reporter.book);
            reporter.remember(cluster, usize::MAX);
            return;
        }
        server.take(&batch, usize::MAX);
        reporter.answer(&batch, Ok(()));
    }
    panic!("it never ends: {:?}", reporter.book);
}

fn first_page(cluster: &Cluster) -> Page {
    cluster.stores().cursor().remove(&Place::First).unwrap_or_default()
}

#[test]
fn transitions_arrive_in_order_and_the_cursor_holds_one_number_per_object() {
    let mut cluster = Cluster::default();
    cluster.create("a");
    cluster.create("b");
    for minute in 0..12 {
        cluster.turn(if minute % 3 == 0 { "a" } else { "b" }, minute);
    }
    let (mut reporter, mut server) = (Reporter::start(&cluster), Server::default());
    settle(&mut cluster, &mut reporter, &mut server);
    assert_eq!(server.seqs("0001"), [1, 2, 3, 4]);
    assert_eq!(server.seqs("0002"), [1, 2, 3, 4, 5, 6, 7, 8]);
    let times: Vec<&String> = server.order.iter().map(|event| &event.timestamp).collect();
    assert!(times.is_sorted(), "the oldest goes first: {times:?}");
    let page = first_page(&cluster);
    assert_eq!(page.acknowledged.len(), 2);
    assert_eq!((page.dropped, page.snapshot, page.cluster.as_deref()), (0, false, Some("c1")));
    // A restart tells nothing again, and a quiet cluster is not written to.
    let mut again = Reporter::start(&cluster);
    assert!(again.batch(&cluster).is_empty());
    let stores = cluster.stores();
    assert!(store(&mut again.book, &stores, "system").effects.is_empty());
}

#[test]
fn a_refused_batch_is_halved_until_its_one_bad_event_is_dropped() {
    let mut cluster = Cluster::default();
    cluster.create("a");
    for minute in 0..16 {
        cluster.turn("a", minute);
    }
    let (mut reporter, mut server) = (Reporter::start(&cluster), Server::default());
    let poison = |event: &Event| event.conditions[0]["message"] == "turn 5";
    let mut requests = 0;
    while !reporter.book.idle() {
        let batch = reporter.batch(&cluster);
        requests += 1;
        if batch.body("c1").events.iter().any(poison) {
            reporter.answer(&batch, Err(refused()));
        } else {
            server.take(&batch, usize::MAX);
            reporter.answer(&batch, Ok(()));
        }
        assert!(requests < 40, "one bad event costs a few requests");
    }
    let expect: Vec<i64> = (1..=16).filter(|seq| *seq != 6).collect();
    assert_eq!(server.seqs("0001"), expect, "everybody else arrived");
    assert!(server.order.last().is_some_and(|event| event.event_key.as_deref().unwrap_or("").starts_with("snapshot/")));
    reporter.remember(&mut cluster, usize::MAX);
    let page = first_page(&cluster);
    assert_eq!((page.total, page.refused, page.dropped), (1, 0, 0), "counted, healed, and no overflow");
}

#[test]
fn answers_decide_what_stays() {
    for (answer, stays, answered) in [
        (Ok(()), false, Answered::Taken),
        (Err(Trouble::Conflict), false, Answered::Taken),
        (Err(refused()), false, Answered::GivenUp),
        (Err(unreachable()), true, Answered::Later),
        (Err(Trouble::Throttled { after: None }), true, Answered::Later),
        (Err(Trouble::Misconfigured { why: String::new() }), true, Answered::Later),
        (Err(Trouble::NotFound), true, Answered::Later),
        (Err(Trouble::Unauthorized), true, Answered::Later),
        (Err(Trouble::Forbidden { ours: true }), true, Answered::Later),
    ] {
        let mut cluster = Cluster::default();
        cluster.create("a");
        cluster.turn("a", 0);
        let mut reporter = Reporter::start(&cluster);
        let batch = reporter.batch(&cluster);
        assert_eq!(reporter.answer(&batch, answer.clone()), answered, "{answer:?}");
        assert_eq!(reporter.book.waiting() == 1, stays, "{answer:?}");
    }
}

#[test]
fn a_journal_that_wrapped_is_counted_exactly_and_healed() {
    let mut cluster = Cluster::default();
    cluster.create("a");
    cluster.turn("a", 0);
    let (mut reporter, mut server) = (Reporter::start(&cluster), Server::default());
    settle(&mut cluster, &mut reporter, &mut server);
    for minute in 1..=30 {
        cluster.turn("a", minute);
    }
    // Twice: a crash between must not count twice.
    for _ in 0..2 {
        reporter = Reporter::start(&cluster);
        reporter.remember(&mut cluster, usize::MAX);
        assert_eq!((first_page(&cluster).dropped, first_page(&cluster).snapshot), (10, true));
    }
    settle(&mut cluster, &mut reporter, &mut server);
    assert_eq!(server.seqs("0001"), [vec![1], (12..=31).collect()].concat());
    let page = first_page(&cluster);
    assert_eq!((page.dropped, page.total, page.snapshot), (0, 10, false));
}

#[test]
fn the_buffer_is_capped_only_while_nothing_is_taken() {
    let mut cluster = Cluster::default();
    for number in 0..100 {
        let name = format!("a{number}");
        cluster.create(&name);
        for turn in 0..20 {
            cluster.turn(&name, number + turn);
        }
    }
    let (mut reporter, mut server) = (Reporter::start(&cluster), Server::default());
    assert_eq!(reporter.book.waiting(), 2000, "nobody could be told yet: nothing is dropped");
    reporter.book.cap();
    assert_eq!(reporter.book.waiting(), BUFFER_MAX);
    reporter.remember(&mut cluster, usize::MAX);
    assert_eq!(first_page(&cluster).dropped, 1000);
    settle(&mut cluster, &mut reporter, &mut server);
    let told = server.order.iter().filter(|event| event.event_key.as_deref().unwrap_or("").starts_with("condition/"));
    assert_eq!(told.count(), BUFFER_MAX);
    assert_eq!((first_page(&cluster).dropped, first_page(&cluster).total), (0, 1000));
    agrees(&cluster, &server);
}

#[test]
fn a_cluster_that_was_set_back_is_told_under_new_keys() {
    let mut cluster = Cluster::default();
    cluster.create("a");
    for minute in 0..3 {
        cluster.turn("a", minute);
    }
    let before = cluster.objects.clone();
    for minute in 3..6 {
        cluster.turn("a", minute);
    }
    let (mut reporter, mut server) = (Reporter::start(&cluster), Server::default());
    settle(&mut cluster, &mut reporter, &mut server);
    // etcd is restored; the store is newer, or of the same moment in another case.
    cluster.objects = before;
    reporter.look(&cluster, "a");
    settle(&mut cluster, &mut reporter, &mut server);
    agrees(&cluster, &server);
    // Numbers 4 to 6 are used again, for other facts.
    for minute in 10..13 {
        cluster.turn("a", minute);
    }
    reporter = Reporter::start(&cluster);
    settle(&mut cluster, &mut reporter, &mut server);
    assert_eq!(server.seqs("0001"), [1, 2, 3, 4, 5, 6, 4, 5, 6]);
    agrees(&cluster, &server);
}

#[test]
fn another_cluster_id_and_a_request_are_answered_with_a_snapshot() {
    let mut cluster = Cluster::default();
    cluster.create("a");
    cluster.turn("a", 0);
    let (mut reporter, mut server) = (Reporter::start(&cluster), Server::default());
    settle(&mut cluster, &mut reporter, &mut server);
    let stored = cluster.stored.get(&Place::First.key("system")).cloned();
    let Effect::Patch { merge, .. } = cursor::request_snapshot(stored.as_ref(), "system", "job-1") else {
        panic!("a patch")
    };
    let page = cluster.stored.get_mut(&Place::First.key("system")).expect("the cursor");
    page.0["data"]["resync"] = merge["data"]["resync"].clone();
    server.seen.clear();
    server.order.clear();
    settle(&mut cluster, &mut reporter, &mut server);
    let stored = cluster.stored.get(&Place::First.key("system")).expect("the cursor");
    assert!(cursor::served(stored, "job-1"));
    assert_eq!(server.order.len(), 1, "a snapshot and nothing else");
    server.seen.clear();
    reporter.book.belongs_to("c2");
    settle(&mut cluster, &mut reporter, &mut server);
    assert_eq!(server.order.len(), 2);
}

#[test]
fn more_than_five_thousand_objects_are_spread_over_pages() {
    let mut cluster = Cluster::default();
    for number in 0..5_001 {
        let name = format!("a{number}");
        cluster.create(&name);
        cluster.turn(&name, 0);
        let object = cluster.objects.get_mut(&key(&name)).expect("made above");
        object.0["metadata"]["uid"] = json!(format!("{:x}-{number}", number % 16));
    }
    let (mut reporter, mut server) = (Reporter::start(&cluster), Server::default());
    reporter.size = Size::new(100);
    settle(&mut cluster, &mut reporter, &mut server);
    let pages = cluster.stores().cursor();
    assert_eq!(pages.len(), 17);
    assert!(pages[&Place::First].sharded && pages[&Place::First].acknowledged.is_empty());
    assert!(pages.values().skip(1).all(|page| (300..400).contains(&page.acknowledged.len())));
    assert!(Reporter::start(&cluster).book.idle());
}

#[track_caller]
fn agrees(cluster: &Cluster, server: &Server) {
    for object in cluster.objects.values() {
        let uid = object.uid().expect("a uid").0;
        let truth = object.0.pointer("/status/conditions/0").cloned();
        assert_eq!(server.view.get(&uid).cloned(), truth, "{uid}");
    }
}

/// What may happen.
#[derive(Clone, Debug)]
enum Step {
    Turn(u8, u8),
    Create(u8),
    /// Through our finalizer.
    Delete(u8),
    Look(u8),
    /// The whole batch is taken; the answer may be lost.
    Send {
        heard: bool,
    },
    /// A part of the batch is taken, and the answer is 5xx.
    Part(u8),
    Conflict,
    Remember(u8),
    Crash,
    Cap,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..4u8, 1..12u8).prop_map(|(who, times)| Step::Turn(who, times)),
        2 => (0..4u8).prop_map(Step::Create),
        1 => (0..4u8).prop_map(Step::Delete),
        4 => (0..4u8).prop_map(Step::Look),
        5 => any::<bool>().prop_map(|heard| Step::Send { heard }),
        2 => (0..8u8).prop_map(Step::Part),
        1 => Just(Step::Conflict),
        3 => (0..3u8).prop_map(Step::Remember),
        2 => Just(Step::Crash),
        1 => Just(Step::Cap),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    #[test]
    fn each_transition_arrives_in_order_or_is_counted_and_healed(steps in steps()) {
        let mut cluster = Cluster::default();
        let mut server = Server::default();
        for who in 0..4 {
            cluster.create(&format!("a{who}"));
        }
        let mut reporter = Reporter::start(&cluster);
        let mut minute = 0;
        // uid → highest number it ever had.
        let mut made: BTreeMap<String, i64> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Turn(who, times) => {
                    let name = format!("a{who}");
                    for _ in 0..times {
                        minute += 1;
                        cluster.turn(&name, minute);
                    }
                    if let Some(object) = cluster.objects.get(&key(&name)) {
                        let seq = object.0["status"]["transitionSeq"].as_i64().unwrap_or_default();
                        made.insert(object.uid().expect("a uid").0, seq);
                    }
                }
                Step::Create(who) => cluster.create(&format!("a{who}")),
                Step::Delete(who) => cluster.delete(&format!("a{who}")),
                Step::Look(who) => reporter.look(&cluster, &format!("a{who}")),
                Step::Send { heard } => {
                    let batch = reporter.batch(&cluster);
                    server.take(&batch, usize::MAX);
                    if !batch.is_empty() {
                        reporter.answer(&batch, if heard { Ok(()) } else { Err(unreachable()) });
                    }
                }
                Step::Part(many) => {
                    let batch = reporter.batch(&cluster);
                    server.take(&batch, usize::from(many));
                    if !batch.is_empty() {
                        reporter.answer(&batch, Err(unreachable()));
                    }
                }
                Step::Conflict => {
                    let batch = reporter.batch(&cluster);
                    server.take(&batch, usize::MAX);
                    if !batch.is_empty() {
                        reporter.answer(&batch, Err(Trouble::Conflict));
                    }
                }
                Step::Remember(many) => reporter.remember(&mut cluster, usize::from(many)),
                Step::Crash => reporter = Reporter::start(&cluster),
                Step::Cap => reporter.book.cap(),
            }
        }
        settle(&mut cluster, &mut reporter, &mut server);
        agrees(&cluster, &server);
        let page = first_page(&cluster);
        prop_assert_eq!((page.dropped, page.snapshot), (0, false));
        let mut missing = 0;
        for (uid, seq) in &made {
            let told = server.seqs(uid);
            prop_assert!(told.windows(2).all(|pair| pair[0] < pair[1]), "{} in order: {:?}", uid, told);
            missing += seq - i64::try_from(told.len()).unwrap_or_default();
        }
        // What was told although it had been counted as dropped makes the count too high, never too low.
        prop_assert!(page.total >= missing, "{} missing, {} counted", missing, page.total);
        prop_assert!(cluster.stores().outbox().entries.is_empty());
        let live = cluster.objects.len();
        prop_assert!(page.acknowledged.len() <= live, "pruned with the object");
        prop_assert!(Reporter::start(&cluster).book.idle());
    }
}
