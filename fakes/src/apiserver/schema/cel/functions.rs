//! The standard functions, and those of the strings, lists, regex and optional libraries.

use std::cmp::Ordering;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::apiserver::schema::go;
use crate::apiserver::schema::list;
use crate::apiserver::schema::node::ListType;

use super::time;
use super::value::{Failure, Val, no_such_overload};

/// An integer beyond 64 bits.
pub fn overflow() -> Failure {
    "integer overflow".to_owned()
}

/// A value in an error text.
pub fn shown(value: &Val<'_>) -> String {
    match value {
        Val::Int(number) => number.to_string(),
        Val::Uint(number) => number.to_string(),
        Val::Double(number) => go::float(*number),
        Val::String(text) => text.to_string(),
        Val::Bool(flag) => flag.to_string(),
        other => other.type_name().to_owned(),
    }
}

/// `+ - * / %`.
///
/// # Errors
/// Overflow, division by zero, operands of other types.
pub fn arithmetic<'a>(operator: char, left: Val<'a>, right: Val<'a>) -> Result<Val<'a>, Failure> {
    let zero = || if operator == '%' { "modulus by zero".to_owned() } else { "division by zero".to_owned() };
    Ok(match (operator, left, right) {
        ('/' | '%', _, Val::Int(0)) | ('/' | '%', _, Val::Uint(0)) => return Err(zero()),
        (_, Val::Int(left), Val::Int(right)) => Val::Int(
            match operator {
                '+' => left.checked_add(right),
                '-' => left.checked_sub(right),
                '*' => left.checked_mul(right),
                '/' => left.checked_div(right),
                _ => left.checked_rem(right),
            }
            .ok_or_else(overflow)?,
        ),
        (_, Val::Uint(left), Val::Uint(right)) => Val::Uint(
            match operator {
                '+' => left.checked_add(right),
                '-' => left.checked_sub(right),
                '*' => left.checked_mul(right),
                '/' => left.checked_div(right),
                _ => left.checked_rem(right),
            }
            .ok_or_else(|| "unsigned integer overflow".to_owned())?,
        ),
        ('+', Val::Double(left), Val::Double(right)) => Val::Double(left + right),
        ('-', Val::Double(left), Val::Double(right)) => Val::Double(left - right),
        ('*', Val::Double(left), Val::Double(right)) => Val::Double(left * right),
        ('/', Val::Double(left), Val::Double(right)) => Val::Double(left / right),
        ('+', Val::String(left), Val::String(right)) => Val::text(format!("{left}{right}")),
        ('+', Val::Bytes(left), Val::Bytes(right)) => Val::Bytes([&*left, &*right].concat().into()),
        ('+', Val::Duration(left), Val::Duration(right)) => {
            Val::Duration(left.checked_add(right).ok_or_else(overflow)?)
        }
        ('-', Val::Duration(left), Val::Duration(right)) => {
            Val::Duration(left.checked_sub(right).ok_or_else(overflow)?)
        }
        ('+', Val::Timestamp(time), Val::Duration(span)) | ('+', Val::Duration(span), Val::Timestamp(time)) => {
            Val::Timestamp(time.checked_add(span).map_err(|_| "timestamp overflow".to_owned())?)
        }
        ('-', Val::Timestamp(time), Val::Duration(span)) => {
            Val::Timestamp(time.checked_sub(span).map_err(|_| "timestamp overflow".to_owned())?)
        }
        ('-', Val::Timestamp(left), Val::Timestamp(right)) => Val::Duration(left.duration_since(right)),
        ('+', left @ (Val::Array(..) | Val::List(_)), right @ (Val::Array(..) | Val::List(_))) => {
            concatenate(&left, &right)?
        }
        _ => return Err(no_such_overload()),
    })
}

/// Lists of type set and map merge; others are put one after the other.
fn concatenate<'a>(left: &Val<'a>, right: &Val<'a>) -> Result<Val<'a>, Failure> {
    let mut items = left.items()?;
    let node = if let Val::Array(_, node) = left { *node } else { None };
    match node.map(|node| (node, node.list_type)) {
        Some((_, ListType::Set)) => {
            for item in right.items()? {
                if !items.iter().any(|known| known.equals(&item)) {
                    items.push(item);
                }
            }
        }
        Some((node, ListType::Map)) => {
            let (Val::Array(own, _), Val::Array(others, _)) = (left, right) else {
                items.extend(right.items()?);
                return Ok(Val::list(items));
            };
            for (item, value) in others.iter().zip(right.items()?) {
                let key = list::identity(node, item);
                match own.iter().position(|known| list::identity(node, known) == key) {
                    Some(index) => items[index] = value,
                    None => items.push(value),
                }
            }
        }
        _ => items.extend(right.items()?),
    }
    Ok(Val::list(items))
}

/// Calls a function of this module; `None` where there is none for these values.
pub fn call<'a>(name: &str, args: &[Val<'a>]) -> Option<Result<Val<'a>, Failure>> {
    let result = match (name, args) {
        ("size", [value]) => value.size().map(|size| Val::Int(size as i64)),
        ("contains", [Val::String(text), Val::String(part)]) => Ok(Val::Bool(text.contains(&**part))),
        ("startsWith", [Val::String(text), Val::String(part)]) => Ok(Val::Bool(text.starts_with(&**part))),
        ("endsWith", [Val::String(text), Val::String(part)]) => Ok(Val::Bool(text.ends_with(&**part))),
        ("matches", [Val::String(text), Val::String(pattern)]) => {
            regex(pattern).map(|regex| Val::Bool(regex.is_match(text)))
        }
        ("find", [Val::String(text), Val::String(pattern)]) => {
            regex(pattern).map(|regex| Val::text(regex.find(text).map_or("", |found| found.as_str())))
        }
        ("findAll", [Val::String(text), Val::String(pattern), rest @ ..]) => regex(pattern).map(|regex| {
            let limit = match rest {
                [Val::Int(limit)] if *limit >= 0 => *limit as usize,
                _ => usize::MAX,
            };
            Val::list(regex.find_iter(text).take(limit).map(|found| Val::text(found.as_str())).collect())
        }),
        ("type", [value]) => Ok(Val::Type(value.type_name())),
        ("dyn", [value]) => Ok(value.clone()),
        ("int" | "uint" | "double" | "bool" | "bytes" | "duration" | "timestamp", [value]) => convert(name, value),
        ("string", [value]) if !matches!(value, Val::Foreign(_)) => convert(name, value),
        ("optional.of", [value]) => Ok(Val::Optional(Some(Arc::new(value.clone())))),
        ("optional.ofNonZeroValue", [value]) => {
            Ok(Val::Optional(Some(value).filter(|value| !is_zero(value)).map(|value| Arc::new(value.clone()))))
        }
        ("optional.none", []) => Ok(Val::Optional(None)),
        ("hasValue", [Val::Optional(inner)]) => Ok(Val::Bool(inner.is_some())),
        ("value", [Val::Optional(inner)]) => match inner {
            Some(inner) => Ok((**inner).clone()),
            None => Err("optional.none() dereference".to_owned()),
        },
        ("isSorted" | "sum" | "min" | "max", [list @ (Val::Array(..) | Val::List(_))]) => {
            list.items().and_then(|items| aggregate(name, items))
        }
        ("indexOf" | "lastIndexOf", [list @ (Val::Array(..) | Val::List(_)), item]) => list.items().map(|items| {
            let found = if name == "indexOf" {
                items.iter().position(|known| known.equals(item))
            } else {
                items.iter().rposition(|known| known.equals(item))
            };
            Val::Int(found.map_or(-1, |index| index as i64))
        }),
        ("sets.contains", [all, part]) => members(all, part).map(|(all, part)| Val::Bool(covers(&all, &part))),
        ("sets.equivalent", [left, right]) => {
            members(left, right).map(|(left, right)| Val::Bool(covers(&left, &right) && covers(&right, &left)))
        }
        ("sets.intersects", [left, right]) => members(left, right)
            .map(|(left, right)| Val::Bool(left.iter().any(|item| right.iter().any(|other| other.equals(item))))),
        (_, [Val::Duration(span)]) => return duration_part(name, *span).map(|part| Ok(Val::Int(part))),
        (_, [Val::Timestamp(time), zone @ ..]) => return time_part(name, *time, zone),
        (_, [Val::String(text), rest @ ..]) => return super::strings::call(name, text, rest),
        ("join", [list @ (Val::Array(..) | Val::List(_)), rest @ ..]) => {
            let separator = match rest {
                [Val::String(separator)] => separator,
                _ => "",
            };
            list.items().and_then(|items| {
                let texts: Result<Vec<_>, _> = items
                    .iter()
                    .map(|item| if let Val::String(text) = item { Ok(text.as_ref()) } else { Err(no_such_overload()) })
                    .collect();
                Ok(Val::text(texts?.join(separator)))
            })
        }
        _ => return None,
    };
    Some(result)
}

type Members<'a> = (Vec<Val<'a>>, Vec<Val<'a>>);

fn members<'a>(left: &Val<'a>, right: &Val<'a>) -> Result<Members<'a>, Failure> {
    Ok((left.items()?, right.items()?))
}

fn covers(all: &[Val<'_>], part: &[Val<'_>]) -> bool {
    part.iter().all(|item| all.iter().any(|known| known.equals(item)))
}

fn is_zero(value: &Val<'_>) -> bool {
    match value {
        Val::Null => true,
        Val::Bool(flag) => !flag,
        Val::Int(number) => *number == 0,
        Val::Uint(number) => *number == 0,
        Val::Double(number) => *number == 0.0,
        Val::Duration(span) => span.is_zero(),
        other => other.size().is_ok_and(|size| size == 0),
    }
}

fn aggregate<'a>(name: &str, items: Vec<Val<'a>>) -> Result<Val<'a>, Failure> {
    let order = |left: &Val<'a>, right: &Val<'a>| left.compare(right).ok_or_else(no_such_overload);
    match name {
        "isSorted" => {
            for pair in items.windows(2) {
                if order(&pair[0], &pair[1])? == Ordering::Greater {
                    return Ok(Val::Bool(false));
                }
            }
            Ok(Val::Bool(true))
        }
        "sum" => {
            let mut items = items.into_iter();
            let Some(mut total) = items.next() else { return Ok(Val::Int(0)) };
            for item in items {
                total = arithmetic('+', total, item)?;
            }
            Ok(total)
        }
        _ => {
            let wanted = if name == "min" { Ordering::Less } else { Ordering::Greater };
            let mut items = items.into_iter();
            let mut best = items.next().ok_or_else(|| format!("{name} called on empty list"))?;
            for item in items {
                if order(&item, &best)? == wanted {
                    best = item;
                }
            }
            Ok(best)
        }
    }
}

fn convert<'a>(name: &str, value: &Val<'a>) -> Result<Val<'a>, Failure> {
    let failed = || format!("type conversion error from '{}' to '{name}'", value.type_name());
    Ok(match (name, value) {
        ("int", Val::Int(_)) | ("uint", Val::Uint(_)) | ("double", Val::Double(_)) | ("bool", Val::Bool(_)) => {
            value.clone()
        }
        ("string", Val::String(_)) | ("bytes", Val::Bytes(_)) => value.clone(),
        ("duration", Val::Duration(_)) | ("timestamp", Val::Timestamp(_)) => value.clone(),
        ("int", Val::Uint(number)) => Val::Int(i64::try_from(*number).map_err(|_| overflow())?),
        ("int", Val::Double(number)) if number.abs() < 9.2e18 => Val::Int(*number as i64),
        ("int", Val::Double(_)) => return Err(overflow()),
        ("int", Val::String(text)) => Val::Int(text.parse().map_err(|_| failed())?),
        ("int", Val::Timestamp(time)) => Val::Int(time.as_second()),
        ("uint", Val::Int(number)) => {
            Val::Uint(u64::try_from(*number).map_err(|_| "unsigned integer overflow".to_owned())?)
        }
        ("uint", Val::Double(number)) if *number >= 0.0 && *number < 1.8e19 => Val::Uint(*number as u64),
        ("uint", Val::Double(_)) => return Err("unsigned integer overflow".to_owned()),
        ("uint", Val::String(text)) => Val::Uint(text.parse().map_err(|_| failed())?),
        ("double", Val::Int(number)) => Val::Double(*number as f64),
        ("double", Val::Uint(number)) => Val::Double(*number as f64),
        ("double", Val::String(text)) => Val::Double(text.parse().map_err(|_| failed())?),
        ("bool", Val::String(text)) => match &**text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Val::Bool(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Val::Bool(false),
            _ => return Err(failed()),
        },
        ("bytes", Val::String(text)) => Val::Bytes(text.as_bytes().into()),
        ("duration", Val::String(text)) => Val::Duration(time::duration(text).ok_or_else(failed)?),
        ("timestamp", Val::String(text)) => Val::Timestamp(text.parse().map_err(|_| failed())?),
        ("timestamp", Val::Int(seconds)) => Val::Timestamp(Timestamp::from_second(*seconds).map_err(|_| failed())?),
        ("string", Val::Int(_) | Val::Uint(_) | Val::Double(_) | Val::Bool(_)) => Val::text(shown(value)),
        ("string", Val::Bytes(bytes)) => Val::text(String::from_utf8(bytes.to_vec()).map_err(|_| failed())?),
        ("string", Val::Duration(span)) => Val::text(time::shown(*span)),
        ("string", Val::Timestamp(time)) => Val::text(time.to_string()),
        _ => return Err(no_such_overload()),
    })
}

fn duration_part(name: &str, span: SignedDuration) -> Option<i64> {
    Some(match name {
        "getHours" => span.as_secs() / 3600,
        "getMinutes" => span.as_secs() / 60,
        "getSeconds" => span.as_secs(),
        "getMilliseconds" => i64::from(span.subsec_millis()),
        _ => return None,
    })
}

fn time_part<'a>(name: &str, time: Timestamp, zone: &[Val<'a>]) -> Option<Result<Val<'a>, Failure>> {
    let zone = match zone {
        [] => jiff::tz::TimeZone::UTC,
        [Val::String(name)] => match jiff::tz::TimeZone::get(name) {
            Ok(zone) => zone,
            Err(_) => return Some(Err(format!("unknown time zone {name}"))),
        },
        _ => return None,
    };
    let time = time.to_zoned(zone);
    let part = match name {
        "getFullYear" => i64::from(time.year()),
        "getMonth" => i64::from(time.month()) - 1,
        "getDayOfYear" => i64::from(time.day_of_year()) - 1,
        "getDayOfMonth" => i64::from(time.day()) - 1,
        "getDate" => i64::from(time.day()),
        "getDayOfWeek" => i64::from(time.weekday().to_sunday_zero_offset()),
        "getHours" => i64::from(time.hour()),
        "getMinutes" => i64::from(time.minute()),
        "getSeconds" => i64::from(time.second()),
        "getMilliseconds" => i64::from(time.millisecond()),
        _ => return None,
    };
    Some(Ok(Val::Int(part)))
}

/// Compiled expressions of the rules run so far: rules are few and their patterns constant. Kept per thread, see format.rs.
fn regex(pattern: &str) -> Result<regex::Regex, Failure> {
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    thread_local! {
        static COMPILED: RefCell<BTreeMap<String, regex::Regex>> = const { RefCell::new(BTreeMap::new()) };
    }
    /// Patterns kept; more come only from patterns computed from data.
    const KEPT: usize = 1_000;
    COMPILED.with_borrow_mut(|compiled| {
        if let Some(found) = compiled.get(pattern) {
            return Ok(found.clone());
        }
        let regex = regex::Regex::new(pattern).map_err(|error| format!("error parsing regexp: {error}"))?;
        if compiled.len() < KEPT {
            compiled.insert(pattern.to_owned(), regex.clone());
        }
        Ok(regex)
    })
}
