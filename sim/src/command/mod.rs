//! The command line: one file per command, exit codes in one place.

pub mod bench;
pub mod demo;
pub mod enumerate;
pub mod faults;
pub mod meta;
pub mod replay;
pub mod run;
pub mod screen;
pub mod up;

/// How a command ended, as its exit code (simulation §13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything held.
    Clean = 0,
    /// A promise was broken, or something told did not come true.
    Violation = 1,
    /// The command line or a case is wrong.
    Usage = 2,
    /// The same case gave different runs.
    NotDeterministic = 3,
    /// Nothing was tested: a premise never held, or a fault never struck.
    Vacuous = 4,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
