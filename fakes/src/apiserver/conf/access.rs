//! K: identity, access, leases.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use super::*;
use crate::apiserver::Authorization;

const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/ns/roles";
const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/ns/rolebindings";

/// A server with RBAC and namespace `ns`.
async fn guarded() -> Server {
    let mut config = Config::new(Clock::new(|| Timestamp::UNIX_EPOCH), 7);
    config.authorization = Authorization::Rbac;
    let server = Server::new(config);
    server.client("test").post("/api/v1/namespaces", &json!({ "metadata": { "name": "ns" } })).await;
    server
}

/// One request with these headers and no others.
async fn ask(server: &Server, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> (u16, Value) {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
    let response = server.handle("test", request.body(Full::new(body)).expect("a request")).await;
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    (code, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

const ALICE: &[(&str, &str)] = &[("authorization", "Bearer admintoken"), ("impersonate-user", "alice")];

async fn grant(server: &Server, name: &str, rules: Value) {
    let client = server.client("test");
    let role = json!({ "metadata": { "name": name }, "rules": rules });
    assert_eq!(client.post(ROLES, &role).await.0, 201);
    let binding = json!({ "metadata": { "name": name }, "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name },
        "subjects": [{ "kind": "User", "name": "alice" }] });
    assert_eq!(client.post(BINDINGS, &binding).await.0, 201);
}

#[tokio::test]
async fn conf_k1() {
    let server = guarded().await;
    let (code, status) = ask(&server, "GET", CONFIG_MAPS, &[("authorization", "Bearer nope")], &Value::Null).await;
    assert_eq!((code, &status["reason"]), (401, &json!("Unauthorized")));
    let (code, status) = ask(&server, "GET", "/api/v1/pods", &[], &Value::Null).await;
    let message = "pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" at the cluster scope";
    assert_eq!((code, &status["message"]), (403, &json!(message)));
}

#[tokio::test]
async fn conf_k2() {
    let server = guarded().await;
    // Before existence: a missing object is forbidden, not missing.
    let (code, status) = ask(&server, "GET", &format!("{CONFIG_MAPS}/none"), ALICE, &Value::Null).await;
    assert_eq!((code, &status["details"]), (403, &json!({ "name": "none", "kind": "configmaps" })));
    let (code, status) = ask(&server, "GET", "/logs", ALICE, &Value::Null).await;
    assert_eq!((code, &status["message"]), (403, &json!("forbidden: User \"alice\" cannot get path \"/logs\"")));
    let binding = json!({ "metadata": { "name": "b" }, "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "x" },
        "subjects": [{ "kind": "User", "name": "alice" }] });
    server.client("test").post(BINDINGS, &binding).await;
    let (_, status) = ask(&server, "GET", CONFIG_MAPS, ALICE, &Value::Null).await;
    assert!(
        status["message"]
            .as_str()
            .is_some_and(|text| text.ends_with(": RBAC: role.rbac.authorization.k8s.io \"x\" not found")),
        "{status}"
    );
    let (code, status) = ask(
        &server,
        "GET",
        CONFIG_MAPS,
        &[("authorization", "Bearer alicetoken"), ("impersonate-user", "bob")],
        &Value::Null,
    )
    .await;
    assert_eq!(code, 403);
    assert!(
        status["message"].as_str().is_some_and(|text| text.contains("cannot impersonate-on:user-info:list resource")),
        "{status}"
    );
    let (code, _) = ask(
        &server,
        "GET",
        CONFIG_MAPS,
        &[("authorization", "Bearer admintoken"), ("impersonate-group", "g")],
        &Value::Null,
    )
    .await;
    assert_eq!(code, 400);
}

#[tokio::test]
async fn conf_k3() {
    let server = guarded().await;
    grant(&server, "power", json!([
        { "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": ["create", "update", "get"] },
        { "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["a"], "verbs": ["get", "create"] },
    ])).await;
    assert_eq!(ask(&server, "GET", &format!("{CONFIG_MAPS}/a"), ALICE, &Value::Null).await.0, 404);
    assert_eq!(ask(&server, "GET", &format!("{CONFIG_MAPS}/b"), ALICE, &Value::Null).await.0, 403);
    let more = json!({ "metadata": { "name": "more" }, "rules": [{ "apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"] }] });
    let (code, status) = ask(&server, "POST", ROLES, ALICE, &more).await;
    let why = "user \"alice\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" \"list\"]}";
    assert_eq!(
        (code, &status["message"]),
        (403, &json!(format!("roles.rbac.authorization.k8s.io \"more\" is forbidden: {why}")))
    );
    let same = json!({ "metadata": { "name": "same" }, "rules": [{ "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["a"], "verbs": ["get"] }] });
    assert_eq!(ask(&server, "POST", ROLES, ALICE, &same).await.0, 201);
    let missing = json!({ "metadata": { "name": "m" }, "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "none" } });
    assert_eq!(ask(&server, "POST", BINDINGS, ALICE, &missing).await.0, 404);
}

#[tokio::test]
async fn conf_k4() {
    let server = guarded().await;
    grant(&server, "reader", json!([{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"] }])).await;
    let reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let review = |verb: &str| json!({ "spec": { "resourceAttributes": { "namespace": "ns", "verb": verb, "resource": "configmaps" } } });
    let (code, answer) = ask(&server, "POST", reviews, ALICE, &review("list")).await;
    assert_eq!((code, &answer["status"]["allowed"]), (201, &json!(true)));
    assert_eq!(
        answer["status"]["reason"],
        "RBAC: allowed by RoleBinding \"reader/ns\" of Role \"reader\" to User \"alice\""
    );
    let (_, answer) = ask(&server, "POST", reviews, ALICE, &review("delete")).await;
    assert_eq!(answer["status"], json!({ "allowed": false }));
    let (_, answer) =
        ask(&server, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", ALICE, &json!({})).await;
    assert_eq!(answer["status"]["userInfo"], json!({ "username": "alice", "groups": ["system:authenticated"] }));
    let rules = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let (_, answer) = ask(&server, "POST", rules, ALICE, &json!({ "spec": { "namespace": "ns" } })).await;
    assert!(
        answer["status"]["resourceRules"]
            .as_array()
            .is_some_and(|rules| rules.iter().any(|rule| rule["resources"] == json!(["configmaps"])))
    );
    // Reviews are not stored, so they cannot be listed.
    assert_eq!(ask(&server, "GET", reviews, &[("authorization", "Bearer admintoken")], &Value::Null).await.0, 405);
}

#[tokio::test]
async fn conf_k6() {
    let client = server().await.client("test");
    let leases = "/apis/coordination.k8s.io/v1/namespaces/ns/leases";
    let lease = json!({ "metadata": { "name": "l" }, "spec": { "holderIdentity": "me", "leaseDurationSeconds": 15, "renewTime": "2024-01-01T00:00:00.000000Z" } });
    let (code, stored) = client.post(leases, &lease).await;
    assert_eq!((code, &stored["spec"]["renewTime"]), (201, &json!("2024-01-01T00:00:00.000000Z")));
    let path = format!("{leases}/l");
    let (code, status) = client.put(&path, &lease).await;
    assert_eq!((code, &status["details"]["causes"][0]["field"]), (422, &json!("metadata.resourceVersion")));
    let mut wrong = stored.clone();
    wrong["spec"]["leaseDurationSeconds"] = json!(0);
    let (code, status) = client.put(&path, &wrong).await;
    assert_eq!(
        (code, &status["details"]["causes"][0]["message"]),
        (422, &json!("Invalid value: 0: must be greater than 0"))
    );
    let mut next = stored.clone();
    next["spec"]["holderIdentity"] = json!("you");
    assert_eq!(client.put(&path, &next).await.0, 200);
    let (code, status) = client.put(&path, &next).await;
    assert_eq!((code, &status["reason"]), (409, &json!("Conflict")));
    let (code, status) = client.merge_patch(&path, &json!({ "spec": { "renewTime": "2024-01-01T00:00:00Z" } })).await;
    assert_eq!(code, 422, "microseconds are required: {status}");
}

/// K7: the same object under both groups.
#[tokio::test]
async fn conf_k7() {
    let client = server().await.client("test");
    let event = json!({ "metadata": { "name": "e" }, "eventTime": "2024-01-01T00:00:00.000000Z", "regarding": { "namespace": "ns" }, "note": "hello",
        "reportingController": "c", "reportingInstance": "i", "action": "a", "reason": "r", "type": "Normal" });
    let (code, stored) = client.post("/apis/events.k8s.io/v1/namespaces/ns/events", &event).await;
    assert_eq!((code, &stored["note"]), (201, &json!("hello")), "{stored}");
    let (_, core) = client.get("/api/v1/namespaces/ns/events/e").await;
    assert_eq!((&core["message"], &core["metadata"]["uid"]), (&json!("hello"), &stored["metadata"]["uid"]));
    assert_eq!(core["metadata"]["resourceVersion"], stored["metadata"]["resourceVersion"]);
    let (code, status) = client
        .post(
            "/apis/events.k8s.io/v1/namespaces/ns/events",
            &json!({ "metadata": { "name": "f" }, "regarding": { "namespace": "ns" } }),
        )
        .await;
    assert_eq!((code, &status["details"]["causes"][0]["field"]), (422, &json!("eventTime")));
}
