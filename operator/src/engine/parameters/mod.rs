//! Parameters of Operations: one type per template, its JSON Schema, and the aliases that are accepted (contract §9.1, §10).
//!
//! The types are the schema: what a control plane renders as a form and what is checked here come from one place. A schema
//! refuses unknown members, so a misspelt parameter is told and not ignored.

use std::sync::LazyLock;

use jsonschema::Validator;
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::operation::Hold;
use crate::api::condition::Reason;
use crate::policy::template::{TEMPLATES, Template};

mod pods;
mod releases;
mod volumes;

pub use pods::{
    Environment, EnvironmentSource, EnvironmentVariable, HookParameters, JobParameters, KeySelector, Quantity,
    Resources, VolumeMount, WorkflowParameters,
};
pub use releases::HelmParameters;
pub use volumes::{
    ExistingResources, Quiesce, Repository, Retain, SnapshotBackup, SnapshotRestore, VeleroBackup, VeleroRestore,
    VolsyncBackup, VolsyncRestore,
};

/// Accepted names beside the first: (template references, alias, first name). Where both are given the first name wins,
/// except that `retention` wins over `ttl` (contract §10.2).
const ALIASES: &[(&[&str], &str, &str)] = &[
    (&["backup.velero"], "retention", "ttl"),
    (&["backup.velero"], "snapshotClassName", "csiSnapshotClassName"),
    (&["migration.workflow", "runbook.workflow"], "workflowTemplate", "template"),
    (&["migration.job", "runCommand.job"], "timeoutSeconds", "activeDeadlineSeconds"),
];
/// Aliases that win over the first name.
const WINNERS: &[&str] = &["retention"];

/// The JSON Schema (2020-12) of a template's parameters.
pub fn schema(reference: &str) -> Option<Schema> {
    Some(match reference {
        "backup.velero" => of::<VeleroBackup>(),
        "restore.velero" => of::<VeleroRestore>(),
        "backup.snapshot" => of::<SnapshotBackup>(),
        "restore.snapshot" => of::<SnapshotRestore>(),
        "backup.volsync" => of::<VolsyncBackup>(),
        "restore.volsync" => of::<VolsyncRestore>(),
        "migration.workflow" | "runbook.workflow" => of::<WorkflowParameters>(),
        "migration.job" | "runCommand.job" => of::<JobParameters>(),
        "migration.helmHookJob" => of::<HookParameters>(),
        "upgrade.helm" => of::<HelmParameters>(),
        _ => return None,
    })
}

fn of<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator()
        .into_root_schema_for::<T>()
}

static VALIDATORS: LazyLock<Vec<(&'static str, Validator)>> = LazyLock::new(|| {
    let validator = |template: &Template| {
        let schema = schema(template.reference).expect("every template has parameters");
        let validator = jsonschema::draft202012::new(schema.as_value()).expect("schemas made from types are valid");
        (template.reference, validator)
    };
    TEMPLATES.iter().map(validator).collect()
});

/// Parameters under their first names, checked against the template's schema.
///
/// # Errors
/// Every violation, as `parameters.<path>: <what>`, in path order; never a value of the user's.
pub fn resolve(template: &Template, parameters: &Value) -> Result<Map<String, Value>, Vec<String>> {
    let mut parameters = match parameters {
        Value::Object(parameters) => parameters.clone(),
        Value::Null => Map::new(),
        _ => return Err(vec!["parameters: must be an object".into()]),
    };
    for (templates, alias, first) in ALIASES {
        if !templates.contains(&template.reference) {
            continue;
        }
        if let Some(value) = parameters.remove(*alias)
            && (WINNERS.contains(alias) || !parameters.contains_key(*first))
        {
            parameters.insert((*first).into(), value);
        }
    }
    let value = Value::Object(parameters);
    let validator = VALIDATORS.iter().find(|(reference, _)| *reference == template.reference);
    let mut found: Vec<String> = validator
        .iter()
        .flat_map(|(_, validator)| validator.iter_errors(&value))
        .map(|error| {
            let path = error.instance_path().to_string().replace('/', ".");
            format!("parameters{path}: {}", what(&error))
        })
        .collect();
    found.sort();
    found.dedup();
    match value {
        Value::Object(parameters) if found.is_empty() => Ok(parameters),
        _ => Err(found),
    }
}

/// The violation without the value: a parameter may hold what nobody should read in a condition.
fn what(error: &jsonschema::ValidationError<'_>) -> String {
    use jsonschema::error::ValidationErrorKind as Kind;
    match error.kind() {
        Kind::AdditionalProperties { unexpected } => {
            let mut names = unexpected.clone();
            names.sort();
            format!("unknown: {}", names.join(", "))
        }
        Kind::Required { property } => format!("{} is required", property.as_str().unwrap_or_default()),
        Kind::Type { .. } => "is of another type".into(),
        _ => error.masked_with("it").to_string(),
    }
}

/// The parameters of an order as their type. They passed the schema; what is refused here the schema cannot say.
///
/// # Errors
/// Shown as `Blocked=T/ValidationFailed`: parameters can still be edited.
pub fn read<T: DeserializeOwned>(parameters: &Map<String, Value>) -> Result<T, Hold> {
    serde_json::from_value(Value::Object(parameters.clone()))
        .map_err(|_| Hold::wait(Reason::ValidationFailed, "parameters do not have the form of their template"))
}

/// A free-form object in a schema.
fn free(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({ "type": "object" })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template(reference: &str) -> &'static Template {
        TEMPLATES.iter().find(|template| template.reference == reference).expect("a template")
    }

    #[test]
    fn parameters_are_checked_by_schema_and_told_by_path() {
        for (reference, parameters, expect) in [
            ("backup.velero", json!({}), ""),
            ("backup.velero", json!(null), ""),
            ("backup.velero", json!([1]), "parameters: must be an object"),
            ("backup.velero", json!({"ttl": "720h", "retention": "4w", "snapshotClassName": "rbd"}), ""),
            ("backup.velero", json!({"storageLocaton": "x"}), "parameters: unknown: storageLocaton"),
            ("backup.velero", json!({"snapshotVolumes": "yes"}), "parameters.snapshotVolumes: is of another type"),
            ("restore.velero", json!({}), "parameters: backupName is required"),
            (
                "restore.velero",
                json!({"backupName": "b", "existingResourcePolicy": "replace"}),
                "parameters.existingResourcePolicy: ",
            ),
            (
                "backup.snapshot",
                json!({"pvc": "data", "quiesce": {"enabled": true, "timeoutSeconds": 601}}),
                "parameters.quiesce.timeoutSeconds: ",
            ),
            (
                "backup.volsync",
                json!({"pvc": "d", "repository": {"secretName": "s", "type": "restic"}, "schedule": "*/15 * * * *", "retain": {"hourly": 24}}),
                "",
            ),
            (
                "restore.volsync",
                json!({"pvc": "d", "repository": {"secretName": "s", "type": "restic"}, "schedule": "x"}),
                "parameters: unknown: schedule",
            ),
            ("runCommand.job", json!({"image": "busybox", "env": {"A": "b"}}), ""),
            (
                "runCommand.job",
                json!({"image": "busybox", "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}),
                "",
            ),
            ("runCommand.job", json!({"image": "", "ttlSecondsAfterFinished": 60}), "parameters.image: "),
            ("runCommand.job", json!({"image": "x", "serviceAccountName": "admin"}), "parameters.serviceAccountName: "),
            ("migration.workflow", json!({"workflowTemplate": "t", "workflowTemplateParameters": {"a": "b"}}), ""),
            (
                "migration.workflow",
                json!({"template": "t", "workflowTemplateParameters": {"a": 1}}),
                "parameters.workflowTemplateParameters.a: is of another type",
            ),
            ("migration.helmHookJob", json!({"hookName": "h", "backoffLimit": -1}), "parameters.backoffLimit: "),
            ("upgrade.helm", json!({}), "parameters: "),
            ("upgrade.helm", json!({"targetVersion": "7.0.0"}), ""),
            ("upgrade.helm", json!({"valuesPatch": {"a": {"b": 1}}}), ""),
        ] {
            match resolve(template(reference), &parameters) {
                Ok(_) => assert_eq!(expect, "", "{reference} {parameters}"),
                Err(found) => {
                    assert!(!expect.is_empty(), "{reference} {parameters}: {found:?}");
                    assert!(found[0].starts_with(expect), "{reference} {parameters}: {found:?}");
                }
            }
        }
    }

    #[test]
    fn aliases_give_way_to_the_first_name_except_retention() {
        let resolved = |parameters| Value::Object(resolve(template("backup.velero"), &parameters).expect("valid"));
        assert_eq!(resolved(json!({"ttl": "1h", "retention": "2h"})), json!({"ttl": "2h"}));
        let both = json!({"csiSnapshotClassName": "a", "snapshotClassName": "b"});
        assert_eq!(resolved(both), json!({"csiSnapshotClassName": "a"}));
        let job = resolve(template("migration.job"), &json!({"image": "x", "timeoutSeconds": 5})).expect("valid");
        assert_eq!(job["activeDeadlineSeconds"], json!(5));
    }

    #[test]
    fn a_violation_never_quotes_a_value() {
        let found = resolve(
            template("runCommand.job"),
            &json!({"image": {"hunter2": 1}, "command": "hunter2", "backoffLimit": "hunter2"}),
        );
        let text = found.expect_err("three violations").join("; ");
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn every_schema_is_closed_and_described() {
        for template in TEMPLATES {
            let schema = schema(template.reference).expect("a schema");
            let schema = schema.as_value();
            assert_eq!(schema["additionalProperties"], json!(false), "{}", template.reference);
            for (name, property) in schema["properties"].as_object().expect("properties") {
                assert!(property["description"].is_string(), "{}.{name} has no description", template.reference);
            }
        }
    }
}
