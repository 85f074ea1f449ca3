//! An instance that wants a release: render it, see what stands in the way, write what is missing, say how it is.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::decide::{add_finalizer, give_back};
use super::intent::{Intent, expected, helm, intent, noted, restore, writes};
use super::nudge::{nudge, rest_wake};
use super::obstacle::{Block, MISSING, obstacle};
use super::status::{conditions, effects};
use super::table::Situation;
use super::write::{apply, repairs, rewrites, superseded, wants_apply};
use super::{Look, Ownership, Snapshot, deletion, external, held, orphaning, ownership, paused};
use crate::api::condition::{Reason, find};
use crate::cluster_api::Object;
use crate::engine::{Child, Children, Expected, Progress, Reading, Role, Wish};
use crate::policy::Refusal;
use crate::reconcile::{Effect, Plan};

/// The change itself wakes the next pass; this is for a patch that turns out to change nothing.
const SOON: Duration = Duration::from_secs(1);

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
    // An apply insists on the version that was read, so what is patched above is applied by the next pass.
    let patched =
        |child: &Child| planned.iter().any(|effect| matches!(effect, Effect::Patch { key, .. } if *key == child.key));
    let (later, due): (Vec<&Child>, Vec<&Child>) = missing.into_iter().partition(|child| patched(child));
    if !later.is_empty() {
        wakes.push(Some(SOON));
    }
    planned.extend(due.into_iter().map(|child| apply(snapshot, child)));
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

fn why(reading: &Reading, block: Option<&Block>, release_missing: bool) -> String {
    match block {
        Some(block) => format!("blocked: {}", block.message),
        None if release_missing => "the release is written".into(),
        None => format!("{:?}", reading.progress),
    }
}
