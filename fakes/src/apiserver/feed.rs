//! What controllers see: every change of every object in order, and the latency with which they see it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::server::Server;

/// Controllers hear of a change after this long (apiserver.md E1: 10 to 70 ms, without a bound).
const LATENCY_MS: std::ops::Range<u64> = 10..70;

/// One change of one object.
pub struct Change {
    /// `plural.group`.
    pub resource: Arc<str>,
    /// Before, `None` for a new object and for everything in the first reading.
    pub before: Option<Arc<Value>>,
    /// After, `None` for a deletion.
    pub after: Option<Arc<Value>>,
}

impl Change {
    /// The newest known state.
    pub fn object(&self) -> Option<&Arc<Value>> {
        self.after.as_ref().or(self.before.as_ref())
    }
}

/// A reader of all changes, in one order.
pub struct Feed {
    server: Server,
    cursor: u64,
    draws: u64,
}

/// One reading.
pub enum Reading {
    /// All objects as they are: the first reading, and one after the history was lost.
    Everything(Vec<Change>),
    /// What changed since the reading before.
    Changes(Vec<Change>),
}

impl Feed {
    /// A feed that has read nothing. `purpose` gives it a stream of latencies of its own.
    pub fn new(server: &Server, purpose: u64) -> Feed {
        Feed { server: server.clone(), cursor: 0, draws: server.config().seed ^ purpose.rotate_left(32) }
    }

    /// Waits until there is something to read, and then for the latency.
    pub async fn changed(&mut self) {
        self.server.changed_since(self.cursor).await;
        tokio::time::sleep(self.latency()).await;
    }

    fn latency(&mut self) -> Duration {
        // SplitMix64; latencies must not depend on what else is drawn.
        self.draws = self.draws.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.draws;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Duration::from_millis(LATENCY_MS.start + (bits ^ (bits >> 31)) % (LATENCY_MS.end - LATENCY_MS.start))
    }

    /// Reads on.
    pub fn read(&mut self) -> Reading {
        let mut state = self.server.state();
        let from = std::mem::replace(&mut self.cursor, state.store.revision());
        let lost = state.store.tables().any(|(_, table)| table.compacted() > from);
        if from == 0 || lost {
            let objects = state.store.tables().flat_map(|(id, table)| {
                let change =
                    |value: &Arc<Value>| Change { resource: id.clone(), before: None, after: Some(value.clone()) };
                table.objects.values().map(|stored| change(&stored.value)).collect::<Vec<_>>()
            });
            return Reading::Everything(objects.collect());
        }
        let mut changes: Vec<(u64, Change)> = Vec::new();
        for (id, table) in state.store.tables() {
            changes.extend(table.since(from).map(|event| {
                let value =
                    |stored: &Option<Arc<super::store::Stored>>| stored.as_ref().map(|stored| stored.value.clone());
                (
                    event.revision,
                    Change { resource: id.clone(), before: value(&event.before), after: value(&event.after) },
                )
            }));
        }
        changes.sort_by_key(|(revision, _)| *revision);
        Reading::Changes(changes.into_iter().map(|(_, change)| change).collect())
    }
}
