//! The catalog policy as a job may bring it: a document that would not be understood is refused whole (contract §13.4).

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::receive::invalid;
use crate::cluster_api::Object;
use crate::policy::Refusal;

const KEY: &str = "policy.json";

/// Checks the ConfigMap of a job.
pub(super) fn check(config_map: &Object) -> Result<(), Refusal> {
    let data = config_map.0.get("data").and_then(Value::as_object);
    let text = data.and_then(|data| data.get(KEY)?.as_str()).ok_or_else(|| invalid("data[policy.json] is missing"))?;
    if data.is_some_and(|data| data.len() != 1) || config_map.0.get("binaryData").is_some() {
        return Err(invalid("the catalog policy has the key policy.json and no other"));
    }
    let document: Value = serde_json::from_str(text).map_err(|_| invalid("policy.json is not JSON"))?;
    let wrong = |path: &str, what: &str| Err(invalid(format!("policy.json: {path} must be {what}")));
    if document["version"] != 1 {
        return wrong("version", "1");
    }
    if !document["revision"].is_string() {
        return wrong("revision", "a string");
    }
    if document["issuedAt"].as_str().is_none_or(|time| time.parse::<Timestamp>().is_err()) {
        return wrong("issuedAt", "a time of RFC 3339");
    }
    let Some(charts) = document["charts"].as_object() else { return wrong("charts", "an object") };
    for entry in charts.values() {
        let Some(entry) = entry.as_object() else { return wrong("charts[*]", "an object") };
        chart(entry)?;
    }
    Ok(())
}

/// A member, what it must be, and whether it is.
type Row = (&'static str, &'static str, fn(&Value) -> bool);

fn chart(entry: &Map<String, Value>) -> Result<(), Refusal> {
    let rows: &[Row] = &[
        ("name", "a string", Value::is_string),
        ("allowedRange", "a string", Value::is_string),
        ("forbidden", "a list of strings", strings),
        ("deprecated", "a list of strings", strings),
        ("recommended", "a list of strings", strings),
        ("integrations", "an object", Value::is_object),
        ("maintenanceWindows", "a list of windows", |value| {
            value.as_array().is_some_and(|list| {
                list.iter().all(|window| {
                    window["start"].is_string()
                        && window["duration"].is_string()
                        && optional_string(&window["timeZone"])
                })
            })
        }),
        ("templates", "an object of templates", |value| {
            value.as_object().is_some_and(|all| all.values().all(template))
        }),
    ];
    for (field, what, fits) in rows {
        if entry.get(*field).is_some_and(|value| !value.is_null() && !fits(value)) {
            return Err(invalid(format!("policy.json: charts[*].{field} must be {what}")));
        }
    }
    Ok(())
}

fn strings(value: &Value) -> bool {
    value.as_array().is_some_and(|list| list.iter().all(Value::is_string))
}

fn optional_string(value: &Value) -> bool {
    value.is_null() || value.is_string()
}

fn template(rule: &Value) -> bool {
    let boolean = |field: &str| rule[field].is_null() || rule[field].is_boolean();
    rule.is_object()
        && ["approvalRequired", "exclusive", "requireReady", "disabled"].into_iter().all(boolean)
        && (rule["timeoutSeconds"].is_null() || rule["timeoutSeconds"].as_i64().is_some_and(|seconds| seconds > 0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_is_understood_whole_or_refused() {
        let check = |document: Value| {
            super::check(&Object(json!({"data": {"policy.json": document.to_string()}})))
                .err()
                .map(|refusal| refusal.message)
        };
        let good = json!({"version": 1, "revision": "7", "issuedAt": "2026-01-01T00:00:00Z", "charts": {"nextcloud": {
            "name": "nextcloud", "allowedRange": ">=6.0.0, <8.0.0", "forbidden": ["6.5.0"], "integrations": {},
            "maintenanceWindows": [{"start": "0 2 * * *", "duration": "3h", "timeZone": "Europe/Berlin"}],
            "templates": {"backup.velero": {"approvalRequired": true, "timeoutSeconds": 60}}, "later": 1}}});
        assert_eq!(check(good.clone()), None);
        for (pointer, value) in [
            ("/version", json!(2)),
            ("/revision", json!(7)),
            ("/issuedAt", json!("today")),
            ("/charts", json!([])),
            ("/charts/nextcloud", json!("all")),
            ("/charts/nextcloud/allowedRange", json!(6)),
            ("/charts/nextcloud/forbidden", json!("6.5.0")),
            ("/charts/nextcloud/maintenanceWindows", json!([{"start": 2}])),
            ("/charts/nextcloud/templates", json!({"backup.velero": {"timeoutSeconds": "1h"}})),
        ] {
            let mut document = good.clone();
            *document.pointer_mut(pointer).expect("a member") = value;
            assert!(check(document).is_some(), "{pointer}");
        }
        for data in [
            json!({}),
            json!({"policy.json": 7}),
            json!({"policy.json": "{"}),
            json!({"policy.json": good.to_string(), "x": "y"}),
        ] {
            assert!(super::check(&Object(json!({ "data": data }))).is_err());
        }
    }
}
