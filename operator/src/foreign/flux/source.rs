//! What HelmRepository, OCIRepository and HelmChart say of their chart (downstream §3).

use serde_json::Value;

use crate::cluster_api::Object;
use crate::foreign::{Truth, conditions, find, text};

/// State of a chart source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceState {
    /// There is no such object.
    Absent,
    /// Held back.
    Suspended,
    /// The wanted artifact is there.
    Ready,
    /// It is being fetched.
    Fetching {
        /// Quoted.
        message: String,
    },
    /// It cannot be fetched.
    Failing {
        /// Since when, as written.
        since: Option<String>,
        /// Quoted.
        message: String,
    },
}

/// Downstream §3.3, for HelmRepository, OCIRepository and HelmChart alike.
pub fn source_state(object: Option<&Object>) -> SourceState {
    let Some(object) = object else { return SourceState::Absent };
    if object.0.pointer("/spec/suspend") == Some(&Value::Bool(true)) {
        return SourceState::Suspended;
    }
    // A Helm repository of type oci has no reconciler: it never gets a status, and nobody waits for one.
    if object.0.pointer("/spec/type").and_then(Value::as_str) == Some("oci") {
        return SourceState::Ready;
    }
    let generation = object.generation();
    let conditions = conditions(object);
    let ready = find(&conditions, "Ready");
    let bad = ["Stalled", "FetchFailed", "BuildFailed", "StorageOperationFailed"]
        .iter()
        .filter_map(|type_| find(&conditions, type_))
        .find(|condition| {
            condition.is(Truth::True)
                && (condition.type_ != "Stalled" || condition.observed_generation == Some(generation))
        });
    if let Some(bad) = bad {
        // Stalled says only that nothing more happens; Ready says why.
        let cause = ready.filter(|ready| ready.is(Truth::False)).unwrap_or(bad);
        return SourceState::Failing {
            since: bad.last_transition.clone(),
            message: text::quote(&cause.reason, &cause.message),
        };
    }
    let there = ready.is_some_and(|ready| ready.is(Truth::True) && ready.observed_generation == Some(generation))
        && object.0.pointer("/status/artifact").is_some_and(Value::is_object);
    if there {
        return SourceState::Ready;
    }
    let progress = ready.filter(|ready| !ready.is(Truth::True)).or(find(&conditions, "Reconciling"));
    SourceState::Fetching {
        message: progress.map(|found| text::quote(&found.reason, &found.message)).unwrap_or_default(),
    }
}
