//! The work queue: which object is worked on next, and when one is tried again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::script::Target;

/// First retry of a failed pass (`--min-retry-delay`).
const RETRY_FIRST: Duration = Duration::from_millis(750);
/// Longest wait between retries (`--max-retry-delay`).
const RETRY_LONGEST: Duration = Duration::from_secs(15 * 60);
/// A pass waits this long for its own writes to come back through the watch.
const SETTLE: Duration = Duration::from_secs(10);

/// The work queue: each object at most once, never twice at the same time, the earliest delay wins.
#[derive(Default)]
pub(super) struct Queue {
    ready: VecDeque<Target>,
    delayed: BTreeMap<(Instant, u64), Target>,
    due: BTreeMap<Target, (Instant, u64)>,
    busy: BTreeSet<Target>,
    dirty: BTreeSet<Target>,
    failures: BTreeMap<Target, u32>,
    /// Passes that have ended and whose last write the cache has not seen.
    unsettled: BTreeMap<Target, (u64, Instant)>,
    sequence: u64,
}

impl Queue {
    pub(super) fn add(&mut self, target: Target) {
        if self.busy.contains(&target) {
            self.dirty.insert(target);
        } else if !self.ready.contains(&target) {
            self.ready.push_back(target);
        }
    }

    pub(super) fn add_after(&mut self, target: Target, delay: Duration) {
        let when = Instant::now() + delay;
        if let Some(known) = self.due.get(&target).copied() {
            if known.0 <= when {
                return;
            }
            self.delayed.remove(&known);
        }
        self.sequence += 1;
        self.delayed.insert((when, self.sequence), target.clone());
        self.due.insert(target, (when, self.sequence));
    }

    pub(super) fn promote(&mut self, now: Instant) {
        while let Some(entry) = self.delayed.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let target = entry.remove();
            self.due.remove(&target);
            self.add(target);
        }
        let settled: Vec<Target> =
            self.unsettled.iter().filter(|(_, (_, until))| *until <= now).map(|(target, _)| target.clone()).collect();
        for target in settled {
            self.done(&target);
        }
    }

    pub(super) fn pop(&mut self, workers: &BTreeMap<&str, usize>) -> Option<Target> {
        let free = |target: &Target| {
            let working = self.busy.iter().filter(|busy| busy.kind == target.kind).count();
            workers.get(target.kind.as_str()).is_some_and(|limit| working < *limit)
        };
        let index = self.ready.iter().position(free)?;
        let target = self.ready.remove(index)?;
        self.busy.insert(target.clone());
        Some(target)
    }

    pub(super) fn done(&mut self, target: &Target) {
        self.unsettled.remove(target);
        self.busy.remove(target);
        if self.dirty.remove(target) {
            self.add(target.clone());
        }
    }

    /// The pass over `target` is over when the cache has seen version `written`, or after a while.
    pub(super) fn settle_later(&mut self, target: &Target, written: u64) {
        self.unsettled.insert(target.clone(), (written, Instant::now() + SETTLE));
    }

    pub(super) fn settle(&mut self, target: &Target, version: u64) {
        if self.unsettled.get(target).is_some_and(|(written, _)| *written <= version) {
            self.done(target);
        }
    }

    pub(super) fn retry(&mut self, target: &Target) {
        let failures = self.failures.entry(target.clone()).or_default();
        let delay = RETRY_FIRST.saturating_mul(1u32.checked_shl(*failures).unwrap_or(u32::MAX)).min(RETRY_LONGEST);
        *failures = failures.saturating_add(1);
        self.add_after(target.clone(), delay);
    }

    pub(super) fn forgive(&mut self, target: &Target) {
        self.failures.remove(target);
    }

    /// The object is gone: nothing is owed to it.
    pub(super) fn forget(&mut self, target: &Target) {
        self.forgive(target);
        self.dirty.remove(target);
        self.ready.retain(|other| other != target);
        if let Some(key) = self.due.remove(target) {
            self.delayed.remove(&key);
        }
        if self.unsettled.contains_key(target) {
            self.done(target);
        }
    }

    pub(super) fn wake(&self) -> Option<Instant> {
        let delayed = self.delayed.keys().next().map(|(when, _)| *when);
        delayed.into_iter().chain(self.unsettled.values().map(|(_, until)| *until)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target::new("HelmRelease", "team", "shop")
    }

    #[tokio::test(start_paused = true)]
    async fn retries_double_from_three_quarters_of_a_second_to_a_quarter_of_an_hour() {
        let mut queue = Queue::default();
        let start = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..12 {
            queue.retry(&target());
            let when = queue.wake().expect("a retry is planned");
            waits.push((when - start).as_millis());
            queue.promote(when);
            queue.ready.clear();
        }
        assert_eq!(waits[..3], [750, 1500, 3000]);
        assert_eq!(waits[11], 900_000);
        queue.forgive(&target());
        queue.retry(&target());
        assert_eq!((queue.wake().expect("a retry is planned") - start).as_millis(), 750);
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_that_is_worked_on_is_queued_again_afterwards_and_once() {
        let workers = BTreeMap::from([("HelmRelease", 4)]);
        let mut queue = Queue::default();
        queue.add(target());
        queue.add(target());
        assert_eq!(queue.pop(&workers), Some(target()));
        assert_eq!(queue.pop(&workers), None);
        queue.add(target());
        assert_eq!(queue.pop(&workers), None);
        queue.done(&target());
        assert_eq!(queue.pop(&workers), Some(target()));
        queue.done(&target());
        assert_eq!(queue.pop(&workers), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_earlier_of_two_delays_wins() {
        let mut queue = Queue::default();
        queue.add_after(target(), Duration::from_secs(300));
        queue.add_after(target(), Duration::from_secs(1));
        queue.add_after(target(), Duration::from_secs(60));
        assert_eq!(queue.wake(), Some(Instant::now() + Duration::from_secs(1)));
        assert_eq!(queue.delayed.len(), 1);
    }
}
