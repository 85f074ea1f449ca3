//! Splits JSON text at its outermost level and decodes nothing inside, so that one member that cannot be decoded (nested too
//! deep, a number without end, a broken character) costs only itself. What is between the separators is not checked here.

/// The members of an object, in their order. `None` where the text is no object.
pub(super) fn members(text: &[u8]) -> Option<Vec<(String, &[u8])>> {
    let pieces = split(text, b'{', b'}')?;
    pieces.into_iter().map(member).collect::<Option<Vec<_>>>()
}

/// The last value of a member, as a decoder that keeps one value would have it.
pub(super) fn member_of<'a>(members: &[(String, &'a [u8])], key: &str) -> Option<&'a [u8]> {
    members.iter().rev().find(|(name, _)| name == key).map(|(_, value)| *value)
}

/// The elements of an array, in their order. `None` where the text is no array.
pub(super) fn elements(text: &[u8]) -> Option<Vec<&[u8]>> {
    split(text, b'[', b']')
}

fn member(piece: &[u8]) -> Option<(String, &[u8])> {
    let inside = piece.strip_prefix(b"\"")?;
    let mut escaped = false;
    let end = inside.iter().position(|byte| {
        let ends = !escaped && *byte == b'"';
        escaped = !escaped && *byte == b'\\';
        ends
    })?;
    let key = &piece[..end + 2];
    // A name with a broken character is nobody's name.
    let name = serde_json::from_slice(key).unwrap_or_default();
    let value = inside[end + 1..].trim_ascii_start().strip_prefix(b":")?;
    Some((name, value.trim_ascii()))
}

fn split(text: &[u8], open: u8, close: u8) -> Option<Vec<&[u8]>> {
    let inner = text.trim_ascii().strip_prefix(&[open])?.strip_suffix(&[close])?;
    let (mut pieces, mut from, mut depth) = (Vec::new(), 0, 0_usize);
    let (mut in_string, mut escaped) = (false, false);
    for (at, byte) in inner.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            b',' if depth == 0 => {
                pieces.push(inner[from..at].trim_ascii());
                from = at + 1;
            }
            _ => {}
        }
    }
    let last = inner[from..].trim_ascii();
    if !pieces.is_empty() || !last.is_empty() {
        pieces.push(last);
    }
    (depth == 0 && !in_string).then_some(pieces)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn structure_inside_strings_and_values_does_not_count() {
        let text = br#" { "a,}" : [1,{"b":"]"}] , "q\"\\":"\\" ,"c":{} , "n":null} "#;
        let read = members(text).expect("an object");
        let read: Vec<_> =
            read.iter().map(|(name, value)| (name.as_str(), std::str::from_utf8(value).unwrap())).collect();
        assert_eq!(read, [("a,}", r#"[1,{"b":"]"}]"#), ("q\"\\", r#""\\""#), ("c", "{}"), ("n", "null")]);
        assert_eq!(elements(b"[]"), Some(vec![]));
        assert_eq!(elements(br#"["a", 1e999 ]"#), Some(vec![&br#""a""#[..], b"1e999"]));
        for broken in ["", "[", "[1", "{]", "[}]", "[\"]", "null", "[[]", "[]]", "{a:1}"] {
            assert_eq!(elements(broken.as_bytes()), None, "{broken}");
            assert_eq!(members(broken.as_bytes()), None, "{broken}");
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = format!("[{}{}]", "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert_eq!(elements(deep.as_bytes()).map(|elements| elements.len()), Some(1));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,6}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(".{0,4}", inner, 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect()))
            ]
        })
    }

    proptest! {
        #[test]
        fn it_splits_as_the_decoder_does(value in value(), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let decode = |text: &[u8]| serde_json::from_slice::<Value>(text).unwrap();
            let object = members(text.as_bytes())
                .map(|members| Value::Object(members.into_iter().map(|(name, value)| (name, decode(value))).collect()));
            prop_assert_eq!(object, value.is_object().then(|| value.clone()));
            let array = elements(text.as_bytes())
                .map(|elements| Value::Array(elements.into_iter().map(decode).collect()));
            prop_assert_eq!(array, value.is_array().then(|| value.clone()));
        }

        #[test]
        fn no_text_is_too_odd(text in any::<Vec<u8>>(), odd in r#"[\[\]{}",:\\a1 ]{0,40}"#) {
            for text in [&text[..], odd.as_bytes()] {
                let _ = (members(text), elements(text));
            }
        }
    }
}
