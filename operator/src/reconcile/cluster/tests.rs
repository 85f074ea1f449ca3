//! The decision as tables.

mod connection;
mod deletion;
mod identity;
