//! The tables: what the control plane holds.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use operator::protocol::event::{Event, ResourceRef};
use operator::protocol::job::{ResultBody, StatusBody};
use serde_json::Value;

use super::audit::Line;
use super::dials::{Dials, Endpoint};
use super::entropy::Entropy;

/// Everything behind the handle.
#[derive(Clone, Debug)]
pub struct State {
    /// How it behaves.
    pub dials: Dials,
    /// By cluster id.
    pub clusters: BTreeMap<String, ClusterRow>,
    /// By token.
    pub tokens: BTreeMap<String, TokenRow>,
    /// By job id.
    pub jobs: BTreeMap<String, JobRow>,
    /// What Discuss shows, oldest first.
    pub audit: Vec<Line>,
    /// Every POST that reached it, oldest first: an observer's log, no restore takes it back. Heartbeats are counted only.
    pub posts: Vec<Post>,
    /// Requests by endpoint and status; status 0 is a connection that broke.
    pub counters: BTreeMap<(Endpoint, u16), u64>,
    /// JWK set that registrations and rotations hand out; none yet.
    pub signing_keys: Option<Value>,
    pub(super) ghosts: Vec<Ghost>,
    pub(super) entropy: Entropy,
    /// Numbers of idempotency keys by object.
    pub(super) numbers: BTreeMap<String, u64>,
}

/// A registration token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// The cluster that may register with it.
    pub cluster: String,
    /// When it was issued.
    pub issued: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// When it was used, and under which registration id.
    pub used: Option<(Timestamp, Option<String>)>,
    /// The credential it was exchanged for.
    pub credential: Option<String>,
}

/// What a cluster authenticates with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The bearer.
    pub token: String,
    /// When it was issued.
    pub issued: Timestamp,
    /// When it ends by itself.
    pub expires: Option<Timestamp>,
    /// The first and the last request it authenticated.
    pub used: Option<(Timestamp, Timestamp)>,
}

/// A cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterRow {
    /// Its id.
    pub id: String,
    /// As it named itself.
    pub display_name: Option<String>,
    /// As it said when it registered.
    pub operator_version: Option<String>,
    /// The same.
    pub mode: Option<String>,
    /// Its public JWK, if it sent one.
    pub public_key: Option<Value>,
    /// When it registered last.
    pub registered: Timestamp,
    /// How often it registered.
    pub registrations: u32,
    /// The newest credential; none once revoked or decommissioned.
    pub credential: Option<Credential>,
    /// The one before, and until when it is accepted.
    pub previous: Option<(Credential, Timestamp)>,
    /// The rotation id that made the newest credential.
    pub rotation: Option<String>,
    /// How often it rotated.
    pub rotations: u32,
    /// When its credentials were revoked.
    pub revoked: Option<Timestamp>,
    /// When it said goodbye.
    pub decommissioned: Option<Timestamp>,
    /// The last request that authenticated as it.
    pub last_seen: Option<Timestamp>,
    /// The last `ClusterHeartbeat`.
    pub last_heartbeat: Option<Timestamp>,
    /// How many.
    pub heartbeats: u64,
    /// The Cluster's conditions of the last heartbeat.
    pub conditions: Vec<Value>,
    /// Events by key.
    pub events: BTreeMap<String, EventRow>,
    /// Last known objects.
    pub view: BTreeMap<ObjectKey, ObjectView>,
}

/// An event that was accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRow {
    /// As it came first.
    pub event: Event,
    /// When.
    pub at: Timestamp,
    /// Counts over all accepted events of the cluster.
    pub order: u64,
    /// How often it came again.
    pub repeats: u32,
    /// How often the same key came with another content: never, from an honest sender.
    pub clashes: u32,
}

/// An object, however often it was re-created.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Kind.
    pub kind: String,
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl From<&ResourceRef> for ObjectKey {
    fn from(object: &ResourceRef) -> Self {
        Self {
            kind: object.kind.clone(),
            namespace: object.namespace.clone().unwrap_or_default(),
            name: object.name.clone(),
        }
    }
}

/// What is known of an object: from events alone, the last one wins.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObjectView {
    /// Which object, of which generation.
    pub object: ResourceRef,
    /// Conditions by type, as they came.
    pub conditions: BTreeMap<String, Value>,
    /// As they came.
    pub endpoints: Vec<Value>,
    /// `timestamp` of the last event.
    pub at: String,
}

impl ObjectView {
    /// The conditions as `Ready=T/HelmReleaseReady`, by type.
    pub fn says(&self) -> Vec<String> {
        let text = |condition: &Value, field: &str| condition[field].as_str().unwrap_or("?").to_string();
        let says = |(type_, condition): (&String, &Value)| {
            let status = text(condition, "status");
            format!("{type_}={}/{}", status.get(..1).unwrap_or("?"), text(condition, "reason"))
        };
        self.conditions.iter().map(says).collect()
    }
}

/// A job and all that was said of it.
#[derive(Clone, Debug, PartialEq)]
pub struct JobRow {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub cluster: String,
    /// Order of issue.
    pub number: u64,
    /// As it is sent.
    pub wire: Value,
    /// When it was issued.
    pub issued: Timestamp,
    /// Every time it was put into an answer.
    pub deliveries: Vec<Delivery>,
    /// To be delivered once more, whatever has become of it.
    pub again: bool,
    /// Every acknowledgement that was accepted.
    pub acks: Vec<Timestamp>,
    /// Every status that was accepted.
    pub statuses: Vec<StatusRow>,
    /// The one result that was accepted.
    pub result: Option<ResultRow>,
    /// Later results with the same bytes.
    pub repeats: u32,
    /// Later results with other bytes: never, from an honest sender.
    pub clashes: u32,
}

impl JobRow {
    /// How far it is.
    pub fn state(&self) -> JobState {
        match self {
            Self { result: Some(_), .. } => JobState::Closed,
            Self { acks, .. } if !acks.is_empty() => JobState::Acknowledged,
            Self { deliveries, .. } if !deliveries.is_empty() => JobState::Delivered,
            _ => JobState::Queued,
        }
    }
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum JobState {
    /// In the queue.
    Queued,
    /// In an answer, not acknowledged.
    Delivered,
    /// Acknowledged, without a result.
    Acknowledged,
    /// It has its result.
    Closed,
}

/// One time a job was put into an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// When.
    pub at: Timestamp,
    /// Into a poll whose client had gone away.
    pub ghost: bool,
}

/// A status of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusRow {
    /// When it came.
    pub at: Timestamp,
    /// What it said.
    pub body: StatusBody,
}

/// A result of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct ResultRow {
    /// When it came.
    pub at: Timestamp,
    /// As it came.
    pub bytes: Bytes,
    /// What it said.
    pub body: ResultBody,
}

/// A POST as it arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Post {
    /// When.
    pub at: Timestamp,
    /// Who sent it, as the transport names it.
    pub peer: String,
    /// For what.
    pub endpoint: Endpoint,
    /// The authenticated cluster.
    pub cluster: Option<String>,
    /// The job in its path.
    pub job: Option<String>,
    /// Its body; empty for registrations and rotations, which hold secrets.
    pub body: Bytes,
    /// Whether anything was committed.
    pub committed: bool,
    /// The answer; 0: the connection broke.
    pub status: u16,
}

/// A poll that nobody listens to any more, and until when the server still holds it.
#[derive(Clone, Debug)]
pub(super) struct Ghost {
    pub(super) cluster: String,
    pub(super) until: Timestamp,
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            dials: Dials::default(),
            clusters: BTreeMap::new(),
            tokens: BTreeMap::new(),
            jobs: BTreeMap::new(),
            audit: Vec::new(),
            posts: Vec::new(),
            counters: BTreeMap::new(),
            signing_keys: None,
            ghosts: Vec::new(),
            entropy: Entropy::new(seed),
            numbers: BTreeMap::new(),
        }
    }

    /// See [`super::Odoo::restore`].
    pub(super) fn restore(&mut self, mut earlier: State) {
        earlier.dials = self.dials.clone();
        earlier.counters = std::mem::take(&mut self.counters);
        earlier.posts = std::mem::take(&mut self.posts);
        earlier.entropy.beyond(&self.entropy);
        earlier.ghosts.clear();
        *self = earlier;
    }

    /// See [`super::Odoo::forget`].
    pub(super) fn forget(&mut self) {
        self.jobs.clear();
        self.audit.clear();
        self.ghosts.clear();
        for cluster in self.clusters.values_mut() {
            cluster.events.clear();
            cluster.view.clear();
            cluster.conditions.clear();
            cluster.last_heartbeat = None;
        }
    }

    /// How many requests an endpoint answered with this status.
    pub fn count(&self, endpoint: Endpoint, status: u16) -> u64 {
        self.counters.get(&(endpoint, status)).copied().unwrap_or_default()
    }

    /// How many requests an endpoint got.
    pub fn requests(&self, endpoint: Endpoint) -> u64 {
        self.counters.iter().filter(|((at, _), _)| *at == endpoint).map(|(_, count)| count).sum()
    }
}
