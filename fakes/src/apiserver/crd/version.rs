//! What may be a version of a definition: schema, subresources, columns and selectable fields, each version's own or shared by all.

use serde_json::{Value, json};

use crate::apiserver::errors::Cause;
use crate::apiserver::schema::cause;
use crate::apiserver::schema::cel::field_path;
use crate::apiserver::schema::{Node, NodeKind};

use super::document;
use super::served;
use super::{text, versions};

const COLUMN_TYPES: &str = "boolean,date,integer,number,string";
const COLUMN_FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
/// Most fields that selectors may name.
const SELECTABLE: usize = 8;
/// What the root of a schema may hold when there is a status subresource.
const ROOT_FIELDS: [(&str, &str); 22] = [
    ("Description", "description"),
    ("Type", "type"),
    ("Format", "format"),
    ("Title", "title"),
    ("Maximum", "maximum"),
    ("ExclusiveMaximum", "exclusiveMaximum"),
    ("Minimum", "minimum"),
    ("ExclusiveMinimum", "exclusiveMinimum"),
    ("MaxLength", "maxLength"),
    ("MinLength", "minLength"),
    ("Pattern", "pattern"),
    ("MaxItems", "maxItems"),
    ("MinItems", "minItems"),
    ("UniqueItems", "uniqueItems"),
    ("MultipleOf", "multipleOf"),
    ("Required", "required"),
    ("Items", "items"),
    ("Properties", "properties"),
    ("ExternalDocs", "externalDocs"),
    ("Example", "example"),
    ("XPreserveUnknownFields", "x-kubernetes-preserve-unknown-fields"),
    ("XValidations", "x-kubernetes-validations"),
];

/// Which parts are the same in all versions.
pub(super) struct Common {
    schema: bool,
    subresources: bool,
    columns: bool,
    fields: bool,
}

impl Common {
    /// Of a definition.
    pub(super) fn of(crd: &Value) -> Common {
        let same = |key: &str| {
            let mut parts = versions(crd).map(|version| version.get(key));
            let first = parts.next();
            first.is_some_and(|first| parts.all(|part| part == first))
        };
        let present = |key: &str| versions(crd).next().is_some_and(|version| version.get(key).is_some());
        Common {
            schema: same("schema") && present("schema"),
            subresources: same("subresources") && present("subresources"),
            columns: same("additionalPrinterColumns") && present("additionalPrinterColumns"),
            fields: same("selectableFields") && present("selectableFields"),
        }
    }

    /// Whether a part, by its name in a version, is.
    pub(super) fn has(&self, part: &str) -> bool {
        match part {
            "schema" => self.schema,
            "subresources" => self.subresources,
            "additionalPrinterColumns" => self.columns,
            "selectableFields" => self.fields,
            _ => false,
        }
    }
}

/// The parts of one version that are not shared.
pub(super) fn version(version: &Value, path: &str, common: &Common, causes: &mut Vec<Cause>) {
    if !common.schema {
        schema(version, &format!("{path}.schema"), causes);
    }
    if !common.subresources {
        scale(version, &format!("{path}.subresources"), causes);
    }
    if !common.columns {
        columns(version, &format!("{path}.additionalPrinterColumns"), causes);
    }
    if !common.fields {
        selectable(version, &format!("{path}.selectableFields"), causes);
    }
}

/// The parts that all versions share.
pub(super) fn shared(first: &Value, common: &Common, causes: &mut Vec<Cause>) {
    if common.schema {
        schema(first, "spec.validation", causes);
    }
    if common.subresources {
        scale(first, "spec.subresources", causes);
    }
    if common.columns {
        columns(first, "spec.additionalPrinterColumns", causes);
    }
    if common.fields {
        selectable(first, "spec.selectableFields", causes);
    }
}

fn schema(version: &Value, path: &str, causes: &mut Vec<Cause>) {
    let Some(document) = version.pointer("/schema/openAPIV3Schema") else { return };
    let path = format!("{path}.openAPIV3Schema");
    if version.pointer("/subresources/status").is_some() {
        root_with_status(document, &path, causes);
    }
    if document.get("nullable") == Some(&Value::Bool(true)) {
        causes.push(cause::forbidden(format!("{path}.nullable"), "nullable cannot be true at the root"));
    }
    causes.extend(served::check(document, &path));
}

fn root_with_status(document: &Value, path: &str, causes: &mut Vec<Cause>) {
    let kind = text(document, "type");
    if !kind.is_empty() && kind != "object" {
        let complaint =
            "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        causes.push(cause::invalid(format!("{path}.type"), &json!(kind), complaint));
        return;
    }
    let others =
        document.as_object().into_iter().flatten().any(|(key, _)| !ROOT_FIELDS.iter().any(|(_, known)| known == key));
    if others {
        let names: Vec<&str> = ROOT_FIELDS.iter().map(|(name, _)| *name).collect();
        let complaint = format!(
            "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
            names.join(" ")
        );
        causes.push(cause::invalid_text(path, &document::schema(document), &complaint));
    }
}

fn scale(version: &Value, path: &str, causes: &mut Vec<Cause>) {
    let Some(scale) = version.pointer("/subresources/scale") else { return };
    for (key, root, needed) in [
        ("specReplicasPath", ".spec", true),
        ("statusReplicasPath", ".status", true),
        ("labelSelectorPath", ".status", false),
    ] {
        let found = text(scale, key);
        let field = format!("{path}.scale.{key}");
        if found.is_empty() {
            if needed {
                causes.push(cause::required(field, ""));
            }
        } else if !found.starts_with('.') {
            causes.push(cause::invalid(field, &json!(found), "must be a simple json path starting with ."));
        } else if !found.starts_with(&format!("{root}.")) {
            causes.push(cause::invalid(field, &json!(found), &format!("should be a json path under {root}")));
        }
    }
}

fn columns(version: &Value, path: &str, causes: &mut Vec<Cause>) {
    for (index, column) in
        version.get("additionalPrinterColumns").and_then(Value::as_array).into_iter().flatten().enumerate()
    {
        let path = format!("{path}[{index}]");
        if text(column, "name").is_empty() {
            causes.push(cause::required(format!("{path}.name"), ""));
        }
        let kind = text(column, "type");
        let complaint = format!("must be one of {COLUMN_TYPES}");
        if kind.is_empty() {
            causes.push(cause::required(format!("{path}.type"), &complaint));
        } else if !COLUMN_TYPES.split(',').any(|known| known == kind) {
            causes.push(cause::invalid(format!("{path}.type"), &json!(kind), &complaint));
        }
        let format = text(column, "format");
        if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
            let complaint = format!("must be one of {}", COLUMN_FORMATS.join(","));
            causes.push(cause::invalid(format!("{path}.format"), &json!(format), &complaint));
        }
        let found = text(column, "jsonPath");
        if found.is_empty() {
            causes.push(cause::required(format!("{path}.JSONPath"), ""));
        } else if !found.starts_with('.') {
            let complaint = "must be a simple json path starting with .";
            causes.push(cause::invalid(format!("{path}.JSONPath"), &json!(found), complaint));
        }
    }
}

fn selectable(version: &Value, path: &str, causes: &mut Vec<Cause>) {
    let Some(fields) = version.get("selectableFields").and_then(Value::as_array).filter(|fields| !fields.is_empty())
    else {
        return;
    };
    let Some(document) = version.pointer("/schema/openAPIV3Schema") else { return };
    let root = Node::from_openapi(document);
    let mut seen: Vec<String> = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let path = format!("{path}[{index}].jsonPath");
        let found = text(field, "jsonPath");
        if found.is_empty() {
            causes.push(cause::required(path, ""));
            continue;
        }
        match field_path::resolve(found, &root, false) {
            Err(why) => causes.push(cause::invalid(path, &json!(found), &format!("is an invalid path: {why}"))),
            Ok((printed, node)) => {
                if !matches!(node.kind, NodeKind::String | NodeKind::Boolean | NodeKind::Integer) {
                    let complaint = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
                    causes.push(cause::invalid(path.clone(), &json!(found), complaint));
                }
                if printed.starts_with("metadata.") {
                    causes.push(cause::invalid(path.clone(), &json!(found), "must not point to fields in metadata"));
                }
                if seen.contains(&printed) {
                    causes.push(cause::duplicate(path, &json!(found)));
                } else {
                    seen.push(printed);
                }
            }
        }
    }
    if seen.len() > SELECTABLE {
        causes.push(cause::too_many(path, seen.len(), SELECTABLE as i64));
    }
}
