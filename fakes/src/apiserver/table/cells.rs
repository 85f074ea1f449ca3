//! Rows of the built-in kinds.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::age;

fn name(object: &Value) -> Value {
    object["metadata"]["name"].clone()
}

fn created(object: &Value, now: Timestamp) -> Value {
    age::human(&object["metadata"]["creationTimestamp"], now).into()
}

fn text<'a>(value: &'a Value, otherwise: &'a str) -> &'a str {
    value.as_str().filter(|text| !text.is_empty()).unwrap_or(otherwise)
}

fn count(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

fn size(value: &Value) -> usize {
    value.as_object().map_or_else(|| value.as_array().map_or(0, Vec::len), serde_json::Map::len)
}

/// Texts at the same field of every item, joined by commas.
fn joined(items: &Value, field: &str) -> String {
    let items = items.as_array().into_iter().flatten();
    items.filter_map(|item| item[field].as_str()).collect::<Vec<_>>().join(",")
}

/// A label selector or a plain map of labels in text form.
fn selector(value: &Value) -> String {
    let labels = value.get("matchLabels").unwrap_or(value);
    let equal =
        labels.as_object().into_iter().flatten().filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)));
    let expressions = value.get("matchExpressions").and_then(Value::as_array).into_iter().flatten().map(|expression| {
        let key = text(&expression["key"], "");
        let values = expression["values"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(",");
        match text(&expression["operator"], "") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        }
    });
    let all: Vec<String> = equal.chain(expressions).collect();
    if all.is_empty() { "<none>".to_owned() } else { all.join(",") }
}

/// Containers, images and selector of something with a pod template.
fn wide(template: &Value, labels: &Value) -> [Value; 3] {
    let containers = &template["spec"]["containers"];
    [joined(containers, "name").into(), joined(containers, "image").into(), selector(labels).into()]
}

pub(super) fn plain(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), created(object, now)]
}

pub(super) fn config_map(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), (size(&object["data"]) + size(&object["binaryData"])).into(), created(object, now)]
}

pub(super) fn secret(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), text(&object["type"], "").into(), size(&object["data"]).into(), created(object, now)]
}

pub(super) fn namespace(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), text(&object["status"]["phase"], "").into(), created(object, now)]
}

pub(super) fn lease(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), text(&object["spec"]["holderIdentity"], "").into(), created(object, now)]
}

pub(super) fn event(object: &Value, now: Timestamp) -> Vec<Value> {
    let first = [&object["firstTimestamp"], &object["eventTime"]]
        .into_iter()
        .find(|time| time.is_string())
        .unwrap_or(&Value::Null);
    let series = &object["series"];
    let last = [&series["lastObservedTime"], &object["lastTimestamp"], first]
        .into_iter()
        .find(|time| time.is_string())
        .unwrap_or(&Value::Null);
    let times = [&series["count"], &object["count"]].into_iter().map(count).find(|&count| count > 0).unwrap_or(1);
    let component = text(&object["source"]["component"], text(&object["reportingComponent"], ""));
    let instance = text(&object["source"]["host"], text(&object["reportingInstance"], ""));
    let source = if instance.is_empty() { component.to_owned() } else { format!("{component}, {instance}") };
    let about = &object["involvedObject"];
    let target = match text(&about["name"], "") {
        "" => text(&about["kind"], "").to_lowercase(),
        name => format!("{}/{name}", text(&about["kind"], "").to_lowercase()),
    };
    vec![
        age::human(last, now).into(),
        text(&object["type"], "").into(),
        text(&object["reason"], "").into(),
        target.into(),
        text(&about["fieldPath"], "").into(),
        source.into(),
        text(&object["message"], "").trim().into(),
        age::human(first, now).into(),
        times.into(),
        name(object),
    ]
}

/// The events.k8s.io form of the same rows.
pub(super) fn new_event(object: &Value, now: Timestamp) -> Vec<Value> {
    let core = json!({
        "metadata": object["metadata"], "eventTime": object["eventTime"], "series": object["series"], "type": object["type"], "reason": object["reason"],
        "message": object["note"], "involvedObject": object["regarding"], "reportingComponent": object["reportingController"],
        "reportingInstance": object["reportingInstance"], "source": object["deprecatedSource"], "count": object["deprecatedCount"],
        "firstTimestamp": object["deprecatedFirstTimestamp"], "lastTimestamp": object["deprecatedLastTimestamp"],
    });
    event(&core, now)
}

pub(super) fn pod(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let containers = status["containerStatuses"].as_array().map_or(&[][..], Vec::as_slice);
    let ready = containers
        .iter()
        .filter(|container| container["ready"] == true && container["state"].get("running").is_some())
        .count();
    let restarts: i64 = containers.iter().map(|container| count(&container["restartCount"])).sum();
    let mut reason = text(&status["reason"], text(&status["phase"], "Unknown")).to_owned();
    for container in containers {
        let state = &container["state"];
        if let Some(waiting) = state["waiting"]["reason"].as_str() {
            reason = waiting.to_owned();
        } else if let Some(terminated) = state.get("terminated") {
            reason = text(&terminated["reason"], "Error").to_owned();
        }
    }
    if object["metadata"].get("deletionTimestamp").is_some_and(Value::is_string) {
        reason = "Terminating".to_owned();
    }
    vec![
        name(object),
        format!("{ready}/{}", size(&spec["containers"])).into(),
        reason.into(),
        restarts.to_string().into(),
        created(object, now),
        text(&status["podIP"], "<none>").into(),
        text(&spec["nodeName"], "<none>").into(),
        text(&status["nominatedNodeName"], "<none>").into(),
        "<none>".into(),
    ]
}

pub(super) fn service(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    let ports = spec["ports"].as_array().into_iter().flatten().map(|port| {
        let (number, protocol) = (count(&port["port"]), text(&port["protocol"], "TCP"));
        match count(&port["nodePort"]) {
            0 => format!("{number}/{protocol}"),
            node => format!("{number}:{node}/{protocol}"),
        }
    });
    let ports = ports.collect::<Vec<_>>().join(",");
    let external: Vec<&str> = spec["externalIPs"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let balanced = object["status"]["loadBalancer"]["ingress"].as_array().into_iter().flatten();
    let balanced: Vec<&str> =
        balanced.filter_map(|point| point["ip"].as_str().or_else(|| point["hostname"].as_str())).collect();
    let external = match (text(&spec["type"], "ClusterIP"), external.is_empty(), balanced.is_empty()) {
        ("ExternalName", ..) => text(&spec["externalName"], "<none>").to_owned(),
        ("LoadBalancer", true, true) => "<pending>".to_owned(),
        ("LoadBalancer", ..) => [balanced, external].concat().join(","),
        (_, true, _) => "<none>".to_owned(),
        _ => external.join(","),
    };
    vec![
        name(object),
        text(&spec["type"], "").into(),
        text(&spec["clusterIP"], "<none>").into(),
        external.into(),
        text(&ports.into(), "<none>").into(),
        created(object, now),
        selector(&spec["selector"]).into(),
    ]
}

pub(super) fn claim(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let phase =
        if object["metadata"].get("deletionTimestamp").is_some() { "Terminating" } else { text(&status["phase"], "") };
    let short = |mode: &Value| match mode.as_str() {
        Some("ReadWriteOnce") => "RWO",
        Some("ReadOnlyMany") => "ROX",
        Some("ReadWriteMany") => "RWX",
        _ => "RWOP",
    };
    let modes = status["accessModes"].as_array().into_iter().flatten().map(short).collect::<Vec<_>>().join(",");
    vec![
        name(object),
        phase.into(),
        text(&spec["volumeName"], "").into(),
        text(&status["capacity"]["storage"], "").into(),
        modes.into(),
        text(&spec["storageClassName"], "").into(),
        text(&spec["volumeAttributesClassName"], "<unset>").into(),
        created(object, now),
        text(&spec["volumeMode"], "<unset>").into(),
    ]
}

pub(super) fn deployment(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let mut cells = vec![
        name(object),
        format!("{}/{}", count(&status["readyReplicas"]), count(&spec["replicas"])).into(),
        count(&status["updatedReplicas"]).into(),
        count(&status["availableReplicas"]).into(),
        created(object, now),
    ];
    cells.extend(wide(&spec["template"], &spec["selector"]));
    cells
}

pub(super) fn replica_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let numbers = [&spec["replicas"], &status["replicas"], &status["readyReplicas"]];
    let mut cells = vec![name(object)];
    cells.extend(numbers.map(|number| count(number).into()));
    cells.push(created(object, now));
    cells.extend(wide(&spec["template"], &spec["selector"]));
    cells
}

pub(super) fn stateful_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let ready = format!("{}/{}", count(&status["readyReplicas"]), count(&spec["replicas"]));
    let [containers, images, _] = wide(&spec["template"], &Value::Null);
    vec![name(object), ready.into(), created(object, now), containers, images]
}

pub(super) fn daemon_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let numbers = [
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    ];
    let mut cells = vec![name(object)];
    cells.extend(numbers.map(|number| count(&status[number]).into()));
    cells.push(selector(&spec["template"]["spec"]["nodeSelector"]).into());
    cells.push(created(object, now));
    cells.extend(wide(&spec["template"], &spec["selector"]));
    cells
}

fn has_condition(status: &Value, kind: &str) -> bool {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == kind && condition["status"] == "True")
}

pub(super) fn job(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let state = ["Complete", "Failed"].into_iter().find(|kind| has_condition(status, kind));
    let state = state.unwrap_or(match () {
        () if object["metadata"].get("deletionTimestamp").is_some() => "Terminating",
        () => ["Suspended", "FailureTarget", "SuccessCriteriaMet"]
            .into_iter()
            .find(|kind| has_condition(status, kind))
            .unwrap_or("Running"),
    });
    let (succeeded, parallelism) = (count(&status["succeeded"]), count(&spec["parallelism"]));
    let completions = match spec["completions"].as_i64() {
        Some(wanted) => format!("{succeeded}/{wanted}"),
        None if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        None => format!("{succeeded}/1"),
    };
    let time = |field: &str| status[field].as_str().and_then(|time| time.parse::<Timestamp>().ok());
    let duration = time("startTime").map_or_else(String::new, |start| {
        age::duration(time("completionTime").unwrap_or(now).as_second() - start.as_second())
    });
    let mut cells = vec![name(object), state.into(), completions.into(), duration.into(), created(object, now)];
    cells.extend(wide(&spec["template"], &spec["selector"]));
    cells
}

pub(super) fn cron_job(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let last = match &status["lastScheduleTime"] {
        Value::Null => "<none>".to_owned(),
        time => age::human(time, now),
    };
    let job = &spec["jobTemplate"]["spec"];
    let mut cells = vec![
        name(object),
        text(&spec["schedule"], "").into(),
        text(&spec["timeZone"], "<none>").into(),
        if spec["suspend"] == true { "True" } else { "False" }.into(),
        size(&status["active"]).into(),
        last.into(),
        created(object, now),
    ];
    cells.extend(wide(&job["template"], &job["selector"]));
    cells
}

pub(super) fn autoscaler(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let target = &spec["scaleTargetRef"];
    let reference = format!("{}/{}", text(&target["kind"], ""), text(&target["name"], ""));
    let least = spec["minReplicas"].as_i64().map_or_else(|| "<unset>".to_owned(), |least| least.to_string());
    let targets = if size(&spec["metrics"]) == 0 { "<none>" } else { "<unknown>" };
    vec![
        name(object),
        reference.into(),
        targets.into(),
        least.into(),
        count(&spec["maxReplicas"]).into(),
        count(&status["currentReplicas"]).into(),
        created(object, now),
    ]
}

pub(super) fn ingress(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    let hosts = joined(&spec["rules"], "host");
    let addresses = object["status"]["loadBalancer"]["ingress"].as_array().into_iter().flatten();
    let addresses = addresses
        .filter_map(|point| point["ip"].as_str().or_else(|| point["hostname"].as_str()))
        .collect::<Vec<_>>()
        .join(",");
    vec![
        name(object),
        text(&spec["ingressClassName"], "<none>").into(),
        text(&hosts.into(), "*").into(),
        addresses.into(),
        if size(&spec["tls"]) > 0 { "80, 443" } else { "80" }.into(),
        created(object, now),
    ]
}

pub(super) fn role_binding(object: &Value, now: Timestamp) -> Vec<Value> {
    let role = &object["roleRef"];
    let subjects = |kind: &str| {
        let subjects = object["subjects"].as_array().into_iter().flatten().filter(|subject| subject["kind"] == kind);
        let shown = subjects.map(|subject| match kind {
            "ServiceAccount" => format!("{}/{}", text(&subject["namespace"], ""), text(&subject["name"], "")),
            _ => text(&subject["name"], "").to_owned(),
        });
        Value::from(shown.collect::<Vec<_>>().join(", "))
    };
    let role = format!("{}/{}", text(&role["kind"], ""), text(&role["name"], ""));
    vec![
        name(object),
        role.into(),
        created(object, now),
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}
