//! Who owns what after a write: conflicts, taking over, giving up, and what falls out of the object (apiserver.md D3-D8).

use std::sync::LazyLock;

use serde_json::Value;

use super::element::Element;
use super::managers::{Operation, Owner, Owners};
use super::merge::remove;
use super::set::{Entry, Set};
use super::shape::{Choice, Shape, Type};
use super::typed;
use super::{ApplyError, Conflict, Reset, Target};

/// Paths that belong to the server or name the object: never owned.
const NEVER_OWNED: &[&[&str]] = &[
    &["apiVersion"],
    &["kind"],
    &["metadata"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "clusterName"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
];

impl<'a> Target<'a> {
    /// The type of the object in one version; `None` for a version that is no longer served.
    pub(super) fn version(&self, api_version: &str) -> Option<Type<'a>> {
        if api_version == self.api_version {
            return Some(Type::Root(self.schema));
        }
        self.other_versions.iter().find(|(version, _)| *version == api_version).map(|(_, node)| Type::Root(node))
    }
}

impl Reset<'_> {
    /// What remains of a set once the fields the server resets are taken out.
    pub(super) fn filter(self, set: Set<'_>) -> Set<'_> {
        match self {
            Reset::Nothing => set,
            Reset::Fields(paths) => set.difference_below(&Set::of_fields(paths)),
            Reset::AllBut(fields) => set.only(fields),
        }
    }
}

/// A set without what nobody owns.
pub(super) fn strip(set: Set<'_>) -> Set<'_> {
    static UNOWNED: LazyLock<Set<'static>> = LazyLock::new(|| Set::of_fields(NEVER_OWNED));
    set.minus(&UNOWNED)
}

/// Brings entries in line with the schema: fields below what has become atomic turn into the whole. Entries of versions
/// that are gone are dropped.
///
/// # Errors
/// Where the live object does not fit the schema of a version somebody used.
pub(super) fn reconcile(owners: &mut Owners<'_>, live: &Value, target: &Target<'_>) -> Result<(), String> {
    let mut kept = Vec::with_capacity(owners.0.len());
    for mut owner in owners.0.drain(..) {
        let Some(of) = target.version(&owner.api_version) else { continue };
        if owner.api_version != target.api_version {
            typed::check(live, of, false)?;
        }
        if let Some(changed) = atomic_now(owner.fields(), of) {
            owner.set_fields(changed);
        }
        kept.push(owner);
    }
    owners.0 = kept;
    Ok(())
}

fn atomic_now<'a>(set: &Set<'a>, of: Type<'_>) -> Option<Set<'a>> {
    if !below_atomic(set, of) {
        return None;
    }
    let change = |entry: &Entry<'a>| {
        let mut entry = entry.clone();
        if let Some(inner) = split_at(&entry, of) {
            if is_atomic(inner) {
                entry.member = true;
                entry.below = Set::default();
            } else if let Some(below) = atomic_now(&entry.below, inner) {
                entry.below = below;
            }
        }
        entry
    };
    Some(Set::from_entries(set.entries().iter().map(change).collect()))
}

/// Whether a set has anything below what is atomic: hardly ever, so that looking first saves copying every set.
fn below_atomic(set: &Set<'_>, of: Type<'_>) -> bool {
    let mut entries = set.entries().iter();
    !matches!(of, Type::Deduced | Type::Untyped | Type::Text)
        && entries
            .any(|entry| split_at(entry, of).is_some_and(|inner| is_atomic(inner) || below_atomic(&entry.below, inner)))
}

/// The type of a place that has members below it.
fn split_at<'t>(entry: &Entry<'_>, of: Type<'t>) -> Option<Type<'t>> {
    if entry.below.is_empty() {
        return None;
    }
    match &entry.element {
        Element::Field(name) => of.map().and_then(|map| map.field(name)).map(|field| field.of),
        _ => of.list().map(|list| list.item()),
    }
}

fn is_atomic(of: Type<'_>) -> bool {
    let atomic = match of.shape(Choice::Any) {
        Shape::Map(map) => map.atomic,
        Shape::List(list) => list.atomic(),
        Shape::Scalar(_) => false,
    };
    atomic && !matches!(of, Type::Deduced | Type::Untyped)
}

/// Takes what a write changed away from everybody but its author, who is nobody where the writer's own older entry counts
/// like any other. `difference`: what it changed or added, and what it removed.
///
/// # Errors
/// Without `force`, the fields somebody else owns; or why the objects cannot be compared.
pub(super) fn take_over<'a>(
    owners: &mut Owners<'a>,
    author: Option<&Owner<'_>>,
    before: &'a Value,
    after: &'a Value,
    difference: (&Set<'a>, &Set<'a>),
    target: &Target<'a>,
    force: bool,
) -> Result<(), ApplyError> {
    let mut conflicts: Vec<(usize, Set<'a>)> = Vec::new();
    let mut removed: Vec<(usize, Set<'a>)> = Vec::new();
    for (at, owner) in owners.0.iter().enumerate() {
        if author.is_some_and(|author| owner.is(author)) {
            continue;
        }
        let other;
        let (changed, gone) = if owner.api_version == target.api_version {
            difference
        } else {
            // Conversion changes nothing but apiVersion; what differs is the schema.
            let Some(of) = target.version(&owner.api_version) else {
                removed.push((at, owner.fields().clone()));
                continue;
            };
            typed::check(before, of, false)
                .map_err(|reason| ApplyError::Internal(format!("failed to convert old object: {reason}")))?;
            typed::check(after, of, false)
                .map_err(|reason| ApplyError::Internal(format!("failed to convert new object: {reason}")))?;
            other = typed::compare(before, after, of)
                .map_err(|reason| ApplyError::Internal(format!("failed to compare objects: {reason}")))?
                .map(|set| target.reset.filter(set))
                .split();
            (&other.0, &other.1)
        };
        let conflict = owner.fields().intersection(changed);
        if !conflict.is_empty() {
            conflicts.push((at, conflict));
        }
        let gone = owner.fields().intersection(gone);
        if !gone.is_empty() {
            removed.push((at, gone));
        }
    }
    if !force && !conflicts.is_empty() {
        conflicts.sort_by_cached_key(|(at, _)| owners.0[*at].identifier());
        return Err(ApplyError::Conflict(
            conflicts.iter().flat_map(|(at, fields)| conflicts_with(&owners.0[*at], fields)).collect(),
        ));
    }
    for (at, fields) in conflicts.into_iter().chain(removed) {
        let owner = &mut owners.0[at];
        let left = owner.fields().difference(&fields);
        // An entry nothing was taken from stays as it is stored.
        if left != *owner.fields() {
            owner.set_fields(left);
        }
    }
    owners.0.retain(|owner| !owner.fields().is_empty());
    Ok(())
}

fn conflicts_with(owner: &Owner<'_>, fields: &Set<'_>) -> Vec<Conflict> {
    let mut manager = Value::from(owner.manager.as_ref()).to_string();
    if !owner.subresource.is_empty() {
        manager.push_str(&format!(" with subresource {}", Value::from(owner.subresource.as_ref())));
    }
    if owner.operation == Operation::Update {
        manager.push_str(&format!(" using {}", owner.api_version));
    }
    fields.paths().into_iter().map(|field| Conflict { manager: manager.clone(), field }).collect()
}

/// Takes out of the merged object what its applier owned, no longer applies, and nobody else owns (apiserver.md D3).
///
/// # Errors
/// Where the object does not fit the schema of a version somebody used.
pub(super) fn prune(
    merged: Value,
    owners: &Owners<'_>,
    applied: &Set<'_>,
    last: &Owner<'_>,
    target: &Target<'_>,
) -> Result<Value, ApplyError> {
    let last_fields = last.fields();
    let Some(of) = target.version(&last.api_version).filter(|_| !last_fields.is_within(applied)) else {
        return Ok(merged);
    };
    let failed = |reason: String| ApplyError::Internal(format!("failed to prune fields: {reason}"));
    if last.api_version != target.api_version {
        typed::check(&merged, of, false)
            .map_err(|reason| failed(format!("failed to convert merged object to last applied version: {reason}")))?;
    }
    let last_fields = last_fields.with_named_fields(of);
    let without =
        |fields: &Set<'_>, of| remove(&merged, fields, of).unwrap_or_else(|| Value::Object(Default::default()));
    let mut pruned = without(&last_fields, of);

    // Back comes what anybody owns, in the version the applier used last and then in the others.
    let mut versions: Vec<&str> = vec![&last.api_version];
    for owner in owners.0.iter().map(|owner| owner.api_version.as_ref()).chain([target.api_version]) {
        if !versions.contains(&owner) {
            versions.push(owner);
        }
    }
    for version in versions {
        let mut managed = Set::default();
        let mut anybody = version == target.api_version;
        if anybody {
            managed = applied.clone();
        }
        for owner in owners.0.iter().filter(|owner| owner.api_version == version) {
            managed = managed.union(owner.fields());
            anybody = true;
        }
        let Some(of) = target.version(version).filter(|_| anybody) else { continue };
        if version != target.api_version {
            let back = |reason: String| failed(format!("failed add back owned items: {reason}"));
            typed::check(&merged, of, false).map_err(back)?;
            typed::check(&pruned, of, false).map_err(back)?;
        }
        let all = typed::fields(&merged, of).with_named_fields(of);
        let kept = typed::fields(&pruned, of).with_named_fields(of).union(&managed.with_named_fields(of));
        pruned = without(&all.difference(&kept), of);
    }

    // Back comes what the applier never owned itself.
    let all = typed::fields(&merged, of).with_named_fields(of);
    let kept = typed::fields(&pruned, of).with_named_fields(of);
    Ok(without(&all.difference(&kept).intersection(&last_fields), of))
}
