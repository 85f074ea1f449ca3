//! source-controller: OCIRepository, HelmRepository and HelmChart, pass by pass (downstream §3).
//!
//! The three kinds share one pass; what differs is how a new artifact is found.

mod chart;
mod oci;
mod repository;

use std::time::Duration;

use serde_json::{Value, json};

use super::catalogue::{Chart, digest};
use super::controller::{Cache, Ended, Outcome, REQUESTED_AT, Reconciler, Watched};
use super::subject::{Hub, Stop, Subject};
use super::timing::Step;
use super::world::Artifact;
use crate::script::{Order, Switch, Target, Then, milliseconds};

const GROUP: &str = "source.toolkit.fluxcd.io";
const HOST: &str = "http://source-controller.flux-system.svc.cluster.local.";

pub(crate) struct Sources {
    pub(crate) hub: Hub,
}

/// Something new to offer, found upstream.
pub(super) struct Found {
    revision: String,
    /// Digest of the file on the volume.
    file: String,
    chart: Option<Chart>,
    reason: &'static str,
    message: String,
    /// Fields that only this kind's status has.
    fields: Vec<(&'static str, Value)>,
}

/// Why nothing was found.
pub(super) struct Failure {
    /// The condition that says so: FetchFailed or BuildFailed.
    condition: &'static str,
    reason: String,
    message: String,
    /// Whether trying again without a change of the spec is pointless.
    stalls: bool,
}

impl Failure {
    fn retry(condition: &'static str, reason: &str, message: String) -> Self {
        Self { condition, reason: reason.into(), message, stalls: false }
    }

    fn stall(condition: &'static str, reason: &str, message: String) -> Self {
        Self { condition, reason: reason.into(), message, stalls: true }
    }
}

/// Path of a collection of sources.
pub(super) fn collection(version: &str, plural: &str) -> String {
    format!("/apis/{GROUP}/{version}/{plural}")
}

pub(super) fn object_path(version: &str, plural: &str, namespace: &str, name: &str) -> String {
    format!("/apis/{GROUP}/{version}/namespaces/{namespace}/{plural}/{name}")
}

impl Reconciler for Sources {
    fn hub(&self) -> &Hub {
        &self.hub
    }

    fn watched(&self) -> Vec<Watched> {
        let oci = self.hub.world.settings().release.oci_repository_version();
        let kinds = [
            ("OCIRepository", oci, "ocirepositories"),
            ("HelmRepository", "v1", "helmrepositories"),
            ("HelmChart", "v1", "helmcharts"),
        ];
        kinds
            .into_iter()
            .map(|(kind, version, plural)| Watched { kind, path: collection(version, plural), workers: 2 })
            .collect()
    }

    async fn pass(&self, target: Target, object: Value) -> Ended {
        let (version, plural) = match target.kind.as_str() {
            "OCIRepository" => (self.hub.world.settings().release.oci_repository_version(), "ocirepositories"),
            "HelmRepository" => ("v1", "helmrepositories"),
            _ => ("v1", "helmcharts"),
        };
        let path = object_path(version, plural, &target.namespace, &target.name);
        let mut subject = Subject::new(&self.hub, target, path, object);
        let outcome = pass(&mut subject).await;
        Ended { outcome, version: subject.version() }
    }

    /// A repository with a new index wakes the charts taken from it.
    fn wakes(&self, target: &Target, old: Option<&Value>, new: &Value, cache: &Cache) -> Vec<Target> {
        if target.kind != "HelmRepository" || !revision_changed(old, new) {
            return Vec::new();
        }
        let uses = |chart: &Target, object: &Value| {
            let source = &object["spec"]["sourceRef"];
            chart.kind == "HelmChart"
                && chart.namespace == target.namespace
                && source["kind"] == "HelmRepository"
                && source["name"] == target.name.as_str()
        };
        cache.iter().filter(|(chart, object)| uses(chart, object)).map(|(chart, _)| chart.clone()).collect()
    }
}

/// Whether an artifact has appeared or has another revision.
pub(super) fn revision_changed(old: Option<&Value>, new: &Value) -> bool {
    let revision = |object: &Value| object.pointer("/status/artifact/revision").cloned();
    revision(new).is_some() && old.and_then(revision) != revision(new)
}

async fn pass(subject: &mut Subject<'_>) -> Result<Outcome, Stop> {
    if subject.target.kind == "HelmRepository" && subject.spec_text("/type") == Some("oci") {
        // A static object: nobody reconciles it (S5).
        return Ok(Outcome::Done);
    }
    if subject.is_deleted() {
        drop_artifact(subject);
        subject.remove_finalizer();
        return match subject.patch().await {
            Ok(()) | Err(Stop::Gone) => Ok(Outcome::Done),
            Err(stop) => Err(stop),
        };
    }
    if !subject.has_finalizer() {
        subject.add_finalizer();
        subject.patch().await?;
        return Ok(Outcome::Again);
    }
    if let Some(token) = subject.annotation(REQUESTED_AT).map(str::to_owned) {
        subject.set_status("lastHandledReconcileAt", json!(token));
    }
    if subject.is_suspended() {
        subject.finish(true).await?;
        return Ok(Outcome::Done);
    }
    announce(subject).await?;
    match fetch(subject).await? {
        Ok(found) => publish(subject, found).await,
        Err(failure) => report(subject, failure).await,
    }
}

/// Line 2 of the trace: only where the generation or a lost artifact asks for work.
async fn announce(subject: &mut Subject<'_>) -> Result<(), Stop> {
    let (observed, generation) = (subject.observed_generation(), subject.generation());
    let url = subject.object["status"]["artifact"]["url"].as_str().map(str::to_owned);
    let lost = url.is_some_and(|url| subject.hub.world.peek(|state| !state.volume.contains_key(&url)));
    let message = if lost {
        subject.set_status("artifact", Value::Null);
        subject.set_status("url", Value::Null);
        subject.remove("ArtifactInStorage");
        "building artifact: disappeared from storage".to_owned()
    } else if observed != generation {
        format!("processing object: new generation {observed} -> {generation}")
    } else {
        return Ok(());
    };
    subject.reconciling("Progressing", &message);
    subject.ready("Unknown", "Progressing", &message);
    subject.patch().await
}

/// Looks upstream, under the orders that are armed.
async fn fetch(subject: &mut Subject<'_>) -> Result<Result<Found, Failure>, Stop> {
    let world = &subject.hub.world;
    let target = subject.target.clone();
    let usual = world.span(Step::Fetch, &target.to_string());
    let timeout = subject.spec_text("/timeout").and_then(super::release::duration).unwrap_or(Duration::from_secs(60));
    let then = world.peek(|state| state.script.next(&target, "fetch"));
    let failed = |text: &str| Failure::retry("FetchFailed", usual_reason(&target.kind), text.to_owned());
    match then {
        Some(Then::Succeed { after }) => tokio::time::sleep(milliseconds(after)).await,
        Some(Then::Fail { text, .. }) => {
            tokio::time::sleep(usual.min(timeout)).await;
            return Ok(Err(failed(&text)));
        }
        Some(Then::Restart) => return Err(Stop::Crash),
        Some(Then::Hang) => {
            tokio::time::sleep(timeout).await;
            return Ok(Err(failed("context deadline exceeded")));
        }
        None if usual > timeout => {
            tokio::time::sleep(timeout).await;
            return Ok(Err(failed("context deadline exceeded")));
        }
        None => tokio::time::sleep(usual).await,
    }
    if let Some(order) = world.take(Switch::S4, &target) {
        let Order { text, reason, .. } = order;
        let reason = reason.unwrap_or_else(|| stalling_reason(&target.kind).into());
        let text = text.unwrap_or_else(|| "the address is not valid".into());
        return Ok(Err(Failure::stall("FetchFailed", &reason, text)));
    }
    if let Some(order) = world.take(Switch::S3, &target) {
        let Order { text, reason, .. } = order;
        let reason = reason.unwrap_or_else(|| usual_reason(&target.kind).into());
        let text = text.unwrap_or_else(|| "GET https://registry.example/v2/: 503 Service Unavailable".into());
        return Ok(Err(Failure::retry("FetchFailed", &reason, text)));
    }
    Ok(match target.kind.as_str() {
        "OCIRepository" => oci::find(subject).await,
        "HelmRepository" => repository::find(subject).await,
        _ => chart::find(subject).await,
    })
}

fn usual_reason(kind: &str) -> &'static str {
    match kind {
        "OCIRepository" => "OCIArtifactPullFailed",
        "HelmRepository" => "Failed",
        _ => "ChartPullError",
    }
}

fn stalling_reason(kind: &str) -> &'static str {
    if kind == "HelmChart" { "InvalidChartReference" } else { "URLInvalid" }
}

async fn report(subject: &mut Subject<'_>, failure: Failure) -> Result<Outcome, Stop> {
    let Failure { condition, reason, message, stalls } = failure;
    subject.set(condition, "True", &reason, &message);
    subject.ready("False", &reason, &message);
    if stalls {
        subject.stalled(&reason, &message);
        subject.finish(true).await?;
        subject.event("Warning", &reason, &message).await;
        return Ok(Outcome::Done);
    }
    subject.reconciling("ProgressingWithRetry", &message);
    subject.finish(false).await?;
    subject.event("Warning", &reason, &message).await;
    Ok(Outcome::Again)
}

/// Lines 3 to 5 of the trace; a periodic pass that finds what is there already writes nothing.
async fn publish(subject: &mut Subject<'_>, found: Found) -> Result<Outcome, Stop> {
    for condition in ["FetchFailed", "BuildFailed", "StorageOperationFailed"] {
        subject.remove(condition);
    }
    let artifact = subject.object["status"]["artifact"].clone();
    let is_new = artifact["revision"] != found.revision.as_str() || artifact["digest"] != found.file.as_str();
    if is_new {
        let message = format!("building artifact: new revision '{}'", found.revision);
        if !artifact.is_null() {
            subject.set(
                "ArtifactOutdated",
                "True",
                "NewRevision",
                &format!("new upstream revision '{}'", found.revision),
            );
        }
        subject.reconciling("Progressing", &message);
        subject.ready("Unknown", "Progressing", &message);
        subject.patch().await?;
        store(subject, &found);
        let stored = format!("stored artifact for digest '{}'", found.revision);
        subject.set("ArtifactInStorage", "True", "Succeeded", &stored);
    } else if subject.condition("ArtifactInStorage").is_none() {
        let stored = format!("stored artifact for digest '{}'", found.revision);
        subject.set("ArtifactInStorage", "True", "Succeeded", &stored);
    }
    for (field, value) in &found.fields {
        subject.set_status(field, value.clone());
    }
    for condition in ["Reconciling", "ArtifactOutdated", "Stalled"] {
        subject.remove(condition);
    }
    subject.ready("True", found.reason, &found.message);
    subject.finish(true).await?;
    if is_new {
        subject.event("Normal", "NewArtifact", &found.message).await;
    }
    let interval =
        subject.spec_text("/interval").and_then(super::release::duration).unwrap_or(Duration::from_secs(600));
    Ok(Outcome::After(subject.hub.world.jittered(interval, &subject.target.to_string())))
}

fn directory(target: &Target) -> String {
    format!("{}/{}/{}", target.kind.to_lowercase(), target.namespace, target.name)
}

fn store(subject: &mut Subject<'_>, found: &Found) {
    let short = digest(&[&found.file, &found.revision]);
    let short = short.trim_start_matches("sha256:").get(..16).unwrap_or_default().to_owned();
    let path = format!("{}/{short}.tgz", directory(&subject.target));
    let url = format!("{HOST}/{path}");
    let file = Artifact { digest: found.file.clone(), chart: found.chart.clone() };
    let prefix = format!("{HOST}/{}/", directory(&subject.target));
    subject.hub.world.peek(|state| {
        // Older files of this source are collected; the real one keeps them for a minute more.
        state.volume.retain(|known, _| !known.starts_with(&prefix));
        state.volume.insert(url.clone(), file);
    });
    let artifact = json!({
        "path": path,
        "url": url,
        "revision": found.revision,
        "digest": found.file,
        "lastUpdateTime": subject.hub.world.stamp(),
        "size": 4096,
    });
    subject.set_status("artifact", artifact);
    subject.set_status("url", json!(format!("{HOST}/{}/latest.tar.gz", directory(&subject.target))));
}

fn drop_artifact(subject: &Subject<'_>) {
    let prefix = format!("{HOST}/{}/", directory(&subject.target));
    subject.hub.world.peek(|state| state.volume.retain(|url, _| !url.starts_with(&prefix)));
}

/// Whether the referenced credentials are there; `Ok(false)`: none are referenced.
pub(super) async fn credentials(subject: &Subject<'_>) -> Result<bool, Failure> {
    let Some(name) = subject.spec_text("/secretRef/name") else { return Ok(false) };
    let path = format!("/api/v1/namespaces/{}/secrets/{name}", subject.namespace());
    let (code, _) = subject.hub.client.request("GET", &path, None, None).await;
    if code == 200 {
        return Ok(true);
    }
    let message = format!("failed to get secret '{}/{name}': secrets \"{name}\" not found", subject.namespace());
    Err(Failure::retry("FetchFailed", "AuthenticationFailed", message))
}
