//! One pass over one ApplicationInstance.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::clock::Clock;
use super::controllers::Pass;
use crate::cluster_api::{ApiError, Caps, ClusterApi, Key};
use crate::reconcile::Plan;
use crate::reconcile::act::{Failure, act};
use crate::reconcile::permit::Permits;

/// What a pass needs.
pub(super) struct InstancePass<A> {
    api: Arc<A>,
    clock: Clock,
    permits: Permits,
    caps: watch::Receiver<Arc<Caps>>,
    refresh: Arc<Notify>,
}

impl<A: ClusterApi> InstancePass<A> {
    pub(super) fn new(
        api: Arc<A>,
        clock: Clock,
        permits: Permits,
        caps: watch::Receiver<Arc<Caps>>,
        refresh: Arc<Notify>,
    ) -> Self {
        Self { api, clock, permits, caps, refresh }
    }
}

impl<A: ClusterApi> Pass for InstancePass<A> {
    async fn pass(&self, key: &Key, last: Option<&Failure>) -> Result<Option<Duration>, Failure> {
        let _ = (&self.clock, &self.caps, last);
        // observe and decide of the loop are not there yet.
        let plan = match self.api.get(key).await.map_err(Failure::Observe)? {
            Some(_) => Plan::idle("observed"),
            None => Plan::idle("gone"),
        };
        let result = act(&*self.api, &self.permits, &plan).await;
        if let Err(Failure::Effect { error: ApiError::Unserved { .. } | ApiError::Refused { .. }, .. }) = &result {
            // A kind that is gone, or a field the schema does not declare: what we know of the server may be old.
            self.refresh.notify_one();
        }
        tracing::debug!(why = %plan.why, effects = plan.effects.len(), "pass");
        result.map(|()| plan.wake)
    }
}
