//! The adapter over kube-rs.
