//! Enums that a newer version may have extended.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde::{Serialize, Serializer};
use serde_json::Value;

/// A known variant, or the string we do not know. Decoding never fails and writing back changes nothing: one new word in
/// one object must not make a whole list unreadable, nor be lost. The schema is that of `T` alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Open<T> {
    /// A value this version knows.
    Known(T),
    /// Anything else, as it was written.
    Other(String),
}

impl<T> Open<T> {
    /// The known value, if it is one.
    pub fn known(&self) -> Option<&T> {
        match self {
            Open::Known(value) => Some(value),
            Open::Other(_) => None,
        }
    }
}

impl<T: PartialEq> Open<T> {
    /// Whether this is exactly the known value.
    pub fn is(&self, value: T) -> bool {
        self.known() == Some(&value)
    }
}

impl<T: Default> Default for Open<T> {
    fn default() -> Self {
        Open::Known(T::default())
    }
}

impl<T> From<T> for Open<T> {
    fn from(value: T) -> Self {
        Open::Known(value)
    }
}

impl<T: Serialize> Serialize for Open<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Open::Known(value) => value.serialize(serializer),
            Open::Other(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Open<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Ok(match T::deserialize(&value) {
            Ok(known) => Open::Known(known),
            Err(_) => Open::Other(match value {
                Value::String(text) => text,
                other => other.to_string(),
            }),
        })
    }
}

impl<T: JsonSchema> JsonSchema for Open<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Word {
        One,
    }

    #[test]
    fn known_and_unknown_words_survive_a_round_trip() {
        for (value, expect) in [
            (json!("one"), Open::Known(Word::One)),
            (json!("seven"), Open::Other("seven".into())),
            (json!(""), Open::Other(String::new())),
        ] {
            let open: Open<Word> = serde_json::from_value(value.clone()).unwrap();
            assert_eq!(open, expect);
            assert_eq!(serde_json::to_value(&open).unwrap(), value);
        }
    }

    #[test]
    fn a_value_of_a_wrong_type_does_not_fail_the_object() {
        let open: Open<Word> = serde_json::from_value(json!(7)).unwrap();
        assert_eq!(open, Open::Other("7".into()));
    }
}
