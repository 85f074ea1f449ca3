use http::Request;
use http_body_util::BodyExt;

use super::*;

fn odoo() -> Odoo {
    Odoo::new(1, || "2026-06-04T10:00:00Z".parse().expect("a date"))
}

async fn ask(odoo: &Odoo, method: &str, path: &str, content: &str, body: String) -> (http::response::Parts, Bytes) {
    let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, content);
    let request = request.body(Full::<Bytes>::from(body)).expect("a request");
    let (parts, body) = odoo.handle("browser", request).await.expect("an answer").into_parts();
    (parts, body.collect().await.expect("whole").to_bytes())
}

async fn post(odoo: &Odoo, what: &str, body: Value) -> (u16, Value) {
    let (parts, answer) = ask(odoo, "POST", &format!("{API}{what}"), JSON, body.to_string()).await;
    (parts.status.as_u16(), serde_json::from_slice(&answer).expect("JSON"))
}

async fn state(odoo: &Odoo) -> Value {
    let (parts, answer) = ask(odoo, "GET", "/console/api/state", "", String::new()).await;
    assert_eq!(parts.status, 200);
    serde_json::from_slice(&answer).expect("JSON")
}

async fn registered() -> (Odoo, String) {
    let odoo = odoo();
    let (status, answer) = post(&odoo, "tokens", json!({"cluster": "c1"})).await;
    assert_eq!((status, &answer["cluster"]), (200, &json!("c1")));
    let token = answer["token"].as_str().expect("a token").to_string();
    let body =
        json!({"registrationToken": token, "displayName": "<b>edge</b>", "operatorVersion": "1.2.3"}).to_string();
    let request = Request::builder()
        .method("POST")
        .uri("/api/agent/register")
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::ACCEPT, operator::protocol::MEDIA_TYPE)
        .header(header::CONTENT_TYPE, operator::protocol::MEDIA_TYPE)
        .body(Full::<Bytes>::from(body))
        .expect("a request");
    assert_eq!(odoo.handle("operator", request).await.expect("an answer").status(), 200);
    (odoo, token)
}

const GOOD: &str = include_str!("../../../../docs/examples/applicationinstance.yaml");

#[tokio::test(start_paused = true)]
async fn the_page_brings_everything_along_and_lets_nothing_else_in() {
    let (parts, page) = ask(&odoo(), "GET", "/", "", String::new()).await;
    assert_eq!((parts.status.as_u16(), parts.headers[header::CONTENT_TYPE].to_str().ok()), (200, Some(HTML)));
    let policy = parts.headers[header::CONTENT_SECURITY_POLICY].to_str().expect("text");
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let page = std::str::from_utf8(&page).expect("UTF-8");
    for outside in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!page.contains(outside), "the page names {outside}");
    }
    for way_in in [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "onclick=",
        "style=\"",
    ] {
        assert!(!page.contains(way_in), "the page has {way_in}");
    }
    assert_eq!(page.matches("<script>").count(), 1);
    assert_eq!(page.matches("<style>").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_empty_control_plane_says_that_it_is_empty() {
    let state = state(&odoo()).await;
    for list in ["clusters", "tokens", "jobs", "objects", "audit"] {
        assert_eq!(state[list], json!([]), "{list}");
    }
    assert_eq!(state["down"], false);
}

#[tokio::test(start_paused = true)]
async fn it_shows_what_there_is_and_no_secret() {
    let (odoo, token) = registered().await;
    let (status, answer) = post(&odoo, "jobs", json!({"cluster": "c1", "yaml": GOOD})).await;
    assert_eq!(status, 200, "{answer}");
    let open = post(&odoo, "tokens", json!({})).await.1;
    let state = state(&odoo).await;
    assert_eq!(state["clusters"][0]["name"], "<b>edge</b>", "the page shows text as text");
    assert_eq!(
        (&state["clusters"][0]["phase"], &state["clusters"][0]["operatorVersion"]),
        (&json!("Connected"), &json!("1.2.3"))
    );
    assert_eq!((&state["jobs"][0]["id"], &state["jobs"][0]["state"]), (&answer["job"], &json!("queued")));
    assert_eq!(state["jobs"][0]["what"], "apply ApplicationInstance org-a/files");
    assert_eq!(state["jobs"][0]["expires"], "2026-06-04T10:15:00Z");
    assert_eq!(state["audit"][2]["text"], "Cluster registered");
    let text = state.to_string();
    let credential = odoo.look(|state| state.clusters["c1"].credential.clone().expect("one").token);
    for secret in [token, open["token"].as_str().expect("a token").into(), credential] {
        assert!(!text.contains(&secret), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_is_wrong_is_not_sent_unless_it_shall_be() {
    let (odoo, _) = registered().await;
    let wrong = GOOD.replace("version: 6.6.0", "version: latest");
    let (status, answer) = post(&odoo, "jobs", json!({"cluster": "c1", "yaml": wrong})).await;
    assert_eq!(
        (status, &answer["errors"][0]["line"], &answer["errors"][0]["field"]),
        (422, &json!(17), &json!("spec.chart.version"))
    );
    assert_eq!(post(&odoo, "jobs", json!({"cluster": "c2", "yaml": GOOD})).await.0, 422);
    assert!(odoo.look(|state| state.jobs.is_empty()));
    assert_eq!(post(&odoo, "jobs", json!({"cluster": "c1", "yaml": wrong, "unchecked": true})).await.0, 200);
    assert_eq!(post(&odoo, "jobs", json!({"cluster": "c1", "yaml": "a: [", "unchecked": true})).await.0, 422);
}

#[tokio::test(start_paused = true)]
async fn each_button_does_what_it_says() {
    let (odoo, _) = registered().await;
    let object = json!({"cluster": "c1", "apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance", "namespace": "org-a", "name": "files"});
    let (_, delete) = post(&odoo, "delete", object).await;
    let (_, rotate) = post(&odoo, "intents", json!({"cluster": "c1", "intent": "rotate-operator-credentials"})).await;
    assert_eq!(post(&odoo, "intents", json!({"cluster": "c1", "intent": "dance"})).await.0, 422);
    let kinds = odoo.look(|state| {
        [&delete, &rotate].map(|answer| state.jobs[answer["job"].as_str().expect("an id")].wire["kind"].clone())
    });
    assert_eq!(kinds, [json!("delete"), json!("intent")]);
    assert_eq!(post(&odoo, "redeliver", json!({"job": delete["job"]})).await.0, 200);
    assert!(odoo.look(|state| state.jobs[delete["job"].as_str().expect("an id")].again));
    assert_eq!(post(&odoo, "redeliver", json!({"job": "x"})).await.0, 404);
    assert_eq!(post(&odoo, "switch", json!({"down": true})).await.0, 200);
    assert_eq!(state(&odoo).await["down"], true, "the console stays up");
    let poll = Request::get("/api/agent/jobs?cluster=c1&wait=1").body(Full::<Bytes>::default()).expect("a request");
    assert!(odoo.handle("operator", poll).await.is_err());
    assert_eq!(post(&odoo, "switch", json!({"down": false})).await.0, 200);
    assert_eq!(post(&odoo, "revoke", json!({"cluster": "c1"})).await.0, 200);
    assert_eq!(state(&odoo).await["clusters"][0]["phase"], "Revoked");
}

#[tokio::test(start_paused = true)]
async fn a_page_of_another_site_changes_nothing() {
    let odoo = odoo();
    for content in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""] {
        let (parts, _) = ask(&odoo, "POST", "/console/api/tokens", content, "{}".into()).await;
        assert_eq!(parts.status, 415, "{content}");
    }
    assert_eq!(ask(&odoo, "GET", "/console/api/tokens", "", String::new()).await.0.status, 405);
    assert_eq!(ask(&odoo, "OPTIONS", "/console/api/tokens", "", String::new()).await.0.status, 405);
    assert!(odoo.look(|state| state.tokens.is_empty()));
    assert_eq!(ask(&odoo, "GET", "/web/login", "", String::new()).await.0.status, 404);
    assert_eq!(post(&odoo, "nothing", json!({})).await.0, 404);
    assert_eq!(post(&odoo, "jobs", json!({"yaml": 1})).await.0, 400);
}
