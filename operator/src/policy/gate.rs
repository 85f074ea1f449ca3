//! Whose object it is and whether the namespace is open (contract §4.1, §4.3).

use serde::Serialize;
use serde_json::Value;

use super::{Class, Refusal, Settings};
use crate::api::cluster::Strictness;
use crate::api::{gated, label};
use crate::cluster_api::Object;

/// Whether an inbound object concerns this operator at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Intake {
    /// Labelled as managed by the control plane.
    Managed,
    /// Not ours: no finalizer, no status, no children.
    Ignored,
}

/// By the managed-by label alone (contract §4.1, first row).
pub fn intake(object: &Object) -> Intake {
    match object.label(label::MANAGED_BY) {
        Some(label::CONTROL_PLANE | label::ODOO) => Intake::Managed,
        _ => Intake::Ignored,
    }
}

/// Refuses an object that is meant for another cluster. While the own id is unknown, any value will do.
pub fn cluster_id(object: &Object, settings: &Settings) -> Result<(), Refusal> {
    let Some(own) = settings.cluster_id.as_deref() else { return Ok(()) };
    match object.label(label::CLUSTER_ID) {
        Some(id) if id == own => Ok(()),
        Some(_) => Err(Refusal::coded(
            Class::Policy,
            "ClusterIdMismatch",
            format!("label {} names another cluster; apply this object to that one", label::CLUSTER_ID),
        )),
        None => Err(Refusal::coded(
            Class::Policy,
            "ClusterIdMismatch",
            format!("label {} is missing; set it to the id of this cluster", label::CLUSTER_ID),
        )),
    }
}

/// State of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Gate {
    /// It carries the gate label.
    Open,
    /// It does not: nothing is written there but what gives things back.
    Closed,
    /// It is being deleted: no new child; deletions go on.
    Terminating,
}

/// The gate of a namespace as read; an absent one is closed.
pub fn gate(namespace: Option<&Object>) -> Gate {
    let Some(namespace) = namespace else { return Gate::Closed };
    let labels = namespace.0.pointer("/metadata/labels").unwrap_or(&Value::Null);
    let terminating =
        namespace.deleting() || namespace.0.pointer("/status/phase").and_then(Value::as_str) == Some("Terminating");
    match (terminating, gated(labels)) {
        (true, _) => Gate::Terminating,
        (false, true) => Gate::Open,
        (false, false) => Gate::Closed,
    }
}

/// Whether new children may be made in a namespace at its Pod Security level.
pub fn pod_security(namespace: &Object, settings: &Settings) -> Result<(), Refusal> {
    let required = settings.security().pod_security.is(Strictness::Require);
    if !required || namespace.label(label::POD_SECURITY_ENFORCE) == Some("restricted") {
        return Ok(());
    }
    Err(Refusal::coded(
        Class::Policy,
        "",
        format!(
            "this cluster requires the namespace label {}=restricted for new applications",
            label::POD_SECURITY_ENFORCE
        ),
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_two_inbound_values_are_ours() {
        for (value, expect) in [
            (json!("control-plane"), Intake::Managed),
            (json!("odoo"), Intake::Managed),
            (json!("vworkspace-operator"), Intake::Ignored),
            (json!("Odoo"), Intake::Ignored),
            (json!(7), Intake::Ignored),
            (Value::Null, Intake::Ignored),
        ] {
            let object = Object(json!({"metadata": {"labels": {label::MANAGED_BY: value}}}));
            assert_eq!(intake(&object), expect, "{object:?}");
        }
    }

    #[test]
    fn the_gate_opens_by_either_label() {
        let namespace = |labels: Value, phase: &str| {
            gate(Some(&Object(json!({"metadata": {"labels": labels}, "status": {"phase": phase}}))))
        };
        assert_eq!(namespace(json!({"managed-by": "vworkspace"}), "Active"), Gate::Open);
        assert_eq!(namespace(json!({"app.vworkspace.io/managed-by": "vworkspace"}), "Active"), Gate::Open);
        assert_eq!(namespace(json!({"managed-by": "helm"}), "Active"), Gate::Closed);
        assert_eq!(namespace(json!({"managed-by": "vworkspace"}), "Terminating"), Gate::Terminating);
        assert_eq!(gate(None), Gate::Closed);
    }

    #[test]
    fn a_foreign_cluster_id_is_refused_only_once_the_own_one_is_known() {
        let object = |labels: Value| Object(json!({"metadata": {"labels": labels}}));
        let known = Settings { cluster_id: Some("c1".into()), ..Settings::default() };
        let foreign = object(json!({label::CLUSTER_ID: "c2"}));
        assert!(cluster_id(&foreign, &Settings::default()).is_ok());
        assert_eq!(cluster_id(&foreign, &known).unwrap_err().code, "ClusterIdMismatch");
        assert_eq!(cluster_id(&object(json!({})), &known).unwrap_err().code, "ClusterIdMismatch");
        assert!(cluster_id(&object(json!({label::CLUSTER_ID: "c1"})), &known).is_ok());
    }
}
