//! `sim replay`: exactly one case, once or many times; every repetition must be the same run.

use std::path::PathBuf;

use super::Exit;
use super::run::{judge, load, show};
use super::screen::Screen;
use crate::simulation::Simulation;
use crate::trace::{Detail, difference};

/// Which case, how often.
#[derive(Clone, Debug, clap::Args)]
pub struct ReplayArgs {
    /// The case file (or a .sim scenario)
    case: String,
    /// Write the trace to this file
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// With bodies in the trace
    #[arg(long)]
    full: bool,
    /// This many runs, which must all be the same
    #[arg(long, default_value_t = 1)]
    times: u32,
}

/// Replays it.
pub fn replay(screen: Screen, args: &ReplayArgs) -> Exit {
    let case = match load(&args.case) {
        Ok(case) => case,
        Err(why) => {
            screen.complain(&why);
            return Exit::Usage;
        }
    };
    let detail = if args.full { Detail::Full } else { Detail::Lines };
    let once = || Simulation::new(case.clone()).detail(detail).run();
    let report = once();
    for time in 2..=args.times {
        let again = once();
        if let Some(parted) = difference(&report.lines, &again.lines) {
            screen.complain(&format!("run {time} differs from the first at record {}:", parted.at + 1));
            super::meta::show_difference(screen, &parted);
            return Exit::NotDeterministic;
        }
    }
    if let Some(path) = &args.trace
        && let Err(error) = std::fs::write(path, report.lines.join("\n") + "\n")
    {
        screen.complain(&format!("cannot write {}: {error}", path.display()));
        return Exit::Usage;
    }
    show(screen, &report);
    judge(screen, &case, &report)
}
