//! Leadership as the executor sees it: a permit per effect, or none.
//!
//! The lease in `runtime` extends the tenure; [`super::act`] asks for a [`Permit`] before each effect. Checking once per
//! pass would be too late: a leader that was frozen and thaws goes on in the middle of its pass.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

/// The right to perform one effect now. Taken by value, so it cannot be used twice.
#[derive(Debug)]
pub struct Permit {
    _private: (),
}

/// Nobody may act in our name at this instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the leader")]
pub struct NotLeader;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tenure {
    None,
    Until(Instant),
    Unlimited,
}

/// The tenure of this process, shared by everything that acts. Starts without one.
#[derive(Clone, Debug)]
pub struct Permits(Arc<Mutex<Tenure>>);

impl Default for Permits {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Tenure::None)))
    }
}

impl Permits {
    /// A tenure without an end, for a process that was told not to elect a leader.
    pub fn unlimited() -> Self {
        Self(Arc::new(Mutex::new(Tenure::Unlimited)))
    }

    /// Leads until `until` on the monotonic clock.
    pub fn extend(&self, until: Instant) {
        self.set(Tenure::Until(until));
    }

    /// Leads no longer.
    pub fn revoke(&self) {
        self.set(Tenure::None);
    }

    /// Whether a permit would be given now.
    pub fn leading(&self) -> bool {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Tenure::None => false,
            Tenure::Until(until) => Instant::now() < until,
            Tenure::Unlimited => true,
        }
    }

    /// The right to perform one effect.
    ///
    /// # Errors
    /// When the tenure is over, or never began.
    pub fn permit(&self) -> Result<Permit, NotLeader> {
        if self.leading() { Ok(Permit { _private: () }) } else { Err(NotLeader) }
    }

    fn set(&self, tenure: Tenure) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = tenure;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_tenure_ends_by_itself() {
        let permits = Permits::default();
        assert!(permits.permit().is_err());
        permits.extend(Instant::now() + Duration::from_secs(10));
        tokio::time::advance(Duration::from_millis(9_999)).await;
        assert!(permits.permit().is_ok());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(permits.permit().is_err());
        permits.extend(Instant::now() + Duration::from_secs(10));
        permits.revoke();
        assert!(permits.permit().is_err());
        assert!(Permits::unlimited().permit().is_ok());
    }
}
