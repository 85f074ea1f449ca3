//! The body proof of a POST (contract §19.3).

use ring::{hkdf, hmac};

use crate::api::secret::SecretText;

/// `v1=<hex>`: HMAC-SHA256 over method, path without query, Unix seconds and the body's digest, under a key derived from
/// the token.
pub fn sign(token: &SecretText, method: &str, path: &str, seconds: i64, body: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, body);
    let text = format!("{method}\n{path}\n{seconds}\n{}", hex(digest.as_ref()));
    let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(token.expose().as_bytes());
    let mut key = [0; 32];
    secret
        .expand(&[b"vws-agent-post-v1"], hkdf::HKDF_SHA256)
        .and_then(|key_of_32_bytes| key_of_32_bytes.fill(&mut key))
        .expect("32 bytes is a length HKDF-SHA256 can give");
    format!("v1={}", hex(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), text.as_bytes()).as_ref()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
