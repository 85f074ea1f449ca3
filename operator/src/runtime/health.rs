//! What the probes say (contract §23.4): a shared board of checks, and the server that shows it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::cluster_api::ApiError;

/// Connections served at once; more wait. Probes come from the kubelet alone.
const CONNECTIONS: usize = 16;
/// A client that sends no request for this long is cut off.
const SILENCE: Duration = Duration::from_secs(5);

/// The board. Cheap to clone; every part of the process writes its own lines.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<Board>>);

#[derive(Debug, Default)]
struct Board {
    /// Name of the check → `Err(why)`; a check that was never set does not exist.
    checks: BTreeMap<&'static str, Result<String, String>>,
    /// Watches that should be complete → why they are not.
    watches: BTreeMap<String, Option<String>>,
    /// Whether the control plane answers. It is told and never decides: an outage of the control plane must not take the
    /// webhook down (contract §23.4).
    connected: bool,
}

impl Health {
    /// A check that passes, with a word on how.
    pub fn pass(&self, check: &'static str, how: &str) {
        self.board(|board| board.checks.insert(check, Ok(how.into())));
    }

    /// A check that fails, and why.
    pub fn fail(&self, check: &'static str, why: impl Into<String>) {
        let why = why.into();
        self.board(|board| board.checks.insert(check, Err(why)));
    }

    /// A watch that must complete before this process is ready.
    pub fn expected(&self, watch: &str) {
        self.board(|board| board.watches.insert(watch.into(), Some("not listed yet".into())));
    }

    /// A watch has a complete list.
    pub fn synced(&self, watch: &str) {
        self.board(|board| board.watches.insert(watch.into(), None));
    }

    /// A watch is broken.
    pub fn interrupted(&self, watch: &str, error: &ApiError) {
        tracing::debug!(watch, %error, "watch interrupted");
        let why = match error {
            ApiError::Forbidden { .. } => "forbidden",
            ApiError::Unserved { .. } => "not served",
            _ => return,
        };
        let before = self.board(|board| board.watches.insert(watch.into(), Some(why.into())));
        // Once, not with every attempt.
        if before.flatten().as_deref() != Some(why) {
            tracing::warn!(watch, %error, "a watch is refused");
        }
    }

    /// A watch is no longer wanted.
    pub fn dropped(&self, watch: &str) {
        self.board(|board| board.watches.remove(watch));
    }

    /// Whether the control plane answers, as the Cluster says.
    pub fn control_plane(&self, connected: bool) {
        self.board(|board| board.connected = connected);
    }

    /// No watch is wanted and nobody talks to the control plane: this process does not lead.
    pub fn standby(&self) {
        self.board(|board| (board.watches, board.connected) = (BTreeMap::new(), false));
    }

    /// Whether every check passes, and all of them as the body of `/readyz`.
    pub fn ready(&self) -> (bool, Value) {
        let board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut checks: BTreeMap<&str, String> = BTreeMap::new();
        let mut ready = true;
        for (name, result) in &board.checks {
            match result {
                Ok(how) => checks.insert(name, how.clone()),
                Err(why) => {
                    ready = false;
                    checks.insert(name, format!("failed: {why}"))
                }
            };
        }
        let missing: Vec<String> =
            board.watches.iter().filter_map(|(name, why)| Some(format!("{name}: {}", why.as_ref()?))).collect();
        if missing.is_empty() {
            checks.insert("caches", "ok".into());
        } else {
            ready = false;
            checks.insert("caches", format!("failed: {}", missing.join("; ")));
        }
        let status = if ready { "ready" } else { "not ready" };
        let control_plane = if board.connected { "connected" } else { "disconnected" };
        (ready, json!({ "status": status, "checks": checks, "controlPlane": control_plane }))
    }

    fn board<T>(&self, change: impl FnOnce(&mut Board) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Listens for probes.
///
/// # Errors
/// When the address cannot be bound; the text names the flag.
pub async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        std::io::Error::new(
            error.kind(),
            format!(
                "cannot listen on {address} for probes: {error}. Choose another --health-probe-bind-address, or 0 to switch \
                 probes off"
            ),
        )
    })
}

/// Answers `/healthz` and `/readyz` on `listener`. Never returns.
pub async fn serve(listener: TcpListener, health: Health) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= CONNECTIONS {
            let _ = connections.join_next().await;
        }
        tokio::select! {
            biased;
            _ = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => { connections.spawn(connection(stream, health.clone())); }
                // Out of file descriptors, or a connection reset before it was accepted: neither may end the probes.
                Err(error) => {
                    tracing::warn!(%error, "a probe was not accepted");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            },
        }
    }
}

async fn connection(stream: TcpStream, health: Health) {
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let response = answer(request.method(), request.uri().path(), &health);
        async move { Ok::<_, std::convert::Infallible>(response) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(SILENCE)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "probe connection ended");
    }
}

fn answer(method: &Method, path: &str, health: &Health) -> Response<Full<Bytes>> {
    let (status, body) = match (method, path) {
        // This task would be gone if a supervised one had died: the process ends with the first of them.
        (&Method::GET | &Method::HEAD, "/healthz") => (StatusCode::OK, json!({ "status": "ok" })),
        (&Method::GET | &Method::HEAD, "/readyz") => match health.ready() {
            (true, body) => (StatusCode::OK, body),
            (false, body) => (StatusCode::SERVICE_UNAVAILABLE, body),
        },
        _ => (StatusCode::NOT_FOUND, json!({ "status": "not found", "paths": ["/healthz", "/readyz"] })),
    };
    let mut response = Response::new(Full::new(Bytes::from(format!("{body}\n"))));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(health: &Health, ready: bool, expect: Value) {
        assert_eq!(health.ready(), (ready, expect));
    }

    #[test]
    fn readiness_is_the_sum_of_the_checks() {
        let health = Health::default();
        health.fail("crds", "applicationinstances.apps.vworkspace.io is not served");
        check(
            &health,
            false,
            json!({"status": "not ready", "controlPlane": "disconnected", "checks": {
            "caches": "ok", "crds": "failed: applicationinstances.apps.vworkspace.io is not served"}}),
        );
        health.pass("crds", "ok");
        health.expected("a");
        check(
            &health,
            false,
            json!({"status": "not ready", "controlPlane": "disconnected", "checks": {
            "caches": "failed: a: not listed yet", "crds": "ok"}}),
        );
        health.synced("a");
        health.interrupted("a", &ApiError::Unknown { why: "reset".into() });
        check(
            &health,
            true,
            json!({"status": "ready", "controlPlane": "disconnected", "checks": {
            "caches": "ok", "crds": "ok"}}),
        );
        health.interrupted("a", &ApiError::Forbidden { what: "x".into() });
        check(
            &health,
            false,
            json!({"status": "not ready", "controlPlane": "disconnected", "checks": {
            "caches": "failed: a: forbidden", "crds": "ok"}}),
        );
        health.control_plane(true);
        assert_eq!(health.ready().1["controlPlane"], "connected");
        health.dropped("a");
        assert!(health.ready().0);
        health.standby();
        assert_eq!(health.ready().1["controlPlane"], "disconnected");
        assert!(health.ready().0, "an outage of the control plane is no reason to be unready");
    }

    #[test]
    fn paths() {
        let health = Health::default();
        health.fail("crds", "x");
        for (method, path, status) in [
            (Method::GET, "/healthz", 200),
            (Method::GET, "/readyz", 503),
            (Method::GET, "/metrics", 404),
            (Method::POST, "/healthz", 404),
        ] {
            assert_eq!(answer(&method, path, &health).status(), status, "{method} {path}");
        }
    }
}
