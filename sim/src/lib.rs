//! The simulator: runs the production operator against the fakes on simulated time, with faults, and judges the outcome.
//!
//! | module | what it is |
//! |---|---|
//! | [`case`], [`scenario`], [`stories`] | what a run is a function of: as a file, as prose, built in |
//! | [`simulation`] | one run, from a case to a report |
//! | [`world`], [`wire`] | who runs, and how requests travel |
//! | [`entropy`] | where randomness comes from; the only unsafe code |
//! | [`oracle`], [`truth`] | the judges, and the store they read |
//! | [`trace`], [`narrator`], [`logs`] | the history as text and hash, and as a story; the operator's log in it |
//! | [`command`] | the command line |
#![deny(unsafe_code)]

pub mod case;
pub mod command;
pub mod conformance;
pub mod entropy;
pub mod logs;
pub mod narrator;
pub mod oracle;
pub mod scenario;
pub mod simulation;
pub mod stories;
pub mod trace;
pub mod truth;
pub mod wire;
pub mod world;
