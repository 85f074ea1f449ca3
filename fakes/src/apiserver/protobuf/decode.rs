//! Walks a message by its table and builds the JSON object that Go would have written for the same value.

use super::ProtobufError;
use super::kinds::{Message, Shape};
use super::wire::{self, Raw};
use base64::Engine as _;
use serde_json::{Map, Value};

/// Decodes the fields of `message` from `input` into `object`. Fields without a table entry are skipped, as Go does.
pub(super) fn message(message: &Message, input: &[u8], object: &mut Map<String, Value>) -> Result<(), ProtobufError> {
    for field in wire::fields(input) {
        let (number, raw) = field?;
        let Some(field) = message.0.iter().find(|field| u64::from(field.0) == number) else { continue };
        let (json, shape) = (field.1, &field.2);
        match (shape, raw) {
            (Shape::Text, Raw::Bytes([])) => {}
            (Shape::Text | Shape::OptionalText, Raw::Bytes(bytes)) => set(object, json, wire::text(bytes)?.into()),
            (Shape::Number, Raw::Varint(0)) | (Shape::Flag, Raw::Varint(0)) => {}
            (Shape::Number | Shape::OptionalNumber, Raw::Varint(value)) => {
                set(object, json, value.cast_signed().into())
            }
            (Shape::Flag | Shape::OptionalFlag, Raw::Varint(value)) => set(object, json, (value != 0).into()),
            (Shape::Time | Shape::MicroTime, Raw::Bytes(bytes)) => {
                if let Some(time) = time(bytes, matches!(shape, Shape::MicroTime))? {
                    set(object, json, time.into());
                }
            }
            (Shape::IntOrString, Raw::Bytes(bytes)) => set(object, json, int_or_string(bytes)?),
            (Shape::Quantity, Raw::Bytes(bytes)) => set(object, json, quantity(bytes)?),
            (Shape::Texts, Raw::Bytes(bytes)) => push(object, json, wire::text(bytes)?.into()),
            (Shape::One(nested), Raw::Bytes(bytes)) => {
                let mut inner = match object.remove(json) {
                    Some(Value::Object(inner)) => inner,
                    _ => Map::new(),
                };
                self::message(nested, bytes, &mut inner)?;
                set(object, json, Value::Object(inner));
            }
            (Shape::Struct(nested), Raw::Bytes(bytes)) => {
                let mut inner = Map::new();
                self::message(nested, bytes, &mut inner)?;
                // A struct that is not a pointer is always on the wire. Without content it means nothing, except for `spec`,
                // below which defaults are filled in.
                if !inner.is_empty() || json == "spec" {
                    set(object, json, Value::Object(inner));
                }
            }
            (Shape::Inline(nested), Raw::Bytes(bytes)) => self::message(nested, bytes, object)?,
            (Shape::Many(nested), Raw::Bytes(bytes)) => {
                let mut inner = Map::new();
                self::message(nested, bytes, &mut inner)?;
                push(object, json, Value::Object(inner));
            }
            (Shape::TextMap | Shape::BytesMap | Shape::QuantityMap | Shape::TextsMap, Raw::Bytes(bytes)) => {
                let (key, value) = entry(shape, bytes)?;
                let map = object.entry(json).or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(map) = map {
                    map.insert(key, value);
                }
            }
            _ => return Err(ProtobufError::Malformed("proto: wrong wireType for field")),
        }
    }
    Ok(())
}

fn set(object: &mut Map<String, Value>, json: &str, value: Value) {
    object.insert(json.to_owned(), value);
}

fn push(object: &mut Map<String, Value>, json: &str, value: Value) {
    if let Value::Array(items) = object.entry(json).or_insert_with(|| Value::Array(Vec::new())) {
        items.push(value);
    }
}

fn entry(shape: &Shape, bytes: &[u8]) -> Result<(String, Value), ProtobufError> {
    let (mut key, mut value): (String, &[u8]) = Default::default();
    for field in wire::fields(bytes) {
        match field? {
            (1, Raw::Bytes(text)) => key = wire::text(text)?,
            (2, Raw::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    let value = match shape {
        Shape::BytesMap => base64::engine::general_purpose::STANDARD.encode(value).into(),
        Shape::QuantityMap => quantity(value)?,
        Shape::TextsMap => {
            let mut items = Vec::new();
            for field in wire::fields(value) {
                if let (1, Raw::Bytes(text)) = field? {
                    items.push(Value::String(wire::text(text)?));
                }
            }
            items.into()
        }
        _ => wire::text(value)?.into(),
    };
    Ok((key, value))
}

/// `Time` and `MicroTime`: seconds and nanoseconds. The zero message is Go's zero time, which JSON leaves out.
fn time(bytes: &[u8], micro: bool) -> Result<Option<String>, ProtobufError> {
    let (mut seconds, mut nanos) = (0i64, 0i64);
    for field in wire::fields(bytes) {
        match field? {
            (1, Raw::Varint(value)) => seconds = value.cast_signed(),
            (2, Raw::Varint(value)) => nanos = value.cast_signed(),
            _ => {}
        }
    }
    if bytes.is_empty() {
        return Ok(None);
    }
    let nanos = i32::try_from(nanos).map_err(|_| ProtobufError::Malformed("nanoseconds out of range"))?;
    let time = jiff::Timestamp::new(seconds, nanos).map_err(|_| ProtobufError::Malformed("time out of range"))?;
    Ok(Some(if micro { format!("{time:.6}") } else { format!("{time:.0}") }))
}

fn int_or_string(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let (mut is_text, mut number, mut string) = (false, 0i64, String::new());
    for field in wire::fields(bytes) {
        match field? {
            (1, Raw::Varint(kind)) => is_text = kind == 1,
            (2, Raw::Varint(value)) => number = value.cast_signed(),
            (3, Raw::Bytes(text)) => string = wire::text(text)?,
            _ => {}
        }
    }
    Ok(if is_text { string.into() } else { number.into() })
}

fn quantity(bytes: &[u8]) -> Result<Value, ProtobufError> {
    for field in wire::fields(bytes) {
        if let (1, Raw::Bytes(text)) = field? {
            return Ok(wire::text(text)?.into());
        }
    }
    Ok("0".into())
}
