//! Integration tests: whatever needs more than one member of the workspace.

mod schemas;
mod tidy;
mod conformance;
