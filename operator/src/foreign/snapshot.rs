//! CSI snapshots (downstream §7).
//!
//! A VolumeSnapshot has no conditions and no observed generation. Its error is the last one and ends nothing: everything is
//! tried for ever. Readiness counts only with a content that refers back to this very object.

use serde_json::Value;

use super::{string, text};
use crate::cluster_api::{Caps, Kind, Object};

const GROUP: &str = "snapshot.storage.k8s.io";

/// VolumeSnapshot.
pub fn volume_snapshot(caps: &Caps) -> Option<Kind> {
    let version = caps.served(GROUP, "volumesnapshots", &["v1"])?;
    Some(Kind::namespaced(GROUP, version, "VolumeSnapshot", "volumesnapshots"))
}

/// VolumeSnapshotContent.
pub fn content(caps: &Caps) -> Option<Kind> {
    let version = caps.served(GROUP, "volumesnapshotcontents", &["v1"])?;
    Some(Kind::cluster(GROUP, version, "VolumeSnapshotContent", "volumesnapshotcontents"))
}

/// VolumeSnapshotClass.
pub fn class(caps: &Caps) -> Option<Kind> {
    let version = caps.served(GROUP, "volumesnapshotclasses", &["v1"])?;
    Some(Kind::cluster(GROUP, version, "VolumeSnapshotClass", "volumesnapshotclasses"))
}

/// `driver` of a class.
pub fn driver(class: &Object) -> Option<&str> {
    class.0.get("driver").and_then(Value::as_str).filter(|driver| !driver.is_empty())
}

/// Whether a class is the default of its driver.
pub fn is_default(class: &Object) -> bool {
    class.annotation("snapshot.storage.kubernetes.io/is-default-class") == Some("true")
}

/// What we read of a VolumeSnapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeSnapshot {
    /// Whether anybody wrote a status.
    pub noticed: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// `status.readyToUse` is true.
    pub ready: bool,
    /// `status.boundVolumeSnapshotContentName`.
    pub content: Option<String>,
    /// `status.restoreSize`.
    pub restore_size: Option<String>,
    /// `status.creationTime` as written: the point in time.
    pub creation_time: Option<String>,
    /// `status.error.message`, fit for a condition.
    pub error: Option<String>,
    /// `spec.source.persistentVolumeClaimName`.
    pub source: Option<String>,
}

impl VolumeSnapshot {
    /// Reads whatever there is.
    pub fn read(object: &Object) -> Self {
        let named = |pointer: &str| string(object, pointer).filter(|name| !name.is_empty());
        Self {
            noticed: object.0.get("status").and_then(Value::as_object).is_some_and(|status| !status.is_empty()),
            deleting: object.deleting(),
            ready: object.0.pointer("/status/readyToUse") == Some(&Value::Bool(true)),
            content: named("/status/boundVolumeSnapshotContentName"),
            restore_size: named("/status/restoreSize"),
            creation_time: named("/status/creationTime"),
            error: error(object),
            source: named("/spec/source/persistentVolumeClaimName"),
        }
    }
}

/// `status.error` of a VolumeSnapshot or its content.
pub fn error(object: &Object) -> Option<String> {
    let error = object.0.pointer("/status/error").filter(|error| error.is_object())?;
    let message = error.get("message").and_then(Value::as_str).unwrap_or_default();
    Some(text::stable(message)).map(|text| if text.is_empty() { "an error without words".into() } else { text })
}

/// Whether a content is bound to exactly this VolumeSnapshot.
pub fn refers_to(content: &Object, snapshot: &Object) -> bool {
    let is = |field: &str, wanted: Option<&str>| {
        wanted.is_some()
            && content.0.pointer(&format!("/spec/volumeSnapshotRef/{field}")).and_then(Value::as_str) == wanted
    };
    is("uid", snapshot.uid().as_ref().map(|uid| uid.0.as_str()))
        && is("name", Some(snapshot.name()))
        && is("namespace", snapshot.namespace())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn odd_snapshots_are_read() {
        for status in [json!(null), json!(7), json!([]), json!({})] {
            assert!(!VolumeSnapshot::read(&Object(json!({"status": status}))).noticed, "{status}");
        }
        let odd = json!({"readyToUse": "true", "boundVolumeSnapshotContentName": "", "restoreSize": 5, "error": "x"});
        let read = VolumeSnapshot::read(&Object(json!({"status": odd})));
        assert_eq!(
            (read.noticed, read.ready, read.content, read.restore_size, read.error),
            (true, false, None, None, None)
        );
    }

    #[test]
    fn a_content_of_another_snapshot_is_no_evidence() {
        let snapshot = Object(json!({"metadata": {"name": "s", "namespace": "n", "uid": "u"}}));
        for (reference, expect) in [
            (json!({"name": "s", "namespace": "n", "uid": "u"}), true),
            (json!({"name": "s", "namespace": "n", "uid": "v"}), false),
            (json!({"name": "s", "namespace": "n"}), false),
            (json!({"name": "t", "namespace": "n", "uid": "u"}), false),
            (json!({"name": "s", "namespace": "m", "uid": "u"}), false),
            (json!("s"), false),
        ] {
            let content = Object(json!({"spec": {"volumeSnapshotRef": reference}}));
            assert_eq!(refers_to(&content, &snapshot), expect, "{content:?}");
        }
        let nameless = Object(json!({"metadata": {"name": "s"}}));
        assert!(!refers_to(&Object(json!({"spec": {"volumeSnapshotRef": {"name": "s"}}})), &nameless));
    }
}
