//! A wish → somebody else's objects → what they answered. Pure: no client, no clock, no log.
//!
//! An engine is four questions about data: what should exist, what does its state mean, how is it taken back. The Helm
//! engines of applications are here; each engine of Operations joins with its own answers.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::api::application_instance::{Chart, Integrations, Release, SourceType, Values};
use crate::api::cluster::{Helm, HelmEngine};
use crate::cluster_api::{Caps, Key, Object};
use crate::policy::Refusal;

pub mod flux;
pub mod helm;
pub mod hook;
pub mod job;
pub mod operation;
pub mod parameters;
mod pods;
pub mod snapshot;
#[cfg(test)]
mod trial;
pub mod values;
pub mod velero;
pub mod volsync;
pub mod workflow;

/// Everything a release is rendered from. Two equal wishes give byte-equal children.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Wish {
    /// Name of the ApplicationInstance.
    pub name: String,
    /// Its namespace, which is the release namespace.
    pub namespace: String,
    /// Its uid.
    pub uid: String,
    /// The generation that is rendered.
    pub generation: i64,
    /// Which chart.
    pub chart: Chart,
    /// Which release.
    pub release: Release,
    /// Which values.
    pub values: Values,
    /// Integrations, which become values.
    pub integrations: Option<Integrations>,
    /// Settings of the cluster.
    pub helm: Helm,
    /// Label value for children; `None` while no id is known.
    pub cluster_id: Option<String>,
    /// Whether children carry our owner reference. They do not once deletion must leave them alone (contract §6.7).
    pub owned: bool,
    /// Notes.
    pub notes: Notes,
}

/// What is noted on children beside the wish itself, so that a thing is done once and a restart knows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Notes {
    /// Uid of the Restore that holds the target: the release is suspended (contract §6.6).
    pub restore: Option<String>,
    /// Further annotations of the release.
    pub release: BTreeMap<String, String>,
    /// Further annotations of the source.
    pub source: BTreeMap<String, String>,
}

/// What a child is to its instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Role {
    /// Where the chart comes from.
    Source,
    /// A generated ConfigMap with values.
    Values,
    /// The release itself.
    Release,
}

/// One object that should exist, applied continuously.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Child {
    /// What it is.
    pub role: Role,
    /// Where it is.
    pub key: Key,
    /// What we own of it; without uid.
    pub object: Object,
}

/// What a release is measured against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Expected {
    /// Decides how versions compare.
    pub source: SourceType,
    /// The chart version that was asked for.
    pub version: String,
    /// How long one action may take.
    pub timeout_seconds: i64,
}

/// The children as read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Children<'a> {
    /// The release.
    pub release: Option<&'a Object>,
    /// Its source.
    pub source: Option<&'a Object>,
    /// The chart object that the engine makes itself from a Helm repository.
    pub chart: Option<&'a Object>,
    /// Whether source and chart were read at all in this pass.
    pub source_read: bool,
}

/// How far the release is: the rows of contract §6.5.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Progress {
    /// There is no release.
    Absent,
    /// The engine has not said anything.
    NoStatus,
    /// A new artifact is being fetched.
    SourceFetching,
    /// The source fails.
    SourceFailing {
        /// Since when, as the source says.
        since: Option<Timestamp>,
    },
    /// First release on its way.
    Installing,
    /// A newer generation is stored and the engine has not come to it.
    Pending,
    /// Newer release on its way.
    Upgrading,
    /// There, with all evidence.
    Succeeded {
        /// Whether an earlier release was replaced.
        upgraded: bool,
        /// A remark of the engine.
        warning: Option<String>,
    },
    /// Failed, and tried again by the engine.
    Retrying,
    /// Failed for good; the previous release runs again.
    RolledBack,
    /// An upgrade failed for good.
    UpgradeFailed,
    /// The first release failed for good.
    InstallFailed,
    /// Nothing new.
    Unchanged,
    /// Held back.
    Suspended,
    /// Being deleted.
    Deleting,
}

/// What the children say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reading {
    /// How far the release is.
    pub progress: Progress,
    /// The engine's own words, fit for a condition.
    pub message: String,
    /// Whether something is or was deployed.
    pub deployed: bool,
    /// Drift, in the engine's words.
    pub drift: Option<String>,
    /// The source fails although the release is fine: since when, and the words.
    pub source_failing: Option<(Option<Timestamp>, String)>,
    /// Since when the engine has been stuck in a known way although the release is there.
    pub stuck_since: Option<Timestamp>,
}

/// How a release is taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Withdrawal {
    /// Everything is gone.
    Gone,
    /// Delete these, in this order; then look again.
    Delete(Vec<Key>),
    /// Nothing to do but wait, and why.
    Wait(String),
}

/// A Helm engine.
pub trait Engine: Sync {
    /// What should exist, sources first, the release last.
    ///
    /// # Errors
    /// When this cluster cannot have it: a missing controller, or one that is too old for this wish.
    fn render(&self, wish: &Wish, caps: &Caps) -> Result<Vec<Child>, Refusal>;

    /// What the children say.
    fn interpret(&self, expected: &Expected, children: Children<'_>) -> Reading;

    /// How to take it back. `rest` are sources and generated values, which go after the release.
    fn withdraw(&self, release: Option<(&Key, &Object)>, rest: &[(Key, Object)]) -> Withdrawal;
}

/// The engine of that name; `None` for one that this version does not have.
pub fn engine(kind: HelmEngine) -> Option<&'static dyn Engine> {
    match kind {
        HelmEngine::Flux => Some(&flux::Flux),
        HelmEngine::Argocd => None,
    }
}
