//! Helm's own record of a release: a Secret whose `release` is base64 of gzip of JSON, in which each hook keeps its manifest
//! as YAML text.
//!
//! The record holds the values of the release and thereby secrets. Only the manifest that was asked for leaves this module,
//! and errors carry nothing of the content (contract §29.42, §29.43).

use serde::Deserialize;
use serde_json::Value;

use super::packed::{self, Unreadable};
use crate::cluster_api::{Key, Object};

/// Where Helm keeps a revision of a release.
pub fn key(namespace: &str, release: &str, revision: i64) -> Key {
    Key::namespaced(&super::core::secret(), namespace, &format!("sh.helm.release.v1.{release}.v{revision}"))
}

/// What we read of a record; the rest is skipped.
#[derive(Deserialize)]
struct Record {
    #[serde(default)]
    hooks: Option<Vec<Hook>>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Hook {
    name: String,
    kind: String,
    manifest: String,
}

/// Kinds of hooks that run something. Accounts and rights that a hook needs are hooks too, often of the same name.
const RUNNABLE: [&str; 2] = ["Job", "Pod"];

/// The manifest of the Job or Pod hook of this name; `None` if the release has none.
///
/// # Errors
/// The Secret is no record of a release, or the manifest is no YAML object.
pub fn hook(secret: &Object, name: &str) -> Result<Option<Value>, Unreadable> {
    let outer =
        secret.0.pointer("/data/release").and_then(Value::as_str).ok_or(Unreadable("the Secret holds no release"))?;
    let inner = packed::base64(outer.as_bytes())?;
    let record: Record = packed::json(&packed::base64(&inner)?)?;
    let found =
        record.hooks.into_iter().flatten().find(|hook| hook.name == name && RUNNABLE.contains(&hook.kind.as_str()));
    found.map(|hook| manifest(&hook.manifest)).transpose()
}

fn manifest(text: &str) -> Result<Value, Unreadable> {
    let wrong = Unreadable("the manifest of the hook is not YAML");
    let mut document: serde_yaml_ng::Value = serde_yaml_ng::from_str(text).map_err(|_| wrong)?;
    document.apply_merge().map_err(|_| wrong)?;
    let value = serde_json::to_value(document).map_err(|_| wrong)?;
    if value.is_object() { Ok(value) } else { Err(wrong) }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use serde_json::json;

    use super::*;

    fn secret(record: &Value, compressed: bool) -> Object {
        let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
        let text = record.to_string();
        let bytes = if compressed { packed::gzip(text.as_bytes()) } else { text.into_bytes() };
        Object(json!({"data": {"release": encode(encode(&bytes).as_bytes())}}))
    }

    fn record() -> Value {
        json!({
            "name": "files", "version": 3,
            "chart": {"values": {"password": "hunter2"}}, "config": {"password": "hunter2"},
            "hooks": [
                {"name": "files-pre-upgrade", "kind": "ServiceAccount", "manifest": "kind: ServiceAccount"},
                {"name": "files-pre-upgrade", "kind": "Job",
                 "manifest": "# Source: x\napiVersion: batch/v1\nkind: Job\nspec:\n  template:\n    spec:\n      containers: [{name: a, image: \"b:1\"}]\n"},
                {"name": "files-test", "kind": "Pod", "manifest": "kind: Pod"},
                {"name": "broken", "kind": "Job", "manifest": "a: [b"},
                {"name": "text", "kind": "Job", "manifest": "hunter2"},
            ],
        })
    }

    #[test]
    fn the_asked_hook_is_found_and_nothing_else_leaves() {
        for compressed in [true, false] {
            let secret = secret(&record(), compressed);
            let found = hook(&secret, "files-pre-upgrade").expect("readable").expect("there");
            assert_eq!(found["kind"], "Job");
            assert_eq!(found["spec"]["template"]["spec"]["containers"][0]["image"], "b:1");
            assert!(!found.to_string().contains("hunter2"));
            assert_eq!(hook(&secret, "files-test").expect("readable").expect("there")["kind"], "Pod");
            assert_eq!(hook(&secret, "files"), Ok(None));
            for name in ["broken", "text"] {
                let error = hook(&secret, name).expect_err("no YAML object");
                assert!(!format!("{error:?}").contains("hunter2"));
            }
        }
    }

    #[test]
    fn an_odd_record_is_an_error_and_never_a_hook() {
        for odd in [json!({}), json!({"data": {"release": 7}}), json!({"data": {"release": "%"}}), json!(null)] {
            assert!(hook(&Object(odd), "a").is_err());
        }
        assert!(hook(&secret(&json!([1]), true), "a").is_err());
        for none in [json!({}), json!({"hooks": null}), json!({"hooks": [{}]})] {
            assert_eq!(hook(&secret(&none, true), "a"), Ok(None));
        }
        assert_eq!(key("org-a", "files", 3).name, "sh.helm.release.v1.files.v3");
    }
}
