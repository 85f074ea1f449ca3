//! An instance that wants a release: what stands in the way, what is missing, and what its conditions say (contract §6.5).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::decide::{add_finalizer, give_back, suspension};
use super::intent::{
    HANDLED_RETRY, HANDLED_SECRET, Intent, expected, helm, intent, noted, restore, resume_token, retry_token,
    suspended_for, unfinished, values_reference, writes,
};
use super::status::{Findings, Says, conditions, effects};
use super::{Look, Ownership, Snapshot, deletion, external, held, observe, orphaning, ownership, paused};
use crate::api::condition::{Outlook, Reason, Status, find};
use crate::api::{annotation, names};
use crate::cluster_api::{Kind, Manager, Object, Preconditions, Propagation};
use crate::engine::flux::{CHART_NAME_CHANGE, suspended_by_others, suspended_by_us};
use crate::engine::{Child, Children, Expected, Progress, Reading, Role, Wish, values};
use crate::foreign::{fields, flux};
use crate::policy::gate::pod_security;
use crate::policy::{Class, Refusal};
use crate::reconcile::{Effect, Plan};

/// A missing reference is looked for this often (contract §6.3).
const MISSING: Duration = Duration::from_secs(30);
/// What other objects stand in the way of is looked at again this often.
const OTHERS: Duration = Duration::from_secs(60);
/// A reference of a release at rest is read again this often (contract §6.3).
const REFRESH: Duration = Duration::from_secs(5 * 60);
/// A failing source degrades the instance after this long (contract §6.5).
const SOURCE_GRACE: SignedDuration = SignedDuration::from_mins(5);
/// How long after an action's timeout a release may stand still before it is nudged (contract §6.4).
const STUCK_GRACE: SignedDuration = SignedDuration::from_mins(2);

/// What stands in the way.
#[derive(Clone, Debug, PartialEq)]
struct Block {
    reason: Reason,
    message: String,
    wake: Option<Duration>,
    /// Whether writing is tried nevertheless: only trying tells whether a refusal still holds.
    try_anyway: bool,
}

impl From<Refusal> for Block {
    fn from(refusal: Refusal) -> Self {
        let reason = match refusal.class {
            Class::Shape => Reason::ValidationFailed,
            Class::Policy => Reason::PolicyDenied,
            Class::Missing => Reason::MissingDependencies,
        };
        Self::new(reason, refusal.text())
    }
}

impl Block {
    fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), wake: None, try_anyway: false }
    }
}

pub(super) fn plan(snapshot: &Snapshot, instance: &Object, now: Timestamp) -> Plan {
    let intent = intent(instance, &snapshot.settings);
    let rendered = rendered(snapshot, &intent);
    let (children, wish): (&[Child], Option<&Wish>) = match &rendered {
        Ok((wish, children)) => (children, Some(wish)),
        Err(_) => (&[], None),
    };
    let block = match &rendered {
        Err(refusal) => Some(Block::from(refusal.clone())),
        Ok((wish, children)) if writes(instance) => obstacle(snapshot, instance, wish, children),
        Ok(_) => None,
    };
    let block = block.or_else(|| {
        let refused = snapshot.refused.as_ref()?;
        let message = format!("the API server refuses what this needs: {refused}");
        Some(Block { try_anyway: true, ..Block::new(Reason::PolicyDenied, message) })
    });
    let free = block.as_ref().is_none_or(|block| block.try_anyway) && writes(instance);
    // What is not written is not what runs: then the release is measured against what was written last.
    let written = (block.is_none() && writes(instance)) || external(instance);
    let expected = expected(instance, Some(&intent).filter(|_| written), &snapshot.settings);
    let reading = reading(snapshot, instance, &expected);

    let mut planned = Vec::new();
    let mut wakes = vec![block.as_ref().and_then(|block| block.wake)];
    let missing: Vec<&Child> =
        if free { children.iter().filter(|child| wants_apply(snapshot, child)).collect() } else { Vec::new() };
    let first = free && !held(instance);
    if first {
        planned.push(add_finalizer(instance));
    }
    if free {
        planned.extend(repairs(snapshot, instance));
    } else if !paused(instance) && restore(snapshot).is_none() {
        // Our suspension ends with the restore, whatever else stands in the way (contract §6.6).
        planned.extend(give_back(snapshot));
    }
    let release_missing = missing.iter().any(|child| child.role == Role::Release && rewrites(snapshot, child));
    if let Some(wish) = wish {
        if free {
            // Before the applies that note them as made: cut apart, they are made again with the same token.
            let (nudge, wake) = nudge(snapshot, instance, wish, &reading, release_missing, now);
            planned.extend(nudge);
            wakes.push(wake);
        }
        wakes.push(rest_wake(wish, &reading));
    }
    planned.extend(missing.iter().map(|child| apply(snapshot, child)));
    if free && !release_missing {
        planned.extend(superseded(snapshot, children, &reading));
    }
    if paused(instance) || orphaning(instance) || external(instance) {
        planned.extend(deletion::detach(snapshot, instance));
    }
    let situation =
        Situation { snapshot, instance, wish, reading: &reading, block: block.as_ref(), release_missing, now };
    let (findings, wake) = situation.findings();
    wakes.push(wake);
    if external(instance) {
        wakes.push(Some(MISSING));
    }
    let why = why(&reading, block.as_ref(), release_missing);
    let status = effects(snapshot, findings, now);
    match block {
        // What the server refuses is told before it is tried again, because a failed write ends the pass.
        Some(Block { try_anyway: true, .. }) => drop(planned.splice(0..0, status)),
        // The finalizer moves the version that a status write insists on; the next pass tells.
        _ if first => {}
        _ => planned.extend(status),
    }
    Plan { effects: planned, wake: wakes.into_iter().flatten().min(), why }
}

fn rendered(snapshot: &Snapshot, intent: &Intent) -> Result<(Wish, Vec<Child>), Refusal> {
    let wish = match intent {
        Intent::Managed(wish) => noted((**wish).clone(), snapshot),
        Intent::Refused(refusal) => return Err(refusal.clone()),
        Intent::Placeholder => {
            return Err(Refusal::shape(
                "spec.mode cannot become placeholder while a release exists; write managed, or delete this object and create a placeholder",
            ));
        }
    };
    let children = helm(&snapshot.settings)?.render(&wish, &snapshot.settings.caps)?;
    Ok((wish, children))
}

fn reading(snapshot: &Snapshot, instance: &Object, expected: &Expected) -> Reading {
    let ours = external(instance)
        || snapshot
            .release
            .found()
            .is_some_and(|release| ownership(release, instance, &snapshot.rivals) != Ownership::Foreign);
    let children = Children {
        release: snapshot.release.found().filter(|_| ours),
        source: snapshot.source.found(),
        chart: snapshot.chart.as_ref(),
        source_read: snapshot.source != Look::NotRead,
    };
    let engine: &dyn crate::engine::Engine = &crate::engine::flux::Flux;
    let mut reading = engine.interpret(expected, children);
    // Flux forgets its history when somebody upgraded by hand; that this release ran is in our own status still.
    if !reading.deployed && children.release.is_some_and(|release| ran(instance, release)) {
        reading.deployed = true;
        if reading.progress == Progress::Installing {
            reading.progress = Progress::Upgrading;
        }
    }
    reading
}

/// Whether the last status said of this very HelmRelease that something of it runs.
fn ran(instance: &Object, release: &Object) -> bool {
    let same = release
        .uid()
        .is_some_and(|uid| instance.0.pointer("/status/engineRef/uid").and_then(Value::as_str) == Some(uid.0.as_str()));
    let stored = conditions(instance);
    let running = find(stored, "Ready")
        .is_some_and(|ready| ready["status"] == "True" || ready["reason"] == Reason::Upgrading.as_str());
    let upgrading = find(stored, "Reconciling")
        .is_some_and(|found| found["status"] == "True" && found["reason"] == Reason::HelmReleaseUpgrading.as_str());
    same && (running || upgrading)
}

/// The first thing that forbids to write children. It lies outside the instance, and nothing may tell us when it goes.
fn obstacle(snapshot: &Snapshot, instance: &Object, wish: &Wish, children: &[Child]) -> Option<Block> {
    let block = first_obstacle(snapshot, instance, wish, children)?;
    Some(Block { wake: block.wake.or(Some(OTHERS)), ..block })
}

fn first_obstacle(snapshot: &Snapshot, instance: &Object, wish: &Wish, children: &[Child]) -> Option<Block> {
    if snapshot.release == Look::Unserved || snapshot.source == Look::Unserved {
        return Some(Block::new(Reason::MissingDependencies, "the Flux API is not served at the moment"));
    }
    if let Some(release) = snapshot.release.found() {
        if ownership(release, instance, &snapshot.rivals) == Ownership::Foreign {
            let message = format!(
                "HelmRelease {} exists and belongs to someone else; use another release name, or remove it, or set {}: external",
                release.name(),
                annotation::HELMRELEASE_AUTHORITY
            );
            return Some(taken(snapshot, instance).unwrap_or_else(|| Block::new(Reason::PolicyDenied, message)));
        }
        if let Some(block) = chart_renamed(snapshot, release, wish) {
            return Some(block);
        }
    } else {
        if let Some(block) = taken(snapshot, instance) {
            return Some(block);
        }
        if let Some(Err(refusal)) = snapshot.namespace.as_ref().map(|found| pod_security(found, &snapshot.settings)) {
            return Some(refusal.into());
        }
        if snapshot.definition_ready == Some(false) {
            let message = "the HelmRelease API is being replaced; nothing is created again before it is back";
            return Some(Block { wake: Some(MISSING), ..Block::new(Reason::MissingDependencies, message) });
        }
    }
    if let Some(message) = missing_reference(snapshot, wish) {
        return Some(Block { wake: Some(MISSING), ..Block::new(Reason::MissingSecret, message) });
    }
    for child in children {
        let Some(live) = look(snapshot, child.role).found() else { continue };
        if child.role != Role::Release && ownership(live, instance, &snapshot.rivals) == Ownership::Foreign {
            let message =
                format!("{} {} exists and belongs to someone else; remove it", child.object.kind(), live.name());
            return Some(Block::new(Reason::PolicyDenied, message));
        }
        let conflicts = fields::conflicts(live, &child.object);
        if let Some((manager, path)) = conflicts.first().filter(|_| !live.deleting()) {
            let message = format!(
                "{} {}: field {path} is held by manager {manager} with another value; let go of it there",
                child.object.kind(),
                live.name()
            );
            return Some(Block::new(Reason::PolicyDenied, message));
        }
    }
    None
}

/// Whether another instance has the release name: the one whose release exists, else the older one.
fn taken(snapshot: &Snapshot, instance: &Object) -> Option<Block> {
    let owner = snapshot.release.found().and_then(|release| release.label(crate::api::label::INSTANCE_UID));
    let own = (observe::created(instance), instance.name().to_string());
    let rival = snapshot.rivals.iter().filter(|rival| rival.same_release).find(|rival| match owner {
        Some(owner) => rival.uid == owner,
        None => (rival.created.clone(), rival.name.clone()) < own,
    })?;
    let message =
        format!("ReleaseNameTaken: ApplicationInstance {} already has this release name; use another one", rival.name);
    Some(Block::new(Reason::ValidationFailed, message))
}

/// Flux uninstalls and reinstalls when the chart name changes, unless it can replace in place.
fn chart_renamed(snapshot: &Snapshot, release: &Object, wish: &Wish) -> Option<Block> {
    let kind = flux::helm_release(&snapshot.settings.caps)?;
    if snapshot.settings.caps.declares(&kind, CHART_NAME_CHANGE) {
        return None;
    }
    let history = flux::HelmRelease::read(release).history;
    let running = history
        .iter()
        .map(|release| release.chart_name.as_str())
        .find(|name| !name.is_empty())
        .or_else(|| snapshot.instance.as_ref()?.0.pointer("/status/lastAppliedChart/name")?.as_str())?;
    (running != wish.chart.name).then(|| {
        let message = "spec.chart.name cannot change while a release exists: the installed Flux would uninstall it; write the old name, or create another instance";
        Block::new(Reason::ValidationFailed, message)
    })
}

fn missing_reference(snapshot: &Snapshot, wish: &Wish) -> Option<String> {
    if let (Some((_, kind, reference)), Some(found)) = (values_reference(wish), &snapshot.values) {
        match found {
            None => return Some(format!("{kind} {} with values does not exist", reference.name)),
            Some(found) if !found.has_key => {
                return Some(format!("{kind} {} has no key {}", reference.name, reference.key));
            }
            Some(_) => {}
        }
    }
    match (&wish.chart.secret_ref, &snapshot.chart_secret) {
        (Some(secret), Some(None)) => Some(format!("Secret {} with chart credentials does not exist", secret.name)),
        _ => None,
    }
}

fn look(snapshot: &Snapshot, role: Role) -> &Look {
    match role {
        Role::Source => &snapshot.source,
        Role::Values => &snapshot.generated,
        Role::Release => &snapshot.release,
    }
}

/// Whether a child must be applied. One that is being deleted is left alone until it is gone.
fn wants_apply(snapshot: &Snapshot, child: &Child) -> bool {
    match look(snapshot, child.role) {
        Look::Absent => true,
        Look::Found(live) => {
            // Letting go of a suspension that somebody else holds too, and of the note about one that is over: what is left
            // out stays or is extra, so nothing else tells the difference.
            let let_go = child.role == Role::Release
                && ((suspended_by_us(live)
                    && suspended_by_others(live)
                    && child.object.0.pointer("/spec/suspend").is_none())
                    || (suspended_for(live).is_some() && suspended_for(&child.object).is_none()));
            !live.deleting() && (let_go || !fields::settled(live, &child.object))
        }
        Look::NotRead | Look::Unserved => false,
    }
}

/// Whether applying a release changes what it runs, and not only notes on it.
fn rewrites(snapshot: &Snapshot, child: &Child) -> bool {
    let Some(live) = snapshot.release.found() else { return true };
    let digest = |object: &Object| object.annotation(annotation::APPLIED_INTENT_HASH).map(String::from);
    let mut spec = child.object.0.get("spec").cloned().unwrap_or(Value::Null);
    if let Some(spec) = spec.as_object_mut() {
        spec.remove("suspend");
    }
    digest(live) != digest(&child.object) || !fields::covers(live.0.get("spec").unwrap_or(&Value::Null), &spec)
}

fn apply(snapshot: &Snapshot, child: &Child) -> Effect {
    let mut object = child.object.clone();
    // With its uid an apply can neither bring back an object that is gone nor take over one that took its name.
    if let Some(uid) = look(snapshot, child.role).found().and_then(Object::uid) {
        object.0["metadata"]["uid"] = json!(uid.0);
    }
    Effect::Apply { object, manager: Manager::Operator, force: false }
}

/// Corrections of `managedFields` without which an apply could not take back what an older agent wrote, or would fail.
fn repairs(snapshot: &Snapshot, instance: &Object) -> Vec<Effect> {
    let caps = &snapshot.settings.caps;
    let kinds: [(Option<Kind>, &Look); 2] =
        [(flux::helm_release(caps), &snapshot.release), (source_kind(snapshot), &snapshot.source)];
    kinds
        .into_iter()
        .filter_map(|(kind, look)| {
            let (kind, live) = (kind?, look.found()?);
            let served: Vec<String> = caps
                .versions
                .get(&format!("{}/{}", kind.group, kind.plural))?
                .iter()
                .map(|version| format!("{}/{version}", kind.group))
                .collect();
            let adopt = ownership(live, instance, &snapshot.rivals) == Ownership::Ours;
            let fields = fields::repaired(live, adopt, &served, &kind.api_version())?;
            let key = crate::cluster_api::Key::namespaced(&kind, live.namespace().unwrap_or_default(), live.name());
            let mut metadata = json!({ "managedFields": fields });
            if let Some(version) = live.version() {
                metadata["resourceVersion"] = json!(version.0);
            }
            Some(Effect::Patch { key, uid: live.uid()?, merge: json!({ "metadata": metadata }) })
        })
        .collect()
}

fn source_kind(snapshot: &Snapshot) -> Option<Kind> {
    match snapshot.source.found()?.kind() {
        "HelmRepository" => flux::helm_repository(&snapshot.settings.caps),
        _ => flux::oci_repository(&snapshot.settings.caps),
    }
}

/// Requests to Flux that are made once per cause, and when to think of them again.
fn nudge(
    snapshot: &Snapshot,
    instance: &Object,
    wish: &Wish,
    reading: &Reading,
    release_missing: bool,
    now: Timestamp,
) -> (Vec<Effect>, Option<Duration>) {
    let mut planned = Vec::new();
    if let (Some(source), Some(kind)) = (snapshot.source.found(), source_kind(snapshot))
        && let Some(token) = wish.notes.source.get(HANDLED_SECRET)
        && source.annotation(HANDLED_SECRET).is_some_and(|handled| handled != token)
    {
        planned.extend(request(&kind, source, token, &[flux::REQUESTED_AT]));
    }
    let (Some(release), Some(kind)) = (snapshot.release.found(), flux::helm_release(&snapshot.settings.caps)) else {
        return (planned, None);
    };
    if release.deleting() {
        return (planned, None);
    }
    if suspended_by_us(release) && restore(snapshot).is_none() {
        planned.extend(resumption(&kind, release, wish));
        return (planned, None);
    }
    if let Some(token) = resume_token(release).filter(|_| restore(snapshot).is_none() && unfinished(snapshot, release))
    {
        // Asked while somebody else suspends it, Flux would note the request and make no release.
        if !suspended_by_others(release) {
            planned.extend(request(&kind, release, &token, &[flux::REQUESTED_AT, flux::FORCE_AT]));
        }
        return (planned, None);
    }
    let failed = matches!(
        reading.progress,
        Progress::Retrying | Progress::RolledBack | Progress::UpgradeFailed | Progress::InstallFailed
    );
    if let Some(token) = retry_token(instance).filter(|_| failed)
        && release.annotation(HANDLED_RETRY) != Some(token.as_str())
    {
        planned.extend(request(&kind, release, &token, &[flux::REQUESTED_AT, flux::RESET_AT]));
        return (planned, None);
    }
    if let Some(token) = changed_values(snapshot, instance, wish).filter(|_| !release_missing) {
        planned.extend(request(&kind, release, &token, &[flux::REQUESTED_AT]));
        return (planned, None);
    }
    let Some(since) = reading.stuck_since else { return (planned, None) };
    let timeout = SignedDuration::from_secs(crate::engine::flux::timeout(&wish.helm.timeout).1);
    let due = since.saturating_add(timeout).and_then(|due| due.saturating_add(STUCK_GRACE)).unwrap_or(since);
    if due > now {
        return (planned, Some(due.duration_since(now).unsigned_abs()));
    }
    let uid = release.uid().map(|uid| uid.0).unwrap_or_default();
    let token = names::token("stuck", &[&uid, &release.generation().to_string(), &since.to_string()]);
    if release.annotation(flux::REQUESTED_AT) != Some(token.as_str()) {
        planned.extend(request(&kind, release, &token, &[flux::REQUESTED_AT]));
    }
    (planned, None)
}

/// A merge patch, never an apply: the flux command line writes the same annotations (contract §3.3).
fn request(kind: &Kind, object: &Object, token: &str, annotations: &[&str]) -> Option<Effect> {
    let key = crate::cluster_api::Key::namespaced(kind, object.namespace().unwrap_or_default(), object.name());
    let wanted: serde_json::Map<String, Value> =
        annotations.iter().map(|name| ((*name).to_string(), json!(token))).collect();
    if annotations.iter().all(|name| object.annotation(name) == Some(token)) {
        return None;
    }
    Some(Effect::Patch { key, uid: object.uid()?, merge: json!({ "metadata": { "annotations": wanted } }) })
}

/// The end of our suspension. Where we alone hold the field, one patch removes it and asks for a release. Where somebody
/// else holds it too, we let go by an apply without it, and theirs stays.
fn resumption(kind: &Kind, release: &Object, wish: &Wish) -> Vec<Effect> {
    let token = resume_token(release).unwrap_or_else(|| names::token("resume", &[&wish.uid]));
    let key = crate::cluster_api::Key::namespaced(kind, release.namespace().unwrap_or_default(), release.name());
    let Some(uid) = release.uid() else { return Vec::new() };
    let annotations = json!({ flux::REQUESTED_AT: token, flux::FORCE_AT: token });
    if !suspended_by_others(release) {
        let merge = json!({ "spec": { "suspend": null }, "metadata": { "annotations": annotations } });
        return vec![Effect::Patch { key, uid, merge }];
    }
    Vec::new()
}

/// The token of a values object that changed since it was last handed over.
fn changed_values(snapshot: &Snapshot, instance: &Object, wish: &Wish) -> Option<String> {
    let (_, kind, reference) = values_reference(wish)?;
    let found = snapshot.values.as_ref()?.as_ref()?;
    let told = instance.0.pointer("/status/valuesRevision")?;
    let same = told["kind"] == kind && told["name"] == reference.name.as_str();
    (same && told["resourceVersion"] != found.resource_version.as_str())
        .then(|| names::token("values", &[kind, &reference.name, &found.resource_version]))
}

/// Sources and generated ConfigMaps that the release no longer names, once it is there without them (contract §6.1).
fn superseded(snapshot: &Snapshot, children: &[Child], reading: &Reading) -> Vec<Effect> {
    if !matches!(reading.progress, Progress::Succeeded { .. }) {
        return Vec::new();
    }
    let wanted = |key: &crate::cluster_api::Key| {
        children.iter().any(|child| child.key.kind.kind == key.kind.kind && child.key.name == key.name)
    };
    let rest = snapshot.rest.iter().flatten();
    rest.filter(|(key, object)| !wanted(key) && !object.deleting())
        .filter_map(|(key, object)| {
            let only_if = Preconditions { uid: Some(object.uid()?), version: None };
            Some(Effect::Delete { key: key.clone(), only_if, how: Propagation::Background })
        })
        .collect()
}

/// When references of a release at rest are read again.
fn rest_wake(wish: &Wish, reading: &Reading) -> Option<Duration> {
    let refers = values_reference(wish).is_some() || wish.chart.secret_ref.is_some();
    if !refers {
        return None;
    }
    match reading.progress {
        Progress::SourceFailing { .. } => Some(MISSING),
        Progress::Absent | Progress::NoStatus | Progress::Installing | Progress::Upgrading => None,
        _ => Some(REFRESH),
    }
}

fn why(reading: &Reading, block: Option<&Block>, release_missing: bool) -> String {
    match block {
        Some(block) => format!("blocked: {}", block.message),
        None if release_missing => "the release is written".into(),
        None => format!("{:?}", reading.progress),
    }
}

/// Everything the conditions are made from.
struct Situation<'a> {
    snapshot: &'a Snapshot,
    instance: &'a Object,
    wish: Option<&'a Wish>,
    reading: &'a Reading,
    block: Option<&'a Block>,
    release_missing: bool,
    now: Timestamp,
}

impl Situation<'_> {
    fn findings(&self) -> (Findings, Option<Duration>) {
        let mut findings = Findings::nothing(self.generation());
        findings.suspended = Some(suspension(self.snapshot, self.instance));
        findings.blocked = Some(match self.block {
            Some(block) => (Status::True, block.reason, block.message.clone()),
            None => (Status::False, Reason::Unblocked, "nothing blocks".into()),
        });
        let wake = self.row(&mut findings);
        self.fields(&mut findings);
        (findings, wake)
    }

    /// The generation that the running release renders: conditions about it must not claim a newer one.
    fn generation(&self) -> i64 {
        let own = self.instance.generation();
        if external(self.instance) || (self.release_missing && self.block.is_none()) {
            return own;
        }
        let rendered = self
            .snapshot
            .release
            .found()
            .and_then(|release| release.annotation(annotation::LAST_APPLIED_GENERATION))
            .and_then(|text| text.parse::<i64>().ok());
        match (rendered, self.block) {
            (Some(rendered), _) => rendered.min(own),
            // A refusal is about the spec as it is now.
            (None, _) => own,
        }
    }

    /// One row of contract §6.5.
    fn row(&self, findings: &mut Findings) -> Option<Duration> {
        let reading = self.reading;
        let installing = if reading.deployed { Reason::HelmReleaseUpgrading } else { Reason::HelmReleaseInstalling };
        let busy = |reason: Reason, message: &str| Some((Status::True, reason, message.to_string()));
        let stable = || Some((Status::False, Reason::Stable, "nothing is going on".to_string()));
        let mut wake = None;
        if let Some(block) = self.block
            && !reading.deployed
            && (!block.try_anyway || reading.progress == Progress::Absent)
        {
            findings.generation = self.instance.generation();
            findings.outlook = match block.reason {
                Reason::MissingSecret => Outlook::WaitingForSecret,
                // There is a release, and it cannot be asked how it is.
                _ if self.unreadable() => Outlook::Unknown,
                _ => Outlook::Failed,
            };
            findings.message = block.message.clone();
            findings.reconciling = stable();
            return None;
        }
        if self.held_by_restore() {
            findings.outlook = Outlook::Unknown;
            findings.message = "a restore works on the data of this application".into();
            return None;
        }
        if self.release_missing && self.block.is_none() {
            return self.written(findings);
        }
        match &reading.progress {
            Progress::Installing | Progress::Upgrading if self.tried_again() => {}
            Progress::Absent => {
                // A kind that is not served says nothing about what runs.
                if !paused(self.instance) || self.snapshot.release != Look::Unserved {
                    findings.outlook = Outlook::Unknown;
                    findings.message = "there is no HelmRelease yet".into();
                }
            }
            Progress::NoStatus => {
                findings.outlook = Outlook::Unknown;
                findings.message = "Flux has not looked at the HelmRelease yet".into();
                findings.reconciling = busy(Reason::HelmReleaseInstalling, "waiting for Flux");
            }
            Progress::SourceFetching | Progress::Pending if reading.deployed => self.upcoming(findings),
            Progress::SourceFetching => {
                findings.outlook = Outlook::Installing;
                findings.message = INSTALLING.into();
                findings.reconciling = busy(Reason::ChartSourceSyncing, "the chart is being fetched");
            }
            Progress::SourceFailing { since } => {
                if !reading.deployed {
                    findings.outlook = Outlook::ChartUnreachable;
                    findings.message = reading.message.clone();
                }
                findings.reconciling =
                    busy(Reason::ChartSourceSyncing, "the chart cannot be fetched; Flux tries again");
                wake = self.unreachable(*since, &reading.message, findings);
            }
            Progress::Installing => {
                findings.outlook = Outlook::Installing;
                findings.message = INSTALLING.into();
                findings.reconciling = busy(Reason::HelmReleaseInstalling, INSTALLING);
            }
            Progress::Upgrading | Progress::Pending => {
                findings.outlook = Outlook::Upgrading;
                findings.message = UPGRADING.into();
                findings.reconciling = busy(Reason::HelmReleaseUpgrading, UPGRADING);
            }
            Progress::Succeeded { upgraded, warning } => {
                let overlap = self.overlap();
                let warning = warning.clone().or((!overlap.is_empty())
                    .then(|| format!("explicit values override integrations at {}", overlap.join(", "))));
                findings.outlook = match (&warning, upgraded) {
                    (Some(_), _) => Outlook::ReadyWithWarnings,
                    (None, true) => Outlook::Upgraded,
                    (None, false) => Outlook::Ready,
                };
                findings.message = warning.unwrap_or_else(|| reading.message.clone());
                findings.reconciling = stable();
                findings.degraded = Some((Status::False, Reason::Recovered, "nothing is wrong".into()));
                if let Some((since, message)) = &reading.source_failing {
                    findings.degraded = None;
                    wake = self.unreachable(*since, message, findings);
                }
            }
            Progress::Retrying => {
                findings.outlook = Outlook::Failed;
                findings.message = reading.message.clone();
                findings.reconciling = busy(installing, "Flux tries again");
                if self.was_ready() {
                    findings.degraded = Some((Status::True, Reason::HelmReleaseDegraded, reading.message.clone()));
                }
            }
            Progress::RolledBack => {
                findings.outlook = Outlook::RolledBack;
                findings.message = "the upgrade failed and the previous release runs again".into();
                findings.reconciling = stable();
                findings.degraded = Some((Status::True, Reason::HelmReleaseUpgradeFailed, reading.message.clone()));
            }
            Progress::UpgradeFailed => {
                findings.outlook = Outlook::Failed;
                findings.message = reading.message.clone();
                findings.reconciling = stable();
                findings.degraded = Some((Status::True, Reason::HelmReleaseUpgradeFailed, reading.message.clone()));
            }
            Progress::InstallFailed => {
                findings.outlook = Outlook::Failed;
                findings.message = reading.message.clone();
                findings.reconciling = stable();
                findings.degraded = Some((Status::True, Reason::HelmReleaseDegraded, reading.message.clone()));
            }
            Progress::Unchanged | Progress::Suspended => {}
            Progress::Deleting => {
                findings.outlook = Outlook::Unknown;
                findings.message =
                    "the HelmRelease is being deleted by someone else; it is created again afterwards".into();
                findings.reconciling = busy(Reason::HelmReleaseInstalling, "waiting for the old HelmRelease to go");
            }
        }
        if let Some(drift) = &reading.drift {
            findings.degraded = Some((Status::True, Reason::Drifted, drift.clone()));
        }
        wake
    }

    /// The release is being written in this pass: what its old status says is over.
    fn written(&self, findings: &mut Findings) -> Option<Duration> {
        if self.reading.deployed {
            self.upcoming(findings);
        } else {
            findings.outlook = Outlook::Unknown;
            findings.message = "Flux has not looked at the HelmRelease yet".into();
            findings.reconciling = Some((Status::True, Reason::HelmReleaseInstalling, "waiting for Flux".into()));
        }
        None
    }

    /// A newer release is on its way and has not begun. One that the user asked for shows at once; one that follows from a
    /// changed setting or a repaired source shows when the engine runs it, if it does.
    fn upcoming(&self, findings: &mut Findings) {
        if self.asked_for() {
            findings.outlook = Outlook::Upgrading;
            findings.message = UPGRADING.into();
            findings.reconciling = Some((Status::True, Reason::HelmReleaseUpgrading, UPGRADING.into()));
        }
    }

    /// Degraded once the source has failed for long enough. Flux moves its time with every new message, so our own record
    /// counts too.
    fn unreachable(&self, since: Option<Timestamp>, message: &str, findings: &mut Findings) -> Option<Duration> {
        let stored = conditions(self.instance);
        let already = find(stored, "Degraded")
            .is_some_and(|degraded| degraded["status"] == "True" && degraded["reason"] == "ChartUnreachable");
        let own = find(stored, "Reconciling")
            .filter(|old| old["status"] == "True" && old["reason"] == "ChartSourceSyncing")
            .and_then(|_| self.journal("Reconciling", "ChartSourceSyncing"))
            .filter(|_| find(stored, "Ready").is_none_or(|ready| ready["reason"] == "ChartUnreachable"));
        let since = [since, own].into_iter().flatten().min().unwrap_or(self.now);
        let due = since.saturating_add(SOURCE_GRACE).unwrap_or(self.now);
        if already || due <= self.now {
            let says: Says = (Status::True, Reason::ChartUnreachable, message.into());
            findings.degraded = Some(says);
            return None;
        }
        Some(due.duration_since(self.now).unsigned_abs())
    }

    /// When a condition last took this reason, by our own journal.
    fn journal(&self, type_: &str, reason: &str) -> Option<Timestamp> {
        let journal = self.instance.0.pointer("/status/transitions")?.as_array()?;
        let entry = journal.iter().rev().find(|entry| entry["type"] == type_)?;
        (entry["reason"] == reason).then(|| entry["time"].as_str()?.parse().ok()).flatten()
    }

    /// Whether the action that runs repeats one that failed: until it ends well, the failure stands, or every retry of an
    /// engine that never gives up would be two transitions.
    fn tried_again(&self) -> bool {
        let stored = conditions(self.instance);
        let (Some(ready), Some(reconciling)) = (find(stored, "Ready"), find(stored, "Reconciling")) else {
            return false;
        };
        ready["reason"] == "HelmReleaseFailed"
            && ready["observedGeneration"].as_i64() == Some(self.generation())
            && reconciling["status"] == "True"
    }

    /// Whether the user changed the spec since Ready was last true of it; a new rendering of ours alone upgrades nobody.
    fn asked_for(&self) -> bool {
        let ready = find(conditions(self.instance), "Ready").and_then(|ready| ready["observedGeneration"].as_i64());
        ready.is_none_or(|ready| ready < self.instance.generation())
    }

    /// Whether there was a release and its kind is not served now.
    fn unreadable(&self) -> bool {
        matches!(self.snapshot.release, Look::NotRead | Look::Unserved)
            && self.instance.0.pointer("/status/helmReleaseRef").is_some_and(Value::is_object)
    }

    fn was_ready(&self) -> bool {
        let stored = conditions(self.instance);
        let is = |type_: &str, status: &str| find(stored, type_).is_some_and(|found| found["status"] == status);
        let degraded = find(stored, "Degraded").is_some_and(|degraded| degraded["reason"] == "HelmReleaseDegraded");
        self.reading.deployed || is("Ready", "True") || (is("Degraded", "True") && degraded)
    }

    /// While a Restore holds the release, and until Flux has handled the request that ends the suspension, nobody knows what
    /// runs (contract §6.6).
    fn held_by_restore(&self) -> bool {
        let Some(release) = self.snapshot.release.found() else { return false };
        if external(self.instance) {
            return false;
        }
        unfinished(self.snapshot, release)
    }

    fn overlap(&self) -> Vec<String> {
        let Some(wish) = self.wish else { return Vec::new() };
        let fragment = values::fragment(wish.integrations.as_ref(), &wish.helm);
        wish.values.inline.as_ref().map(|inline| values::overlap(&fragment, inline)).unwrap_or_default()
    }

    fn fields(&self, findings: &mut Findings) {
        let release = self.snapshot.release.found().filter(|release| {
            external(self.instance) || ownership(release, self.instance, &self.snapshot.rivals) != Ownership::Foreign
        });
        if let Some(release) = release {
            let (name, namespace) = (release.name(), release.namespace().unwrap_or_default());
            findings.fields.insert("helmReleaseRef", Some(json!({ "name": name, "namespace": namespace })));
            let engine = json!({
                "apiVersion": release.0["apiVersion"],
                "kind": "HelmRelease",
                "namespace": namespace,
                "name": name,
                "uid": release.uid().map(|uid| uid.0),
            });
            findings.fields.insert("engineRef", Some(engine));
        }
        let Some(wish) = self.wish else { return };
        let inline = wish.values.inline.as_ref();
        let endpoints = values::endpoints(wish.integrations.as_ref(), inline);
        findings.fields.insert("endpoints", (!endpoints.is_empty()).then(|| json!(endpoints)));
        let applied = self.block.is_none() && writes(self.instance) && (release.is_some() || self.release_missing);
        if !applied {
            return;
        }
        let chart = &wish.chart;
        let coordinates = json!({
            "sourceType": chart.source_type,
            "url": chart.url,
            "name": chart.name,
            "version": chart.version,
        });
        findings.fields.insert("lastAppliedChart", Some(coordinates));
        match (values_reference(wish), &self.snapshot.values) {
            (None, _) => drop(findings.fields.insert("valuesRevision", None)),
            (Some((_, kind, reference)), Some(Some(found))) => {
                let revision =
                    json!({ "kind": kind, "name": reference.name, "resourceVersion": found.resource_version });
                findings.fields.insert("valuesRevision", Some(revision));
            }
            (Some(_), _) => {}
        }
    }
}

const INSTALLING: &str = "the Helm release is being installed";
const UPGRADING: &str = "the Helm release is being upgraded";
