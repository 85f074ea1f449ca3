//! Where in an object a walk is: a chain on the stack that costs nothing until an error prints it.

use std::fmt::Write as _;

/// One step of a walk, linked to the step before.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Root,
    Field(&'a str),
    Key(&'a str),
    Index(usize),
}

impl<'a> Path<'a> {
    /// The top of an object.
    pub const ROOT: Path<'static> = Path { parent: None, step: Step::Root };

    /// A declared field.
    pub fn field(&'a self, name: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Field(name) }
    }

    /// A key of a map.
    pub fn key(&'a self, name: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Key(name) }
    }

    /// An item of a list.
    pub fn index(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), step: Step::Index(index) }
    }

    /// Dots between fields and keys alike, as value validations name things: `spec.tags.k`, `spec.list[0]`.
    pub fn dotted(&self) -> String {
        self.render(false)
    }

    /// Keys of maps in brackets, as list and rule errors name things: `spec.tags[k]`; `<nil>` at the top.
    pub fn bracketed(&self) -> String {
        let text = self.render(true);
        if text.is_empty() { "<nil>".to_owned() } else { text }
    }

    fn render(&self, brackets: bool) -> String {
        let mut out = match self.parent {
            Some(parent) => parent.render(brackets),
            None => return String::new(),
        };
        match self.step {
            Step::Root => {}
            Step::Index(index) => {
                let _ = write!(out, "[{index}]");
            }
            Step::Key(name) if brackets => {
                let _ = write!(out, "[{name}]");
            }
            Step::Field(name) | Step::Key(name) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(name);
            }
        }
        out
    }
}
