//! The zero value of built-in kinds: what a create is compared with. Structs and pointerless lists are there from the start,
//! so that nobody comes to own `.spec` itself, unlike in a custom resource.

use serde_json::{Value, json};

/// The object a create of this kind starts from.
pub(super) fn blank(api_version: &str, kind: &str) -> Value {
    let template = || json!({"metadata": {}, "spec": {"containers": null}});
    let mut object = match (api_version, kind) {
        ("v1", "Namespace" | "Node" | "PersistentVolumeClaim" | "PersistentVolume" | "ResourceQuota")
        | ("networking.k8s.io/v1", "Ingress" | "IngressClass")
        | ("policy/v1", "PodDisruptionBudget") => json!({"metadata": {}, "spec": {}, "status": {}}),
        ("v1", "LimitRange") => json!({"metadata": {}, "spec": {"limits": null}}),
        ("v1", "Pod") => json!({"metadata": {}, "spec": {"containers": null}, "status": {}}),
        ("v1", "PodTemplate") => json!({"metadata": {}, "template": template()}),
        ("v1", "Service") => json!({"metadata": {}, "spec": {}, "status": {"loadBalancer": {}}}),
        ("v1", "Event") => json!({"metadata": {}, "involvedObject": {}, "source": {}, "firstTimestamp": null,
            "lastTimestamp": null, "eventTime": null, "reportingComponent": "", "reportingInstance": ""}),
        ("events.k8s.io/v1", "Event") => json!({"metadata": {}, "eventTime": null, "regarding": {},
            "deprecatedSource": {}, "deprecatedFirstTimestamp": null, "deprecatedLastTimestamp": null}),
        ("v1", "Endpoints") => json!({"metadata": {}}),
        ("discovery.k8s.io/v1", "EndpointSlice") => {
            json!({"metadata": {}, "addressType": "", "endpoints": null, "ports": null})
        }
        ("apps/v1", "Deployment") => json!({"metadata": {}, "status": {},
            "spec": {"selector": null, "template": template(), "strategy": {}}}),
        ("apps/v1", "ReplicaSet") => {
            json!({"metadata": {}, "spec": {"selector": null, "template": {"metadata": {}, "spec": {"containers": null}}},
                "status": {"replicas": 0}})
        }
        ("apps/v1", "StatefulSet") => json!({"metadata": {}, "spec": {"selector": null, "template": template(),
            "serviceName": "", "updateStrategy": {}}, "status": {"replicas": 0, "availableReplicas": 0}}),
        ("apps/v1", "DaemonSet") => {
            json!({"metadata": {}, "spec": {"selector": null, "template": template(), "updateStrategy": {}},
            "status": {"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0}})
        }
        ("batch/v1", "Job") => json!({"metadata": {}, "spec": {"template": template()}, "status": {}}),
        ("batch/v1", "CronJob") => json!({"metadata": {}, "status": {}, "spec": {"schedule": "",
            "jobTemplate": {"metadata": {}, "spec": {"template": template()}}}}),
        ("coordination.k8s.io/v1", "Lease") => json!({"metadata": {}, "spec": {}}),
        ("networking.k8s.io/v1", "NetworkPolicy") => json!({"metadata": {}, "spec": {"podSelector": {}}}),
        ("storage.k8s.io/v1", "StorageClass") => json!({"metadata": {}, "provisioner": ""}),
        ("rbac.authorization.k8s.io/v1", "Role" | "ClusterRole") => json!({"metadata": {}, "rules": null}),
        ("rbac.authorization.k8s.io/v1", "RoleBinding" | "ClusterRoleBinding") => {
            json!({"metadata": {}, "roleRef": {"apiGroup": "", "kind": "", "name": ""}})
        }
        ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy" | "ValidatingAdmissionPolicyBinding") => {
            json!({"metadata": {}, "spec": {}, "status": {}})
        }
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition") => json!({"metadata": {},
            "spec": {"group": "", "names": {"plural": "", "kind": ""}, "scope": "", "versions": null},
            "status": {"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": null}}),
        ("apiregistration.k8s.io/v1", "APIService") => json!({"metadata": {}, "status": {},
            "spec": {"groupPriorityMinimum": 0, "versionPriority": 0}}),
        ("authorization.k8s.io/v1", _) | ("authentication.k8s.io/v1", "TokenReview") => {
            json!({"metadata": {}, "spec": {}, "status": {"allowed": false}})
        }
        ("authentication.k8s.io/v1", "TokenRequest") => json!({"metadata": {},
            "spec": {"audiences": null, "expirationSeconds": null, "boundObjectRef": null},
            "status": {"token": "", "expirationTimestamp": null}}),
        ("v1" | "node.k8s.io/v1" | "scheduling.k8s.io/v1" | "admissionregistration.k8s.io/v1", _) => {
            json!({"metadata": {}})
        }
        _ => json!({}),
    };
    object["apiVersion"] = Value::from(api_version);
    object["kind"] = Value::from(kind);
    object
}
