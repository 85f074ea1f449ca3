//! What goes wrong between a client and the API server or the control plane: rules, matched by who asks what for the n-th time, never by time.
//!
//! A rule may only do what the real world may do ([`Rule::check`]): after a commit no well-formed 4xx is possible, a
//! reply that never existed cannot be cut in half, and watch events are never silently skipped (a missed event is a
//! stream that ends, and a window that has passed when it is opened again). The rules strike in [`crate::front`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::history::Call;

/// One fault of a case. Fields that are absent match everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Its id in the catalogue of faults, and how it is counted: `F12`.
    pub id: String,
    /// Whose requests: an actor (`operator-0`), all its incarnations included.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub actor: String,
    /// Which requests.
    #[serde(default, rename = "match")]
    pub pattern: Pattern,
    /// Strikes at the n-th match, counted from 1; 0 strikes at every match.
    #[serde(default = "first")]
    pub nth: u64,
    /// When, relative to the commit.
    #[serde(default)]
    pub at: At,
    /// What happens.
    pub strike: Strike,
}

fn first() -> u64 {
    1
}

/// Which requests a rule is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pattern {
    /// get, list, watch, create, update, patch, apply, delete; `write` for any that changes the store; poll, ack, status,
    /// result, events, register, rotate, decommission at the control plane.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub verb: String,
    /// Kind, plural or `plural.group`; `control-plane` for every call there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Object name, or job id.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
}

impl Pattern {
    fn fits(&self, call: &Call) -> bool {
        let verb = self.verb.is_empty() || self.verb == call.verb || (self.verb == "write" && call.writes());
        verb && (self.kind.is_empty() || call.is_about(&self.kind)) && (self.name.is_empty() || self.name == call.name)
    }
}

/// The three moments of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum At {
    /// Sent, not yet handled.
    #[default]
    Before,
    /// Handled (and committed, if it was a write); the reply is not yet out.
    After,
    /// The reply is on its way, or, for a crash, has just arrived.
    Reply,
}

/// What a fault does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "do", deny_unknown_fields)]
pub enum Strike {
    /// The sender dies (power loss: nothing more of it is accepted or delivered).
    Crash,
    /// The connection breaks: before the commit the request never arrived, after it the reply is lost.
    Lose,
    /// Nothing is ever answered; the sender's deadline decides.
    Silence,
    /// The server, or something before it, answers this instead.
    #[serde(rename_all = "camelCase")]
    Answer {
        /// HTTP status.
        status: u16,
        /// `Retry-After`, in seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<u64>,
        /// Plain text without a `Status` object, as priority and fairness answers.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        plain: bool,
    },
    /// The request is carried out twice by something in between.
    Twice,
    /// The request arrives late, so that later ones overtake it.
    Late {
        /// Milliseconds.
        ms: u64,
    },
    /// The head of the reply comes late.
    SlowHead {
        /// Milliseconds.
        ms: u64,
    },
    /// The second half of the body comes late; for a watch, each event.
    SlowBody {
        /// Milliseconds.
        ms: u64,
    },
    /// The body breaks off in the middle.
    HalfBody,
    /// The watch ends cleanly.
    EndStream {
        /// After this many events.
        after: u64,
    },
    /// The watch ends with an error event 410, so the reader must list again.
    Expire {
        /// After this many events.
        after: u64,
    },
    /// The watch stays open and is silent for ever (a peer that vanished).
    HalfOpen {
        /// After this many events.
        after: u64,
    },
    /// An event passes unseen: the stream ends before it, and the window has passed when it is opened again.
    Miss {
        /// After this many events.
        after: u64,
    },
}

impl Rule {
    /// Refuses what the real world cannot do.
    ///
    /// # Errors
    /// A sentence naming the rule and what is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        let watching = matches!(
            self.strike,
            Strike::EndStream { .. } | Strike::Expire { .. } | Strike::HalfOpen { .. } | Strike::Miss { .. }
        );
        let fault = match (&self.strike, self.at) {
            _ if watching && self.pattern.verb != "watch" => "only a watch can be ended; match verb: watch",
            _ if watching && self.at != At::Reply => "a stream breaks while it is read; use at: reply",
            (Strike::Answer { status: 400..=499, .. }, At::After | At::Reply) => {
                "after a commit no 4xx is possible; use at: before"
            }
            (Strike::Answer { .. }, At::Reply) => "a reply on its way cannot be another one; use at: after",
            (Strike::SlowHead { .. } | Strike::SlowBody { .. } | Strike::HalfBody, At::Before | At::After) => {
                "there is no body yet; use at: reply"
            }
            (Strike::Twice | Strike::Late { .. }, At::After | At::Reply) => {
                "this happens on the way in; use at: before"
            }
            _ => return Ok(()),
        };
        Err(format!("fault {}: {fault}", self.id))
    }
}

struct Armed {
    key: u64,
    rule: Rule,
    seen: u64,
    /// Disarmed by itself after it struck.
    once: bool,
}

#[derive(Default)]
struct Inner {
    next: u64,
    armed: Vec<Armed>,
    fired: BTreeMap<String, u64>,
    /// By id: how many requests matched a rule at its moment, struck or not.
    matched: BTreeMap<String, u64>,
    struck: Vec<String>,
}

/// The faults of one run; a cheap handle.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<Inner>>);

/// Keeps a rule armed; dropping it disarms the rule.
#[must_use = "the rule is disarmed when this is dropped"]
pub struct Guard {
    faults: Faults,
    key: u64,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let key = self.key;
        self.faults.lock().armed.retain(|armed| armed.key != key);
    }
}

impl Faults {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, rule: Rule, once: bool) -> u64 {
        let mut inner = self.lock();
        inner.next += 1;
        let key = inner.next;
        inner.armed.push(Armed { key, rule, seen: 0, once });
        key
    }

    /// Arms a rule for as long as the guard lives.
    ///
    /// # Errors
    /// The rule is beyond what the real world may do.
    pub fn arm(&self, rule: Rule) -> Result<Guard, String> {
        rule.check()?;
        Ok(Guard { faults: self.clone(), key: self.add(rule, false) })
    }

    /// Arms the rules of a case until [`Faults::heal`].
    ///
    /// # Errors
    /// The first rule that is beyond what the real world may do.
    pub fn load(&self, rules: &[Rule]) -> Result<(), String> {
        for rule in rules {
            rule.check()?;
            self.add(rule.clone(), false);
        }
        Ok(())
    }

    /// Arms a rule that leaves after it struck: the second half of a fault that takes two requests.
    pub(crate) fn follow(&self, rule: Rule) {
        self.add(rule, true);
    }

    /// Disarms everything.
    pub fn heal(&self) {
        self.lock().armed.clear();
    }

    /// How often each id struck.
    pub fn fired(&self) -> BTreeMap<String, u64> {
        self.lock().fired.clone()
    }

    /// How many requests matched the rules of each id, struck or not.
    pub fn matched(&self) -> BTreeMap<String, u64> {
        self.lock().matched.clone()
    }

    /// What was struck, in order: `After of apply helmreleases.helm.toolkit.fluxcd.io a/b`.
    pub fn struck(&self) -> Vec<String> {
        self.lock().struck.clone()
    }

    /// Whether a rule is armed that has not struck yet.
    pub fn outstanding(&self) -> bool {
        self.lock().armed.iter().any(|armed| armed.rule.nth != 0 && armed.seen < armed.rule.nth)
    }

    /// The first armed rule that strikes this call at this moment. Every rule of that moment counts the match.
    pub(crate) fn strike(&self, actor: &str, call: &Call, at: At) -> Option<(Arc<str>, Strike)> {
        let mut inner = self.lock();
        let Inner { armed, matched, .. } = &mut *inner;
        let mut struck = None;
        for armed in armed {
            let rule = &armed.rule;
            let theirs = rule.actor.is_empty() || same_actor(&rule.actor, actor);
            if rule.at != at || !theirs || !rule.pattern.fits(call) {
                continue;
            }
            armed.seen += 1;
            match matched.get_mut(&rule.id) {
                Some(count) => *count += 1,
                None => drop(matched.insert(rule.id.clone(), 1)),
            }
            if struck.is_none() && (rule.nth == 0 || armed.seen == rule.nth) {
                struck = Some((armed.key, armed.once, rule.id.clone(), rule.strike.clone()));
            }
        }
        let (key, once, id, strike) = struck?;
        if once {
            inner.armed.retain(|armed| armed.key != key);
        }
        *inner.fired.entry(id.clone()).or_default() += 1;
        inner.struck.push(format!("{at:?} of {call}"));
        Some((id.into(), strike))
    }
}

/// `operator-0` and `operator` mean every incarnation of it, `operator-0.2` only that one.
fn same_actor(wanted: &str, actor: &str) -> bool {
    actor == wanted || actor.strip_prefix(wanted).is_some_and(|rest| rest.starts_with(['.', '-']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Rule {
        serde_json::from_str(text).expect("a rule")
    }

    fn apply() -> Call {
        let path = "/apis/helm.toolkit.fluxcd.io/v2/namespaces/a/helmreleases/files";
        Call::read(&http::Method::PATCH, path, Some("application/apply-patch+yaml"))
    }

    #[test]
    fn the_nth_match_strikes_once() {
        let faults = Faults::default();
        let lost = rule(
            r#"{"id":"F12","actor":"operator-0","match":{"verb":"apply","kind":"HelmRelease"},"nth":2,"at":"after",
                "strike":{"do":"lose"}}"#,
        );
        let guard = faults.arm(lost).expect("legal");
        let strikes: Vec<bool> = ["operator-0.1", "user", "operator-0.2", "operator-0.2"]
            .iter()
            .map(|actor| faults.strike(actor, &apply(), At::After).is_some())
            .collect();
        assert_eq!(
            strikes,
            [false, false, true, false],
            "the user's request does not count, the third does not strike"
        );
        assert_eq!(faults.fired().get("F12"), Some(&1));
        drop(guard);
        assert!(!faults.outstanding());
    }

    #[test]
    fn a_guard_disarms_when_dropped() {
        let faults = Faults::default();
        let guard = faults.arm(rule(r#"{"id":"F13","nth":0,"strike":{"do":"answer","status":503}}"#)).expect("legal");
        assert!(faults.strike("anyone", &apply(), At::Before).is_some());
        drop(guard);
        assert!(faults.strike("anyone", &apply(), At::Before).is_none());
    }

    #[test]
    fn what_the_world_cannot_do_is_refused() {
        for (text, word) in [
            (r#"{"id":"x","at":"after","strike":{"do":"answer","status":409}}"#, "no 4xx"),
            (r#"{"id":"x","at":"before","strike":{"do":"halfBody"}}"#, "no body"),
            (r#"{"id":"x","at":"reply","strike":{"do":"miss","after":1}}"#, "only a watch"),
            (r#"{"id":"x","match":{"verb":"watch"},"strike":{"do":"miss","after":1}}"#, "at: reply"),
            (r#"{"id":"x","at":"after","strike":{"do":"twice"}}"#, "at: before"),
        ] {
            let refusal = rule(text).check().expect_err(text);
            assert!(refusal.contains(word), "{refusal}");
        }
    }
}
