//! The table of contract §6.5: from what the release says to what the instance says.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::decide::suspension;
use super::intent::{unfinished, values_reference, writes};
use super::obstacle::Block;
use super::status::{Findings, Says, conditions};
use super::{Look, Ownership, Snapshot, external, ownership, paused};
use crate::api::annotation;
use crate::api::condition::{Outlook, Reason, Status, find};
use crate::cluster_api::Object;
use crate::engine::{Progress, Reading, Wish, values};

/// A failing source degrades the instance after this long (contract §6.5).
const SOURCE_GRACE: SignedDuration = SignedDuration::from_mins(5);

/// Everything the conditions are made from.
pub(super) struct Situation<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) instance: &'a Object,
    pub(super) wish: Option<&'a Wish>,
    pub(super) reading: &'a Reading,
    pub(super) block: Option<&'a Block>,
    pub(super) release_missing: bool,
    pub(super) now: Timestamp,
}

impl Situation<'_> {
    /// The findings, and when to look again although nothing changed.
    pub(super) fn findings(&self) -> (Findings, Option<Duration>) {
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
