//! The simulator: runs the production operator against the fakes on simulated time, with faults, and judges the outcome.
#![deny(unsafe_code)]

pub mod conformance;
pub mod entropy;
pub mod oracle;
pub mod trace;
pub mod truth;
