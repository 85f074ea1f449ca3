//! The three CRDs as data, and the names of contract §3 and §4. No client, no clock, no logic beyond accessors; nothing here
//! imports from the rest of the operator, so that fakes, tests and tools can share it.
//!
//! Enums are wrapped in [`Open`]: an object written by a newer version is still readable, and what we do not know stays.

use serde_json::Value;

pub mod application_instance;
pub mod cluster;
pub mod common;
pub mod condition;
pub mod crd;
pub mod names;
pub mod open;
pub mod operation;
pub mod secret;

pub use application_instance::{ApplicationInstance, ApplicationInstanceSpec, ApplicationInstanceStatus};
pub use cluster::{Cluster, ClusterSpec, ClusterStatus};
pub use common::{Condition, Transition};
pub use open::Open;
pub use operation::{Operation, OperationSpec, OperationStatus};

/// Group of ApplicationInstance.
pub const APPS_GROUP: &str = "apps.vworkspace.io";
/// Group of Operation and Cluster.
pub const OPS_GROUP: &str = "ops.vworkspace.io";
/// The only version served (contract §26.1).
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` of ApplicationInstance.
pub const APPS_API_VERSION: &str = "apps.vworkspace.io/v1alpha1";
/// `apiVersion` of Operation and Cluster.
pub const OPS_API_VERSION: &str = "ops.vworkspace.io/v1alpha1";

/// Name of the operator, its Deployment, its ServiceAccount and its Helm release.
pub const OPERATOR: &str = "vworkspace-app-operator";
/// The leader Lease in the operator namespace. The same id as the existing agent's, so both are never active together.
pub const LEADER_LEASE: &str = "dad03b25.vworkspace.io";

/// Finalizers (contract §3.2).
pub mod finalizer {
    /// On an ApplicationInstance.
    pub const APPLICATION_INSTANCE: &str = "apps.vworkspace.io/finalizer";
    /// On an Operation.
    pub const OPERATION: &str = "ops.vworkspace.io/finalizer";
    /// On a Cluster.
    pub const CLUSTER: &str = "ops.vworkspace.io/cluster-cleanup";
}

/// Labels (contract §4.1) and the values we write or accept.
pub mod label {
    /// Who manages the object: `control-plane` (legacy `odoo`) on inbound objects, `vworkspace-operator` on children.
    pub const MANAGED_BY: &str = "app.vworkspace.io/managed-by";
    /// Value of [`MANAGED_BY`] on inbound objects.
    pub const CONTROL_PLANE: &str = "control-plane";
    /// Legacy value of [`MANAGED_BY`] on inbound objects.
    pub const ODOO: &str = "odoo";
    /// Value of [`MANAGED_BY`] on children.
    pub const OPERATOR: &str = "vworkspace-operator";
    /// The cluster id, on inbound objects and on every child.
    pub const CLUSTER_ID: &str = "app.vworkspace.io/cluster-id";
    /// Name of the ApplicationInstance a child belongs to.
    pub const APPLICATION_INSTANCE: &str = "app.vworkspace.io/application-instance";
    /// Ownership proof of ApplicationInstance children: the instance's uid.
    pub const INSTANCE_UID: &str = "apps.vworkspace.io/instance-uid";
    /// Ownership proof of Operation children: the Operation's uid.
    pub const OPERATION: &str = "ops.vworkspace.io/operation";
    /// Operation name, cut to 63 characters.
    pub const OPERATION_NAME: &str = "ops.vworkspace.io/operation-name";
    /// Target name, on Velero Backup, Restore and VolumeSnapshot.
    pub const TARGET: &str = "ops.vworkspace.io/target";
    /// Target namespace, same objects.
    pub const TARGET_NAMESPACE: &str = "ops.vworkspace.io/target-namespace";
    /// Target uid, same objects.
    pub const TARGET_UID: &str = "ops.vworkspace.io/target-uid";
    /// Hook name on a helmHookJob child.
    pub const SOURCE_HOOK: &str = "ops.vworkspace.io/source-hook";
    /// Parent uid on Operations created by a workflow.
    pub const PARENT_OPERATION: &str = "ops.vworkspace.io/parent-operation";
    /// Keeps children out of Velero backups.
    pub const EXCLUDE_FROM_BACKUP: &str = "velero.io/exclude-from-backup";
    /// The namespace gate, first form.
    pub const GATE: &str = "managed-by";
    /// The namespace gate, second form (the same key as [`MANAGED_BY`]).
    pub const GATE_QUALIFIED: &str = MANAGED_BY;
    /// The value that opens the gate under either key.
    pub const GATE_VALUE: &str = "vworkspace";
    /// Pod Security level of a Namespace.
    pub const POD_SECURITY_ENFORCE: &str = "pod-security.kubernetes.io/enforce";
}

/// Annotations (contract §4.2).
pub mod annotation {
    /// `disabled` pauses an ApplicationInstance.
    pub const RECONCILE: &str = "apps.vworkspace.io/reconcile";
    /// `"true"` with a justification admits a forbidden chart version.
    pub const OVERRIDE_FORBIDDEN: &str = "apps.vworkspace.io/override-forbidden";
    /// Why the override is justified.
    pub const OVERRIDE_JUSTIFICATION: &str = "apps.vworkspace.io/override-justification";
    /// `orphan` leaves release and children in place on deletion.
    pub const DELETION_POLICY: &str = "apps.vworkspace.io/deletion-policy";
    /// `external`: the HelmRelease is written by someone else.
    pub const HELMRELEASE_AUTHORITY: &str = "apps.vworkspace.io/helmrelease-authority";
    /// A changed value asks for one new attempt of a failed release.
    pub const RETRY: &str = "apps.vworkspace.io/retry";
    /// Git revision last applied.
    pub const APPLIED_REVISION: &str = "app.vworkspace.io/applied-revision";
    /// Operation types a Namespace allows.
    pub const ALLOWED_TYPES: &str = "ops.vworkspace.io/allowed-types";
    /// Lock holders on a target Lease.
    pub const LOCK: &str = "ops.vworkspace.io/lock";
    /// A human declares the real work of a lock holder over.
    pub const RELEASE_LOCK: &str = "ops.vworkspace.io/release-lock";
    /// PVCs bound at the start, on a Velero Backup.
    pub const VOLUMES: &str = "ops.vworkspace.io/volumes";
    /// Forces a new registration-token exchange.
    pub const ROTATE_CREDENTIALS: &str = "ops.vworkspace.io/rotate-credentials";
    /// Deletion of a Cluster does not wait for the control plane.
    pub const FORCE_DECOMMISSION: &str = "ops.vworkspace.io/force-decommission";
    /// Quiesce capability and request.
    pub const QUIESCE: &str = "ops.vworkspace.io/quiesce";
    /// Internal, on children: digest of what was applied.
    pub const APPLIED_INTENT_HASH: &str = "vworkspace.io/applied-intent-hash";
    /// Internal, on children: generation of the parent that was applied.
    pub const LAST_APPLIED_GENERATION: &str = "vworkspace.io/last-applied-generation";
}

/// Whether labels of a Namespace open the gate (contract §4.3).
pub fn gated(labels: &Value) -> bool {
    [label::GATE, label::GATE_QUALIFIED]
        .iter()
        .any(|key| labels.get(key).and_then(Value::as_str) == Some(label::GATE_VALUE))
}
