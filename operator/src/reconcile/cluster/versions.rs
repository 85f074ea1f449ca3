//! Versions that the status names: ours, and those that the installed CRDs tell (contract §14.2, §16.3).

use jiff::Timestamp;
use serde_json::{Value, json};

use super::status::Findings;
use super::{Snapshot, VERSION, told};
use crate::api::Open;
use crate::cluster_api::Object;
use crate::protocol::event::Event;
use crate::reconcile::Effect;
use crate::reconcile::report::journal::resource;
use crate::reconcile::report::outbox::{self, Entry};
use crate::reconcile::status::stamp;

/// The CRD whose `app.kubernetes.io/version` label tells a controller's version.
const TELLING: [(&str, &str); 2] =
    [("fluxVersion", "helm.toolkit.fluxcd.io/helmreleases"), ("veleroVersion", "velero.io/backups")];

/// The version that ran here before, if it was another one.
pub(super) fn upgraded(cluster: &Object) -> Option<&str> {
    told(cluster, "/operatorVersion").filter(|version| *version != VERSION)
}

/// Tells of an upgrade through the outbox: it is no change of a condition (contract §20.1). Before the status that forgets
/// the older version.
pub(super) fn announce(snapshot: &Snapshot, cluster: &Object, now: Timestamp) -> Option<Effect> {
    let from = upgraded(cluster)?;
    let survey = snapshot.survey.as_ref()?;
    let uid = cluster.uid().map(|uid| uid.0).unwrap_or_default();
    let number = cluster.0.pointer("/status/transitionSeq").and_then(Value::as_i64).unwrap_or_default();
    let event = Event {
        event_key: Some(format!("OperatorUpgraded/{uid}/{from}-{VERSION}#{number}")),
        kind: "OperatorUpgraded".into(),
        resource_ref: resource(cluster, cluster.generation()),
        conditions: Vec::new(),
        endpoints: Vec::new(),
        timestamp: stamp(now),
    };
    outbox::append(survey.outbox.as_ref(), vec![Entry { seq: None, after: None, event }], &snapshot.place.namespace)
}

/// Fields of the status.
pub(super) fn fields(snapshot: &Snapshot, findings: &mut Findings) {
    findings.set("operatorVersion", json!(VERSION));
    let channel = snapshot.spec.upgrade.as_ref().and_then(|upgrade| upgrade.channel.as_ref());
    let channel = match channel {
        Some(Open::Known(channel)) => serde_json::to_value(channel).ok(),
        Some(Open::Other(other)) => Some(json!(other)),
        None => None,
    };
    findings.fields.insert("operatorChannel", channel);
    for (field, kind) in TELLING {
        let release = snapshot.settings.caps.releases.get(kind);
        findings.fields.insert(field, release.map(|release| json!(release)));
    }
}
