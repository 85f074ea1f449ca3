//! Structural schemas: pruning, defaulting, validation and CEL rules (apiserver.md F).

pub mod cel;
pub mod node;

pub use node::{Checks, ListType, MapType, Node, NodeKind};
