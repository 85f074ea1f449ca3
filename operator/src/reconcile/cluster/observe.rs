//! Reads what one decision needs. Every read is a quorum read; the credentials that it finds are what every other loop uses
//! from then on.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Attempts, Offered, Seen, Snapshot, Tried, decommission, registration, rotation, survey, versions};
use crate::api::ClusterSpec;
use crate::api::secret::SecretText;
use crate::cluster_api::{ApiError, ClusterApi, Key, Object};
use crate::foreign::core;
use crate::policy::Settings;
use crate::protocol::Trouble;
use crate::reconcile::connection;
use crate::reconcile::link::{Exchange, Group, Link};
use crate::transport::Transport;

/// What a process brings along: ids that nobody can guess, drawn anew for every pass, and what it remembers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Given {
    /// For a registration.
    pub registration_id: String,
    /// For a rotation.
    pub rotation_id: String,
    /// `pending-registration-id` as the first pass of this tenure found it: left by an earlier process.
    pub found_pending: Option<String>,
    /// For how long this tenure has lasted.
    pub led: Duration,
    /// For how long the deletion of the active Cluster has been seen.
    pub deleting: Duration,
    /// How often a heartbeat is sent.
    pub heartbeat: Duration,
    /// The rest of the cluster is to be looked at.
    pub survey: bool,
}

/// One consistent view.
///
/// # Errors
/// Any read that failed.
pub async fn observe<A: ClusterApi, T: Transport>(
    api: &A,
    link: &Link<A, T>,
    settings: impl FnOnce(&[Object]) -> Settings,
    given: Given,
) -> Result<Snapshot, ApiError> {
    link.reload().await;
    let connection = Arc::unwrap_or_clone(link.connection().await?);
    let clusters: Vec<Object> = connection.cluster.iter().chain(&connection.others).cloned().collect();
    let settings = settings(&clusters);
    let spec: ClusterSpec = connection
        .cluster
        .as_ref()
        .and_then(|cluster| serde_json::from_value(cluster.0.get("spec")?.clone()).ok())
        .unwrap_or_default();
    let deleting = connection.cluster.as_ref().is_some_and(Object::deleting);
    let place = link.place().clone();
    let offered = match &spec.registration_token_secret_ref {
        _ if deleting => Offered::Nothing,
        Some(reference) => {
            let key = Key::namespaced(&core::secret(), &place.namespace, &reference.name);
            let found = api.get(&key).await?;
            match found.as_ref().and_then(|secret| connection::text(secret, &reference.key)) {
                Some(token) => Offered::Token(SecretText::new(token)),
                None if found.is_some() => {
                    Offered::Missing(format!("the Secret {} has no key {}", reference.name, reference.key))
                }
                None => Offered::Missing(format!("there is no Secret {}", reference.name)),
            }
        }
        None => match spec.registration_token.as_deref().map(str::trim).filter(|token| !token.is_empty()) {
            Some(token) => Offered::Token(SecretText::new(token)),
            None => Offered::Nothing,
        },
    };
    let upgraded = connection.cluster.as_ref().is_some_and(|cluster| versions::upgraded(cluster).is_some());
    let survey = match connection.cluster.is_some() && !deleting && (given.survey || upgraded) {
        true => Some(survey::survey(api, &settings, &place, upgraded).await?),
        false => None,
    };
    let stores = if deleting { decommission::stores(api, &place).await? } else { Vec::new() };
    if connection.cluster.as_ref().is_none_or(|cluster| !super::reregisters(cluster)) {
        link.forget_success(Exchange::Registration);
    }
    let tried = |exchange, delays: fn(&Trouble) -> (Duration, Duration)| {
        link.attempt(exchange).map(|attempt| Tried::read(&attempt, delays))
    };
    let attempts = Attempts {
        registration: tried(Exchange::Registration, registration::delays),
        rotation: tried(Exchange::Rotation, rotation::delays),
        decommission: tried(Exchange::Decommission, decommission::delays),
    };
    let seen = seen(link, &given);
    Ok(Snapshot { connection, spec, offered, seen, attempts, given, place, settings, stores, survey, refused: false })
}

fn seen<A: ClusterApi, T: Transport>(link: &Link<A, T>, given: &Given) -> Seen {
    let contact = link.contact();
    let now = Instant::now();
    let ago = |at: Option<Instant>| at.map(|at| now.saturating_duration_since(at));
    let answered = ago(contact.answered);
    // A heartbeat has its own slow beat: behind the backoff of other posts it would starve. Only a server may hold it back.
    let throttled = matches!(contact.trouble, Some(Trouble::Throttled { .. }));
    let wait = if throttled { link.wait(Group::Post) } else { Duration::ZERO };
    Seen {
        answered,
        held: ago(contact.since),
        silent: answered.map_or(given.led, |answered| answered.min(given.led)),
        trouble: contact.trouble,
        ahead: contact.ahead,
        standing: contact.standing,
        beaten: ago(link.beaten()),
        wait,
        told: link.told(),
    }
}
