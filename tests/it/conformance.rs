//! The golden gate: the fake API server answers recorded sequences the way the real one did.
//!
//! `CONFORMANCE_KNOWN=1` rewrites `tests/golden/apiserver/known.md`; `CONFORMANCE_SEEDS=1,2` plays only those and prints every difference.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use sim::conformance::{Report, play};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/apiserver").join(name)
}

fn report(corpus: &str, with_definition: bool) -> Report {
    let definition = golden("golden-crd.json");
    let crds: &[&Path] = if with_definition { &[&definition] } else { &[] };
    let seeds: Vec<u64> = std::env::var("CONFORMANCE_SEEDS")
        .unwrap_or_default()
        .split(',')
        .filter_map(|seed| seed.parse().ok())
        .collect();
    let report = play(&golden(corpus), crds, &seeds).expect("the corpus is in the repository");
    if std::env::var_os("CONFORMANCE_KNOWN").is_some() {
        record_known(corpus, &report);
    }
    let shown = if seeds.is_empty() { 12 } else { usize::MAX };
    for (seed, difference) in report.differences.iter().take(shown) {
        eprintln!("{corpus} seed {seed}: {}", difference.text());
    }
    for (seed, difference) in report.minor.iter().take(shown) {
        eprintln!("{corpus} seed {seed} (minor): {}", difference.text());
    }
    eprintln!("{corpus}: {}", report.to_json());
    report
}

/// Each corpus has its section.
fn record_known(corpus: &str, report: &Report) {
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock();
    let path = golden("known.md");
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    let head = "# Sequences on which the fake and the record differ\n\nWritten by the gate with `CONFORMANCE_KNOWN=1`; the first difference of each.\n";
    let mut sections: Vec<(String, String)> = old
        .split("\n## ")
        .skip(1)
        .filter_map(|section| {
            section.split_once('\n').map(|(name, text)| (name.to_owned(), text.trim_end().to_owned()))
        })
        .filter(|(name, _)| name != corpus)
        .collect();
    let mut text = format!("\n{} of {} sequences agree.\n", report.agreeing, report.sequences);
    if !report.differences.is_empty() {
        let _ = write!(text, "\n{}", report.known());
    }
    sections.push((corpus.to_owned(), text.trim_end().to_owned()));
    sections.sort();
    let body: String = sections.iter().map(|(name, text)| format!("\n## {name}\n{text}\n")).collect();
    std::fs::write(path, format!("{head}{body}")).expect("the repository is writable");
}

#[test]
fn golden_gate() {
    let report = report("golden.jsonl.gz", true);
    assert_eq!(report.agreeing, report.sequences);
    assert!(report.tally.l4 * 100 >= report.tally.steps * 99, "messages and warnings agree at 99 % of the steps");
}

/// A profile passes when 95 % of its sequences agree.
fn profile(name: &str, with_definition: bool) {
    let report = report(&format!("profiles/{name}.jsonl.gz"), with_definition);
    assert!(
        report.agreeing * 100 >= report.sequences * 95,
        "{} of {} sequences agree",
        report.agreeing,
        report.sequences
    );
}

#[test]
fn profile_gc() {
    profile("gc", true);
}

#[test]
fn profile_namespace() {
    profile("namespace", true);
}

#[test]
fn profile_crd() {
    profile("crd", false);
}

#[test]
fn profile_clients() {
    profile("clients", true);
}
