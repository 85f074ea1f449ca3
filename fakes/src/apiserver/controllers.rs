//! The controllers beside the API: each is a future that never ends.

use std::future::Future;
use std::pin::Pin;

use super::server::Server;

/// Runs what the configuration asks for, in a fixed order of polling.
pub async fn run(server: &Server) {
    let all: Vec<Pin<Box<dyn Future<Output = ()> + Send + '_>>> = vec![Box::pin(super::crd::run(server))];
    futures::future::join_all(all).await;
}
