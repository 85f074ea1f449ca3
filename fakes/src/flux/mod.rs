//! Flux, faked: source-controller and helm-controller as clients of the API server.
//!
//! Each controller is one future ([`run_source_controller`], [`run_helm_controller`]) that lists, watches and writes
//! through [`Client`](crate::apiserver::Client) like the real one, write by write: finalizer first, then up to three
//! patches per step (conditions under an optimistic lock, metadata, the rest of the status), with a scheduling point
//! between any two (downstream §1-§3). What Helm and the registries hold is plain data in [`World`], owned outside, so it
//! survives a controller that is dropped and started again.
//!
//! | file | stands for |
//! |---|---|
//! | `world` | what exists outside the cluster, and the knobs |
//! | `catalogue` | registries and repositories: charts, tags, digests |
//! | `helm` | Helm: releases in storage, and the four actions |
//! | `subject`, `conditions` | one object under reconciliation: conditions and the three patches |
//! | `controller`, `queue` | list and watch, work queue, backoff, crash and restart |
//! | `source` | OCIRepository, HelmRepository, HelmChart |
//! | `release` | HelmRelease: pass, state, next action |
//! | `notification` | notification-controller: takes events, limits repeated ones |
//! | `surroundings` | other people's hands: `flux suspend`, `kubectl edit`, `helm upgrade`, a namespace that goes |
//!
//! Not modelled: charts are not rendered (a release deploys a content marker), tests and post renderers, remote clusters
//! (`kubeConfig`), verification, Git and buckets, garbage collection of old artifacts, `readyExpr`, the label that makes a
//! ConfigMap or Secret wake its users. A HelmRelease that asks
//! for one of them is treated as if it did not, except `kubeConfig`, which fails loudly.

pub mod catalogue;
mod conditions;
mod controller;
mod events;
pub mod helm;
mod notification;
mod queue;
mod release;
mod source;
mod subject;
mod surroundings;
mod timing;
pub mod world;

#[cfg(test)]
mod tests;

pub use controller::{run_helm_controller, run_source_controller};
pub use notification::Notifications;
pub use surroundings::run_surroundings;
pub use timing::Profile;
pub use world::{Controller, Settings, World};
