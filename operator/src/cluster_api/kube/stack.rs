//! The only tower stack in the operator: the same function in production and in every simulation.
//!
//! Order from the outside in: base address, authentication, extra headers, deadline, then the bytes. kube's stock retry
//! layer is absent on purpose: it re-sends any verb up to 15 times on 429, 503 and 504, so a 504 after the commit would
//! become a second effect. Retries are decided by the caller, per verb (design §7).

use http::{HeaderValue, Request, header};
use kube::client::{Body, ConfigExt};
use kube::{Client, Config};
use tower::{BoxError, ServiceBuilder};

use super::deadline::DeadlineLayer;
use crate::transport::HttpService;

/// A client that sends its requests to `service`. Must be called inside the runtime that will use it, because the
/// client's buffer spawns its worker there.
///
/// # Errors
/// When the authentication in `config` is unusable (unreadable token file, malformed header).
pub fn client(service: HttpService, config: &Config) -> kube::Result<Client> {
    let service = ServiceBuilder::new()
        .map_err(BoxError::from)
        .map_request(named)
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .layer(DeadlineLayer)
        .service(service);
    Ok(Client::new(service, config.default_namespace.clone()))
}

/// Who we are in the server's audit log.
fn named(mut request: Request<Body>) -> Request<Body> {
    const NAME: HeaderValue = HeaderValue::from_static(concat!("vworkspace-app-operator/", env!("CARGO_PKG_VERSION")));
    request.headers_mut().insert(header::USER_AGENT, NAME);
    request
}
