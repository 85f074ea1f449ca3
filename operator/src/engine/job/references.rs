//! Objects that a pod names and that must exist before it is created (contract §9.2 row 12, §10.8): without them it would
//! wait until its deadline.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::cluster_api::{Key, Kind};
use crate::engine::operation::{Facts, Question};
use crate::foreign::{core, pod};

/// One named object, perhaps with a key in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::engine) struct Reference {
    kind: Kind,
    name: String,
    key: Option<String>,
}

impl Reference {
    /// A Secret, or a key of it.
    pub(in crate::engine) fn secret(name: &str, key: Option<&str>) -> Self {
        Self { kind: core::secret(), name: name.into(), key: key.map(String::from) }
    }

    /// A ConfigMap, or a key of it.
    pub(in crate::engine) fn config_map(name: &str, key: Option<&str>) -> Self {
        Self { kind: core::config_map(), name: name.into(), key: key.map(String::from) }
    }

    /// An account.
    fn account(name: &str) -> Self {
        Self { kind: pod::service_account(), name: name.into(), key: None }
    }

    fn at(&self, namespace: &str) -> Key {
        Key::namespaced(&self.kind, namespace, &self.name)
    }

    /// What must be read to know whether it is there.
    pub(in crate::engine) fn question(&self, namespace: &str) -> Question {
        // Keys, because the content of a Secret is nothing a decision may know.
        if self.kind == pod::service_account() {
            Question::Object(self.at(namespace))
        } else {
            Question::Keys(self.at(namespace))
        }
    }

    fn missing(&self, namespace: &str, facts: &Facts) -> Option<String> {
        let (kind, name) = (&self.kind.kind, &self.name);
        let at = self.at(namespace);
        if self.kind == pod::service_account() {
            return facts.object(&at).is_none().then(|| format!("{kind} {name} does not exist"));
        }
        match (facts.keys(&at), &self.key) {
            (None, _) => Some(format!("{kind} {name} does not exist")),
            (Some(keys), Some(key)) if !keys.contains(key) => Some(format!("{kind} {name} has no key {key}")),
            _ => None,
        }
    }
}

/// The first that is missing, in words.
pub(in crate::engine) fn missing(all: &BTreeSet<Reference>, namespace: &str, facts: &Facts) -> Option<String> {
    all.iter().find_map(|reference| reference.missing(namespace, facts))
}

/// Everything a pod's spec names and does not call optional.
pub(in crate::engine) fn of_pod(spec: &Value) -> BTreeSet<Reference> {
    let mut found = BTreeSet::new();
    let text = |value: &Value, field: &str| value.get(field).and_then(Value::as_str).map(String::from);
    let needed = |source: &Value| source.is_object() && source.get("optional") != Some(&Value::Bool(true));
    let account = text(spec, "serviceAccountName").or_else(|| text(spec, "serviceAccount"));
    found.extend(account.filter(|name| !name.is_empty()).map(|name| Reference::account(&name)));
    for secret in items(spec, "imagePullSecrets") {
        found.extend(text(secret, "name").map(|name| Reference::secret(&name, None)));
    }
    let mut source = |place: &Value, secret: &str, config_map: &str, name: &str, keyed: bool| {
        type Maker = fn(&str, Option<&str>) -> Reference;
        let makers: [(&str, Maker); 2] = [(secret, Reference::secret), (config_map, Reference::config_map)];
        for (field, make) in makers {
            let Some(source) = place.get(field).filter(|source| needed(source)) else { continue };
            // A Secret volume says secretName where everything else says name.
            let named = text(source, if field == "secret" && !name.is_empty() { name } else { "name" });
            let key = text(source, "key").filter(|_| keyed);
            found.extend(named.filter(|name| !name.is_empty()).map(|name| make(&name, key.as_deref())));
        }
    };
    for volume in items(spec, "volumes") {
        source(volume, "secret", "configMap", "secretName", false);
        for projected in volume.get("projected").into_iter().flat_map(|projected| items(projected, "sources")) {
            source(projected, "secret", "configMap", "", false);
        }
    }
    for container in containers(spec) {
        for from in items(container, "envFrom") {
            source(from, "secretRef", "configMapRef", "", false);
        }
        for variable in items(container, "env") {
            if let Some(from) = variable.get("valueFrom") {
                source(from, "secretKeyRef", "configMapKeyRef", "", true);
            }
        }
    }
    found
}

/// Containers of a pod's spec, those that run first first.
pub(in crate::engine) fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers"].into_iter().flat_map(|field| items(spec, field))
}

fn items<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn everything_a_pod_needs_is_found_and_optional_things_are_not() {
        let spec = json!({
            "serviceAccountName": "runner",
            "imagePullSecrets": [{"name": "pull"}],
            "initContainers": [{"envFrom": [{"configMapRef": {"name": "init"}}]}],
            "containers": [{
                "env": [
                    {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                    {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
                    {"name": "C", "valueFrom": {"secretKeyRef": {"name": "free", "key": "k", "optional": true}}},
                    {"name": "D", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                ],
                "envFrom": [{"secretRef": {"name": "all"}}, {"secretRef": {"name": "free", "optional": true}}],
            }],
            "volumes": [
                {"name": "v", "secret": {"secretName": "mounted"}},
                {"name": "w", "configMap": {"name": "mounted"}},
                {"name": "x", "projected": {"sources": [{"secret": {"name": "part"}}, {"serviceAccountToken": {}}]}},
                {"name": "y", "emptyDir": {}},
            ],
        });
        let named: Vec<String> = of_pod(&spec)
            .into_iter()
            .map(|one| format!("{} {} {}", one.kind.kind, one.name, one.key.unwrap_or_default()).trim().to_string())
            .collect();
        assert_eq!(
            named,
            [
                "ConfigMap c k",
                "ConfigMap init",
                "ConfigMap mounted",
                "Secret all",
                "Secret mounted",
                "Secret part",
                "Secret pull",
                "Secret s k",
                "ServiceAccount runner",
            ]
        );
        for odd in
            [json!(null), json!({"containers": 7, "volumes": [3, {"secret": 1}]}), json!({"serviceAccountName": ""})]
        {
            assert!(of_pod(&odd).is_empty(), "{odd}");
        }
    }
}
