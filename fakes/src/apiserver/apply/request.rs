//! What is asked of an apply or an update, and how it can be refused.

use jiff::Timestamp;

use crate::apiserver::schema::Node;

/// What is written: a kind in one version, perhaps through a subresource.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// `group/version` of the request.
    pub api_version: &'a str,
    /// Kind of the object.
    pub kind: &'a str,
    /// Schema of the whole object in that version; apiVersion, kind and metadata need not be in it.
    pub schema: &'a Node,
    /// The other served versions, as entries of managedFields may name them.
    pub other_versions: &'a [(&'a str, &'a Node)],
    /// `status`, `scale`, …; empty for the main resource.
    pub subresource: &'a str,
    /// What the write strategy of this request throws away, and so nobody can own through it.
    pub reset: Reset<'a>,
}

/// Fields that a request cannot change.
#[derive(Clone, Copy, Debug)]
pub enum Reset<'a> {
    /// Everything counts.
    Nothing,
    /// These fields and all below them are ignored, such as `status` on a main resource.
    Fields(&'a [&'a [&'a str]]),
    /// Only these fields of the root count, such as `status` on the status subresource of a custom resource.
    AllBut(&'a [&'a str]),
}

/// One server-side apply.
#[derive(Clone, Copy)]
pub struct ApplyRequest<'a> {
    /// `fieldManager` of the request.
    pub manager: &'a str,
    /// Take fields from other managers instead of failing.
    pub force: bool,
    /// Time for the entry, used with a resolution of seconds.
    pub now: Timestamp,
    /// What is written.
    pub target: Target<'a>,
}

/// One write that is not an apply.
#[derive(Clone, Copy)]
pub struct UpdateRequest<'a> {
    /// `fieldManager` of the request, or the User-Agent up to the first slash (D8).
    pub manager: &'a str,
    /// Time for the entry, used with a resolution of seconds.
    pub now: Timestamp,
    /// What is written.
    pub target: Target<'a>,
}

/// Why an apply is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// HTTP 400, reason BadRequest.
    #[error("{0}")]
    BadRequest(String),
    /// HTTP 500 without a reason (D11).
    #[error("{0}")]
    Internal(String),
    /// HTTP 409, reason Conflict; each conflict is one cause `FieldManagerConflict` (D5).
    #[error("{}", conflict_message(.0))]
    Conflict(Vec<Conflict>),
}

/// One field that another manager owns with another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// As printed: `"m1"`, `"kubectl" using ex.io/v1`.
    pub manager: String,
    /// As printed: `.spec.size`.
    pub field: String,
}

impl Conflict {
    /// The message of the cause.
    pub fn message(&self) -> String {
        format!("conflict with {}", self.manager)
    }
}

fn conflict_message(conflicts: &[Conflict]) -> String {
    if let [conflict] = conflicts {
        return format!("Apply failed with 1 conflict: {}: {}", conflict.message(), conflict.field);
    }
    let mut lines = Vec::new();
    let mut manager = None;
    for conflict in conflicts {
        if manager != Some(&conflict.manager) {
            lines.push(format!("conflicts with {}:", conflict.manager));
            manager = Some(&conflict.manager);
        }
        lines.push(format!("- {}", conflict.field));
    }
    format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
}
