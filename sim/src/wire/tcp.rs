//! Real sockets: the API server on a TCP port, HTTP/1.1 without TLS, for `kubectl`, `helm` and the operator's own binary.
//!
//! Requests go through the same [`Front`] as in process: recorded, and struck by armed faults.

use std::sync::Arc;

use fakes::front::{Front, Gate};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Serves every connection until the listener fails; dropping the future closes all of them.
///
/// # Errors
/// Those of accepting connections.
pub async fn serve(listener: TcpListener, front: Front) -> std::io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                connections.spawn(connection(stream, front.clone()));
            }
        }
    }
}

async fn connection(stream: TcpStream, front: Front) {
    // Watch events are small and must not wait for more.
    let _ = stream.set_nodelay(true);
    let gate = Gate::default();
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (front, gate) = (front.clone(), gate.clone());
        // An error closes the connection, which is what a broken one looks like from outside.
        async move { front.handle(&actor(&request), &gate, request).await }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(None);
    // A client that went away is no concern of the server.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

/// The program that sent the request, as it names itself; the operator's own binary counts as an operator.
fn actor(request: &http::Request<Incoming>) -> Arc<str> {
    let agent = request.headers().get(http::header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    match agent.and_then(|agent| agent.split('/').next()) {
        Some("vworkspace-app-operator") => "operator".into(),
        Some(program) if !program.is_empty() => program.into(),
        _ => "operator".into(),
    }
}
