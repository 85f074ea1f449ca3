//! The recorded corpora: one sequence per line, plain or gzip.

use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use serde_json::Value;

/// One recorded sequence.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// Seed of its generator: its name.
    pub seed: u64,
    /// The profile; empty for the corpus without controllers.
    pub profile: String,
    /// Order of events counts per object only.
    pub grouped: bool,
    /// Resource versions are numbered per object.
    pub by_object: bool,
    /// The whole record.
    pub record: Value,
}

impl Sequence {
    /// The corpus without profile has its own executor and normalisation.
    pub fn is_profile(&self) -> bool {
        !self.profile.is_empty()
    }

    /// The steps.
    pub fn steps(&self) -> &[Value] {
        self.record["steps"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The recorded streams.
    pub fn streams(&self) -> &[Value] {
        self.record["streams"].as_array().map_or(&[], Vec::as_slice)
    }
}

/// Reads a corpus.
///
/// # Errors
/// Files that cannot be read and lines that are not JSON.
pub(super) fn load(path: &Path) -> Result<Vec<Sequence>, String> {
    let text = text(path)?;
    let sequences = text.lines().filter(|line| !line.trim().is_empty()).map(|line| {
        let record: Value = serde_json::from_str(line).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Sequence {
            seed: record["seed"].as_u64().unwrap_or_default(),
            profile: record["profile"].as_str().unwrap_or_default().to_owned(),
            grouped: record["grouped"] == true,
            by_object: record["rvmode"] == "object",
            record,
        })
    });
    sequences.collect()
}

/// Reads a CustomResourceDefinition, JSON or YAML.
///
/// # Errors
/// Files that cannot be read.
pub(super) fn definition(path: &Path) -> Result<Value, String> {
    serde_yaml_ng::from_str(&text(path)?).map_err(|error| format!("{}: {error}", path.display()))
}

fn text(path: &Path) -> Result<String, String> {
    let fail = |error: std::io::Error| format!("{}: {error}", path.display());
    let bytes = std::fs::read(path).map_err(fail)?;
    let mut text = String::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        MultiGzDecoder::new(bytes.as_slice()).read_to_string(&mut text).map_err(fail)?;
    } else {
        bytes.as_slice().read_to_string(&mut text).map_err(fail)?;
    }
    Ok(text)
}
