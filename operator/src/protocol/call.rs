//! One request to the control plane, before it is bytes.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, header};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use super::answer::Closed;
use super::event::{EventBatch, HEARTBEAT};
use super::job::StatusBody;
use super::register::{RegisterRequest, RotateRequest};
use super::{MEDIA_TYPE, PATH, job, proof};
use crate::api::secret::SecretText;

/// What is written as it is: the unreserved characters of RFC 3986, so that a server that compares raw paths sees plain ids
/// plain.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

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
    /// [`Closed::BadEndpoint`] where `base` is no plain URL or the job's id cannot stand in a path
    /// ([`job::Job::addressable`]), [`Closed::NoCredential`] where the token cannot be a header.
    pub fn request(&self, base: &str, bearer: &SecretText, now: Timestamp) -> Result<http::Request<Bytes>, Closed> {
        let base = base.trim_end_matches('/');
        if !plain(base) || self.job().is_some_and(|id| !job::addressable(id)) {
            return Err(Closed::BadEndpoint);
        }
        let (method, tail, body) = self.parts();
        let bearer = match self {
            Call::Register(request) => &request.registration_token,
            _ => bearer,
        };
        if bearer.is_empty() {
            return Err(Closed::NoCredential);
        }
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
        let request_is_post = request.method() == http::Method::POST;
        let headers = request.headers_mut();
        headers.insert(header::AUTHORIZATION, authorization);
        if body.is_some() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        } else if request_is_post {
            // HTTP clients leave it out, and servers that insist on it answer 411.
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        if !matches!(self, Call::Poll { .. } | Call::Register(_)) {
            let seconds = now.as_second();
            let proof = proof::sign(bearer, "POST", &path, seconds, body.as_deref().unwrap_or_default().as_bytes());
            headers.insert("x-vws-timestamp", HeaderValue::from(seconds));
            headers.insert("x-vws-signature", HeaderValue::from_str(&proof).expect("hex digits can be a header"));
        }
        Ok(request)
    }

    fn job(&self) -> Option<&str> {
        match self {
            Call::Acknowledge { job } | Call::Status { job, .. } | Call::Result { job, .. } => Some(job),
            _ => None,
        }
    }

    fn parts(&self) -> (http::Method, String, Option<String>) {
        let post = |tail: String, body: Option<String>| (http::Method::POST, tail, body);
        let job = |job: &str, what: &str| format!("jobs/{}/{what}", utf8_percent_encode(job, ENCODED));
        match self {
            Call::Poll { cluster, wait } => {
                let cluster = utf8_percent_encode(cluster, ENCODED);
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

/// Whether an endpoint is scheme, host, perhaps a port and a path, all of which arrive as they are written: no user
/// information (the bearer is our credential, and URLs are logged), no query, no dot segment, nothing that some client
/// would encode anew. What is proved (contract §19.3) is the path as sent.
fn plain(base: &str) -> bool {
    let Some((scheme, rest)) = base.split_once("://") else { return false };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let of = |text: &str, marks: &[u8]| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || marks.contains(&byte));
    let port = |text: &str| match text.rsplit_once(':') {
        Some((_, port)) if !text.ends_with(']') => port.parse::<u16>().is_ok(),
        _ => true,
    };
    let dots = |segment: &str| matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..");
    matches!(scheme, "http" | "https")
        && !authority.is_empty()
        && of(authority, b"-._~:[]")
        && port(authority)
        && of(path, b"-._~!$&'()*+,;=:@%/")
        && !path.split('/').any(dots)
}

fn json<T: Serialize>(body: &T) -> String {
    serde_json::to_string(body).expect("wire types have text keys and finite numbers")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-05-28T10:00:00Z";
    const BODIED: bool = true;

    fn calls() -> Vec<(Call, &'static str, &'static str, u64, bool)> {
        let job = || "j-01HX".to_string();
        let status = StatusBody {
            phase: "Ready".into(),
            conditions: Vec::new(),
            message: String::new(),
            timestamp: NOW.into(),
            sequence: 3,
        };
        let register = RegisterRequest {
            registration_token: SecretText::new("vwksp-reg-1"),
            cluster_id: None,
            display_name: None,
            registration_id: "r1".into(),
            public_key: None,
            operator_version: "0.1.0".into(),
            connectivity_mode: "pull".into(),
        };
        let rotate = RotateRequest { rotation_id: "o1".into(), public_key: None };
        let poll = Call::Poll { cluster: "c 1/&".into(), wait: Duration::from_secs(300) };
        let events = EventBatch { cluster_id: Some("c1".into()), events: Vec::new() };
        vec![
            (poll, "GET", "jobs?cluster=c%201%2F%26&wait=300", 330, !BODIED),
            (Call::Acknowledge { job: job() }, "POST", "jobs/j-01HX/ack", 30, !BODIED),
            (Call::Status { job: job(), body: status }, "POST", "jobs/j-01HX/status", 30, BODIED),
            (Call::Result { job: job(), body: "{ }".into() }, "POST", "jobs/j-01HX/result", 30, BODIED),
            (Call::Events(events), "POST", "events", 30, BODIED),
            (Call::Register(register), "POST", "register", 60, BODIED),
            (Call::Rotate(rotate), "POST", "credentials/rotate", 30, BODIED),
            (Call::Decommission, "POST", "cluster/decommission", 30, BODIED),
        ]
    }

    fn request(call: &Call, base: &str) -> Result<http::Request<Bytes>, Closed> {
        call.request(base, &SecretText::new("t0k3n"), NOW.parse().expect("a time"))
    }

    #[test]
    fn every_row_of_the_endpoint_table_is_sent_as_it_stands_there() {
        for (call, method, path, seconds, bodied) in calls() {
            let name = call.name();
            let request = request(&call, "https://odoo.example/base/").expect(name);
            assert_eq!(request.uri().to_string(), format!("https://odoo.example/base/api/agent/{path}"), "{name}");
            assert_eq!((request.method().as_str(), call.deadline()), (method, Duration::from_secs(seconds)), "{name}");
            let header = |key: &str| request.headers().get(key).and_then(|value| value.to_str().ok());
            let bearer = if name == "register" { "Bearer vwksp-reg-1" } else { "Bearer t0k3n" };
            assert_eq!((header("authorization"), header("accept")), (Some(bearer), Some(MEDIA_TYPE)), "{name}");
            assert_eq!(header("content-type"), bodied.then_some(MEDIA_TYPE), "{name}");
            assert_eq!(request.body().is_empty(), !bodied, "{name}");
            let proven = method == "POST" && name != "register";
            assert_eq!(header("x-vws-timestamp"), proven.then_some("1779962400"), "{name}");
            let path = request.uri().path();
            let proof = proof::sign(&SecretText::new("t0k3n"), "POST", path, 1_779_962_400, request.body());
            assert_eq!(header("x-vws-signature"), proven.then_some(proof.as_str()), "{name}");
            let printed = format!("{request:?} {}", serde_json::to_string(&call).expect("text"));
            assert!(
                !printed.contains("t0k3n") && (name == "register" || !printed.contains("vwksp-reg-1")),
                "{printed}"
            );
        }
    }

    #[test]
    fn the_bytes_of_a_result_are_those_that_were_decided() {
        let body = "{\"outcome\" : \"noop\"}\n";
        let call = Call::Result { job: "j".into(), body: body.into() };
        assert_eq!(request(&call, "http://x").expect("a request").body(), body);
        assert_eq!(request(&Call::Decommission, "http://x").expect("a request").body(), "{}");
    }

    #[test]
    fn a_job_id_is_one_segment_of_the_path_or_nothing() {
        for (id, segment) in [
            ("a/b", "a%2Fb"),
            ("../register", "..%2Fregister"),
            ("%2e%2e", "%252e%252e"),
            ("a?x#y", "a%3Fx%23y"),
            ("ü \n", "%C3%BC%20%0A"),
            ("A-Z_0.9~", "A-Z_0.9~"),
        ] {
            let request = request(&Call::Acknowledge { job: id.into() }, "https://x").expect(id);
            assert_eq!(request.uri().path(), format!("/api/agent/jobs/{segment}/ack"));
        }
        for id in ["", ".", "..", &"x".repeat(254)] {
            assert_eq!(request(&Call::Acknowledge { job: id.into() }, "https://x").err(), Some(Closed::BadEndpoint));
        }
    }

    #[test]
    fn an_endpoint_is_a_plain_url() {
        for base in ["https://x", "http://10.0.0.1:8069", "https://[fd00::1]:443/a/b", "https://x/a%20b", "https://x/"]
        {
            assert!(request(&Call::Decommission, base).is_ok(), "{base}");
        }
        for base in [
            "",
            "odoo.example",
            "ftp://x",
            "https://",
            "https:///a",
            "https://user:hunter2@x",
            "https://x?db=a",
            "https://x/#a",
            "https://x/a/../b",
            "https://x/%2E%2e/b",
            "https://x/a b",
            "https://x/{a}",
            "https://x:port",
            "https://b\u{fc}cher.example",
        ] {
            assert_eq!(request(&Call::Decommission, base).err(), Some(Closed::BadEndpoint), "{base}");
        }
    }

    #[test]
    fn what_cannot_be_a_header_is_no_credential() {
        for token in ["", "a\nb", "\u{1}"] {
            let request = Call::Decommission.request("https://x", &SecretText::new(token), Timestamp::UNIX_EPOCH);
            assert_eq!(request.err(), Some(Closed::NoCredential), "{token:?}");
        }
    }
}
