//! Functions of strings. Positions count characters.

use crate::apiserver::schema::go;

use super::value::{Failure, Val};

/// Calls a member function of a string; `None` where there is none for these arguments.
pub fn call<'a>(name: &str, text: &str, args: &[Val<'a>]) -> Option<Result<Val<'a>, Failure>> {
    let result = match (name, args) {
        ("lowerAscii", []) => Ok(Val::text(text.to_ascii_lowercase())),
        ("upperAscii", []) => Ok(Val::text(text.to_ascii_uppercase())),
        ("trim", []) => Ok(Val::text(text.trim())),
        ("reverse", []) => Ok(Val::text(text.chars().rev().collect::<String>())),
        ("strings.quote", []) => Ok(Val::text(go::quote(text))),
        ("charAt", [Val::Int(index)]) => char_at(text, *index),
        ("indexOf" | "lastIndexOf", [Val::String(part), rest @ ..]) => {
            let from = match rest {
                [] => None,
                [Val::Int(from)] => Some(*from),
                _ => return None,
            };
            index_of(text, part, from, name == "lastIndexOf")
        }
        ("replace", [Val::String(from), Val::String(to)]) => Ok(Val::text(text.replace(&**from, to))),
        ("replace", [Val::String(from), Val::String(to), Val::Int(limit)]) => {
            let limit = usize::try_from(*limit).unwrap_or(usize::MAX);
            Ok(Val::text(text.replacen(&**from, to, limit)))
        }
        ("split", [Val::String(separator)]) => Ok(split(text, separator, -1)),
        ("split", [Val::String(separator), Val::Int(limit)]) => Ok(split(text, separator, *limit)),
        ("substring", [Val::Int(from)]) => substring(text, *from, None),
        ("substring", [Val::Int(from), Val::Int(to)]) => substring(text, *from, Some(*to)),
        _ => return None,
    };
    Some(result)
}

fn char_at<'a>(text: &str, index: i64) -> Result<Val<'a>, Failure> {
    let length = text.chars().count();
    match usize::try_from(index) {
        Ok(at) if at < length => Ok(Val::text(text.chars().skip(at).take(1).collect::<String>())),
        Ok(at) if at == length => Ok(Val::text("")),
        _ => Err(format!("index out of range: {index}")),
    }
}

fn index_of<'a>(text: &str, part: &str, from: Option<i64>, last: bool) -> Result<Val<'a>, Failure> {
    let text: Vec<char> = text.chars().collect();
    let part: Vec<char> = part.chars().collect();
    let from = match from {
        None if last => text.len(),
        None => 0,
        Some(from) => usize::try_from(from)
            .ok()
            .filter(|from| *from <= text.len())
            .ok_or_else(|| format!("index out of range: {from}"))?,
    };
    let fits = |at: &usize| text[*at..].starts_with(&part);
    let end = text.len().saturating_sub(part.len());
    let found = if part.len() > text.len() {
        None
    } else if last {
        (0..=end.min(from)).rev().find(fits)
    } else {
        (from..=end).find(fits)
    };
    Ok(Val::Int(found.map_or(-1, |at| at as i64)))
}

fn split<'a>(text: &str, separator: &str, limit: i64) -> Val<'a> {
    let parts: Vec<Val<'a>> = match (limit, separator) {
        (0, _) => Vec::new(),
        (1, _) => vec![Val::text(text)],
        (_, "") => {
            let characters: Vec<char> = text.chars().collect();
            let count = usize::try_from(limit).unwrap_or(usize::MAX).min(characters.len());
            (0..count)
                .map(|index| {
                    let end = if index + 1 == count { characters.len() } else { index + 1 };
                    Val::text(characters[index..end].iter().collect::<String>())
                })
                .collect()
        }
        (limit, _) => {
            let count = usize::try_from(limit).unwrap_or(usize::MAX);
            text.splitn(count, separator).map(Val::text).collect()
        }
    };
    Val::list(parts)
}

fn substring<'a>(text: &str, from: i64, to: Option<i64>) -> Result<Val<'a>, Failure> {
    let characters: Vec<char> = text.chars().collect();
    let to = to.unwrap_or(characters.len() as i64);
    let bound = |index: i64| {
        usize::try_from(index)
            .ok()
            .filter(|index| *index <= characters.len())
            .ok_or_else(|| format!("index out of range: {index}"))
    };
    let (start, end) = (bound(from)?, bound(to)?);
    if start > end {
        return Err(format!("invalid substring range. start: {from}, end: {to}"));
    }
    Ok(Val::text(characters[start..end].iter().collect::<String>()))
}
