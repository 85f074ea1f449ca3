//! `sim meta`: is a run really a function of its case? The first job of every CI run.
//!
//! The same case twice in one process, in two more processes, and in two threads at once must give the same bytes;
//! another entropy seed must give another trace, or the shim is not installed; a deliberately false promise must be
//! reported, or failures do not reach people.

use std::process::Command;

use serde_json::Value;

use super::Exit;
use super::screen::{Screen, Tint};
use crate::case::Case;
use crate::oracle::{Oracle, Pending};
use crate::simulation::{Report, Simulation};
use crate::stories;
use crate::trace::{Difference, difference};
use crate::truth::{INSTANCES, Truth};

/// The cases under test: several instances at once, where the order is open, and the whole road of one with faults.
fn cases() -> Vec<Case> {
    let mut several = stories::named("several").expect("a built-in case");
    several.title = "several at once".into();
    let mut rough = stories::named("whole").expect("a built-in case");
    rough.title = "one, with faults".into();
    rough.faults = serde_json::from_str(ROUGH).expect("constant rules");
    vec![several, rough]
}

/// A few faults of each family, all within one run.
const ROUGH: &str = r#"[
  {"id": "F12", "actor": "operator-0", "match": {"verb": "apply", "kind": "HelmRelease"}, "at": "after", "strike": {"do": "lose"}},
  {"id": "F13", "actor": "operator-0", "match": {"verb": "get"}, "nth": 5, "strike": {"do": "answer", "status": 429, "retryAfter": 2}},
  {"id": "F20", "actor": "operator-0", "match": {"verb": "get"}, "nth": 9, "at": "reply", "strike": {"do": "halfBody"}},
  {"id": "F22", "actor": "operator-0", "match": {"verb": "watch", "kind": "HelmRelease"}, "at": "reply", "strike": {"do": "expire", "after": 6}},
  {"id": "F23", "actor": "operator-0", "match": {"verb": "watch", "kind": "ApplicationInstance"}, "at": "reply", "strike": {"do": "miss", "after": 2}},
  {"id": "F2", "actor": "operator-0.1", "match": {"verb": "write"}, "nth": 7, "at": "after", "strike": {"do": "crash"}}
]"#;

/// Runs every check and prints one line each.
pub fn meta(screen: Screen) -> Exit {
    let mut exit = Exit::Clean;
    for case in cases() {
        let first = Simulation::new(case.clone()).run();
        let mut same = |how: &str, other: Result<Report, String>| {
            let parted = match &other {
                Ok(other) if other.draws != first.draws => {
                    Some(format!("{} draws of randomness, {} before", other.draws, first.draws))
                }
                Ok(other) => difference(&first.lines, &other.lines).map(|parted| {
                    show_difference(screen, &parted);
                    format!("first difference at record {}", parted.at + 1)
                }),
                Err(why) => Some(why.clone()),
            };
            if !tell(screen, &format!("{}: {how}", case.title), parted.as_deref()) {
                exit = Exit::NotDeterministic;
            }
        };
        same("twice in one process", Ok(Simulation::new(case.clone()).run()));
        let (left, right) = at_once(&case);
        same("in two threads at once, one", Ok(left));
        same("in two threads at once, the other", Ok(right));
        same("in a second process", elsewhere(&case));
        same("in a third process", elsewhere(&case));

        if case.faults.is_empty() {
            let others: Vec<Report> =
                (2..6).map(|entropy| Simulation::new(Case { entropy, ..case.clone() }).run()).collect();
            let hashes: std::collections::BTreeSet<&str> =
                others.iter().chain([&first]).map(|report| report.hash.as_str()).collect();
            let alike = (hashes.len() < 2).then_some("five entropy seeds, one trace: the shim is not installed");
            let what = format!("{}: other entropy, other trace ({} of 5)", case.title, hashes.len());
            if !tell(screen, &what, alike) {
                exit = Exit::NotDeterministic;
            }
            // S22 across runs: what is rendered does not depend on who ran first.
            let apart = others.iter().any(|report| report.end != first.end).then_some("objects differ at the end");
            if !tell(screen, &format!("{}: other entropy, same end", case.title), apart) && exit == Exit::Clean {
                exit = Exit::Violation;
            }
        }
        let unclean = (!first.verdict.is_clean()).then(|| first.verdict.to_string());
        if !tell(screen, &format!("{}: the run itself is clean", case.title), unclean.as_deref()) && exit == Exit::Clean
        {
            exit = Exit::Violation;
        }
        let idle = case.faults.iter().find(|rule| !first.fired.contains_key(&rule.id));
        let idle = idle.map(|rule| format!("{} never struck", rule.id));
        if !tell(screen, &format!("{}: every fault struck", case.title), idle.as_deref()) && exit == Exit::Clean {
            exit = Exit::Vacuous;
        }
        screen.line(&format!("  {} records, {} draws, trace {}", first.records, first.draws, first.hash));
    }
    let silent = false_promise().err();
    if !tell(screen, "a false promise is reported", silent.as_deref()) && exit == Exit::Clean {
        exit = Exit::Violation;
    }
    exit
}

fn tell(screen: Screen, what: &str, wrong: Option<&str>) -> bool {
    screen.object(&serde_json::json!({ "check": what, "holds": wrong.is_none(), "why": wrong }));
    match wrong {
        None => screen.line(&screen.tint(&format!("✓ {what}"), Tint::Green)),
        Some(why) => screen.line(&screen.tint(&format!("✗ {what}: {why}"), Tint::Red)),
    }
    wrong.is_none()
}

/// Prints where two traces part, with what came before.
pub fn show_difference(screen: Screen, parted: &Difference) {
    for line in &parted.before {
        screen.complain(&format!("    {line}"));
    }
    screen.complain(&format!("  < {}", parted.left.as_deref().unwrap_or("(ends here)")));
    screen.complain(&format!("  > {}", parted.right.as_deref().unwrap_or("(ends here)")));
}

fn at_once(case: &Case) -> (Report, Report) {
    let spawn = |case: Case| {
        std::thread::Builder::new().spawn(move || Simulation::new(case).run()).expect("two more threads can be had")
    };
    let (left, right) = (spawn(case.clone()), spawn(case.clone()));
    let join =
        |thread: std::thread::JoinHandle<Report>| thread.join().expect("a run does not panic outside its thread");
    (join(left), join(right))
}

/// The same case in a process of its own, by way of a case file and a trace file.
fn elsewhere(case: &Case) -> Result<Report, String> {
    let wrong = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
    let stem = format!("sim-meta-{}-{}", std::process::id(), case.faults.len());
    let (file, trace) =
        (std::env::temp_dir().join(format!("{stem}.case.json")), std::env::temp_dir().join(format!("{stem}.jsonl")));
    std::fs::write(&file, case.write()).map_err(|error| wrong("the case file", &error))?;
    let program = std::env::current_exe().map_err(|error| wrong("this program", &error))?;
    let output = Command::new(program)
        .args(["--json", "replay"])
        .arg(&file)
        .arg("--trace")
        .arg(&trace)
        .output()
        .map_err(|error| wrong("another process", &error))?;
    let answer: Value = serde_json::from_slice(&output.stdout).map_err(|error| wrong("its report", &error))?;
    let lines = std::fs::read_to_string(&trace).map_err(|error| wrong("its trace", &error))?;
    let _ = (std::fs::remove_file(&file), std::fs::remove_file(&trace));
    let mut report = Report::empty();
    report.draws = answer["draws"].as_u64().unwrap_or_default();
    report.lines = lines.lines().map(str::to_owned).collect();
    Ok(report)
}

/// Promises that nothing is ever ready: must be reported as broken.
#[derive(Default)]
struct NeverReady;

impl Oracle for NeverReady {
    fn id(&self) -> &'static str {
        "false"
    }

    fn promise(&self) -> &'static str {
        "no instance is ever there (deliberately false)"
    }

    fn step(&mut self, _: &fakes::history::Record, truth: &Truth) -> Result<(), String> {
        if truth.all(INSTANCES).next().is_some() { Err("an instance is there".into()) } else { Ok(()) }
    }

    fn pending(&self, _: &Truth, _: std::time::Duration) -> Option<Pending> {
        None
    }
}

fn false_promise() -> Result<(), String> {
    let case = stories::named("install").expect("a built-in case");
    let verdict = Simulation::new(case).also(|| Box::<NeverReady>::default()).run().verdict;
    if verdict.oracle() == Some("false") { Ok(()) } else { Err(format!("the run was judged: {verdict}")) }
}
