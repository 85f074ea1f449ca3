//! Integration tests: whatever needs more than one member of the workspace.

mod adapter;
mod bad_input;
mod clients;
mod cluster;
mod conformance;
mod flux_switches;
mod instances;
mod outside;
mod rights;
mod runtime;
mod schemas;
mod simulation;
mod stage;
mod tidy;
mod watches;
mod world_cases;
