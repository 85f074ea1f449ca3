//! Values of a release: the fragment that integrations become, and how it lies under explicit values (contract §5.1, §6.3).

use serde_json::{Map, Value, json};

use crate::api::application_instance::{Endpoint, Integrations};
use crate::api::cluster::Helm;

/// The fragment, empty where nothing is integrated.
pub fn fragment(integrations: Option<&Integrations>, helm: &Helm) -> Map<String, Value> {
    let mut root = Map::new();
    let Some(integrations) = integrations else { return root };
    let mut switches = Map::new();
    for (name, switch) in
        [("certManager", &integrations.cert_manager), ("externalSecrets", &integrations.external_secrets)]
    {
        if let Some(switch) = switch {
            switches.insert(name.into(), json!({ "enabled": switch.enabled }));
        }
    }
    if let Some(ingress) = &integrations.ingress {
        let mut values = Map::new();
        values.insert("enabled".into(), json!(ingress.enabled));
        if let Some(host) = ingress.host.as_deref().filter(|host| !host.is_empty()) {
            values.insert("host".into(), json!(host));
        }
        if let Some(issuer) =
            helm.default_cluster_issuer.as_deref().filter(|issuer| ingress.enabled && !issuer.is_empty())
        {
            values.insert("annotations".into(), json!({ "cert-manager.io/cluster-issuer": issuer }));
        }
        root.insert("ingress".into(), Value::Object(values));
    }
    if !switches.is_empty() {
        root.insert("integrations".into(), Value::Object(switches));
    }
    root
}

/// `over` deep-merged over `under`: maps merge, everything else replaces.
pub fn merge(under: &Map<String, Value>, over: &Map<String, Value>) -> Map<String, Value> {
    let mut merged = under.clone();
    for (name, value) in over {
        let value = match (merged.get(name), value) {
            (Some(Value::Object(under)), Value::Object(over)) => Value::Object(merge(under, over)),
            (_, value) => value.clone(),
        };
        merged.insert(name.clone(), value);
    }
    merged
}

/// Paths that both say something about, sorted; explicit values win there.
pub fn overlap(fragment: &Map<String, Value>, explicit: &Map<String, Value>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, value) in fragment {
        match (value, explicit.get(name)) {
            (_, None) => {}
            (Value::Object(below), Some(Value::Object(explicit))) => {
                found.extend(overlap(below, explicit).into_iter().map(|path| format!("{name}.{path}")));
            }
            (_, Some(_)) => found.push(name.clone()),
        }
    }
    found.sort();
    found
}

/// Endpoints an instance declares itself (contract §5.3); rendered objects are never read.
pub fn endpoints(integrations: Option<&Integrations>, inline: Option<&Map<String, Value>>) -> Vec<Endpoint> {
    let declared = integrations
        .and_then(|all| all.ingress.as_ref())
        .filter(|ingress| ingress.enabled)
        .and_then(|ingress| ingress.host.clone());
    let inline = inline
        .and_then(|values| values.get("ingress"))
        .filter(|ingress| ingress.get("enabled") == Some(&Value::Bool(true)))
        .and_then(|ingress| ingress.get("host"))
        .and_then(Value::as_str)
        .map(String::from);
    // The inline host overrides the integration's, as it does in the chart.
    let host = inline.or(declared).filter(|host| !host.is_empty() && host.len() <= 253);
    host.into_iter()
        .map(|host| Endpoint {
            name: "ingress".into(),
            url: format!("https://{host}"),
            type_: Some("ingress".into()),
            notes: None,
        })
        .collect()
}

/// The same JSON with keys in order: two equal values have one text.
pub fn canonical(value: &Value) -> Value {
    let mut value = value.clone();
    value.sort_all_objects();
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    fn integrations() -> Integrations {
        serde_json::from_value(json!({
            "ingress": {"enabled": true, "host": "files.example.org"},
            "certManager": {"enabled": true},
        }))
        .unwrap()
    }

    #[test]
    fn integrations_become_a_fragment_that_explicit_values_override() {
        let helm = Helm { default_cluster_issuer: Some("letsencrypt".into()), ..Helm::default() };
        let fragment = fragment(Some(&integrations()), &helm);
        assert_eq!(
            Value::Object(fragment.clone()),
            json!({
                "ingress": {"enabled": true, "host": "files.example.org", "annotations": {"cert-manager.io/cluster-issuer": "letsencrypt"}},
                "integrations": {"certManager": {"enabled": true}},
            })
        );
        let explicit = map(json!({"ingress": {"host": "other.example.org", "class": "nginx"}, "replicas": 2}));
        let merged = merge(&fragment, &explicit);
        assert_eq!(merged["ingress"]["host"], "other.example.org");
        assert_eq!(merged["ingress"]["enabled"], true);
        assert_eq!(overlap(&fragment, &explicit), ["ingress.host"]);
        assert!(super::fragment(None, &helm).is_empty());
    }

    #[test]
    fn endpoints_come_from_declarations_only() {
        assert_eq!(endpoints(Some(&integrations()), None)[0].url, "https://files.example.org");
        let inline = map(json!({"ingress": {"enabled": true, "host": "inline.example.org"}}));
        assert_eq!(endpoints(None, Some(&inline))[0].url, "https://inline.example.org");
        for odd in
            [json!({"ingress": 7}), json!({"ingress": {"host": "x"}}), json!({"ingress": {"enabled": true, "host": 7}})]
        {
            assert!(endpoints(None, Some(&map(odd))).is_empty());
        }
    }
}
