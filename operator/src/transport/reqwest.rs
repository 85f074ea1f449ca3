//! [`Transport`] of production. The only part of the way to the control plane that no simulation runs, so it decides nothing.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{Client, NoProxy, redirect};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::{ANSWER_MAX, Dial, Transport, TransportError};

/// How long a connection may take (contract §17.1).
const CONNECT: Duration = Duration::from_secs(10);

/// Keeps one client, and makes a new one when the dial settings change.
#[derive(Default)]
pub struct Reqwest {
    client: Mutex<Option<(Dial, Client)>>,
}

impl Reqwest {
    fn client(&self, dial: &Dial) -> Result<Client, TransportError> {
        let mut kept = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, client)) = &*kept
            && of == dial
        {
            return Ok(client.clone());
        }
        let client = build(dial).map_err(TransportError::Unreachable)?;
        *kept = Some((dial.clone(), client.clone()));
        Ok(client)
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

fn build(dial: &Dial) -> Result<Client, String> {
    let mut roots = RootCertStore::empty();
    for certificate in rustls_native_certs::load_native_certs().certs {
        // A root that this library cannot read is one root less, as for every other program.
        let _ = roots.add(certificate);
    }
    for certificate in dial.roots.iter().flat_map(|pem| CertificateDer::pem_slice_iter(pem)) {
        let certificate = certificate.map_err(|_| "the CA bundle is not PEM".to_string())?;
        roots.add(certificate).map_err(|error| format!("the CA bundle holds an unusable certificate: {error}"))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let config = match &dial.client {
        None => config.with_no_client_auth(),
        Some(pair) => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pair.certificate).collect();
            let chain = chain.map_err(|_| "tls.crt is not PEM".to_string())?;
            let key = PrivateKeyDer::from_pem_slice(pair.key.expose().as_bytes());
            let key = key.map_err(|_| "tls.key is not a PEM private key".to_string())?;
            config
                .with_client_auth_cert(chain, key)
                .map_err(|_| "tls.crt and tls.key do not belong together".to_string())?
        }
    };
    let mut builder =
        Client::builder().tls_backend_preconfigured(config).redirect(redirect::Policy::none()).connect_timeout(CONNECT);
    let none = dial.proxy.none.as_deref().and_then(NoProxy::from_string);
    let proxies =
        [dial.proxy.http.as_deref().map(reqwest::Proxy::http), dial.proxy.https.as_deref().map(reqwest::Proxy::https)];
    for proxy in proxies.into_iter().flatten() {
        let proxy = proxy.map_err(|_| "the proxy is not a usable URL".to_string())?;
        builder = builder.proxy(proxy.no_proxy(none.clone()));
    }
    builder.build().map_err(|error| error.without_url().to_string())
}

/// What happened, without the URL: it may hold a proxy's password.
fn failed(error: &reqwest::Error) -> TransportError {
    let mut why = String::new();
    let mut source = error.source();
    while let Some(cause) = source {
        why = cause.to_string();
        source = cause.source();
    }
    if error.is_connect() { TransportError::Unreachable(why) } else { TransportError::Unknown(why) }
}
