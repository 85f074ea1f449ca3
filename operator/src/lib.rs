//! The operator: one per cluster. Modules from the bottom up; a line may use the lines above it, never below
//! (`tests/it/tidy.rs` holds the rule).
//!
//! | module | what it is |
//! |---|---|
//! | [`api`] | the three CRDs as data: types, conditions, names |
//! | [`cluster_api`], [`transport`] | the two seams to the outside, with their error types |
//! | [`foreign`] | other people's objects: total read structs, apply structs, classify |
//! | [`protocol`] | the control plane's wire: bodies, requests, what an answer means |
//! | [`engine`], [`policy`] | plain functions over data |
//! | [`reconcile`] | observe, decide, act |
//! | [`runtime`] | tasks, controllers, retry policy, lease, clock |
//! | [`config`], [`telemetry`] | flags and environment; logs |
#![forbid(unsafe_code)]

#[allow(clippy::duplicated_attributes, reason = "each printer column names its type and path")]
pub mod api;
pub mod cluster_api;
pub mod config;
pub mod engine;
pub mod foreign;
pub mod policy;
pub mod protocol;
pub mod reconcile;
pub mod runtime;
pub mod telemetry;
pub mod transport;
