//! The templates of Operations: which pairs of type and engine exist, and what each asks for (contract §9.1).
//!
//! The table is compiled in. Cluster settings and the catalog policy can only make a template stricter; [`Effective`] is
//! what is left when all of them have spoken.

use serde::Serialize;

use crate::api::cluster::{MaintenanceWindow, TemplateRule};
use crate::api::operation::{EngineName, OperationType};
use crate::cluster_api::Object;

/// One row of contract §9.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Template {
    /// The reference, which is also the RBAC profile.
    pub reference: &'static str,
    /// What it does.
    pub type_: OperationType,
    /// What does it.
    pub engine: EngineName,
    /// Capability annotations of the target that allow it, as (name below `ops.vworkspace.io/`, engine).
    pub capabilities: &'static [(&'static str, &'static str)],
    /// Whether an approval is needed.
    pub approval: bool,
    /// Whether the target must be Ready.
    pub require_ready: bool,
    /// How long the work may take, in seconds.
    pub timeout_seconds: i64,
    /// Whether its pods run under the runner's account, so that the runner must be bound in the namespace.
    pub runner: bool,
}

const HOUR: i64 = 3600;

const fn row(
    reference: &'static str,
    type_: OperationType,
    engine: EngineName,
    capabilities: &'static [(&'static str, &'static str)],
    timeout_seconds: i64,
) -> Template {
    let approval = matches!(type_, OperationType::Restore);
    let require_ready = matches!(type_, OperationType::Upgrade | OperationType::Migration);
    let runner = matches!(engine, EngineName::Workflow | EngineName::Job);
    Template { reference, type_, engine, capabilities, approval, require_ready, timeout_seconds, runner }
}

/// All templates.
pub const TEMPLATES: &[Template] = &[
    row("backup.velero", OperationType::Backup, EngineName::Velero, &[("backup", "velero")], 6 * HOUR),
    row(
        "backup.volsync",
        OperationType::Backup,
        EngineName::Volsync,
        &[("backup", "volsync"), ("replicate", "volsync")],
        4 * HOUR,
    ),
    row(
        "backup.snapshot",
        OperationType::Backup,
        EngineName::Snapshot,
        &[("backup", "snapshot"), ("snapshot", "snapshot")],
        HOUR,
    ),
    row("restore.velero", OperationType::Restore, EngineName::Velero, &[("restore", "velero")], 6 * HOUR),
    row(
        "restore.volsync",
        OperationType::Restore,
        EngineName::Volsync,
        &[("restore", "volsync"), ("replicate", "volsync")],
        4 * HOUR,
    ),
    row(
        "restore.snapshot",
        OperationType::Restore,
        EngineName::Snapshot,
        &[("restore", "snapshot"), ("snapshot", "snapshot")],
        HOUR,
    ),
    row("upgrade.helm", OperationType::Upgrade, EngineName::Helm, &[("upgrade", "helm")], HOUR),
    row("migration.workflow", OperationType::Migration, EngineName::Workflow, &[("migration", "workflow")], 4 * HOUR),
    row(
        "migration.helmHookJob",
        OperationType::Migration,
        EngineName::HelmHookJob,
        &[("migration", "helmHookJob")],
        2 * HOUR,
    ),
    row("migration.job", OperationType::Migration, EngineName::Job, &[("migration", "job")], 2 * HOUR),
    row("runCommand.job", OperationType::RunCommand, EngineName::Job, &[("runcommand", "job")], HOUR),
    row("runbook.workflow", OperationType::Runbook, EngineName::Workflow, &[("runbook", "workflow")], 4 * HOUR),
];

/// The template of a pair; `None` for a pair that does not exist.
pub fn template(type_: OperationType, engine: EngineName) -> Option<&'static Template> {
    TEMPLATES.iter().find(|template| (template.type_, template.engine) == (type_, engine))
}

/// Whether the target's capability annotations allow the template (contract §4.2: one engine or a comma-separated list;
/// `runCommand` is an alias of `runcommand`).
pub fn capable(template: &Template, target: &Object) -> bool {
    template.capabilities.iter().any(|(name, engine)| {
        let aliases: &[&str] = if *name == "runcommand" { &["runcommand", "runCommand"] } else { &[name] };
        aliases
            .iter()
            .filter_map(|name| target.annotation(&format!("ops.vworkspace.io/{name}")))
            .flat_map(|value| value.split(','))
            .any(|listed| listed.trim() == *engine)
    })
}

/// What a catalog policy says of a template (contract §13.4).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CatalogRule {
    /// It is not available.
    pub disabled: bool,
    /// An approval is needed.
    pub approval_required: bool,
    /// Nothing else may run beside it.
    pub exclusive: bool,
    /// The target must be Ready.
    pub require_ready: bool,
    /// At most this long, in seconds.
    pub timeout_seconds: Option<i64>,
}

/// What holds for one Operation when template, cluster settings, catalog policy and the Operation itself have spoken.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Effective {
    /// Somebody removed the template.
    pub disabled: bool,
    /// An approval is needed.
    pub approval: bool,
    /// It conflicts with every other Operation on its target.
    pub exclusive: bool,
    /// The target must be Ready.
    pub require_ready: bool,
    /// How long the work may take, in seconds, from the start record.
    pub timeout_seconds: i64,
    /// How long it may wait for its preconditions, in seconds, from its creation.
    pub wait_seconds: i64,
    /// When it may start; empty is always.
    pub windows: Vec<MaintenanceWindow>,
}

/// Default wait window (contract §7.1), in seconds.
pub const WAIT: i64 = 86_400;

/// What the Operation itself asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// `spec.approvals.required`.
    pub approval: bool,
    /// `spec.policy.requireReady`.
    pub require_ready: Option<bool>,
    /// `spec.timeoutSeconds`.
    pub timeout_seconds: Option<i64>,
    /// `spec.policy.preconditionTimeoutSeconds`.
    pub wait_seconds: Option<i64>,
}

/// Combines them: approval and exclusivity are ored, limits are the smallest, readiness may be waived by the Operation only
/// where neither cluster nor catalog insists.
pub fn effective(
    template: &Template,
    cluster: Option<&TemplateRule>,
    catalog: Option<&CatalogRule>,
    asked: Asked,
) -> Effective {
    let of_cluster = |of: fn(&TemplateRule) -> Option<bool>| cluster.and_then(of).unwrap_or(false);
    let of_catalog = |of: fn(&CatalogRule) -> bool| catalog.is_some_and(of);
    let insists = of_cluster(|rule| rule.require_ready) || of_catalog(|rule| rule.require_ready);
    let caps = [cluster.and_then(|rule| rule.timeout_seconds), catalog.and_then(|rule| rule.timeout_seconds)];
    // A limit of the cluster also bounds what an Operation asks for; the template's own is only a default.
    let cap = caps.into_iter().flatten().min();
    let wanted = asked.timeout_seconds.unwrap_or(template.timeout_seconds);
    Effective {
        disabled: of_cluster(|rule| rule.disabled) || of_catalog(|rule| rule.disabled),
        approval: template.approval
            || asked.approval
            || of_cluster(|rule| rule.approval_required)
            || of_catalog(|rule| rule.approval_required),
        exclusive: of_cluster(|rule| rule.exclusive) || of_catalog(|rule| rule.exclusive),
        require_ready: insists || asked.require_ready.unwrap_or(template.require_ready),
        timeout_seconds: cap.map_or(wanted, |cap| wanted.min(cap)),
        wait_seconds: asked
            .wait_seconds
            .or_else(|| cluster.and_then(|rule| rule.precondition_timeout_seconds))
            .unwrap_or(WAIT),
        windows: cluster.map(|rule| rule.maintenance_windows.clone()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_is_the_contracts() {
        let rows: Vec<String> = TEMPLATES
            .iter()
            .map(|row| {
                let capabilities: Vec<String> =
                    row.capabilities.iter().map(|(name, engine)| format!("{name}={engine}")).collect();
                let flag = |set: bool| if set { "yes" } else { "no" };
                let hours = row.timeout_seconds / HOUR;
                format!(
                    "{} {:?} {} {} {} {hours} h",
                    row.reference,
                    row.type_,
                    capabilities.join(" or "),
                    flag(row.approval),
                    flag(row.require_ready)
                )
            })
            .collect();
        assert_eq!(
            rows,
            [
                "backup.velero Backup backup=velero no no 6 h",
                "backup.volsync Backup backup=volsync or replicate=volsync no no 4 h",
                "backup.snapshot Backup backup=snapshot or snapshot=snapshot no no 1 h",
                "restore.velero Restore restore=velero yes no 6 h",
                "restore.volsync Restore restore=volsync or replicate=volsync yes no 4 h",
                "restore.snapshot Restore restore=snapshot or snapshot=snapshot yes no 1 h",
                "upgrade.helm Upgrade upgrade=helm no yes 1 h",
                "migration.workflow Migration migration=workflow no yes 4 h",
                "migration.helmHookJob Migration migration=helmHookJob no yes 2 h",
                "migration.job Migration migration=job no yes 2 h",
                "runCommand.job RunCommand runcommand=job no no 1 h",
                "runbook.workflow Runbook runbook=workflow no no 4 h",
            ]
        );
        let engines: Vec<&str> = TEMPLATES.iter().filter(|row| row.runner).map(|row| row.reference).collect();
        assert_eq!(engines, ["migration.workflow", "migration.job", "runCommand.job", "runbook.workflow"]);
        assert_eq!(template(OperationType::Upgrade, EngineName::Velero), None);
    }

    #[test]
    fn capabilities_are_lists_and_exact_words() {
        let target = |annotations: serde_json::Value| Object(json!({"metadata": {"annotations": annotations}}));
        let backup = template(OperationType::Backup, EngineName::Volsync).expect("a template");
        for (annotations, expect) in [
            (json!({"ops.vworkspace.io/backup": "volsync"}), true),
            (json!({"ops.vworkspace.io/backup": "velero, volsync ,snapshot"}), true),
            (json!({"ops.vworkspace.io/replicate": "volsync"}), true),
            (json!({"ops.vworkspace.io/backup": "velero"}), false),
            (json!({"ops.vworkspace.io/backup": "VolSync"}), false),
            (json!({"ops.vworkspace.io/restore": "volsync"}), false),
            (json!({"ops.vworkspace.io/backup": ""}), false),
            (json!(null), false),
        ] {
            assert_eq!(capable(backup, &target(annotations.clone())), expect, "{annotations}");
        }
        let command = template(OperationType::RunCommand, EngineName::Job).expect("a template");
        assert!(capable(command, &target(json!({"ops.vworkspace.io/runCommand": "job"}))));
    }

    #[test]
    fn settings_only_tighten() {
        let row = template(OperationType::Upgrade, EngineName::Helm).expect("a template");
        let plain = effective(row, None, None, Asked::default());
        assert_eq!(
            (plain.approval, plain.require_ready, plain.timeout_seconds, plain.wait_seconds),
            (false, true, HOUR, WAIT)
        );
        let waived = Asked { require_ready: Some(false), timeout_seconds: Some(2 * HOUR), ..Asked::default() };
        let free = effective(row, None, None, waived);
        assert_eq!((free.require_ready, free.timeout_seconds), (false, 2 * HOUR));
        let rule = TemplateRule {
            require_ready: Some(true),
            timeout_seconds: Some(600),
            approval_required: Some(true),
            ..TemplateRule::default()
        };
        let tight = effective(row, Some(&rule), None, waived);
        assert_eq!((tight.require_ready, tight.timeout_seconds, tight.approval), (true, 600, true));
        let loose = TemplateRule { approval_required: Some(false), ..TemplateRule::default() };
        let restore = template(OperationType::Restore, EngineName::Velero).expect("a template");
        assert!(effective(restore, Some(&loose), None, Asked::default()).approval, "no setting takes an approval away");
        let catalog =
            CatalogRule { exclusive: true, disabled: true, timeout_seconds: Some(60), ..CatalogRule::default() };
        let both = effective(row, Some(&rule), Some(&catalog), Asked::default());
        assert_eq!((both.exclusive, both.disabled, both.timeout_seconds), (true, true, 60));
    }
}
