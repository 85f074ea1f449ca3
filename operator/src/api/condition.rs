//! Condition types and reasons as enums (contract §16), the one merge, and the report journal (contract §20.3).
//!
//! `Ready` is no [`ConditionType`]: only [`summarize`] can make one, so there is one place that says when an application is
//! ready. Messages carry no times, counters, addresses or raw error text: one that changes on every retry would be a write
//! on every retry.

mod merge;
mod words;

pub use merge::{TRANSITIONS_MAX, find, merge, record, transitions};
pub use words::{ConditionType, Reason};

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// `True`.
    True,
    /// `False`.
    False,
    /// `Unknown`.
    Unknown,
}

impl Status {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::True => "True",
            Status::False => "False",
            Status::Unknown => "Unknown",
        }
    }
}

/// A condition about to be written. Longest message: 1 KiB (contract §6.5), cut at a character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    type_: &'static str,
    status: Status,
    reason: Reason,
    message: String,
    generation: i64,
}

/// Longest message in bytes.
pub const MESSAGE_BYTES_MAX: usize = 1024;

impl Draft {
    /// Any condition except `Ready`, about `generation` of the object.
    pub fn new(
        type_: ConditionType,
        status: Status,
        reason: Reason,
        message: impl Into<String>,
        generation: i64,
    ) -> Self {
        Self { type_: type_.as_str(), status, reason, message: cut(message.into()), generation }
    }

    /// Condition type.
    pub fn type_(&self) -> &'static str {
        self.type_
    }

    /// Status.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Reason.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Message.
    pub fn message(&self) -> &str {
        &self.message
    }
}

fn cut(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        let mut end = MESSAGE_BYTES_MAX;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
    }
    message
}

/// What is known about an application as a whole; one variant per reason of `Ready` (contract §16.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outlook {
    /// Nothing new: what was said last still holds.
    Unchanged,
    /// Nothing known yet.
    Unknown,
    /// First release deployed.
    Ready,
    /// Changed release deployed.
    Upgraded,
    /// Deployed, with a remark.
    ReadyWithWarnings,
    /// The previous release runs again.
    RolledBack,
    /// Nothing is deployed on purpose.
    Placeholder,
    /// First release on its way.
    Installing,
    /// Newer release on its way.
    Upgrading,
    /// Release failed.
    Failed,
    /// Chart cannot be fetched, nothing deployed.
    ChartUnreachable,
    /// Values reference missing, nothing deployed.
    WaitingForSecret,
}

/// The only maker of `Ready`. `None` when the last one stands.
pub fn summarize(outlook: Outlook, message: impl Into<String>, generation: i64) -> Option<Draft> {
    let (status, reason) = match outlook {
        Outlook::Unchanged => return None,
        Outlook::Unknown => (Status::Unknown, Reason::Reconciling),
        Outlook::Ready => (Status::True, Reason::HelmReleaseReady),
        Outlook::Upgraded => (Status::True, Reason::HelmReleaseUpgraded),
        Outlook::ReadyWithWarnings => (Status::True, Reason::HelmReleaseReadyWithWarnings),
        Outlook::RolledBack => (Status::True, Reason::RolledBack),
        Outlook::Placeholder => (Status::True, Reason::Placeholder),
        Outlook::Installing => (Status::False, Reason::Installing),
        Outlook::Upgrading => (Status::False, Reason::Upgrading),
        Outlook::Failed => (Status::False, Reason::HelmReleaseFailed),
        Outlook::ChartUnreachable => (Status::False, Reason::ChartUnreachable),
        Outlook::WaitingForSecret => (Status::False, Reason::WaitingForSecret),
    };
    Some(Draft { type_: READY, status, reason, message: cut(message.into()), generation })
}

/// The type of the summary.
pub const READY: &str = "Ready";

/// Order in which conditions of an ApplicationInstance are applied (contract §16.1).
pub const APPLICATION_INSTANCE: &[&str] = &["Ready", "Reconciling", "Degraded", "Suspended", "Blocked", "Deleting"];
/// Order in which conditions of an Operation are applied (contract §16).
pub const OPERATION: &[&str] =
    &["Succeeded", "Failed", "Cancelled", "Blocked", "Running", "Accepted", "Degraded", "UnknownState"];
/// Order in which conditions of a Cluster are applied (contract §16.3).
pub const CLUSTER: &[&str] = &[
    "Connected",
    "Disconnected",
    "Authenticated",
    "ControllersHealthy",
    "CRDsRegistered",
    "BufferOverflow",
    "PayloadSecurity",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let draft = Draft::new(ConditionType::Blocked, Status::True, Reason::PolicyDenied, "ü".repeat(2000), 1);
        assert!(draft.message.len() <= MESSAGE_BYTES_MAX && draft.message.chars().all(|c| c == 'ü'));
    }
}
