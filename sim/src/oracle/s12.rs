//! S12: the first child commits only after the instance carries our finalizer.
//!
//! Otherwise a delete between the two leaves a release that nobody will ever uninstall.

use fakes::history::{Event, Record};

use super::Oracle;
use crate::truth::{FINALIZER, INSTANCES, Truth, has_finalizer, is_operator, owner, uid};

/// S12.
#[derive(Default)]
pub(super) struct FinalizerFirst;

impl Oracle for FinalizerFirst {
    fn id(&self) -> &'static str {
        "S12"
    }

    fn promise(&self) -> &'static str {
        "no child exists before its instance carries our finalizer"
    }

    fn step(&mut self, record: &Record, truth: &Truth) -> Result<(), String> {
        let Event::Commit(commit) = &record.event else { return Ok(()) };
        let (None, Some(after)) = (&commit.before, &commit.after) else { return Ok(()) };
        let Some(owner) = owner(after).filter(|_| is_operator(&record.actor)) else { return Ok(()) };
        let guarded =
            truth.all(INSTANCES).any(|(_, instance)| uid(instance) == owner && has_finalizer(instance, FINALIZER));
        if guarded {
            return Ok(());
        }
        Err(format!("{} {} was created for {owner}, which does not carry the finalizer", commit.resource, commit.name))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::story::{OPERATOR, Story, instance, source, with};
    use super::*;

    #[test]
    fn a_child_before_the_finalizer_is_seen() {
        let bare = with(&instance(), &json!({ "metadata": { "finalizers": [] } }));
        Story::<FinalizerFirst>::new().commit("user", &bare).commit(OPERATOR, &source()).breaks("files-source-1");
    }

    #[test]
    fn a_child_after_the_finalizer_holds() {
        Story::<FinalizerFirst>::new().commit(OPERATOR, &instance()).commit(OPERATOR, &source()).holds();
    }
}
