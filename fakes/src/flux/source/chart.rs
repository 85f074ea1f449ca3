//! HelmChart: one chart of one HelmRepository. Git and bucket sources are not modelled.

use serde_json::{Value, json};

use super::super::catalogue::{Chart, is_range};
use super::super::subject::Subject;
use super::{Failure, Found, object_path};

pub(super) async fn find(subject: &Subject<'_>) -> Result<Found, Failure> {
    let name = subject.spec_text("/chart").unwrap_or_default().to_owned();
    let version = subject.spec_text("/version").unwrap_or("*").to_owned();
    if !is_range(&version) {
        let message = format!("invalid chart reference: failed to parse version '{version}': improper constraint");
        return Err(Failure::stall("FetchFailed", "InvalidChartReference", message));
    }
    let repository = repository(subject).await?;
    let address = repository["spec"]["url"].as_str().unwrap_or_default().to_owned();
    let is_registry = repository["spec"]["type"] == "oci";
    if !is_registry && repository["status"]["artifact"].is_null() {
        let message = format!("no artifact available for HelmRepository source '{}'", source_name(subject));
        return Err(Failure::retry("FetchFailed", "NoSourceArtifact", message));
    }
    let chart = pull(subject, &address, &name, &version, is_registry)?;
    let source = repository["status"]["artifact"]["revision"].as_str().unwrap_or_default();
    Ok(Found {
        revision: chart.version.clone(),
        file: chart.digest.clone(),
        reason: "ChartPullSucceeded",
        message: format!("pulled '{}' chart with version '{}'", chart.name, chart.version),
        fields: vec![("observedChartName", json!(chart.name)), ("observedSourceArtifactRevision", json!(source))],
        chart: Some(chart),
    })
}

fn source_name<'a>(subject: &'a Subject<'_>) -> &'a str {
    subject.spec_text("/sourceRef/name").unwrap_or_default()
}

async fn repository(subject: &Subject<'_>) -> Result<Value, Failure> {
    let kind = subject.spec_text("/sourceRef/kind").unwrap_or_default();
    let name = source_name(subject);
    let unavailable = |message: String| Failure::retry("FetchFailed", "SourceUnavailable", message);
    if kind != "HelmRepository" {
        return Err(unavailable(format!("the fake serves no charts from a {kind}")));
    }
    let path = object_path("v1", "helmrepositories", subject.namespace(), name);
    let (code, repository) = subject.hub.client.request("GET", &path, None, None).await;
    match code {
        200 => Ok(repository),
        404 => Err(unavailable(format!(
            "failed to get source: HelmRepository.source.toolkit.fluxcd.io \"{name}\" not found"
        ))),
        _ => Err(unavailable(format!("failed to get source: the server answered {code}"))),
    }
}

/// An unknown name or version stalls with an index, because only a new index can help; a registry is asked again.
fn pull(subject: &Subject<'_>, address: &str, name: &str, version: &str, is_registry: bool) -> Result<Chart, Failure> {
    subject.hub.world.peek(|state| {
        // Credentials are those of the repository; if it was fetched, they were good.
        if let Err(refused) = state.catalogue.reach(address, true) {
            let message = format!("chart pull error: failed to download chart for remote reference: {}", refused.text);
            return Err(Failure::retry("BuildFailed", "ChartPullError", message));
        }
        let missing = || {
            let text = format!("no '{name}' chart with version matching '{version}' found");
            if is_registry {
                let message = format!("failed to get chart version for remote reference: {text}");
                Failure::retry("BuildFailed", "Unknown", message)
            } else {
                let message =
                    format!("invalid chart reference: failed to get chart version for remote reference: {text}");
                Failure::stall("FetchFailed", "InvalidChartReference", message)
            }
        };
        state.catalogue.find(address, name, version).ok_or_else(missing)
    })
}
