//! Roles and bindings that a server with RBAC starts with, as far as clients meet them: discovery, reviews, and the roles for people.
//! Not modelled: roles of the control plane's own components, and reconciliation of roles that somebody changed.

use serde_json::{Value, json};

use crate::apiserver::rest;
use crate::apiserver::server::{Authorization, Server};

/// (name, rules as JSON, label of aggregation or "").
#[rustfmt::skip] // a table
const ROLES: &[(&str, &str)] = &[
    ("cluster-admin", r#"[{"apiGroups":["*"],"resources":["*"],"verbs":["*"]},{"nonResourceURLs":["*"],"verbs":["*"]}]"#),
    ("system:basic-user", r#"[{"apiGroups":["authorization.k8s.io"],"resources":["selfsubjectaccessreviews","selfsubjectrulesreviews"],"verbs":["create"]},{"apiGroups":["authentication.k8s.io"],"resources":["selfsubjectreviews"],"verbs":["create"]}]"#),
    ("system:discovery", r#"[{"nonResourceURLs":["/api","/api/*","/apis","/apis/*","/healthz","/livez","/openapi","/openapi/*","/readyz","/version","/version/"],"verbs":["get"]}]"#),
    ("system:public-info-viewer", r#"[{"nonResourceURLs":["/healthz","/livez","/readyz","/version","/version/"],"verbs":["get"]}]"#),
    ("system:monitoring", r#"[{"nonResourceURLs":["/healthz","/healthz/*","/livez","/livez/*","/metrics","/metrics/slis","/readyz","/readyz/*"],"verbs":["get"]}]"#),
    ("system:service-account-issuer-discovery", r#"[{"nonResourceURLs":["/.well-known/openid-configuration","/.well-known/openid-configuration/","/openid/v1/jwks","/openid/v1/jwks/"],"verbs":["get"]}]"#),
    ("system:auth-delegator", r#"[{"apiGroups":["authentication.k8s.io"],"resources":["tokenreviews"],"verbs":["create"]},{"apiGroups":["authorization.k8s.io"],"resources":["subjectaccessreviews"],"verbs":["create"]}]"#),
    ("view", r#"[{"apiGroups":[""],"resources":["configmaps","endpoints","persistentvolumeclaims","persistentvolumeclaims/status","pods","replicationcontrollers","replicationcontrollers/scale","serviceaccounts","services","services/status","bindings","events","limitranges","namespaces/status","pods/log","pods/status","replicationcontrollers/status","resourcequotas","resourcequotas/status","namespaces"],"verbs":["get","list","watch"]},{"apiGroups":["discovery.k8s.io"],"resources":["endpointslices"],"verbs":["get","list","watch"]},{"apiGroups":["apps"],"resources":["controllerrevisions","daemonsets","daemonsets/status","deployments","deployments/scale","deployments/status","replicasets","replicasets/scale","replicasets/status","statefulsets","statefulsets/scale","statefulsets/status"],"verbs":["get","list","watch"]},{"apiGroups":["autoscaling"],"resources":["horizontalpodautoscalers","horizontalpodautoscalers/status"],"verbs":["get","list","watch"]},{"apiGroups":["batch"],"resources":["cronjobs","cronjobs/status","jobs","jobs/status"],"verbs":["get","list","watch"]},{"apiGroups":["policy"],"resources":["poddisruptionbudgets","poddisruptionbudgets/status"],"verbs":["get","list","watch"]},{"apiGroups":["networking.k8s.io"],"resources":["ingresses","ingresses/status","networkpolicies"],"verbs":["get","list","watch"]}]"#),
];

/// What `edit` may besides `view`.
const EDIT: &str = r#"[{"apiGroups":[""],"resources":["pods/attach","pods/exec","pods/portforward","pods/proxy","secrets","services/proxy"],"verbs":["get","list","watch"]},{"apiGroups":[""],"resources":["serviceaccounts"],"verbs":["impersonate"]},{"apiGroups":[""],"resources":["pods","pods/attach","pods/exec","pods/portforward","pods/proxy"],"verbs":["create","delete","deletecollection","patch","update"]},{"apiGroups":[""],"resources":["pods/eviction"],"verbs":["create"]},{"apiGroups":[""],"resources":["configmaps","events","persistentvolumeclaims","replicationcontrollers","replicationcontrollers/scale","secrets","serviceaccounts","services","services/proxy"],"verbs":["create","delete","deletecollection","patch","update"]},{"apiGroups":[""],"resources":["serviceaccounts/token"],"verbs":["create"]},{"apiGroups":["apps"],"resources":["daemonsets","deployments","deployments/rollback","deployments/scale","replicasets","replicasets/scale","statefulsets","statefulsets/scale"],"verbs":["create","delete","deletecollection","patch","update"]},{"apiGroups":["autoscaling"],"resources":["horizontalpodautoscalers"],"verbs":["create","delete","deletecollection","patch","update"]},{"apiGroups":["batch"],"resources":["cronjobs","jobs"],"verbs":["create","delete","deletecollection","patch","update"]},{"apiGroups":["policy"],"resources":["poddisruptionbudgets"],"verbs":["create","delete","deletecollection","patch","update"]},{"apiGroups":["networking.k8s.io"],"resources":["ingresses","networkpolicies"],"verbs":["create","delete","deletecollection","patch","update"]},{"apiGroups":["coordination.k8s.io"],"resources":["leases"],"verbs":["create","delete","deletecollection","get","list","patch","update","watch"]}]"#;

/// What `admin` may besides `edit`.
const ADMIN: &str = r#"[{"apiGroups":["authorization.k8s.io"],"resources":["localsubjectaccessreviews"],"verbs":["create"]},{"apiGroups":["rbac.authorization.k8s.io"],"resources":["rolebindings","roles"],"verbs":["create","delete","deletecollection","get","list","patch","update","watch"]}]"#;

/// (binding and role, groups).
const BINDINGS: &[(&str, &[&str])] = &[
    ("cluster-admin", &["system:masters"]),
    ("system:basic-user", &["system:authenticated"]),
    ("system:discovery", &["system:authenticated"]),
    ("system:monitoring", &["system:monitoring"]),
    ("system:public-info-viewer", &["system:authenticated", "system:unauthenticated"]),
    ("system:service-account-issuer-discovery", &["system:serviceaccounts"]),
];

/// Stores them, where roles decide anything at all.
pub(crate) fn install(server: &Server) {
    if server.config().authorization != Authorization::Rbac {
        return;
    }
    let rules = |text: &str| -> Vec<Value> { serde_json::from_str(text).expect("the tables hold JSON") };
    let mut roles: Vec<(&str, Vec<Value>)> = ROLES.iter().map(|(name, text)| (*name, rules(text))).collect();
    let view = roles.last().map(|(_, rules)| rules.clone()).unwrap_or_default();
    let edit = [rules(EDIT), view].concat();
    roles.push(("admin", [rules(ADMIN), edit.clone()].concat()));
    roles.push(("edit", edit));
    for (name, rules) in roles {
        let aggregated = matches!(name, "admin" | "edit" | "view").then_some(name);
        store(server, "ClusterRole", "clusterroles", name, json!({ "rules": rules }), aggregated);
    }
    for (name, groups) in BINDINGS {
        let group = "rbac.authorization.k8s.io";
        let subjects: Vec<Value> =
            groups.iter().map(|name| json!({ "kind": "Group", "apiGroup": group, "name": name })).collect();
        let reference = json!({ "apiGroup": group, "kind": "ClusterRole", "name": name });
        store(
            server,
            "ClusterRoleBinding",
            "clusterrolebindings",
            name,
            json!({ "subjects": subjects, "roleRef": reference }),
            None,
        );
    }
}

fn store(server: &Server, kind: &str, plural: &str, name: &str, content: Value, aggregates_to: Option<&str>) {
    let now = server.config().clock.now();
    let mut state = server.state();
    let uid = state.entropy.uid();
    let mut labels = json!({ "kubernetes.io/bootstrapping": "rbac-defaults" });
    if let Some(role) = aggregates_to {
        labels[format!("rbac.authorization.k8s.io/aggregate-to-{role}")] = json!("true");
    }
    let mut object = json!({
        "kind": kind, "apiVersion": "rbac.authorization.k8s.io/v1",
        "metadata": {
            "name": name, "uid": uid, "creationTimestamp": rest::second(now), "labels": labels,
            "annotations": { "rbac.authorization.kubernetes.io/autoupdate": "true" },
        },
    });
    if let (Some(object), Value::Object(content)) = (object.as_object_mut(), content) {
        object.extend(content);
    }
    let id = format!("{plural}.rbac.authorization.k8s.io").into();
    state.commit("kube-apiserver", "create", &id, (String::new(), name.to_owned()), Some((object, 0)), now);
}
