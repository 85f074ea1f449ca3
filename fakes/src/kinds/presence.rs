//! Kinds of which only the presence matters to us today.

use super::definition::{Definition, Version};
use super::schema::{list, moment, name_only, object, opaque, text};

/// cert-manager's Certificate, release 1.15 and later.
pub(super) fn certificate() -> Definition {
    let condition = object()
        .need("type", text())
        .need("status", text().one_of(&["True", "False", "Unknown"]))
        .may("reason", text())
        .may("message", text())
        .may("lastTransitionTime", moment());
    Definition {
        group: "cert-manager.io",
        kind: "Certificate",
        plural: "certificates",
        short_names: &["cert", "certs"],
        categories: &["cert-manager"],
        versions: vec![Version {
            name: "v1",
            storage: true,
            deprecated: false,
            columns: vec![
                ("Ready", "string", r#".status.conditions[?(@.type == "Ready")].status"#),
                ("Secret", "string", ".spec.secretName"),
                ("Age", "date", ".metadata.creationTimestamp"),
            ],
            description: "A wish for a signed certificate kept in a Secret.",
            spec: opaque().need("secretName", text()).need("issuerRef", name_only().may("kind", text())),
            status: object().may("conditions", list(condition).keyed_by(&["type"])),
        }],
    }
}

/// external-secrets' ExternalSecret, release 0.16 and later.
pub(super) fn external_secret() -> Definition {
    let condition = object()
        .need("type", text().one_of(&["Ready", "Deleted"]))
        .need("status", text())
        .may("reason", text())
        .may("message", text())
        .may("lastTransitionTime", moment());
    Definition {
        group: "external-secrets.io",
        kind: "ExternalSecret",
        plural: "externalsecrets",
        short_names: &["es"],
        categories: &["external-secrets"],
        versions: vec![Version {
            name: "v1",
            storage: true,
            deprecated: false,
            columns: vec![
                ("StoreType", "string", ".spec.secretStoreRef.kind"),
                ("Store", "string", ".spec.secretStoreRef.name"),
                ("Ready", "string", r#".status.conditions[?(@.type=="Ready")].status"#),
            ],
            description: "A wish for a Secret filled from an outside store.",
            spec: opaque(),
            status: object().may("conditions", list(condition)).may("syncedResourceVersion", text()),
        }],
    }
}
