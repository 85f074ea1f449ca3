//! Configuration of a server.

use std::sync::Arc;

use jiff::Timestamp;

use super::rbac::{self, Token};

/// Where the server takes the time of day from.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// A clock that calls `now`.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Clock {
        Clock(Arc::new(now))
    }

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

/// Who decides what a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authorization {
    /// Everyone may do everything.
    AlwaysAllow,
    /// Roles and bindings decide.
    Rbac,
}

/// Which controllers [`Server::run_controllers`] runs (E9). The life cycle of definitions always runs.
#[derive(Clone, Copy, Debug)]
pub struct Controllers {
    /// Garbage collector.
    pub garbage_collector: bool,
    /// Namespace life cycle.
    pub namespaces: bool,
    /// ServiceAccount `default` and ConfigMap `kube-root-ca.crt` in every namespace.
    pub namespace_contents: bool,
}

/// Configuration of a server.
#[derive(Clone)]
pub struct Config {
    /// The time of day.
    pub clock: Clock,
    /// Seed of uids, generated names and default watch timeouts.
    pub seed: u64,
    /// Authorization mode.
    pub authorization: Authorization,
    /// Controllers to run.
    pub controllers: Controllers,
    /// Requests that may be on their way at once; `None` for any number (L1).
    pub max_in_flight: Option<usize>,
    /// Static bearer tokens (K1).
    pub tokens: Vec<Token>,
}

impl Config {
    /// Everything allowed, every controller on.
    pub fn new(clock: Clock, seed: u64) -> Config {
        Config {
            clock,
            seed,
            authorization: Authorization::AlwaysAllow,
            controllers: Controllers { garbage_collector: true, namespaces: true, namespace_contents: true },
            max_in_flight: None,
            tokens: rbac::default_tokens(),
        }
    }
}
