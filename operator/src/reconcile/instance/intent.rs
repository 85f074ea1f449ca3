//! From an instance and the cluster's settings to a wish, or to the reason why there is none.

use serde_json::Value;

use super::{Snapshot, external, orphaning, paused};
use crate::api::application_instance::{Mode, SourceType, ValuesSource};
use crate::api::common::KeyRef;
use crate::api::{annotation, label, names};
use crate::cluster_api::{Kind, Object};
use crate::engine::flux::{SUSPENDED_FOR, suspended_by_us, timeout};
use crate::engine::{Engine, Expected, Notes, Wish, engine};
use crate::foreign::core::{self, Holder};
use crate::foreign::flux::HelmRelease;
use crate::policy::{self, Refusal, Settings};

/// Annotation on a release: the retry request it has seen.
pub(super) const HANDLED_RETRY: &str = "vworkspace.io/handled-retry";
/// Annotation on a source: the revision of the credentials it has seen.
pub(super) const HANDLED_SECRET: &str = "vworkspace.io/handled-secret";

/// What an instance asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Intent {
    /// Nothing.
    Placeholder,
    /// A release.
    Managed(Box<Wish>),
    /// Something it cannot have.
    Refused(Refusal),
}

/// Spec and settings only; notes are filled in by [`noted`].
pub(super) fn intent(instance: &Object, settings: &Settings) -> Intent {
    match wish(instance, settings) {
        Ok(Some(wish)) => Intent::Managed(Box::new(wish)),
        Ok(None) => Intent::Placeholder,
        Err(refusal) => Intent::Refused(refusal),
    }
}

fn wish(instance: &Object, settings: &Settings) -> Result<Option<Wish>, Refusal> {
    let namespace = instance.namespace().unwrap_or_default();
    policy::gate::cluster_id(instance, settings)?;
    let spec = policy::instance::read(instance.0.get("spec").unwrap_or(&Value::Null))?;
    if settings.unreadable && !spec.mode.is(Mode::Placeholder) {
        return Err(Refusal::missing(
            "the spec of this cluster's Cluster object cannot be read, so its rules are unknown; correct it",
        ));
    }
    policy::instance::check(instance.name(), namespace, &spec, settings)?;
    if spec.mode.is(Mode::Placeholder) {
        return Ok(None);
    }
    policy::instance::words(instance)?;
    policy::instance::dependencies(&spec, settings)?;
    // check() has just said that they are there.
    let (Some(chart), Some(release), Some(values)) = (spec.chart, spec.release, spec.values) else { return Ok(None) };
    Ok(Some(Wish {
        name: instance.name().into(),
        namespace: namespace.into(),
        uid: instance.uid().map(|uid| uid.0).unwrap_or_default(),
        generation: instance.generation(),
        chart,
        release,
        values,
        integrations: spec.integrations,
        helm: settings.helm(),
        cluster_id: settings.cluster_id.clone().or_else(|| instance.label(label::CLUSTER_ID).map(String::from)),
        owned: !orphaning(instance) && !paused(instance),
        notes: Notes::default(),
    }))
}

/// The engine of this cluster.
pub(super) fn helm(settings: &Settings) -> Result<&'static dyn Engine, Refusal> {
    settings
        .engine()
        .known()
        .and_then(|kind| engine(*kind))
        .ok_or_else(|| Refusal::missing("the Helm engine this cluster selects is not available in this version"))
}

/// The wish with everything that is noted on children beside it.
pub(super) fn noted(mut wish: Wish, snapshot: &Snapshot) -> Wish {
    let release = snapshot.release.found();
    wish.notes.restore = restore(snapshot).map(|holder| holder.uid);
    // Noted until Flux has made the release that ends the suspension, and no longer: a token of somebody else that comes
    // after ours would look like one that is still open.
    if let Some(uid) = release.filter(|release| unfinished(snapshot, release)).and_then(suspended_for) {
        wish.notes.release.insert(SUSPENDED_FOR.into(), uid.into());
    }
    if let Some(token) = snapshot.instance.as_ref().and_then(retry_token) {
        wish.notes.release.insert(HANDLED_RETRY.into(), token);
    } else if let Some(token) = release.and_then(|release| release.annotation(HANDLED_RETRY)) {
        wish.notes.release.insert(HANDLED_RETRY.into(), token.into());
    }
    let secret = match (&wish.chart.secret_ref, &snapshot.chart_secret) {
        (Some(secret), Some(Some(found))) => Some(names::token("secret", &[&secret.name, &found.resource_version])),
        (Some(_), _) => snapshot.source.found().and_then(|source| source.annotation(HANDLED_SECRET)).map(String::from),
        (None, _) => None,
    };
    if let Some(token) = secret {
        wish.notes.source.insert(HANDLED_SECRET.into(), token);
    }
    wish
}

/// Token of the retry annotation, if one is set.
pub(super) fn retry_token(instance: &Object) -> Option<String> {
    let value = instance.annotation(annotation::RETRY).map(str::trim).filter(|value| !value.is_empty())?;
    let uid = instance.uid().map(|uid| uid.0).unwrap_or_default();
    Some(names::token("retry", &[&uid, value]))
}

/// Uid of the Restore that a release was suspended for.
pub(super) fn suspended_for(release: &Object) -> Option<&str> {
    release.annotation(SUSPENDED_FOR)
}

/// The token that ends the suspension noted on the release.
pub(super) fn resume_token(release: &Object) -> Option<String> {
    suspended_for(release).map(|operation| names::token("resume", &[operation]))
}

/// Whether a suspension of ours lasts, or Flux has not made the release that ends it. Only the force token counts: Flux
/// takes note of the other one for a suspended release too, and does nothing (downstream §1).
pub(super) fn unfinished(snapshot: &Snapshot, release: &Object) -> bool {
    restore(snapshot).is_some() || suspended_by_us(release) || {
        let handled = HelmRelease::read(release).handled_force;
        resume_token(release).is_some_and(|token| handled.as_deref() != Some(&token))
    }
}

/// The Restore that holds the target, if one does. The Lease lies in the target's own namespace, and a Restore takes the
/// lock of the target it writes into.
pub(super) fn restore(snapshot: &Snapshot) -> Option<Holder> {
    let lease = snapshot.lease.as_ref()?;
    core::holders(lease).into_iter().find(|holder| holder.type_ == "Restore")
}

/// The referenced values object of a wish: kind, kind name, reference.
pub(super) fn values_reference(wish: &Wish) -> Option<(Kind, &'static str, &KeyRef)> {
    let secret = wish.values.secret_ref.as_ref().map(|found| (core::secret(), "Secret", found));
    let config_map = wish.values.config_map_ref.as_ref().map(|found| (core::config_map(), "ConfigMap", found));
    match wish.values.source.known()? {
        ValuesSource::Inline => None,
        ValuesSource::SecretRef => secret,
        ValuesSource::ConfigMapRef => config_map,
        ValuesSource::Merge => secret.or(config_map),
    }
}

/// What the release is measured against: what is written, or without that what was written last.
pub(super) fn expected(instance: &Object, written: Option<&Intent>, settings: &Settings) -> Expected {
    let timeout_seconds = timeout(&settings.helm().timeout).1;
    if let Some(Intent::Managed(wish)) = written {
        return Expected {
            source: wish.chart.source_type.known().copied().unwrap_or_default(),
            version: wish.chart.version.clone(),
            timeout_seconds,
        };
    }
    let applied = |field: &str| {
        let value = instance.0.pointer(&format!("/status/lastAppliedChart/{field}")).and_then(Value::as_str);
        value.unwrap_or_default().to_string()
    };
    let source = if applied("sourceType") == "helm" { SourceType::Helm } else { SourceType::Oci };
    Expected { source, version: applied("version"), timeout_seconds }
}

/// Release name as stored, whatever else is wrong with the spec. A placeholder asks for none; what its status still names may
/// run nevertheless, if the spec was emptied past the CRD's rules. Of others the status is no source: anybody may have
/// written it.
pub(super) fn release_name(instance: &Object) -> Option<&str> {
    let placeholder = instance.0.pointer("/spec/mode").and_then(Value::as_str) == Some("placeholder");
    let at = if placeholder { "/status/helmReleaseRef/name" } else { "/spec/release/name" };
    let name = instance.0.pointer(at).and_then(Value::as_str)?;
    (!name.is_empty() && name.len() <= 253).then_some(name)
}

/// Whether children are written at all.
pub(super) fn writes(instance: &Object) -> bool {
    !paused(instance) && !external(instance)
}
