//! Versions that the status names: ours, and those that the installed CRDs tell (contract §14.2, §16.3).

use serde_json::json;

use super::status::Findings;
use super::{Snapshot, VERSION};
use crate::api::Open;

/// The CRD whose `app.kubernetes.io/version` label tells a controller's version.
const TELLING: [(&str, &str); 2] =
    [("fluxVersion", "helm.toolkit.fluxcd.io/helmreleases"), ("veleroVersion", "velero.io/backups")];

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
