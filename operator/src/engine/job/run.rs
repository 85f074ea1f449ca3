//! How a `batch/v1` Job is watched and stopped, for both engines that make one (contract §8.5, §10.7, §10.8).

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::condition::Reason;
use crate::api::names;
use crate::api::operation::{LogsRef, OperationType};
use crate::cluster_api::{Caps, Key, Kind, Object, Preconditions, Propagation, Scope};
use crate::engine::operation::{Answer, Cause, Facts, Order, Question, Reading, State, Step, Withdrawal};
use crate::engine::pods;
use crate::foreign::job::{Job, Verdict};
use crate::foreign::pod::{Pod, event, newest_warning};

/// The reasons of one engine.
pub(in crate::engine) struct Words {
    pub(in crate::engine) active: Reason,
    pub(in crate::engine) succeeded: Reason,
    pub(in crate::engine) failed: Reason,
    pub(in crate::engine) late: Reason,
}

/// How long a Job may be without a pod before it is asked why, in seconds (contract §10.7).
const PODLESS_SECONDS: i64 = 120;

/// Pods, and where there are none, the Warnings that say why.
pub(in crate::engine) fn questions(order: &Order, facts: &Facts) -> Vec<Question> {
    let pods = pods::question(order);
    match facts.0.get(&pods) {
        Some(Answer::List(found)) if found.is_empty() => vec![pods, warnings(order)],
        _ => vec![pods],
    }
}

fn warnings(order: &Order) -> Question {
    let name = names::operation_child(&order.name, &order.uid);
    let fields = format!("involvedObject.kind=Job,involvedObject.name={name},type=Warning");
    Question::List(event(), Scope { fields, ..Scope::namespace(&order.namespace) })
}

/// The mapping tables of contract §10.7 and §10.8.
pub(in crate::engine) fn interpret(
    order: &Order,
    child: &Object,
    facts: &Facts,
    now: Timestamp,
    words: &Words,
) -> Reading {
    let job = Job::read(child);
    let pods = pods::of(order, facts, "Job", Some(child));
    let newest = pods.as_ref().and_then(|pods| pods.last());
    let (state, message) = match &job.verdict {
        Verdict::Idle => (State::Waiting, idle(order, &job, child, pods.as_deref(), facts, now)),
        Verdict::Active => (State::Running(words.active), active(order, &job, newest)),
        Verdict::Retrying => (State::Running(words.active), "a pod failed; the Job tries again".into()),
        Verdict::Contradictory => {
            (State::Running(words.active), "the Job says that it is complete and that it failed".into())
        }
        Verdict::Complete => (State::Succeeded(Reason::EngineCompleted, words.succeeded), "the Job is complete".into()),
        Verdict::Failed { deadline, message } => {
            let reason = if *deadline { words.late } else { words.failed };
            let code = pods.iter().flatten().rev().find_map(|pod| pod.exit_code);
            let code = code.map(|code| format!("; the container ended with exit code {code}"));
            (State::Failed(reason), format!("{message}{}", code.unwrap_or_default()))
        }
    };
    let mut reading = Reading::of(state, message);
    // A Job that is held back or being deleted makes no new pod.
    reading.working = pods::work(pods.as_deref()) || !(job.ended() || job.suspended || job.deleting);
    reading.logs = newest.map(|pod| LogsRef {
        kind: Some("Pod".into()),
        name: Some(pod.name.clone()),
        namespace: Some(order.namespace.clone()),
        url: None,
    });
    reading.outputs.insert("jobName".into(), child.name().into());
    reading
}

fn active(order: &Order, job: &Job, newest: Option<&Pod>) -> String {
    let mut text = match newest.and_then(|pod| pod.waits) {
        Some(waits) => format!("the pod waits: {waits}"),
        None => "the pod runs".into(),
    };
    if order.type_ == OperationType::Migration && !job.once {
        text.push_str("; this cluster cannot rule out that a disruption starts it a second time");
    }
    text
}

fn idle(order: &Order, job: &Job, child: &Object, pods: Option<&[Pod]>, facts: &Facts, now: Timestamp) -> String {
    if job.suspended {
        return "the Job is suspended".into();
    }
    let podless = pods.is_some_and(<[Pod]>::is_empty)
        && job.since.is_some_and(|since| now.duration_since(since).as_secs() >= PODLESS_SECONDS);
    let warning = match (podless, facts.0.get(&warnings(order)), child.uid()) {
        (true, Some(Answer::List(events)), Some(uid)) => newest_warning(events, &uid.0),
        _ => None,
    };
    match warning {
        Some(warning) => format!("the Job has no pod: {}", nameless(&warning, child.name())),
        None => "the Job waits for its pod".into(),
    }
}

/// Every attempt to create a pod names another pod: the name of the Job stands for all of them.
fn nameless(text: &str, job: &str) -> String {
    let before = format!("{job}-");
    let mut parts = text.split(&before);
    let mut plain: String = parts.next().unwrap_or_default().into();
    for part in parts {
        plain.push_str(job);
        let suffix = part.bytes().take(5).take_while(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()).count();
        if suffix == 5 {
            plain.push_str(&part[suffix..]);
        } else {
            plain.push('-');
            plain.push_str(part);
        }
    }
    plain
}

/// Cancelled work is deleted with its pods; what took too long is held back and stays as evidence.
pub(in crate::engine) fn withdraw(
    order: &Order,
    cause: Cause,
    child: Option<(&Key, &Object)>,
    facts: &Facts,
) -> Withdrawal {
    let work = pods::work(pods::of(order, facts, "Job", child.map(|(_, object)| object)).as_deref());
    let withdrawal = |steps, done, note: &str| Withdrawal { steps, done, note: note.into() };
    // The Job goes by its own time limit, or with the Operation (contract §10.1 rule 9).
    if matches!(cause, Cause::Finished | Cause::Deleted) {
        return withdrawal(Vec::new(), true, "");
    }
    let waiting = "its pod is being stopped";
    let Some((key, object)) = child else {
        return withdrawal(Vec::new(), !work, if work { waiting } else { "" });
    };
    let job = Job::read(object);
    if job.ended() {
        return withdrawal(Vec::new(), true, "");
    }
    let held = job.suspended && cause == Cause::Timeout;
    if held || job.deleting {
        let done = !work && (held || cause == Cause::Timeout);
        return withdrawal(Vec::new(), done, if done { "" } else { waiting });
    }
    let Some(uid) = object.uid() else { return withdrawal(Vec::new(), false, "the Job cannot be read") };
    let step = match cause {
        // Without a policy the server would leave the pods running.
        Cause::Cancelled => Step::Delete {
            key: key.clone(),
            only_if: Preconditions { uid: Some(uid), version: None },
            how: Propagation::Background,
        },
        _ => Step::Patch { key: key.clone(), uid, merge: json!({ "spec": { "suspend": true } }) },
    };
    withdrawal(vec![step], false, waiting)
}

/// The part of a Job that keeps a migration from running twice, where the server knows it (contract §10.7).
pub(in crate::engine) fn at_most_once(spec: &mut Value, kind: &Kind, caps: &Caps) {
    // A policy needs pods that are never restarted in place.
    if caps.declares(kind, "spec.podFailurePolicy") && spec["template"]["spec"]["restartPolicy"] == "Never" {
        let disrupted = json!({ "type": "DisruptionTarget", "status": "True" });
        spec["podFailurePolicy"] = json!({ "rules": [{ "action": "FailJob", "onPodConditions": [disrupted] }] });
    }
    if caps.declares(kind, "spec.podReplacementPolicy") {
        spec["podReplacementPolicy"] = json!("Failed");
    }
}

#[cfg(test)]
mod tests {
    use super::nameless;

    #[test]
    fn only_generated_endings_are_cut_off() {
        for (text, expect) in [
            ("pods \"n-8f1-ab2de\" is forbidden", "pods \"n-8f1\" is forbidden"),
            ("n-8f1-ab2de and n-8f1-zzzzz", "n-8f1 and n-8f1"),
            ("claim n-8f1-Data is missing", "claim n-8f1-Data is missing"),
            ("n-8f1-", "n-8f1-"),
            ("n-8f1-üü", "n-8f1-üü"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(nameless(text, "n-8f1"), expect);
        }
    }
}
