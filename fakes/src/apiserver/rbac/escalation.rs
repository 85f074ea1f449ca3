//! Nobody grants what they do not have, unless told so by the verbs `escalate` and `bind` (K3).

use serde_json::Value;

use super::attributes::Attributes;
use super::identity::User;
use super::policy::{self, Rule};
use crate::apiserver::errors::{Outcome, Status};
use crate::apiserver::request::Target;
use crate::apiserver::server::State;

const GROUP: &str = "rbac.authorization.k8s.io";

/// Checks a role or binding that a user is about to write. `old` is the stored one.
///
/// # Errors
/// 403, and 404 for a binding to a role that does not exist.
pub(super) fn check(state: &State, user: &User, target: &Target, new: &Value, old: Option<&Value>) -> Outcome<()> {
    let (resource, namespace) = (&target.resource, target.namespace.as_str());
    let name = new["metadata"]["name"].as_str().unwrap_or_default();
    let may = |verb: &str, resource: &str, name: &str| {
        let wanted = Attributes {
            verb: verb.to_owned(),
            group: GROUP.to_owned(),
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..Attributes::default()
        };
        policy::decide(state, user, &wanted).allowed
    };
    let wanted = match resource.plural.as_str() {
        "roles" | "clusterroles" => {
            let unchanged =
                old.is_some_and(|old| old["rules"] == new["rules"] && old["aggregationRule"] == new["aggregationRule"]);
            if unchanged || may("escalate", &resource.plural, name) {
                return Ok(());
            }
            let mut rules = Rule::list(&new["rules"]);
            // Aggregation grants whatever will be found: only who has everything may ask for it.
            if !new["aggregationRule"].is_null()
                && old.is_none_or(|old| old["aggregationRule"] != new["aggregationRule"])
            {
                let all = || vec!["*".to_owned()];
                rules = vec![
                    Rule { verbs: all(), groups: all(), resources: all(), ..Rule::default() },
                    Rule { verbs: all(), paths: all(), ..Rule::default() },
                ];
            }
            rules
        }
        _ => {
            let same = old.is_some_and(|old| old["roleRef"] == new["roleRef"] && old["subjects"] == new["subjects"]);
            let reference = &new["roleRef"];
            let (kind, role) =
                (reference["kind"].as_str().unwrap_or_default(), reference["name"].as_str().unwrap_or_default());
            let plural = if kind == "Role" { "roles" } else { "clusterroles" };
            if same || may("bind", plural, role) {
                return Ok(());
            }
            policy::role_rules(state, reference, namespace)
                .ok_or_else(|| Status::not_found(GROUP, &resource.plural, role))?
        }
    };
    let (held, errors) = policy::rules_of(state, user, namespace);
    let missing: Vec<Rule> =
        wanted.iter().flat_map(broken_down).filter(|rule| !held.iter().any(|held| covers(held, rule))).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut lines: Vec<String> = compact(missing).iter().map(describe).collect();
    lines.sort();
    lines.dedup();
    let groups = quoted(&user.groups);
    let mut why = format!(
        "user {:?} (groups={groups}) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        lines.join("\n")
    );
    if !errors.is_empty() {
        // The registry names the resource of the request, whatever could not be found.
        let errors: Vec<String> = errors
            .iter()
            .map(|error| format!("{}.{GROUP} {}", resource.plural, error.split_once(' ').map_or("", |(_, rest)| rest)))
            .collect();
        why = format!("{why}; resolution errors: [{}]", errors.join(" "));
    }
    Err(Status::forbidden(GROUP, &resource.plural, name, &why))
}

/// One rule per verb, group, resource and name.
fn broken_down(rule: &Rule) -> Vec<Rule> {
    let one = |text: &String| vec![text.clone()];
    let mut rules = Vec::new();
    for group in &rule.groups {
        for resource in &rule.resources {
            for verb in &rule.verbs {
                let simple = Rule { verbs: one(verb), groups: one(group), resources: one(resource), ..Rule::default() };
                if rule.names.is_empty() {
                    rules.push(simple.clone());
                }
                rules.extend(rule.names.iter().map(|name| Rule { names: one(name), ..simple.clone() }));
            }
        }
    }
    for path in &rule.paths {
        rules.extend(rule.verbs.iter().map(|verb| Rule { verbs: one(verb), paths: one(path), ..Rule::default() }));
    }
    rules
}

fn covers(held: &Rule, wanted: &Rule) -> bool {
    let all = |held: &[String], wanted: &[String]| {
        held.iter().any(|entry| entry == "*") || wanted.iter().all(|entry| held.contains(entry))
    };
    let resource = |wanted: &String| {
        let any = wanted.split_once('/').map(|(_, subresource)| format!("*/{subresource}"));
        held.resources.contains(wanted) || any.is_some_and(|any| held.resources.contains(&any))
    };
    let path = |wanted: &String| {
        held.paths
            .iter()
            .any(|held| held == wanted || held.strip_suffix('*').is_some_and(|prefix| wanted.starts_with(prefix)))
    };
    all(&held.verbs, &wanted.verbs)
        && all(&held.groups, &wanted.groups)
        && (held.resources.iter().any(|entry| entry == "*") || wanted.resources.iter().all(resource))
        && wanted.paths.iter().all(path)
        && (held.names.is_empty()
            || !wanted.names.is_empty() && wanted.names.iter().all(|name| held.names.contains(name)))
        && (wanted.paths.is_empty() == wanted.resources.is_empty()
            || wanted.paths.is_empty() != held.resources.is_empty()
            || wanted.paths.is_empty())
}

/// Verbs of equal group, resource and name together.
fn compact(rules: Vec<Rule>) -> Vec<Rule> {
    let mut out: Vec<Rule> = Vec::new();
    for rule in rules {
        let same = |known: &&mut Rule| {
            rule.paths.is_empty()
                && known.groups == rule.groups
                && known.resources == rule.resources
                && known.names == rule.names
        };
        match out.iter_mut().find(same) {
            Some(known) => known.verbs.extend(rule.verbs),
            None => out.push(rule),
        }
    }
    out
}

fn quoted(list: &[String]) -> String {
    let list: Vec<String> = list.iter().map(|text| format!("{text:?}")).collect();
    format!("[{}]", list.join(" "))
}

fn describe(rule: &Rule) -> String {
    let parts = [
        ("APIGroups", &rule.groups),
        ("Resources", &rule.resources),
        ("ResourceNames", &rule.names),
        ("NonResourceURLs", &rule.paths),
        ("Verbs", &rule.verbs),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(_, list)| !list.is_empty())
        .map(|(name, list)| format!("{name}:{}", quoted(list)))
        .collect();
    format!("{{{}}}", parts.join(", "))
}
