//! Constant defaults of the built-in kinds, as schema defaults. Defaults that depend on other fields are in the strategies.

use serde_json::Value;

/// (definition, field, default as JSON).
#[rustfmt::skip] // a table
const DEFAULTS: &[(&str, &str, &str)] = &[
    ("io.k8s.api.core.v1.Container", "terminationMessagePath", r#""/dev/termination-log""#),
    ("io.k8s.api.core.v1.Container", "terminationMessagePolicy", r#""File""#),
    ("io.k8s.api.core.v1.Container", "resources", "{}"),
    ("io.k8s.api.core.v1.EphemeralContainer", "terminationMessagePath", r#""/dev/termination-log""#),
    ("io.k8s.api.core.v1.EphemeralContainer", "terminationMessagePolicy", r#""File""#),
    ("io.k8s.api.core.v1.EphemeralContainer", "resources", "{}"),
    ("io.k8s.api.core.v1.ContainerPort", "protocol", r#""TCP""#),
    ("io.k8s.api.core.v1.Probe", "timeoutSeconds", "1"),
    ("io.k8s.api.core.v1.Probe", "periodSeconds", "10"),
    ("io.k8s.api.core.v1.Probe", "successThreshold", "1"),
    ("io.k8s.api.core.v1.Probe", "failureThreshold", "3"),
    ("io.k8s.api.core.v1.HTTPGetAction", "scheme", r#""HTTP""#),
    ("io.k8s.api.core.v1.HTTPGetAction", "path", r#""/""#),
    ("io.k8s.api.core.v1.PodSpec", "restartPolicy", r#""Always""#),
    ("io.k8s.api.core.v1.PodSpec", "dnsPolicy", r#""ClusterFirst""#),
    ("io.k8s.api.core.v1.PodSpec", "terminationGracePeriodSeconds", "30"),
    ("io.k8s.api.core.v1.PodSpec", "securityContext", "{}"),
    ("io.k8s.api.core.v1.PodSpec", "schedulerName", r#""default-scheduler""#),
    ("io.k8s.api.core.v1.ObjectFieldSelector", "apiVersion", r#""v1""#),
    ("io.k8s.api.core.v1.SecretVolumeSource", "defaultMode", "420"),
    ("io.k8s.api.core.v1.ConfigMapVolumeSource", "defaultMode", "420"),
    ("io.k8s.api.core.v1.DownwardAPIVolumeSource", "defaultMode", "420"),
    ("io.k8s.api.core.v1.ProjectedVolumeSource", "defaultMode", "420"),
    ("io.k8s.api.core.v1.ServiceAccountTokenProjection", "expirationSeconds", "3600"),
    ("io.k8s.api.core.v1.HostPathVolumeSource", "type", r#""""#),
    ("io.k8s.api.core.v1.ServiceSpec", "sessionAffinity", r#""None""#),
    ("io.k8s.api.core.v1.ServiceSpec", "type", r#""ClusterIP""#),
    ("io.k8s.api.core.v1.ServicePort", "protocol", r#""TCP""#),
    ("io.k8s.api.core.v1.Secret", "type", r#""Opaque""#),
    ("io.k8s.api.core.v1.PersistentVolumeClaimSpec", "volumeMode", r#""Filesystem""#),
    ("io.k8s.api.core.v1.PersistentVolumeSpec", "volumeMode", r#""Filesystem""#),
    ("io.k8s.api.core.v1.PersistentVolumeSpec", "persistentVolumeReclaimPolicy", r#""Retain""#),
    ("io.k8s.api.core.v1.ReplicationControllerSpec", "replicas", "1"),
    ("io.k8s.api.apps.v1.DeploymentSpec", "replicas", "1"),
    ("io.k8s.api.apps.v1.DeploymentSpec", "revisionHistoryLimit", "10"),
    ("io.k8s.api.apps.v1.DeploymentSpec", "progressDeadlineSeconds", "600"),
    ("io.k8s.api.apps.v1.DeploymentSpec", "strategy", r#"{"type":"RollingUpdate"}"#),
    ("io.k8s.api.apps.v1.DeploymentStrategy", "type", r#""RollingUpdate""#),
    ("io.k8s.api.apps.v1.ReplicaSetSpec", "replicas", "1"),
    ("io.k8s.api.apps.v1.StatefulSetSpec", "replicas", "1"),
    ("io.k8s.api.apps.v1.StatefulSetSpec", "revisionHistoryLimit", "10"),
    ("io.k8s.api.apps.v1.StatefulSetSpec", "podManagementPolicy", r#""OrderedReady""#),
    ("io.k8s.api.apps.v1.StatefulSetSpec", "updateStrategy", r#"{"type":"RollingUpdate"}"#),
    ("io.k8s.api.apps.v1.StatefulSetUpdateStrategy", "type", r#""RollingUpdate""#),
    ("io.k8s.api.apps.v1.StatefulSetSpec", "persistentVolumeClaimRetentionPolicy", r#"{"whenDeleted":"Retain","whenScaled":"Retain"}"#),
    ("io.k8s.api.apps.v1.DaemonSetSpec", "revisionHistoryLimit", "10"),
    ("io.k8s.api.apps.v1.DaemonSetSpec", "updateStrategy", r#"{"type":"RollingUpdate"}"#),
    ("io.k8s.api.apps.v1.DaemonSetUpdateStrategy", "type", r#""RollingUpdate""#),
    ("io.k8s.api.batch.v1.CronJobSpec", "concurrencyPolicy", r#""Allow""#),
    ("io.k8s.api.batch.v1.CronJobSpec", "suspend", "false"),
    ("io.k8s.api.batch.v1.CronJobSpec", "successfulJobsHistoryLimit", "3"),
    ("io.k8s.api.batch.v1.CronJobSpec", "failedJobsHistoryLimit", "1"),
    ("io.k8s.api.rbac.v1.RoleRef", "apiGroup", r#""rbac.authorization.k8s.io""#),
    ("io.k8s.api.storage.v1.StorageClass", "reclaimPolicy", r#""Delete""#),
    ("io.k8s.api.storage.v1.StorageClass", "volumeBindingMode", r#""Immediate""#),
    ("io.k8s.api.scheduling.v1.PriorityClass", "preemptionPolicy", r#""PreemptLowerPriority""#),
    ("io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerSpec", "minReplicas", "1"),
    ("io.k8s.api.authentication.v1.TokenRequestSpec", "expirationSeconds", "3600"),
    ("io.k8s.api.admissionregistration.v1.MutatingWebhook", "failurePolicy", r#""Fail""#),
    ("io.k8s.api.admissionregistration.v1.MutatingWebhook", "matchPolicy", r#""Equivalent""#),
    ("io.k8s.api.admissionregistration.v1.MutatingWebhook", "namespaceSelector", "{}"),
    ("io.k8s.api.admissionregistration.v1.MutatingWebhook", "objectSelector", "{}"),
    ("io.k8s.api.admissionregistration.v1.MutatingWebhook", "timeoutSeconds", "10"),
    ("io.k8s.api.admissionregistration.v1.MutatingWebhook", "reinvocationPolicy", r#""Never""#),
    ("io.k8s.api.admissionregistration.v1.ValidatingWebhook", "failurePolicy", r#""Fail""#),
    ("io.k8s.api.admissionregistration.v1.ValidatingWebhook", "matchPolicy", r#""Equivalent""#),
    ("io.k8s.api.admissionregistration.v1.ValidatingWebhook", "namespaceSelector", "{}"),
    ("io.k8s.api.admissionregistration.v1.ValidatingWebhook", "objectSelector", "{}"),
    ("io.k8s.api.admissionregistration.v1.ValidatingWebhook", "timeoutSeconds", "10"),
    ("io.k8s.api.admissionregistration.v1.RuleWithOperations", "scope", r#""*""#),
    ("io.k8s.api.admissionregistration.v1.NamedRuleWithOperations", "scope", r#""*""#),
    ("io.k8s.api.admissionregistration.v1.ServiceReference", "port", "443"),
    ("io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicySpec", "failurePolicy", r#""Fail""#),
    ("io.k8s.api.admissionregistration.v1.MatchResources", "matchPolicy", r#""Equivalent""#),
    ("io.k8s.api.admissionregistration.v1.MatchResources", "namespaceSelector", "{}"),
    ("io.k8s.api.admissionregistration.v1.MatchResources", "objectSelector", "{}"),
];

/// Adds the defaults of one definition to its schema.
pub(super) fn annotate(name: &str, schema: &mut Value) {
    for (_, field, default) in DEFAULTS.iter().filter(|entry| entry.0 == name) {
        if let Some(property) = schema.get_mut("properties").and_then(|properties| properties.get_mut(*field)) {
            property["default"] = serde_json::from_str(default).expect("the table is JSON");
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_default_meets_a_field_and_is_json() {
        let all = crate::apiserver::builtin::definitions::all();
        for (name, field, default) in super::DEFAULTS {
            assert!(all[*name]["properties"].get(field).is_some(), "{name}.{field}");
            serde_json::from_str::<serde_json::Value>(default)
                .unwrap_or_else(|error| panic!("{name}.{field}: {error}"));
        }
    }
}
