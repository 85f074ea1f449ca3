//! One request to the control plane, before it is bytes.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, header};
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use super::answer::Closed;
use super::event::{EventBatch, HEARTBEAT};
use super::job::StatusBody;
use super::register::{RegisterRequest, RotateRequest};
use super::{MEDIA_TYPE, PATH, proof};
use crate::api::secret::SecretText;

/// What is asked of the control plane: one variant per row of contract §17.2.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Call {
    /// `GET jobs`.
    Poll {
        /// Our cluster id.
        cluster: String,
        /// How long the server may wait for a job, whole seconds in 1..=300.
        wait: Duration,
    },
    /// `POST jobs/{id}/ack`.
    Acknowledge {
        /// Of this job.
        job: String,
    },
    /// `POST jobs/{id}/status`.
    Status {
        /// Of this job.
        job: String,
        /// How it stands.
        body: StatusBody,
    },
    /// `POST jobs/{id}/result`.
    Result {
        /// Of this job.
        job: String,
        /// The exact bytes that were decided once (contract §18.1 step 7).
        body: String,
    },
    /// `POST events`.
    Events(EventBatch),
    /// `POST register`, with the registration token as bearer.
    Register(RegisterRequest),
    /// `POST credentials/rotate`.
    Rotate(RotateRequest),
    /// `POST cluster/decommission`.
    Decommission,
}

impl Call {
    /// How long the whole answer may take (contract §17.1): a poll its wait and 30 s, a registration 60 s, else 30 s.
    pub fn deadline(&self) -> Duration {
        match self {
            Call::Poll { wait, .. } => *wait + Duration::from_secs(30),
            Call::Register(_) => Duration::from_secs(60),
            _ => Duration::from_secs(30),
        }
    }

    /// Whether it is a heartbeat and nothing else: the only request that a rejected credential still sends.
    pub fn is_heartbeat(&self) -> bool {
        matches!(self, Call::Events(batch)
            if !batch.events.is_empty() && batch.events.iter().all(|event| event.kind == HEARTBEAT))
    }

    /// In a word or two, for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Call::Poll { .. } => "poll",
            Call::Acknowledge { .. } => "ack",
            Call::Status { .. } => "status",
            Call::Result { .. } => "result",
            Call::Events(_) => "events",
            Call::Register(_) => "register",
            Call::Rotate(_) => "rotate",
            Call::Decommission => "decommission",
        }
    }
}

impl Call {
    /// The request as bytes. `base` is the endpoint without a slash at its end; `bearer` is ignored by a registration, which
    /// brings its own token; `now` dates the body proof (contract §19.3).
    ///
    /// # Errors
    /// [`Closed::BadEndpoint`] where `base` is no URL, or the token cannot be a header.
    pub fn request(&self, base: &str, bearer: &SecretText, now: Timestamp) -> Result<http::Request<Bytes>, Closed> {
        let (method, tail, body) = self.parts();
        let bearer = match self {
            Call::Register(request) => &request.registration_token,
            _ => bearer,
        };
        let url = format!("{base}{PATH}{tail}");
        let mut authorization =
            HeaderValue::from_str(&format!("Bearer {}", bearer.expose())).map_err(|_| Closed::NoCredential)?;
        authorization.set_sensitive(true);
        let mut request = http::Request::builder()
            .method(method)
            .uri(url)
            .header(header::ACCEPT, MEDIA_TYPE)
            .body(Bytes::from(body.clone().unwrap_or_default()))
            .map_err(|_| Closed::BadEndpoint)?;
        let path = request.uri().path().to_string();
        let headers = request.headers_mut();
        headers.insert(header::AUTHORIZATION, authorization);
        if body.is_some() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        }
        if !matches!(self, Call::Poll { .. } | Call::Register(_)) {
            let seconds = now.as_second();
            let proof = proof::sign(bearer, "POST", &path, seconds, body.as_deref().unwrap_or_default().as_bytes());
            headers.insert("x-vws-timestamp", HeaderValue::from(seconds));
            if let Ok(proof) = HeaderValue::from_str(&proof) {
                headers.insert("x-vws-signature", proof);
            }
        }
        Ok(request)
    }

    fn parts(&self) -> (http::Method, String, Option<String>) {
        let post = |tail: String, body: Option<String>| (http::Method::POST, tail, body);
        let job = |job: &str, what: &str| format!("jobs/{}/{what}", utf8_percent_encode(job, NON_ALPHANUMERIC));
        match self {
            Call::Poll { cluster, wait } => {
                let cluster = utf8_percent_encode(cluster, NON_ALPHANUMERIC);
                (http::Method::GET, format!("jobs?cluster={cluster}&wait={}", wait.as_secs()), None)
            }
            Call::Acknowledge { job: id } => post(job(id, "ack"), None),
            Call::Status { job: id, body } => post(job(id, "status"), Some(json(body))),
            Call::Result { job: id, body } => post(job(id, "result"), Some(body.clone())),
            Call::Events(batch) => post("events".into(), Some(json(batch))),
            Call::Register(request) => post("register".into(), Some(request.body())),
            Call::Rotate(request) => post("credentials/rotate".into(), Some(json(request))),
            Call::Decommission => post("cluster/decommission".into(), Some("{}".into())),
        }
    }
}

fn json<T: Serialize>(body: &T) -> String {
    serde_json::to_string(body).expect("wire types have text keys and finite numbers")
}
