//! A case: everything one run is a function of, as a file people can edit.

use std::time::Duration;

use fakes::faults::Rule;
use fakes::kinds::Dials;
use fakes::script::Order;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Version of the file format.
pub const FORMAT: u32 = 1;

/// One case. A run is a function of this and the commit; no seed is consulted for anything stated here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Case {
    /// [`FORMAT`].
    pub format: u32,
    /// What it is about, for people.
    #[serde(default)]
    pub title: String,
    /// How requests travel.
    #[serde(default)]
    pub tier: Tier,
    /// Workload, latencies, timings of the fakes: one stream per purpose is forked from it.
    #[serde(default)]
    pub world: u64,
    /// What getrandom returns: hash order, jitter, who runs next.
    #[serde(default)]
    pub entropy: u64,
    /// Which projects are installed, at which release.
    #[serde(default)]
    pub dials: Dials,
    /// Round trip to the API server in milliseconds: least and most.
    #[serde(default = "latency")]
    pub latency_ms: (u64, u64),
    /// What people and controllers do, one after another.
    pub workload: Vec<Step>,
    /// What goes wrong until the workload is done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Rule>,
    /// The oracle that must object; absent: none may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
    /// The commit that wrote the file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub commit: String,
}

fn latency() -> (u64, u64) {
    (2, 6)
}

/// How requests travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "camelCase")]
pub enum Tier {
    /// In process on a paused clock.
    #[default]
    Direct,
}

/// One step of the workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "do", deny_unknown_fields)]
pub enum Step {
    /// A namespace, gated for us or not.
    #[serde(rename_all = "camelCase")]
    Namespace {
        /// Its name.
        name: String,
        /// Whether it carries the gate label (contract §4.3).
        #[serde(default = "yes")]
        gated: bool,
    },
    /// Any manifest, applied by the user with server-side apply.
    Apply {
        /// The object.
        manifest: Value,
    },
    /// An ApplicationInstance from a few words.
    Instance(Wish),
    /// Another chart version for an instance.
    Upgrade {
        /// `namespace/name`.
        instance: String,
        /// The new version.
        version: String,
    },
    /// A merge patch by the user.
    Patch {
        /// Path of the object.
        path: String,
        /// The merge patch.
        merge: Value,
    },
    /// A delete by the user, in the background.
    Delete {
        /// Path of the object.
        path: String,
    },
    /// How the fake Flux misbehaves from now on.
    Flux {
        /// The switch, on what, how often.
        order: Order,
    },
    /// The control plane issues a registration token; its Secret and the Cluster are applied.
    Register,
    /// The control plane issues a job.
    Job(JobWish),
    /// The same with any JSON, for jobs that no honest control plane would send.
    RawJob {
        /// The job as it is sent.
        job: Value,
    },
    /// How the control plane behaves from now on.
    Odoo {
        /// What is done to it.
        turn: Turn,
    },
    /// A person asks for a rotation of the credential.
    Rotate,
    /// The control plane revokes the credential.
    Revoke,
    /// A person deletes the Cluster.
    Decommission,
    /// A person sets the connectivity mode.
    Mode {
        /// `pull`, `push` or `gitops`.
        mode: String,
    },
    /// Until something is true of the store and the control plane's tables.
    Wait {
        /// What.
        until: Until,
        /// Simulated seconds until the run fails.
        #[serde(default = "two_minutes")]
        within: u64,
    },
    /// Simulated time passes.
    Pass {
        /// Seconds.
        seconds: u64,
    },
    /// Power loss of the operator; it starts again after a while.
    Crash {
        /// Seconds until the next incarnation.
        #[serde(default)]
        down: u64,
    },
}

impl Step {
    /// Whether the step is a fault by itself, so that the run needs healing.
    pub fn disturbs(&self) -> bool {
        matches!(self, Self::Crash { .. } | Self::Flux { .. } | Self::Odoo { .. } | Self::Revoke)
    }
}

fn yes() -> bool {
    true
}

fn two_minutes() -> u64 {
    120
}

/// An ApplicationInstance in a few words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wish {
    /// `namespace/name`.
    pub instance: String,
    /// Chart version.
    pub version: String,
    /// `oci` or `helm`.
    #[serde(default = "oci")]
    pub source: String,
    /// Inline values.
    #[serde(default)]
    pub values: Value,
}

fn oci() -> String {
    "oci".into()
}

/// A job in a few words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobWish {
    /// Its id.
    pub id: String,
    /// `apply`, `delete` or `intent`.
    pub kind: String,
    /// What to do.
    pub payload: Value,
    /// By which a repetition is known.
    pub key: String,
    /// Seconds from its issue to its start deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
}

/// What is done to the control plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Turn {
    /// The way to it is cut.
    Down,
    /// The way to it is open again.
    Up,
    /// These dials are set: a merge patch on [`fakes::odoo::Dials`].
    Dials(Value),
    /// A job is delivered once more.
    Redeliver(String),
    /// A copy of its database is made.
    Copy,
    /// The copy is restored.
    Restore,
    /// Its memory of jobs, events and objects is lost.
    Forget,
}

/// What a wait waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is", deny_unknown_fields)]
pub enum Until {
    /// The instance is Ready=True for its newest generation.
    Ready {
        /// `namespace/name`.
        instance: String,
    },
    /// A condition of the instance has this status and, if given, reason.
    Condition {
        /// `namespace/name`.
        instance: String,
        /// Type.
        kind: String,
        /// Status.
        status: String,
        /// Reason.
        #[serde(default)]
        reason: String,
    },
    /// The job has this result.
    Job {
        /// Its id.
        id: String,
        /// succeeded, failed, noop or conflict.
        outcome: String,
        /// The code that the error begins with; empty: any, or none.
        #[serde(default)]
        code: String,
    },
    /// A condition of the Cluster has this status and, if given, reason.
    Cluster {
        /// Type.
        kind: String,
        /// Status.
        status: String,
        /// Reason.
        #[serde(default)]
        reason: String,
    },
    /// What the control plane last heard of every object is what the cluster says.
    View,
    /// The instance and everything that belonged to it are gone.
    Gone {
        /// `namespace/name`.
        instance: String,
    },
}

impl Case {
    /// A case with the defaults of this version.
    pub fn new(title: &str, workload: Vec<Step>) -> Self {
        Self {
            format: FORMAT,
            title: title.into(),
            tier: Tier::Direct,
            world: 1,
            entropy: 1,
            dials: Dials::default(),
            latency_ms: latency(),
            workload,
            faults: Vec::new(),
            expect: None,
            commit: String::new(),
        }
    }

    /// Reads a case file.
    ///
    /// # Errors
    /// One sentence for people: what is wrong and where.
    pub fn read(text: &str) -> Result<Self, String> {
        let case: Self = serde_json::from_str(text).map_err(|error| format!("not a case: {error}"))?;
        if case.format != FORMAT {
            return Err(format!("case format {} is not known here; this build reads format {FORMAT}", case.format));
        }
        if case.latency_ms.0 > case.latency_ms.1 {
            return Err("latencyMs: the least is larger than the most".into());
        }
        case.faults.iter().try_for_each(Rule::check)?;
        Ok(case)
    }

    /// The file's text.
    pub fn write(&self) -> String {
        serde_json::to_string_pretty(self).expect("a case has only text keys") + "\n"
    }
}

/// A stream of choices for one purpose, so that an extra draw in one does not reshuffle the others.
pub fn fork(seed: u64, purpose: &str) -> rand::rngs::StdRng {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(purpose.as_bytes());
    rand::SeedableRng::from_seed(*hasher.finalize().as_bytes())
}

/// `namespace/name` in two.
pub fn split(instance: &str) -> (&str, &str) {
    instance.split_once('/').unwrap_or(("", instance))
}

/// The bound of a wait.
pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests {
    use rand::Rng as _;

    use super::*;

    #[test]
    fn a_case_survives_its_file() {
        let mut case = Case::new(
            "t",
            vec![
                Step::Namespace { name: "a".into(), gated: true },
                Step::Wait { until: Until::Gone { instance: "a/b".into() }, within: 5 },
            ],
        );
        case.faults.push(
            serde_json::from_str(r#"{"id":"F12","match":{"verb":"apply"},"at":"after","strike":{"do":"lose"}}"#)
                .expect("a rule"),
        );
        assert_eq!(Case::read(&case.write()), Ok(case));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, word) in [
            ("{", "EOF"),
            (r#"{"format":2,"workload":[]}"#, "format 2"),
            (r#"{"format":1,"workload":[{"do":"fly"}]}"#, "unknown variant `fly`"),
            (r#"{"format":1,"workload":[],"faults":[{"id":"x","at":"reply","strike":{"do":"twice"}}]}"#, "at: before"),
        ] {
            let refusal = Case::read(text).expect_err(text);
            assert!(refusal.contains(word), "{refusal}");
        }
    }

    #[test]
    fn streams_are_independent() {
        assert_eq!(fork(1, "latency").random::<u64>(), fork(1, "latency").random::<u64>());
        assert_ne!(fork(1, "latency").random::<u64>(), fork(1, "workload").random::<u64>());
        assert_ne!(fork(1, "latency").random::<u64>(), fork(2, "latency").random::<u64>());
    }
}
