//! S28: whatever a job contains, the operator writes only kinds that are granted to it, and only where they are granted:
//! our kinds and their children in namespaces that opted in, our stores in our own namespace, and the Cluster.
//!
//! In a namespace that withdrew its label nothing is written after ten seconds but the removal of our finalizer
//! (contract §4.3).

use std::collections::BTreeMap;
use std::time::Duration;

use fakes::apiserver::Commit;
use fakes::history::{Event, Record};

use super::Oracle;
use super::s11::gated;
use crate::truth::identity::SYSTEM;
use crate::truth::{
    CLUSTERS, FINALIZER, HELM_REPOSITORIES, INSTANCES, OCI_REPOSITORIES, OPERATIONS, RELEASES, Truth, has_finalizer,
    is_operator,
};

/// S28.
#[derive(Default)]
pub(super) struct WithinItsRights {
    /// When a namespace lost its label.
    closed: BTreeMap<String, Duration>,
}

/// After this a namespace without the label is left alone.
const REMOVAL: Duration = Duration::from_secs(10);

/// What the operator writes in namespaces that opted in (contract §24).
const IN_GATED: [&str; 18] = [
    INSTANCES,
    OPERATIONS,
    RELEASES,
    OCI_REPOSITORIES,
    HELM_REPOSITORIES,
    "configmaps",
    "leases.coordination.k8s.io",
    "events",
    "events.events.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
    "serviceaccounts",
    "persistentvolumeclaims",
    "jobs.batch",
    "workflows.argoproj.io",
    "volumesnapshots.snapshot.storage.k8s.io",
    "replicationsources.volsync.backube",
    "replicationdestinations.volsync.backube",
    "roles.rbac.authorization.k8s.io",
];
/// In its own namespace.
const IN_OURS: [&str; 5] = ["configmaps", "secrets", "leases.coordination.k8s.io", "events", "events.events.k8s.io"];
/// Operations act through Velero in its namespace.
const IN_VELERO: [&str; 4] =
    ["backups.velero.io", "restores.velero.io", "configmaps", "backupstoragelocations.velero.io"];

impl Oracle for WithinItsRights {
    fn id(&self) -> &'static str {
        "S28"
    }

    fn promise(&self) -> &'static str {
        "the operator writes granted kinds in granted namespaces, whatever a job contains"
    }

    fn step(&mut self, record: &Record, truth: &Truth) -> Result<(), String> {
        let Event::Commit(commit) = &record.event else { return Ok(()) };
        if commit.resource == "namespaces" {
            if opted_in(truth, &commit.name) {
                self.closed.remove(&commit.name);
            } else {
                self.closed.entry(commit.name.clone()).or_insert(record.at);
            }
        }
        if !is_operator(&record.actor) || self.granted(commit, record.at, truth) {
            return Ok(());
        }
        let place = commit.namespace.as_deref().unwrap_or("the cluster");
        Err(format!("{} {} was written in {place}, where it is not granted", commit.resource, commit.name))
    }
}

impl WithinItsRights {
    fn granted(&self, commit: &Commit, at: Duration, truth: &Truth) -> bool {
        let resource = &*commit.resource;
        let Some(namespace) = commit.namespace.as_deref().filter(|namespace| !namespace.is_empty()) else {
            // Events about cluster-scoped objects lie in `default`.
            return matches!(resource, CLUSTERS | "validatingwebhookconfigurations.admissionregistration.k8s.io");
        };
        match namespace {
            SYSTEM => IN_OURS.contains(&resource),
            "velero" => IN_VELERO.contains(&resource),
            "default" if resource.starts_with("events") => true,
            _ if opted_in(truth, namespace) => IN_GATED.contains(&resource),
            _ => {
                let recently = self.closed.get(namespace).is_some_and(|closed| at.saturating_sub(*closed) <= REMOVAL);
                (recently && IN_GATED.contains(&resource)) || only_frees(commit)
            }
        }
    }
}

/// Whether a namespace is known to have opted in.
fn opted_in(truth: &Truth, namespace: &str) -> bool {
    truth.get("namespaces", "", namespace).is_some() && gated(truth, namespace)
}

/// Whether the commit removes our finalizer.
fn only_frees(commit: &Commit) -> bool {
    let ours = matches!(&*commit.resource, INSTANCES | OPERATIONS);
    ours && commit.before.as_deref().is_some_and(|before| has_finalizer(before, FINALIZER))
        && commit.after.as_deref().is_none_or(|after| !has_finalizer(after, FINALIZER))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::story::{OPERATOR, Story, instance, release, secret, store, with};
    use super::*;

    fn namespace(label: &str) -> Value {
        json!({ "kind": "Namespace", "metadata": { "name": "org-a", "labels": { "app.vworkspace.io/managed-by": label } } })
    }

    fn told() -> Story<WithinItsRights> {
        Story::new().commit("user", &namespace("vworkspace"))
    }

    #[test]
    fn a_write_where_nobody_opted_in_is_seen() {
        let elsewhere = with(&instance(), &json!({ "metadata": { "namespace": "kube-system" } }));
        told().commit(OPERATOR, &elsewhere).breaks("in kube-system");
    }

    #[test]
    fn a_kind_that_is_not_granted_is_seen() {
        let secret = with(&secret("stolen", &[]), &json!({ "metadata": { "namespace": "org-a" } }));
        told().commit(OPERATOR, &secret).breaks("secrets stolen");
    }

    #[test]
    fn a_write_long_after_the_label_went_is_seen() {
        told().commit("user", &namespace("")).later(11).commit(OPERATOR, &release()).breaks("in org-a");
    }

    #[test]
    fn its_own_stores_its_kinds_and_the_last_seconds_hold() {
        let free = with(&instance(), &json!({ "metadata": { "finalizers": null } }));
        told()
            .commit(OPERATOR, &store("vworkspace-job-1", "entry.json", &json!({})))
            .commit(OPERATOR, &secret("vworkspace-agent-credentials", &[]))
            .commit(OPERATOR, &instance())
            .commit("user", &namespace(""))
            .later(9)
            .commit(OPERATOR, &release())
            .later(600)
            .commit(OPERATOR, &free)
            .holds();
    }
}
