//! The simulator from outside: every scenario keeps every promise, and a run is a function of its case.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use sim::case::Case;
use sim::simulation::{Simulation, Verdict};
use sim::trace::difference;

fn scenarios() -> Vec<(String, Case)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../sim/scenarios");
    let mut found: Vec<(String, Case)> = std::fs::read_dir(folder)
        .expect("the folder of scenarios")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "sim"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("a readable scenario");
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let case = sim::scenario::read(&text).unwrap_or_else(|why| panic!("{name}: {why}"));
            (name, case)
        })
        .collect();
    found.sort_by(|left, right| left.0.cmp(&right.0));
    found
}

#[test]
fn every_scenario_ends_as_it_should_and_its_faults_strike() {
    let mut wrong = Vec::new();
    for (name, case) in scenarios() {
        let report = Simulation::new(case.clone()).run();
        if report.verdict != Verdict::Clean {
            wrong.push(format!("{name}: {}", report.verdict));
        }
        wrong.extend(
            case.faults
                .iter()
                .filter(|rule| !report.fired.contains_key(&rule.id))
                .map(|rule| format!("{name}: {} never struck", rule.id)),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_run_is_a_function_of_its_case() {
    // The window spans the ten minutes after which discovery wakes all instances at once: there the order is open.
    let run = |case: &Case| Simulation::new(case.clone()).window(Duration::from_secs(700)).run();
    let all = scenarios();
    for (name, case) in all.iter().filter(|(name, _)| name == "crash-in-upgrade" || name == "several") {
        assert_eq!(difference(&run(case).lines, &run(case).lines), None, "{name}");
    }
    let (_, several) = all.iter().find(|(name, _)| name == "several").expect("the scenario of several instances");
    let hashes: BTreeSet<String> = (1..6).map(|entropy| run(&Case { entropy, ..several.clone() }).hash).collect();
    assert!(hashes.len() > 1, "other entropy must give other interleavings");
}
