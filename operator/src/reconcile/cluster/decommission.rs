//! Deletion of the Cluster: the control plane is told, what belongs to this identity goes, applications stay
//! (contract §15.4).

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::status::{Findings, effects, remark};
use super::{Snapshot, Tried};
use crate::api::cluster::ClusterPhase;
use crate::api::{annotation, finalizer};
use crate::cluster_api::{ApiError, ClusterApi, Key, Manager, Object, Preconditions, Propagation, Scope, Uid};
use crate::foreign::{core, fields};
use crate::protocol::Trouble;
use crate::reconcile::connection::SecretPlace;
use crate::reconcile::link::Standing;
use crate::reconcile::{Effect, Plan};

/// Results and events may take so long to be told.
const FLUSH: Duration = Duration::from_secs(30);
/// The control plane may take so long to answer.
const PATIENCE: Duration = Duration::from_secs(600);

/// ConfigMaps that are bound to an identity (contract §3.4), besides those of single jobs. The approval ledger stays: an
/// approval that was used stays used.
const STORES: [&str; 4] =
    ["vworkspace-applied-jobs", "vworkspace-event-cursor", "vworkspace-event-outbox", "vworkspace-catalog-policy"];
/// ConfigMaps of single jobs.
const JOB: &str = "vworkspace-job-";

/// How long until the next attempt.
pub(super) fn delays(_: &Trouble) -> (Duration, Duration) {
    (Duration::from_secs(1), Duration::from_secs(60))
}

/// What goes with the identity.
pub(super) async fn stores<A: ClusterApi>(api: &A, place: &SecretPlace) -> Result<Vec<(Key, Option<Uid>)>, ApiError> {
    let kind = core::config_map();
    let all = api.list(&kind, &Scope::namespace(&place.namespace).lean()).await?;
    let ours = |name: &str| STORES.contains(&name) || name.starts_with(JOB);
    let mut keys: Vec<(Key, Option<Uid>)> = all
        .iter()
        .filter(|map| ours(map.name()))
        .map(|map| (Key::namespaced(&kind, &place.namespace, map.name()), map.uid()))
        .collect();
    let signing = Key::namespaced(&core::secret(), &place.namespace, super::exchange::KEYS);
    if let Some(found) = api.get(&signing).await? {
        keys.push((signing, found.uid()));
    }
    Ok(keys)
}

/// Whether the control plane counts as told.
enum Told {
    Yes,
    No,
    GivenUp,
}

fn told(snapshot: &Snapshot, cluster: &Object) -> Told {
    let reachable = snapshot.connection.endpoint.is_some() && snapshot.connection.token().is_some();
    let ended = snapshot.attempts.decommission.as_ref().map(|tried| &tried.ended);
    let forced = cluster.annotation(annotation::FORCE_DECOMMISSION) == Some("true");
    match ended {
        // Nobody to tell: there is no endpoint, or no credential that could say who asks.
        _ if !reachable => Told::Yes,
        Some(
            Ok(()) | Err(Trouble::Unauthorized | Trouble::Forbidden { .. } | Trouble::NotFound | Trouble::Conflict),
        ) => Told::Yes,
        Some(Err(_)) if forced || snapshot.given.deleting >= PATIENCE => Told::GivenUp,
        _ => Told::No,
    }
}

/// One step of the deletion.
pub(super) fn plan(snapshot: &Snapshot, cluster: &Object, now: Timestamp) -> Plan {
    if !cluster.has_finalizer(finalizer::CLUSTER) {
        return Plan::idle("our part of the deletion is done");
    }
    let mut findings = Findings::default();
    findings.set("phase", serde_json::to_value(ClusterPhase::Terminating).unwrap_or_default());
    let mut all = effects(snapshot, cluster, findings, now);
    let soon = |effects, wake: Duration, why: &str| Plan { effects, wake: Some(wake), why: why.into() };
    if !all.is_empty() {
        return soon(all, Duration::ZERO, "the Cluster is being deleted");
    }
    let told = told(snapshot, cluster);
    let rejected = snapshot.seen.standing == Standing::Rejected;
    let forced = cluster.annotation(annotation::FORCE_DECOMMISSION) == Some("true");
    match told {
        Told::No if !snapshot.seen.told && !rejected && !forced && snapshot.given.deleting < FLUSH => {
            return soon(all, Duration::from_secs(1), "telling results and events before the end");
        }
        Told::No => {
            let wait = snapshot.attempts.decommission.as_ref().map_or(Duration::ZERO, |Tried { wait, .. }| *wait);
            if wait.is_zero() {
                all.push(Effect::Decommission);
            }
            return soon(all, wait.max(Duration::from_millis(500)), "telling the control plane");
        }
        Told::GivenUp => {
            let message = "the control plane could not be told that this cluster is gone: remove it there by hand";
            all.push(remark(snapshot, cluster, "DecommissionUnconfirmed", message, now));
        }
        Told::Yes => {}
    }
    let delete = |key: &Key, uid: &Option<Uid>| Effect::Delete {
        key: key.clone(),
        only_if: Preconditions { uid: uid.clone(), version: None },
        how: Propagation::Background,
    };
    all.extend(snapshot.stores.iter().map(|(key, uid)| delete(key, uid)));
    if let Some(credentials) = &snapshot.connection.credentials {
        let key = Key::namespaced(&core::secret(), &snapshot.place.namespace, &snapshot.place.name);
        all.push(delete(&key, &credentials.uid));
    }
    all.push(remove_finalizer(cluster));
    Plan { effects: all, wake: None, why: "the identity of this cluster goes".into() }
}

/// Our finalizer, by an apply that lists everything we own in the Cluster's metadata.
pub(super) fn add_finalizer(cluster: &Object) -> Effect {
    Effect::Apply { object: metadata(cluster, true), manager: Manager::Operator, force: false }
}

/// Without our finalizer; one that an older agent wrote too goes by a patch of the whole list.
pub(super) fn remove_finalizer(cluster: &Object) -> Effect {
    if fields::finalizer_is_ours_alone(cluster, finalizer::CLUSTER) {
        return Effect::Apply { object: metadata(cluster, false), manager: Manager::Operator, force: false };
    }
    let all = cluster.0.pointer("/metadata/finalizers").and_then(Value::as_array);
    let others: Vec<&Value> =
        all.into_iter().flatten().filter(|name| name.as_str() != Some(finalizer::CLUSTER)).collect();
    let mut merge = serde_json::json!({ "metadata": { "finalizers": others } });
    if let Some(version) = cluster.version() {
        merge["metadata"]["resourceVersion"] = Value::String(version.0);
    }
    let uid = cluster.uid().unwrap_or_else(|| Uid(String::new()));
    Effect::Patch { key: super::decide::key(cluster), uid, merge }
}

fn metadata(cluster: &Object, with_finalizer: bool) -> Object {
    let mut metadata = serde_json::json!({ "name": cluster.name() });
    if let Some(uid) = cluster.uid() {
        metadata["uid"] = Value::String(uid.0);
    }
    if with_finalizer {
        metadata["finalizers"] = serde_json::json!([finalizer::CLUSTER]);
    }
    Object(serde_json::json!({
        "apiVersion": crate::api::OPS_API_VERSION, "kind": "Cluster", "metadata": metadata,
    }))
}
