//! Answers: success, the error body of contract §17.1, and the faces that are not the protocol.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use jiff::Timestamp;
use operator::protocol::MEDIA_TYPE;
use operator::protocol::answer::ErrorBody;
use serde_json::Value;

use super::dials::Face;
use crate::front::Broken;

/// What is answered, before it is bytes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    /// 204.
    Done,
    /// 200 with a body.
    Body(Value),
    /// An error in our words.
    Refused(Refusal),
}

/// A status, a code and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) message: String,
}

pub(super) fn refuse(status: u16, code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal { status, code, message: message.into() }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Answer {
    pub(super) fn status(&self) -> u16 {
        match self {
            Self::Done => 204,
            Self::Body(_) => 200,
            Self::Refused(refusal) => refusal.status,
        }
    }

    pub(super) fn response(self, number: u64, now: Timestamp) -> Response<Full<Bytes>> {
        let status = self.status();
        let body = match self {
            Self::Done => return plain(status, now, None, Bytes::new()),
            Self::Body(body) => body.to_string(),
            Self::Refused(refusal) => {
                let body = ErrorBody {
                    error: refusal.code.into(),
                    message: refusal.message,
                    request_id: Some(format!("req-{number:06}")),
                };
                serde_json::to_string(&body).expect("an error body is text")
            }
        };
        plain(status, now, Some(MEDIA_TYPE), body)
    }
}

/// Any answer, dated.
pub(super) fn plain(
    status: u16,
    now: Timestamp,
    media: Option<&'static str>,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(date) = HeaderValue::from_str(&now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()) {
        response.headers_mut().insert(header::DATE, date);
    }
    if let Some(media) = media {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    }
    response
}

const HTML: &str = "text/html; charset=utf-8";

/// What a face shows to a request for `host`; `None`: the protocol.
pub(super) fn face(
    face: &Face,
    host: Option<&str>,
    number: u64,
    now: Timestamp,
) -> Option<Result<Response<Full<Bytes>>, Broken>> {
    let page =
        |status: u16, title: &str| plain(status, now, Some(HTML), format!("<!doctype html><title>{title}</title>"));
    let located = |mut response: Response<Full<Bytes>>, to: &str| {
        if let Ok(to) = HeaderValue::from_str(to) {
            response.headers_mut().insert(header::LOCATION, to);
        }
        response
    };
    let answer = match face {
        Face::Healthy => return None,
        Face::Down => return Some(Err(Broken("connection refused"))),
        Face::NotFoundPage => page(404, "404 Not Found"),
        Face::LoginRedirect => located(page(303, "Redirecting..."), "/web/login"),
        Face::ForbiddenPage => page(403, "403 Forbidden"),
        Face::Portal => page(200, "Log in"),
        Face::RpcEnvelope => {
            let error = serde_json::json!({"code": 200, "message": "Odoo Server Error", "data": {"name": "werkzeug.exceptions.NotFound"}});
            let body = serde_json::json!({"jsonrpc": "2.0", "id": null, "error": error});
            plain(200, now, Some("application/json"), body.to_string())
        }
        Face::Status(status) => {
            Answer::from(refuse(*status, "Unavailable", "the server is in maintenance")).response(number, now)
        }
        Face::Throttled { retry_after } => {
            let mut response = Answer::from(refuse(429, "TooManyRequests", "slow down")).response(number, now);
            if let Some(seconds) = retry_after {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
            }
            response
        }
        Face::Oversized { bytes } => {
            let mut body = b"{\"jobs\":[]}".to_vec();
            body.resize((*bytes).max(body.len()), b' ');
            plain(200, now, Some(MEDIA_TYPE), body)
        }
        Face::OtherMajor => plain(200, now, Some("application/vnd.vworkspace.agent.v2+json"), "{\"jobs\":[]}"),
        Face::Moved { to } => {
            let new: Option<http::Uri> = to.parse().ok();
            if new.as_ref().and_then(|new| new.authority()).is_some_and(|new| Some(new.as_str()) == host) {
                return None;
            }
            located(page(301, "Moved Permanently"), to)
        }
    };
    Some(Ok(answer))
}
