//! The inline-secret scan (contract §13.3): one pure function over a JSON tree.
//!
//! It cannot prove that there is no secret; it stops the usual ways one gets into Git. A finding names the path, never the
//! value.

use std::sync::LazyLock;

use base64::Engine as _;
use regex::Regex;
use serde_json::Value;

/// Beginning of every rejection text.
pub const REJECTED: &str = "inline secret material rejected";

/// The first finding, in sorted path order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Dotted path of the leaf, with odd key characters replaced.
    pub path: String,
    /// Which rule matched.
    pub rule: &'static str,
}

impl Finding {
    /// The rejection text.
    pub fn text(&self) -> String {
        format!(
            "{REJECTED} at {}: {}; put it into a Secret and refer to that, or use values.secretRef",
            self.path, self.rule
        )
    }
}

const SUFFIXES: [&str; 4] = ["password", "passwd", "pwd", "secret"];
const NAMES: [&str; 7] = ["accesskey", "secretkey", "apikey", "token", "privatekey", "connectionstring", "dsn"];
const PLACEHOLDERS: [&str; 2] = ["<set via externalSecret>", "<set via external-secret>"];
/// Longest object or key name.
const NAME_CHARACTERS_MAX: usize = 253;
/// From this length on, base64-like text under a matching key is a secret whatever the key says.
const BASE64_CHARACTERS_MIN: usize = 40;

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a constant pattern compiles")
}

static PRIVATE_KEY: LazyLock<Regex> = LazyLock::new(|| pattern(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"));
static USER_URL: LazyLock<Regex> = LazyLock::new(|| pattern(r"[A-Za-z][A-Za-z0-9+.-]*://[^/\s:@?#]*:([^\s@/]+)@"));
// `${NAME}`, `$(NAME)`, `$NAME` and one `{{ … }}` without a literal inside: a default value or a quoted text would carry the
// secret itself.
static REFERENCE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"^(?:\$\{[A-Za-z_][A-Za-z0-9_.-]*\}|\$\([A-Za-z_][A-Za-z0-9_.-]*\)|\$[A-Z_][A-Z0-9_]*|\{\{[^{}"'`]*[A-Za-z_$.][^{}"'`]*\}\})$"#,
    )
});
static BASE64: LazyLock<Regex> = LazyLock::new(|| pattern(r"^[A-Za-z0-9+/_-]+={0,2}$"));

/// Scans everything below `value`; `root` begins the paths.
pub fn scan(root: &str, value: &Value) -> Option<Finding> {
    walk(root, "", false, value)
}

/// `key` is the nearest map key above the leaf; `reference` says that the map above is one of references.
fn walk(path: &str, key: &str, reference: bool, value: &Value) -> Option<Finding> {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            let below = is_reference_key(key);
            keys.into_iter().find_map(|name| {
                let child = &map[name];
                // A literal environment variable: the name says what the value is.
                let as_key = match (name.as_str(), map.get("name").and_then(Value::as_str)) {
                    ("value", Some(variable)) if !child.is_object() => variable,
                    _ => name.as_str(),
                };
                walk(&format!("{path}.{}", printable(name)), as_key, below, child)
            })
        }
        Value::Array(list) => {
            list.iter().enumerate().find_map(|(index, item)| walk(&format!("{path}[{index}]"), key, reference, item))
        }
        leaf => rule(key, reference, leaf).map(|rule| Finding { path: path.into(), rule }),
    }
}

fn rule(key: &str, in_reference: bool, leaf: &Value) -> Option<&'static str> {
    let matching = is_secret_key(key);
    let text = match leaf {
        Value::Number(_) if matching => return Some("the key names a secret and the value is a number"),
        Value::String(text) => text.as_str(),
        _ => return None,
    };
    if PRIVATE_KEY.is_match(text) || is_encoded_private_key(text) {
        return Some("the value contains a private key");
    }
    let credentials = USER_URL.captures(text).and_then(|found| found.get(1));
    if credentials.is_some_and(|found| !REFERENCE.is_match(found.as_str())) {
        return Some("the value contains a URL with user and password");
    }
    let trimmed = text.trim();
    if !matching || trimmed.is_empty() || PLACEHOLDERS.contains(&trimmed) || REFERENCE.is_match(trimmed) {
        return None;
    }
    if (in_reference || is_reference_key(key)) && is_name(text) && !is_long_base64(text) {
        return None;
    }
    Some("the key names a secret")
}

fn is_secret_key(key: &str) -> bool {
    let key = key.trim().to_lowercase();
    NAMES.contains(&key.as_str()) || SUFFIXES.iter().any(|suffix| key.ends_with(suffix))
}

fn is_reference_key(key: &str) -> bool {
    let key = key.trim().to_lowercase();
    key.starts_with("existing") || ["secretname", "secretref", "secretkeyref"].iter().any(|end| key.ends_with(end))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= NAME_CHARACTERS_MAX && !text.chars().any(char::is_whitespace)
}

/// Text no object name can be: long, in the base64 alphabet, and with a character that names do not have.
fn is_long_base64(text: &str) -> bool {
    text.len() >= BASE64_CHARACTERS_MIN
        && BASE64.is_match(text)
        && text.bytes().any(|byte| byte.is_ascii_uppercase() || matches!(byte, b'+' | b'/' | b'='))
}

fn is_encoded_private_key(text: &str) -> bool {
    // "-----BEGIN " in base64; the key itself need not decode.
    let text: String = text.chars().filter(|c| !c.is_whitespace()).take(96).collect();
    if !text.starts_with("LS0tLS1CRUdJTi") {
        return false;
    }
    let whole = text.len() - text.len() % 4;
    base64::engine::general_purpose::STANDARD
        .decode(&text[..whole])
        .is_ok_and(|head| PRIVATE_KEY.is_match(&String::from_utf8_lossy(&head)))
}

/// A key as it may appear in a message: a key is the user's text too.
fn printable(key: &str) -> String {
    let clean: String = key
        .chars()
        .take(63)
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/') { c } else { '?' })
        .collect();
    if clean.is_empty() { "?".into() } else { clean }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PEM: &str = "-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----";

    #[test]
    fn what_is_refused() {
        let long = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlq";
        let encoded = base64::engine::general_purpose::STANDARD.encode(PEM);
        for (value, path) in [
            (json!({"postgresql": {"auth": {"password": "hunter2"}}}), ".postgresql.auth.password"),
            (json!({"oidc": {"clientSecret": "x"}}), ".oidc.clientSecret"),
            (json!({"PASSWORD": "x"}), ".PASSWORD"),
            (json!({"db_passwd": "x"}), ".db_passwd"),
            (json!({"rootPwd": "x"}), ".rootPwd"),
            (json!({"accessKey": "AKIA"}), ".accessKey"),
            (json!({"SecretKey": "x"}), ".SecretKey"),
            (json!({"apiKey": "x"}), ".apiKey"),
            (json!({"token": "x"}), ".token"),
            (json!({"privateKey": "x"}), ".privateKey"),
            (json!({"connectionString": "Server=x"}), ".connectionString"),
            (json!({"dsn": "x"}), ".dsn"),
            (json!({"password": 12345}), ".password"),
            (json!({"password ": "x"}), ".password?"),
            (json!({"a": [{"b": 1}, {"password": "x"}]}), ".a[1].password"),
            (json!({"passwords": [{"password": ["x"]}]}), ".passwords[0].password[0]"),
            (json!({"tls": PEM}), ".tls"),
            (json!({"tls": format!("a\n{PEM}")}), ".tls"),
            (json!({"tls": encoded}), ".tls"),
            (json!({"url": "postgres://nc:hunter2@db/nc"}), ".url"),
            (json!({"note": "see amqp://u:p@h now"}), ".note"),
            (json!({"existingSecret": "two words"}), ".existingSecret"),
            (json!({"existingSecret": long}), ".existingSecret"),
            (json!({"existingSecret": "x".repeat(254)}), ".existingSecret"),
            (json!({"password": "${PASSWORD:-hunter2}"}), ".password"),
            (json!({"password": "{{ \"hunter2\" }}"}), ".password"),
            (json!({"password": "{{ .Values.a }}hunter2"}), ".password"),
            (json!({"password": "$hunter2"}), ".password"),
            (json!({"password": "<set via externalSecret> hunter2"}), ".password"),
            (json!({"extraEnv": [{"name": "DB_PASSWORD", "value": "hunter2"}]}), ".extraEnv[0].value"),
            (json!({"existingClaims": {"password": "two words"}}), ".existingClaims.password"),
        ] {
            let finding = scan("values.inline", &value);
            assert_eq!(finding.map(|found| found.path), Some(format!("values.inline{path}")), "{value}");
        }
    }

    #[test]
    fn what_is_admitted() {
        for value in [
            json!({"postgresql": {"auth": {"password": ""}}}),
            json!({"password": null}),
            json!({"password": true}),
            json!({"password": "<set via externalSecret>"}),
            json!({"password": "<set via external-secret>"}),
            json!({"existingSecret": "db"}),
            json!({"existingSecret": "db-credentials"}),
            json!({"existingPassword": {"password": "db-password-key"}}),
            json!({"adminSecretName": "admin"}),
            json!({"tokenSecretRef": {"name": "t", "key": "token"}}),
            json!({"passwordSecretKeyRef": {"secret": "t"}}),
            json!({"password": "${DB_PASSWORD}"}),
            json!({"password": "$(DB_PASSWORD)"}),
            json!({"password": "$DB_PASSWORD"}),
            json!({"password": "{{ .Values.global.password }}"}),
            json!({"url": "postgres://nc:${DB_PASSWORD}@db/nc"}),
            json!({"url": "https://example.org:8443/a@b"}),
            json!({"extraEnv": [{"name": "DB_HOST", "value": "db"}, {"name": "DB_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "p"}}}]}),
            json!({"secretsEnabled": true, "tokens": 3, "passwordPolicy": "strict"}),
            json!({"replicas": 3, "image": {"tag": "6.6.0"}}),
        ] {
            assert_eq!(scan("values.inline", &value), None, "{value}");
        }
    }

    #[test]
    fn the_first_finding_in_path_order_is_named_and_no_value_is() {
        let value = json!({"z": {"password": "hunter2"}, "a": {"token": "hunter3"}, "hunter4 secret": "hunter5"});
        let text = scan("values.inline", &value).unwrap().text();
        assert!(text.starts_with(REJECTED) && text.contains("values.inline.a.token"), "{text}");
        assert!(!text.contains("hunter"), "{text}");
    }
}
