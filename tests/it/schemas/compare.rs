//! Field by field: the compact schemas are a faithful part of the projects' own.

use std::collections::{BTreeMap, BTreeSet};

use fakes::kinds::{self, FluxRelease};
use serde_json::Value;

use super::{dials, known_sets, upstream, upstream_directory};

#[derive(Default)]
struct Comparison {
    files: usize,
    kinds: usize,
    versions: usize,
    fields: usize,
    differences: Vec<String>,
}

impl Comparison {
    fn kind(&mut self, set: &str, ours: &Value, theirs: &Value) {
        self.kinds += 1;
        let label = format!("{set} {}", kinds::name_of(ours));
        for path in ["/spec/group", "/spec/scope", "/spec/names"] {
            self.same(&label, path, ours.pointer(path), theirs.pointer(path));
        }
        let by_name = |manifest: &Value| -> BTreeMap<String, Value> {
            let versions = manifest["spec"]["versions"].as_array().cloned().unwrap_or_default();
            versions
                .into_iter()
                .map(|version| (version["name"].as_str().unwrap_or_default().to_owned(), version))
                .collect()
        };
        let (ours, theirs) = (by_name(ours), by_name(theirs));
        for name in theirs.iter().filter(|(_, version)| version["served"] == true).map(|(name, _)| name) {
            // The oldest set is there to be refused; its second version of the sources tells us nothing.
            if !ours.contains_key(name) && !set.ends_with("flux-2.0") {
                self.differences.push(format!("{label}: {name} is served upstream and not by us"));
            }
        }
        for (name, ours) in &ours {
            let Some(theirs) = theirs.get(name) else {
                self.differences.push(format!("{label}: we serve {name}, they do not"));
                continue;
            };
            self.versions += 1;
            let label = format!("{label} {name}");
            for field in ["served", "storage", "deprecated", "subresources"] {
                self.same(&label, field, ours.get(field), theirs.get(field));
            }
            self.columns(&label, ours, theirs);
            let schema = "/schema/openAPIV3Schema";
            match (ours.pointer(schema), theirs.pointer(schema)) {
                (Some(ours), Some(theirs)) => self.node(&label, "", ours, theirs),
                _ => self.differences.push(format!("{label}: no schema")),
            }
        }
    }

    fn same(&mut self, label: &str, what: &str, ours: Option<&Value>, theirs: Option<&Value>) {
        if ours != theirs {
            let show = |value: Option<&Value>| value.map_or("nothing".to_owned(), Value::to_string);
            self.differences.push(format!("{label}: {what} is {}, upstream {}", show(ours), show(theirs)));
        }
    }

    fn columns(&mut self, label: &str, ours: &Value, theirs: &Value) {
        let paths = |version: &Value| -> BTreeSet<(String, String, String)> {
            let list = version["additionalPrinterColumns"].as_array().cloned().unwrap_or_default();
            let field = |column: &Value, name: &str| column[name].as_str().unwrap_or_default().to_owned();
            list.iter()
                .map(|column| (field(column, "name"), field(column, "type"), field(column, "jsonPath")))
                .collect()
        };
        for extra in paths(ours).difference(&paths(theirs)) {
            self.differences.push(format!("{label}: column {extra:?} is ours alone"));
        }
    }

    /// Ours must be a faithful part of theirs: everything said about a field is said by both.
    fn node(&mut self, label: &str, path: &str, ours: &Value, theirs: &Value) {
        self.fields += 1;
        let at = if path.is_empty() { "." } else { path };
        let opaque = ours.get(KEEP).is_some() && theirs.get(KEEP).is_none();
        for field in SAID_BY_BOTH {
            if !(opaque && *field == KEEP) {
                self.same(label, &format!("{at} {field}"), ours.get(*field), theirs.get(*field));
            }
        }
        let (allowed, theirs_allowed) = (members(ours.get("enum")), members(theirs.get("enum")));
        if allowed != theirs_allowed {
            self.differences.push(format!("{label}: {at} enum is {allowed:?}, upstream {theirs_allowed:?}"));
        }
        if rules(ours) != rules(theirs) && !opaque {
            self.differences.push(format!("{label}: {at} rules are {:?}, upstream {:?}", rules(ours), rules(theirs)));
        }
        let (needed, theirs_needed) = (members(ours.get("required")), members(theirs.get("required")));
        if needed != theirs_needed && !opaque {
            self.differences.push(format!("{label}: {at} requires {needed:?}, upstream {theirs_needed:?}"));
        }
        let fields = |node: &'_ Value| node.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        let theirs_fields = fields(theirs);
        for (name, ours) in fields(ours).iter() {
            match theirs_fields.get(name) {
                Some(theirs) => self.node(label, &format!("{path}.{name}"), ours, theirs),
                None => self.differences.push(format!("{label}: {path}.{name} is ours alone")),
            }
        }
        for (field, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
            match (ours.get(field), theirs.get(field)) {
                (Some(ours), Some(theirs)) => self.node(label, &format!("{path}{mark}"), ours, theirs),
                (None, None) => {}
                _ => self.differences.push(format!("{label}: {path} {field} on one side only")),
            }
        }
    }
}

const KEEP: &str = "x-kubernetes-preserve-unknown-fields";

const SAID_BY_BOTH: &[&str] = &[
    "type",
    "format",
    "default",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "nullable",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "x-kubernetes-int-or-string",
    KEEP,
];

/// The CEL rules of a node with their messages.
fn rules(node: &Value) -> BTreeSet<(String, String)> {
    let text = |rule: &Value, field: &str| rule[field].as_str().unwrap_or_default().to_owned();
    let list = node.get("x-kubernetes-validations").and_then(Value::as_array);
    list.into_iter().flatten().map(|rule| (text(rule, "rule"), text(rule, "message"))).collect()
}

/// A list as a set of texts: the order of enums, of required fields and of rules means nothing.
fn members(list: Option<&Value>) -> BTreeSet<String> {
    list.and_then(Value::as_array).into_iter().flatten().map(Value::to_string).collect()
}

#[test]
fn compact_schemas_are_a_faithful_part_of_upstream() {
    let Some(root) = upstream_directory("compact_schemas_are_a_faithful_part_of_upstream") else { return };
    let mut comparison = Comparison::default();
    let mut sets = 0;
    for (set, release) in known_sets() {
        let directory = root.join(set);
        if !directory.is_dir() {
            println!("schemas: {set} is not in {}", root.display());
            continue;
        }
        sets += 1;
        let theirs = upstream(&directory);
        comparison.files += theirs.len();
        for ours in kinds::crds(&dials(release)) {
            if let Some(theirs) = theirs.get(kinds::name_of(&ours)) {
                comparison.kind(set, &ours, theirs);
            }
        }
    }
    println!(
        "schemas: {sets} sets, {} files read, {} kinds in {} versions and {} fields compared",
        comparison.files, comparison.kinds, comparison.versions, comparison.fields
    );
    assert!(comparison.differences.is_empty(), "{}", comparison.differences.join("\n"));
    assert!(sets > 0 && comparison.fields > 0, "{} holds none of the known sets", root.display());
}

#[test]
fn the_comparison_sees_a_wrong_type_default_and_requirement() {
    let theirs = kinds::crds(&dials(FluxRelease::V2_9));
    let theirs =
        theirs.iter().find(|one| kinds::name_of(one).starts_with("helmreleases")).expect("HelmRelease is there");
    let schema = "/spec/versions/0/schema/openAPIV3Schema/properties";
    let wrongs: [(&str, Value); 4] = [
        ("/spec/properties/suspend/type", "string".into()),
        ("/status/default/observedGeneration", 0.into()),
        ("/spec/required", Value::Array(Vec::new())),
        ("/spec/properties/driftDetection/properties/mode/enum", vec!["enabled"].into()),
    ];
    for (path, wrong) in wrongs {
        let mut ours = theirs.clone();
        *ours.pointer_mut(&format!("{schema}{path}")).expect("the field is in the schema") = wrong;
        let mut comparison = Comparison::default();
        comparison.kind("self", &ours, theirs);
        assert_eq!(comparison.differences.len(), 1, "{path}: {:?}", comparison.differences);
    }
}
