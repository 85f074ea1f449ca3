//! The protobuf wire format: tags, varints and length-delimited fields, nothing of Kubernetes.

use super::ProtobufError;

/// One undecoded field value.
pub(super) enum Raw<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 2: text, bytes or a nested message.
    Bytes(&'a [u8]),
    /// Wire types 1 and 5, which no kind of ours uses.
    Fixed,
}

/// Fields of one message in the order of the wire. Ends after the first error.
pub(super) fn fields(input: &[u8]) -> impl Iterator<Item = Result<(u64, Raw<'_>), ProtobufError>> {
    let mut rest = input;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let item = next(&mut rest);
        if item.is_err() {
            rest = &[];
        }
        Some(item)
    })
}

fn next<'a>(rest: &mut &'a [u8]) -> Result<(u64, Raw<'a>), ProtobufError> {
    let tag = varint(rest)?;
    let value = match tag & 7 {
        0 => Raw::Varint(varint(rest)?),
        2 => {
            let length =
                usize::try_from(varint(rest)?).map_err(|_| ProtobufError::Malformed("proto: length overflows"))?;
            Raw::Bytes(take(rest, length)?)
        }
        1 => take(rest, 8).map(|_| Raw::Fixed)?,
        5 => take(rest, 4).map(|_| Raw::Fixed)?,
        _ => return Err(ProtobufError::Malformed("proto: illegal wireType")),
    };
    Ok((tag >> 3, value))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], ProtobufError> {
    let (head, tail) = rest.split_at_checked(length).ok_or(ProtobufError::Malformed("unexpected EOF"))?;
    *rest = tail;
    Ok(head)
}

fn varint(rest: &mut &[u8]) -> Result<u64, ProtobufError> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(ProtobufError::Malformed("proto: integer overflow"))
}

/// A string field; Go refuses invalid UTF-8 later, we do at once.
pub(super) fn text(bytes: &[u8]) -> Result<String, ProtobufError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| ProtobufError::Malformed("proto: invalid UTF-8"))
}
