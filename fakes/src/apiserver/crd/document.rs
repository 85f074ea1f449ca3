//! How the server's messages print whole schemas: its internal types as JSON, every field in order.

use serde_json::{Map, Value};

use crate::apiserver::schema::{go, shown_rule};

/// Field names as printed, as written, and what an absent one is.
const FIELDS: [(&str, &str, Shape); 42] = [
    ("ID", "id", Shape::Text),
    ("Schema", "$schema", Shape::Text),
    ("Ref", "$ref", Shape::Plain),
    ("Description", "description", Shape::Text),
    ("Type", "type", Shape::Text),
    ("Nullable", "nullable", Shape::Flag),
    ("Format", "format", Shape::Text),
    ("Title", "title", Shape::Text),
    ("Default", "default", Shape::Plain),
    ("Maximum", "maximum", Shape::Plain),
    ("ExclusiveMaximum", "exclusiveMaximum", Shape::Flag),
    ("Minimum", "minimum", Shape::Plain),
    ("ExclusiveMinimum", "exclusiveMinimum", Shape::Flag),
    ("MaxLength", "maxLength", Shape::Plain),
    ("MinLength", "minLength", Shape::Plain),
    ("Pattern", "pattern", Shape::Text),
    ("MaxItems", "maxItems", Shape::Plain),
    ("MinItems", "minItems", Shape::Plain),
    ("UniqueItems", "uniqueItems", Shape::Flag),
    ("MultipleOf", "multipleOf", Shape::Plain),
    ("Enum", "enum", Shape::Plain),
    ("MaxProperties", "maxProperties", Shape::Plain),
    ("MinProperties", "minProperties", Shape::Plain),
    ("Required", "required", Shape::Plain),
    ("Items", "items", Shape::Items),
    ("AllOf", "allOf", Shape::List),
    ("OneOf", "oneOf", Shape::List),
    ("AnyOf", "anyOf", Shape::List),
    ("Not", "not", Shape::Schema),
    ("Properties", "properties", Shape::Map),
    ("AdditionalProperties", "additionalProperties", Shape::SchemaOrFlag),
    ("PatternProperties", "patternProperties", Shape::Map),
    ("Dependencies", "dependencies", Shape::Plain),
    ("AdditionalItems", "additionalItems", Shape::SchemaOrFlag),
    ("Definitions", "definitions", Shape::Map),
    ("ExternalDocs", "externalDocs", Shape::Plain),
    ("Example", "example", Shape::Plain),
    ("XPreserveUnknownFields", "x-kubernetes-preserve-unknown-fields", Shape::Plain),
    ("XEmbeddedResource", "x-kubernetes-embedded-resource", Shape::Flag),
    ("XIntOrString", "x-kubernetes-int-or-string", Shape::Flag),
    ("XListMapKeys", "x-kubernetes-list-map-keys", Shape::Plain),
    ("XListType", "x-kubernetes-list-type", Shape::Plain),
];

#[derive(Clone, Copy)]
enum Shape {
    Plain,
    Text,
    Flag,
    Schema,
    SchemaOrFlag,
    Items,
    List,
    Map,
}

/// A schema as messages print it.
pub(super) fn schema(document: &Value) -> String {
    let mut parts: Vec<String> = FIELDS
        .iter()
        .map(|(printed, key, shape)| format!("\"{printed}\":{}", field(document.get(*key), *shape)))
        .collect();
    parts.push(format!("\"XMapType\":{}", field(document.get("x-kubernetes-map-type"), Shape::Plain)));
    let rules = match document.get("x-kubernetes-validations").and_then(Value::as_array) {
        Some(rules) => format!("[{}]", rules.iter().map(shown_rule).collect::<Vec<_>>().join(",")),
        None => "null".to_owned(),
    };
    parts.push(format!("\"XValidations\":{rules}"));
    format!("{{{}}}", parts.join(","))
}

fn field(value: Option<&Value>, shape: Shape) -> String {
    match (shape, value) {
        (Shape::Text, None | Some(Value::Null)) => "\"\"".to_owned(),
        (Shape::Flag, None | Some(Value::Null)) => "false".to_owned(),
        (_, None | Some(Value::Null)) => "null".to_owned(),
        (Shape::Plain | Shape::Text | Shape::Flag, Some(value)) => go::json(value),
        (Shape::Schema, Some(value)) => schema(value),
        (Shape::Items, Some(value)) => format!("{{\"Schema\":{},\"JSONSchemas\":null}}", schema(value)),
        (Shape::SchemaOrFlag, Some(Value::Bool(flag))) => format!("{{\"Allows\":{flag},\"Schema\":null}}"),
        (Shape::SchemaOrFlag, Some(value)) => format!("{{\"Allows\":true,\"Schema\":{}}}", schema(value)),
        (Shape::List, Some(value)) => {
            let items: Vec<String> = value.as_array().into_iter().flatten().map(schema).collect();
            format!("[{}]", items.join(","))
        }
        (Shape::Map, Some(value)) => {
            let empty = Map::new();
            let map = value.as_object().unwrap_or(&empty);
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            let entries: Vec<String> = keys
                .into_iter()
                .map(|key| format!("{}:{}", go::json(&Value::from(key.as_str())), schema(&map[key])))
                .collect();
            format!("{{{}}}", entries.join(","))
        }
    }
}

/// The versions of a definition as messages print them, after parts common to all were moved to the top.
pub(super) fn versions<'a>(versions: impl Iterator<Item = &'a Value>, common: impl Fn(&str) -> bool) -> String {
    let shown = versions.map(|version| {
        let part = |key: &str| version.get(key).filter(|_| !common(key));
        let schema = match part("schema").and_then(|schema| schema.get("openAPIV3Schema")) {
            Some(document) => format!("{{\"OpenAPIV3Schema\":{}}}", schema(document)),
            None if part("schema").is_some() => "{\"OpenAPIV3Schema\":null}".to_owned(),
            None => "null".to_owned(),
        };
        let subresources = part("subresources").map_or("null".to_owned(), |subresources| {
            let status = if subresources.get("status").is_some() { "{}" } else { "null" };
            let scale = subresources.get("scale").map_or("null".to_owned(), |scale| {
                let text = |key: &str| go::json(scale.get(key).unwrap_or(&Value::from("")));
                let selector = go::json(scale.get("labelSelectorPath").unwrap_or(&Value::Null));
                format!(
                    "{{\"SpecReplicasPath\":{},\"StatusReplicasPath\":{},\"LabelSelectorPath\":{selector}}}",
                    text("specReplicasPath"),
                    text("statusReplicasPath")
                )
            });
            format!("{{\"Status\":{status},\"Scale\":{scale}}}")
        });
        let columns = part("additionalPrinterColumns").and_then(Value::as_array).map_or("null".to_owned(), |columns| {
            let columns = columns.iter().map(|column| {
                let text = |key: &str| go::json(column.get(key).unwrap_or(&Value::from("")));
                let priority = go::json(column.get("priority").unwrap_or(&Value::from(0)));
                format!(
                    "{{\"Name\":{},\"Type\":{},\"Format\":{},\"Description\":{},\"Priority\":{priority},\"JSONPath\":{}}}",
                    text("name"),
                    text("type"),
                    text("format"),
                    text("description"),
                    text("jsonPath")
                )
            });
            format!("[{}]", columns.collect::<Vec<_>>().join(","))
        });
        let fields = part("selectableFields").and_then(Value::as_array).map_or("null".to_owned(), |fields| {
            let fields = fields.iter().map(|field| format!("{{\"JSONPath\":{}}}", go::json(&field["jsonPath"])));
            format!("[{}]", fields.collect::<Vec<_>>().join(","))
        });
        let flag = |key: &str| version.get(key) == Some(&Value::Bool(true));
        format!(
            "{{\"Name\":{},\"Served\":{},\"Storage\":{},\"Deprecated\":{},\"DeprecationWarning\":{},\"Schema\":{schema},\"Subresources\":{subresources},\"AdditionalPrinterColumns\":{columns},\"SelectableFields\":{fields}}}",
            go::json(version.get("name").unwrap_or(&Value::from(""))),
            flag("served"),
            flag("storage"),
            flag("deprecated"),
            go::json(version.get("deprecationWarning").unwrap_or(&Value::Null)),
        )
    });
    format!("[{}]", shown.collect::<Vec<_>>().join(","))
}
