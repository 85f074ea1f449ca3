//! `sim faults`: every fault there is, struck once in a story of its own, with what became of it.

use fakes::faults::Rule;
use fakes::script::{Order, Switch, Target};
use serde::Serialize;

use super::Exit;
use super::screen::{Screen, Tint};
use crate::case::{Case, Step};
use crate::simulation::Simulation;
use crate::stories;
use crate::trace::Detail;

/// One line of the list.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    id: String,
    what: &'static str,
    struck: u64,
    verdict: String,
}

/// Request and watch faults: id in the catalogue, what it is, and the rule.
const REQUESTS: [(&str, &str); 20] = [
    ("crash before a request", r#"{"id":"F1","match":{"verb":"write"},"nth":4,"strike":{"do":"crash"}}"#),
    ("crash after a commit", r#"{"id":"F2","match":{"verb":"write"},"nth":4,"at":"after","strike":{"do":"crash"}}"#),
    ("crash after a reply", r#"{"id":"F3","match":{"verb":"write"},"nth":4,"at":"reply","strike":{"do":"crash"}}"#),
    ("request lost", r#"{"id":"F11","match":{"verb":"apply"},"nth":2,"strike":{"do":"lose"}}"#),
    ("request never answered", r#"{"id":"F11","match":{"verb":"apply"},"nth":2,"strike":{"do":"silence"}}"#),
    ("committed, reply lost", r#"{"id":"F12","match":{"verb":"apply"},"nth":2,"at":"after","strike":{"do":"lose"}}"#),
    (
        "committed, never answered",
        r#"{"id":"F12","match":{"verb":"apply"},"nth":2,"at":"after","strike":{"do":"silence"}}"#,
    ),
    (
        "500 after the commit",
        r#"{"id":"F13","match":{"verb":"apply"},"nth":2,"at":"after","strike":{"do":"answer","status":500}}"#,
    ),
    (
        "504 after the commit",
        r#"{"id":"F13","match":{"verb":"apply"},"nth":2,"at":"after","strike":{"do":"answer","status":504}}"#,
    ),
    ("503 before", r#"{"id":"F13","match":{"verb":"get"},"nth":3,"strike":{"do":"answer","status":503}}"#),
    (
        "429 with a delay",
        r#"{"id":"F13","match":{"verb":"get"},"nth":3,"strike":{"do":"answer","status":429,"retryAfter":3}}"#,
    ),
    (
        "429 in plain text",
        r#"{"id":"F13","match":{"verb":"get"},"nth":3,"strike":{"do":"answer","status":429,"retryAfter":3,"plain":true}}"#,
    ),
    ("carried out twice", r#"{"id":"F14","match":{"verb":"apply"},"nth":2,"strike":{"do":"twice"}}"#),
    ("conflict", r#"{"id":"F15","match":{"verb":"apply"},"nth":2,"strike":{"do":"answer","status":409}}"#),
    ("slow head", r#"{"id":"F20","match":{"verb":"get"},"nth":3,"at":"reply","strike":{"do":"slowHead","ms":15000}}"#),
    ("slow body", r#"{"id":"F20","match":{"verb":"get"},"nth":3,"at":"reply","strike":{"do":"slowBody","ms":15000}}"#),
    ("half a body", r#"{"id":"F20","match":{"verb":"get"},"nth":3,"at":"reply","strike":{"do":"halfBody"}}"#),
    (
        "watch goes silent",
        r#"{"id":"F22","match":{"verb":"watch","kind":"HelmRelease"},"at":"reply","strike":{"do":"halfOpen","after":3}}"#,
    ),
    (
        "watch expires",
        r#"{"id":"F22","match":{"verb":"watch","kind":"HelmRelease"},"at":"reply","strike":{"do":"expire","after":3}}"#,
    ),
    (
        "events pass unseen",
        r#"{"id":"F23","match":{"verb":"watch","kind":"ApplicationInstance"},"at":"reply","strike":{"do":"miss","after":1}}"#,
    ),
];

/// Runs each fault in a story of its own.
pub fn faults(screen: Screen) -> Exit {
    let mut outcomes = Vec::new();
    let bar = screen.progress((REQUESTS.len() + Switch::FLUX.len()) as u64, "faults");
    for (what, rule) in REQUESTS {
        let mut rule: Rule = serde_json::from_str(rule).expect("a constant rule");
        rule.actor = "operator-0".into();
        let mut case = stories::named("whole").expect("a built-in case");
        case.faults.push(rule.clone());
        outcomes.push(outcome(rule.id.clone(), what, case));
        bar.inc(1);
    }
    for switch in Switch::FLUX {
        let order = Order::new(switch).on(target(switch)).times(1).text("injected failure");
        let mut case = stories::named("install").expect("a built-in case");
        // Armed once the release is installed, so that what follows is an upgrade.
        case.workload.push(Step::Flux { order });
        case.workload.push(Step::Upgrade { instance: stories::INSTANCE.into(), version: "7.0.0".into() });
        if switch == Switch::H9 {
            // The last conditions are held back until the spec has moved on.
            case.workload.push(Step::Pass { seconds: 10 });
            case.workload.push(Step::Upgrade { instance: stories::INSTANCE.into(), version: "7.0.1".into() });
        }
        case.workload.push(Step::Pass { seconds: 120 });
        outcomes.push(outcome(format!("{switch:?}"), meaning(switch), case));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let mut exit = Exit::Clean;
    for outcome in &outcomes {
        screen.object(outcome);
        let good = outcome.verdict == "clean";
        if !good {
            exit = Exit::Violation;
        }
        let tint = if good { Tint::Green } else { Tint::Red };
        let struck = if outcome.struck == 0 { String::new() } else { format!("struck {}", outcome.struck) };
        let verdict = screen.tint(&outcome.verdict, tint);
        screen.line(&format!("{:<5} {:<28} {struck:<9} {verdict}", outcome.id, outcome.what));
    }
    exit
}

/// The switches in a few words (downstream §15.3).
fn meaning(switch: Switch) -> &'static str {
    match switch {
        Switch::H1 => "Flux dies before history",
        Switch::H2 => "Flux dies inside Helm",
        Switch::H3 => "fails, nothing stored",
        Switch::H4 => "fails, stored",
        Switch::H5 => "each retry rolled back",
        Switch::H6 => "no revision to roll back to",
        Switch::H7 => "helm upgrade by hand",
        Switch::H8 => "Ready stays Unknown",
        Switch::H9 => "Ready of a wrong generation",
        Switch::H10 => "release suspended by hand",
        Switch::H11 => "uninstall skipped",
        Switch::H12 => "uninstall fails",
        Switch::H13 => "release name edited",
        Switch::H14 => "a pass out of turn",
        Switch::H15 => "gate: retry on failure",
        Switch::H16 => "drift",
        Switch::H17 => "no helm-controller",
        Switch::H18 => "objects of another release",
        Switch::S1 => "artifacts lost",
        Switch::S2 => "tag moved",
        Switch::S3 => "fetch fails",
        Switch::S4 => "source stalled",
        Switch::S5 => "repository without status",
        Switch::S6 => "source suspended by hand",
    }
}

fn target(switch: Switch) -> Target {
    let name = format!("{switch:?}");
    if name.starts_with('S') {
        return Target::new("OCIRepository", "org-a", "*");
    }
    Target::new("HelmRelease", "org-a", "files")
}

fn outcome(id: String, what: &'static str, case: Case) -> Outcome {
    let report = Simulation::new(case).detail(Detail::Hash).run();
    let struck = report.fired.values().sum();
    Outcome { id, what, struck, verdict: report.verdict.to_string().replace('\n', ";") }
}
