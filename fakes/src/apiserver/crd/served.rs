//! What a definition serves: one resource per served version, with schemas shared between servers of the process.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::apiserver::errors::Cause;
use crate::apiserver::resource::{ALL_VERBS, Custom, Generation, Resource, Scale};
use crate::apiserver::schema::{ScalePaths, Schema};
use crate::apiserver::server::State;

use super::form;
use super::{holds, text, versions};

/// Schema documents seen by this process, by hash: compiling is the most expensive part of a start, and every simulation
/// starts with the same definitions.
static SEEN: Mutex<BTreeMap<u64, Vec<Arc<Seen>>>> = Mutex::new(BTreeMap::new());

/// A document, its schema, and what is wrong with it, named below a path of its own.
struct Seen {
    document: Value,
    scale: Option<ScalePaths>,
    schema: Arc<Schema>,
    causes: Vec<Cause>,
}

/// Stands for the place of the document in its definition.
const HERE: &str = "\u{0}";

fn seen(document: &Value, scale: Option<ScalePaths>) -> Arc<Seen> {
    let mut hasher = DefaultHasher::new();
    document.hash(&mut hasher);
    let hash = hasher.finish();
    let mut all = SEEN.lock().expect("no code panics while it holds the schemas");
    let same = all.entry(hash).or_default();
    if let Some(found) = same.iter().find(|seen| seen.scale == scale && seen.document == *document) {
        return found.clone();
    }
    let (schema, causes) = Schema::check(document, HERE);
    let schema = Arc::new(schema.with_scale(scale.clone()));
    let found = Arc::new(Seen { document: document.clone(), scale, schema, causes });
    same.push(found.clone());
    found
}

/// Everything wrong with a schema document, named below `path`.
pub(super) fn check(document: &Value, path: &str) -> Vec<Cause> {
    let place = |cause: &Cause| Cause { field: cause.field.replace(HERE, path), ..cause.clone() };
    seen(document, None).causes.iter().map(place).collect()
}

/// Serves what a definition defines, in place of what it defined before. `revision` numbers the change.
pub(super) fn serve(state: &mut State, crd: &Value, revision: u64) {
    let (group, names) = (text(&crd["spec"], "group"), &crd["status"]["acceptedNames"]);
    let plural = text(&crd["spec"]["names"], "plural");
    state.resources.remove(group, plural);
    if !holds(crd, "Established") {
        return;
    }
    let storage = form::storage_version(crd).unwrap_or_default();
    let list = |key: &str| -> Vec<String> {
        names[key].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let document = |version: &Value| version.pointer("/schema/openAPIV3Schema").cloned().unwrap_or_default();
    let schemas: BTreeMap<String, Arc<Schema>> = versions(crd)
        .map(|version| (text(version, "name").to_owned(), seen(&document(version), None).schema.clone()))
        .collect();
    let schemas = Arc::new(schemas);
    for version in versions(crd).filter(|version| version["served"] == true) {
        let name = text(version, "name");
        let kind = text(&crd["spec"]["names"], "kind");
        let scale = version.pointer("/subresources/scale").map(|scale| ScalePaths {
            spec: text(scale, "specReplicasPath").to_owned(),
            status: text(scale, "statusReplicasPath").to_owned(),
            selector: scale.get("labelSelectorPath").and_then(Value::as_str).map(str::to_owned),
        });
        let schema = seen(&document(version), scale.clone()).schema.clone();
        let path = |path: &String| path.trim_start_matches('.').to_owned();
        let api_version = format!("{group}/{name}");
        let deprecation = (version["deprecated"] == true).then(|| {
            let text = version.get("deprecationWarning").and_then(Value::as_str).map(str::to_owned);
            text.unwrap_or_else(|| format!("{api_version} {kind} is deprecated"))
        });
        state.resources.insert(Resource {
            list_kind: text(&crd["spec"]["names"], "listKind").to_owned(),
            singular: text(&crd["spec"]["names"], "singular").to_owned(),
            categories: list("categories"),
            short_names: list("shortNames"),
            namespaced: crd["spec"]["scope"] == "Namespaced",
            status: version.pointer("/subresources/status").is_some(),
            scale: scale.as_ref().map(|scale| Scale {
                spec: path(&scale.spec),
                status: path(&scale.status),
                selector: scale.selector.as_ref().map(path),
            }),
            allow_unconditional_update: false,
            generation: Generation::AllButMetadata,
            verbs: ALL_VERBS,
            selectable_fields: version["selectableFields"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|field| text(field, "jsonPath").trim_start_matches('.').to_owned())
                .collect(),
            custom: Some(Custom {
                storage_version: storage.clone(),
                schemas: schemas.clone(),
                columns: version["additionalPrinterColumns"].as_array().cloned().unwrap_or_default(),
                schema_revision: revision,
                deprecation,
                terminating: holds(crd, "Terminating"),
            }),
            compiled: schema.into(),
            ..Resource::builtin(group, name, kind, plural, &[])
        });
    }
}
