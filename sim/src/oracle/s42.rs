//! S42: each reportable transition is written with the status that makes it, told once, in order, under a key of its own.
//!
//! - A status write of ours that changes the status or reason of a condition appends exactly that to
//!   `status.transitions`, numbered on from the last (contract §20.3).
//! - One key never stands for two facts, and what is told is what was written.
//! - Per object the control plane hears transitions in the order of their numbers; a gap is allowed only where
//!   `BufferOverflow` said so.

use std::collections::BTreeMap;

use fakes::history::{Event, Record};
use serde_json::Value;

use super::Oracle;
use crate::truth::{CLUSTERS, INSTANCES, OPERATIONS, Truth, condition_status, is_operator, number, text, uid};

/// S42.
#[derive(Default)]
pub(super) struct EachTransitionOnce {
    /// By uid and number: type, status, reason. A cluster that was restored may use a number twice.
    written: BTreeMap<(String, i64), Vec<[String; 3]>>,
    /// By key: what was told under it.
    told: BTreeMap<String, Value>,
    /// By uid: the highest number that arrived.
    arrived: BTreeMap<String, i64>,
    overflowed: bool,
}

impl Oracle for EachTransitionOnce {
    fn id(&self) -> &'static str {
        "S42"
    }

    fn promise(&self) -> &'static str {
        "each transition is told once, in order per object, under a key of its own"
    }

    fn step(&mut self, record: &Record, _: &Truth) -> Result<(), String> {
        match &record.event {
            Event::Commit(commit) if matches!(&*commit.resource, INSTANCES | OPERATIONS | CLUSTERS) => {
                let Some(after) = commit.after.as_deref() else { return Ok(()) };
                self.overflowed |= condition_status(after, "BufferOverflow") == "True";
                self.note(after);
                if is_operator(&record.actor) {
                    return matches_its_record(commit.before.as_deref().unwrap_or(&Value::Null), after);
                }
                Ok(())
            }
            Event::Handled { call, request, status, .. } if call.verb == "events" => {
                let batch: Value = serde_json::from_slice(request).unwrap_or_default();
                let events = batch["events"].as_array().into_iter().flatten();
                events.filter(|event| event["eventKey"].is_string()).try_for_each(|event| self.hear(event, *status))
            }
            _ => Ok(()),
        }
    }
}

fn transitions(object: &Value) -> impl DoubleEndedIterator<Item = &Value> {
    object.pointer("/status/transitions").and_then(Value::as_array).into_iter().flatten()
}

fn fact(transition: &Value) -> [String; 3] {
    ["/type", "/status", "/reason"].map(|pointer| text(transition, pointer).to_owned())
}

impl EachTransitionOnce {
    fn note(&mut self, object: &Value) {
        for transition in transitions(object) {
            let facts = self.written.entry((uid(object).to_owned(), number(transition, "/seq"))).or_default();
            let fact = fact(transition);
            if !facts.contains(&fact) {
                facts.push(fact);
            }
        }
    }

    fn hear(&mut self, event: &Value, status: u16) -> Result<(), String> {
        let key = text(event, "/eventKey");
        match self.told.get(key) {
            Some(before) if before == event => {}
            Some(_) => return Err(format!("two facts under the key {key}")),
            None => drop(self.told.insert(key.to_owned(), event.clone())),
        }
        let Some((of, seq)) = transition_of(key) else { return Ok(()) };
        let said = event["conditions"].as_array().and_then(|list| list.first()).map(fact).unwrap_or_default();
        let known = self.written.get(&(of.to_owned(), seq));
        if !known.is_some_and(|facts| facts.contains(&said)) {
            return Err(format!("{key} tells {}={} {}, which no status ever said", said[0], said[1], said[2]));
        }
        // What was refused, or arrived nowhere, has not been heard.
        if !(200..300).contains(&status) {
            return Ok(());
        }
        let last = self.arrived.entry(of.to_owned()).or_default();
        if seq > *last + 1 && *last > 0 && !self.overflowed {
            return Err(format!("{key} arrived before number {}", *last + 1));
        }
        *last = (*last).max(seq);
        Ok(())
    }
}

/// Uid and number in the key of a transition: `condition/…/<uid>/<type>/<status>@<generation>#<seq>-<digest>`.
pub(super) fn transition_of(key: &str) -> Option<(&str, i64)> {
    let (path, suffix) = key.strip_prefix("condition/")?.rsplit_once('#')?;
    let seq = suffix.split('-').next()?.parse().ok()?;
    let mut parts = path.rsplit('/').skip(2);
    Some((parts.next()?, seq))
}

/// Whether the change of the conditions and the transitions that were appended say the same.
fn matches_its_record(before: &Value, after: &Value) -> Result<(), String> {
    let list = |object: &Value| -> BTreeMap<String, [String; 3]> {
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
        conditions
            .into_iter()
            .flatten()
            .map(|condition| (text(condition, "/type").to_owned(), fact(condition)))
            .collect()
    };
    let last = transitions(before).map(|transition| number(transition, "/seq")).max().unwrap_or(0);
    let fresh: Vec<&Value> = transitions(after).filter(|transition| number(transition, "/seq") > last).collect();
    for (index, transition) in fresh.iter().enumerate() {
        if last > 0 && number(transition, "/seq") != last + 1 + i64::try_from(index).unwrap_or(i64::MAX) {
            return Err(format!("transition {} does not follow {last}", number(transition, "/seq")));
        }
    }
    let (was, is) = (list(before), list(after));
    let changed: Vec<&[String; 3]> =
        is.iter().filter(|(type_, fact)| was.get(*type_) != Some(fact)).map(|(_, fact)| fact).collect();
    let told: Vec<[String; 3]> = fresh.iter().map(|transition| fact(transition)).collect();
    if let Some(missing) = changed.iter().find(|fact| !told.contains(fact)) {
        return Err(format!("{} became {} {} without a transition", missing[0], missing[1], missing[2]));
    }
    match told.iter().find(|fact| !changed.contains(fact)) {
        Some(extra) => Err(format!("a transition of {} to {} {} that did not happen", extra[0], extra[1], extra[2])),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::story::{OPERATOR, Story, instance, with};
    use super::*;

    fn saying(entries: &[(i64, &str, &str)]) -> Value {
        let last = entries.last().expect("at least one");
        let transitions: Vec<Value> = entries
            .iter()
            .map(|(seq, status, reason)| json!({ "seq": seq, "type": "Ready", "status": status, "reason": reason }))
            .collect();
        with(
            &instance(),
            &json!({ "status": {
            "conditions": [{ "type": "Ready", "status": last.1, "reason": last.2 }],
            "transitionSeq": last.0, "transitions": transitions } }),
        )
    }

    const FIRST: (i64, &str, &str) = (1, "False", "Installing");
    const SECOND: (i64, &str, &str) = (2, "True", "HelmReleaseReady");

    fn told() -> Story<EachTransitionOnce> {
        Story::new().commit(OPERATOR, &saying(&[FIRST])).commit(OPERATOR, &saying(&[FIRST, SECOND]))
    }

    fn batch(entries: &[(i64, &str, &str)]) -> Value {
        let event = |(seq, status, reason): &(i64, &str, &str)| {
            json!({
                "eventKey": format!("condition/apps.vworkspace.io/v1alpha1/ApplicationInstance/org-a/files/u-1/Ready/{status}@1#{seq}-0badcafe"),
                "kind": "ConditionTransition", "conditions": [{ "type": "Ready", "status": status, "reason": reason }] })
        };
        json!({ "events": entries.iter().map(event).collect::<Vec<_>>() })
    }

    fn post(story: Story<EachTransitionOnce>, entries: &[(i64, &str, &str)]) -> Story<EachTransitionOnce> {
        story.call(OPERATOR, "events", &batch(entries), 204, &Value::Null)
    }

    #[test]
    fn a_change_without_a_transition_and_one_that_did_not_happen_are_seen() {
        let silent = with(
            &saying(&[FIRST]),
            &json!({ "status": { "conditions": [
            { "type": "Ready", "status": "True", "reason": "HelmReleaseReady" }] } }),
        );
        Story::<EachTransitionOnce>::new()
            .commit(OPERATOR, &saying(&[FIRST]))
            .commit(OPERATOR, &silent)
            .breaks("without a transition");
        let invented = with(
            &saying(&[FIRST, SECOND]),
            &json!({ "status": { "conditions": [
            { "type": "Ready", "status": "False", "reason": "Installing" }] } }),
        );
        Story::<EachTransitionOnce>::new()
            .commit(OPERATOR, &saying(&[FIRST]))
            .commit(OPERATOR, &invented)
            .breaks("did not happen");
    }

    #[test]
    fn a_gap_is_seen() {
        let third = (3, "False", "HelmReleaseFailed");
        let story = told().commit(OPERATOR, &saying(&[FIRST, SECOND, third]));
        post(post(story, &[FIRST]), &[third]).breaks("before number 2");
    }

    #[test]
    fn one_key_for_two_facts_is_seen() {
        let mut other = batch(&[FIRST]);
        other["events"][0]["timestamp"] = json!("2026-01-01T00:00:09Z");
        post(told(), &[FIRST]).call(OPERATOR, "events", &other, 204, &Value::Null).breaks("two facts");
    }

    #[test]
    fn what_no_status_said_is_seen() {
        post(told(), &[(2, "True", "Invented")]).breaks("no status ever said");
    }

    #[test]
    fn in_order_and_repeated_holds() {
        post(post(post(told(), &[FIRST]), &[FIRST, SECOND]), &[SECOND]).holds();
    }
}
