//! What a field table is, and which kind has which: by wire number, JSON name and shape. Facts of the upstream `.proto` files, as the crate
//! `k8s-pb` has them; the tests encode with that crate. Fields that a client cannot set (managedFields, status) are left out.

use super::{messages, workloads};

/// A message: its fields.
pub(super) struct Message(pub(super) &'static [Field]);

/// Wire number, JSON name, shape.
pub(super) struct Field(pub(super) u32, pub(super) &'static str, pub(super) Shape);

/// How a field is written. Go marshals every field that is not a pointer, also the empty ones, and its JSON omits these:
/// `Text`, `Number`, `Flag` and `Struct` vanish when empty; the `Optional` ones are pointers and keep zero.
pub(super) enum Shape {
    /// String that vanishes when empty.
    Text,
    /// String behind a pointer.
    OptionalText,
    /// Integer that vanishes when zero.
    Number,
    /// Integer behind a pointer.
    OptionalNumber,
    /// Boolean that vanishes when false.
    Flag,
    /// Boolean behind a pointer.
    OptionalFlag,
    /// RFC 3339 with whole seconds.
    Time,
    /// RFC 3339 with microseconds.
    MicroTime,
    /// Number or string.
    IntOrString,
    /// Resource quantity.
    Quantity,
    /// Repeated string.
    Texts,
    /// Message behind a pointer.
    One(&'static Message),
    /// Embedded message that vanishes when empty.
    Struct(&'static Message),
    /// Embedded message whose fields belong to the parent in JSON.
    Inline(&'static Message),
    /// Repeated message.
    Many(&'static Message),
    /// map<string, string>.
    TextMap,
    /// map<string, bytes>, base64 in JSON.
    BytesMap,
    /// map<string, Quantity>.
    QuantityMap,
    /// map<string, repeated string>.
    TextsMap,
}

/// The table of one kind, if there is one.
pub(super) fn find(api_version: &str, kind: &str) -> Option<&'static Message> {
    Some(match (api_version, kind) {
        // Every group registers DeleteOptions; clients name the group of the resource, `meta.k8s.io/v1` or `v1`.
        (_, "DeleteOptions") => &messages::DELETE_OPTIONS,
        ("v1", "Secret") => &messages::SECRET,
        ("v1", "ConfigMap") => &messages::CONFIG_MAP,
        ("v1", "Namespace") => &messages::NAMESPACE,
        ("v1", "ServiceAccount") => &messages::SERVICE_ACCOUNT,
        ("v1", "Event") => &messages::EVENT,
        ("rbac.authorization.k8s.io/v1", "Role") => &messages::ROLE,
        ("rbac.authorization.k8s.io/v1", "ClusterRole") => &messages::CLUSTER_ROLE,
        ("rbac.authorization.k8s.io/v1", "RoleBinding") => &messages::ROLE_BINDING,
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding") => &messages::CLUSTER_ROLE_BINDING,
        ("authentication.k8s.io/v1", "TokenRequest") => &messages::TOKEN_REQUEST,
        ("authentication.k8s.io/v1", "TokenReview") => &messages::TOKEN_REVIEW,
        ("authentication.k8s.io/v1", "SelfSubjectReview") => &messages::SELF_SUBJECT_REVIEW,
        ("authorization.k8s.io/v1", "SelfSubjectAccessReview") => &messages::SELF_SUBJECT_ACCESS_REVIEW,
        ("authorization.k8s.io/v1", "SelfSubjectRulesReview") => &messages::SELF_SUBJECT_RULES_REVIEW,
        ("authorization.k8s.io/v1", "SubjectAccessReview") => &messages::SUBJECT_ACCESS_REVIEW,
        ("authorization.k8s.io/v1", "LocalSubjectAccessReview") => &messages::LOCAL_SUBJECT_ACCESS_REVIEW,
        ("coordination.k8s.io/v1", "Lease") => &messages::LEASE,
        ("events.k8s.io/v1", "Event") => &messages::EVENTS_EVENT,
        ("apps/v1", "Deployment") => &workloads::DEPLOYMENT,
        ("apps/v1", "ReplicaSet") => &workloads::REPLICA_SET,
        ("apps/v1", "StatefulSet") => &workloads::STATEFUL_SET,
        ("batch/v1", "Job") => &workloads::JOB,
        ("batch/v1", "CronJob") => &workloads::CRON_JOB,
        ("v1", "Pod") => &workloads::POD,
        ("v1", "Service") => &workloads::SERVICE,
        ("networking.k8s.io/v1", "Ingress") => &workloads::INGRESS,
        ("policy/v1", "PodDisruptionBudget") => &workloads::POD_DISRUPTION_BUDGET,
        ("policy/v1", "Eviction") => &workloads::EVICTION,
        _ => return None,
    })
}
