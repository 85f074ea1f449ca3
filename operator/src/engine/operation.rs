//! The engines of Operations: what one kind of work is, in other people's objects (contract §10).
//!
//! An engine answers five questions about data: which kinds it needs, what must be read, what is created, what the created
//! object says, and how the work is taken back. It has no client, no clock and no log; the lifecycle (contract §8) asks and
//! acts. A child is created once, under a name derived from the Operation's uid, and never modified except by the stop
//! action of its engine (contract §8.5).

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::api::condition::Reason;
use crate::api::operation::{EngineName, LogsRef, OperationType, Progress};
use crate::cluster_api::{Caps, Key, Kind, Manager, Object, Preconditions, Propagation, Scope, Uid};

/// Everything a child is rendered from and judged by. Two equal orders give byte-equal children.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Order {
    /// Name of the Operation.
    pub name: String,
    /// Its namespace, which is the target's.
    pub namespace: String,
    /// Its uid.
    pub uid: String,
    /// What is to be done.
    pub type_: OperationType,
    /// The ApplicationInstance that is worked on.
    pub target: Target,
    /// Parameters that passed the template's schema; aliases are resolved, so that each is found under its first name.
    pub parameters: Map<String, Value>,
    /// The own cluster id.
    pub cluster_id: String,
    /// How long the work may take in seconds, from the start record; `None` for continuous work.
    pub timeout_seconds: Option<i64>,
    /// Namespace of Velero's objects.
    pub velero_namespace: String,
    /// A claim that allows a clone (contract §10.3) was consumed.
    pub clone_approved: bool,
    /// When the start record was written; `None` before.
    pub started: Option<Timestamp>,
    /// `status.outputs` so far.
    pub outputs: Map<String, Value>,
}

/// The target as it is now, or as it was recorded once it is gone.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The object, if it exists.
    pub object: Option<Object>,
}

/// One thing to be read, fresh, before the engine can answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Question {
    /// One object.
    Object(Key),
    /// A consistent list.
    List(Kind, Scope),
    /// The keys of a Secret or ConfigMap, never their values.
    Keys(Key),
    /// One hook of a Helm release: the manifest in the storage Secret of this name (contract §10.8).
    Hook {
        /// `sh.helm.release.v1.<release>.v<n>`.
        secret: Key,
        /// Name of the hook.
        hook: String,
    },
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Answer {
    /// The object is known to be absent.
    Absent,
    /// Its kind is not served.
    Unserved,
    /// There it is.
    Object(Box<Object>),
    /// The list; empty where the kind is not served.
    List(Vec<Object>),
    /// The keys.
    Keys(BTreeSet<String>),
    /// The hook's manifest.
    Hook(Value),
}

/// Everything that was read for one decision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts(pub BTreeMap<Question, Answer>);

impl Facts {
    /// The object at `key`, if it was read and is there.
    pub fn object(&self, key: &Key) -> Option<&Object> {
        match self.0.get(&Question::Object(key.clone()))? {
            Answer::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The list, empty if it was not read.
    pub fn list(&self, kind: &Kind, scope: &Scope) -> &[Object] {
        match self.0.get(&Question::List(kind.clone(), scope.clone())) {
            Some(Answer::List(objects)) => objects,
            _ => &[],
        }
    }

    /// The keys of the Secret or ConfigMap at `key`, if it is there.
    pub fn keys(&self, key: &Key) -> Option<&BTreeSet<String>> {
        match self.0.get(&Question::Keys(key.clone()))? {
            Answer::Keys(keys) => Some(keys),
            _ => None,
        }
    }
}

/// For which decision facts are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Stage {
    /// May it start, and with what child?
    Start,
    /// The child exists, or existed: how does it stand?
    Watch,
}

/// Why work cannot start now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hold {
    /// Shown in `Blocked`, or in `Failed` if it is final.
    pub reason: Reason,
    /// A sentence that says what to do.
    pub message: String,
    /// It can never become valid (contract §8.2).
    pub last: bool,
}

impl Hold {
    /// It may heal.
    pub fn wait(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), last: false }
    }

    /// It cannot.
    pub fn last(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), last: true }
    }
}

/// How the work begins.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Start {
    /// Where the child is.
    pub key: Key,
    /// Objects the child needs, each created before it by a create-only request; one that is there with our uid label is
    /// done already.
    pub before: Vec<Object>,
    /// The child, complete with labels and owner (contract §4.1, §3.5).
    pub object: Object,
    /// One create-only request; or, for the `helm` engine alone, a forced apply under this manager.
    pub take: Option<Manager>,
    /// Outputs that are facts of the start (for example the volumes bound now).
    pub outputs: Map<String, Value>,
    /// Warnings to show as `Degraded` from the start.
    pub degraded: Option<(Reason, String)>,
}

/// How far the work is: the left column of the mapping tables of contract §10.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum State {
    /// The child exists and nothing happens yet: `Running=F/Pending`.
    Waiting,
    /// It works: `Running=T/<reason>`.
    Running(Reason),
    /// It ended well: `Running=F/<first>`, `Succeeded=T/<second>`.
    Succeeded(Reason, Reason),
    /// It ended badly: `Failed=T/<reason>`.
    Failed(Reason),
}

/// What the child says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reading {
    /// How far.
    pub state: State,
    /// The engine's own words, fit for a condition: redacted, without counters and times.
    pub message: String,
    /// `Accepted=F/<reason>` beside a failure.
    pub accepted: Option<Reason>,
    /// `Degraded=T`.
    pub degraded: Option<(Reason, String)>,
    /// `Blocked=T` while it runs (a suspended workflow, a paused replication).
    pub blocked: Option<(Reason, String)>,
    /// What it produced so far; strings, except `warnings`.
    pub outputs: Map<String, Value>,
    /// Where logs are.
    pub logs: Option<LogsRef>,
    /// How much is done.
    pub progress: Option<Progress>,
    /// The reason to fail with if the deadline passes in this state; `None` is `Timeout`.
    pub at_deadline: Option<Reason>,
    /// Whether real work goes on (contract §8.5, last column): the lock is kept as long.
    pub working: bool,
}

impl Reading {
    /// A reading with nothing but a state and its words; work goes on unless it ended.
    pub fn of(state: State, message: impl Into<String>) -> Self {
        let working = matches!(state, State::Waiting | State::Running(_));
        Self {
            state,
            message: message.into(),
            accepted: None,
            degraded: None,
            blocked: None,
            outputs: Map::new(),
            logs: None,
            progress: None,
            at_deadline: None,
            working,
        }
    }
}

/// Why work is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Cause {
    /// Somebody cancelled or deleted the Operation.
    Cancelled,
    /// Its time is over.
    Timeout,
    /// It ended by itself and its result is recorded: only what the engine always removes goes.
    Finished,
    /// The terminal Operation is being deleted.
    Deleted,
}

/// One request of a stop action.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Step {
    /// Delete with preconditions.
    Delete {
        /// Which object.
        key: Key,
        /// Always with uid.
        only_if: Preconditions,
        /// Dependents.
        how: Propagation,
    },
    /// Merge patch of single fields.
    Patch {
        /// Which object.
        key: Key,
        /// Which incarnation.
        uid: Uid,
        /// The merge patch.
        merge: Value,
    },
}

/// How work is taken back.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Withdrawal {
    /// Requests to send now, in order.
    pub steps: Vec<Step>,
    /// Whether the engine has nothing more to wait for: the Operation may become terminal, or lose its finalizer.
    pub done: bool,
    /// For the condition, for example that Velero goes on.
    pub note: String,
}

/// One kind of work. See the module head; every function is pure and total.
pub trait OperationEngine: Sync {
    /// Kinds that must be served (contract §9.2 row 8), resolved to served versions.
    ///
    /// # Errors
    /// The API that is missing, as a sentence.
    fn kinds(&self, order: &Order, caps: &Caps) -> Result<Vec<Kind>, String>;

    /// Where the child is or will be; `None` while its kind is not served.
    fn child(&self, order: &Order, caps: &Caps) -> Option<Key>;

    /// What must be read beside the child. Asked again with what was read, until nothing new is asked.
    fn questions(&self, stage: Stage, order: &Order, caps: &Caps, facts: &Facts) -> Vec<Question>;

    /// Engine prerequisites (contract §9.2 rows 12 and 13) and, if they hold, how the work begins.
    ///
    /// # Errors
    /// The first prerequisite that fails.
    fn render(&self, order: &Order, caps: &Caps, facts: &Facts, now: Timestamp) -> Result<Start, Hold>;

    /// What the child says; its uid was checked by the caller. The mapping tables of contract §10.
    fn interpret(&self, order: &Order, caps: &Caps, child: &Object, facts: &Facts, now: Timestamp) -> Reading;

    /// How the work is taken back. `child` is `None` once it is gone; `asked` is when the stop began.
    fn withdraw(
        &self,
        order: &Order,
        cause: Cause,
        child: Option<(&Key, &Object)>,
        facts: &Facts,
        asked: Timestamp,
        now: Timestamp,
    ) -> Withdrawal;
}

/// Label pairs of a child in the target namespace or the Velero namespace (contract §4.1): its owner, its target, and that
/// no backup takes it along.
pub fn labels(order: &Order, names_target: bool) -> Map<String, Value> {
    use crate::api::label;
    let mut labels = Map::new();
    let mut put = |key: &str, value: String| labels.insert(key.into(), Value::String(value));
    put(label::MANAGED_BY, label::OPERATOR.into());
    put(label::CLUSTER_ID, order.cluster_id.clone());
    put(label::APPLICATION_INSTANCE, order.target.name.clone());
    put(label::OPERATION, order.uid.clone());
    put(label::OPERATION_NAME, order.name.chars().take(63).collect::<String>().trim_end_matches(['-', '.']).into());
    if names_target {
        put(label::TARGET, order.target.name.clone());
        put(label::TARGET_NAMESPACE, order.namespace.clone());
        put(label::TARGET_UID, order.target.uid.clone());
    } else {
        put(label::EXCLUDE_FROM_BACKUP, "true".into());
    }
    labels
}

/// The owner reference of a child in the target namespace (contract §3.5).
pub fn owner(order: &Order) -> Value {
    serde_json::json!({
        "apiVersion": crate::api::OPS_API_VERSION, "kind": "Operation", "name": order.name, "uid": order.uid,
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// Names of all engines, for messages.
pub fn name(engine: EngineName) -> &'static str {
    match engine {
        EngineName::Velero => "velero",
        EngineName::Workflow => "workflow",
        EngineName::Job => "job",
        EngineName::Helm => "helm",
        EngineName::Volsync => "volsync",
        EngineName::HelmHookJob => "helmHookJob",
        EngineName::Snapshot => "snapshot",
    }
}
