//! Decisions about single jobs, as tables; laws of the ledger, as properties.

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::journal::{Entry, State};
use super::ledger::{Ledger, Line};
use super::past::{Past, Waits};
use super::verdict::Verdict;
use super::*;
use crate::api::label;
use crate::cluster_api::ApiError;
use crate::policy::Settings;
use crate::protocol::job::{Job, Outcome, ResultBody};
use crate::protocol::{Call, Trouble};
use crate::reconcile::Effect;
use crate::reconcile::act::describe;

const NOW: &str = "2026-01-01T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().expect("a time")
}

fn manifest() -> Value {
    json!({"apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance",
        "metadata": {"name": "files", "namespace": "org-a"}, "spec": {"mode": "placeholder"}})
}

fn live(generation: i64, status: Value) -> Object {
    let mut object = manifest();
    object["metadata"]["uid"] = json!("u1");
    object["metadata"]["generation"] = json!(generation);
    object["metadata"]["labels"] = json!({label::MANAGED_BY: "control-plane"});
    object["status"] = status;
    Object(object)
}

fn job() -> Job {
    Job {
        id: "j1".into(),
        kind: "apply".into(),
        payload: Some(manifest()),
        idempotency_key: Some("applicationinstance/org-a/files@7".into()),
        created_at: Some("2026-01-01T11:59:00Z".into()),
        ..Job::default()
    }
}

/// A stored job at `state` and everything around it in order.
fn case(job: Job, state: State) -> Snapshot {
    let settings = Settings { cluster_id: Some("c1".into()), ..Settings::default() };
    let places = Places { operator: "vworkspace-system".into(), velero: "velero".into() };
    let mut entry = Entry::new("c1", &job, 1);
    entry.state = state;
    if state > State::Received {
        entry.acked_at = Some("2026-01-01T11:59:30Z".into());
        entry.deadline = Some("2026-01-01T12:29:30Z".into());
    }
    let Effect::Create(mut object) = entry.create(&places.operator) else { panic!("a create") };
    object.0["metadata"]["uid"] = json!("entry");
    Snapshot {
        task: work::task(&job, &settings, &places),
        settings,
        rules: Rules { places, deadline: Duration::from_secs(1800) },
        ahead: SignedDuration::ZERO,
        origin: Origin::Stored { object, entry: Box::new(entry) },
        namespace: Some(Object(json!({"metadata": {"name": "org-a", "labels": {"managed-by": "vworkspace"}}}))),
        target: Look::Absent,
        release: None,
        rotation: None,
        cursor: None,
        audit: None,
        past: Past::default(),
        memory: Memory { reachable: true, ..Memory::default() },
    }
}

fn entry(snapshot: &mut Snapshot) -> &mut Entry {
    let Origin::Stored { entry, .. } = &mut snapshot.origin else { panic!("stored") };
    entry
}

/// Effects in words, and the result if one was decided.
fn told(snapshot: &Snapshot) -> (Vec<String>, Option<(Outcome, String)>) {
    let step = decide(snapshot, now());
    let words = step.plan.effects.iter().map(|effect| match effect {
        Effect::Create(object) | Effect::Update(object) if object.kind() == "ConfigMap" => "entry".into(),
        Effect::Delete { key, .. } if key.kind.kind == "ConfigMap" => "no entry".into(),
        other => describe(other),
    });
    let result = step.entry.and_then(|entry| entry.decided());
    (words.collect(), result.map(|result| (result.outcome, result.error.unwrap_or_default())))
}

#[track_caller]
fn ends(snapshot: &Snapshot, outcome: Outcome, error: &str) {
    let (effects, result) = told(snapshot);
    let (got, text) = result.expect("a result");
    assert_eq!((got, text.split(':').next().unwrap_or_default()), (outcome, error), "{text}");
    assert_eq!(effects, ["entry", "result"], "into the journal first");
}

const APPLY: &str = "apply ApplicationInstance org-a/files";

#[test]
fn each_step_is_durable_before_the_next() {
    let mut fresh = case(job(), State::Received);
    fresh.origin = Origin::Fresh(Box::new(Received { job: job(), flaw: None }), 1);
    assert_eq!(told(&fresh), (vec!["entry".into(), "ack".into()], None));
    let mut received = case(job(), State::Received);
    assert_eq!(told(&received), (vec!["ack".into()], None));
    received.memory.acked = true;
    assert_eq!(told(&received), (vec!["entry".into(), APPLY.into()], None));
    let mut acked = case(job(), State::Acked);
    entry(&mut acked).tried = true;
    assert_eq!(told(&acked), (vec![APPLY.into()], None), "what is stored is not written again");
    acked.memory.applied = true;
    acked.target = Look::Found(Box::new(live(3, json!({}))));
    assert_eq!(told(&acked), (vec!["entry".into()], None));
    acked.settings.cluster_id = Some("other".into());
    assert_eq!(told(&acked), (vec!["no entry".into()], None), "closed without a post");
}

#[test]
fn what_keeps_an_acknowledged_job_from_its_effect() {
    let line = |outcome: Outcome, digest: Option<String>, uid: &str| {
        let mut verdict = Verdict::succeeded();
        verdict.outcome = outcome;
        verdict.applied = Some(super::verdict::reference(&work_key(), &live(1, json!({}))));
        verdict.applied.as_mut().expect("set").uid = Some(uid.into());
        Line::new(
            "j0",
            job().idempotency_key.as_deref(),
            digest,
            Some("2026-01-01T11:00:00Z"),
            true,
            &verdict.body(now()),
        )
    };
    let own = || Some(job().digest());
    type Change = Box<dyn Fn(&mut Snapshot)>;
    let there = |snapshot: &mut Snapshot| snapshot.target = Look::Found(Box::new(live(1, json!({}))));
    let rows: Vec<(Change, Outcome, &str)> = vec![
        (Box::new(|s| s.namespace = None), Outcome::Failed, "NamespaceNotGated"),
        (Box::new(|s| entry(s).job.expires_at = Some(NOW.into())), Outcome::Noop, "expired"),
        (
            Box::new(|s| {
                entry(s).job.expires_at = Some("2026-01-01T12:04:00Z".into());
                s.ahead = SignedDuration::from_mins(5);
            }),
            Outcome::Noop,
            "expired",
        ),
        (Box::new(|s| entry(s).deadline = Some(NOW.into())), Outcome::Failed, "DeadlineExceeded"),
        (Box::new(|s| s.past.newest = Some(now())), Outcome::Noop, "superseded"),
        (
            Box::new(move |s| {
                there(s);
                s.past.numbers = vec![("u1".into(), 8)];
            }),
            Outcome::Noop,
            "superseded",
        ),
        (
            Box::new(move |s| {
                there(s);
                s.past.same_key = line(Outcome::Succeeded, own(), "u1");
            }),
            Outcome::Noop,
            "",
        ),
        (
            Box::new(move |s| s.past.same_key = line(Outcome::Succeeded, own(), "u1")),
            Outcome::Noop,
            "AppliedObjectGone",
        ),
        (
            Box::new(move |s| s.past.same_key = line(Outcome::Succeeded, Some("x".into()), "u1")),
            Outcome::Conflict,
            "IdempotencyKeyReused",
        ),
    ];
    for (change, outcome, error) in rows {
        let mut snapshot = case(job(), State::Acked);
        change(&mut snapshot);
        ends(&snapshot, outcome, error);
    }
    // What does not keep it.
    let mut again = case(job(), State::Acked);
    there(&mut again);
    again.past.same_key = line(Outcome::Failed, own(), "u1");
    assert_eq!(told(&again).0, ["entry", APPLY], "a failed instance is processed again");
    let mut number = case(job(), State::Acked);
    there(&mut number);
    number.past.numbers = vec![("another".into(), 8), ("u1".into(), 7)];
    assert_eq!(told(&number).0, ["entry", APPLY]);
    for waits in [Waits::SameKey, Waits::SameObject] {
        let mut waiting = case(job(), State::Acked);
        waiting.past.waits = Some(waits);
        assert_eq!(told(&waiting), (Vec::new(), None));
    }
}

fn work_key() -> crate::cluster_api::Key {
    crate::cluster_api::Key::namespaced(&crate::policy::jobs::Sort::Instance.kind(), "org-a", "files")
}

#[test]
fn the_server_s_answer_to_an_apply() {
    let failed = |error: ApiError| {
        let mut snapshot = case(job(), State::Acked);
        entry(&mut snapshot).tried = true;
        snapshot.memory.last = Some(Failure::Effect { effect: APPLY.into(), error });
        snapshot
    };
    let why = || "admission webhook \"v\" denied the request: ChartSourceNotAllowed: not that one".to_string();
    let fields = vec![("kubectl".to_string(), ".spec.chart.version".to_string())];
    ends(&failed(ApiError::FieldConflict { why: "x".into(), fields }), Outcome::Conflict, "FieldConflict");
    ends(&failed(ApiError::Refused { why: "spec.x: invalid".into() }), Outcome::Failed, "InvalidPayload");
    ends(&failed(ApiError::Forbidden { what: why() }), Outcome::Failed, "ChartSourceNotAllowed");
    for error in [
        ApiError::Forbidden { what: "no right".into() },
        ApiError::Unknown { why: "timeout".into() },
        ApiError::Unserved { kind: "x".into() },
        ApiError::Conflict { why: "x".into() },
    ] {
        assert_eq!(told(&failed(error)), (vec![APPLY.into()], None));
    }
}

#[test]
fn when_an_instance_decides() {
    let condition = |type_: &str, status: &str, reason: &str, generation: i64| json!({"type": type_, "status": status, "reason": reason, "message": "m", "observedGeneration": generation});
    type Row = (i64, Vec<Value>, Option<(Outcome, &'static str)>);
    let rows: Vec<Row> = vec![
        (1, vec![], None),
        (1, vec![condition("Ready", "True", "HelmReleaseReady", 1)], Some((Outcome::Succeeded, ""))),
        (2, vec![condition("Ready", "True", "HelmReleaseReady", 2)], Some((Outcome::Noop, "superseded"))),
        (1, vec![condition("Ready", "True", "HelmReleaseReady", 0)], None),
        (1, vec![condition("Ready", "True", "RolledBack", 1)], Some((Outcome::Failed, "RolledBack"))),
        (1, vec![condition("Blocked", "True", "PolicyDenied", 1)], Some((Outcome::Failed, "PolicyDenied"))),
        (
            1,
            vec![
                condition("Blocked", "True", "MissingSecret", 1),
                condition("Ready", "False", "HelmReleaseFailed", 1),
                condition("Reconciling", "False", "Stable", 1),
            ],
            None,
        ),
        (
            1,
            vec![
                condition("Ready", "False", "HelmReleaseFailed", 1),
                condition("Reconciling", "True", "HelmReleaseInstalling", 1),
            ],
            None,
        ),
        (
            1,
            vec![condition("Ready", "False", "HelmReleaseFailed", 1), condition("Reconciling", "False", "Stable", 1)],
            Some((Outcome::Failed, "HelmReleaseFailed")),
        ),
    ];
    for (generation, conditions, expect) in rows {
        let got = outcome::instance(&live(generation, json!({ "conditions": conditions })), 1, true);
        let got = got.map(|verdict| (verdict.outcome, verdict.error.unwrap_or_default()));
        let got = got.as_ref().map(|(outcome, text)| (*outcome, text.split(':').next().unwrap_or_default()));
        assert_eq!(got, expect, "{conditions:?}");
    }
}

#[test]
fn the_result_is_told_until_it_is_taken() {
    let decided = |last: Option<Trouble>| {
        let mut snapshot = case(job(), State::Decided);
        entry(&mut snapshot).result = Some(Verdict::succeeded().body(now()));
        snapshot.memory.last = last.map(|trouble| Failure::Call { call: "result", trouble });
        snapshot
    };
    let body = Verdict::succeeded().body(now());
    let posts = |snapshot: &Snapshot| {
        let step = decide(snapshot, now());
        let sent = step
            .plan
            .effects
            .iter()
            .any(|effect| matches!(effect, Effect::Call(Call::Result { body: sent, .. }) if *sent == body));
        (sent, matches!(step.then, Then::Close(..)))
    };
    let down = Trouble::Unreachable { why: "x".into(), late: false };
    for last in [None, Some(down), Some(Trouble::Unauthorized), Some(Trouble::Forbidden { ours: true })] {
        assert_eq!(posts(&decided(last)), (true, false));
    }
    for last in [Trouble::NotFound, Trouble::Conflict] {
        assert_eq!(posts(&decided(Some(last))), (false, true));
    }
    let mut refused = decided(Some(Trouble::Refused { status: 422, message: String::new() }));
    let step = decide(&refused, now());
    assert_eq!((step.plan.wake, step.entry.map(|entry| entry.refused)), (Some(Duration::from_secs(3600)), Some(1)));
    entry(&mut refused).refused = 23;
    assert_eq!(posts(&refused), (false, true));
}

fn line(number: usize, text: &str) -> Line {
    let body = ResultBody {
        outcome: if number.is_multiple_of(3) { Outcome::Failed } else { Outcome::Succeeded },
        error: (number.is_multiple_of(3)).then(|| text.to_string()),
        applied_ref: None,
        conflicts: Vec::new(),
        timestamp: NOW.into(),
    };
    let created = now() + SignedDuration::from_secs(i64::try_from(number).expect("small"));
    Line::new(
        &format!("j{number}"),
        Some(&format!("key-{number}")),
        None,
        Some(&created.to_string()),
        true,
        &super::verdict::text(&body),
    )
    .expect("readable")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn the_ledger_stays_in_its_bounds_and_forgets_behind_its_horizon(count in 1usize..2600, text in "[a-z\"\\\\ü]{0,900}") {
        let mut ledger = Ledger::default();
        let lines: Vec<Line> = (0..count).map(|number| line(number, &text)).collect();
        for chunk in lines.chunks(97) {
            ledger.close(chunk.iter().cloned(), now());
            ledger.close(chunk.iter().cloned(), now());
        }
        prop_assert!(ledger.entries.len() <= 2_000);
        prop_assert!(serde_json::to_string(&ledger).expect("JSON").len() <= 800 * 1024);
        for line in &lines {
            let created = line.c.as_ref().and_then(|time| time.parse().ok());
            match ledger.of_job(&line.j) {
                Some(kept) => prop_assert_eq!(kept, line),
                None => prop_assert!(ledger.beyond(created), "forgotten without a trace"),
            }
        }
        if count < 500 { prop_assert_eq!(ledger.horizon, None); }
    }
}

#[test]
fn a_ledger_survives_storage_and_gives_back_every_byte() {
    let mut ledger = Ledger::read(None, "c1", now()).ledger;
    let conflict = r#"{"outcome":"conflict","error":"FieldConflict: x","appliedRef":{"apiVersion":"a/v1","kind":"K","namespace":"n","name":"x","uid":"u","generation":3},"conflicts":[{"manager":"m","fieldPath":".spec.x"}],"timestamp":"2026-01-01T12:00:00Z"}"#;
    ledger.close(Line::new("j", Some("k@4"), Some("d".into()), None, true, conflict), now());
    let Effect::Create(stored) = ledger.write("s", None) else { panic!("a create") };
    let read = Ledger::read(Some(&stored), "c1", now());
    assert_eq!(
        (read.ledger.of_job("j").map(Line::body).as_deref(), read.corrupt, read.dirty),
        (Some(conflict), false, false)
    );
    assert_eq!(read.ledger.of_key("k@4").and_then(|line| line.n), Some(4));
    assert!(Ledger::read(Some(&stored), "c2", now()).ledger.entries.is_empty(), "of another identity");
    let later = now() + SignedDuration::from_hours(15 * 24);
    let mut old = read.ledger;
    old.close([], later);
    assert!(old.entries.is_empty() && old.beyond(Some(now())));
}

#[test]
fn keys_of_an_older_agent_are_adopted_and_a_broken_ledger_forgets_up_to_now() {
    let stored = |data: Value| Object(json!({"metadata": {"name": "vworkspace-applied-jobs"}, "data": data}));
    let read = Ledger::read(Some(&stored(json!({"applied-keys.json": r#"["a@1","b"]"#}))), "c1", now());
    assert!(read.dirty && !read.corrupt);
    assert_eq!(
        read.ledger.of_key("a@1").map(|line| (line.o, line.n, line.h.clone())),
        Some((Outcome::Succeeded, Some(1), None))
    );
    let read = Ledger::read(Some(&stored(json!({"ledger.json": "{", "applied-keys.json": r#"["a"]"#}))), "c1", now());
    assert!(read.corrupt && read.ledger.of_key("a").is_some());
    assert!(read.ledger.beyond(Some(now())) && !read.ledger.beyond(Some(now() + SignedDuration::from_secs(1))));
}
