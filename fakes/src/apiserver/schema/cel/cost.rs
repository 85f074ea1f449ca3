//! The worst cost of an expression, by which definitions with too expensive rules are refused (apiserver.md N2).
//!
//! Units and factors are those of the CEL cost model: a field access is 1, traversing ten characters is 1, a list literal
//! 10, a map literal 30. Sizes of declared data come from `maxLength`, `maxItems` and `maxProperties`; without them from
//! what fits into a request of 3 MiB.

use crate::apiserver::schema::node::{Node, NodeKind};

use super::types::{Declared, Type};

/// Largest cost of one rule.
pub const RULE_LIMIT: u64 = 10_000_000;
/// Largest sum of the costs of all rules of one schema.
pub const SCHEMA_LIMIT: u64 = 100_000_000;
/// Largest request (apiserver.md J4).
const REQUEST_BYTES: u64 = 3 * 1024 * 1024;

/// Cost of a field access or a variable.
pub const ACCESS: u64 = 1;
/// Cost of a list literal besides its items.
pub const LIST: u64 = 10;
/// Cost of a map literal besides its entries.
pub const MAP: u64 = 30;
/// Longest text of a scalar that is not text itself.
const SCALAR_TEXT: u64 = 64;
/// Cost of looking at one character.
const CHARACTER: f64 = 0.1;
/// Cost of one character of a regular expression, for each character it looks at.
const PATTERN_CHARACTER: f64 = 0.25;

/// How many characters, items or entries a value has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Size {
    /// At least.
    pub min: u64,
    /// At most.
    pub max: u64,
}

impl Size {
    /// Known exactly.
    pub fn exactly(size: usize) -> Size {
        Size { min: size as u64, max: size as u64 }
    }

    /// Anything.
    pub const ANY: Size = Size { min: 0, max: u64::MAX };

    /// Of either.
    pub fn union(self, other: Size) -> Size {
        Size { min: self.min.min(other.min), max: self.max.max(other.max) }
    }

    /// Of both one after the other.
    pub fn plus(self, other: Size) -> Size {
        Size { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }
}

/// Where a value comes from, as far as that tells its size.
#[derive(Clone, Copy, Debug)]
pub enum Origin<'n> {
    /// Computed.
    Elsewhere,
    /// Declared data.
    Declared(Declared<'n>),
    /// The key of a map.
    Key,
}

impl<'n> Origin<'n> {
    /// The origin of a field, given its declaration.
    pub fn declared(found: Option<Declared<'n>>) -> Origin<'n> {
        found.map_or(Origin::Elsewhere, Origin::Declared)
    }

    /// The origin of an element.
    pub fn element(self) -> Origin<'n> {
        match self {
            Origin::Declared(declared) => Origin::declared(declared.element()),
            _ => Origin::Elsewhere,
        }
    }

    fn size(self) -> Option<Size> {
        match self {
            Origin::Elsewhere => None,
            Origin::Key => Some(Size { min: 0, max: 0 }),
            Origin::Declared(declared) => Some(Size { min: 0, max: largest(declared.node) }),
        }
    }
}

/// What the cost of a call depends on: one operand.
pub struct Operand<'a, 'n> {
    /// Its type.
    pub kind: &'a Type<'n>,
    /// Where it comes from.
    pub origin: Origin<'n>,
    /// Its size, where the expression itself tells.
    pub size: Option<Size>,
}

impl<'n> Operand<'_, 'n> {
    /// The best estimate of the size.
    pub fn estimate(&self) -> Size {
        self.size.or_else(|| self.origin.size()).unwrap_or(match self.kind {
            Type::Bool | Type::Int | Type::Uint | Type::Double | Type::Duration | Type::Timestamp | Type::Null => {
                Size::exactly(1)
            }
            _ => Size::ANY,
        })
    }

    fn element(&self) -> Option<(Type<'n>, Size)> {
        let Type::List(item) = self.kind else { return None };
        let operand = Operand { kind: item, origin: self.origin.element(), size: None };
        Some(((**item).clone(), operand.estimate()))
    }
}

/// Cost and size of the result of one call, without the costs of its operands. The target of a member call is the first operand.
pub fn call(name: &str, operands: &[Operand<'_, '_>]) -> (u64, Option<Size>) {
    let size = |index: usize| operands.get(index).map_or(Size::ANY, Operand::estimate);
    let text = |size: Size| scaled(size.max, CHARACTER);
    match name {
        "startsWith" | "endsWith" => (text(size(1)), None),
        "bytes" | "string"
            if matches!(operands.first().map(|operand| operand.kind), Some(Type::String | Type::Bytes)) =>
        {
            (text(size(0)), Some(size(0)))
        }
        // The longest text of a number, a flag or a time; without it no message could name one.
        "string" if !matches!(operands.first().map(|operand| operand.kind), Some(Type::Dyn)) => {
            (1, Some(Size { min: 0, max: SCALAR_TEXT }))
        }
        "strings.quote" => (text(size(0)), None),
        "@in" if matches!(operands.get(1).map(|operand| operand.kind), Some(Type::List(_))) => (size(1).max, None),
        "matches" => (pattern(size(0), size(1)), None),
        "contains" => (text(size(0)).saturating_mul(text(size(1))), None),
        "_+_" => {
            let sum = size(0).plus(size(1));
            match operands.first().map(|operand| operand.kind) {
                Some(Type::String | Type::Bytes) => (text(sum), Some(sum)),
                Some(Type::List(_)) => (1, Some(sum)),
                _ => (1, None),
            }
        }
        "_==_" | "_!=_" => (text(Size { min: 0, max: size(0).max.min(size(1).max) }), None),
        "_<_" | "_<=_" | "_>_" | "_>=_"
            if matches!(operands.first().map(|operand| operand.kind), Some(Type::String | Type::Bytes)) =>
        {
            (text(Size { min: 0, max: size(0).max.min(size(1).max) }), None)
        }
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => {
            match operands.first().and_then(Operand::element) {
                Some((item, item_size)) => {
                    let compare = if matches!(item, Type::String | Type::Bytes) { text(item_size) } else { 0 };
                    (size(0).max.saturating_mul(compare.saturating_add(1)), None)
                }
                None => (text(size(0)), None),
            }
        }
        "url" | "quantity" | "isQuantity" | "ip" | "cidr" | "isIP" | "isCIDR" | "validate" | "semver" | "isSemver" => {
            (text(size(operands.len().saturating_sub(1))), None)
        }
        "ip.isCanonical" => (scaled(size(0).max, 2.0 * CHARACTER), None),
        "lowerAscii" | "upperAscii" | "substring" | "trim" => (text(size(0)), Some(size(0))),
        "replace" => (scaled(size(0).max, 2.0 * CHARACTER), Some(replaced(size(0), size(1), size(2)))),
        "split" => (scaled(size(0).max, 2.0 * CHARACTER), Some(Size { min: 0, max: size(0).max })),
        "join" => {
            let item = operands.first().and_then(Operand::element).map_or(0, |(_, size)| size.max);
            let separators =
                if operands.len() > 1 { size(1).max.saturating_mul(size(0).max.saturating_sub(1)) } else { 0 };
            let max = size(0).max.saturating_mul(item).saturating_add(separators);
            (scaled(max, CHARACTER), Some(Size { min: 0, max }))
        }
        "find" | "findAll" => (pattern(size(0), size(1)), Some(Size { min: 0, max: size(0).max })),
        "containsIP" => {
            (4 + if matches!(operands.get(1).map(|o| o.kind), Some(Type::String)) { text(size(1)) } else { 0 }, None)
        }
        "containsCIDR" => {
            (7 + if matches!(operands.get(1).map(|o| o.kind), Some(Type::String)) { text(size(1)) } else { 0 }, None)
        }
        "sets.contains" | "sets.intersects" => (size(0).max.saturating_mul(size(1).max).saturating_add(1), None),
        "sets.equivalent" => (size(0).max.saturating_mul(size(1).max).saturating_mul(2).saturating_add(1), None),
        _ => (1, None),
    }
}

fn pattern(text: Size, pattern: Size) -> u64 {
    scaled(text.max.saturating_add(1), CHARACTER).saturating_mul(scaled(pattern.max, PATTERN_CHARACTER))
}

/// The longest text that replacing can give.
fn replaced(text: Size, from: Size, to: Size) -> Size {
    let max = if from.min == 0 {
        text.max.saturating_add(1).saturating_mul(to.max).saturating_add(text.max)
    } else if to.max <= from.min {
        text.max
    } else {
        text.max.div_ceil(from.min).saturating_mul(to.max)
    };
    Size { min: 0, max }
}

/// The product, rounded up.
pub fn scaled(size: u64, factor: f64) -> u64 {
    let product = (size as f64) * factor;
    if product >= u64::MAX as f64 { u64::MAX } else { product.ceil() as u64 }
}

/// The most characters, items or entries a node can have; 0 for what has no size.
pub fn largest(node: &Node) -> u64 {
    let limit = |limit: Option<i64>| limit.map(|limit| limit.max(0) as u64);
    let checks = &node.checks;
    match node.kind {
        NodeKind::IntOrString => REQUEST_BYTES - 2,
        NodeKind::String => match checks.format.as_deref() {
            Some("date") => 12,
            Some("date-time") => 35,
            Some("duration") => 32,
            Some("byte") => limit(checks.max_length).unwrap_or(REQUEST_BYTES - 2),
            // A character takes up to four bytes.
            format => limit(checks.max_length).map(|length| length.saturating_mul(4)).unwrap_or_else(|| {
                let longest = checks.enumeration.iter().filter_map(serde_json::Value::as_str).map(str::len).max();
                longest.filter(|_| format.is_none()).map_or(REQUEST_BYTES - 2, |length| length as u64)
            }),
        },
        NodeKind::Array => limit(checks.max_items).unwrap_or_else(|| {
            let item = node.items.as_deref().map_or(1, smallest);
            (REQUEST_BYTES - 2) / (item + 1)
        }),
        NodeKind::Object if Declared::part(node).is_map() => limit(checks.max_properties).unwrap_or_else(|| {
            let value = node.additional.as_deref().map_or(1, smallest);
            (REQUEST_BYTES - 2) / (value + 6)
        }),
        _ => 0,
    }
}

/// The fewest bytes a value of the node takes in a request.
pub fn smallest(node: &Node) -> u64 {
    match node.kind {
        NodeKind::Boolean => 4,
        NodeKind::Integer | NodeKind::Number | NodeKind::IntOrString | NodeKind::Any => 1,
        NodeKind::String => match node.checks.format.as_deref() {
            Some("date") => 12,
            Some("date-time") => 22,
            Some("duration") => 4,
            _ => 2,
        },
        NodeKind::Array => 2,
        NodeKind::Object if Declared::part(node).is_map() => 2,
        NodeKind::Object => node
            .properties
            .iter()
            .filter(|(name, field)| node.checks.required.contains(name) && field.default.is_none())
            .fold(2, |sum, (name, field)| sum + name.len() as u64 + smallest(field) + 4),
    }
}

/// How often a value of the node can appear at most in one request: for rules below unbounded lists and maps.
pub fn cardinality(node: &Node) -> u64 {
    REQUEST_BYTES / (smallest(node) + 1)
}

/// How often the values below `node` can appear per appearance of it; `None` without a bound.
pub fn multiplicity(node: &Node) -> Option<u64> {
    match node.kind {
        NodeKind::Array => node.checks.max_items.map(|limit| limit.max(0) as u64),
        NodeKind::Object if node.additional.is_some() => node.checks.max_properties.map(|limit| limit.max(0) as u64),
        _ => Some(1),
    }
}

/// `estimated rule cost exceeds budget by factor of …`.
pub fn complaint(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}
