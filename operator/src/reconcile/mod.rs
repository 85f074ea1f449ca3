//! Loops of observe, decide, act. Read this first.
//!
//! * **observe** reads everything one decision needs, fresh, or fails. `None` in a snapshot means "known to be absent".
//! * **decide** is a plain function of that snapshot and the time: no async, no client, no clock, no log. Bad input is a
//!   decision (a condition with a reason), not an error.
//! * **act** ([`act::act`]) performs the plan's effects in order, stops at the first failure and returns no data. If a
//!   later effect needs what an earlier one produced, it belongs to the next pass, which will observe it.
//!
//! Every effect may be repeated: a create has a name derived from its cause, an apply is server-side apply with a uid, a
//! delete carries a uid. So a crash between any two effects is harmless, and that is a property test.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::cluster_api::{Key, Manager, Object, Preconditions, Propagation, Uid, Version};
use crate::protocol::Call;
use cluster::exchange::{Registration, Rotation};

pub mod act;
pub mod cluster;
pub mod connection;
pub mod instance;
pub mod intake;
pub mod link;
pub mod permit;
pub mod report;
pub(crate) mod status;

/// What decide wants done, and why. `why` explains the empty plan too.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// In this order; the first failure ends the pass.
    pub effects: Vec<Effect>,
    /// When to look again although nothing changed. `None`: only a change wakes this key.
    pub wake: Option<Duration>,
    /// One line for log and trace, without addresses or raw error text.
    pub why: String,
}

impl Plan {
    /// Nothing to do until something changes.
    pub fn idle(why: impl Into<String>) -> Self {
        Self { effects: Vec::new(), wake: None, why: why.into() }
    }
}

/// One request to one of the two outside worlds, with nothing left to choose.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Effect {
    /// Create-only: an existing object answers `Exists`.
    Create(Object),
    /// Server-side apply.
    Apply {
        /// Only the fields we own, with identity and, once known, uid.
        object: Object,
        /// Under this manager.
        manager: Manager,
        /// Only the two cases of contract §3.3 are forced.
        force: bool,
    },
    /// Merge patch of single fields that others own.
    Patch {
        /// Which object.
        key: Key,
        /// Which incarnation of it.
        uid: Uid,
        /// The merge patch.
        merge: Value,
    },
    /// The whole status, applied to the status subresource.
    PatchStatus {
        /// Which object.
        key: Key,
        /// Which incarnation of it.
        uid: Uid,
        /// The version the status was computed from; a newer one answers `Conflict`.
        version: Option<Version>,
        /// The complete status.
        status: Value,
    },
    /// Delete with preconditions.
    Delete {
        /// Which object.
        key: Key,
        /// uid, and resourceVersion where state matters.
        only_if: Preconditions,
        /// Dependents.
        how: Propagation,
    },
    /// A Kubernetes Event. Best effort: its failure is logged and does not end the pass.
    Emit(Object),
    /// PUT with the uid and resourceVersion inside: stores.
    Update(Object),
    /// A request to the control plane whose answer is only yes or no.
    Call(Call),
    /// A registration, and its answer into the credentials Secret.
    Register(Registration),
    /// A rotation, likewise.
    Rotate(Rotation),
    /// A decommission; how it ended is noted.
    Decommission,
}
