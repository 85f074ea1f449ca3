//! What changed in the cluster is told to the control plane (contract §20): each transition at least once, in order per
//! object, under a key that is made from the fact.
//!
//! The buffer is the cluster itself: every object of ours carries its last twenty transitions, written in the request that
//! made them. [`cursor`] says what was acknowledged, [`outbox`] keeps what its object cannot tell any more. Everything else
//! ([`book`]) is an index in memory.
//!
//! ```text
//!   changes ─► observe: fresh GETs ─► book.seen ─► Batch::next ─► POST events ─► batch.answered ─► book ─► cursor, outbox
//! ```

use serde_json::{Value, json};

use super::{Effect, Plan};
use crate::cluster_api::{Key, Object};

pub mod batch;
pub mod book;
pub mod commit_status;
pub mod cursor;
pub mod journal;
pub mod observe;
pub mod outbox;
pub mod snapshot;
#[cfg(test)]
mod tests;

use book::Book;
use observe::Stores;

/// The writes that bring the stores to what the book says. First what only this process knows (the outbox), then the
/// numbers, further pages before the first one, which says that they are there.
pub fn store(book: &mut Book, stores: &Stores, namespace: &str) -> Plan {
    let mut effects = Vec::new();
    let pages = book.pages();
    let kept = stores.outbox();
    let outbox = book.outbox(&kept);
    if outbox != kept {
        let stored = stores.outbox.as_ref().map(|(object, _)| object);
        effects.push(outbox::write(&outbox, stored, namespace));
    }
    for (place, page) in pages.iter().rev() {
        let stored = stores.pages.get(place);
        let same = stored.and_then(|(_, page)| page.as_ref()).is_some_and(|known| known.says(page));
        if !same {
            effects.push(cursor::write(*place, page, stored.map(|(object, _)| object), namespace));
        }
    }
    Plan { effects, ..Plan::idle("what was told is remembered") }
}

/// Reads a store's text. Only an object will do: a list would count as a struct without its fields.
fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    let object: serde_json::Map<String, Value> = serde_json::from_str(text).ok()?;
    serde_json::from_value(Value::Object(object)).ok()
}

/// A ConfigMap of ours.
fn config_map(key: &Key, data: &[(&str, String)]) -> Object {
    let data: Value = data.iter().map(|(key, text)| ((*key).to_string(), json!(text))).collect();
    Object(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": key.name, "namespace": key.namespace },
        "data": data,
    }))
}

/// Sets one key of a store: creates it, or writes it with the version that was read.
fn store_key(key: &Key, stored: Option<&Object>, name: &str, text: String) -> Effect {
    match stored {
        None => Effect::Create(config_map(key, &[(name, text)])),
        Some(stored) => {
            let mut next = stored.clone();
            if !next.0["data"].is_object() {
                next.0["data"] = json!({});
            }
            next.0["data"][name] = json!(text);
            Effect::Update(next)
        }
    }
}
