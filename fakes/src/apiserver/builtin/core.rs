//! Core group, version v1.

use serde_json::{Map, Value, json};

use super::pod;
use super::rules::{RULES, Rules, immutable};
use crate::apiserver::errors::Cause;
use crate::apiserver::resource::{Generation, Resource, Strategy};

/// Largest total of keys and values of a ConfigMap or Secret, in bytes (J3).
const DATA_BYTES: usize = 1024 * 1024;

pub(super) fn resources() -> Vec<Resource> {
    let core = |kind, plural, short: &[&str]| Resource::builtin("", "v1", kind, plural, short);
    vec![
        core("ConfigMap", "configmaps", &["cm"]).ruled(Rules { validate: validate_config_map, ..RULES }),
        Resource { allow_create_on_update: true, ..core("Endpoints", "endpoints", &["ep"]) },
        Resource { allow_create_on_update: true, ..core("Event", "events", &["ev"]) }
            .selectable(super::event::CORE_FIELDS)
            .ruled(Rules { prepare: super::event::prepare, validate: super::event::validate, ..RULES }),
        Resource { allow_create_on_update: true, ..core("LimitRange", "limitranges", &["limits"]) },
        Resource {
            status: true,
            verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
            strategy: Some(std::sync::Arc::new(super::namespace::Namespaces) as std::sync::Arc<dyn Strategy>),
            ..core("Namespace", "namespaces", &["ns"]).cluster().with(&["finalize"]).selectable(&["status.phase"])
        },
        Resource {
            status: true,
            ..core("Node", "nodes", &["no"]).cluster().with(&["proxy"]).selectable(&["spec.unschedulable"])
        },
        Resource { status: true, ..core("PersistentVolumeClaim", "persistentvolumeclaims", &["pvc"]) }
            .ruled(Rules { status: r#"{"phase":"Pending"}"#, ..RULES }),
        Resource { status: true, ..core("PersistentVolume", "persistentvolumes", &["pv"]).cluster() }
            .ruled(Rules { status: r#"{"phase":"Pending"}"#, ..RULES }),
        Resource { status: true, generation: Generation::Spec, ..core("Pod", "pods", &["po"]).in_all() }
            .with(&[
                "attach",
                "binding",
                "ephemeralcontainers",
                "eviction",
                "exec",
                "log",
                "portforward",
                "proxy",
                "resize",
            ])
            .selectable(&[
                "spec.nodeName",
                "spec.restartPolicy",
                "spec.schedulerName",
                "spec.serviceAccountName",
                "spec.hostNetwork",
                "status.phase",
                "status.podIP",
                "status.nominatedNodeName",
            ])
            .ruled(Rules { status: "{}", prepare: pod::prepare, complete: pod::complete, validate: pod::validate }),
        core("PodTemplate", "podtemplates", &[]),
        Resource {
            status: true,
            generation: Generation::Spec,
            ..core("ReplicationController", "replicationcontrollers", &["rc"]).in_all()
        }
        .scaled()
        .selectable(&["status.replicas"])
        .ruled(Rules {
            status: r#"{"replicas":0}"#,
            prepare: |new, _| pod::template(new, "/spec/template"),
            ..RULES
        }),
        Resource { status: true, allow_create_on_update: true, ..core("ResourceQuota", "resourcequotas", &["quota"]) }
            .ruled(Rules { status: "{}", ..RULES }),
        core("Secret", "secrets", &[]).selectable(&["type"]).ruled(Rules {
            prepare: prepare_secret,
            validate: validate_secret,
            ..RULES
        }),
        core("ServiceAccount", "serviceaccounts", &["sa"]).with(&["token"]),
        Resource { status: true, allow_create_on_update: true, ..core("Service", "services", &["svc"]).in_all() }
            .with(&["proxy"])
            .selectable(&["spec.clusterIP", "spec.type"])
            .ruled(Rules {
                status: r#"{"loadBalancer":{}}"#,
                prepare: super::service::prepare,
                complete: super::service::complete,
                validate: super::service::validate,
            }),
    ]
}

/// C21: `stringData` goes into `data` and is never stored.
fn prepare_secret(new: &mut Value, _old: Option<&Value>) {
    let Some(Value::Object(text)) = new.as_object_mut().and_then(|secret| secret.shift_remove("stringData")) else {
        return;
    };
    if text.is_empty() {
        return;
    }
    super::rules::fill(new, "data", json!({}));
    for (key, value) in text {
        use base64::Engine as _;
        let encoded = base64::engine::general_purpose::STANDARD.encode(value.as_str().unwrap_or_default());
        new["data"][key] = encoded.into();
    }
}

fn validate_secret(new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let encoded =
        |value: &str| value.len() / 4 * 3 - value.bytes().rev().take_while(|&byte| byte == b'=').count().min(2);
    causes.extend(data_causes(&[("data", &new["data"])], &encoded, "data"));
    let data = &new["data"];
    for (kind, key) in [
        ("kubernetes.io/dockerconfigjson", ".dockerconfigjson"),
        ("kubernetes.io/tls", "tls.crt"),
        ("kubernetes.io/tls", "tls.key"),
    ] {
        if new["type"] == kind && data.get(key).is_none() {
            causes.push(Cause::required(format!("data[{key}]"), ""));
        }
    }
    let Some(old) = old else { return causes };
    if new["type"] != old["type"] {
        causes.push(Cause::invalid("type", &new["type"], "field is immutable"));
    }
    causes.extend(immutable_data(new, old, &["data"]));
    causes
}

fn validate_config_map(new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = data_causes(&[("data", &new["data"]), ("binaryData", &new["binaryData"])], &str::len, "");
    let both = new["data"].as_object().into_iter().flatten().filter(|(key, _)| new["binaryData"].get(key).is_some());
    causes.extend(
        both.map(|(key, _)| {
            Cause::invalid(format!("data[{key}]"), &json!(key), "duplicate of key present in binaryData")
        }),
    );
    if let Some(old) = old {
        causes.extend(immutable_data(new, old, &["data", "binaryData"]));
    }
    causes
}

/// Keys of the given maps, and the size of all of it; `whole` is the field blamed for the size.
fn data_causes(maps: &[(&str, &Value)], length: &dyn Fn(&str) -> usize, whole: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut size = 0;
    for (field, map) in maps {
        for (key, value) in map.as_object().into_iter().flatten() {
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            if key.is_empty() || !key.bytes().all(legal) {
                let detail = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
                causes.push(Cause::invalid(format!("{field}[{key}]"), &json!(key), detail));
            } else if key.len() > 253 {
                causes.push(Cause::invalid(format!("{field}[{key}]"), &json!(key), "must be no more than 253 bytes"));
            } else if key == "." || key.starts_with("..") {
                let detail = if key == "." {
                    "must not be '.'"
                } else if key == ".." {
                    "must not be '..'"
                } else {
                    "must not start with '..'"
                };
                causes.push(Cause::invalid(format!("{field}[{key}]"), &json!(key), detail));
            }
            size += value.as_str().map_or(0, length);
        }
    }
    if size > DATA_BYTES {
        causes.push(Cause::too_long(if whole.is_empty() { "[]" } else { whole }, DATA_BYTES));
    }
    causes
}

/// `immutable: true` freezes the data and itself (C21).
fn immutable_data(new: &Value, old: &Value, fields: &[&str]) -> Vec<Cause> {
    if old["immutable"] != true {
        return Vec::new();
    }
    let detail = "field is immutable when `immutable` is set";
    let mut causes = Vec::new();
    if new["immutable"] != true {
        causes.push(Cause::forbidden("immutable", detail));
    }
    let map = |object: &Value, field: &str| object[field].as_object().cloned().unwrap_or_default();
    let changed = |field: &&&str| map(new, field) != map(old, field);
    causes.extend(fields.iter().filter(changed).map(|field| Cause::forbidden(*field, detail)));
    causes
}

/// Whether two selectors, or parts of them, say the same.
pub(super) fn selector_changed(new: &Value, old: &Value) -> Option<Cause> {
    (new["spec"]["selector"] != old["spec"]["selector"]).then(|| immutable("spec.selector", &new["spec"]["selector"]))
}

/// A map, empty when missing.
pub(super) fn map(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C21: stringData is merged, the type and immutable data stay.
    #[test]
    fn conf_c21() {
        let mut secret = json!({"metadata": {}, "type": "Opaque", "data": {"x": "eQ=="}, "stringData": {"z": "2"}});
        prepare_secret(&mut secret, None);
        assert_eq!(secret, json!({"metadata": {}, "type": "Opaque", "data": {"x": "eQ==", "z": "Mg=="}}));
        let other = json!({"type": "foo/bar", "data": {}, "immutable": true});
        let causes = validate_secret(&secret, Some(&other));
        let fields: Vec<&str> = causes.iter().map(|cause| cause.field.as_str()).collect();
        assert_eq!(fields, ["type", "immutable", "data"]);
        let big = json!({"data": {"a": "x".repeat(DATA_BYTES + 1), "b/c": ""}});
        let causes = validate_config_map(&big, None);
        assert_eq!(causes[0].field, "data[b/c]");
        assert_eq!(
            (causes[1].field.as_str(), causes[1].message.as_str()),
            ("[]", "Too long: may not be more than 1048576 bytes")
        );
    }
}
