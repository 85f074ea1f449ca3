//! Conformance: recorded request sequences are sent to the fake API server and its answers compared with the recorded ones.
//!
//! ```text
//! corpus ──► play (one fresh server per sequence, paused clock) ──► normal (what differs between two runs of a real server) ──► compare
//! ```
//!
//! Levels of agreement: L1 code and reason; L2 the body (of a refusal without message and causes); L3 causes; L4 message, warnings and
//! headers; L5 events of watch streams. A sequence agrees when every step agrees at L1 and L2 and every stream at L5.

mod compare;
mod corpus;
mod normal;
mod play;
mod send;
mod slim;
mod stream;
mod symbols;
mod texts;
mod wait;

use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

pub use compare::{Difference, Tally};
pub use corpus::Sequence;

/// Sums over a corpus.
#[derive(Debug, Default)]
pub struct Report {
    /// Sequences played.
    pub sequences: usize,
    /// Sequences that agree at L1, L2 and L5.
    pub agreeing: usize,
    /// Steps and streams, and how many agree per level.
    pub tally: Tally,
    /// The first difference of each sequence that does not agree.
    pub differences: Vec<(u64, Difference)>,
    /// Further differences at L3 and L4, at most one per step.
    pub minor: Vec<(u64, Difference)>,
}

impl Report {
    /// The one-line result that programs read.
    pub fn to_json(&self) -> Value {
        let tally = &self.tally;
        json!({
            "sequences": self.sequences, "agreeing": self.agreeing, "steps": tally.steps, "l1": tally.l1, "l2": tally.l2, "l3": tally.l3,
            "l4": tally.l4, "streams": tally.streams, "l5": tally.l5,
        })
    }

    /// The list of sequences that do not agree, for the record beside the corpus.
    pub fn known(&self) -> String {
        let line = |(seed, difference): &(u64, Difference)| format!("- seed {seed}, {}\n", difference.line());
        self.differences.iter().map(line).collect()
    }
}

/// Plays every sequence of a corpus. `seeds` picks some, empty means all.
///
/// # Errors
/// A corpus or definition that cannot be read.
pub fn play(corpus: &Path, crds: &[&Path], seeds: &[u64]) -> Result<Report, String> {
    let sequences = corpus::load(corpus)?;
    let crds = crds.iter().map(|path| corpus::definition(path)).collect::<Result<Vec<_>, _>>()?;
    let mut report = Report::default();
    for sequence in sequences.iter().filter(|sequence| seeds.is_empty() || seeds.contains(&sequence.seed)) {
        let played = play::play(sequence, &crds)?;
        let normal = normal::normalise(sequence, &played);
        let judged = compare::compare(sequence, &normal);
        report.sequences += 1;
        report.tally.add(&judged.tally);
        match judged.first {
            None => report.agreeing += 1,
            Some(first) => report.differences.push((sequence.seed, first)),
        }
        report.minor.extend(judged.minor.into_iter().map(|difference| (sequence.seed, difference)));
    }
    Ok(report)
}

/// `sim conformance`: plays a corpus, prints the differences (unless `json`) and the result as the last line. Returns the exit code:
/// 0 when every sequence agrees, 1 when not, 2 when the corpus cannot be read.
pub fn run(corpus: &Path, crds: &[&Path], seeds: &[u64], json: bool) -> i32 {
    let mut out = std::io::stdout().lock();
    let report = match play(corpus, crds, seeds) {
        Ok(report) => report,
        Err(error) => {
            // Nothing sensible can be done about a closed stdout.
            let _ = writeln!(out, "{error}");
            return 2;
        }
    };
    if !json {
        for (seed, difference) in &report.differences {
            let _ = writeln!(out, "seed {seed}: {}", difference.text());
        }
    }
    let _ = writeln!(out, "{}", report.to_json());
    i32::from(report.agreeing != report.sequences)
}
