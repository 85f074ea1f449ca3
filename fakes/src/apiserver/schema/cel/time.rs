//! Durations and times in text.

use jiff::{SignedDuration, Timestamp};

/// A duration such as `1h30m`, `-1.5s`, `0`.
pub fn duration(text: &str) -> Option<SignedDuration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos: f64 = 0.0;
    let mut whole: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|character: char| !character.is_ascii_digit() && character != '.')?;
        let (digits, tail) = rest.split_at(end);
        let unit_end =
            tail.find(|character: char| character.is_ascii_digit() || character == '.').unwrap_or(tail.len());
        let (unit, next) = tail.split_at(unit_end);
        let size: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        match digits.split_once('.') {
            None => whole = whole.checked_add(digits.parse::<i128>().ok()?.checked_mul(size)?)?,
            Some((units, fraction)) => {
                if units.is_empty() && fraction.is_empty() {
                    return None;
                }
                if !units.is_empty() {
                    whole = whole.checked_add(units.parse::<i128>().ok()?.checked_mul(size)?)?;
                }
                if !fraction.is_empty() {
                    nanos += format!("0.{fraction}").parse::<f64>().ok()? * size as f64;
                }
            }
        }
        rest = next;
    }
    let total = whole.checked_add(nanos as i128)?;
    let total = i64::try_from(if negative { -total } else { total }).ok()?;
    Some(SignedDuration::from_nanos(total))
}

/// A day, as its first moment in UTC.
pub fn date(text: &str) -> Option<Timestamp> {
    let day: jiff::civil::Date = text.parse().ok()?;
    day.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|time| time.timestamp())
}

/// Seconds with as many decimals as needed: how a duration becomes text.
pub fn shown(duration: SignedDuration) -> String {
    let nanos = duration.subsec_nanos().unsigned_abs();
    let sign = if duration.is_negative() { "-" } else { "" };
    let seconds = duration.as_secs().unsigned_abs();
    if nanos == 0 {
        return format!("{sign}{seconds}s");
    }
    let fraction = format!("{nanos:09}");
    format!("{sign}{seconds}.{}s", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expected) in
            [("1h30m", Some("5400s")), ("-1.5s", Some("-1.5s")), ("0", Some("0s")), ("1", None), ("", None)]
        {
            assert_eq!(duration(text).map(shown).as_deref(), expected, "{text}");
        }
    }
}
