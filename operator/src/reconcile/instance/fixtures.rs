//! Snapshots for tests: `Case::new().settled().release(..)`, and one way to say what a plan does.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::intent::{Intent, intent, noted};
use super::{Look, Snapshot, State, decide, state};
use crate::api::{APPS_GROUP, VERSION, annotation, finalizer, label, names};
use crate::cluster_api::{Caps, Key, Kind, Object};
use crate::engine::{Child, Engine, Role, flux::Flux};
use crate::foreign::core::Revision;
use crate::policy::Settings;
use crate::reconcile::{Effect, Plan};

/// Uid of the instance under test.
pub(super) const UID: &str = "8f14e45f-ceea-467f-a9d1-1f2c3d4e5f60";
/// The time of every decision that does not say otherwise.
pub(super) const NOW: &str = "2026-01-01T12:00:00Z";

pub(super) fn caps() -> Caps {
    let served = [
        ("apps.vworkspace.io/applicationinstances", "v1alpha1"),
        ("helm.toolkit.fluxcd.io/helmreleases", "v2"),
        ("source.toolkit.fluxcd.io/ocirepositories", "v1"),
        ("source.toolkit.fluxcd.io/helmrepositories", "v1"),
        ("source.toolkit.fluxcd.io/helmcharts", "v1"),
    ];
    Caps {
        versions: served.into_iter().map(|(name, version)| (name.to_string(), vec![version.to_string()])).collect(),
        fields: [("helm.toolkit.fluxcd.io/v2/helmreleases".to_string(), Default::default())].into(),
        ..Caps::default()
    }
}

/// A snapshot under construction, and what to decide with it.
#[derive(Clone)]
pub(super) struct Case {
    pub(super) snapshot: Snapshot,
    pub(super) now: Timestamp,
}

impl Case {
    /// A new instance `org-a/files` in a gated namespace of a cluster with Flux, nothing done yet.
    pub(super) fn new() -> Self {
        let kind = Kind::namespaced(APPS_GROUP, VERSION, "ApplicationInstance", "applicationinstances");
        let settings =
            Settings { cluster_id: Some("c1".into()), caps: caps(), reporter: "pod-0".into(), ..Settings::default() };
        let mut snapshot = Snapshot::empty(&Key::namespaced(&kind, "org-a", "files"), &settings);
        snapshot.instance = Some(Object(json!({
            "apiVersion": "apps.vworkspace.io/v1alpha1",
            "kind": "ApplicationInstance",
            "metadata": {
                "name": "files", "namespace": "org-a", "uid": UID, "generation": 1, "resourceVersion": "10",
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": { label::MANAGED_BY: "control-plane", label::CLUSTER_ID: "c1" },
            },
            "spec": {
                "mode": "managed",
                "appRef": {"catalogId": "nextcloud"},
                "chart": {"sourceType": "oci", "url": "oci://charts.example.org/apps", "name": "nextcloud", "version": "6.6.0"},
                "release": {"name": "files", "namespace": "org-a"},
                "values": {"source": "inline", "inline": {"replicas": 2}},
            },
            "status": {"observedGeneration": -1},
        })));
        snapshot.namespace = Some(Object(json!({
            "metadata": {"name": "org-a", "labels": {"managed-by": "vworkspace"}}, "status": {"phase": "Active"},
        })));
        snapshot.release = Look::Absent;
        snapshot.source = Look::Absent;
        Self { snapshot, now: NOW.parse().unwrap() }
    }

    pub(super) fn instance(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.snapshot.instance.as_mut().unwrap().0);
        self
    }

    pub(super) fn spec(self, pointer: &str, value: Value) -> Self {
        self.instance(|object| {
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            object["spec"].pointer_mut(parent).unwrap()[field] = value;
        })
    }

    pub(super) fn generation(self, generation: i64) -> Self {
        self.instance(|object| object["metadata"]["generation"] = json!(generation))
    }

    pub(super) fn annotate(self, name: &str, value: &str) -> Self {
        self.instance(|object| object["metadata"]["annotations"][name] = json!(value))
    }

    pub(super) fn finalized(self) -> Self {
        self.instance(|object| {
            object["metadata"]["finalizers"] = json!([finalizer::APPLICATION_INSTANCE]);
            let held = format!("v:{}", json!(finalizer::APPLICATION_INSTANCE));
            object["metadata"]["managedFields"] = json!([{
                "manager": "vworkspace-operator", "operation": "Apply",
                "fieldsV1": {"f:metadata": {"f:finalizers": {held: {}}}},
            }]);
        })
    }

    pub(super) fn deleting(self) -> Self {
        self.instance(|object| object["metadata"]["deletionTimestamp"] = json!(NOW))
    }

    /// Stored conditions, as `Ready=T/HelmReleaseReady@1`.
    pub(super) fn said(self, conditions: &[&str]) -> Self {
        self.instance(|object| {
            let list: Vec<Value> = conditions
                .iter()
                .map(|text| {
                    let (type_, rest) = text.split_once('=').unwrap();
                    let (status, rest) = rest.split_once('/').unwrap();
                    let (reason, generation) = rest.split_once('@').unwrap_or((rest, "1"));
                    let status = match status { "T" => "True", "F" => "False", _ => "Unknown" };
                    json!({"type": type_, "status": status, "reason": reason, "message": "before",
                        "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": generation.parse::<i64>().unwrap()})
                })
                .collect();
            object["status"]["conditions"] = json!(list);
        })
    }

    pub(super) fn children(&self) -> Vec<Child> {
        let instance = self.snapshot.instance.as_ref().unwrap();
        let Intent::Managed(wish) = intent(instance, &self.snapshot.settings) else { panic!("no wish") };
        Flux.render(&noted(*wish, &self.snapshot), &self.snapshot.settings.caps).expect("rendered")
    }

    pub(super) fn child(&self, role: Role) -> Object {
        self.children().into_iter().find(|child| child.role == role).expect("child").object
    }

    /// Children exist as they should be, without status.
    pub(super) fn settled(mut self) -> Self {
        self = self.finalized();
        for child in self.children() {
            let mut object = child.object;
            object.0["metadata"]["uid"] = json!(format!("uid-{:?}", child.role));
            object.0["metadata"]["generation"] = json!(1);
            object.0["metadata"]["resourceVersion"] = json!("20");
            object.0["metadata"]["managedFields"] = json!([{
                "manager": "vworkspace-operator", "operation": "Apply", "apiVersion": object.0["apiVersion"],
                "fieldsV1": {"f:spec": {"f:interval": {}}},
            }]);
            object.0["status"] = json!({"observedGeneration": -1});
            let look = Look::Found(Box::new(object));
            match child.role {
                Role::Source => self.snapshot.source = look,
                Role::Values => self.snapshot.generated = look,
                Role::Release => self.snapshot.release = look,
            }
        }
        self
    }

    pub(super) fn release(mut self, change: impl FnOnce(&mut Value)) -> Self {
        let Look::Found(object) = &mut self.snapshot.release else { panic!("no release") };
        change(&mut object.0);
        self
    }

    pub(super) fn source(mut self, change: impl FnOnce(&mut Value)) -> Self {
        let Look::Found(object) = &mut self.snapshot.source else { panic!("no source") };
        change(&mut object.0);
        self
    }

    /// Conditions of the release, as `Ready=F/InstallFailed`, about its generation.
    pub(super) fn flux(self, conditions: &[&str]) -> Self {
        self.release(|object| {
            let generation = object["metadata"]["generation"].clone();
            object["status"]["observedGeneration"] = generation.clone();
            object["status"]["lastAttemptedGeneration"] = generation.clone();
            object["status"]["conditions"] = foreign(conditions, &generation);
        })
    }

    pub(super) fn history(self, entries: &[(i64, &str, &str)]) -> Self {
        self.release(|object| {
            let list: Vec<Value> = entries
                .iter()
                .map(|(version, status, chart)| {
                    json!({"version": version, "status": status, "chartName": "nextcloud", "chartVersion": chart})
                })
                .collect();
            object["status"]["history"] = json!(list);
        })
    }

    /// The release is there: first revision, all evidence.
    pub(super) fn deployed(self) -> Self {
        self.settled().sourced().flux(&SUCCESS).history(&[(1, "deployed", "6.6.0+5f2c9d0a1b2c")])
    }

    /// The source has its artifact.
    pub(super) fn sourced(self) -> Self {
        self.source(|object| {
            object["status"] = json!({
                "observedGeneration": 1,
                "artifact": {"revision": "6.6.0@sha256:00"},
                "conditions": foreign(&["Ready=T/Succeeded"], &json!(1)),
            });
        })
    }

    /// The source fails since the given time.
    pub(super) fn failing(self, since: &str) -> Self {
        self.source(|object| {
            let mut conditions =
                foreign(&["FetchFailed=T/OCIArtifactPullFailed", "Ready=F/OCIArtifactPullFailed"], &json!(1));
            conditions[0]["lastTransitionTime"] = json!(since);
            object["status"]["conditions"] = conditions;
        })
    }

    pub(super) fn lock(mut self, type_: &str, since: &str) -> Self {
        let holder = json!({"uid": "op-1", "name": "night", "type": type_, "exclusive": true, "since": since});
        let lock = json!({"v": 1, "target": {"name": "files", "uid": UID}, "holders": [holder]});
        self.snapshot.lease = Some(Object(json!({
            "metadata": {"name": names::target_lease("files"), "annotations": {annotation::LOCK: lock.to_string()}},
        })));
        self
    }

    pub(super) fn values(mut self, version: &str) -> Self {
        self.snapshot.values = Some(Some(Revision { resource_version: version.into(), has_key: true }));
        self
    }

    pub(super) fn plan(&self) -> Plan {
        decide(&self.snapshot, self.now)
    }

    /// The snapshot after the plan's status was stored and the plan's applies and patches of children were made.
    pub(super) fn then(mut self) -> Self {
        for effect in self.plan().effects {
            match effect {
                Effect::PatchStatus { status, .. } => {
                    self.snapshot.instance.as_mut().unwrap().0["status"] = status;
                }
                Effect::Apply { object, .. } if object.kind() == "ApplicationInstance" => self = self.finalized(),
                Effect::Apply { object, .. } => {
                    let look = match object.kind() {
                        "HelmRelease" => &mut self.snapshot.release,
                        "ConfigMap" => &mut self.snapshot.generated,
                        _ => &mut self.snapshot.source,
                    };
                    let mut live = object.0;
                    if let Look::Found(old) = look {
                        let generation = old.generation() + i64::from(old.0["spec"] != live["spec"]);
                        live["status"] = old.0["status"].clone();
                        live["metadata"]["generation"] = json!(generation);
                        live["metadata"]["managedFields"] = old.0["metadata"]["managedFields"].clone();
                    } else {
                        live["metadata"]["uid"] = json!(format!("uid-{}", live["kind"]));
                        live["metadata"]["generation"] = json!(1);
                        live["status"] = json!({"observedGeneration": -1});
                    }
                    *look = Look::Found(Box::new(Object(live)));
                }
                Effect::Patch { key, merge: patch, .. } => {
                    let look = match key.kind.kind.as_str() {
                        "HelmRelease" => &mut self.snapshot.release,
                        "OCIRepository" | "HelmRepository" => &mut self.snapshot.source,
                        _ => continue,
                    };
                    if let Look::Found(live) = look {
                        merge(&mut live.0, &patch);
                    }
                }
                _ => {}
            }
        }
        self
    }

    /// One assertion for a whole decision: its state, its effects in order, and the conditions that then stand. After the
    /// status is stored, a second look must change nothing.
    #[track_caller]
    pub(super) fn check(&self, expect: State, effects: &[&str], conditions: &[&str]) -> Plan {
        assert_eq!(state(&self.snapshot), expect);
        let plan = self.plan();
        assert_eq!(told(&plan), effects, "{}", plan.why);
        let stored = self.clone().then();
        let said = stands(&stored);
        for condition in conditions {
            assert!(said.iter().any(|text| text == condition), "{condition} is not among {said:?}");
        }
        let again = stored.plan();
        let status = again.effects.iter().filter(|effect| matches!(effect, Effect::PatchStatus { .. })).count();
        let first = effects.first().is_some_and(|effect| *effect == "finalizer");
        assert!(first || status == 0, "a second look writes again: {:?}", again.effects);
        plan
    }
}

/// Evidence of a success.
pub(super) const SUCCESS: [&str; 2] = ["Ready=T/InstallSucceeded", "Released=T/InstallSucceeded"];

pub(super) fn foreign(conditions: &[&str], generation: &Value) -> Value {
    conditions
        .iter()
        .map(|text| {
            let (type_, rest) = text.split_once('=').unwrap();
            let (status, reason) = rest.split_once('/').unwrap();
            let status = match status {
                "T" => "True",
                "F" => "False",
                _ => "Unknown",
            };
            json!({"type": type_, "status": status, "reason": reason, "message": "what happened",
                "observedGeneration": generation, "lastTransitionTime": "2026-01-01T11:59:00Z"})
        })
        .collect()
}

/// The conditions of an instance as `Ready=T/HelmReleaseReady`.
pub(super) fn stands(case: &Case) -> Vec<String> {
    let list = super::status::conditions(case.snapshot.instance.as_ref().unwrap());
    let short = |value: &Value| value.as_str().unwrap_or("?")[..1].to_string();
    list.iter()
        .map(|entry| {
            format!(
                "{}={}/{}",
                entry["type"].as_str().unwrap(),
                short(&entry["status"]),
                entry["reason"].as_str().unwrap()
            )
        })
        .collect()
}

/// Effects in words.
pub(super) fn told(plan: &Plan) -> Vec<String> {
    plan.effects
        .iter()
        .map(|effect| match effect {
            Effect::Apply { object, .. } if object.kind() == "ApplicationInstance" => {
                if object.0["metadata"]["finalizers"].is_array() {
                    "finalizer".into()
                } else {
                    "finalizer off".into()
                }
            }
            Effect::Apply { object, force, .. } => {
                assert!(!force, "children are never forced");
                format!("apply {}", object.kind())
            }
            Effect::Create(object) => format!("create {}", object.kind()),
            Effect::Patch { key, merge, .. } if key.kind.kind == "ApplicationInstance" => {
                assert!(merge["metadata"]["resourceVersion"].is_string(), "{merge}");
                "finalizer off".into()
            }
            Effect::Patch { key, .. } => format!("patch {}", key.kind.kind),
            Effect::PatchStatus { version, .. } => {
                assert!(version.is_some(), "a status write insists on the version it is based on");
                "status".into()
            }
            Effect::Delete { key, only_if, .. } => {
                assert!(only_if.uid.is_some(), "a delete carries a uid");
                format!("delete {} {}", key.kind.kind, key.name)
            }
            Effect::Update(object) => format!("update {}", object.name()),
            Effect::Call(call) => call.name().to_string(),
            Effect::Emit(object) => format!("event {}", object.0["reason"].as_str().unwrap()),
            other => panic!("no effect of an instance: {other:?}"),
        })
        .collect()
}

pub(super) const fn seconds(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

/// RFC 7386.
fn merge(into: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (name, value) in patch {
        if value.is_null() {
            into.as_object_mut().unwrap().remove(name);
        } else {
            merge(&mut into[name], value);
        }
    }
}
