//! A Kubernetes API server: the wire, the store and the rules of apiserver.md.

pub mod schema;
