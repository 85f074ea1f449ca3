//! Helm's storage: releases and their revisions, and what happens to them in an action.
//!
//! Nothing is rendered. A revision carries a content marker (what its chart deploys, with which values), so an oracle can
//! tell what is running without a single object in the cluster.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::catalogue::{Chart, digest};

/// Where a release is stored, and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ReleaseName {
    /// Namespace of the storage.
    pub namespace: String,
    /// Release name.
    pub name: String,
}

impl ReleaseName {
    /// The release of this name stored in this namespace.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

/// Helm's word for the state of a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// An install has begun.
    PendingInstall,
    /// An upgrade has begun.
    PendingUpgrade,
    /// A rollback has begun.
    PendingRollback,
    /// The one that runs.
    Deployed,
    /// Ran before.
    Superseded,
    /// Its action failed.
    Failed,
    /// Taken away, record kept.
    Uninstalled,
}

impl Status {
    /// The word as Helm writes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::PendingInstall => "pending-install",
            Self::PendingUpgrade => "pending-upgrade",
            Self::PendingRollback => "pending-rollback",
            Self::Deployed => "deployed",
            Self::Superseded => "superseded",
            Self::Failed => "failed",
            Self::Uninstalled => "uninstalled",
        }
    }

    pub(crate) fn is_pending(self) -> bool {
        matches!(self, Self::PendingInstall | Self::PendingUpgrade | Self::PendingRollback)
    }
}

/// One stored revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// 1, 2, 3 …
    pub version: i64,
    /// Its state.
    pub status: Status,
    /// Namespace its objects are in.
    pub target: String,
    /// Chart name.
    pub chart: String,
    /// Chart version, with the digest that Flux appends.
    pub chart_version: String,
    /// Application version.
    pub app_version: String,
    /// Digest of the values.
    pub config_digest: String,
    /// What it deploys.
    pub content: String,
    /// When the release was first installed.
    pub first_deployed: Timestamp,
    /// When this revision was made.
    pub last_deployed: Timestamp,
}

impl Revision {
    /// The digest that a snapshot of this revision carries; any change to the record changes it.
    pub(crate) fn digest(&self) -> String {
        digest(&[
            &self.version.to_string(),
            self.status.word(),
            &self.target,
            &self.chart,
            &self.chart_version,
            &self.config_digest,
            &self.content,
            &self.last_deployed.to_string(),
        ])
    }
}

/// Which Helm action was run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// First revision of a release.
    Install,
    /// Next revision.
    Upgrade,
    /// Next revision with the content of an older one.
    Rollback,
    /// The release goes.
    Uninstall,
}

impl Action {
    /// The word in conditions and messages.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Upgrade => "upgrade",
            Self::Rollback => "rollback",
            Self::Uninstall => "uninstall",
        }
    }
}

/// One thing that Helm did: the truth that oracles read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deed {
    /// When.
    pub at: Timestamp,
    /// To which release.
    pub release: ReleaseName,
    /// What.
    pub action: Action,
    /// The revision it made or removed; 0 if none was stored.
    pub version: i64,
    /// How it ended; `None`: it has begun.
    pub succeeded: Option<bool>,
    /// What the revision deploys.
    pub content: String,
}

/// All releases.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Storage {
    releases: BTreeMap<String, Vec<Revision>>,
    drifted: BTreeSet<String>,
}

fn key(name: &ReleaseName) -> String {
    format!("{}/{}", name.namespace, name.name)
}

impl Storage {
    /// The revisions of a release, oldest first.
    pub fn revisions(&self, name: &ReleaseName) -> &[Revision] {
        self.releases.get(&key(name)).map_or(&[], Vec::as_slice)
    }

    /// Every stored release as (`namespace/name`, revisions).
    pub fn all(&self) -> impl Iterator<Item = (&str, &[Revision])> {
        self.releases.iter().map(|(name, revisions)| (name.as_str(), revisions.as_slice()))
    }

    /// The newest revision.
    pub fn last(&self, name: &ReleaseName) -> Option<&Revision> {
        self.revisions(name).last()
    }

    /// The revision that runs.
    pub fn deployed(&self, name: &ReleaseName) -> Option<&Revision> {
        self.revisions(name).iter().rev().find(|revision| revision.status == Status::Deployed)
    }

    pub(crate) fn get(&self, name: &ReleaseName, version: i64) -> Option<&Revision> {
        self.revisions(name).iter().find(|revision| revision.version == version)
    }

    /// Stores a new revision and drops the oldest beyond `keep` (0: keep all); the one that runs is never dropped.
    pub(crate) fn store(&mut self, name: &ReleaseName, revision: Revision, keep: usize) {
        let revisions = self.releases.entry(key(name)).or_default();
        revisions.push(revision);
        while keep > 0 && revisions.len() > keep {
            let Some(index) = revisions.iter().position(|revision| revision.status != Status::Deployed) else { break };
            if index + 1 == revisions.len() {
                break;
            }
            revisions.remove(index);
        }
    }

    /// Ends the action that made `version`; success supersedes what ran before.
    pub(crate) fn finish(&mut self, name: &ReleaseName, version: i64, succeeded: bool) {
        for revision in self.releases.entry(key(name)).or_default() {
            if revision.version == version {
                revision.status = if succeeded { Status::Deployed } else { Status::Failed };
            } else if succeeded && revision.status == Status::Deployed {
                revision.status = Status::Superseded;
            }
        }
        if succeeded {
            self.drifted.remove(&key(name));
        }
    }

    /// Takes the release away, with its records unless they are to be kept.
    pub(crate) fn uninstall(&mut self, name: &ReleaseName, keep_history: bool) {
        self.drifted.remove(&key(name));
        if !keep_history {
            self.releases.remove(&key(name));
        } else if let Some(revision) = self.releases.get_mut(&key(name)).and_then(|revisions| revisions.last_mut()) {
            revision.status = Status::Uninstalled;
        }
    }

    /// One record vanishes (H6).
    pub fn lose(&mut self, name: &ReleaseName, version: i64) {
        if let Some(revisions) = self.releases.get_mut(&key(name)) {
            revisions.retain(|revision| revision.version != version);
        }
    }

    /// Somebody ran `helm upgrade` (H7): same chart, other values, a revision that nobody observed.
    pub fn upgrade_by_hand(&mut self, name: &ReleaseName, now: Timestamp) -> bool {
        let Some(last) = self.last(name).cloned() else { return false };
        let revision = Revision {
            version: last.version + 1,
            status: Status::PendingUpgrade,
            config_digest: digest(&["by hand", &last.config_digest]),
            content: format!("{} by hand", last.content),
            last_deployed: now,
            ..last
        };
        let version = revision.version;
        self.store(name, revision, 0);
        self.finish(name, version, true);
        true
    }

    /// Somebody ran `helm uninstall`.
    pub fn uninstall_by_hand(&mut self, name: &ReleaseName) {
        self.uninstall(name, false);
    }

    /// The objects in the cluster differ from what was released (H16).
    pub fn drift(&mut self, name: &ReleaseName) {
        self.drifted.insert(key(name));
    }

    pub(crate) fn correct(&mut self, name: &ReleaseName) {
        self.drifted.remove(&key(name));
    }

    pub(crate) fn has_drifted(&self, name: &ReleaseName) -> bool {
        self.drifted.contains(&key(name))
    }

    /// A namespace is gone, and with it every release stored in it.
    pub fn forget_namespace(&mut self, namespace: &str) {
        let prefix = format!("{namespace}/");
        self.releases.retain(|name, _| !name.starts_with(&prefix));
        self.drifted.retain(|name| !name.starts_with(&prefix));
    }
}

/// What an install or upgrade of this chart with these values stores.
pub(crate) fn revision(
    status: Status,
    version: i64,
    target: &str,
    chart: &Chart,
    config_digest: &str,
    first_deployed: Option<Timestamp>,
    now: Timestamp,
) -> Revision {
    let values = config_digest.trim_start_matches("sha256:").get(..12).unwrap_or_default();
    Revision {
        version,
        status,
        target: target.into(),
        chart: chart.name.clone(),
        chart_version: chart.version.clone(),
        app_version: chart.app_version.clone(),
        config_digest: config_digest.into(),
        content: format!("{} values {values}", chart.content),
        first_deployed: first_deployed.unwrap_or(now),
        last_deployed: now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(version: i64, status: Status) -> Revision {
        let chart = Chart::new("shop", "1.0.0", "shop");
        revision(status, version, "team", &chart, "sha256:00", None, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn success_supersedes_what_ran_and_failure_does_not() {
        let name = ReleaseName::new("team", "shop");
        let mut storage = Storage::default();
        storage.store(&name, stored(1, Status::PendingInstall), 10);
        storage.finish(&name, 1, true);
        storage.store(&name, stored(2, Status::PendingUpgrade), 10);
        storage.finish(&name, 2, false);
        assert_eq!(storage.deployed(&name).map(|revision| revision.version), Some(1));
        storage.store(&name, stored(3, Status::PendingUpgrade), 10);
        storage.finish(&name, 3, true);
        assert_eq!(storage.deployed(&name).map(|revision| revision.version), Some(3));
        assert_eq!(storage.get(&name, 1).map(|revision| revision.status), Some(Status::Superseded));
    }

    #[test]
    fn old_revisions_go_and_the_deployed_one_stays() {
        let name = ReleaseName::new("team", "shop");
        let mut storage = Storage::default();
        storage.store(&name, stored(1, Status::Deployed), 2);
        storage.store(&name, stored(2, Status::Failed), 2);
        storage.store(&name, stored(3, Status::Failed), 2);
        let versions: Vec<i64> = storage.revisions(&name).iter().map(|revision| revision.version).collect();
        assert_eq!(versions, [1, 3]);
    }
}
