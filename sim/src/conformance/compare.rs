//! Compares one run with its record, level by level.

use serde_json::{Value, json};

use super::corpus::Sequence;
use super::normal::Normal;

/// Steps and streams, and how many agree at each level.
#[derive(Debug, Default)]
pub struct Tally {
    /// Steps.
    pub steps: usize,
    /// Steps with the recorded code and reason.
    pub l1: usize,
    /// Steps with the recorded body.
    pub l2: usize,
    /// Steps with the recorded causes.
    pub l3: usize,
    /// Steps with the recorded message, warnings and headers.
    pub l4: usize,
    /// Streams.
    pub streams: usize,
    /// Streams with the recorded events.
    pub l5: usize,
}

impl Tally {
    /// Adds another tally.
    pub(super) fn add(&mut self, other: &Tally) {
        for (sum, more) in [
            (&mut self.steps, other.steps),
            (&mut self.l1, other.l1),
            (&mut self.l2, other.l2),
            (&mut self.l3, other.l3),
            (&mut self.l4, other.l4),
            (&mut self.streams, other.streams),
            (&mut self.l5, other.l5),
        ] {
            *sum += more;
        }
    }
}

/// Where a run leaves its record.
#[derive(Clone, Debug)]
pub struct Difference {
    /// 1 to 5.
    pub level: u8,
    /// The step or stream.
    pub place: String,
    /// The path inside the answer.
    pub path: String,
    /// The recorded value.
    pub expected: String,
    /// The value found.
    pub found: String,
}

impl Difference {
    /// On one line, cut.
    pub fn line(&self) -> String {
        let cut = |text: &str| text.chars().take(160).collect::<String>();
        format!(
            "{} L{} {}: recorded {} found {}",
            self.place,
            self.level,
            self.path,
            cut(&self.expected),
            cut(&self.found)
        )
    }

    /// On three lines.
    pub fn text(&self) -> String {
        format!(
            "{} L{} {}\n    recorded {}\n    found    {}",
            self.place, self.level, self.path, self.expected, self.found
        )
    }
}

/// The verdict on one sequence.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// Counts.
    pub tally: Tally,
    /// The first difference at L1, L2 or L5.
    pub first: Option<Difference>,
    /// Differences at L3 and L4.
    pub minor: Vec<Difference>,
}

/// Compares.
pub(super) fn compare(sequence: &Sequence, normal: &Normal) -> Judged {
    let mut judged = Judged::default();
    for (index, step) in sequence.steps().iter().enumerate() {
        let mut expected = step["expect"].clone();
        let mut found = normal.answers.get(index).cloned().unwrap_or_default();
        canonical(&mut expected);
        canonical(&mut found);
        let place = format!(
            "step {index} {} {} {}",
            step["op"],
            step["m"].as_str().unwrap_or_default(),
            step["p"].as_str().unwrap_or_default()
        );
        judged.tally.steps += 1;
        let levels = if expected.is_null() || expected["code"].is_null() && expected.get("code").is_some() {
            [None, None, None, None]
        } else {
            [1, 2, 3, 4].map(|level| {
                let (expected, found) = (at_level(level, &expected), at_level(level, &found));
                (expected != found).then(|| difference(level, &place, &expected, &found))
            })
        };
        let counts = [&mut judged.tally.l1, &mut judged.tally.l2, &mut judged.tally.l3, &mut judged.tally.l4];
        for (count, level) in counts.into_iter().zip(&levels) {
            *count += usize::from(level.is_none());
        }
        let [mut l1, l2, l3, l4] = levels;
        if let Some(l1) = &mut l1 {
            // A code alone says little.
            l1.expected.push_str(&why(&expected));
            l1.found.push_str(&why(&found));
        }
        if judged.first.is_none() {
            judged.first = l1.clone().or_else(|| l2.clone());
        }
        if l1.is_none() && l2.is_none() {
            judged.minor.extend(l3.or(l4));
        }
    }
    for (index, expected) in sequence.streams().iter().enumerate() {
        let mut expected = expected.clone();
        if let Some(fields) = expected.as_object_mut() {
            fields.remove("order");
        }
        let found = normal.streams.iter().find(|stream| stream["at"] == expected["at"]);
        let mut found = found.cloned().unwrap_or(Value::Null);
        canonical(&mut expected);
        canonical(&mut found);
        judged.tally.streams += 1;
        if expected == found {
            judged.tally.l5 += 1;
        } else if judged.first.is_none() {
            let place = format!("stream {index} of step {}", expected["at"]);
            judged.first = Some(difference(5, &place, &expected, &found));
        }
    }
    judged
}

fn why(answer: &Value) -> String {
    answer["body"]["message"].as_str().map_or_else(String::new, |message| format!(" ({message})"))
}

fn is_refusal(body: &Value) -> bool {
    body["kind"] == "Status" && body["status"] != "Success"
}

/// What a level looks at.
fn at_level(level: u8, answer: &Value) -> Value {
    let body = &answer["body"];
    match level {
        1 => {
            let state = answer["state"].as_object().into_iter().flatten();
            let codes: std::collections::BTreeMap<&String, &Value> =
                state.map(|(path, list)| (path, &list["code"])).collect();
            let reason = if is_refusal(body) { body["reason"].clone() } else { Value::Null };
            json!({ "code": answer["code"], "reason": reason, "ok": answer["ok"], "closed": answer["closed"], "lists": codes })
        }
        2 => {
            let mut body = body.clone();
            if is_refusal(&body)
                && let Some(fields) = body.as_object_mut()
            {
                fields.remove("message");
                if let Some(details) = fields.get_mut("details").and_then(Value::as_object_mut) {
                    details.remove("causes");
                }
            }
            json!({ "body": body, "state": answer["state"], "type": answer["type"], "calls": answer["calls"] })
        }
        3 => body["details"]["causes"].clone(),
        _ => {
            let message = if is_refusal(body) { body["message"].clone() } else { Value::Null };
            json!({ "message": message, "warn": answer["warn"], "hdr": answer["hdr"] })
        }
    }
}

/// Sorts what has no order and drops what means nothing, on both sides alike.
fn canonical(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if fields.get("creationTimestamp").is_some_and(Value::is_null) {
                fields.remove("creationTimestamp");
            }
            for (key, value) in fields.iter_mut() {
                canonical(value);
                if let Value::Array(items) = value {
                    match key.as_str() {
                        "causes" | "resourceRules" | "nonResourceRules" => items.sort_by_cached_key(sorted_text),
                        "conditions" => items.sort_by_cached_key(|item| item["type"].to_string()),
                        "managedFields" => items.sort_by_cached_key(|item| {
                            ["operation", "manager", "apiVersion", "subresource"].map(|key| item[key].to_string())
                        }),
                        _ => {}
                    }
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(canonical),
        _ => {}
    }
}

fn sorted_text(value: &Value) -> String {
    let mut value = value.clone();
    value.sort_all_objects();
    value.to_string()
}

fn difference(level: u8, place: &str, expected: &Value, found: &Value) -> Difference {
    let (path, expected, found) = first(expected, found, String::new());
    Difference { level, place: place.to_owned(), path, expected, found }
}

fn first(expected: &Value, found: &Value, path: String) -> (String, String, String) {
    match (expected, found) {
        (Value::Object(left), Value::Object(right)) => {
            let keys = left.keys().chain(right.keys().filter(|key| !left.contains_key(*key)));
            for key in keys {
                match (left.get(key), right.get(key)) {
                    (Some(a), Some(b)) if a == b => {}
                    (Some(a), Some(b)) => return first(a, b, format!("{path}.{key}")),
                    (a, b) => return (format!("{path}.{key}"), shown(a), shown(b)),
                }
            }
        }
        (Value::Array(left), Value::Array(right)) => {
            for (index, (a, b)) in left.iter().zip(right).enumerate() {
                if a != b {
                    return first(a, b, format!("{path}[{index}]"));
                }
            }
            let at = left.len().min(right.len());
            return (format!("{path}[{at}]"), shown(left.get(at)), shown(right.get(at)));
        }
        _ => {}
    }
    (path, shown(Some(expected)), shown(Some(found)))
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "(nothing)".to_owned(), |value| value.to_string().chars().take(1200).collect())
}
