//! The tree of a structural schema: what pruning, defaulting, validation, server-side apply and CEL all walk.
//!
//! One dialect serves custom resources (`openAPIV3Schema`, apiserver.md F) and built-in kinds; extensions this
//! module does not interpret (`x-kubernetes-patch-strategy`, …) stay readable in [`Node::extensions`].

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value};

use super::cel::Rule;

/// The JSON type a node accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// `type: object`, with [`Node::properties`] or [`Node::additional`].
    Object,
    /// `type: array` with [`Node::items`].
    Array,
    /// `type: string`.
    String,
    /// `type: integer`.
    Integer,
    /// `type: number`.
    Number,
    /// `type: boolean`.
    Boolean,
    /// `x-kubernetes-int-or-string: true`.
    IntOrString,
    /// No type given: anything goes (`x-kubernetes-preserve-unknown-fields` without a type, nested value validations).
    Any,
}

impl NodeKind {
    /// The name of the type in a schema document; empty where there is none.
    pub fn name(self) -> &'static str {
        match self {
            NodeKind::Object => "object",
            NodeKind::Array => "array",
            NodeKind::String => "string",
            NodeKind::Integer => "integer",
            NodeKind::Number => "number",
            NodeKind::Boolean => "boolean",
            NodeKind::IntOrString | NodeKind::Any => "",
        }
    }
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListType {
    /// Replaced as a whole; also the meaning of no list type.
    Atomic,
    /// Items are scalars and unique.
    Set,
    /// Items are objects, unique by [`Node::list_map_keys`].
    Map,
}

/// `x-kubernetes-map-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapType {
    /// Merged key by key; also the meaning of no map type.
    Granular,
    /// Replaced as a whole.
    Atomic,
}

/// One schema node.
#[derive(Debug)]
pub struct Node {
    /// Accepted JSON type.
    pub kind: NodeKind,
    /// `nullable: true`: an explicit null is a value.
    pub nullable: bool,
    /// `x-kubernetes-preserve-unknown-fields: true`: undeclared fields are kept here (not below declared ones).
    pub preserve_unknown: bool,
    /// `x-kubernetes-embedded-resource: true`: the object has apiVersion, kind and metadata of its own.
    pub embedded_resource: bool,
    /// How lists merge and what is unique in them.
    pub list_type: ListType,
    /// Names of the identifying fields of a [`ListType::Map`].
    pub list_map_keys: Vec<String>,
    /// How maps merge.
    pub map_type: MapType,
    /// Declared fields.
    pub properties: BTreeMap<String, Arc<Node>>,
    /// Schema of the values of undeclared keys.
    pub additional: Option<Arc<Node>>,
    /// Schema of list items.
    pub items: Option<Arc<Node>>,
    /// Value put in where the field is missing.
    pub default: Option<Value>,
    /// Bounds, patterns, enumerations and logical combinations.
    pub checks: Checks,
    /// `x-kubernetes-validations`.
    pub rules: Vec<Rule>,
    /// Every other `x-…` key of the document, as written.
    pub extensions: BTreeMap<String, Value>,
    /// Whether any rule exists at this node or below. Set when the node is built.
    pub has_rules: bool,
    /// Whether any rule at this node or below may compare with the old value. Set when the node is built.
    pub has_comparisons: bool,
    /// Whether any default exists at this node or below. Set when the node is built.
    pub has_defaults: bool,
    /// Whether any embedded resource exists at this node or below. Set when the node is built.
    pub has_embedded: bool,
    /// Whether any list with unique items exists at this node or below. Set when the node is built.
    pub has_unique: bool,
}

/// The value validations of a node.
#[derive(Debug, Default)]
pub struct Checks {
    /// Lower bound of numbers.
    pub minimum: Option<serde_json::Number>,
    /// Whether [`Checks::minimum`] itself is out.
    pub exclusive_minimum: bool,
    /// Upper bound of numbers.
    pub maximum: Option<serde_json::Number>,
    /// Whether [`Checks::maximum`] itself is out.
    pub exclusive_maximum: bool,
    /// Numbers must be a multiple of this.
    pub multiple_of: Option<serde_json::Number>,
    /// Least length of strings, in characters.
    pub min_length: Option<i64>,
    /// Greatest length of strings, in characters.
    pub max_length: Option<i64>,
    /// Regular expression strings must match somewhere.
    pub pattern: Option<Pattern>,
    /// Named format of strings or width of integers.
    pub format: Option<String>,
    /// Least number of list items.
    pub min_items: Option<i64>,
    /// Greatest number of list items.
    pub max_items: Option<i64>,
    /// Whether list items must differ.
    pub unique_items: bool,
    /// Least number of keys.
    pub min_properties: Option<i64>,
    /// Greatest number of keys.
    pub max_properties: Option<i64>,
    /// The only values allowed.
    pub enumeration: Vec<Value>,
    /// Fields that must be present.
    pub required: Vec<String>,
    /// All of these must accept the value.
    pub all_of: Vec<Arc<Node>>,
    /// At least one of these must accept the value.
    pub any_of: Vec<Arc<Node>>,
    /// Exactly one of these must accept the value.
    pub one_of: Vec<Arc<Node>>,
    /// This must not accept the value.
    pub not: Option<Arc<Node>>,
}

/// A regular expression with its source, compiled at first use and then shared.
#[derive(Debug)]
pub struct Pattern {
    /// The text in the schema.
    pub source: String,
    compiled: OnceLock<Option<regex::Regex>>,
}

impl Pattern {
    fn new(source: &str) -> Pattern {
        Pattern { source: source.to_owned(), compiled: OnceLock::new() }
    }

    /// The expression, or `None` where it does not compile.
    pub fn regex(&self) -> Option<&regex::Regex> {
        self.compiled.get_or_init(|| regex::Regex::new(&self.source).ok()).as_ref()
    }
}

impl Node {
    /// Reads an `openAPIV3Schema` (or any schema below one). Never fails: what is malformed is left out, and
    /// `Schema::compile` is what refuses it.
    pub fn from_openapi(schema: &Value) -> Node {
        let empty = Map::new();
        let map = schema.as_object().unwrap_or(&empty);
        let flag = |key: &str| map.get(key).and_then(Value::as_bool).unwrap_or(false);
        let text = |key: &str| map.get(key).and_then(Value::as_str);
        let child = |value: &Value| Arc::new(Node::from_openapi(value));
        let properties: BTreeMap<String, Arc<Node>> = map
            .get("properties")
            .and_then(Value::as_object)
            .map(|fields| fields.iter().map(|(name, value)| (name.clone(), child(value))).collect())
            .unwrap_or_default();
        let additional = match map.get("additionalProperties") {
            Some(value @ (Value::Object(_) | Value::Bool(true))) => Some(child(value)),
            _ => None,
        };
        let items = map.get("items").filter(|value| value.is_object()).map(child);
        let default = map.get("default").filter(|value| !value.is_null()).cloned();
        let rules: Vec<Rule> = map
            .get("x-kubernetes-validations")
            .and_then(Value::as_array)
            .map(|rules| rules.iter().map(Rule::from_json).collect())
            .unwrap_or_default();
        let children = || properties.values().chain(additional.iter()).chain(items.iter());
        let checks = Checks::from_openapi(map);
        let has_rules = !rules.is_empty() || children().chain(&checks.all_of).any(|node| node.has_rules);
        let compares = |rule: &Rule| rule.rule.contains("oldSelf");
        let has_comparisons =
            rules.iter().any(compares) || children().chain(&checks.all_of).any(|node| node.has_comparisons);
        let has_defaults = default.is_some() || children().any(|node| node.has_defaults);
        let embedded_resource = flag("x-kubernetes-embedded-resource");
        let has_embedded = embedded_resource || children().any(|node| node.has_embedded);
        let list_type = match text("x-kubernetes-list-type") {
            Some("set") => ListType::Set,
            Some("map") => ListType::Map,
            _ => ListType::Atomic,
        };
        let has_unique = list_type != ListType::Atomic || children().any(|node| node.has_unique);
        Node {
            kind: if flag("x-kubernetes-int-or-string") {
                NodeKind::IntOrString
            } else {
                match text("type") {
                    Some("object") => NodeKind::Object,
                    Some("array") => NodeKind::Array,
                    Some("string") => NodeKind::String,
                    Some("integer") => NodeKind::Integer,
                    Some("number") => NodeKind::Number,
                    Some("boolean") => NodeKind::Boolean,
                    _ => NodeKind::Any,
                }
            },
            nullable: flag("nullable"),
            preserve_unknown: flag("x-kubernetes-preserve-unknown-fields"),
            embedded_resource,
            list_type,
            list_map_keys: strings(map.get("x-kubernetes-list-map-keys")),
            map_type: match text("x-kubernetes-map-type") {
                Some("atomic") => MapType::Atomic,
                _ => MapType::Granular,
            },
            properties,
            additional,
            items,
            default,
            checks,
            rules,
            extensions: map
                .iter()
                .filter(|(key, _)| key.starts_with("x-") && !INTERPRETED.contains(&key.as_str()))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            has_rules,
            has_comparisons,
            has_defaults,
            has_embedded,
            has_unique,
        }
    }

    /// The schema of one field: declared, else that of additional properties.
    pub fn field(&self, name: &str) -> Option<&Arc<Node>> {
        self.properties.get(name).or(self.additional.as_ref())
    }
}

/// Extensions with a field of their own in [`Node`].
const INTERPRETED: [&str; 7] = [
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
];

impl Checks {
    fn from_openapi(map: &Map<String, Value>) -> Checks {
        let number = |key: &str| map.get(key).and_then(Value::as_number).cloned();
        let size = |key: &str| map.get(key).and_then(Value::as_i64);
        let flag = |key: &str| map.get(key).and_then(Value::as_bool).unwrap_or(false);
        let nodes = |key: &str| {
            map.get(key)
                .and_then(Value::as_array)
                .map(|list| list.iter().map(|value| Arc::new(Node::from_openapi(value))).collect())
                .unwrap_or_default()
        };
        Checks {
            minimum: number("minimum"),
            exclusive_minimum: flag("exclusiveMinimum"),
            maximum: number("maximum"),
            exclusive_maximum: flag("exclusiveMaximum"),
            multiple_of: number("multipleOf"),
            min_length: size("minLength"),
            max_length: size("maxLength"),
            pattern: map.get("pattern").and_then(Value::as_str).filter(|source| !source.is_empty()).map(Pattern::new),
            format: map.get("format").and_then(Value::as_str).map(str::to_owned),
            min_items: size("minItems"),
            max_items: size("maxItems"),
            unique_items: flag("uniqueItems"),
            min_properties: size("minProperties"),
            max_properties: size("maxProperties"),
            enumeration: map.get("enum").and_then(Value::as_array).cloned().unwrap_or_default(),
            required: strings(map.get("required")),
            all_of: nodes("allOf"),
            any_of: nodes("anyOf"),
            one_of: nodes("oneOf"),
            not: map.get("not").filter(|value| value.is_object()).map(|value| Arc::new(Node::from_openapi(value))),
        }
    }
}

/// The strings of a JSON list.
fn strings(value: Option<&Value>) -> Vec<String> {
    value
        .and_then(Value::as_array)
        .map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_the_merge_dialect_and_keeps_foreign_extensions() {
        let node = Node::from_openapi(&json!({"type": "object", "properties": {
            "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"],
                "x-kubernetes-patch-merge-key": "port", "x-kubernetes-patch-strategy": "merge",
                "items": {"type": "object", "properties": {"protocol": {"type": "string", "default": "TCP"}}}},
            "selector": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "string"}},
            "size": {"x-kubernetes-int-or-string": true}}}));
        let ports = &node.properties["ports"];
        assert_eq!((ports.kind, ports.list_type), (NodeKind::Array, ListType::Map));
        assert_eq!(ports.list_map_keys, ["port", "protocol"]);
        assert_eq!(ports.extensions["x-kubernetes-patch-merge-key"], json!("port"));
        assert!(node.has_defaults && !node.has_rules);
        assert_eq!(node.properties["selector"].map_type, MapType::Atomic);
        assert_eq!(node.properties["selector"].field("any").map(|field| field.kind), Some(NodeKind::String));
        assert_eq!(node.properties["size"].kind, NodeKind::IntOrString);
    }
}
