//! S31: the bytes of no secret occur anywhere but in `Secret.data`, in no encoding, not even twelve characters of them.
//!
//! Every value of every Secret that anybody stores is a canary, and so is every credential the control plane hands out.
//! Scanned are all objects, requests, posts, answers that are passed on, Events and the log. Allowed are: Secrets, the exchange of
//! a registration or rotation itself, and the authorization header, which no record shows. Not secret in a Secret are
//! addresses, ids, dates and certificates.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use fakes::history::{Event, Record};
use serde_json::Value;

use super::Oracle;
use crate::truth::{Truth, is_operator, text};

/// A part of a secret that is as long as this counts as the secret.
const LEAST: usize = 12;
/// Members of our Secrets that are no secrets (contract §3.4).
const OPEN: [&str; 11] = [
    "control-plane-base-url",
    "odoo-base-url",
    "cluster-id",
    "token-issued-at",
    "token-expires-at",
    "ca.crt",
    "tls.crt",
    // The fingerprint that the status shows as observedToken.
    "registered-with",
    "organization-id",
    "type",
    "username",
];
/// What every token of a kind begins with says nothing.
const PREFIXES: [&str; 2] = ["vwksp-reg-", "vwksp-agent-"];

/// S31.
#[derive(Default)]
pub(super) struct SecretsStaySecret {
    canaries: BTreeSet<String>,
    windows: Windows,
}

impl Oracle for SecretsStaySecret {
    fn id(&self) -> &'static str {
        "S31"
    }

    fn promise(&self) -> &'static str {
        "the bytes of a Secret occur nowhere else, in no encoding"
    }

    fn step(&mut self, record: &Record, truth: &Truth) -> Result<(), String> {
        match &record.event {
            Event::Commit(commit) if commit.resource == "secrets" => {
                if let Some(after) = &commit.after {
                    self.learn_secret(after);
                }
                Ok(())
            }
            Event::Commit(commit) if is_operator(&record.actor) => match &commit.after {
                Some(after) => self.look(&format!("{} {}", commit.resource, commit.name), after.to_string().as_bytes()),
                None => Ok(()),
            },
            Event::Handled { call, reply, .. } if matches!(call.verb, "register" | "rotate") => {
                self.learn_answer(reply, truth);
                Ok(())
            }
            Event::Request { call, body, .. } if is_operator(&record.actor) => {
                let secret = matches!(call.verb, "register" | "rotate") || call.resource == "secrets";
                if !secret {
                    self.look(&format!("the body of {call}"), body)?;
                }
                self.look(&format!("the path of {call}"), call.path.as_bytes())
            }
            Event::Log { line } => self.look("the log", line.as_bytes()),
            _ => Ok(()),
        }
    }
}

impl SecretsStaySecret {
    fn learn_secret(&mut self, secret: &Value) {
        let label = |key: &str| format!("{key} of Secret {}", text(secret, "/metadata/name"));
        for (key, value) in secret["data"].as_object().into_iter().flatten() {
            if OPEN.contains(&&**key) {
                continue;
            }
            let Some(bytes) = value.as_str().and_then(|text| STANDARD.decode(text).ok()) else { continue };
            let Ok(content) = String::from_utf8(bytes) else { continue };
            // Of a key pair only the private half is secret.
            let private = serde_json::from_str::<Value>(&content).ok().filter(Value::is_object);
            match private {
                Some(pair) => pair["d"].as_str().into_iter().for_each(|d| self.learn(d, &label(key))),
                // A pending registration begins with the public fingerprint of its token.
                None if key.starts_with("pending-") => {
                    self.learn(content.rsplit('-').next().unwrap_or_default(), &label(key));
                }
                None => self.learn(&content, &label(key)),
            }
        }
    }

    fn learn_answer(&mut self, reply: &[u8], truth: &Truth) {
        let answer: Value = serde_json::from_slice(reply).unwrap_or_default();
        if let Some(token) = answer["token"].as_str() {
            self.learn(token, "a credential that was handed out");
        }
        let tokens: Vec<String> = truth.odoo(|state| state.tokens.keys().cloned().collect()).unwrap_or_default();
        tokens.iter().for_each(|token| self.learn(token, "a registration token"));
    }

    fn learn(&mut self, canary: &str, label: &str) {
        let bare = PREFIXES.iter().find_map(|prefix| canary.strip_prefix(prefix)).unwrap_or(canary).trim();
        if bare.len() >= LEAST && self.canaries.insert(bare.to_owned()) {
            self.windows.learn(bare, label);
        }
    }

    fn look(&self, place: &str, text: &[u8]) -> Result<(), String> {
        self.windows.occur_in(text).map_or(Ok(()), |what| Err(format!("{place} holds a part of a secret: {what}")))
    }
}

/// All parts of all encodings of the canaries, with a filter in front: most bytes of most texts are looked at once.
struct Windows {
    /// Each with the index of what it is a part of.
    parts: BTreeMap<[u8; LEAST], usize>,
    labels: Vec<String>,
    filter: Vec<u64>,
}

impl Default for Windows {
    fn default() -> Self {
        Self { parts: BTreeMap::new(), labels: Vec::new(), filter: vec![0; 1 << 10] }
    }
}

/// Where the filter keeps the first bytes of a part.
fn slot(window: &[u8]) -> (usize, u64) {
    let first = u32::from_le_bytes([window[0], window[1], window[2], window[3]]);
    let hash = first.wrapping_mul(0x9e37_79b1) >> 16;
    ((hash >> 6) as usize, 1 << (hash & 63))
}

impl Windows {
    fn learn(&mut self, canary: &str, label: &str) {
        self.labels.push(label.to_owned());
        self.add(canary.as_bytes());
        self.add(escaped(canary).as_bytes());
        self.add(
            percent_encoding::utf8_percent_encode(canary, percent_encoding::NON_ALPHANUMERIC).to_string().as_bytes(),
        );
        // In base64 a part of a text looks one of three ways, by what stands before it: `user:` is one of them. The ends
        // depend on the neighbours.
        for before in 0..3 {
            let text = [&b"::"[..before], canary.as_bytes()].concat();
            for code in [STANDARD_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
                let inner = code.as_bytes();
                let skip = [0, 2, 3][before];
                self.add(&inner[skip..inner.len().saturating_sub(1)]);
            }
        }
    }

    fn add(&mut self, text: &[u8]) {
        for window in text.windows(LEAST) {
            let Ok(part) = <[u8; LEAST]>::try_from(window) else { continue };
            let (word, bit) = slot(window);
            self.filter[word] |= bit;
            self.parts.entry(part).or_insert(self.labels.len() - 1);
        }
    }

    fn occur_in(&self, text: &[u8]) -> Option<&str> {
        if self.parts.is_empty() {
            return None;
        }
        text.windows(LEAST).find_map(|window| {
            let (word, bit) = slot(window);
            let part = (self.filter[word] & bit != 0).then(|| self.parts.get(window)).flatten()?;
            self.labels.get(*part).map(String::as_str)
        })
    }
}

/// As JSON writes it.
fn escaped(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted.trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::story::{OPERATOR, Story, instance, secret, with};
    use super::*;

    const CANARY: &str = "9f8e7d6c5b4a/+\"quoted\" 0123456789";

    fn told() -> Story<SecretsStaySecret> {
        Story::new()
            .commit("user", &secret("registry", &[("password", CANARY), ("cluster-id", "a-very-long-cluster-id")]))
    }

    fn saying(text: &str) -> Value {
        with(&instance(), &json!({ "metadata": { "annotations": { "note": text } } }))
    }

    #[test]
    fn every_encoding_is_seen() {
        for text in [
            CANARY.to_owned(),
            format!("cut: {}", &CANARY[3..15]),
            STANDARD.encode(CANARY),
            STANDARD.encode(format!("user:{CANARY}")),
            STANDARD.encode(format!("us:{CANARY}")),
            URL_SAFE_NO_PAD.encode(format!("u:{CANARY}")),
            percent_encoding::utf8_percent_encode(CANARY, percent_encoding::NON_ALPHANUMERIC).to_string(),
        ] {
            told().commit(OPERATOR, &saying(&text)).breaks("holds a part of a secret");
        }
    }

    #[test]
    fn logs_and_posts_are_looked_at() {
        told().logged(&format!("refused: {CANARY}")).breaks("the log");
        told().sent(OPERATOR, "status j1", &json!({ "message": &CANARY[..20] })).breaks("the body of status");
    }

    #[test]
    fn a_credential_that_was_handed_out_is_a_canary() {
        let token = "vwksp-agent-00112233445566778899aabbccddeeff";
        Story::<SecretsStaySecret>::new()
            .call(OPERATOR, "rotate", &json!({}), 200, &json!({ "token": token }))
            .logged(&format!("Bearer {token}"))
            .breaks("the log");
    }

    #[test]
    fn what_is_too_short_or_no_secret_or_in_a_secret_holds() {
        told()
            .commit(OPERATOR, &saying(&CANARY[..11]))
            .commit(OPERATOR, &saying("a-very-long-cluster-id"))
            .commit(OPERATOR, &secret("copy", &[("password", CANARY)]))
            .sent(OPERATOR, "register", &json!({ "registrationToken": CANARY }))
            .holds();
    }
}
