//! What exists outside the cluster, and the knobs of the two controllers.
//!
//! A [`World`] is a handle. It outlives every controller, so a controller that is dropped and started again finds what
//! the real one would: Helm's storage, the registries, and (where the volume persists) its artifacts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::catalogue::{Catalogue, Chart};
use super::helm::{Deed, ReleaseName, Revision, Storage};
use super::timing::{Profile, Step, fraction, span};
use crate::kinds::FluxRelease;
use crate::script::{Order, Script, Switch, Target, Then};

/// How the controllers are installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Settings {
    /// Release of both controllers; must be the one whose CRDs are installed.
    pub release: FluxRelease,
    /// How long things take.
    pub profile: Profile,
    /// Longest staleness of the controllers' caches in milliseconds; 0: they see every commit at once.
    pub lag: u64,
    /// Whether artifacts survive a restart of source-controller. The default installation uses an emptyDir.
    pub persistent_volume: bool,
    /// `--default-service-account` (lockdown).
    pub default_service_account: Option<String>,
    /// `--no-cross-namespace-refs` (lockdown).
    pub no_cross_namespace: bool,
    /// Whether a field that the installed schema does not have is refused instead of pruned. The real controllers do not
    /// ask for it; tests do, so that nothing a fake means to say is lost unseen.
    pub strict: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            release: FluxRelease::newest(),
            profile: Profile::Prompt,
            lag: 0,
            persistent_volume: false,
            default_service_account: None,
            no_cross_namespace: false,
            strict: false,
        }
    }
}

/// One of the two processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Controller {
    /// source-controller.
    Source,
    /// helm-controller.
    Helm,
}

impl Controller {
    /// Its actor name and field manager.
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source-controller",
            Self::Helm => "helm-controller",
        }
    }
}

/// An artifact on the volume of source-controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Artifact {
    /// Digest of the file.
    pub(crate) digest: String,
    /// The chart in it; absent for an index or anything that is not a chart.
    pub(crate) chart: Option<Chart>,
}

/// Everything behind the handle.
#[derive(Debug, Default)]
pub struct State {
    /// How the controllers are installed.
    pub settings: Settings,
    /// Registries and repositories.
    pub catalogue: Catalogue,
    /// Helm's storage.
    pub storage: Storage,
    /// What the fakes have been told to do.
    pub script: Script,
    /// What Helm has done, in order.
    pub deeds: Vec<Deed>,
    /// Accounts (`namespace/name`) that may do nothing.
    pub powerless: BTreeSet<String>,
    pub(crate) volume: BTreeMap<String, Artifact>,
    pub(crate) absent: BTreeSet<Controller>,
    pub(crate) restarts: BTreeSet<Controller>,
    pub(crate) kicks: VecDeque<Target>,
    draws: BTreeMap<(Step, String), u64>,
}

struct Shared {
    state: Mutex<State>,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    seed: u64,
    changes: watch::Sender<u64>,
}

/// Handle to the world outside the cluster; cheap to clone.
#[derive(Clone)]
pub struct World(Arc<Shared>);

impl World {
    /// A world without charts and releases. `now` is the server's clock.
    pub fn new(settings: Settings, seed: u64, now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let state = State { settings, ..State::default() };
        let (changes, _) = watch::channel(0);
        Self(Arc::new(Shared { state: Mutex::new(state), now: Box::new(now), seed, changes }))
    }

    /// Looks at or changes what is there; the controllers are told afterwards. Never call it from inside itself.
    pub fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let result = self.peek(f);
        self.0.changes.send_modify(|version| *version += 1);
        result
    }

    /// As [`World::with`], for what no controller needs to be told.
    pub(crate) fn peek<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        // A panic elsewhere leaves plain data behind; the run is failed by the panic itself.
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        f(&mut state)
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Publishes a chart; see [`Catalogue::publish`].
    pub fn publish(&self, address: &str, name: &str, version: &str) {
        self.with(|state| state.catalogue.publish(address, name, version));
    }

    /// Arms a switch.
    pub fn arm(&self, order: Order) {
        self.with(|state| state.script.arm(order));
    }

    /// Says how the next `step` (`install`, `upgrade`, `rollback`, `uninstall`, `fetch`) of an object goes.
    pub fn then(&self, target: Target, step: &str, then: Then) {
        self.with(|state| state.script.then(target, step, then));
    }

    /// The process dies now and comes back after a fail-over gap.
    pub fn restart(&self, controller: Controller) {
        self.with(|state| {
            state.restarts.insert(controller);
            if controller == Controller::Source && !state.settings.persistent_volume {
                state.volume.clear();
            }
        });
    }

    /// The process is away until [`World::bring_back`].
    pub fn take_away(&self, controller: Controller) {
        self.with(|state| state.absent.insert(controller));
    }

    /// The process is there again.
    pub fn bring_back(&self, controller: Controller) {
        self.with(|state| state.absent.remove(&controller));
    }

    /// Ends every fault: nothing is armed, everything answers, both controllers run, steps take their median time.
    pub fn heal(&self) {
        self.with(|state| {
            state.script.clear();
            state.catalogue.bring_all_up();
            state.absent.clear();
            state.settings.profile = Profile::Prompt;
            state.settings.lag = 0;
        });
    }

    /// The revision that runs under this release name.
    pub fn deployed(&self, namespace: &str, name: &str) -> Option<Revision> {
        self.peek(|state| state.storage.deployed(&ReleaseName::new(namespace, name)).cloned())
    }

    /// The clock of the server.
    pub(crate) fn now(&self) -> Timestamp {
        (self.0.now)()
    }

    /// Now in seconds, as every controller writes it.
    pub(crate) fn stamp(&self) -> String {
        stamp(self.now())
    }

    pub(crate) fn settings(&self) -> Settings {
        self.peek(|state| state.settings.clone())
    }

    pub(crate) fn take(&self, switch: Switch, target: &Target) -> Option<Order> {
        self.peek(|state| state.script.take(switch, target))
    }

    pub(crate) fn armed(&self, switch: Switch, target: &Target) -> bool {
        self.peek(|state| state.script.armed(switch, target).is_some())
    }

    /// How long this step takes this time.
    pub(crate) fn span(&self, step: Step, key: &str) -> Duration {
        self.peek(|state| {
            let count = state.draws.entry((step, key.to_owned())).or_default();
            *count += 1;
            span(state.settings.profile, self.0.seed, step, key, *count)
        })
    }

    /// An interval with 5 % of jitter, none in the prompt profile.
    pub(crate) fn jittered(&self, interval: Duration, key: &str) -> Duration {
        if self.settings().profile == Profile::Prompt {
            return interval;
        }
        let draw = self.draw("interval", key);
        interval.mul_f64(0.95 + 0.1 * draw)
    }

    /// How far the cache is behind for the next event.
    pub(crate) fn lag(&self, key: &str) -> Duration {
        let longest = self.settings().lag;
        if longest == 0 {
            return Duration::ZERO;
        }
        Duration::from_millis(longest).mul_f64(self.draw("lag", key))
    }

    fn draw(&self, what: &str, key: &str) -> f64 {
        self.peek(|state| {
            let count = state.draws.entry((Step::Queue, format!("{what} {key}"))).or_default();
            *count += 1;
            fraction(self.0.seed, what, key, *count)
        })
    }
}

/// A time as Kubernetes writes it: seconds, UTC.
pub(crate) fn stamp(time: Timestamp) -> String {
    let seconds = Timestamp::from_second(time.as_second()).unwrap_or(Timestamp::UNIX_EPOCH);
    seconds.to_string()
}
