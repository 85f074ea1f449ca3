//! S16: each HelmRelease we write renders one stored generation of its instance, and that generation never falls.
//!
//! A release mixed from two specs, or rendered from a stale one after a newer one was rendered, is what users see as
//! "my change was undone".

use std::collections::BTreeMap;

use fakes::history::{Event, Record};

use super::Oracle;
use super::fields::{Specs, corresponds};
use crate::truth::{RELEASES, Truth, is_operator, owner};

/// S16.
#[derive(Default)]
pub(super) struct RendersOneGeneration {
    specs: Specs,
    rendered: BTreeMap<String, i64>,
}

impl Oracle for RendersOneGeneration {
    fn id(&self) -> &'static str {
        "S16"
    }

    fn promise(&self) -> &'static str {
        "each HelmRelease renders one stored generation of its instance, and that generation never falls"
    }

    fn step(&mut self, record: &Record, truth: &Truth) -> Result<(), String> {
        let Event::Commit(commit) = &record.event else { return Ok(()) };
        self.specs.step(commit);
        let Some(after) = &commit.after else { return Ok(()) };
        if commit.resource != RELEASES || !is_operator(&record.actor) {
            return Ok(());
        }
        let spec_changed = commit.before.as_ref().is_none_or(|before| before["spec"] != after["spec"]);
        let Some(owner) = owner(after).filter(|_| spec_changed) else { return Ok(()) };
        let last = self.rendered.get(owner).copied().unwrap_or_default();
        let rendered = self
            .specs
            .of(owner)
            .find(|(generation, spec)| *generation >= last && corresponds(after, spec, truth))
            .map(|(generation, _)| generation);
        match rendered {
            Some(generation) => {
                self.rendered.insert(owner.to_owned(), generation);
                Ok(())
            }
            None => Err(format!("HelmRelease {} renders no generation from {last} on", commit.name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::story::{OPERATOR, Story, instance, release, source, with};
    use super::*;

    fn told() -> Story<RendersOneGeneration> {
        Story::new().commit("user", &instance()).commit(OPERATOR, &source()).commit(OPERATOR, &release())
    }

    fn second() -> serde_json::Value {
        with(
            &instance(),
            &json!({ "metadata": { "generation": 2 }, "spec": { "values": { "inline": { "replicaCount": 3 } } } }),
        )
    }

    #[test]
    fn values_that_no_generation_holds_are_seen() {
        told()
            .commit(OPERATOR, &with(&release(), &json!({ "spec": { "values": { "replicaCount": 9 } } })))
            .breaks("renders no");
    }

    #[test]
    fn an_older_generation_after_a_newer_one_is_seen() {
        let newer = with(&release(), &json!({ "spec": { "values": { "replicaCount": 3 } } }));
        told().commit("user", &second()).commit(OPERATOR, &newer).commit(OPERATOR, &release()).breaks("from 2 on");
    }

    #[test]
    fn a_write_that_lags_one_generation_holds() {
        let extra = with(&release(), &json!({ "spec": { "interval": "5m0s" } }));
        told().commit("user", &second()).commit(OPERATOR, &extra).holds();
    }
}
