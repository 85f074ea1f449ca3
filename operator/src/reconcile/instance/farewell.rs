//! Before our finalizer goes, what the instance has not told yet moves to the outbox (contract §20.4): afterwards there is no
//! object that could tell it.

use serde::Serialize;

use super::Snapshot;
use super::decide::remove_finalizer;
use crate::api::cluster::ConnectivityMode;
use crate::cluster_api::{ApiError, ClusterApi, Object};
use crate::policy::Settings;
use crate::reconcile::Effect;
use crate::reconcile::report::cursor::{self, Place};
use crate::reconcile::report::journal::{Mark, journal};
use crate::reconcile::report::outbox;

/// The stores of the report loop, as far as one instance needs them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stores {
    /// What of the instance was acknowledged last.
    pub told: Option<Mark>,
    /// The outbox, if it exists.
    pub outbox: Option<Object>,
}

/// Reads the stores; `None` where there is nothing to tell, or nobody to tell it to, or they may not be read.
pub(super) async fn read<A: ClusterApi>(
    api: &A,
    instance: &Object,
    settings: &Settings,
) -> Result<Option<Stores>, ApiError> {
    let uid = instance.uid().map(|uid| uid.0).unwrap_or_default();
    if journal(instance).is_empty() || !heard(settings) {
        return Ok(None);
    }
    let read = async {
        let mut page = api.get(&Place::First.key(&settings.home)).await?.and_then(|stored| cursor::read(&stored));
        if page.as_ref().is_some_and(|page| page.sharded) {
            page = api.get(&Place::of(&uid, true).key(&settings.home)).await?.and_then(|stored| cursor::read(&stored));
        }
        let told = page.and_then(|page| page.mark(&uid));
        Ok(Stores { told, outbox: api.get(&outbox::key(&settings.home)).await? })
    };
    match read.await {
        Ok(stores) => Ok(Some(stores)),
        // Rights that are gone must not keep the finalizer (contract §29.19).
        Err(ApiError::Forbidden { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether anybody will ever hear events. Before the first registration somebody will; in push and gitops mode only where
/// there is an endpoint (contract §21).
fn heard(settings: &Settings) -> bool {
    let filled = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let cluster = &settings.cluster;
    cluster.connectivity_mode.is(ConnectivityMode::Pull)
        || filled(&cluster.control_plane_endpoint)
        || filled(&cluster.control_plane_base_url)
}

/// The last words, then the finalizer.
pub(super) fn let_go(snapshot: &Snapshot, instance: &Object) -> Vec<Effect> {
    // A server that refused a write is not asked again: losing an event is better than an object that cannot go.
    let stores = snapshot.stores.as_ref().filter(|_| snapshot.refused.is_none());
    let words = stores.and_then(|stores| {
        let words = outbox::last_words(instance, stores.told.as_ref());
        outbox::append(stores.outbox.as_ref(), words, &snapshot.settings.home)
    });
    words.into_iter().chain([remove_finalizer(snapshot, instance)]).collect()
}
