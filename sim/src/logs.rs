//! What the operator logs, as part of the history: oracles look for secrets in it.
//!
//! Lines go where the run's thread sends them; nothing is printed. Only the operator's own lines down to debug are kept.

use std::fmt::{Debug, Write as _};
use std::sync::Arc;

use fakes::history::{Event, History};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Level, Metadata, Subscriber};

struct Collector {
    history: History,
    actor: Arc<str>,
}

/// Sends the log of this thread into the history until the guard is dropped.
pub fn collect(history: History) -> DefaultGuard {
    tracing::subscriber::set_default(Collector { history, actor: "operator-0".into() })
}

struct Line(String);

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = write!(self.0, " {}={value}", field.name());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Level::DEBUG && metadata.target().starts_with("operator")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(format!("{} {}", event.metadata().level(), event.metadata().target()));
        event.record(&mut line);
        self.history.push(&self.actor, Event::Log { line: line.0 });
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_operators_lines_are_kept_with_their_fields_and_nobody_elses() {
        let history = History::new(|| Duration::ZERO);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let into = seen.clone();
        history.read(move |record| {
            if let Event::Log { line } = &record.event {
                into.lock().expect("no panic").push(line.clone());
            }
        });
        let guard = collect(history);
        tracing::info!(target: "operator::reconcile", effect = "create", why = %"a reason", "written");
        tracing::info!(target: "kube_client", "noise");
        tracing::trace!(target: "operator", "too fine");
        drop(guard);
        tracing::info!(target: "operator", "after the end");
        let lines = seen.lock().expect("no panic").join("|");
        assert_eq!(lines, "INFO operator::reconcile message=written effect=create why=a reason");
    }
}
