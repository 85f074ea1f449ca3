//! What people and machines see: lines, colours only in a terminal, JSON on demand, a progress bar only in a terminal.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

/// Standard output with manners. Writing to a closed pipe is silent: the reader has seen enough.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// One JSON object per line instead of text.
    pub json: bool,
    colour: bool,
}

/// The few colours there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tint {
    /// As it is.
    Plain,
    /// Headings.
    Bold,
    /// What matters little.
    Dim,
    /// What came true.
    Green,
    /// What went wrong.
    Red,
    /// People.
    Cyan,
    /// The operator.
    Blue,
    /// Flux.
    Magenta,
    /// Faults.
    Yellow,
}

impl Screen {
    /// The process's standard output.
    pub fn new(json: bool) -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { json, colour }
    }

    /// The text in a colour, if there are colours.
    pub fn tint(&self, text: &str, tint: Tint) -> String {
        let code = match tint {
            Tint::Plain => return text.to_owned(),
            Tint::Bold => "1",
            Tint::Dim => "2",
            Tint::Green => "32",
            Tint::Red => "31",
            Tint::Cyan => "36",
            Tint::Blue => "34",
            Tint::Magenta => "35",
            Tint::Yellow => "33",
        };
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A line of text; nothing in JSON mode.
    pub fn line(&self, text: &str) {
        if !self.json {
            let _ = writeln!(std::io::stdout(), "{text}");
        }
    }

    /// A JSON object on a line; nothing in text mode.
    pub fn object(&self, object: &impl Serialize) {
        if self.json {
            let text = serde_json::to_string(object).unwrap_or_default();
            let _ = writeln!(std::io::stdout(), "{text}");
        }
    }

    /// A line about what went wrong, on standard error in both modes.
    pub fn complain(&self, text: &str) {
        let _ = writeln!(std::io::stderr(), "{text}");
    }

    /// Progress over `length` steps: drawn in a terminal, silent in a pipe and in JSON mode.
    pub fn progress(&self, length: u64, what: &'static str) -> ProgressBar {
        let shown = !self.json && std::io::stderr().is_terminal();
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}").expect("a constant template");
        ProgressBar::with_draw_target(Some(length), target).with_style(style).with_message(what)
    }
}

/// The names most like `wanted`, best first, for "did you mean".
pub fn nearest<'a>(wanted: &str, known: &[&'a str]) -> Vec<&'a str> {
    let mut by_distance: Vec<(usize, &str)> = known.iter().map(|name| (distance(wanted, name), *name)).collect();
    by_distance.sort();
    by_distance
        .into_iter()
        .take(3)
        .filter(|(distance, name)| *distance <= name.len().max(3))
        .map(|(_, name)| name)
        .collect()
}

/// Edits between two words.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let cost = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_names_come_first() {
        assert_eq!(nearest("instal", &["delete", "install", "upgrade"])[0], "install");
        assert_eq!(distance("abc", "abc"), 0);
        assert_eq!(distance("abc", "ac"), 1);
        assert_eq!(distance("", "xy"), 2);
    }
}
