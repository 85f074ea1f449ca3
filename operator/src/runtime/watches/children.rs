//! Children of instances: which kinds are watched, and whom a change of one wakes.

use std::collections::{BTreeMap, BTreeSet};

use super::{Source, Watches};
use crate::api::label;
use crate::cluster_api::{Change, ClusterApi, Kind, Object};

/// Children of an ApplicationInstance: group, kind, plural, the versions we would use (best first).
pub(super) const CHILDREN: [(&str, &str, &str, &[&str]); 4] = [
    ("helm.toolkit.fluxcd.io", "HelmRelease", "helmreleases", &["v2", "v2beta2"]),
    ("source.toolkit.fluxcd.io", "HelmRepository", "helmrepositories", &["v1", "v1beta2"]),
    ("source.toolkit.fluxcd.io", "OCIRepository", "ocirepositories", &["v1", "v1beta2"]),
    ("coordination.k8s.io", "Lease", "leases", &["v1"]),
];

/// What is known of a child.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Child {
    version: String,
    owner: Option<String>,
}

#[derive(Default)]
pub(super) struct Known {
    children: BTreeMap<String, Child>,
    /// Names seen in the list that is arriving.
    listed: Option<BTreeSet<String>>,
}

impl Child {
    fn of(object: &Object) -> Self {
        Self {
            version: object.version().map(|version| version.0).unwrap_or_default(),
            owner: object.label(label::APPLICATION_INSTANCE).map(String::from),
        }
    }
}

impl<A: ClusterApi> Watches<A> {
    pub(super) fn child(&mut self, kind: Kind, namespace: String, change: Change) {
        let source = Source::Children(kind.clone(), namespace.clone()).to_string();
        let external = kind.kind == "HelmRelease";
        let known = self.known.entry((kind, namespace.clone())).or_default();
        let mut owners: BTreeSet<Option<String>> = BTreeSet::new();
        match change {
            Change::Reset => known.listed = Some(BTreeSet::new()),
            Change::Listed(object) => {
                let name = object.name().to_string();
                if let Some(listed) = &mut known.listed {
                    listed.insert(name.clone());
                }
                let child = Child::of(&object);
                if known.children.get(&name) != Some(&child) {
                    owners.insert(child.owner.clone());
                    owners.extend(known.children.insert(name, child).map(|before| before.owner));
                }
            }
            Change::Synced => {
                self.health.synced(&source);
                if let Some(listed) = known.listed.take() {
                    let gone: Vec<String> =
                        known.children.keys().filter(|name| !listed.contains(*name)).cloned().collect();
                    owners.extend(gone.iter().filter_map(|name| known.children.remove(name)).map(|child| child.owner));
                }
            }
            Change::Applied(object) => {
                let child = Child::of(&object);
                owners.insert(child.owner.clone());
                owners.extend(known.children.insert(object.name().into(), child).map(|before| before.owner));
            }
            Change::Deleted(object) => {
                owners.insert(Child::of(&object).owner);
                owners.extend(known.children.remove(object.name()).map(|before| before.owner));
            }
            Change::Interrupted(error) => self.health.interrupted(&source, &error),
        }
        for owner in owners {
            match owner {
                Some(owner) => self.wake(&namespace, &owner),
                None if external => self.wake_observers(&namespace),
                None => {}
            }
        }
    }
}
