//! `sim enumerate`: every single request of a story is struck, at both servers, and each time the end is the same.
//!
//! The points are taken from a reference run in which nothing strikes: every request of the first incarnation until half a
//! minute after the story's end. At each of its three moments (not yet handled; handled but unanswered; answered) the
//! operator loses power; besides, each request is lost, doubled and comes late, and each reply is lost and comes late.
//! All points are run, none is sampled.

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
use crate::stories;
use crate::trace::Detail;

/// What to enumerate.
#[derive(Clone, Debug, clap::Args)]
pub struct EnumerateArgs {
    /// Stories: built-in names, .sim or .case.json files
    #[arg(long, default_values_t = stories::ENUMERATED.map(String::from))]
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
    /// What strikes
    #[arg(long, value_enum, default_values_t = [Family::Crash, Family::Connection])]
    family: Vec<Family>,
}

/// A family of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Family {
    /// The operator loses power
    Crash,
    /// A request or its reply is lost, doubled or late
    Connection,
}

/// One way in which a request is struck.
struct Blow {
    family: Family,
    id: &'static str,
    word: &'static str,
    at: At,
    strike: Strike,
}

const fn crash(id: &'static str, word: &'static str, at: At) -> Blow {
    Blow { family: Family::Crash, id, word, at, strike: Strike::Crash }
}

const fn connection(id: &'static str, word: &'static str, at: At, strike: Strike) -> Blow {
    Blow { family: Family::Connection, id, word, at, strike }
}

/// Longer than any other way there and back, shorter than the Lease lives without a renewal.
const LATE_MS: u64 = 3_000;

const BLOWS: [Blow; 8] = [
    crash("F1", "crash before", At::Before),
    crash("F2", "crash after the commit of", At::After),
    crash("F3", "crash at the reply to", At::Reply),
    connection("F11", "loss of", At::Before, Strike::Lose),
    connection("F12", "loss of the reply to", At::After, Strike::Lose),
    connection("F14", "doubling of", At::Before, Strike::Twice),
    connection("F48", "delay of", At::Before, Strike::Late { ms: LATE_MS }),
    connection("F20", "delay of the reply to", At::Reply, Strike::SlowHead { ms: LATE_MS }),
];

impl Blow {
    /// Strikes the n-th request of the first incarnation, at whichever server.
    fn rule(&self, nth: u64) -> Rule {
        Rule {
            id: self.id.into(),
            actor: "operator-0.1".into(),
            pattern: Pattern::default(),
            nth,
            at: self.at,
            strike: self.strike.clone(),
        }
    }
}

/// The end of one story.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'a> {
    scenario: &'a str,
    family: &'a str,
    requests: usize,
    to_control_plane: usize,
    points: usize,
    run: usize,
    same_end: usize,
    inert: usize,
    failures: usize,
}

/// Nothing more may happen for this long after each blow: enough to see a late write, short enough for hundreds of runs.
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
        let outcome = story(screen, name, case, args);
        if outcome != Exit::Clean {
            exit = outcome;
        }
    }
    exit
}

fn story(screen: Screen, name: &str, mut case: Case, args: &EnumerateArgs) -> Exit {
    // What the operator does after the story's last wait came true is struck too.
    case.workload.push(Step::Pass { seconds: TAIL });
    let mut quiet = case.clone();
    // Rules that never strike count the moments; and the faults phase then lasts as long as in the runs that are compared.
    quiet.faults.extend(BLOWS.iter().map(|blow| blow.rule(u64::MAX)));
    let reference = run_one(quiet);
    if !reference.verdict.is_clean() {
        screen.complain(&format!("{name}: the run without a fault fails already: {}", reference.verdict));
        return Exit::Violation;
    }
    let mut exit = Exit::Clean;
    for family in &args.family {
        let outcome = strike(screen, name, &case, &reference, *family, args);
        if outcome != Exit::Clean {
            exit = outcome;
        }
    }
    exit
}

/// One point: the blow's index, the request's number, and the case.
struct Point {
    blow: &'static Blow,
    case: Case,
}

fn strike(screen: Screen, name: &str, case: &Case, reference: &Report, family: Family, args: &EnumerateArgs) -> Exit {
    let all = points(case, reference, family, args.seeds);
    let total = all.len();
    let points: Vec<Point> = all.into_iter().step_by(args.every.max(1)).collect();
    let run = points.len();
    let word = if family == Family::Crash { "crash points" } else { "lost, doubled and late messages" };
    let bar = screen.progress(run as u64, word);
    let mut failures: BTreeMap<String, (Case, String)> = BTreeMap::new();
    let (mut same, mut inert) = (0, 0);
    in_parallel(points, args.jobs, |point, report| {
        bar.inc(1);
        match wrong(&report, reference) {
            // Another interleaving may need a request less; the point is then not on its road, and proves nothing.
            None if report.fired.is_empty() => inert += 1,
            None => same += 1,
            Some(why) => {
                let nth = point.case.faults.last().map_or(0, |rule| rule.nth);
                let call = report.struck.first().map_or("nothing", |struck| struck.as_str());
                let text = format!("{} request {nth} ({call}): {why}", point.blow.word);
                failures.insert(format!("{nth:08}{}", point.blow.id), (point.case, text));
            }
        }
    });
    bar.finish_and_clear();
    let summary = Summary {
        scenario: name,
        family: word,
        requests: reference.disturbed_calls,
        to_control_plane: reference.calls_to_control_plane,
        points: total,
        run,
        same_end: same,
        inert,
        failures: failures.len(),
    };
    screen.object(&summary);
    let mut text = format!("{name}: {} requests", summary.requests);
    if summary.to_control_plane > 0 {
        text += &format!(" ({} to the control plane)", summary.to_control_plane);
    }
    text += &format!(", {run} of {total} {word}, {same} times the same end");
    if inert > 0 {
        text += &format!(", {inert} points were not reached");
    }
    // Under the reference run's own entropy each point is on the road: one that was not reached is a broken search.
    let vacuous = inert > 0 && args.seeds == 1;
    let tint = if failures.is_empty() && !vacuous { Tint::Green } else { Tint::Red };
    screen.line(&screen.tint(&text, tint));
    for (key, (case, why)) in failures.iter().take(5) {
        screen.complain(&format!("  {why}"));
        let stem = std::path::Path::new(name).file_stem().map_or_else(|| name.into(), |stem| stem.to_string_lossy());
        let path = std::env::temp_dir().join(format!("sim-{stem}-{key}.case.json"));
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

fn points(case: &Case, reference: &Report, family: Family, seeds: u64) -> Vec<Point> {
    let mut points = Vec::new();
    for seed in 0..seeds {
        for blow in BLOWS.iter().filter(|blow| blow.family == family) {
            for nth in 1..=reference.matched.get(blow.id).copied().unwrap_or_default() {
                let mut case = case.clone();
                case.entropy += seed;
                case.title = format!("{}: {} request {nth}", case.title, blow.word);
                case.faults.push(blow.rule(nth));
                points.push(Point { blow, case });
            }
        }
    }
    points
}

/// Why a run with a fault is not as good as the one without.
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

/// Runs the points on `jobs` threads and hands each report to `take`, in whatever order they end.
fn in_parallel(points: Vec<Point>, jobs: usize, mut take: impl FnMut(Point, Report)) {
    let queue = Mutex::new(VecDeque::from(points));
    let (answer, reports) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            let (queue, answer) = (&queue, answer.clone());
            scope.spawn(move || {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(point) = next else { return };
                    let report = run_one(point.case.clone());
                    if answer.send((point, report)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(answer);
        for (point, report) in reports {
            take(point, report);
        }
    });
}
