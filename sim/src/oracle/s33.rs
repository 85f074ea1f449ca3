//! S33: every component uses the credential that is stored: none sends one that left the Secret more than ten seconds ago.
//!
//! Counted when the request is sent, so a long poll may end later. Allowed are `token` and `previous-token` of any state
//! of the Secret in the last ten seconds and two more for the way (contract §15.2), and the registration token where one registers.

use std::collections::BTreeMap;
use std::time::Duration;

use fakes::front::fingerprint;
use fakes::history::{Event, Record};

use super::Oracle;
use crate::truth::identity::{CREDENTIALS, Stored};
use crate::truth::{Truth, is_operator};

/// A reload period, and the way of a request.
const RELOAD: Duration = Duration::from_secs(12);

/// S33.
#[derive(Default)]
pub(super) struct OneSourceOfCredentials {
    /// Fingerprints of stored tokens, and when each left the Secret; `None`: it is there.
    known: BTreeMap<String, Option<Duration>>,
}

impl Oracle for OneSourceOfCredentials {
    fn id(&self) -> &'static str {
        "S33"
    }

    fn promise(&self) -> &'static str {
        "every component uses the stored credential within one reload period"
    }

    fn step(&mut self, record: &Record, truth: &Truth) -> Result<(), String> {
        match &record.event {
            Event::Commit(commit) if commit.resource == "secrets" && commit.name == CREDENTIALS => {
                let stored = commit.after.as_deref().map(Stored::of).unwrap_or_default();
                let there: Vec<String> =
                    [stored.token, stored.previous].iter().flatten().map(|token| fingerprint(token)).collect();
                for (token, left) in &mut self.known {
                    if left.is_none() && !there.contains(token) {
                        *left = Some(record.at);
                    }
                }
                self.known.extend(there.into_iter().map(|token| (token, None)));
                Ok(())
            }
            Event::Handled { id, call, bearer, .. } if call.verb != "register" && is_operator(&record.actor) => {
                let sent = truth.books.sent(*id).unwrap_or(record.at);
                match self.known.get(bearer) {
                    Some(None) => Ok(()),
                    Some(Some(left)) if sent.saturating_sub(*left) <= RELOAD => Ok(()),
                    Some(Some(left)) => {
                        let late = sent.saturating_sub(*left).as_secs();
                        Err(format!("{} was sent with a credential that was replaced {late} s before", call.verb))
                    }
                    None => Err(format!("{} was sent with a credential that was never stored", call.verb)),
                }
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::story::{OPERATOR, Story, secret};
    use super::*;

    fn told() -> Story<OneSourceOfCredentials> {
        Story::new()
            .commit(OPERATOR, &secret(CREDENTIALS, &[("token", "old")]))
            .commit(OPERATOR, &secret(CREDENTIALS, &[("token", "new"), ("previous-token", "old")]))
            .commit(OPERATOR, &secret(CREDENTIALS, &[("token", "new")]))
    }

    fn poll(story: Story<OneSourceOfCredentials>, token: &str) -> Story<OneSourceOfCredentials> {
        story.sent(OPERATOR, "poll", &Value::Null).handled(
            OPERATOR,
            "poll",
            &Value::Null,
            200,
            &json!({ "jobs": [] }),
            &fingerprint(token),
        )
    }

    #[test]
    fn a_component_that_keeps_a_copy_is_seen() {
        poll(told().later(13), "old").breaks("replaced 13 s before");
    }

    #[test]
    fn a_credential_that_is_in_memory_only_is_seen() {
        poll(told(), "from memory").breaks("never stored");
    }

    #[test]
    fn the_new_one_at_once_and_the_old_one_for_a_reload_hold() {
        poll(poll(told().later(12), "old"), "new").holds();
    }
}
