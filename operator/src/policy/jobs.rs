//! What a job from the control plane may touch (contract §18.2). Asked before anything is written for a job, and once more
//! directly before its effect.

use serde::Serialize;
use serde_json::Value;

use super::{Class, Refusal, Settings, secrets};
use crate::api::cluster::JobPolicy;
use crate::api::{APPS_GROUP, OPS_GROUP, VERSION, gated, label};
use crate::cluster_api::{Kind, Object};
use crate::foreign::core;

/// The ConfigMap that holds the catalog policy (contract §13.4).
pub const CATALOG_POLICY: &str = "vworkspace-catalog-policy";
/// As it is written in `policy.jobs.extraKinds`.
const BACKUP_LOCATION: &str = "velero.io/BackupStorageLocation";

/// Namespaces that jobs may write to although they are not gated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Places {
    /// The operator's own.
    pub operator: String,
    /// Velero's.
    pub velero: String,
}

/// A kind that jobs may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Sort {
    /// ApplicationInstance.
    Instance,
    /// Operation.
    Operation,
    /// The one ConfigMap with the catalog policy.
    CatalogPolicy,
    /// BackupStorageLocation in Velero's namespace.
    BackupLocation,
}

impl Sort {
    /// The kind on the server.
    pub fn kind(self) -> Kind {
        match self {
            Sort::Instance => Kind::namespaced(APPS_GROUP, VERSION, "ApplicationInstance", "applicationinstances"),
            Sort::Operation => Kind::namespaced(OPS_GROUP, VERSION, "Operation", "operations"),
            Sort::CatalogPolicy => core::config_map(),
            Sort::BackupLocation => {
                Kind::namespaced("velero.io", "v1", "BackupStorageLocation", "backupstoragelocations")
            }
        }
    }

    /// Whether its namespace must be gated.
    fn gated(self) -> bool {
        matches!(self, Sort::Instance | Sort::Operation)
    }
}

/// What a job wants to do with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Verb {
    /// Server-side apply, or a patch of a declared field.
    Apply,
    /// Delete.
    Delete,
}

/// How an object is addressed in a job.
#[derive(Clone, Copy, Debug)]
pub struct Address<'a> {
    /// `apiVersion`.
    pub api_version: &'a str,
    /// `kind`.
    pub kind: &'a str,
    /// Namespace, empty if there is none.
    pub namespace: &'a str,
    /// Name.
    pub name: &'a str,
}

fn refused(code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal::coded(Class::Policy, code, message)
}

fn policy(settings: &Settings) -> JobPolicy {
    settings.cluster.policy.as_ref().and_then(|policy| policy.jobs.clone()).unwrap_or_default()
}

/// The allow-list of kinds. What is not on it is refused, whatever the rights of this process.
pub fn kind(address: Address<'_>, verb: Verb, settings: &Settings, places: &Places) -> Result<Sort, Refusal> {
    let Address { api_version, kind, namespace, name } = address;
    let not_allowed = |message: &str| Err(refused("KindNotAllowed", message));
    match (api_version, kind) {
        ("apps.vworkspace.io/v1alpha1", "ApplicationInstance") => Ok(Sort::Instance),
        ("ops.vworkspace.io/v1alpha1", "Operation") => Ok(Sort::Operation),
        ("v1", "ConfigMap") if namespace == places.operator && name == CATALOG_POLICY && verb == Verb::Apply => {
            Ok(Sort::CatalogPolicy)
        }
        ("v1", "ConfigMap") => {
            not_allowed("of ConfigMaps a job may only apply the catalog policy in the operator namespace")
        }
        ("velero.io/v1", "BackupStorageLocation") => {
            let listed = policy(settings).extra_kinds.iter().any(|kind| kind == BACKUP_LOCATION);
            if !listed {
                return not_allowed(
                    "this cluster does not let jobs write BackupStorageLocations (policy.jobs.extraKinds)",
                );
            }
            if namespace != places.velero || verb != Verb::Apply {
                return not_allowed("a BackupStorageLocation can only be applied, and only in Velero's namespace");
            }
            Ok(Sort::BackupLocation)
        }
        // Delivery of Secrets needs an encrypted payload, which this version cannot read.
        ("v1", "Secret") => not_allowed("a Secret is taken from an encrypted payload only"),
        _ => not_allowed("jobs may only name ApplicationInstances and Operations"),
    }
}

/// Whether the namespace of an object is open to jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Door {
    /// It is there and open.
    Open,
    /// It is absent, and this cluster allows to create it.
    Create,
}

/// The gate, as it stands in the namespace that was read (contract §4.3, §14.1).
pub fn namespace(
    sort: Sort,
    name: &str,
    read: Option<&Object>,
    verb: Verb,
    settings: &Settings,
) -> Result<Door, Refusal> {
    if !sort.gated() {
        return Ok(Door::Open);
    }
    let policy = policy(settings);
    let closed = |message: &str| Err(refused("NamespaceNotGated", message));
    let listed = policy.namespace_patterns.iter().any(|pattern| matches(pattern, name));
    if !policy.namespace_patterns.is_empty() && !listed {
        return closed("this cluster does not let jobs write to this namespace (policy.jobs.namespacePatterns)");
    }
    let Some(namespace) = read else {
        return match (policy.create_namespaces && listed, verb) {
            (true, Verb::Apply) => Ok(Door::Create),
            // Nothing can be in it: the delete finds its object absent.
            (true, Verb::Delete) => Ok(Door::Open),
            (false, _) => closed("the namespace does not exist; create it with the label managed-by=vworkspace"),
        };
    };
    if !gated(namespace.0.pointer("/metadata/labels").unwrap_or(&Value::Null)) {
        return closed("the namespace does not carry the label managed-by=vworkspace");
    }
    if namespace.deleting() && verb == Verb::Apply {
        return closed("the namespace is being deleted");
    }
    Ok(Door::Open)
}

/// A job may write into this cluster only, and cannot claim to be the operator. Labels by which the operator knows its own
/// objects are refused rather than taken out: whoever sends them means something by it.
pub fn labels(object: &Object, settings: &Settings) -> Result<(), Refusal> {
    let labels = object.0.pointer("/metadata/labels");
    let value = |key: &str| labels.and_then(|labels| labels.get(key)).filter(|value| !value.is_null());
    if let Some(id) = value(label::CLUSTER_ID)
        && settings.cluster_id.as_deref().is_none_or(|own| id.as_str() != Some(own))
    {
        return Err(refused("ClusterIdMismatch", format!("label {} names another cluster", label::CLUSTER_ID)));
    }
    if let Some(manager) = value(label::MANAGED_BY)
        && !matches!(manager.as_str(), Some(label::CONTROL_PLANE | label::ODOO))
    {
        return Err(Refusal::coded(
            Class::Shape,
            "InvalidPayload",
            format!("label {} must be {} or absent", label::MANAGED_BY, label::CONTROL_PLANE),
        ));
    }
    for reserved in [label::OPERATION, label::INSTANCE_UID, label::PARENT_OPERATION, label::SOURCE_HOOK] {
        if value(reserved).is_some() {
            return Err(Refusal::coded(
                Class::Shape,
                "InvalidPayload",
                format!("label {reserved} is set by the operator; leave it out"),
            ));
        }
    }
    Ok(())
}

/// Inline secrets where the kind may hold any (contract §13.3).
pub fn secrets(sort: Sort, object: &Object) -> Result<(), Refusal> {
    let below: &[&str] = match sort {
        Sort::Instance => &["values", "valuesPatch"],
        Sort::Operation => &["parameters"],
        Sort::BackupLocation => &["config"],
        Sort::CatalogPolicy => &[],
    };
    let finding = below.iter().find_map(|field| {
        let value = object.0.get("spec")?.get(field)?;
        secrets::scan(&format!("spec.{field}"), value)
    });
    match finding {
        Some(finding) => Err(refused("InlineSecretMaterialRejected", finding.text())),
        None => Ok(()),
    }
}

/// Whether an object that exists may be deleted or cancelled by a job: only what came from a control plane.
pub fn managed(target: &Object) -> Result<(), Refusal> {
    match super::gate::intake(target) {
        super::gate::Intake::Managed => Ok(()),
        super::gate::Intake::Ignored => {
            Err(refused("NotManaged", format!("the object does not carry the label {}", label::MANAGED_BY)))
        }
    }
}

/// `*` is any text, `?` any one character.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    // Which prefixes of the pattern match the text read so far.
    let mut reached = vec![false; pattern.len() + 1];
    reached[0] = true;
    for (at, wanted) in pattern.iter().enumerate() {
        reached[at + 1] = reached[at] && *wanted == '*';
    }
    for character in text {
        let mut next = vec![false; pattern.len() + 1];
        for (at, wanted) in pattern.iter().enumerate() {
            next[at + 1] = match wanted {
                '*' => next[at] || reached[at + 1],
                '?' => reached[at],
                wanted => reached[at] && *wanted == character,
            };
        }
        reached = next;
    }
    reached.last() == Some(&true)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::cluster::Policy;

    fn settings(jobs: Value) -> Settings {
        let jobs: JobPolicy = serde_json::from_value(jobs).expect("a policy");
        let mut settings = Settings { cluster_id: Some("c1".into()), ..Settings::default() };
        settings.cluster.policy = Some(Policy { jobs: Some(jobs), ..Policy::default() });
        settings
    }

    fn places() -> Places {
        Places { operator: "vworkspace-system".into(), velero: "velero".into() }
    }

    #[test]
    fn kinds_by_verb_place_and_switch() {
        let location = json!({"extraKinds": ["velero.io/BackupStorageLocation", "batch/Job"]});
        type Row = (&'static str, &'static str, &'static str, &'static str, Verb, Value, Option<Sort>);
        let rows: &[Row] = &[
            (
                "apps.vworkspace.io/v1alpha1",
                "ApplicationInstance",
                "a",
                "x",
                Verb::Apply,
                json!({}),
                Some(Sort::Instance),
            ),
            ("ops.vworkspace.io/v1alpha1", "Operation", "a", "x", Verb::Delete, json!({}), Some(Sort::Operation)),
            ("apps.vworkspace.io/v1", "ApplicationInstance", "a", "x", Verb::Apply, json!({}), None),
            ("ops.vworkspace.io/v1alpha1", "Cluster", "", "x", Verb::Apply, json!({}), None),
            ("v1", "ConfigMap", "vworkspace-system", CATALOG_POLICY, Verb::Apply, json!({}), Some(Sort::CatalogPolicy)),
            ("v1", "ConfigMap", "vworkspace-system", CATALOG_POLICY, Verb::Delete, json!({}), None),
            ("v1", "ConfigMap", "vworkspace-system", "vworkspace-applied-jobs", Verb::Apply, json!({}), None),
            ("v1", "ConfigMap", "org-a", CATALOG_POLICY, Verb::Apply, json!({}), None),
            ("velero.io/v1", "BackupStorageLocation", "velero", "x", Verb::Apply, json!({}), None),
            (
                "velero.io/v1",
                "BackupStorageLocation",
                "velero",
                "x",
                Verb::Apply,
                location.clone(),
                Some(Sort::BackupLocation),
            ),
            ("velero.io/v1", "BackupStorageLocation", "velero", "x", Verb::Delete, location.clone(), None),
            ("velero.io/v1", "BackupStorageLocation", "org-a", "x", Verb::Apply, location.clone(), None),
            ("batch/v1", "Job", "org-a", "x", Verb::Apply, location, None),
            ("v1", "Secret", "org-a", "x", Verb::Apply, json!({"secretDelivery": true}), None),
        ];
        for (api_version, kind_name, namespace, name, verb, jobs, expect) in rows {
            let address = Address { api_version, kind: kind_name, namespace, name };
            let got = kind(address, *verb, &settings(jobs.clone()), &places());
            assert_eq!(got.as_ref().ok(), expect.as_ref(), "{address:?}");
            assert!(got.is_ok() || got.unwrap_err().code == "KindNotAllowed");
        }
    }

    #[test]
    fn the_gate_and_the_patterns() {
        let open = Object(json!({"metadata": {"labels": {"managed-by": "vworkspace"}}}));
        let closed = Object(json!({"metadata": {"labels": {}}}));
        let going = Object(json!({"metadata": {"labels": {"managed-by": "vworkspace"}, "deletionTimestamp": "x"}}));
        let create = json!({"createNamespaces": true, "namespacePatterns": ["org-*"]});
        type Row<'a> = (Value, &'a str, Option<&'a Object>, Verb, Option<Door>);
        let rows: &[Row<'_>] = &[
            (json!({}), "org-a", Some(&open), Verb::Apply, Some(Door::Open)),
            (json!({}), "org-a", Some(&closed), Verb::Apply, None),
            (json!({}), "org-a", Some(&closed), Verb::Delete, None),
            (json!({}), "org-a", Some(&going), Verb::Apply, None),
            (json!({}), "org-a", Some(&going), Verb::Delete, Some(Door::Open)),
            (json!({}), "org-a", None, Verb::Apply, None),
            (json!({"createNamespaces": true}), "org-a", None, Verb::Apply, None),
            (create.clone(), "org-a", None, Verb::Apply, Some(Door::Create)),
            (create.clone(), "kube-system", None, Verb::Apply, None),
            (create.clone(), "shop", Some(&open), Verb::Apply, None),
            (create, "org-a", Some(&closed), Verb::Apply, None),
        ];
        for (jobs, name, read, verb, expect) in rows {
            let got = namespace(Sort::Instance, name, *read, *verb, &settings(jobs.clone()));
            assert_eq!(got.ok(), *expect, "{jobs} {name} {verb:?}");
        }
        assert_eq!(namespace(Sort::CatalogPolicy, "s", None, Verb::Apply, &settings(json!({}))), Ok(Door::Open));
    }

    #[test]
    fn nobody_is_impersonated() {
        let check = |labels: Value| {
            let object = Object(json!({"metadata": {"labels": labels}}));
            super::labels(&object, &settings(json!({}))).err().map(|refusal| refusal.code)
        };
        assert_eq!(check(json!({"app.vworkspace.io/cluster-id": "c1", "x": "y"})), None);
        assert_eq!(check(json!({"app.vworkspace.io/cluster-id": "c2"})), Some("ClusterIdMismatch"));
        assert_eq!(check(json!({"app.vworkspace.io/cluster-id": 1})), Some("ClusterIdMismatch"));
        assert_eq!(check(json!({"app.vworkspace.io/managed-by": "odoo"})), None);
        assert_eq!(check(json!({"app.vworkspace.io/managed-by": "vworkspace-operator"})), Some("InvalidPayload"));
        assert_eq!(check(json!({"ops.vworkspace.io/parent-operation": "u"})), Some("InvalidPayload"));
    }

    #[test]
    fn patterns() {
        for (pattern, text, expect) in [
            ("org-*", "org-a", true),
            ("org-*", "org-", true),
            ("org-?", "org-ab", false),
            ("*", "anything", true),
            ("", "", true),
            ("", "a", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
        ] {
            assert_eq!(matches(pattern, text), expect, "{pattern} {text}");
        }
    }
}
