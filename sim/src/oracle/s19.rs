//! S19: Ready=True for a generation means that Flux deployed exactly that, after our write, and said so.
//!
//! `RolledBack` and `Placeholder` promise something else and are exempt. A Ready that stays as it was while a newer
//! generation is on its way is not a new claim; a new claim is a change of status, reason or observedGeneration.

use std::collections::BTreeMap;

use fakes::history::{Event, Record};
use serde_json::Value;

use super::Oracle;
use super::fields::{Specs, corresponds, proven_version};
use crate::truth::{
    INSTANCES, RELEASES, Truth, bare_version, condition, generation, is_operator, number, owner, text, uid,
};

/// S19.
#[derive(Default)]
pub(super) struct ReadyNeedsEvidence {
    specs: Specs,
    /// By release uid: versions Flux vouched for, by the release generation it did so at.
    proven: BTreeMap<String, Vec<(i64, String)>>,
    /// By instance uid and generation: the release generation at which our write first rendered it.
    written: BTreeMap<(String, i64), i64>,
}

impl ReadyNeedsEvidence {
    fn judge(&self, instance: &Value, claimed: i64, truth: &Truth) -> Result<(), String> {
        let who = text(instance, "/metadata/name");
        let Some(spec) = self.specs.at(uid(instance), claimed) else {
            return Err(format!("{who} is Ready at generation {claimed}, which was never stored"));
        };
        let namespace = text(instance, "/metadata/namespace");
        let Some(release) = truth.get(RELEASES, namespace, text(spec, "/release/name")) else {
            return Err(format!("{who} is Ready without a HelmRelease"));
        };
        let wanted = bare_version(text(spec, "/chart/version"));
        let since = self.written.get(&(uid(instance).to_owned(), claimed)).copied().unwrap_or_default();
        let proof = self.proven.get(uid(release)).is_some_and(|moments| {
            moments.iter().any(|(generation, version)| *generation >= since && version == wanted)
        });
        if proof {
            return Ok(());
        }
        Err(format!(
            "{who} is Ready at generation {claimed}, but Flux never vouched for {wanted} at release generation {since} or later"
        ))
    }
}

impl Oracle for ReadyNeedsEvidence {
    fn id(&self) -> &'static str {
        "S19"
    }

    fn promise(&self) -> &'static str {
        "Ready=True for a generation means that Flux deployed exactly that, after our write, and said so"
    }

    fn step(&mut self, record: &Record, truth: &Truth) -> Result<(), String> {
        let Event::Commit(commit) = &record.event else { return Ok(()) };
        self.specs.step(commit);
        let Some(after) = commit.after.as_deref() else { return Ok(()) };
        if commit.resource == RELEASES {
            if let Some(version) = proven_version(after) {
                let moments = self.proven.entry(uid(after).to_owned()).or_default();
                let moment = (generation(after), version.to_owned());
                if moments.last() != Some(&moment) {
                    moments.push(moment);
                }
            }
            if let Some(owner) = owner(after).filter(|_| is_operator(&record.actor)) {
                for (of, spec) in self.specs.of(owner) {
                    if corresponds(after, spec, truth) {
                        self.written.entry((owner.to_owned(), of)).or_insert(generation(after));
                    }
                }
            }
        }
        if commit.resource != INSTANCES || !is_operator(&record.actor) {
            return Ok(());
        }
        let Some(ready) = condition(after, "Ready").filter(|ready| ready["status"] == "True") else { return Ok(()) };
        let told = commit.before.as_deref().and_then(|before| condition(before, "Ready"));
        let same = |key: &str| told.is_some_and(|told| told[key] == ready[key]);
        let exempt = matches!(text(ready, "/reason"), "RolledBack" | "Placeholder");
        if exempt || (same("status") && same("reason") && same("observedGeneration")) {
            return Ok(());
        }
        self.judge(after, number(ready, "/observedGeneration"), truth)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::story::{OPERATOR, Story, deployed, instance, ready, release, source, with};
    use super::*;

    fn told() -> Story<ReadyNeedsEvidence> {
        Story::new().commit("user", &instance()).commit(OPERATOR, &source()).commit(OPERATOR, &release())
    }

    #[test]
    fn ready_before_flux_said_so_is_seen() {
        told().commit(OPERATOR, &ready()).breaks("never vouched");
    }

    #[test]
    fn evidence_from_before_our_write_is_seen() {
        let seven = json!({ "metadata": { "generation": 2 }, "spec": { "chart": { "version": "7.0.0" } } });
        let next = with(&source(), &json!({ "metadata": { "name": "s-7" }, "spec": { "ref": { "tag": "7.0.0" } } }));
        let moved = json!({ "metadata": { "generation": 2 }, "spec": { "chartRef": { "name": "s-7" } } });
        let mut claimed = with(&with(&ready(), &seven), &json!({ "status": { "observedGeneration": 2 } }));
        claimed["status"]["conditions"][0]["observedGeneration"] = json!(2);
        told()
            .commit("flux", &deployed())
            .commit(OPERATOR, &ready())
            .commit("user", &with(&ready(), &seven))
            .commit(OPERATOR, &next)
            .commit(OPERATOR, &with(&deployed(), &moved))
            .commit(OPERATOR, &claimed)
            .breaks("7.0.0 at release generation 2");
    }

    #[test]
    fn ready_after_flux_said_so_holds() {
        told().commit("flux", &deployed()).commit(OPERATOR, &ready()).holds();
    }
}
