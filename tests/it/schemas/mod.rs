//! The projects' own CRD files against what we say and write (design §11).
//!
//! `VWORKSPACE_CRDS` names a directory with `newest/` and `older/<project>-<release>/`. Without it each test says in one
//! line that it was skipped: the files are other people's text and no part of this repository.
#![expect(clippy::panic, reason = "a helper that is disappointed fails its test")]

mod compare;
mod payloads;
mod statuses;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fakes::kinds::{self, Dials, FluxRelease};
use serde_json::Value;

/// The sets we know by name, and what must be dialled in to meet them.
pub(super) fn known_sets() -> [(&'static str, FluxRelease); 4] {
    [
        ("newest", FluxRelease::V2_9),
        ("older/flux-2.6", FluxRelease::V2_6),
        ("older/flux-2.3", FluxRelease::V2_3),
        ("older/flux-2.0", FluxRelease::V2_0),
    ]
}

/// The directory, or `None` after the line that says so.
#[expect(clippy::print_stdout, reason = "the line is the report that design §11 asks for")]
pub(super) fn upstream_directory(test: &str) -> Option<PathBuf> {
    let directory = std::env::var_os("VWORKSPACE_CRDS").map(PathBuf::from);
    if directory.is_none() {
        println!("{test}: skipped, VWORKSPACE_CRDS names no directory of CRD files");
    }
    directory
}

pub(super) fn upstream(directory: &Path) -> BTreeMap<String, Value> {
    let manifests = kinds::from_directory(directory).unwrap_or_else(|error| panic!("{error}"));
    manifests.into_iter().map(|manifest| (kinds::name_of(&manifest).to_owned(), manifest)).collect()
}

/// Flux's definitions at this release: upstream's where the directory has them, ours otherwise. So the suite also runs on
/// the real files (design §11).
pub(crate) fn flux_definitions(release: FluxRelease) -> Vec<Value> {
    let root = std::env::var_os("VWORKSPACE_CRDS").map(PathBuf::from);
    let set = known_sets().into_iter().find(|(_, of)| *of == release).map(|(set, _)| set);
    match (root, set) {
        (Some(root), Some(set)) if root.join(set).is_dir() => {
            upstream(&root.join(set)).into_values().filter(|one| kinds::name_of(one).ends_with("fluxcd.io")).collect()
        }
        _ => kinds::crds(&Dials { flux: Some(release), ..Dials::default() }),
    }
}

pub(super) fn dials(release: FluxRelease) -> Dials {
    Dials { flux: Some(release), cert_manager: true, external_secrets: true }
}
