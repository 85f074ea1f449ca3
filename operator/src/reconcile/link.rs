//! The one way to the control plane. Poller, result sender, reporter, heartbeat and rotation all go through it, so none
//! keeps a copy of the credential (contract §15.2).
//!
//! What it remembers (contact, pace, backlog, attempts) is an index of this process and no fact about the cluster: a restart
//! begins without it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::Instant;

use super::connection::{self, Connection, SecretPlace};
use crate::api::secret::SecretText;
use crate::cluster_api::{ApiError, ClusterApi};
use crate::protocol::answer::{self, Closed};
use crate::protocol::{Call, Trouble};
use crate::transport::Transport;

mod attempt;
mod backlog;
mod contact;
pub mod pace;
#[cfg(test)]
mod tests;

pub use attempt::{Attempt, Exchange};
use backlog::Backlog;
use contact::Bearer;
pub use contact::{Contact, RUN, SILENCE, Standing};
pub use pace::Group;
use pace::Pace;

/// How long a reading of the connection counts (contract §15.2, §27.3).
const FRESH: Duration = Duration::from_secs(10);

/// Connection, transport and what is known of the other side. Shared by everything that talks to the control plane.
pub struct Link<A, T> {
    api: Arc<A>,
    transport: T,
    place: SecretPlace,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    read: tokio::sync::Mutex<Option<(Arc<Connection>, Instant)>>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    contact: Contact,
    poll: Pace,
    post: Pace,
    backlog: Backlog,
    attempts: BTreeMap<Exchange, Attempt>,
    beaten: Option<Instant>,
}

impl<A: ClusterApi, T: Transport> Link<A, T> {
    /// A link that reads its connection through `api` and the credentials Secret at `place`.
    pub fn new(
        api: Arc<A>,
        transport: T,
        place: SecretPlace,
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Self {
        let read = tokio::sync::Mutex::new(None);
        Self { api, transport, place, now: Box::new(now), read, known: Mutex::default() }
    }

    /// The wall clock.
    pub(super) fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// Where the credentials Secret is.
    pub fn place(&self) -> &SecretPlace {
        &self.place
    }

    /// The way out, for what is no call to the control plane.
    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// The connection, at most ten seconds old.
    ///
    /// # Errors
    /// A read failed.
    pub async fn connection(&self) -> Result<Arc<Connection>, ApiError> {
        let mut read = self.read.lock().await;
        if let Some((connection, at)) = &*read
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(connection));
        }
        let at = Instant::now();
        let connection = Arc::new(connection::read(&*self.api, &self.place).await?);
        let mut known = self.known();
        if known.contact.concerns(&connection) {
            known.beaten = None;
        }
        drop(known);
        *read = Some((Arc::clone(&connection), at));
        Ok(connection)
    }

    /// The next request reads the connection anew.
    pub async fn reload(&self) {
        *self.read.lock().await = None;
    }

    /// What is known of the other side.
    pub fn contact(&self) -> Contact {
        self.known().contact.clone()
    }

    /// How long until the next request of the group may start. Ask before every poll and every post.
    pub fn wait(&self, group: Group) -> Duration {
        let known = self.known();
        match group {
            Group::Poll => known.poll.wait(Instant::now()),
            Group::Post => known.post.wait(Instant::now()),
        }
    }

    /// Whether a poll may start: not between a disconnection and the delivery of what waited (contract §21, §29.59).
    pub fn may_poll(&self) -> bool {
        self.known().backlog.may_poll(Instant::now())
    }

    /// How many results are not acknowledged: told by intake whenever it changes.
    pub fn results_waiting(&self, count: usize) {
        self.known().backlog.results(count);
    }

    /// Whether events or a snapshot are not acknowledged: told by report whenever it changes.
    pub fn events_waiting(&self, undelivered: bool) {
        self.known().backlog.events(undelivered);
    }

    /// Whether every result and event is acknowledged, as far as intake and report have told.
    pub fn told(&self) -> bool {
        self.known().backlog.told()
    }

    /// What `Disconnected` of the Cluster says: told by the cluster loop with every pass.
    pub fn disconnected(&self, disconnected: bool) {
        let mut known = self.known();
        let silent = known.contact.silent(Instant::now());
        known.backlog.disconnected(disconnected, silent);
    }

    /// How the last exchange of this kind went, if this process tried one.
    pub fn attempt(&self, exchange: Exchange) -> Option<Attempt> {
        self.known().attempts.get(&exchange).cloned()
    }

    /// Forgets that an exchange succeeded: what asked for it is gone.
    pub(super) fn forget_success(&self, exchange: Exchange) {
        let mut known = self.known();
        if known.attempts.get(&exchange).is_some_and(|attempt| attempt.ended.is_ok()) {
            known.attempts.remove(&exchange);
        }
    }

    /// When the last heartbeat with this credential began.
    pub fn beaten(&self) -> Option<Instant> {
        self.known().beaten
    }

    /// Takes note of an exchange.
    pub(super) fn attempted(&self, exchange: Exchange, of: &str, answer: Result<(), Trouble>) {
        let mut known = self.known();
        let before = known.attempts.remove(&exchange);
        known.attempts.insert(exchange, Attempt::after(before, of, answer, Instant::now()));
    }

    /// Sends one call with the credential of this moment; the body of a success.
    ///
    /// A 401 is not believed before the Secret was read again and `previous-token` was tried (contract §15.2).
    ///
    /// # Errors
    /// See [`Trouble`].
    pub async fn call(&self, call: &Call) -> Result<Bytes, Trouble> {
        let connection = self.read_for_call().await?;
        if let Call::Register(request) = call {
            return self.send(call, &connection, Bearer::Registration, &request.registration_token).await;
        }
        // A decommission is asked for once whatever stands: a rejection is an answer to it.
        let unasked = call.is_heartbeat() || matches!(call, Call::Decommission);
        if self.contact().rejected() && !unasked {
            return Err(Trouble::Closed(Closed::Rejected));
        }
        let token = connection.token().ok_or(Trouble::Closed(Closed::NoCredential))?;
        if call.is_heartbeat() {
            self.known().beaten = Some(Instant::now());
        }
        let first = self.exchange(call, &connection, token).await;
        if first != Err(Trouble::Unauthorized) {
            return self.settled(call, Bearer::Current, token, first);
        }
        self.reload().await;
        let connection = self.read_for_call().await?;
        let newer = connection.token().ok_or(Trouble::Closed(Closed::NoCredential))?;
        if newer != token {
            let second = self.exchange(call, &connection, newer).await;
            if second != Err(Trouble::Unauthorized) {
                return self.settled(call, Bearer::Current, newer, second);
            }
        }
        let previous = connection.credentials.as_ref().and_then(|credentials| credentials.previous.as_ref());
        if let Some(previous) = previous.filter(|previous| *previous != newer) {
            let third = self.exchange(call, &connection, previous).await;
            if third.is_ok() {
                return self.settled(call, Bearer::Previous, newer, third);
            }
        }
        self.settled(call, Bearer::Current, newer, Err(Trouble::Unauthorized))
    }

    async fn read_for_call(&self) -> Result<Arc<Connection>, Trouble> {
        self.connection().await.map_err(|_| Trouble::Closed(Closed::Unread))
    }

    async fn send(
        &self,
        call: &Call,
        connection: &Connection,
        bearer: Bearer,
        token: &SecretText,
    ) -> Result<Bytes, Trouble> {
        let answer = self.exchange(call, connection, token).await;
        self.settled(call, bearer, token, answer)
    }

    /// One request and its answer. Only the pace of its group learns of it.
    async fn exchange(&self, call: &Call, connection: &Connection, token: &SecretText) -> Result<Bytes, Trouble> {
        let endpoint = connection.endpoint.as_deref().ok_or(Trouble::Closed(Closed::NoEndpoint))?;
        let request = call.request(endpoint, token, (self.now)()).map_err(Trouble::Closed)?;
        let began = Instant::now();
        let answer = self.transport.send(request, call.deadline(), &connection.dial).await;
        let date = answer.as_ref().ok().and_then(answer::date);
        let request_id = answer.as_ref().ok().and_then(answer::request_id);
        // A server may quote what it was sent.
        let result = answer::read(call, answer, began.elapsed()).map_err(|trouble| trouble.without(token));
        if let Err(trouble) = &result {
            let request_id = request_id.as_deref().unwrap_or_default();
            tracing::debug!(call = call.name(), request_id, error = %trouble, "not answered as asked");
        }
        let mut known = self.known();
        if let (Some(date), Ok(_)) = (date, &result) {
            known.contact.ahead = date.duration_since((self.now)());
        }
        if let Some(group) = Group::of(call) {
            let key = connection.cluster_id.as_deref().unwrap_or_default();
            let pace = if group == Group::Poll { &mut known.poll } else { &mut known.post };
            pace.note(group, result.as_ref().map(drop), began, Instant::now(), key);
        }
        result
    }

    /// What an answer says of the other side and of the credential.
    fn settled(
        &self,
        call: &Call,
        bearer: Bearer,
        token: &SecretText,
        answer: Result<Bytes, Trouble>,
    ) -> Result<Bytes, Trouble> {
        let now = Instant::now();
        let mut known = self.known();
        known.contact.note(call, bearer, token, answer.as_ref().map(drop), now);
        if known.contact.answered == Some(now) {
            known.backlog.answered(now);
        }
        answer
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
