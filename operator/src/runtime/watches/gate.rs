//! The namespace gate (contract §4.3): children are watched and instances woken where it is open.

use std::collections::BTreeSet;

use super::{Source, Watches};
use crate::api;
use crate::cluster_api::{Change, ClusterApi, Object};

impl<A: ClusterApi> Watches<A> {
    pub(super) fn namespace(&mut self, change: Change) {
        let source = Source::Namespaces.to_string();
        let open = |object: &Object| object.0.pointer("/metadata/labels").is_some_and(api::gated);
        match change {
            Change::Reset => self.listed = Some(BTreeSet::new()),
            Change::Listed(object) => {
                if open(&object)
                    && let Some(listed) = &mut self.listed
                {
                    listed.insert(object.name().into());
                }
            }
            Change::Synced => {
                self.health.synced(&source);
                if let Some(listed) = self.listed.take() {
                    self.gate(listed);
                }
            }
            Change::Applied(object) => {
                let mut gated = self.gated.clone();
                let name = object.name().to_string();
                let _ = if open(&object) { gated.insert(name) } else { gated.remove(&name) };
                self.gate(gated);
            }
            Change::Deleted(object) => {
                let mut gated = self.gated.clone();
                gated.remove(object.name());
                self.gate(gated);
            }
            Change::Interrupted(error) => self.health.interrupted(&source, &error),
        }
    }

    fn gate(&mut self, gated: BTreeSet<String>) {
        if gated == self.gated {
            return;
        }
        let changed: BTreeSet<String> = gated.symmetric_difference(&self.gated).cloned().collect();
        tracing::info!(namespaces = gated.len(), "the set of gated namespaces changed");
        self.gated = gated;
        self.follow();
        self.wake_all(|namespace| changed.contains(namespace));
    }
}
