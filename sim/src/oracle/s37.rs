//! S37: `status.observedGeneration` never falls, never runs ahead of the stored generation, and was really read.

use std::collections::BTreeMap;

use fakes::history::{Event, Record};
use serde_json::Value;

use super::Oracle;
use crate::truth::{INSTANCES, Truth, generation, is_operator, number, uid};

/// S37.
#[derive(Default)]
pub(super) struct ObservedGeneration {
    /// By actor and instance uid: the newest generation that reached it.
    read: BTreeMap<(String, String), i64>,
}

impl ObservedGeneration {
    fn saw(&mut self, actor: &str, object: &Value) {
        let seen = self.read.entry((actor.to_owned(), uid(object).to_owned())).or_default();
        *seen = generation(object).max(*seen);
    }
}

impl Oracle for ObservedGeneration {
    fn id(&self) -> &'static str {
        "S37"
    }

    fn promise(&self) -> &'static str {
        "observedGeneration never falls, never exceeds the stored generation, and was really read"
    }

    fn step(&mut self, record: &Record, _truth: &Truth) -> Result<(), String> {
        match &record.event {
            Event::Reply { call, status: 200 | 201, body, delivered: true, .. }
                if call.resource == INSTANCES && is_operator(&record.actor) =>
            {
                let Ok(reply) = serde_json::from_slice::<Value>(body) else { return Ok(()) };
                match reply.get("items").and_then(Value::as_array) {
                    Some(items) => items.iter().for_each(|item| self.saw(&record.actor, item)),
                    None => self.saw(&record.actor, &reply),
                }
                Ok(())
            }
            Event::Delivery { call, line, .. } if call.resource == INSTANCES && is_operator(&record.actor) => {
                if let Ok(event) = serde_json::from_slice::<Value>(line) {
                    self.saw(&record.actor, &event["object"]);
                }
                Ok(())
            }
            Event::Commit(commit) if commit.resource == INSTANCES && is_operator(&record.actor) => {
                let Some(after) = commit.after.as_deref() else { return Ok(()) };
                let observed = |object: &Value| number(object, "/status/observedGeneration");
                let before = commit.before.as_deref().map_or(-1, observed);
                let now = observed(after);
                if now == before {
                    return Ok(());
                }
                let name = &commit.name;
                let read =
                    self.read.get(&(record.actor.to_string(), uid(after).to_owned())).copied().unwrap_or_default();
                if now < before {
                    Err(format!("observedGeneration of {name} fell from {before} to {now}"))
                } else if now > generation(after) {
                    Err(format!("observedGeneration of {name} is {now}, but only {} is stored", generation(after)))
                } else if now > read {
                    Err(format!("observedGeneration of {name} is {now}, but {} had read only {read}", record.actor))
                } else {
                    Ok(())
                }
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::story::{OPERATOR, Story, instance, ready, with};
    use super::*;

    fn told(observed: i64) -> Value {
        with(&ready(), &json!({ "metadata": { "generation": 2 }, "status": { "observedGeneration": observed } }))
    }

    #[test]
    fn falling_running_ahead_and_guessing_are_seen() {
        let second = with(&instance(), &json!({ "metadata": { "generation": 2 } }));
        let story = || Story::<ObservedGeneration>::new().commit("user", &second).read(OPERATOR, &second);
        story().commit(OPERATOR, &told(2)).commit(OPERATOR, &told(1)).breaks("fell from 2 to 1");
        story().commit(OPERATOR, &told(3)).breaks("only 2 is stored");
        story().commit("operator-0.2", &told(2)).breaks("had read only 0");
    }

    #[test]
    fn reporting_what_was_read_holds() {
        Story::<ObservedGeneration>::new()
            .commit("user", &instance())
            .read(OPERATOR, &instance())
            .commit(OPERATOR, &ready())
            .holds();
    }
}
