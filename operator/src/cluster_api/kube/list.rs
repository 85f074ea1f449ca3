//! One page of a list, whole or without `metadata.managedFields` and `status`: a thousand objects with them do not fit the memory this
//! process is meant to live in.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::decoded;
use crate::cluster_api::ApiError;

/// What a page says.
#[derive(Debug, PartialEq)]
pub(super) struct Read {
    /// Its objects.
    pub(super) items: Vec<Value>,
    /// Where the next page begins.
    pub(super) next: Option<String>,
    /// The version at which the list was read.
    pub(super) version: Option<String>,
}

/// Items as sent.
pub(super) fn whole(text: &str) -> Result<Read, ApiError> {
    let Page { items, metadata } = decoded(text)?;
    Ok(Read { items, next: metadata.continue_, version: metadata.version })
}

/// The same without managed fields and status.
pub(super) fn lean(text: &str) -> Result<Read, ApiError> {
    let Page::<Item> { items, metadata } = decoded(text)?;
    let items = items.into_iter().map(|item| item.0).collect();
    Ok(Read { items, next: metadata.continue_, version: metadata.version })
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Page<T> {
    metadata: Metadata,
    items: Vec<T>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    #[serde(rename = "continue")]
    continue_: Option<String>,
    #[serde(rename = "resourceVersion")]
    version: Option<String>,
}

#[derive(Default)]
struct Item(Value);

/// Metadata of an item.
struct Lean(Value);

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields { of_metadata: false }).map(Item)
    }
}

impl<'de> Deserialize<'de> for Lean {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields { of_metadata: true }).map(Lean)
    }
}

struct Fields {
    of_metadata: bool,
}

impl<'de> Visitor<'de> for Fields {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            match (self.of_metadata, name.as_str()) {
                (true, "managedFields") | (false, "status") => {
                    fields.next_value::<IgnoredAny>()?;
                }
                (false, "metadata") => {
                    let lean = fields.next_value::<Lean>()?.0;
                    map.insert(name, lean);
                }
                _ => {
                    let value = fields.next_value()?;
                    map.insert(name, value);
                }
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_lean_page_lacks_managed_fields_and_status_and_nothing_else() {
        let item = json!({"kind": "A", "metadata": {"name": "n", "managedFields": [{"x": {}}], "labels": {"managedFields": "kept"}},
            "managedFields": 1, "spec": {"metadata": {"managedFields": [1]}, "status": 1}, "status": {"a": 1}});
        let text = json!({"metadata": {"continue": "t", "resourceVersion": "7"}, "items": [item]}).to_string();
        let Read { items, next, version } = lean(&text).expect("a page");
        assert_eq!((next.as_deref(), version.as_deref()), (Some("t"), Some("7")));
        assert_eq!(whole(&text).expect("a page"), Read { items: vec![item.clone()], next, version });
        let mut expect = item;
        expect["metadata"].as_object_mut().expect("an object").remove("managedFields");
        expect.as_object_mut().expect("an object").remove("status");
        assert_eq!(items, [expect]);
        assert_eq!(lean(r#"{"metadata":{}}"#), Ok(Read { items: Vec::new(), next: None, version: None }));
        assert!(matches!(whole("{\"secret"), Err(ApiError::Unknown { why }) if !why.contains("secret")));
    }
}
