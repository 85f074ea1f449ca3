//! The body proof of contract §19.3, written down a second time: a fake that called the operator's own function would
//! share its misreadings.

use sha2::{Digest, Sha256};

const BLOCK: usize = 64;

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// HMAC-SHA256 (RFC 2104).
fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut block = [0; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let pad = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}

/// What `X-VWS-Signature` has to be.
pub(super) fn expected(token: &str, method: &str, path: &str, seconds: &str, body: &[u8]) -> String {
    // HKDF (RFC 5869) without salt; one block is all that 32 bytes need.
    let secret = hmac(&[0; 32], token.as_bytes());
    let key = hmac(&secret, b"vws-agent-post-v1\x01");
    let text = format!("{method}\n{path}\n{seconds}\n{}", hex(&Sha256::digest(body)));
    format!("v1={}", hex(&hmac(&key, text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use operator::api::secret::SecretText;

    use super::*;

    #[test]
    fn hmac_is_that_of_rfc_4231() {
        assert_eq!(
            hex(&hmac(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hex(&hmac(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First")),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn both_sides_mean_the_same() {
        let token = "vwksp-agent-1";
        let ours = expected(token, "POST", "/api/agent/jobs/a%2Fb/ack", "1780000000", b"{}");
        let theirs = operator::protocol::proof::sign(
            &SecretText::new(token),
            "POST",
            "/api/agent/jobs/a%2Fb/ack",
            1_780_000_000,
            b"{}",
        );
        assert_eq!(ours, theirs);
    }
}
