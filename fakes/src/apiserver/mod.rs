//! A fake kube-apiserver: wire compatible, in process, deterministic.
//!
//! One [`Server`] holds every object under one revision counter. A request is parsed ([`request`]), routed (`routes`), handled under one
//! lock (`rest`, `patch`, `delete`, `list`, `watch`) and rendered ([`reply`]). A watch is a cursor over the history in [`store`].
//! Time comes from the injected [`Clock`], uids and suffixes from the seed; nothing iterates a hash map.
//!
//! Not modelled, answered with 501 or absent: protobuf and CBOR answers, admission webhooks, conversion webhooks, aggregated API servers,
//! HEAD, encryption at rest, API priority and fairness.

pub mod apply;
pub mod builtin;
pub mod client;
#[cfg(test)]
mod conf;
mod config;
pub mod controllers;
pub mod crd;
pub mod decode;
pub mod delete;
pub mod depth;
mod discovery;
pub mod entropy;
pub mod errors;
pub mod feed;
pub mod gc;
pub mod json;
pub mod json_patch;
pub mod limits;
pub mod list;
pub mod meta;
pub mod namespaces;
mod openapi;
pub mod patch;
mod protobuf;
pub mod rbac;
pub mod reply;
pub mod request;
pub mod resource;
pub mod rest;
pub mod routes;
pub mod scale;
pub mod schema;
pub mod selector;
pub mod serve;
pub mod server;
pub mod store;
pub mod strategic;
mod table;
pub mod track;
pub mod watch;

pub use client::Client;
pub use errors::{Cause, Status};
pub use reply::Body;
pub use server::{Authorization, Clock, Commit, Config, Controllers, Server};
