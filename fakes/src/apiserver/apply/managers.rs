//! `metadata.managedFields`: who owns what, read and written back in the server's order (apiserver.md D7, D17, D22, D25).

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::element::Element;
use super::set::{Entry, Set};

/// Most entries of operation Update an object carries; older ones are merged (upstream `DefaultMaxUpdateManagers`).
const UPDATE_ENTRIES: usize = 10;
/// The name of merged old entries.
const OLD_UPDATES: &str = "ancient-changes";

/// How a manager came to own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

/// One entry: a manager and its fields.
#[derive(Clone)]
pub(super) struct Owner<'a> {
    pub(super) manager: Cow<'a, str>,
    pub(super) operation: Operation,
    pub(super) api_version: Cow<'a, str>,
    pub(super) subresource: Cow<'a, str>,
    pub(super) time: Option<Cow<'a, Value>>,
    /// As stored, until somebody changes it.
    raw: Option<&'a Value>,
    fields: Set<'a>,
}

impl<'a> Owner<'a> {
    /// A new entry without a time.
    pub(super) fn new(manager: &'a str, operation: Operation, api_version: &'a str, subresource: &'a str) -> Owner<'a> {
        Owner {
            manager: Cow::Borrowed(if manager.is_empty() { "unknown" } else { manager }),
            operation,
            api_version: Cow::Borrowed(api_version),
            subresource: Cow::Borrowed(subresource),
            time: None,
            raw: None,
            fields: Set::default(),
        }
    }

    fn decode(entry: &'a Value) -> Result<Owner<'a>, String> {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        let operation = match text("operation") {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            other => return Err(format!("unknown managed fields operation {other:?}")),
        };
        if text("fieldsType") != "FieldsV1" {
            return Err(format!("unknown fieldsType {:?} in managed fields entry", text("fieldsType")));
        }
        let raw = entry.get("fieldsV1").filter(|fields| !fields.is_null());
        Ok(Owner {
            time: entry.get("time").filter(|time| !time.is_null()).map(Cow::Borrowed),
            raw,
            fields: raw.map(read_fields).transpose()?.unwrap_or_default(),
            ..Owner::new(text("manager"), operation, text("apiVersion"), text("subresource"))
        })
    }

    /// The fields of this entry.
    pub(super) fn fields(&self) -> &Set<'a> {
        &self.fields
    }

    pub(super) fn set_fields(&mut self, fields: Set<'a>) {
        self.raw = None;
        self.fields = fields;
    }

    /// Whether two entries are the same manager: an applier is one whatever version it used.
    pub(super) fn is(&self, other: &Owner<'_>) -> bool {
        self.manager == other.manager
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    /// What entries are sorted by where upstream sorts their identifiers.
    pub(super) fn identifier(&self) -> String {
        let mut parts = format!("{{\"manager\":{}", Value::from(self.manager.as_ref()));
        match self.operation {
            Operation::Apply => parts.push_str(",\"operation\":\"Apply\""),
            Operation::Update => {
                parts.push_str(&format!(",\"operation\":\"Update\",\"apiVersion\":\"{}\"", self.api_version))
            }
        }
        if !self.subresource.is_empty() {
            parts.push_str(&format!(",\"subresource\":\"{}\"", self.subresource));
        }
        parts + "}"
    }

    fn seconds(&self) -> i64 {
        let time = self.time.as_ref().and_then(|time| time.as_str()).and_then(|time| time.parse::<Timestamp>().ok());
        time.map_or(0, Timestamp::as_second)
    }

    fn encode(&self) -> Value {
        let mut entry = Map::with_capacity(7);
        entry.insert("manager".to_owned(), Value::from(self.manager.as_ref()));
        entry
            .insert("operation".to_owned(), json!(if self.operation == Operation::Apply { "Apply" } else { "Update" }));
        entry.insert("apiVersion".to_owned(), Value::from(self.api_version.as_ref()));
        if let Some(time) = &self.time {
            entry.insert("time".to_owned(), time.clone().into_owned());
        }
        entry.insert("fieldsType".to_owned(), json!("FieldsV1"));
        entry.insert("fieldsV1".to_owned(), self.raw.cloned().unwrap_or_else(|| encode_fields(&self.fields)));
        if !self.subresource.is_empty() {
            entry.insert("subresource".to_owned(), Value::from(self.subresource.as_ref()));
        }
        Value::Object(entry)
    }
}

/// All entries of an object, in no particular order.
#[derive(Clone, Default)]
pub(super) struct Owners<'a>(pub(super) Vec<Owner<'a>>);

impl<'a> Owners<'a> {
    /// Reads the entries of an object.
    ///
    /// # Errors
    /// What is wrong with the first bad entry.
    pub(super) fn decode(object: &'a Value) -> Result<Owners<'a>, String> {
        let mut owners: Vec<Owner<'a>> = Vec::new();
        for entry in object.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten() {
            let owner = Owner::decode(entry)?;
            owners.retain(|other| !other.is(&owner));
            owners.push(owner);
        }
        Ok(Owners(owners))
    }

    pub(super) fn remove(&mut self, who: &Owner<'_>) -> Option<Owner<'a>> {
        self.0.iter().position(|owner| owner.is(who)).map(|at| self.0.swap_remove(at))
    }

    /// The entries in the server's order.
    pub(super) fn encode(mut self) -> Vec<Value> {
        self.0.sort_by_cached_key(|owner| {
            (
                owner.operation,
                owner.seconds(),
                owner.manager.to_string(),
                owner.api_version.to_string(),
                owner.subresource.to_string(),
            )
        });
        self.0.iter().map(Owner::encode).collect()
    }

    /// Merges the oldest Update entries of each version while there are too many of them.
    pub(super) fn cap(&mut self) {
        let mut updaters: Vec<usize> =
            (0..self.0.len()).filter(|at| self.0[*at].operation == Operation::Update).collect();
        let mut left = updaters.len();
        if left <= UPDATE_ENTRIES {
            return;
        }
        updaters.sort_by_cached_key(|at| (self.0[*at].seconds(), self.0[*at].identifier()));
        let mut gone = vec![false; self.0.len()];
        // The first old entry of a version, which becomes the bucket once a second one shows up.
        let mut buckets: Vec<(Cow<'a, str>, usize)> = Vec::new();
        for at in updaters {
            if left <= UPDATE_ENTRIES {
                break;
            }
            let version = self.0[at].api_version.clone();
            let Some((_, bucket)) = buckets.iter().find(|(of, _)| *of == version) else {
                buckets.push((version, at));
                continue;
            };
            let merged = self.0[*bucket].fields().union(self.0[at].fields());
            let time = self.0[at].time.clone();
            let bucket = &mut self.0[*bucket];
            bucket.set_fields(merged);
            bucket.manager = Cow::Borrowed(OLD_UPDATES);
            bucket.subresource = Cow::Borrowed("");
            bucket.time = time;
            gone[at] = true;
            left -= 1;
        }
        let mut gone = gone.into_iter();
        self.0.retain(|_| !gone.next().unwrap_or(false));
    }
}

/// Writes entries into an object; no entries, no field.
pub(super) fn write(entries: Vec<Value>, object: &mut Value) {
    let Some(metadata) = metadata_mut(object) else { return };
    if entries.is_empty() {
        metadata.remove("managedFields");
    } else {
        metadata.insert("managedFields".to_owned(), Value::Array(entries));
    }
}

/// The metadata of an object, made where it is missing.
pub(super) fn metadata_mut(object: &mut Value) -> Option<&mut Map<String, Value>> {
    object.as_object_mut()?.entry("metadata").or_insert_with(|| json!({})).as_object_mut()
}

/// The set that `fieldsV1` spells.
///
/// # Errors
/// What cannot be read.
fn read_fields(fields: &Value) -> Result<Set<'_>, String> {
    read_place(fields).map(|(_, set)| set)
}

/// Whether the place itself is a member, and what is below it.
fn read_place(fields: &Value) -> Result<(bool, Set<'_>), String> {
    let Value::Object(map) = fields else { return Err("expected an object in fieldsV1".to_owned()) };
    if map.is_empty() {
        return Ok((true, Set::default()));
    }
    let mut member = false;
    let mut entries = Vec::with_capacity(map.len());
    for (key, below) in map {
        let element = Element::decode(key)?;
        let (inner, below) = if below.is_null() { (true, Set::default()) } else { read_place(below)? };
        match element {
            _ if key == "." => member = true,
            Some(element) => entries.push(Entry { element, member: inner, below }),
            None => {}
        }
    }
    Ok((member, Set::from_entries(entries)))
}

fn encode_fields(fields: &Set<'_>) -> Value {
    let mut out = Map::with_capacity(fields.entries().len() + 1);
    for entry in fields.entries() {
        let mut below = encode_fields(&entry.below);
        if entry.member
            && !entry.below.is_empty()
            && let Value::Object(map) = &mut below
        {
            map.shift_insert(0, ".".to_owned(), json!({}));
        }
        out.insert(entry.element.encode(), below);
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fields_v1() -> impl Strategy<Value = Value> {
        let key = prop_oneof![
            "[a-c]".prop_map(|name| format!("f:{name}")),
            "[a-c]".prop_map(|name| format!("v:\"{name}\"")),
            (0..3u8).prop_map(|number| format!("v:{number}")),
            ("[a-c]", 0..3u8).prop_map(|(name, port)| format!("k:{{\"name\":\"{name}\",\"port\":{port}}}")),
            (0..3u8).prop_map(|index| format!("i:{index}")),
        ];
        let leaf = Just(json!({}));
        leaf.prop_recursive(4, 32, 4, move |inner| {
            (proptest::collection::btree_map(key.clone(), inner, 1..4), any::<bool>()).prop_map(|(map, dot)| {
                let mut map: Map<String, Value> = map.into_iter().collect();
                if dot {
                    map.insert(".".to_owned(), json!({}));
                }
                Value::Object(map)
            })
        })
    }

    proptest! {
        /// conf_d25: what is read is written back as it was, except that the root itself owns nothing.
        #[test]
        fn conf_d25_fields_v1_round_trip(mut value in fields_v1()) {
            value.as_object_mut().unwrap().remove(".");
            prop_assert_eq!(encode_fields(&read_fields(&value).unwrap()), value);
        }

        /// The algebra agrees with sets of path texts.
        #[test]
        fn set_algebra(a in fields_v1(), b in fields_v1()) {
            use std::collections::BTreeSet;
            let (a, b) = (read_fields(&a).unwrap(), read_fields(&b).unwrap());
            let texts = |set: &Set<'_>| set.paths().into_iter().collect::<BTreeSet<String>>();
            let (x, y) = (texts(&a), texts(&b));
            prop_assert_eq!(texts(&a.union(&b)), x.union(&y).cloned().collect::<BTreeSet<_>>());
            prop_assert_eq!(texts(&a.intersection(&b)), x.intersection(&y).cloned().collect::<BTreeSet<_>>());
            prop_assert_eq!(texts(&a.difference(&b)), x.difference(&y).cloned().collect::<BTreeSet<_>>());
            prop_assert_eq!(a.is_within(&b), x.is_subset(&y));
            prop_assert!(a.difference_below(&b).is_within(&a.difference(&b)));
        }
    }
}
