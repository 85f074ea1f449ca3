//! What an answer means, or that there was none (contract §15.2, §17.1, §17.2).

use std::time::Duration;

use bytes::Bytes;
use http::header;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde::{Deserialize, Serialize};

use super::{Call, MEDIA_TYPE};
use crate::foreign::text::stable;
use crate::transport::TransportError;

/// Why a call was not answered as asked, named by what the caller can do about it. No variant carries a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
pub enum Trouble {
    /// No connection, reset, timeout, 5xx: the request may have been handled. Repeat the same bytes with backoff.
    #[error("the control plane did not answer: {why}")]
    Unreachable {
        /// For the log, and for a condition if it names a certificate: never an address or a token.
        why: String,
        /// 502, 504 or a reset that came later than 10 s: how long polls of the server live (contract §17.2).
        late: bool,
    },
    /// 429: wait at least this long, at most ten minutes.
    #[error("throttled by the control plane")]
    Throttled {
        /// `Retry-After`, if there was one.
        after: Option<Duration>,
    },
    /// A redirect, an answer of another type, 404 without our error body, 200 with an error envelope, any status that is
    /// not in the table: not the server we mean, or not set up. Keep everything, backoff.
    #[error("not our control plane: {why}")]
    Misconfigured {
        /// What was odd.
        why: String,
    },
    /// 401.
    #[error("the control plane does not accept the credential")]
    Unauthorized,
    /// 403.
    #[error("the control plane forbids it")]
    Forbidden {
        /// With our JSON error body. Without one it counts as rejected only when a probe repeats it.
        ours: bool,
    },
    /// 400, 413, 415, 422: the request itself is wrong.
    #[error("refused by the control plane ({status}): {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// What the error body says, cut to 1 KiB.
        message: String,
    },
    /// 404 with our error body: no such job.
    #[error("unknown to the control plane")]
    NotFound,
    /// 409: already closed, already acknowledged, or a token that was used.
    #[error("conflict at the control plane")]
    Conflict,
    /// Nothing was sent: no endpoint, no credential, or one that was rejected and waits for its probe.
    #[error("not connected to a control plane: {0}")]
    Closed(Closed),
}

/// Why nothing is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
pub enum Closed {
    /// No Cluster, or one without an endpoint.
    #[error("no endpoint is configured")]
    NoEndpoint,
    /// The endpoint is not a URL.
    #[error("the endpoint is not a usable URL")]
    BadEndpoint,
    /// Not registered, or the credentials Secret is missing or unreadable.
    #[error("there is no credential")]
    NoCredential,
    /// The credential was rejected; a probe every ten minutes or a changed Secret opens the way again.
    #[error("the credential was rejected")]
    Rejected,
    /// The connection settings could not be read from the cluster.
    #[error("the connection settings could not be read")]
    Unread,
}

/// The error body (contract §17.1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    /// A code for machines.
    pub error: String,
    /// A sentence for people.
    #[serde(default)]
    pub message: String,
    /// Joins our log with the server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// The longest wait that a server may ask for (contract §17.1).
const THROTTLE_MAX: Duration = Duration::from_secs(600);
/// A failure later than this says something about how long polls may be (contract §17.2).
const LATE: Duration = Duration::from_secs(10);

/// Reads an answer that came `after` so long. `Ok` is the body of a success.
///
/// # Errors
/// What the caller can do about everything else.
pub fn read(
    call: &Call,
    answer: Result<http::Response<Bytes>, TransportError>,
    after: Duration,
) -> Result<Bytes, Trouble> {
    let late = after > LATE;
    let answer = match answer {
        Ok(answer) => answer,
        Err(TransportError::TooLarge(max)) => {
            return Err(Trouble::Misconfigured { why: format!("an answer of more than {max} bytes") });
        }
        Err(TransportError::Unreachable(why)) => return Err(Trouble::Unreachable { why, late: false }),
        Err(TransportError::Unknown(why)) => return Err(Trouble::Unreachable { why, late }),
    };
    let status = answer.status().as_u16();
    let ours = error_body(&answer);
    let message = || {
        let body = ours.clone().unwrap_or_default();
        stable(&format!("{}: {}", body.error, body.message))
    };
    match status {
        200 | 202 | 204 if success(call, &answer) => Ok(answer.into_body()),
        200..=299 => Err(Trouble::Misconfigured { why: format!("an answer {status} of another kind") }),
        401 => Err(Trouble::Unauthorized),
        403 => Err(Trouble::Forbidden { ours: ours.is_some() }),
        404 if ours.is_some() => Err(Trouble::NotFound),
        409 => Err(Trouble::Conflict),
        400 | 413 | 415 | 422 => Err(Trouble::Refused { status, message: message() }),
        429 => {
            let after = answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            Err(Trouble::Throttled { after: after.map(|after| Duration::from_secs(after).min(THROTTLE_MAX)) })
        }
        500..=599 => {
            Err(Trouble::Unreachable { why: format!("it answers {status}"), late: late && matches!(status, 502 | 504) })
        }
        _ => Err(Trouble::Misconfigured { why: format!("it answers {status}") }),
    }
}

/// The server's clock, from its `Date` header.
pub fn date(answer: &http::Response<Bytes>) -> Option<Timestamp> {
    let text = answer.headers().get(header::DATE)?.to_str().ok()?;
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

fn of_our_type(answer: &http::Response<Bytes>) -> bool {
    let content = answer.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = content.split(';').next().unwrap_or_default().trim();
    media.eq_ignore_ascii_case(MEDIA_TYPE) || media.eq_ignore_ascii_case("application/json")
}

fn error_body(answer: &http::Response<Bytes>) -> Option<ErrorBody> {
    of_our_type(answer).then(|| serde_json::from_slice(answer.body()).ok()).flatten()
}

/// Whether a 2xx answers this call: a body where one is asked for, an empty one or one without an error where not.
fn success(call: &Call, answer: &http::Response<Bytes>) -> bool {
    let wants_body = matches!(call, Call::Poll { .. } | Call::Register(_) | Call::Rotate(_));
    if answer.body().is_empty() {
        return !wants_body;
    }
    let body: Option<serde_json::Value> =
        of_our_type(answer).then(|| serde_json::from_slice(answer.body()).ok()).flatten();
    body.is_some_and(|body| body.is_object() && body.get("error").is_none() && body.get("jsonrpc").is_none())
}
