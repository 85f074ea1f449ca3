//! Pods of an Operation: whether its real work goes on (contract §8.5, last column).

use super::operation::{Answer, Facts, Order, Question};
use crate::api::{label, names};
use crate::cluster_api::{Object, Scope};
use crate::foreign::pod::{Pod, pod};

/// All pods that carry the Operation's uid.
pub(super) fn question(order: &Order) -> Question {
    let selector = format!("{}={}", label::OPERATION, order.uid);
    Question::List(pod(), Scope::namespace(&order.namespace).labelled(&selector))
}

/// The pods that are the work of the Operation's child of this kind, oldest first; `None` if they were not read.
///
/// Other controllers copy labels onto their own pods, so the controller must be the child. A pod without one counts: a Job
/// that is deleted with its dependents orphaned leaves its pods running.
pub(super) fn of(order: &Order, facts: &Facts, kind: &str, child: Option<&Object>) -> Option<Vec<Pod>> {
    let Some(Answer::List(objects)) = facts.0.get(&question(order)) else { return None };
    let uid = child.and_then(Object::uid).map(|uid| uid.0);
    let name = names::operation_child(&order.name, &order.uid);
    let ours = |pod: &Pod| {
        pod.controller.as_ref().is_none_or(|controller| {
            controller.kind == kind && (uid.as_ref() == Some(&controller.uid) || controller.name == name)
        })
    };
    let mut pods: Vec<Pod> = objects.iter().map(Pod::read).filter(ours).collect();
    pods.sort_by(|one, other| (&one.created, &one.name).cmp(&(&other.created, &other.name)));
    Some(pods)
}

/// Whether a container of them can still run. What was not read may.
pub(super) fn work(pods: Option<&[Pod]>) -> bool {
    pods.is_none_or(|pods| pods.iter().any(|pod| pod.works))
}
