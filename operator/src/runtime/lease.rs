//! Leadership: one Lease, with the timing and the wire form of client-go's leader election, so that the existing agent
//! (same Lease) and this operator never act together.
//!
//! Another holder is judged by *our* monotonic clock: its Lease is free once it did not change for its duration while we
//! looked. Wall clocks are written for humans and never compared. Our own tenure is counted from before the renewal was
//! sent, and shorter than the Lease lasts; what this cannot cover (a request already on the wire) the uid and
//! resourceVersion preconditions of the effects do.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::clock::Clock;
use crate::api;
use crate::cluster_api::{ApiError, ClusterApi, Key, Kind, Object};
use crate::reconcile::permit::Permits;

/// How long a Lease that is not renewed keeps others out (contract §27.1).
pub const LEASE: Duration = Duration::from_secs(15);
/// How long one renewal allows to act (contract §27.1): the Lease minus a margin for requests on the wire.
pub const TENURE: Duration = Duration::from_secs(10);
/// Pause between attempts, and between renewals (contract §27.1).
pub const RETRY: Duration = Duration::from_secs(2);

/// One candidate for leadership.
pub struct Election<A> {
    api: Arc<A>,
    key: Key,
    identity: String,
    clock: Clock,
    permits: Permits,
    /// The Lease as last read or written, and since when it has not changed.
    seen: Option<(Object, Instant)>,
    /// The end of the tenure; in the past while not leading.
    until: Instant,
}

impl<A: ClusterApi> Election<A> {
    /// A candidate named `identity` for the Lease in `namespace`. `permits` is extended while it leads.
    pub fn new(api: Arc<A>, namespace: &str, identity: &str, clock: Clock, permits: Permits) -> Self {
        let kind = Kind::namespaced("coordination.k8s.io", "v1", "Lease", "leases");
        let key = Key::namespaced(&kind, namespace, api::LEADER_LEASE);
        Self { api, key, identity: identity.into(), clock, permits, seen: None, until: Instant::now() }
    }

    /// Returns once this candidate leads.
    pub async fn acquire(&mut self) {
        loop {
            let pause = match self.attempt().await {
                Ok(true) => return,
                Ok(false) => RETRY,
                Err(ApiError::Throttled { after }) => after.max(RETRY),
                Err(ApiError::Missing) => {
                    let namespace = self.key.namespace.as_deref().unwrap_or_default();
                    tracing::warn!("cannot take part in leader election: there is no namespace {namespace}");
                    RETRY
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot take part in leader election");
                    RETRY
                }
            };
            sleep(pause).await;
        }
    }

    /// Renews until that fails for a whole tenure or somebody else holds the Lease; then returns, without a tenure.
    pub async fn hold(&mut self) {
        let mut next = Instant::now() + RETRY;
        loop {
            sleep_until(next).await;
            let sent = Instant::now();
            next = sent + RETRY;
            match timeout_at(self.until, self.renew()).await {
                Ok(Ok(())) => self.extend(sent),
                Ok(Err(Renewal::Lost)) => break,
                Ok(Err(Renewal::Failed(error))) => tracing::warn!(%error, "leadership was not renewed"),
                Err(_) => {}
            }
            if Instant::now() >= self.until {
                break;
            }
        }
        self.permits.revoke();
        tracing::warn!("leadership lost");
    }

    /// Gives the Lease up, so that the next candidate need not wait for its end. Best effort; call it only after
    /// everything that acts has stopped.
    pub async fn release(&mut self) {
        self.permits.revoke();
        let Some((mut lease, _)) = self.seen.take() else { return };
        if holder(&lease) != self.identity {
            return;
        }
        lease.0["spec"]["holderIdentity"] = json!("");
        lease.0["spec"]["leaseDurationSeconds"] = json!(1);
        lease.0["spec"]["renewTime"] = json!(self.stamp());
        match self.api.update(&lease).await {
            Ok(_) => tracing::info!("leadership released"),
            Err(error) => tracing::warn!(%error, "leadership was not released; it ends by itself"),
        }
    }

    async fn attempt(&mut self) -> Result<bool, ApiError> {
        let Some(lease) = self.api.get(&self.key).await? else {
            self.seen = None;
            let sent = Instant::now();
            return match self.api.create(&self.first()).await {
                Ok(created) => Ok(self.leads(created, sent)),
                Err(ApiError::Exists) => Ok(false),
                Err(error) => Err(error),
            };
        };
        let now = Instant::now();
        let since = match &self.seen {
            Some((seen, since)) if seen.version() == lease.version() => *since,
            _ => now,
        };
        self.seen = Some((lease.clone(), since));
        let holder = holder(&lease);
        let free = holder.is_empty() || holder == self.identity || since + duration(&lease) <= now;
        if !free {
            return Ok(false);
        }
        let lease = self.taken(lease.clone(), holder == self.identity);
        let sent = Instant::now();
        match self.api.update(&lease).await {
            Ok(updated) => Ok(self.leads(updated, sent)),
            Err(ApiError::Conflict { .. } | ApiError::Missing) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn renew(&mut self) -> Result<(), Renewal> {
        let Some((lease, _)) = &self.seen else { return Err(Renewal::Lost) };
        match self.api.update(&self.renewed(lease.clone())).await {
            Ok(updated) => {
                self.seen = Some((updated, Instant::now()));
                Ok(())
            }
            // Somebody wrote the Lease since: perhaps we did, in a renewal whose answer was lost.
            Err(ApiError::Conflict { .. }) => match self.api.get(&self.key).await {
                Ok(Some(lease)) if holder(&lease) == self.identity => {
                    self.seen = Some((lease, Instant::now()));
                    Err(Renewal::Failed(ApiError::Conflict { why: "renewed from a newer version next time".into() }))
                }
                Ok(_) => Err(Renewal::Lost),
                Err(error) => Err(Renewal::Failed(error)),
            },
            Err(ApiError::Missing) => Err(Renewal::Lost),
            Err(error) => Err(Renewal::Failed(error)),
        }
    }

    fn leads(&mut self, lease: Object, sent: Instant) -> bool {
        self.seen = Some((lease, Instant::now()));
        self.extend(sent);
        tracing::info!(identity = %self.identity, "leading");
        true
    }

    fn extend(&mut self, sent: Instant) {
        self.until = sent + TENURE;
        self.permits.extend(self.until);
    }

    fn first(&self) -> Object {
        let now = self.stamp();
        Object(json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": { "name": self.key.name, "namespace": self.key.namespace },
            "spec": {
                "holderIdentity": self.identity, "leaseDurationSeconds": LEASE.as_secs(),
                "acquireTime": now, "renewTime": now, "leaseTransitions": 0,
            },
        }))
    }

    fn taken(&self, mut lease: Object, ours_already: bool) -> Object {
        let now = self.stamp();
        if !ours_already {
            let transitions =
                lease.0.pointer("/spec/leaseTransitions").and_then(|value| value.as_i64()).unwrap_or_default();
            lease.0["spec"]["leaseTransitions"] = json!(transitions + 1);
            lease.0["spec"]["acquireTime"] = json!(now);
        }
        lease.0["spec"]["holderIdentity"] = json!(self.identity);
        lease.0["spec"]["leaseDurationSeconds"] = json!(LEASE.as_secs());
        self.renewed(lease)
    }

    fn renewed(&self, mut lease: Object) -> Object {
        lease.0["spec"]["renewTime"] = json!(self.stamp());
        lease
    }

    /// `MicroTime`: six digits, always.
    fn stamp(&self) -> String {
        format!("{:.6}", self.clock.now())
    }
}

enum Renewal {
    Lost,
    Failed(ApiError),
}

fn holder(lease: &Object) -> &str {
    lease.0.pointer("/spec/holderIdentity").and_then(|value| value.as_str()).unwrap_or_default()
}

fn duration(lease: &Object) -> Duration {
    let seconds = lease.0.pointer("/spec/leaseDurationSeconds").and_then(|value| value.as_u64());
    Duration::from_secs(seconds.unwrap_or(LEASE.as_secs()).max(1))
}
