//! A server on a TCP port: HTTP/1.1 without TLS, for real clients on the loopback interface.
//!
//! Kubernetes clients send no token over plain HTTP. Like the insecure port of older servers, this one therefore takes a request
//! without credentials for the administrator's; impersonation and explicit tokens work as usual.

use std::convert::Infallible;
use std::error::Error;
use std::io;

use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
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
    serve_with(listener, || {
        let server = server.clone();
        move |request: Request<Incoming>| {
            let server = server.clone();
            async move {
                let peer = program(&request).unwrap_or("unknown").to_owned();
                Ok::<_, Infallible>(server.handle(&peer, request).await)
            }
        }
    })
    .await
}

/// The same for any handler, of which `connect` makes one for each connection. An error of a handler closes its connection.
///
/// # Errors
/// Those of accepting connections.
pub async fn serve_with<C, H, A, B, E>(listener: TcpListener, connect: C) -> io::Result<Infallible>
where
    C: Fn() -> H,
    H: Fn(Request<Incoming>) -> A + Send + 'static,
    A: Future<Output = Result<Response<B>, E>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    E: Into<Box<dyn Error + Send + Sync>> + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                connections.spawn(connection(stream, connect()));
            }
        }
    }
}

async fn connection<H, A, B, E>(stream: TcpStream, handler: H)
where
    H: Fn(Request<Incoming>) -> A,
    A: Future<Output = Result<Response<B>, E>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    // Watch events are small and must not wait for more.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.headers_mut().entry(AUTHORIZATION).or_insert(HeaderValue::from_static(ADMINISTRATOR));
        handler(request)
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(None);
    // A client that went away is no concern of the server.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

/// The program that sent a request, as it names itself.
pub fn program<B>(request: &Request<B>) -> Option<&str> {
    let agent = request.headers().get(http::header::USER_AGENT)?.to_str().ok()?;
    agent.split('/').next().filter(|program| !program.is_empty())
}
