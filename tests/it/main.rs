//! Integration tests: whatever needs more than one member of the workspace.
#![allow(unreachable_pub, reason = "one binary: `pub` says that another file uses it")]
#![allow(clippy::panic, clippy::print_stdout, reason = "tests fail by panic and say in one line what they skipped")]

mod adapter;
mod bad_input;
mod bad_jobs;
mod cel;
mod clients;
mod cluster;
mod cluster_loop;
mod conformance;
mod flux_switches;
mod instances;
mod intake;
mod modes;
mod outside;
mod report;
mod rights;
mod runtime;
mod schemas;
mod simulation;
mod stage;
mod tidy;
mod transport;
mod watches;
mod world_cases;
