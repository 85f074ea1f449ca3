//! L1: each instance converges within 120 s, 40 requests and 6 writes, and then stays.
//!
//! Counted from when the faults stopped, or from when somebody else last changed the instance, what it refers to, or its
//! release by hand, whichever is later. Convergence is the oracle's own reading of the store ([`verdict`]), not the
//! operator's. Not asked of instances that are being deleted, that are not ours to reconcile, or in namespaces that did
//! not opt in.

use std::collections::BTreeMap;
use std::time::Duration;

use fakes::history::{Event, Phase, Record};
use serde_json::Value;

use super::fields::{asked_version, corresponds, standing_version};
use super::s11::gated;
use super::{Oracle, Pending};
use crate::truth::{
    Address, INSTANCES, RELEASES, Truth, annotation, bare_version, condition_reason, condition_status, deleting,
    generation, is_operator, label, number, owner, text, uid,
};

/// The bound in simulated time.
const BOUND: Duration = Duration::from_secs(120);
/// The bound for a release whose Ready stays Unknown although its newest revision is deployed: the operator nudges it
/// only after its timeout (15 min) and two minutes (contract §6.4).
const BOUND_SILENT: Duration = Duration::from_secs(17 * 60 + 120);
/// Requests and writes allowed for one instance until it has converged.
const REQUESTS: u64 = 40;
const WRITES: u64 = 6;

/// L1.
#[derive(Default)]
pub(super) struct Converges {
    healed: Option<Duration>,
    quiet: bool,
    since: BTreeMap<Address, Count>,
}

#[derive(Default)]
struct Count {
    /// When somebody else last changed something.
    stable: Duration,
    /// Requests of the operator for this instance since then.
    requests: u64,
    writes: u64,
    /// Until when Flux is known to have owed a verdict on a deployed release, and whether it still does.
    silent: Option<Duration>,
    owes: bool,
    /// Converged once since then: counting is over.
    done: bool,
}

impl Oracle for Converges {
    fn id(&self) -> &'static str {
        "L1"
    }

    fn promise(&self) -> &'static str {
        "each instance converges within 120 s, 40 requests and 6 writes, and stays"
    }

    fn step(&mut self, record: &Record, truth: &Truth) -> Result<(), String> {
        match &record.event {
            Event::Phase(Phase::Healed) => {
                self.quiet = false;
                self.healed = Some(record.at);
                for count in self.since.values_mut() {
                    *count = Count { stable: record.at, owes: count.owes, ..Count::default() };
                }
            }
            Event::Phase(phase) => self.quiet = *phase == Phase::Quiet,
            Event::Commit(commit) => {
                let namespace = commit.namespace.as_deref().unwrap_or_default();
                let disturbed = !is_operator(&record.actor)
                    && match (&commit.before, &commit.after) {
                        (Some(before), Some(after)) => !same_but_status(before, after),
                        _ => true,
                    };
                for (address, instance) in truth.all(INSTANCES).filter(|(address, _)| address.namespace == namespace) {
                    // Nothing that is said of an instance changes by what does not concern it.
                    if !concerns(&commit.resource, &commit.name, address, instance) {
                        continue;
                    }
                    let count = self.since.entry(address.clone()).or_default();
                    if disturbed {
                        *count = Count { stable: record.at, owes: count.owes, ..Count::default() };
                    }
                    let owes = silent(instance, truth);
                    if owes || count.owes {
                        count.silent = Some(record.at);
                    }
                    count.owes = owes;
                    if !count.done && owed(instance, truth) && verdict(instance, truth).is_ok() {
                        count.done = true;
                    } else if self.quiet && owed(instance, truth) {
                        verdict(instance, truth).map_err(|why| format!("{} did not stay: {why}", address.name))?;
                    }
                }
                self.since.retain(|address, _| truth.get(INSTANCES, &address.namespace, &address.name).is_some());
            }
            Event::Request { call, .. } if is_operator(&record.actor) && self.healed.is_some() => {
                for (address, count) in &mut self.since {
                    if count.done || call.namespace != address.namespace || call.name.is_empty() {
                        continue;
                    }
                    let Some(instance) = truth.get(INSTANCES, &address.namespace, &address.name) else { continue };
                    if !concerns(&call.resource, &call.name, address, instance) {
                        continue;
                    }
                    count.requests += 1;
                    count.writes += u64::from(call.writes());
                    if owed(instance, truth) && (count.requests > REQUESTS || count.writes > WRITES) {
                        return Err(format!(
                            "{} took {} requests and {} writes and has not converged",
                            address.name, count.requests, count.writes
                        ));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn pending(&self, truth: &Truth, now: Duration) -> Option<Pending> {
        let healed = self.healed.unwrap_or(now);
        truth.all(INSTANCES).filter(|(_, instance)| owed(instance, truth)).find_map(|(address, instance)| {
            let why = verdict(instance, truth).err()?;
            let count = self.since.get(address);
            let since = count.map_or(healed, |count| count.stable.max(healed));
            let spoken = count.and_then(|count| count.silent).unwrap_or_default();
            let overdue = if silent(instance, truth) {
                now.saturating_sub(since) > BOUND_SILENT
            } else {
                now.saturating_sub(since.max(spoken)) > BOUND
            };
            Some(Pending { why: format!("{}: {why}", address.name), overdue })
        })
    }
}

/// Whether the instance is ours to make converge.
fn owed(instance: &Value, truth: &Truth) -> bool {
    let ours = matches!(label(instance, "app.vworkspace.io/managed-by"), Some("control-plane" | "odoo"));
    ours && !deleting(instance) && gated(truth, text(instance, "/metadata/namespace"))
}

/// Whether Flux owes a verdict on a release that is deployed.
fn silent(instance: &Value, truth: &Truth) -> bool {
    let namespace = text(instance, "/metadata/namespace");
    truth.get(RELEASES, namespace, text(instance, "/spec/release/name")).is_some_and(|release| {
        condition_status(release, "Ready") == "Unknown" && text(release, "/status/history/0/status") == "deployed"
    })
}

/// Whether an object belongs to the instance, or is referred to by it.
fn concerns(resource: &str, name: &str, address: &Address, instance: &Value) -> bool {
    let release = text(instance, "/spec/release/name");
    match resource {
        INSTANCES => name == address.name,
        RELEASES => name == release,
        "secrets" | "configmaps" => {
            name.starts_with(&format!("{release}-vws-values-"))
                || ["/spec/values/secretRef/name", "/spec/values/configMapRef/name", "/spec/chart/secretRef/name"]
                    .iter()
                    .any(|pointer| text(instance, pointer) == name)
        }
        resource if resource.ends_with("source.toolkit.fluxcd.io") => name.starts_with(&format!("{release}-source")),
        _ => false,
    }
}

/// Whether two states of an object differ in status and bookkeeping only.
fn same_but_status(before: &Value, after: &Value) -> bool {
    let body = |object: &Value| {
        let mut object = object.clone();
        if let Some(map) = object.as_object_mut() {
            map.remove("status");
        }
        if let Some(metadata) = object["metadata"].as_object_mut() {
            for key in ["managedFields", "resourceVersion", "generation", "finalizers"] {
                metadata.remove(key);
            }
        }
        object
    };
    body(before) == body(after)
}

/// Whether the instance has converged, read from its children and its own conditions; otherwise why not.
///
/// A refused spec counts as converged when the instance says Blocked: what is refusable is the contract's business and
/// tested by tables. A missing Secret must really be missing.
pub(crate) fn verdict(instance: &Value, truth: &Truth) -> Result<(), String> {
    let namespace = text(instance, "/metadata/namespace");
    if number(instance, "/status/observedGeneration") != generation(instance) {
        return Err("its newest generation is not yet reported".into());
    }
    if text(instance, "/spec/mode") == "placeholder" {
        return says(instance, "Ready", "True", &["Placeholder"]);
    }
    if condition_status(instance, "Blocked") == "True" {
        return match condition_reason(instance, "Blocked") {
            "MissingSecret" if references_exist(instance, truth) => Err("Blocked for a reference that exists".into()),
            _ => Ok(()),
        };
    }
    if annotation(instance, "apps.vworkspace.io/reconcile") == Some("disabled") {
        return says(instance, "Suspended", "True", &["ReconcilePaused"]);
    }
    let Some(release) = truth.get(RELEASES, namespace, text(instance, "/spec/release/name")) else {
        return Err("there is no HelmRelease".into());
    };
    let external = annotation(instance, "apps.vworkspace.io/helmrelease-authority") == Some("external");
    if !external && owner(release) != Some(uid(instance)) {
        return Err("the HelmRelease belongs to something else".into());
    }
    if !external && !corresponds(release, &instance["spec"], truth) {
        return Err(format!(
            "the HelmRelease asks for {:?}, not for what the spec says",
            asked_version(release, truth)
        ));
    }
    if release.pointer("/spec/suspend") == Some(&Value::Bool(true)) {
        return says(instance, "Suspended", "True", &["ManuallySuspended", "RestoreInProgress"]);
    }
    let wanted = bare_version(text(instance, "/spec/chart/version"));
    if standing_version(release) == Some(wanted) {
        says(instance, "Reconciling", "False", &["Stable"])?;
        let good = ["HelmReleaseReady", "HelmReleaseUpgraded", "HelmReleaseReadyWithWarnings"];
        return says(instance, "Ready", "True", &good);
    }
    let stalled = condition_status(release, "Stalled") == "True";
    if !stalled || number(release, "/status/observedGeneration") != generation(release) {
        return Err(format!(
            "the HelmRelease is not final: Ready={} {}",
            condition_status(release, "Ready"),
            condition_reason(release, "Ready")
        ));
    }
    if condition_reason(release, "Remediated") == "RollbackSucceeded" {
        says(instance, "Degraded", "True", &["HelmReleaseUpgradeFailed"])?;
        return says(instance, "Ready", "True", &["RolledBack"]);
    }
    says(instance, "Ready", "False", &["HelmReleaseFailed"])
}

fn says(instance: &Value, kind: &str, status: &str, reasons: &[&str]) -> Result<(), String> {
    let (is, reason) = (condition_status(instance, kind), condition_reason(instance, kind));
    if is == status && reasons.contains(&reason) {
        return Ok(());
    }
    Err(format!("{kind} should be {status} ({}), it is {is:?} {reason}", reasons.join(" or ")))
}

fn references_exist(instance: &Value, truth: &Truth) -> bool {
    let namespace = text(instance, "/metadata/namespace");
    let values = &instance["spec"]["values"];
    let kinds = [("secretRef", "secrets"), ("configMapRef", "configmaps")];
    let mut keyed = kinds.iter().filter(|(field, _)| !text(&values[field], "/name").is_empty());
    let has_keys = keyed.all(|(field, resource)| {
        let (name, key) = (text(&values[field], "/name"), text(&values[field], "/key"));
        truth.get(resource, namespace, name).is_some_and(|object| object["data"].get(key).is_some())
    });
    let chart = text(instance, "/spec/chart/secretRef/name");
    has_keys && (chart.is_empty() || truth.get("secrets", namespace, chart).is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::story::{OPERATOR, Story, deployed, instance, ready, release, source, with};
    use super::*;

    fn told() -> Story<Converges> {
        Story::new()
            .commit("user", &instance())
            .commit(OPERATOR, &source())
            .commit(OPERATOR, &release())
            .phase(Phase::Healed)
    }

    #[test]
    fn an_instance_that_never_gets_there_is_owed_then_overdue() {
        told().commit("flux", &deployed()).later(100).owes("newest generation", false);
        told().commit("flux", &deployed()).later(130).owes("newest generation", true);
        told().later(130).commit("flux", &deployed()).later(10).owes("newest generation", true);
    }

    #[test]
    fn a_deployed_release_that_flux_is_silent_about_has_longer() {
        let unknown = json!({ "status": { "conditions": [{ "type": "Ready", "status": "Unknown" }] } });
        told().commit("flux", &with(&deployed(), &unknown)).later(600).owes("newest generation", false);
        told().commit("flux", &with(&deployed(), &unknown)).later(1200).owes("newest generation", true);
    }

    #[test]
    fn too_much_work_is_seen() {
        (0..7).fold(told(), |story, _| story.attempt(OPERATOR, &release())).breaks("7 writes");
        (0..41).fold(told(), |story, _| story.attempt_read(OPERATOR, &release())).breaks("41 requests");
    }

    #[test]
    fn not_staying_is_seen() {
        let lost = with(&ready(), &json!({ "status": { "conditions": [] } }));
        told()
            .commit("flux", &deployed())
            .commit(OPERATOR, &ready())
            .phase(Phase::Quiet)
            .commit(OPERATOR, &lost)
            .breaks("did not stay");
    }

    #[test]
    fn a_converged_instance_holds_and_a_new_wish_starts_the_clock_again() {
        told().commit("flux", &deployed()).commit(OPERATOR, &ready()).later(1000).holds();
        let second = json!({ "metadata": { "generation": 2 }, "spec": { "chart": { "version": "7.0.0" } } });
        told()
            .commit("flux", &deployed())
            .commit(OPERATOR, &ready())
            .later(1000)
            .commit("user", &with(&ready(), &second))
            .later(60)
            .owes("newest generation", false);
    }

    #[test]
    fn a_lie_about_a_missing_secret_is_seen() {
        let by_reference = json!({
            "spec": { "values": { "source": "secretRef", "inline": null, "secretRef": { "name": "s", "key": "k" } } },
            "status": { "observedGeneration": 1, "conditions": [
                { "type": "Blocked", "status": "True", "reason": "MissingSecret" } ] },
        });
        let blocked = with(&instance(), &by_reference);
        let mut truth = Truth::default();
        assert_eq!(verdict(&blocked, &truth), Ok(()));
        let secret = json!({ "metadata": { "namespace": "org-a", "name": "s" }, "data": { "k": "" } });
        truth.insert(Address::new("secrets", "org-a", "s"), secret);
        assert!(verdict(&blocked, &truth).is_err());
    }
}
