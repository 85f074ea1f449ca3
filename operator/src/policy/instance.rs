//! What an ApplicationInstance must look like (contract §5.1). Most of it is CEL in the CRD too; it is asked again here,
//! because a stored object may be older than the rule, and the rest cannot be said in CEL.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::{Class, Refusal, Settings, secrets};
use crate::api::application_instance::{Mode, SourceType, ValuesSource};
use crate::api::common::KeyRef;
use crate::api::{ApplicationInstanceSpec, Open, annotation};
use crate::cluster_api::{Object, TOO_DEEP};

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a constant pattern compiles")
}

static CHART_NAME: LazyLock<Regex> = LazyLock::new(|| pattern("^[a-zA-Z0-9][a-zA-Z0-9._-]*$"));
static VERSION: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^v?[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$"));
static RELEASE: LazyLock<Regex> = LazyLock::new(|| pattern("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"));
static OCI: LazyLock<Regex> = LazyLock::new(|| pattern("^oci://[^/]+(/[^:@]*)?$"));
static USER: LazyLock<Regex> = LazyLock::new(|| pattern("^[a-z]+://[^/]*@"));

/// Reads the spec. One that this version cannot read is a refusal, not an error: it must not stop anything else.
pub fn read(spec: &Value) -> Result<ApplicationInstanceSpec, Refusal> {
    if cut(spec) {
        return Err(Refusal::shape(format!("spec is {TOO_DEEP}; nothing of it is applied; make its values flatter")));
    }
    serde_json::from_value(spec.clone())
        .map_err(|error| Refusal::shape(format!("spec cannot be read: {}", shape_of(&error.to_string()))))
}

/// Whether something of it did not arrive. What is left would be another wish than the one that was written.
fn cut(value: &Value) -> bool {
    match value {
        Value::String(text) => text == TOO_DEEP,
        Value::Array(items) => items.iter().any(cut),
        Value::Object(map) => map.values().any(cut),
        _ => false,
    }
}

/// A decoding error without the value it quotes, which may itself contain quotes.
fn shape_of(error: &str) -> String {
    match (error.find('"'), error.rfind('"')) {
        (Some(first), Some(last)) => format!("{}{}", &error[..first], &error[last + 1..]),
        _ => error.into(),
    }
}

/// Everything that can be said about the spec and the cluster's settings alone.
pub fn check(name: &str, namespace: &str, spec: &ApplicationInstanceSpec, settings: &Settings) -> Result<(), Refusal> {
    if name.len() > 63 {
        return Err(Refusal::shape("metadata.name must be at most 63 characters; choose a shorter name"));
    }
    match spec.mode {
        Open::Known(Mode::Placeholder) => placeholder(namespace, spec),
        Open::Known(Mode::Managed) => managed(namespace, spec, settings),
        Open::Other(_) => Err(Refusal::shape("spec.mode is not known to this version; use managed or placeholder")),
    }
}

fn placeholder(namespace: &str, spec: &ApplicationInstanceSpec) -> Result<(), Refusal> {
    if spec.chart.is_some() || spec.values.is_some() || spec.integrations.is_some() {
        return Err(Refusal::shape(
            "chart, values and integrations are not allowed with mode: placeholder; remove them",
        ));
    }
    match &spec.release {
        Some(release) if release.namespace != namespace => {
            Err(Refusal::shape("spec.release.namespace must be the namespace of this object"))
        }
        _ => Ok(()),
    }
}

fn managed(namespace: &str, spec: &ApplicationInstanceSpec, settings: &Settings) -> Result<(), Refusal> {
    let Some(chart) = &spec.chart else {
        return Err(Refusal::shape("spec.chart is required: write sourceType, url, name and version"));
    };
    let Some(release) = &spec.release else {
        return Err(Refusal::shape("spec.release is required: write a name, and the namespace of this object"));
    };
    let Some(values) = &spec.values else {
        return Err(Refusal::shape("spec.values is required: write source: inline with inline: {} if there are none"));
    };
    if release.namespace != namespace {
        return Err(Refusal::shape("spec.release.namespace must be the namespace of this object"));
    }
    if release.name.len() > 53 || !RELEASE.is_match(&release.name) {
        return Err(Refusal::shape(
            "spec.release.name must be at most 53 lower-case letters, digits and '-', beginning and ending with a letter or digit",
        ));
    }
    if chart.name.len() > 128 || !CHART_NAME.is_match(&chart.name) {
        return Err(Refusal::shape(
            "spec.chart.name must begin with a letter or digit and contain only letters, digits, '.', '_' and '-'",
        ));
    }
    if !VERSION.is_match(&chart.version) {
        return Err(Refusal::shape(
            "spec.chart.version must be one concrete version such as 1.4.2; ranges and latest are not allowed",
        ));
    }
    if USER.is_match(&chart.url) {
        return Err(Refusal::shape(
            "spec.chart.url must not contain credentials; put them into a Secret and name it in chart.secretRef",
        ));
    }
    let helm = settings.helm();
    match chart.source_type {
        Open::Known(SourceType::Oci) if !OCI.is_match(&chart.url) => {
            return Err(Refusal::shape("spec.chart.url must be oci://REGISTRY/PATH without a tag or digest"));
        }
        Open::Known(SourceType::Helm) if chart.url.starts_with("http://") && !helm.allow_plain_http => {
            return Err(Refusal::shape(
                "spec.chart.url must begin with https:// because this cluster does not allow plain http (helm.allowPlainHttp)",
            ));
        }
        Open::Known(SourceType::Helm) if !chart.url.starts_with("https://") && !chart.url.starts_with("http://") => {
            return Err(Refusal::shape("spec.chart.url must begin with https:// for sourceType helm"));
        }
        Open::Known(_) => {}
        Open::Other(_) => {
            return Err(Refusal::shape("spec.chart.sourceType is not known to this version; use oci or helm"));
        }
    }
    if !helm.allowed_chart_url_prefixes.is_empty()
        && !helm.allowed_chart_url_prefixes.iter().any(|prefix| within(&chart.url, prefix))
    {
        return Err(Refusal::coded(
            Class::Policy,
            "ChartSourceNotAllowed",
            "spec.chart.url begins with none of the addresses this cluster allows (helm.allowedChartUrlPrefixes)",
        ));
    }
    members(values)?;
    if let Some(ingress) = spec.integrations.as_ref().and_then(|all| all.ingress.as_ref())
        && ingress.enabled
        && ingress.host.as_deref().is_none_or(str::is_empty)
    {
        return Err(Refusal::shape("spec.integrations.ingress.host is required when the ingress is enabled"));
    }
    if let Some(inline) = &values.inline
        && let Some(finding) = secrets::scan("spec.values.inline", &Value::Object(inline.clone()))
    {
        return Err(Refusal::coded(Class::Policy, "InlineSecretMaterialRejected", finding.text()));
    }
    Ok(())
}

/// A prefix ends at a path border: `oci://charts.example.org/apps` does not allow `oci://charts.example.org/apps-evil`. Nor
/// does it allow a path that leads out of it again, in any spelling a server may undo.
fn within(url: &str, prefix: &str) -> bool {
    let climbs = |rest: &str| {
        let plain =
            rest.to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/").replace("%5c", "/").replace('\\', "/");
        plain.split('/').any(|segment| matches!(segment, "." | ".."))
    };
    url.strip_prefix(prefix)
        .is_some_and(|rest| (rest.is_empty() || prefix.ends_with('/') || rest.starts_with('/')) && !climbs(rest))
}

fn members(values: &crate::api::application_instance::Values) -> Result<(), Refusal> {
    let has = (values.inline.is_some(), values.secret_ref.is_some(), values.config_map_ref.is_some());
    let (right, want) = match values.source {
        Open::Known(ValuesSource::Inline) => (has == (true, false, false), "values.inline and no reference"),
        Open::Known(ValuesSource::SecretRef) => (has == (false, true, false), "values.secretRef and nothing else"),
        Open::Known(ValuesSource::ConfigMapRef) => {
            (has == (false, false, true), "values.configMapRef and nothing else")
        }
        Open::Known(ValuesSource::Merge) => {
            (has.0 && (has.1 != has.2), "values.inline and exactly one of secretRef and configMapRef")
        }
        Open::Other(_) => (false, "a source this version knows: inline, secretRef, configMapRef or merge"),
    };
    if !right {
        return Err(Refusal::shape(format!("spec.values does not fit its source; write {want}")));
    }
    let named = |reference: &Option<KeyRef>| {
        reference.as_ref().is_none_or(|found| !found.name.is_empty() && !found.key.is_empty())
    };
    if !named(&values.secret_ref) || !named(&values.config_map_ref) {
        return Err(Refusal::shape("a values reference needs both name and key"));
    }
    Ok(())
}

/// Annotations that decide over life and death, with the words they know (contract §4.2). `enabled` is the opposite of
/// `disabled` in Flux, whose annotation this one resembles; objects of the existing agent may carry it.
const WORDS: [(&str, &[&str]); 3] = [
    (annotation::DELETION_POLICY, &["orphan"]),
    (annotation::HELMRELEASE_AUTHORITY, &["external"]),
    (annotation::RECONCILE, &["disabled", "enabled"]),
];

/// Whether every such annotation says a word it knows. Each is only ever set to keep something from being changed or
/// removed: one that is misspelt must not be found out by the loss of an application.
pub fn words(instance: &Object) -> Result<(), Refusal> {
    for (name, known) in WORDS {
        if instance.annotation(name).is_some_and(|word| !word.is_empty() && !known.contains(&word)) {
            return Err(Refusal::shape(format!(
                "the annotation {name} must be {}; correct it or remove it. Until then nothing is changed, and a deletion leaves the application in place",
                known.join(" or ")
            )));
        }
    }
    Ok(())
}

/// Controllers that integrations need (contract §5.1).
pub fn dependencies(spec: &ApplicationInstanceSpec, settings: &Settings) -> Result<(), Refusal> {
    let Some(integrations) = &spec.integrations else { return Ok(()) };
    let wanted = [
        (&integrations.cert_manager, "cert-manager.io/certificates", "cert-manager", "certManager"),
        (&integrations.external_secrets, "external-secrets.io/externalsecrets", "external-secrets", "externalSecrets"),
    ];
    for (switch, resource, controller, field) in wanted {
        if switch.as_ref().is_some_and(|switch| switch.enabled) && !settings.caps.versions.contains_key(resource) {
            return Err(Refusal::missing(format!(
                "integrations.{field} needs {controller}, which is not installed in this cluster"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster_api::Caps;

    fn spec() -> Value {
        json!({
            "appRef": {"catalogId": "nextcloud"},
            "chart": {"sourceType": "oci", "url": "oci://charts.example.org/apps", "name": "nextcloud", "version": "6.6.0"},
            "release": {"name": "files", "namespace": "org-a"},
            "values": {"source": "inline", "inline": {}},
        })
    }

    fn with(pointer: &str, value: Value) -> Value {
        let mut spec = spec();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        spec.pointer_mut(parent).unwrap()[field] = value;
        spec
    }

    fn without(pointer: &str) -> Value {
        let mut spec = spec();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        spec.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(field);
        spec
    }

    fn verdict(spec: &Value, settings: &Settings) -> Result<(), Refusal> {
        read(spec).and_then(|spec| check("files", "org-a", &spec, settings))
    }

    #[test]
    fn wrong_specs_are_refused_with_a_sentence() {
        let settings = Settings::default();
        for (wrong, words) in [
            (without("/chart"), "spec.chart is required"),
            (without("/release"), "spec.release is required"),
            (without("/values"), "spec.values is required"),
            (with("/release/namespace", json!("org-b")), "namespace of this object"),
            (with("/release/name", json!("Files")), "lower-case"),
            (with("/release/name", json!("f".repeat(54))), "at most 53"),
            (with("/chart/name", json!("../evil")), "spec.chart.name"),
            (with("/chart/version", json!("latest")), "concrete version"),
            (with("/chart/version", json!("^1.2.0")), "concrete version"),
            (with("/chart/version", json!("1.2")), "concrete version"),
            (with("/chart/url", json!("https://charts.example.org")), "oci://"),
            (with("/chart/url", json!("oci://charts.example.org/apps:6.6.0")), "without a tag"),
            (with("/chart/url", json!("oci://u:p@charts.example.org/apps")), "credentials"),
            (with("/chart/sourceType", json!("git")), "sourceType"),
            (with("/chart/sourceType", json!("helm")), "https://"),
            (with("/values/source", json!("vault")), "does not fit"),
            (with("/values/source", json!("secretRef")), "values.secretRef"),
            (with("/values/secretRef", json!({"name": "a", "key": "b"})), "no reference"),
            (with("/values/source", json!("merge")), "exactly one"),
            (with("/mode", json!("hybrid")), "spec.mode"),
            (with("/mode", json!("placeholder")), "placeholder"),
            (with("/integrations", json!({"ingress": {"enabled": true}})), "host is required"),
            (with("/values/inline", json!({"auth": {"password": "hunter2"}})), "inline secret material rejected"),
            (with("/chart", json!(7)), "cannot be read"),
            (with("/values/inline", json!("a\"hunter2\"b")), "cannot be read"),
            (with("/values/inline", json!({"a": [{"b": TOO_DEEP}]})), "deeper than 125 levels; nothing of it"),
        ] {
            let refusal = verdict(&wrong, &settings).unwrap_err();
            assert!(refusal.text().contains(words), "{wrong}: {}", refusal.text());
            assert!(!refusal.text().contains("hunter2"));
        }
    }

    #[test]
    fn right_specs_pass() {
        let settings = Settings::default();
        for right in [
            spec(),
            with("/chart/version", json!("v1.2.3-rc.1+build.5")),
            with("/chart/url", json!("oci://charts.example.org:5000/apps")),
            with("/values", json!({"source": "secretRef", "secretRef": {"name": "v", "key": "values.yaml"}})),
            with("/values", json!({"source": "merge", "inline": {}, "configMapRef": {"name": "v", "key": "k"}})),
            json!({"mode": "placeholder", "appRef": {"catalogId": "x"}}),
            json!({"mode": "placeholder", "appRef": {"catalogId": "x"}, "release": {"name": "a", "namespace": "org-a"}}),
        ] {
            assert_eq!(verdict(&right, &settings), Ok(()), "{right}");
        }
    }

    #[test]
    fn an_allowed_prefix_ends_at_a_path_border() {
        let mut settings = Settings::default();
        let helm = crate::api::cluster::Helm {
            allowed_chart_url_prefixes: vec!["oci://charts.example.org/apps".into()],
            ..Default::default()
        };
        settings.cluster.helm = Some(helm);
        assert_eq!(verdict(&spec(), &settings), Ok(()));
        for evil in
            ["apps-evil", "apps/../evil", "apps/%2E%2e/evil", "apps/a/%2e./../evil", "apps/..%2fevil", "apps/..\\evil"]
        {
            let evil = verdict(&with("/chart/url", json!(format!("oci://charts.example.org/{evil}"))), &settings);
            let evil = evil.unwrap_err();
            assert_eq!((evil.class, evil.code), (Class::Policy, "ChartSourceNotAllowed"));
        }
        assert_eq!(verdict(&with("/chart/url", json!("oci://charts.example.org/apps/a..b")), &settings), Ok(()));
    }

    #[test]
    fn an_annotation_says_a_word_it_knows_or_nothing() {
        let say = |name: &str, word: &str| words(&Object(json!({"metadata": {"annotations": {name: word}}})));
        for (name, known) in WORDS {
            for word in known.iter().chain(&[""]) {
                assert_eq!(say(name, word), Ok(()), "{name}: {word}");
            }
            for word in ["Orphan", "orphan ", "delete", "External", "operator", "Disabled", "true", "hunter2"] {
                let refusal = say(name, word).unwrap_err();
                assert_eq!(refusal.class, Class::Shape);
                assert!(refusal.text().contains(name) && !refusal.text().contains("hunter2"), "{}", refusal.text());
            }
        }
        assert_eq!(words(&Object(json!({}))), Ok(()));
    }

    #[test]
    fn integrations_need_their_controllers() {
        let wanted = read(&with("/integrations", json!({"certManager": {"enabled": true}}))).unwrap();
        let mut settings = Settings::default();
        assert_eq!(dependencies(&wanted, &settings).unwrap_err().class, Class::Missing);
        settings.caps = Caps {
            versions: [("cert-manager.io/certificates".to_string(), vec!["v1".to_string()])].into(),
            ..Caps::default()
        };
        assert_eq!(dependencies(&wanted, &settings), Ok(()));
    }
}
