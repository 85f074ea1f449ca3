//! The `workflow` engine: one Argo Workflow from a template of the target's namespace, or of the cluster (contract §10.6).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::job::{KEPT_SECONDS, RUNNER};
use super::operation::{
    Answer, Cause, Facts, Hold, OperationEngine, Order, Question, Reading, Stage, Start, State, Step, Withdrawal,
};
use super::operation::{labels, owner};
use super::parameters::{self, WorkflowParameters};
use super::pods;
use crate::api::condition::Reason;
use crate::api::operation::{LogsRef, Progress};
use crate::api::{Open, names};
use crate::cluster_api::{Caps, Key, Kind, Object};
use crate::foreign::argo::{self, Phase};
use crate::foreign::text;
use crate::policy::secrets;

/// See [`OperationEngine`].
pub struct Workflow;

/// How long exit handlers get before the workflow is terminated, in seconds (contract §8.5).
const GRACE_SECONDS: i64 = 300;
/// Global output parameter with which a workflow says that it undid its work.
const OUTCOME: &str = "vws-outcome";
/// Beginning of global output parameters that become outputs.
const OUTPUT: &str = "vws-out-";
/// Most bytes of one output, and of all of them: outputs have 8 KiB together (contract §7.2).
const OUTPUT_BYTES: (usize, usize) = (1024, 6144);

const UNSERVED: &str = "the Argo Workflows API argoproj.io/v1alpha1 is not installed in this cluster";

impl OperationEngine for Workflow {
    fn kinds(&self, _: &Order, caps: &Caps) -> Result<Vec<Kind>, String> {
        Ok(vec![argo::workflow(caps).ok_or(UNSERVED)?])
    }

    fn child(&self, order: &Order, caps: &Caps) -> Option<Key> {
        let name = names::operation_child(&order.name, &order.uid);
        Some(Key::namespaced(&argo::workflow(caps)?, &order.namespace, &name))
    }

    fn questions(&self, stage: Stage, order: &Order, caps: &Caps, facts: &Facts) -> Vec<Question> {
        if stage == Stage::Watch {
            return vec![pods::question(order)];
        }
        let Ok(parameters) = parameters::read::<WorkflowParameters>(&order.parameters) else { return Vec::new() };
        let near = near(order, caps, &parameters.template).map(Question::Object);
        let absent = |question: &Question| matches!(facts.0.get(question), Some(Answer::Absent | Answer::Unserved));
        let far = far(caps, &parameters.template).filter(|_| near.as_ref().is_none_or(absent)).map(Question::Object);
        near.into_iter().chain(far).collect()
    }

    fn render(&self, order: &Order, caps: &Caps, facts: &Facts, _: Timestamp) -> Result<Start, Hold> {
        let key = self.child(order, caps).ok_or_else(|| Hold::wait(Reason::EngineNotInstalled, UNSERVED))?;
        let parameters = parameters::read::<WorkflowParameters>(&order.parameters)?;
        check(&parameters)?;
        let found = |key: Option<Key>| key.is_some_and(|key| facts.object(&key).is_some());
        let template = &parameters.template;
        let reference = if found(near(order, caps, template)) {
            json!({ "name": template })
        } else if found(far(caps, template)) {
            json!({ "name": template, "clusterScope": true })
        } else {
            let message = format!(
                "there is neither a WorkflowTemplate {template} in this namespace nor a ClusterWorkflowTemplate of that name"
            );
            return Err(Hold::wait(Reason::WorkflowTemplateNotFound, message));
        };
        let object = child(&key, order, &parameters, &reference);
        Ok(Start { key, before: Vec::new(), object, take: None, outputs: Map::new(), degraded: None })
    }

    fn interpret(&self, order: &Order, _: &Caps, child: &Object, facts: &Facts, _: Timestamp) -> Reading {
        let workflow = argo::Workflow::read(child);
        let (state, message, blocked) = state(&workflow);
        let mut reading = Reading::of(state, message);
        // Exit handlers and daemons outlive the phase.
        let pods = pods::of(order, facts, "Workflow", Some(child));
        reading.working = !workflow.ended() || pods::work(pods.as_deref());
        reading.blocked = blocked;
        reading.outputs = outputs(child, &workflow);
        reading.progress =
            workflow.progress.map(|(done, total)| Progress { done, total: Some(total), unit: Some("nodes".into()) });
        reading.logs = Some(LogsRef {
            kind: Some("Workflow".into()),
            name: Some(child.name().into()),
            namespace: Some(order.namespace.clone()),
            url: None,
        });
        reading
    }

    fn withdraw(
        &self,
        order: &Order,
        cause: Cause,
        child: Option<(&Key, &Object)>,
        facts: &Facts,
        asked: Timestamp,
        now: Timestamp,
    ) -> Withdrawal {
        let withdrawal = |steps, done, note: &str| Withdrawal { steps, done, note: note.into() };
        // The Workflow goes by its own time limit, or with the Operation (contract §10.1 rule 9).
        if matches!(cause, Cause::Finished | Cause::Deleted) {
            return withdrawal(Vec::new(), true, "");
        }
        let Some((key, object)) = child else {
            let work = pods::work(pods::of(order, facts, "Workflow", None).as_deref());
            return withdrawal(Vec::new(), !work, if work { "pods of the workflow are being stopped" } else { "" });
        };
        let workflow = argo::Workflow::read(object);
        if workflow.ended() {
            return withdrawal(Vec::new(), true, "");
        }
        let waiting = "the workflow is being stopped";
        if object.deleting() {
            return withdrawal(Vec::new(), false, waiting);
        }
        let Some(uid) = object.uid() else { return withdrawal(Vec::new(), false, "the workflow cannot be read") };
        let late = now.duration_since(asked).as_secs() >= GRACE_SECONDS;
        let wanted = match (workflow.shutdown.as_deref(), late) {
            (Some("Terminate"), _) | (Some("Stop"), false) => None,
            (_, true) => Some("Terminate"),
            (_, false) => Some("Stop"),
        };
        let step =
            wanted.map(|how| Step::Patch { key: key.clone(), uid, merge: json!({ "spec": { "shutdown": how } }) });
        // The last request goes out in the pass that ends the waiting, for there is none after it.
        withdrawal(step.into_iter().collect(), late, waiting)
    }
}

fn near(order: &Order, caps: &Caps, template: &str) -> Option<Key> {
    Some(Key::namespaced(&argo::workflow_template(caps)?, &order.namespace, template))
}

fn far(caps: &Caps, template: &str) -> Option<Key> {
    Some(Key::cluster(&argo::cluster_workflow_template(caps)?, template))
}

fn check(parameters: &WorkflowParameters) -> Result<(), Hold> {
    let given = &parameters.workflow_template_parameters;
    if let Some(finding) = secrets::scan("parameters.workflowTemplateParameters", &json!(given)) {
        return Err(Hold::wait(Reason::ValidationFailed, finding.text()));
    }
    let odd = |name: &String| {
        name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if given.keys().any(odd) {
        let message = "names in parameters.workflowTemplateParameters may hold only letters, digits, '-' and '_'";
        return Err(Hold::wait(Reason::ValidationFailed, message));
    }
    Ok(())
}

fn child(key: &Key, order: &Order, parameters: &WorkflowParameters, reference: &Value) -> Object {
    let mut arguments = BTreeMap::from([
        ("targetName".to_string(), order.target.name.clone()),
        ("targetNamespace".to_string(), order.namespace.clone()),
    ]);
    let tuning = [
        ("targetChartVersion", &parameters.target_chart_version),
        ("snapshotClassName", &parameters.snapshot_class_name),
        ("failureAction", &parameters.failure_action),
    ];
    arguments.extend(tuning.into_iter().filter_map(|(name, value)| Some((name.to_string(), value.clone()?))));
    // What is named explicitly wins.
    arguments.extend(parameters.workflow_template_parameters.clone());
    let arguments: Vec<Value> = arguments.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
    let labels = labels(order, false);
    let mut spec = json!({
        "workflowTemplateRef": reference,
        "serviceAccountName": RUNNER,
        "arguments": { "parameters": arguments },
        "ttlStrategy": { "secondsAfterCompletion": KEPT_SECONDS },
        "podMetadata": { "labels": labels },
    });
    if let Some(deadline) = [parameters.timeout_seconds, order.timeout_seconds].into_iter().flatten().min() {
        spec["activeDeadlineSeconds"] = json!(deadline);
    }
    Object(json!({
        "apiVersion": key.kind.api_version(),
        "kind": key.kind.kind,
        "metadata": {
            "name": key.name, "namespace": order.namespace, "labels": labels, "ownerReferences": [owner(order)],
        },
        "spec": spec,
    }))
}

/// The mapping table of contract §10.6.
fn state(workflow: &argo::Workflow) -> (State, String, Option<(Reason, String)>) {
    let said = |otherwise: &str| match text::stable(&workflow.message) {
        message if message.is_empty() => otherwise.to_string(),
        message => message,
    };
    let rolled_back = workflow.outputs.get(OUTCOME).is_some_and(|outcome| outcome.trim() == "rolled-back");
    let failure = || match workflow.failing() {
        Some(node) => text::quote(&text::stable(&node.name), &node.message),
        None => said("the workflow failed"),
    };
    let (state, message) = match &workflow.phase {
        None | Some(Open::Known(Phase::Pending)) => (State::Waiting, said("the workflow waits for its turn")),
        Some(Open::Known(Phase::Running)) if workflow.suspended || workflow.waits_at().is_some() => {
            let at = workflow.waits_at().map(|node| format!(" at {}", text::stable(&node.name))).unwrap_or_default();
            let message = format!("the workflow is suspended{at}; resume it when it may go on");
            let blocked = Some((Reason::AwaitingResume, message.clone()));
            return (State::Running(Reason::WorkflowSuspended), message, blocked);
        }
        Some(Open::Known(Phase::Running)) => {
            let active = workflow.active().map(|node| format!("step {} runs", text::stable(&node.name)));
            (State::Running(Reason::WorkflowInProgress), active.unwrap_or_else(|| said("the workflow runs")))
        }
        Some(Open::Known(Phase::Succeeded | Phase::Failed)) if rolled_back => {
            let message = match workflow.failing() {
                Some(_) => format!("the workflow undid its work after a failure: {}", failure()),
                None => "the workflow undid its work".into(),
            };
            (State::Failed(Reason::RolledBack), message)
        }
        Some(Open::Known(Phase::Succeeded)) => {
            (State::Succeeded(Reason::EngineCompleted, Reason::WorkflowSucceeded), "the workflow ended well".into())
        }
        Some(Open::Known(Phase::Failed)) => (State::Failed(Reason::WorkflowFailed), failure()),
        Some(Open::Known(Phase::Error)) => {
            let message = if workflow.message.is_empty() { failure() } else { said("") };
            (State::Failed(Reason::WorkflowError), message)
        }
        Some(Open::Other(phase)) => {
            let phase = text::cut(&text::stable(phase), 63);
            (
                State::Running(Reason::WorkflowInProgress),
                format!("the workflow is in phase {phase}, which is not known here"),
            )
        }
    };
    (state, message, None)
}

fn outputs(child: &Object, workflow: &argo::Workflow) -> Map<String, Value> {
    let mut outputs = Map::new();
    outputs.insert("workflowName".into(), child.name().into());
    outputs.extend(child.uid().map(|uid| ("runId".to_string(), Value::String(uid.0))));
    let mut room = OUTPUT_BYTES.1;
    for (name, value) in workflow.outputs.iter().filter(|(name, _)| name.starts_with(OUTPUT)) {
        let value = text::cut(&text::redacted(value), OUTPUT_BYTES.0);
        let Some(rest) = room.checked_sub(name.len() + value.len()) else { break };
        room = rest;
        outputs.insert(name.clone(), value.into());
    }
    outputs
}

#[cfg(test)]
mod tests;
