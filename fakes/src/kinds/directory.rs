//! CRD files that somebody has on disk, used in place of the compact schemas (`--crds DIR`, `VWORKSPACE_CRDS`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::name_of;

/// Why a directory of CRD files could not be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The directory or a file in it could not be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// What was being read.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file is not YAML.
    #[error("{path} is not YAML: {source}")]
    NotYaml {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        #[source]
        source: serde_yaml_ng::Error,
    },
}

/// Every CustomResourceDefinition in the `.yaml`, `.yml` and `.json` files directly inside `directory`, ordered by name.
/// Other documents are passed over. Status that a file carries is dropped: it describes somebody else's cluster.
pub fn from_directory(directory: &Path) -> Result<Vec<Value>, DirectoryError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| DirectoryError::Unreadable { path, source }
    };
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable(directory))? {
        let path = entry.map_err(unreadable(directory))?.path();
        let known = path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json");
        if !known || !path.is_file() {
            continue;
        }
        let content = std::fs::read_to_string(&path).map_err(unreadable(&path))?;
        for document in serde_yaml_ng::Deserializer::from_str(&content) {
            let mut value = Value::deserialize(document)
                .map_err(|source| DirectoryError::NotYaml { path: path.clone(), source })?;
            if value["kind"] != "CustomResourceDefinition" {
                continue;
            }
            if let Some(manifest) = value.as_object_mut() {
                manifest.remove("status");
            }
            found.insert(name_of(&value).to_owned(), value);
        }
    }
    Ok(found.into_values().collect())
}
