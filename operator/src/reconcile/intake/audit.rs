//! Refusals that are told as events of their own: somebody sent what this cluster cannot trust (contract §19, §20.1).

use jiff::Timestamp;

use super::verdict::stamp;
use super::{Snapshot, journal};
use crate::api::OPS_API_VERSION;
use crate::policy::Refusal;
use crate::protocol::event::{Event, ResourceRef};
use crate::reconcile::Effect;
use crate::reconcile::report::outbox::{self, Entry};

/// Whether a refusal is.
pub(super) fn told(refusal: &Refusal) -> bool {
    matches!(refusal.code, "JobPayloadSignatureInvalid" | "JobPayloadDecryptionFailed")
}

/// The event of a refused job, put where the report loop finds it. Its key is derived from the job, so it is told once.
pub(super) fn event(snapshot: &Snapshot, job: &str, now: Timestamp) -> Option<Effect> {
    let refusal = snapshot.task.as_ref().err().filter(|refusal| told(refusal))?;
    let (cluster, stored) = snapshot.audit.as_ref()?;
    let uid = cluster.uid().map(|uid| uid.0);
    let event = Event {
        event_key: Some(format!("{}/{}/{}", refusal.code, uid.as_deref().unwrap_or("_"), journal::name(job))),
        kind: refusal.code.into(),
        resource_ref: ResourceRef {
            api_version: OPS_API_VERSION.into(),
            kind: "Cluster".into(),
            namespace: None,
            name: cluster.name().into(),
            uid,
            generation: Some(cluster.generation()),
        },
        conditions: Vec::new(),
        endpoints: Vec::new(),
        timestamp: stamp(now),
    };
    let entry = Entry { seq: None, after: None, event };
    outbox::append(stored.as_ref(), vec![entry], &snapshot.rules.places.operator)
}
