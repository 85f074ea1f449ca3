//! TLS to the control plane: whom we trust, what we present, and what went wrong in words (contract §15.2, §17.1).

use std::error::Error;
use std::io;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};

use super::{ClientPair, Dial};

/// The settings of a dial: the system's roots plus the CA bundle, and our pair if there is one. Verification cannot be
/// switched off.
///
/// # Errors
/// The field that cannot be used and why; nothing of its content.
pub(super) fn config(dial: &Dial) -> Result<ClientConfig, String> {
    let mut roots = system();
    if let Some(bundle) = &dial.roots {
        let certificates = certificates(bundle).ok_or("caBundleSecretRef: the value holds no PEM certificate")?;
        for certificate in certificates {
            roots.add(certificate).map_err(|_| "caBundleSecretRef: a certificate in the value cannot be read")?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let Some(ClientPair { certificate, key }) = &dial.client else {
        return Ok(config.with_no_client_auth());
    };
    let chain = certificates(certificate).ok_or("security.mtls: tls.crt holds no PEM certificate")?;
    let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes())
        .map_err(|_| "security.mtls: tls.key holds no PEM private key")?;
    config.with_client_auth_cert(chain, key).map_err(|_| {
        "security.mtls: tls.crt and tls.key do not belong together, or are of a kind that is not supported".into()
    })
}

/// The roots of the machine. Read once per dial: they are some 150 certificates, and a copy kept for the next dial would
/// cost more memory than the next reading costs time.
fn system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (_, unreadable) = roots.add_parsable_certificates(found.certs);
    if roots.is_empty() || unreadable > 0 || !found.errors.is_empty() {
        // As for every other program, a root that cannot be read is one root less.
        tracing::warn!(roots = roots.len(), unreadable, errors = ?found.errors, "not all system roots could be read");
    }
    roots
}

/// `None` where there is none, or where one is broken.
fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    certificates.ok().filter(|certificates| !certificates.is_empty())
}

/// The cause of a failure in words that stay the same from one attempt to the next: what is wrong with a certificate if
/// that is it, else the innermost cause. Outer ones name the URL, which may hold a proxy's password.
pub(super) fn reason(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    loop {
        if let Some(error) = cause.downcast_ref::<rustls::Error>() {
            return said(error);
        }
        // An io::Error hides what it was made from: its source is the source of that.
        let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        match inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| cause.source()) {
            Some(next) => cause = next,
            None => return cause.to_string(),
        }
    }
}

fn said(error: &rustls::Error) -> String {
    use CertificateError as Bad;
    let certificate = match error {
        rustls::Error::InvalidCertificate(certificate) => certificate,
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            return "the server asks for a client certificate (security.mtls)".into();
        }
        rustls::Error::AlertReceived(alert) => return format!("the server ended TLS with the alert {alert:?}"),
        other => return other.to_string(),
    };
    let problem = match certificate {
        Bad::Expired | Bad::ExpiredContext { .. } => "has expired".into(),
        Bad::NotValidYet | Bad::NotValidYetContext { .. } => "is not valid yet".into(),
        // The second is an authority that was renewed under its old name with a new key.
        Bad::UnknownIssuer | Bad::BadSignature => {
            "is signed by an issuer that neither the system nor caBundleSecretRef trusts".into()
        }
        Bad::NotValidForNameContext { expected, presented } => {
            format!("is not for {}, but for {}", expected.to_str(), presented.join(", "))
        }
        Bad::NotValidForName => "is for another host".into(),
        Bad::Revoked => "is revoked".into(),
        other => format!("is not accepted: {other:?}"),
    };
    format!("the server's certificate {problem}")
}
