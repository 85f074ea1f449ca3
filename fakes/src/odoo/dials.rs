//! How the control plane behaves: one dial per fault that lives on its side (reliability F40 to F44, F53, F54; W01, W03,
//! W33). Times are whole seconds.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Every dial. The default is a healthy server that implements all additive fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Dials {
    /// What every agent path shows, before anything of the request is read.
    pub face: Face,
    /// Faults of single endpoints, each for so many requests; the first that fits strikes.
    pub rules: Vec<Rule>,
    /// How far its clock is ahead of the world's, in seconds.
    pub clock_ahead: i64,

    /// An unacknowledged job is delivered again this long after its last delivery; `None`: never (contract §17.2 leaves it
    /// open).
    pub redeliver_after: Option<u64>,
    /// Each job is delivered a second time with the next poll, acknowledged or not (F40).
    pub deliver_twice: bool,
    /// Each answer holds each job twice (F40).
    pub double_in_answer: bool,
    /// Newest first (F40).
    pub newest_first: bool,
    /// A job is held back this long after it was issued: beyond its `expiresAt`, if that is sooner (F40).
    pub hold_back: u64,
    /// Most jobs of one answer.
    pub jobs_per_answer: usize,
    /// A poll whose client went away swallows a job (F40: the poll of an old leader).
    pub ghost_polls: bool,
    /// Polls are answered at once, jobs or not.
    pub answers_at_once: bool,
    /// Ends polls that live too long (W33).
    pub kill: Option<Kill>,

    /// A second result with the same bytes is answered 204 instead of 409.
    pub accepts_repeated_result: bool,

    /// A batch with an event whose key contains one of these is refused, 422, for ever (F44).
    pub poison: BTreeSet<String>,
    /// Whether the refusal above is 400, 413, 415 or 422.
    pub poison_status: u16,

    /// A repeated registration id gets the same answer (additive).
    pub honours_registration_id: bool,
    /// A repeated rotation id gets the same answer (additive).
    pub honours_rotation_id: bool,
    /// Validity of registration tokens, seconds (contract §15.1: 24 h).
    pub token_validity: u64,
    /// Validity of credentials, seconds; `None`: no `expiresAt` is sent.
    pub credential_validity: Option<u64>,
    /// How long the previous credential is accepted after a rotation, seconds (contract §15.3: 24 h, may be 0).
    pub grace: u64,
    /// Revoked, expired and unknown credentials are answered with this: 401, or 403 with our error body.
    pub rejection: u16,
    /// What it does with the body proof of contract §19.3.
    pub proof: Proof,
    /// The proof's timestamp may be off by so many seconds; `None`: it is not compared.
    pub proof_window: Option<u64>,
}

impl Default for Dials {
    fn default() -> Self {
        Self {
            face: Face::Healthy,
            rules: Vec::new(),
            clock_ahead: 0,
            redeliver_after: Some(30),
            deliver_twice: false,
            double_in_answer: false,
            newest_first: false,
            hold_back: 0,
            jobs_per_answer: 100,
            ghost_polls: true,
            answers_at_once: false,
            kill: None,
            accepts_repeated_result: false,
            poison: BTreeSet::new(),
            poison_status: 422,
            honours_registration_id: true,
            honours_rotation_id: true,
            token_validity: 24 * 3600,
            credential_validity: Some(30 * 24 * 3600),
            grace: 24 * 3600,
            rejection: 401,
            proof: Proof::WhenPresent,
            proof_window: None,
        }
    }
}

impl Dials {
    /// These dials with some of them set: the members of `patch` replace theirs.
    ///
    /// # Errors
    /// There is no such dial, or it does not take such a value.
    pub fn turned(&self, patch: &serde_json::Value) -> Result<Self, String> {
        let mut dials = serde_json::to_value(self).map_err(|error| error.to_string())?;
        if let (Some(dials), Some(patch)) = (dials.as_object_mut(), patch.as_object()) {
            dials.extend(patch.clone());
        }
        serde_json::from_value(dials).map_err(|error| error.to_string())
    }

    /// The server's own faults end. What describes its make (grace, additive fields, redelivery) stays, and so does a moved
    /// base URL: it does not come back.
    pub fn heal(&mut self) {
        if !matches!(self.face, Face::Moved { .. }) {
            self.face = Face::Healthy;
        }
        self.rules.clear();
        self.poison.clear();
        self.kill = None;
        self.deliver_twice = false;
        self.double_in_answer = false;
        self.newest_first = false;
        self.hold_back = 0;
    }
}

/// What stands before the whole protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Face {
    /// The protocol.
    #[default]
    Healthy,
    /// Nothing: the connection is refused (F43).
    Down,
    /// 404 `text/html` on all paths: a second database, and no way to choose (W01).
    NotFoundPage,
    /// 303 to the login page (W03).
    LoginRedirect,
    /// 403 `text/html` (W03).
    ForbiddenPage,
    /// 200 with a JSON-RPC error envelope.
    RpcEnvelope,
    /// 200 `text/html`: a login page without a redirect, a portal.
    Portal,
    /// This status with our error body: 503 for maintenance.
    Status(u16),
    /// 429, with `Retry-After` if there is one, in seconds.
    Throttled {
        /// Seconds.
        retry_after: Option<u64>,
    },
    /// 200 with so many bytes, JSON.
    Oversized {
        /// Bytes.
        bytes: usize,
    },
    /// 200 in a media type of another major version.
    OtherMajor,
    /// It lives at another base URL: requests for another host are answered 301 with it (F53).
    Moved {
        /// The new base URL.
        to: String,
    },
}

/// What a request is for: one row of contract §17.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Endpoint {
    /// `GET jobs`.
    Poll,
    /// `POST jobs/{id}/ack`.
    Ack,
    /// `POST jobs/{id}/status`.
    Status,
    /// `POST jobs/{id}/result`.
    Result,
    /// `POST events`.
    Events,
    /// `POST register`.
    Register,
    /// `POST credentials/rotate`.
    Rotate,
    /// `POST cluster/decommission`.
    Decommission,
}

impl Endpoint {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Poll,
        Self::Ack,
        Self::Status,
        Self::Result,
        Self::Events,
        Self::Register,
        Self::Rotate,
        Self::Decommission,
    ];

    /// In a word, as histories and counters name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::Ack => "ack",
            Self::Status => "status",
            Self::Result => "result",
            Self::Events => "events",
            Self::Register => "register",
            Self::Rotate => "rotate",
            Self::Decommission => "decommission",
        }
    }
}

/// A fault of one endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Where.
    pub endpoint: Endpoint,
    /// How many requests are still let through first.
    #[serde(default)]
    pub skip: u32,
    /// How often; until healed if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// What happens.
    pub does: Does,
}

/// What a [`Rule`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Does {
    /// Answers this status with our error body; nothing is committed.
    Refuse(u16),
    /// Commits, then answers this status (F41, F53).
    Commit(u16),
    /// Commits, then the connection breaks (F41, F53).
    CommitAndBreak,
    /// Takes so many seconds before anything is committed (F44).
    Slow(u64),
    /// Takes so many seconds after the commit, and then answers as usual (F41).
    SlowAnswer(u64),
    /// Commits so many events of a batch and answers 500 (F44).
    CommitPart(usize),
}

/// The end of polls that live too long: a worker at its limit, or a proxy (W33).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Kill {
    /// After so many seconds.
    pub after: u64,
    /// With this status, 502 or 504; `None`: the connection is reset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

/// What is done with the body proof.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Proof {
    /// Nothing: a server that does not know it.
    Ignored,
    /// Verified when it is there.
    #[default]
    WhenPresent,
    /// Every POST except register must bring it.
    Required,
}
