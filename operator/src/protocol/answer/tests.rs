use http::HeaderMap;
use serde_json::{Value, json};

use super::*;
use crate::protocol::event::EventBatch;
use crate::protocol::job::StatusBody;
use crate::protocol::register::{RegisterRequest, RotateRequest};

const OURS: &str = r#"{"error":"gone","message":"no such job","requestId":"q-1"}"#;
/// What a session or a JSON route of Odoo answers.
const ENVELOPE: &str = r#"{"jsonrpc":"2.0","id":null,"error":{"code":200,"message":"Odoo Server Error"}}"#;
const HTML: &str = "<html><title>404 Not Found</title></html>";

fn calls() -> Vec<Call> {
    let job = || "j".to_string();
    let status = StatusBody {
        phase: "Ready".into(),
        conditions: Vec::new(),
        message: String::new(),
        timestamp: "2026-05-28T10:00:00Z".into(),
        sequence: 1,
    };
    let register = RegisterRequest {
        registration_token: SecretText::new("t"),
        cluster_id: None,
        display_name: None,
        registration_id: "r".into(),
        public_key: None,
        operator_version: "0.1.0".into(),
        connectivity_mode: "pull".into(),
    };
    vec![
        Call::Poll { cluster: "c1".into(), wait: Duration::from_secs(30) },
        Call::Acknowledge { job: job() },
        Call::Status { job: job(), body: status },
        Call::Result { job: job(), body: "{}".into() },
        Call::Events(EventBatch { cluster_id: None, events: Vec::new() }),
        Call::Register(register),
        Call::Rotate(RotateRequest::default()),
        Call::Decommission,
    ]
}

fn answer(status: u16, media: &str, body: &str) -> Result<http::Response<Bytes>, TransportError> {
    let mut answer = http::Response::new(Bytes::copy_from_slice(body.as_bytes()));
    *answer.status_mut() = status.try_into().expect("a status");
    if !media.is_empty() {
        answer.headers_mut().insert(header::CONTENT_TYPE, media.parse().expect("a media type"));
    }
    Ok(answer)
}

/// The outcome in a word.
fn word(result: &Result<Bytes, Trouble>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(Trouble::Unreachable { late: false, .. }) => "unreachable",
        Err(Trouble::Unreachable { late: true, .. }) => "late",
        Err(Trouble::Throttled { .. }) => "throttled",
        Err(Trouble::Misconfigured { .. }) => "misconfigured",
        Err(Trouble::Unauthorized) => "unauthorized",
        Err(Trouble::Forbidden { ours: true }) => "forbidden",
        Err(Trouble::Forbidden { ours: false }) => "forbidden by a stranger",
        Err(Trouble::Refused { .. }) => "refused",
        Err(Trouble::NotFound) => "not found",
        Err(Trouble::Conflict) => "conflict",
        Err(Trouble::Closed(_)) => "closed",
    }
}

/// Every endpoint × every status × with and without our error body (contract §17.2).
#[test]
fn a_status_that_is_no_success_means_the_same_for_every_endpoint() {
    let rows: &[(&[u16], &str, &str)] = &[
        // status, with our error body, with any other answer
        (&[400, 413, 415, 422], "refused", "refused"),
        (&[401], "unauthorized", "unauthorized"),
        (&[403], "forbidden", "forbidden by a stranger"),
        (&[404], "not found", "misconfigured"),
        (&[409], "conflict", "conflict"),
        (&[429], "throttled", "throttled"),
        (&[500, 501, 502, 503, 504, 599], "unreachable", "unreachable"),
        (&[300, 301, 302, 303, 304, 307, 308], "misconfigured", "misconfigured"),
        (&[201, 203, 205, 206, 299], "misconfigured", "misconfigured"),
        (&[402, 405, 406, 408, 410, 418, 421, 451, 499, 600, 999], "misconfigured", "misconfigured"),
    ];
    let strangers = [
        ("", ""),
        ("text/html; charset=utf-8", HTML),
        ("text/html", OURS),
        ("application/json", ENVELOPE),
        ("application/json", r#"{"error":"Not Found","status":404,"path":"/"}"#),
        ("application/json", r#"{"error":404,"message":"x"}"#),
        ("application/json", "{"),
        ("application/vnd.vworkspace.agent.v2+json", OURS),
    ];
    for call in calls() {
        for (statuses, ours, other) in rows {
            for status in *statuses {
                for media in [MEDIA_TYPE, "application/json", "Application/JSON ; charset=UTF-8"] {
                    let result = read(&call, answer(*status, media, OURS), Duration::ZERO);
                    assert_eq!(word(&result), *ours, "{} {status} {media}", call.name());
                }
                for (media, body) in strangers {
                    let result = read(&call, answer(*status, media, body), Duration::ZERO);
                    assert_eq!(word(&result), *other, "{} {status} {media} {body}", call.name());
                }
            }
        }
    }
}

#[test]
fn a_success_is_what_the_endpoint_promises() {
    let jobs = r#"{"jobs":[{"id":"a"}],"novel":1}"#;
    let register = r#"{"clusterId":"c1","token":"t","expiresAt":7,"novel":{"error":1}}"#;
    let rotate = r#"{"token":"t2","expiresAt":"2026-06-04T10:00:00Z"}"#;
    // Bodies without which the endpoint means nothing.
    for call in calls() {
        let wanted = match call {
            Call::Poll { .. } => Some(jobs),
            Call::Register(_) => Some(register),
            Call::Rotate(_) => Some(rotate),
            _ => None,
        };
        for status in [200, 202, 204] {
            let is = |media: &str, body: &str| word(&read(&call, answer(status, media, body), Duration::ZERO));
            let name = format!("{} {status}", call.name());
            let empty = if wanted.is_some() { "misconfigured" } else { "ok" };
            assert_eq!((is("", ""), is("text/html", "")), (empty, empty), "{name}");
            for body in
                [OURS, ENVELOPE, r#"{"jsonrpc":"2.0","result":{}}"#, r#"{"error":null}"#, "{", HTML, "\u{feff}{}"]
            {
                assert_eq!(is("application/json", body), "misconfigured", "{name} {body}");
            }
            let good = wanted.unwrap_or(r#"{"ok":true}"#);
            assert_eq!((is(MEDIA_TYPE, good), is("application/json", good)), ("ok", "ok"), "{name}");
            for media in
                ["", "text/html", "text/plain", "application/vnd.vworkspace.agent.v2+json", "application/jsonx"]
            {
                assert_eq!(is(media, good), "misconfigured", "{name} {media}");
            }
            if wanted.is_some() {
                for body in ["{}", "[]", "null", "true"] {
                    assert_eq!(is(MEDIA_TYPE, body), "misconfigured", "{name} {body}");
                }
            }
        }
    }
}

#[test]
fn a_token_that_could_not_be_used_is_not_taken() {
    for token in [json!(""), json!(" t"), json!("t\n"), json!("a\u{1}b"), json!(7), Value::Null] {
        for call in calls() {
            let body = json!({"clusterId": "c1", "token": token}).to_string();
            if matches!(call, Call::Register(_) | Call::Rotate(_)) {
                let result = read(&call, answer(200, MEDIA_TYPE, &body), Duration::ZERO);
                assert_eq!(word(&result), "misconfigured", "{} {token}", call.name());
            }
        }
    }
}

#[test]
fn one_odd_job_does_not_make_the_poll_fail() {
    let poll = &calls()[0];
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    for odd in [deep.as_str(), "1e999", r#""\ud800""#] {
        let body = format!(r#"{{"jobs":[{{"id":"a","payload":{odd}}}]}}"#);
        assert_eq!(word(&read(poll, answer(200, MEDIA_TYPE, &body), Duration::ZERO)), "ok", "{odd:.20}");
    }
}

#[test]
fn what_ends_a_long_poll_is_told_from_an_outage() {
    let poll = &calls()[0];
    let reset = || Err(TransportError::Unknown("connection reset".into()));
    for (answer, after, expected) in [
        (answer(502, "text/html", HTML), 11, "late"),
        (answer(504, "", ""), 11, "late"),
        (answer(504, "", ""), 10, "unreachable"),
        (answer(500, "", ""), 11, "unreachable"),
        (answer(503, "", ""), 11, "unreachable"),
        (reset(), 11, "late"),
        (reset(), 10, "unreachable"),
        (Err(TransportError::Unreachable("connection refused".into())), 11, "unreachable"),
        (Err(TransportError::TooLarge(1)), 11, "misconfigured"),
    ] {
        assert_eq!(word(&read(poll, answer.clone(), Duration::from_secs(after))), expected, "{answer:?} {after}");
    }
}

#[test]
fn a_server_may_ask_for_ten_minutes_at_most() {
    let date = Some("Thu, 28 May 2026 10:00:00 GMT");
    for (after, date, wait) in [
        (None, date, None),
        (Some("0"), None, Some(0)),
        (Some(" 7 "), None, Some(7)),
        (Some("600"), None, Some(600)),
        (Some("601"), None, Some(600)),
        (Some("99999999999999999999999"), None, Some(600)),
        (Some("-1"), None, None),
        (Some("1.5"), None, None),
        (Some("soon"), date, None),
        (Some(""), date, None),
        (Some("Thu, 28 May 2026 10:01:30 GMT"), date, Some(90)),
        (Some("Thu, 28 May 2026 09:00:00 GMT"), date, Some(0)),
        (Some("Fri, 29 May 2026 10:00:00 GMT"), date, Some(600)),
        (Some("Thu, 28 May 2026 10:01:30 GMT"), None, None),
    ] {
        let mut answer = answer(429, "", "").expect("an answer");
        let mut set = |name, value: Option<&str>| {
            if let Some(value) = value {
                answer.headers_mut().insert(name, value.parse().expect("a header"));
            }
        };
        set(header::RETRY_AFTER, after);
        set(header::DATE, date);
        let expected = Trouble::Throttled { after: wait.map(Duration::from_secs) };
        assert_eq!(read(&calls()[1], Ok(answer), Duration::ZERO), Err(expected), "{after:?} {date:?}");
    }
}

#[test]
fn date_and_request_id_are_told_where_they_are_the_control_planes() {
    let dated = |status, media: &str, body: &str| {
        answer(status, media, body).map(|mut answer| {
            let headers: &mut HeaderMap = answer.headers_mut();
            headers.insert(header::DATE, HeaderValue::from_static("Thu, 28 May 2026 10:00:00 GMT"));
            answer
        })
    };
    let ten: Option<Timestamp> = "2026-05-28T10:00:00Z".parse().ok();
    let id = Some("q-1".to_string());
    for (answer, told_date, request_id) in [
        (dated(200, MEDIA_TYPE, r#"{"jobs":[]}"#), ten, None),
        (dated(204, "", ""), ten, None),
        (dated(409, MEDIA_TYPE, OURS), ten, id),
        (dated(502, "text/html", HTML), None, None),
        (dated(302, "", ""), None, None),
        (answer(204, "", ""), None, None),
        (answer(400, MEDIA_TYPE, r#"{"error":"x","message":"","requestId":"a b"}"#), None, None),
        (answer(400, MEDIA_TYPE, r#"{"error":"x","message":"","requestId":7}"#), None, None),
    ] {
        let answer = answer.expect("an answer");
        assert_eq!((date(&answer), super::request_id(&answer)), (told_date, request_id), "{answer:?}");
    }
}

#[test]
fn what_a_server_says_is_kept_short_and_our_secrets_are_taken_out() {
    let body = json!({"error": "bad", "message": format!("Bearer abcdefgh12345 {}", "ü".repeat(5000))}).to_string();
    let Err(Trouble::Refused { status: 422, message }) =
        read(&calls()[3], answer(422, MEDIA_TYPE, &body), Duration::ZERO)
    else {
        panic!("not refused")
    };
    assert!(message.starts_with("bad: Bearer [REDACTED] ü") && message.len() <= WHY_MAX, "{message:.80}");
    let echo = Trouble::Misconfigured { why: "unknown key s3cr3t!".into() };
    assert_eq!(echo.clone().without(&SecretText::new("")), echo);
    let without = echo.without(&SecretText::new("s3cr3t"));
    assert_eq!(without, Trouble::Misconfigured { why: "unknown key [REDACTED]!".into() });
    let media = read(&calls()[0], answer(200, "application/vnd.vworkspace.agent.v2+json", "{}"), Duration::ZERO);
    let text = media.expect_err("another major version").to_string();
    assert!(text.contains("application/vnd.vworkspace.agent.v2+json"), "{text}");
}
