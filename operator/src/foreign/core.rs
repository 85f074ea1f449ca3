//! Kinds of Kubernetes itself that we read: target Leases, values references, CRDs.

use serde::Serialize;
use serde_json::Value;

use super::string;
use crate::api::annotation;
use crate::cluster_api::{Kind, Object};

/// `v1 Namespace`.
pub fn namespace() -> Kind {
    Kind::cluster("", "v1", "Namespace", "namespaces")
}

/// `v1 Secret`.
pub fn secret() -> Kind {
    Kind::namespaced("", "v1", "Secret", "secrets")
}

/// `v1 ConfigMap`.
pub fn config_map() -> Kind {
    Kind::namespaced("", "v1", "ConfigMap", "configmaps")
}

/// `coordination.k8s.io/v1 Lease`.
pub fn lease() -> Kind {
    Kind::namespaced("coordination.k8s.io", "v1", "Lease", "leases")
}

/// `apiextensions.k8s.io/v1 CustomResourceDefinition`.
pub fn definition() -> Kind {
    Kind::cluster("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions")
}

/// One holder of a target lock (contract §11.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// Operation uid.
    pub uid: String,
    /// Operation name.
    pub name: String,
    /// Operation type, as written.
    pub type_: String,
    /// Since when, as written.
    pub since: String,
}

/// Holders of a target Lease. A lock that cannot be read holds nobody that we know of; its writer repairs it.
pub fn holders(lease: &Object) -> Vec<Holder> {
    let lock = lease.annotation(annotation::LOCK).and_then(|text| serde_json::from_str::<Value>(text).ok());
    let list = lock.as_ref().and_then(|lock| lock.get("holders")).and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .map(|holder| {
            let text = |field: &str| holder.get(field).and_then(Value::as_str).unwrap_or_default().to_string();
            Holder { uid: text("uid"), name: text("name"), type_: text("type"), since: text("since") }
        })
        .filter(|holder| !holder.uid.is_empty())
        .collect()
}

/// What a decision may know of a Secret or ConfigMap: never its bytes (contract §29.42).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Revision {
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// Whether the asked key is there.
    pub has_key: bool,
}

/// Reduces a Secret or ConfigMap to its revision. Without a key, any content will do.
pub fn revision(object: &Object, key: Option<&str>) -> Revision {
    let has = |field: &str, key: &str| object.0.get(field).and_then(|data| data.get(key)).is_some_and(Value::is_string);
    Revision {
        resource_version: object.version().map(|version| version.0).unwrap_or_default(),
        has_key: key.is_none_or(|key| has("data", key) || has("binaryData", key)),
    }
}

/// Whether a CRD serves its kind and is not on its way out.
pub fn established(definition: &Object) -> bool {
    !definition.deleting()
        && super::find(&super::conditions(definition), "Established")
            .is_some_and(|condition| condition.is(super::Truth::True))
}

/// `spec.timeoutSeconds` and the start of an Operation, as far as a waiting deletion needs them.
pub fn operation_deadline(operation: &Object) -> (Option<String>, Option<i64>) {
    (string(operation, "/status/start/recordedAt"), super::integer(operation, "/spec/timeoutSeconds"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_lock_is_read_whatever_it_holds() {
        let lease = |lock: &str| Object(json!({"metadata": {"annotations": {annotation::LOCK: lock}}}));
        let good = r#"{"v":1,"target":{"name":"files","uid":"t"},"holders":[{"uid":"o1","name":"r","type":"Restore","exclusive":true,"since":"2026-01-01T00:00:00Z"},{"name":"no uid"},7]}"#;
        let read = holders(&lease(good));
        assert_eq!(read.len(), 1);
        assert_eq!((read[0].uid.as_str(), read[0].type_.as_str()), ("o1", "Restore"));
        for odd in ["", "{", "[]", r#"{"holders":{}}"#, "null"] {
            assert!(holders(&lease(odd)).is_empty(), "{odd}");
        }
    }

    #[test]
    fn a_revision_carries_no_bytes() {
        let secret = Object(json!({"metadata": {"resourceVersion": "7"}, "data": {"values.yaml": "aHVudGVyMg=="}}));
        let found = revision(&secret, Some("values.yaml"));
        assert_eq!(found, Revision { resource_version: "7".into(), has_key: true });
        assert!(!revision(&secret, Some("other")).has_key);
        assert!(!format!("{found:?}").contains("aHVudGVyMg"));
    }
}
