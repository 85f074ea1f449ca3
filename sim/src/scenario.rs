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
//! The control plane has its own words:
//!
//! ```text
//! register
//! wait cluster Connected=True
//! job j1 apply org-a/files 6.6.0 expires 900
//! wait job j1 succeeded
//! job j2 intent rotate-operator-credentials
//! odoo down
//! job j3 apply org-a/files 7.0.0 key applicationinstance/org-a/files@9
//! pass 3600
//! odoo up
//! wait odoo view equals cluster
//! job j4 delete org-a/files
//! wait job j4 succeeded within 600
//! ```
//!
//! `job ID apply INSTANCE VERSION`, `job ID delete INSTANCE`, `job ID intent NAME [INSTANCE [VERSION]]` take `key K` and
//! `expires SECONDS`; without a key they get the conventional one with the next number of that object. `job ID raw {JSON}`
//! or `raw FILE` sends anything. `wait job ID succeeded|failed|noop|conflict [CODE]`. `odoo down`, `up`, `copy`, `restore`,
//! `forget`, `redeliver ID`, or `odoo DIAL JSON` for any dial of the fake (`odoo grace 0`, `odoo face loginRedirect`, `odoo kill
//! {"after":60}`). `rotate`, `revoke`, `decommission`, `mode pull|push|gitops` are what people do to the Cluster.
//! Faults strike the way there as `on 2nd result: commit, lose reply`; its verbs are poll, ack, status, result, events,
//! register, rotate, decommission, its kind is control-plane.
//!
//! Faults hold for the whole story, wherever they are written. `flux H4 org-a/files` arms a switch of the fake Flux once,
//! at that moment of the story; `delete /api/…` deletes any object by its path; `crash 5` is power loss of the operator for five seconds; `pass 60` lets time pass;
//! `namespace NAME ungated`; `instance … helm` takes an HTTP repository; `entropy N` and `seed N` set the seeds.

use fakes::faults::{At, Pattern, Rule, Strike};
use fakes::script::{Order, Switch, Target};
use serde_json::{Value, json};

use crate::case::{Case, JobWish, Step, Turn, Until, Wish, split};
use crate::world::{instance_path, workload};

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
        ["delete", path] if path.starts_with('/') => Step::Delete { path: (*path).into() },
        ["delete", instance] => Step::Delete { path: instance_path(instance) },
        ["pass", seconds] => Step::Pass { seconds: number(seconds)? },
        ["crash"] => Step::Crash { down: 1 },
        ["crash", seconds] => Step::Crash { down: number(seconds)? },
        ["flux", switch, release] => Step::Flux { order: order(switch, release)? },
        ["register"] => Step::Register,
        ["rotate"] => Step::Rotate,
        ["revoke"] => Step::Revoke,
        ["decommission"] => Step::Decommission,
        ["mode", mode @ ("pull" | "push" | "gitops")] => Step::Mode { mode: (*mode).into() },
        ["mode", ..] => return Err("pull, push or gitops".into()),
        ["job", id, "raw", ..] => Step::RawJob { job: raw_job(id, line)? },
        ["job", id, rest @ ..] => Step::Job(job(id, rest, case)?),
        ["odoo", rest @ ..] => Step::Odoo { turn: turn(rest, line)? },
        ["wait", "cluster", rest @ ..] => wait_cluster(rest)?,
        ["wait", "job", id, rest @ ..] => wait_job(id, rest)?,
        ["wait", "odoo", "view", "equals", "cluster", rest @ ..] => {
            let (_, within) = bounded(rest)?;
            Step::Wait { until: Until::View, within }
        }
        ["wait", instance, rest @ ..] => wait(instance, rest)?,
        [word, ..] => {
            const WORDS: [&str; 19] = [
                "register",
                "rotate",
                "revoke",
                "decommission",
                "mode",
                "job",
                "odoo",
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

/// What is waited for, and how long.
fn bounded<'a, 'b>(rest: &'a [&'b str]) -> Result<(&'a [&'b str], u64), String> {
    match rest {
        [what @ .., "within", seconds] => Ok((what, number(seconds)?)),
        what => Ok((what, 300)),
    }
}

fn wait_cluster(rest: &[&str]) -> Result<Step, String> {
    let (what, within) = bounded(rest)?;
    let [condition, reason @ ..] = what else { return Err("a condition like Connected=True".into()) };
    let (kind, status) = condition.split_once('=').ok_or("a condition like Connected=True")?;
    let until = Until::Cluster { kind: kind.into(), status: status.into(), reason: reason.join(" ") };
    Ok(Step::Wait { until, within })
}

fn wait_job(id: &str, rest: &[&str]) -> Result<Step, String> {
    let (what, within) = bounded(rest)?;
    let [outcome @ ("succeeded" | "failed" | "noop" | "conflict"), code @ ..] = what else {
        return Err("wait job ID succeeded, failed, noop or conflict, then perhaps the code of its error".into());
    };
    let until = Until::Job { id: id.into(), outcome: (*outcome).into(), code: code.join(" ") };
    Ok(Step::Wait { until, within })
}

/// `job j1 apply org-a/files 6.6.0 expires 900 key K`
fn job(id: &str, rest: &[&str], case: &Case) -> Result<JobWish, String> {
    let (mut rest, mut key, mut expires) = (rest, None, None);
    loop {
        match rest {
            [what @ .., "key", value] => (rest, key) = (what, Some((*value).to_owned())),
            [what @ .., "expires", seconds] => (rest, expires) = (what, Some(number(seconds)?)),
            _ => break,
        }
    }
    let manifest = |instance: &str, version: &str| {
        let Step::Instance(wish) = wish(instance, version, "oci") else { return Value::Null };
        let mut manifest = workload::instance(&wish);
        // The control plane leaves the labels to us (contract §18.3).
        manifest["metadata"]["labels"].take();
        strip(manifest)
    };
    let (kind, payload, object) = match rest {
        ["apply", instance, version] => ("apply", manifest(instance, version), (*instance).to_owned()),
        ["delete", instance] => {
            let (namespace, name) = split(instance);
            let payload = json!({ "apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance",
                "namespace": namespace, "name": name });
            ("delete", payload, (*instance).to_owned())
        }
        ["intent", name @ "ensure-application-instance", instance, version] => {
            let payload = json!({ "intent": name, "applicationInstance": manifest(instance, version) });
            ("intent", payload, (*instance).to_owned())
        }
        ["intent", name @ "delete-application-instance", instance] => {
            let (namespace, of) = split(instance);
            ("intent", json!({ "intent": name, "namespace": namespace, "name": of }), (*instance).to_owned())
        }
        ["intent", name] => ("intent", json!({ "intent": name }), (*name).to_owned()),
        _ => {
            return Err(
                "job ID apply INSTANCE VERSION, delete INSTANCE, intent NAME [INSTANCE [VERSION]], or raw JSON".into(),
            );
        }
    };
    // The conventional key: the next number of this object in this story.
    let stem =
        if object.contains('/') { format!("applicationinstance/{object}@") } else { format!("intent/{object}@") };
    let earlier =
        case.workload.iter().filter(|step| matches!(step, Step::Job(job) if job.key.starts_with(&stem))).count();
    let key = key.unwrap_or_else(|| format!("{stem}{}", earlier + 1));
    Ok(JobWish { id: id.into(), kind: kind.into(), payload, key, expires })
}

/// Without members that are null.
fn strip(mut value: Value) -> Value {
    if let Some(metadata) = value["metadata"].as_object_mut() {
        metadata.retain(|_, value| !value.is_null());
    }
    value
}

/// `job j1 raw {"kind": "apply", …}`, or a file that holds it.
fn raw_job(id: &str, line: &str) -> Result<Value, String> {
    let (_, text) = line.split_once(" raw ").ok_or("job ID raw JSON, or raw FILE")?;
    let text = text.trim();
    let text = if text.starts_with('{') {
        text.to_owned()
    } else {
        std::fs::read_to_string(text).map_err(|error| format!("{text}: {error}"))?
    };
    let mut job: Value = serde_json::from_str(&text).map_err(|error| format!("no JSON: {error}"))?;
    let members = job.as_object_mut().ok_or("a job is an object")?;
    members.entry("id").or_insert_with(|| id.into());
    Ok(job)
}

fn turn(words: &[&str], line: &str) -> Result<Turn, String> {
    Ok(match words {
        ["down"] => Turn::Down,
        ["up"] => Turn::Up,
        ["copy"] => Turn::Copy,
        ["restore"] => Turn::Restore,
        ["forget"] => Turn::Forget,
        ["redeliver", id] => Turn::Redeliver((*id).into()),
        [dial, _, ..] => {
            let value = line.split_once(dial).map_or("", |(_, value)| value.trim());
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.into()));
            let patch = json!({ *dial: value });
            fakes::odoo::Dials::default().turned(&patch)?;
            Turn::Dials(patch)
        }
        _ => return Err("odoo down, up, copy, restore, forget, redeliver ID, or DIAL VALUE".into()),
    })
}

fn wait(instance: &str, rest: &[&str]) -> Result<Step, String> {
    let (what, within) = bounded(rest)?;
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
    fn jobs_get_their_keys_and_the_control_plane_its_dials() {
        let case = read(
            "register\njob j1 apply org-a/files 6.6.0 expires 900\njob j2 apply org-a/files 7.0.0\n\
             job j3 intent resync-status key k\njob j4 raw {\"kind\": \"fly\"}\nodoo grace 0\n\
             odoo kill {\"after\": 60}\non 1st result: commit, lose reply\nwait job j1 failed expired\n\
             wait odoo view equals cluster within 60\n",
        )
        .expect("a scenario");
        let keys: Vec<&str> = case
            .workload
            .iter()
            .filter_map(|step| if let Step::Job(job) = step { Some(&*job.key) } else { None })
            .collect();
        assert_eq!(keys, ["applicationinstance/org-a/files@1", "applicationinstance/org-a/files@2", "k"]);
        assert!(case.workload.contains(&Step::RawJob { job: json!({ "kind": "fly", "id": "j4" }) }));
        assert!(case.workload.contains(&Step::Odoo { turn: Turn::Dials(json!({ "kill": { "after": 60 } })) }));
        assert!(case.workload.contains(&Step::Wait { until: Until::View, within: 60 }));
        assert_eq!(Case::read(&case.write()), Ok(case), "and survives as a case file");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, words) in [
            ("job j1 aply a/b 1", "job ID apply INSTANCE VERSION"),
            ("odoo gracious 0", "unknown field `gracious`"),
            ("odoo grace soon", "invalid type"),
            ("mode pul", "pull, push or gitops"),
            ("wait job j1 done", "succeeded, failed, noop or conflict"),
            ("wait cluster", "a condition like"),
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
