//! `sim`: runs the production operator against fakes, on simulated time, and judges it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sim::command::bench::BenchArgs;
use sim::command::enumerate::EnumerateArgs;
use sim::command::replay::ReplayArgs;
use sim::command::run::RunArgs;
use sim::command::screen::Screen;
use sim::command::up::UpArgs;
use sim::command::{Exit, bench, demo, enumerate, faults, meta, replay, run, up};

/// Runs vworkspace-app-operator, the code of production, on a simulated cluster.
#[derive(Parser)]
#[command(name = "sim", version, about, max_term_width = 100)]
struct Arguments {
    /// One JSON object per line, for machines
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The main job of the operator on an embedded cluster, from nothing to nothing, told line by line
    Demo {
        /// Simulated seconds per second of yours; without it nothing waits
        #[arg(long, value_name = "N", value_parser = speed)]
        speed: Option<f64>,
        /// Simulated hours that the control plane is gone in the middle; a week is 168 and takes a few minutes
        #[arg(long, value_name = "HOURS", default_value = "6", value_parser = clap::value_parser!(u64).range(1..=1000))]
        away: u64,
    },
    /// One run; prints the verdict and, on failure, writes a case
    Run(RunArgs),
    /// Exactly one case, once or many times
    Replay(ReplayArgs),
    /// Is a run a function of its case? Two processes, two threads, other seeds
    Meta,
    /// Every fault there is, struck once in a story of its own
    Faults,
    /// Recorded answers of a real API server, replayed on the fake
    Conformance {
        /// The corpus (.jsonl or .jsonl.gz)
        #[arg(long, value_name = "FILE")]
        corpus: PathBuf,
        /// Definitions to install before each sequence; may be repeated
        #[arg(long, value_name = "FILE")]
        crd: Vec<PathBuf>,
        /// Only the sequence with this seed; may be repeated
        #[arg(long, value_name = "N")]
        seed: Vec<u64>,
    },
    /// The cluster on a real port, for kubectl, helm and the operator's own binary
    Up(UpArgs),
    /// The figures that matter, beside their targets
    Bench(BenchArgs),
    /// Power loss of the operator before, during and after every request of a story
    Enumerate(EnumerateArgs),
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if speed.is_finite() && speed > 0.0 => Ok(speed),
        _ => Err("a number above 0: simulated seconds per second".to_owned()),
    }
}

fn main() -> ExitCode {
    // Before anything else: whatever is drawn once per process must be drawn from the constant.
    let primed = sim::entropy::prime();
    let arguments = Arguments::parse();
    let screen = Screen::new(arguments.json);
    if let Err(why) = primed {
        screen.complain(why);
        return Exit::NotDeterministic.into();
    }
    match arguments.command {
        Command::Demo { speed, away } => demo::demo(screen, speed, away),
        Command::Run(args) => run::run(screen, &args),
        Command::Replay(args) => replay::replay(screen, &args),
        Command::Meta => meta::meta(screen),
        Command::Faults => faults::faults(screen),
        Command::Conformance { corpus, crd, seed } => {
            let crds: Vec<&Path> = crd.iter().map(PathBuf::as_path).collect();
            match sim::conformance::run(&corpus, &crds, &seed, screen.json) {
                0 => Exit::Clean,
                1 => Exit::Violation,
                _ => Exit::Usage,
            }
        }
        Command::Up(args) => up::up(screen, &args),
        Command::Bench(args) => bench::bench(screen, &args),
        Command::Enumerate(args) => enumerate::enumerate(screen, &args),
    }
    .into()
}
