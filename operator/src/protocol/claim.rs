//! Approval claims: `vws1` (HMAC, legacy) and `vws2` (Ed25519, bound to the whole request), read and verified
//! (contract §12.2, §12.3).
//!
//! [`verify`] is a plain function of claim, keys, subject, rules and time. It says who approved and under which id the
//! approval is consumed, or what is wrong with the claim; whether an approval is needed at all is policy's to say.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use ring::{hmac, signature};
use serde::Deserialize;
use serde_json::Value;

/// Leeway on `iat` in seconds; there is none on `exp` (contract §12.3).
const LEEWAY: i64 = 60;
/// Longest claim that is looked at, in bytes (contract §7.1).
const CLAIM_MAX: usize = 8192;

/// The keys that claims are signed with. Prints only ids.
#[derive(Clone, Default)]
pub struct Keys {
    hmac: BTreeMap<String, Vec<u8>>,
    ed25519: BTreeMap<String, Vec<u8>>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("vws1", &self.hmac.keys()).field("vws2", &self.ed25519.keys()).finish()
    }
}

impl Keys {
    /// Reads the entries of Secret `vworkspace-approval-keys` (contract §3.4): `vws1.<id>` is a raw key, `vws2.<kid>.jwk` a
    /// public JWK. What is neither is returned by name, so that somebody can be told.
    pub fn read<'a>(entries: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> (Self, Vec<String>) {
        let (mut keys, mut odd) = (Self::default(), Vec::new());
        for (name, content) in entries {
            let kid = name.strip_prefix("vws2.").and_then(|name| name.strip_suffix(".jwk"));
            match (name.strip_prefix("vws1."), kid, kid.and_then(|_| public_key(content))) {
                (Some(id), ..) if !id.is_empty() && !content.is_empty() => keys.add_hmac(id, content),
                (_, Some(kid), Some(key)) if !kid.is_empty() => {
                    keys.ed25519.insert(kid.into(), key);
                }
                _ => odd.push(name.to_string()),
            }
        }
        (keys, odd)
    }

    /// One more `vws1` key: that of the existing agent's flag or environment.
    pub fn add_hmac(&mut self, id: &str, key: &[u8]) {
        self.hmac.insert(id.into(), key.to_vec());
    }
}

/// The public key in a JWK of type OKP and curve Ed25519 (RFC 8037).
fn public_key(jwk: &[u8]) -> Option<Vec<u8>> {
    let jwk: Value = serde_json::from_slice(jwk).ok()?;
    let text = |member: &str| jwk.get(member).and_then(Value::as_str);
    let key = URL_SAFE_NO_PAD.decode(text("x")?).ok()?;
    (text("kty") == Some("OKP") && text("crv") == Some("Ed25519") && key.len() == 32).then_some(key)
}

/// What a claim must be about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The own cluster id.
    pub cluster_id: &'a str,
    /// Namespace of the Operation.
    pub namespace: &'a str,
    /// Name of its target.
    pub target: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its uid.
    pub uid: &'a str,
    /// `spec.type` as written.
    pub type_: &'a str,
    /// `spec.engine` as written.
    pub engine: &'a str,
    /// [`parameters_digest`] of `spec.parameters`.
    pub parameters: &'a str,
    /// It copies another tenant's data: only `vws2` will do (contract §10.3).
    pub clone: bool,
}

/// What the cluster accepts (contract §14.1, `security.approvals`).
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Whether `vws1` counts.
    pub accept_vws1: bool,
    /// Whether somebody may approve what he requested.
    pub allow_self_approval: bool,
}

/// A valid claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// `vws1` or `vws2`.
    pub scheme: &'static str,
    /// Id of the key, for `vws2`.
    pub kid: Option<String>,
    /// Under which it is consumed: `vws1/<rid>` or `vws2/<kid>/<jti>` (contract §12.4).
    pub id: String,
    /// Who approved.
    pub by: String,
    /// Unix seconds after which it may not start anything.
    pub expires: i64,
}

/// What is wrong with a claim. Each names the defect without quoting the claim.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// There is none.
    #[error("no approval claim is set")]
    Missing,
    /// It is neither form.
    #[error("the approval claim is malformed: {0}")]
    Malformed(&'static str),
    /// `vws1` where it does not count.
    #[error("a vws1 claim is not sufficient: {0}")]
    NotSufficient(&'static str),
    /// Signed with a key that is not here.
    #[error("the approval claim is signed with a key that this cluster does not know")]
    UnknownKey,
    /// The signature does not fit.
    #[error("the signature of the approval claim does not verify")]
    BadSignature,
    /// Too late.
    #[error("the approval claim has expired")]
    Expired,
    /// Too early.
    #[error("the approval claim is not valid yet")]
    NotYet,
    /// About something else.
    #[error("the approval claim is for another {0}")]
    Foreign(&'static str),
    /// Requested and approved by one person.
    #[error("the approval claim was approved by the one who requested it")]
    SelfApproval,
}

/// Hex SHA-256 of the canonical form (RFC 8785) of `spec.parameters`; of `{}` when absent.
pub fn parameters_digest(parameters: Option<&Value>) -> String {
    let empty = Value::Object(serde_json::Map::new());
    let text =
        serde_json_canonicalizer::to_vec(parameters.unwrap_or(&empty)).expect("JSON values have a canonical form");
    hex(ring::digest::digest(&ring::digest::SHA256, &text).as_ref())
}

/// Verifies a claim at this moment.
///
/// # Errors
/// The first defect.
pub fn verify(
    claim: Option<&str>,
    keys: &Keys,
    subject: &Subject<'_>,
    rules: Rules,
    now: Timestamp,
) -> Result<Approval, Defect> {
    let claim = claim.map(str::trim).filter(|claim| !claim.is_empty()).ok_or(Defect::Missing)?;
    if claim.len() > CLAIM_MAX {
        return Err(Defect::Malformed("it is longer than 8192 bytes"));
    }
    match claim.split_once('.') {
        Some(("vws1", rest)) => vws1(rest, keys, subject, rules, now.as_second()),
        Some(("vws2", rest)) => vws2(rest, keys, subject, rules, now.as_second()),
        _ => Err(Defect::Malformed("it begins with neither vws1 nor vws2")),
    }
}

#[derive(Deserialize)]
struct Vws1 {
    v: i64,
    rid: i64,
    op: String,
    by: String,
    #[expect(dead_code, reason = "a claim without it is malformed; its value is informational")]
    at: String,
    exp: i64,
}

fn vws1(rest: &str, keys: &Keys, subject: &Subject<'_>, rules: Rules, now: i64) -> Result<Approval, Defect> {
    let (body, seal) = rest.split_once('.').ok_or(Defect::Malformed("vws1 has three parts"))?;
    let seal = unhex(seal).ok_or(Defect::Malformed("the signature is not lower-case hex"))?;
    let content = URL_SAFE_NO_PAD.decode(body).map_err(|_| Defect::Malformed("the body is not unpadded base64url"))?;
    // Signature first: what is not signed is not worth reading.
    if keys.hmac.is_empty() {
        return Err(Defect::UnknownKey);
    }
    let fits = |key: &Vec<u8>| hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key), body.as_bytes(), &seal).is_ok();
    if !keys.hmac.values().any(fits) {
        return Err(Defect::BadSignature);
    }
    let claim: Vws1 =
        serde_json::from_slice(&content).map_err(|_| Defect::Malformed("a member is missing or of another type"))?;
    if claim.v != 1 {
        return Err(Defect::Malformed("v is not 1"));
    }
    if claim.op != subject.name {
        return Err(Defect::Foreign("Operation"));
    }
    if now > claim.exp {
        return Err(Defect::Expired);
    }
    if !rules.accept_vws1 {
        return Err(Defect::NotSufficient("this cluster accepts vws2 only"));
    }
    if subject.clone {
        return Err(Defect::NotSufficient("a restore from another application's backup needs vws2"));
    }
    Ok(Approval { scheme: "vws1", kid: None, id: format!("vws1/{}", claim.rid), by: claim.by, expires: claim.exp })
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
    typ: String,
    /// Extensions that must be understood (RFC 7515 §4.1.11): we understand none.
    crit: Option<Value>,
}

#[derive(Deserialize)]
struct Vws2 {
    cid: String,
    ns: String,
    tgt: String,
    op: String,
    #[serde(rename = "type")]
    type_: String,
    engine: String,
    ph: String,
    iat: i64,
    exp: i64,
    jti: String,
    by: String,
    req: Option<String>,
    nbf: Option<i64>,
}

fn vws2(rest: &str, keys: &Keys, subject: &Subject<'_>, rules: Rules, now: i64) -> Result<Approval, Defect> {
    let parts: Vec<&str> = rest.split('.').collect();
    let [header, payload, seal] = parts.as_slice() else {
        return Err(Defect::Malformed("vws2 holds a compact JWS of three parts"));
    };
    let decode =
        |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Defect::Malformed("a part is not unpadded base64url"));
    let read: Header =
        serde_json::from_slice(&decode(header)?).map_err(|_| Defect::Malformed("the header lacks alg, kid or typ"))?;
    if !matches!(read.alg.as_str(), "EdDSA" | "Ed25519") {
        return Err(Defect::Malformed("alg is not EdDSA"));
    }
    if read.typ != "vws-approval+jwt" {
        return Err(Defect::Malformed("typ is not vws-approval+jwt"));
    }
    if read.crit.is_some() {
        return Err(Defect::Malformed("it asks for an extension that is not supported"));
    }
    let key = keys.ed25519.get(&read.kid).ok_or(Defect::UnknownKey)?;
    let seal = decode(seal)?;
    let (signed, content) = (format!("{header}.{payload}"), decode(payload)?);
    signature::UnparsedPublicKey::new(&signature::ED25519, key)
        .verify(signed.as_bytes(), &seal)
        .map_err(|_| Defect::BadSignature)?;
    let claim: Vws2 =
        serde_json::from_slice(&content).map_err(|_| Defect::Malformed("a claim is missing or of another type"))?;
    for (ours, theirs, what) in [
        (subject.cluster_id, &claim.cid, "cluster"),
        (subject.namespace, &claim.ns, "namespace"),
        (subject.target, &claim.tgt, "target"),
        (subject.type_, &claim.type_, "type"),
        (subject.engine, &claim.engine, "engine"),
        (subject.parameters, &claim.ph, "set of parameters"),
    ] {
        if ours != theirs {
            return Err(Defect::Foreign(what));
        }
    }
    if claim.op != subject.uid && claim.op != subject.name {
        return Err(Defect::Foreign("Operation"));
    }
    // On or after `exp` a token is not accepted (RFC 7519 §4.1.4).
    if now >= claim.exp {
        return Err(Defect::Expired);
    }
    if claim.iat > now + LEEWAY || claim.nbf.is_some_and(|nbf| nbf > now) {
        return Err(Defect::NotYet);
    }
    if claim.jti.is_empty() || claim.by.is_empty() {
        return Err(Defect::Malformed("jti or by is empty"));
    }
    if claim.req.as_ref() == Some(&claim.by) && !rules.allow_self_approval {
        return Err(Defect::SelfApproval);
    }
    let id = format!("vws2/{}/{}", read.kid, claim.jti);
    Ok(Approval { scheme: "vws2", kid: Some(read.kid), id, by: claim.by, expires: claim.exp })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let bytes = text.as_bytes();
    bytes.len().is_multiple_of(2).then_some(())?;
    bytes.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Vectors {
        now: i64,
        hmac: String,
        jwk: Value,
        parameters: Value,
        digest: String,
        rows: Vec<Row>,
    }

    #[derive(Deserialize)]
    struct Row {
        name: String,
        claim: String,
        expect: String,
    }

    fn vectors() -> Vectors {
        let text = include_str!("../../../tests/golden/claims/vectors.json");
        serde_json::from_str(text).expect("vectors.json is what make.py wrote")
    }

    fn keys(vectors: &Vectors) -> Keys {
        let hmac = URL_SAFE_NO_PAD.decode(&vectors.hmac).expect("base64url");
        let jwk = vectors.jwk.to_string();
        let entries: [(&str, &[u8]); 4] =
            [("vws1.a", b"another key"), ("vws1.b", &hmac), ("vws2.k1.jwk", jwk.as_bytes()), ("vws2.k9.jwk", b"{}")];
        let (keys, odd) = Keys::read(entries);
        assert_eq!(odd, ["vws2.k9.jwk"]);
        keys
    }

    fn subject(vectors: &Vectors) -> Subject<'_> {
        Subject {
            cluster_id: "c1",
            namespace: "org-a",
            target: "files",
            name: "r1",
            uid: "uid-1",
            type_: "Restore",
            engine: "velero",
            parameters: &vectors.digest,
            clone: false,
        }
    }

    const RULES: Rules = Rules { accept_vws1: true, allow_self_approval: false };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("in range")
    }

    /// Vectors made by other implementations (tests/golden/claims/make.py).
    #[test]
    fn every_vector_is_judged_as_its_maker_says() {
        let vectors = vectors();
        let keys = keys(&vectors);
        for row in &vectors.rows {
            let claim = Some(row.claim.as_str());
            match verify(claim, &keys, &subject(&vectors), RULES, at(vectors.now)) {
                Ok(approval) => {
                    assert_eq!((approval.id.as_str(), approval.by.as_str()), (&*row.expect, "ada"), "{}", row.name)
                }
                Err(defect) => {
                    let text = defect.to_string();
                    assert!(text.contains(&row.expect), "{}: {text}", row.name);
                    assert!(!text.contains("ada"), "a defect quotes nothing");
                }
            }
        }
        assert!(vectors.rows.len() > 40);
    }

    #[test]
    fn rules_decide_about_legacy_clones_and_self_approval() {
        let vectors = vectors();
        let (keys, subject) = (keys(&vectors), subject(&vectors));
        let claim = |name: &str| vectors.rows.iter().find(|row| row.name == name).map(|row| row.claim.as_str());
        let now = at(vectors.now);
        let strict = Rules { accept_vws1: false, ..RULES };
        assert!(matches!(verify(claim("vws1"), &keys, &subject, strict, now), Err(Defect::NotSufficient(_))));
        let clone = Subject { clone: true, ..subject };
        assert!(matches!(verify(claim("vws1"), &keys, &clone, RULES, now), Err(Defect::NotSufficient(_))));
        assert!(verify(claim("vws2 by uid"), &keys, &clone, RULES, now).is_ok());
        let lenient = Rules { allow_self_approval: true, ..RULES };
        assert!(verify(claim("vws2 self-approved"), &keys, &subject, lenient, now).is_ok());
        assert_eq!(verify(claim("vws1"), &Keys::default(), &subject, RULES, now), Err(Defect::UnknownKey));
        assert_eq!(verify(None, &keys, &subject, RULES, now), Err(Defect::Missing));
    }

    #[test]
    fn the_digest_is_of_the_canonical_form() {
        let vectors = vectors();
        assert_eq!(parameters_digest(Some(&vectors.parameters)), vectors.digest);
        let empty = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        assert_eq!((&*parameters_digest(None), &*parameters_digest(Some(&serde_json::json!({})))), (empty, empty));
        assert_eq!(format!("{:?}", keys(&vectors)), r#"Keys { vws1: ["a", "b"], vws2: ["k1"] }"#);
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_a_claim_by_chance(claim in "(vws[123]\\.)?[A-Za-z0-9_.=-]{0,200}") {
            let vectors = vectors();
            let keys = keys(&vectors);
            proptest::prop_assert!(verify(Some(&claim), &keys, &subject(&vectors), RULES, at(vectors.now)).is_err());
        }
    }
}
