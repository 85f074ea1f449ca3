//! Reads what one decision about one job needs: its entry first, then as much of the cluster as its state asks for.

use jiff::SignedDuration;

use super::journal::{Entry, State, Unreadable};
use super::ledger::Ledger;
use super::past::{Past, Summary};
use super::receive::Received;
use super::start::namespace_key;
use super::work::{Work, task};
use super::{Memory, Origin, Rules, Snapshot, audit, close, rotation::Rotation};
use crate::cluster_api::{ApiError, ClusterApi, Key};
use crate::foreign::{core, flux};
use crate::policy::jobs::Sort;
use crate::policy::{Refusal, Settings};
use crate::reconcile::connection::Connection;
use crate::reconcile::instance::Look;
use crate::reconcile::report::{cursor, outbox};

/// What a pass is about, and what this process knows already.
pub struct Ask<'a> {
    /// Name of its entry.
    pub name: &'a str,
    /// The job as received, with its number, while its entry is not known to exist.
    pub fresh: Option<(&'a Received, i64)>,
    /// Whether an entry may exist nevertheless.
    pub maybe: bool,
    /// Settings of the cluster.
    pub settings: Settings,
    /// Settings of this process.
    pub rules: &'a Rules,
    /// The control plane's clock.
    pub ahead: SignedDuration,
    /// The ledger. Only this process writes it while it leads, so the copy is the store.
    pub ledger: &'a Ledger,
    /// The other open jobs.
    pub peers: &'a [Summary],
    /// The connection, for intents.
    pub connection: &'a Connection,
    /// See [`Memory`].
    pub memory: Memory,
}

/// One consistent view of a job.
///
/// # Errors
/// A read failed.
pub async fn observe<A: ClusterApi>(api: &A, ask: Ask<'_>) -> Result<Snapshot, ApiError> {
    let origin = origin(api, &ask).await?;
    let (entry, job, state) = match &origin {
        Origin::Fresh(received, order) => {
            let cluster_id = ask.settings.cluster_id.as_deref().unwrap_or_default();
            (Some(Entry::new(cluster_id, &received.job, *order)), Some(received.job.clone()), State::Received)
        }
        Origin::Stored { entry, .. } => (Some((**entry).clone()), Some(entry.as_job()), entry.state),
        Origin::Corrupt(..) | Origin::Newer | Origin::Gone => (None, None, State::Decided),
    };
    // A result is there before the state says so where a job was refused at once.
    let over = state == State::Decided || entry.as_ref().is_some_and(|entry| entry.result.is_some());
    let task = match job {
        Some(job) if !over => task(&job, &ask.settings, &ask.rules.places),
        _ => Err(Refusal::shape("it is decided")),
    };
    let key = task.as_ref().ok().and_then(|task| task.key.clone());
    let mut snapshot = Snapshot {
        past: entry
            .as_ref()
            .map(|entry| Past::of(entry, key.as_ref(), ask.ledger, ask.peers.iter()))
            .unwrap_or_default(),
        settings: ask.settings,
        rules: ask.rules.clone(),
        ahead: ask.ahead,
        origin,
        task,
        namespace: None,
        target: Look::NotRead,
        release: None,
        rotation: None,
        cursor: None,
        audit: None,
        memory: ask.memory,
    };
    if over {
        return Ok(snapshot);
    }
    if let (Err(refusal), Some(cluster)) = (&snapshot.task, &ask.connection.cluster)
        && audit::told(refusal)
    {
        let outbox = api.get(&outbox::key(&snapshot.rules.places.operator)).await?;
        snapshot.audit = Some((cluster.clone(), outbox));
    }
    let Ok(task) = &snapshot.task else { return Ok(snapshot) };
    match task.work {
        Work::Rotate => {
            snapshot.rotation = Some(Rotation::of(ask.connection));
            return Ok(snapshot);
        }
        Work::Resync => {
            let first = cursor::Place::First.key(&snapshot.rules.places.operator);
            snapshot.cursor = Some(api.get(&first).await?);
            return Ok(snapshot);
        }
        Work::Apply(_) | Work::Delete(_) | Work::Cancel(_) => {}
    }
    let Some(key) = key else { return Ok(snapshot) };
    let gated = matches!(task.sort, Some(Sort::Instance | Sort::Operation));
    if let (true, Some(namespace)) = (gated && state < State::Applied, namespace_key(&key)) {
        snapshot.namespace = api.get(&namespace).await?;
    }
    let fresh = matches!(snapshot.origin, Origin::Fresh(..));
    if !fresh || !matches!(task.work, Work::Apply(_)) {
        snapshot.target = look(api, &key).await?;
    }
    let again = entry.is_some_and(|entry| entry.again);
    if let (true, Some(instance), Some(kind)) =
        (again, snapshot.target.found(), flux::helm_release(&snapshot.settings.caps))
        && let Some(name) = instance.0.pointer("/status/helmReleaseRef/name").and_then(|name| name.as_str())
        && let Some(namespace) = key.namespace.as_deref()
    {
        snapshot.release = api.get(&Key::namespaced(&kind, namespace, name)).await?;
    }
    Ok(snapshot)
}

async fn look<A: ClusterApi>(api: &A, key: &Key) -> Result<Look, ApiError> {
    match api.get(key).await {
        Ok(Some(object)) => Ok(Look::Found(Box::new(object))),
        Ok(None) | Err(ApiError::Missing) => Ok(Look::Absent),
        Err(ApiError::Unserved { .. }) => Ok(Look::Unserved),
        Err(error) => Err(error),
    }
}

async fn origin<A: ClusterApi>(api: &A, ask: &Ask<'_>) -> Result<Origin, ApiError> {
    let namespace = &ask.rules.places.operator;
    let stored = match &ask.fresh {
        Some(_) if !ask.maybe => None,
        _ => api.get(&Key::namespaced(&core::config_map(), namespace, ask.name)).await?,
    };
    let Some(object) = stored else {
        return Ok(match ask.fresh {
            Some((received, order)) => Origin::Fresh(Box::new(received.clone()), order),
            None => Origin::Gone,
        });
    };
    Ok(match Entry::read(&object) {
        Ok(entry) => Origin::Stored { object, entry: Box::new(entry) },
        Err(Unreadable::Newer) => Origin::Newer,
        Err(Unreadable::Corrupt) => Origin::Corrupt(object, close::moved(api, namespace).await?),
    })
}
