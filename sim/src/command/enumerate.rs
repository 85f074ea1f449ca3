//! `sim enumerate`: the operator loses power before, during and after every single request of a story, and each time the
//! end is the same.
//!
//! The points are taken from a reference run in which nothing strikes: every request of the first incarnation until half a
//! minute after the story's end, at each of the three moments (not yet handled; handled but unanswered; answered). All of
//! them are run, none is sampled.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use fakes::faults::{At, Pattern, Rule, Strike};
use serde::Serialize;

use super::Exit;
use super::run::load;
use super::screen::{Screen, Tint};
use crate::case::{Case, Step};
use crate::simulation::{Report, Simulation, Verdict};
use crate::trace::Detail;

/// What to enumerate.
#[derive(Clone, Debug, clap::Args)]
pub struct EnumerateArgs {
    /// Stories: built-in names, .sim or .case.json files
    #[arg(long, default_values_t = ["install", "upgrade", "rollback", "deletion"].map(String::from))]
    scenario: Vec<String>,
    /// Runs at once, one per core
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Entropy seeds per point: other interleavings of the same story
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Only every n-th point (1: all of them)
    #[arg(long, default_value_t = 1)]
    every: usize,
}

/// The end of one story.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'a> {
    scenario: &'a str,
    requests: usize,
    points: usize,
    run: usize,
    same_end: usize,
    inert: usize,
    failures: usize,
}

/// Nothing more may happen for this long after each crash: enough to see a late write, short enough for hundreds of runs.
const WINDOW: Duration = Duration::from_secs(120);

/// Simulated seconds that each story is prolonged by.
const TAIL: u64 = 30;

/// Runs every point of every story.
pub fn enumerate(screen: Screen, args: &EnumerateArgs) -> Exit {
    let mut exit = Exit::Clean;
    for name in &args.scenario {
        let case = match load(name) {
            Ok(case) => case,
            Err(why) => {
                screen.complain(&why);
                return Exit::Usage;
            }
        };
        let outcome = story(screen, name, &case, args);
        if outcome != Exit::Clean {
            exit = outcome;
        }
    }
    exit
}

fn story(screen: Screen, name: &str, case: &Case, args: &EnumerateArgs) -> Exit {
    let mut case = case.clone();
    // What the operator does after the story's last wait came true is struck too.
    case.workload.push(Step::Pass { seconds: TAIL });
    let case = &case;
    let mut quiet = case.clone();
    // A rule that never strikes: the faults phase then lasts as long as in the runs that are compared with this one.
    quiet.faults.push(crash(u64::MAX, At::Before));
    let reference = run_one(quiet);
    if !reference.verdict.is_clean() {
        screen.complain(&format!("{name}: the run without a crash fails already: {}", reference.verdict));
        return Exit::Violation;
    }
    let points: Vec<Case> = points(case, &reference, args.seeds).into_iter().step_by(args.every.max(1)).collect();
    let total = 3 * reference.disturbed_calls * usize::try_from(args.seeds).unwrap_or(1);
    let bar = screen.progress(points.len() as u64, "crash points");
    let mut failures: BTreeMap<String, (Case, String)> = BTreeMap::new();
    let (mut same, mut inert) = (0, 0);
    let run = points.len();
    in_parallel(points, args.jobs, |case, report| {
        bar.inc(1);
        let wrong = wrong(&report, &reference);
        match wrong {
            // Another interleaving may need a request less; the point is then not on its road, and proves nothing.
            None if report.fired.is_empty() => inert += 1,
            None => same += 1,
            Some(why) => {
                let rule = &case.faults[case.faults.len() - 1];
                let call = usize::try_from(rule.nth).ok().and_then(|nth| reference.calls.get(nth - 1));
                let point = format!("{:?} request {} ({})", rule.at, rule.nth, call.map_or("", String::as_str));
                failures.insert(format!("{:08}{point}", rule.nth), (case, format!("{point}: {why}")));
            }
        }
    });
    bar.finish_and_clear();
    let summary = Summary {
        scenario: name,
        requests: reference.disturbed_calls,
        points: total,
        run,
        same_end: same,
        inert,
        failures: failures.len(),
    };
    screen.object(&summary);
    let requests = summary.requests;
    let mut text = format!("{name}: {requests} requests, {run} of {total} crash points, {same} times the same end");
    if inert > 0 {
        text += &format!(", {inert} points were not reached");
    }
    // Under the reference run's own entropy each point is on the road: one that was not reached is a broken search.
    let vacuous = inert > 0 && args.seeds == 1;
    let tint = if failures.is_empty() && !vacuous { Tint::Green } else { Tint::Red };
    screen.line(&screen.tint(&text, tint));
    for (case, why) in failures.values().take(5) {
        screen.complain(&format!("  {why}"));
        let path =
            std::env::temp_dir().join(format!("sim-{name}-{}.case.json", case.faults[case.faults.len() - 1].nth));
        if std::fs::write(&path, case.write()).is_ok() {
            screen.complain(&format!("    repeat it with: sim replay {}", path.display()));
        }
    }
    match (failures.is_empty(), vacuous) {
        (false, _) => Exit::Violation,
        (true, true) => Exit::Vacuous,
        (true, false) => Exit::Clean,
    }
}

fn run_one(case: Case) -> Report {
    Simulation::new(case).detail(Detail::Hash).window(WINDOW).run()
}

fn points(case: &Case, reference: &Report, seeds: u64) -> Vec<Case> {
    let mut points = Vec::new();
    for seed in 0..seeds {
        for nth in 1..=reference.disturbed_calls as u64 {
            for at in [At::Before, At::After, At::Reply] {
                let mut case = case.clone();
                case.entropy += seed;
                case.title = format!("{}: crash {at:?} request {nth}", case.title);
                case.faults.push(crash(nth, at));
                points.push(case);
            }
        }
    }
    points
}

fn crash(nth: u64, at: At) -> Rule {
    Rule {
        id: if at == At::Before { "F1" } else { "F2" }.into(),
        actor: "operator-0.1".into(),
        pattern: Pattern::default(),
        nth,
        at,
        strike: Strike::Crash,
    }
}

/// Why a run with a crash is not as good as the one without.
fn wrong(report: &Report, reference: &Report) -> Option<String> {
    if report.verdict != Verdict::Clean {
        return Some(report.verdict.to_string());
    }
    let differing = reference.end.iter().find(|(name, state)| report.end.get(*name) != Some(state));
    let extra = report.end.keys().find(|name| !reference.end.contains_key(*name));
    match (differing, extra) {
        (Some((name, state)), _) => {
            Some(format!("{name} ends as {}, not as {state}", report.end.get(name).unwrap_or(&serde_json::Value::Null)))
        }
        (None, Some(extra)) => Some(format!("{extra} is left over")),
        (None, None) => None,
    }
}

/// Runs the cases on `jobs` threads and hands each report to `take`, in whatever order they end.
fn in_parallel(cases: Vec<Case>, jobs: usize, mut take: impl FnMut(Case, Report)) {
    let queue = Mutex::new(VecDeque::from(cases));
    let (answer, reports) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            let (queue, answer) = (&queue, answer.clone());
            scope.spawn(move || {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(case) = next else { return };
                    if answer.send((case.clone(), run_one(case))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(answer);
        for (case, report) in reports {
            take(case, report);
        }
    });
}
