//! Seam 1: the cluster as objects.
//!
//! [`ClusterApi`] is what every loop sees of a Kubernetes API server. Its only real implementation is the adapter over
//! kube-rs in [`kube`], used in production and in every simulation; the mock serves the unit tests of the executor.
//! Reads are consistent (no resourceVersion is ever sent): the watch only wakes a loop, a fresh read decides.
//!
//! The error type says what the *caller* can do. A timeout is never "not done": see [`ApiError::Unknown`].

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use futures::stream::BoxStream;
use serde::Serialize;
use serde_json::Value;

pub mod backoff;
pub mod kube;

/// A kind as the API server serves it: group, version, kind and plural, resolved at run time (design §4c).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Kind {
    /// API group; empty for the core group.
    pub group: String,
    /// Served version, for example `v2`.
    pub version: String,
    /// Kind, for example `HelmRelease`.
    pub kind: String,
    /// Plural resource name, for example `helmreleases`.
    pub plural: String,
    /// Whether objects of this kind live in a namespace.
    pub namespaced: bool,
}

impl Kind {
    /// A namespaced kind.
    pub fn namespaced(group: &str, version: &str, kind: &str, plural: &str) -> Self {
        Self {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
            plural: plural.into(),
            namespaced: true,
        }
    }

    /// A cluster-scoped kind.
    pub fn cluster(group: &str, version: &str, kind: &str, plural: &str) -> Self {
        Self { namespaced: false, ..Self::namespaced(group, version, kind, plural) }
    }

    /// `group/version`, or the bare version for the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }
}

/// One object's address. `namespace` is `None` exactly for cluster-scoped kinds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Key {
    /// The kind.
    pub kind: Kind,
    /// The namespace, absent for cluster-scoped kinds.
    pub namespace: Option<String>,
    /// `metadata.name`.
    pub name: String,
}

impl Key {
    /// Address of a namespaced object.
    pub fn namespaced(kind: &Kind, namespace: &str, name: &str) -> Self {
        Self { kind: kind.clone(), namespace: Some(namespace.into()), name: name.into() }
    }

    /// Address of a cluster-scoped object.
    pub fn cluster(kind: &Kind, name: &str) -> Self {
        Self { kind: kind.clone(), namespace: None, name: name.into() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind.kind, self.name),
            None => write!(f, "{} {}", self.kind.kind, self.name),
        }
    }
}

/// `metadata.uid`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Uid(pub String);

/// `metadata.resourceVersion`, opaque.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Version(pub String);

/// What stands in an object in place of everything that is nested deeper than any decoder reads: an answer is cut there
/// before it is decoded, so that such an object costs nobody else (contract §29.54). The number is `kube::depth::LEVELS`.
pub const TOO_DEEP: &str = "nested deeper than 125 levels";

/// An object of any kind, as JSON with everything the server sent, down to [`TOO_DEEP`]. Never decoded into a closed type here (design §4a).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Object(pub Value);

impl Object {
    fn text(&self, pointer: &str) -> Option<&str> {
        self.0.pointer(pointer).and_then(Value::as_str)
    }

    /// `kind`, empty if absent.
    pub fn kind(&self) -> &str {
        self.text("/kind").unwrap_or_default()
    }

    /// `metadata.name`, empty if absent.
    pub fn name(&self) -> &str {
        self.text("/metadata/name").unwrap_or_default()
    }

    /// `metadata.namespace`.
    pub fn namespace(&self) -> Option<&str> {
        self.text("/metadata/namespace")
    }

    /// `metadata.uid`; absent before the server created the object.
    pub fn uid(&self) -> Option<Uid> {
        self.text("/metadata/uid").map(|uid| Uid(uid.into()))
    }

    /// `metadata.resourceVersion`.
    pub fn version(&self) -> Option<Version> {
        self.text("/metadata/resourceVersion").map(|version| Version(version.into()))
    }

    /// `metadata.generation`, 0 if absent.
    pub fn generation(&self) -> i64 {
        self.0.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or_default()
    }

    /// Whether the server marked the object for deletion.
    pub fn deleting(&self) -> bool {
        self.text("/metadata/deletionTimestamp").is_some()
    }

    /// One label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.0.get("metadata")?.get("labels")?.get(key)?.as_str()
    }

    /// One annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.0.get("metadata")?.get("annotations")?.get(key)?.as_str()
    }

    /// Whether `finalizer` is among `metadata.finalizers`.
    pub fn has_finalizer(&self, finalizer: &str) -> bool {
        self.0
            .pointer("/metadata/finalizers")
            .and_then(Value::as_array)
            .is_some_and(|list| list.iter().any(|item| item.as_str() == Some(finalizer)))
    }
}

/// Where a list or watch looks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Scope {
    /// One namespace, or all of them.
    pub namespace: Option<String>,
    /// Label selector in the server's syntax; empty selects everything.
    pub labels: String,
    /// Field selector; empty selects everything.
    pub fields: String,
    /// Leave out `metadata.managedFields` and `status`, which are most of what a server sends: for lists of which only
    /// names, labels and specs matter. A watch tells them all the same.
    pub lean: bool,
}

impl Scope {
    /// Every object of the kind.
    pub fn all() -> Self {
        Self { namespace: None, labels: String::new(), fields: String::new(), lean: false }
    }

    /// Every object of one namespace.
    pub fn namespace(namespace: &str) -> Self {
        Self { namespace: Some(namespace.into()), ..Self::all() }
    }

    /// The same scope, without managed fields and status.
    pub fn lean(mut self) -> Self {
        self.lean = true;
        self
    }

    /// The same scope, narrowed by a label selector.
    pub fn labelled(mut self, selector: &str) -> Self {
        self.labels = selector.into();
        self
    }
}

/// Whole objects, or metadata only (large kinds are watched as metadata and read on demand).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Whole objects.
    Full,
    /// `PartialObjectMetadata` only.
    Metadata,
}

/// The field managers of contract §3.3. The operator writes with no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Manager {
    /// `vworkspace-operator`: children, status, annotations, stores.
    Operator,
    /// `vworkspace-agent`: objects applied from Pull jobs.
    Agent,
    /// `vworkspace-operator-upgrade`: the two fields the `helm` engine takes over.
    Upgrade,
}

impl Manager {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Manager::Operator => "vworkspace-operator",
            Manager::Agent => "vworkspace-agent",
            Manager::Upgrade => "vworkspace-operator-upgrade",
        }
    }
}

/// What a delete insists on; the server answers 409 when it does not hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Preconditions {
    /// The object must be this one.
    pub uid: Option<Uid>,
    /// The object must be unchanged since it was read.
    pub version: Option<Version>,
}

/// `propagationPolicy` of a delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Propagation {
    /// Dependents go after the owner.
    Background,
    /// Dependents go before the owner.
    Foreground,
    /// Dependents stay.
    Orphan,
}

/// What a watch tells. `Reset`, then `Listed` for each object, then `Synced`, then changes; after an interruption the
/// sequence may start again with `Reset`. A stream never ends.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A new list begins; whatever was known is void once `Synced` arrives.
    Reset,
    /// One object of the list.
    Listed(Object),
    /// The list is complete.
    Synced,
    /// Created or modified.
    Applied(Object),
    /// Deleted; the object as it was last.
    Deleted(Object),
    /// The stream is being repaired; readiness must say so.
    Interrupted(ApiError),
}

/// What the server serves: versions per kind and the optional fields of installed schemas (downstream §13).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Caps {
    /// `group/plural` → served versions, the server's preferred one first.
    pub versions: BTreeMap<String, Vec<String>>,
    /// `group/version/plural` → dotted paths of declared fields below the root, for the kinds we probe
    /// (for example `spec.install.strategy`). Absent means the schema was not readable.
    pub fields: BTreeMap<String, std::collections::BTreeSet<String>>,
    /// `group/plural` → the value of the CRD's `app.kubernetes.io/version` label where there is one.
    pub releases: BTreeMap<String, String>,
}

impl Caps {
    /// The first of `wanted` that is served for `group/plural`.
    pub fn served<'a>(&self, group: &str, plural: &str, wanted: &[&'a str]) -> Option<&'a str> {
        let versions = self.versions.get(&format!("{group}/{plural}"))?;
        wanted.iter().copied().find(|version| versions.iter().any(|served| served == version))
    }

    /// Whether the installed schema of `kind` declares the dotted path.
    pub fn declares(&self, kind: &Kind, path: &str) -> bool {
        self.fields
            .get(&format!("{}/{}/{}", kind.group, kind.version, kind.plural))
            .is_some_and(|fields| fields.contains(path))
    }
}

/// What went wrong, named by what the caller can do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
pub enum ApiError {
    /// 409, or a uid that is not the one we read: observe again.
    #[error("conflict: {why}")]
    Conflict {
        /// The server's message; for an apply it names managers and fields.
        why: String,
    },
    /// 409 of an unforced apply: others hold fields of it.
    #[error("conflict: {why}")]
    FieldConflict {
        /// The server's message.
        why: String,
        /// Manager and field of each cause, as the server writes them.
        fields: Vec<(String, String)>,
    },
    /// 409 AlreadyExists on create: observe again and look whose it is.
    #[error("already exists")]
    Exists,
    /// 400, 413, 422, or one of the two 500s of contract §8.4: the request itself is wrong. Tell the user, wait long.
    #[error("refused: {why}")]
    Refused {
        /// The server's message.
        why: String,
    },
    /// 401 or 403.
    #[error("forbidden: {what}")]
    Forbidden {
        /// The server's message.
        what: String,
    },
    /// 404 of a whole resource: the kind is not served.
    #[error("{kind} is not served")]
    Unserved {
        /// `group/plural`.
        kind: String,
    },
    /// 404 of one object, where an answer needs one (patch and apply of something that must exist).
    #[error("not found")]
    Missing,
    /// 429, or 503 with a delay.
    #[error("throttled")]
    Throttled {
        /// What `Retry-After` said, at least one second.
        after: Duration,
    },
    /// Timeout, reset, 5xx: *maybe done*. Never counts as failed.
    #[error("outcome unknown: {why}")]
    Unknown {
        /// For the log; never part of a condition message.
        why: String,
    },
}

/// The cluster. Every call has a deadline over head and body (design §7); no call retries by itself.
#[cfg_attr(test, mockall::automock)]
pub trait ClusterApi: Send + Sync + 'static {
    /// A consistent read of one object; `None` means known to be absent.
    fn get(&self, key: &Key) -> impl Future<Output = Result<Option<Object>, ApiError>> + Send;

    /// A consistent, complete list, paged inside, sorted by namespace and name.
    fn list(&self, kind: &Kind, scope: &Scope) -> impl Future<Output = Result<Vec<Object>, ApiError>> + Send;

    /// POST. 409 is [`ApiError::Exists`].
    fn create(&self, object: &Object) -> impl Future<Output = Result<Object, ApiError>> + Send;

    /// Server-side apply of the main resource. `object` carries apiVersion, kind, name, namespace and, once known, uid:
    /// with a uid an object that is gone or replaced answers [`ApiError::Conflict`].
    fn apply(
        &self,
        object: &Object,
        manager: Manager,
        force: bool,
    ) -> impl Future<Output = Result<Object, ApiError>> + Send;

    /// PUT with the uid and resourceVersion inside `object`: Leases and stores.
    fn update(&self, object: &Object) -> impl Future<Output = Result<Object, ApiError>> + Send;

    /// Merge patch of single fields that others own; the uid is added as a precondition.
    fn patch(&self, key: &Key, uid: &Uid, merge: &Value) -> impl Future<Output = Result<Object, ApiError>> + Send;

    /// Forced server-side apply of `/status` under [`Manager::Operator`], with uid and, if given, resourceVersion. Only the
    /// version protects an object that took the name: the server resets the metadata of a status write before it compares.
    fn patch_status(
        &self,
        key: &Key,
        uid: &Uid,
        version: Option<Version>,
        status: &Value,
    ) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// DELETE; an absent object is `Ok`.
    fn delete(
        &self,
        key: &Key,
        only_if: &Preconditions,
        how: Propagation,
    ) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// A watch that never ends and never fails.
    fn watch(&self, kind: &Kind, scope: &Scope, detail: Detail) -> BoxStream<'static, Change>;

    /// Served versions and declared optional fields.
    fn discover(&self) -> impl Future<Output = Result<Caps, ApiError>> + Send;
}
