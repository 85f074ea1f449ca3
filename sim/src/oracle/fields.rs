//! Which spec a HelmRelease renders: the oracles' own reading of the field map, independent of the operator's code.

use std::collections::BTreeMap;

use fakes::apiserver::Commit;
use serde_json::Value;

use crate::truth::{
    HELM_REPOSITORIES, INSTANCES, OCI_REPOSITORIES, Truth, bare_version, condition, condition_status, generation,
    number, text, uid,
};

/// Every stored spec of every instance, by uid and generation.
#[derive(Default)]
pub(super) struct Specs(BTreeMap<String, BTreeMap<i64, Value>>);

impl Specs {
    /// Follows one commit.
    pub(super) fn step(&mut self, commit: &Commit) {
        if commit.resource != INSTANCES {
            return;
        }
        if let Some(after) = &commit.after {
            let specs = self.0.entry(uid(after).to_owned()).or_default();
            specs.entry(generation(after)).or_insert_with(|| after["spec"].clone());
        }
    }

    /// The specs of one instance in order of generation.
    pub(super) fn of(&self, uid: &str) -> impl Iterator<Item = (i64, &Value)> {
        self.0.get(uid).into_iter().flatten().map(|(generation, spec)| (*generation, spec))
    }

    /// One stored spec.
    pub(super) fn at(&self, uid: &str, generation: i64) -> Option<&Value> {
        self.0.get(uid)?.get(&generation)
    }
}

/// Whether the mapped fields of the release (and of its source, read from the truth) correspond to the spec.
pub(super) fn corresponds(release: &Value, spec: &Value, truth: &Truth) -> bool {
    let namespace = text(release, "/metadata/namespace");
    text(release, "/spec/releaseName") == text(spec, "/release/name")
        && text(release, "/spec/targetNamespace") == text(spec, "/release/namespace")
        && chart(release, spec, namespace, truth)
        && values(release, spec)
}

fn chart(release: &Value, spec: &Value, namespace: &str, truth: &Truth) -> bool {
    let (url, name, version) = (text(spec, "/chart/url"), text(spec, "/chart/name"), text(spec, "/chart/version"));
    if text(spec, "/chart/sourceType") == "helm" {
        let source = truth.get(HELM_REPOSITORIES, namespace, text(release, "/spec/chart/spec/sourceRef/name"));
        return text(release, "/spec/chart/spec/chart") == name
            && text(release, "/spec/chart/spec/version") == version
            && source.is_none_or(|source| text(source, "/spec/url") == url);
    }
    let Some(source) = truth.get(OCI_REPOSITORIES, namespace, text(release, "/spec/chartRef/name")) else {
        return false;
    };
    let wanted = if url.ends_with(&format!("/{name}")) { url.to_owned() } else { format!("{url}/{name}") };
    text(source, "/spec/url") == wanted && text(source, "/spec/ref/tag") == version.replace('+', "_")
}

fn values(release: &Value, spec: &Value) -> bool {
    match text(spec, "/values/source") {
        "inline" => spec.pointer("/values/inline").is_none_or(|inline| within(inline, &release["spec"]["values"])),
        _ => ["secretRef", "configMapRef"].iter().all(|kind| {
            let name = text(&spec["values"][kind], "/name");
            let references = release.pointer("/spec/valuesFrom").and_then(Value::as_array);
            name.is_empty() || references.is_some_and(|list| list.iter().any(|item| item["name"] == name))
        }),
    }
}

/// Whether every leaf of `part` is in `whole` with the same value.
fn within(part: &Value, whole: &Value) -> bool {
    match part {
        Value::Object(part) => part.iter().all(|(key, value)| within(value, &whole[key])),
        part => part == whole,
    }
}

/// The chart version a release asks for; empty if its source is not there.
pub(super) fn asked_version<'a>(release: &'a Value, truth: &'a Truth) -> &'a str {
    let direct = text(release, "/spec/chart/spec/version");
    if !direct.is_empty() {
        return direct;
    }
    let namespace = text(release, "/metadata/namespace");
    let source = truth.get(OCI_REPOSITORIES, namespace, text(release, "/spec/chartRef/name"));
    source.map_or("", |source| text(source, "/spec/ref/tag"))
}

/// The chart version that Flux has deployed and vouches for at the release's own generation, if it does and is at rest.
pub(super) fn proven_version(release: &Value) -> Option<&str> {
    standing_version(release).filter(|_| condition_status(release, "Reconciling") != "True")
}

/// The same, also while Flux looks again at its interval: Reconciling appears and disappears then and nothing changes
/// (contract §6.4).
pub(super) fn standing_version(release: &Value) -> Option<&str> {
    let asked = generation(release);
    let newest = release.pointer("/status/history/0")?;
    let stands = release.pointer("/spec/suspend") != Some(&Value::Bool(true))
        && number(release, "/status/observedGeneration") == asked
        && condition(release, "Ready")
            .is_some_and(|ready| ready["status"] == "True" && ready["observedGeneration"] == asked)
        && condition_status(release, "Stalled") != "True"
        && newest["status"] == "deployed";
    stands.then(|| bare_version(text(newest, "/chartVersion")))
}
