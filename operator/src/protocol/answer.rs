//! What an answer means, or that there was none (contract §15.2, §17.1, §17.2).

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, header};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::job::Jobs;
use super::register::{RegisterAnswer, RotateAnswer};
use super::{Call, MEDIA_TYPE, skim};
use crate::api::secret::SecretText;
use crate::foreign::text::{cut, redacted, stable};
use crate::transport::TransportError;

/// Why a call was not answered as asked, named by what the caller can do about it. No variant carries a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
pub enum Trouble {
    /// No connection, reset, timeout, 5xx: the request may have been handled. Repeat the same bytes with backoff.
    #[error("the control plane did not answer: {why}")]
    Unreachable {
        /// For the log, and for a condition if it names a certificate: never an address or a token.
        why: String,
        /// 502, 504 or a reset that came later than 10 s: how long polls of the server live (contract §17.2). No answer in
        /// time counts too: a connection that something on the way dropped without a word.
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

impl Trouble {
    /// The same without this secret, should the other side have sent it back to us.
    #[must_use]
    pub fn without(mut self, secret: &SecretText) -> Self {
        if let Self::Unreachable { why, .. } | Self::Misconfigured { why } | Self::Refused { message: why, .. } =
            &mut self
            && !secret.is_empty()
        {
            *why = why.replace(secret.expose(), "[REDACTED]");
        }
        self
    }
}

/// The error body (contract §17.1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    /// A code for machines.
    pub error: String,
    /// A sentence for people. Many frameworks answer with an `error` alone, so without this one it is not our body.
    pub message: String,
    /// Joins our log with the server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// The server's clock, whole seconds, from the `Date` header of an answer of our media type or of a 204: what stands between
/// us and the control plane has a clock of its own.
pub fn date(answer: &http::Response<Bytes>) -> Option<Timestamp> {
    let ours = of_our_type(answer) || answer.status() == http::StatusCode::NO_CONTENT;
    text(answer, &header::DATE).filter(|_| ours).and_then(moment)
}

/// `requestId` of an error body, for the log; only if it looks like an id.
pub fn request_id(answer: &http::Response<Bytes>) -> Option<String> {
    let printable = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    error_body(answer)?.request_id.filter(|id| id.len() <= 128 && id.bytes().all(printable))
}

/// The longest wait that a server may ask for (contract §17.1).
const THROTTLE_MAX: Duration = Duration::from_secs(600);
/// Longest text of a trouble, in bytes (contract §22).
const WHY_MAX: usize = 1024;
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
    let why = |why: &str| cut(&stable(why), WHY_MAX);
    let answer = match answer {
        Ok(answer) => answer,
        Err(TransportError::TooLarge(max)) => {
            return Err(Trouble::Misconfigured { why: format!("an answer of more than {max} bytes") });
        }
        Err(TransportError::Unreachable(text)) => return Err(Trouble::Unreachable { why: why(&text), late: false }),
        Err(TransportError::Unknown(text)) => return Err(Trouble::Unreachable { why: why(&text), late }),
    };
    let status = answer.status().as_u16();
    let ours = error_body(&answer);
    let message = || {
        let body = ours.clone().unwrap_or_default();
        cut(&stable(&format!("{}: {}", body.error, body.message)), WHY_MAX)
    };
    match status {
        200 | 202 | 204 if success(call, &answer) => Ok(answer.into_body()),
        200..=299 => Err(Trouble::Misconfigured { why: format!("an answer {status} {}", kind_of(&answer)) }),
        401 => Err(Trouble::Unauthorized),
        403 => Err(Trouble::Forbidden { ours: ours.is_some() }),
        404 if ours.is_some() => Err(Trouble::NotFound),
        409 => Err(Trouble::Conflict),
        400 | 413 | 415 | 422 => Err(Trouble::Refused { status, message: message() }),
        429 => Err(Trouble::Throttled { after: retry_after(&answer) }),
        500..=599 => {
            Err(Trouble::Unreachable { why: format!("it answers {status}"), late: late && matches!(status, 502 | 504) })
        }
        _ => Err(Trouble::Misconfigured { why: format!("it answers {status}") }),
    }
}

fn text<'a>(answer: &'a http::Response<Bytes>, name: &http::HeaderName) -> Option<&'a str> {
    answer.headers().get(name)?.to_str().ok().map(str::trim)
}

fn media_type(answer: &http::Response<Bytes>) -> &str {
    let content = text(answer, &header::CONTENT_TYPE).unwrap_or_default();
    content.split(';').next().unwrap_or_default().trim()
}

fn of_our_type(answer: &http::Response<Bytes>) -> bool {
    let media = media_type(answer);
    media.eq_ignore_ascii_case(MEDIA_TYPE) || media.eq_ignore_ascii_case("application/json")
}

/// What is odd about a 2xx, for people.
fn kind_of(answer: &http::Response<Bytes>) -> String {
    match (answer.body().is_empty(), media_type(answer)) {
        (true, _) => "without a body".into(),
        (false, _) if of_our_type(answer) => "with another body than asked for".into(),
        (false, "") => "of no media type".into(),
        (false, media) => format!("of type {}", cut(&redacted(media), 100)),
    }
}

fn error_body(answer: &http::Response<Bytes>) -> Option<ErrorBody> {
    if !of_our_type(answer) {
        return None;
    }
    // Only the three members count; what is odd beside them is not looked at.
    let members = skim::members(answer.body())?;
    let member = |name| skim::member_of(&members, name).and_then(|value| serde_json::from_slice::<String>(value).ok());
    let envelope = skim::member_of(&members, "jsonrpc").is_some();
    let (error, message) = (member("error")?, member("message")?);
    (!envelope).then(|| ErrorBody { error, message, request_id: member("requestId") })
}

/// Whether a success answers this call (contract §17.2).
fn success(call: &Call, answer: &http::Response<Bytes>) -> bool {
    let body = answer.body();
    let asked_for = matches!(call, Call::Poll { .. } | Call::Register(_) | Call::Rotate(_));
    if body.is_empty() {
        return !asked_for;
    }
    let envelope = |members: Vec<(String, &[u8])>| members.iter().any(|(name, _)| name == "error" || name == "jsonrpc");
    if !of_our_type(answer) || skim::members(body).is_some_and(envelope) {
        return false;
    }
    match call {
        Call::Poll { .. } => Jobs::read(body).is_some(),
        Call::Register(_) => serde_json::from_slice::<RegisterAnswer>(body)
            .is_ok_and(|answer| !answer.cluster_id.is_empty() && usable(&answer.token)),
        Call::Rotate(_) => serde_json::from_slice::<RotateAnswer>(body).is_ok_and(|answer| usable(&answer.token)),
        _ => serde_json::from_slice::<IgnoredAny>(body).is_ok(),
    }
}

/// Whether a credential can be stored, read back and sent: an old one must not be given up for one that cannot.
fn usable(token: &str) -> bool {
    !token.is_empty() && token.trim() == token && HeaderValue::from_str(token).is_ok()
}

/// `Retry-After` in seconds, or as a date by the server's own clock (contract §17.1).
fn retry_after(answer: &http::Response<Bytes>) -> Option<Duration> {
    let after = text(answer, &header::RETRY_AFTER)?;
    let seconds = match moment(after) {
        Some(then) => then.as_second() - moment(text(answer, &header::DATE)?)?.as_second(),
        // More digits than a number can have are a long time.
        None if !after.is_empty() && after.bytes().all(|byte| byte.is_ascii_digit()) => {
            after.parse().unwrap_or(i64::MAX)
        }
        None => return None,
    };
    Some(Duration::from_secs(seconds.max(0).unsigned_abs()).min(THROTTLE_MAX))
}

fn moment(text: &str) -> Option<Timestamp> {
    DateTimeParser::new().parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests;
