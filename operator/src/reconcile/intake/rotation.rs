//! Intents that ask another loop for something. Only the cluster loop rotates, only the report loop sends snapshots; a job
//! asks for the one by a field of the active Cluster, for the other by a key of the event cursor, so the request survives
//! every process (contract §18.4).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::decide::Case;
use super::journal::{Entry, State};
use super::verdict::{Verdict, reference};
use super::work::Work;
use super::{Step, Then};
use crate::api::names;
use crate::cluster_api::{Key, Object};
use crate::foreign::string;
use crate::reconcile::connection::{Connection, cluster_kind};
use crate::reconcile::report::cursor;
use crate::reconcile::{Effect, Plan};

/// The credential is looked at this often while it is being rotated: it is read anew every ten seconds.
const LOOK: Duration = Duration::from_secs(10);
/// A rotation so long ago is not repeated on request (contract §14.1).
const RECENT: SignedDuration = SignedDuration::from_hours(24);

/// What is known of the credential, without the credential.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotation {
    /// The active Cluster.
    cluster: Option<Object>,
    /// When the credential was issued.
    issued: Option<Timestamp>,
    /// The one before it is still kept: the new one has not worked yet.
    unproven: bool,
}

impl Rotation {
    pub(super) fn of(connection: &Connection) -> Self {
        let credentials = connection.credentials.as_ref();
        Self {
            cluster: connection.cluster.clone(),
            issued: credentials.and_then(|found| found.issued_at.as_ref()?.parse().ok()),
            unproven: credentials.is_none_or(|found| found.previous.is_some()),
        }
    }

    fn asked(&self) -> bool {
        self.cluster
            .as_ref()
            .is_some_and(|cluster| cluster.0.pointer("/spec/rotateCredentials") == Some(&Value::Bool(true)))
    }

    fn rotated(&self) -> Option<Timestamp> {
        string(self.cluster.as_ref()?, "/status/credentialStatus/rotatedAt")?.parse().ok()
    }
}

fn patch(cluster: &Object, merge: Value) -> Option<Effect> {
    let key = Key::cluster(&cluster_kind(), cluster.name());
    Some(Effect::Patch { key, uid: cluster.uid()?, merge })
}

/// `rotate-operator-credentials`.
pub(super) fn start(case: &Case<'_>, mut entry: Entry) -> Step {
    let Some(rotation) = &case.snapshot.rotation else { return later(case, entry) };
    let Some(cluster) = &rotation.cluster else {
        return case.tell(entry, Verdict::failed("CredentialMissing", "there is no Cluster object"));
    };
    let recent = rotation.rotated().is_some_and(|rotated| case.now.duration_since(rotated) < RECENT);
    if recent && !rotation.asked() && !entry.tried {
        return case.tell(entry, Verdict::failed("PolicyDenied", "the credential was rotated within the last day"));
    }
    entry.tried = true;
    entry.state = State::Applied;
    entry.applied_ref = Some(reference(&Key::cluster(&cluster_kind(), cluster.name()), cluster));
    let mut effects = case.save(&entry);
    if !rotation.asked() {
        effects.extend(patch(cluster, json!({ "spec": { "rotateCredentials": true } })));
    }
    Step::new(entry, Plan { effects, wake: Some(LOOK), why: "a rotation is asked for".into() }, Then::Rest)
}

/// `resync-status`: done when the snapshot was acknowledged.
pub(super) fn resync(case: &Case<'_>, mut entry: Entry) -> Step {
    let Some(cursor) = &case.snapshot.cursor else { return later(case, entry) };
    let token = names::token("resync", &[&entry.job.id]);
    entry.tried = true;
    entry.state = State::Applied;
    let mut effects = case.save(&entry);
    if cursor.as_ref().and_then(cursor::requested) != Some(token.as_str()) {
        effects.push(cursor::request_snapshot(cursor.as_ref(), &case.snapshot.rules.places.operator, &token));
    }
    Step::new(entry, Plan { effects, wake: Some(LOOK), why: "a snapshot is asked for".into() }, Then::Rest)
}

fn resynced(case: &Case<'_>, entry: Entry) -> Step {
    let Some(cursor) = &case.snapshot.cursor else { return later(case, entry) };
    let token = names::token("resync", &[&entry.job.id]);
    let stored = cursor.as_ref();
    // A newer request has taken its place: the snapshot that follows serves both.
    let replaced = stored.and_then(cursor::requested).is_some_and(|asked| asked != token);
    if replaced || stored.is_some_and(|stored| cursor::served(stored, &token)) {
        return case.tell(entry, Verdict::succeeded());
    }
    if case.deadline(&entry).is_some_and(|deadline| deadline <= case.now) {
        return case.tell(entry, Verdict::failed("DeadlineExceeded", "the snapshot was not sent in time"));
    }
    let mut effects = case.save(&entry);
    if stored.and_then(cursor::requested).is_none() {
        effects.push(cursor::request_snapshot(stored, &case.snapshot.rules.places.operator, &token));
    }
    Step::new(entry, Plan { effects, wake: Some(LOOK), why: "waits for the snapshot".into() }, Then::Rest)
}

fn later(case: &Case<'_>, entry: Entry) -> Step {
    let plan = Plan { effects: case.save(&entry), wake: Some(LOOK), why: "the Cluster cannot be read".into() };
    Step::new(entry, plan, Then::Rest)
}

/// The result of a rotation waits until the new credential has worked once.
pub(super) fn watch(case: &Case<'_>, entry: Entry) -> Step {
    let snapshot = case.snapshot;
    if matches!(snapshot.task.as_ref().map(|task| &task.work), Ok(Work::Resync)) {
        return resynced(case, entry);
    }
    let since: Option<Timestamp> = entry.acked_at.as_ref().and_then(|time| time.parse().ok());
    let whole = |time: Timestamp| time.as_second();
    let Some(rotation) = &snapshot.rotation else { return later(case, entry) };
    let rotated = match (rotation.issued, since) {
        (Some(issued), Some(since)) => whole(issued) >= whole(since),
        _ => false,
    };
    if rotated && !rotation.unproven && !rotation.asked() {
        return case.tell(entry, Verdict::succeeded());
    }
    if case.deadline(&entry).is_some_and(|deadline| deadline <= case.now) {
        return case.tell(entry, Verdict::failed("DeadlineExceeded", "the credential was not rotated in time"));
    }
    let mut effects = case.save(&entry);
    if !rotated && !rotation.asked() {
        let cluster = rotation.cluster.as_ref();
        effects.extend(cluster.and_then(|cluster| patch(cluster, json!({ "spec": { "rotateCredentials": true } }))));
    }
    Step::new(entry, Plan { effects, wake: Some(LOOK), why: "waits for the new credential".into() }, Then::Rest)
}
