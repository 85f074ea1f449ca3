//! Symbols of recorded requests, such as `$rv:3`: values of earlier answers.

use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::{Map, Value};

const NIL_UID: &str = "00000000-0000-0000-0000-000000000000";

static SYMBOL: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\$(rv|uid|cont|etag|name):(\d+)").expect("a constant pattern"));

/// What symbols stand for in one run.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    /// The run's name: `$NS` or `$ID`.
    pub(super) id: String,
    /// `$ID` is used, and symbols are replaced inside texts and keys.
    pub(super) profile: bool,
    /// The answer to each step so far.
    pub(super) answers: Vec<Value>,
    /// The ETag of each step so far.
    pub(super) etags: Vec<Option<String>>,
}

impl Symbols {
    /// Replaces symbols in a path.
    pub(super) fn path(&self, path: &str) -> String {
        if self.profile { self.text(path) } else { self.replace(&path.replace("$NS", &self.id), true) }
    }

    /// Replaces symbols in a body or header.
    pub(super) fn value(&self, value: &Value) -> Value {
        match value {
            Value::Object(fields) => {
                let fields = fields.iter().map(|(key, value)| {
                    let key = if self.profile { self.text(key) } else { key.clone() };
                    (key, self.value(value))
                });
                Value::Object(fields.collect::<Map<_, _>>())
            }
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::String(text) if self.profile => Value::String(self.text(text)),
            Value::String(text) => self.whole(text),
            other => other.clone(),
        }
    }

    /// In the corpus without profile a symbol is a whole string; one without a value becomes null.
    fn whole(&self, text: &str) -> Value {
        let Some((kind, step)) = text.strip_prefix('$').and_then(|rest| rest.split_once(':')) else {
            return Value::from(text);
        };
        match (kind, step.parse()) {
            ("rv", Ok(step)) => self.answer(step, "resourceVersion").map_or(Value::Null, Value::from),
            ("uid", Ok(step)) => self.answer(step, "uid").map_or(Value::Null, Value::from),
            _ => Value::from(text),
        }
    }

    fn text(&self, text: &str) -> String {
        if !text.contains('$') {
            return text.to_owned();
        }
        let text = text
            .replace("$ID", &self.id)
            .replace("$HOOK", &format!("https://hooks.invalid/{}", self.id))
            .replace("$CA", "Cg==");
        self.replace(&text, false)
    }

    fn replace(&self, text: &str, empty: bool) -> String {
        SYMBOL
            .replace_all(text, |captures: &Captures<'_>| {
                let step = captures[2].parse().unwrap_or(usize::MAX);
                let (found, missing) = match &captures[1] {
                    "rv" => (self.answer(step, "resourceVersion"), "1"),
                    "uid" => (self.answer(step, "uid"), NIL_UID),
                    "cont" => (self.answer(step, "continue"), "none"),
                    "name" => (self.answer(step, "name"), "none"),
                    _ => (self.etags.get(step).cloned().flatten(), "none"),
                };
                found.unwrap_or_else(|| if empty { String::new() } else { missing.to_owned() })
            })
            .into_owned()
    }

    fn answer(&self, step: usize, field: &str) -> Option<String> {
        let text = self.answers.get(step)?["metadata"][field].as_str()?;
        Some(text.to_owned()).filter(|text| !text.is_empty())
    }
}
