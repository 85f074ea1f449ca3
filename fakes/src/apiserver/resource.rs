//! What one resource is: names, scope, and how its writes behave. Built-in and custom resources are the same struct.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use super::errors::Cause;
use super::schema::Schema;

/// One served version of one resource.
#[derive(Clone)]
pub struct Resource {
    /// API group, empty for the core group.
    pub group: String,
    /// Version, such as `v1`.
    pub version: String,
    /// Kind, such as `ConfigMap`.
    pub kind: String,
    /// Kind of a list, such as `ConfigMapList`.
    pub list_kind: String,
    /// Plural name, as in URLs.
    pub plural: String,
    /// Singular name.
    pub singular: String,
    /// Short names for command lines.
    pub short_names: Vec<String>,
    /// Categories, such as `all`.
    pub categories: Vec<String>,
    /// `plural.group`: the key of the table in the store. Versions of one resource share it.
    pub id: Arc<str>,
    /// `group/version`, or `version` for the core group.
    pub api_version: String,
    /// Lives in namespaces.
    pub namespaced: bool,
    /// Has `/status`; then `status` in writes to the main resource is ignored.
    pub status: bool,
    /// Has `/scale`: the paths of custom resources, or the built-in mapping.
    pub scale: Option<Scale>,
    /// Other subresources by name, such as `finalize` of namespaces.
    pub subresources: Vec<String>,
    /// A PUT of a missing name creates it.
    pub allow_create_on_update: bool,
    /// A PUT without resourceVersion overwrites whatever is stored.
    pub allow_unconditional_update: bool,
    /// How `metadata.generation` moves.
    pub generation: Generation,
    /// Verbs in discovery order.
    pub verbs: &'static [&'static str],
    /// Fields besides name and namespace that field selectors may use, as dotted paths.
    pub selectable_fields: Vec<String>,
    /// Rules of this kind beyond its schema.
    pub strategy: Option<Arc<dyn Strategy>>,
    /// Set for resources that come from a CustomResourceDefinition.
    pub custom: Option<Custom>,
    /// The schema; for built-in kinds found on first use. Read it with [`Resource::schema`].
    pub compiled: OnceLock<Arc<Schema>>,
}

/// What only custom resources have.
#[derive(Clone)]
pub struct Custom {
    /// Version in which objects are stored.
    pub storage_version: String,
    /// Schemas of all versions: what is stored is decoded by the schema of its own version.
    pub schemas: Arc<BTreeMap<String, Arc<Schema>>>,
    /// `additionalPrinterColumns` as in the definition.
    pub columns: Vec<Value>,
    /// Number of the definition's change that made this schema; objects written under another one get defaults on read.
    pub schema_revision: u64,
    /// Warning sent with every answer in a deprecated version.
    pub deprecation: Option<String>,
    /// The definition is being deleted: creates are refused.
    pub terminating: bool,
}

/// JSON paths of the scale subresource, without the leading dot.
#[derive(Clone, Debug)]
pub struct Scale {
    /// Path of the wanted number.
    pub spec: String,
    /// Path of the observed number.
    pub status: String,
    /// Path of the label selector in text form.
    pub selector: Option<String>,
}

/// When `metadata.generation` is raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// The kind has no generation strategy; what a client sends is kept.
    None,
    /// 1 on create, +1 when `spec` changes.
    Spec,
    /// 1 on create, +1 when anything outside `metadata` and (with `/status`) `status` changes: custom resources.
    AllButMetadata,
    /// 1 on create, +1 when `spec` or annotations change: Deployment.
    SpecAndAnnotations,
}

/// Rules of one built-in kind that a schema cannot say.
pub trait Strategy: Send + Sync {
    /// Fills in and drops fields as decoding and defaulting do, on create (`old` is `None`) and update. The writer owns these fields.
    fn prepare(&self, new: &mut Value, old: Option<&Value>, subresource: Option<&str>) {
        let _ = (new, old, subresource);
    }

    /// Sets what the server sets, after it was recorded who owns what: nobody owns these fields.
    fn complete(&self, new: &mut Value, old: Option<&Value>, subresource: Option<&str>) {
        let _ = (new, old, subresource);
    }

    /// Refusals as 422.
    fn validate(&self, new: &Value, old: Option<&Value>, subresource: Option<&str>) -> Vec<Cause> {
        let _ = (new, old, subresource);
        Vec::new()
    }

    /// Warnings of an accepted write.
    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let _ = (new, old);
        Vec::new()
    }
}

/// All verbs of a normal resource.
pub const ALL_VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

impl Resource {
    /// A namespaced built-in resource with the usual flags; the table changes what differs.
    pub fn builtin(group: &str, version: &str, kind: &str, plural: &str, short_names: &[&str]) -> Resource {
        Resource {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
            list_kind: format!("{kind}List"),
            plural: plural.to_owned(),
            singular: kind.to_lowercase(),
            short_names: short_names.iter().map(|&name| name.to_owned()).collect(),
            categories: Vec::new(),
            id: super::errors::qualified(plural, group).into(),
            api_version: if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") },
            namespaced: true,
            status: false,
            scale: None,
            subresources: Vec::new(),
            allow_create_on_update: false,
            allow_unconditional_update: true,
            generation: Generation::None,
            verbs: ALL_VERBS,
            selectable_fields: Vec::new(),
            strategy: None,
            custom: None,
            compiled: OnceLock::new(),
        }
    }

    /// The schema of the kind in this version.
    pub fn schema(&self) -> &Arc<Schema> {
        self.compiled.get_or_init(|| super::builtin::schema(self))
    }

    /// Whether the subresource is served.
    pub fn has_subresource(&self, name: &str) -> bool {
        match name {
            "status" => self.status,
            "scale" => self.scale.is_some(),
            other => self.subresources.iter().any(|known| known == other),
        }
    }
}

/// The resources served now, by group, version and plural.
#[derive(Default)]
pub struct Resources {
    by_path: BTreeMap<String, BTreeMap<String, BTreeMap<String, Arc<Resource>>>>,
}

impl Resources {
    /// Adds or replaces one served version.
    pub fn insert(&mut self, resource: Resource) {
        let versions = self.by_path.entry(resource.group.clone()).or_default();
        versions.entry(resource.version.clone()).or_default().insert(resource.plural.clone(), Arc::new(resource));
    }

    /// Removes every version of one resource.
    pub fn remove(&mut self, group: &str, plural: &str) {
        if let Some(versions) = self.by_path.get_mut(group) {
            versions.retain(|_, plurals| {
                plurals.remove(plural);
                !plurals.is_empty()
            });
            if versions.is_empty() {
                self.by_path.remove(group);
            }
        }
    }

    /// Looks up one resource.
    pub fn get(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.by_path.get(group)?.get(version)?.get(plural)
    }

    /// The served versions of one resource.
    pub fn versions<'a>(&'a self, group: &str, plural: &'a str) -> impl Iterator<Item = &'a Arc<Resource>> {
        self.by_path.get(group).into_iter().flat_map(BTreeMap::values).filter_map(move |plurals| plurals.get(plural))
    }

    /// Whether anything is served under this group and version.
    pub fn has_version(&self, group: &str, version: &str) -> bool {
        self.by_path.get(group).is_some_and(|versions| versions.contains_key(version))
    }

    /// Finds a served resource by its group and kind, in any version.
    pub fn by_kind(&self, group: &str, kind: &str) -> Option<&Arc<Resource>> {
        self.by_path.get(group)?.values().flat_map(BTreeMap::values).find(|resource| resource.kind == kind)
    }

    /// All served resources in order of group, version, plural.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.by_path.values().flat_map(BTreeMap::values).flat_map(BTreeMap::values)
    }
}
