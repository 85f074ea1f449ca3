//! After a disconnection status goes first and polling second (contract §21, §29.59).

use std::time::Duration;

use tokio::time::Instant;

/// Polling waits this long for the rest to be delivered, then it goes on (contract §21).
const PATIENCE: Duration = Duration::from_secs(120);

/// What has to be told before the next poll, and whether anything holds polling back.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Backlog {
    results: Option<usize>,
    events: Option<bool>,
    hold: Hold,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Hold {
    /// Nobody has said yet whether this cluster was disconnected.
    #[default]
    Unknown,
    /// It is, or was until now: the first contact must not be a poll.
    Armed,
    /// Back in contact; the rest goes first, until then.
    Until(Instant),
    /// Polling is free.
    Free,
}

impl Backlog {
    /// How many results are not acknowledged.
    pub(super) fn results(&mut self, count: usize) {
        self.results = Some(count);
    }

    /// Whether events or a snapshot are not acknowledged.
    pub(super) fn events(&mut self, undelivered: bool) {
        self.events = Some(undelivered);
    }

    /// What the Cluster says; `silent` where no answer came within the time of a disconnection.
    pub(super) fn disconnected(&mut self, disconnected: bool, silent: bool) {
        self.hold = match self.hold {
            Hold::Unknown | Hold::Free if disconnected && silent => Hold::Armed,
            Hold::Unknown => Hold::Free,
            Hold::Armed if !disconnected => Hold::Free,
            other => other,
        };
    }

    /// The other side answered.
    pub(super) fn answered(&mut self, now: Instant) {
        if self.hold == Hold::Armed {
            self.hold = Hold::Until(now + PATIENCE);
        }
    }

    /// Whether everything is told. What nobody has spoken of yet counts as untold.
    pub(super) fn told(&self) -> bool {
        self.results == Some(0) && self.events == Some(false)
    }

    /// Whether a poll may start.
    pub(super) fn may_poll(&mut self, now: Instant) -> bool {
        if let Hold::Until(until) = self.hold
            && (self.told() || now >= until)
        {
            self.hold = Hold::Free;
        }
        self.hold == Hold::Free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn after_a_disconnection_polling_waits_for_results_and_events() {
        let now = Instant::now();
        let mut backlog = Backlog::default();
        assert!(!backlog.may_poll(now), "nobody has looked at the Cluster yet");
        backlog.disconnected(false, true);
        assert!(backlog.may_poll(now));
        backlog.disconnected(true, true);
        assert!(!backlog.may_poll(now), "the first contact is no poll");
        backlog.answered(now);
        backlog.disconnected(true, false);
        assert!(!backlog.may_poll(now), "nobody has counted yet");
        backlog.results(2);
        backlog.events(false);
        assert!(!backlog.may_poll(now));
        backlog.results(0);
        assert!(backlog.may_poll(now));
        // The condition still says disconnected for a minute, and the first new result does not hold polling back again.
        backlog.disconnected(true, false);
        backlog.results(1);
        assert!(backlog.may_poll(now));
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_keeps_refusing_holds_polling_back_for_two_minutes() {
        let mut backlog = Backlog::default();
        backlog.disconnected(true, true);
        backlog.results(1);
        backlog.events(true);
        backlog.answered(Instant::now());
        tokio::time::advance(PATIENCE - Duration::from_millis(1)).await;
        assert!(!backlog.may_poll(Instant::now()));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(backlog.may_poll(Instant::now()));
    }
}
