//! The control plane's wire: what is sent and read below `<endpoint>/api/agent/`, as data (contract §17, §18, §20).
//!
//! Two rules hold for every body. Unknown members are ignored on both sides, and what a newer side adds is optional for
//! the older one. And whatever may be sent twice carries the key by which the receiver knows it: the job id of an
//! acknowledgement and a result, the event key of an event, the pending id of a registration or rotation. So every
//! request may be repeated with the same bytes until it is answered.

pub mod answer;
pub mod call;
pub mod claim;
pub mod event;
pub mod event_key;
#[cfg(test)]
mod golden;
pub mod job;
pub mod proof;
pub mod register;
mod skim;

pub use answer::Trouble;
pub use call::Call;

/// The media type of every body (contract §3.2). Answers of type `application/json` are read too.
pub const MEDIA_TYPE: &str = "application/vnd.vworkspace.agent.v1+json";

/// Where the protocol lives below the control plane's endpoint (contract §17.1).
pub const PATH: &str = "/api/agent/";
