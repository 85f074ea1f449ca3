//! What the control plane last heard of every object, beside what the cluster says (contract §29.58).

use std::collections::BTreeMap;

use fakes::odoo::ObjectKey;
use serde_json::Value;

use super::{CLUSTERS, INSTANCES, OPERATIONS, Truth, text};

/// Conditions by type: status and reason. Messages may change without being told (contract §20.3).
type Said = BTreeMap<String, (String, String)>;

fn said<'a>(conditions: impl Iterator<Item = &'a Value>) -> Said {
    let field = |condition: &Value, name: &str| text(condition, name).to_owned();
    conditions
        .map(|condition| (field(condition, "/type"), (field(condition, "/status"), field(condition, "/reason"))))
        .collect()
}

/// The first object of which the control plane knows something else than the cluster says, in one sentence. Objects that
/// are gone are not compared, and neither are those without a condition: nothing was ever said of them.
pub fn differs(truth: &Truth, cluster: &str) -> Option<String> {
    let known = truth.odoo(|state| state.clusters.get(cluster).map(|row| row.view.clone())).flatten()?;
    let kinds = [("ApplicationInstance", INSTANCES), ("Operation", OPERATIONS), ("Cluster", CLUSTERS)];
    for (kind, resource) in kinds {
        for (address, object) in truth.all(resource) {
            let here = object.pointer("/status/conditions").and_then(Value::as_array);
            let here = said(here.into_iter().flatten());
            if here.is_empty() {
                continue;
            }
            let key = ObjectKey { kind: kind.into(), namespace: address.namespace.clone(), name: address.name.clone() };
            let there = known.get(&key).map(|view| said(view.conditions.values())).unwrap_or_default();
            if let Some(type_) = here.keys().chain(there.keys()).find(|type_| here.get(*type_) != there.get(*type_)) {
                let shown = |side: &Said| {
                    side.get(type_).map_or("nothing".to_owned(), |(status, reason)| format!("{status} {reason}"))
                };
                let (name, ours, theirs) = (&address.name, shown(&here), shown(&there));
                return Some(format!("{kind} {name}: {type_} is {ours}, the control plane knows {theirs}"));
            }
        }
    }
    None
}
