//! The web console: one page at `/` without anything from outside, and a JSON API below `/console/api/`.
//!
//! It is for people who try the operator out, so it has no login and belongs on a loopback address. A page of another site
//! cannot use it: everything that changes something asks for the type `application/json`, which a browser sends to
//! another origin only after asking first, and nobody answers that question.

mod manifest;
mod outline;
mod state;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Response, header};
use http_body_util::Full;
use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::answer::plain;
use super::dials::Face;
use super::{Odoo, TokenRow};
use manifest::Complaint;

const PAGE: &str = include_str!("console.html");
const API: &str = "/console/api/";
const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";

/// How long a job that was issued here may wait for its start, in seconds.
const EXPIRY: i64 = 15 * 60;

/// What was asked for cannot be done: status and complaints.
struct No(u16, Vec<Complaint>);

fn no(status: u16, message: impl Into<String>) -> No {
    No(status, vec![Complaint { line: None, field: String::new(), message: message.into() }])
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Issue {
    cluster: String,
    yaml: String,
    /// Send it even if it is wrong, to see what the operator makes of it.
    #[serde(default)]
    unchecked: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Delete {
    cluster: String,
    api_version: String,
    kind: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Intent {
    cluster: String,
    intent: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OneCluster {
    cluster: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OneJob {
    job: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Token {
    cluster: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Switch {
    down: bool,
}

/// Intents that a button issues: the ones without fields.
const INTENTS: [&str; 2] = ["rotate-operator-credentials", "resync-status"];

impl Odoo {
    /// Answers everything outside the agent protocol.
    pub(super) fn console(&self, parts: &Parts, body: &Bytes) -> Response<Full<Bytes>> {
        let now = self.now();
        let path = parts.uri.path();
        let mut response = if let Some(what) = path.strip_prefix(API) {
            match self.api(parts, what, body) {
                Ok(answer) => plain(200, now, Some(JSON), answer.to_string()),
                Err(No(status, errors)) => plain(status, now, Some(JSON), json!({ "errors": errors }).to_string()),
            }
        } else if path == "/" && parts.method == Method::GET {
            let mut page = plain(200, now, Some(HTML), PAGE);
            if let Ok(policy) = HeaderValue::from_str(&policy()) {
                page.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
            }
            page
        } else {
            plain(
                404,
                now,
                Some(HTML),
                "<!doctype html><title>404 Not Found</title><p>Not here. The console is at <a href=\"/\">/</a>.",
            )
        };
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        response
    }

    fn api(&self, parts: &Parts, what: &str, body: &Bytes) -> Result<Value, No> {
        if what == "state" {
            return if parts.method == Method::GET { Ok(self.shown()) } else { Err(no(405, "state is read with GET")) };
        }
        if parts.method != Method::POST {
            return Err(no(405, "this is done with POST"));
        }
        let content = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if content.split(';').next().map(str::trim) != Some(JSON) {
            return Err(no(415, "the body must be application/json"));
        }
        match what {
            "tokens" => {
                let Token { cluster } = read(body)?;
                let token = self.issue_token(cluster.as_deref().filter(|id| !id.is_empty()));
                let row: Option<TokenRow> = self.look(|state| state.tokens.get(&token).cloned());
                let row = row.ok_or_else(|| no(500, "the token is not there"))?;
                Ok(json!({"token": token, "cluster": row.cluster, "expires": row.expires}))
            }
            "jobs" => self.issue(read(body)?),
            "delete" => {
                let Delete { cluster, api_version, kind, namespace, name } = read(body)?;
                self.known(&cluster)?;
                let object = json!({"apiVersion": api_version, "kind": kind, "namespace": namespace, "name": name});
                Ok(json!({ "job": self.delete(&cluster, object) }))
            }
            "intents" => {
                let Intent { cluster, intent } = read(body)?;
                self.known(&cluster)?;
                if !INTENTS.contains(&intent.as_str()) {
                    return Err(no(422, format!("the console issues {}", INTENTS.join(" and "))));
                }
                Ok(json!({ "job": self.intent(&cluster, json!({ "intent": intent })) }))
            }
            "redeliver" => {
                let OneJob { job } = read(body)?;
                if !self.look(|state| state.jobs.contains_key(&job)) {
                    return Err(no(404, "there is no such job"));
                }
                self.redeliver(&job);
                Ok(json!({ "job": job }))
            }
            "revoke" => {
                let OneCluster { cluster } = read(body)?;
                self.known(&cluster)?;
                self.revoke(&cluster);
                Ok(json!({ "cluster": cluster }))
            }
            "switch" => {
                let Switch { down } = read(body)?;
                self.dial(|dials| dials.face = if down { Face::Down } else { Face::Healthy });
                Ok(json!({ "down": down }))
            }
            _ => Err(no(404, format!("there is no {API}{what}"))),
        }
    }

    fn known(&self, cluster: &str) -> Result<(), No> {
        let known = self.look(|state| state.clusters.contains_key(cluster));
        if known { Ok(()) } else { Err(no(422, "No cluster of this id has registered.")) }
    }

    fn issue(&self, Issue { cluster, yaml, unchecked }: Issue) -> Result<Value, No> {
        let mut wrong = self.known(&cluster).err().map_or_else(Vec::new, |No(_, errors)| errors);
        let manifest = match manifest::read(&yaml) {
            Ok(manifest) => manifest,
            Err(errors) => return Err(No(422, [wrong, errors].concat())),
        };
        if !unchecked {
            wrong.extend(manifest::check(&manifest, &yaml));
        }
        if !wrong.is_empty() {
            return Err(No(422, wrong));
        }
        let mut job = self.with(|state| state.apply_job(manifest));
        let expires = self.now().checked_add(SignedDuration::from_secs(EXPIRY));
        job.expires_at = expires.ok().map(|at| at.to_string());
        Ok(json!({ "job": self.enqueue(&cluster, job) }))
    }
}

fn read<'a, T: Deserialize<'a>>(body: &'a Bytes) -> Result<T, No> {
    serde_json::from_slice(body).map_err(|error| no(400, format!("the body is not what is expected: {error}")))
}

/// Only the page's own script and style run, and only this server is talked to.
fn policy() -> String {
    let digest = |open: &str, close: &str| {
        let inside =
            PAGE.split_once(open).and_then(|(_, rest)| rest.split_once(close)).map_or("", |(inside, _)| inside);
        format!("'sha256-{}'", STANDARD.encode(Sha256::digest(inside)))
    };
    let (script, style) = (digest("<script>", "</script>"), digest("<style>", "</style>"));
    format!(
        "default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

#[cfg(test)]
mod tests;
