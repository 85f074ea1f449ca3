//! Text of other controllers, made fit for a condition message: nothing secret, nothing that changes from one retry to the
//! next (contract §6.5).

use std::sync::LazyLock;

use regex::Regex;

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a constant pattern compiles")
}

fn rules(rules: &[(&str, &'static str)]) -> Vec<(Regex, &'static str)> {
    rules.iter().map(|(rule, with)| (pattern(rule), *with)).collect()
}

/// What protects secrets. It comes before everything that changes text.
static SECRETS: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    rules(&[
        (r"-----BEGIN [A-Z0-9 ]+-----(?s:.*?)(?:-----END [A-Z0-9 ]+-----|$)", "[REDACTED]"),
        // Up to the last `@`: a password may hold one.
        (r"([A-Za-z][A-Za-z0-9+.-]*://)[^/\s]+@", "$1"),
        (r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}", "$1 [REDACTED]"),
        (
            r#"(?i)\b([A-Za-z0-9_.-]*(?:password|passwd|pwd|secret|token|api[_-]?key|authorization)["']?\s*[:=]\s*)(?:"[^"]*"|'[^']*'|[^\s,;)}\]]+)"#,
            "$1[REDACTED]",
        ),
    ])
});

/// What removes numbers, in this order.
static VOLATILE: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    rules(&[
        (r"\b\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|[+-]\d{2}:?\d{2})?\b", "<time>"),
        (r"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b", "<id>"),
        (r"\b0x[0-9a-fA-F]{6,}\b", "<id>"),
        (r"\[[0-9a-fA-F:]*:[0-9a-fA-F:.]*\](?::\d{1,5})?", "<address>"),
        (r"\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?::\d{1,5})?\b", "<address>"),
        (r"\b([A-Za-z][A-Za-z0-9-]*(?:\.[A-Za-z0-9-]+)*):\d{2,5}\b", "$1"),
        (r"\b\d+(?:\.\d+)?(?:h|m|s|ms|µs|us|ns)(?:\d+(?:\.\d+)?(?:m|s|ms))*\b", "<duration>"),
        (r"\b\d+ (attempt|retr|failure|time)", "<n> $1"),
        (r"\b(attempt|retry|try)(s?:?) #?\d+", "$1$2 <n>"),
        (r"([A-Za-z0-9-]+/[A-Za-z0-9.-]+)\.v\d+\b", "$1"),
    ])
});

/// Line breaks and control characters.
static BLANKS: LazyLock<Regex> = LazyLock::new(|| pattern(r"[\s\x00-\x1f]+"));

/// Longest text looked at; the rest is dropped.
const BYTES_MAX: usize = 8192;

/// The text without secrets, addresses, times, counters and line breaks.
pub fn stable(text: &str) -> String {
    without(text, &[&SECRETS, &VOLATILE])
}

/// The text without secrets and line breaks, for what is said once: times and numbers stay.
pub fn redacted(text: &str) -> String {
    without(text, &[&SECRETS])
}

fn without(text: &str, lists: &[&[(Regex, &str)]]) -> String {
    let mut text = text[..boundary(text, BYTES_MAX)].to_string();
    for (rule, with) in lists.iter().copied().flatten() {
        text = rule.replace_all(&text, *with).into_owned();
    }
    BLANKS.replace_all(&text, " ").trim().to_string()
}

/// The text if it has at most `max` bytes, else its beginning with a marker (contract §22).
pub fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_string();
    }
    format!("{}{MARKER}", &text[..boundary(text, max.saturating_sub(MARKER.len()))])
}

/// Says that a text goes on.
const MARKER: &str = "…";

/// The last character boundary at or before `max`.
fn boundary(text: &str, max: usize) -> usize {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    end
}

/// `Reason: message`, the form in which an engine is quoted.
pub fn quote(reason: &str, message: &str) -> String {
    match (reason.is_empty(), stable(message)) {
        (true, message) => message,
        (false, message) if message.is_empty() => reason.to_string(),
        (false, message) => format!("{reason}: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_between_retries_is_gone() {
        let pairs = [
            ("dial tcp 10.0.3.7:443: i/o timeout", "dial tcp 10.99.0.1:8443: i/o timeout"),
            ("Get \"http://source-controller:80/x\": EOF", "Get \"http://source-controller:9090/x\": EOF"),
            ("Failed to upgrade after 1 attempt(s)", "Failed to upgrade after 12 attempt(s)"),
            ("retrying after 5m0s", "retrying after 4m57.2s"),
            ("rollback to org-a/files.v3 with chart x@1.2.3", "rollback to org-a/files.v17 with chart x@1.2.3"),
            ("at 2026-01-02T03:04:05Z failed", "at 2026-02-02T03:04:05.123+00:00 failed"),
            ("request 8f14e45f-ceea-467f-a9d1-1f2c3d4e5f60", "request 11111111-ceea-467f-a9d1-1f2c3d4e5f60"),
            ("dial [fd00::1]:443", "dial [fd00:1::2]:80"),
        ];
        for (one, other) in pairs {
            assert_eq!(stable(one), stable(other));
        }
    }

    #[test]
    fn what_matters_stays() {
        for text in [
            "chart nextcloud@6.6.0+5f2c9d0a1b2c is broken",
            "no 'acme' chart with version matching '9.9.9' found",
            "Deployment org-a/files: spec.replicas: Invalid value",
        ] {
            assert_eq!(stable(text), text);
        }
        assert_eq!(quote("UpgradeFailed", "a\nb"), "UpgradeFailed: a b");
        assert_eq!(quote("", "a"), "a");
        assert_eq!(quote("Failed", ""), "Failed");
    }

    #[test]
    fn no_secret_passes() {
        for text in [
            "values: adminPassword=hunter2 is too short",
            "clientSecret: \"hunter2 with spaces\"",
            "Authorization: hunter2",
            "token 'x': Bearer hunter2hunter2",
            "get https://user:hunter2@registry.example/v2",
            "get https://user:p@hunter2@registry.example/v2",
            "key -----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----",
            "cut -----BEGIN PRIVATE KEY-----\nhunter2",
        ] {
            assert!(!stable(text).contains("hunter2"), "{}", stable(text));
        }
    }

    #[test]
    fn huge_text_is_cut_at_a_character() {
        assert!(stable(&"ü".repeat(100_000)).len() <= BYTES_MAX);
        assert_eq!((cut("üü", 4).as_str(), cut("üüü", 5).as_str(), cut("abcdef", 5).as_str()), ("üü", "ü…", "ab…"));
    }

    #[test]
    fn what_is_said_once_keeps_its_times() {
        let text = redacted("created 2026-01-02T03:04:05Z,\npassword=hunter2, after 15m");
        assert_eq!(text, "created 2026-01-02T03:04:05Z, password=[REDACTED], after 15m");
    }
}
