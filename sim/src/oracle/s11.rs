//! S11: our finalizer leaves an instance only when its children are gone, and afterwards nothing is made for it.
//!
//! Children are retained, and so do not count, when the instance says so: deletion policy `orphan`, reconciliation
//! disabled, a HelmRelease of external authority; and in a namespace without the gate label, where the operator may do
//! nothing but remove its finalizer (contract §4.3, §6.7).

use std::collections::BTreeSet;

use fakes::history::{Event, Record};
use serde_json::Value;

use super::Oracle;
use crate::truth::{FINALIZER, INSTANCES, Truth, annotation, has_finalizer, is_operator, owner, uid};

/// S11.
#[derive(Default)]
pub(super) struct FinalizerLast {
    freed: BTreeSet<String>,
}

impl Oracle for FinalizerLast {
    fn id(&self) -> &'static str {
        "S11"
    }

    fn promise(&self) -> &'static str {
        "our finalizer leaves an instance only when its children are gone, and nothing is made for it afterwards"
    }

    fn step(&mut self, record: &Record, truth: &Truth) -> Result<(), String> {
        let Event::Commit(commit) = &record.event else { return Ok(()) };
        if !is_operator(&record.actor) {
            return Ok(());
        }
        if commit.resource == INSTANCES {
            let Some(before) = commit.before.as_deref().filter(|before| has_finalizer(before, FINALIZER)) else {
                return Ok(());
            };
            if commit.after.as_deref().is_some_and(|after| has_finalizer(after, FINALIZER)) {
                return Ok(());
            }
            self.freed.insert(uid(before).to_owned());
            if retains(before) || !gated(truth, commit.namespace.as_deref().unwrap_or_default()) {
                return Ok(());
            }
            if let Some((child, _)) = truth.children(uid(before)).next() {
                return Err(format!(
                    "the finalizer left {} while {} {} existed",
                    commit.name, child.resource, child.name
                ));
            }
            return Ok(());
        }
        match commit.after.as_deref().and_then(owner) {
            Some(owner) if self.freed.contains(owner) => {
                Err(format!("{} {} was written for an instance that is finished", commit.resource, commit.name))
            }
            _ => Ok(()),
        }
    }
}

/// Whether deletion leaves the children in place.
pub(super) fn retains(instance: &Value) -> bool {
    annotation(instance, "apps.vworkspace.io/deletion-policy") == Some("orphan")
        || annotation(instance, "apps.vworkspace.io/reconcile") == Some("disabled")
        || annotation(instance, "apps.vworkspace.io/helmrelease-authority") == Some("external")
}

/// Whether the namespace is opted in. A namespace that no commit has shown counts as gated.
pub(super) fn gated(truth: &Truth, namespace: &str) -> bool {
    truth.get("namespaces", "", namespace).is_none_or(|namespace| {
        ["managed-by", "app.vworkspace.io/managed-by"]
            .iter()
            .any(|key| crate::truth::label(namespace, key) == Some("vworkspace"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::story::{OPERATOR, Story, instance, release, source, with};
    use super::*;

    fn told() -> Story<FinalizerLast> {
        Story::new().commit("user", &instance()).commit(OPERATOR, &source()).commit(OPERATOR, &release())
    }

    #[test]
    fn leaving_children_behind_is_seen() {
        told().remove("flux", &release()).remove(OPERATOR, &instance()).breaks("ocirepositories");
    }

    #[test]
    fn writing_after_the_end_is_seen() {
        told()
            .remove("flux", &release())
            .remove(OPERATOR, &source())
            .remove(OPERATOR, &instance())
            .commit(OPERATOR, &release())
            .breaks("finished");
    }

    #[test]
    fn children_first_holds_and_so_does_orphaning() {
        told().remove("flux", &release()).remove(OPERATOR, &source()).remove(OPERATOR, &instance()).holds();
        let orphaned = json!({ "metadata": { "annotations": { "apps.vworkspace.io/deletion-policy": "orphan" } } });
        told().commit("user", &with(&instance(), &orphaned)).remove(OPERATOR, &instance()).holds();
    }
}
