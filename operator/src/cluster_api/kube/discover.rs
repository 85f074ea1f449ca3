//! What the server serves (downstream §13): versions of every kind we may use, the fields their installed schemas
//! declare, and the release labels of their CRDs.
//!
//! The answer is the sum of what could be read: a group whose server is down, or a schema that is not readable, keeps
//! what was last known of it, and disables nothing else. Schemas are read again only when their address (which carries a
//! hash) changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use kube::Client;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::{Verb, from_kube};
use crate::cluster_api::{ApiError, Caps, Kind};

/// The groups whose kinds we may use. Presence of a group proves nothing (several products share `argoproj.io`), so each
/// plural is listed.
const GROUPS: [&str; 14] = [
    "apps.vworkspace.io",
    "argoproj.io",
    "batch",
    "cert-manager.io",
    "coordination.k8s.io",
    "external-secrets.io",
    "helm.toolkit.fluxcd.io",
    "kustomize.toolkit.fluxcd.io",
    "ops.vworkspace.io",
    "snapshot.storage.k8s.io",
    "groupsnapshot.storage.k8s.io",
    "source.toolkit.fluxcd.io",
    "velero.io",
    "volsync.backube",
];

/// Kinds whose optional fields we ask for, with the versions we would use, best first, and how many steps the deepest of
/// them may have. Only the schema of the version that would be used is read.
const PROBED: [(&str, &[&str], &[&str], usize); 5] = [
    // A pod template declares thousands of fields; of a Job itself we ask for the first level.
    ("batch", &["jobs"], &["v1"], 2),
    ("helm.toolkit.fluxcd.io", &["helmreleases"], &["v2", "v2beta2"], 6),
    ("source.toolkit.fluxcd.io", &["ocirepositories", "helmrepositories", "helmcharts"], &["v1", "v1beta2"], 6),
    ("velero.io", &["backups", "restores"], &["v1"], 2),
    ("volsync.backube", &["replicationsources", "replicationdestinations"], &["v1alpha1"], 3),
];

/// What the last successful reads said.
#[derive(Default)]
pub(super) struct Memory {
    caps: Caps,
    /// `group/version` → the address its schema was read from.
    schemas: BTreeMap<String, String>,
}

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

/// See [`crate::cluster_api::ClusterApi::discover`]. Fails only when the list of groups itself cannot be read.
pub(super) async fn discover(client: &Client, memory: &Mutex<Memory>) -> Result<Caps, ApiError> {
    let groups: Groups = read(client, "/apis", AGGREGATED).await?;
    let (mut caps, mut schemas) = {
        let memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
        (memory.caps.clone(), memory.schemas.clone())
    };
    if groups.items.is_empty() {
        classic(client, &groups.groups, &mut caps.versions).await;
    } else {
        aggregated(&groups.items, &mut caps.versions);
    }
    // What was read is kept also if something else was not: the next attempt asks for less.
    let complete = fields(client, &mut caps, &mut schemas).await;
    releases(client, &mut caps).await;
    let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
    memory.caps = caps.clone();
    memory.schemas = schemas;
    complete.map(|()| caps)
}

/// Both answers to `GET /apis`: the aggregated one has `items`, the classic one `groups`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Groups {
    items: Vec<AggregatedGroup>,
    groups: Vec<ClassicGroup>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AggregatedGroup {
    metadata: Named,
    versions: Vec<AggregatedVersion>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
    labels: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AggregatedVersion {
    version: String,
    freshness: String,
    resources: Vec<AggregatedResource>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AggregatedResource {
    resource: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ClassicGroup {
    name: String,
    versions: Vec<ClassicVersion>,
    preferred_version: ClassicVersion,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct ClassicVersion {
    version: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Resources {
    resources: Vec<Named>,
}

fn aggregated(groups: &[AggregatedGroup], versions: &mut BTreeMap<String, Vec<String>>) {
    for group in GROUPS {
        let listed = groups.iter().find(|listed| listed.metadata.name == group);
        // "Stale" means the server behind this version did not answer: keep what we knew of the group.
        if listed.is_some_and(|listed| listed.versions.iter().any(|version| version.freshness == "Stale")) {
            continue;
        }
        forget(group, versions);
        for version in listed.into_iter().flat_map(|listed| &listed.versions) {
            for resource in &version.resources {
                remember(group, &resource.resource, &version.version, versions);
            }
        }
    }
}

async fn classic(client: &Client, groups: &[ClassicGroup], versions: &mut BTreeMap<String, Vec<String>>) {
    for group in GROUPS {
        let mut found = BTreeMap::new();
        let mut complete = true;
        if let Some(listed) = groups.iter().find(|listed| listed.name == group) {
            let preferred = &listed.preferred_version.version;
            let others = listed.versions.iter().map(|other| &other.version).filter(|other| *other != preferred);
            for version in std::iter::once(preferred).chain(others).filter(|version| !version.is_empty()) {
                match read::<Resources>(client, &format!("/apis/{group}/{version}"), "application/json").await {
                    Ok(list) => {
                        for resource in list.resources.iter().filter(|resource| !resource.name.contains('/')) {
                            remember(group, &resource.name, version, &mut found);
                        }
                    }
                    Err(ApiError::Missing | ApiError::Unserved { .. }) => {}
                    Err(_) => complete = false,
                }
            }
        }
        if complete {
            forget(group, versions);
            versions.append(&mut found);
        }
    }
}

fn forget(group: &str, versions: &mut BTreeMap<String, Vec<String>>) {
    versions.retain(|name, _| name.split_once('/').is_none_or(|(of, _)| of != group));
}

fn remember(group: &str, plural: &str, version: &str, versions: &mut BTreeMap<String, Vec<String>>) {
    versions.entry(format!("{group}/{plural}")).or_default().push(version.into());
}

/// `GET /openapi/v3`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct SchemaIndex {
    paths: BTreeMap<String, SchemaAddress>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SchemaAddress {
    #[serde(rename = "serverRelativeURL")]
    server_relative_url: String,
}

/// One group version's schemas, without everything we do not read: descriptions are most of such a document.
#[derive(Default, Deserialize)]
#[serde(default)]
struct SchemaDocument {
    components: Components,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Components {
    schemas: BTreeMap<String, Schema>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Schema {
    properties: BTreeMap<String, Schema>,
    items: Option<Box<Schema>>,
    #[serde(rename = "x-kubernetes-group-version-kind")]
    names: Vec<SchemaName>,
    /// Built-in kinds name their parts, with or without a wrapper that adds a description; custom ones hold them.
    #[serde(rename = "$ref")]
    reference: String,
    #[serde(rename = "allOf")]
    all_of: Vec<Schema>,
}

impl Schema {
    /// The schema that is meant: itself, or the one it names.
    fn meant<'a>(&'a self, document: &'a SchemaDocument) -> &'a Self {
        let named = std::iter::once(self).chain(&self.all_of).find(|schema| !schema.reference.is_empty());
        named.and_then(|schema| document.components.schemas.get(schema.reference.rsplit('/').next()?)).unwrap_or(self)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SchemaName {
    group: String,
    version: String,
    kind: String,
}

/// # Errors
/// A schema could not be read for a reason that passes. Without its optional fields a release would be rendered as for an old
/// server, and nobody would look at it again for hours.
async fn fields(client: &Client, caps: &mut Caps, schemas: &mut BTreeMap<String, String>) -> Result<(), ApiError> {
    let Some(index) = schema::<SchemaIndex>(client, "/openapi/v3").await? else { return Ok(()) };
    for (group, plurals, wanted, depth) in PROBED {
        for plural in plurals {
            let Some(version) = caps.served(group, plural, wanted).map(String::from) else {
                caps.fields.retain(|name, _| {
                    !name.starts_with(&format!("{group}/")) || !name.ends_with(&format!("/{plural}"))
                });
                continue;
            };
            let group_version = format!("{group}/{version}");
            let Some(address) = index.paths.get(&format!("apis/{group_version}")) else { continue };
            let address = &address.server_relative_url;
            let name = format!("{group_version}/{plural}");
            if schemas.get(&name) == Some(address) && caps.fields.contains_key(&name) {
                continue;
            }
            let Some(document) = schema::<SchemaDocument>(client, address).await? else { continue };
            // One document holds every kind of the group version: take all plurals it serves for us.
            for sibling in plurals {
                let Some(schema) = find(&document, group, &version, sibling) else { continue };
                let mut declared = BTreeSet::new();
                collect(&document, schema, "", depth, &mut declared);
                let name = format!("{group_version}/{sibling}");
                caps.fields.insert(name.clone(), declared);
                schemas.insert(name, address.clone());
            }
        }
    }
    Ok(())
}

/// A part of the OpenAPI description. A server that has none yields no declared fields, which the engines read as "do not
/// send optional ones"; one that fails is asked again.
async fn schema<T: DeserializeOwned>(client: &Client, address: &str) -> Result<Option<T>, ApiError> {
    match get(client, address, "application/json").await {
        // One that cannot be read will not be readable next time either.
        Ok(text) => Ok(serde_json::from_str(&text).ok()),
        Err(error @ (ApiError::Unknown { .. } | ApiError::Throttled { .. })) => Err(error),
        Err(_) => Ok(None),
    }
}

fn find<'a>(document: &'a SchemaDocument, group: &str, version: &str, plural: &str) -> Option<&'a Schema> {
    document.components.schemas.values().find(|schema| {
        schema.names.iter().any(|name| {
            let gvk = kube::core::GroupVersionKind::gvk(&name.group, &name.version, &name.kind);
            name.group == group && name.version == version && kube::core::ApiResource::from_gvk(&gvk).plural == plural
        })
    })
}

/// Dotted paths below the root; the items of a list stand for the list.
fn collect(document: &SchemaDocument, schema: &Schema, prefix: &str, depth: usize, declared: &mut BTreeSet<String>) {
    if depth == 0 {
        return;
    }
    for (name, property) in &schema.meant(document).properties {
        if prefix.is_empty() && !matches!(name.as_str(), "spec" | "status") {
            continue;
        }
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        collect(document, property, &path, depth - 1, declared);
        if let Some(items) = &property.items {
            collect(document, items, &path, depth - 1, declared);
        }
        declared.insert(path);
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MetadataList {
    items: Vec<MetadataItem>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MetadataItem {
    metadata: Named,
}

/// The label with which Flux and others state their release on their CRDs.
const RELEASE: &str = "app.kubernetes.io/version";

async fn releases(client: &Client, caps: &mut Caps) {
    let address = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions?limit=1000";
    let Ok(list) = read::<MetadataList>(client, address, METADATA).await else { return };
    caps.releases = list
        .items
        .into_iter()
        .filter_map(|mut item| {
            let (plural, group) = item.metadata.name.split_once('.')?;
            GROUPS.contains(&group).then_some(())?;
            let release = item.metadata.labels.remove(RELEASE)?;
            Some((format!("{group}/{plural}"), release))
        })
        .collect();
}

async fn read<T: DeserializeOwned>(client: &Client, address: &str, accept: &str) -> Result<T, ApiError> {
    let text = get(client, address, accept).await?;
    serde_json::from_str(&text).map_err(|error| ApiError::Unknown { why: format!("discovery: {error}") })
}

async fn get(client: &Client, address: &str, accept: &str) -> Result<String, ApiError> {
    let kind = Kind::cluster("", "v1", "Discovery", address);
    let request = http::Request::get(address)
        .header(http::header::ACCEPT, accept)
        .body(Vec::new())
        .map_err(|error| ApiError::Unknown { why: error.to_string() })?;
    client.request_text(request).await.map_err(|error| from_kube(error, Verb::Read, &kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_built_in_kind_names_its_parts_and_is_read_no_deeper_than_asked() {
        let document: SchemaDocument = serde_json::from_str(
            r##"{"components": {"schemas": {
                "io.k8s.api.batch.v1.Job": {
                    "properties": {
                        "metadata": {"$ref": "#/components/schemas/io.k8s.Meta"},
                        "spec": {"allOf": [{"$ref": "#/components/schemas/io.k8s.api.batch.v1.JobSpec"}], "default": {}},
                        "status": {"$ref": "#/components/schemas/gone"}
                    },
                    "x-kubernetes-group-version-kind": [{"group": "batch", "version": "v1", "kind": "Job"}]
                },
                "io.k8s.api.batch.v1.JobSpec": {"properties": {
                    "podFailurePolicy": {"$ref": "#/components/schemas/io.k8s.api.batch.v1.JobSpec"},
                    "suspend": {"type": "boolean"}
                }}
            }}}"##,
        )
        .expect("a document");
        let job = find(&document, "batch", "v1", "jobs").expect("it is there");
        let declared = |depth: usize| {
            let mut declared = BTreeSet::new();
            collect(&document, job, "", depth, &mut declared);
            declared.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(declared(2), ["spec", "spec.podFailurePolicy", "spec.suspend", "status"]);
        // A schema that names itself ends at the depth.
        assert_eq!(declared(4).len(), 8);
    }
}
