//! The Flux engine (contract §6.1-6.7): one HelmRelease, one source, and at most one ConfigMap with generated values.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Child, Children, Engine, Expected, Progress, Reading, Role, Wish, Withdrawal, values};
use crate::api::application_instance::{SourceType, ValuesSource};
use crate::api::cluster::DriftDetection;
use crate::api::{APPS_API_VERSION, Open, annotation, label, names};
use crate::cluster_api::{Caps, Key, Kind, Object};
use crate::foreign::flux::{self, HelmRelease, HelmReleaseApply, SourceApply, SourceState, ValuesFrom, Verdict};
use crate::policy::Refusal;

/// See [`Engine`].
pub struct Flux;

/// Key of generated values.
const VALUES_KEY: &str = "values.yaml";
/// Annotation on a HelmRelease: uid of the Restore it was suspended for last.
pub const SUSPENDED_FOR: &str = "vworkspace.io/suspended-for";

impl Engine for Flux {
    fn render(&self, wish: &Wish, caps: &Caps) -> Result<Vec<Child>, Refusal> {
        let missing = |what: &str| Refusal::missing(format!("{what} is not installed in this cluster"));
        let release_kind =
            flux::helm_release(caps).ok_or_else(|| missing("the Flux HelmRelease API helm.toolkit.fluxcd.io/v2"))?;
        let (source_kind, source) = match source_type(wish) {
            SourceType::Helm => {
                let kind = flux::helm_repository(caps)
                    .ok_or_else(|| missing("the Flux HelmRepository API source.toolkit.fluxcd.io/v1"))?;
                (kind, helm_repository(wish))
            }
            SourceType::Oci => {
                let kind = flux::oci_repository(caps)
                    .ok_or_else(|| missing("the Flux OCIRepository API source.toolkit.fluxcd.io"))?;
                (kind, oci_repository(wish))
            }
        };
        // Flux reads a `_` in a tag as `+` since 2.5, which is also when this field came.
        if source_type(wish) == SourceType::Oci
            && wish.chart.version.contains('+')
            && !caps.declares(&release_kind, "spec.install.disableTakeOwnership")
        {
            return Err(Refusal::shape(
                "a chart version with build metadata (+) from an OCI registry needs Flux 2.5 or later; use a version without it",
            ));
        }
        let fragment = values::fragment(wish.integrations.as_ref(), &wish.helm);
        let mut children = vec![child(wish, Role::Source, &source_kind, &source_name(wish), source)];
        let generated = generated(wish, &fragment);
        if let Some(content) = &generated {
            let name = names::values_config_map(&wish.release.name, content);
            let kind = crate::foreign::core::config_map();
            let body = json!({ "immutable": true, "data": { VALUES_KEY: content } });
            children.push(child(wish, Role::Values, &kind, &name, body));
        }
        let spec = spec(wish, &release_kind, caps, &fragment, generated.as_deref());
        children.push(child(wish, Role::Release, &release_kind, &wish.release.name, json!({ "spec": spec })));
        Ok(children)
    }

    fn interpret(&self, expected: &Expected, children: Children<'_>) -> Reading {
        let Some(object) = children.release else {
            return Reading {
                progress: Progress::Absent,
                message: String::new(),
                deployed: false,
                drift: None,
                source_failing: None,
                stuck_since: None,
            };
        };
        let release = HelmRelease::read(object);
        let deployed = release.deployed() || release.last_action.as_deref() == Some("upgrade");
        let source = source(children);
        let failing = match &source {
            SourceState::Failing { since, message } if children.source_read => {
                Some((moment(since.as_deref()), message.clone()))
            }
            _ => None,
        };
        let fetching = children.source_read && matches!(source, SourceState::Fetching { .. } | SourceState::Absent);
        let source_message = match &source {
            SourceState::Failing { message, .. } | SourceState::Fetching { message } => message.clone(),
            _ => String::new(),
        };
        let waiting = |otherwise: Progress, message: String| match (&failing, fetching) {
            (Some((since, text)), _) => (Progress::SourceFailing { since: *since }, text.clone()),
            (None, true) => {
                (Progress::SourceFetching, if source_message.is_empty() { message } else { source_message.clone() })
            }
            (None, false) => (otherwise, message),
        };
        let (progress, message) = match flux::classify(&release, expected.source, &expected.version) {
            Verdict::NotObserved => (Progress::NoStatus, "waiting for Flux".into()),
            Verdict::Suspended => (Progress::Suspended, "the HelmRelease is suspended".into()),
            Verdict::Blip => (Progress::Unchanged, String::new()),
            Verdict::Succeeded => (
                Progress::Succeeded { upgraded: release.replaced(), warning: release.warning() },
                deployed_text(&release),
            ),
            Verdict::Retrying { message } => (Progress::Retrying, message),
            Verdict::Waiting { broken: true, message } if failing.is_none() && !fetching => {
                (Progress::Retrying, message)
            }
            Verdict::Waiting { message, .. } => waiting(Progress::SourceFetching, message),
            Verdict::Running { attempted: false, message } if deployed => waiting(Progress::Pending, message),
            Verdict::Running { attempted: false, message } => waiting(Progress::Installing, message),
            Verdict::Running { message, .. } if deployed => (Progress::Upgrading, message),
            Verdict::Running { message, .. } => (Progress::Installing, message),
            Verdict::Failed { rolled_back: true, message } => (Progress::RolledBack, message),
            Verdict::Failed { message, .. } if deployed => (Progress::UpgradeFailed, message),
            Verdict::Failed { message, .. } => (Progress::InstallFailed, message),
            Verdict::Deleting { failing } => {
                (Progress::Deleting, failing.unwrap_or_else(|| "the HelmRelease is being deleted".into()))
            }
        };
        let stuck = flux::stuck_since(&release, expected.source, &expected.version);
        Reading {
            progress,
            message,
            deployed,
            drift: release.drift(),
            source_failing: failing,
            stuck_since: moment(stuck),
        }
    }

    fn withdraw(&self, release: Option<(&Key, &Object)>, rest: &[(Key, Object)]) -> Withdrawal {
        if let Some((key, object)) = release {
            let read = HelmRelease::read(object);
            if read.deleting {
                let failing = match flux::classify(&read, SourceType::Oci, "") {
                    Verdict::Deleting { failing } => failing,
                    _ => None,
                };
                return Withdrawal::Wait(failing.unwrap_or_else(|| "Flux uninstalls the release".into()));
            }
            // Flux skips the uninstall of a suspended release and leaves its objects behind.
            if read.suspended && suspended_by_others(object) {
                return Withdrawal::Wait(
                    "the HelmRelease is suspended by someone else: resume it, or set deletion-policy: orphan to leave the application running"
                        .into(),
                );
            }
            return Withdrawal::Delete(vec![key.clone()]);
        }
        let open: Vec<Key> = rest.iter().filter(|(_, object)| !object.deleting()).map(|(key, _)| key.clone()).collect();
        match (rest.is_empty(), open.is_empty()) {
            (true, _) => Withdrawal::Gone,
            (false, true) => Withdrawal::Wait("Flux removes the chart source".into()),
            (false, false) => Withdrawal::Delete(open),
        }
    }
}

/// Whether somebody beside us holds `spec.suspend: true`.
pub fn suspended_by_others(release: &Object) -> bool {
    release.0.pointer("/spec/suspend") == Some(&Value::Bool(true))
        && (crate::foreign::fields::others(release, &["spec", "suspend"])
            || !crate::foreign::fields::ours(release, &["spec", "suspend"]))
}

/// Whether `spec.suspend: true` is ours, perhaps beside others.
pub fn suspended_by_us(release: &Object) -> bool {
    release.0.pointer("/spec/suspend") == Some(&Value::Bool(true))
        && crate::foreign::fields::ours(release, &["spec", "suspend"])
}

fn moment(text: Option<&str>) -> Option<Timestamp> {
    text.and_then(|text| text.parse().ok())
}

fn deployed_text(release: &HelmRelease) -> String {
    match release.history.first() {
        Some(newest) => format!("chart {} {} is deployed", newest.chart_name, newest.chart_version),
        None => "the chart is deployed".into(),
    }
}

/// The worse of the source and the chart that Flux makes from it.
fn source(children: Children<'_>) -> SourceState {
    let source = flux::source_state(children.source);
    match (&source, children.chart) {
        (SourceState::Ready, Some(chart)) => flux::source_state(Some(chart)),
        _ => source,
    }
}

fn source_type(wish: &Wish) -> SourceType {
    wish.chart.source_type.known().copied().unwrap_or_default()
}

/// Name of the source object of a wish.
pub fn source_name(wish: &Wish) -> String {
    let (release, chart) = (&wish.release.name, &wish.chart);
    match source_type(wish) {
        SourceType::Helm => names::helm_repository(release),
        SourceType::Oci => names::oci_repository(release, &chart.url, &chart.name, &chart.version),
    }
}

fn secret_ref(wish: &Wish) -> Option<BTreeMap<&'static str, String>> {
    wish.chart.secret_ref.as_ref().map(|secret| BTreeMap::from([("name", secret.name.clone())]))
}

fn helm_repository(wish: &Wish) -> Value {
    let spec = SourceApply {
        interval: "10m0s".into(),
        url: wish.chart.url.clone(),
        secret_ref: secret_ref(wish),
        ..SourceApply::default()
    };
    json!({ "spec": spec })
}

fn oci_repository(wish: &Wish) -> Value {
    let (base, name) = (wish.chart.url.trim_end_matches('/'), &wish.chart.name);
    let url = if base.rsplit('/').next() == Some(name) { base.to_string() } else { format!("{base}/{name}") };
    let spec = SourceApply {
        interval: "10m0s".into(),
        url,
        reference: Some(BTreeMap::from([("tag", wish.chart.version.replace('+', "_"))])),
        layer_selector: Some(BTreeMap::from([
            ("mediaType", "application/vnd.cncf.helm.chart.content.v1.tar+gzip"),
            ("operation", "copy"),
        ])),
        secret_ref: secret_ref(wish),
    };
    json!({ "spec": spec })
}

/// Content of the generated ConfigMap: what cannot stand in `spec.values`, because a reference must win over it.
fn generated(wish: &Wish, fragment: &Map<String, Value>) -> Option<String> {
    let content = match wish.values.source.known()? {
        ValuesSource::Inline => return None,
        ValuesSource::SecretRef | ValuesSource::ConfigMapRef => fragment.clone(),
        ValuesSource::Merge => values::merge(fragment, wish.values.inline.as_ref().unwrap_or(&Map::new())),
    };
    (!content.is_empty()).then(|| values::canonical(&Value::Object(content)).to_string())
}

fn values_from(wish: &Wish, generated: Option<&str>) -> Vec<ValuesFrom> {
    let mut list = Vec::new();
    if let Some(content) = generated {
        let name = names::values_config_map(&wish.release.name, content);
        list.push(ValuesFrom { kind: "ConfigMap", name, values_key: VALUES_KEY.into() });
    }
    if wish.values.source.is(ValuesSource::Inline) {
        return list;
    }
    let references = [("Secret", &wish.values.secret_ref), ("ConfigMap", &wish.values.config_map_ref)];
    for (kind, reference) in references {
        if let Some(found) = reference {
            list.push(ValuesFrom { kind, name: found.name.clone(), values_key: found.key.clone() });
        }
    }
    list
}

fn spec(
    wish: &Wish,
    kind: &Kind,
    caps: &Caps,
    fragment: &Map<String, Value>,
    generated: Option<&str>,
) -> HelmReleaseApply {
    let helm = &wish.helm;
    let (chart, chart_ref) = match source_type(wish) {
        SourceType::Oci => (None, Some(json!({ "kind": "OCIRepository", "name": source_name(wish) }))),
        SourceType::Helm => {
            let source = json!({ "kind": "HelmRepository", "name": source_name(wish) });
            let chart =
                json!({ "spec": { "chart": wish.chart.name, "version": wish.chart.version, "sourceRef": source } });
            (Some(chart), None)
        }
    };
    let mut install = json!({ "remediation": { "retries": 0 } });
    let mut upgrade = json!({
        "cleanupOnFail": true,
        "remediation": { "retries": helm.upgrade_retries, "remediateLastFailure": true },
    });
    for (action, body) in [("install", &mut install), ("upgrade", &mut upgrade)] {
        if caps.declares(kind, &format!("spec.{action}.strategy")) {
            body["strategy"] = json!({ "name": "RemediateOnFailure" });
        }
    }
    if caps.declares(kind, CHART_NAME_CHANGE) {
        upgrade["chartNameChangeStrategy"] = json!("InPlaceUpdate");
    }
    let inline = wish.values.inline.as_ref().filter(|_| wish.values.source.is(ValuesSource::Inline));
    let own_values = inline.map(|inline| values::merge(fragment, inline)).filter(|merged| !merged.is_empty());
    HelmReleaseApply {
        interval: "5m0s".into(),
        timeout: timeout(&helm.timeout).0,
        release_name: wish.release.name.clone(),
        target_namespace: wish.namespace.clone(),
        storage_namespace: wish.namespace.clone(),
        max_history: 10,
        chart,
        chart_ref,
        install,
        upgrade,
        rollback: json!({ "timeout": "5m0s", "cleanupOnFail": true }),
        uninstall: json!({ "deletionPropagation": "background", "keepHistory": false }),
        drift_detection: drift_detection(&helm.drift_detection),
        service_account_name: helm.service_account_name.clone().filter(|name| !name.is_empty()),
        values: own_values.map(|merged| values::canonical(&Value::Object(merged))),
        values_from: values_from(wish, generated),
        suspend: None,
    }
}

/// The field that lets Flux replace a chart by one of another name in place.
pub const CHART_NAME_CHANGE: &str = "spec.upgrade.chartNameChangeStrategy";

fn drift_detection(mode: &Open<DriftDetection>) -> Value {
    match mode.known().copied().unwrap_or_default() {
        DriftDetection::Disabled => json!({ "mode": "disabled" }),
        DriftDetection::Warn => json!({ "mode": "warn" }),
        DriftDetection::Enabled => json!({
            "mode": "enabled",
            // Autoscalers own the number of replicas.
            "ignore": [
                { "paths": ["/spec/replicas"], "target": { "kind": "Deployment" } },
                { "paths": ["/spec/replicas"], "target": { "kind": "StatefulSet" } },
            ],
        }),
    }
}

/// A duration in the form Flux writes (`15m0s`), and in seconds. What cannot be read is the default of 15 minutes.
pub fn timeout(text: &str) -> (String, i64) {
    let seconds = seconds(text).filter(|seconds| *seconds > 0).unwrap_or(15 * 60);
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let text = match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    };
    (text, seconds)
}

/// Whole seconds of a Go duration.
pub fn seconds(text: &str) -> Option<i64> {
    let mut rest = text.trim();
    let mut total = 0.0_f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        total += number
            * match &rest[..unit] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 0.001,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    (total < 1e12).then_some(total as i64)
}

/// Identity, labels, notes and the digest of what is wanted, around `body`.
fn child(wish: &Wish, role: Role, kind: &Kind, name: &str, body: Value) -> Child {
    let mut labels = BTreeMap::from([
        (label::MANAGED_BY, label::OPERATOR.to_string()),
        (label::APPLICATION_INSTANCE, wish.name.clone()),
        (label::INSTANCE_UID, wish.uid.clone()),
        (label::EXCLUDE_FROM_BACKUP, "true".to_string()),
    ]);
    if let Some(id) = &wish.cluster_id {
        labels.insert(label::CLUSTER_ID, id.clone());
    }
    let digest = names::digest(&[&values::canonical(&json!([kind.api_version(), name, labels, body])).to_string()]);
    let mut annotations = BTreeMap::from([(annotation::APPLIED_INTENT_HASH.to_string(), digest)]);
    match role {
        Role::Release => {
            annotations.insert(annotation::LAST_APPLIED_GENERATION.into(), wish.generation.to_string());
            annotations.extend(wish.notes.release.clone());
        }
        Role::Source => annotations.extend(wish.notes.source.clone()),
        Role::Values => {}
    }
    let mut metadata = json!({ "name": name, "namespace": wish.namespace, "labels": labels });
    if wish.owned {
        metadata["ownerReferences"] = json!([{
            "apiVersion": APPS_API_VERSION,
            "kind": "ApplicationInstance",
            "name": wish.name,
            "uid": wish.uid,
            "controller": true,
            "blockOwnerDeletion": true,
        }]);
    }
    let mut object = json!({ "apiVersion": kind.api_version(), "kind": kind.kind });
    for (field, value) in body.as_object().into_iter().flatten() {
        object[field] = value.clone();
    }
    // Outside the digest: the lock comes and goes without being a wish of the instance.
    if role == Role::Release
        && let Some(restore) = &wish.notes.restore
    {
        object["spec"]["suspend"] = json!(true);
        annotations.insert(SUSPENDED_FOR.into(), restore.clone());
    }
    metadata["annotations"] = json!(annotations);
    object["metadata"] = metadata;
    Child { role, key: Key::namespaced(kind, &wish.namespace, name), object: Object(object) }
}
