//! What a job asks for, and whether it may: every check that needs no read (contract §18.1 step 2, §18.2 to §18.4).

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::catalog;
use super::receive::invalid;
use crate::api::cluster::Strictness;
use crate::api::{Open, label};
use crate::cluster_api::{Key, Object};
use crate::policy::jobs::{self, Address, Places, Sort, Verb};
use crate::policy::{Class, Refusal, Settings};
use crate::protocol::job::Job;

/// One effect, with nothing left to choose but the uid of its object.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Work {
    /// Server-side apply of this object under the manager of jobs.
    Apply(Object),
    /// Delete, of this uid if one is given.
    Delete(Option<String>),
    /// `spec.cancel: true`, of this uid if one is given.
    Cancel(Option<String>),
    /// A new credential for the control plane.
    Rotate,
    /// A snapshot of all conditions.
    Resync,
}

/// A job that passed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Task {
    /// The kind it works on; `None` where it works on none of the cluster's applications.
    pub sort: Option<Sort>,
    /// The object it works on.
    pub key: Option<Key>,
    /// What to do.
    pub work: Work,
    /// Its payload was taken although nobody vouches for it.
    pub unsigned: bool,
}

impl Task {
    /// Which rule of the namespace gate counts.
    pub(super) fn verb(&self) -> Verb {
        if matches!(self.work, Work::Delete(_)) { Verb::Delete } else { Verb::Apply }
    }
}

/// Metadata that only the server or the operator may write (contract §18.3).
const STRIPPED: [&str; 8] = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "ownerReferences",
    "finalizers",
    "deletionTimestamp",
];

/// Reads a job.
///
/// # Errors
/// Why it may not, or cannot, be done.
pub fn task(job: &Job, settings: &Settings, places: &Places) -> Result<Task, Refusal> {
    match (&job.payload, &job.encrypted_payload) {
        (None, None) => return Err(invalid("payload is missing")),
        (Some(_), Some(_)) => return Err(invalid("payload and encryptedPayload exclude each other")),
        _ => {}
    }
    if job.idempotency_key.as_deref().is_none_or(str::is_empty) {
        return Err(invalid("idempotencyKey is missing"));
    }
    let unsigned = signature(settings)?;
    if !matches!(job.kind.as_str(), "apply" | "delete" | "intent") {
        return Err(Refusal::coded(Class::Shape, "UnsupportedKind", "kind must be apply, delete or intent"));
    }
    let Some(payload) = &job.payload else {
        let message = "this cluster has no key that opens the payload";
        return Err(Refusal::coded(Class::Policy, "JobPayloadDecryptionFailed", message));
    };
    let Some(payload) = payload.as_object() else { return Err(invalid("payload must be an object")) };
    let reader = Reader { settings, places, unsigned };
    match job.kind.as_str() {
        "apply" => reader.apply(payload),
        "delete" => reader.remove(payload),
        _ => reader.intent(payload),
    }
}

/// Whether a payload that nobody vouches for is taken. This version verifies no signature, so to it every payload is one,
/// and where signatures are required nothing is taken (contract §19.1).
fn signature(settings: &Settings) -> Result<bool, Refusal> {
    let security = settings.security();
    match security.signed_payloads {
        _ if security.require_signed_payloads == Some(true) => {}
        Open::Known(Strictness::Disabled) => return Ok(false),
        Open::Known(Strictness::Warn) => return Ok(true),
        _ => {}
    }
    let message = "this cluster requires signed payloads, and the signature cannot be verified";
    Err(Refusal::coded(Class::Policy, "JobPayloadSignatureInvalid", message))
}

struct Reader<'a> {
    settings: &'a Settings,
    places: &'a Places,
    unsigned: bool,
}

impl Reader<'_> {
    fn task(&self, sort: Option<Sort>, key: Option<Key>, work: Work) -> Task {
        Task { sort, key, work, unsigned: self.unsigned }
    }

    fn apply(&self, manifest: &Map<String, Value>) -> Result<Task, Refusal> {
        let metadata = manifest.get("metadata").and_then(Value::as_object);
        let metadata = metadata.ok_or_else(|| invalid("metadata must be an object"))?;
        if manifest.contains_key("subresource") {
            return Err(Refusal::coded(Class::Policy, "KindNotAllowed", "a job cannot write a subresource"));
        }
        let kind = required(manifest, "kind")?;
        let address = Address {
            api_version: required(manifest, "apiVersion")?,
            kind,
            namespace: optional(metadata, "namespace")?.unwrap_or_default(),
            name: optional(metadata, "name")?.unwrap_or_default(),
        };
        let sort = jobs::kind(address, Verb::Apply, self.settings, self.places)?;
        let key = key(sort, address)?;
        if metadata.contains_key("generateName") {
            return Err(invalid("metadata.generateName is not allowed; write a name"));
        }
        for field in ["labels", "annotations"] {
            if metadata.get(field).is_some_and(|value| !value.is_object() && !value.is_null()) {
                return Err(invalid(format!("metadata.{field} must be an object")));
            }
        }
        let object = Object(Value::Object(manifest.clone()));
        jobs::labels(&object, self.settings)?;
        jobs::secrets(sort, &object)?;
        let desired = self.desired(object);
        if sort == Sort::CatalogPolicy {
            catalog::check(&desired)?;
        }
        Ok(self.task(Some(sort), Some(key), Work::Apply(desired)))
    }

    /// The object as it is applied: without what is not the sender's, with the two labels of an inbound object.
    fn desired(&self, mut object: Object) -> Object {
        if let Some(manifest) = object.0.as_object_mut() {
            manifest.remove("status");
        }
        if let Some(metadata) = object.0.get_mut("metadata").and_then(Value::as_object_mut) {
            for field in STRIPPED {
                metadata.remove(field);
            }
            let labels = metadata.entry("labels").or_insert_with(|| json!({}));
            if !labels.is_object() {
                *labels = json!({});
            }
            if labels.get(label::MANAGED_BY).is_none_or(Value::is_null) {
                labels[label::MANAGED_BY] = json!(label::CONTROL_PLANE);
            }
            labels[label::CLUSTER_ID] = json!(self.settings.cluster_id);
        }
        object
    }

    fn remove(&self, payload: &Map<String, Value>) -> Result<Task, Refusal> {
        if payload.contains_key("subresource") {
            return Err(Refusal::coded(Class::Policy, "KindNotAllowed", "a job cannot delete a subresource"));
        }
        let address = Address {
            api_version: required(payload, "apiVersion")?,
            kind: required(payload, "kind")?,
            namespace: optional(payload, "namespace")?.unwrap_or_default(),
            name: optional(payload, "name")?.unwrap_or_default(),
        };
        let sort = jobs::kind(address, Verb::Delete, self.settings, self.places)?;
        let uid = optional(payload, "uid")?.map(String::from);
        Ok(self.task(Some(sort), Some(key(sort, address)?), Work::Delete(uid)))
    }

    fn intent(&self, payload: &Map<String, Value>) -> Result<Task, Refusal> {
        let named = |sort: Sort| {
            let kind = sort.kind();
            let (namespace, name) = (optional(payload, "namespace")?, optional(payload, "name")?);
            let address = Address {
                api_version: &kind.api_version(),
                kind: &kind.kind,
                namespace: namespace.unwrap_or_default(),
                name: name.unwrap_or_default(),
            };
            key(sort, address)
        };
        let uid = || Ok::<_, Refusal>(optional(payload, "uid")?.map(String::from));
        match required(payload, "intent")? {
            "ensure-application-instance" => self.apply(&manifest(payload, "applicationInstance", Sort::Instance)?),
            "request-operation" => self.apply(&manifest(payload, "operation", Sort::Operation)?),
            "delete-application-instance" => {
                Ok(self.task(Some(Sort::Instance), Some(named(Sort::Instance)?), Work::Delete(uid()?)))
            }
            "cancel-operation" => {
                Ok(self.task(Some(Sort::Operation), Some(named(Sort::Operation)?), Work::Cancel(uid()?)))
            }
            "rotate-operator-credentials" => Ok(self.task(None, None, Work::Rotate)),
            "resync-status" => Ok(self.task(None, None, Work::Resync)),
            _ => Err(Refusal::coded(Class::Shape, "UnsupportedIntent", "this version does not know the intent")),
        }
    }
}

/// The manifest inside an intent; apiVersion and kind go without saying.
fn manifest(payload: &Map<String, Value>, member: &str, sort: Sort) -> Result<Map<String, Value>, Refusal> {
    let manifest = payload.get(member).and_then(Value::as_object);
    let mut manifest = manifest.cloned().ok_or_else(|| invalid(format!("{member} must be an object")))?;
    let kind = sort.kind();
    for (field, implied) in [("apiVersion", kind.api_version()), ("kind", kind.kind)] {
        let given = manifest.entry(field).or_insert_with(|| json!(implied));
        if *given != json!(implied) {
            return Err(Refusal::coded(Class::Policy, "KindNotAllowed", format!("{member}.{field} must be {implied}")));
        }
    }
    Ok(manifest)
}

fn optional<'a>(members: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Refusal> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(invalid(format!("{name} must be a string"))),
    }
}

fn required<'a>(members: &'a Map<String, Value>, name: &str) -> Result<&'a str, Refusal> {
    optional(members, name)?.ok_or_else(|| invalid(format!("{name} is missing")))
}

/// The address, if a server could hold such an object: a name with a slash would be an address of something else.
fn key(sort: Sort, address: Address<'_>) -> Result<Key, Refusal> {
    if !is_name(address.namespace, 63) || address.namespace.contains('.') {
        return Err(invalid("the namespace is missing or is no name of a namespace"));
    }
    if !is_name(address.name, 253) {
        return Err(invalid("the name is missing or is no name of an object"));
    }
    Ok(Key::namespaced(&sort.kind(), address.namespace, address.name))
}

fn is_name(text: &str, longest: usize) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let part = |part: &str| {
        part.bytes().all(|byte| inner(byte) || byte == b'-')
            && part.bytes().next().is_some_and(inner)
            && part.bytes().last().is_some_and(inner)
    };
    text.len() <= longest && text.split('.').all(part)
}
