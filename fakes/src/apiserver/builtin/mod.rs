//! The built-in kinds as data.

use super::resource::{Generation, Resource, Strategy};

mod namespace;

/// Every built-in resource that is served.
pub fn resources() -> Vec<Resource> {
    let core = |kind, plural, short: &[&str]| Resource::builtin("", "v1", kind, plural, short);
    vec![
        core("ConfigMap", "configmaps", &["cm"]),
        core("Secret", "secrets", &[]),
        core("ServiceAccount", "serviceaccounts", &["sa"]),
        Resource { allow_create_on_update: true, ..core("Event", "events", &["ev"]) },
        Resource {
            namespaced: false,
            status: true,
            subresources: vec!["finalize".into()],
            strategy: Some(std::sync::Arc::new(namespace::Namespaces) as std::sync::Arc<dyn Strategy>),
            ..core("Namespace", "namespaces", &["ns"])
        },
        Resource {
            allow_create_on_update: true,
            allow_unconditional_update: false,
            ..Resource::builtin("coordination.k8s.io", "v1", "Lease", "leases", &[])
        },
        Resource {
            namespaced: false,
            status: true,
            allow_unconditional_update: false,
            generation: Generation::Spec,
            ..Resource::builtin(
                "apiextensions.k8s.io",
                "v1",
                "CustomResourceDefinition",
                "customresourcedefinitions",
                &["crd", "crds"],
            )
        },
    ]
}

/// The objects that a fresh server has: the four namespaces.
pub fn install(server: &super::server::Server) {
    let now = server.config().clock.now();
    let mut state = server.state();
    for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
        let uid = state.entropy.uid();
        let namespace = serde_json::json!({
            "kind": "Namespace", "apiVersion": "v1",
            "metadata": {
                "name": name, "uid": uid, "creationTimestamp": super::rest::second(now), "labels": { "kubernetes.io/metadata.name": name },
            },
            "spec": { "finalizers": ["kubernetes"] }, "status": { "phase": "Active" },
        });
        state.commit(
            "kube-apiserver",
            "create",
            &"namespaces".into(),
            (String::new(), name.to_owned()),
            Some((namespace, 0)),
            now,
        );
    }
}
