//! S22: what is rendered is a function of what was read: the same instance read twice gives the same bytes.
//!
//! Compared are the apply requests for HelmReleases and sources, by the spec, labels and annotations of the instance
//! that incarnation read last, across incarnations. The uid of the rendered object is left out: it is known or not yet.

use std::collections::BTreeMap;

use fakes::history::{Event, Record};
use serde_json::Value;

use super::Oracle;
use crate::trace::digest;
use crate::truth::{INSTANCES, Truth, is_operator, owner, uid};

/// S22.
#[derive(Default)]
pub(super) struct PureRendering {
    /// By actor and instance uid: digest of what it read last.
    read: BTreeMap<(String, String), String>,
    /// By rendered object, instance uid and digest of what was read: the body.
    rendered: BTreeMap<(String, String, String), String>,
}

impl Oracle for PureRendering {
    fn id(&self) -> &'static str {
        "S22"
    }

    fn promise(&self) -> &'static str {
        "rendered objects are a function of the instance that was read: same input, same bytes"
    }

    fn step(&mut self, record: &Record, _truth: &Truth) -> Result<(), String> {
        match &record.event {
            Event::Reply { call, status: 200, body, delivered: true, .. }
                if call.verb == "get" && call.resource == INSTANCES && is_operator(&record.actor) =>
            {
                let Ok(instance) = serde_json::from_slice::<Value>(body) else { return Ok(()) };
                let metadata = &instance["metadata"];
                let input =
                    [&instance["spec"], &metadata["labels"], &metadata["annotations"]].map(Value::to_string).concat();
                self.read.insert((record.actor.to_string(), uid(&instance).to_owned()), digest(input.as_bytes()));
                Ok(())
            }
            Event::Request { call, body, .. }
                if call.verb == "apply"
                    && call.subresource.is_empty()
                    && (call.is_about("HelmRelease") || call.resource.ends_with("source.toolkit.fluxcd.io"))
                    && is_operator(&record.actor) =>
            {
                let Ok(mut rendered) = serde_json::from_slice::<Value>(body) else { return Ok(()) };
                let Some(owner) = owner(&rendered).map(str::to_owned) else { return Ok(()) };
                let Some(input) = self.read.get(&(record.actor.to_string(), owner.clone())) else { return Ok(()) };
                if let Some(metadata) = rendered["metadata"].as_object_mut() {
                    metadata.remove("uid");
                }
                let key = (call.to_string(), owner, input.clone());
                let text = rendered.to_string();
                match self.rendered.get(&key) {
                    Some(first) if *first != text => {
                        Err(format!("{call} was rendered in two ways from the same instance"))
                    }
                    Some(_) => Ok(()),
                    None => {
                        self.rendered.insert(key, text);
                        Ok(())
                    }
                }
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::story::{OPERATOR, Story, instance, release, with};
    use super::*;

    #[test]
    fn two_renderings_of_one_spec_are_seen() {
        Story::<PureRendering>::new()
            .read(OPERATOR, &instance())
            .attempt(OPERATOR, &release())
            .read("operator-0.2", &instance())
            .attempt("operator-0.2", &with(&release(), &json!({ "spec": { "interval": "1m" } })))
            .breaks("two ways");
    }

    #[test]
    fn the_same_bytes_hold_and_so_does_another_spec() {
        let changed = with(&instance(), &json!({ "spec": { "values": { "inline": { "replicaCount": 3 } } } }));
        Story::<PureRendering>::new()
            .read(OPERATOR, &instance())
            .attempt(OPERATOR, &with(&release(), &json!({ "metadata": { "uid": null } })))
            .attempt(OPERATOR, &release())
            .read(OPERATOR, &changed)
            .attempt(OPERATOR, &with(&release(), &json!({ "spec": { "values": { "replicaCount": 3 } } })))
            .holds();
    }
}
