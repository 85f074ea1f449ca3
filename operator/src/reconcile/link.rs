//! The one way to the control plane. Poller, result sender, reporter, heartbeat and rotation all go through it, so none
//! keeps a copy of the credential (contract §15.2).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::Instant;

use super::connection::{self, Connection, SecretPlace};
use crate::cluster_api::{ApiError, ClusterApi};
use crate::protocol::answer::{self, Closed};
use crate::protocol::{Call, Trouble};
use crate::transport::Transport;

/// How long a reading of the connection counts (contract §15.2, §27.3).
const FRESH: Duration = Duration::from_secs(10);

/// Connection, transport and what is known of the other side. Shared by everything that talks to the control plane.
pub struct Link<A, T> {
    api: Arc<A>,
    transport: T,
    place: SecretPlace,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    read: tokio::sync::Mutex<Option<(Arc<Connection>, Instant)>>,
    contact: Mutex<Contact>,
}

/// What the last requests told about the other side. Not a fact about the cluster: it is gone with the process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contact {
    /// The last request that was answered as one of ours, whatever the answer.
    pub answered: Option<Instant>,
    /// Why the last request failed, if it did.
    pub trouble: Option<Trouble>,
    /// How far the control plane's clock is ahead of ours, from its `Date` headers.
    pub ahead: jiff::SignedDuration,
    /// The credential was rejected: only probes are sent.
    pub rejected: bool,
}

impl<A: ClusterApi, T: Transport> Link<A, T> {
    /// A link that reads its connection through `api` and the credentials Secret at `place`.
    pub fn new(
        api: Arc<A>,
        transport: T,
        place: SecretPlace,
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Self {
        let contact = Mutex::new(Contact::default());
        Self { api, transport, place, now: Box::new(now), read: tokio::sync::Mutex::new(None), contact }
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
        *read = Some((Arc::clone(&connection), at));
        Ok(connection)
    }

    /// The next request reads the connection anew.
    pub async fn reload(&self) {
        *self.read.lock().await = None;
    }

    /// What is known of the other side.
    pub fn contact(&self) -> Contact {
        self.contact.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends one call with the credential of this moment; the body of a success.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub async fn call(&self, call: &Call) -> Result<Bytes, Trouble> {
        let connection = self.connection().await.map_err(|_| Trouble::Closed(Closed::Unread))?;
        let endpoint = connection.endpoint.as_deref().ok_or(Trouble::Closed(Closed::NoEndpoint))?;
        let token = match call {
            Call::Register(request) => request.registration_token.clone(),
            _ => {
                let token = connection.credentials.as_ref().and_then(|credentials| credentials.token.clone());
                token.ok_or(Trouble::Closed(Closed::NoCredential))?
            }
        };
        let request = call.request(endpoint, &token, (self.now)()).map_err(Trouble::Closed)?;
        let began = Instant::now();
        let answer = self.transport.send(request, call.deadline(), &connection.dial).await;
        let result = answer::read(call, answer, began.elapsed());
        let mut contact = self.contact.lock().unwrap_or_else(PoisonError::into_inner);
        match &result {
            Ok(_) => {
                contact.answered = Some(Instant::now());
                contact.trouble = None;
            }
            Err(trouble) => contact.trouble = Some(trouble.clone()),
        }
        drop(contact);
        result
    }
}
