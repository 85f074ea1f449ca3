//! One page of a list, whole or without `metadata.managedFields` and `status`: a thousand objects with them do not fit the memory this
//! process is meant to live in.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::decoded;
use crate::cluster_api::ApiError;

/// Items as sent, and where the next page begins.
pub(super) fn whole(text: &str) -> Result<(Vec<Value>, Option<String>), ApiError> {
    page(text)
}

/// The same without managed fields and status.
pub(super) fn lean(text: &str) -> Result<(Vec<Value>, Option<String>), ApiError> {
    let (items, next) = page::<Item>(text)?;
    Ok((items.into_iter().map(|item| item.0).collect(), next))
}

fn page<T: DeserializeOwned + Default>(text: &str) -> Result<(Vec<T>, Option<String>), ApiError> {
    let page: Page<T> = decoded(text)?;
    Ok((page.items, page.metadata.continue_))
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
        let text = json!({"metadata": {"continue": "t"}, "items": [item]}).to_string();
        let (items, next) = lean(&text).expect("a page");
        assert_eq!(next.as_deref(), Some("t"));
        assert_eq!(whole(&text).expect("a page"), (vec![item.clone()], next));
        let mut expect = item;
        expect["metadata"].as_object_mut().expect("an object").remove("managedFields");
        expect.as_object_mut().expect("an object").remove("status");
        assert_eq!(items, [expect]);
        assert_eq!(lean(r#"{"metadata":{}}"#), Ok((Vec::new(), None)));
        assert!(matches!(whole("{\"secret"), Err(ApiError::Unknown { why }) if !why.contains("secret")));
    }
}
