//! Flux: which release serves what, and the parts that its kinds share.
//!
//! Versions per release: downstream §2.6, §3.4, §4. Conversions are by renaming and pruning only (downstream §0.3).

mod helm_release;
mod kustomization;
mod sources;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::definition::Definition;
use super::schema::{Schema, integer, list, long, map, moment, object, text};

/// A release line of Flux. Order is age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FluxRelease {
    /// Below the supported floor: HelmRelease v2beta1 only, another state machine (downstream §2.6). Present only so
    /// that refusing it can be tested; the fake controllers do not run at this release.
    #[serde(rename = "2.0")]
    V2_0,
    /// HelmRelease v2, chartRef; OCIRepository v1beta2. The floor (contract §26.1).
    #[serde(rename = "2.3")]
    V2_3,
    /// Bucket v1.
    #[serde(rename = "2.4")]
    V2_4,
    /// disableTakeOwnership, disableSchemaValidation.
    #[serde(rename = "2.5")]
    V2_5,
    /// OCIRepository v1.
    #[serde(rename = "2.6")]
    V2_6,
    /// install.strategy, upgrade.strategy, commonMetadata.
    #[serde(rename = "2.7")]
    V2_7,
    /// Only v2 and v1; inventory, history.action.
    #[serde(rename = "2.8")]
    V2_8,
    /// Drifted condition, literal values references.
    #[serde(rename = "2.9")]
    V2_9,
}

impl FluxRelease {
    /// Every release, oldest first.
    pub const ALL: [Self; 8] =
        [Self::V2_0, Self::V2_3, Self::V2_4, Self::V2_5, Self::V2_6, Self::V2_7, Self::V2_8, Self::V2_9];

    /// The newest release described here.
    pub fn newest() -> Self {
        Self::V2_9
    }

    /// The served version of OCIRepository that the controllers themselves use.
    pub fn oci_repository_version(self) -> &'static str {
        if self >= Self::V2_6 { "v1" } else { "v1beta2" }
    }
}

/// Every Flux kind we know, at one release.
pub(super) fn definitions(release: FluxRelease) -> Vec<Definition> {
    vec![
        helm_release::definition(release),
        sources::helm_repository(release),
        sources::oci_repository(release),
        sources::helm_chart(release),
        sources::git_repository(release),
        kustomization::definition(release),
    ]
}

const READY: (&str, &str, &str) = ("Ready", "string", r#".status.conditions[?(@.type=="Ready")].status"#);
const STATUS: (&str, &str, &str) = ("Status", "string", r#".status.conditions[?(@.type=="Ready")].message"#);
const AGE: (&str, &str, &str) = ("Age", "date", ".metadata.creationTimestamp");

fn categories(release: FluxRelease, all: &'static [&'static str]) -> &'static [&'static str] {
    if release >= FluxRelease::V2_9 { all } else { &[] }
}

/// A Go duration of at most hours.
fn interval() -> Schema {
    text().pattern(r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$")
}

/// The timeout of a source: minutes are the largest unit it takes.
fn fetch_timeout() -> Schema {
    text().pattern(r"^([0-9]+(\.[0-9]+)?(ms|s|m))+$")
}

fn object_name() -> Schema {
    text().length(1, 253)
}

fn namespace_name() -> Schema {
    text().length(1, 63)
}

/// `status` of every Flux kind: `observedGeneration` is -1 from creation on (downstream §1).
fn status() -> Schema {
    object()
        .default(json!({"observedGeneration": -1}))
        .may("observedGeneration", long().says("Generation whose pass has ended; proves nothing while suspended."))
        .may("lastHandledReconcileAt", text().says("Last reconcile request whose pass has ended."))
        .may("conditions", list(condition()))
}

fn condition() -> Schema {
    object()
        .need("type", text().length(0, 316).pattern(
            r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
        ))
        .need("status", text().one_of(&["True", "False", "Unknown"]))
        .need("lastTransitionTime", moment())
        .need("reason", text().length(1, 1024).pattern(r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"))
        .need("message", text().length(0, 32768))
        .may("observedGeneration", long().at_least(0))
}

fn inventory() -> Schema {
    object().need("entries", list(object().need("id", text()).need("v", text())))
}

/// What a source offers for download. `digest` is required from 2.7 on.
fn artifact(release: FluxRelease) -> Schema {
    let digest = text().pattern(r"^[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$");
    let rest = object()
        .need("path", text())
        .need("url", text())
        .need("revision", text())
        .need("lastUpdateTime", moment())
        .may("size", long())
        .may("metadata", map(text()));
    if release >= FluxRelease::V2_7 { rest.need("digest", digest) } else { rest.may("digest", digest) }
}

fn source_reference(kinds: &[&str]) -> Schema {
    object().may("apiVersion", text()).need("kind", text().one_of(kinds)).need("name", object_name())
}

fn retries() -> Schema {
    integer().says("Attempts after the first; negative means no limit.")
}
