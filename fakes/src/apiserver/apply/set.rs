//! Sets of field paths: a tree in which each step may itself be a member, sorted, with the algebra that ownership needs.

use std::cmp::Ordering;

use super::element::Element;
use super::shape::Type;

/// A set of paths. No entry is without content: it is a member or has members below.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Set<'a> {
    entries: Vec<Entry<'a>>,
}

/// One step, whether the path up to here is a member, and the members below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub(super) element: Element<'a>,
    pub(super) member: bool,
    pub(super) below: Set<'a>,
}

impl<'a> Set<'a> {
    /// A set from entries in any order with distinct steps; empty ones are dropped.
    pub(super) fn from_entries(mut entries: Vec<Entry<'a>>) -> Set<'a> {
        entries.retain(|entry| entry.member || !entry.below.is_empty());
        if !entries.is_sorted_by(|a, b| a.element <= b.element) {
            entries.sort_by(|a, b| a.element.cmp(&b.element));
        }
        Set { entries }
    }

    /// The set of the given paths of plain fields.
    pub(super) fn of_fields(paths: &[&[&'a str]]) -> Set<'a> {
        paths.iter().fold(Set::default(), |set, path| {
            let one = path.iter().rev().enumerate().fold(Set::default(), |below, (depth, name)| Set {
                entries: vec![Entry { element: Element::field(name), member: depth == 0, below }],
            });
            set.union(&one)
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn entries(&self) -> &[Entry<'a>] {
        &self.entries
    }

    /// The entry of one step.
    pub(super) fn get(&self, element: &Element<'_>) -> Option<&Entry<'a>> {
        self.entries.binary_search_by(|entry| entry.element.cmp(element)).ok().map(|at| &self.entries[at])
    }

    pub(super) fn union(&self, other: &Set<'a>) -> Set<'a> {
        if other.is_empty() {
            return self.clone();
        }
        if self.is_empty() {
            return other.clone();
        }
        let mut entries = Vec::with_capacity(self.entries.len() + other.entries.len());
        pairs(self, other, |left, right| match (left, right) {
            (Some(left), Some(right)) => entries.push(Entry {
                element: left.element.clone(),
                member: left.member || right.member,
                below: left.below.union(&right.below),
            }),
            (Some(entry), None) | (None, Some(entry)) => entries.push(entry.clone()),
            (None, None) => {}
        });
        Set { entries }
    }

    pub(super) fn intersection(&self, other: &Set<'_>) -> Set<'a> {
        let mut entries = Vec::new();
        pairs(self, other, |left, right| {
            if let (Some(left), Some(right)) = (left, right) {
                push(&mut entries, left, left.member && right.member, left.below.intersection(&right.below));
            }
        });
        Set { entries }
    }

    /// Paths of this set that are not in the other one. Members below a removed path stay.
    pub(super) fn difference(&self, other: &Set<'_>) -> Set<'a> {
        if other.is_empty() {
            return self.clone();
        }
        let mut entries = Vec::with_capacity(self.entries.len());
        pairs(self, other, |left, right| match (left, right) {
            (Some(left), Some(right)) => {
                push(&mut entries, left, left.member && !right.member, left.below.difference(&right.below));
            }
            (Some(left), None) => entries.push(left.clone()),
            (None, _) => {}
        });
        Set { entries }
    }

    /// [`Set::difference`] of a set that is not needed any more.
    pub(super) fn minus(self, other: &Set<'_>) -> Set<'a> {
        let left = self.entries.into_iter().filter_map(|entry| {
            let Some(taken) = other.get(&entry.element) else { return Some(entry) };
            let below = entry.below.minus(&taken.below);
            let member = entry.member && !taken.member;
            (member || !below.is_empty()).then_some(Entry { element: entry.element, member, below })
        });
        Set { entries: left.collect() }
    }

    /// Like [`Set::difference`], but everything below a path of the other set goes too.
    pub(super) fn difference_below(&self, other: &Set<'_>) -> Set<'a> {
        let mut entries = Vec::with_capacity(self.entries.len());
        pairs(self, other, |left, right| match (left, right) {
            (Some(_), Some(right)) if right.member => {}
            (Some(left), Some(right)) => {
                push(&mut entries, left, left.member, left.below.difference_below(&right.below));
            }
            (Some(left), None) => entries.push(left.clone()),
            (None, _) => {}
        });
        Set { entries }
    }

    /// Whether every path of this set is in the other one.
    pub(super) fn is_within(&self, other: &Set<'_>) -> bool {
        let mut within = true;
        pairs(self, other, |left, right| {
            within &= match (left, right) {
                (Some(left), Some(right)) => (right.member || !left.member) && left.below.is_within(&right.below),
                (Some(_), None) => false,
                (None, _) => true,
            };
        });
        within
    }

    /// Only what is at or below these fields of the root.
    pub(super) fn only(&self, fields: &[&str]) -> Set<'a> {
        let keep = |entry: &&Entry<'a>| matches!(&entry.element, Element::Field(name) if fields.contains(&&**name));
        Set { entries: self.entries.iter().filter(keep).cloned().collect() }
    }

    /// This set plus the declared fields on the way to its members: owning `.spec.a` is then also owning `.spec`,
    /// but owning one key of a map is not owning the map's other keys.
    pub(super) fn with_named_fields(&self, of: Type<'_>) -> Set<'a> {
        let map = of.map();
        let entries = self
            .entries
            .iter()
            .map(|entry| {
                let mut member = entry.member;
                let mut inner = Type::Untyped;
                match &entry.element {
                    Element::Field(name) => {
                        if let Some(field) = map.and_then(|map| map.field(name)) {
                            member |= field.named && !entry.below.is_empty();
                            inner = field.of;
                        }
                    }
                    Element::Key(_) => inner = of.list().map_or(Type::Untyped, |list| list.item()),
                    Element::Value(_) | Element::Index(_) => {}
                }
                Entry { element: entry.element.clone(), member, below: entry.below.with_named_fields(inner) }
            })
            .collect();
        Set { entries }
    }

    /// Every member's path as text, members of one level before those below them.
    pub(super) fn paths(&self) -> Vec<String> {
        fn walk(set: &Set<'_>, prefix: &str, out: &mut Vec<String>) {
            for entry in set.entries.iter().filter(|entry| entry.member) {
                out.push(format!("{prefix}{}", entry.element));
            }
            for entry in &set.entries {
                if !entry.below.is_empty() {
                    walk(&entry.below, &format!("{prefix}{}", entry.element), out);
                }
            }
        }
        let mut out = Vec::new();
        walk(self, "", &mut out);
        out
    }
}

fn push<'a>(entries: &mut Vec<Entry<'a>>, from: &Entry<'a>, member: bool, below: Set<'a>) {
    if member || !below.is_empty() {
        entries.push(Entry { element: from.element.clone(), member, below });
    }
}

/// Walks two sorted sets side by side.
fn pairs<'l, 'r, 'a, 'b>(
    left: &'l Set<'a>,
    right: &'r Set<'b>,
    mut visit: impl FnMut(Option<&'l Entry<'a>>, Option<&'r Entry<'b>>),
) where
    'l: 'l,
{
    let (mut left, mut right) = (left.entries.iter().peekable(), right.entries.iter().peekable());
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.element.partial_cmp(&b.element).unwrap_or(Ordering::Equal),
        };
        match order {
            Ordering::Less => visit(left.next(), None),
            Ordering::Greater => visit(None, right.next()),
            Ordering::Equal => visit(left.next(), right.next()),
        }
    }
}
