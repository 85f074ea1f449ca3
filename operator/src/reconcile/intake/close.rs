//! The end of jobs, many at a time: their lines go into the ledger by one write, then their entries go. And stores that
//! cannot be read: moved aside, told, begun anew (contract §22).

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::journal::{self, STORE};
use super::ledger::{Ledger, Line};
use super::verdict::stamp;
use super::{Step, decide};
use crate::api::{OPERATOR, names};
use crate::cluster_api::{ApiError, ClusterApi, Object, Scope};
use crate::foreign::core;
use crate::reconcile::{Effect, Plan};

/// Value of [`STORE`] on what was moved aside.
const CORRUPT: &str = "corrupt";

/// A job whose result is accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct Closing {
    /// Its line.
    pub line: Line,
    /// Its entry as it was read.
    pub object: Object,
}

/// The ledger's ConfigMap as it is, and what was moved aside of it before, if that matters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Books {
    /// The ConfigMap.
    pub stored: Option<Object>,
    /// Copies of broken stores.
    pub aside: Vec<Object>,
}

/// Reads the ledger.
///
/// # Errors
/// A read failed.
pub async fn observe<A: ClusterApi>(api: &A, namespace: &str) -> Result<Books, ApiError> {
    let stored = api.get(&super::ledger::key(namespace)).await?;
    let broken = Ledger::read(stored.as_ref(), "", Timestamp::UNIX_EPOCH).corrupt;
    let aside = if broken { moved(api, namespace).await? } else { Vec::new() };
    Ok(Books { stored, aside })
}

/// What was moved aside so far.
pub(super) async fn moved<A: ClusterApi>(api: &A, namespace: &str) -> Result<Vec<Object>, ApiError> {
    let scope = Scope::namespace(namespace).labelled(&format!("{STORE}={CORRUPT}")).lean();
    api.list(&core::config_map(), &scope).await
}

/// The ledger with the lines of these jobs, and the plan that makes it so. `notes` are laid over those that are there.
pub fn close(
    books: &Books,
    closing: &[Closing],
    notes: &Map<String, Value>,
    cluster_id: &str,
    namespace: &str,
    reporter: &str,
    now: Timestamp,
) -> (Ledger, Plan) {
    let reading = Ledger::read(books.stored.as_ref(), cluster_id, now);
    let mut ledger = reading.ledger;
    let before = ledger.clone();
    ledger.close(closing.iter().map(|closing| closing.line.clone()), now);
    for (name, note) in notes {
        ledger.notes.insert(name.clone(), note.clone());
    }
    let mut effects = Vec::new();
    if let (true, Some(stored)) = (reading.corrupt, &books.stored) {
        effects.extend(copy_aside(stored, &books.aside, reporter, now));
    }
    if reading.dirty || ledger != before {
        effects.push(ledger.write(namespace, books.stored.as_ref()));
    }
    effects.extend(closing.iter().map(|closing| journal::remove(&closing.object)));
    (ledger, Plan { effects, ..Plan::idle(format!("{} jobs are over", closing.len())) })
}

/// A broken entry: nobody knows what it was, so nobody can be told how it ended.
pub(super) fn aside(stored: &Object, older: &[Object], reporter: &str, now: Timestamp) -> Step {
    let mut effects = copy_aside(stored, older, reporter, now);
    effects.push(journal::remove(stored));
    decide::forget(effects, "the entry cannot be read")
}

/// A copy under another name in the place of older ones, and an Event.
fn copy_aside(stored: &Object, older: &[Object], reporter: &str, now: Timestamp) -> Vec<Effect> {
    let prefix = format!("{}-corrupt-", stored.name());
    let mut effects: Vec<Effect> =
        older.iter().filter(|copy| copy.name().starts_with(&prefix)).map(journal::remove).collect();
    let name = format!("{prefix}{}", now.as_second());
    let mut copy = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": name, "namespace": stored.namespace(), "labels": { STORE: CORRUPT } },
    });
    for part in ["data", "binaryData"] {
        if let Some(part_of) = stored.0.get(part) {
            copy[part] = part_of.clone();
        }
    }
    effects.push(Effect::Create(Object(copy)));
    let uid = stored.uid().map(|uid| uid.0).unwrap_or_default();
    let time = stamp(now);
    effects.push(Effect::Emit(Object(json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": { "name": names::event(stored.name(), &uid, 0, "StoreCorrupt"), "namespace": stored.namespace() },
        "involvedObject": {
            "apiVersion": "v1", "kind": "ConfigMap", "namespace": stored.namespace(), "name": stored.name(), "uid": uid,
        },
        "reason": "StoreCorrupt", "type": "Warning",
        "message": format!("the store could not be read; its content is kept as {name}"),
        "source": { "component": OPERATOR }, "reportingComponent": OPERATOR, "reportingInstance": reporter,
        "firstTimestamp": time, "lastTimestamp": time, "count": 1,
    }))));
    effects
}
