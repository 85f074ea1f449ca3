//! Jobs: issue, delivery, acknowledgement, status, result (contract §17.2 to §17.5).

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use operator::protocol::job::{Job, Outcome, ResultBody, StatusBody};
use serde_json::Value;

use super::answer::{Answer, Refusal, refuse};
use super::audit::{self, Line};
use super::tables::{Delivery, JobRow, JobState, ResultRow, State, StatusRow};

/// Longest `error` of a result in bytes (contract §17.5).
const ERROR_MAX: usize = 1024;
/// Phases of a status (contract §17.4).
const PHASES: [&str; 7] = ["Pending", "Blocked", "Reconciling", "Running", "Ready", "Deleting", "Failed"];

impl State {
    pub(super) fn job_id(&mut self) -> String {
        format!("j-{:04}", self.entropy.next("job"))
    }

    /// The next number of an object's idempotency key.
    fn number(&mut self, object: &str) -> u64 {
        let number = self.numbers.entry(object.into()).or_default();
        *number += 1;
        *number
    }

    pub(super) fn apply_job(&mut self, manifest: Value) -> Job {
        let key = self.key(&manifest, &manifest["metadata"]);
        Job { kind: "apply".into(), payload: Some(manifest), idempotency_key: Some(key), ..Job::default() }
    }

    pub(super) fn delete_job(&mut self, object: Value) -> Job {
        let key = format!("delete-{}", self.key(&object, &object));
        Job { kind: "delete".into(), payload: Some(object), idempotency_key: Some(key), ..Job::default() }
    }

    pub(super) fn intent_job(&mut self, payload: Value) -> Job {
        let name = payload["intent"].as_str().unwrap_or("intent").to_string();
        let key = format!("intent/{name}@{}", self.number(&format!("intent/{name}")));
        Job { kind: "intent".into(), payload: Some(payload), idempotency_key: Some(key), ..Job::default() }
    }

    fn key(&mut self, object: &Value, metadata: &Value) -> String {
        let text = |value: &Value| value.as_str().unwrap_or("_").to_string();
        let object = format!(
            "{}/{}/{}",
            text(&object["kind"]).to_lowercase(),
            text(&metadata["namespace"]),
            text(&metadata["name"])
        );
        format!("{object}@{}", self.number(&object))
    }

    pub(super) fn enqueue(&mut self, cluster: &str, wire: Value, now: Timestamp) -> String {
        let number = self.entropy.next("order");
        let given = wire["id"].as_str().filter(|id| !id.is_empty()).map(str::to_string);
        let id = given.unwrap_or_else(|| format!("unnamed-{number}"));
        self.audit.push(Line::of_odoo(now, cluster, &format!("Job {id} issued: {}", audit::job(&wire))));
        let mut row = JobRow {
            id: id.clone(),
            cluster: cluster.into(),
            number,
            wire,
            issued: now,
            deliveries: Vec::new(),
            again: false,
            acks: Vec::new(),
            statuses: Vec::new(),
            result: None,
            repeats: 0,
            clashes: 0,
        };
        self.ghosts.retain(|ghost| ghost.until > now);
        if self.dials.hold_back == 0
            && let Some(at) = self.ghosts.iter().position(|ghost| ghost.cluster == cluster)
        {
            self.ghosts.remove(at);
            row.deliveries.push(Delivery { at: now, ghost: true });
        }
        self.jobs.insert(id.clone(), row);
        id
    }

    /// What a poll gets now, and when there will be more.
    pub(super) fn deliver(&mut self, cluster: &str, now: Timestamp) -> (Vec<Value>, Option<Timestamp>) {
        let dials = self.dials.clone();
        let after = |at: Timestamp, seconds: u64| {
            at.checked_add(SignedDuration::from_secs(seconds.min(i64::MAX as u64) as i64)).unwrap_or(Timestamp::MAX)
        };
        let due = |row: &JobRow| match row.deliveries.last() {
            _ if row.again => Some(now),
            _ if row.state() > JobState::Delivered => None,
            None => Some(after(row.issued, dials.hold_back)),
            Some(last) => dials.redeliver_after.map(|wait| after(last.at, wait)),
        };
        let mine = self.jobs.values_mut().filter(|row| row.cluster == cluster);
        let mut waiting: Vec<(Timestamp, &mut JobRow)> = mine.filter_map(|row| Some((due(row)?, row))).collect();
        waiting.sort_by_key(|(_, row)| row.number);
        if dials.newest_first {
            waiting.reverse();
        }
        let next = waiting.iter().map(|(due, _)| *due).filter(|due| *due > now).min();
        let mut jobs = Vec::new();
        let ready = waiting.into_iter().filter(|(due, _)| *due <= now).map(|(_, row)| row);
        for row in ready.take(dials.jobs_per_answer) {
            row.again = dials.deliver_twice && row.deliveries.is_empty();
            row.deliveries.push(Delivery { at: now, ghost: false });
            jobs.push(row.wire.clone());
            if dials.double_in_answer {
                jobs.push(row.wire.clone());
            }
        }
        (jobs, next)
    }

    fn open(&mut self, cluster: &str, job: &str) -> Result<&mut JobRow, Refusal> {
        let row = self.jobs.get_mut(job).ok_or_else(|| refuse(404, "UnknownJob", "there is no such job"))?;
        if row.cluster != cluster {
            return Err(refuse(403, "OtherCluster", "this job belongs to another cluster"));
        }
        Ok(row)
    }

    pub(super) fn acknowledge(&mut self, cluster: &str, job: &str, now: Timestamp) -> Result<Answer, Refusal> {
        let row = self.open(cluster, job)?;
        if row.result.is_some() {
            return Err(refuse(409, "JobClosed", "this job has its result"));
        }
        row.acks.push(now);
        Ok(Answer::Done)
    }

    pub(super) fn status(&mut self, cluster: &str, job: &str, body: &Bytes, now: Timestamp) -> Result<Answer, Refusal> {
        let row = self.open(cluster, job)?;
        let invalid = |why: String| refuse(422, "InvalidStatus", why);
        let body: StatusBody = serde_json::from_slice(body).map_err(|error| invalid(error.to_string()))?;
        if !PHASES.contains(&body.phase.as_str()) {
            return Err(invalid(format!("there is no phase {:?}", body.phase)));
        }
        if body.timestamp.parse::<Timestamp>().is_err() {
            return Err(invalid("timestamp is not RFC 3339".into()));
        }
        if row.result.is_some() {
            return Err(refuse(409, "JobClosed", "this job has its result"));
        }
        if row.statuses.last().is_some_and(|last| last.body.sequence >= body.sequence) {
            return Err(refuse(409, "StaleSequence", "a status with this sequence or a later one is known"));
        }
        row.statuses.push(StatusRow { at: now, body });
        Ok(Answer::Done)
    }

    pub(super) fn result(
        &mut self,
        cluster: &str,
        job: &str,
        bytes: &Bytes,
        now: Timestamp,
    ) -> Result<Answer, Refusal> {
        let repeatable = self.dials.accepts_repeated_result;
        let row = self.open(cluster, job)?;
        if let Some(known) = &row.result {
            if known.bytes == bytes {
                row.repeats += 1;
                if repeatable {
                    return Ok(Answer::Done);
                }
            } else {
                row.clashes += 1;
            }
            return Err(refuse(409, "JobClosed", "this job has its result"));
        }
        let invalid = |why: &str| refuse(422, "InvalidResult", why);
        let body: ResultBody = serde_json::from_slice(bytes).map_err(|error| invalid(&error.to_string()))?;
        let error = body.error.as_deref();
        if matches!(body.outcome, Outcome::Failed | Outcome::Conflict) && error.is_none_or(str::is_empty) {
            return Err(invalid("this outcome needs an error"));
        }
        if body.outcome == Outcome::Succeeded && error.is_some() {
            return Err(invalid("a job that succeeded has no error"));
        }
        if error.is_some_and(|error| error.len() > ERROR_MAX) {
            return Err(invalid("error is longer than 1 KiB"));
        }
        if body.timestamp.parse::<Timestamp>().is_err() {
            return Err(invalid("timestamp is not RFC 3339"));
        }
        let line = Line::of_result(now, row, &body);
        row.result = Some(ResultRow { at: now, bytes: bytes.clone(), body });
        self.audit.push(line);
        Ok(Answer::Done)
    }
}
