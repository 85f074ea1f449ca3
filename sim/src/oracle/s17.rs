//! S17: the chart version of a release goes down only if the user's own spec did.
//!
//! Written over consecutive committed states and checked under all faults: a database migrated upwards does not come back.

use fakes::history::{Event, Record};
use semver::Version;

use super::Oracle;
use super::fields::{Specs, asked_version};
use crate::truth::{OCI_REPOSITORIES, RELEASES, Truth, bare_version, is_operator, owner, text};

/// S17.
#[derive(Default)]
pub(super) struct VersionNeverFallsAlone {
    specs: Specs,
    /// Tag of every OCIRepository ever seen, by namespace and name: the old one may be gone when the release moves.
    tags: std::collections::BTreeMap<(String, String), String>,
}

impl VersionNeverFallsAlone {
    fn asked(&self, release: &serde_json::Value, truth: &Truth) -> Option<Version> {
        let key = (text(release, "/metadata/namespace").to_owned(), text(release, "/spec/chartRef/name").to_owned());
        let direct = asked_version(release, truth);
        let version = if direct.is_empty() { self.tags.get(&key)?.as_str() } else { direct };
        Version::parse(bare_version(&version.replace('_', "+"))).ok()
    }
}

impl Oracle for VersionNeverFallsAlone {
    fn id(&self) -> &'static str {
        "S17"
    }

    fn promise(&self) -> &'static str {
        "the chart version of a release goes down only if the spec of its instance did"
    }

    fn step(&mut self, record: &Record, truth: &Truth) -> Result<(), String> {
        let Event::Commit(commit) = &record.event else { return Ok(()) };
        self.specs.step(commit);
        let Some(after) = &commit.after else { return Ok(()) };
        if commit.resource == OCI_REPOSITORIES {
            let namespace = commit.namespace.clone().unwrap_or_default();
            self.tags.insert((namespace, commit.name.clone()), text(after, "/spec/ref/tag").to_owned());
        }
        let Some(before) = commit.before.as_ref().filter(|_| commit.resource == RELEASES && is_operator(&record.actor))
        else {
            return Ok(());
        };
        let (Some(old), Some(new)) = (self.asked(before, truth), self.asked(after, truth)) else { return Ok(()) };
        if new >= old {
            return Ok(());
        }
        let asked: Vec<Version> = self
            .specs
            .of(owner(after).unwrap_or_default())
            .filter_map(|(_, spec)| Version::parse(bare_version(text(spec, "/chart/version"))).ok())
            .collect();
        let lowered =
            asked.iter().enumerate().any(|(at, version)| *version == new && asked[..at].iter().any(|v| *v > new));
        if lowered {
            return Ok(());
        }
        Err(format!("HelmRelease {} went from {old} to {new}, which its instance never asked for", commit.name))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::story::{OPERATOR, Story, instance, release, source, with};
    use super::*;

    fn at(version: &str, generation: i64) -> serde_json::Value {
        with(
            &instance(),
            &json!({ "metadata": { "generation": generation }, "spec": { "chart": { "version": version } } }),
        )
    }

    fn upgraded() -> Story<VersionNeverFallsAlone> {
        let next = with(&source(), &json!({ "metadata": { "name": "s-7" }, "spec": { "ref": { "tag": "7.0.0" } } }));
        Story::new()
            .commit("user", &at("6.6.0", 1))
            .commit(OPERATOR, &source())
            .commit(OPERATOR, &release())
            .commit("user", &at("7.0.0", 2))
            .commit(OPERATOR, &next)
            .commit(OPERATOR, &with(&release(), &json!({ "spec": { "chartRef": { "name": "s-7" } } })))
    }

    #[test]
    fn falling_back_alone_is_seen() {
        upgraded().commit(OPERATOR, &release()).breaks("from 7.0.0 to 6.6.0");
    }

    #[test]
    fn following_the_user_down_holds() {
        upgraded().commit("user", &at("6.6.0", 3)).commit(OPERATOR, &release()).holds();
    }
}
