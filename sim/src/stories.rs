//! The built-in cases: the roads an instance takes, each from an empty cluster.

use fakes::script::{Order, Switch, Target};
use serde_json::json;

use crate::case::{Case, Step, Until, Wish};
use crate::world::instance_path;

/// The instance of every built-in case.
pub const INSTANCE: &str = "org-a/files";

/// Names of the built-in cases.
pub const NAMES: [&str; 10] = [
    "install",
    "upgrade",
    "rollback",
    "deletion",
    "registration",
    "rotation",
    "job",
    "job-deletion",
    "whole",
    "several",
];

/// Those whose every request is struck by `sim enumerate` unless others are named.
pub const ENUMERATED: [&str; 8] =
    ["install", "upgrade", "rollback", "deletion", "registration", "rotation", "job", "job-deletion"];

/// A built-in case by name.
pub fn named(name: &str) -> Option<Case> {
    let workload = match name {
        "install" => install(),
        "upgrade" => [install(), upgrade()].concat(),
        "rollback" => [install(), rollback()].concat(),
        "deletion" => [install(), deletion()].concat(),
        "whole" => [install(), upgrade(), rollback(), deletion()].concat(),
        "registration" => return crate::scenario::read(include_str!("../scenarios/registration.sim")).ok(),
        "rotation" => return crate::scenario::read(include_str!("../scenarios/rotation.sim")).ok(),
        "job" => return crate::scenario::read(include_str!("../scenarios/job.sim")).ok(),
        "job-deletion" => return crate::scenario::read(include_str!("../scenarios/job-deletion.sim")).ok(),
        "several" => return crate::scenario::read(include_str!("../scenarios/several.sim")).ok(),
        _ => return None,
    };
    Some(Case::new(name, workload))
}

/// Time enough for a whole fail-over besides the work.
const WITHIN: u64 = 300;

fn wait(until: Until) -> Step {
    Step::Wait { until, within: WITHIN }
}

fn install() -> Vec<Step> {
    vec![
        Step::Namespace { name: "org-a".into(), gated: true },
        Step::Instance(Wish {
            instance: INSTANCE.into(),
            version: "6.6.0".into(),
            source: "oci".into(),
            values: json!({ "replicaCount": 2 }),
        }),
        wait(Until::Ready { instance: INSTANCE.into() }),
    ]
}

fn upgrade() -> Vec<Step> {
    vec![
        Step::Upgrade { instance: INSTANCE.into(), version: "7.0.0".into() },
        wait(Until::Ready { instance: INSTANCE.into() }),
    ]
}

fn rollback() -> Vec<Step> {
    vec![
        Step::Flux { order: failing_upgrade() },
        Step::Upgrade { instance: INSTANCE.into(), version: "8.0.0".into() },
        wait(Until::Condition {
            instance: INSTANCE.into(),
            kind: "Ready".into(),
            status: "True".into(),
            reason: "RolledBack".into(),
        }),
    ]
}

fn deletion() -> Vec<Step> {
    vec![Step::Delete { path: instance_path(INSTANCE) }, wait(Until::Gone { instance: INSTANCE.into() })]
}

/// The next upgrade of the instance fails in a hook and is rolled back.
pub fn failing_upgrade() -> Order {
    Order::new(Switch::H4)
        .on(Target::new("HelmRelease", "org-a", "files"))
        .times(1)
        .text("post-upgrade hooks failed: job files-migrate failed: BackoffLimitExceeded")
}
