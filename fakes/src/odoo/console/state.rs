//! What the page shows, as one JSON document. Credentials are not in it, registration tokens only by their beginning.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::dials::{Endpoint, Face};
use super::super::tables::{ClusterRow, JobRow, JobState, ObjectKey, ObjectView, State};
use super::super::{Odoo, audit};

/// Most jobs and lines of the timeline, the newest.
const MOST: usize = 200;

/// After so many seconds without a sign of life a cluster is late, then gone (contract §21: 90 s and 5 min).
const LATE: i64 = 90;
const GONE: i64 = 300;

impl Odoo {
    pub(super) fn shown(&self) -> Value {
        let now = self.now();
        self.look(|state| state.shown(now))
    }
}

impl State {
    fn shown(&self, now: Timestamp) -> Value {
        let polls = Endpoint::ALL.map(|endpoint| (endpoint.name(), self.requests(endpoint)));
        let requests: serde_json::Map<String, Value> =
            polls.into_iter().map(|(name, count)| (name.to_string(), count.into())).collect();
        let mut jobs: Vec<&JobRow> = self.jobs.values().collect();
        jobs.sort_by_key(|job| std::cmp::Reverse(job.number));
        let waiting = self.tokens.iter().filter(|(_, token)| token.used.is_none());
        let tokens = waiting.map(|(text, token)| {
            let start: String = text.chars().take(18).collect();
            json!({"start": start, "cluster": token.cluster, "issued": token.issued, "expires": token.expires, "expired": token.expires <= now})
        });
        let clusters: Vec<Value> = self.clusters.values().map(|cluster| self::cluster(cluster, now)).collect();
        let views = self.clusters.values().flat_map(|row| row.view.iter().map(move |(key, view)| (row, key, view)));
        let objects: Vec<Value> = views.map(|(row, key, view)| object(row, key, view)).collect();
        let lines = self.audit.iter().enumerate().rev().take(MOST);
        let audit: Vec<Value> = lines.map(|(number, line)| numbered(number, line)).collect();
        json!({
            "now": now,
            "down": self.dials.face == Face::Down,
            "face": self.dials.face,
            "requests": requests,
            "clusters": clusters,
            "tokens": tokens.collect::<Vec<_>>(),
            "jobs": jobs.iter().take(MOST).map(|row| job(row)).collect::<Vec<_>>(),
            "moreJobs": jobs.len().saturating_sub(MOST),
            "objects": objects,
            "audit": audit,
            "moreAudit": self.audit.len().saturating_sub(MOST),
        })
    }
}

/// A line with its place in the timeline, by which the page knows it.
fn numbered(number: usize, line: &audit::Line) -> Value {
    let mut line = serde_json::to_value(line).unwrap_or_default();
    line["number"] = number.into();
    line
}

/// Connectivity as Odoo can know it: from what it heard, and when.
fn phase(cluster: &ClusterRow, now: Timestamp) -> &'static str {
    if cluster.decommissioned.is_some() {
        return "Decommissioned";
    }
    if cluster.revoked.is_some() {
        return "Revoked";
    }
    let heard = cluster.last_seen.max(cluster.last_heartbeat).unwrap_or(cluster.registered);
    let silent = now.duration_since(heard).as_secs();
    if silent <= LATE {
        "Connected"
    } else if silent <= GONE {
        "Late"
    } else {
        "Disconnected"
    }
}

fn cluster(cluster: &ClusterRow, now: Timestamp) -> Value {
    json!({
        "id": cluster.id,
        "name": cluster.display_name,
        "phase": phase(cluster, now),
        "mode": cluster.mode,
        "operatorVersion": cluster.operator_version,
        "registered": cluster.registered,
        "registrations": cluster.registrations,
        "rotations": cluster.rotations,
        "lastSeen": cluster.last_seen,
        "lastHeartbeat": cluster.last_heartbeat,
        "heartbeats": cluster.heartbeats,
        "events": cluster.events.len(),
        "credentialExpires": cluster.credential.as_ref().and_then(|credential| credential.expires),
        "conditions": cluster.conditions,
    })
}

fn job(row: &JobRow) -> Value {
    let status = row
        .statuses
        .last()
        .map(|status| json!({"phase": status.body.phase, "message": status.body.message, "at": status.at}));
    let result = row.result.as_ref().map(|result| {
        json!({"outcome": result.body.outcome, "error": result.body.error, "at": result.at, "generation": result.body.applied_ref.as_ref().and_then(|object| object.generation)})
    });
    json!({
        "id": row.id,
        "cluster": row.cluster,
        "what": audit::job(&row.wire),
        "key": row.wire["idempotencyKey"],
        "state": row.state(),
        "open": row.state() != JobState::Closed,
        "issued": row.issued,
        "expires": row.wire["expiresAt"],
        "deliveries": row.deliveries.len(),
        "acknowledged": row.acks.first(),
        "status": status,
        "result": result,
        "repeats": row.repeats,
        "clashes": row.clashes,
    })
}

fn object(row: &ClusterRow, key: &ObjectKey, view: &ObjectView) -> Value {
    json!({
        "cluster": row.id,
        "apiVersion": view.object.api_version,
        "kind": key.kind,
        "namespace": key.namespace,
        "name": key.name,
        "generation": view.object.generation,
        "conditions": view.conditions.values().collect::<Vec<_>>(),
        "endpoints": view.endpoints.iter().filter_map(|endpoint| endpoint["url"].as_str()).collect::<Vec<_>>(),
        "at": view.at,
    })
}
