//! Pods and the Events about them, as far as real work is judged by them (contract §8.5, last column; §10.7).

use jiff::Timestamp;
use serde_json::Value;

use super::{Truth, conditions, find, string, text};
use crate::cluster_api::{Kind, Object};

/// `v1 Pod`.
pub fn pod() -> Kind {
    Kind::namespaced("", "v1", "Pod", "pods")
}

/// `v1 Event`.
pub fn event() -> Kind {
    Kind::namespaced("", "v1", "Event", "events")
}

/// `v1 ServiceAccount`.
pub fn service_account() -> Kind {
    Kind::namespaced("", "v1", "ServiceAccount", "serviceaccounts")
}

/// Who controls an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    /// `kind`.
    pub kind: String,
    /// `name`.
    pub name: String,
    /// `uid`.
    pub uid: String,
}

/// What we read of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.creationTimestamp` as written; orders pods of one Job.
    pub created: String,
    /// The controller, if there is one.
    pub controller: Option<Controller>,
    /// Whether it can still run a container. One that only waits for a finalizer cannot.
    pub works: bool,
    /// Exit code of the first container that ended with another code than 0.
    pub exit_code: Option<i64>,
    /// Why it does not run yet, in words that stay the same from one retry to the next.
    pub waits: Option<&'static str>,
}

impl Pod {
    /// Reads whatever there is. A pod that says nothing may run.
    pub fn read(object: &Object) -> Self {
        Self {
            name: object.name().into(),
            created: string(object, "/metadata/creationTimestamp").unwrap_or_default(),
            controller: controller(object),
            works: works(object),
            exit_code: terminated(object).filter_map(|state| state.get("exitCode")?.as_i64()).find(|code| *code != 0),
            waits: waits(object),
        }
    }
}

/// `metadata.ownerReferences` with `controller: true`.
pub fn controller(object: &Object) -> Option<Controller> {
    let list = object.0.pointer("/metadata/ownerReferences").and_then(Value::as_array)?;
    let owner = list.iter().find(|owner| owner.get("controller") == Some(&Value::Bool(true)))?;
    let text = |field: &str| owner.get(field).and_then(Value::as_str).unwrap_or_default().to_string();
    Some(Controller { kind: text("kind"), name: text("name"), uid: text("uid") })
}

fn phase(object: &Object) -> &str {
    object.0.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(object: &'a Object, pointer: &str) -> &'a [Value] {
    object.0.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn statuses(object: &Object) -> impl Iterator<Item = &Value> {
    ["/status/initContainerStatuses", "/status/containerStatuses", "/status/ephemeralContainerStatuses"]
        .into_iter()
        .flat_map(|pointer| list(object, pointer))
}

fn terminated(object: &Object) -> impl Iterator<Item = &Value> {
    statuses(object).filter_map(|status| status.pointer("/state/terminated")).filter(|state| state.is_object())
}

fn works(object: &Object) -> bool {
    if matches!(phase(object), "Succeeded" | "Failed") {
        return false;
    }
    let told = list(object, "/status/containerStatuses").len();
    let all = told > 0 && told >= list(object, "/spec/containers").len();
    !(all && statuses(object).all(|status| status.pointer("/state/terminated").is_some_and(Value::is_object)))
}

fn waits(object: &Object) -> Option<&'static str> {
    if !matches!(phase(object), "Pending" | "") {
        return None;
    }
    let reason = statuses(object).find_map(|status| status.pointer("/state/waiting/reason")?.as_str());
    match reason {
        // The two alternate with every attempt: one text for both.
        Some("ErrImagePull" | "ImagePullBackOff" | "RegistryUnavailable") => Some("the image cannot be pulled"),
        Some("InvalidImageName" | "ErrImageNeverPull") => Some("the image cannot be used"),
        Some("CreateContainerConfigError" | "CreateContainerError" | "RunContainerError") => {
            Some("the container cannot be created")
        }
        _ => find(&conditions(object), "PodScheduled")
            .is_some_and(|scheduled| scheduled.is(Truth::False))
            .then_some("no node can take the pod"),
    }
}

/// The newest Warning about the object of this uid, quoted.
pub fn newest_warning(events: &[Object], uid: &str) -> Option<String> {
    let about = |event: &&Object| {
        event.0.get("type").and_then(Value::as_str) == Some("Warning")
            && event.0.pointer("/involvedObject/uid").and_then(Value::as_str) == Some(uid)
    };
    let newest = events.iter().filter(about).max_by_key(|event| (last(event), event.name().to_string()))?;
    let words = |field: &str| newest.0.get(field).and_then(Value::as_str).unwrap_or_default();
    Some(text::quote(words("reason"), words("message"))).filter(|quoted| !quoted.is_empty())
}

fn last(event: &Object) -> Option<Timestamp> {
    ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"]
        .iter()
        .filter_map(|pointer| event.0.pointer(pointer)?.as_str()?.parse().ok())
        .max()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(status: Value) -> Pod {
        Pod::read(&Object(json!({"metadata": {"name": "p"}, "spec": {"containers": [{}, {}]}, "status": status})))
    }

    #[test]
    fn work_ends_with_the_phase_or_with_the_last_container() {
        let over = |code: i64| json!({"state": {"terminated": {"exitCode": code}}});
        let runs = json!({"state": {"running": {}}});
        for (status, works, exit_code) in [
            (json!(null), true, None),
            (json!({"phase": "Pending"}), true, None),
            (json!({"phase": "Running", "containerStatuses": [runs, runs]}), true, None),
            (json!({"phase": "Running", "containerStatuses": [over(0), runs]}), true, None),
            (json!({"phase": "Running", "containerStatuses": [over(3)]}), true, Some(3)),
            (json!({"phase": "Running", "containerStatuses": [over(0), over(137)]}), false, Some(137)),
            (
                json!({"phase": "Running", "containerStatuses": [over(0), over(0)], "initContainerStatuses": [runs]}),
                true,
                None,
            ),
            (json!({"phase": "Succeeded"}), false, None),
            (json!({"phase": "Failed", "containerStatuses": [over(1), runs]}), false, Some(1)),
            (json!({"phase": "Unknown"}), true, None),
            (json!({"phase": 7, "containerStatuses": {"a": 1}}), true, None),
            (json!({"phase": "Running", "containerStatuses": [{"state": {"terminated": 7}}, 3]}), true, None),
        ] {
            let pod = read(status.clone());
            assert_eq!((pod.works, pod.exit_code), (works, exit_code), "{status}");
        }
    }

    #[test]
    fn a_pod_that_waits_says_the_same_in_every_attempt() {
        let waiting = |reason: &str| {
            read(json!({"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": reason}}}]})).waits
        };
        assert_eq!(waiting("ErrImagePull"), waiting("ImagePullBackOff"));
        assert_eq!(waiting("ContainerCreating"), None);
        let unschedulable = json!({"conditions": [{"type": "PodScheduled", "status": "False"}]});
        assert_eq!(read(unschedulable).waits, Some("no node can take the pod"));
        assert_eq!(read(json!({"phase": "Running"})).waits, None);
    }

    #[test]
    fn the_newest_warning_about_this_object_is_quoted() {
        let event = |name: &str, type_: &str, uid: &str, at: &str| {
            Object(json!({
                "metadata": {"name": name}, "type": type_, "reason": "FailedCreate", "message": name,
                "involvedObject": {"uid": uid}, "lastTimestamp": at,
            }))
        };
        let events = [
            event("old", "Warning", "u", "2026-01-01T00:00:00Z"),
            event("new", "Warning", "u", "2026-01-01T00:01:00Z"),
            event("fine", "Normal", "u", "2026-01-01T00:02:00Z"),
            event("other", "Warning", "v", "2026-01-01T00:03:00Z"),
            event("when", "Warning", "u", "yesterday"),
            Object(json!(7)),
        ];
        assert_eq!(newest_warning(&events, "u").as_deref(), Some("FailedCreate: new"));
        assert_eq!(newest_warning(&events, "w"), None);
    }
}
