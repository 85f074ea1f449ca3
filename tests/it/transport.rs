//! The way to the control plane in production, against real sockets: certificates, deadlines, sizes, redirects, proxies
//! (contract §17.1). What an answer means is `protocol::answer`'s business; here is what arrives of it.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use operator::api::secret::SecretText;
use operator::protocol::answer::{self, Trouble};
use operator::protocol::{Call, MEDIA_TYPE, proof};
use operator::transport::reqwest::Reqwest;
use operator::transport::{ANSWER_MAX, Dial, Proxy, Transport, TransportError};
use server::{Authority, Server, Step, whole};

mod server;

const HOST: &str = "127.0.0.1";
/// Far more than loopback needs; reached only by a test that fails.
const LONG: Duration = Duration::from_secs(60);
/// For what never comes.
const SHORT: Duration = Duration::from_millis(200);

type Answer = Result<http::Response<Bytes>, TransportError>;

fn direct() -> Reqwest {
    Reqwest::new(Proxy::default())
}

fn get(url: &str) -> http::Request<Bytes> {
    http::Request::get(url).body(Bytes::new()).expect("a URL")
}

fn post(url: &str) -> http::Request<Bytes> {
    http::Request::post(url).body(Bytes::from_static(b"{}")).expect("a URL")
}

async fn over_tls(server: &Server, dial: &Dial, deadline: Duration) -> Answer {
    direct().send(get(&format!("https://{}/x", server.address)), deadline, dial).await
}

fn ok() -> Vec<Step> {
    whole("200 OK", "content-type: application/json\r\n", "{}")
}

fn why(answer: Answer) -> String {
    match answer {
        Err(TransportError::Unreachable(why)) => format!("unreachable: {why}"),
        Err(TransportError::Unknown(why)) => format!("unknown: {why}"),
        Err(TransportError::TooLarge(max)) => format!("larger than {max}"),
        Ok(answer) => format!("answered {}", answer.status()),
    }
}

#[tokio::test]
async fn a_certificate_must_be_trusted_in_time_and_for_this_host() {
    let (ours, theirs, renewed) = (Authority::new("ours"), Authority::new("theirs"), Authority::new("ours"));
    let cases = [
        (ours.server(HOST, 4000), "answered 200 OK"),
        (theirs.server(HOST, 4000), "issuer that neither the system nor caBundleSecretRef trusts"),
        (renewed.server(HOST, 4000), "issuer that neither the system nor caBundleSecretRef trusts"),
        (ours.server(HOST, 2021), "certificate has expired"),
        (ours.server("odoo.example", 4000), "certificate is not for 127.0.0.1, but for"),
    ];
    for (config, expected) in cases {
        let server = Server::start(Some(config), |_| ok()).await;
        let answer = over_tls(&server, &ours.dial(), LONG).await;
        let (first, second) = (why(answer), why(over_tls(&server, &ours.dial(), LONG).await));
        assert!(first.contains(expected), "{expected}: {first}");
        assert_eq!(first, second, "a text that stands in a condition does not change from one attempt to the next");
        assert!(expected.starts_with("answered") || first.starts_with("unreachable: "), "{first}");
        assert_eq!(server.seen().is_empty(), !expected.starts_with("answered"), "nothing is sent to a stranger");
    }
    let server = Server::start(Some(ours.server(HOST, 4000)), |_| ok()).await;
    let without = why(over_tls(&server, &Dial::default(), LONG).await);
    assert!(without.contains("neither the system nor"), "{without}");
}

#[tokio::test]
async fn a_changed_bundle_counts_from_the_next_request() {
    let (old, new) = (Authority::new("ours"), Authority::new("ours"));
    let server = Server::start(Some(new.server(HOST, 4000)), |_| ok()).await;
    let (transport, url) = (direct(), format!("https://{}/x", server.address));
    for (dial, good) in [(old.dial(), false), (new.dial(), true), (old.dial(), false)] {
        assert_eq!(transport.send(get(&url), LONG, &dial).await.is_ok(), good);
    }
    let both = Dial { roots: Some(format!("{}\n{}", old.pem, new.pem).into()), ..Dial::default() };
    assert!(transport.send(get(&url), LONG, &both).await.is_ok(), "a bundle may hold several");
}

#[tokio::test]
async fn mutual_tls_presents_the_pair() {
    let authority = Authority::new("ours");
    let server = Server::start(Some(authority.mutual(HOST)), |_| ok()).await;
    let without = why(over_tls(&server, &authority.dial(), LONG).await);
    assert!(without.contains("client certificate"), "{without}");
    assert!(server.seen().is_empty());
    let dial = Dial { client: Some(authority.pair()), ..authority.dial() };
    assert_eq!(why(over_tls(&server, &dial, LONG).await), "answered 200 OK");
}

#[tokio::test]
async fn the_deadline_covers_head_and_body() {
    let authority = Authority::new("ours");
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345".to_vec();
    for steps in
        [vec![Step::Hang], vec![Step::Send(head[..20].to_vec()), Step::Hang], vec![Step::Send(head), Step::Hang]]
    {
        let server = Server::start(Some(authority.server(HOST, 4000)), move |_| steps.clone()).await;
        assert_eq!(why(over_tls(&server, &authority.dial(), SHORT).await), "unknown: no answer in time");
    }
}

#[tokio::test]
async fn an_answer_beyond_the_cap_is_refused_as_soon_as_that_is_known() {
    let authority = Authority::new("ours");
    let declared = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", ANSWER_MAX + 1);
    let chunk = [format!("{:x}\r\n", 1 << 16).into_bytes(), vec![b' '; 1 << 16], b"\r\n".to_vec()].concat();
    let endless = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for steps in [vec![Step::Send(declared.into_bytes()), Step::Hang], vec![Step::Send(endless), Step::Endless(chunk)]]
    {
        let server = Server::start(Some(authority.server(HOST, 4000)), move |_| steps.clone()).await;
        let answer = over_tls(&server, &authority.dial(), LONG).await;
        assert_eq!(answer.err(), Some(TransportError::TooLarge(ANSWER_MAX)));
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let server =
        Server::start(None, |_| whole("303 See Other", "location: /web/login\r\nset-cookie: a=b\r\n", "")).await;
    let (transport, url) = (direct(), format!("http://{}/x", server.address));
    for _ in 0..2 {
        assert_eq!(why(transport.send(post(&url), LONG, &Dial::default()).await), "answered 303 See Other");
    }
    let seen = server.seen();
    assert!(seen.len() == 2 && seen.iter().all(|request| request.starts_with("POST /x ") && !request.contains("a=b")));
}

/// A POST whose fate is unknown is the caller's to repeat.
#[tokio::test]
async fn nothing_is_sent_twice() {
    let authority = Authority::new("ours");
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345".to_vec();
    for end in [
        vec![Step::Reset],
        vec![Step::Close],
        vec![Step::Send(half.clone()), Step::Reset],
        vec![Step::Send(half), Step::Close],
    ] {
        let server = Server::start(Some(authority.server(HOST, 4000)), move |request| {
            if request.starts_with("GET") { ok() } else { end.clone() }
        });
        let server = server.await;
        let (transport, url) = (direct(), format!("https://{}/x", server.address));
        // On a new connection, and on one that is kept.
        for warm in [false, true] {
            if warm {
                assert_eq!(why(transport.send(get(&url), LONG, &authority.dial()).await), "answered 200 OK");
            }
            let lost = why(transport.send(post(&url), LONG, &authority.dial()).await);
            assert!(lost.starts_with("unknown: "), "{lost}");
        }
        let posts = server.seen().iter().filter(|request| request.starts_with("POST")).count();
        assert_eq!(posts, 2);
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_not_an_outcome() {
    let server = Server::start(None, |_| [ok(), vec![Step::Close]].concat()).await;
    let (transport, url) = (direct(), format!("http://{}/x", server.address));
    for _ in 0..5 {
        assert_eq!(why(transport.send(post(&url), LONG, &Dial::default()).await), "answered 200 OK");
        // Lets the client see the end of the connection.
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn nobody_there_means_nothing_was_sent() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    drop(listener);
    let nobody = why(direct().send(post(&format!("http://{address}/x")), LONG, &Dial::default()).await);
    assert!(nobody.starts_with("unreachable: Connection refused"), "{nobody}");
}

#[tokio::test]
async fn what_a_call_says_is_what_arrives() {
    let server = Server::start(None, |_| whole("204 No Content", "date: Thu, 28 May 2026 10:00:00 GMT\r\n", "")).await;
    let (token, now) = (SecretText::new("t0k3n"), Timestamp::from_second(1_779_962_400).expect("a time"));
    let call = Call::Acknowledge { job: "../ü %2e".into() };
    let request = call.request(&format!("http://{}/base", server.address), &token, now).expect("a request");
    let answer = direct().send(request, call.deadline(), &Dial::default()).await;
    assert_eq!(answer.as_ref().ok().and_then(answer::date), Some(now));
    assert_eq!(answer::read(&call, answer, Duration::ZERO), Ok(Bytes::new()));
    let seen = server.seen().concat().to_lowercase();
    let path = "/base/api/agent/jobs/..%2f%c3%bc%20%252e/ack";
    assert!(seen.starts_with(&format!("post {path} http/1.1\r\n")), "{seen}");
    // As sent: what the server reads in the request line is what the proof speaks of.
    let proof = proof::sign(&token, "POST", "/base/api/agent/jobs/..%2F%C3%BC%20%252e/ack", now.as_second(), b"");
    for header in ["authorization: bearer t0k3n", &format!("accept: {MEDIA_TYPE}"), "content-length: 0"] {
        assert!(seen.contains(&format!("\r\n{header}\r\n")), "{header}: {seen}");
    }
    assert!(seen.contains(&format!("x-vws-signature: {proof}")) && !seen.contains("content-type"), "{seen}");
}

/// Every kind of wrong answer on the way through the real client to the word that the loops act on.
#[tokio::test]
async fn a_stranger_is_not_the_control_plane() {
    let html = "content-type: text/html\r\n";
    let json = "content-type: application/json\r\n";
    let poll = Call::Poll { cluster: "c1".into(), wait: Duration::from_secs(1) };
    for (status, headers, body) in [
        ("200 OK", html, "<html>"),
        ("200 OK", json, r#"{"jsonrpc":"2.0","id":null,"error":{}}"#),
        ("200 OK", "content-type: application/vnd.vworkspace.agent.v2+json\r\n", r#"{"jobs":[]}"#),
        ("404 Not Found", html, "<html>"),
        ("302 Found", "location: https://odoo.example/web/login\r\n", ""),
    ] {
        let server = Server::start(None, move |_| whole(status, headers, body)).await;
        let base = format!("http://{}", server.address);
        for call in [&poll, &Call::Acknowledge { job: "j".into() }] {
            let request = call.request(&base, &SecretText::new("t"), Timestamp::UNIX_EPOCH).expect("a request");
            let result = answer::read(call, direct().send(request, LONG, &Dial::default()).await, Duration::ZERO);
            assert!(matches!(result, Err(Trouble::Misconfigured { .. })), "{status} {body}: {result:?}");
        }
    }
}

#[tokio::test]
async fn plain_requests_go_through_the_http_proxy() {
    let proxy = Server::start(None, |_| ok()).await;
    let url = format!("http://user:hunter2@{}", proxy.address);
    let setting = Dial { proxy: Proxy { http: Some(url.clone()), ..Proxy::default() }, ..Dial::default() };
    let environment = Reqwest::new(Proxy { http: Some(url), ..Proxy::default() });
    let by_setting = direct().send(post("http://odoo.example/x"), LONG, &setting).await;
    let by_environment = environment.send(post("http://odoo.example/x"), LONG, &Dial::default()).await;
    assert_eq!((why(by_setting), why(by_environment)), ("answered 200 OK".into(), "answered 200 OK".into()));
    let seen = proxy.seen();
    assert_eq!(seen.len(), 2);
    for request in seen {
        assert!(request.starts_with("POST http://odoo.example/x HTTP/1.1\r\n"), "{request}");
        assert!(request.to_lowercase().contains("proxy-authorization: basic dxnlcjpodw50zxiy\r\n"), "{request}");
    }
}

#[tokio::test]
async fn tls_goes_through_a_tunnel_to_the_server_itself() {
    let authority = Authority::new("ours");
    let target = authority.server("odoo.example", 4000);
    let proxy = Server::start(None, move |request| match request.starts_with("CONNECT odoo.example:443 ") {
        true => vec![Step::Send(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()), Step::Tls(target.clone())],
        false => ok(),
    })
    .await;
    let settings = Proxy { https: Some(format!("{}", proxy.address)), ..Proxy::default() };
    let dial = Dial { proxy: settings, ..authority.dial() };
    assert_eq!(why(direct().send(post("https://odoo.example/x"), LONG, &dial).await), "answered 200 OK");
    let seen = proxy.seen();
    assert!(seen.len() == 2 && seen[1].starts_with("POST /x HTTP/1.1\r\n"), "the proxy sees a tunnel alone: {seen:?}");
    assert!(!seen[0].contains("{}"));
}

#[tokio::test]
async fn a_proxy_that_refuses_means_nothing_was_sent() {
    let proxy = Server::start(None, |_| whole("407 Proxy Authentication Required", "", "")).await;
    let url = format!("http://user:hunter2@{}", proxy.address);
    let dial = Dial { proxy: Proxy { https: Some(url), ..Proxy::default() }, ..Dial::default() };
    let refused = why(direct().send(post("https://odoo.example/x"), LONG, &dial).await);
    assert!(refused.starts_with("unreachable: ") && !refused.contains("hunter2"), "{refused}");
    assert!(refused.contains("prox"), "{refused}");
}

#[tokio::test]
async fn exceptions_go_the_direct_way() {
    let server = Server::start(None, |_| ok()).await;
    let proxy = Server::start(None, |_| whole("502 Bad Gateway", "", "")).await;
    let url = format!("http://{}/x", server.address);
    for (none, expected) in [
        ("", "answered 502 Bad Gateway"),
        ("10.0.0.0/8,odoo.example", "answered 502 Bad Gateway"),
        (HOST, "answered 200 OK"),
        ("odoo.example, 127.0.0.0/8", "answered 200 OK"),
        ("*", "answered 200 OK"),
    ] {
        let settings = Proxy { http: Some(format!("http://{}", proxy.address)), https: None, none: Some(none.into()) };
        let dial = Dial { proxy: settings.clone(), ..Dial::default() };
        assert_eq!(why(direct().send(get(&url), LONG, &dial).await), expected, "{none}");
        let environment = Reqwest::new(settings);
        assert_eq!(why(environment.send(get(&url), LONG, &Dial::default()).await), expected, "{none}");
    }
    // Through the proxy by name, unless the exceptions cover the name.
    for (none, sent) in [("*.example", false), (".example", false), ("example", false), ("*.other", true)] {
        let settings = Proxy { http: Some(format!("http://{}", proxy.address)), https: None, none: Some(none.into()) };
        let before = proxy.seen().len();
        let dial = Dial { proxy: settings, ..Dial::default() };
        let _ = direct().send(get("http://no.such.host.example/x"), SHORT, &dial).await;
        assert_eq!(proxy.seen().len() > before, sent, "{none}");
    }
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_named() {
    let authority = Authority::new("ours");
    let (pair, other) = (authority.pair(), authority.pair());
    let crossed = operator::transport::ClientPair { key: other.key.clone(), ..pair.clone() };
    let keyless = operator::transport::ClientPair { key: SecretText::new("hunter2"), ..pair.clone() };
    let nameless = operator::transport::ClientPair { certificate: "hunter2".into(), ..pair };
    let roots = |pem: &'static str| Dial { roots: Some(pem.into()), ..Dial::default() };
    let client = |pair| Dial { client: Some(pair), ..Dial::default() };
    let http = |url: &str| Dial { proxy: Proxy { http: Some(url.into()), ..Proxy::default() }, ..Dial::default() };
    let https = |url: &str| Dial { proxy: Proxy { https: Some(url.into()), ..Proxy::default() }, ..Dial::default() };
    let broken = "-----BEGIN CERTIFICATE-----\nhunter2\n-----END CERTIFICATE-----\n";
    let transport = direct();
    for (dial, field) in [
        (roots("hunter2"), "caBundleSecretRef"),
        (roots(""), "caBundleSecretRef"),
        (roots(broken), "caBundleSecretRef"),
        (roots("-----BEGIN CERTIFICATE-----\naHVudGVyMg==\n-----END CERTIFICATE-----\n"), "caBundleSecretRef"),
        (client(crossed), "tls.crt and tls.key"),
        (client(keyless), "tls.key"),
        (client(nameless), "tls.crt"),
        (http("http://user:hunter2@"), "proxy.httpProxy"),
        (http("socks5://hunter2:1080"), "proxy.httpProxy"),
        (https("http://[hunter2"), "proxy.httpsProxy"),
        (https("http://proxy:port/hunter2"), "proxy.httpsProxy"),
    ] {
        for _ in 0..2 {
            let answer = why(transport.send(post("https://127.0.0.1:9/x"), LONG, &dial).await);
            assert!(answer.starts_with("unreachable: ") && answer.contains(field), "{field}: {answer}");
            assert!(!answer.contains("hunter2"), "{answer}");
        }
    }
}
