//! Scenarios: cases written by people. Prose on top (lines that begin with `#`), then one step or fault per line.
//!
//! ```text
//! # What this protects, and how it broke once.
//! namespace org-a
//! instance org-a/files 6.6.0
//! wait org-a/files ready
//! on 2nd apply HelmRelease by operator-0: commit, lose reply
//! upgrade org-a/files 7.0.0
//! wait org-a/files Ready=True HelmReleaseUpgraded within 300
//! delete org-a/files
//! wait org-a/files gone
//! expect S19
//! ```
//!
//! Faults hold for the whole story, wherever they are written. `flux H4 org-a/files` arms a switch of the fake Flux once,
//! at that moment of the story; `crash 5` is power loss of the operator for five seconds; `pass 60` lets time pass;
//! `namespace NAME ungated`; `instance … helm` takes an HTTP repository; `entropy N` and `seed N` set the seeds.

use fakes::faults::{At, Pattern, Rule, Strike};
use fakes::script::{Order, Switch, Target};

use crate::case::{Case, Step, Until, Wish, split};
use crate::world::instance_path;

/// Reads a scenario.
///
/// # Errors
/// The line and what is wrong with it.
pub fn read(text: &str) -> Result<Case, String> {
    let mut case = Case::new("", Vec::new());
    let mut prose = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(comment) = line.strip_prefix('#') {
            prose.push(comment.trim());
        } else if !line.is_empty() {
            add(&mut case, line).map_err(|why| format!("line {}: {why}: {line:?}", index + 1))?;
        }
    }
    case.title = prose.join(" ");
    case.faults.iter().try_for_each(Rule::check)?;
    Ok(case)
}

fn add(case: &mut Case, line: &str) -> Result<(), String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let step = match words.as_slice() {
        ["seed", seed] => {
            case.world = number(seed)?;
            return Ok(());
        }
        ["entropy", seed] => {
            case.entropy = number(seed)?;
            return Ok(());
        }
        ["expect", oracle] => {
            case.expect = Some((*oracle).into());
            return Ok(());
        }
        ["on", ..] => {
            case.faults.push(fault(line, case.faults.len())?);
            return Ok(());
        }
        ["namespace", name] => Step::Namespace { name: (*name).into(), gated: true },
        ["namespace", name, "ungated"] => Step::Namespace { name: (*name).into(), gated: false },
        ["instance", instance, version] => wish(instance, version, "oci"),
        ["instance", instance, version, source @ ("oci" | "helm")] => wish(instance, version, source),
        ["upgrade", instance, version] => Step::Upgrade { instance: (*instance).into(), version: (*version).into() },
        ["delete", instance] => Step::Delete { path: instance_path(instance) },
        ["pass", seconds] => Step::Pass { seconds: number(seconds)? },
        ["crash"] => Step::Crash { down: 1 },
        ["crash", seconds] => Step::Crash { down: number(seconds)? },
        ["flux", switch, release] => Step::Flux { order: order(switch, release)? },
        ["wait", instance, rest @ ..] => wait(instance, rest)?,
        [word, ..] => {
            const WORDS: [&str; 12] = [
                "namespace",
                "instance",
                "upgrade",
                "delete",
                "wait",
                "flux",
                "crash",
                "pass",
                "on",
                "expect",
                "seed",
                "entropy",
            ];
            return Err(format!(
                "no such step; the nearest: {}",
                crate::command::screen::nearest(word, &WORDS).join(", ")
            ));
        }
        [] => return Ok(()),
    };
    case.workload.push(step);
    Ok(())
}

fn number(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| format!("{word} is not a number"))
}

fn wish(instance: &str, version: &str, source: &str) -> Step {
    Step::Instance(Wish {
        instance: instance.into(),
        version: version.into(),
        source: source.into(),
        values: serde_json::json!({ "replicaCount": 2 }),
    })
}

fn order(switch: &str, release: &str) -> Result<Order, String> {
    let (namespace, name) = split(release);
    let known: Switch = serde_json::from_value(serde_json::Value::String(switch.into()))
        .map_err(|_| format!("{switch} is no switch of the fake Flux"))?;
    Ok(Order::new(known).on(Target::new("HelmRelease", namespace, name)).times(1).text("injected failure"))
}

fn wait(instance: &str, rest: &[&str]) -> Result<Step, String> {
    let (what, within) = match rest {
        [what @ .., "within", seconds] => (what, number(seconds)?),
        what => (what, 300),
    };
    let instance = instance.to_owned();
    let until = match what {
        ["ready"] => Until::Ready { instance },
        ["gone"] => Until::Gone { instance },
        [condition, reason @ ..] => {
            let (kind, status) = condition.split_once('=').ok_or("ready, gone, or a condition like Ready=True")?;
            let reason = reason.join(" ");
            Until::Condition { instance, kind: kind.into(), status: status.into(), reason }
        }
        [] => return Err("ready, gone, or a condition like Ready=True".into()),
    };
    Ok(Step::Wait { until, within })
}

/// `on 2nd apply HelmRelease by operator-0: commit, lose reply`
fn fault(line: &str, index: usize) -> Result<Rule, String> {
    let (head, tail) = line.split_once(':').ok_or("a fault needs a colon and what happens")?;
    let words: Vec<&str> = head.split_whitespace().skip(1).collect();
    let (words, actor) = match words.as_slice() {
        [words @ .., "by", actor] => (words, *actor),
        words => (words, "operator"),
    };
    let (nth, verb, kind) = match words {
        ["every", verb, kind] => (0, *verb, *kind),
        ["every", verb] => (0, *verb, ""),
        [nth, verb, kind] => (ordinal(nth)?, *verb, *kind),
        [nth, verb] => (ordinal(nth)?, *verb, ""),
        _ => return Err("on <nth> <verb> [kind] [by actor]".into()),
    };
    let (id, at, strike) = strike(tail.trim())?;
    let pattern = Pattern { verb: verb.into(), kind: kind.into(), name: String::new() };
    Ok(Rule { id: format!("{id}-{index}"), actor: actor.into(), pattern, nth, at, strike })
}

fn ordinal(word: &str) -> Result<u64, String> {
    number(word.trim_end_matches(char::is_alphabetic)).map_err(|_| format!("{word} is not like 1st, 2nd, 3rd"))
}

fn strike(text: &str) -> Result<(&'static str, At, Strike), String> {
    let words: Vec<&str> = text.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    let (at, words) = match words.as_slice() {
        ["commit", words @ ..] => (At::After, words),
        ["reply", words @ ..] => (At::Reply, words),
        words => (At::Before, words),
    };
    let answer = |status: &str, retry_after, plain| -> Result<Strike, String> {
        let status = status.parse().map_err(|_| format!("{status} is no HTTP status"))?;
        Ok(Strike::Answer { status, retry_after, plain })
    };
    Ok(match words {
        ["crash"] if at == At::Before => ("F1", at, Strike::Crash),
        ["crash"] => ("F2", at, Strike::Crash),
        ["lose"] | ["lose", "reply"] if at == At::After => ("F12", at, Strike::Lose),
        ["lose"] | ["refuse"] => ("F11", at, Strike::Lose),
        ["silence"] => ("F12", at, Strike::Silence),
        ["twice"] => ("F14", at, Strike::Twice),
        ["answer", status] => ("F13", at, answer(status, None, false)?),
        ["answer", status, "plain"] => ("F13", at, answer(status, Some(1), true)?),
        ["answer", status, "after", seconds] => ("F13", at, answer(status, Some(number(seconds)?), false)?),
        ["half", "body"] => ("F20", At::Reply, Strike::HalfBody),
        ["slow", "body", ms] => ("F20", At::Reply, Strike::SlowBody { ms: number(ms)? }),
        ["slow", "head", ms] => ("F20", At::Reply, Strike::SlowHead { ms: number(ms)? }),
        ["end", "after", events] => ("F22", At::Reply, Strike::EndStream { after: number(events)? }),
        ["expire", "after", events] => ("F22", At::Reply, Strike::Expire { after: number(events)? }),
        ["half-open", "after", events] => ("F22", At::Reply, Strike::HalfOpen { after: number(events)? }),
        ["miss", "after", events] => ("F23", At::Reply, Strike::Miss { after: number(events)? }),
        _ => {
            return Err("crash, lose, silence, twice, answer STATUS [plain | after SECONDS], half body, slow body MS, slow head \
                        MS, end after N, expire after N, half-open after N, miss after N; `commit,` or `reply,` in front"
                .into());
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_becomes_a_case() {
        let case = read(
            "# Protects this.\n# And that.\nseed 4\nnamespace org-a\ninstance org-a/files 6.6.0\n\
             on 2nd apply HelmRelease by operator-0: commit, lose reply\nwait org-a/files Ready=True within 60\n\
             flux H4 org-a/files\ncrash 5\nexpect S19\n",
        )
        .expect("a scenario");
        assert_eq!(
            (case.title.as_str(), case.world, case.expect.as_deref()),
            ("Protects this. And that.", 4, Some("S19"))
        );
        assert_eq!(case.workload.len(), 5);
        let rule = &case.faults[0];
        assert_eq!((rule.nth, rule.at, &rule.strike), (2, At::After, &Strike::Lose));
        assert_eq!((&*rule.pattern.verb, &*rule.pattern.kind, &*rule.actor), ("apply", "HelmRelease", "operator-0"));
        assert_eq!(Case::read(&case.write()).as_ref(), Ok(&case), "and survives as a case file");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, words) in [
            ("namespace a\nupgrde a/b 1.0.0", "line 2: no such step; the nearest: upgrade"),
            ("wait a/b", "ready, gone, or a condition"),
            ("on 2nd apply HelmRelease: explode", "crash, lose"),
            ("on 1st get: commit, answer 409", "no 4xx"),
            ("flux H99 a/b", "no switch"),
        ] {
            let refusal = read(text).expect_err(text);
            assert!(refusal.contains(words), "{refusal}");
        }
    }
}
