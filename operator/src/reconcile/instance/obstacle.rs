//! What stands in the way of an instance that wants a release: its own spec, the cluster's rules, other people's objects.

use std::time::Duration;

use super::intent::values_reference;
use super::write::look;
use super::{Look, Ownership, Snapshot, observe, ownership};
use crate::api::annotation;
use crate::api::condition::Reason;
use crate::cluster_api::Object;
use crate::engine::flux::CHART_NAME_CHANGE;
use crate::engine::{Child, Role, Wish};
use crate::foreign::{fields, flux};
use crate::policy::gate::pod_security;
use crate::policy::{Class, Refusal};

/// A missing reference is looked for this often (contract §6.3).
pub(super) const MISSING: Duration = Duration::from_secs(30);
/// What other objects stand in the way of is looked at again this often.
const OTHERS: Duration = Duration::from_secs(60);

/// What stands in the way.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Block {
    pub(super) reason: Reason,
    pub(super) message: String,
    pub(super) wake: Option<Duration>,
    /// Whether writing is tried nevertheless: only trying tells whether a refusal still holds.
    pub(super) try_anyway: bool,
}

impl From<Refusal> for Block {
    fn from(refusal: Refusal) -> Self {
        let reason = match refusal.class {
            Class::Shape => Reason::ValidationFailed,
            Class::Policy => Reason::PolicyDenied,
            Class::Missing => Reason::MissingDependencies,
        };
        Self::new(reason, refusal.text())
    }
}

impl Block {
    pub(super) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), wake: None, try_anyway: false }
    }
}

/// The first thing that forbids to write children. It lies outside the instance, and nothing may tell us when it goes.
pub(super) fn obstacle(snapshot: &Snapshot, instance: &Object, wish: &Wish, children: &[Child]) -> Option<Block> {
    let block = first_obstacle(snapshot, instance, wish, children)?;
    Some(Block { wake: block.wake.or(Some(OTHERS)), ..block })
}

fn first_obstacle(snapshot: &Snapshot, instance: &Object, wish: &Wish, children: &[Child]) -> Option<Block> {
    if snapshot.release == Look::Unserved || snapshot.source == Look::Unserved {
        return Some(Block::new(Reason::MissingDependencies, "the Flux API is not served at the moment"));
    }
    if let Some(release) = snapshot.release.found() {
        if ownership(release, instance, &snapshot.rivals) == Ownership::Foreign {
            let message = format!(
                "HelmRelease {} exists and belongs to someone else; use another release name, or remove it, or set {}: external",
                release.name(),
                annotation::HELMRELEASE_AUTHORITY
            );
            return Some(taken(snapshot, instance).unwrap_or_else(|| Block::new(Reason::PolicyDenied, message)));
        }
        if let Some(block) = chart_renamed(snapshot, release, wish) {
            return Some(block);
        }
    } else {
        if let Some(block) = taken(snapshot, instance) {
            return Some(block);
        }
        if let Some(Err(refusal)) = snapshot.namespace.as_ref().map(|found| pod_security(found, &snapshot.settings)) {
            return Some(refusal.into());
        }
        if snapshot.definition_ready == Some(false) {
            let message = "the HelmRelease API is being replaced; nothing is created again before it is back";
            return Some(Block { wake: Some(MISSING), ..Block::new(Reason::MissingDependencies, message) });
        }
    }
    if let Some(message) = missing_reference(snapshot, wish) {
        return Some(Block { wake: Some(MISSING), ..Block::new(Reason::MissingSecret, message) });
    }
    for child in children {
        let Some(live) = look(snapshot, child.role).found() else { continue };
        if child.role != Role::Release && ownership(live, instance, &snapshot.rivals) == Ownership::Foreign {
            let message =
                format!("{} {} exists and belongs to someone else; remove it", child.object.kind(), live.name());
            return Some(Block::new(Reason::PolicyDenied, message));
        }
        let conflicts = fields::conflicts(live, &child.object);
        if let Some((manager, path)) = conflicts.first().filter(|_| !live.deleting()) {
            let message = format!(
                "{} {}: field {path} is held by manager {manager} with another value; let go of it there",
                child.object.kind(),
                live.name()
            );
            return Some(Block::new(Reason::PolicyDenied, message));
        }
    }
    None
}

/// Whether another instance has the release name: the one whose release exists, else the older one.
fn taken(snapshot: &Snapshot, instance: &Object) -> Option<Block> {
    let owner = snapshot.release.found().and_then(|release| release.label(crate::api::label::INSTANCE_UID));
    let own = (observe::created(instance), instance.name().to_string());
    let rival = snapshot.rivals.iter().filter(|rival| rival.same_release).find(|rival| match owner {
        Some(owner) => rival.uid == owner,
        None => (rival.created.clone(), rival.name.clone()) < own,
    })?;
    let message =
        format!("ReleaseNameTaken: ApplicationInstance {} already has this release name; use another one", rival.name);
    Some(Block::new(Reason::ValidationFailed, message))
}

/// Flux uninstalls and reinstalls when the chart name changes, unless it can replace in place.
fn chart_renamed(snapshot: &Snapshot, release: &Object, wish: &Wish) -> Option<Block> {
    let kind = flux::helm_release(&snapshot.settings.caps)?;
    if snapshot.settings.caps.declares(&kind, CHART_NAME_CHANGE) {
        return None;
    }
    let history = flux::HelmRelease::read(release).history;
    let running = history
        .iter()
        .map(|release| release.chart_name.as_str())
        .find(|name| !name.is_empty())
        .or_else(|| snapshot.instance.as_ref()?.0.pointer("/status/lastAppliedChart/name")?.as_str())?;
    (running != wish.chart.name).then(|| {
        let message = "spec.chart.name cannot change while a release exists: the installed Flux would uninstall it; write the old name, or create another instance";
        Block::new(Reason::ValidationFailed, message)
    })
}

fn missing_reference(snapshot: &Snapshot, wish: &Wish) -> Option<String> {
    if let (Some((_, kind, reference)), Some(found)) = (values_reference(wish), &snapshot.values) {
        match found {
            None => return Some(format!("{kind} {} with values does not exist", reference.name)),
            Some(found) if !found.has_key => {
                return Some(format!("{kind} {} has no key {}", reference.name, reference.key));
            }
            Some(_) => {}
        }
    }
    match (&wish.chart.secret_ref, &snapshot.chart_secret) {
        (Some(secret), Some(None)) => Some(format!("Secret {} with chart credentials does not exist", secret.name)),
        _ => None,
    }
}
