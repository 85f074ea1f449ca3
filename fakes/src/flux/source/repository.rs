//! HelmRepository over HTTP: the artifact is the index.

use super::super::subject::Subject;
use super::{Failure, Found, credentials};

pub(super) async fn find(subject: &Subject<'_>) -> Result<Found, Failure> {
    let address = subject.spec_text("/url").unwrap_or_default().to_owned();
    if address.starts_with("oci://") {
        let message = format!("scheme \"oci\" of '{address}' needs spec.type oci");
        return Err(Failure::stall("FetchFailed", "URLInvalid", message));
    }
    let credentials = credentials(subject).await?;
    let failed = |text: String| {
        let message = format!("failed to fetch Helm repository index: {text}");
        Failure::retry("FetchFailed", "Failed", message)
    };
    let revision = subject
        .hub
        .world
        .peek(|state| state.catalogue.reach(&address, credentials).and_then(|()| state.catalogue.index(&address)));
    let revision = revision.map_err(|refused| failed(refused.text))?;
    Ok(Found {
        file: revision.clone(),
        chart: None,
        reason: "Succeeded",
        message: format!("stored artifact: revision '{revision}'"),
        revision,
        fields: Vec::new(),
    })
}
