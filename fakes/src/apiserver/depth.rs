//! How deep JSON may nest, and the stack for it.
//!
//! A real server reads ten thousand levels, on stacks that grow. Here every walk over an object is a plain recursion; whatever may meet
//! a deep object therefore runs under [`with_room`], on a stack that is made for the occasion. Dropping one is the exception: it takes
//! less than 1 MiB, unoptimised. Bodies in YAML that is not JSON keep the YAML parser's own limit of 128 levels.

use serde_json::Value;

/// Most levels of a body: the limit of Go's decoder, as of its YAML scanner.
pub const LEVELS_MAX: usize = 10_000;
/// What fits on any thread's stack.
const LEVELS_SHALLOW: usize = 100;
/// Room for the largest steps of a walk at every level (a test walks them all, unoptimised). Only what is used becomes memory.
const STACK_BYTES: usize = LEVELS_MAX * 16 * 1024;

/// Whether JSON text nests so deep that reading it needs [`with_room`].
pub fn is_deep_text(text: &[u8]) -> bool {
    of_text(text) > LEVELS_SHALLOW
}

/// How deep the brackets of JSON text nest; at least what a parser enters before it finds an error.
pub fn of_text(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'\\' => drop(bytes.next()),
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    deepest
}

/// Whether a value is too deep to be walked without [`with_room`].
pub fn is_deep(value: &Value) -> bool {
    exceeds(value, LEVELS_SHALLOW)
}

/// Whether a value has more levels than these; looks no deeper than that.
pub fn exceeds(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(|item| exceeds(item, levels - 1)),
        Value::Object(fields) => levels == 0 || fields.values().any(|field| exceeds(field, levels - 1)),
        _ => false,
    }
}

/// Runs `work`, if something is `deep` on a stack with room for [`LEVELS_MAX`] levels.
pub fn with_room<R>(deep: bool, work: impl FnOnce() -> R) -> R {
    if deep { stacker::maybe_grow(STACK_BYTES / 2, STACK_BYTES, work) } else { work() }
}
