//! Hides what differs between two runs of a real server: revisions become ranks, uids aliases, times `T` (apiserver.md 3.4 and the
//! further rules of the profile corpora). Recorded answers are in this form already.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::corpus::Sequence;
use super::play::Played;
use super::texts::PATTERNS;

/// Answers and streams in comparable form.
#[derive(Debug)]
pub(super) struct Normal {
    /// One per step, in the form of `expect`.
    pub(super) answers: Vec<Value>,
    /// In the form of the record's `streams`.
    pub(super) streams: Vec<Value>,
}

/// Brings one run into comparable form.
pub(super) fn normalise(sequence: &Sequence, played: &Played) -> Normal {
    let mut normaliser = Normaliser::new(sequence, played);
    let answers = sequence.steps().iter().zip(&played.answers).map(|(step, answer)| {
        let mut answer = normaliser.walk(answer);
        let cached = sequence.is_profile() && step["p"].as_str().is_some_and(|path| path.contains("resourceVersion=0"));
        if cached && answer["body"]["items"].is_array() {
            answer["body"]["metadata"]["resourceVersion"] = json!("#any");
        }
        answer
    });
    let answers = answers.collect();
    let streams = played.streams.iter().map(|(at, events, ended)| normaliser.stream(*at, events, *ended)).collect();
    Normal { answers, streams }
}

pub(super) struct Normaliser<'a> {
    pub(super) sequence: &'a Sequence,
    pub(super) id: &'a str,
    /// Revisions of the objects seen, ascending.
    pub(super) revisions: Vec<u64>,
    pub(super) uids: BTreeMap<String, String>,
    /// Per uid the numbers of its revisions.
    pub(super) versions: BTreeMap<String, BTreeMap<String, String>>,
    pub(super) prefixes: BTreeSet<String>,
    pub(super) generated: BTreeMap<String, String>,
}

impl<'a> Normaliser<'a> {
    fn new(sequence: &'a Sequence, played: &'a Played) -> Normaliser<'a> {
        let mut revisions = BTreeSet::new();
        let mut prefixes = BTreeSet::new();
        for (step, answer) in sequence.steps().iter().zip(&played.answers) {
            let write = matches!(step["m"].as_str(), Some("POST" | "PUT" | "PATCH" | "DELETE"))
                && answer["code"].as_u64().is_some_and(|code| code < 300);
            if write || !sequence.is_profile() {
                collect(&answer["body"], &mut revisions);
            }
            if let Some(prefix) = step["b"]["metadata"]["generateName"].as_str().filter(|prefix| !prefix.is_empty()) {
                prefixes.insert(prefix.to_owned());
            }
        }
        if !sequence.is_profile() {
            played
                .streams
                .iter()
                .flat_map(|(_, events, _)| events)
                .for_each(|event| collect(&event["object"], &mut revisions));
        }
        Normaliser {
            sequence,
            id: &played.id,
            revisions: revisions.into_iter().collect(),
            uids: BTreeMap::new(),
            versions: BTreeMap::new(),
            prefixes,
            generated: BTreeMap::new(),
        }
    }

    pub(super) fn profile(&self) -> bool {
        self.sequence.is_profile()
    }

    fn rank(&self, revision: u64, floor: bool) -> String {
        let rank = self.revisions.partition_point(|known| *known <= revision);
        let exact = rank > 0 && self.revisions[rank - 1] == revision;
        match () {
            () if !self.profile() || floor || exact => format!("#{rank}"),
            () if self.sequence.grouped => "#+".to_owned(),
            () => format!("#{rank}+"),
        }
    }

    pub(super) fn rank_text(&self, digits: &str, floor: bool) -> String {
        match digits.parse() {
            Ok(revision) => self.rank(revision, floor),
            Err(_) => digits.to_owned(),
        }
    }

    fn version(&mut self, uid: &str, revision: &str) -> String {
        let known = self.versions.entry(uid.to_owned()).or_default();
        let next = format!("@{}", known.len() + 1);
        known.entry(revision.to_owned()).or_insert(next).clone()
    }

    pub(super) fn alias(&mut self, uid: &str) -> String {
        let next = format!("uid{}", self.uids.len());
        self.uids.entry(uid.to_owned()).or_insert(next).clone()
    }

    fn walk(&mut self, value: &Value) -> Value {
        match value {
            Value::Object(fields) => self.object(fields),
            Value::Array(items) => items.iter().map(|item| self.walk(item)).collect(),
            Value::String(text) => Value::String(self.text(text)),
            other => other.clone(),
        }
    }

    fn object(&mut self, fields: &Map<String, Value>) -> Value {
        let is_list =
            self.profile() && (fields.get("items").is_some_and(Value::is_array) || fields.contains_key("rows"));
        let uid = fields.get("uid").and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut out = Map::new();
        for (key, value) in fields {
            let shown = match (key.as_str(), value) {
                ("metadata", Value::Object(metadata)) if is_list => self.list_metadata(metadata),
                _ => self.field(key, value, &uid),
            };
            let key = if self.profile() { self.text(key) } else { key.clone() };
            out.insert(key, shown);
        }
        Value::Object(out)
    }

    fn list_metadata(&mut self, metadata: &Map<String, Value>) -> Value {
        let fields = metadata.iter().map(|(key, value)| {
            let shown = match (key.as_str(), value.as_str()) {
                ("resourceVersion", Some(text)) if digits(text) && self.sequence.by_object => json!("@"),
                ("resourceVersion", Some(text)) if digits(text) => json!(self.rank_text(text, true)),
                _ => self.field(key, value, ""),
            };
            (key.clone(), shown)
        });
        Value::Object(fields.collect())
    }

    fn field(&mut self, key: &str, value: &Value, uid: &str) -> Value {
        let profile = self.profile();
        match (key, value) {
            ("resourceVersion", Value::String(text)) if digits(text) => match (self.sequence.by_object, uid) {
                (true, "") => json!("@"),
                (true, uid) => json!(self.version(uid, text)),
                (false, _) => json!(self.rank_text(text, false)),
            },
            ("creationTimestamp" | "deletionTimestamp" | "time", Value::String(_)) if !profile => json!("T"),
            ("modifiedAt", Value::String(_)) if profile => json!("T"),
            ("uid", Value::String(text)) if !profile || PATTERNS.whole_uid.is_match(text) => json!(self.alias(text)),
            ("continue", Value::String(text)) if !text.is_empty() => self.token(text),
            ("message", Value::String(text)) => json!(self.message(text)),
            ("cells", Value::Array(cells)) if profile => cells
                .iter()
                .map(|cell| match cell {
                    Value::String(text) if PATTERNS.age.is_match(text) => json!("AGE"),
                    other => self.walk(other),
                })
                .collect(),
            ("release", Value::String(text)) if profile && text.len() > 200 => json!("<RELEASE>"),
            ("token", Value::String(text)) if profile && text.starts_with("eyJ") => json!("<JWT>"),
            ("storageVersionHash", Value::String(_)) if profile => json!("<HASH>"),
            ("ca.crt" | "caBundle", Value::String(_)) if profile => json!("<CA>"),
            ("finalizers", Value::Array(items)) if self.sequence.profile == "namespace" => {
                let mut items = items.clone();
                if items.iter().any(|item| *item == "foregroundDeletion" || *item == "orphan") {
                    items.sort_by_key(Value::to_string);
                }
                Value::Array(items)
            }
            (_, value) => self.walk(value),
        }
    }

    /// A continue token, opened.
    fn token(&mut self, text: &str) -> Value {
        let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('='));
        let Some(mut token) = bytes.ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok()) else {
            return json!(text);
        };
        if let Some(revision) = token["rv"].as_i64().filter(|revision| *revision > 0) {
            token["rv"] = json!(self.rank(revision.unsigned_abs(), true));
        }
        if self.profile() {
            let start = token["start"].as_str().unwrap_or_default().trim_start_matches('/').to_owned();
            token["start"] = json!(self.text(&start));
        }
        token
    }

    fn stream(&mut self, at: usize, events: &[Value], ended: bool) -> Value {
        let name = |event: &Value| event["object"]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let initial_end =
            |event: &Value| event["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"].is_string();
        let profile = self.profile();
        let mut shown: Vec<&Value> =
            events.iter().filter(|event| event["type"] != "BOOKMARK" || profile && initial_end(event)).collect();
        if !profile {
            let events: Vec<Value> =
                shown.iter().map(|event| json!([event["type"], self.walk(&event["object"])])).collect();
            return json!({ "at": at, "events": events });
        }
        shown.retain(|event| name(event) != "kube-root-ca.crt");
        let end = if ended { "eof" } else { "open" };
        if self.sequence.grouped {
            let mut sorted = shown.clone();
            sorted.sort_by_key(|event| name(event));
            let mut groups: Map<String, Value> = Map::new();
            for event in sorted {
                let key = self.text(&name(event));
                let entry = json!([event["type"], self.walk(&event["object"])]);
                match groups.entry(key).or_insert_with(|| json!([])) {
                    Value::Array(group) => group.push(entry),
                    other => *other = entry,
                }
            }
            return json!({ "at": at, "by_object": groups, "end": end });
        }
        let events = shown.iter().map(|event| {
            let mut object = self.walk(&event["object"]);
            if event["type"] == "BOOKMARK"
                && let Some(revision) = object["metadata"]["resourceVersion"].as_str()
            {
                object["metadata"]["resourceVersion"] = json!(revision.trim_end_matches('+'));
            }
            json!([event["type"], object])
        });
        json!({ "at": at, "events": events.collect::<Vec<_>>(), "end": end })
    }
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn collect(value: &Value, revisions: &mut BTreeSet<u64>) {
    let metadata = &value["metadata"];
    let known = metadata["uid"].as_str().is_some_and(|uid| !uid.is_empty());
    if let Some(revision) = metadata["resourceVersion"].as_str().filter(|_| known).and_then(|text| text.parse().ok()) {
        revisions.insert(revision);
    }
    value["items"].as_array().into_iter().flatten().for_each(|item| collect(item, revisions));
}
