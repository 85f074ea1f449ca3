//! JSON as the real server reads and writes it: duplicate keys are noticed, numbers are printed the way Go prints them.

use std::fmt;
use std::io;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Number, Value};

use super::depth;

/// Serialises a value; whole floating-point numbers appear without a fraction.
pub fn to_vec(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    write(&mut out, value);
    out
}

/// [`to_vec`] as text.
pub fn to_string(value: &Value) -> String {
    String::from_utf8(to_vec(value)).expect("serde_json writes UTF-8")
}

/// Appends a value to a buffer.
pub fn write(out: &mut Vec<u8>, value: &Value) {
    let mut serializer = serde_json::Serializer::with_formatter(out, GoNumbers);
    serde::Serialize::serialize(value, &mut serializer).expect("a JSON value always serialises into memory");
}

struct GoNumbers;

impl serde_json::ser::Formatter for GoNumbers {
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        let size = value.abs();
        if size != 0.0 && !(1e-6..1e21).contains(&size) {
            // Go: shortest digits, two-digit exponent with a sign.
            let text = format!("{value:e}");
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
            return if sign == '-' {
                write!(writer, "{digits}e-{}", exponent)
            } else {
                write!(writer, "{digits}e+{exponent:0>2}")
            };
        }
        write!(writer, "{value}")
    }
}

/// What storage does to numbers: a whole float within 64 bits comes back as an integer.
pub fn normalise_numbers(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            if let Some(float) = number.as_f64()
                && float.fract() == 0.0
                && float.abs() < 9.2e18
            {
                *number = Number::from(float as i64);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(normalise_numbers),
        Value::Object(fields) => fields.values_mut().for_each(normalise_numbers),
        _ => {}
    }
}

/// Parses JSON. The second part lists the paths of duplicate keys (the last value wins), such as `spec.x`. Deep text needs
/// [`depth::with_room`].
///
/// # Errors
/// The parser's message, or that of more levels than [`depth::LEVELS_MAX`].
pub fn parse(bytes: &[u8]) -> Result<(Value, Vec<String>), String> {
    let mut found = Found::default();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    deserializer.disable_recursion_limit();
    let seed = Seed { path: &Path { parent: None, step: Step::Root }, levels: 0, found: &mut found };
    let value = seed.deserialize(&mut deserializer).map_err(|error| match found.too_deep {
        Some(bracket) => format!("invalid character '{bracket}' exceeded max depth"),
        None => error.to_string(),
    })?;
    deserializer.end().map_err(|error| error.to_string())?;
    Ok((value, found.duplicates))
}

/// What came up in parsing.
#[derive(Default)]
struct Found {
    duplicates: Vec<String>,
    /// The bracket that goes beyond the limit.
    too_deep: Option<char>,
}

enum Step<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Key(key) => match self.parent {
                Some(Path { step: Step::Root, .. }) | None => f.write_str(key),
                Some(_) => write!(f, ".{key}"),
            },
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

struct Seed<'a> {
    path: &'a Path<'a>,
    levels: usize,
    found: &'a mut Found,
}

impl Seed<'_> {
    fn enter<E: serde::de::Error>(&mut self, bracket: char) -> Result<(), E> {
        self.levels += 1;
        if self.levels > depth::LEVELS_MAX {
            self.found.too_deep = Some(bracket);
            return Err(E::custom("too deep"));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        // Beyond 63 bits the real server falls back to a float.
        Ok(i64::try_from(value).map_or_else(|_| Value::from(value as f64), Value::from))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut access: A) -> Result<Value, A::Error> {
        self.enter('[')?;
        let mut items = Vec::new();
        loop {
            let path = Path { parent: Some(self.path), step: Step::Index(items.len()) };
            match access.next_element_seed(Seed { path: &path, levels: self.levels, found: &mut *self.found })? {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut access: A) -> Result<Value, A::Error> {
        self.enter('{')?;
        let mut fields = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let path = Path { parent: Some(self.path), step: Step::Key(&key) };
            let value = access.next_value_seed(Seed { path: &path, levels: self.levels, found: &mut *self.found })?;
            if fields.len() > 1_000_000 {
                return Err(A::Error::custom("too many fields"));
            }
            match fields.entry(key) {
                Entry::Vacant(place) => drop(place.insert(value)),
                Entry::Occupied(mut place) => {
                    let path = Path { parent: Some(self.path), step: Step::Key(place.key()) }.to_string();
                    place.insert(value);
                    if !self.found.duplicates.contains(&path) {
                        self.found.duplicates.push(path);
                    }
                }
            }
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_printed_like_go_prints_them() {
        for (value, text) in [
            (json!(2.0), "2"),
            (json!(0.5), "0.5"),
            (json!(1e21), "1e+21"),
            (json!(1.5e-7), "1.5e-7"),
            (json!(-3), "-3"),
        ] {
            assert_eq!(to_string(&value), text);
        }
    }

    #[test]
    fn duplicate_keys_are_reported_with_their_path() {
        let (value, duplicates) =
            parse(br#"{"spec":{"a":1,"l":[{"b":1,"b":2}],"a":2},"x":1,"x":1}"#).expect("valid JSON");
        assert_eq!(value, json!({"spec":{"a":2,"l":[{"b":2}]},"x":1}));
        assert_eq!(duplicates, ["spec.l[0].b", "spec.a", "x"]);
    }
}
