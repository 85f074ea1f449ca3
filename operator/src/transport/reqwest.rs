//! [`Transport`] of production. The only part of the way to the control plane that no simulation runs, so it decides nothing.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{Client, NoProxy, Url, redirect, retry};

use super::{ANSWER_MAX, Dial, Proxy, Transport, TransportError, tls};

/// How long a connection may take (contract §17.1).
const CONNECT: Duration = Duration::from_secs(10);

/// How long an unused connection is kept. Shorter than servers and what stands before them keep theirs (a minute and more
/// as a rule): a POST on a connection that the other side just closed is an outcome unknown for nothing.
const IDLE: Duration = Duration::from_secs(20);

/// Keeps one client, and makes a new one when the dial settings change.
pub struct Reqwest {
    environment: Proxy,
    kept: Mutex<Option<(Dial, Result<Client, String>)>>,
}

impl Default for Reqwest {
    /// With the proxies of the process environment.
    fn default() -> Self {
        Self::new(Proxy::of_environment(|name| std::env::var(name).ok()))
    }
}

impl Reqwest {
    /// With the proxies that hold where a dial names none.
    pub fn new(environment: Proxy) -> Self {
        Self { environment, kept: Mutex::default() }
    }

    /// Settings that cannot be used are remembered like good ones: they stay so until they change.
    fn client(&self, dial: &Dial) -> Result<Client, TransportError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let client = match &*kept {
            Some((of, client)) if of == dial => client.clone(),
            _ => {
                let client = build(dial, &dial.proxy.or(&self.environment));
                *kept = Some((dial.clone(), client.clone()));
                client
            }
        };
        client.map_err(TransportError::Unreachable)
    }
}

impl Transport for Reqwest {
    async fn send(
        &self,
        request: http::Request<Bytes>,
        deadline: Duration,
        dial: &Dial,
    ) -> Result<http::Response<Bytes>, TransportError> {
        let client = self.client(dial)?;
        let exchange = async {
            let request = request.try_into().map_err(|_| TransportError::Unreachable("not a usable URL".into()))?;
            let mut answer = client.execute(request).await.map_err(|error| failed(&error))?;
            if answer.content_length().is_some_and(|length| length > ANSWER_MAX as u64) {
                return Err(TransportError::TooLarge(ANSWER_MAX));
            }
            let mut body = BytesMut::new();
            while let Some(chunk) = answer.chunk().await.map_err(|error| failed(&error))? {
                if body.len() + chunk.len() > ANSWER_MAX {
                    return Err(TransportError::TooLarge(ANSWER_MAX));
                }
                body.extend_from_slice(&chunk);
            }
            let mut whole = http::Response::new(body.freeze());
            *whole.status_mut() = answer.status();
            *whole.headers_mut() = answer.headers().clone();
            Ok(whole)
        };
        let late = || Err(TransportError::Unknown("no answer in time".into()));
        tokio::time::timeout(deadline, exchange).await.unwrap_or_else(|_| late())
    }
}

fn build(dial: &Dial, proxy: &Proxy) -> Result<Client, String> {
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls::config(dial)?)
        .http1_only()
        .redirect(redirect::Policy::none())
        // What may be repeated is decided above, with the same bytes. What hyper itself sends again is only a request of
        // which it has not written anything.
        .retry(retry::never())
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        // The environment is part of `proxy` already.
        .no_proxy();
    let exceptions = proxy.none.as_deref().map(exceptions).unwrap_or_default();
    let none = NoProxy::from_string(&exceptions.join(","));
    // The library takes a star for names only, not for addresses.
    let proxy = if exceptions.contains(&"*") { &Proxy::default() } else { proxy };
    if let Some(text) = &proxy.http {
        let url = proxy_url(text).ok_or("proxy.httpProxy (or HTTP_PROXY) is not a usable http or https URL")?;
        let proxy = reqwest::Proxy::http(url).map_err(|error| error.without_url().to_string())?;
        builder = builder.proxy(proxy.no_proxy(none.clone()));
    }
    if let Some(text) = &proxy.https {
        let url = proxy_url(text).ok_or("proxy.httpsProxy (or HTTPS_PROXY) is not a usable http or https URL")?;
        let proxy = reqwest::Proxy::https(url).map_err(|error| error.without_url().to_string())?;
        builder = builder.proxy(proxy.no_proxy(none));
    }
    builder.build().map_err(|error| tls::reason(&error.without_url()))
}

/// A proxy that cannot be understood would be left out below, and the request would go the direct way.
fn proxy_url(text: &str) -> Option<Url> {
    let url = if text.contains("://") { Url::parse(text) } else { Url::parse(&format!("http://{text}")) }.ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}

/// The entries of a list of exceptions, `*.example.org`, which other programs take, in the form that is understood here.
fn exceptions(list: &str) -> Vec<&str> {
    let entries = list.split(',').map(str::trim);
    entries.map(|entry| entry.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(entry)).collect()
}

/// What happened, without the URL: it may hold a proxy's password.
fn failed(error: &reqwest::Error) -> TransportError {
    let why = tls::reason(error);
    if error.is_connect() { TransportError::Unreachable(why) } else { TransportError::Unknown(why) }
}
