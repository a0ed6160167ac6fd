//! How long a node usually takes to answer: a histogram whose old entries fade.
//!
//! It has no clock: what was seen counts until as many newer answers have taken its place, so that a node which is seldom
//! asked keeps its figures.

use std::time::Duration;

/// Buckets for every doubling of the time, so that what is told is at most a quarter too much.
const STEPS: u32 = 4;
/// The shortest time that is told apart, as a power of two in microseconds: 64 µs.
const LEAST: u32 = 6;
/// Doublings that are told apart, up to 67 seconds.
const DOUBLINGS: u32 = 20;
const BUCKETS: usize = (STEPS * DOUBLINGS) as usize;
/// Answers that are remembered; with one more, all count half.
const FULL: u32 = 1024;
/// Answers below which nothing is usual yet.
const ENOUGH: u32 = 20;
/// Of a hundred answers, this many are usual.
const USUAL: u32 = 95;

/// The times that a node took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Usual {
    counts: [u16; BUCKETS],
    total: u32,
}

impl Default for Usual {
    fn default() -> Self {
        Self {
            counts: [0; BUCKETS],
            total: 0,
        }
    }
}

impl Usual {
    /// Counts an answer that took this long.
    pub(super) fn record(&mut self, took: Duration) {
        if self.total >= FULL {
            for count in &mut self.counts {
                *count /= 2;
            }
            self.total = self.counts.iter().map(|count| u32::from(*count)).sum();
        }
        // No bucket counts more than all together, which is far below what it can count.
        self.counts[bucket(took)] += 1;
        self.total += 1;
    }

    /// What 95 of 100 answers do not exceed, at most a quarter too much. `None` until enough were seen.
    pub(super) fn most(&self) -> Option<Duration> {
        if self.total < ENOUGH {
            return None;
        }
        let wanted = (self.total * USUAL).div_ceil(100);
        let mut seen = 0;
        let last = self.counts.iter().position(|count| {
            seen += u32::from(*count);
            seen >= wanted
        });
        last.map(end_of)
    }
}

fn bucket(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let micros = micros.clamp(1 << LEAST, (1 << (LEAST + DOUBLINGS)) - 1);
    let power = micros.ilog2();
    // The two bits after the first one.
    let step = (micros >> (power - 2)) & u64::from(STEPS - 1);
    let index = u64::from((power - LEAST) * STEPS) + step;
    usize::try_from(index).unwrap_or(BUCKETS - 1)
}

/// Where a bucket ends.
fn end_of(bucket: usize) -> Duration {
    let steps = STEPS as usize;
    let (doublings, step) = (bucket / steps, bucket % steps);
    let begin = 1_u64 << (LEAST as usize + doublings);
    Duration::from_micros(begin + begin / u64::from(STEPS) * (step as u64 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    fn of(times: &[Duration]) -> Usual {
        let mut usual = Usual::default();
        for took in times {
            usual.record(*took);
        }
        usual
    }

    #[test]
    fn a_few_answers_say_nothing() {
        assert_eq!(of(&[MS; 19]).most(), None);
        assert!(of(&[MS; 20]).most().is_some());
    }

    #[test]
    fn the_slowest_twentieth_is_not_usual() {
        let mut times = vec![2 * MS; 95];
        times.extend([900 * MS; 5]);
        let most = of(&times).most().expect("enough");
        assert!((2 * MS..3 * MS).contains(&most), "{most:?}");
        times.push(900 * MS);
        let most = of(&times).most().expect("enough");
        assert!((900 * MS..1200 * MS).contains(&most), "{most:?}");
    }

    #[test]
    fn what_cannot_be_told_apart_is_told_at_the_ends() {
        let least = of(&[Duration::ZERO; 20]).most();
        assert_eq!(least, Some(Duration::from_micros(80)));
        let most = of(&[Duration::MAX; 20]).most().expect("enough");
        assert!(most > Duration::from_secs(60), "{most:?}");
    }

    #[test]
    fn newer_answers_take_the_place_of_older_ones() {
        let mut usual = of(&[MS; 5000]);
        for _ in 0..FULL / 4 {
            usual.record(100 * MS);
        }
        assert!(usual.most() >= Some(100 * MS), "{usual:?}");
        for _ in 0..8 * FULL {
            usual.record(MS);
        }
        assert!(usual.most() < Some(2 * MS), "{usual:?}");
    }

    proptest! {
        #[test]
        fn it_is_near_the_true_figure(micros in prop::collection::vec(64_u64..60_000_000, 20..1000)) {
            let times: Vec<Duration> = micros.iter().map(|m| Duration::from_micros(*m)).collect();
            let told = of(&times).most().expect("enough");
            let mut sorted = times.clone();
            sorted.sort_unstable();
            let rank = (times.len() * 95).div_ceil(100);
            let exact = sorted[rank - 1];
            prop_assert!(told >= exact, "{told:?} is below {exact:?}");
            prop_assert!(told <= exact * 5 / 4 + Duration::from_micros(1), "{told:?} is far above {exact:?}");
        }

        #[test]
        fn it_never_counts_more_than_it_keeps(micros in prop::collection::vec(any::<u32>(), 0..5000)) {
            let mut usual = Usual::default();
            for micros in micros {
                usual.record(Duration::from_micros(u64::from(micros)));
                prop_assert!(usual.total <= FULL);
                let sum: u32 = usual.counts.iter().map(|count| u32::from(*count)).sum();
                prop_assert_eq!(sum, usual.total);
            }
        }
    }
}
