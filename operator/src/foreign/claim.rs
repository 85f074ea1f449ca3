//! PersistentVolumeClaims and their storage classes. The volumes behind them are not ours to read (contract §24).

use serde_json::Value;

use super::string;
use crate::cluster_api::{Kind, Object};

/// `v1 PersistentVolumeClaim`.
pub fn claim() -> Kind {
    Kind::namespaced("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims")
}

/// `storage.k8s.io/v1 StorageClass`.
pub fn storage_class() -> Kind {
    Kind::cluster("storage.k8s.io", "v1", "StorageClass", "storageclasses")
}

/// What we read of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// `metadata.name`.
    pub name: String,
    /// `status.phase`, unknown words kept.
    pub phase: String,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// `spec.storageClassName`.
    pub storage_class: Option<String>,
    /// `spec.accessModes`.
    pub access_modes: Vec<String>,
    /// `spec.volumeMode`.
    pub volume_mode: Option<String>,
    /// What it has, else what it asked for.
    pub capacity: Option<String>,
    /// The CSI driver that made its volume, as the volume controller noted it.
    pub driver: Option<String>,
    /// Whether a node was chosen for it.
    pub node_chosen: bool,
}

impl Claim {
    /// Reads whatever there is.
    pub fn read(object: &Object) -> Self {
        let modes = object.0.pointer("/spec/accessModes").and_then(Value::as_array);
        Self {
            name: object.name().into(),
            phase: string(object, "/status/phase").unwrap_or_default(),
            deleting: object.deleting(),
            storage_class: string(object, "/spec/storageClassName").filter(|name| !name.is_empty()),
            access_modes: modes.into_iter().flatten().filter_map(|mode| mode.as_str().map(String::from)).collect(),
            volume_mode: string(object, "/spec/volumeMode"),
            capacity: string(object, "/status/capacity/storage")
                .or_else(|| string(object, "/spec/resources/requests/storage")),
            driver: ["volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner"]
                .iter()
                .find_map(|key| object.annotation(key))
                .and_then(csi),
            node_chosen: object.annotation("volume.kubernetes.io/selected-node").is_some(),
        }
    }

    /// Whether it has a volume.
    pub fn bound(&self) -> bool {
        self.phase == "Bound"
    }
}

/// The name of a CSI driver; the in-tree names say nothing about the driver that took their place.
fn csi(provisioner: &str) -> Option<String> {
    (!provisioner.is_empty() && !provisioner.starts_with("kubernetes.io/")).then(|| provisioner.to_string())
}

/// The CSI driver of a storage class.
pub fn provisioner(class: &Object) -> Option<String> {
    class.0.get("provisioner").and_then(Value::as_str).and_then(csi)
}

/// Whether claims of this class get their volume only once a pod uses them.
pub fn waits_for_consumer(class: &Object) -> bool {
    class.0.get("volumeBindingMode").and_then(Value::as_str) == Some("WaitForFirstConsumer")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_claim_is_read_whatever_it_holds() {
        let odd = Claim::read(&Object(json!({"metadata": 1, "spec": [], "status": {"phase": 7, "capacity": "x"}})));
        assert_eq!(
            (odd.name.as_str(), odd.phase.as_str(), odd.bound(), odd.capacity.as_deref()),
            ("", "", false, None)
        );
        let claim = Claim::read(&Object(json!({
            "metadata": {"name": "data", "annotations": {"volume.kubernetes.io/storage-provisioner": "rbd.csi.example"}},
            "spec": {"accessModes": ["ReadWriteOnce", 7], "resources": {"requests": {"storage": "8Gi"}}},
            "status": {"phase": "Bound", "capacity": {"storage": "10Gi"}},
        })));
        assert_eq!((claim.bound(), claim.capacity.as_deref()), (true, Some("10Gi")));
        assert_eq!(
            (claim.driver.as_deref(), claim.access_modes),
            (Some("rbd.csi.example"), vec!["ReadWriteOnce".into()])
        );
        assert_eq!(provisioner(&Object(json!({"provisioner": "kubernetes.io/aws-ebs"}))), None);
    }
}
