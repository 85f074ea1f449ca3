//! `sim run`: one run of a built-in case, a scenario or a case file; on failure the case is written down.

use std::path::{Path, PathBuf};

use super::Exit;
use super::screen::{Screen, Tint, nearest};
use crate::case::{Case, Tier};
use crate::scenario;
use crate::simulation::{Report, Simulation, Verdict};
use crate::stories;
use crate::trace::Detail;

/// What to run, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// World seed: workload, latencies, timings of the fakes
    #[arg(long)]
    seed: Option<u64>,
    /// Entropy seed: hash order and jitter, that is, who runs next
    #[arg(long)]
    entropy: Option<u64>,
    /// How requests travel
    #[arg(long, value_enum, default_value_t = Tier::Direct)]
    tier: Tier,
    /// install, upgrade, rollback, deletion, whole, or a .sim or .case.json file
    #[arg(long, default_value = "whole")]
    scenario: String,
    /// Write the trace, one JSON object per record, to this file
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// With bodies in the trace (the data of Secrets left out)
    #[arg(long)]
    full: bool,
}

/// Runs it.
pub fn run(screen: Screen, args: &RunArgs) -> Exit {
    let mut case = match load(&args.scenario) {
        Ok(case) => case,
        Err(why) => {
            screen.complain(&why);
            return Exit::Usage;
        }
    };
    case.tier = args.tier;
    case.world = args.seed.unwrap_or(case.world);
    case.entropy = args.entropy.unwrap_or(case.entropy);
    let detail = if args.full { Detail::Full } else { Detail::Lines };
    let report = Simulation::new(case.clone()).detail(detail).run();
    if let Some(path) = &args.trace
        && let Err(error) = std::fs::write(path, report.lines.join("\n") + "\n")
    {
        screen.complain(&format!("cannot write {}: {error}", path.display()));
        return Exit::Usage;
    }
    show(screen, &report);
    judge(screen, &case, &report)
}

/// A built-in case, a scenario or a case file by name.
///
/// # Errors
/// One sentence; an unknown name lists the nearest ones.
pub fn load(name: &str) -> Result<Case, String> {
    if let Some(case) = stories::named(name) {
        return Ok(case);
    }
    let path = Path::new(name);
    let text = std::fs::read_to_string(path).map_err(|error| {
        let near = nearest(name, &stories::NAMES).join(", ");
        format!(
            "no built-in scenario and no readable file {name:?} ({error}). Built in: {}. Nearest: {near}",
            stories::NAMES.join(", ")
        )
    })?;
    let read = if path.extension().is_some_and(|end| end == "sim") { scenario::read(&text) } else { Case::read(&text) };
    read.map_err(|why| format!("{name}: {why}"))
}

/// The figures of a run.
pub fn show(screen: Screen, report: &Report) {
    screen.object(report);
    let tint = if report.verdict.is_clean() { Tint::Green } else { Tint::Red };
    screen.line(&screen.tint(&report.verdict.to_string(), tint));
    if let Verdict::Violation { at, .. } = report.verdict {
        around(screen, report, at);
    }
    screen.line(&format!(
        "  {} records, {:.1} simulated s, {} requests and {} writes of the operator, {} draws, trace {}",
        report.records,
        report.simulated_ms as f64 / 1000.0,
        report.requests,
        report.writes,
        report.draws,
        report.hash
    ));
}

/// The records around a violation, its own marked.
fn around(screen: Screen, report: &Report, at: u64) {
    let Ok(at) = usize::try_from(at) else { return };
    let from = at.saturating_sub(20);
    for (index, line) in report.lines.iter().enumerate().skip(from).take(25) {
        let mark = if index + 1 == at { "→" } else { " " };
        screen.line(&screen.tint(&format!("  {mark} {line}"), Tint::Dim));
    }
}

/// The exit code of a run that should be as its case expects; a failure is written down with the command that repeats it.
pub fn judge(screen: Screen, case: &Case, report: &Report) -> Exit {
    match (&case.expect, report.verdict.oracle()) {
        (Some(expected), Some(oracle)) if expected == oracle => return Exit::Clean,
        (None, _) if report.verdict.is_clean() => return Exit::Clean,
        (Some(expected), _) => screen.complain(&format!("{expected} was expected to object")),
        (None, _) => {}
    }
    let path = std::env::temp_dir().join(format!("sim-{}-{}.case.json", case.world, case.entropy));
    match std::fs::write(&path, case.write()) {
        Ok(()) => screen.complain(&format!("repeat it with: sim replay {}", path.display())),
        Err(error) => screen.complain(&format!("the case could not be written to {}: {error}", path.display())),
    }
    Exit::Violation
}
