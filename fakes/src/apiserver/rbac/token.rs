//! Tokens of ServiceAccounts (K5): JWTs in form, signed with a keyed hash that only this server checks.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::identity::User;
use crate::apiserver::decode;
use crate::apiserver::errors::{Cause, Outcome, Status};
use crate::apiserver::json as wire;
use crate::apiserver::meta;
use crate::apiserver::reply::{Payload, Reply};
use crate::apiserver::request::{Target, WriteOptions};
use crate::apiserver::rest;
use crate::apiserver::server::{Config, Pass, State};
use crate::apiserver::track;

const ISSUER: &str = "https://kubernetes.default.svc";
/// Shortest life of a token in seconds.
const SHORTEST: i64 = 600;

/// POST of `serviceaccounts/<name>/token`.
pub(super) fn request(pass: &mut Pass<'_>, target: &Target) -> Outcome<Reply> {
    let kind = pass.state.resources.get("", "v1", "serviceaccounts").cloned().ok_or_else(Status::no_such_resource)?;
    let resource = super::reviews::as_kind(&kind, "authentication.k8s.io", "TokenRequest");
    let options = WriteOptions::parse(pass.request, "CreateOptions", false)?;
    let mut review = decode::object(pass, &resource, &options)?;
    let seconds = review["spec"]["expirationSeconds"].as_i64().unwrap_or(3600);
    let review_target = Target { resource: resource.into(), ..target.clone() };
    track::update(pass, &review_target, None, &mut review, &options);
    let account = rest::find(pass, target).ok_or_else(|| target.not_found())?;
    let mut causes = Vec::new();
    if seconds < SHORTEST {
        causes.push(Cause::invalid(
            "spec.expirationSeconds",
            &json!(seconds),
            "may not specify a duration less than 10 minutes",
        ));
    }
    if seconds > 1 << 32 {
        causes.push(Cause::invalid(
            "spec.expirationSeconds",
            &json!(seconds),
            "may not specify a duration larger than 2^32 seconds",
        ));
    }
    if !causes.is_empty() {
        return Err(Status::invalid("authentication.k8s.io", "TokenRequest", "", causes));
    }
    let (name, namespace, uid) = (
        meta::text(&account.value, "name"),
        meta::text(&account.value, "namespace"),
        meta::text(&account.value, "uid"),
    );
    for (field, value) in [("name", name), ("namespace", namespace), ("uid", uid)] {
        meta::set(&mut review, field, Some(json!(value)));
    }
    meta::set(&mut review, "creationTimestamp", Some(json!(rest::second(pass.now))));
    let audiences = review["spec"]["audiences"]
        .as_array()
        .cloned()
        .filter(|audiences| !audiences.is_empty())
        .unwrap_or_else(|| vec![json!(ISSUER)]);
    let bound = review["spec"].get("boundObjectRef").cloned().unwrap_or(Value::Null);
    let now = pass.now.as_second();
    let claims = json!({
        "aud": audiences, "exp": now + seconds, "iat": now, "nbf": now, "iss": ISSUER, "jti": pass.state.entropy.uid(),
        "kubernetes.io": { "namespace": namespace, "serviceaccount": { "name": name, "uid": uid } },
        "sub": format!("system:serviceaccount:{namespace}:{name}"),
    });
    let expires = jiff::Timestamp::from_second(now + seconds).map_err(|error| Status::internal(error.to_string()))?;
    review["spec"] = json!({ "audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": bound });
    review["status"] =
        json!({ "token": sign(pass.server.config().seed, &claims), "expirationTimestamp": rest::second(expires) });
    Ok(Reply::new(201, Payload::Json(review)))
}

fn sign(seed: u64, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(wire::to_vec(value));
    let text = format!("{}.{}", part(&json!({ "alg": "RS256", "kid": "fake" })), part(claims));
    let signature = signature(seed, &text);
    format!("{text}.{signature}")
}

fn signature(seed: u64, text: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(format!("{seed}/{text}")))
}

/// The user of a token that this server signed, while it lives and its ServiceAccount exists.
pub(super) fn verify(config: &Config, state: &State, secret: &str) -> Option<User> {
    let (text, found) = secret.rsplit_once('.')?;
    if signature(config.seed, text) != found {
        return None;
    }
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text.split_once('.')?.1).ok()?).ok()?;
    let account = &claims["kubernetes.io"]["serviceaccount"];
    let (namespace, name, uid) =
        (claims["kubernetes.io"]["namespace"].as_str()?, account["name"].as_str()?, account["uid"].as_str()?);
    let stored = state.store.get("serviceaccounts", namespace, name)?;
    let alive = claims["exp"].as_i64()? > config.clock.now().as_second() && meta::text(&stored.value, "uid") == uid;
    let mut user = User::service_account(namespace, name, uid);
    let id = format!("JTI={}", claims["jti"].as_str()?);
    user.extra.insert("authentication.kubernetes.io/credential-id".to_owned(), vec![id]);
    alive.then_some(user)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::{Clock, Server};

    /// K5: a JWT for ten minutes or longer, whose user is the ServiceAccount.
    #[tokio::test]
    async fn conf_k5() {
        let mut config = Config::new(Clock::new(|| jiff::Timestamp::UNIX_EPOCH), 1);
        config.authorization = crate::apiserver::Authorization::Rbac;
        let client = Server::new(config).client("test");
        let accounts = "/api/v1/namespaces/default/serviceaccounts";
        let (_, account) = client.post(accounts, &json!({"metadata": {"name": "robot"}})).await;
        let path = format!("{accounts}/robot/token");
        let (code, review) = client.post(&path, &json!({"spec": {"expirationSeconds": 600}})).await;
        assert_eq!(code, 201);
        assert_eq!(review["metadata"]["uid"], account["metadata"]["uid"]);
        assert_eq!(review["metadata"]["managedFields"][0]["fieldsV1"], json!({"f:spec": {"f:expirationSeconds": {}}}));
        assert_eq!(review["status"]["expirationTimestamp"], "1970-01-01T00:10:00Z");
        assert!(review["status"]["token"].as_str().is_some_and(|token| token.starts_with("eyJ")));
        let (code, refusal) = client.post(&path, &json!({"spec": {"expirationSeconds": 60}})).await;
        assert_eq!((code, &refusal["details"]["causes"][0]["field"]), (422, &json!("spec.expirationSeconds")));
    }
}
