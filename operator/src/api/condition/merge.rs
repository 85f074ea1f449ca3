//! The one merge of conditions, and the report journal (contract §20.3).

use serde_json::{Map, Value, json};

use super::Draft;

/// The only writer of conditions. The transition time moves only when the status flips; entries and fields that this
/// version does not know stay as they were read. A draft about an older generation never lowers the stored one, unless
/// the status flips: then it is a new claim, about that generation and no newer one.
pub fn merge(old: &[Value], new: &[Draft], order: &[&str], now: &str) -> Vec<Value> {
    let mut merged: Vec<Value> = old.iter().filter(|entry| entry["type"].is_string()).cloned().collect();
    for draft in new {
        let index = merged.iter().position(|entry| entry["type"] == draft.type_);
        let mut entry = match index {
            Some(index) => merged.remove(index),
            None => Value::Object(Map::new()),
        };
        let same = entry["status"] == draft.status.as_str() && entry["lastTransitionTime"].is_string();
        if !same {
            entry["lastTransitionTime"] = json!(now);
        }
        entry["type"] = json!(draft.type_);
        entry["status"] = json!(draft.status.as_str());
        entry["reason"] = json!(draft.reason.as_str());
        entry["message"] = json!(draft.message);
        let known = entry["observedGeneration"].as_i64().unwrap_or_default();
        entry["observedGeneration"] = json!(if same { draft.generation.max(known) } else { draft.generation });
        merged.push(entry);
    }
    let rank = |entry: &Value| order.iter().position(|type_| entry["type"] == *type_).unwrap_or(order.len());
    merged.sort_by_key(rank);
    merged
}

/// One stored condition by type.
pub fn find<'a>(conditions: &'a [Value], type_: &str) -> Option<&'a Value> {
    conditions.iter().find(|entry| entry["type"] == type_)
}

/// The entries of `after` whose status or reason is not that of `before`; a first appearance is one.
pub fn transitions<'a>(before: &[Value], after: &'a [Value]) -> Vec<&'a Value> {
    after
        .iter()
        .filter(|entry| {
            let old = entry["type"].as_str().and_then(|type_| find(before, type_));
            old.is_none_or(|old| old["status"] != entry["status"] || old["reason"] != entry["reason"])
        })
        .collect()
}

/// How many transitions are kept.
pub const TRANSITIONS_MAX: usize = 20;

/// Appends `changes` to the journal inside `status` and counts `transitionSeq` up.
pub fn record(status: &mut Map<String, Value>, changes: &[Value], generation: i64, now: &str) {
    if changes.is_empty() {
        return;
    }
    let mut seq = status.get("transitionSeq").and_then(Value::as_i64).unwrap_or_default();
    let mut journal = status.get("transitions").and_then(Value::as_array).cloned().unwrap_or_default();
    for change in changes {
        // The stored number may be anybody's.
        seq = seq.saturating_add(1);
        journal.push(json!({
            "seq": seq,
            "type": change["type"],
            "status": change["status"],
            "reason": change["reason"],
            "message": change["message"],
            "time": now,
            "generation": generation,
        }));
    }
    let surplus = journal.len().saturating_sub(TRANSITIONS_MAX);
    journal.drain(..surplus);
    status.insert("transitionSeq".into(), json!(seq));
    status.insert("transitions".into(), Value::Array(journal));
}
#[cfg(test)]
mod tests {
    use super::super::{APPLICATION_INSTANCE, ConditionType, Outlook, Reason, Status, summarize};
    use super::*;

    fn draft(status: Status, message: &str, generation: i64) -> Draft {
        Draft::new(ConditionType::Blocked, status, Reason::PolicyDenied, message, generation)
    }

    #[test]
    fn the_transition_time_moves_only_when_the_status_flips() {
        let first = merge(&[], &[draft(Status::True, "a", 1)], APPLICATION_INSTANCE, "t1");
        let second = merge(&first, &[draft(Status::True, "b", 2)], APPLICATION_INSTANCE, "t2");
        let third = merge(&second, &[draft(Status::False, "b", 2)], APPLICATION_INSTANCE, "t3");
        assert_eq!((&first[0]["lastTransitionTime"], &first[0]["message"]), (&json!("t1"), &json!("a")));
        assert_eq!((&second[0]["lastTransitionTime"], &second[0]["message"]), (&json!("t1"), &json!("b")));
        assert_eq!(second[0]["observedGeneration"], 2);
        assert_eq!(third[0]["lastTransitionTime"], "t3");
        assert!(transitions(&first, &second).is_empty(), "a new message is no transition");
        assert_eq!(transitions(&second, &third).len(), 1);
    }

    #[test]
    fn a_flip_claims_its_own_generation_and_nothing_else_lowers_it() {
        let second = merge(&[], &[draft(Status::False, "a", 2)], APPLICATION_INSTANCE, "t1");
        let same = merge(&second, &[draft(Status::False, "a", 1)], APPLICATION_INSTANCE, "t2");
        let flipped = merge(&second, &[draft(Status::True, "a", 1)], APPLICATION_INSTANCE, "t2");
        assert_eq!((&same[0]["observedGeneration"], &flipped[0]["observedGeneration"]), (&json!(2), &json!(1)));
    }

    #[test]
    fn what_a_newer_version_wrote_stays_and_known_types_come_first() {
        let old = vec![
            json!({"type": "Novel", "status": "True", "reason": "New", "message": "", "lastTransitionTime": "t0"}),
            json!({"type": "Blocked", "status": "True", "reason": "Later", "message": "", "lastTransitionTime": "t0", "extra": 7}),
        ];
        let ready = summarize(Outlook::Ready, "deployed", 3).unwrap();
        let merged = merge(&old, &[draft(Status::True, "x", 3), ready], APPLICATION_INSTANCE, "t1");
        let types: Vec<_> = merged.iter().map(|entry| entry["type"].as_str().unwrap()).collect();
        assert_eq!(types, ["Ready", "Blocked", "Novel"]);
        assert_eq!(merged[1]["extra"], 7);
        assert_eq!(merged[1]["lastTransitionTime"], "t0");
    }

    #[test]
    fn the_journal_keeps_the_newest_twenty_and_never_reuses_a_number() {
        let mut status = Map::new();
        for number in 0..30 {
            let change = json!({"type": "Ready", "status": "True", "reason": format!("R{number}"), "message": ""});
            record(&mut status, &[change], 1, "t");
        }
        let journal = status["transitions"].as_array().unwrap();
        assert_eq!(journal.len(), TRANSITIONS_MAX);
        assert_eq!((&journal[0]["seq"], &journal[19]["seq"]), (&json!(11), &json!(30)));
        assert_eq!(status["transitionSeq"], 30);
    }
}
