//! S34: Secrets are read by name, and only those that are declared: our own in our namespace, and those that an object of
//! ours in the same namespace, or the Cluster, refers to.

use fakes::history::{Call, Event, Record};
use serde_json::Value;

use super::Oracle;
use crate::truth::identity::SYSTEM;
use crate::truth::{CLUSTERS, INSTANCES, OPERATIONS, Truth, is_operator};

/// S34.
#[derive(Default)]
pub(super) struct SecretsByName;

/// Ours (contract §3.4).
const OURS: [&str; 5] = [
    "vworkspace-agent-credentials",
    "vworkspace-operator-keypair",
    "vworkspace-control-plane-keys",
    "vworkspace-approval-keys",
    "vworkspace-app-operator-webhook-cert",
];

impl Oracle for SecretsByName {
    fn id(&self) -> &'static str {
        "S34"
    }

    fn promise(&self) -> &'static str {
        "Secrets are read by name, from the declared set"
    }

    fn step(&mut self, record: &Record, truth: &Truth) -> Result<(), String> {
        match &record.event {
            Event::Request { call, .. } if call.resource == "secrets" && is_operator(&record.actor) => {
                match call.verb {
                    "list" | "watch" | "deletecollection" => Err(format!("{call} reads Secrets that nobody named")),
                    "get" if !declared(call, truth) => Err(format!("{call}: nothing refers to this Secret")),
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

fn declared(call: &Call, truth: &Truth) -> bool {
    if call.namespace == SYSTEM && OURS.contains(&&*call.name) {
        return true;
    }
    let referring = |resource: &'static str, namespace: &str| {
        let namespace = namespace.to_owned();
        truth
            .all(resource)
            .any(|(address, object)| address.namespace == namespace && names(&object["spec"], &call.name))
    };
    let own = [INSTANCES, OPERATIONS].into_iter().any(|resource| referring(resource, &call.namespace));
    own || (call.namespace == SYSTEM && referring(CLUSTERS, ""))
}

/// Whether a value somewhere in it is this name.
fn names(value: &Value, name: &str) -> bool {
    match value {
        Value::String(text) => text == name,
        Value::Array(items) => items.iter().any(|item| names(item, name)),
        Value::Object(members) => members.values().any(|member| names(member, name)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::story::{OPERATOR, Story, instance, secret, with};
    use super::*;

    fn there(name: &str) -> Value {
        with(&secret(name, &[]), &json!({ "metadata": { "namespace": "org-a" } }))
    }

    fn told() -> Story<SecretsByName> {
        let referring = with(&instance(), &json!({ "spec": { "chart": { "secretRef": { "name": "registry" } } } }));
        Story::new().commit("user", &referring)
    }

    #[test]
    fn a_list_of_secrets_is_seen() {
        told().ask(OPERATOR, "/api/v1/namespaces/org-a/secrets").breaks("nobody named");
        told().ask(OPERATOR, "/api/v1/secrets?watch=true").breaks("nobody named");
    }

    #[test]
    fn a_secret_that_nothing_refers_to_is_seen() {
        told().attempt_read(OPERATOR, &there("other")).breaks("nothing refers");
        told().attempt_read(OPERATOR, &secret("registry", &[])).breaks("nothing refers");
    }

    #[test]
    fn what_is_referred_to_and_our_own_hold() {
        told()
            .attempt_read(OPERATOR, &there("registry"))
            .attempt_read(OPERATOR, &secret("vworkspace-agent-credentials", &[]))
            .ask("user", "/api/v1/secrets")
            .holds();
    }
}
