//! Services: cluster addresses, families and target ports.

use serde_json::{Value, json};

use super::rules::{at, fill, items};
use crate::apiserver::errors::Cause;

pub(super) fn prepare(new: &mut Value, old: Option<&Value>) {
    for port in items(new, "/spec/ports") {
        let number = port["port"].clone();
        fill(port, "targetPort", number);
    }
    at(new, "/spec", |spec| {
        if spec["type"] != "ExternalName" {
            fill(spec, "internalTrafficPolicy", json!("Cluster"));
        }
        if matches!(spec["type"].as_str(), Some("NodePort" | "LoadBalancer")) {
            fill(spec, "externalTrafficPolicy", json!("Cluster"));
        }
        if spec["type"] == "LoadBalancer" {
            fill(spec, "allocateLoadBalancerNodePorts", json!(true));
        }
    });
    // An update that leaves out what was allocated keeps it.
    if let Some(old) = old.filter(|old| old["spec"]["type"] != "ExternalName")
        && new["spec"]["type"] != "ExternalName"
    {
        at(new, "/spec", |spec| {
            for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                if let Some(value) = old["spec"].get(field) {
                    fill(spec, field, value.clone());
                }
            }
        });
    }
}

/// Allocates the cluster address.
pub(super) fn complete(new: &mut Value, _old: Option<&Value>) {
    if new["spec"]["type"] == "ExternalName" || !new["spec"].is_object() {
        return;
    }
    let mut own = address(new["metadata"]["uid"].as_str().unwrap_or_default());
    at(new, "/spec", |spec| {
        match spec["clusterIP"].as_str() {
            Some(given) if !given.is_empty() => own = given.to_owned(),
            _ => spec["clusterIP"] = json!(own),
        }
        fill(spec, "clusterIPs", json!([own]));
        fill(spec, "ipFamilies", json!(["IPv4"]));
        fill(spec, "ipFamilyPolicy", json!("SingleStack"));
    });
}

/// An address of 10.0.0.0/16 that follows from the uid. The real allocator draws at random and remembers; two services of one
/// fake may share an address, which no client of ours can see.
fn address(uid: &str) -> String {
    let hash = uid.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("10.0.{}.{}", (hash >> 8) & 0xff, 1 + (hash & 0xff) % 254)
}

pub(super) fn validate(new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let spec = &new["spec"];
    let mut causes = Vec::new();
    let kind = spec["type"].as_str().unwrap_or_default();
    let ports = spec["ports"].as_array().map_or(&[][..], Vec::as_slice);
    if ports.is_empty() && kind != "ExternalName" && spec["clusterIP"] != "None" {
        causes.push(Cause::required("spec.ports", ""));
    }
    if !matches!(kind, "ClusterIP" | "NodePort" | "LoadBalancer" | "ExternalName") {
        causes.push(Cause::not_supported(
            "spec.type",
            &spec["type"],
            &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
        ));
    }
    if kind == "ExternalName" && spec["externalName"].as_str().is_none_or(str::is_empty) {
        causes.push(Cause::required("spec.externalName", ""));
    }
    for (index, port) in ports.iter().enumerate() {
        if ports.len() > 1 && port["name"].as_str().is_none_or(str::is_empty) {
            causes.push(Cause::required(format!("spec.ports[{index}].name"), ""));
        }
        if !port["port"].as_i64().is_some_and(|port| (1..=65535).contains(&port)) {
            let number = port["port"].as_i64().unwrap_or_default();
            causes.push(Cause::invalid(
                format!("spec.ports[{index}].port"),
                &number.into(),
                "must be between 1 and 65535, inclusive",
            ));
        }
        if !matches!(port["protocol"].as_str(), Some("TCP" | "UDP" | "SCTP")) {
            causes.push(Cause::not_supported(
                format!("spec.ports[{index}].protocol"),
                &port["protocol"],
                &["SCTP", "TCP", "UDP"],
            ));
        }
    }
    if let Some(old) = old
        && old["spec"]["type"] != "ExternalName"
        && kind != "ExternalName"
        && spec["clusterIP"] != old["spec"]["clusterIP"]
    {
        let value = json!([spec["clusterIP"]]);
        causes.push(Cause::new(
            "FieldValueInvalid",
            "spec.clusterIPs[0]",
            format!("Invalid value: {value}: may not change once set"),
        ));
    }
    causes
}
