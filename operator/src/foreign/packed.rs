//! JSON that others keep compressed: Helm's records and the nodes of large workflows.

use std::io::{BufReader, Read};

use base64::Engine as _;
use flate2::read::GzDecoder;
use serde::de::DeserializeOwned;

/// Most bytes that are unpacked. A Secret holds at most 1 MiB, so an honest chart stays far below; what is larger was
/// made to exhaust memory.
pub const BYTES_MAX: u64 = 32 * 1024 * 1024;

/// What is packed cannot be read. It carries nothing of the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub &'static str);

/// Bytes behind standard base64, with blanks around it allowed.
///
/// # Errors
/// It is no base64.
pub fn base64(text: &[u8]) -> Result<Vec<u8>, Unreadable> {
    base64::engine::general_purpose::STANDARD
        .decode(text.trim_ascii())
        .map_err(|_| Unreadable("it is not encoded as base64"))
}

/// JSON, compressed by gzip or plain. It is read as a stream: what `T` leaves out is never in memory as a whole.
///
/// # Errors
/// It is no JSON of this shape, or longer than [`BYTES_MAX`].
pub fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unreadable> {
    let wrong = |_| Unreadable("it is not the JSON it should be, or too long");
    if bytes.starts_with(&[0x1f, 0x8b, 0x08]) {
        serde_json::from_reader(BufReader::new(GzDecoder::new(bytes).take(BYTES_MAX))).map_err(wrong)
    } else {
        serde_json::from_slice(bytes).map_err(wrong)
    }
}

#[cfg(test)]
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("a Vec takes everything");
    encoder.finish().expect("a Vec takes everything")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn packed_and_plain_are_read_and_a_bomb_is_not() {
        let text = json!({"a": [1, 2]}).to_string();
        assert_eq!(json::<Value>(&gzip(text.as_bytes())), Ok(json!({"a": [1, 2]})));
        assert_eq!(json::<Value>(text.as_bytes()), Ok(json!({"a": [1, 2]})));
        let mut bomb = b"{\"a\":1,\"b\":\"".to_vec();
        bomb.resize(usize::try_from(BYTES_MAX).expect("64 bits") + 10, b'x');
        bomb.extend(b"\"}");
        let bomb = gzip(&bomb);
        assert!(bomb.len() < 100_000);
        assert!(json::<Value>(&bomb).is_err());
        for odd in [&b""[..], b"\x1f\x8b\x08", b"{", b"\xff\xff"] {
            assert!(json::<Value>(odd).is_err());
        }
        assert!(base64(b"%").is_err());
        assert_eq!(base64(b" YQ==\n"), Ok(b"a".to_vec()));
    }
}
