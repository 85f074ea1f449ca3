//! Other people's kinds, described once, by hand, from facts.
//!
//! Each file holds one project: served versions and storage version per release, printer columns, and a structural schema
//! of every field that the operator writes or reads and that a fake writes, with the CEL rules that can refuse us. These
//! schemas are subsets: a field that is not here is refused in an apply and pruned elsewhere, so a field that the operator
//! forgot to declare is noticed. `tests/it/schemas.rs` holds them against the projects' own files (design §11).
//!
//! Left out on purpose: post renderers and health-check expressions of HelmRelease, everything below the `spec` of the
//! kinds whose presence alone matters.

mod definition;
mod directory;
pub mod flux;
mod presence;
mod schema;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use directory::{DirectoryError, from_directory};
pub use flux::FluxRelease;

/// Which projects are installed, and at which release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Dials {
    /// Flux, if installed.
    pub flux: Option<FluxRelease>,
    /// cert-manager; only its presence matters (contract §26.1).
    pub cert_manager: bool,
    /// external-secrets; only its presence matters.
    pub external_secrets: bool,
}

impl Default for Dials {
    fn default() -> Self {
        Self { flux: Some(FluxRelease::newest()), cert_manager: false, external_secrets: false }
    }
}

/// The CRD manifests of everything that is dialled in, in the order of their names.
pub fn crds(dials: &Dials) -> Vec<Value> {
    let mut all = Vec::new();
    if let Some(release) = dials.flux {
        all.extend(flux::definitions(release));
    }
    if dials.cert_manager {
        all.push(presence::certificate());
    }
    if dials.external_secrets {
        all.push(presence::external_secret());
    }
    let mut manifests: Vec<Value> = all.into_iter().map(definition::Definition::manifest).collect();
    manifests.sort_by(|left, right| name_of(left).cmp(name_of(right)));
    manifests
}

/// `metadata.name` of a manifest; empty if it has none.
pub fn name_of(manifest: &Value) -> &str {
    manifest.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_has_exactly_one_storage_version() {
        for release in FluxRelease::ALL {
            let dials = Dials { flux: Some(release), cert_manager: true, external_secrets: true };
            for manifest in crds(&dials) {
                let versions = manifest["spec"]["versions"].as_array().expect("versions is a list");
                let stored = versions.iter().filter(|version| version["storage"] == true).count();
                assert_eq!(stored, 1, "{} at {release:?}", name_of(&manifest));
            }
        }
    }

    #[test]
    fn the_strategy_field_appears_with_flux_2_7() {
        let has = |release| {
            let dials = Dials { flux: Some(release), ..Dials::default() };
            let manifest = crds(&dials)
                .into_iter()
                .find(|manifest| name_of(manifest) == "helmreleases.helm.toolkit.fluxcd.io")
                .expect("HelmRelease is always there");
            let path = "/schema/openAPIV3Schema/properties/spec/properties/install/properties/strategy";
            manifest["spec"]["versions"][0].pointer(path).is_some()
        };
        assert!(!has(FluxRelease::V2_6));
        assert!(has(FluxRelease::V2_7));
    }
}
