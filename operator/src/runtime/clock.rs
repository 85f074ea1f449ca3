//! The injected wall clock.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

/// Reads the wall clock. A value, so that the simulator can give each incarnation its own skew, step or freeze; never
/// used for durations, which are `tokio::time`.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// A clock that asks `read`.
    pub fn new(read: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// The clock of the machine.
    #[expect(clippy::disallowed_methods, reason = "the one exempted read: everything else is given this value")]
    pub fn system() -> Self {
        Self::new(Timestamp::now)
    }

    /// The time now. Read once per pass.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
