//! helm-controller: one pass over a HelmRelease (downstream §2).
//!
//! The pass gathers what an action needs ([`prerequisites`]), then works from state to state ([`atomic`]) until nothing is
//! left to do, and ends with one last patch that may advance the observed generation.

mod actions;
mod atomic;
mod deletion;
mod prerequisites;
mod remedies;
mod snapshot;
mod state;
mod template;
mod values;

use std::time::Duration;

use serde_json::{Value, json};

use super::catalogue::{Chart, digest};
use super::controller::{Cache, Ended, Outcome, REQUESTED_AT, Reconciler, Watched};
use super::helm::ReleaseName;
use super::source::revision_changed;
use super::subject::{Hub, Stop, Subject};
use crate::script::{Switch, Target};

const GROUP: &str = "helm.toolkit.fluxcd.io";

/// Wait for dependencies and for sources that are not there yet (`--requeue-dependency`).
const DEPENDENCY_WAIT: Duration = Duration::from_secs(30);

pub(crate) struct Releases {
    pub(crate) hub: Hub,
}

/// How a pass ended, before its last patch.
pub(super) enum End {
    /// Nothing more to do until the interval.
    InSync,
    /// Nothing more to do until something changes: og advances, no requeue.
    Terminal,
    /// The remediation of a failed attempt is done, another attempt follows.
    Requeue,
    /// The strategy is to retry: og advances, the next attempt after this time.
    RetryAfter(Duration),
    /// Something that is not ready yet: og stays, look again after this time.
    Wait(Duration),
    /// An error: og stays, backoff.
    Failed,
    /// The pass died without a last patch (H8).
    Abandoned,
}

/// What the release shall become.
pub(super) struct Desired {
    pub(super) chart: Chart,
    pub(super) config_digest: String,
    /// Digest in the registry; empty for charts from a HTTP repository.
    pub(super) oci_digest: String,
    pub(super) release: ReleaseName,
    pub(super) target_namespace: String,
}

impl Reconciler for Releases {
    fn hub(&self) -> &Hub {
        &self.hub
    }

    fn watched(&self) -> Vec<Watched> {
        let oci = self.hub.world.settings().release.oci_repository_version();
        let releases = format!("/apis/{GROUP}/v2/helmreleases");
        vec![
            Watched { kind: "HelmRelease", path: releases, workers: 4 },
            Watched { kind: "HelmChart", path: super::source::collection("v1", "helmcharts"), workers: 0 },
            Watched { kind: "OCIRepository", path: super::source::collection(oci, "ocirepositories"), workers: 0 },
        ]
    }

    async fn pass(&self, target: Target, object: Value) -> Ended {
        let path = format!("/apis/{GROUP}/v2/namespaces/{}/helmreleases/{}", target.namespace, target.name);
        let mut subject = Subject::new(&self.hub, target, path, object);
        let outcome = pass(&mut subject).await;
        Ended { outcome, version: subject.version() }
    }

    /// A source with a new artifact wakes the releases that use it, unless they have attempted that very revision.
    fn wakes(&self, target: &Target, old: Option<&Value>, new: &Value, cache: &Cache) -> Vec<Target> {
        if target.kind == "HelmRelease" || !revision_changed(old, new) {
            return Vec::new();
        }
        let revision = new["status"]["artifact"]["revision"].as_str().unwrap_or_default();
        let wants = |release: &Target, object: &Value| {
            if release.kind != "HelmRelease" || source_of(release, object).as_ref() != Some(target) {
                return false;
            }
            let status = &object["status"];
            if target.kind == "OCIRepository" {
                let digest = revision.rsplit('@').next().unwrap_or_default();
                return status["lastAttemptedRevisionDigest"] != digest;
            }
            let ready = super::conditions::conditions(object)
                .iter()
                .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
            !(ready && status["lastAttemptedRevision"] == revision)
        };
        cache.iter().filter(|(release, object)| wants(release, object)).map(|(release, _)| release.clone()).collect()
    }
}

/// The source that a release takes its chart from.
fn source_of(release: &Target, object: &Value) -> Option<Target> {
    let spec = &object["spec"];
    if let Some(name) = spec["chartRef"]["name"].as_str() {
        let namespace = spec["chartRef"]["namespace"].as_str().unwrap_or(&release.namespace);
        return Some(Target::new(spec["chartRef"]["kind"].as_str().unwrap_or_default(), namespace, name));
    }
    let reference = &spec["chart"]["spec"]["sourceRef"];
    let namespace = reference["namespace"].as_str().unwrap_or(&release.namespace);
    reference["name"].as_str()?;
    Some(Target::new("HelmChart", namespace, &template::name(release)))
}

async fn pass(subject: &mut Subject<'_>) -> Result<Outcome, Stop> {
    let has_chart = subject.spec("/chart").is_some();
    if has_chart == subject.spec("/chartRef").is_some() {
        // Only possible under CRDs without the rule; the real one logs and never writes.
        return Ok(Outcome::Done);
    }
    let end = match steps(subject).await {
        Ok(end) => end,
        Err(Stop::Api(why)) => {
            tracing::debug!(target = %subject.target, %why, "a write failed in the middle of a pass");
            End::Failed
        }
        Err(stop) => return Err(stop),
    };
    if let Some(token) = subject.annotation(REQUESTED_AT).map(str::to_owned) {
        subject.set_status("lastHandledReconcileAt", json!(token));
    }
    let (observed, outcome) = match end {
        End::InSync => {
            let interval = subject.spec_text("/interval").and_then(duration).unwrap_or(Duration::from_secs(300));
            (true, Outcome::After(subject.hub.world.jittered(interval, &subject.target.to_string())))
        }
        End::Terminal => (true, Outcome::Done),
        End::RetryAfter(wait) => (true, Outcome::After(subject.hub.world.jittered(wait, &subject.target.to_string()))),
        End::Wait(wait) => (false, Outcome::After(wait)),
        End::Requeue | End::Failed => (false, Outcome::Again),
        End::Abandoned => return Ok(Outcome::Done),
    };
    match subject.finish(observed).await {
        Ok(()) => Ok(outcome),
        // The object went with its finalizer.
        Err(Stop::Gone) if subject.is_deleted() => Ok(Outcome::Done),
        Err(stop) => Err(stop),
    }
}

async fn steps(subject: &mut Subject<'_>) -> Result<End, Stop> {
    if subject.is_deleted() {
        return deletion::delete(subject).await;
    }
    if !subject.has_finalizer() {
        subject.add_finalizer();
        return Ok(End::Requeue);
    }
    if subject.is_suspended() {
        return Ok(End::Terminal);
    }
    if let Err(end) = template::apply(subject).await {
        return Ok(end);
    }
    subject.reconciling("Progressing", "Fulfilling prerequisites");
    subject.patch().await?;
    let desired = match prerequisites::gather(subject).await? {
        Ok(desired) => desired,
        Err(end) => return Ok(end),
    };
    if snapshot::target_changed(subject, &desired) {
        return deletion::move_away(subject).await;
    }
    subject.set_status("storageNamespace", json!(desired.release.namespace));
    if must_reset(subject, &desired) {
        clear_failures(subject);
    }
    subject.set_status("lastAttemptedGeneration", json!(subject.generation()));
    subject.set_status("lastAttemptedRevision", json!(desired.chart.version));
    subject.set_status("lastAttemptedRevisionDigest", json!(desired.oci_digest));
    subject.set_status("lastAttemptedConfigDigest", json!(desired.config_digest));
    if subject.hub.world.take(Switch::H7, &subject.target).is_some() {
        let now = subject.hub.world.now();
        subject.hub.world.peek(|state| state.storage.upgrade_by_hand(&desired.release, now));
    }
    atomic::run(subject, &desired).await
}

fn clear_failures(subject: &mut Subject<'_>) {
    for counter in ["failures", "installFailures", "upgradeFailures"] {
        subject.set_status(counter, Value::Null);
    }
}

/// Counters start over when generation, chart or values differ from the last attempt, or when a reset is asked for.
fn must_reset(subject: &mut Subject<'_>, desired: &Desired) -> bool {
    let asked = handles(subject, "reconcile.fluxcd.io/resetAt", "lastHandledResetAt");
    let last = subject.status_text("lastAttemptedConfigDigest");
    asked
        || subject.status_number("lastAttemptedGeneration") != subject.generation()
        || subject.status_text("lastAttemptedRevision") != desired.chart.version
        || (!last.is_empty() && last != desired.config_digest)
}

/// Whether a reset or force token is new and equals the token of the request for this pass. Seeing it marks it as handled.
fn handles(subject: &mut Subject<'_>, annotation: &str, field: &'static str) -> bool {
    let Some(token) = subject.annotation(annotation).map(str::to_owned) else { return false };
    let handled = subject.status_text(field).to_owned();
    let requested = subject.annotation(REQUESTED_AT).map(str::to_owned);
    let fresh = subject.status_text("lastHandledReconcileAt") != token && handled != token;
    subject.set_status(field, json!(token));
    requested.as_deref() == Some(token.as_str()) && fresh
}

/// `spec.releaseName`, or the name made from target namespace and name, shortened with a hash beyond Helm's 53 characters.
fn release_name(subject: &Subject<'_>) -> String {
    if let Some(name) = subject.spec_text("/releaseName") {
        return name.to_owned();
    }
    let name = match subject.spec_text("/targetNamespace") {
        Some(namespace) => format!("{namespace}-{}", subject.name()),
        None => subject.name().to_owned(),
    };
    if name.len() <= 53 {
        return name;
    }
    let hash = digest(&[&name]);
    let hash = hash.trim_start_matches("sha256:").get(..12).unwrap_or_default();
    format!("{}-{hash}", name.get(..40).unwrap_or_default())
}

fn storage_namespace(subject: &Subject<'_>) -> String {
    subject.spec_text("/storageNamespace").unwrap_or(subject.namespace()).to_owned()
}

fn target_namespace(subject: &Subject<'_>) -> String {
    subject.spec_text("/targetNamespace").unwrap_or(subject.namespace()).to_owned()
}

/// The account on whose behalf Helm acts, if not the controller's own.
fn account(subject: &Subject<'_>) -> Option<String> {
    let own = subject.spec_text("/serviceAccountName").map(str::to_owned);
    own.or_else(|| subject.hub.world.settings().default_service_account)
}

/// A Go duration such as `1h5m0.5s`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut whole = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest.get(..digits)?.parse().ok()?;
        let unit_and_more = rest.get(digits..)?;
        let end = unit_and_more.find(|c: char| c.is_ascii_digit()).unwrap_or(unit_and_more.len());
        let seconds = match unit_and_more.get(..end)? {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return None,
        };
        whole += Duration::try_from_secs_f64(number * seconds).ok()?;
        rest = unit_and_more.get(end..)?;
    }
    Some(whole)
}

/// A duration as Go prints it: `15m0s`, `1h0m0s`, `30s`, `500ms`.
pub(super) fn go(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let fraction = duration.subsec_millis();
    if seconds == 0 {
        return if fraction == 0 { "0s".into() } else { format!("{fraction}ms") };
    }
    let rest = match fraction {
        0 => format!("{}s", seconds % 60),
        _ => format!("{}.{}s", seconds % 60, format!("{fraction:03}").trim_end_matches('0')),
    };
    match (seconds / 3600, seconds / 60 % 60) {
        (0, 0) => rest,
        (0, minutes) => format!("{minutes}m{rest}"),
        (hours, minutes) => format!("{hours}h{minutes}m{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_printed_as_go_does() {
        for (text, milliseconds, printed) in [
            ("15m", 900_000, "15m0s"),
            ("15m0s", 900_000, "15m0s"),
            ("1h", 3_600_000, "1h0m0s"),
            ("1h30m10s", 5_410_000, "1h30m10s"),
            ("750ms", 750, "750ms"),
            ("1.5s", 1_500, "1.5s"),
            ("30s", 30_000, "30s"),
        ] {
            let read = duration(text).expect("a Go duration");
            assert_eq!(read, Duration::from_millis(milliseconds), "{text}");
            assert_eq!(go(read), printed);
        }
        assert_eq!(duration("5 minutes"), None);
        assert_eq!(duration("5"), None);
    }
}
