//! Requests to Flux, each made once per cause: the end of a suspension, a retry, a changed reference, a release that stands
//! still (contract §6.3-6.6).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::Snapshot;
use super::intent::{HANDLED_RETRY, HANDLED_SECRET, restore, resume_token, retry_token, unfinished, values_reference};
use super::obstacle::MISSING;
use super::write::source_kind;
use crate::api::names;
use crate::cluster_api::{Kind, Object};
use crate::engine::flux::{suspended_by_others, suspended_by_us};
use crate::engine::{Progress, Reading, Wish};
use crate::foreign::flux;
use crate::reconcile::Effect;

/// A reference of a release at rest is read again this often (contract §6.3).
const REFRESH: Duration = Duration::from_secs(5 * 60);
/// How long after an action's timeout a release may stand still before it is nudged (contract §6.4).
const STUCK_GRACE: SignedDuration = SignedDuration::from_mins(2);

/// Requests to Flux that are made once per cause, and when to think of them again.
pub(super) fn nudge(
    snapshot: &Snapshot,
    instance: &Object,
    wish: &Wish,
    reading: &Reading,
    release_missing: bool,
    now: Timestamp,
) -> (Vec<Effect>, Option<Duration>) {
    let mut planned = Vec::new();
    if let (Some(source), Some(kind)) = (snapshot.source.found(), source_kind(snapshot))
        && let Some(token) = wish.notes.source.get(HANDLED_SECRET)
        && source.annotation(HANDLED_SECRET).is_some_and(|handled| handled != token)
    {
        planned.extend(request(&kind, source, token, &[flux::REQUESTED_AT]));
    }
    let (Some(release), Some(kind)) = (snapshot.release.found(), flux::helm_release(&snapshot.settings.caps)) else {
        return (planned, None);
    };
    if release.deleting() {
        return (planned, None);
    }
    if suspended_by_us(release) && restore(snapshot).is_none() {
        planned.extend(resumption(&kind, release, wish));
        return (planned, None);
    }
    if let Some(token) = resume_token(release).filter(|_| restore(snapshot).is_none() && unfinished(snapshot, release))
    {
        // Asked while somebody else suspends it, Flux would note the request and make no release.
        if !suspended_by_others(release) {
            planned.extend(request(&kind, release, &token, &[flux::REQUESTED_AT, flux::FORCE_AT]));
        }
        return (planned, None);
    }
    let failed = matches!(
        reading.progress,
        Progress::Retrying | Progress::RolledBack | Progress::UpgradeFailed | Progress::InstallFailed
    );
    if let Some(token) = retry_token(instance).filter(|_| failed)
        && release.annotation(HANDLED_RETRY) != Some(token.as_str())
    {
        planned.extend(request(&kind, release, &token, &[flux::REQUESTED_AT, flux::RESET_AT]));
        return (planned, None);
    }
    if let Some(token) = changed_values(snapshot, instance, wish).filter(|_| !release_missing) {
        planned.extend(request(&kind, release, &token, &[flux::REQUESTED_AT]));
        return (planned, None);
    }
    let Some(since) = reading.stuck_since else { return (planned, None) };
    let timeout = SignedDuration::from_secs(crate::engine::flux::timeout(&wish.helm.timeout).1);
    let due = since.saturating_add(timeout).and_then(|due| due.saturating_add(STUCK_GRACE)).unwrap_or(since);
    if due > now {
        return (planned, Some(due.duration_since(now).unsigned_abs()));
    }
    let uid = release.uid().map(|uid| uid.0).unwrap_or_default();
    let token = names::token("stuck", &[&uid, &release.generation().to_string(), &since.to_string()]);
    if release.annotation(flux::REQUESTED_AT) != Some(token.as_str()) {
        planned.extend(request(&kind, release, &token, &[flux::REQUESTED_AT]));
    }
    (planned, None)
}

/// A merge patch, never an apply: the flux command line writes the same annotations (contract §3.3).
fn request(kind: &Kind, object: &Object, token: &str, annotations: &[&str]) -> Option<Effect> {
    let key = crate::cluster_api::Key::namespaced(kind, object.namespace().unwrap_or_default(), object.name());
    let wanted: serde_json::Map<String, Value> =
        annotations.iter().map(|name| ((*name).to_string(), json!(token))).collect();
    if annotations.iter().all(|name| object.annotation(name) == Some(token)) {
        return None;
    }
    Some(Effect::Patch { key, uid: object.uid()?, merge: json!({ "metadata": { "annotations": wanted } }) })
}

/// The end of our suspension. Where we alone hold the field, one patch removes it and asks for a release. Where somebody
/// else holds it too, we let go by an apply without it, and theirs stays.
fn resumption(kind: &Kind, release: &Object, wish: &Wish) -> Vec<Effect> {
    let token = resume_token(release).unwrap_or_else(|| names::token("resume", &[&wish.uid]));
    let key = crate::cluster_api::Key::namespaced(kind, release.namespace().unwrap_or_default(), release.name());
    let Some(uid) = release.uid() else { return Vec::new() };
    let annotations = json!({ flux::REQUESTED_AT: token, flux::FORCE_AT: token });
    if !suspended_by_others(release) {
        let merge = json!({ "spec": { "suspend": null }, "metadata": { "annotations": annotations } });
        return vec![Effect::Patch { key, uid, merge }];
    }
    Vec::new()
}

/// The token of a values object that changed since it was last handed over.
fn changed_values(snapshot: &Snapshot, instance: &Object, wish: &Wish) -> Option<String> {
    let (_, kind, reference) = values_reference(wish)?;
    let found = snapshot.values.as_ref()?.as_ref()?;
    let told = instance.0.pointer("/status/valuesRevision")?;
    let same = told["kind"] == kind && told["name"] == reference.name.as_str();
    (same && told["resourceVersion"] != found.resource_version.as_str())
        .then(|| names::token("values", &[kind, &reference.name, &found.resource_version]))
}

/// When references of a release at rest are read again.
pub(super) fn rest_wake(wish: &Wish, reading: &Reading) -> Option<Duration> {
    let refers = values_reference(wish).is_some() || wish.chart.secret_ref.is_some();
    if !refers {
        return None;
    }
    match reading.progress {
        Progress::SourceFailing { .. } => Some(MISSING),
        Progress::Absent | Progress::NoStatus | Progress::Installing | Progress::Upgrading => None,
        _ => Some(REFRESH),
    }
}
