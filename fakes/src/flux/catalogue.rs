//! Registries and repositories: which charts exist, under which tags and digests, and who may fetch them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// One published chart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Chart {
    /// Name in Chart.yaml.
    pub name: String,
    /// Version in Chart.yaml, with build metadata as written.
    pub version: String,
    /// `appVersion` in Chart.yaml.
    pub app_version: String,
    /// What the chart deploys, as a marker that oracles compare.
    pub content: String,
    /// `sha256:…` of what the registry holds.
    pub digest: String,
}

impl Chart {
    /// A chart whose digest follows from everything else.
    pub fn new(name: &str, version: &str, content: &str) -> Self {
        let digest = digest(&[name, version, content]);
        Self {
            name: name.into(),
            version: version.into(),
            app_version: version.into(),
            content: content.into(),
            digest,
        }
    }
}

/// `sha256:` and the hash of the parts.
pub(crate) fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Why a fetch failed, in the words of the condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// What the registry said.
    pub(crate) text: String,
}

/// What is published where. `oci://…` addresses name one chart and its tags, HTTP addresses a whole index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Catalogue {
    /// Address without trailing slash → chart name → tag or version → chart.
    places: BTreeMap<String, BTreeMap<String, BTreeMap<String, Chart>>>,
    /// Addresses (and everything below them) that do not answer, with what the client sees.
    down: BTreeMap<String, String>,
    /// Addresses that ask for credentials.
    private: Vec<String>,
    /// Whether any well-formed chart that is asked for by exact version exists: for a cluster to play with.
    pub everything_exists: bool,
}

fn below(address: &str, prefix: &str) -> bool {
    address == prefix || address.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'))
}

/// `+` is not allowed in a tag; Helm writes `_`.
fn tag_of(version: &str) -> String {
    version.replace('+', "_")
}

impl Catalogue {
    /// Publishes a chart of this version: in an OCI registry at `<address>/<name>` (the name is not appended twice), in a
    /// HTTP repository in the index at `address`. The content marker names chart and version.
    pub fn publish(&mut self, address: &str, name: &str, version: &str) {
        self.publish_chart(address, Chart::new(name, version, &format!("{name} {version}")));
    }

    /// Publishes this very chart, replacing what was there under the same version: how a tag is moved.
    pub fn publish_chart(&mut self, address: &str, chart: Chart) {
        let address = address.trim_end_matches('/');
        let key = if address.starts_with("oci://") { tag_of(&chart.version) } else { chart.version.clone() };
        let place = match address.starts_with("oci://") && !address.ends_with(&format!("/{}", chart.name)) {
            true => format!("{address}/{}", chart.name),
            false => address.to_owned(),
        };
        self.places.entry(place).or_default().entry(chart.name.clone()).or_default().insert(key, chart);
    }

    /// Takes a version back.
    pub fn withdraw(&mut self, address: &str, name: &str, version: &str) {
        for (place, charts) in &mut self.places {
            if below(place, address.trim_end_matches('/'))
                && let Some(versions) = charts.get_mut(name)
            {
                versions.remove(version);
                versions.remove(&tag_of(version));
            }
        }
    }

    /// Everything below `address` stops answering with this text.
    pub fn take_down(&mut self, address: &str, text: &str) {
        self.down.insert(address.trim_end_matches('/').to_owned(), text.to_owned());
    }

    /// `address` answers again.
    pub fn bring_up(&mut self, address: &str) {
        self.down.remove(address.trim_end_matches('/'));
    }

    /// Everything answers again.
    pub fn bring_all_up(&mut self) {
        self.down.clear();
    }

    /// Everything below `address` asks for credentials from now on.
    pub fn make_private(&mut self, address: &str) {
        self.private.push(address.trim_end_matches('/').to_owned());
    }

    pub(crate) fn reach(&self, address: &str, credentials: bool) -> Result<(), Refused> {
        if let Some((_, text)) = self.down.iter().find(|(prefix, _)| below(address, prefix)) {
            return Err(Refused { text: text.clone() });
        }
        if !credentials && self.private.iter().any(|prefix| below(address, prefix)) {
            return Err(Refused { text: format!("GET {address}: UNAUTHORIZED: authentication required") });
        }
        Ok(())
    }

    /// The chart behind a tag of an OCI address.
    pub(crate) fn tag(&self, address: &str, tag: &str) -> Result<Chart, Refused> {
        let address = address.trim_end_matches('/');
        let found = self.places.get(address).and_then(|charts| charts.values().find_map(|tags| tags.get(tag)));
        if let Some(chart) = found {
            return Ok(chart.clone());
        }
        let version = tag.replace('_', "+");
        if self.everything_exists && semver::Version::parse(&version).is_ok() {
            let name = address.rsplit('/').next().unwrap_or_default();
            return Ok(Chart::new(name, &version, &format!("{name} {version}")));
        }
        Err(Refused {
            text: format!("GET {address}/manifests/{tag}: MANIFEST_UNKNOWN: manifest unknown; unknown tag={tag}"),
        })
    }

    /// The tags of an OCI address.
    pub(crate) fn tags(&self, address: &str) -> Vec<String> {
        let charts = self.places.get(address.trim_end_matches('/'));
        charts.into_iter().flat_map(BTreeMap::values).flat_map(BTreeMap::keys).cloned().collect()
    }

    /// The chart with this digest at an OCI address.
    pub(crate) fn by_digest(&self, address: &str, digest: &str) -> Result<Chart, Refused> {
        let charts = self.places.get(address.trim_end_matches('/'));
        let found = charts.into_iter().flat_map(BTreeMap::values).flat_map(BTreeMap::values);
        found.clone().find(|chart| chart.digest == digest).cloned().ok_or_else(|| Refused {
            text: format!("GET {address}/manifests/{digest}: MANIFEST_UNKNOWN: manifest unknown"),
        })
    }

    /// Whether a HTTP index is there, and its revision.
    pub(crate) fn index(&self, address: &str) -> Result<String, Refused> {
        let address = address.trim_end_matches('/');
        match self.places.get(address) {
            Some(charts) => {
                let all: Vec<&str> =
                    charts.values().flat_map(BTreeMap::values).map(|chart| chart.digest.as_str()).collect();
                Ok(digest(&all))
            }
            None if self.everything_exists => Ok(digest(&[address])),
            None => Err(Refused {
                text: format!(
                    "failed to fetch Helm repository index: failed to fetch {address}/index.yaml : 404 Not Found"
                ),
            }),
        }
    }

    /// The newest chart of a repository whose version matches an exact version or a range. `None`: the name or version is
    /// not there.
    pub(crate) fn find(&self, address: &str, name: &str, wanted: &str) -> Option<Chart> {
        let address = address.trim_end_matches('/');
        let place = match address.starts_with("oci://") {
            true => self.places.get(&format!("{address}/{name}")).or_else(|| self.places.get(address)),
            false => self.places.get(address),
        };
        let versions = place.and_then(|charts| charts.get(name));
        if let Some(chart) = versions.and_then(|versions| versions.values().find(|chart| chart.version == wanted)) {
            return Some(chart.clone());
        }
        let best = versions.into_iter().flat_map(BTreeMap::values).filter(|chart| matches(&chart.version, wanted));
        let best = best.max_by_key(|chart| semver::Version::parse(chart.version.trim_start_matches('v')).ok());
        if best.is_none() && self.everything_exists && semver::Version::parse(wanted.trim_start_matches('v')).is_ok() {
            return Some(Chart::new(name, wanted, &format!("{name} {wanted}")));
        }
        best.cloned()
    }
}

/// Whether `version` lies in `range`; `*` and the empty range take every release.
pub(crate) fn matches(version: &str, range: &str) -> bool {
    let Ok(version) = semver::Version::parse(version.trim_start_matches('v')) else { return false };
    let range = if range.is_empty() { "*" } else { range };
    semver::VersionReq::parse(range).is_ok_and(|range| range.matches(&version))
}

/// Whether `range` is a version or a range at all; anything else stalls a HelmChart.
pub(crate) fn is_range(range: &str) -> bool {
    let range = range.trim_start_matches('v');
    range.is_empty() || semver::Version::parse(range).is_ok() || semver::VersionReq::parse(range).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_tag_has_another_digest() {
        let mut catalogue = Catalogue::default();
        catalogue.publish("oci://registry.example/charts", "shop", "1.2.3+7");
        let before = catalogue.tag("oci://registry.example/charts/shop", "1.2.3_7").expect("the tag is published");
        assert_eq!(before.version, "1.2.3+7");
        catalogue.publish_chart("oci://registry.example/charts", Chart::new("shop", "1.2.3+7", "other"));
        let after = catalogue.tag("oci://registry.example/charts/shop", "1.2.3_7").expect("the tag is published");
        assert_ne!(before.digest, after.digest);
    }

    #[test]
    fn ranges_take_the_newest_match() {
        let mut catalogue = Catalogue::default();
        for version in ["6.6.0", "6.7.1", "7.0.0"] {
            catalogue.publish("https://charts.example", "odoo", version);
        }
        let find = |wanted| catalogue.find("https://charts.example", "odoo", wanted).map(|chart| chart.version);
        assert_eq!(find("^6"), Some("6.7.1".to_owned()));
        assert_eq!(find("*"), Some("7.0.0".to_owned()));
        assert_eq!(find("9.9.9"), None);
        assert!(is_range("1.x") && !is_range("not a version"));
    }

    #[test]
    fn an_address_that_is_down_takes_everything_below_with_it() {
        let mut catalogue = Catalogue::default();
        catalogue.publish("oci://registry.example/charts", "shop", "1.0.0");
        catalogue.take_down("oci://registry.example", "dial tcp: connection refused");
        assert!(catalogue.reach("oci://registry.example/charts/shop", false).is_err());
        assert!(catalogue.reach("oci://registry.example.org/charts", false).is_ok());
        catalogue.bring_up("oci://registry.example");
        assert!(catalogue.reach("oci://registry.example/charts/shop", false).is_ok());
    }
}
