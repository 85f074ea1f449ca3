//! The `helm` engine: an Upgrade changes the ApplicationInstance, whose own loop renders it as always (contract §10.9).
//!
//! It is the one engine that takes fields over instead of creating an object: one forced apply under a manager of its own, of
//! the chart version and the patched leaves, and of everything that manager holds from before, because an apply that leaves a
//! held field out deletes it. The apply insists on the version that was judged.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::operation::{
    Cause, Facts, Hold, OperationEngine, Order, Question, Reading, Stage, Start, State, Withdrawal,
};
use super::parameters::{self, HelmParameters};
use super::{Children, Engine as _, Expected, Progress, flux::Flux, values};
use crate::api::application_instance::{SourceType, ValuesSource};
use crate::api::condition::Reason;
use crate::api::{APPS_API_VERSION, annotation, label};
use crate::cluster_api::{Caps, Key, Kind, Manager, Object};
use crate::foreign::flux::{HelmRelease, helm_release};
use crate::foreign::{Truth, conditions, fields, find, string, text};
use crate::policy::secrets;

/// See [`OperationEngine`].
pub struct Helm;

/// Outputs (contract §10.9 rule 5).
const FROM: &str = "fromVersion";
const TO: &str = "toVersion";
const TARGET_GENERATION: &str = "targetGeneration";
const REVISION: &str = "helmReleaseRevision";

const UNSERVED: &str = "the Flux HelmRelease API helm.toolkit.fluxcd.io/v2 is not installed in this cluster";

impl OperationEngine for Helm {
    fn kinds(&self, _: &Order, caps: &Caps) -> Result<Vec<Kind>, String> {
        Ok(vec![helm_release(caps).ok_or(UNSERVED)?])
    }

    /// The HelmRelease, which is where the work is seen; what is written is the target itself.
    fn child(&self, order: &Order, caps: &Caps) -> Option<Key> {
        release_key(order, caps)
    }

    fn questions(&self, _: Stage, _: &Order, _: &Caps, _: &Facts) -> Vec<Question> {
        Vec::new()
    }

    fn render(&self, order: &Order, caps: &Caps, _: &Facts, _: Timestamp) -> Result<Start, Hold> {
        let parameters = parameters::read::<HelmParameters>(&order.parameters)?;
        check(&parameters)?;
        let Some(target) = &order.target.object else {
            return Err(Hold::wait(Reason::TargetNotFound, "the target does not exist"));
        };
        if helm_release(caps).is_none() {
            return Err(Hold::wait(Reason::EngineNotInstalled, UNSERVED));
        }
        let key = release_key(order, caps)
            .ok_or_else(|| Hold::wait(Reason::ValidationFailed, "the target has no release that could be upgraded"))?;
        fits(target, &parameters)?;
        let wanted = wanted(&parameters);
        not_git(target, &wanted)?;
        let from = string(target, "/spec/chart/version").unwrap_or_default();
        let to = parameters.target_version.unwrap_or_else(|| from.clone());
        let mut outputs = order.outputs.clone();
        for (name, version) in [(FROM, from), (TO, to)] {
            outputs.entry(name).or_insert_with(|| version.into());
        }
        let spec = values::merge(&held(target, |_| true), &wanted);
        let object = taken(target, Value::Object(spec));
        Ok(Start { key, before: Vec::new(), object, take: Some(Manager::Upgrade), outputs, degraded: None })
    }

    fn interpret(&self, order: &Order, _: &Caps, child: &Object, _: &Facts, _: Timestamp) -> Reading {
        let Some(target) = &order.target.object else {
            return Reading::of(State::Running(Reason::HelmReleaseUpgrading), "the target is gone");
        };
        let carried = committed(order);
        let recorded = order.outputs.get(TARGET_GENERATION).and_then(Value::as_str).and_then(|text| text.parse().ok());
        let Some(since) = recorded.or(carried.then(|| target.generation())) else {
            let mut reading = Reading::of(State::Waiting, "the change is not written yet");
            reading.working = false;
            return reading;
        };
        let rendered = child.annotation(annotation::LAST_APPLIED_GENERATION).and_then(|text| text.parse::<i64>().ok());
        let ours = child.label(label::INSTANCE_UID) == Some(order.target.uid.as_str());
        let rendered = rendered.filter(|rendered| ours && *rendered >= since);
        // A generation after ours that no longer carries it says nothing about ours.
        let about_ours = rendered.is_some_and(|rendered| rendered == since || carried);
        let seen = Flux
            .interpret(&expected(order, target, about_ours), Children { release: Some(child), ..Children::default() });
        let verdict = verdict(&seen.progress).filter(|_| about_ours);
        let settled = rendered.is_some() && self::verdict(&seen.progress).is_some();
        let said = |otherwise: &str| if seen.message.is_empty() { otherwise.into() } else { seen.message.clone() };
        let (state, message) = match (verdict, carried, rendered) {
            (Some(state), _, _) => (state, said("the release ended")),
            (None, false, _) => (
                State::Failed(Reason::Superseded),
                "another change of the target took the place of this one before it was deployed".to_string(),
            ),
            (None, true, None) => {
                (State::Waiting, refused(target).unwrap_or_else(|| "the release is being rendered".into()))
            }
            // Looks that change nothing have no words of their own.
            (None, true, Some(_)) => {
                (State::Running(Reason::HelmReleaseUpgrading), said("the release is being upgraded"))
            }
        };
        let mut reading = Reading::of(state, message);
        reading.working = !settled;
        reading.at_deadline = (seen.progress == Progress::Retrying).then_some(Reason::HelmReleaseUpgradeFailed);
        reading.outputs = order.outputs.clone();
        reading.outputs.entry(TARGET_GENERATION).or_insert_with(|| since.to_string().into());
        if matches!(reading.state, State::Succeeded(..))
            && let Some(newest) = HelmRelease::read(child).history.first()
        {
            reading.outputs.insert(REVISION.into(), newest.version.to_string().into());
        }
        reading
    }

    fn withdraw(
        &self,
        _: &Order,
        cause: Cause,
        _: Option<(&Key, &Object)>,
        _: &Facts,
        _: Timestamp,
        _: Timestamp,
    ) -> Withdrawal {
        let goes_on = matches!(cause, Cause::Cancelled | Cause::Timeout);
        let note = if goes_on { "nothing is undone: the release goes on as the target asks" } else { "" };
        Withdrawal { steps: Vec::new(), done: true, note: note.into() }
    }
}

/// The target's HelmRelease.
pub(super) fn release_key(order: &Order, caps: &Caps) -> Option<Key> {
    let name = string(order.target.object.as_ref()?, "/spec/release/name").filter(|name| !name.is_empty())?;
    Some(Key::namespaced(&helm_release(caps)?, &order.namespace, &name))
}

/// Whether the target's stored values are the wanted ones. With the start record, and only with it, this is the proof that the
/// effect was committed: who owns the fields proves nothing, because a write through another version wipes that.
pub fn committed(order: &Order) -> bool {
    let (Ok(parameters), Some(target)) =
        (parameters::read::<HelmParameters>(&order.parameters), order.target.object.as_ref())
    else {
        return false;
    };
    let version = parameters.target_version.or_else(|| output(order, TO));
    let same = version.is_none_or(|version| string(target, "/spec/chart/version") == Some(version));
    let inline = target.0.pointer("/spec/values/inline").unwrap_or(&Value::Null);
    same && carries(inline, &Value::Object(parameters.values_patch.unwrap_or_default()))
}

/// What is left for this manager to hold once others hold some of its fields too, as one forced apply (contract §10.9 rule 6);
/// `None` while it is alone. A field that nobody else holds is never let go: that would delete it.
pub fn handed_over(target: &Object) -> Option<Object> {
    let alone = |path: &[String]| fields::holders(target, path).len() < 2;
    let shared = fields::held(target, Manager::Upgrade).iter().any(|path| !alone(path));
    shared.then(|| match held(target, alone) {
        rest if rest.is_empty() => taken(target, Value::Null),
        rest => taken(target, Value::Object(rest)),
    })
}

fn output(order: &Order, name: &str) -> Option<String> {
    order.outputs.get(name).and_then(Value::as_str).map(String::from)
}

/// What the schema cannot say.
fn check(parameters: &HelmParameters) -> Result<(), Hold> {
    let invalid = |message: &str| Err(Hold::wait(Reason::ValidationFailed, message));
    let patch = parameters.values_patch.clone().unwrap_or_default();
    if parameters.target_version.is_none() && patch.is_empty() {
        return invalid("parameters need targetVersion, valuesPatch, or both");
    }
    let concrete = |version: &String| semver::Version::parse(version.strip_prefix('v').unwrap_or(version)).is_ok();
    if !parameters.target_version.as_ref().is_none_or(concrete) {
        return invalid("parameters.targetVersion must be one concrete version such as 1.4.2");
    }
    let patch = Value::Object(patch);
    if null(&patch) {
        return invalid("parameters.valuesPatch must hold no null: an upgrade sets values and removes none");
    }
    match secrets::scan("parameters.valuesPatch", &patch) {
        Some(finding) => invalid(&finding.text()),
        None => Ok(()),
    }
}

fn null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.iter().any(null),
        Value::Object(map) => map.values().any(null),
        _ => false,
    }
}

/// Whether the target takes such a change.
fn fits(target: &Object, parameters: &HelmParameters) -> Result<(), Hold> {
    if target.annotation(annotation::HELMRELEASE_AUTHORITY) == Some("external") {
        let message =
            "the target's HelmRelease is written by someone else (helmrelease-authority: external); upgrade it there";
        return Err(Hold::wait(Reason::PolicyDenied, message));
    }
    let source = string(target, "/spec/values/source").and_then(|word| serde_json::from_value(json!(word)).ok());
    let inline = matches!(source, Some(ValuesSource::Inline | ValuesSource::Merge));
    if !inline && parameters.values_patch.as_ref().is_some_and(|patch| !patch.is_empty()) {
        let message = "parameters.valuesPatch needs a target whose values.source is inline or merge";
        return Err(Hold::wait(Reason::ValidationFailed, message));
    }
    Ok(())
}

/// The wanted part of the target's spec, below the root.
fn wanted(parameters: &HelmParameters) -> Map<String, Value> {
    let mut spec = Map::new();
    if let Some(version) = &parameters.target_version {
        spec.insert("chart".into(), json!({ "version": version }));
    }
    if let Some(patch) = parameters.values_patch.as_ref().filter(|patch| !patch.is_empty()) {
        spec.insert("values".into(), json!({ "inline": patch }));
    }
    Map::from_iter([("spec".to_string(), Value::Object(spec))])
}

/// Managers that apply from Git again and again.
fn from_git(manager: &str) -> bool {
    manager == "kustomize-controller" || manager.starts_with("argocd")
}

/// An applier from Git would take the change back within its interval.
fn not_git(target: &Object, wanted: &Map<String, Value>) -> Result<(), Hold> {
    let mut paths = BTreeSet::from([["spec", "chart", "version"].map(String::from).to_vec()]);
    leaves(wanted, &mut Vec::new(), &mut paths);
    for path in &paths {
        if let Some(manager) = fields::holders(target, path).into_iter().find(|manager| from_git(manager)) {
            let path = text::cut(&text::stable(&path.join(".")), 253);
            let message = format!("TargetManagedByGit: {path} is applied by {manager}; change it in Git");
            return Err(Hold::wait(Reason::PolicyDenied, message));
        }
    }
    Ok(())
}

fn leaves(map: &Map<String, Value>, path: &mut Vec<String>, found: &mut BTreeSet<Vec<String>>) {
    for (name, value) in map {
        path.push(name.clone());
        match value {
            Value::Object(map) if !map.is_empty() => leaves(map, path, found),
            _ => {
                found.insert(path.clone());
            }
        }
        path.pop();
    }
}

/// What the upgrade manager holds of the spec and `keep` keeps, with its present values.
fn held(target: &Object, keep: impl Fn(&[String]) -> bool) -> Map<String, Value> {
    let mut found = Map::new();
    for path in fields::held(target, Manager::Upgrade) {
        let value = path.iter().try_fold(&target.0, |value, step| value.get(step));
        if let Some(value) = value.filter(|_| path[0] == "spec" && keep(&path)) {
            let nested = path[1..]
                .iter()
                .rev()
                .fold(value.clone(), |value, step| Value::Object(Map::from_iter([(step.clone(), value)])));
            found = values::merge(&found, &Map::from_iter([(path[0].clone(), nested)]));
        }
    }
    found
}

/// An apply of these fields to the very object that was read.
fn taken(target: &Object, fields: Value) -> Object {
    let mut object = json!({
        "apiVersion": APPS_API_VERSION,
        "kind": "ApplicationInstance",
        "metadata": { "name": target.name(), "namespace": target.namespace() },
    });
    let identity =
        [("uid", target.uid().map(|uid| uid.0)), ("resourceVersion", target.version().map(|version| version.0))];
    for (name, value) in identity {
        if let Some(value) = value {
            object["metadata"][name] = value.into();
        }
    }
    for (name, value) in fields.as_object().into_iter().flatten() {
        object[name] = value.clone();
    }
    Object(object)
}

/// Whether every leaf of the patch has its value. Maps merge, so they may hold more; lists may not.
fn carries(live: &Value, patch: &Value) -> bool {
    match patch {
        Value::Object(patch) if !patch.is_empty() => {
            patch.iter().all(|(name, patch)| live.get(name).is_some_and(|live| carries(live, patch)))
        }
        leaf => fields::covers(live, leaf) && (leaf.is_object() || fields::covers(leaf, live)),
    }
}

/// What the release is measured against: the version of the Upgrade while it renders that, else the present one.
fn expected(order: &Order, target: &Object, about_ours: bool) -> Expected {
    let source = string(target, "/spec/chart/sourceType");
    let present = string(target, "/spec/chart/version");
    let version = output(order, TO).filter(|_| about_ours).or(present);
    Expected {
        source: if source.as_deref() == Some("helm") { SourceType::Helm } else { SourceType::Oci },
        version: version.unwrap_or_default(),
        timeout_seconds: 0,
    }
}

/// The last states of a release (contract §10.9 rule 4).
fn verdict(progress: &Progress) -> Option<State> {
    match progress {
        Progress::Succeeded { .. } => Some(State::Succeeded(Reason::EngineCompleted, Reason::HelmReleaseUpgraded)),
        Progress::RolledBack => Some(State::Failed(Reason::RolledBack)),
        Progress::UpgradeFailed | Progress::InstallFailed => Some(State::Failed(Reason::HelmReleaseUpgradeFailed)),
        _ => None,
    }
}

/// Why the target's own loop does not render what is asked, in its words.
fn refused(target: &Object) -> Option<String> {
    let conditions = conditions(target);
    let blocked = find(&conditions, "Blocked")?;
    let current = blocked.observed_generation == Some(target.generation());
    (blocked.is(Truth::True) && current)
        .then(|| format!("the target is blocked: {}", text::quote(&blocked.reason, &blocked.message)))
}

#[cfg(test)]
mod tests;
