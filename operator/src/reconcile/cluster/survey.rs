//! What the status says of the rest of the cluster: namespaces, controllers, CRDs, stores of the other loops. Read once a
//! minute, apart from what identity and contact need; a pass without it leaves what was said.

use serde_json::Value;

use crate::api::{gated, label};
use crate::cluster_api::{ApiError, ClusterApi, Key, Kind, Object, Scope};
use crate::foreign::{core, flux};
use crate::policy::Settings;
use crate::reconcile::connection::SecretPlace;
use crate::reconcile::report::{cursor, outbox};

/// One look around.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Survey {
    /// The gated namespaces: name and Pod Security level.
    pub namespaces: Vec<(String, Option<String>)>,
    /// Releases of ours.
    pub releases: Vec<Observed>,
    /// The CRDs of our kinds, by file name; `None` where one is missing.
    pub definitions: Vec<(String, Option<Object>)>,
    /// The keys that sign job payloads.
    pub keys: Option<Object>,
    /// Transitions that were dropped and are not healed yet.
    pub dropped: i64,
    /// `notes.json` of the ledger.
    pub notes: Option<Value>,
    /// The outbox, read only where something has to be put into it.
    pub outbox: Option<Object>,
}

/// What tells whether a controller is at work: does it see what was asked?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Namespace and name.
    pub name: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// The newest generation that its status or a condition speaks of. The status alone is no sign: Flux moves its
    /// `observedGeneration` only when an attempt ended. A suspended release is not looked at, and counts as seen.
    pub observed: i64,
    /// When this generation was asked for at the latest, as far as the record of ownership tells.
    pub asked: Option<String>,
}

impl Observed {
    fn read(object: &Object) -> Self {
        let writes = object.0.pointer("/metadata/managedFields").and_then(Value::as_array);
        let asked = writes
            .into_iter()
            .flatten()
            .filter(|entry| entry["subresource"].is_null())
            .filter_map(|entry| entry["time"].as_str())
            .max();
        let status = |field: &str| object.0.pointer(&format!("/status/{field}")).and_then(Value::as_i64);
        let conditions = crate::foreign::conditions(object).into_iter().map(|condition| condition.observed_generation);
        let seen = conditions.chain([status("observedGeneration"), status("lastAttemptedGeneration")]).flatten().max();
        let suspended = object.0.pointer("/spec/suspend") == Some(&Value::Bool(true));
        Self {
            name: format!("{}/{}", object.namespace().unwrap_or_default(), object.name()),
            generation: object.generation(),
            observed: if suspended { object.generation() } else { seen.unwrap_or_default() },
            asked: asked.map(String::from),
        }
    }

    /// Whether the controller has not seen the newest generation.
    pub(super) fn behind(&self) -> bool {
        self.observed < self.generation
    }
}

/// Looks around. `upgraded`: something has to be put into the outbox.
///
/// # Errors
/// A read failed.
pub(super) async fn survey<A: ClusterApi>(
    api: &A,
    settings: &Settings,
    place: &SecretPlace,
    upgraded: bool,
) -> Result<Survey, ApiError> {
    let mut found = Survey::default();
    let none: Value = Value::Null;
    for namespace in api.list(&core::namespace(), &Scope::all().lean()).await? {
        if gated(namespace.0.pointer("/metadata/labels").unwrap_or(&none)) {
            let level = namespace.label(label::POD_SECURITY_ENFORCE).map(String::from);
            found.namespaces.push((namespace.name().into(), level));
        }
    }
    if let Some(kind) = flux::helm_release(&settings.caps) {
        // One namespace after the other: whole objects are large, and of each a few numbers are kept.
        for (namespace, _) in &found.namespaces {
            found.releases.extend(releases(api, &kind, namespace).await?);
        }
    }
    for (name, _) in crate::api::crd::all() {
        let definition = api.get(&Key::cluster(&core::definition(), &name)).await?;
        found.definitions.push((name, definition));
    }
    let secret = Key::namespaced(&core::secret(), &place.namespace, super::exchange::KEYS);
    found.keys = api.get(&secret).await?;
    let page = api.get(&cursor::Place::First.key(&place.namespace)).await?;
    let mut pages = vec![page];
    if pages[0].as_ref().and_then(cursor::read).is_some_and(|first| first.sharded) {
        for shard in cursor::Place::shards() {
            pages.push(api.get(&shard.key(&place.namespace)).await?);
        }
    }
    found.dropped = cursor::dropped(pages.iter().flatten());
    let ledger = Key::namespaced(&core::config_map(), &place.namespace, "vworkspace-applied-jobs");
    let ledger = api.get(&ledger).await?;
    let notes = ledger.as_ref().and_then(|ledger| ledger.0.pointer("/data/notes.json")?.as_str());
    found.notes = notes.and_then(|notes| serde_json::from_str(notes).ok());
    if upgraded {
        found.outbox = api.get(&outbox::key(&place.namespace)).await?;
    }
    Ok(found)
}

async fn releases<A: ClusterApi>(api: &A, kind: &Kind, namespace: &str) -> Result<Vec<Observed>, ApiError> {
    let ours = format!("{}={}", label::MANAGED_BY, label::OPERATOR);
    match api.list(kind, &Scope::namespace(namespace).labelled(&ours)).await {
        Ok(all) => Ok(all.iter().map(Observed::read).collect()),
        // Rights there, or the kind, went: nothing there can be judged.
        Err(ApiError::Forbidden { .. } | ApiError::Unserved { .. } | ApiError::Missing) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_generation_is_seen_when_anything_in_the_status_speaks_of_it() {
        let behind = |spec: Value, status: Value| {
            let metadata = json!({"name": "files", "namespace": "org-a", "generation": 2});
            Observed::read(&Object(json!({"metadata": metadata, "spec": spec, "status": status}))).behind()
        };
        let condition = |generation: i64| json!([{"type": "Ready", "status": "False", "reason": "UpgradeFailed", "observedGeneration": generation}]);
        assert!(behind(json!({}), json!({})) && behind(json!({}), json!({"observedGeneration": 1})));
        assert!(behind(json!({}), json!({"observedGeneration": 1, "conditions": condition(1)})));
        assert!(!behind(json!({}), json!({"observedGeneration": 1, "conditions": condition(2)})));
        assert!(!behind(json!({}), json!({"observedGeneration": -1, "lastAttemptedGeneration": 2})));
        assert!(!behind(json!({"suspend": true}), json!({"observedGeneration": 1})));
    }
}
