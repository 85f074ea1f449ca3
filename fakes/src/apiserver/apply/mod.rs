//! Server-side apply and the record of field ownership (apiserver.md D): pure functions from objects to objects.
//!
//! A write goes through one of two doors. [`apply`] merges a body into the live object, and [`track_update`] records what any
//! other write changed. Both return the object with `metadata.managedFields` as the server would store it. What the caller
//! still does afterwards: defaulting, pruning, validation, the write strategy, and last of all [`keep_times`], which makes a
//! write that changed nothing else a no-op (D2, D15).

mod blank;
mod element;
mod go;
mod last_applied;
mod managers;
mod merge;
mod ownership;
mod request;
mod set;
mod shape;
mod typed;

#[cfg(test)]
mod tests;

use jiff::Timestamp;
use serde_json::{Map, Value};

use managers::{Operation, Owner, Owners, metadata_mut};
use shape::Type;
use typed::Difference;

pub use request::{ApplyError, ApplyRequest, Conflict, Reset, Target, UpdateRequest};

/// Manager of what was there before the first apply to an object without a record.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Merges an applied body into the live object, or into nothing.
///
/// The body is as the client sent it (its name and namespace go into messages). The result carries
/// `metadata.managedFields`; it is not yet defaulted or pruned.
///
/// # Errors
/// See [`ApplyError`].
pub fn apply(live: Option<&Value>, body: &Value, request: &ApplyRequest<'_>) -> Result<Value, ApplyError> {
    let target = &request.target;
    let text = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default();
    if text("apiVersion") != target.api_version || text("kind") != target.kind {
        let (group, version) = group_version(text("apiVersion"));
        return Err(ApplyError::BadRequest(format!("invalid object type: {group}/{version}, Kind={}", text("kind"))));
    }
    let seeded;
    let live = match live {
        Some(live) if live.pointer("/metadata/managedFields").and_then(Value::as_array).is_none_or(Vec::is_empty) => {
            let mut object = live.clone();
            let update = UpdateRequest { manager: BEFORE_FIRST_APPLY, now: request.now, target: *target };
            track_update(None, &mut object, &update);
            seeded = object;
            Some(&seeded)
        }
        live => live,
    };
    let result = apply_once(live, body, request, request.force);
    if request.manager != last_applied::KUBECTL {
        return result;
    }
    let result = match (result, live) {
        (Err(ApplyError::Conflict(conflicts)), Some(live)) => match last_applied::remaining(&conflicts, live, target) {
            None => Err(ApplyError::Conflict(conflicts)),
            Some(remaining) if remaining.is_empty() => apply_once(Some(live), body, request, true),
            Some(remaining) => Err(ApplyError::Conflict(remaining)),
        },
        (result, _) => result,
    };
    result.map(|mut object| {
        last_applied::refresh(&mut object, body);
        object
    })
}

fn apply_once(
    live: Option<&Value>,
    body: &Value,
    request: &ApplyRequest<'_>,
    force: bool,
) -> Result<Value, ApplyError> {
    let target = &request.target;
    if body.pointer("/metadata/managedFields").is_some_and(|fields| !fields.is_null()) {
        return Err(ApplyError::BadRequest("metadata.managedFields must be nil".to_owned()));
    }
    let of = Type::Root(target.schema);
    let blank;
    let live = match live {
        Some(live) => live,
        None => {
            blank = without_nulls(blank::blank(target.api_version, target.kind));
            &blank
        }
    };
    typed::check(body, of, false).map_err(|reason| typed_error("patch", body, target, &reason))?;
    typed::check(live, of, true).map_err(|reason| typed_error("live", live, target, &reason))?;
    let internal = ApplyError::Internal;
    let mut owners =
        Owners::decode(live).map_err(|reason| internal(format!("failed to decode managed fields: {reason}")))?;
    ownership::reconcile(&mut owners, live, target).map_err(internal)?;

    let mut applier = Owner::new(request.manager, Operation::Apply, target.api_version, target.subresource);
    let last = owners.remove(&applier);
    let applied = target.reset.filter(typed::fields(body, of));
    let mut merged = merge::merge(live, body, of);
    if let Some(last) = &last {
        merged = ownership::prune(merged, &owners, &applied, last, target)?;
    }
    let unchanged = same_object(live, &merged);

    // From here on the sets also borrow from the merged object.
    let mut owners: Owners<'_> = owners;
    if !unchanged {
        let difference = difference(live, &merged, target).map_err(internal)?;
        let (changed, removed) = difference.split();
        ownership::take_over(&mut owners, Some(&applier), live, &merged, (&changed, &removed), target, force)?;
    }
    let owned = ownership::strip(applied);
    applier.time = last.as_ref().and_then(|last| last.time.clone());
    if !unchanged {
        applier.time = Some(std::borrow::Cow::Owned(time(request.now)));
    }
    if !owned.is_empty() {
        applier.set_fields(owned);
        owners.0.push(applier);
    }
    let entries = owners.encode();
    // Where nothing changed, the live object may still spell a number or the order of keys in another way.
    let mut object = if unchanged { without_record(live) } else { merged };
    managers::write(entries, &mut object);
    Ok(object)
}

/// Records in `new` who owns what after a create, a replacement or a patch. `live` is `None` for a create. Both objects
/// are complete: decoded, defaulted and converted to the version of the request.
///
/// Entries the client sent in `new` stand, unless it wrote to a subresource; an empty list clears the record (D18), and
/// an object without a record gets none before somebody applies.
pub fn track_update(live: Option<&Value>, new: &mut Value, request: &UpdateRequest<'_>) {
    let target = &request.target;
    let sent = metadata_mut(new).and_then(|metadata| metadata.shift_remove("managedFields"));
    let result = tracked(live, new, sent, request);
    match result {
        Ok(Some(entries)) => {
            if let Some(metadata) = metadata_mut(new) {
                metadata.insert("managedFields".to_owned(), entries);
            }
        }
        Ok(None) => {}
        // As upstream: an object whose record cannot be computed has none, but is written.
        Err(reason) => tracing::debug!(kind = target.kind, reason, "managedFields dropped"),
    }
}

/// The new record, `None` for none.
fn tracked(
    live: Option<&Value>,
    new: &Value,
    sent: Option<Value>,
    request: &UpdateRequest<'_>,
) -> Result<Option<Value>, String> {
    let target = &request.target;
    let of = Type::Root(target.schema);
    let blank;
    let before = match live {
        Some(live) => live,
        None => {
            blank = blank::blank(target.api_version, target.kind);
            &blank
        }
    };
    let sent = sent.filter(|_| target.subresource.is_empty()).map(with_entries);
    let mut owners = Owners::default();
    if !sent.as_ref().is_some_and(is_reset) {
        owners = sent.as_ref().map(Owners::decode).and_then(Result::ok).unwrap_or_default();
        if owners.0.is_empty() {
            owners = Owners::decode(before).unwrap_or_default();
        }
    }
    if owners.0.is_empty() && live.is_some() {
        return Ok(None);
    }
    let mut owners: Owners<'_> = owners;
    // A body that cannot be typed loses the record: seen on /status with a wrong spec.
    typed::check(new, of, true)?;
    if typed::check(before, of, true).is_ok() {
        ownership::reconcile(&mut owners, before, target)?;
        let difference = difference(before, new, target)?;
        let (changed, removed) = difference.split();
        ownership::take_over(&mut owners, None, before, new, (&changed, &removed), target, true)
            .map_err(|error| error.to_string())?;
        let taken = ownership::strip(changed);
        if !taken.is_empty() {
            let mut updater = Owner::new(request.manager, Operation::Update, target.api_version, target.subresource);
            let previous = owners.remove(&updater);
            let all = match previous {
                Some(previous) => taken.union(previous.fields()),
                None => taken,
            };
            updater.set_fields(all);
            updater.time = Some(std::borrow::Cow::Owned(time(request.now)));
            owners.0.push(updater);
        }
    }
    owners.cap();
    let entries = owners.encode();
    Ok(Some(Value::Array(entries)).filter(|entries| entries.as_array().is_some_and(|entries| !entries.is_empty())))
}

/// The last step of a write: if only the times of the record differ from the stored object, the stored times stand. The
/// comparison is by position, so a record in another order is a write (D15, D17). Everything else of `new`, including
/// resourceVersion, must already be what would be stored.
pub fn keep_times(new: &mut Value, stored: &Value) {
    fn entries(object: &Value) -> Option<&Vec<Value>> {
        object.get("metadata")?.get("managedFields")?.as_array()
    }
    let (Some(now), Some(before)) = (entries(new), entries(stored)) else { return };
    if now.len() == before.len()
        && now != before
        && now.iter().zip(before).all(|(now, before)| same_but_time(now, before))
        && same_object(stored, new)
        && let Some(metadata) = metadata_mut(new)
    {
        metadata.insert("managedFields".to_owned(), Value::Array(before.clone()));
    }
}

/// Whether two entries are equal apart from their times.
fn same_but_time(left: &Value, right: &Value) -> bool {
    let (Value::Object(left), Value::Object(right)) = (left, right) else { return left == right };
    let size = |map: &Map<String, Value>| map.len() - usize::from(map.contains_key("time"));
    size(left) == size(right) && left.iter().all(|(key, value)| key == "time" || right.get(key) == Some(value))
}

/// A copy without the record of ownership, which is most of many an object.
pub fn without_record(object: &Value) -> Value {
    let Value::Object(fields) = object else { return object.clone() };
    let mut out = Map::with_capacity(fields.len());
    for (key, value) in fields {
        let value = match value {
            Value::Object(metadata) if key == "metadata" => {
                let mut kept = Map::with_capacity(metadata.len());
                let others = metadata.iter().filter(|(key, _)| *key != "managedFields");
                others.for_each(|(key, value)| drop(kept.insert(key.clone(), value.clone())));
                Value::Object(kept)
            }
            _ => value.clone(),
        };
        out.insert(key.clone(), value);
    }
    Value::Object(out)
}

fn difference<'a>(before: &'a Value, after: &'a Value, target: &Target<'a>) -> Result<Difference<'a>, String> {
    let difference = typed::compare(before, after, Type::Root(target.schema))
        .map_err(|reason| format!("failed to compare objects: {reason}"))?;
    Ok(match target.reset {
        Reset::Nothing => difference,
        reset => difference.map(|set| reset.filter(set)),
    })
}

/// What an apply starts from need not say what is unset.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let set = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(set.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        other => other,
    }
}

/// Whether two objects are equal apart from their records of ownership.
fn same_object(left: &Value, right: &Value) -> bool {
    let (Some(left), Some(right)) = (left.as_object(), right.as_object()) else { return left == right };
    let alike = |key: &str, a: &Value, b: &Value| match (key, a, b) {
        ("metadata", Value::Object(a), Value::Object(b)) => {
            let of = |map: &Map<String, Value>| map.len() - usize::from(map.contains_key("managedFields"));
            of(a) == of(b)
                && a.iter()
                    .filter(|(key, _)| *key != "managedFields")
                    .all(|(key, a)| b.get(key).is_some_and(|b| element::same(a, b)))
        }
        _ => element::same(a, b),
    };
    left.len() == right.len() && left.iter().all(|(key, a)| right.get(key).is_some_and(|b| alike(key, a, b)))
}

fn with_entries(entries: Value) -> Value {
    let inside = |key: &str, value| Value::Object([(key.to_owned(), value)].into_iter().collect());
    inside("metadata", inside("managedFields", entries))
}

/// Whether a client asked to clear the record: `[]` or `[{}]`.
fn is_reset(holder: &Value) -> bool {
    let entries = holder.pointer("/metadata/managedFields").and_then(Value::as_array);
    entries.is_some_and(|entries| match entries.as_slice() {
        [] => true,
        [only] => only.as_object().is_some_and(Map::is_empty),
        _ => false,
    })
}

fn typed_error(what: &str, object: &Value, target: &Target<'_>, reason: &str) -> ApplyError {
    let metadata = |key: &str| {
        object.get("metadata").and_then(|metadata| metadata.get(key)).and_then(Value::as_str).unwrap_or_default()
    };
    let (group, version) = group_version(target.api_version);
    let version = if group.is_empty() { format!("/{version}") } else { format!("{group}/{version}") };
    ApplyError::Internal(format!(
        "failed to create typed {what} object ({}/{}; {version}, Kind={}): {reason}",
        metadata("namespace"),
        metadata("name"),
        target.kind
    ))
}

fn group_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// A time as entries carry it: whole seconds, UTC.
fn time(at: Timestamp) -> Value {
    Value::from(format!("{at:.0}"))
}
