//! The server on a TCP port: HTTP/1.1 without TLS, for real clients on the loopback interface.
//!
//! Kubernetes clients send no token over plain HTTP. Like the insecure port of older servers, this one therefore takes a request
//! without credentials for the administrator's; impersonation and explicit tokens work as usual.

use std::convert::Infallible;
use std::io;

use http::HeaderValue;
use http::header::AUTHORIZATION;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::server::Server;

/// The credentials of a request that has none.
const ADMINISTRATOR: &str = "Bearer admintoken";

/// Serves every connection of `listener` until it fails; dropping the future closes all connections.
///
/// # Errors
/// Those of accepting connections.
pub async fn serve(listener: TcpListener, server: Server) -> io::Result<Infallible> {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                connections.spawn(connection(stream, server.clone()));
            }
        }
    }
}

async fn connection(stream: TcpStream, server: Server) {
    // Watch events are small and must not wait for more.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|mut request: http::Request<Incoming>| {
        let server = server.clone();
        request.headers_mut().entry(AUTHORIZATION).or_insert(HeaderValue::from_static(ADMINISTRATOR));
        async move {
            let agent = request.headers().get(http::header::USER_AGENT).and_then(|agent| agent.to_str().ok());
            let peer = agent.and_then(|agent| agent.split('/').next()).unwrap_or("unknown").to_owned();
            Ok::<_, Infallible>(server.handle(&peer, request).await)
        }
    });
    // A client that went away is no concern of the server.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}
