//! OCIRepository: a tag, a range or a digest of one repository in a registry.

use serde_json::{Value, json};

use super::super::catalogue::{Chart, digest, matches};
use super::super::subject::Subject;
use super::{Failure, Found, credentials};

pub(super) async fn find(subject: &Subject<'_>) -> Result<Found, Failure> {
    let address = subject.spec_text("/url").unwrap_or_default().to_owned();
    let place = address.strip_prefix("oci://").unwrap_or_default();
    if place.is_empty()
        || place.starts_with('/')
        || !place.contains('/')
        || place.rsplit('/').next().unwrap_or_default().contains(':')
    {
        let message = format!("URL validation failed for '{address}': could not parse reference");
        return Err(Failure::stall("FetchFailed", "URLInvalid", message));
    }
    let credentials = credentials(subject).await?;
    let (chart, revision) = resolve(subject, &address, credentials)?;
    let is_chart = subject.spec_text("/layerSelector/operation") == Some("copy")
        && subject.spec_text("/layerSelector/mediaType").is_some_and(|kind| kind.contains("helm.chart.content"));
    let message = format!("stored artifact for digest '{revision}'");
    let mut fields = Vec::new();
    fields.push(("observedLayerSelector", subject.spec("/layerSelector").cloned().unwrap_or(Value::Null)));
    fields.push(("observedIgnore", json!(subject.spec_text("/ignore").unwrap_or_default())));
    Ok(Found {
        file: digest(&[&chart.digest, if is_chart { "copied" } else { "unpacked" }]),
        // Without the selector the layer is unpacked, and what is offered is no chart any more.
        chart: is_chart.then_some(chart),
        revision,
        reason: "Succeeded",
        message,
        fields,
    })
}

/// Digest wins over range, range over tag.
fn resolve(subject: &Subject<'_>, address: &str, credentials: bool) -> Result<(Chart, String), Failure> {
    let failed = |text: String| {
        let message = format!("failed to pull artifact from '{address}': {text}");
        Failure::retry("FetchFailed", "OCIArtifactPullFailed", message)
    };
    let wanted = |field: &str| subject.spec_text(&format!("/ref/{field}")).map(str::to_owned);
    subject.hub.world.peek(|state| {
        let catalogue = &state.catalogue;
        catalogue.reach(address, credentials).map_err(|refused| failed(refused.text))?;
        if let Some(wanted) = wanted("digest") {
            let chart = catalogue.by_digest(address, &wanted).map_err(|refused| failed(refused.text))?;
            return Ok((chart, wanted));
        }
        let tag = match wanted("semver") {
            Some(range) => newest(&catalogue.tags(address), &range)
                .ok_or_else(|| failed(format!("no match found for semver: {range}")))?,
            None => wanted("tag").unwrap_or_else(|| "latest".into()),
        };
        let chart = catalogue.tag(address, &tag).map_err(|refused| failed(refused.text))?;
        let revision = format!("{tag}@{}", chart.digest);
        Ok((chart, revision))
    })
}

fn newest(tags: &[String], range: &str) -> Option<String> {
    let version = |tag: &String| tag.replace('_', "+");
    let fitting = tags.iter().filter(|tag| matches(&version(tag), range));
    fitting.max_by_key(|tag| semver::Version::parse(version(tag).trim_start_matches('v')).ok()).cloned()
}
