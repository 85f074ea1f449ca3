//! Snapshots for tests, and one way to say what a plan does.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Attempts, Given, Offered, Seen, Snapshot, Tried, decide, fingerprint};
use crate::api::cluster::ConnectivityMode;
use crate::api::secret::SecretText;
use crate::api::{ClusterSpec, finalizer};
use crate::cluster_api::{Key, Object};
use crate::policy::Settings;
use crate::protocol::Trouble;
use crate::reconcile::connection::{Connection, Credentials, SecretPlace};
use crate::reconcile::link::Standing;
use crate::reconcile::status::conditions;
use crate::reconcile::{Effect, Plan};

/// The time of every decision that does not say otherwise.
pub(super) const NOW: &str = "2026-01-10T12:00:00Z";
/// The registration token that is offered.
pub(super) const TOKEN: &str = "vwksp-reg-1";
/// A minute.
pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// A snapshot under construction, and what to decide with it.
#[derive(Clone)]
pub(super) struct Case {
    pub(super) snapshot: Snapshot,
    pub(super) now: Timestamp,
}

/// Fingerprint of [`TOKEN`].
pub(super) fn of() -> String {
    fingerprint(&SecretText::new(TOKEN))
}

impl Case {
    /// A Cluster with an endpoint and a token, nothing done yet but our finalizer.
    pub(super) fn new() -> Self {
        let cluster = Object(json!({
            "apiVersion": "ops.vworkspace.io/v1alpha1", "kind": "Cluster",
            "metadata": {"name": "cluster", "uid": "u-1", "generation": 1, "resourceVersion": "10",
                "creationTimestamp": "2026-01-01T00:00:00Z", "finalizers": [finalizer::CLUSTER],
                "managedFields": [{"manager": "vworkspace-operator", "operation": "Apply",
                    "fieldsV1": {"f:metadata": {"f:finalizers": {format!("v:\"{}\"", finalizer::CLUSTER): {}}}}}]},
            "spec": {"controlPlaneEndpoint": "https://cp.example.org",
                "registrationTokenSecretRef": {"name": "registration", "key": "registrationToken"}},
            "status": {"observedGeneration": -1},
        }));
        let connection = Connection {
            cluster: Some(cluster),
            endpoint: Some("https://cp.example.org".into()),
            ..Connection::default()
        };
        let given = Given {
            registration_id: "r".repeat(32),
            rotation_id: "o".repeat(32),
            heartbeat: Duration::from_secs(30),
            ..Given::default()
        };
        let snapshot = Snapshot {
            connection,
            spec: ClusterSpec::default(),
            offered: Offered::Token(SecretText::new(TOKEN)),
            seen: Seen::default(),
            attempts: Attempts::default(),
            given,
            place: SecretPlace { namespace: "system".into(), name: "credentials".into() },
            settings: Settings { reporter: "pod-0".into(), ..Settings::default() },
            stores: Vec::new(),
            survey: None,
            refused: false,
        };
        Self { snapshot, now: NOW.parse().unwrap() }.read()
    }

    /// The same, registered, in contact, and with everything said.
    pub(super) fn connected() -> Self {
        Self::new()
            .secret(&[
                ("token", "t1"),
                ("cluster-id", "c1"),
                ("registered-with", &of()),
                ("token-issued-at", "2026-01-09T12:00:00Z"),
                ("token-expires-at", "2026-02-09T12:00:00Z"),
            ])
            .cluster(|cluster| {
                cluster["spec"]["clusterId"] = json!("c1");
                cluster["status"]["observedToken"] = json!(of());
                cluster["status"]["lastHeartbeat"] = json!("2026-01-10T11:59:40Z");
                cluster["status"]["credentialStatus"] = json!({"registeredAt": "2026-01-09T12:00:00Z"});
            })
            .contact()
            .then()
            .cluster(|cluster| {
                let conditions = cluster["status"]["conditions"].as_array_mut().unwrap();
                conditions
                    .iter_mut()
                    .filter(|entry| entry["type"] == "Connected")
                    .for_each(|entry| entry["reason"] = json!("RoundTripOK"));
            })
    }

    fn read(mut self) -> Self {
        let connection = &mut self.snapshot.connection;
        let cluster = connection.cluster.as_ref().unwrap();
        self.snapshot.spec = serde_json::from_value(cluster.0["spec"].clone()).unwrap();
        connection.cluster_id =
            self.snapshot.spec.cluster_id.clone().or_else(|| connection.credentials.as_ref()?.cluster_id.clone());
        self
    }

    pub(super) fn cluster(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.snapshot.connection.cluster.as_mut().unwrap().0);
        self.read()
    }

    /// A new generation with this in its spec.
    pub(super) fn spec(self, field: &str, value: Value) -> Self {
        self.cluster(|cluster| {
            cluster["spec"][field] = value;
            cluster["metadata"]["generation"] = json!(cluster["metadata"]["generation"].as_i64().unwrap() + 1);
        })
    }

    pub(super) fn annotate(self, name: &str, value: &str) -> Self {
        self.cluster(|cluster| cluster["metadata"]["annotations"][name] = json!(value))
    }

    pub(super) fn mode(mut self, mode: ConnectivityMode, endpoint: bool) -> Self {
        self.snapshot.connection.mode = mode;
        if !endpoint {
            self.snapshot.connection.endpoint = None;
        }
        self
    }

    /// The credentials Secret.
    pub(super) fn secret(mut self, data: &[(&str, &str)]) -> Self {
        let data: Map<String, Value> =
            data.iter().map(|(key, value)| ((*key).to_string(), json!(STANDARD.encode(value)))).collect();
        let secret = json!({"metadata": {"uid": "s-1", "resourceVersion": "20", "creationTimestamp": "2026-01-01T00:00:00Z"}, "data": data});
        self.snapshot.connection.credentials = Some(Credentials::read(&Object(secret)));
        self.read()
    }

    /// The same Secret with some of it changed.
    pub(super) fn credentials(mut self, change: impl FnOnce(&mut Credentials)) -> Self {
        change(self.snapshot.connection.credentials.as_mut().unwrap());
        self.read()
    }

    pub(super) fn offered(mut self, offered: Offered) -> Self {
        self.snapshot.offered = offered;
        self
    }

    pub(super) fn seen(mut self, change: impl FnOnce(&mut Seen)) -> Self {
        change(&mut self.snapshot.seen);
        self
    }

    /// The other side answers.
    pub(super) fn contact(self) -> Self {
        self.seen(|seen| {
            seen.answered = Some(Duration::from_secs(1));
            seen.held = Some(10 * MINUTE);
            seen.standing = Standing::Accepted;
            seen.beaten = Some(Duration::from_secs(1));
            seen.told = true;
        })
    }

    /// The other side has been silent for so long.
    pub(super) fn silent(self, silent: Duration) -> Self {
        self.seen(|seen| {
            seen.answered = Some(silent);
            seen.silent = silent;
            seen.beaten = Some(Duration::from_secs(1));
            seen.trouble = Some(down());
        })
    }

    pub(super) fn registered(mut self, ended: Result<(), Trouble>, wait: Duration) -> Self {
        self.snapshot.attempts.registration = Some(Tried { of: of(), ended, unanswered: false, wait });
        self
    }

    pub(super) fn rotated(mut self, ended: Result<(), Trouble>, wait: Duration) -> Self {
        let of = fingerprint(self.snapshot.connection.token().unwrap());
        self.snapshot.attempts.rotation = Some(Tried { of, ended, unanswered: false, wait });
        self
    }

    pub(super) fn plan(&self) -> Plan {
        decide(&self.snapshot, self.now)
    }

    /// The snapshot after the plan's writes of the Cluster.
    pub(super) fn then(mut self) -> Self {
        for effect in self.plan().effects {
            let cluster = &mut self.snapshot.connection.cluster.as_mut().unwrap().0;
            match effect {
                Effect::PatchStatus { key, status, .. } if key.name == "cluster" => cluster["status"] = status,
                Effect::Patch { key, merge, .. } if key.kind.kind == "Cluster" => merged(cluster, &merge),
                _ => {}
            }
        }
        self.read()
    }

    /// One assertion for a whole decision: its effects in order, and what then stands. With the same snapshot a second look
    /// writes no status.
    #[track_caller]
    pub(super) fn check(&self, effects: &[&str], stands: &[&str]) -> Plan {
        let plan = self.plan();
        assert_eq!(told(&plan), effects, "{}", plan.why);
        let stored = self.clone().then();
        let said = stored.says();
        for condition in stands {
            assert!(said.iter().any(|text| text == condition), "{condition} is not among {said:?}");
        }
        let again = told(&stored.plan());
        let writes = plan.effects.iter().any(|effect| matches!(effect, Effect::PatchStatus { .. }));
        assert!(!writes || !again.contains(&"status".to_string()), "a second look writes again: {again:?}");
        plan
    }

    /// Phase and conditions, as `Connected=T/RoundTripOK`.
    pub(super) fn says(&self) -> Vec<String> {
        let cluster = self.snapshot.connection.cluster.as_ref().unwrap();
        let mut said: Vec<String> = conditions(cluster)
            .iter()
            .map(|entry| {
                let text = |field: &str| entry[field].as_str().unwrap_or("?").to_string();
                format!("{}={}/{}", text("type"), &text("status")[..1], text("reason"))
            })
            .collect();
        said.push(cluster.0["status"]["phase"].as_str().unwrap_or("no phase").into());
        said
    }

    pub(super) fn message(&self, type_: &str) -> String {
        let cluster = self.clone().then().snapshot.connection.cluster.unwrap();
        let entry = conditions(&cluster).iter().find(|entry| entry["type"] == type_).cloned().unwrap_or_default();
        entry["message"].as_str().unwrap_or_default().into()
    }
}

pub(super) fn down() -> Trouble {
    Trouble::Unreachable { why: "connection reset".into(), late: false }
}

fn merged(object: &mut Value, merge: &Value) {
    let Some(merge) = merge.as_object() else {
        *object = merge.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    for (key, value) in merge {
        if value.is_null() {
            object.as_object_mut().unwrap().remove(key);
        } else {
            merged(&mut object[key], value);
        }
    }
}

/// The leaves of a merge patch, `-` before what it removes.
fn leaves(merge: &Value, path: &str, found: &mut Vec<String>) {
    for (key, value) in merge.as_object().into_iter().flatten() {
        let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match value {
            Value::Object(map) if !map.is_empty() => leaves(value, &below, found),
            Value::Null => found.push(format!("-{below}")),
            _ => found.push(below),
        }
    }
}

fn patched(key: &Key, merge: &Value) -> String {
    let mut found = Vec::new();
    leaves(merge, "", &mut found);
    if key.kind.kind == "Secret" {
        let guarded = found.iter().position(|leaf| leaf == "metadata.resourceVersion");
        found.remove(guarded.expect("a write of the Secret insists on the version that was read"));
    }
    format!("patch {} {}", key.kind.kind, found.join(" "))
}

/// Effects in words.
pub(super) fn told(plan: &Plan) -> Vec<String> {
    plan.effects
        .iter()
        .map(|effect| match effect {
            Effect::Apply { object, force, .. } => {
                assert!(!force && object.kind() == "Cluster");
                let on = object.0["metadata"]["finalizers"].is_array();
                if on { "finalizer".into() } else { "finalizer off".into() }
            }
            Effect::Create(object) => format!("create {}", object.kind()),
            Effect::Patch { key, merge, .. } => patched(key, merge),
            Effect::PatchStatus { version, key, .. } => {
                assert!(version.is_some(), "a status write insists on the version it is based on");
                if key.name == "cluster" { "status".into() } else { format!("status of {}", key.name) }
            }
            Effect::Delete { key, only_if, .. } => {
                assert!(only_if.uid.is_some(), "a delete carries a uid");
                format!("delete {}", key.name)
            }
            Effect::Emit(object) => {
                assert_eq!(object.namespace(), Some("default"));
                format!("event {}", object.0["reason"].as_str().unwrap())
            }
            Effect::Call(call) if call.is_heartbeat() => "heartbeat".into(),
            Effect::Register(_) => "register".into(),
            Effect::Rotate(_) => "rotate".into(),
            Effect::Decommission => "decommission".into(),
            other => panic!("no effect of a Cluster: {other:?}"),
        })
        .collect()
}
