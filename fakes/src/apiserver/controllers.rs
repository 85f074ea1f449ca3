//! The controllers beside the API: each is a future that never ends.

use std::future::Future;
use std::pin::Pin;

use futures::FutureExt as _;

use super::depth;
use super::server::Server;

/// Runs what the configuration asks for, in a fixed order of polling.
pub async fn run(server: &Server) {
    let on = server.config().controllers;
    let mut all: Vec<Pin<Box<dyn Future<Output = ()> + Send + '_>>> = vec![Box::pin(super::crd::run(server))];
    if on.namespace_contents {
        all.push(Box::pin(super::namespaces::contents::run(server)));
    }
    if on.namespaces {
        all.push(Box::pin(super::namespaces::run(server)));
    }
    if on.garbage_collector {
        all.push(Box::pin(super::gc::run(server)));
    }
    let mut all = futures::future::join_all(all);
    std::future::poll_fn(|context| {
        let deep = server.state().deep;
        depth::with_room(deep, || all.poll_unpin(context))
    })
    .await;
}
