//! Columns of the built-in kinds that have a printer. Descriptions come from the field that a column shows, or stand here.

use jiff::Timestamp;
use serde_json::Value;

use super::cells;
use crate::apiserver::builtin::definitions;

/// Columns and rows of one kind.
pub(super) struct Columns {
    group: &'static str,
    plural: &'static str,
    pub(super) list: &'static [Column],
    pub(super) cells: fn(&Value, Timestamp) -> Vec<Value>,
}

/// One column. `Name` and `Age` get their description and format elsewhere.
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) priority: i64,
    text: Text,
}

enum Text {
    /// Description of this field below a definition of `io.k8s.api.`.
    Of(&'static str, &'static str),
    Is(&'static str),
}

impl Column {
    /// The description on the wire.
    pub(super) fn description(&self) -> String {
        match self.text {
            Text::Of(definition, field) => definitions::description(&format!("io.k8s.api.{definition}"), &[field]),
            Text::Is(text) => text.to_owned(),
        }
    }
}

/// The printer of a kind, if it has one.
pub(super) fn of(group: &str, plural: &str) -> Option<&'static Columns> {
    PRINTERS.iter().find(|columns| columns.group == group && columns.plural == plural)
}

const fn text(name: &'static str, priority: i64, text: Text) -> Column {
    Column { name, kind: "string", priority, text }
}

const fn number(name: &'static str, text: Text) -> Column {
    Column { name, kind: "integer", priority: 0, text }
}

const NAME: Column = text("Name", 0, Text::Is(""));
const AGE: Column = text("Age", 0, Text::Is(""));
const CONTAINERS: Column = text("Containers", 1, Text::Is("Names of each container in the template."));
const IMAGES: Column = text("Images", 1, Text::Is("Images referenced by each container in the template."));
const POD_COUNT: Column = text("Ready", 0, Text::Is("Number of the pod with ready state"));

use Text::{Is, Of};

#[rustfmt::skip] // a table
static PRINTERS: &[Columns] = &[
    Columns { group: "", plural: "configmaps", cells: cells::config_map, list: &[NAME, text("Data", 0, Of("core.v1.ConfigMap", "data")), AGE] },
    Columns { group: "", plural: "secrets", cells: cells::secret, list: &[NAME, text("Type", 0, Of("core.v1.Secret", "type")), text("Data", 0, Of("core.v1.Secret", "data")), AGE] },
    Columns { group: "", plural: "serviceaccounts", cells: cells::plain, list: &[NAME, AGE] },
    Columns { group: "", plural: "namespaces", cells: cells::namespace, list: &[NAME, text("Status", 0, Is("The status of the namespace")), AGE] },
    Columns { group: "", plural: "events", cells: cells::event, list: EVENTS },
    Columns { group: "events.k8s.io", plural: "events", cells: cells::new_event, list: EVENTS },
    Columns { group: "", plural: "pods", cells: cells::pod, list: &[NAME,
        text("Ready", 0, Is("The aggregate readiness state of this pod for accepting traffic.")),
        text("Status", 0, Is("The aggregate status of the containers in this pod.")),
        text("Restarts", 0, Is("The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.")),
        AGE, text("IP", 1, Of("core.v1.PodStatus", "podIP")), text("Node", 1, Of("core.v1.PodSpec", "nodeName")),
        text("Nominated Node", 1, Of("core.v1.PodStatus", "nominatedNodeName")), text("Readiness Gates", 1, Of("core.v1.PodSpec", "readinessGates"))] },
    Columns { group: "", plural: "replicationcontrollers", cells: cells::replica_set, list: &[NAME,
        number("Desired", Of("core.v1.ReplicationControllerSpec", "replicas")), number("Current", Of("core.v1.ReplicationControllerStatus", "replicas")),
        number("Ready", Of("core.v1.ReplicationControllerStatus", "readyReplicas")), AGE, CONTAINERS, IMAGES,
        text("Selector", 1, Of("core.v1.ReplicationControllerSpec", "selector"))] },
    Columns { group: "", plural: "services", cells: cells::service, list: &[NAME,
        text("Type", 0, Of("core.v1.ServiceSpec", "type")), text("Cluster-IP", 0, Of("core.v1.ServiceSpec", "clusterIP")),
        text("External-IP", 0, Of("core.v1.ServiceSpec", "externalIPs")), text("Port(s)", 0, Of("core.v1.ServiceSpec", "ports")), AGE,
        text("Selector", 1, Of("core.v1.ServiceSpec", "selector"))] },
    Columns { group: "", plural: "persistentvolumeclaims", cells: cells::claim, list: &[NAME,
        text("Status", 0, Of("core.v1.PersistentVolumeClaimStatus", "phase")), text("Volume", 0, Of("core.v1.PersistentVolumeClaimSpec", "volumeName")),
        text("Capacity", 0, Of("core.v1.PersistentVolumeClaimStatus", "capacity")), text("Access Modes", 0, Of("core.v1.PersistentVolumeClaimStatus", "accessModes")),
        text("StorageClass", 0, Of("core.v1.PersistentVolumeClaimSpec", "storageClassName")),
        text("VolumeAttributesClass", 0, Of("core.v1.PersistentVolumeClaimSpec", "volumeAttributesClassName")), AGE,
        text("VolumeMode", 1, Of("core.v1.PersistentVolumeClaimSpec", "volumeMode"))] },
    Columns { group: "apps", plural: "deployments", cells: cells::deployment, list: &[NAME, POD_COUNT,
        text("Up-to-date", 0, Of("apps.v1.DeploymentStatus", "updatedReplicas")), text("Available", 0, Of("apps.v1.DeploymentStatus", "availableReplicas")),
        AGE, CONTAINERS, IMAGES, text("Selector", 1, Of("apps.v1.DeploymentSpec", "selector"))] },
    Columns { group: "apps", plural: "replicasets", cells: cells::replica_set, list: &[NAME,
        number("Desired", Of("apps.v1.ReplicaSetSpec", "replicas")), number("Current", Of("apps.v1.ReplicaSetStatus", "replicas")),
        number("Ready", Of("apps.v1.ReplicaSetStatus", "readyReplicas")), AGE, CONTAINERS, IMAGES, text("Selector", 1, Of("apps.v1.ReplicaSetSpec", "selector"))] },
    Columns { group: "apps", plural: "statefulsets", cells: cells::stateful_set, list: &[NAME, POD_COUNT, AGE, CONTAINERS, IMAGES] },
    Columns { group: "apps", plural: "daemonsets", cells: cells::daemon_set, list: &[NAME,
        number("Desired", Of("apps.v1.DaemonSetStatus", "desiredNumberScheduled")), number("Current", Of("apps.v1.DaemonSetStatus", "currentNumberScheduled")),
        number("Ready", Of("apps.v1.DaemonSetStatus", "numberReady")), number("Up-to-date", Of("apps.v1.DaemonSetStatus", "updatedNumberScheduled")),
        number("Available", Of("apps.v1.DaemonSetStatus", "numberAvailable")), text("Node Selector", 0, Of("core.v1.PodSpec", "nodeSelector")),
        AGE, CONTAINERS, IMAGES, text("Selector", 1, Of("apps.v1.DaemonSetSpec", "selector"))] },
    Columns { group: "batch", plural: "jobs", cells: cells::job, list: &[NAME, text("Status", 0, Is("Status of the job.")),
        text("Completions", 0, Of("batch.v1.JobStatus", "succeeded")), text("Duration", 0, Is("Time required to complete the job.")), AGE, CONTAINERS, IMAGES,
        text("Selector", 1, Of("batch.v1.JobSpec", "selector"))] },
    Columns { group: "batch", plural: "cronjobs", cells: cells::cron_job, list: &[NAME, text("Schedule", 0, Of("batch.v1.CronJobSpec", "schedule")),
        text("Timezone", 0, Of("batch.v1.CronJobSpec", "timeZone")), Column { kind: "boolean", ..text("Suspend", 0, Of("batch.v1.CronJobSpec", "suspend")) },
        number("Active", Of("batch.v1.CronJobStatus", "active")), text("Last Schedule", 0, Of("batch.v1.CronJobStatus", "lastScheduleTime")),
        AGE, CONTAINERS, IMAGES, text("Selector", 1, Of("batch.v1.JobSpec", "selector"))] },
    Columns { group: "autoscaling", plural: "horizontalpodautoscalers", cells: cells::autoscaler, list: &[NAME,
        text("Reference", 0, Of("autoscaling.v2.HorizontalPodAutoscalerSpec", "scaleTargetRef")), text("Targets", 0, Of("autoscaling.v2.HorizontalPodAutoscalerSpec", "metrics")),
        text("MinPods", 0, Of("autoscaling.v2.HorizontalPodAutoscalerSpec", "minReplicas")), text("MaxPods", 0, Of("autoscaling.v2.HorizontalPodAutoscalerSpec", "maxReplicas")),
        text("Replicas", 0, Of("autoscaling.v2.HorizontalPodAutoscalerStatus", "currentReplicas")), AGE] },
    Columns { group: "networking.k8s.io", plural: "ingresses", cells: cells::ingress, list: &[NAME,
        text("Class", 0, Is("The name of the IngressClass resource that should be used for additional configuration")),
        text("Hosts", 0, Is("Hosts that incoming requests are matched against before the ingress rule")),
        text("Address", 0, Is("Address is a list containing ingress points for the load-balancer")),
        text("Ports", 0, Is("Ports of TLS configurations that open")), AGE] },
    Columns { group: "coordination.k8s.io", plural: "leases", cells: cells::lease, list: &[NAME, text("Holder", 0, Of("coordination.v1.LeaseSpec", "holderIdentity")), AGE] },
    Columns { group: "rbac.authorization.k8s.io", plural: "rolebindings", cells: cells::role_binding, list: &[NAME, text("Role", 0, Is(ROLE_REF)), AGE,
        text("Users", 1, Is("Users in the roleBinding")), text("Groups", 1, Is("Groups in the roleBinding")), text("ServiceAccounts", 1, Is("ServiceAccounts in the roleBinding"))] },
    Columns { group: "rbac.authorization.k8s.io", plural: "clusterrolebindings", cells: cells::role_binding, list: &[NAME, text("Role", 0, Is(CLUSTER_ROLE_REF)), AGE,
        text("Users", 1, Is("Users in the clusterRoleBinding")), text("Groups", 1, Is("Groups in the clusterRoleBinding")),
        text("ServiceAccounts", 1, Is("ServiceAccounts in the clusterRoleBinding"))] },
];

// The printer reads these two from an older version of the group, whose text ends earlier than that of v1.
const ROLE_REF: &str = "RoleRef can reference a Role in the current namespace or a ClusterRole in the global namespace. If the RoleRef cannot be resolved, the Authorizer must return an error.";
const CLUSTER_ROLE_REF: &str = "RoleRef can only reference a ClusterRole in the global namespace. If the RoleRef cannot be resolved, the Authorizer must return an error.";

#[rustfmt::skip] // a table
static EVENTS: &[Column] = &[
    text("Last Seen", 0, Of("core.v1.Event", "lastTimestamp")), text("Type", 0, Of("core.v1.Event", "type")), text("Reason", 0, Of("core.v1.Event", "reason")),
    text("Object", 0, Of("core.v1.Event", "involvedObject")), text("Subobject", 1, Of("core.v1.ObjectReference", "fieldPath")),
    text("Source", 1, Of("core.v1.Event", "source")), text("Message", 0, Of("core.v1.Event", "message")),
    text("First Seen", 1, Of("core.v1.Event", "firstTimestamp")), text("Count", 1, Of("core.v1.Event", "count")), Column { priority: 1, ..NAME },
];

#[cfg(test)]
mod tests {
    /// A field renamed upstream would leave a column without description.
    #[test]
    fn every_column_has_a_description_and_every_row_as_many_cells() {
        for columns in super::PRINTERS {
            for column in columns.list.iter().filter(|column| !matches!(column.name, "Name" | "Age")) {
                assert!(!column.description().is_empty(), "{} {}", columns.plural, column.name);
            }
            let cells = (columns.cells)(&serde_json::json!({"metadata": {"name": "n"}}), jiff::Timestamp::UNIX_EPOCH);
            assert_eq!(cells.len(), columns.list.len(), "{}", columns.plural);
        }
    }
}
