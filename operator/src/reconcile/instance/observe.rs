//! Reads what one decision needs: the instance first, and the rest only as far as it matters for the state it is in. Every
//! read is a quorum read. A pass over a release that is on its way costs five reads.

use serde_json::Value;

use super::intent::{Intent, helm, intent, noted, release_name, values_reference, writes};
use super::{Look, Ownership, Rival, Snapshot, held, orphaning, ownership, paused};
use crate::api::{label, names};
use crate::cluster_api::{ApiError, ClusterApi, Key, Kind, Object, Scope};
use crate::engine::{Children, Progress, Role, Wish};
use crate::foreign::core::{self, Revision};
use crate::foreign::{fields, flux};
use crate::policy::Settings;
use crate::policy::gate::{Gate, Intake, gate, intake};

/// One consistent view of an instance, or the first read that failed. `None`: it is gone and left nothing behind.
///
/// # Errors
/// Any read that failed, except that in a namespace which is going away, or that is not ours any more, a forbidden read
/// counts as absent: the rights there went first (contract §6.7).
pub async fn observe<A: ClusterApi>(api: &A, key: &Key, settings: &Settings) -> Result<Option<Snapshot>, ApiError> {
    let mut snapshot = Snapshot::empty(key, settings);
    let namespace = key.namespace.clone().unwrap_or_default();
    snapshot.instance = api.get(key).await?;
    let Some(instance) = snapshot.instance.clone() else {
        snapshot.rest = Some(left_behind(api, key, settings).await?);
        return Ok(snapshot.rest.as_ref().is_some_and(|rest| !rest.is_empty()).then_some(snapshot));
    };
    snapshot.namespace = api.get(&Key::cluster(&core::namespace(), &namespace)).await?;
    let gate = gate(snapshot.namespace.as_ref());
    let managed = intake(&instance) == Intake::Managed;
    let ours = managed || held(&instance);
    if !ours {
        return Ok(Some(snapshot));
    }
    let reader = Reader { api, namespace: &namespace, lenient: gate != Gate::Open };
    if let (Some(release), Some(kind)) = (release_name(&instance), flux::helm_release(&settings.caps)) {
        snapshot.release = reader.look(&kind, release).await?;
        snapshot.lease = reader.find(&core::lease(), &names::target_lease(instance.name())).await?;
    }
    if instance.deleting() {
        if held(&instance) {
            snapshot.stores = super::farewell::read(api, &instance, settings).await?;
        }
        if held(&instance) && gate != Gate::Closed {
            deletion(&reader, &mut snapshot, &instance).await?;
        }
    } else if gate == Gate::Open && managed {
        snapshot.applied = super::gitops::read(api, &instance, settings).await?;
        live(&reader, &mut snapshot, &instance).await?;
    }
    Ok(Some(snapshot))
}

struct Reader<'a, A> {
    api: &'a A,
    namespace: &'a str,
    /// Whether a forbidden read counts as absent.
    lenient: bool,
}

impl<A: ClusterApi> Reader<'_, A> {
    async fn look(&self, kind: &Kind, name: &str) -> Result<Look, ApiError> {
        match self.api.get(&Key::namespaced(kind, self.namespace, name)).await {
            Ok(Some(object)) => Ok(Look::Found(Box::new(object))),
            Ok(None) | Err(ApiError::Missing) => Ok(Look::Absent),
            Err(ApiError::Unserved { .. }) => Ok(Look::Unserved),
            Err(ApiError::Forbidden { .. }) if self.lenient => Ok(Look::Absent),
            Err(error) => Err(error),
        }
    }

    async fn find(&self, kind: &Kind, name: &str) -> Result<Option<Object>, ApiError> {
        Ok(match self.look(kind, name).await? {
            Look::Found(object) => Some(*object),
            _ => None,
        })
    }

    async fn list(&self, kind: &Kind, selector: &str) -> Result<Vec<Object>, ApiError> {
        self.scoped(kind, &Scope::namespace(self.namespace).labelled(selector)).await
    }

    async fn scoped(&self, kind: &Kind, scope: &Scope) -> Result<Vec<Object>, ApiError> {
        match self.api.list(kind, scope).await {
            Err(ApiError::Unserved { .. } | ApiError::Missing) => Ok(Vec::new()),
            Err(ApiError::Forbidden { .. }) if self.lenient => Ok(Vec::new()),
            answer => answer,
        }
    }
}

/// Releases that carry the label of an instance which is gone.
async fn left_behind<A: ClusterApi>(api: &A, key: &Key, settings: &Settings) -> Result<Vec<(Key, Object)>, ApiError> {
    let namespace = key.namespace.as_deref().unwrap_or_default();
    let Some(kind) = flux::helm_release(&settings.caps) else { return Ok(Vec::new()) };
    // Longer names are no label values: nothing was ever made for them, and the server refuses the question.
    if key.name.len() > 63 {
        return Ok(Vec::new());
    }
    let reader = Reader { api, namespace, lenient: true };
    let selector = format!("{}={},{}={}", label::APPLICATION_INSTANCE, key.name, label::MANAGED_BY, label::OPERATOR);
    Ok(keyed(&kind, reader.list(&kind, &selector).await?))
}

fn keyed(kind: &Kind, objects: Vec<Object>) -> Vec<(Key, Object)> {
    let key = |object: &Object| Key::namespaced(kind, object.namespace().unwrap_or_default(), object.name());
    objects.into_iter().map(|object| (key(&object), object)).collect()
}

async fn live<A: ClusterApi>(
    reader: &Reader<'_, A>,
    snapshot: &mut Snapshot,
    instance: &Object,
) -> Result<(), ApiError> {
    let settings = snapshot.settings.clone();
    if let Some(release) = release_name(instance).filter(|_| paused(instance) || orphaning(instance)) {
        snapshot.rest = Some(rest(reader, instance, &settings, release).await?);
    }
    // Whose a release without controller is depends on who else is there, whatever this instance may write.
    let uncontrolled = |release: &&Object| ownership(release, instance, &[]) == Ownership::Orphaned;
    if let (Some(_), Some(name)) = (snapshot.release.found().filter(uncontrolled), release_name(instance)) {
        snapshot.rivals = rivals(reader, instance, name).await?;
    }
    let Intent::Managed(wish) = intent(instance, &settings) else { return Ok(()) };
    let Ok(engine) = helm(&settings) else { return Ok(()) };
    if !writes(instance) {
        return Ok(());
    }
    let Ok(children) = engine.render(&noted((*wish).clone(), snapshot), &settings.caps) else { return Ok(()) };
    let release = snapshot.release.found();
    let owned = release.is_some_and(|release| ownership(release, instance, &[]) == Ownership::Ours);
    let settled = owned
        && children
            .iter()
            .filter(|child| child.role == Role::Release)
            .all(|child| release.is_some_and(|release| fields::settled(release, &child.object)));
    if !owned && snapshot.rivals.is_empty() {
        snapshot.rivals = rivals(reader, instance, &wish.release.name).await?;
    }
    let known = instance.0.pointer("/status/helmReleaseRef").is_some_and(Value::is_object);
    if snapshot.release == Look::Absent && known {
        let definition = reader.api.get(&Key::cluster(&core::definition(), flux::HELM_RELEASES)).await?;
        snapshot.definition_ready = Some(definition.is_some_and(|definition| core::established(&definition)));
    }
    let expected = super::intent::expected(instance, Some(&Intent::Managed(wish.clone())), &settings);
    let seen = Children { release: snapshot.release.found(), ..Children::default() };
    let progress = engine.interpret(&expected, seen).progress;
    let started = !matches!(progress, Progress::NoStatus | Progress::Absent);
    for child in &children {
        match child.role {
            Role::Source if started || !settled => {
                snapshot.source = reader.look(&child.key.kind, &child.key.name).await?;
            }
            // Nobody watches it: that it is gone shows only in a release that fails.
            Role::Values if !settled || progress == Progress::Retrying => {
                snapshot.generated = reader.look(&child.key.kind, &child.key.name).await?;
            }
            _ => {}
        }
    }
    let waits = matches!(
        progress,
        Progress::SourceFetching | Progress::SourceFailing { .. } | Progress::Installing | Progress::Pending
    );
    if let (true, Some(kind)) = (settled && waits, flux::helm_chart(&settings.caps))
        && let Some((of, name)) = chart_of(snapshot.release.found())
        && of == reader.namespace
    {
        snapshot.chart = reader.find(&kind, &name).await?;
    }
    let resting =
        !matches!(progress, Progress::NoStatus | Progress::Unchanged | Progress::Upgrading | Progress::Suspended);
    if !settled || resting || blocked(instance) {
        references(reader, snapshot, &wish).await?;
    }
    let fresh = snapshot.release.found().is_some_and(|release| release.generation() <= 1);
    if settled && matches!(progress, Progress::Succeeded { .. }) && !fresh && !told(instance) {
        snapshot.rest = Some(rest(reader, instance, &settings, &wish.release.name).await?);
    }
    Ok(())
}

/// `status.helmChart` of a release: namespace and name.
fn chart_of(release: Option<&Object>) -> Option<(String, String)> {
    let text = release?.0.pointer("/status/helmChart")?.as_str()?;
    text.split_once('/').map(|(namespace, name)| (namespace.to_string(), name.to_string()))
}

/// Whether the last status already said that this generation is there: then what it superseded is gone too, because
/// deletes come before that status.
fn told(instance: &Object) -> bool {
    condition(instance, "Ready").is_some_and(|ready| {
        ready["status"] == "True" && ready["observedGeneration"].as_i64() == Some(instance.generation())
    })
}

fn blocked(instance: &Object) -> bool {
    condition(instance, "Blocked").is_some_and(|blocked| blocked["status"] == "True")
}

fn condition<'a>(instance: &'a Object, type_: &str) -> Option<&'a Value> {
    let list = instance.0.pointer("/status/conditions")?.as_array()?;
    crate::api::condition::find(list, type_)
}

async fn references<A: ClusterApi>(
    reader: &Reader<'_, A>,
    snapshot: &mut Snapshot,
    wish: &Wish,
) -> Result<(), ApiError> {
    if let Some((kind, _, reference)) = values_reference(wish) {
        let found = reader.find(&kind, &reference.name).await?;
        snapshot.values = Some(found.map(|object| core::revision(&object, Some(&reference.key))));
    }
    if let Some(secret) = &wish.chart.secret_ref {
        let found: Option<Object> = reader.find(&core::secret(), &secret.name).await?;
        snapshot.chart_secret = Some(found.map(|object| -> Revision { core::revision(&object, None) }));
    }
    Ok(())
}

async fn rivals<A: ClusterApi>(
    reader: &Reader<'_, A>,
    instance: &Object,
    release: &str,
) -> Result<Vec<Rival>, ApiError> {
    let kind =
        Kind::namespaced(crate::api::APPS_GROUP, crate::api::VERSION, "ApplicationInstance", "applicationinstances");
    // All of the namespace, for every new instance in it: without what nobody looks at.
    let all = reader.scoped(&kind, &Scope::namespace(reader.namespace).lean()).await?;
    Ok(all
        .iter()
        .filter(|other| other.uid() != instance.uid())
        .map(|other| Rival {
            name: other.name().into(),
            uid: other.uid().map(|uid| uid.0).unwrap_or_default(),
            created: created(other),
            same_release: release_name(other) == Some(release) && intake(other) == Intake::Managed,
        })
        .collect())
}

/// Creation time of an instance, as written.
pub(super) fn created(object: &Object) -> String {
    object.0.pointer("/metadata/creationTimestamp").and_then(Value::as_str).unwrap_or_default().into()
}

/// All sources and generated ConfigMaps of the instance: by kind, derived name and uid together, because other controllers
/// copy labels onto their own objects.
async fn rest<A: ClusterApi>(
    reader: &Reader<'_, A>,
    instance: &Object,
    settings: &Settings,
    release: &str,
) -> Result<Vec<(Key, Object)>, ApiError> {
    let uid = instance.uid().map(|uid| uid.0).unwrap_or_default();
    let selector = format!("{}={uid}", label::INSTANCE_UID);
    let legacy = names::helm_repository(release);
    let mut found = Vec::new();
    if let Some(kind) = flux::oci_repository(&settings.caps) {
        let mut all = reader.list(&kind, &selector).await?;
        // The existing agent gave its OCI source the name of a Helm repository and no label.
        all.extend(reader.find(&kind, &legacy).await?);
        all.retain(|object| names::is_oci_repository(object.name(), release) || object.name() == legacy);
        found.extend(keyed(&kind, all));
    }
    if let Some(kind) = flux::helm_repository(&settings.caps) {
        found.extend(keyed(&kind, reader.find(&kind, &legacy).await?.into_iter().collect()));
    }
    let kind = core::config_map();
    let mut maps = reader.list(&kind, &selector).await?;
    maps.retain(|object| names::is_values_config_map(object.name(), release));
    found.extend(keyed(&kind, maps));
    found.retain(|(_, object)| ownership(object, instance, &[]) == Ownership::Ours);
    Ok(found)
}

async fn deletion<A: ClusterApi>(
    reader: &Reader<'_, A>,
    snapshot: &mut Snapshot,
    instance: &Object,
) -> Result<(), ApiError> {
    let Some(release) = release_name(instance) else {
        snapshot.rest = Some(Vec::new());
        return Ok(());
    };
    snapshot.rest = Some(rest(reader, instance, &snapshot.settings, release).await?);
    if let Some(holder) = super::deletion::holder(snapshot) {
        let kind = Kind::namespaced(crate::api::OPS_GROUP, crate::api::VERSION, "Operation", "operations");
        snapshot.holder =
            reader.find(&kind, &holder.name).await?.filter(|found| found.uid().is_some_and(|uid| uid.0 == holder.uid));
    }
    Ok(())
}
