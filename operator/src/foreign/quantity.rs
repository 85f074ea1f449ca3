//! Quantities (`10Gi`, `1.5T`, `500m`): two texts may be one size, so sizes are compared by value.

/// Thousandths of a byte. Finer parts are rounded up, as the API server does.
pub fn thousandths(text: &str) -> Option<i128> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    // 24 digits and the largest suffix stay far below what fits.
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || number.len() > 24 {
        return None;
    }
    let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
    let (factor, part) = factor(suffix)?;
    let divisor = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?.checked_mul(part)?;
    let scaled = mantissa.checked_mul(factor)?.checked_mul(1000)?;
    Some(scaled / divisor + i128::from(scaled % divisor != 0))
}

/// What a suffix multiplies by, and what it divides by.
fn factor(suffix: &str) -> Option<(i128, i128)> {
    let power = |base: i128, exponent: u32| base.checked_pow(exponent);
    let binary = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let decimal = ["k", "M", "G", "T", "P", "E"];
    if let Some(index) = binary.iter().position(|known| *known == suffix) {
        return Some((power(1024, u32::try_from(index).ok()? + 1)?, 1));
    }
    if let Some(index) = decimal.iter().position(|known| *known == suffix) {
        return Some((power(1000, u32::try_from(index).ok()? + 1)?, 1));
    }
    match suffix {
        "" => Some((1, 1)),
        "m" => Some((1, 1000)),
        "u" => Some((1, 1_000_000)),
        "n" => Some((1, 1_000_000_000)),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            match exponent.strip_prefix('-') {
                Some(negative) => Some((1, power(10, negative.parse().ok().filter(|n| *n <= 18)?)?)),
                None => {
                    let positive = exponent.strip_prefix('+').unwrap_or(exponent);
                    Some((power(10, positive.parse().ok().filter(|n| *n <= 18)?)?, 1))
                }
            }
        }
    }
}

/// The larger of two quantities, in its own words. One that cannot be read does not count.
pub fn larger<'a>(one: Option<&'a str>, other: Option<&'a str>) -> Option<&'a str> {
    one.into_iter()
        .chain(other)
        .filter_map(|text| Some((thousandths(text)?, text)))
        .reduce(|best, next| if next.0 > best.0 { next } else { best })
        .map(|(_, text)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_by_value() {
        let gibibyte = 1024_i128.pow(3) * 1000;
        for (text, expect) in [
            ("1Gi", Some(gibibyte)),
            ("1024Mi", Some(gibibyte)),
            ("1073741824", Some(gibibyte)),
            ("1.5Gi", Some(gibibyte * 3 / 2)),
            (".5Ki", Some(512_000)),
            ("1e3", Some(1_000_000)),
            ("1E3", Some(1_000_000)),
            ("1E", Some(10_i128.pow(21))),
            ("15e-1", Some(1500)),
            ("1k", Some(1_000_000)),
            ("500m", Some(500)),
            ("1u", Some(1)),
            ("0", Some(0)),
            ("", None),
            (".", None),
            ("1.2.3", None),
            ("-1Gi", None),
            ("1gi", None),
            ("1 Gi", None),
            ("ten", None),
            ("1e99", None),
            ("9999999999999999999999999", None),
        ] {
            assert_eq!(thousandths(text), expect, "{text}");
        }
    }

    #[test]
    fn the_larger_keeps_its_words() {
        for (one, other, expect) in [
            (Some("10Gi"), Some("9Gi"), Some("10Gi")),
            (Some("10G"), Some("10Gi"), Some("10Gi")),
            (Some("1024Mi"), Some("1Gi"), Some("1024Mi")),
            (None, Some("1Gi"), Some("1Gi")),
            (Some("odd"), Some("1"), Some("1")),
            (Some("odd"), None, None),
            (None, None, None),
        ] {
            assert_eq!(larger(one, other), expect, "{one:?} {other:?}");
        }
    }
}
