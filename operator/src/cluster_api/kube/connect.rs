//! Production's bytes: hyper over TLS (rustls with ring) or plain TCP.

use std::time::Duration;

use http::Response;
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::Config;
use kube::client::{Body, ConfigExt};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceExt};

use crate::transport::HttpService;

/// A connection that is not up after this long is given up; the deadline of the request would be later.
const CONNECT: Duration = Duration::from_secs(5);
/// Probes of an idle connection: without them a peer that vanished is noticed only by the deadline of the next request.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Why there is no way to the cluster.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Neither a kubeconfig nor a service account was found, or it cannot be read.
    #[error("{0}")]
    NoConfig(String),
    /// The TLS material in the configuration is unusable, or the address is not one we can use.
    #[error("the connection settings of the cluster are unusable: {0}")]
    Unusable(String),
    /// Nobody answered.
    #[error(
        "no answer from the cluster at {address}: {why}. Check that it is running and reachable from here, that KUBECONFIG (or \
         ~/.kube/config) names the right context, and that its certificate authority is the one in that file; \
         `kubectl version` shows the same connection"
    )]
    Unreachable {
        /// What was tried.
        address: String,
        /// The last failure.
        why: String,
    },
}

/// The cluster of `KUBECONFIG`, of `~/.kube/config`, or the one this pod runs in: in this order.
///
/// # Errors
/// When none of the three yields a usable configuration; the text says what to do.
pub async fn config() -> Result<Config, ConnectError> {
    Config::infer().await.map_err(|error| {
        ConnectError::NoConfig(format!(
            "no cluster to connect to. Set KUBECONFIG to a kubeconfig file (for example the one that `sim up` prints), put \
             one at ~/.kube/config, or run inside a pod with a service account. Details: {error}"
        ))
    })
}

/// A cluster at `address` (`http://host`) that asks for no credentials: a simulated one.
pub fn plain(address: http::Uri) -> Config {
    Config::new(address)
}

/// Pauses between the attempts of [`reach`].
const PATIENCE: [Duration; 4] =
    [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(6)];

/// Asks the server for its version, a few times, so that a wrong address or a missing certificate is told at once and in
/// words. Later outages are the loops' business.
///
/// # Errors
/// When no answer came; the text says what was tried and what to check.
pub async fn reach(service: &HttpService, config: &Config) -> Result<(), ConnectError> {
    let mut last = String::new();
    for pause in PATIENCE {
        tokio::time::sleep(pause).await;
        let client =
            super::stack::client(service.clone(), config).map_err(|error| ConnectError::Unusable(error.to_string()))?;
        match client.apiserver_version().await {
            // A server that refuses to tell its version is one that answers.
            Ok(_) | Err(kube::Error::Api(_)) => return Ok(()),
            Err(error) => last = super::error::chain(&error),
        }
        tracing::warn!(error = %last, "the cluster does not answer yet");
    }
    Err(ConnectError::Unreachable { address: config.cluster_url.to_string(), why: last })
}

/// Connections to the address in `config`.
///
/// # Errors
/// When the TLS material is unusable, or a proxy is asked for.
pub fn service(config: &Config) -> Result<HttpService, ConnectError> {
    if let Some(proxy) = &config.proxy_url {
        return Err(ConnectError::Unusable(format!(
            "proxy-url {proxy} is not supported; remove it from the kubeconfig"
        )));
    }
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT));
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_nodelay(true);
    let tls =
        config.rustls_https_connector_with_connector(tcp).map_err(|error| ConnectError::Unusable(error.to_string()))?;
    let client: Client<_, Body> =
        Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).timer(TokioTimer::new()).build(tls);
    Ok(BoxCloneSyncService::new(
        client
            .map_response(|response: Response<_>| response.map(|body| body.map_err(BoxError::from).boxed_unsync()))
            .map_err(BoxError::from),
    ))
}
