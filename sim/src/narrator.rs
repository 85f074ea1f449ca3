//! Tells a run to people: the commits that matter, in their own words, one line each.
//!
//! It reads what changed between two committed states and nothing else, so it cannot say what did not happen.

use std::collections::BTreeMap;
use std::time::Duration;

use fakes::apiserver::Commit;
use fakes::history::{Call, Event, Record};
use serde::Serialize;
use serde_json::Value;

use crate::truth::{
    CLUSTERS, FINALIZER, HELM_REPOSITORIES, INSTANCES, OCI_REPOSITORIES, RELEASES, bare_version, deleting, generation,
    has_finalizer, text,
};

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Voice {
    /// A person or the control plane.
    User,
    /// The operator.
    Operator,
    /// Flux.
    Flux,
    /// The API server, its controllers, the node.
    Cluster,
    /// A fault of the case.
    Fault,
}

/// One line of the story.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// Simulated milliseconds since the start.
    pub at_ms: u64,
    /// Who acts, by name.
    pub actor: String,
    /// What kind of actor.
    pub voice: Voice,
    /// What happened.
    pub what: String,
}

/// What a record means, line by line; most records mean nothing to people.
pub fn tell(record: &Record) -> Vec<Line> {
    let what = match &record.event {
        Event::Commit(commit) => changes(commit),
        Event::Fault { what, .. } => vec![format!("fault: {what}")],
        Event::Step { what } => vec![what.clone()],
        Event::Handled { call, request, status, reply, .. } => {
            said(call, request, *status, reply).into_iter().collect()
        }
        _ => Vec::new(),
    };
    let voice = match &record.event {
        Event::Fault { .. } => Voice::Fault,
        _ => voice(&record.actor),
    };
    let line = |what| Line { at_ms: millis(record.at), actor: record.actor.to_string(), voice, what };
    what.into_iter().map(line).collect()
}

/// What was said to the control plane. A poll without a job and a heartbeat mean nothing to people.
fn said(call: &Call, request: &[u8], status: u16, reply: &[u8]) -> Option<String> {
    let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap_or_default();
    let ids = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().map(|job| text(job, "/id").to_owned()).collect()
    };
    let what = match call.verb {
        "poll" => {
            let jobs = ids(&read(reply)["jobs"]);
            if jobs.is_empty() && status < 300 {
                return None;
            }
            format!(
                "polls the control plane and gets {}",
                if jobs.is_empty() { "nothing".into() } else { jobs.join(", ") }
            )
        }
        "ack" => format!("acknowledges job {}", call.name),
        "status" => format!("reports job {}: {}", call.name, text(&read(request), "/phase")),
        "result" => {
            let result = read(request);
            let error = text(&result, "/error");
            let error = if error.is_empty() { String::new() } else { format!(", {error}") };
            format!("posts the result of job {}: {}{error}", call.name, text(&result, "/outcome"))
        }
        "events" => {
            let batch = read(request);
            let told = batch["events"].as_array().into_iter().flatten().filter(|event| event["eventKey"].is_string());
            let told: Vec<String> = told.map(told_of).collect();
            if told.is_empty() {
                return None;
            }
            const SHOWN: usize = 4;
            let more = if told.len() > SHOWN { format!(", … ({} in all)", told.len()) } else { String::new() };
            format!("tells the control plane: {}{more}", told[..told.len().min(SHOWN)].join(", "))
        }
        "register" => "registers: the token becomes a credential".into(),
        "rotate" => "rotates its credential".into(),
        "decommission" => "says goodbye".into(),
        _ => return None,
    };
    match status {
        200..=299 => Some(what),
        0 => Some(format!("{what}: the connection broke")),
        status => Some(format!("{what}: answered {status}")),
    }
}

/// An event in two words: `files Ready=True`.
fn told_of(event: &Value) -> String {
    let condition = &event["conditions"][0];
    let snapshot = text(event, "/eventKey").starts_with("snapshot/");
    let about = text(event, "/resourceRef/name");
    match (snapshot, text(condition, "/type")) {
        (true, _) => format!("all of {about}"),
        (false, "") => format!("{} {about}", text(event, "/kind")),
        (false, type_) => format!("{about} {type_}={}", text(condition, "/status")),
    }
}

fn millis(at: Duration) -> u64 {
    u64::try_from(at.as_millis()).unwrap_or(u64::MAX)
}

fn voice(actor: &str) -> Voice {
    match actor {
        "user" | "human" | "odoo" | "vworkspace-odoo" => Voice::User,
        "source-controller" | "helm-controller" => Voice::Flux,
        actor if actor.starts_with("operator") => Voice::Operator,
        _ => Voice::Cluster,
    }
}

fn changes(commit: &Commit) -> Vec<String> {
    let name = match &commit.namespace {
        Some(namespace) => format!("{namespace}/{}", commit.name),
        None => commit.name.clone(),
    };
    let Some(after) = commit.after.as_deref() else {
        return match &*commit.resource {
            INSTANCES | RELEASES | OCI_REPOSITORIES | HELM_REPOSITORIES => {
                vec![format!("{} {name} is gone", kind(&commit.resource))]
            }
            "configmaps" if commit.name.contains("-vws-values-") => vec![format!("ConfigMap {name} is gone")],
            _ => Vec::new(),
        };
    };
    let before = commit.before.as_deref();
    match &*commit.resource {
        "namespaces" if before.is_none() => vec![namespace(&name, after)],
        "leases.coordination.k8s.io" => lease(&name, before, after).into_iter().collect(),
        "events" | "events.events.k8s.io" if before.is_none() => event(after).into_iter().collect(),
        INSTANCES => instance(&name, before, after),
        CLUSTERS => cluster(before, after),
        RELEASES => release(&name, before, after),
        OCI_REPOSITORIES | HELM_REPOSITORIES => source(kind(&commit.resource), &name, before, after),
        "configmaps" if before.is_none() && commit.name.contains("-vws-values-") => {
            vec![format!("ConfigMap {name} with generated values")]
        }
        _ => Vec::new(),
    }
}

/// The Cluster: its appearance, its phase, its mode.
fn cluster(before: Option<&Value>, after: &Value) -> Vec<String> {
    let (phase, mode) = ("/status/phase", "/spec/connectivityMode");
    let was = |pointer: &str| before.map_or("", |before| text(before, pointer));
    let mut lines = Vec::new();
    if before.is_none() {
        lines.push(format!("Cluster {} names the control plane and the token", text(after, "/metadata/name")));
    }
    if was(phase) != text(after, phase) {
        lines.push(format!("Cluster: phase {}", text(after, phase)));
    }
    if before.is_some() && was(mode) != text(after, mode) {
        lines.push(format!("Cluster: connectivity mode {}", text(after, mode)));
    }
    lines
}

fn kind(resource: &str) -> &'static str {
    match resource {
        INSTANCES => "ApplicationInstance",
        RELEASES => "HelmRelease",
        OCI_REPOSITORIES => "OCIRepository",
        HELM_REPOSITORIES => "HelmRepository",
        _ => "object",
    }
}

fn namespace(name: &str, after: &Value) -> String {
    match crate::truth::label(after, "app.vworkspace.io/managed-by") {
        Some(value) => {
            format!("Namespace {name}, opened to the operator by its label app.vworkspace.io/managed-by={value}")
        }
        None => format!("Namespace {name}"),
    }
}

fn lease(name: &str, before: Option<&Value>, after: &Value) -> Option<String> {
    let holder = |lease: &Value| text(lease, "/spec/holderIdentity").to_owned();
    let (was, is) = (before.map(holder).unwrap_or_default(), holder(after));
    match (was == is, is.is_empty()) {
        (true, _) => None,
        (false, true) => Some(format!("Lease {name} given back")),
        (false, false) if was.is_empty() => Some(format!("Lease {name} taken: {is} leads")),
        (false, false) => Some(format!("Lease {name} taken over from {was}: {is} leads")),
    }
}

fn event(after: &Value) -> Option<String> {
    let about = text(after, "/involvedObject/kind");
    let reason = text(after, "/reason");
    (about == "ApplicationInstance").then(|| format!("Event {reason}: {}", text(after, "/message")))
}

fn instance(name: &str, before: Option<&Value>, after: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    let chart =
        |object: &Value| format!("{} {}", text(object, "/spec/chart/name"), text(object, "/spec/chart/version"));
    match before {
        None => lines.push(format!("ApplicationInstance {name}: {}", chart(after))),
        Some(before) if before["spec"] != after["spec"] => {
            let wish = if chart(before) == chart(after) {
                "other values".to_owned()
            } else {
                format!("{} → {}", chart(before), chart(after))
            };
            lines.push(format!("ApplicationInstance {name}: {wish} (generation {})", generation(after)));
        }
        Some(before) => {
            if deleting(after) && !deleting(before) {
                lines.push(format!("ApplicationInstance {name}: delete"));
            }
            match (has_finalizer(before, FINALIZER), has_finalizer(after, FINALIZER)) {
                (false, true) => lines.push(format!("finalizer on {name}, before anything is created for it")),
                (true, false) => lines.push(format!("finalizer off {name}: nothing of it is left")),
                _ => {}
            }
        }
    }
    lines.extend(conditions(before, after).map(|change| format!("{name}: {change}")));
    lines
}

fn release(name: &str, before: Option<&Value>, after: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    let asks = |object: &Value| {
        let direct = text(object, "/spec/chart/spec/version");
        let by_reference = text(object, "/spec/chartRef/name");
        if direct.is_empty() { format!("chart from {by_reference}") } else { format!("chart version {direct}") }
    };
    match before {
        None => lines.push(format!("HelmRelease {name}: {}", asks(after))),
        Some(before) if before["spec"] != after["spec"] => {
            lines.push(format!("HelmRelease {name}: {} (generation {})", asks(after), generation(after)));
        }
        Some(before) if deleting(after) && !deleting(before) => lines.push(format!("HelmRelease {name}: delete")),
        _ => {}
    }
    lines.extend(conditions(before, after).map(|change| format!("HelmRelease {name}: {change}")));
    let newest = |object: &Value| {
        let entry = object.pointer("/status/history/0")?;
        let version = bare_version(text(entry, "/chartVersion"));
        Some(format!("v{} {} {version} is {}", entry["version"], text(entry, "/chartName"), text(entry, "/status")))
    };
    let now = newest(after);
    if now != before.and_then(newest)
        && let Some(now) = now
    {
        lines.push(format!("HelmRelease {name}: release {now}"));
    }
    lines
}

fn source(kind: &str, name: &str, before: Option<&Value>, after: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    let wants = || {
        let tag = text(after, "/spec/ref/tag");
        format!("{}{}{tag}", text(after, "/spec/url"), if tag.is_empty() { "" } else { ":" })
    };
    match before {
        None => lines.push(format!("{kind} {name}: {}", wants())),
        Some(before) if before["spec"] != after["spec"] => lines.push(format!("{kind} {name}: {}", wants())),
        Some(before) if deleting(after) && !deleting(before) => lines.push(format!("{kind} {name}: delete")),
        _ => {}
    }
    let artifact = |object: &Value| text(object, "/status/artifact/revision").to_owned();
    let now = artifact(after);
    if !now.is_empty() && before.is_none_or(|before| artifact(before) != now) {
        lines.push(format!("{kind} {name}: artifact {}", short(&now)));
    }
    lines.extend(conditions(before, after).map(|change| format!("{kind} {name}: {change}")));
    lines
}

/// A revision with its digest cut to twelve digits.
fn short(revision: &str) -> String {
    match revision.split_once("sha256:") {
        Some((head, digest)) => format!("{head}sha256:{}", &digest[..digest.len().min(12)]),
        None => revision.to_owned(),
    }
}

/// What a commit did to the conditions, in one sentence: those whose status or reason changed, those that went away, and
/// the message of the one that matters most.
fn conditions(before: Option<&Value>, after: &Value) -> Option<String> {
    let (old, new) = (by_type(before), by_type(Some(after)));
    let mut words = Vec::new();
    let mut message = "";
    for kind in
        new.keys().copied().filter(|kind| *kind == "Ready").chain(new.keys().copied().filter(|kind| *kind != "Ready"))
    {
        let condition = new[kind];
        let same = |before: &&Value| before["status"] == condition["status"] && before["reason"] == condition["reason"];
        // The resting state of a condition that was never otherwise says nothing.
        let resting = matches!(text(condition, "/reason"), "Active" | "Unblocked" | "Recovered" | "NoDriftDetected");
        if old.get(kind).is_some_and(same) || (resting && !old.contains_key(kind)) {
            continue;
        }
        words.push(format!("{kind}={} {}", text(condition, "/status"), text(condition, "/reason")));
        if message.is_empty() {
            message = text(condition, "/message");
        }
    }
    words.extend(old.keys().filter(|kind| !new.contains_key(*kind)).map(|kind| format!("{kind} is over")));
    let said = words.join(", ");
    match (said.is_empty(), message.is_empty()) {
        (true, _) => None,
        (false, true) => Some(said),
        (false, false) => Some(format!("{said}: {message}")),
    }
}

fn by_type(object: Option<&Value>) -> BTreeMap<&str, &Value> {
    let list = object.and_then(|object| object.pointer("/status/conditions")?.as_array());
    list.into_iter().flatten().map(|condition| (text(condition, "/type"), condition)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn said(resource: &str, before: Option<Value>, after: Option<Value>) -> Vec<String> {
        let commit = Commit {
            revision: 1,
            at: jiff::Timestamp::UNIX_EPOCH,
            actor: "user".into(),
            verb: "update",
            resource: resource.into(),
            namespace: Some("org-a".into()),
            name: "files".into(),
            before: before.map(Arc::new),
            after: after.map(Arc::new),
        };
        let event = Event::Commit(Arc::new(commit));
        let record = Record { ordinal: 1, at: Duration::ZERO, actor: "user".into(), event };
        tell(&record).into_iter().map(|line| line.what).collect()
    }

    #[test]
    fn each_change_is_said_once_and_nothing_else() {
        let old = json!({ "metadata": { "generation": 1 }, "spec": { "chart": { "name": "nextcloud", "version": "6.6.0" } },
                          "status": { "conditions": [{ "type": "Ready", "status": "True", "reason": "HelmReleaseReady" }] } });
        let mut new = old.clone();
        assert_eq!(said(INSTANCES, Some(old.clone()), Some(new.clone())), Vec::<String>::new());
        new["spec"]["chart"]["version"] = json!("7.0.0");
        new["metadata"]["generation"] = json!(2);
        assert_eq!(
            said(INSTANCES, Some(old.clone()), Some(new)),
            ["ApplicationInstance org-a/files: nextcloud 6.6.0 → nextcloud 7.0.0 (generation 2)"]
        );
        assert_eq!(said(INSTANCES, Some(old), None), ["ApplicationInstance org-a/files is gone"]);
    }

    #[test]
    fn renewing_a_lease_is_silent() {
        let lease = |holder: &str, at: &str| json!({ "spec": { "holderIdentity": holder, "renewTime": at } });
        let resource = "leases.coordination.k8s.io";
        assert!(said(resource, Some(lease("a", "1")), Some(lease("a", "2"))).is_empty());
        assert_eq!(
            said(resource, Some(lease("a", "1")), Some(lease("b", "2"))),
            ["Lease org-a/files taken over from a: b leads"]
        );
    }
}
