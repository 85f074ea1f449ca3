//! Whose backup it is (contract §10.3, §29.21). A name proves nothing: names are re-used between tenants, and whoever may
//! not have a backup must not learn that it exists.

use serde_json::Value;

use crate::api::condition::Reason;
use crate::api::{OPS_GROUP, VERSION, label};
use crate::cluster_api::{Caps, Key, Kind, Object, Scope};
use crate::engine::operation::{Facts, Hold, Order, Question};
use crate::engine::parameters::VeleroRestore;
use crate::foreign::velero;

/// The backup that is restored.
pub(super) struct Origin<'a> {
    pub(super) backup: &'a Object,
    /// The Operation that made it, where it still exists.
    pub(super) maker: Option<&'a Object>,
}

impl Origin<'_> {
    /// An output of the Operation that made it.
    pub(super) fn output(&self, name: &str) -> Option<&str> {
        self.maker?.0.pointer("/status/outputs")?.get(name)?.as_str().filter(|text| !text.is_empty())
    }
}

/// One answer for an unknown and a foreign name.
fn not_owned() -> Hold {
    let message = "BackupNotOwned: no backup of this name belongs to this target; name one of its own, or ask for a clone, \
                   which needs a vws2 approval that allows it";
    Hold::wait(Reason::PolicyDenied, message)
}

/// Names end up in paths and selectors: what is no name is nobody's.
fn plausible(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric())
}

/// A name as the label has it (contract §4.1).
fn cut(name: &str) -> String {
    name.chars().take(63).collect::<String>().trim_end_matches(['-', '.']).into()
}

fn exact_key(order: &Order, caps: &Caps, name: &str) -> Option<Key> {
    Some(Key::namespaced(&velero::backup(caps)?, &order.velero_namespace, name))
}

fn labelled(order: &Order, caps: &Caps, name: &str) -> Option<(Kind, Scope)> {
    let selector = format!("{}={}", label::OPERATION_NAME, cut(name));
    Some((velero::backup(caps)?, Scope::namespace(&order.velero_namespace).labelled(&selector)))
}

/// Where the Operation that made a backup is, if it still is. Older agents named a backup after its Operation.
fn maker_key(order: &Order, backup: &Object) -> Key {
    let kind = Kind::namespaced(OPS_GROUP, VERSION, "Operation", "operations");
    let namespace = backup.label(label::TARGET_NAMESPACE).unwrap_or(&order.namespace);
    Key::namespaced(&kind, namespace, backup.label(label::OPERATION_NAME).unwrap_or_else(|| backup.name()))
}

fn maker<'a>(order: &Order, backup: &Object, facts: &'a Facts) -> Option<&'a Object> {
    let uid = backup.label(label::OPERATION)?;
    facts.object(&maker_key(order, backup)).filter(|found| found.uid().is_some_and(|found| found.0 == uid))
}

pub(super) fn questions(order: &Order, caps: &Caps, parameters: &VeleroRestore, facts: &Facts) -> Vec<Question> {
    let name = parameters.backup_name.as_str();
    if !plausible(name) {
        return Vec::new();
    }
    let exact = exact_key(order, caps, name);
    let list = labelled(order, caps, name);
    let found = exact.as_ref().and_then(|key| facts.object(key)).into_iter();
    let found = found.chain(list.iter().flat_map(|(kind, scope)| facts.list(kind, scope)));
    let makers: Vec<Question> = found
        // Another tenant's Operation is read only for a clone.
        .filter(|backup| {
            let namespace = backup.label(label::TARGET_NAMESPACE);
            namespace.is_none_or(|namespace| namespace == order.namespace || parameters.clone && order.clone_approved)
        })
        .filter(|backup| backup.label(label::OPERATION).is_some())
        .map(|backup| Question::Object(maker_key(order, backup)))
        .collect();
    let exact = exact.into_iter().map(Question::Object);
    exact.chain(list.into_iter().map(|(kind, scope)| Question::List(kind, scope))).chain(makers).collect()
}

/// `spec.includedNamespaces`; anything but text counts as another namespace.
pub(super) fn namespaces(backup: &Object) -> Vec<&str> {
    let list = backup.0.pointer("/spec/includedNamespaces").and_then(Value::as_array);
    list.into_iter().flatten().map(|name| name.as_str().unwrap_or("*")).collect()
}

/// Whether the backup is of this very target.
fn same_target(order: &Order, backup: &Object, facts: &Facts) -> bool {
    if namespaces(backup) != [order.namespace.as_str()] {
        return false;
    }
    let cluster = backup.label(label::CLUSTER_ID);
    let (namespace, uid) = (backup.label(label::TARGET_NAMESPACE), backup.label(label::TARGET_UID));
    if namespace.is_some() || uid.is_some() {
        return cluster == Some(order.cluster_id.as_str())
            && namespace == Some(order.namespace.as_str())
            && uid == Some(order.target.uid.as_str());
    }
    cluster.is_none_or(|cluster| cluster == order.cluster_id)
        && maker(order, backup, facts).is_some_and(|maker| {
            maker.0.pointer("/spec/targetRef/name").and_then(Value::as_str) == Some(order.target.name.as_str())
        })
}

/// The backup that `backupName` means.
pub(super) fn resolve<'a>(
    order: &Order,
    caps: &Caps,
    parameters: &VeleroRestore,
    facts: &'a Facts,
) -> Result<Origin<'a>, Hold> {
    let name = parameters.backup_name.as_str();
    if !plausible(name) {
        return Err(not_owned());
    }
    let origin = |backup| Ok(Origin { backup, maker: maker(order, backup, facts) });
    let exact = exact_key(order, caps, name).and_then(|key| facts.object(&key));
    if let Some(backup) = exact.filter(|backup| same_target(order, backup, facts)) {
        return origin(backup);
    }
    let list = labelled(order, caps, name);
    let wanted = cut(name);
    let own: Vec<&Object> = list
        .iter()
        .flat_map(|(kind, scope)| facts.list(kind, scope))
        .filter(|backup| backup.label(label::OPERATION_NAME) == Some(wanted.as_str()))
        .filter(|backup| same_target(order, backup, facts))
        .collect();
    match own.as_slice() {
        [backup] => origin(backup),
        [] if parameters.clone && order.clone_approved => exact.map_or_else(|| Err(not_owned()), origin),
        [] => Err(not_owned()),
        several => {
            let names: Vec<&str> = several.iter().map(|backup| backup.name()).collect();
            let message = format!(
                "parameters.backupName means several backups of this target; name one of: {}",
                names.join(", ")
            );
            Err(Hold::wait(Reason::ValidationFailed, message))
        }
    }
}
