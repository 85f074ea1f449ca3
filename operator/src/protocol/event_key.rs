//! By which the receiver knows a repetition (contract §20.3, §20.5). Keys are made from the fact alone, so whoever tells it
//! again, after any crash, tells it under the same key; and two facts never share one.

use super::event::ResourceRef;
use crate::api::Transition;
use crate::api::names;

/// Eight hex digits over everything a transition says. A cluster that was set back uses its numbers again, for other facts.
pub fn digest(transition: &Transition) -> String {
    let Transition { seq, type_, status, reason, message, time, generation } = transition;
    short(&[&seq.to_string(), type_, status, reason, message, time, &generation.to_string()])
}

/// Key of a `ConditionTransition` event: the documented key, then number and digest.
pub fn condition(of: &ResourceRef, transition: &Transition) -> String {
    let Transition { seq, type_, status, generation, .. } = transition;
    format!("condition/{}/{type_}/{status}@{generation}#{seq}-{}", address(of), digest(transition))
}

/// Key of an event of another kind that one transition makes.
pub fn direct(kind: &str, of: &ResourceRef, transition: &Transition) -> String {
    let uid = of.uid.as_deref().unwrap_or("_");
    format!("{kind}/{uid}/{}#{}-{}", transition.type_, transition.seq, digest(transition))
}

/// Key of a snapshot of all conditions of an object, taken after its transition `seq`. `conditions` is their JSON: number
/// and generation of a cluster that was set back may be those of an earlier snapshot that said something else.
pub fn snapshot(of: &ResourceRef, seq: i64, conditions: &str) -> String {
    let generation = of.generation.unwrap_or_default();
    format!("snapshot/{}@{generation}#{seq}-{}", address(of), short(&[conditions]))
}

/// `<apiVersion>/<kind>/<ns or _>/<name>/<uid or _>`.
fn address(of: &ResourceRef) -> String {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "_".into());
    format!("{}/{}/{}/{}/{}", of.api_version, of.kind, or_none(&of.namespace), of.name, or_none(&of.uid))
}

fn short(parts: &[&str]) -> String {
    let mut hex = names::digest(parts);
    hex.truncate(8);
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of() -> ResourceRef {
        ResourceRef {
            api_version: "ops.vworkspace.io/v1alpha1".into(),
            kind: "Operation".into(),
            namespace: Some("org-a".into()),
            name: "b1".into(),
            uid: Some("u1".into()),
            generation: Some(1),
        }
    }

    fn transition(seq: i64, message: &str) -> Transition {
        Transition {
            seq,
            type_: "Succeeded".into(),
            status: "True".into(),
            reason: "VeleroBackupCompleted".into(),
            message: message.into(),
            time: "2026-06-04T10:01:30Z".into(),
            generation: 1,
        }
    }

    #[test]
    fn the_documented_key_stands_in_front() {
        let key = condition(&of(), &transition(4, "412 items"));
        let documented = "condition/ops.vworkspace.io/v1alpha1/Operation/org-a/b1/u1/Succeeded/True@1";
        let suffix = key.strip_prefix(documented).and_then(|rest| rest.strip_prefix("#4-"));
        assert!(suffix.is_some_and(|hex| hex.len() == 8 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())), "{key}");
        let cluster = ResourceRef { namespace: None, uid: None, ..of() };
        assert!(condition(&cluster, &transition(4, "")).contains("/Operation/_/b1/_/Succeeded/"));
    }

    #[test]
    fn every_part_of_a_fact_makes_another_key() {
        let one = transition(4, "412 items");
        let others = [
            transition(5, "412 items"),
            transition(4, "413 items"),
            Transition { reason: "x".into(), ..one.clone() },
            Transition { time: "2026-06-04T10:01:31Z".into(), ..one.clone() },
            Transition { generation: 2, ..one.clone() },
            Transition { status: "False".into(), ..one.clone() },
        ];
        for other in others {
            assert_ne!(condition(&of(), &one), condition(&of(), &other));
            assert_ne!(direct("CredentialRotated", &of(), &one), direct("CredentialRotated", &of(), &other));
        }
        assert_ne!(snapshot(&of(), 4, "[]"), snapshot(&of(), 4, "[{}]"));
        assert!(snapshot(&of(), 4, "[]").contains("/b1/u1@1#4-"));
    }
}
