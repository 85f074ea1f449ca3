//! The direct tier: the operator's HTTP services call the fake API server and the fake control plane in the same thread,
//! without sockets.
//!
//! Every incarnation of a process gets services of its own, all behind its [`Gate`]. When it dies the gate closes:
//! dropping kube's controllers only *aborts* their tasks, and until the runtime polls them once more they would still
//! send; so would the worker of tower's buffer, which is a task of its own.

use std::sync::Arc;

use fakes::front::{Front, Gate};
use http_body_util::BodyExt;
use operator::transport::{HttpService, RequestBody};
use tower::BoxError;
use tower::util::BoxCloneSyncService;

/// A service that reaches what the front leads to, directly, as `actor`.
pub fn service(front: &Front, actor: &Arc<str>, gate: &Gate) -> HttpService {
    let (front, actor, gate) = (front.clone(), actor.clone(), gate.clone());
    BoxCloneSyncService::new(tower::service_fn(move |request: http::Request<RequestBody>| {
        let (front, actor, gate) = (front.clone(), actor.clone(), gate.clone());
        async move {
            let response = front.handle(&actor, &gate, request).await.map_err(BoxError::from)?;
            Ok(response.map(|body| body.map_err(BoxError::from).boxed_unsync()))
        }
    }))
}

/// A way that leads nowhere: no control plane.
pub fn nowhere() -> HttpService {
    BoxCloneSyncService::new(tower::service_fn(|_| async { Err(BoxError::from("no route to host")) }))
}
