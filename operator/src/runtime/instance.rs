//! One pass over one ApplicationInstance.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::clock::Clock;
use super::controllers::Pass;
use super::settings::SettingsReader;
use crate::cluster_api::{ApiError, ClusterApi, Key};
use crate::reconcile::act::{Failure, Out, act};
use crate::reconcile::instance::{decide, observe};
use crate::transport::Transport;

/// What a pass needs.
pub(super) struct InstancePass<A, T> {
    pub(super) out: Out<A, T>,
    pub(super) settings: SettingsReader<A>,
    pub(super) clock: Clock,
    /// Asks for discovery.
    pub(super) refresh: Arc<Notify>,
}

impl<A: ClusterApi, T: Transport> Pass for InstancePass<A, T> {
    async fn pass(&self, key: &Key, last: Option<&Failure>) -> Result<Option<Duration>, Failure> {
        let settings = self.settings.read().await.map_err(Failure::Observe)?;
        let observed = observe(&*self.out.api, key, &settings).await.map_err(Failure::Observe)?;
        let Some(snapshot) = observed.map(|snapshot| snapshot.after(last)) else {
            tracing::debug!("gone");
            return Ok(None);
        };
        let plan = decide(&snapshot, self.clock.now());
        tracing::debug!(why = %plan.why, effects = plan.effects.len(), "decided");
        let result = act(&self.out, &plan).await;
        if let Err(Failure::Effect { error: ApiError::Unserved { .. } | ApiError::Refused { .. }, .. }) = &result {
            // A kind that is gone, or a field the schema does not declare: what we know of the server may be old.
            self.refresh.notify_one();
        }
        result.map(|()| plan.wake)
    }
}
