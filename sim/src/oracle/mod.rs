//! The judges: one promise per file, read from the fakes' truth and the history alone.
//!
//! Safety is judged at each record ([`Oracle::step`]); liveness is what is still owed ([`Oracle::pending`]). An exception
//! is part of the promise and written in its prose; there is no mask list. Ids are those of the catalogue of invariants
//! and are never reused.

use std::time::Duration;

use fakes::history::Record;
use fakes::odoo::Odoo;

use crate::truth::Truth;

mod fields;
mod l1;
mod l11;
mod l13;
mod l20;
mod l21;
mod l5;
mod l6;
mod s11;
mod s12;
mod s16;
mod s17;
mod s19;
mod s22;
mod s23;
mod s24;
mod s25;
mod s26;
mod s27;
mod s28;
mod s31;
mod s32;
mod s33;
mod s34;
mod s37;
mod s38;
mod s39;
mod s42;
mod s45;
mod s49;
mod s50;

#[cfg(test)]
mod story;

/// A promise that is not yet kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// What is missing, in one sentence.
    pub why: String,
    /// The bound has passed: this is a violation.
    pub overdue: bool,
}

/// One promise.
pub trait Oracle: Send {
    /// Its id.
    fn id(&self) -> &'static str;

    /// What is promised, in one sentence.
    fn promise(&self) -> &'static str;

    /// One record; `truth` already contains it.
    ///
    /// # Errors
    /// The promise is broken, in one sentence.
    fn step(&mut self, record: &Record, truth: &Truth) -> Result<(), String>;

    /// What is still owed at `now`.
    fn pending(&self, _truth: &Truth, _now: Duration) -> Option<Pending> {
        None
    }
}

/// Every oracle there is, in the order of their ids.
pub fn all() -> Vec<Box<dyn Oracle>> {
    vec![
        Box::<s11::FinalizerLast>::default(),
        Box::<s12::FinalizerFirst>::default(),
        Box::<s16::RendersOneGeneration>::default(),
        Box::<s17::VersionNeverFallsAlone>::default(),
        Box::<s19::ReadyNeedsEvidence>::default(),
        Box::<s22::PureRendering>::default(),
        Box::<s23::OneResult>::default(),
        Box::<s24::OneEffect>::default(),
        Box::<s25::JournalBeforeAck>::default(),
        Box::<s26::NothingAfterTheResult>::default(),
        Box::<s27::NothingAfterExpiry>::default(),
        Box::<s28::WithinItsRights>::default(),
        Box::<s31::SecretsStaySecret>::default(),
        Box::<s32::NeverLockedOut>::default(),
        Box::<s33::OneSourceOfCredentials>::default(),
        Box::<s34::SecretsByName>::default(),
        Box::<s37::ObservedGeneration>::default(),
        Box::<s38::HonestConditions>::default(),
        Box::<s39::Quiet>::default(),
        Box::<s42::EachTransitionOnce>::default(),
        Box::<s45::OncePerSlot>::default(),
        Box::<s49::OnlyTheLeaderTalks>::default(),
        Box::<s50::BoundedStores>::default(),
        Box::<l1::Converges>::default(),
        Box::<l5::JobsAreAnswered>::default(),
        Box::<l6::DeletionCompletes>::default(),
        Box::<l11::RotationEnds>::default(),
        Box::<l13::ChangesAreTold>::default(),
        Box::<l20::TheViewIsTrue>::default(),
        Box::<l21::RegistrationCompletes>::default(),
    ]
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Of this oracle.
    pub oracle: &'static str,
    /// The promise.
    pub promise: &'static str,
    /// How it was broken.
    pub what: String,
    /// At this record.
    pub ordinal: u64,
}

/// All oracles over one run. The first violation wins; a liveness verdict never explains a safety violation away.
pub struct Judge {
    oracles: Vec<Box<dyn Oracle>>,
    truth: Truth,
    first: Option<Violation>,
    ordinal: u64,
}

impl Judge {
    /// A judge with these oracles.
    pub fn new(oracles: Vec<Box<dyn Oracle>>) -> Self {
        Self { oracles, truth: Truth::default(), first: None, ordinal: 0 }
    }

    /// Shows one record to every oracle.
    pub fn step(&mut self, record: &Record) {
        self.truth.step(record);
        self.ordinal = record.ordinal;
        for oracle in &mut self.oracles {
            if let Err(what) = oracle.step(record, &self.truth)
                && self.first.is_none()
            {
                let (id, promise) = (oracle.id(), oracle.promise());
                self.first = Some(Violation { oracle: id, promise, what, ordinal: record.ordinal });
            }
        }
    }

    /// The first broken promise.
    pub fn violation(&self) -> Option<&Violation> {
        self.first.as_ref()
    }

    /// The store as it is.
    pub fn truth(&self) -> &Truth {
        &self.truth
    }

    /// Lets the oracles read the tables of the control plane.
    pub fn know(&mut self, odoo: Odoo) {
        self.truth.know(odoo);
    }

    /// What is still owed. A promise that is overdue becomes the violation.
    pub fn pending(&mut self, now: Duration) -> Option<String> {
        let mut owed = None;
        for oracle in &self.oracles {
            let Some(pending) = oracle.pending(&self.truth, now) else { continue };
            if pending.overdue && self.first.is_none() {
                let (id, promise) = (oracle.id(), oracle.promise());
                self.first = Some(Violation { oracle: id, promise, what: pending.why.clone(), ordinal: self.ordinal });
            }
            owed.get_or_insert(format!("{}: {}", oracle.id(), pending.why));
        }
        owed
    }
}
