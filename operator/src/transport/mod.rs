//! Seam 2: HTTP bytes to the control plane, and the one service type every client of ours is built from.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

use crate::api::secret::SecretText;

pub mod reqwest;
pub mod service;
mod tls;

/// Larger answers are refused (contract §17.1), in bytes.
pub const ANSWER_MAX: usize = 16 << 20;

/// The body of a request: whole bytes in practice, `From<Bytes>`.
pub type RequestBody = kube::client::Body;

/// The body of an answer: whole, or a stream that lasts as long as a watch. Any `http_body::Body` becomes one by
/// `BodyExt::map_err(Into::into).boxed_unsync()`.
pub type ResponseBody = http_body_util::combinators::UnsyncBoxBody<Bytes, tower::BoxError>;

/// What kube's client and the control plane's client are built from: hyper over TLS in production, the fake server
/// called directly or over a simulated network in simulation.
pub type HttpService =
    tower::util::BoxCloneSyncService<http::Request<RequestBody>, http::Response<ResponseBody>, tower::BoxError>;

/// How a connection to the control plane is made. Compared by value: whoever keeps connections makes new ones when it
/// changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dial {
    /// Certificates, PEM, that are trusted besides the system's roots.
    pub roots: Option<Bytes>,
    /// What we present, if mutual TLS is asked for.
    pub client: Option<ClientPair>,
    /// Proxies; empty members leave the choice to the process environment.
    pub proxy: Proxy,
}

/// A certificate and its key, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientPair {
    /// Certificate chain.
    pub certificate: Bytes,
    /// Private key.
    pub key: SecretText,
}

/// Proxy settings (contract §14.1).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxy {
    /// For `http` endpoints.
    pub http: Option<String>,
    /// For `https` endpoints.
    pub https: Option<String>,
    /// Comma-separated hosts that are reached directly.
    pub none: Option<String>,
}

impl Proxy {
    /// What the usual variables say, each in upper or lower case: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`.
    pub fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: &[&str]| {
            let set = |name: &String| variable(name).filter(|value| !value.is_empty());
            names.iter().flat_map(|name| [name.to_string(), name.to_lowercase()]).find_map(|name| set(&name))
        };
        Self {
            http: first(&["HTTP_PROXY", "ALL_PROXY"]),
            https: first(&["HTTPS_PROXY", "ALL_PROXY"]),
            none: first(&["NO_PROXY"]),
        }
    }

    /// Each member, or where there is none that of `other`.
    pub fn or(&self, other: &Self) -> Self {
        Self {
            http: self.http.clone().or_else(|| other.http.clone()),
            https: self.https.clone().or_else(|| other.https.clone()),
            none: self.none.clone().or_else(|| other.none.clone()),
        }
    }
}

impl fmt::Debug for Proxy {
    /// Without the URLs: they may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = (self.http.is_some(), self.https.is_some());
        f.debug_struct("Proxy").field("http", &set.0).field("https", &set.1).field("none", &self.none).finish()
    }
}

/// Why no complete answer arrived.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// Nothing was sent: no connection, or the dial settings are unusable. The text may name a certificate or host, never
    /// a credential.
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
    /// Sends the request and collects the answer within `deadline`.
    fn send(
        &self,
        request: http::Request<Bytes>,
        deadline: Duration,
        dial: &Dial,
    ) -> impl Future<Output = Result<http::Response<Bytes>, TransportError>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_comes_before_the_environment_member_by_member() {
        let variables = |name: &str| {
            let value = match name {
                "HTTP_PROXY" => "",
                "http_proxy" => "http://lower:1",
                "ALL_PROXY" => "http://user:hunter2@all:2",
                "no_proxy" => "localhost",
                _ => return None,
            };
            Some(value.to_string())
        };
        let environment = Proxy::of_environment(variables);
        assert_eq!(environment.http.as_deref(), Some("http://lower:1"));
        assert_eq!(environment.https.as_deref(), Some("http://user:hunter2@all:2"));
        let setting = Proxy { none: Some("odoo.example".into()), ..Proxy::default() };
        let both = setting.or(&environment);
        assert_eq!((both.none.as_deref(), both.http), (Some("odoo.example"), environment.http.clone()));
        assert!(!format!("{environment:?}").contains("hunter2"), "a password is not printed");
    }
}
