//! What a Helm action needs first: dependencies, the source, the values, the chart, an account that may act.

use serde_json::Value;

use super::super::catalogue::Chart;
use super::super::helm::ReleaseName;
use super::super::source::object_path;
use super::super::subject::{Stop, Subject};
use super::{
    DEPENDENCY_WAIT, Desired, End, GROUP, account, go, release_name, storage_namespace, target_namespace, values,
};
use crate::kinds::FluxRelease;

/// Everything, or the end of the pass with its condition already set.
pub(super) async fn gather(subject: &mut Subject<'_>) -> Result<Result<Desired, End>, Stop> {
    if let Some(message) = unready_dependency(subject).await {
        subject.ready("False", "DependencyNotReady", &message);
        subject.event("Normal", "DependencyNotReady", &message).await;
        return Ok(Err(End::Wait(DEPENDENCY_WAIT)));
    }
    clear(subject, &["DependencyNotReady"]);
    let source = match source(subject).await {
        Ok(source) => source,
        Err(end) => return Ok(Err(end)),
    };
    clear(subject, &["AccessDenied", "ArtifactFailed"]);
    if let Some(message) = unready_source(&source) {
        subject.ready("False", "SourceNotReady", &message);
        return Ok(Err(End::Wait(DEPENDENCY_WAIT)));
    }
    clear(subject, &["SourceNotReady"]);
    let config_digest = match values::compose(subject).await {
        Ok(values) => values::digest_of(&values),
        Err(message) => {
            subject.ready("False", "ValuesError", &message);
            subject.event("Warning", "ValuesError", &message).await;
            return Ok(Err(End::Failed));
        }
    };
    clear(subject, &["ValuesError"]);
    let (chart, oci_digest) = match load(subject, &source) {
        Ok(loaded) => loaded,
        Err(end) => return Ok(Err(end)),
    };
    if subject.spec("/kubeConfig").is_some() {
        subject.ready("False", "RESTClientError", "the fake reaches no remote cluster");
        return Ok(Err(End::Failed));
    }
    let release = ReleaseName::new(&storage_namespace(subject), &release_name(subject));
    Ok(Ok(Desired { chart, config_digest, oci_digest, release, target_namespace: target_namespace(subject) }))
}

/// A stale reason of an earlier pass gives way as soon as its cause is gone.
fn clear(subject: &mut Subject<'_>, reasons: &[&str]) {
    if subject.has_reason("Ready", reasons) {
        subject.ready("Unknown", "Progressing", "reconciliation in progress");
    }
}

/// Ends the pass for good: only a change of the spec or a restart helps.
pub(super) fn denied(subject: &mut Subject<'_>, message: &str) -> End {
    subject.stalled("AccessDenied", message);
    subject.ready("False", "AccessDenied", message);
    End::Terminal
}

async fn unready_dependency(subject: &Subject<'_>) -> Option<String> {
    for dependency in subject.spec("/dependsOn").and_then(Value::as_array).into_iter().flatten() {
        let namespace = dependency["namespace"].as_str().unwrap_or(subject.namespace());
        let name = dependency["name"].as_str().unwrap_or_default();
        let path = format!("/apis/{GROUP}/v2/namespaces/{namespace}/helmreleases/{name}");
        let (code, other) = subject.hub.client.get(&path).await;
        if code != 200 {
            return Some(format!(
                "unable to get '{namespace}/{name}' dependency: HelmRelease.{GROUP} \"{name}\" not found"
            ));
        }
        let ready = super::super::conditions::conditions(&other)
            .iter()
            .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
        if !ready || other["metadata"]["generation"] != other["status"]["observedGeneration"] {
            return Some(format!("dependency '{namespace}/{name}' is not ready"));
        }
    }
    None
}

async fn source(subject: &mut Subject<'_>) -> Result<Value, End> {
    let (kind, namespace, name) = match subject.spec("/chartRef") {
        Some(reference) => (
            reference["kind"].as_str().unwrap_or_default().to_owned(),
            reference["namespace"].as_str().unwrap_or(subject.namespace()).to_owned(),
            reference["name"].as_str().unwrap_or_default().to_owned(),
        ),
        None => {
            let known = subject.status_text("helmChart").to_owned();
            let (namespace, name) = known.split_once('/').unwrap_or_default();
            ("HelmChart".to_owned(), namespace.to_owned(), name.to_owned())
        }
    };
    let settings = subject.hub.world.settings();
    if settings.no_cross_namespace && namespace != subject.namespace() {
        let message = format!("can't access '{kind}/{namespace}/{name}', cross-namespace references have been blocked");
        subject.event("Warning", "AccessDenied", &message).await;
        return Err(denied(subject, &message));
    }
    let (version, plural) = match kind.as_str() {
        "OCIRepository" => (settings.release.oci_repository_version(), "ocirepositories"),
        "HelmChart" => ("v1", "helmcharts"),
        _ => {
            subject.ready("False", "ArtifactFailed", &format!("could not get Source object: the fake has no {kind}"));
            return Err(End::Failed);
        }
    };
    let (code, source) = subject.hub.client.get(&object_path(version, plural, &namespace, &name)).await;
    if code == 200 {
        return Ok(source);
    }
    let message = match code {
        404 => format!("could not get Source object: {kind}.source.toolkit.fluxcd.io \"{name}\" not found"),
        _ => format!("could not get Source object: the server answered {code}"),
    };
    subject.ready("False", "ArtifactFailed", &message);
    Err(End::Failed)
}

/// Ready=True is not asked for: a source whose newest fetch fails keeps serving what it has.
fn unready_source(source: &Value) -> Option<String> {
    let conditions = super::super::conditions::conditions(source);
    let find = |kind: &str, status: &str| {
        conditions.iter().find(|condition| condition["type"] == kind && condition["status"] == status)
    };
    let message = |condition: &Value| condition["message"].as_str().unwrap_or_default().to_owned();
    let why = if source["metadata"]["generation"] != source["status"]["observedGeneration"] {
        find("Ready", "False").map_or_else(|| "latest generation of object has not been reconciled".to_owned(), message)
    } else if let Some(stalled) = find("Stalled", "True") {
        message(stalled)
    } else if source["status"]["artifact"].is_null() {
        "does not have an artifact".to_owned()
    } else {
        return None;
    };
    let text = |field: &str| source["metadata"][field].as_str().unwrap_or_default().to_owned();
    let kind = source["kind"].as_str().unwrap_or_default();
    Some(format!("{kind} '{}/{}' is not ready: {why}", text("namespace"), text("name")))
}

/// Downloads the artifact and appends the digest to the version where it comes from a registry.
fn load(subject: &mut Subject<'_>, source: &Value) -> Result<(Chart, String), End> {
    let artifact = &source["status"]["artifact"];
    let url = artifact["url"].as_str().unwrap_or_default();
    let Some(file) = subject.hub.world.peek(|state| state.volume.get(url).cloned()) else {
        let message = format!("Source not ready: artifact not found. Retrying in {}", go(DEPENDENCY_WAIT));
        subject.ready("False", "ArtifactFailed", &message);
        return Err(End::Wait(DEPENDENCY_WAIT));
    };
    let failed = |subject: &mut Subject<'_>, why: &str| {
        subject.ready("False", "ArtifactFailed", &format!("Could not load chart: {why}"));
        End::Failed
    };
    if artifact["digest"].as_str().is_some_and(|digest| digest != file.digest) {
        return Err(failed(subject, "failed to verify artifact: computed checksum doesn't match provided"));
    }
    let Some(mut chart) = file.chart else {
        return Err(failed(subject, "Chart.yaml file is missing"));
    };
    if source["kind"] != "OCIRepository" {
        return Ok((chart, String::new()));
    }
    let revision = artifact["revision"].as_str().unwrap_or_default();
    match append_digest(&chart.version, revision, subject.hub.world.settings().release) {
        Ok((version, digest)) => {
            chart.version = version;
            Ok((chart, digest))
        }
        Err(why) => {
            subject.ready("False", "ChartMutateError", &why);
            Err(End::Failed)
        }
    }
}

/// `1.4.2` and `1.4.2@sha256:5f2c…` make `1.4.2+5f2c…` (12 digits) and the digest. Build metadata of the chart gives way.
/// That tags with `_` for `+` are understood from 2.6 on is our reading; no older file was at hand to check it.
fn append_digest(version: &str, revision: &str, release: FluxRelease) -> Result<(String, String), String> {
    let (tag, digest) = match revision.split_once('@') {
        Some((tag, digest)) => (Some(tag), digest),
        None => (None, revision),
    };
    let mut parsed = semver::Version::parse(version.trim_start_matches('v'))
        .map_err(|error| format!("chart version {version} is no semantic version: {error}"))?;
    if let Some(tag) = tag {
        let tag = if release >= FluxRelease::V2_6 { tag.replace('_', "+") } else { tag.to_owned() };
        let tagged = semver::Version::parse(tag.trim_start_matches('v'))
            .map_err(|_| format!("failed parsing artifact revision {tag}"))?;
        if tagged.cmp_precedence(&parsed).is_ne() {
            return Err(format!("artifact revision {tag} does not match chart version {version}"));
        }
    }
    let short = digest.split_once(':').and_then(|(_, hex)| hex.get(..12));
    let short = short.ok_or_else(|| format!("invalid artifact revision {revision}"))?;
    parsed.build = semver::BuildMetadata::new(short).map_err(|error| error.to_string())?;
    Ok((parsed.to_string(), digest.to_owned()))
}

/// What the API server says to an account that may not even list releases; `None`: it may act.
pub(super) async fn forbidden(subject: &Subject<'_>, namespace: &str) -> Option<String> {
    let account = account(subject)?;
    let own = subject.namespace();
    let path = format!("/api/v1/namespaces/{own}/serviceaccounts/{account}");
    let (code, _) = subject.hub.client.get(&path).await;
    let powerless = subject.hub.world.peek(|state| state.powerless.contains(&format!("{own}/{account}")));
    (code == 404 || powerless).then(|| {
        format!(
            "query: failed to query with labels: secrets is forbidden: User \"system:serviceaccount:{own}:{account}\" \
             cannot list resource \"secrets\" in API group \"\" in the namespace \"{namespace}\""
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REVISION: &str = "1.4.2@sha256:5f2c9d0a1b2c3d4e";

    #[test]
    fn the_digest_is_appended_to_the_version() {
        let (version, digest) = append_digest("1.4.2", REVISION, FluxRelease::V2_9).expect("tag and version agree");
        assert_eq!(version, "1.4.2+5f2c9d0a1b2c");
        assert_eq!(digest, "sha256:5f2c9d0a1b2c3d4e");
        let (version, _) = append_digest("v1.4.2+7", "1.4.2_7@sha256:5f2c9d0a1b2c3d4e", FluxRelease::V2_9)
            .expect("build metadata gives way");
        assert_eq!(version, "1.4.2+5f2c9d0a1b2c");
    }

    #[test]
    fn a_tag_of_another_version_is_an_error_and_so_is_an_underscore_before_2_6() {
        assert!(append_digest("1.4.3", REVISION, FluxRelease::V2_9).is_err());
        let tag = "1.4.2_7@sha256:5f2c9d0a1b2c3d4e";
        assert!(append_digest("1.4.2+7", tag, FluxRelease::V2_3).is_err());
    }
}
