//! The HelmChart that a release with `spec.chart` generates, and takes back.

use serde_json::{Value, json};

use super::super::source::object_path;
use super::super::subject::Subject;
use super::End;
use crate::script::Target;

/// Name of the generated HelmChart.
pub(super) fn name(release: &Target) -> String {
    format!("{}-{}", release.namespace, release.name)
}

/// Brings the generated HelmChart to what the release asks for, by server-side apply; deletes the one of an earlier spec.
pub(super) async fn apply(subject: &mut Subject<'_>) -> Result<(), End> {
    let wanted = wanted(subject);
    let known = subject.status_text("helmChart").to_owned();
    let key = wanted.as_ref().map(|(namespace, _)| format!("{namespace}/{}", name(&subject.target)));
    if !known.is_empty() && key.as_deref() != Some(known.as_str()) {
        delete(subject).await?;
    }
    let Some((namespace, chart)) = wanted else { return Ok(()) };
    if subject.hub.world.settings().no_cross_namespace && namespace != subject.namespace() {
        let message = format!(
            "can't access 'HelmChart/{namespace}/{}', cross-namespace references have been blocked",
            name(&subject.target)
        );
        return Err(super::prerequisites::denied(subject, &message));
    }
    let path = object_path("v1", "helmcharts", &namespace, &name(&subject.target));
    let path = format!("{path}?fieldManager=helm-controller&force=true");
    let (code, answer) = subject.hub.client.apply(&path, &chart).await;
    if code != 200 && code != 201 {
        let text = answer["message"].as_str().unwrap_or("no answer").to_owned();
        subject.ready("False", "ReconcileError", &format!("failed to apply HelmChart: {text}"));
        return Err(End::Failed);
    }
    subject.set_status("helmChart", json!(key));
    Ok(())
}

fn wanted(subject: &Subject<'_>) -> Option<(String, Value)> {
    let template = subject.spec("/chart/spec")?;
    let namespace = template["sourceRef"]["namespace"].as_str().unwrap_or(subject.namespace()).to_owned();
    let mut spec = json!({
        "chart": template["chart"],
        "version": template["version"],
        "sourceRef": {"kind": template["sourceRef"]["kind"], "name": template["sourceRef"]["name"]},
        "interval": template.get("interval").unwrap_or(&subject.object["spec"]["interval"]),
        "reconcileStrategy": template["reconcileStrategy"],
    });
    for field in ["valuesFiles", "ignoreMissingValuesFiles", "verify"] {
        if let Some(value) = template.get(field) {
            spec[field] = value.clone();
        }
    }
    let mut labels = subject.spec("/chart/metadata/labels").cloned().unwrap_or_else(|| json!({}));
    labels["helm.toolkit.fluxcd.io/name"] = json!(subject.name());
    labels["helm.toolkit.fluxcd.io/namespace"] = json!(subject.namespace());
    let chart = json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "HelmChart",
        "metadata": {"name": name(&subject.target), "namespace": namespace, "labels": labels},
        "spec": spec,
    });
    Some((namespace, chart))
}

/// Deletes the generated HelmChart, if there is one.
pub(super) async fn delete(subject: &mut Subject<'_>) -> Result<(), End> {
    let known = subject.status_text("helmChart").to_owned();
    let Some((namespace, name)) = known.split_once('/') else { return Ok(()) };
    let path = object_path("v1", "helmcharts", namespace, name);
    let (code, answer) = subject.hub.client.delete(&path, None).await;
    if code >= 300 && code != 404 {
        let text = answer["message"].as_str().unwrap_or("no answer").to_owned();
        subject.ready("False", "ReconcileError", &format!("failed to delete HelmChart: {text}"));
        return Err(End::Failed);
    }
    subject.set_status("helmChart", Value::Null);
    Ok(())
}
