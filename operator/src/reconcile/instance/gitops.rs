//! Where an instance that came from Git came from: the revision of its Kustomization, recorded once the instance is ready, or
//! has failed for good, at its generation (contract §21).

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::decide::revised;
use super::status::{Findings, effects};
use super::{Snapshot, held};
use crate::api::annotation::APPLIED_REVISION;
use crate::api::cluster::ConnectivityMode;
use crate::api::common::GitSource;
use crate::cluster_api::{ApiError, ClusterApi, Key, Object};
use crate::foreign::{fields, flux, string};
use crate::policy::Settings;
use crate::reconcile::Plan;
use crate::reconcile::report::commit_status::outcome_at;

/// The labels that kustomize-controller puts on what it applies.
const NAME: &str = "kustomize.toolkit.fluxcd.io/name";
const NAMESPACE: &str = "kustomize.toolkit.fluxcd.io/namespace";

/// A new commit need not change an instance, and Kustomizations are not watched: they are looked at this often.
const LOOK: Duration = Duration::from_secs(60);

fn from_git(instance: &Object, settings: &Settings) -> bool {
    settings.cluster.connectivity_mode.is(ConnectivityMode::Gitops) && instance.label(NAME).is_some()
}

/// What the Kustomization of the instance has applied; `None` where there is none, or it may not be read.
pub(super) async fn read<A: ClusterApi>(
    api: &A,
    instance: &Object,
    settings: &Settings,
) -> Result<Option<GitSource>, ApiError> {
    let (Some(name), Some(namespace)) = (instance.label(NAME), instance.label(NAMESPACE)) else { return Ok(None) };
    let Some(kind) = flux::kustomization(&settings.caps).filter(|_| from_git(instance, settings)) else {
        return Ok(None);
    };
    match api.get(&Key::namespaced(&kind, namespace, name)).await {
        Ok(found) => Ok(found.and_then(|found| {
            let revision = string(&found, "/status/lastAppliedRevision").filter(|text| !text.is_empty())?;
            Some(GitSource {
                kind: Some("Kustomization".into()),
                namespace: Some(namespace.into()),
                name: Some(name.into()),
                revision: Some(revision),
            })
        })),
        Err(ApiError::Forbidden { .. } | ApiError::Unserved { .. } | ApiError::Missing) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The plan with the record in it, once nothing else is to be done.
pub(super) fn recorded(mut plan: Plan, snapshot: &Snapshot, instance: &Object, now: Timestamp) -> Plan {
    if !from_git(instance, &snapshot.settings) {
        return plan;
    }
    plan.wake = Some(plan.wake.map_or(LOOK, |wake| wake.min(LOOK)));
    let (Some(source), true) = (&snapshot.applied, plan.effects.is_empty()) else { return plan };
    let Some(revision) = source.revision.as_deref().filter(|_| outcome_at(instance).is_some()) else { return plan };
    let mut findings = Findings::nothing(instance.generation());
    findings.fields.insert("source", Some(json!(source)));
    plan.effects = effects(snapshot, findings, now);
    let annotation = ["metadata", "annotations", APPLIED_REVISION];
    // What Git writes itself is not ours to correct.
    let free = !fields::others(instance, &annotation);
    if plan.effects.is_empty() && free && instance.annotation(APPLIED_REVISION) != Some(revision) {
        plan.effects.push(revised(instance, held(instance), revision));
    } else if !plan.effects.is_empty() {
        // The annotation follows in a pass of its own: the status write has moved the version.
        plan.wake = Some(Duration::from_secs(5));
    }
    plan
}
