//! Roles, bindings, and what follows from them (K2, K3).

use serde_json::Value;

use super::attributes::Attributes;
use super::identity::User;
use crate::apiserver::server::State;

/// One rule of a role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) verbs: Vec<String>,
    pub(super) groups: Vec<String>,
    pub(super) resources: Vec<String>,
    pub(super) names: Vec<String>,
    pub(super) paths: Vec<String>,
}

/// The answer of the authorizer.
pub(super) struct Decision {
    pub(super) allowed: bool,
    /// Which binding allows it, or which roles were missing.
    pub(super) reason: String,
}

/// A binding that applies to a user, with the rules of its role.
struct Grant {
    reason: String,
    rules: Vec<Rule>,
}

impl Rule {
    /// Reads the rules of a role.
    pub(super) fn list(rules: &Value) -> Vec<Rule> {
        let texts = |value: &Value| -> Vec<String> {
            value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let rule = |rule: &Value| Rule {
            verbs: texts(&rule["verbs"]),
            groups: texts(&rule["apiGroups"]),
            resources: texts(&rule["resources"]),
            names: texts(&rule["resourceNames"]),
            paths: texts(&rule["nonResourceURLs"]),
        };
        rules.as_array().into_iter().flatten().map(rule).collect()
    }

    fn allows(&self, wanted: &Attributes) -> bool {
        let has = |list: &[String], value: &str| list.iter().any(|entry| entry == "*" || entry == value);
        if !has(&self.verbs, &wanted.verb) {
            return false;
        }
        if let Some(path) = &wanted.path {
            let covers = |entry: &String| {
                entry == "*" || entry == path || entry.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
            };
            return self.paths.iter().any(covers);
        }
        let whole = if wanted.subresource.is_empty() {
            wanted.resource.clone()
        } else {
            format!("{}/{}", wanted.resource, wanted.subresource)
        };
        let any = format!("*/{}", wanted.subresource);
        has(&self.groups, &wanted.group)
            && (has(&self.resources, &whole) || !wanted.subresource.is_empty() && self.resources.contains(&any))
            && (self.names.is_empty() || self.names.contains(&wanted.name))
    }
}

/// Whether the user may do this.
pub(super) fn decide(state: &State, user: &User, wanted: &Attributes) -> Decision {
    if user.is_master() {
        return Decision { allowed: true, reason: String::new() };
    }
    let (grants, errors) = grants(state, user, &wanted.namespace, "role", "clusterrole");
    let granting = grants.into_iter().find(|grant| grant.rules.iter().any(|rule| rule.allows(wanted)));
    match granting {
        Some(grant) => Decision { allowed: true, reason: grant.reason },
        None => Decision {
            allowed: false,
            reason: if errors.is_empty() { String::new() } else { format!("RBAC: {}", together(&errors)) },
        },
    }
}

/// Every rule of a user in a namespace, and the roles that could not be found.
pub(super) fn rules_of(state: &State, user: &User, namespace: &str) -> (Vec<Rule>, Vec<String>) {
    let (grants, errors) = grants(state, user, namespace, "role", "clusterrole");
    (grants.into_iter().flat_map(|grant| grant.rules).collect(), errors)
}

/// Several errors as Go's aggregate prints them: once each.
pub(super) fn together(errors: &[String]) -> String {
    let mut once: Vec<&str> = Vec::new();
    for error in errors {
        if !once.contains(&error.as_str()) {
            once.push(error);
        }
    }
    if once.len() == 1 { once[0].to_owned() } else { format!("[{}]", once.join(", ")) }
}

fn grants(state: &State, user: &User, namespace: &str, role: &str, cluster_role: &str) -> (Vec<Grant>, Vec<String>) {
    let mut grants = Vec::new();
    let mut errors = Vec::new();
    let group = "rbac.authorization.k8s.io";
    let mut add = |binding: &Value, kind: &str, name: String| {
        let own = binding["metadata"]["namespace"].as_str().unwrap_or_default();
        let subjects = binding["subjects"].as_array().into_iter().flatten();
        let Some(subject) = subjects.into_iter().find_map(|subject| subject_of(subject, user, own)) else { return };
        let reference = &binding["roleRef"];
        let (role_kind, role_name) =
            (reference["kind"].as_str().unwrap_or_default(), reference["name"].as_str().unwrap_or_default());
        let rules = role_rules(state, reference, own);
        match rules {
            Some(rules) => grants.push(Grant {
                reason: format!("RBAC: allowed by {kind} {name:?} of {role_kind} {role_name:?} to {subject}"),
                rules,
            }),
            None => errors.push(format!(
                "{}.{group} {role_name:?} not found",
                if role_kind == "Role" { role } else { cluster_role }
            )),
        }
    };
    for (key, stored) in state.store.objects("clusterrolebindings.rbac.authorization.k8s.io", "") {
        add(&stored.value, "ClusterRoleBinding", key.1.clone());
    }
    if !namespace.is_empty() {
        for (key, stored) in state.store.objects("rolebindings.rbac.authorization.k8s.io", namespace) {
            add(&stored.value, "RoleBinding", format!("{}/{}", key.1, key.0));
        }
    }
    (grants, errors)
}

/// Rules of the role that a binding in `namespace` refers to, if it exists.
pub(super) fn role_rules(state: &State, reference: &Value, namespace: &str) -> Option<Vec<Rule>> {
    let name = reference["name"].as_str().unwrap_or_default();
    let stored = match reference["kind"].as_str() {
        Some("Role") => state.store.get("roles.rbac.authorization.k8s.io", namespace, name),
        _ => state.store.get("clusterroles.rbac.authorization.k8s.io", "", name),
    }?;
    Some(Rule::list(&stored.value["rules"]))
}

/// The subject in words, if it is this user.
fn subject_of(subject: &Value, user: &User, namespace: &str) -> Option<String> {
    let name = subject["name"].as_str().unwrap_or_default();
    match subject["kind"].as_str()? {
        "User" => (name == user.name).then(|| format!("User {name:?}")),
        "Group" => user.groups.iter().any(|group| group == name).then(|| format!("Group {name:?}")),
        "ServiceAccount" => {
            let namespace = subject["namespace"].as_str().filter(|own| !own.is_empty()).unwrap_or(namespace);
            (user.name == format!("system:serviceaccount:{namespace}:{name}"))
                .then(|| format!("ServiceAccount \"{name}/{namespace}\""))
        }
        _ => None,
    }
}
