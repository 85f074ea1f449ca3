//! Real sockets: the API server on a TCP port, for `kubectl`, `helm` and the operator's own binary, and the control plane
//! on another, for that binary and for browsers.
//!
//! Requests go through the same [`Front`] as in process: recorded, and struck by armed faults.

use std::convert::Infallible;
use std::sync::Arc;

use fakes::apiserver::serve::{program, serve_with};
use fakes::front::{Broken, Front, Gate};
use fakes::odoo::Odoo;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::net::TcpListener;

/// Serves every connection until the listener fails; dropping the future closes all of them.
///
/// # Errors
/// Those of accepting connections.
pub async fn serve(listener: TcpListener, front: Front) -> std::io::Result<Infallible> {
    serve_with(listener, || {
        let (front, gate) = (front.clone(), Gate::default());
        move |request: http::Request<Incoming>| {
            let (front, gate) = (front.clone(), gate.clone());
            // An error closes the connection, which is what a broken one looks like from outside.
            async move { front.handle(&actor(&request), &gate, request).await }
        }
    })
    .await
}

/// The same for the control plane: the agent protocol through its front, the console past it.
///
/// # Errors
/// Those of accepting connections.
pub async fn serve_odoo(listener: TcpListener, front: Front, odoo: Odoo) -> std::io::Result<Infallible> {
    serve_with(listener, || {
        let (front, odoo, gate) = (front.clone(), odoo.clone(), Gate::default());
        move |request: http::Request<Incoming>| {
            let (front, odoo, gate) = (front.clone(), odoo.clone(), gate.clone());
            async move {
                if request.uri().path().starts_with(operator::protocol::PATH) {
                    let answer = front.handle(&actor(&request), &gate, request).await?;
                    return Ok::<_, Broken>(answer.map(BodyExt::boxed_unsync));
                }
                let answer = odoo.handle("browser", request).await?;
                Ok(answer.map(|body| body.map_err(|never| match never {}).boxed_unsync()))
            }
        }
    })
    .await
}

/// The program that sent the request; the operator's own binary counts as an operator.
fn actor(request: &http::Request<Incoming>) -> Arc<str> {
    match program(request) {
        Some("vworkspace-app-operator") | None => "operator".into(),
        Some(program) => program.into(),
    }
}
