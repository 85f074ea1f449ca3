//! What the loops without a queue of their own are given: cluster, intake, report. Each is a future that never ends by itself.

use std::sync::Arc;

use super::changes::Changes;
use super::clock::Clock;
use super::entropy::Entropy;
use super::health::Health;
use super::settings::SettingsReader;
use crate::config::Config;
use crate::reconcile::act::Out;

/// What such a loop is given.
pub(super) struct Loop<A, T> {
    pub(super) out: Out<A, T>,
    pub(super) settings: SettingsReader<A>,
    pub(super) changes: Changes,
    pub(super) clock: Clock,
    pub(super) entropy: Entropy,
    pub(super) config: Arc<Config>,
    pub(super) health: Health,
}

impl<A, T> Clone for Loop<A, T> {
    fn clone(&self) -> Self {
        Self {
            out: self.out.clone(),
            settings: self.settings.clone(),
            changes: self.changes.clone(),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            config: Arc::clone(&self.config),
            health: self.health.clone(),
        }
    }
}
