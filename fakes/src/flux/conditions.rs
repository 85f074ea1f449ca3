//! A list of conditions: how one is placed in it, and what becomes of changes when the object has moved on (downstream §1).

use std::cmp::Ordering;

use serde_json::{Value, json};

/// The conditions of an object.
pub(crate) fn conditions(object: &Value) -> Vec<Value> {
    object["status"]["conditions"].as_array().cloned().unwrap_or_default()
}

/// `list` with `wanted` in it: the old time stays if nothing that matters changed, the generation is always stamped.
pub(super) fn place(mut list: Vec<Value>, mut wanted: Value, generation: i64, now: &str) -> Vec<Value> {
    let kind = wanted["type"].clone();
    let old = list.iter().position(|condition| condition["type"] == kind).map(|index| list.remove(index));
    let same = |old: &Value| ["status", "reason", "message"].iter().all(|field| old[*field] == wanted[*field]);
    wanted["lastTransitionTime"] = match &old {
        Some(old) if same(old) => old["lastTransitionTime"].clone(),
        _ => json!(now),
    };
    wanted["observedGeneration"] = json!(generation);
    list.push(wanted);
    list.sort_by(order);
    list
}

/// Stalled, Reconciling, Ready; then the higher generation; then by name.
fn order(left: &Value, right: &Value) -> Ordering {
    let rank = |condition: &Value| match condition["type"].as_str() {
        Some("Stalled") => 0,
        Some("Reconciling") => 1,
        Some("Ready") => 2,
        _ => 3,
    };
    let generation = |condition: &Value| condition["observedGeneration"].as_i64().unwrap_or_default();
    rank(left)
        .cmp(&rank(right))
        .then_with(|| if rank(left) == 3 { generation(right).cmp(&generation(left)) } else { Ordering::Equal })
        .then_with(|| left["type"].as_str().cmp(&right["type"].as_str()))
}

/// The changes from `before` to `after`, put upon what the server has now. This is where a condition computed from an
/// older spec gets the generation of the newer one (downstream §2.7).
pub(super) fn rebase(server: &Value, before: &[Value], after: &[Value], now: &str) -> Vec<Value> {
    let generation = server["metadata"]["generation"].as_i64().unwrap_or_default();
    let mut list = conditions(server);
    for old in before {
        if !after.iter().any(|condition| condition["type"] == old["type"]) {
            list.retain(|condition| condition["type"] != old["type"]);
        }
    }
    for wanted in after.iter().filter(|wanted| !before.contains(wanted)) {
        list = place(list, wanted.clone(), generation, now);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(kind: &str, status: &str, generation: i64, time: &str) -> Value {
        json!({"type": kind, "status": status, "reason": "R", "message": "m", "observedGeneration": generation,
            "lastTransitionTime": time})
    }

    #[test]
    fn a_repeated_condition_keeps_its_time_and_takes_the_new_generation() {
        let list = vec![condition("Ready", "True", 1, "old")];
        let wanted = json!({"type": "Ready", "status": "True", "reason": "R", "message": "m"});
        assert_eq!(place(list.clone(), wanted.clone(), 2, "new"), [condition("Ready", "True", 2, "old")]);
        let mut other = wanted;
        other["message"] = json!("n");
        assert_eq!(place(list, other, 2, "new")[0]["lastTransitionTime"], "new");
    }

    #[test]
    fn conditions_are_ordered_by_weight_then_generation_then_name() {
        let mut list = [
            condition("Released", "True", 1, "t"),
            condition("Ready", "True", 1, "t"),
            condition("Remediated", "True", 2, "t"),
            condition("Reconciling", "True", 2, "t"),
            condition("Drifted", "True", 2, "t"),
        ];
        list.sort_by(order);
        let names: Vec<&str> = list.iter().filter_map(|condition| condition["type"].as_str()).collect();
        assert_eq!(names, ["Reconciling", "Ready", "Drifted", "Remediated", "Released"]);
    }

    #[test]
    fn a_conflict_stamps_the_newer_generation_on_what_the_pass_changed() {
        let server =
            json!({"metadata": {"generation": 5}, "status": {"conditions": [condition("Released", "True", 4, "t")]}});
        let before = [condition("Released", "True", 4, "t"), condition("Reconciling", "True", 4, "t")];
        let after = [condition("Released", "True", 4, "t"), condition("Ready", "True", 4, "t")];
        let list = rebase(&server, &before, &after, "now");
        assert_eq!(list, [condition("Ready", "True", 5, "now"), condition("Released", "True", 4, "t")]);
    }
}
