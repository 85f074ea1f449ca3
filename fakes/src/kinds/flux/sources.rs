//! Sources of source-controller: HelmRepository, OCIRepository, HelmChart, GitRepository.

use serde_json::json;

use super::super::definition::{Definition, Version};
use super::super::schema::{Schema, flag, list, name_only, object, text};
use super::FluxRelease::{self, V2_0, V2_4, V2_6, V2_7, V2_9};
use super::{AGE, READY, STATUS, artifact, categories, fetch_timeout, interval, status};

const GROUP: &str = "source.toolkit.fluxcd.io";
const URL: (&str, &str, &str) = ("URL", "string", ".spec.url");

fn versions(
    names: &[&'static str],
    columns: &[(&'static str, &'static str, &'static str)],
    description: &'static str,
    schemas: impl Fn(&str) -> (Schema, Schema),
) -> Vec<Version> {
    let storage = if names.contains(&"v1") { "v1" } else { "v1beta2" };
    names
        .iter()
        .map(|name| {
            let (spec, status) = schemas(name);
            Version {
                name,
                storage: *name == storage,
                deprecated: *name != storage,
                columns: columns.to_vec(),
                description,
                spec,
                status,
            }
        })
        .collect()
}

/// Versions of HelmRepository and HelmChart, which moved together.
fn helm_versions(release: FluxRelease) -> &'static [&'static str] {
    match release {
        V2_0 => &["v1beta2"],
        _ if release < V2_7 => &["v1", "v1beta2", "v1beta1"],
        V2_7 => &["v1", "v1beta2"],
        _ => &["v1"],
    }
}

fn source_categories(release: FluxRelease) -> &'static [&'static str] {
    categories(release, &["all", "fluxcd", "fluxcd-sources"])
}

/// `status` of a source that offers an artifact.
fn artifact_status(release: FluxRelease) -> Schema {
    status().may("artifact", artifact(release)).may("url", text())
}

fn cloud(names: &[&str]) -> Schema {
    text().one_of(names).default(json!("generic"))
}

fn verification(release: FluxRelease, trusted_root: bool) -> Schema {
    let identity = object().need("issuer", text()).need("subject", text());
    object()
        .need("provider", text().one_of(&["cosign", "notation"]).default(json!("cosign")))
        .may("secretRef", name_only())
        .may("matchOIDCIdentity", list(identity))
        .only_if(trusted_root && release >= V2_9, |verify| verify.may("trustedRootSecretRef", name_only()))
}

pub(super) fn helm_repository(release: FluxRelease) -> Definition {
    let description = "A Helm repository: an index over HTTP, or a static pointer to an OCI registry.";
    let schemas = |version: &str| {
        if version == "v1beta1" {
            return (object().need("url", text()).need("interval", text()).may("suspend", flag()), status());
        }
        let whole = object().need("url", repository_url(release));
        let whole = if release == V2_0 {
            whole.need("interval", interval()).may("timeout", fetch_timeout().default(json!("60s")))
        } else {
            whole.may("interval", interval()).may("timeout", fetch_timeout())
        };
        let spec = whole
            .may("type", text().one_of(&["default", "oci"]))
            .may("secretRef", name_only())
            .may("passCredentials", flag())
            .may("suspend", flag())
            .only_if(release > V2_0, |spec| {
                spec.may("provider", cloud(&["generic", "aws", "azure", "gcp"]))
                    .may("certSecretRef", name_only())
                    .may("insecure", flag())
            });
        (spec, artifact_status(release))
    };
    Definition {
        group: GROUP,
        kind: "HelmRepository",
        plural: "helmrepositories",
        short_names: &["helmrepo"],
        categories: source_categories(release),
        versions: versions(helm_versions(release), &[URL, AGE, READY, STATUS], description, schemas),
    }
}

fn repository_url(release: FluxRelease) -> Schema {
    if release == V2_0 { text() } else { text().pattern("^(http|https|oci)://.*$") }
}

pub(super) fn oci_repository(release: FluxRelease) -> Definition {
    let names: &[&str] = match release {
        _ if release < V2_6 => &["v1beta2"],
        V2_6 | V2_7 => &["v1", "v1beta2"],
        _ => &["v1"],
    };
    let schemas = |_: &str| {
        let reference = object().may("digest", text()).may("semver", text()).may("tag", text());
        let reference = reference.only_if(release > V2_0, |reference| reference.may("semverFilter", text()));
        let layer = || object().may("mediaType", text()).may("operation", text().one_of(&["extract", "copy"]));
        let spec = object()
            .need("url", text().pattern("^oci://.*$"))
            .need("interval", interval())
            .may("ref", reference.says("Digest wins over range, range over tag."))
            .may("timeout", fetch_timeout().default(json!("60s")))
            .may("layerSelector", layer())
            .may("provider", cloud(&["generic", "aws", "azure", "gcp"]))
            .may("secretRef", name_only())
            .may("serviceAccountName", text())
            .may("certSecretRef", name_only())
            .may("insecure", flag())
            .may("ignore", text())
            .may("suspend", flag())
            .only_if(release > V2_0, |spec| spec.may("verify", verification(release, true)))
            .only_if(release >= V2_4, |spec| spec.may("proxySecretRef", name_only()));
        let status = artifact_status(release).may("observedIgnore", text()).may("observedLayerSelector", layer());
        (spec, status)
    };
    Definition {
        group: GROUP,
        kind: "OCIRepository",
        plural: "ocirepositories",
        short_names: &["ocirepo"],
        categories: source_categories(release),
        versions: versions(names, &[URL, READY, STATUS, AGE], "One artifact in an OCI registry.", schemas),
    }
}

pub(super) fn helm_chart(release: FluxRelease) -> Definition {
    let schemas = |version: &str| {
        let reference = object()
            .may("apiVersion", text())
            .need("kind", text().one_of(&["HelmRepository", "GitRepository", "Bucket"]))
            .need("name", text());
        if version == "v1beta1" {
            let spec = object().need("chart", text()).need("interval", text()).need("sourceRef", reference);
            return (spec, status());
        }
        let spec = object()
            .need("chart", text())
            .need("interval", interval())
            .need("sourceRef", reference)
            .may("version", text().default(json!("*")))
            .may("reconcileStrategy", text().one_of(&["ChartVersion", "Revision"]).default(json!("ChartVersion")))
            .may("valuesFiles", list(text()))
            .may("suspend", flag())
            .only_if(release > V2_0, |spec| {
                spec.may("ignoreMissingValuesFiles", flag()).may("verify", verification(release, false))
            })
            .only_if(release >= V2_7, |spec| {
                spec.rule(
                    "!has(self.verify) || self.sourceRef.kind == 'HelmRepository'",
                    "spec.verify is only supported when spec.sourceRef.kind is 'HelmRepository'",
                )
            });
        let status = artifact_status(release)
            .may("observedChartName", text())
            .may("observedSourceArtifactRevision", text())
            .only_if(release > V2_0, |status| status.may("observedValuesFiles", list(text())));
        (spec, status)
    };
    let columns = [
        ("Chart", "string", ".spec.chart"),
        ("Version", "string", ".spec.version"),
        ("Source Kind", "string", ".spec.sourceRef.kind"),
        ("Source Name", "string", ".spec.sourceRef.name"),
        AGE,
        READY,
        STATUS,
    ];
    Definition {
        group: GROUP,
        kind: "HelmChart",
        plural: "helmcharts",
        short_names: &["hc"],
        categories: source_categories(release),
        versions: versions(helm_versions(release), &columns, "One chart of one repository.", schemas),
    }
}

pub(super) fn git_repository(release: FluxRelease) -> Definition {
    let names: &[&str] = match release {
        _ if release < V2_7 => &["v1", "v1beta2", "v1beta1"],
        V2_7 => &["v1", "v1beta2"],
        _ => &["v1"],
    };
    let schemas = |_: &str| {
        let reference = ["branch", "tag", "semver", "commit", "name"]
            .iter()
            .fold(object(), |reference, field| reference.may(field, text()));
        let verify = object()
            .need("secretRef", name_only())
            .may("mode", text().one_of(&["head", "HEAD", "Tag", "TagAndHEAD"]).default(json!("HEAD")));
        let spec = object()
            .need("url", text().pattern("^(http|https|ssh)://.*$"))
            .need("interval", interval())
            .may("ref", reference)
            .may("timeout", fetch_timeout().default(json!("60s")))
            .may("secretRef", name_only())
            .may("verify", verify)
            .may("ignore", text())
            .may("suspend", flag())
            .may("recurseSubmodules", flag())
            .only_if(release >= V2_9, |spec| {
                spec.may("provider", text().one_of(&["generic", "aws", "azure", "github"]))
                    .may("serviceAccountName", text())
                    .may("proxySecretRef", name_only())
                    .may("sparseCheckout", list(text()))
                    .rule(
                        "!has(self.serviceAccountName) || (has(self.provider) && (self.provider == 'azure' || \
                         self.provider == 'aws'))",
                        "serviceAccountName can only be set when provider is 'azure' or 'aws'",
                    )
            });
        let status = status()
            .may("artifact", artifact(release))
            .may("includedArtifacts", list(artifact(release)))
            .may("observedIgnore", text())
            .may("observedRecurseSubmodules", flag())
            .only_if(release >= V2_9, |status| {
                status.may("observedSparseCheckout", list(text())).may("sourceVerificationMode", text())
            });
        (spec, status)
    };
    Definition {
        group: GROUP,
        kind: "GitRepository",
        plural: "gitrepositories",
        short_names: &["gitrepo"],
        categories: source_categories(release),
        versions: versions(names, &[URL, AGE, READY, STATUS], "One reference of one Git repository.", schemas),
    }
}
