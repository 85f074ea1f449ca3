//! Kustomization of kustomize-controller. Nothing fakes it yet; the schema is here for GitOps mode.

use serde_json::json;

use super::super::definition::{Definition, Version};
use super::super::schema::{Schema, flag, list, long, map, moment, name_only, object, text};
use super::FluxRelease::{self, V2_5, V2_7, V2_9};
use super::{AGE, READY, STATUS, categories, interval, inventory, namespace_name, status};

pub(super) fn definition(release: FluxRelease) -> Definition {
    let names: &[&str] = match release {
        _ if release < V2_7 => &["v1", "v1beta2", "v1beta1"],
        V2_7 => &["v1", "v1beta2"],
        _ => &["v1"],
    };
    let version = |(index, name): (usize, &&'static str)| Version {
        name,
        storage: index == 0,
        deprecated: index != 0,
        columns: vec![AGE, READY, STATUS],
        description: "A wish that the manifests under one path of a source are applied.",
        spec: spec(release),
        status: whole_status(release),
    };
    Definition {
        group: "kustomize.toolkit.fluxcd.io",
        kind: "Kustomization",
        plural: "kustomizations",
        short_names: &["ks"],
        categories: categories(release, &["all", "fluxcd", "fluxcd-appliers"]),
        versions: names.iter().enumerate().map(version).collect(),
    }
}

fn spec(release: FluxRelease) -> Schema {
    let kinds: &[&str] = if release >= V2_7 {
        &["OCIRepository", "GitRepository", "Bucket", "ExternalArtifact"]
    } else {
        &["OCIRepository", "GitRepository", "Bucket"]
    };
    let source = super::source_reference(kinds).may("namespace", text()).may("name", text());
    let values = object()
        .need("kind", text().one_of(&["Secret", "ConfigMap"]))
        .need("name", text().length(1, 253))
        .may("optional", flag().default(json!(false)));
    object()
        .need("interval", interval())
        .need("prune", flag())
        .need("sourceRef", source)
        .may("path", text())
        .may("retryInterval", interval())
        .may("timeout", interval())
        .may("wait", flag())
        .may("suspend", flag())
        .may("force", flag().default(json!(false)))
        .may("targetNamespace", namespace_name())
        .may("serviceAccountName", text())
        .may("dependsOn", list(object().need("name", text()).may("namespace", text())))
        .may("postBuild", object().may("substitute", map(text())).may("substituteFrom", list(values)))
        .may("decryption", object().need("provider", text().one_of(&["sops"])).may("secretRef", name_only()))
        .only_if(release >= V2_5, |spec| {
            spec.may("deletionPolicy", text().one_of(&["MirrorPrune", "Delete", "WaitForTermination", "Orphan"]))
        })
}

fn whole_status(release: FluxRelease) -> Schema {
    let history = object()
        .need("digest", text())
        .need("firstReconciled", moment())
        .need("lastReconciled", moment())
        .need("lastReconciledDuration", text())
        .need("lastReconciledStatus", text())
        .need("totalReconciliations", long())
        .may("metadata", map(text()));
    status()
        .may("lastAppliedRevision", text())
        .may("lastAttemptedRevision", text())
        .may("inventory", inventory())
        .only_if(release >= V2_9, |status| status.may("history", list(history)))
}
