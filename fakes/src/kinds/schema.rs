//! A structural schema, written the way one says it aloud: an object needs this, may have that.

use serde_json::{Map, Value, json};

/// One node of an OpenAPI v3 structural schema.
#[derive(Clone, Debug)]
pub(crate) struct Schema(Map<String, Value>);

fn of_type(kind: &str) -> Schema {
    Schema(Map::from_iter([("type".to_owned(), json!(kind))]))
}

/// Any string.
pub(crate) fn text() -> Schema {
    of_type("string")
}

/// A boolean.
pub(crate) fn flag() -> Schema {
    of_type("boolean")
}

/// An integer without a declared width.
pub(crate) fn integer() -> Schema {
    of_type("integer")
}

/// A 64-bit integer.
pub(crate) fn long() -> Schema {
    of_type("integer").with("format", json!("int64"))
}

/// An RFC 3339 time.
pub(crate) fn moment() -> Schema {
    text().with("format", json!("date-time"))
}

/// An object without fields yet.
pub(crate) fn object() -> Schema {
    of_type("object")
}

/// A list; atomic unless [`Schema::keyed_by`] says otherwise, as a real server reads an absent list type.
pub(crate) fn list(items: Schema) -> Schema {
    of_type("array").with("items", items.into_value())
}

/// A map from strings to `values`.
pub(crate) fn map(values: Schema) -> Schema {
    object().with("additionalProperties", values.into_value())
}

/// Any JSON at all, kept as it is.
pub(crate) fn anything() -> Schema {
    Schema(Map::new()).with("x-kubernetes-preserve-unknown-fields", json!(true))
}

/// An object whose unknown fields are kept: for kinds of which only the presence matters.
pub(crate) fn opaque() -> Schema {
    object().with("x-kubernetes-preserve-unknown-fields", json!(true))
}

/// A reference that carries nothing but a name.
pub(crate) fn name_only() -> Schema {
    object().need("name", text())
}

impl Schema {
    fn with(mut self, key: &str, value: Value) -> Self {
        self.0.insert(key.to_owned(), value);
        self
    }

    /// Text for `kubectl explain`.
    pub(crate) fn says(self, description: &str) -> Self {
        self.with("description", json!(description))
    }

    /// The only values allowed.
    pub(crate) fn one_of(self, values: &[&str]) -> Self {
        self.with("enum", json!(values))
    }

    /// What the API server fills in.
    pub(crate) fn default(self, value: Value) -> Self {
        self.with("default", value)
    }

    /// A regular expression the value must match.
    pub(crate) fn pattern(self, expression: &str) -> Self {
        self.with("pattern", json!(expression))
    }

    /// Shortest and longest text.
    pub(crate) fn length(self, shortest: u64, longest: u64) -> Self {
        let bounded = self.with("maxLength", json!(longest));
        if shortest == 0 { bounded } else { bounded.with("minLength", json!(shortest)) }
    }

    /// Smallest number.
    pub(crate) fn at_least(self, minimum: i64) -> Self {
        self.with("minimum", json!(minimum))
    }

    /// A list that server-side apply merges by these keys.
    pub(crate) fn keyed_by(self, keys: &[&str]) -> Self {
        self.with("x-kubernetes-list-type", json!("map")).with("x-kubernetes-list-map-keys", json!(keys))
    }

    /// A CEL rule and what the user is told when it fails.
    pub(crate) fn rule(mut self, rule: &str, message: &str) -> Self {
        let rules = self.0.entry("x-kubernetes-validations").or_insert_with(|| json!([]));
        if let Value::Array(rules) = rules {
            rules.push(json!({"rule": rule, "message": message}));
        }
        self
    }

    /// A field that may be absent.
    pub(crate) fn may(mut self, name: &str, schema: Schema) -> Self {
        let properties = self.0.entry("properties").or_insert_with(|| json!({}));
        if let Value::Object(properties) = properties {
            properties.insert(name.to_owned(), schema.into_value());
        }
        self
    }

    /// A field that must be there.
    pub(crate) fn need(mut self, name: &str, schema: Schema) -> Self {
        let required = self.0.entry("required").or_insert_with(|| json!([]));
        if let Value::Array(required) = required {
            required.push(json!(name));
        }
        self.may(name, schema)
    }

    /// Fields that only some releases have.
    pub(crate) fn only_if(self, condition: bool, more: impl FnOnce(Schema) -> Schema) -> Self {
        if condition { more(self) } else { self }
    }

    pub(crate) fn into_value(self) -> Value {
        Value::Object(self.0)
    }
}
