//! Logs: one JSON object per line, in the form of contract §23.2, with secrets replaced.
//!
//! Fields of the enclosing spans stand at the top level, as those of the event do; kube's own spans are left out, since
//! they would put every object's address into every line. An event's text is ours; what third parties log comes at warn
//! and above only, and nothing of kube's client, which quotes answers it cannot decode.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use regex::Regex;
use serde_json::{Value, json};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::config::LogLevel;
use crate::runtime::clock::Clock;

/// Stands for a value that must not be written.
pub const REDACTED: &str = "[REDACTED]";

/// Who writes: what every line carries. Cheap to clone; the cluster and organisation ids are set once known.
#[derive(Clone, Debug, Default)]
pub struct Source(Arc<Mutex<Ids>>);

#[derive(Debug, Default)]
struct Ids {
    cluster_id: String,
    org_id: String,
}

impl Source {
    /// After registration.
    pub fn registered(&self, cluster_id: &str, org_id: &str) {
        let mut ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *ids = Ids { cluster_id: cluster_id.into(), org_id: org_id.into() };
    }
}

/// Writes lines to `writer`.
pub struct JsonLines<W> {
    writer: Mutex<W>,
    clock: Clock,
    source: Source,
    level: LogLevel,
    secrets: Redaction,
}

impl<W: Write> JsonLines<W> {
    /// Lines of `level` and above, stamped by `clock`.
    pub fn new(writer: W, clock: Clock, source: Source, level: LogLevel) -> Self {
        Self { writer: Mutex::new(writer), clock, source, level, secrets: Redaction::new() }
    }

    fn wanted(&self, target: &str, level: &Level) -> bool {
        let least = match (ours(target), self.level) {
            (_, LogLevel::Error) => Level::ERROR,
            (false, _) | (true, LogLevel::Warn) => Level::WARN,
            (true, LogLevel::Info) => Level::INFO,
            (true, LogLevel::Debug) => Level::DEBUG,
        };
        *level <= least && !target.starts_with("kube_client")
    }
}

impl<S, W> Layer<S> for JsonLines<W>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: Write + Send + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && ours(span.metadata().target())
        {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        if !self.wanted(metadata.target(), metadata.level()) {
            return;
        }
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flatten().collect::<Vec<_>>().iter().rev() {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                fields.0.extend(of_span.0.iter().map(|(name, value)| (*name, value.clone())));
            }
        }
        event.record(&mut fields);
        let line = self.line(metadata.level(), metadata.target(), fields);
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // A log that cannot be written must not stop what it is about.
        let _ = writeln!(writer, "{line}");
    }
}

impl<W> JsonLines<W> {
    fn line(&self, level: &Level, target: &str, mut fields: Fields) -> String {
        let message = fields.0.remove("message").unwrap_or_else(|| json!(""));
        let level = match *level {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG | Level::TRACE => "debug",
        };
        let ids = self.source.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut line = String::from("{");
        let head = [
            ("level", json!(level)),
            ("ts", json!(format!("{:.3}", self.clock.now()))),
            ("msg", self.secrets.value("msg", message)),
            ("cluster_id", json!(ids.cluster_id)),
            ("org_id", json!(ids.org_id)),
            ("operator_version", json!(env!("CARGO_PKG_VERSION"))),
        ];
        let third_party = (!ours(target)).then(|| ("logger", json!(target)));
        let rest = fields.0.into_iter().map(|(name, value)| (name, self.secrets.value(name, value)));
        for (name, value) in head.into_iter().chain(third_party).chain(rest) {
            if line.len() > 1 {
                line.push(',');
            }
            // Writing to a String cannot fail.
            let _ = write!(line, "{}:{value}", json!(name));
        }
        line.push('}');
        line
    }
}

/// Logs a panic by its place. Its text is left out unless it is a constant: it may quote what it was working on.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(|place| format!("{}:{}", place.file(), place.line())).unwrap_or_default();
        let text = info.payload().downcast_ref::<&'static str>().copied().unwrap_or("(text withheld)");
        tracing::error!(place, panic = text, "a defect of this program");
    }));
}

fn ours(target: &str) -> bool {
    target.starts_with("operator") || target.starts_with("vworkspace_app_operator")
}

/// The fields of a span or an event, in the order of their names.
#[derive(Default)]
struct Fields(BTreeMap<&'static str, Value>);

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name(), json!(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name(), json!(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name(), json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name(), json!(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), json!(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), json!(format!("{value:?}")));
    }
}

/// Replaces what must not be written: values under secret-looking names, credentials and claims inside texts.
struct Redaction {
    name: Regex,
    text: Regex,
}

impl Redaction {
    fn new() -> Self {
        let pattern = |text: &str| Regex::new(text).expect("a constant pattern");
        Self {
            name: pattern(
                "(?i)(passw|secret(_?value)?$|token|authorization|api_?key|private_?key|credential|claim|bearer)",
            ),
            text: pattern(
                r#"(?i)((?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]+|\b(vws[12]\.)[A-Za-z0-9._=-]+|((?:passw(?:or)?d|token|secret|api_?key)["']?\s*[:=]\s*["']?)[^\s"',}]+"#,
            ),
        }
    }

    fn value(&self, name: &str, value: Value) -> Value {
        match value {
            Value::Null => Value::Null,
            _ if self.name.is_match(name) => json!(REDACTED),
            Value::String(text) => {
                json!(self.text.replace_all(&text, format!("${{1}}${{2}}${{3}}{REDACTED}").as_str()))
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::prelude::*;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("lock").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: LogLevel, write: impl FnOnce(&Source)) -> Vec<String> {
        let (lines, source) = (Lines::default(), Source::default());
        let clock = Clock::new(|| "2026-01-02T03:04:05.678901Z".parse().expect("a time"));
        let layer = JsonLines::new(lines.clone(), clock, source.clone(), level);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || write(&source));
        let bytes = lines.0.lock().expect("lock").clone();
        String::from_utf8(bytes).expect("UTF-8").lines().map(String::from).collect()
    }

    #[test]
    fn a_line_is_in_the_contracts_form() {
        let version = env!("CARGO_PKG_VERSION");
        let lines = logged(LogLevel::Info, |source| {
            tracing::warn!(target: "operator::x", error = "boom", attempt = 2_u64, "it failed");
            source.registered("c1", "o1");
            let span = tracing::info_span!(target: "operator::x", "reconcile", controller = "applicationinstance",
                namespace = "shop", application_instance = tracing::field::Empty);
            span.record("application_instance", "crm");
            let _entered = span.enter();
            let _foreign = tracing::info_span!(target: "kube_runtime", "reconciling object", object = "x").entered();
            tracing::info!(target: "operator::x", "done");
        });
        assert_eq!(
            lines,
            [
                format!(
                    r#"{{"level":"warn","ts":"2026-01-02T03:04:05.678Z","msg":"it failed","cluster_id":"","org_id":"","operator_version":"{version}","attempt":2,"error":"boom"}}"#
                ),
                format!(
                    r#"{{"level":"info","ts":"2026-01-02T03:04:05.678Z","msg":"done","cluster_id":"c1","org_id":"o1","operator_version":"{version}","application_instance":"crm","controller":"applicationinstance","namespace":"shop"}}"#
                ),
            ]
        );
    }

    #[test]
    fn levels_and_third_parties() {
        let write = |_: &Source| {
            tracing::debug!(target: "operator::x", "own debug");
            tracing::info!(target: "operator::x", "own info");
            tracing::info!(target: "kube_runtime", "their info");
            tracing::warn!(target: "kube_runtime", "their warning");
            tracing::warn!(target: "kube_client::client", "{{\"data\":{{\"password\":\"aHVudGVyMg==\"}}}}");
        };
        let messages = |level| -> Vec<String> {
            let message =
                |line: &String| serde_json::from_str::<Value>(line).expect("JSON")["msg"].as_str().map(String::from);
            logged(level, write).iter().filter_map(message).collect()
        };
        assert_eq!(messages(LogLevel::Debug), ["own debug", "own info", "their warning"]);
        assert_eq!(messages(LogLevel::Info), ["own info", "their warning"]);
        assert_eq!(messages(LogLevel::Error), Vec::<String>::new());
    }

    #[test]
    fn secrets_never_appear() {
        let lines = logged(LogLevel::Debug, |_| {
            tracing::info!(target: "operator::x", token = "hunter2", db_password = "hunter2", authorization = "Bearer hunter2", "x");
            tracing::info!(target: "operator::x", "sent Authorization: Bearer hunter2 and Basic aHVudGVyMg==hunter2");
            tracing::info!(target: "operator::x", claim = ?"hunter2", error = "claim vws2.hunter2.hunter2 expired", "x");
            tracing::info!(target: "operator::x", error = r#"bad values: password: hunter2, {"token":"hunter2"}"#, "x");
        });
        assert_eq!(lines.len(), 4);
        for line in &lines {
            assert!(!line.contains("hunter2"), "{line}");
            assert!(line.contains(REDACTED), "{line}");
        }
        let harmless = logged(LogLevel::Info, |_| {
            tracing::info!(target: "operator::x", namespace = "shop", secret_name = "db", "waiting for Secret shop/db");
        });
        assert!(!harmless[0].contains(REDACTED), "{}", harmless[0]);
    }
}
