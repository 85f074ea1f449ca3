//! String formats the server knows; all others are ignored (apiserver.md F6).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use regex::Regex;

const KNOWN: [&str; 27] = [
    "bsonobjectid",
    "uri",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "cidr",
    "mac",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
    "isbn",
    "isbn10",
    "isbn13",
    "creditcard",
    "ssn",
    "hexcolor",
    "rgbcolor",
    "byte",
    "password",
    "date",
    "duration",
    "datetime",
    "int32",
    "int64",
    "double",
];

/// Whether the server checks this format at all. Dashes do not count: `date-time` is `datetime`.
pub fn is_known(name: &str) -> bool {
    let plain = name.replace('-', "");
    KNOWN.contains(&plain.as_str()) || plain == "float"
}

/// Whether `text` has the format. Formats not known accept everything.
pub fn accepts(name: &str, text: &str) -> bool {
    match name.replace('-', "").as_str() {
        "datetime" => text.parse::<jiff::Timestamp>().is_ok() && matches(&DATE_TIME, text),
        "date" => matches(&DATE, text) && text.parse::<jiff::civil::Date>().is_ok(),
        "duration" => is_duration(text),
        "uri" => matches(&URI, text),
        "email" => matches(&EMAIL, text),
        "hostname" => matches(&HOSTNAME, text) && text.len() <= 255,
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => is_cidr(text),
        "mac" => matches(&MAC, text),
        "uuid" => matches(&UUID, text),
        "uuid3" => matches(&UUID, text) && text.replace('-', "").as_bytes().get(12) == Some(&b'3'),
        "uuid4" => matches(&UUID, text) && text.replace('-', "").as_bytes().get(12) == Some(&b'4'),
        "uuid5" => matches(&UUID, text) && text.replace('-', "").as_bytes().get(12) == Some(&b'5'),
        "bsonobjectid" => matches(&OBJECT_ID, text),
        "hexcolor" => matches(&HEX_COLOR, text),
        "rgbcolor" => matches(&RGB_COLOR, text),
        "ssn" => matches(&SSN, text),
        "byte" => matches(&BASE64, text) && text.len().is_multiple_of(4),
        _ => true,
    }
}

/// A pattern, compiled once per thread. Not once per process: a compiled pattern and its scratch space hold hash maps, and
/// every hash map that is made moves the keys of those made after it on its thread. A run that found the patterns compiled
/// would take its turns in another order than the run that compiled them.
struct Lazy(&'static str);

thread_local! {
    static COMPILED: RefCell<BTreeMap<&'static str, Option<Regex>>> = const { RefCell::new(BTreeMap::new()) };
}

static DATE_TIME: Lazy = Lazy(r"^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$");
static DATE: Lazy = Lazy(r"^\d{4}-\d\d-\d\d$");
static URI: Lazy = Lazy(r"^([a-zA-Z][a-zA-Z0-9+.-]*:|/)[^\s]*$");
static EMAIL: Lazy = Lazy(r"^[^\s@]+@[^\s@]+$");
static HOSTNAME: Lazy = Lazy(
    r"^([a-zA-Z0-9\p{L}_]([a-zA-Z0-9\p{L}_-]{0,61}[a-zA-Z0-9\p{L}_])?)(\.[a-zA-Z0-9\p{L}_]([a-zA-Z0-9\p{L}_-]{0,61}[a-zA-Z0-9\p{L}_])?)*\.?$",
);
static MAC: Lazy = Lazy(r"^([0-9a-fA-F]{2}[:-]){5,7}[0-9a-fA-F]{2}$|^([0-9a-fA-F]{4}\.){2,3}[0-9a-fA-F]{4}$");
static UUID: Lazy = Lazy(r"^(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$");
static OBJECT_ID: Lazy = Lazy(r"^[0-9a-fA-F]{24}$");
static HEX_COLOR: Lazy = Lazy(r"^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$");
static RGB_COLOR: Lazy = Lazy(r"^rgb\(\s*\d{1,3}\s*,\s*\d{1,3}\s*,\s*\d{1,3}\s*\)$");
static SSN: Lazy = Lazy(r"^\d{3}[- ]?\d{2}[- ]?\d{4}$");
static BASE64: Lazy = Lazy(r"^[A-Za-z0-9+/]*={0,2}$");

fn compile(pattern: &str) -> Option<Regex> {
    Regex::new(pattern).ok()
}

fn matches(pattern: &Lazy, text: &str) -> bool {
    COMPILED.with_borrow_mut(|compiled| {
        let regex = compiled.entry(pattern.0).or_insert_with(|| compile(pattern.0));
        regex.as_ref().is_some_and(|regex| regex.is_match(text))
    })
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let Ok(length) = length.parse::<u8>() else { return false };
    (address.parse::<Ipv4Addr>().is_ok() && length <= 32) || (address.parse::<Ipv6Addr>().is_ok() && length <= 128)
}

/// A sequence of numbers with units, as `1h30m`; days and weeks are units too, and a space may separate them.
fn is_duration(text: &str) -> bool {
    static PARTS: Lazy = Lazy(
        r"^[+-]?(0|(\d+(\.\d*)?|\.\d+)\s*(ns|us|µs|μs|ms|s|m|h|d|w|nanos?|micros?|millis?|seconds?|minutes?|hours?|days?|weeks?)(\s*(\d+(\.\d*)?|\.\d+)\s*(ns|us|µs|μs|ms|s|m|h|d|w))*)$",
    );
    matches(&PARTS, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_it_checks() {
        for (name, good, bad) in [
            ("date-time", "2026-11-23T08:36:42.5+01:00", "2026-11-23"),
            ("date", "2026-02-28", "2026-02-30"),
            ("duration", "1h30m", "soon"),
            ("ipv4", "10.0.0.1", "10.0.0.256"),
            ("ipv6", "::1", "10.0.0.1"),
            ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
            ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123e4567"),
            ("email", "a@b.c", "a b"),
            ("byte", "aGk=", "a*"),
            ("hostname", "a-b.example.com", "-a"),
        ] {
            assert!(is_known(name) && accepts(name, good) && !accepts(name, bad), "{name}");
        }
        assert!(!is_known("quantity"));
    }
}
