//! Compiling the rules of a schema document and adding up what they cost (apiserver.md N2).

use std::collections::BTreeMap;

use serde_json::Value;

use super::cause;
use super::cel::cost;
use super::cel::types::Declared;
use super::document::shown_rule;
use super::node::Node;
use crate::apiserver::errors::Cause;

/// The budget of one document.
pub struct Budget<'n> {
    /// How often each node with rules can appear in one object; no entry without a bound.
    bounds: BTreeMap<*const Node, u64>,
    total: u64,
    expensive: Vec<(u64, String)>,
    root: &'n Node,
}

/// How many of the most expensive rules are named.
const NAMED: usize = 4;

impl<'n> Budget<'n> {
    /// An empty budget.
    pub fn new(root: &'n Node) -> Budget<'n> {
        let mut bounds = BTreeMap::new();
        measure(root, Some(1), &mut bounds);
        Budget { bounds, total: 0, expensive: Vec::new(), root }
    }

    /// Compiles the rules of one part of the document and tells what is wrong with them.
    pub fn rules(&mut self, node: &Node, document: &Value, path: &str) -> Vec<Cause> {
        let mut causes = Vec::new();
        let declared = Declared { node, resource: std::ptr::eq(node, self.root) || node.embedded_resource };
        let often = self.bounds.get(&std::ptr::from_ref(node)).copied().unwrap_or_else(|| cost::cardinality(node));
        let texts = document.get("x-kubernetes-validations").and_then(Value::as_array);
        for ((index, rule), text) in node.rules.iter().enumerate().zip(texts.into_iter().flatten()) {
            let path = format!("{path}.x-kubernetes-validations[{index}]");
            let compiled = rule.compiled(declared);
            let shown = || shown_rule(text);
            let total = compiled.cost.saturating_mul(often);
            if total > cost::RULE_LIMIT {
                let complaint = cost::complaint("estimated rule cost", total, cost::RULE_LIMIT);
                causes.push(cause::forbidden(format!("{path}.rule"), &complaint));
            }
            self.observe(total, format!("{path}.rule"));
            if let Err(why) = &compiled.rule {
                causes.push(cause::invalid_text(format!("{path}.rule"), &shown(), why));
            }
            match &compiled.message {
                None => {}
                Some(Err(why)) => {
                    causes.push(cause::invalid_text(format!("{path}.messageExpression"), &shown(), why));
                }
                Some(Ok(_)) => {
                    let total = compiled.message_cost.saturating_mul(often);
                    if total > cost::RULE_LIMIT {
                        let complaint = cost::complaint("estimated messageExpression cost", total, cost::RULE_LIMIT);
                        causes.push(cause::forbidden(format!("{path}.messageExpression"), &complaint));
                    }
                    self.observe(total, format!("{path}.messageExpression"));
                }
            }
            if !compiled.uses_old_self
                && compiled.rule.is_ok()
                && let Some(flag) = rule.optional_old_self
            {
                let complaint = "may not be set if oldSelf is not used in rule";
                causes.push(cause::invalid(format!("{path}.optionalOldSelf"), &Value::Bool(flag), complaint));
            }
        }
        causes
    }

    fn observe(&mut self, cost: u64, path: String) {
        self.total = self.total.saturating_add(cost);
        // Rules below one percent of the limit are not to blame.
        if cost >= cost::SCHEMA_LIMIT / 100 {
            self.expensive.push((cost, path));
        }
    }

    /// The complaints about the sum, if it is too large.
    pub fn finish(mut self, path: &str) -> Vec<Cause> {
        if self.total <= cost::SCHEMA_LIMIT {
            return Vec::new();
        }
        self.expensive.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
        let named = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
        let mut causes: Vec<Cause> =
            self.expensive.into_iter().take(NAMED).map(|(_, path)| cause::forbidden(path, named)).collect();
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        causes.push(cause::forbidden(path, &cost::complaint(what, self.total, cost::SCHEMA_LIMIT)));
        causes
    }
}

fn measure(node: &Node, often: Option<u64>, bounds: &mut BTreeMap<*const Node, u64>) {
    if !node.has_rules {
        return;
    }
    if let (false, Some(often)) = (node.rules.is_empty(), often) {
        bounds.insert(std::ptr::from_ref(node), often);
    }
    let below = match (often, cost::multiplicity(node)) {
        (Some(often), Some(times)) => Some(often.saturating_mul(times)),
        _ => None,
    };
    for part in node.properties.values().chain(&node.additional).chain(&node.items) {
        measure(part, below, bounds);
    }
}
