//! Seam 2: HTTP bytes to the control plane, and the one service type every client of ours is built from.

use std::future::Future;

use bytes::Bytes;

/// The body of a request: whole bytes in practice, `From<Bytes>`.
pub type RequestBody = kube::client::Body;

/// The body of an answer: whole, or a stream that lasts as long as a watch. Any `http_body::Body` becomes one by
/// `BodyExt::map_err(Into::into).boxed_unsync()`.
pub type ResponseBody = http_body_util::combinators::UnsyncBoxBody<Bytes, tower::BoxError>;

/// What kube's client and the control plane's client are built from: hyper over TLS in production, the fake server
/// called directly or over a simulated network in simulation.
pub type HttpService =
    tower::util::BoxCloneSyncService<http::Request<RequestBody>, http::Response<ResponseBody>, tower::BoxError>;

/// Why no complete answer arrived.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// Nothing was sent: no connection.
    #[error("not connected: {0}")]
    Unreachable(String),
    /// The request may have been handled.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// The answer was larger than the cap.
    #[error("answer larger than {0} bytes")]
    TooLarge(usize),
}

/// One request, one complete answer: deadline over head and body, size cap, no redirects, no retries.
#[cfg_attr(test, mockall::automock)]
pub trait Transport: Send + Sync + 'static {
    /// Sends the request and collects the answer.
    fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> impl Future<Output = Result<http::Response<Bytes>, TransportError>> + Send;
}
