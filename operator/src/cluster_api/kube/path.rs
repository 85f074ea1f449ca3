//! Request addresses.
//!
//! Objects are addressed by their own `apiVersion` and `kind`; the plural is kube's rule for it, which holds for every
//! kind of the contract.

use kube::core::{ApiResource, GroupVersionKind};

use crate::cluster_api::{Key, Kind, Object, Scope};

/// The collection of `kind` in one namespace or in all of them.
pub(super) fn collection(kind: &Kind, namespace: Option<&str>) -> String {
    let root = if kind.group.is_empty() {
        format!("/api/{}", kind.version)
    } else {
        format!("/apis/{}/{}", kind.group, kind.version)
    };
    match namespace {
        Some(namespace) => format!("{root}/namespaces/{}/{}", segment(namespace), kind.plural),
        None => format!("{root}/{}", kind.plural),
    }
}

/// One object.
pub(super) fn object(key: &Key) -> String {
    format!("{}/{}", collection(&key.kind, key.namespace.as_deref()), segment(&key.name))
}

/// The query of one page of a list.
pub(super) fn page(scope: &Scope, limit: u32, from: Option<&str>) -> String {
    let mut query = format!("limit={limit}");
    for (name, value) in [("labelSelector", scope.labels.as_str()), ("fieldSelector", scope.fields.as_str())] {
        if !value.is_empty() {
            query.push_str(&format!("&{name}={}", segment(value)));
        }
    }
    if let Some(token) = from {
        query.push_str(&format!("&continue={}", segment(token)));
    }
    query
}

/// The address an object itself states. Namespaced exactly when it carries a namespace.
pub(super) fn key_of(object: &Object) -> Key {
    let api_version = object.0.get("apiVersion").and_then(|value| value.as_str()).unwrap_or_default();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let plural = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, object.kind())).plural;
    let namespace = object.namespace().map(String::from);
    let kind = Kind {
        group: group.into(),
        version: version.into(),
        kind: object.kind().into(),
        plural,
        namespaced: namespace.is_some(),
    };
    Key { kind, namespace, name: object.name().into() }
}

/// Percent-encodes everything that is not unreserved in RFC 3986.
fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plurals_of_every_kind_we_write() {
        for (api_version, kind, plural) in [
            ("apps.vworkspace.io/v1alpha1", "ApplicationInstance", "applicationinstances"),
            ("ops.vworkspace.io/v1alpha1", "Operation", "operations"),
            ("ops.vworkspace.io/v1alpha1", "Cluster", "clusters"),
            ("helm.toolkit.fluxcd.io/v2", "HelmRelease", "helmreleases"),
            ("source.toolkit.fluxcd.io/v1", "HelmRepository", "helmrepositories"),
            ("source.toolkit.fluxcd.io/v1", "OCIRepository", "ocirepositories"),
            ("argoproj.io/v1alpha1", "Application", "applications"),
            ("argoproj.io/v1alpha1", "Workflow", "workflows"),
            ("batch/v1", "Job", "jobs"),
            ("snapshot.storage.k8s.io/v1", "VolumeSnapshot", "volumesnapshots"),
            ("volsync.backube/v1alpha1", "ReplicationSource", "replicationsources"),
            ("volsync.backube/v1alpha1", "ReplicationDestination", "replicationdestinations"),
            ("velero.io/v1", "Backup", "backups"),
            ("velero.io/v1", "Restore", "restores"),
            ("coordination.k8s.io/v1", "Lease", "leases"),
            ("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings"),
            ("v1", "ConfigMap", "configmaps"),
            ("v1", "Secret", "secrets"),
            ("v1", "ServiceAccount", "serviceaccounts"),
            ("v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
            ("v1", "Event", "events"),
        ] {
            let key = key_of(&Object(json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "n"}})));
            assert_eq!(key.kind.plural, plural);
            assert_eq!(key.kind.api_version(), api_version);
        }
    }

    #[test]
    fn addresses() {
        let config_map =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a/b", "namespace": "n"}});
        assert_eq!(object(&key_of(&Object(config_map))), "/api/v1/namespaces/n/configmaps/a%2Fb");
        let kind = Kind::cluster("ops.vworkspace.io", "v1alpha1", "Cluster", "clusters");
        assert_eq!(object(&Key::cluster(&kind, "c")), "/apis/ops.vworkspace.io/v1alpha1/clusters/c");
        assert_eq!(
            page(&Scope::all().labelled("a=b,c in (d)"), 500, Some("t=")),
            "limit=500&labelSelector=a%3Db%2Cc%20in%20%28d%29&continue=t%3D"
        );
    }
}
