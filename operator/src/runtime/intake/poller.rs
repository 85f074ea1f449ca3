//! When to poll, and for how long (contract §17.1, §17.2).

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::OPEN_MAX;
use crate::api::cluster::ConnectivityMode;
use crate::cluster_api::ClusterApi;
use crate::protocol::Trouble;
use crate::reconcile::connection::Connection;
use crate::reconcile::link::{Group, Link};
use crate::transport::Transport;

/// No two polls start closer together, whatever the answers.
const PACE: Duration = Duration::from_secs(1);
/// Where there is nobody to poll, it is looked again after this long.
const LATER: Duration = Duration::from_secs(10);
/// A server that cuts long polls is not asked for less than this.
const WAIT_MIN: Duration = Duration::from_secs(5);
/// After this long the full wait is tried again.
const RAISE: Duration = Duration::from_secs(3600);

/// How a poll ended.
pub(super) enum Polled {
    /// It was sent.
    Asked(Result<Bytes, Trouble>),
    /// Nobody is to be polled now.
    NotNow,
    /// This cluster has become another one.
    OtherIdentity,
}

/// Whether this cluster fetches its jobs, and can.
pub(super) fn polls(connection: &Connection) -> bool {
    connection.mode == ConnectivityMode::Pull && connection.endpoint.is_some() && connection.token().is_some()
}

/// See the module.
pub(super) struct Poller {
    setting: Duration,
    wait: Duration,
    /// Polls in a row that the server cut.
    cut: u32,
    raise: Option<Instant>,
    next: Option<Instant>,
}

impl Poller {
    pub(super) fn new(setting: Duration) -> Self {
        let setting = setting.clamp(Duration::from_secs(1), Duration::from_secs(300));
        Self { setting, wait: setting, cut: 0, raise: None, next: None }
    }

    /// Whether a poll may start.
    pub(super) fn due<A: ClusterApi, T: Transport>(&mut self, now: Instant, link: &Link<A, T>, open: usize) -> bool {
        if self.next.is_some_and(|next| next > now) {
            return false;
        }
        // With too many open jobs the next close asks again; otherwise a moment later.
        let wait = link.wait(Group::Poll);
        if open >= OPEN_MAX || !wait.is_zero() || !link.may_poll() {
            self.next = Some(now + wait.max(PACE));
            return false;
        }
        true
    }

    /// A poll starts: how long it may wait.
    pub(super) fn begin(&mut self, now: Instant) -> Duration {
        self.next = Some(now + PACE);
        if self.raise.is_some_and(|raise| raise <= now) {
            self.wait = self.setting;
            self.raise = None;
        }
        self.wait
    }

    /// Takes note of how it ended.
    pub(super) fn ended(&mut self, polled: Polled, now: Instant) -> Polled {
        match &polled {
            Polled::NotNow | Polled::Asked(Err(Trouble::Closed(_))) => self.next = Some(now + LATER),
            Polled::Asked(Err(Trouble::Unreachable { late: true, .. })) => {
                self.cut += 1;
                if self.cut >= 2 {
                    self.cut = 0;
                    self.wait = (self.wait / 2).max(WAIT_MIN).min(self.setting);
                    self.raise = Some(now + RAISE);
                }
            }
            Polled::Asked(_) => self.cut = 0,
            Polled::OtherIdentity => {}
        }
        polled
    }

    /// When to look again.
    pub(super) fn wake(&self, now: Instant) -> Instant {
        self.next.map_or(now + PACE, |next| next.max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut() -> Polled {
        Polled::Asked(Err(Trouble::Unreachable { why: "it answers 502".into(), late: true }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_cuts_polls_is_asked_for_shorter_ones_for_an_hour() {
        let mut poller = Poller::new(Duration::from_secs(300));
        let mut waits = Vec::new();
        for _ in 0..16 {
            waits.push(poller.begin(Instant::now()).as_secs());
            poller.ended(cut(), Instant::now());
        }
        assert_eq!(waits, [300, 300, 150, 150, 75, 75, 37, 37, 18, 18, 9, 9, 5, 5, 5, 5]);
        tokio::time::advance(RAISE).await;
        assert_eq!(poller.begin(Instant::now()).as_secs(), 300);
        poller.ended(cut(), Instant::now());
        poller.ended(Polled::Asked(Ok(Bytes::new())), Instant::now());
        poller.ended(cut(), Instant::now());
        assert_eq!(poller.begin(Instant::now()).as_secs(), 300, "not two in a row");
    }
}
