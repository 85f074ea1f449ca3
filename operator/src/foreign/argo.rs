//! Argo Workflows (downstream §9).
//!
//! The verdict is the workflow's phase, never a node's: an exit handler that fails turns a good end into a bad one. Nodes may
//! be compressed or kept elsewhere, so they only ever add words.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{packed, string};
use crate::api::Open;
use crate::cluster_api::{Caps, Kind, Object};

const GROUP: &str = "argoproj.io";

fn kind(caps: &Caps, kind: &str, plural: &str) -> Option<Kind> {
    let version = caps.served(GROUP, plural, &["v1alpha1"])?;
    Some(Kind::namespaced(GROUP, version, kind, plural))
}

/// Workflow. The group proves nothing: Argo CD shares it.
pub fn workflow(caps: &Caps) -> Option<Kind> {
    kind(caps, "Workflow", "workflows")
}

/// WorkflowTemplate.
pub fn workflow_template(caps: &Caps) -> Option<Kind> {
    kind(caps, "WorkflowTemplate", "workflowtemplates")
}

/// ClusterWorkflowTemplate.
pub fn cluster_workflow_template(caps: &Caps) -> Option<Kind> {
    kind(caps, "ClusterWorkflowTemplate", "clusterworkflowtemplates").map(|kind| Kind { namespaced: false, ..kind })
}

/// `status.phase`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It waits for its turn.
    Pending,
    /// It works, or waits for a human.
    Running,
    /// It ended well.
    Succeeded,
    /// A step failed, or it was stopped.
    Failed,
    /// The controller could not run it.
    Error,
}

/// One node: a step, or a group of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Name as Argo shows it.
    pub name: String,
    /// `Pod`, `Suspend`, `Steps`, …
    pub type_: String,
    /// Phase, as written.
    pub phase: String,
    /// Message, as written.
    pub message: String,
    /// When it began, as written.
    pub started: String,
    /// When it ended, as written.
    pub finished: String,
}

impl Node {
    /// Whether it does something itself.
    fn leaf(&self) -> bool {
        matches!(self.type_.as_str(), "Pod" | "Container" | "HTTP" | "Plugin" | "Suspend")
    }
}

/// What we read of a Workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workflow {
    /// Phase; `None` before the controller saw it.
    pub phase: Option<Open<Phase>>,
    /// `status.message`, as written.
    pub message: String,
    /// All nodes that can be read, by their begin.
    pub nodes: Vec<Node>,
    /// `spec.suspend`.
    pub suspended: bool,
    /// `spec.shutdown`, as written.
    pub shutdown: Option<String>,
    /// Global output parameters.
    pub outputs: BTreeMap<String, String>,
    /// Nodes done, and all of them.
    pub progress: Option<(i64, i64)>,
}

impl Workflow {
    /// Reads whatever there is.
    pub fn read(object: &Object) -> Self {
        Self {
            phase: phase(&string(object, "/status/phase").unwrap_or_default()),
            message: string(object, "/status/message").unwrap_or_default(),
            nodes: nodes(object),
            suspended: object.0.pointer("/spec/suspend") == Some(&Value::Bool(true)),
            shutdown: string(object, "/spec/shutdown").filter(|how| !how.is_empty()),
            outputs: outputs(object),
            progress: string(object, "/status/progress").and_then(|text| {
                let (done, total) = text.split_once('/')?;
                Some((done.parse().ok()?, total.parse().ok()?))
            }),
        }
    }

    /// Whether the phase is a last one.
    pub fn ended(&self) -> bool {
        matches!(self.phase, Some(Open::Known(Phase::Succeeded | Phase::Failed | Phase::Error)))
    }

    /// The running Suspend node, if it waits at one.
    pub fn waits_at(&self) -> Option<&Node> {
        self.nodes.iter().find(|node| node.type_ == "Suspend" && node.phase == "Running")
    }

    /// The step that runs; the first if there are several.
    pub fn active(&self) -> Option<&Node> {
        self.nodes.iter().find(|node| node.leaf() && node.phase == "Running")
    }

    /// The step that failed first, or the group if no step did.
    pub fn failing(&self) -> Option<&Node> {
        let failed = |node: &&Node| matches!(node.phase.as_str(), "Failed" | "Error");
        self.nodes.iter().filter(failed).min_by_key(|node| (!node.leaf(), &node.finished, &node.name))
    }
}

fn phase(word: &str) -> Option<Open<Phase>> {
    Some(match word {
        "" => return None,
        "Pending" => Phase::Pending.into(),
        "Running" => Phase::Running.into(),
        "Succeeded" => Phase::Succeeded.into(),
        "Failed" => Phase::Failed.into(),
        "Error" => Phase::Error.into(),
        other => Open::Other(other.into()),
    })
}

fn nodes(object: &Object) -> Vec<Node> {
    let read = |node: &Value| {
        let text = |field: &str| node.get(field).and_then(Value::as_str).unwrap_or_default().to_string();
        let name = Some(text("displayName")).filter(|name| !name.is_empty()).unwrap_or_else(|| text("name"));
        Node {
            name,
            type_: text("type"),
            phase: text("phase"),
            message: text("message"),
            started: text("startedAt"),
            finished: text("finishedAt"),
        }
    };
    let mut nodes: Vec<Node> = match object.0.pointer("/status/nodes").and_then(Value::as_object) {
        Some(nodes) if !nodes.is_empty() => nodes.values().map(read).collect(),
        _ => {
            let compressed = string(object, "/status/compressedNodes").unwrap_or_default();
            let unpacked = packed::base64(compressed.as_bytes())
                .and_then(|bytes| packed::json::<BTreeMap<String, Value>>(&bytes))
                .unwrap_or_default();
            unpacked.values().map(read).collect()
        }
    };
    nodes.sort_by(|one, other| (&one.started, &one.name).cmp(&(&other.started, &other.name)));
    nodes
}

fn outputs(object: &Object) -> BTreeMap<String, String> {
    let list = object.0.pointer("/status/outputs/parameters").and_then(Value::as_array);
    let one = |parameter: &Value| {
        let name = parameter.get("name")?.as_str()?.to_string();
        let value = match parameter.get("value")? {
            Value::String(text) => text.clone(),
            other @ (Value::Number(_) | Value::Bool(_)) => other.to_string(),
            _ => return None,
        };
        Some((name, value))
    };
    list.into_iter().flatten().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn nodes_are_read_packed_or_not_and_are_never_needed() {
        let nodes = json!({
            "w": {"displayName": "w", "type": "Steps", "phase": "Failed", "message": "child 'w-2' failed", "startedAt": "1", "finishedAt": "9"},
            "w-2": {"displayName": "migrate", "type": "Pod", "phase": "Failed", "message": "exit code 3", "startedAt": "3", "finishedAt": "8"},
            "w-1": {"displayName": "dump", "type": "Pod", "phase": "Error", "message": "pod deleted", "startedAt": "2", "finishedAt": "7"},
            "odd": 7,
        });
        let packed = base64::engine::general_purpose::STANDARD.encode(packed::gzip(nodes.to_string().as_bytes()));
        for status in [json!({"nodes": nodes}), json!({"nodes": {}, "compressedNodes": packed})] {
            let workflow = Workflow::read(&Object(json!({"status": status})));
            assert_eq!(workflow.failing().map(|node| node.name.as_str()), Some("dump"));
        }
        for status in [json!({"compressedNodes": "%"}), json!({"offloadNodeStatusVersion": "x"}), json!({"nodes": [1]})]
        {
            assert_eq!(Workflow::read(&Object(json!({"status": status}))).failing(), None);
        }
    }

    #[test]
    fn an_odd_workflow_is_read_without_failing() {
        for odd in
            [json!(null), json!({"status": 3}), json!({"status": {"phase": 7, "progress": "a/b", "outputs": []}})]
        {
            let workflow = Workflow::read(&Object(odd));
            assert_eq!((workflow.phase.as_ref(), workflow.progress, workflow.ended()), (None, None, false));
        }
        let new = Workflow::read(&Object(json!({"status": {"phase": "Paused", "progress": "2/5"}})));
        assert_eq!((new.phase, new.progress), (Some(Open::Other("Paused".into())), Some((2, 5))));
    }
}
