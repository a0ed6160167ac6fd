//! One node's recent record.

use std::time::{Duration, Instant};

use super::usual::Usual;

/// Failures in a row after which a node counts as down.
const FAILURES_MAX: u32 = 3;
/// The weight of the newest answer in the average.
const WEIGHT: f64 = 0.2;
/// A node is slow when it takes this many times as long as the fastest one.
const SLOW_FACTOR: u32 = 4;
/// Nobody minds an answer below this, however fast the others are.
const SLOW_FLOOR: Duration = Duration::from_millis(50);
/// An average without a new answer for this long says nothing any more: a slow node that is
/// avoided gives no answers, and must get another chance.
const FRESH: Duration = Duration::from_secs(10);

/// Races in a row that a node lost to other copies, after which it counts as slow.
const OVERTAKEN_MAX: u32 = 3;
/// How long after it turned a request down a node is thought to be full.
const BUSY_FOR: Duration = Duration::from_secs(1);

/// How well a node serves. Ordered from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// As fast as others, or unknown.
    Good,
    /// Much slower than the fastest.
    Slow,
    /// Failed several times in a row and not once answered since.
    Down,
}

/// A node's failures and answering times.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    average: Option<(Instant, Duration)>,
    usual: Usual,
    /// Races lost since it last answered, and when it lost the last one.
    overtaken: Option<(u32, Instant)>,
    /// When it last turned a request down.
    busy: Option<Instant>,
}

impl Breaker {
    /// The average answering time, if it is recent.
    pub(super) fn latency(&self, now: Instant) -> Option<Duration> {
        self.average
            .filter(|(at, _)| now.duration_since(*at) < FRESH)
            .map(|(_, average)| average)
    }

    pub(super) fn standing(&self, now: Instant, best: Option<Duration>) -> Standing {
        if self.failures >= FAILURES_MAX {
            return Standing::Down;
        }
        let overtaken = self
            .overtaken
            .is_some_and(|(times, at)| times >= OVERTAKEN_MAX && now.duration_since(at) < FRESH);
        if overtaken {
            return Standing::Slow;
        }
        let limit = best
            .unwrap_or_default()
            .saturating_mul(SLOW_FACTOR)
            .max(SLOW_FLOOR);
        if self.latency(now).is_some_and(|latency| latency > limit) {
            Standing::Slow
        } else {
            Standing::Good
        }
    }

    pub(super) fn answered(&mut self, now: Instant, took: Duration) {
        self.failures = 0;
        self.overtaken = None;
        self.usual.record(took);
        let average = match self.latency(now) {
            Some(old) => old.mul_f64(1.0 - WEIGHT) + took.mul_f64(WEIGHT),
            None => took,
        };
        self.average = Some((now, average));
    }

    /// What it usually takes at most; `None` when it was seldom asked.
    pub(super) fn usual(&self) -> Option<Duration> {
        self.usual.most()
    }

    /// Whether nothing speaks against asking it more than it is asked already.
    pub(super) fn is_well(&self, now: Instant, best: Option<Duration>) -> bool {
        let is_busy = self
            .busy
            .is_some_and(|at| now.duration_since(at) < BUSY_FOR);
        self.failures == 0 && !is_busy && self.standing(now, best) == Standing::Good
    }

    /// It turned a request down, being alive and full.
    pub(super) fn turned_down(&mut self, now: Instant) {
        self.failures = 0;
        self.busy = Some(now);
    }

    /// Others answered in its place, when it had taken this long. It might never have answered.
    pub(super) fn overtaken(&mut self, now: Instant, took: Duration) {
        let times = self.overtaken.map_or(0, |(times, _)| times);
        self.overtaken = Some((times.saturating_add(1), now));
        self.usual.record(took);
    }

    /// Counts a failure. True when the node is down from now on.
    pub(super) fn failed(&mut self) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.failures == FAILURES_MAX
    }

    pub(super) fn recovered(&mut self) {
        self.failures = 0;
        self.average = None;
        self.overtaken = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn failures_in_a_row_bring_it_down_once() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        assert!(!breaker.failed());
        assert!(!breaker.failed());
        breaker.answered(now, MS);
        assert!(!breaker.failed());
        assert!(!breaker.failed());
        assert_eq!(breaker.standing(now, None), Standing::Good);
        assert!(breaker.failed(), "the third in a row");
        assert!(
            !breaker.failed(),
            "it is down already: nobody else has to probe it"
        );
        assert_eq!(breaker.standing(now, None), Standing::Down);
        breaker.recovered();
        assert_eq!(breaker.standing(now, None), Standing::Good);
    }

    #[test]
    fn slow_is_relative_and_wears_off() {
        let now = Instant::now();
        let table = [
            (Some(MS), 20 * MS, Standing::Good),
            (Some(MS), 60 * MS, Standing::Slow),
            (Some(40 * MS), 60 * MS, Standing::Good),
            (Some(40 * MS), 161 * MS, Standing::Slow),
            (None, 60 * MS, Standing::Slow),
        ];
        for (best, own, expected) in table {
            let mut breaker = Breaker::default();
            breaker.answered(now, own);
            assert_eq!(breaker.standing(now, best), expected, "{best:?} {own:?}");
            assert_eq!(breaker.standing(now + FRESH, best), Standing::Good);
        }
    }

    #[test]
    fn who_loses_every_race_is_slow_for_a_while() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        breaker.overtaken(now, MS);
        breaker.overtaken(now, MS);
        assert_eq!(breaker.standing(now, None), Standing::Good);
        breaker.overtaken(now, MS);
        assert_eq!(breaker.standing(now, None), Standing::Slow);
        assert_eq!(breaker.standing(now + FRESH, None), Standing::Good);
        breaker.answered(now, MS);
        assert_eq!(breaker.standing(now, None), Standing::Good);
        breaker.overtaken(now, MS);
        assert_eq!(breaker.standing(now, None), Standing::Good, "once again");
    }

    #[test]
    fn what_is_late_is_usual_when_it_is_often_so() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..100 {
            breaker.answered(now, MS);
        }
        assert!(breaker.usual().is_some_and(|usual| usual < 2 * MS));
        for _ in 0..100 {
            breaker.overtaken(now, 50 * MS);
        }
        assert!(breaker.usual().is_some_and(|usual| usual >= 50 * MS));
    }

    #[test]
    fn more_is_asked_only_of_nodes_that_are_well() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        assert!(breaker.is_well(now, None), "an unknown node");
        breaker.failed();
        assert!(!breaker.is_well(now, None), "it may be about to go down");
        breaker.answered(now, MS);
        assert!(breaker.is_well(now, None));
        breaker.turned_down(now);
        assert!(!breaker.is_well(now, None));
        assert!(breaker.is_well(now + BUSY_FOR, None));
        breaker.answered(now + BUSY_FOR, 500 * MS);
        assert!(!breaker.is_well(now + BUSY_FOR, Some(MS)), "it is slow");
    }

    #[test]
    fn the_average_follows_the_newest_answers() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        breaker.answered(now, 100 * MS);
        breaker.answered(now, 200 * MS);
        assert_eq!(breaker.latency(now), Some(120 * MS));
        for _ in 0..50 {
            breaker.answered(now, 10 * MS);
        }
        assert!(
            breaker
                .latency(now)
                .is_some_and(|average| average < 11 * MS)
        );
    }
}
