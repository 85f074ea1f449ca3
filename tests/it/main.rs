//! Integration tests: whatever needs more than one member of the workspace.

mod conformance;
mod schemas;
mod tidy;
