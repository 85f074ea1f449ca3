//! One pass over one ApplicationInstance.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::clock::Clock;
use super::controllers::Pass;
use super::settings::SettingsReader;
use crate::cluster_api::{ApiError, ClusterApi, Key};
use crate::reconcile::act::{Failure, act};
use crate::reconcile::instance::{decide, observe};
use crate::reconcile::permit::Permits;

/// What a pass needs.
pub(super) struct InstancePass<A> {
    pub(super) api: Arc<A>,
    pub(super) settings: SettingsReader<A>,
    pub(super) clock: Clock,
    pub(super) permits: Permits,
    /// Asks for discovery.
    pub(super) refresh: Arc<Notify>,
}

impl<A: ClusterApi> Pass for InstancePass<A> {
    async fn pass(&self, key: &Key, last: Option<&Failure>) -> Result<Option<Duration>, Failure> {
        let settings = self.settings.read().await.map_err(Failure::Observe)?;
        let observed = observe(&*self.api, key, &settings).await.map_err(Failure::Observe)?;
        let Some(snapshot) = observed.map(|snapshot| snapshot.after(last)) else {
            tracing::debug!("gone");
            return Ok(None);
        };
        let plan = decide(&snapshot, self.clock.now());
        tracing::debug!(why = %plan.why, effects = plan.effects.len(), "decided");
        let result = act(&*self.api, &self.permits, &plan).await;
        if let Err(Failure::Effect { error: ApiError::Unserved { .. } | ApiError::Refused { .. }, .. }) = &result {
            // A kind that is gone, or a field the schema does not declare: what we know of the server may be old.
            self.refresh.notify_one();
        }
        result.map(|()| plan.wake)
    }
}
