//! How long things took: a histogram of fixed size.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

/// Buckets a factor of two, so that a percentile is off by less than ten per cent.
const PER_OCTAVE: usize = 8;
/// From 1/8 ms to more than an hour.
const BUCKETS: usize = 26 * PER_OCTAVE;
const SMALLEST_MS: f64 = 0.125;

/// Percentiles of durations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct HoldStats {
    /// How many there were.
    pub count: u64,
    /// Half of them took no longer, in milliseconds.
    pub p50_ms: f64,
    /// All but one in a hundred took no longer, in milliseconds.
    pub p99_ms: f64,
    /// The longest, in milliseconds.
    pub max_ms: f64,
}

/// Durations, counted in buckets that grow geometrically.
#[derive(Debug)]
pub(super) struct Histogram {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    buckets: Vec<u64>,
    count: u64,
    max_ms: f64,
}

impl Histogram {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                buckets: vec![0; BUCKETS],
                count: 0,
                max_ms: 0.0,
            }),
        }
    }

    pub(super) fn record(&self, took: Duration) {
        let ms = took.as_secs_f64() * 1000.0;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.buckets[bucket(ms)] += 1;
        state.count += 1;
        state.max_ms = state.max_ms.max(ms);
    }

    pub(super) fn stats(&self) -> HoldStats {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        HoldStats {
            count: state.count,
            p50_ms: state.percentile(50),
            p99_ms: state.percentile(99),
            max_ms: state.max_ms,
        }
    }
}

impl State {
    fn percentile(&self, percent: u64) -> f64 {
        let rank = (self.count * percent).div_ceil(100);
        let mut seen = 0;
        let mut ends = self.buckets.iter().enumerate().skip_while(|(_, count)| {
            seen += **count;
            seen < rank
        });
        // A bucket's upper bound may lie above every duration in it.
        ends.next()
            .filter(|_| self.count > 0)
            .map_or(0.0, |(index, _)| upper_ms(index).min(self.max_ms))
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the buckets first"
)]
fn bucket(ms: f64) -> usize {
    if ms <= SMALLEST_MS {
        return 0;
    }
    let at = ((ms / SMALLEST_MS).log2() * PER_OCTAVE as f64).ceil();
    at.clamp(0.0, (BUCKETS - 1) as f64) as usize
}

fn upper_ms(bucket: usize) -> f64 {
    SMALLEST_MS * (bucket as f64 / PER_OCTAVE as f64).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_tenth() {
        let histogram = Histogram::new();
        assert_eq!(histogram.stats(), HoldStats::default());
        for ms in 1..=1000 {
            histogram.record(Duration::from_millis(ms));
        }
        let stats = histogram.stats();
        assert_eq!((stats.count, stats.max_ms), (1000, 1000.0));
        for (got, exact) in [(stats.p50_ms, 500.0), (stats.p99_ms, 990.0)] {
            assert!(got >= exact && got <= exact * 1.1, "{got} for {exact}");
        }
    }

    #[test]
    fn one_long_hold_is_all_of_them() {
        let histogram = Histogram::new();
        histogram.record(Duration::from_secs(7200));
        let stats = histogram.stats();
        assert_eq!(
            (stats.p50_ms, stats.p99_ms, stats.max_ms),
            (stats.p99_ms, stats.p50_ms, 7_200_000.0)
        );
    }
}
