//! Every schema at hand.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use fakes::kinds::{self, Dials};
use serde_json::Value;

use crate::schemas::{known_sets, upstream, upstream_directory};

/// The schemas of our kinds, of the compact ones of every release, of the recordings and, with `VWORKSPACE_CRDS`, of the projects' files.
pub(super) fn schemas() -> Vec<Value> {
    let mut found = BTreeMap::new();
    for (_, crd) in operator::api::crd::all() {
        collect(&serde_json::to_value(crd).expect("our definitions are JSON"), &mut found);
    }
    for (_, release) in known_sets() {
        let dials = Dials { flux: Some(release), cert_manager: true, external_secrets: true };
        kinds::crds(&dials).iter().for_each(|crd| collect(crd, &mut found));
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/apiserver");
    let definition = std::fs::read_to_string(golden.join("golden-crd.json")).expect("in the repository");
    collect(&Value::String(definition), &mut found);
    for corpus in ["golden.jsonl.gz", "profiles/crd.jsonl.gz"] {
        let file = std::fs::File::open(golden.join(corpus)).expect("in the repository");
        let mut text = String::new();
        flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).expect("a corpus is text");
        for line in text.lines().filter(|line| line.contains("openAPIV3Schema")) {
            collect(&Value::String(line.to_owned()), &mut found);
        }
    }
    if let Some(directory) = upstream_directory("rules_of_definitions_come_out_as_in_the_library") {
        for (set, _) in known_sets() {
            upstream(&directory.join(set)).values().for_each(|crd| collect(crd, &mut found));
        }
    }
    found.into_values().collect()
}

/// Schemas anywhere in a value, also in JSON that is text in it.
fn collect(value: &Value, found: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if name == "openAPIV3Schema" && value.is_object() {
                    found.insert(value.to_string(), value.clone());
                } else {
                    collect(value, found);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::String(text) if text.contains("openAPIV3Schema") => {
            if let Ok(inner) = serde_json::from_str(text) {
                collect(&inner, found);
            }
        }
        _ => {}
    }
}
