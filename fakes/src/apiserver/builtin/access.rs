//! authentication, authorization, rbac. Reviews are answered, not stored: see [`crate::apiserver::rbac`].

use serde_json::{Value, json};

use super::rules::{RULES, Rules, fill, items};
use crate::apiserver::errors::Cause;
use crate::apiserver::resource::Resource;

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) fn resources() -> Vec<Resource> {
    let rbac = |kind, plural, rules| {
        Resource { allow_create_on_update: true, ..Resource::builtin(GROUP, "v1", kind, plural, &[]) }.ruled(rules)
    };
    let role = || Rules { prepare: prepare_role, validate: validate_role, ..RULES };
    let binding = || Rules { prepare: prepare_binding, validate: validate_binding, ..RULES };
    let review =
        |group, kind, plural| Resource { verbs: &["create"], ..Resource::builtin(group, "v1", kind, plural, &[]) };
    vec![
        rbac("ClusterRole", "clusterroles", role()).cluster(),
        rbac("ClusterRoleBinding", "clusterrolebindings", binding()).cluster(),
        rbac("Role", "roles", role()),
        rbac("RoleBinding", "rolebindings", binding()),
        review("authentication.k8s.io", "SelfSubjectReview", "selfsubjectreviews").cluster(),
        review("authentication.k8s.io", "TokenReview", "tokenreviews").cluster(),
        review("authorization.k8s.io", "LocalSubjectAccessReview", "localsubjectaccessreviews"),
        review("authorization.k8s.io", "SelfSubjectAccessReview", "selfsubjectaccessreviews").cluster(),
        review("authorization.k8s.io", "SelfSubjectRulesReview", "selfsubjectrulesreviews").cluster(),
        review("authorization.k8s.io", "SubjectAccessReview", "subjectaccessreviews").cluster(),
    ]
}

/// A role without rules, such as one that only aggregates, says so.
fn prepare_role(new: &mut Value, _old: Option<&Value>) {
    fill(new, "rules", Value::Null);
}

fn prepare_binding(new: &mut Value, _old: Option<&Value>) {
    for subject in items(new, "/subjects") {
        let group = if subject["kind"] == "ServiceAccount" { "" } else { GROUP };
        if !group.is_empty() {
            fill(subject, "apiGroup", json!(group));
        }
    }
}

fn validate_role(new: &Value, _old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let namespaced = new["kind"] == "Role";
    let empty = |value: &Value| value.as_array().is_none_or(Vec::is_empty);
    for (index, rule) in new["rules"].as_array().into_iter().flatten().enumerate() {
        let path = format!("rules[{index}]");
        if empty(&rule["verbs"]) {
            causes.push(Cause::required(format!("{path}.verbs"), "verbs must contain at least one value"));
        }
        if !empty(&rule["nonResourceURLs"]) {
            let urls = &rule["nonResourceURLs"];
            if namespaced {
                causes.push(Cause::new(
                    "FieldValueInvalid",
                    format!("{path}.nonResourceURLs"),
                    format!("Invalid value: {urls}: namespaced rules cannot apply to non-resource URLs"),
                ));
            }
            if !empty(&rule["apiGroups"]) || !empty(&rule["resources"]) || !empty(&rule["resourceNames"]) {
                causes.push(Cause::new(
                    "FieldValueInvalid",
                    format!("{path}.nonResourceURLs"),
                    format!(
                        "Invalid value: {urls}: rules cannot apply to both regular resources and non-resource URLs"
                    ),
                ));
            }
            continue;
        }
        if empty(&rule["apiGroups"]) {
            causes.push(Cause::required(
                format!("{path}.apiGroups"),
                "resource rules must supply at least one api group",
            ));
        }
        if empty(&rule["resources"]) {
            causes
                .push(Cause::required(format!("{path}.resources"), "resource rules must supply at least one resource"));
        }
    }
    causes
}

fn validate_binding(new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let role = &new["roleRef"];
    if role["apiGroup"] != GROUP {
        causes.push(Cause::not_supported("roleRef.apiGroup", &role["apiGroup"], &[GROUP]));
    }
    let kinds: &[&str] = if new["kind"] == "RoleBinding" { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if !kinds.iter().any(|kind| role["kind"] == *kind) {
        causes.push(Cause::not_supported("roleRef.kind", &role["kind"], kinds));
    }
    if role["name"].as_str().is_none_or(str::is_empty) {
        causes.push(Cause::required("roleRef.name", ""));
    }
    for (index, subject) in new["subjects"].as_array().into_iter().flatten().enumerate() {
        let path = format!("subjects[{index}]");
        let empty = |field: &str| subject[field].as_str().is_none_or(str::is_empty);
        if empty("name") {
            causes.push(Cause::required(format!("{path}.name"), ""));
        }
        match subject["kind"].as_str() {
            Some("ServiceAccount") => {
                if !empty("apiGroup") {
                    causes.push(Cause::not_supported(format!("{path}.apiGroup"), &subject["apiGroup"], &[""]));
                }
                if empty("namespace") {
                    causes.push(Cause::required(format!("{path}.namespace"), ""));
                }
            }
            Some("User" | "Group") => {
                if subject["apiGroup"] != GROUP {
                    causes.push(Cause::not_supported(format!("{path}.apiGroup"), &subject["apiGroup"], &[GROUP]));
                }
            }
            _ => causes.push(Cause::not_supported(
                format!("{path}.kind"),
                &subject["kind"],
                &["ServiceAccount", "User", "Group"],
            )),
        }
    }
    if old.is_some_and(|old| old["roleRef"] != *role) {
        let field = |name: &str| role[name].as_str().unwrap_or_default();
        let shown = json!({ "apiGroup": field("apiGroup"), "kind": field("kind"), "name": field("name") });
        causes.push(Cause::new(
            "FieldValueInvalid",
            "roleRef",
            format!("Invalid value: {shown}: cannot change roleRef"),
        ));
    }
    causes
}
