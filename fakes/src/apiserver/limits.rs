//! What storage and the front door refuse: objects that are too large, too many requests at once, requests during a start (J4, L).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::errors::{Outcome, Status};
use super::json;
use super::request::Target;
use super::server::{Server, State};

/// Largest request that storage takes, in bytes.
const STORAGE_BYTES: usize = 1_572_864;
/// Largest message that the connection to storage takes, in bytes.
const MESSAGE_BYTES: usize = 2_097_152;
/// What storage adds to an object: its key and framing.
const FRAME_BYTES: usize = 200;

/// Refuses an object that is too large to store. `hint` is the size of what came in, so that small objects cost nothing.
///
/// # Errors
/// 500, as the real server answers.
pub fn check_size(object: &Value, hint: usize) -> Outcome<()> {
    if hint < STORAGE_BYTES / 2 {
        return Ok(());
    }
    let size = json::to_vec(object).len() + FRAME_BYTES;
    if size > MESSAGE_BYTES {
        let what = format!("trying to send message larger than max ({size} vs. {MESSAGE_BYTES})");
        return Err(Status::internal(format!("rpc error: code = ResourceExhausted desc = {what}")));
    }
    if size > STORAGE_BYTES {
        return Err(Status::internal("etcdserver: request is too large"));
    }
    Ok(())
}

/// Requests on their way, watches not counted.
#[derive(Clone, Default)]
pub struct InFlight(Arc<AtomicUsize>);

/// One request on its way.
pub struct Seat(Arc<AtomicUsize>);

impl InFlight {
    /// Takes a seat, unless `limit` are taken (L1).
    ///
    /// # Errors
    /// 429 in plain text.
    pub fn enter(&self, limit: Option<usize>) -> Outcome<Seat> {
        let seat = Seat(self.0.clone());
        let taken = self.0.fetch_add(1, Ordering::Relaxed);
        if limit.is_some_and(|limit| taken >= limit) { Err(Status::overloaded()) } else { Ok(seat) }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Until when the server is starting again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Starting {
    /// Paths of custom resources are not installed before.
    paths: Option<Timestamp>,
    /// Lists and watches are refused before.
    storage: Option<Timestamp>,
}

impl Starting {
    /// Refuses what a starting server cannot answer (B15, L3).
    ///
    /// # Errors
    /// 503 for custom resources, 429 for lists and watches.
    pub fn check(&self, target: &Target, collection: bool, now: Timestamp) -> Outcome<()> {
        if target.resource.custom.is_some() && self.paths.is_some_and(|ready| now < ready) {
            return Err(Status::not_installed());
        }
        if collection && self.storage.is_some_and(|ready| now < ready) {
            return Err(Status::initializing());
        }
        Ok(())
    }
}

impl Server {
    /// Restarts the server process: every watch ends, the watch caches are empty, and for `starting` custom resources answer 503 and,
    /// half as long again, lists and watches answer 429. Objects, revisions and storage's own history stay (B8, B15).
    pub fn restart(&self, starting: SignedDuration) {
        let now = self.config().clock.now();
        let mut state = self.state();
        let State { store, starting: until, .. } = &mut *state;
        let revision = store.revision();
        for (_, table) in store.tables() {
            table.forget(revision, false);
            table.close_watches();
        }
        let after = |length: SignedDuration| now.checked_add(length).ok();
        *until = Starting { paths: after(starting), storage: after(starting + starting / 2) };
    }

    /// Compacts storage: states before now can no longer be listed, continued from or watched from (B7, I6, I9).
    pub fn compact(&self) {
        let mut state = self.state();
        let revision = state.store.revision();
        for (_, table) in state.store.tables() {
            table.forget(revision, true);
        }
    }
}
