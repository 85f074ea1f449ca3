//! Events: what changed in the cluster, told to the control plane (contract §20).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::api::common::Transition;

/// Most events of one request (contract §20.2).
pub const BATCH_MAX: usize = 100;

/// Kind of the event that says "still here" (contract §20.1).
pub const HEARTBEAT: &str = "ClusterHeartbeat";

/// The body of `POST events`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventBatch {
    /// The cluster that speaks (additive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// At most [`BATCH_MAX`], in order per object.
    pub events: Vec<Event>,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// By which the receiver knows a repetition; a heartbeat has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_key: Option<String>,
    /// A kind of contract §20.1, for example `ConditionTransition`.
    pub kind: String,
    /// What it is about.
    pub resource_ref: ResourceRef,
    /// The conditions it tells.
    #[serde(default)]
    pub conditions: Vec<Value>,
    /// Where the application is reached; on events of an ApplicationInstance only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<Value>,
    /// When it happened, RFC 3339; equal on every re-send.
    pub timestamp: String,
}

/// What an event is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceRef {
    /// `group/version`.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Namespace, absent for cluster-scoped objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// `metadata.uid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The generation it speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
}

impl ResourceRef {
    /// `<apiVersion>/<kind>/<ns or _>/<name>/<uid or _>`, the part that all keys of an object share.
    fn path(&self) -> String {
        let Self { api_version, kind, namespace, name, uid, .. } = self;
        let or = |text: &Option<String>| text.as_deref().filter(|text| !text.is_empty()).unwrap_or("_").to_string();
        format!("{api_version}/{kind}/{}/{name}/{}", or(namespace), or(uid))
    }
}

/// The key of a transition (contract §20.3): the documented key, then its number and a digest, because the documented one
/// is the same for True, False, True at one generation, and a number alone is used again after an older backup of the
/// cluster was restored.
pub fn transition_key(of: &ResourceRef, transition: &Transition) -> String {
    let Transition { seq, type_, status, reason, message, time, generation } = transition;
    let whole = json!([seq, type_, status, reason, message, time, generation]).to_string();
    let digest: String = Sha256::digest(whole).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("condition/{}/{type_}/{status}@{generation}#{seq}-{digest}", of.path())
}

/// The key of a snapshot of all conditions (contract §20.5); `generation` is that of the object, `seq` its newest
/// transition.
pub fn snapshot_key(of: &ResourceRef, generation: i64, seq: i64) -> String {
    format!("snapshot/{}@{generation}#{seq}", of.path())
}

/// The key of a direct kind (contract §20.3), for example `CredentialRotated/<uid>/Authenticated#7`.
pub fn direct_key(kind: &str, uid: &str, type_: &str, seq: i64) -> String {
    format!("{kind}/{uid}/{type_}#{seq}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation() -> ResourceRef {
        ResourceRef {
            api_version: "ops.vworkspace.io/v1alpha1".into(),
            kind: "Operation".into(),
            namespace: Some("org-a".into()),
            name: "b1".into(),
            uid: Some("8c9e".into()),
            generation: Some(1),
        }
    }

    fn transition(seq: i64, status: &str) -> Transition {
        Transition {
            seq,
            type_: "Succeeded".into(),
            status: status.into(),
            reason: "VeleroBackupCompleted".into(),
            message: "412 items".into(),
            time: "2026-06-04T10:01:30Z".into(),
            generation: 1,
        }
    }

    #[test]
    fn a_transition_has_the_documented_key_and_a_suffix_of_its_own() {
        let key = transition_key(&operation(), &transition(4, "True"));
        // Python: hashlib.sha256(b'[4,"Succeeded","True","VeleroBackupCompleted","412 items","2026-06-04T10:01:30Z",1]').hexdigest()[:8]
        assert_eq!(key, "condition/ops.vworkspace.io/v1alpha1/Operation/org-a/b1/8c9e/Succeeded/True@1#4-b89dfee5");
        let cluster = ResourceRef { namespace: None, uid: None, kind: "Cluster".into(), ..operation() };
        let key = transition_key(&cluster, &transition(4, "True"));
        assert!(key.starts_with("condition/ops.vworkspace.io/v1alpha1/Cluster/_/b1/_/Succeeded/True@1#4-"), "{key}");
    }

    #[test]
    fn there_and_back_at_one_generation_are_three_facts() {
        let keys = [(4, "True"), (5, "False"), (6, "True")]
            .map(|(seq, status)| transition_key(&operation(), &transition(seq, status)));
        let documented = |key: &str| key.split('#').next().map(String::from);
        assert_eq!(documented(&keys[0]), documented(&keys[2]), "what an older receiver knows (fixture F11)");
        assert!(keys[0] != keys[2] && keys[0] != keys[1]);
    }

    #[test]
    fn a_number_used_again_for_another_fact_is_another_key() {
        let base = transition(4, "True");
        let others = [
            Transition { reason: "Other".into(), ..base.clone() },
            Transition { message: "413 items".into(), ..base.clone() },
            Transition { time: "2026-06-04T10:01:31Z".into(), ..base.clone() },
        ];
        for other in others {
            assert_ne!(transition_key(&operation(), &base), transition_key(&operation(), &other));
        }
        assert_eq!(transition_key(&operation(), &base), transition_key(&operation(), &base.clone()));
    }

    #[test]
    fn snapshots_and_direct_kinds_have_keys_of_their_own() {
        let key = snapshot_key(&operation(), 7, 12);
        assert_eq!(key, "snapshot/ops.vworkspace.io/v1alpha1/Operation/org-a/b1/8c9e@7#12");
        assert_eq!(direct_key("OperationSucceeded", "8c9e", "Succeeded", 4), "OperationSucceeded/8c9e/Succeeded#4");
    }
}
