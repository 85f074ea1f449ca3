//! `sim demo`: the main job of the operator on an embedded cluster, with its control plane, from nothing to nothing, told
//! line by line.
//!
//! Everything told is read from commits, and every chapter ends with checks of the store and of what Helm really holds.
//! A check that fails ends the demo with exit code 1.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use fakes::history::Phase;
use serde::Serialize;
use serde_json::Value;

use super::Exit;
use super::screen::{Screen, Tint};
use crate::case::{Case, Step, Until};
use crate::narrator::{Line, Voice, tell};
use crate::simulation::{SETTLE_CONNECTED, WINDOW, on_fresh_thread, runtime};
use crate::stories::{INSTANCE, failing_upgrade};
use crate::trace::Detail;
use crate::truth::{OCI_REPOSITORIES, RELEASES, Truth, bare_version, condition_reason, condition_status, text};
use crate::world::{Plan, World, instance_path, workload};

mod control_plane;

/// One thing the demo says.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase", untagged)]
pub(super) enum Told {
    /// A new part of the story.
    Chapter {
        /// Its title.
        chapter: String,
    },
    /// Something happened.
    Event(Line),
    /// Something was verified.
    #[serde(rename_all = "camelCase")]
    Check {
        /// Simulated milliseconds.
        at_ms: u64,
        /// What.
        check: String,
        /// Whether it is true.
        holds: bool,
    },
}

/// Runs the demo. `speed` simulated seconds pass in a second of the reader's time; without it nothing waits. The control
/// plane is gone for `away` hours in the middle.
pub fn demo(screen: Screen, speed: Option<f64>, away: u64) -> Exit {
    let (say, told) = mpsc::channel();
    let teller = std::thread::Builder::new().name("demo".into()).spawn(move || {
        let failed = say.clone();
        let outcome = on_fresh_thread(1, move || runtime().block_on(play(say, Duration::from_secs(away * 3600))));
        if let Err(what) = outcome {
            let _ = failed.send(Told::Check { at_ms: 0, check: format!("nothing panics: {what}"), holds: false });
        }
    });
    let mut exit = Exit::Clean;
    let mut last = 0;
    let mut checks = 0;
    for told in told {
        let at = match &told {
            Told::Chapter { .. } => last,
            Told::Event(line) => line.at_ms,
            Told::Check { at_ms, holds, .. } => {
                checks += 1;
                if !holds {
                    exit = Exit::Violation;
                }
                *at_ms
            }
        };
        if let Some(speed) = speed
            && at > last
        {
            std::thread::sleep(Duration::from_millis(at - last).div_f64(speed));
        }
        last = at.max(last);
        screen.object(&told);
        screen.line(&shown(&screen, &told));
    }
    if let Ok(teller) = teller {
        let _ = teller.join();
    }
    let verdict = if exit == Exit::Clean {
        screen.tint(&format!("{checks} checks, all true."), Tint::Green)
    } else {
        screen
            .tint("A check failed: the operator or a fake is broken. `sim run --scenario whole` says more.", Tint::Red)
    };
    screen.line(&format!("\n{verdict}"));
    exit
}

pub(super) fn shown(screen: &Screen, told: &Told) -> String {
    match told {
        Told::Chapter { chapter } => format!("\n{}", screen.tint(chapter, Tint::Bold)),
        Told::Event(line) => {
            let tint = match line.voice {
                Voice::User => Tint::Cyan,
                Voice::Operator => Tint::Blue,
                Voice::Flux => Tint::Magenta,
                Voice::Cluster => Tint::Dim,
                Voice::Fault => Tint::Yellow,
            };
            let actor = screen.tint(&format!("{:<17}", line.actor), tint);
            format!("  {}  {actor}  {}", screen.tint(&stamp(line.at_ms), Tint::Dim), cut(&line.what))
        }
        Told::Check { at_ms, check, holds } => {
            let (mark, tint) = if *holds { ("✓", Tint::Green) } else { ("✗", Tint::Red) };
            format!("  {}  {}", screen.tint(&stamp(*at_ms), Tint::Dim), screen.tint(&format!("{mark} {check}"), tint))
        }
    }
}

/// Minutes, seconds, milliseconds.
fn stamp(ms: u64) -> String {
    format!("{:02}:{:02}.{:03}", ms / 60_000, ms / 1000 % 60, ms % 1000)
}

/// Long messages are cut: the whole text is in `--json`.
fn cut(what: &str) -> String {
    const WIDTH: usize = 150;
    match what.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", &what[..end]),
        None => what.to_owned(),
    }
}

/// The story under way.
struct Tale {
    world: World,
    say: mpsc::Sender<Told>,
    /// While time passes in which nothing but routine happens, nothing is told.
    muted: Arc<AtomicBool>,
    /// How long the control plane is gone.
    away: Duration,
}

/// The story stops at its first failed check.
struct Untrue;

async fn play(say: mpsc::Sender<Told>, away: Duration) {
    let case = Case::new("demo", Vec::new());
    let chapter = |title: &str| Told::Chapter { chapter: title.to_owned() };
    let _ = say.send(chapter("An embedded cluster starts"));
    let telling = say.clone();
    let muted = Arc::new(AtomicBool::new(false));
    let silent = muted.clone();
    let reader = Box::new(move |record: &fakes::history::Record| {
        let lines = if silent.load(Ordering::Relaxed) { Vec::new() } else { tell(record) };
        for line in lines {
            let _ = telling.send(Told::Event(line));
        }
    });
    let world = match World::build(Plan { detail: Detail::Hash, reader: Some(reader), ..Plan::of(&case) }).await {
        Ok(world) => world,
        Err(why) => {
            let _ = say.send(Told::Check { at_ms: 0, check: format!("the cluster starts: {why}"), holds: false });
            return;
        }
    };
    let mut tale = Tale { world, say, muted, away };
    let _ = tale.chapters().await;
    tale.world.end().await;
}

impl Tale {
    async fn chapters(&mut self) -> Result<(), Untrue> {
        self.cluster()?;
        self.chapter("A namespace is opened, and the operator takes leadership");
        self.step(Step::Namespace { name: "org-a".into(), gated: true }).await?;
        self.world.enter(Phase::Healed);
        self.world.start_operator();
        self.wait("one operator leads", 60, leader).await?;
        self.registration().await?;
        self.job().await?;
        self.upgrade().await?;
        self.failing_upgrade().await?;
        self.crash_in_the_middle().await?;
        self.quiet().await?;
        self.away().await?;
        self.push().await?;
        self.deletion().await?;
        self.promises()
    }

    fn cluster(&self) -> Result<(), Untrue> {
        let served = self.world.look(|truth| {
            let definitions = truth.all("customresourcedefinitions.apiextensions.k8s.io");
            definitions.filter(|(_, definition)| condition_status(definition, "Established") == "True").count()
        });
        self.check(&format!("{served} kinds of ours and of Flux are served"), served >= 6)
    }

    async fn upgrade(&mut self) -> Result<(), Untrue> {
        self.chapter("An upgrade, 6.6.0 → 7.0.0");
        self.step(Step::Upgrade { instance: INSTANCE.into(), version: "7.0.0".into() }).await?;
        self.ready("HelmReleaseUpgraded", "7.0.0").await?;
        self.wait("the source of 6.6.0 is cleaned up", 60, |truth| match truth.all(OCI_REPOSITORIES).count() {
            1 => Ok(()),
            count => Err(format!("there are {count} sources")),
        })
        .await
    }

    async fn failing_upgrade(&mut self) -> Result<(), Untrue> {
        self.chapter("An upgrade that fails and is rolled back, 7.0.0 → 8.0.0");
        self.world.order(failing_upgrade());
        self.step(Step::Upgrade { instance: INSTANCE.into(), version: "8.0.0".into() }).await?;
        self.condition("Ready", "True", "RolledBack").await?;
        self.condition("Degraded", "True", "HelmReleaseUpgradeFailed").await?;
        self.helm_holds("7.0.0")
    }

    async fn crash_in_the_middle(&mut self) -> Result<(), Untrue> {
        self.chapter("The operator loses power in the middle of an upgrade, 8.0.0 → 8.0.1");
        self.step(Step::Upgrade { instance: INSTANCE.into(), version: "8.0.1".into() }).await?;
        self.wait("Flux is upgrading", 60, |truth| {
            let release = truth.get(RELEASES, "org-a", "files").ok_or("no HelmRelease")?;
            let running = crate::truth::condition(release, "Reconciling").map_or("", |is| text(is, "/message"));
            if running.contains("'upgrade'") { Ok(()) } else { Err(format!("it says {running:?}")) }
        })
        .await?;
        let before = self.generation();
        self.step(Step::Crash { down: 1 }).await?;
        self.ready("HelmReleaseUpgraded", "8.0.1").await?;
        let again = self.world.operator().is_some_and(|operator| operator.incarnation() == 2);
        self.check("a second incarnation finished what the first began", again)?;
        self.check("and wrote the HelmRelease's spec no second time", self.generation() == before)
    }

    async fn quiet(&mut self) -> Result<(), Untrue> {
        self.chapter("Twenty minutes without a change");
        tokio::time::sleep(SETTLE_CONNECTED).await;
        self.world.enter(Phase::Quiet);
        tokio::time::sleep(WINDOW).await;
        self.world.enter(Phase::Healed);
        self.check("the operator wrote nothing, its Lease and the heartbeat's stamp excepted", true)
    }

    async fn deletion(&mut self) -> Result<(), Untrue> {
        self.chapter("Deletion");
        self.step(Step::Delete { path: instance_path(INSTANCE) }).await?;
        let gone = Until::Gone { instance: INSTANCE.into() };
        self.wait("the instance and everything that belonged to it are gone", 120, |truth| {
            workload::reached(&gone, truth)
        })
        .await?;
        self.check("Helm holds no release", self.world.flux.deployed("org-a", "files").is_none())
    }

    fn promises(&mut self) -> Result<(), Untrue> {
        self.chapter("What was promised meanwhile");
        let records = self.world.trace.count();
        self.check(&format!("{} oracles read {records} records, none objects", crate::oracle::all().len()), true)
    }

    fn mute(&self, silent: bool) {
        self.muted.store(silent, Ordering::Relaxed);
    }

    fn chapter(&self, title: &str) {
        let _ = self.say.send(Told::Chapter { chapter: title.to_owned() });
    }

    fn check(&self, what: &str, holds: bool) -> Result<(), Untrue> {
        let broken = self.world.violation().map(|violation| format!("{}: {}", violation.oracle, violation.what));
        let (what, holds) = broken.as_deref().map_or((what, holds), |broken| (broken, false));
        let at_ms = u64::try_from(self.world.time.elapsed().as_millis()).unwrap_or(u64::MAX);
        let _ = self.say.send(Told::Check { at_ms, check: what.to_owned(), holds });
        if holds { Ok(()) } else { Err(Untrue) }
    }

    async fn step(&mut self, step: Step) -> Result<(), Untrue> {
        match self.world.carry_out(&step).await {
            Ok(()) => Ok(()),
            Err(why) => self.check(&why, false),
        }
    }

    async fn wait(
        &self,
        what: &str,
        seconds: u64,
        reached: impl Fn(&Truth) -> Result<(), String>,
    ) -> Result<(), Untrue> {
        match self.world.until(Duration::from_secs(seconds), reached).await {
            Ok(()) => self.check(what, true),
            Err(missing) => self.check(&format!("{what}: {missing}"), false),
        }
    }

    async fn condition(&self, kind: &str, status: &str, reason: &str) -> Result<(), Untrue> {
        let until = Until::Condition {
            instance: INSTANCE.into(),
            kind: kind.into(),
            status: status.into(),
            reason: reason.into(),
        };
        self.wait(&format!("{kind}={status} {reason}"), 180, |truth| workload::reached(&until, truth)).await
    }

    /// The instance says so, at its newest generation, and Helm agrees.
    async fn ready(&self, reason: &str, version: &str) -> Result<(), Untrue> {
        let until = Until::Ready { instance: INSTANCE.into() };
        self.wait(&format!("Ready=True {reason}, at the newest generation"), 180, |truth| {
            workload::reached(&until, truth)?;
            let instance = truth.get(crate::truth::INSTANCES, "org-a", "files").ok_or("it is gone")?;
            let said = condition_reason(instance, "Ready");
            if said == reason { Ok(()) } else { Err(format!("the reason is {said}")) }
        })
        .await?;
        self.helm_holds(version)
    }

    fn helm_holds(&self, version: &str) -> Result<(), Untrue> {
        self.check(&format!("Helm holds nextcloud {version}, deployed"), self.helm() == version)
    }

    /// The chart version that Helm really holds.
    fn helm(&self) -> String {
        let deployed = self.world.flux.deployed("org-a", "files");
        deployed.map(|revision| bare_version(&revision.chart_version).to_owned()).unwrap_or_default()
    }

    fn generation(&self) -> i64 {
        self.world
            .look(|truth| truth.get(RELEASES, "org-a", "files").map_or(0, |release| crate::truth::generation(release)))
    }
}

fn leader(truth: &Truth) -> Result<(), String> {
    let lease = truth.all("leases.coordination.k8s.io").find(|(address, _)| address.name == "dad03b25.vworkspace.io");
    let holder = lease.map_or("", |(_, lease): (_, &Arc<Value>)| text(lease, "/spec/holderIdentity"));
    if holder.is_empty() { Err("nobody holds the Lease".into()) } else { Ok(()) }
}
