//! A manifest that somebody pasted: is it one that can be sent, and if not, what is wrong on which line.

use serde::Serialize;
use serde_json::Value;

use super::outline::{line_of, outline};
use crate::apiserver::schema::Schema;

/// Largest payload of a job in bytes (contract §17.3).
const PAYLOAD_MAX: usize = 512 << 10;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Complaint {
    /// 1-based.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<usize>,
    /// `spec.chart.version`; empty for the whole text.
    pub(super) field: String,
    /// A sentence.
    pub(super) message: String,
}

fn whole(line: Option<usize>, message: impl Into<String>) -> Vec<Complaint> {
    vec![Complaint { line, field: String::new(), message: message.into() }]
}

/// Reads a text as one YAML or JSON object.
pub(super) fn read(text: &str) -> Result<Value, Vec<Complaint>> {
    if text.len() > PAYLOAD_MAX {
        return Err(whole(None, "A job holds at most 512 KiB."));
    }
    if text.trim().is_empty() {
        return Err(whole(None, "There is nothing to send."));
    }
    let value: Value = serde_yaml_ng::from_str(text).map_err(|error| {
        let line = error.location().map(|at| at.line());
        let said = error.to_string();
        if said.contains("more than one document") {
            let second = text.lines().skip(1).position(|line| line.starts_with("---"));
            return whole(second.map(|before| before + 2), "A job holds one object; this text has several documents.");
        }
        // The place stands in front of the message already.
        let said = said.split(" at line ").next().unwrap_or(&said).to_string();
        whole(line, format!("This is not YAML: {said}."))
    })?;
    if value.is_object() { Ok(value) } else { Err(whole(Some(1), "This is YAML, but not an object with fields.")) }
}

/// Everything that is wrong with a manifest that was written as `text`.
pub(super) fn check(manifest: &Value, text: &str) -> Vec<Complaint> {
    let outline = outline(text);
    let complaint = |field: &str, message: String| {
        let field = field.trim_start_matches('.');
        Complaint { line: line_of(&outline, field), field: field.into(), message }
    };
    let mut found = Vec::new();
    let (version, kind) = (manifest["apiVersion"].as_str(), manifest["kind"].as_str());
    let schema = match (version, kind) {
        (Some(operator::api::APPS_API_VERSION), Some("ApplicationInstance")) => schema("applicationinstances"),
        (Some(operator::api::OPS_API_VERSION), Some("Operation")) => schema("operations"),
        (Some("v1"), Some("ConfigMap")) if manifest["metadata"]["name"] == "vworkspace-catalog-policy" => None,
        _ => {
            let allowed = format!(
                "must be ApplicationInstance of {} or Operation of {}; ConfigMap of v1 only as vworkspace-catalog-policy",
                operator::api::APPS_API_VERSION,
                operator::api::OPS_API_VERSION
            );
            let field = if kind.is_some() && version.is_none() { "apiVersion" } else { "kind" };
            return vec![complaint(field, allowed)];
        }
    };
    for (field, longest) in [("name", 253), ("namespace", 63)] {
        let path = format!("metadata.{field}");
        match manifest["metadata"][field].as_str() {
            None | Some("") => found.push(complaint(&path, "is required".into())),
            Some(name) if name.len() > longest || !is_name(name) => found.push(complaint(
                &path,
                format!("must be at most {longest} lower-case letters, digits, '-' and, in a name, '.', and begin and end with a letter or digit"),
            )),
            Some(_) => {}
        }
    }
    if manifest.get("status").is_some() {
        found.push(complaint("status", "is not sent: the operator removes it".into()));
    }
    if let Some(schema) = schema {
        let mut object = manifest.clone();
        let unknown = schema.prune(&mut object);
        found.extend(unknown.iter().map(|field| complaint(field, "is not a known field".into())));
        schema.default(&mut object);
        let causes = schema.validate(&object, None);
        let causes = causes.iter().filter(|cause| cause.field != "<nil>");
        found.extend(causes.map(|cause| complaint(&cause.field, cause.message.clone())));
    }
    found.sort_by_key(|complaint| complaint.line);
    found
}

fn is_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.bytes().all(|byte| inner(byte) || byte == b'-' || byte == b'.')
        && name.bytes().next().is_some_and(inner)
        && name.bytes().last().is_some_and(inner)
}

/// The schema of one of our kinds, by plural.
fn schema(plural: &str) -> Option<Schema> {
    let (_, definition) = operator::api::crd::all().into_iter().find(|(name, _)| name.starts_with(plural))?;
    Some(Schema::trusted(&definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = include_str!("../../../../docs/examples/applicationinstance.yaml");

    fn said(text: &str) -> Vec<String> {
        let complaints = match read(text) {
            Ok(manifest) => check(&manifest, text),
            Err(complaints) => complaints,
        };
        let line = |complaint: &Complaint| complaint.line.map_or("-".into(), |line| line.to_string());
        complaints.iter().map(|one| format!("{} {} {}", line(one), one.field, one.message)).collect()
    }

    #[test]
    fn the_example_of_the_docs_can_be_sent() {
        assert_eq!(said(GOOD), Vec::<String>::new());
    }

    #[test]
    fn each_mistake_is_named_with_its_line() {
        let table = [
            (
                GOOD.replace("  name: files\n  namespace: org-a\n  labels", "  name: Files\n  labels"),
                &["4 metadata.namespace is required", "5 metadata.name must be at most 253"][..],
            ),
            (GOOD.replace("version: 6.6.0", "version: latest"), &["17 spec.chart.version Invalid value"]),
            (
                GOOD.replace("catalogId: nextcloud", "catalogID: nextcloud"),
                &["11 spec.appRef.catalogId Required value", "12 spec.appRef.catalogID is not a known field"],
            ),
            (GOOD.replace("sourceType: oci", "sourceType: [oci"), &["15  This is not YAML"]),
            (GOOD.replace("kind: ApplicationInstance", "kind: Pod"), &["3 kind must be ApplicationInstance"]),
            (format!("{GOOD}status: {{}}\n"), &["29 status is not sent"]),
            (format!("{GOOD}---\n{GOOD}"), &["29  A job holds one object"]),
            ("- a\n".into(), &["1  This is YAML, but not an object"]),
            (" \n".into(), &["-  There is nothing to send"]),
            ("a: ".to_string() + &"x".repeat(PAYLOAD_MAX), &["-  A job holds at most 512 KiB"]),
        ];
        for (text, expected) in table {
            let said = said(&text);
            let fits = |(said, expected): (&String, &&str)| said.starts_with(*expected);
            assert!(
                said.len() == expected.len() && said.iter().zip(expected).all(fits),
                "{expected:?} expected, but: {said:#?}"
            );
        }
    }
}
