//! Hides in messages and names what differs between two runs.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::normal::Normaliser;

pub(super) struct Patterns {
    pub(super) uid: Regex,
    pub(super) whole_uid: Regex,
    pub(super) revision: Regex,
    pub(super) precondition: Regex,
    pub(super) object: Regex,
    pub(super) too_old: Regex,
    pub(super) time: Regex,
    pub(super) any_time: Regex,
    pub(super) binding: Regex,
    pub(super) roles: Regex,
    pub(super) age: Regex,
}

pub(super) static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| {
    let regex = |pattern: &str| Regex::new(pattern).expect("a constant pattern");
    let uid = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
    Patterns {
        uid: regex(uid),
        whole_uid: regex(&format!("^{uid}$")),
        revision: regex(
            r"(ResourceVersion in precondition: |ResourceVersion in object meta: |resource version: |current: )(\d+)",
        ),
        precondition: regex(r"ResourceVersion in (the precondition|record) \((\d+)\)"),
        object: regex(r#"Invalid value: "\{\\"apiVersion.*?\}": "#),
        too_old: regex(r"too old resource version: (\S+) \(\d+\)"),
        time: regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"),
        any_time: regex(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z| [+-]\d{4} UTC)"),
        binding: regex(r"(?s)(RBAC: allowed by (?:Cluster)?RoleBinding) .*"),
        roles: regex(r"RBAC: \[(.*)\]"),
        age: regex(r"^((\d+[smhdy])+|<invalid>)$"),
    }
});

impl Normaliser<'_> {
    pub(super) fn message(&mut self, text: &str) -> String {
        let text = self.text(text);
        if text.contains("failed to create typed patch object") {
            let head = text.split("): ").next().unwrap_or_default();
            return format!("{head}): <TYPED>");
        }
        if let Some((head, tail)) = text.split_once(" is invalid: [") {
            let mut parts = split_causes(tail.trim_end_matches(']'), self.profile());
            parts.sort_unstable();
            return format!("{head} is invalid: {}", parts.join(" | "));
        }
        if text.contains("strict decoding error") {
            let mut parts: Vec<&str> = text.split(", ").collect();
            parts.sort_unstable();
            return parts.join(", ");
        }
        text
    }

    pub(super) fn text(&mut self, text: &str) -> String {
        let patterns = &*PATTERNS;
        let by_object = self.sequence.by_object;
        let profile = self.profile();
        let mut text = text.replace(self.id, if profile { "$ID" } else { "NS" });
        for prefix in self.prefixes.clone() {
            text = self.hide_generated(&text, &prefix);
        }
        // Most strings hold nothing to hide; the patterns are dear.
        if !text.bytes().any(|byte| byte.is_ascii_digit()) && !text.contains("apiVersion") && !text.contains("RBAC") {
            return text;
        }
        let mut text = patterns.uid.replace_all(&text, |found: &Captures<'_>| self.alias(&found[0])).into_owned();
        if text.contains("ersion") || text.contains("current: ") {
            let rank = |digits: &str| if by_object { "@".to_owned() } else { self.rank_text(digits, true) };
            text = patterns
                .revision
                .replace_all(&text, |found: &Captures<'_>| format!("{}{}", &found[1], rank(&found[2])))
                .into_owned();
            text = patterns
                .precondition
                .replace_all(&text, |found: &Captures<'_>| {
                    format!("ResourceVersion in {} ({})", &found[1], rank(&found[2]))
                })
                .into_owned();
            text = patterns.object.replace_all(&text, "Invalid value: <OBJ>: ").into_owned();
            text = patterns.too_old.replace_all(&text, "too old resource version: $1 (N)").into_owned();
        }
        if !profile {
            return patterns.time.replace_all(&text, "T").into_owned();
        }
        if text.contains("RBAC") {
            text = patterns.binding.replace_all(&text, "$1 <ANY>").into_owned();
            text = patterns
                .roles
                .replace_all(&text, |found: &Captures<'_>| {
                    let mut parts: Vec<&str> = found[1].split(", ").collect();
                    parts.sort_unstable();
                    format!("RBAC: [{}]", parts.join(", "))
                })
                .into_owned();
        }
        patterns.any_time.replace_all(&text, "T").into_owned()
    }

    fn hide_generated(&mut self, text: &str, prefix: &str) -> String {
        let word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        let suffix_letters = "bcdfghjklmnpqrstvwxz2456789";
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(prefix) {
            let end = at + prefix.len();
            let suffix: String = rest[end..].chars().take_while(|c| suffix_letters.contains(*c)).take(5).collect();
            let before = rest[..at].chars().next_back().or_else(|| out.chars().next_back());
            let after = rest[end + suffix.len()..].chars().next();
            if suffix.len() == 5 && !before.is_some_and(word) && !after.is_some_and(word) {
                out.push_str(&rest[..at]);
                let name = format!("{prefix}{suffix}");
                let next = format!("{prefix}<gen{}>", self.generated.len());
                out.push_str(self.generated.entry(name).or_insert(next));
                rest = &rest[end + 5..];
            } else {
                out.push_str(&rest[..end]);
                rest = &rest[end..];
            }
        }
        out.push_str(rest);
        out
    }
}

/// Splits the parts of a 422 message: at each comma that a field path and a colon follow.
fn split_causes(text: &str, profile: bool) -> Vec<&str> {
    let path_char = |c: char| c.is_alphanumeric() || "_.<>[]\"{}:".contains(c) || profile && "$-".contains(c);
    let mut parts = Vec::new();
    let mut start = 0;
    for (at, _) in text.match_indices(", ") {
        let rest = &text[at + 2..];
        let run = rest.find(|c: char| !path_char(c)).unwrap_or(rest.len());
        // The colon belongs to the characters of a path.
        let path = rest[run..].starts_with(' ') && rest[..run].ends_with(':') && run > 1;
        if path && at >= start {
            parts.push(&text[start..at]);
            start = at + 2;
        }
    }
    parts.push(&text[start..]);
    parts
}
